"""No verdict far from what a calibration knew; foreign pictures of every kind, the same each time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from steering.backbones import Backbone
from steering.calibration import Calibration, shipped
from steering.domain import Domain, denoising_error
from steering.errors import RudderError
from steering.evaluation.foreign import KINDS, foreign
from steering.files import home
from steering.spikiness import Probe
from tests.tiny import pictures


def calibration(**changes: object) -> Calibration:
    """A calibration of nothing in particular: threshold 1, denoising errors known up to .2 (memorised) and .5."""
    domain = Domain(300, 2, 0, 0.2, 0.5, {})
    made = Calibration("m", "f", Probe("mid_block", 10), 1, 0, 1.0, (0.5, 0.6), (1.5,), {}, {}, [], (), {}, domain)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("score", "error", "memorized"),
    [(2.0, 0.1, True), (2.0, 0.3, None), (0.5, 0.3, False), (0.5, 0.6, None), (2.0, None, True), (0.5, None, False)],
)
def test_each_verdict_has_its_own_reach(score: float, error: float | None, memorized: bool | None) -> None:
    told = calibration().verdict(score, 0.0, error)
    assert told.memorized is memorized
    assert told.sentence.startswith({True: "memorised", False: "not memorised", None: "no verdict"}[memorized])
    assert calibration(domain=None).verdict(score, 0.0, error).memorized is (score > 1)


def test_error_is_that_of_the_noise_and_the_same_in_any_batch(backbone: Backbone) -> None:
    some = pictures(3, size=64)
    together = denoising_error(backbone, some, 200, draws=2, seed=3)
    alone = [denoising_error(backbone, [picture], 200, draws=2, seed=3)[0] for picture in some]
    np.testing.assert_allclose(together, alone, rtol=1e-3)
    assert not np.allclose(together, denoising_error(backbone, some, 200, draws=2, seed=4))
    latents = backbone.encode(some)
    np.testing.assert_allclose(together, denoising_error(backbone, latents, 200, draws=2, seed=3), rtol=1e-3)


def test_a_network_that_knows_the_noise_errs_by_nothing(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an empty latent the noised one is the noise, up to its scale: a network that returns it is perfect."""
    monkeypatch.setattr(backbone, "denoise", lambda x, t, condition: x / x.std((1, 2, 3), correction=0, keepdim=True))
    zeros = torch.zeros(2, *backbone.latent_shape)
    assert denoising_error(backbone, zeros, 300).max() < 1e-3
    monkeypatch.setattr(backbone, "denoise", lambda latents, t, condition: torch.zeros_like(latents))
    assert denoising_error(backbone, zeros, 300) == pytest.approx(1, abs=0.01)


def test_foreign_pictures_are_many_and_the_same_each_time() -> None:
    one, again, other = (foreign(3, 48, seed) for seed in (0, 0, 1))
    assert set(one) == set(KINDS) and len(KINDS) >= 7
    for kind in KINDS:
        assert all(picture.size == (48, 48) and picture.mode == "RGB" for picture in one[kind])
        assert [p.tobytes() for p in one[kind]] == [p.tobytes() for p in again[kind]]
        assert [p.tobytes() for p in one[kind]] != [p.tobytes() for p in other[kind]]


@pytest.mark.parametrize("change", [{"memorized": -1}, {"timestep": 5000}, {"surprise": 1}, {"draws": "x"}])
def test_a_domain_that_lies_is_refused(tmp_path, change: dict) -> None:
    calibration().save(tmp_path / "c.json")
    values = json.loads((tmp_path / "c.json").read_text())
    values["domain"] |= change
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(RudderError):
        Calibration.load(tmp_path / "c.json")


def test_the_shipped_calibration_gives_foreign_pictures_no_false_verdict() -> None:
    """A sample of what `rudder calibrate` records for all kinds; the figures of record are in the calibration."""
    from steering.backbones.registry import load

    backbone = load("tiny-sd")
    made = shipped(backbone)
    assert made is not None and made.domain is not None and (home() / "assets" / "calibrations").is_dir()
    strange = [picture for some in foreign(6, backbone.resolution, seed=99).values() for picture in some]
    told = made.verdicts(made.score(backbone, strange))
    assert np.mean([verdict.memorized is True for verdict in told]) <= 0.05
    assert any(verdict.memorized is None for verdict in told)
