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
from steering.dae.measures import effective_rank, numbers
from steering.dae.model import DAE
from steering.dae.steering import iterate, response, steer
from steering.dae.threads import single_threaded
from steering.dae.training import Settings, finished, train
from steering.errors import RudderError


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
        assert torch.equal(hybrid[:2], hybrid[12:14]) and float((hybrid[14:] @ hybrid[:2].T).max()) < 0


def test_training_streams_repeats_and_diverges_plainly() -> None:
    x = data.load("fashion").train[:3]
    told = Settings(n=3, p=8, steps=300)
    steps = list(train(x, told))
    assert steps[-1].done and steps[-1].step == 300 and not any(step.done for step in steps[:-1])
    assert torch.equal(steps[-1].dae.encoder, list(train(x, told))[-1].dae.encoder)
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
    assert set(told) == {"memorization", "generalization", "hybrid", "jacobian", "onset"}


def test_small_jacobian_has_the_same_rank() -> None:
    dae, x = snapshots.load_state("fashion-n10"), data.load("fashion").train[7]
    assert effective_rank(verify.reduced_jacobian(dae, x)) == pytest.approx(effective_rank(dae.jacobian(x)), rel=1e-3)


def test_steering_at_zero_is_the_denoiser_and_a_switch_is_seen() -> None:
    dae, x = snapshots.load_state("fashion-n5"), data.load("fashion").train[:5]
    v = dae.represent(x[1:2])[0]
    assert torch.equal(steer(dae, x, v, 0.0), dae.denoise(x))
    assert torch.allclose(iterate(dae, x, 3).norm(dim=1), x.norm(dim=1), rtol=1e-4)
    found = response(dae, x[0], v, iterations=60)
    assert found.moved[0] == pytest.approx(0, abs=1e-6) and found.moved[-1] == pytest.approx(1, abs=1e-6)
    assert found.jump > 0.5
    smooth = snapshots.load_state("fashion-n10000")
    towards = smooth.represent(x[1:2])[0]
    assert response(smooth, x[0], towards).jump < 0.3 < response(dae, x[0], v).jump
    with pytest.raises(RudderError, match="units"):
        steer(dae, x, v[:3], 1.0)


def test_onset_is_interpolated_and_the_candidates_compared() -> None:
    ratios = np.array([0.5, 1.0, 2.0])
    assert phase.onset(ratios, np.array([1.0, 0.5, 0.0])) == pytest.approx(1.0)
    assert phase.onset(ratios, np.array([0.2, 0.1, 0.0])) is None
    rows = [rows.double().numpy() for rows in phase.clusters(0.3, 1, 0)]
    assert phase.predicted_share(rows, 3, 0.2, 1e-4) == 1.0
