"""The judge, what counts as given back, and the committed model's own claims on a few samples."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from steering import evaluation
from steering.backbones.registry import prompts_of
from steering.concepts import learn, library
from steering.errors import RudderError
from steering.evaluation import common, judge, showcase
from steering.evaluation.editability import onset
from steering.evaluation.examples import CURVES, by_examples, figure
from steering.evaluation.shape import agreement, edges, shape_kept
from steering.files import home
from tests.tiny import pictures


@pytest.fixture(scope="module")
def committed() -> judge.Judge:
    return judge.load()


def test_judge_reads_the_shipped_examples(committed):
    """Example sets were rendered from seeds that the judge was never trained on."""
    for style in common.STYLES:
        info = library("tiny-sd")[style]
        read = committed.read([Image.open(path) for path in info.examples])
        plain = committed.read([Image.open(path) for path in info.baseline])
        assert (read["style"] == committed.config["styles"].index(style)).mean() >= 0.9
        assert (plain["style"] == committed.config["styles"].index(style)).mean() <= 0.1


def test_judge_takes_any_size(committed):
    read = committed.read(pictures(2, size=40))
    heads = {"object", "style", "background", "glasses", "two", "colour", "artefact"}
    assert set(read) == set(committed.heads_by_name) >= heads


def test_judge_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "folder", lambda: tmp_path)
    with pytest.raises(RudderError, match="missing.*git checkout"):
        judge.load()
    with pytest.raises(RudderError, match="missing"):
        judge.nearest_training(pictures(1))


def test_a_training_picture_is_nearer_than_noise():
    thumbnails = sorted((home() / "models" / "tiny-sd" / "thumbnails").glob("ordinary-*.png"))
    drawn, fresh = judge.nearest_training([Image.open(path) for path in thumbnails])
    noise, _ = judge.nearest_training(pictures(4, size=64))
    assert np.median(drawn) < noise.min()
    assert fresh.ndim == 1 and len(fresh) >= 500


def test_gives_back_is_strict():
    originals = pictures(4, size=64, seed=3)
    assert common.gives_back(originals, [0, 1, 2, 3], originals).all()
    assert not common.gives_back(originals, [1, 2, 3, 0], originals).any()
    blended = [Image.blend(a, b, 0.5) for a, b in zip(originals, originals[1:] + originals[:1], strict=True)]
    assert np.allclose(*np.sort(common.distances(blended, originals), axis=1).T[:2], rtol=0.02)
    near = [Image.blend(a, b, 0.1) for a, b in zip(originals, originals[1:] + originals[:1], strict=True)]
    assert common.gives_back(near, [0, 1, 2, 3], originals).all()
    strangers = pictures(4, size=64, seed=4)  # each is nearest to some original, and no copy of it
    nearest = common.distances(strangers, originals).argmin(1).tolist()
    assert not common.gives_back(strangers, nearest, originals).any()


def test_distances_are_rms_of_unit_pixels():
    black, white = (Image.new("RGB", (64, 64), colour) for colour in ("black", "white"))
    assert common.distances([black], [black, white]) == pytest.approx(np.array([[0.0, 1.0]]))


def test_held_out_triples_are_never_asked_as_seen(committed):
    seen, held = common.triples(committed.config)
    sides = [len(committed.config[name]) for name in ("kinds", "styles", "backgrounds")]
    assert held and not set(seen) & set(held)
    assert len(set(seen)) + len(set(held)) == np.prod(sides)


def test_memorised_set_is_whole():
    memorised = common.memorized_set("tiny-sd")
    drawn = list((home() / "models" / "tiny-sd" / "thumbnails").glob("memorized-*.png"))
    assert len({m.caption for m in memorised}) == len(memorised) == len(drawn) >= 84
    assert len({m.level for m in memorised}) == 7
    originals = [m.picture for m in memorised]
    assert common.gives_back(originals, list(range(len(originals))), originals).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_takes_memories_of_every_level_in_turn(seed: int):
    ladder = [common.Memorised(f"{level} {i}", Image.new("RGB", (1, 1)), "drawing", level, 2**level)
              for level, count in enumerate((9, 2, 4)) for i in range(count)]  # fmt: skip
    some = common.in_turn(ladder, np.random.default_rng(seed), 7)
    assert len(set(some)) == 7
    assert sorted(ladder[i].level for i in some[:6]) == [0, 0, 1, 1, 2, 2]
    whole = common.in_turn(ladder, np.random.default_rng(seed), None, times=3)
    assert sorted(whole) == sorted(list(range(15)) * 3)


def test_the_showcase_tells_a_memory_that_holds_from_one_that_gave_way():
    judged = showcase._judge_for(SimpleNamespace(name="tiny-sd"))
    one, other = common.memorized_set("tiny-sd")[:2]
    seen = partial(showcase._seen, judged, "memorized", "sketch", one.caption)
    assert seen([one.picture] * 5)["kept"] == 1.0
    assert seen([one.picture] * 2 + [other.picture] * 3)["kept"] == showcase.FACTORS[1]
    assert seen([other.picture] * 5)["kept"] == -1.0


def test_the_showcase_wants_an_undamaged_picture_of_what_the_prompt_names():
    judged = showcase._judge_for(SimpleNamespace(name="tiny-sd"))
    listed = prompts_of("tiny-sd")["ordinary"]
    cell = partial(showcase.Cell, "sea", "ordinary", "a cat", 7, (0.0,) * 5, "towards", "evenly", 1.0, 0.3, 60.0)
    assert showcase.answers(cell(kept=1.0, taken=0.5, whole=1.0), 1.0)
    assert not showcase.answers(cell(kept=1.0, taken=0.5, whole=0.75), 1.0)
    assert showcase.answers(cell(), 1.0), "of a model without a judge nothing is asked"
    entry = next(one for one in listed if " sky " in one["prompt"])
    shown = Image.open(home() / "models" / "tiny-sd" / entry["thumbnail"]).convert("RGB")
    seen = partial(showcase._seen, judged, "ordinary", "sea")
    told = seen(entry["prompt"], [shown] * 5)
    assert (told["kept"], told["whole"], told["taken"]) == (1.0, 1.0, np.inf)
    assert seen(entry["prompt"].replace("sky", "night"), [shown] * 5)["kept"] == -1.0
    assert seen(entry["prompt"], [shown] * 2 + [shown.resize((9, 9)).resize(shown.size)] * 3)["whole"] <= 0.25


def test_model_without_prompts(tmp_path, monkeypatch):
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    with pytest.raises(RudderError, match="prompts.json"):
        common.memorized_set("other")


@pytest.fixture(scope="module")
def tiny_sd():
    from steering.backbones.registry import load

    return load("tiny-sd")


def test_committed_model_recalls_and_follows(tiny_sd):
    """A few samples of the report; the figures of record are in models/tiny-sd/evaluation.json."""
    with torch.inference_mode():
        found = evaluation.prompts(tiny_sd, limit=6)["prompts"]
        known = common.memorized_set("tiny-sd")
        often = sorted(range(len(known)), key=lambda i: -(known[i].repeats or 0))[:6]
        made = common.pictures_of(tiny_sd, [known[i].caption for i in often], range(6))
    kept = {"style", "background", "object", "object_held_out", "memorized_recall", "ordinary_copy_rate"}
    assert kept <= set(found)
    assert found["counts"] == {"ordinary": 6, "held_out": 6, "memorized": 6}
    assert common.gives_back(made, often, [one.picture for one in known]).mean() >= 0.5
    assert found["style"] >= 0.5


def test_frechet_distance_of_known_gaussians():
    """Equal covariances: the squared distance of the means; one-dimensional in effect: the deviations' too."""
    rng = np.random.default_rng(0)
    some = rng.normal(size=(20_000, 3))
    assert judge.frechet_distance(some, some) == pytest.approx(0, abs=1e-6)
    assert judge.frechet_distance(some, some + [3, 0, 0]) == pytest.approx(9, rel=1e-6)
    assert judge.frechet_distance(some, 2 * rng.normal(size=(20_000, 3))) == pytest.approx(3, rel=0.05)


def test_shape_is_kept_where_edges_stay():
    def drawn(x: int, colour: str, ground: str) -> Image.Image:
        picture = Image.new("RGB", (128, 128), ground)
        picture.paste(Image.new("RGB", (40, 40), colour), (x, 44))
        return picture

    plain = [drawn(x, "black", "white") for x in (4, 44, 84)]
    recoloured = [drawn(x, "yellow", "navy") for x in (4, 44, 84)]
    moved = [drawn(x, "black", "white") for x in (84, 4, 44)]
    assert shape_kept(recoloured, plain, moved)["kept"].all()
    assert agreement(edges(recoloured[0]), edges(plain[0])) == pytest.approx(1, abs=0.02)
    assert not shape_kept(moved, plain, [Image.new("RGB", (128, 128), "white")] * 3)["kept"].all()
    assert agreement(edges(plain[0]), edges(Image.new("RGB", (9, 9)))) == 0


def test_onset_is_read_between_the_levels():
    curves = [{"repeats": n, "recall": r} for n, r in ((2, 0.0), (10, 0.0), (100, 1.0), (1000, 1.0))]
    assert onset(curves, "recall", 0.0) == pytest.approx(10**1.5, rel=1e-3)
    assert onset([{"repeats": None, "recall": 1.0}], "recall", 0.0) is None
    flat = [{"repeats": n, "recall": 0.0} for n in (2, 10)]
    assert onset(flat, "recall", 0.0) is None


def test_record_has_the_keys_of_the_report():
    record = json.loads((home() / "models" / "tiny-sd" / "evaluation.json").read_text())
    keys = {
        "prompts": "style background object object_held_out memorized_recall ordinary_copy_rate recall_by_level "
        "by_steps",
        "steering": "style_taken_ordinary object_kept_ordinary style_taken_memorized picture_kept_memorized curve "
        "by_level",
        "detection": "auroc auroc_in_kind auroc_photographs tpr_at_1fpr seconds_per_image rivals by_level",
        "editability": "spearman ci95 n curves onset",
    }
    assert set(keys) <= set(record) <= {*keys, "words", "groups", "made"}
    for block, names in keys.items():
        assert set(names.split()) <= set(record[block])
    for rival in record["detection"]["rivals"].values():
        assert {"auroc", "tpr_at_1fpr", "seconds", "needs_prompt", "needs_training_data"} <= set(rival)
    curve = record["steering"]["curve"]
    for group in ("ordinary", "memorized"):
        assert len(curve[group]["style_taken"]) == len(curve["factor"])


def test_how_many_examples_a_concept_needs(backbone, monkeypatch, committed):
    """Every number is counted, as often as the painted pictures allow; the figure draws what was measured."""
    monkeypatch.setitem(backbone.defaults, "num_inference_steps", 2)
    learned = list(learn(backbone, "sketch", pictures(3), pictures(3, seed=1), timesteps=(100,)))[-1]
    shipped = {"sketch": learned.replace(recommended={"strength": 1.0})}
    said = []
    told = by_examples(backbone, shipped, limit=2, counts=(2, 4), progress=lambda *step: said.append(step))
    assert told["counts"] == [2, 4] and told["sets"] == [2, 1] and told["styles"] == ["sketch"]
    assert said[-1][0] == said[-1][1] == 5
    assert set(told["shipped"]) == set(CURVES) and all(len(told[name]) == 2 for name in CURVES)
    assert all(0 <= value <= 1 for name in CURVES for value in told[name] if value is not None)
    assert json.loads(json.dumps(told)) == told
    drawn = figure({**told, "success": [0.25, None], "artefacts": [0.0, 1.0]})
    assert drawn.count("<polyline") == 4 and drawn.startswith("<svg") and ">4</text>" in drawn
