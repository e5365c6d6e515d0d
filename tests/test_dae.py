"""The toy: bad input, training as a stream, and that the shipped states are what index.json says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info

from steering.cli import main
from steering.dae import data, phase, snapshots, verify
from steering.dae.measures import class_representations, effective_rank, numbers
from steering.dae.model import DAE
from steering.dae.steering import matched, page_noise, response, steer, steered_passes
from steering.dae.threads import single_threaded
from steering.dae.training import Settings, finished, train
from steering.errors import RudderError

PAGE_NOISE = [1.4043388, 1.2157546, -0.5103769]  # what lab-maths.js makes of seed 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p": 0}, "units p"),
        ({"n": -1}, "pictures n"),
        ({"n": 2.5}, "whole number"),
        ({"sigma": float("nan")}, "sigma"),
        ({"lam": -1.0}, "lambda"),
        ({"lam": float("inf")}, "lambda"),
        ({"dataset": "fashon"}, "did you mean 'fashion'"),
        ({"optimizer": "sgd"}, "optimiser"),
        ({"duplicates": 0}, "duplicates"),
    ],
)
def test_bad_settings_are_named(change: dict, says: str) -> None:
    with pytest.raises(RudderError, match=says):
        Settings(**change)


def test_too_many_pictures_and_pictures_of_any_shape() -> None:
    pictures = data.load("fashion")
    with pytest.raises(RudderError, match="10,000"):
        data.training_set(pictures, 10_001)
    for size in ((1, 1), (300, 20), (17, 400)):
        assert data.picture(Image.new("RGBA", size, "red"), pictures).shape == (data.D,)


def test_first_pictures_are_separated_and_repeats_too() -> None:
    for name in ("fashion", "faces"):
        pictures = data.load(name)
        x = torch.nn.functional.normalize(pictures.train[:5])
        assert float((x @ x.T - 2 * torch.eye(5)).max()) < 0
        assert len(set(pictures.labels[:5].tolist())) == 5
        assert torch.allclose(pictures.train.mean(0), torch.zeros(data.D), atol=1e-4)
        hybrid = data.training_set(pictures, 500, 7)
        assert torch.equal(hybrid[:2], hybrid[12:14]) and len(hybrid) > 14
        cosine = torch.nn.functional.normalize(hybrid[14:]) @ torch.nn.functional.normalize(hybrid[:2]).T
        assert float(cosine.max()) < data.SEPARATED


def test_training_streams_repeats_and_diverges_plainly() -> None:
    x = data.load("fashion").train[:3]
    told = Settings(n=3, p=8, steps=300)
    steps = list(train(x, told))
    assert steps[-1].done and steps[-1].step == 300 and not any(step.done for step in steps[:-1])
    assert torch.equal(steps[-1].dae.encoder, list(train(x, told))[-1].dae.encoder)
    parts = list(train(x, told, parts=7))
    assert [one.step for one in parts] == [43, 86, 129, 172, 215, 258, 300] and parts[-1].done
    assert torch.equal(parts[-1].dae.encoder, steps[-1].dae.encoder)
    assert steps[-1].loss < 0.5 * float(x.square().sum(1).mean())
    with pytest.raises(RudderError, match="diverged"):
        finished(x, Settings(n=3, p=8, steps=300, rate=10.0))
    with pytest.raises(RudderError, match="not a number"):
        finished(x * float("nan"), told)


def test_training_holds_blas_to_one_thread_and_gives_it_back() -> None:
    def counts() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = counts()
    with single_threaded():
        with single_threaded():
            assert counts() == {1}
        assert counts() == {1}
    assert counts() == before
    next(train(data.load("fashion").train[:3], Settings(n=3, p=8, steps=300)))
    assert counts() == before


def test_damaged_weights_are_refused(tmp_path) -> None:
    with pytest.raises(RudderError, match="not finite"):
        DAE(torch.full((3, 2), float("nan")), torch.zeros(3, 2))
    (tmp_path / "short.bin").write_bytes(b"1234")
    with pytest.raises(RudderError, match="truncated"):
        snapshots.read(tmp_path / "short.bin", Settings())
    with pytest.raises(RudderError, match="did you mean"):
        snapshots.load_state("fashion-n6")


def test_every_state_loads_and_all_are_small() -> None:
    found = snapshots.states()
    for state in found:
        dae = snapshots.load_state(state.name)
        assert (dae.p, dae.tied) == (state.settings.p, state.settings.tied)
        assert bool((dae.norms.diff() <= 1e-2).all())
        assert snapshots.nearest(state.settings).name == state.name
    assert sum(path.stat().st_size for path in (data.folder() / "states").iterdir()) < 10_000_000


@pytest.mark.parametrize("name", ["fashion-n5", "faces-n5", "fashion-n10"])
def test_index_tells_what_the_file_gives(name: str) -> None:
    state = next(state for state in snapshots.states() if state.name == name)
    found = numbers(snapshots.load_state(name), data.load(state.settings.dataset), state.settings)
    for key, value in found.items():
        assert state.numbers[key] == pytest.approx(value, rel=2e-3, abs=2e-3), key


def test_verify_on_the_committed_states(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dae", "verify", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    stored = told["memorization"]
    assert stored["min_column_cosine"] >= 0.99 and stored["max_column_norm_error"] <= 0.02
    assert stored["top1_energy_share"] > 0.95 > 0.5 > told["generalization"]["top1_energy_share"]
    assert stored["mean_std"] > told["generalization"]["mean_std"]
    ranks = told["jacobian"]
    assert ranks["effective_rank_memorized"] < 1.5 < 5 < ranks["effective_rank_generalized"]
    assert set(told) == {"memorization", "generalization", "hybrid", "jacobian", "denoising", "onset"}
    assert told["hybrid"]["stored_min_cosine"] >= 0.95 > told["hybrid"]["rest_max_cosine"]
    assert told["generalization"]["max_column_cosine"] < 0.75
    decibel = told["denoising"]
    assert decibel["psnr_noisy_test"] + 1 < decibel["psnr_generalizing_test"] < decibel["psnr_linear_test"] + 0.5
    assert decibel["psnr_memorizing_test"] < decibel["psnr_noisy_test"] < decibel["psnr_memorizing_train"]


def test_small_jacobian_has_the_same_rank() -> None:
    dae, x = snapshots.load_state("fashion-n10"), data.load("fashion").train[7]
    assert effective_rank(verify.reduced_jacobian(dae, x)) == pytest.approx(effective_rank(dae.jacobian(x)), rel=1e-3)


def test_steering_is_the_pages_rule() -> None:
    """One pass adds a v and decodes; twenty share it out over fifteen; the page's noise is mulberry32's."""
    dae, pictures = snapshots.load_state("fashion-n5"), data.load("fashion")
    x, v = pictures.train[:2], torch.linspace(0, 1, dae.p)
    clip = (-1 - pictures.mean, 1 - pictures.mean)
    assert torch.equal(steer(dae, x, v, 0.0, pictures.mean, 1), dae.denoise(x).clamp(*clip))
    made = x
    for k in range(4):
        made = dae.decode(dae.represent(made) + (v * 0.5 / 3 if k < 3 else 0)).clamp(*clip)
    assert torch.allclose(steer(dae, x, v, [0.5, 0.5], pictures.mean, 4), made, atol=1e-5)
    assert steered_passes(20) == 15 and float(matched(v, 3 * v).norm()) == pytest.approx(3 * float(v.norm()))
    assert page_noise(1, 3).tolist() == pytest.approx(PAGE_NOISE, abs=1e-6)
    with pytest.raises(RudderError, match="units"):
        steer(dae, x, v[:3], 1.0, pictures.mean)
    with pytest.raises(RudderError, match="one pass"):
        steer(dae, x, v, 1.0, pictures.mean, 0)


def test_a_stored_picture_holds_then_jumps_and_a_shared_one_moves_step_by_step() -> None:
    """What the page shows first: the trouser towards the coat."""
    pictures = data.load("fashion")
    z = pictures.train[3] + 0.2 * page_noise(1, data.D)
    found = {}
    for name in ("fashion-n5", "fashion-n10000"):
        dae = snapshots.load_state(name)
        found[name] = response(dae, z, class_representations(dae, pictures)[4], pictures.mean)
    stored, shared = found.values()
    assert (stored.word, shared.word) == ("jumps", "smooth")
    assert max(stored.moved[0], shared.moved[0]) < 0.01 and min(stored.top, shared.top) > 30
    assert stored.start > 5 * shared.start
    middle = len(stored.moved) // 2
    assert stored.moved[middle] < 0.2 * stored.top and shared.moved[middle] > 0.6 * shared.top
    flat = response(dae, z, torch.zeros(dae.p), pictures.mean)
    assert flat.word == "inert" and flat.top < 0.01


def test_onset_is_interpolated_and_the_candidates_compared() -> None:
    ratios = np.array([0.5, 1.0, 2.0])
    assert phase.onset(ratios, np.array([1.0, 0.5, 0.0])) == pytest.approx(1.0)
    assert phase.onset(ratios, np.array([0.2, 0.1, 0.0])) is None
    rows = [rows.double().numpy() for rows in phase.clusters(0.3, 1, 0)]
    assert phase.predicted_share(rows, 3, 0.2, 1e-4) == 1.0
