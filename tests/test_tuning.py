"""A sight says how far pictures went, by property; a search tells what came of it and stops when asked."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from steering import tuning
from steering.backbones import Backbone
from steering.concepts import ConceptVector, Progress
from steering.errors import Cancelled, RudderError
from steering.pace import Pace
from steering.sight import alike, features, folds, sight_of
from steering.tuning import DEFAULT, tune
from tests.tiny import pictures


def blocks(count: int, seed: int) -> list[Image.Image]:
    """Pictures that differ as pictures do: three by three patches of any colour."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 3, 3, 3), np.uint8)
    return [Image.fromarray(v).resize((64, 64), Image.Resampling.NEAREST) for v in values]


def tinted(images: list[Image.Image], share: float = 0.5) -> list[Image.Image]:
    return [Image.blend(image, Image.new("RGB", image.size, "#d01010"), share) for image in images]


@settings(deadline=None)
@given(st.floats(0, 0.5), st.integers(0, 50))
def test_sight_measures_the_share_of_the_way(share: float, seed: int) -> None:
    """A tint is linear in its share: a picture tinted by a part of it has gone about that part of the way, and keeps
    about what the paint lets through."""
    base = blocks(40, seed)
    sight = sight_of(features(tinted(base)), features(base))
    fresh = blocks(40, seed + 100)
    before, after = features(fresh), features(tinted(fresh, share))
    assert sight.along(before, after).mean() == pytest.approx(share / 0.5, abs=0.25)
    assert sight.along(after, before).mean() <= 0.01
    assert sight.kept(before, after).mean() == pytest.approx(1 - share, abs=0.25)


def test_another_picture_is_not_kept_and_the_same_is() -> None:
    base = blocks(8, seed=1)
    sight = sight_of(features(tinted(base)), features(base))
    seen = features(base)
    assert sight.kept(seen, seen) == pytest.approx(1)
    assert sight.kept(seen, np.roll(seen, 1, axis=0)).mean() < 0.35


def test_sets_that_do_not_differ_cannot_be_told_apart() -> None:
    assert sight_of(features(blocks(12, seed=2)), features(blocks(12, seed=3))).auroc < 0.9
    base = blocks(12, seed=2)
    assert sight_of(features(tinted(base)), features(base)).auroc == 1.0


def test_copies_of_one_picture_are_left_out_together() -> None:
    """Else a member left out is told by its copy, and sets that do not differ seem to."""
    few = [*blocks(4, seed=7), *blocks(4, seed=8)]
    examples, baseline = features(few[:4] * 5), features(few[4:] * 5)
    for both in (features(few[:4] * 5), features([few[0].resize((128, 128)) for _ in range(3)])):
        assert len(set(alike(both).tolist())) == len({i % 4 for i in range(len(both))} if len(both) > 3 else {0})
    parts, many = folds(examples, baseline, np.random.default_rng(0))
    assert many == 4
    for part in parts:
        assert all(len(set(part[place::4].tolist())) == 1 for place in range(4))
    parts, _ = folds(features(few[:6]), features([few[0], *few[6:], few[1]]), np.random.default_rng(0))
    assert (parts[0][0], parts[0][1]) == (parts[1][0], parts[1][3]), "one in both sets"
    assert not np.isfinite(sight_of(features(few[:1] * 9), baseline).auroc), "one picture alone tells nothing"


@pytest.fixture
def quick(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """Few steps and settings."""
    monkeypatch.setitem(backbone.defaults, "num_inference_steps", 2)
    monkeypatch.setattr(tuning, "SETTINGS", tuning.SETTINGS[:3])
    return backbone


def last(run) -> ConceptVector:
    *progress, vector = run
    assert progress and all(isinstance(item, Progress) for item in progress)
    assert all(0 <= item.done <= item.total for item in progress)
    return vector


def test_a_search_ends_in_advice_that_a_file_keeps(quick: Backbone, tmp_path) -> None:
    base = pictures(4, size=64)
    vector = last(tune(quick, "red", tinted(base), base, prompts=["a cat"]))
    told = vector.recommended
    assert told["state"] in ("takes", "weak", "cannot") and told["why"].endswith(".")
    assert told["strength"] in tuning.STRENGTHS
    assert told["settings_tried"] == 3
    tried = {row["strength"]: row["kept"] for row in told["measured"]}
    assert list(tried) == sorted([*tuning.BACK, *tuning.STRENGTHS])
    low, high = told["range"]
    assert -told["strength"] <= low < 0 < told["strength"] <= high <= 2 * told["strength"]
    for end in (low, high):
        assert end in (tuning.BACK[0], told["strength"]) or all(
            kept >= tuning.HOLDS for strength, kept in tried.items() if 0 < strength / end <= 1
        ), "the slider goes as far as the picture holds"
    assert set(told["sites"]) <= set(vector.sites) and told["halves"] in ("both", "conditional")
    assert bool(told.get("weak")) is (told["state"] != "takes")
    vector.save(tmp_path / "v.safetensors")
    assert ConceptVector.load(tmp_path / "v.safetensors", quick).recommended == told


def test_the_search_is_the_same_each_time_and_needs_no_baseline(quick: Backbone) -> None:
    one, two = (last(tune(quick, "red", tinted(pictures(3, size=64)), prompts=["a cat"], seed=4)) for _ in range(2))
    assert one.recommended == two.recommended


def test_no_time_left_still_tries_the_default(quick: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "measure", lambda backbone: Pace(0.0, 0.0))
    base = pictures(3, size=64)
    told = last(tune(quick, "red", tinted(base), base, prompts=["x"], budget=1e-9)).recommended
    assert told["settings_tried"] == 1 and told["window"] == list(DEFAULT.window) and told["gained"] == 0


def test_stopped_at_once(quick: Backbone) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        list(tune(quick, "red", pictures(3, size=64), stop=stop))
    with pytest.raises(RudderError, match="no pictures"):
        list(tune(quick, "red", []))


@pytest.mark.parametrize(
    ("along", "kept", "apart", "survives", "count", "state", "says"),
    [
        (0.8, 0.6, 1.0, 0.9, 12, "takes", "80 % of the way"),
        (0.8, 0.6, 1.0, 0.2, 12, "cannot", "autoencoder gives back 20 %"),
        (0.3, 0.6, 0.6, 0.9, 12, "weak", "hardly differ"),
        (0.3, 0.6, 1.0, 0.9, 3, "weak", "3 pictures say little"),
        (0.05, 0.9, 1.0, 0.9, 12, "weak", "hardly move"),
        (-0.4, 0.9, 1.0, 0.9, 12, "weak", "hardly move"),
        (0.8, 0.1, 1.0, 0.9, 12, "weak", "place before it changes"),
        (0.3, 0.6, 1.0, 0.9, 12, "weak", "only a part of the way"),
    ],
)
def test_every_outcome_is_told(along, kept, apart, survives, count, state, says) -> None:
    base = pictures(4, size=64)
    sight = replace(sight_of(features(tinted(base)), features(base)), auroc=apart)
    told = tuning._told({"along": along, "kept": kept, "strength": 1.0}, sight, survives, count)
    assert told[0] == state and says in told[1]


def test_a_search_can_be_narrowed(quick: Backbone) -> None:
    """At given sites and pooling only window and half are searched."""
    base, site = pictures(3, size=64), quick.defaults["sites"][0]
    vector = last(tune(quick, "red", tinted(base), base, prompts=["a cat"], sites=[site], pooling="max"))
    assert list(vector.sites) == [site] and vector.recommended["sites"] == [site]
    assert vector.provenance["pooling"] == "max"
    assert vector.recommended["settings_tried"] == len({(s.halves, s.window) for s in tuning.SETTINGS})


def test_where_one_candidate_would_take_hours_nothing_is_painted_and_this_is_said(
    quick: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "measure", lambda backbone: Pace(60.0, 60.0))
    monkeypatch.setattr(tuning, "sample", lambda *a, **k: pytest.fail("it paints"))
    base = pictures(3, size=64)
    vector = last(tune(quick, "red", tinted(base), base))
    told = vector.recommended
    assert told["state"] == "untried" and "about 40 min of painting" in told["why"]
    assert vector.advice["strength"] == 1.0 and set(told["sites"]) == set(quick.defaults["sites"])
