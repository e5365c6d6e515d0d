"""Calibration: ROC measures by property, halves that share no original, verdicts, files that lie."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from steering.audit.samples import samples
from steering.backbones import Backbone
from steering.calibration import Calibration, calibrate, of_model
from steering.concepts import Progress
from steering.errors import RudderError
from steering.roc import auroc, interval, threshold_at, tpr_at_fpr
from steering.samples import Sample, halves
from steering.ui.studio import open_studio
from tests.tiny import pictures

SITE = "up_blocks.1.resnets.1.nonlinearity"
groups = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=30).map(np.array)


@given(groups, groups)
def test_auroc_is_the_chance_of_ranking_right(a: np.ndarray, b: np.ndarray) -> None:
    pairs = np.sign(a[:, None] - b[None])
    assert auroc(a, b) == pytest.approx(float((pairs + 1).mean() / 2))
    assert auroc(a, b) + auroc(b, a) == pytest.approx(1)


@given(groups, groups, st.floats(0, 1))
def test_tpr_keeps_its_promise_on_false_positives(a: np.ndarray, b: np.ndarray, rate: float) -> None:
    best = max((float((a >= cut).mean()) for cut in [*a, *b, np.inf] if (b >= cut).mean() <= rate + 1e-12), default=0)
    assert tpr_at_fpr(a, b, rate) == pytest.approx(best)


@given(groups, st.floats(0, 0.99))
def test_threshold_lets_no_more_through_than_asked(b: np.ndarray, rate: float) -> None:
    cut = threshold_at(b, rate)
    assert cut in b and (b > cut).mean() <= rate + 1e-12


def test_interval_holds_the_value_and_widens_with_clusters() -> None:
    rng = np.random.default_rng(0)
    spiky = np.repeat(rng.normal(1.0, 1, 8), 10) + rng.normal(0, 0.01, 80)
    balanced = rng.normal(0, 1, 200)
    low, high = interval(auroc, spiky, balanced, rounds=300)
    wide_low, wide_high = interval(auroc, spiky, balanced, rounds=300, clusters=np.repeat(np.arange(8), 10))
    assert low < auroc(spiky, balanced) < high and wide_high - wide_low > high - low


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf, 1]])
def test_scores_that_are_none(bad: list) -> None:
    with pytest.raises(RudderError, match="empty or not finite"):
        auroc(np.array(bad), np.array([1.0]))


def _samples(count: int = 6) -> list[Sample]:
    """Flat pictures are "memorised", noisy ones ordinary; each original twice."""
    flat = [p.resize((4, 4)).resize((32, 32)) for p in pictures(count, seed=1)]
    noisy = pictures(count, seed=2)
    rows = [(p, m, f"{m}{i}") for m, some in ((True, flat), (False, noisy)) for i, p in enumerate(some)]
    return [Sample(p, m, "drawing", o, owner) for p, m, owner in rows for o in ("generated", "fresh")]


@given(st.integers(0, 1000))
def test_no_original_is_in_both_halves(seed: int) -> None:
    rows = _samples(4)
    fit = halves(rows, seed)
    sides: dict[str, set[bool]] = {}
    for sample, flag in zip(rows, fit, strict=True):
        sides.setdefault(sample.original, set()).add(bool(flag))
    assert all(len(side) == 1 for side in sides.values())
    assert fit.any() and not fit.all()


@given(st.integers(0, 1000))
def test_copies_of_one_picture_are_in_one_half(seed: int) -> None:
    """Given under names of their own, of different kinds, and chained: a is b's copy, b's original has another."""
    flat = [Sample(p, True, "a", "given", f"m{i}") for i, p in enumerate(pictures(6, seed=1))]
    noisy = [Sample(p, False, "a", "given", f"o{i}") for i, p in enumerate(pictures(6, seed=2))]
    copies = [replace(flat[0], original="x", kind="b"), replace(flat[1], original="x"), replace(noisy[3], original="y")]
    rows = [*flat, *noisy, *copies]
    fit = halves(rows, seed)
    assert len({fit[0], fit[1], fit[12], fit[13]}) == 1 and fit[9] == fit[14]
    assert fit.any() and not fit.all()
    with pytest.raises(RudderError, match="among the memorised and among the ordinary"):
        halves([*rows, replace(flat[2], memorized=False, original="z")], seed)


def test_listed_pictures_share_an_original_with_their_copies(tmp_path) -> None:
    one, two = (picture.resize((256, 256), Image.Resampling.BICUBIC) for picture in pictures(2, seed=5, size=6))
    one.save(tmp_path / "1.png")
    one.save(tmp_path / "2.jpg", quality=92)
    two.save(tmp_path / "3.png")
    one.resize((200, 200)).save(tmp_path / "4.webp", quality=90)
    (tmp_path / "1.txt").write_text("a caption")
    notes: list[str] = []
    (found,) = samples(SimpleNamespace(), [tmp_path], True, tmp_path / "kept", notes=notes)
    assert [s.original for s in found] == [str(tmp_path / name) for name in ("1.png", "1.png", "3.png", "1.png")]
    assert any("no picture" in note for note in notes), notes


@pytest.fixture(scope="module")
def made(backbone: Backbone) -> Calibration:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steering.calibration.ROUNDS", 20)
        *progress, made = calibrate(backbone, _samples(), sites=[SITE, "mid_block"], timesteps=(20, 200), draws=2)
    assert all(isinstance(p, Progress) for p in progress) and progress[-1].done == 24
    return made


def test_the_best_probe_is_chosen_on_one_half_only(made: Calibration) -> None:
    assert len(made.sweep) == 2 * 2 * 2 * 4  # sites, timesteps, poolings, statistics
    best = max(made.sweep, key=lambda row: (row["auroc"], row["tpr_at_1fpr"], row["margin"]))
    assert vars(made.probe).items() <= best.items()
    assert made.report["counts"] == {"memorized": 6, "ordinary": 6} == {
        "memorized": len(made.memorized), "ordinary": len(made.ordinary)}  # fmt: skip
    assert made.report["auroc"] == pytest.approx(auroc(np.array(made.memorized), np.array(made.ordinary)), abs=1e-4)


def test_verdicts_say_where_a_score_falls(made: Calibration) -> None:
    top = made.verdict(max(made.ordinary) + made.threshold + 1)
    assert top.memorized and top.above == 1 and "spikier than 100 % of ordinary" in top.sentence
    bottom = made.verdict(min(made.ordinary) - 1)
    assert not bottom.memorized and bottom.above == 0 and bottom.sentence.startswith("not memorised")


def test_scores_follow_the_probe(made: Calibration, backbone: Backbone) -> None:
    rows = _samples()
    again = made.score(backbone, [s.picture for s in rows]).mean
    held = [s.memorized and s.original not in made.fitted for s in rows]
    np.testing.assert_allclose(np.sort(again[held]), made.memorized, atol=1e-4)


def test_saved_and_loaded(made: Calibration, backbone: Backbone, tmp_path) -> None:
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json", backbone) == made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rudder_calibration": 99}, "no calibration"),
        ({"probe": {"site": "x"}}, "damaged"),
        ({"ordinary": []}, "no scores"),
        ({"ordinary": ["x"]}, "score"),
        ({"fingerprint": "0" * 16}, "was made for"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_files_that_lie(made: Calibration, backbone: Backbone, tmp_path, change: dict, says: str) -> None:
    made.save(tmp_path / "c.json")
    values = json.loads((tmp_path / "c.json").read_text()) | change
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(RudderError, match=says):
        Calibration.load(tmp_path / "c.json", backbone)


def test_one_of_ones_own_is_the_models_by_its_weights(
    made: Calibration, backbone: Backbone, tiny_folder, tmp_path
) -> None:
    other = replace(made, model="another", fingerprint="0" * 16)
    assert of_model(backbone, [other]) is None and of_model(backbone, [other, made]) is made
    with pytest.raises(RudderError, match="was made for"):
        of_model(backbone, [replace(other, model=backbone.name)])
    with pytest.raises(RudderError, match="was made for"):
        open_studio(str(tiny_folder), device="cpu", calibrations=[replace(other, model=backbone.name)])
    assert open_studio(str(tiny_folder), device="cpu", calibrations=[made]).calibration is made


def test_one_group_alone_is_refused(backbone: Backbone) -> None:
    with pytest.raises(RudderError, match="at least two memorised"):
        list(calibrate(backbone, [s for s in _samples() if not s.memorized], sites=[SITE], timesteps=(20,)))
