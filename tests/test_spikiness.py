"""Spikiness: the statistics by property, what is read by construction, and that batches do not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steering.backbones import Backbone
from steering.errors import RudderError
from steering.scoring import SIGNS, STATISTICS, Probe, read, spikiness
from tests.tiny import pictures

SITE = "up_blocks.1.resnets.1.nonlinearity"
vectors = st.integers(0, 2**32 - 1).map(
    lambda seed: torch.from_numpy(np.random.default_rng(seed).exponential(1.0, 24) + 1e-3)
)


@given(vectors, st.floats(0.01, 100))
def test_only_std_knows_the_scale(h: torch.Tensor, factor: float) -> None:
    for name, statistic in STATISTICS.items():
        expected = statistic(h) * (factor if name == "std" else 1)
        torch.testing.assert_close(statistic(h * factor), expected)


@given(vectors, st.integers(0, 2**32 - 1))
def test_order_of_channels_does_not_matter(h: torch.Tensor, seed: int) -> None:
    shuffled = h[torch.from_numpy(np.random.default_rng(seed).permutation(len(h)))]
    for statistic in STATISTICS.values():
        torch.testing.assert_close(statistic(shuffled), statistic(h))


@given(vectors)
def test_statistics_stay_between_uniform_and_one_hot(h: torch.Tensor) -> None:
    c = len(h)
    uniform, one_hot = torch.ones(c), torch.nn.functional.one_hot(torch.tensor(3), c).double()
    for name in ("l4_over_l2", "max_share", "participation"):
        low, high = sorted((float(STATISTICS[name](uniform)), float(STATISTICS[name](one_hot))))
        assert low - 1e-6 <= float(STATISTICS[name](h)) <= high + 1e-6


@pytest.mark.parametrize("c", [2, 7, 64])
def test_known_scores(c: int) -> None:
    uniform, one_hot = torch.full((c,), 3.0), torch.zeros(c)
    one_hot[0] = 3.0
    known = {
        "std": (0.0, 3 * (c - 1) ** 0.5 / c),
        "l4_over_l2": (c**-0.25, 1.0),
        "max_share": (1 / c, 1.0),
        "participation": (c, 1.0),
    }
    for name, (balanced, spiky) in known.items():
        assert float(STATISTICS[name](uniform)) == pytest.approx(balanced, abs=1e-6)
        assert float(STATISTICS[name](one_hot)) == pytest.approx(spiky)
        assert SIGNS[name] * (spiky - balanced) > 0


def test_no_energy_is_no_nan() -> None:
    assert all(torch.isfinite(statistic(torch.zeros(4))) for statistic in STATISTICS.values())


def test_the_last_nonlinearity_is_read(backbone: Backbone) -> None:
    """What conv2 receives: not the block's first SiLU, nor the time embedding's."""
    resnet = backbone.network.get_submodule("up_blocks.1.resnets.1")
    received: list[torch.Tensor] = []
    handle = resnet.conv2.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    try:
        (found,) = read(backbone, pictures(2), [SITE], [50], poolings=["max"])
    finally:
        handle.remove()
    assert len(received) == 1
    torch.testing.assert_close(found.pooled[SITE, "max"][:, 0, 0], received[0].amax((2, 3)))


def test_same_scores_in_any_batch(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, probe = pictures(5, seed=3), Probe(SITE, 100)
    together = spikiness(backbone, shown, probe, draws=3)
    monkeypatch.setattr("steering.scoring.ROWS_AT_ONCE", 2)
    apart = spikiness(backbone, shown, probe, draws=3)
    np.testing.assert_allclose(together.mean, apart.mean, rtol=1e-4)
    np.testing.assert_allclose(together.spread, apart.spread, rtol=1e-3, atol=1e-6)


def test_many_sites_and_timesteps_equal_single_readings(backbone: Backbone) -> None:
    sites = [SITE, "mid_block", "up_blocks.0.resnets.0"]
    (found,) = read(backbone, pictures(2), sites, [400, 20], draws=2, seed=5, at_once=None)
    assert found.timesteps == (20, 400)
    for site in sites:
        for t in found.timesteps:
            probe = Probe(site, t, "mean", "l4_over_l2")
            alone = spikiness(backbone, pictures(2), probe, draws=2, seed=5)
            np.testing.assert_allclose(found.scores(probe).mean(1), alone.mean, rtol=1e-4)


def test_latents_score_as_their_pictures_would(backbone: Backbone) -> None:
    shown, probe = pictures(3), Probe(SITE, 20)
    direct = spikiness(backbone, backbone.encode(shown), probe)
    np.testing.assert_allclose(direct.mean, spikiness(backbone, shown, probe).mean, rtol=1e-5)
    assert direct.representation.shape == (3, backbone.sites()[SITE].channels)


def test_seed_changes_the_noise_and_prompt_changes_the_pass(backbone: Backbone) -> None:
    shown, probe = pictures(2), Probe(SITE, 400)
    base = spikiness(backbone, shown, probe).mean
    assert not np.allclose(base, spikiness(backbone, shown, probe, seed=1).mean, rtol=1e-6)
    assert not np.allclose(base, spikiness(backbone, shown, probe, prompts="a red apple").mean, rtol=1e-7)


def test_long_lists_come_in_parts(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steering.scoring.ROWS_AT_ONCE", 2)
    parts = list(read(backbone, pictures(5), [SITE], [20], poolings=["max"]))
    assert [len(part.pooled[SITE, "max"]) for part in parts] == [2, 2, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"site": "nowhere"}, "site"),
        ({"timestep": 1000}, "timestep"),
        ({"pooling": "map"}, "pooling"),
        ({"statistic": "mode"}, "statistic"),
    ],
)
def test_bad_probes_are_named(backbone: Backbone, change: dict, says: str) -> None:
    with pytest.raises(RudderError, match=says):
        spikiness(backbone, pictures(1), Probe(**{"site": SITE, "timestep": 20, **change}))


def test_nothing_to_score_and_unpaired_prompts(backbone: Backbone) -> None:
    with pytest.raises(RudderError, match="no pictures"):
        spikiness(backbone, [], Probe(SITE, 20))
    with pytest.raises(RudderError, match="2 prompts for 3"):
        spikiness(backbone, pictures(3), Probe(SITE, 20), prompts=["a", "b"])
