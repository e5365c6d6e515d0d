"""The toy past two layers and one noise level: sampler, copies, layers, and that the committed numbers follow."""

from __future__ import annotations

import json

import pytest
import torch

from steering.cli import main
from steering.dae import data, deep, multinoise
from steering.dae.model import DAE
from steering.errors import RudderError

FEW = torch.tensor([[3.0, 0.0, 0.0, 4.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0, 0.0, 0.0]])


def two_points(m: torch.Tensor):
    """The exact denoiser of the distribution that is m or -m with equal chance."""
    return lambda x, sigma: torch.tanh(x @ m / sigma**2)[:, None] * m


def test_sampler_with_an_exact_denoiser_gives_the_two_points_equally_often() -> None:
    m = torch.tensor([2.0, -1.0, 0.5])
    made = multinoise.sample(two_points(m), 400, d=3)
    up = made @ m > 0
    assert torch.allclose(made, torch.where(up[:, None], m, -m), atol=1e-3)
    assert 160 < int(up.sum()) < 240
    assert torch.equal(made, multinoise.sample(two_points(m), 400, d=3))


def test_sampler_keeps_a_gaussians_variance() -> None:
    made = multinoise.sample(lambda x, sigma: x / (1 + sigma[:, None] ** 2), 1000, d=8, steps=200)
    assert float(made.std()) == pytest.approx(1.0, abs=0.15)  # the first noise, 2, stands for sqrt(5): a little narrow


def test_model_starts_without_skip_and_with_gain_one() -> None:
    model = multinoise.MultiNoise(6, 8)
    sigma = torch.tensor([0.02, 2.0])
    assert float(model.skip.detach()) == 0.0 and torch.equal(model.gain(sigma), torch.ones(2, 8))
    weight = model.weight.detach()
    assert torch.allclose(model(FEW, sigma), DAE(weight, weight).denoise(FEW))
    assert torch.allclose(model(3 * FEW, sigma), 3 * model(FEW, sigma), rtol=1e-4)  # no length of its own


def test_training_in_the_span_stays_in_it_and_denoises() -> None:
    model, losses = multinoise.train(FEW, multinoise.Recipe(steps=300, rate=0.02))
    assert losses[-1] < 0.2 * losses[0]
    outside = torch.tensor([[4.0, 0.0, 0.0, -3.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 2.0, 3.0]])
    assert float((outside @ model.weight).abs().max()) < 1e-4
    levels = multinoise.levels(1000, torch.Generator().manual_seed(0))
    low, high = float(levels.min()), float(levels.max())
    assert 0.0199 <= low < 0.03 and 1.5 < high <= 2.0001 and 0.15 < float(levels.median()) < 0.27


def test_copies_are_told_from_novel_pictures_whatever_their_length() -> None:
    samples = torch.stack([0.1 * FEW[0], 7 * FEW[1], FEW[0] + FEW[1]])
    told = multinoise.copies(samples, FEW)
    assert (told["copies"], told["copied_pictures"], told["samples"]) == (2, 2, 3)
    assert multinoise.copies(-FEW, FEW)["copies"] == 0
    assert multinoise.agreement(samples, samples)["same_noise"] == pytest.approx(1.0)


def test_measures_of_a_one_hot_and_a_uniform_layer() -> None:
    spike = deep.layer_measures(7 * torch.eye(100)[:3])
    assert spike["top_share"] == pytest.approx(1) and spike["std_over_mean"] == pytest.approx(99**0.5, rel=1e-4)
    assert spike["firing"] == pytest.approx(0.01) and spike["std"] == pytest.approx(0.07 * 99**0.5, rel=1e-4)
    flat = deep.layer_measures(torch.full((2, 100), 0.3))
    assert flat["top_share"] == pytest.approx(0.01) and flat["std_over_mean"] == pytest.approx(0, abs=1e-5)
    assert set(deep.layer_measures(torch.zeros(2, 5)).values()) == {0.0}


@pytest.mark.parametrize("noise", deep.NOISES)
def test_depth_two_is_the_papers_model_and_deeper_ones_learn(noise: str) -> None:
    two = deep.start(6, deep.Plan(p=6))
    assert torch.allclose(two.denoise(FEW), DAE(two.weights[0], two.weights[1].T).denoise(FEW))
    model, losses = deep.train(FEW, deep.Plan(depth=4, p=20, noise=noise, steps=400, rate=0.005))
    assert [tuple(h.shape) for h in model.layers(FEW)] == [(2, 20)] * 3
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: deep.Plan(depth=1),
        lambda: deep.Plan(kind="memorizing"),
        lambda: deep.Plan(noise="none"),
        lambda: deep.Plan(lam=float("nan")),
        lambda: multinoise.Recipe(steps=0),
        lambda: multinoise.Recipe(rate=float("nan")),
        lambda: multinoise.train(torch.zeros(0, 6), multinoise.Recipe()),
        lambda: multinoise.train(torch.full((2, 6), float("nan")), multinoise.Recipe()),
        lambda: multinoise.sample(two_points(FEW[0]), 0, d=6),
        lambda: multinoise.copies(FEW, FEW[:1]),
        lambda: multinoise.inner(FEW),
    ],
)
def test_bad_input_is_refused(make) -> None:
    with pytest.raises(RudderError):
        make()


def test_damaged_or_missing_weights_are_refused(tmp_path) -> None:
    path = tmp_path / "one.bin"
    with pytest.raises(RudderError, match="rudder dae sample --train"):
        multinoise.read(path)
    multinoise.write(multinoise.MultiNoise(), path)
    assert torch.equal(multinoise.read(path).weight, multinoise.MultiNoise().weight.half().float())
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(RudderError, match="damaged"):
        multinoise.read(path)


@pytest.mark.parametrize("name", multinoise.SHIPPED)
def test_committed_counts_follow_from_the_committed_weights(name: str) -> None:
    path = data.folder() / f"multinoise-{name}.bin"
    assert path.stat().st_size < 600_000
    rows = multinoise.inner(data.load("fashion").train)[multinoise.MODELS[name][0]]
    told = multinoise.copies(multinoise.sample(multinoise.read(path), multinoise.COUNT), rows)
    kept = multinoise.recorded()["models"][name]
    assert abs(told["copies"] - kept["copies"]) <= 2
    assert told["cosine_median"] == pytest.approx(kept["cosine_median"], abs=0.01)
    assert (kept["copies"] > 180) if name == "n5" else (kept["copies"] == 0)


def test_one_network_measures_stored_and_shared_pictures_apart() -> None:
    pictures = data.load("fashion")
    told = deep.row(pictures, deep.Plan("hybrid", p=10, steps=2))
    assert len(deep.chosen(pictures, "hybrid")) == 2160 and {"stored", "shared", "auroc"} <= set(told)
    own = deep.row(pictures, deep.Plan(depth=3, p=10, steps=2))
    assert len(own["stored"]["0.2"]["layers"]) == 2 and "shared" not in own


def test_committed_layers_are_spikier_for_stored_pictures(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["dae", "depth", "--json"])
    assert not stopped.value.code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(r["kind"], r["depth"], r["noise"]) for r in rows} == {
        (kind, depth, noise) for kind in deep.SETS for depth in deep.DEPTHS for noise in deep.NOISES
    }
    for depth in deep.DEPTHS:
        for noise in deep.NOISES:
            own = [r for r in rows if (r["depth"], r["noise"]) == (depth, noise)]
            least = min(h["top_share"] for r in own if r["kind"] == "memorising" for h in r["stored"]["0.2"]["layers"])
            most = max(h["top_share"] for r in own if r["kind"] == "generalising" for h in r["shared"]["0.2"]["layers"])
            assert least > most
