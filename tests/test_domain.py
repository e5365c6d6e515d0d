"""No verdict far from what a calibration knew; foreign pictures of every kind, the same each time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from steering.backbones import Backbone
from steering.calibration import Calibration, shipped
from steering.domain import LEAST, TRAITS, Domain, fit, traits
from steering.errors import RudderError
from steering.foreign import KINDS, foreign
from steering.samples import Sample, known_world
from steering.scoring import Probe
from tests.tiny import pictures

F = len(TRAITS)


def domain(**changes: object) -> Domain:
    """Known is what lies within about 1.5 of the origin; memorised pictures err at most by -2."""
    made = Domain(0, (0.0,) * F, (1.0,) * F, ((0.0,) * F,), (-1.0,), 0.5, -0.3, -2.0, {})
    return replace(made, **changes)


def calibration(**changes: object) -> Calibration:
    """A calibration of nothing in particular: threshold 1."""
    made = Calibration("m", "f", Probe("mid_block", 10), 1, 0, 1.0, (0.5, 0.6), (1.5,), {}, {}, [], (), {}, domain())
    return replace(made, **changes)


def at(distance: float, error: float = 0.0) -> np.ndarray:
    """Traits at a distance from the origin, with this error of the noise predicted last."""
    values = np.zeros(F)
    values[0], values[TRAITS.index("noise_300")] = distance, error
    return values


@pytest.mark.parametrize(
    ("score", "known", "memorized"),
    [
        (0.5, at(0.1), False), (0.5, at(9), None), (0.5, None, False), (2.0, None, True),
        (2.0, at(9), None), (2.0, at(0.1, -1.0), None), (0.5, at(0.1, -1.0), False),
    ],
)  # fmt: skip
def test_each_verdict_has_its_own_reach(score: float, known: np.ndarray | None, memorized: bool | None) -> None:
    made = calibration(domain=domain(memorized=-1.5))
    told = made.verdict(score, 0.0, known)
    assert told.memorized is memorized
    assert told.sentence.startswith({True: "memorised", False: "not memorised", None: "no verdict"}[memorized])
    assert told.label == {True: "memorised", False: "ordinary", None: "none"}[memorized]
    assert calibration(domain=None).verdict(score, 0.0, known).memorized is (score > 1)
    near = calibration(domain=domain(memorized=0.5)).verdict(2.0, 0.0, at(0.1))
    assert near.memorized is True


def test_a_boundary_keeps_what_is_known_and_leaves_out_what_is_not() -> None:
    """A cloud, and strangers on a shell around it: unseen members stay inside, unseen strangers outside."""
    rng = np.random.default_rng(3)

    def cloud(count: int) -> np.ndarray:
        return rng.normal(0, 1, (count, F))

    def shell(count: int) -> np.ndarray:
        way = rng.normal(0, 1, (count, F))
        return 9 * way / np.linalg.norm(way, axis=1, keepdims=True)

    known = cloud(300)
    made = fit(known, [str(i // 2) for i in range(300)], np.arange(300) < 100, shell(200), seed=1)
    assert made is not None
    assert (made.strangeness(cloud(300)) > 0).mean() <= 0.04
    assert (made.strangeness(shell(300)) > 0).mean() >= 0.99
    again = fit(known, [str(i // 2) for i in range(300)], np.arange(300) < 100, shell(200), seed=1)
    assert again is not None and again.limit != made.limit, "other strangers draw another boundary"


def test_too_few_originals_draw_no_boundary() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (100, F))
    assert fit(rows, [str(i % (LEAST - 1)) for i in range(100)], np.ones(100, bool), rows) is None
    assert fit(rows, [str(i) for i in range(100)], np.zeros(100, bool), rows) is None
    assert fit(rows, [str(i) for i in range(100)], np.ones(100, bool), rows[:3]) is None


def test_traits_are_a_pictures_own_and_the_same_in_any_batch(backbone: Backbone) -> None:
    some = pictures(3, size=64)
    together = traits(backbone, some, seed=3)
    assert together.shape == (3, F) and np.isfinite(together).all()
    alone = np.concatenate([traits(backbone, [picture], seed=3) for picture in some])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)
    other = traits(backbone, some, seed=4)
    noise = [name.startswith("noise") for name in TRAITS]
    assert np.array_equal(together[:, ~np.array(noise)], other[:, ~np.array(noise)])
    assert not np.allclose(together[:, noise], other[:, noise])


def test_latents_are_judged_as_the_pictures_they_make(backbone: Backbone) -> None:
    latents = backbone.encode(pictures(2, size=64))
    np.testing.assert_allclose(traits(backbone, latents), traits(backbone, backbone.decode(latents)), rtol=1e-5)


def test_the_world_is_what_the_model_paints_and_what_it_has_by_heart() -> None:
    (picture,) = pictures(1)
    rows = [
        Sample(picture, True, "photograph", "training", "a"), Sample(picture, False, "drawing", "generated", "b"),
        Sample(picture, False, "drawing", "fresh", "c"), Sample(picture, False, "photograph", "fresh", "d"),
    ]  # fmt: skip
    assert known_world(rows).tolist() == [True, True, True, False]
    given = [replace(row, origin="given") for row in rows]
    assert known_world(given).all(), "of lists nothing is known but what they say"


def test_foreign_pictures_are_many_and_the_same_each_time() -> None:
    one, again, other = (foreign(3, 48, seed) for seed in (0, 0, 1))
    assert set(one) == set(KINDS) and len(KINDS) >= 7
    assert set(one) - set(foreign(1, 48, photographs=False)) == {"photograph"}
    for kind in KINDS:
        assert all(picture.size == (48, 48) and picture.mode == "RGB" for picture in one[kind])
        assert [p.tobytes() for p in one[kind]] == [p.tobytes() for p in again[kind]]
        assert [p.tobytes() for p in one[kind]] != [p.tobytes() for p in other[kind]]


@pytest.mark.parametrize(
    "change",
    [
        {"memorized": "x"}, {"gamma": -1}, {"surprise": 1}, {"scale": [0.0] * F}, {"mean": [0.0]},
        {"vectors": [[1.0]]}, {"weights": [1.0, 2.0]}, {"limit": 1e300}, {"seed": -1},
    ],
)  # fmt: skip
def test_a_domain_that_lies_is_refused(tmp_path, change: dict) -> None:
    calibration().save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json").domain == domain()
    values = json.loads((tmp_path / "c.json").read_text())
    values["domain"] |= change
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(RudderError):
        Calibration.load(tmp_path / "c.json")


def test_the_shipped_calibration_gives_foreign_pictures_no_verdict() -> None:
    """A sample of what `python -m benchmarks.domain` measures over all kinds."""
    from steering.backbones.registry import load

    backbone = load("tiny-sd")
    made = shipped(backbone)
    assert made is not None and made.domain is not None
    strange = [picture for some in foreign(6, backbone.resolution, seed=99).values() for picture in some]
    told = made.verdicts(made.score(backbone, strange))
    assert np.mean([verdict.memorized is not None for verdict in told]) <= 0.05
