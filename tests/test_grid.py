"""Grids: axes as people write them, cells as single runs paint them, and what is taken away."""

from __future__ import annotations

import json
import threading
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from steering import exports
from steering.axes import groups, numbers, rows_of
from steering.backbones import load
from steering.concepts import ConceptVector, Progress, learn
from steering.errors import Cancelled, RudderError
from steering.exports import animation, archive, sheet
from steering.grid import Bench, Grid, Painted, across_models, grid, seconds, work
from steering.masks import mask_text
from steering.pace import Pace
from steering.plan import Steering
from steering.png import read_png
from steering.recipe import Recipe, Use, Window
from steering.sampling import finish, sample
from tests.tiny import make_tiny_sd, pictures

RECIPE = Recipe(prompt="a red apple", seed=5, num_inference_steps=8, concepts=(("red", 2.0),))


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ("-2..2 [9]", (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2)),
        ("1..5", (1, 2, 3, 4, 5)),
        ("0,0.5, 1", (0, 0.5, 1)),
        ("3", (3,)),
        (" 0 .. 1 [3] ", (0, 0.5, 1)),
        ("1, 1, 2", (1, 2)),
        ("2..-2 [3]", (2, 0, -2)),
    ],
)
def test_ranges_and_lists(told: str, due: tuple[float, ...]):
    assert numbers(told, "It", 64) == due


@pytest.mark.parametrize("told", ["", "a..b", "0.5..1", "1..0.5 [", "1..2 [1]", "0..1 [99]", "1,two", "nan", "1e999",
                                  "0..1e300", "-1..9999", "..", "[9]", "0..1 [9999999999]", "1," * 9999,
                                  "0..1 [9] x", "0..1 [9", "0..1 [ ]", "." * 667 + " " * 1332 + "["])  # fmt: skip
def test_what_is_no_range_gets_one_sentence(told: str):
    with pytest.raises(RudderError, match="^It ") as caught:
        numbers(told, "It", 64)
    assert "\n" not in str(caught.value)
    if told == "0..1 [99]":
        assert "99 values" in str(caught.value), "what is wrong with it, not what a range is"


def test_rows_of_every_kind(backbone, vector):
    vectors = {"red": vector}
    rows = lambda axis, told: rows_of(axis, told, RECIPE, vectors, backbone)  # noqa: E731
    assert [recipe.seed for _, recipe in rows("seed", "1..3")] == [1, 2, 3]
    assert [label for label, _ in rows("prompt", "a cat\n\n a dog, red \n")] == ["a cat", "a dog, red"]
    assert rows("window", "0.2:0.6, 0.5:0.95")[0][1].window == Window(0.2, 0.6)
    assert rows("concept", "red")[0][1].concepts == (("red", 1.0),)
    known = backbone.sites()
    label = known[vector.sites[0]].label
    assert {known[name].label for name in rows("sites", label)[0][1].sites} == {label}
    for axis, told in {"colour": "x", "seed": "1.5", "prompt": " ", "concept": "blue", "window": "1", "sites": "all",
                       }.items():  # fmt: skip
        with pytest.raises(RudderError):
            rows(axis, told)
    with pytest.raises(RudderError, match="64 rows"):
        rows("prompt", "".join(f"a cat {k}\n" for k in range(64)))
    with pytest.raises(RudderError, match="characters"):
        rows("prompt", "a" * 10**6)


def test_a_row_of_windows_or_sites_overrules_what_a_concept_has_of_its_own(backbone, vector):
    use = Use(window=Window(0.0, 0.3), sites=vector.sites[:1])
    recipe = replace(RECIPE, uses=(use,))
    ((_, one),) = rows_of("window", "0.2:0.6", recipe, {"red": vector}, backbone)
    assert Steering.from_recipe(one, {"red": vector}).steps(10) == range(2, 6)
    (label, sites), *_ = groups(recipe, {"red": vector}, backbone).items()
    ((_, one),) = rows_of("sites", label, recipe, {"red": vector}, backbone)
    assert one.sites == sites and not any(use.sites for use in one.uses)


@pytest.mark.parametrize(("axis", "told"), [("seed", "5, 9"), ("prompt", "a cat\na red apple"),
                                            ("window", "0.2:0.6, 0.5:0.95")])  # fmt: skip
def test_cells_are_what_single_runs_paint(backbone, vector, axis: str, told: str):
    rows = rows_of(axis, told, RECIPE, {"red": vector}, backbone)
    *told, made = grid(backbone, rows, {"red": vector}, [-1.0, 0.5], axis=axis)
    steps = [item for item in told if isinstance(item, Progress)]
    early = {(item.row, item.column): item.cell for item in told if isinstance(item, Painted)}
    assert early == {(row, column): cell for row, some in enumerate(made.cells) for column, cell in enumerate(some)}
    assert isinstance(made, Grid) and (made.across, made.axis) == ((-1.0, 0.5), axis)
    assert [step.done for step in steps] == sorted(step.done for step in steps) and steps[-1].done == steps[-1].total
    for (_, recipe), cells in zip(rows, made.cells, strict=True):
        plain = finish(sample(backbone, recipe)).images[0]
        for cell, value in zip(cells, made.across, strict=True):
            steering = Steering.from_recipe(recipe, {"red": vector}).scaled(value)
            alone = finish(sample(backbone, recipe, steering)).images[0]
            assert np.abs(np.asarray(alone, int) - np.asarray(cell.image, int)).max() <= 1
            assert cell.recipe == replace(recipe, concepts=(("red", 2.0 * value),))
            gone = np.sqrt(np.square((np.asarray(alone, float) - np.asarray(plain, float)) / 255).mean())
            assert cell.distance == pytest.approx(gone, abs=2e-3)


@pytest.mark.parametrize("together", [2, 3, 64])
def test_cells_appear_as_they_are_painted_and_are_the_same_in_any_batch(backbone, vector, together: int):
    rows = rows_of("window", "0.5:0.9, 0.5:0.95, 0.2:0.6", RECIPE, {"red": vector}, backbone)
    across, vectors = [0.0, 0.5, 1.0, 2.0], {"red": vector}
    *_, whole = grid(backbone, rows, vectors, across)
    *told, made = grid(backbone, rows, vectors, across, together=together)
    places = [place for place, item in enumerate(told) if isinstance(item, Painted)]
    assert len(places) == 12 and places[0] < len(told) / 2, "the first cell is there long before the last"
    for mine, other in zip(sum(made.cells, []), sum(whole.cells, []), strict=True):
        assert np.abs(np.asarray(mine.image, int) - np.asarray(other.image, int)).max() <= 1
        assert mine.recipe == other.recipe
    assert [cells[0].distance for cells in made.cells] == [0, 0, 0], "one unsteered picture for all rows"


def test_a_calibrated_model_scores_every_cell(backbone, vector):
    class Found:
        def __init__(self, latents) -> None:
            self.mean = latents.flatten(1).std(1)

    class Told:
        def score(self, backbone, latents) -> Found:
            return Found(latents)

    rows = rows_of("window", "0.5:0.9, 0.2:0.6", RECIPE, {"red": vector}, backbone)
    *_, made = grid(backbone, rows, {"red": vector}, [0.0, 1.0], calibration=Told(), together=2)
    for (_, recipe), cells in zip(rows, made.cells, strict=True):
        for cell, value in zip(cells, made.across, strict=True):
            steering = Steering.from_recipe(recipe, {"red": vector}).scaled(value)
            alone = finish(sample(backbone, recipe, steering)).latents
            assert cell.spikiness == pytest.approx(float(alone.flatten(1).std(1)[0]), rel=1e-3)


def test_a_model_a_row_each_with_its_own_settings(backbone, vector, tmp_path):
    other = load(make_tiny_sd(tmp_path / "other", seed=4))
    images, others = pictures(2, seed=1, tint=(90, 0, 0)), pictures(2, seed=2)
    theirs = list(learn(other, "red", images, others, timesteps=(300,)))[-1].replace(recommended={"strength": 3.0})
    benches = {backbone.name: Bench(backbone, {"red": vector}), "other": Bench(other, {"red": theirs})}
    opened = []

    def open_one(name: str) -> Bench:
        opened.append(name)
        return benches[name]

    recipe = replace(RECIPE, model=backbone.name)
    rows = rows_of("model", f"{backbone.name}, other", recipe, {"red": vector}, backbone)
    run = across_models(rows, open_one, [0.0, 1.0], home=backbone.name)
    steps = [next(run)]
    assert opened == [], "nothing is read before it is said"
    *told, made = run
    assert opened == [backbone.name, "other"] and made.down == (backbone.name, "other")
    assert [(item.row, item.column) for item in told if isinstance(item, Painted)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    steps += [item for item in told if isinstance(item, Progress)]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    mine, their = made.cells[0][1].recipe, made.cells[1][1].recipe
    assert mine == replace(recipe, concepts=(("red", 2.0),))
    assert (their.model, their.num_inference_steps, their.concepts) == ("other", 40, (("red", 3.0),))
    with pytest.raises(RudderError, match="no vector of 'blue'"):
        list(across_models([("other", replace(recipe, model="other", concepts=(("blue", 1.0),)))], open_one, [1.0]))


def test_the_bound_the_time_and_the_stop(backbone, vector):
    rows = rows_of("seed", "1..32", RECIPE, {"red": vector}, backbone)
    with pytest.raises(RudderError, match="32 x 17 cells"):
        next(grid(backbone, rows, {"red": vector}, numbers("0..1 [17]", "It", 64)))
    assert work(RECIPE, 9) == 4 + 9 * 4, "four steps before the window once, four after its start for each"
    assert work(replace(RECIPE, uses=(Use(window=Window(0.25, 1)),)), 9) == 2 + 9 * 6, "a concept's own window"
    assert work(replace(RECIPE, mask=mask_text(Image.new("L", (8, 8), 255))), 9) == 4 + 10 * 4, "and what stays outside"
    assert seconds(rows[:2], 9, Pace(1.0, 0.5)) == 0.5 * 2 * (4 + 10 * 4)
    stop = threading.Event()
    run = grid(backbone, rows[:2], {"red": vector}, [1.0], stop=stop)
    next(run)
    stop.set()
    with pytest.raises(Cancelled):
        list(run)


@pytest.fixture(scope="module")
def small(backbone, vector) -> Grid:
    rows = rows_of("prompt", "a cat\na red apple on a night background", RECIPE, {"red": vector}, backbone)
    *_, made = grid(backbone, rows, {"red": vector}, [0.0, 1.0, 2.0], axis="prompt")
    return made


def test_pictures_are_shrunk_until_they_fit_a_sheet(small):
    large = replace(small.cells[0][0], image=Image.new("RGB", (512, 768)))
    for rows, columns in ((1, 64), (60, 1), (20, 30)):
        many = Grid([[large] * columns] * rows, tuple(map(float, range(columns))), "prompt", ("a cat " * 9,) * rows)
        with pytest.raises(RudderError, match="enlarge less"):
            sheet(many)
        assert max(sheet(exports.fitted(many), caption="x").size) <= exports.SIDE_LIMIT
    assert exports.fitted(small) is small


def test_the_sheet_holds_every_cell(small):
    for scale in (1, 4):
        made = np.asarray(sheet(small, scale, "a caption"))
        for row in small.cells:
            for cell in row:
                one = np.asarray(cell.image.resize((32 * scale, 32 * scale), 0))
                spots = np.argwhere((made[..., :] == one[0, 0]).all(-1))
                assert any(np.array_equal(made[y : y + 32 * scale, x : x + 32 * scale], one) for y, x in spots)
    with pytest.raises(RudderError, match="enlarge less"):
        sheet(Grid([[small.cells[0][0]] * 60], (0.0,) * 60, "", ("",)), 8)


def test_animations_go_there_and_back(small):
    for kind in ("webp", "gif"):
        with Image.open(BytesIO(animation(small, None, kind, 2))) as moving:
            assert (moving.n_frames, moving.size) == (4, (132, 64)), "two rows beside one another"
        with Image.open(BytesIO(animation(small, 1, kind, 2))) as moving:
            assert (moving.n_frames, moving.size, moving.info["loop"]) == (4, (64, 64), 0)
    with Image.open(BytesIO(animation(small, 1, "webp", 1))) as moving:
        moving.seek(2)
        assert np.array_equal(np.asarray(moving.convert("RGB")), np.asarray(small.cells[1][2].image))
    with Image.open(BytesIO(animation(small, 1, "gif"))) as moving:
        assert moving.size == (128, 128), "four times, where there is room"
    assert exports.enlarged(4, 5, (512, 512)) == 3 and exports.enlarged(9, 5, (1024, 1024)) == 1
    with pytest.raises(RudderError, match="enlarge less"):
        exports.enlarged(16, 5, (1200, 1200))
    with pytest.raises(RudderError, match="kind of animation"):
        animation(small, 0, "avi")
    with pytest.raises(RudderError, match="enlarge less"):
        animation(Grid([small.cells[0]] * 32, (0.0, 1.0, 2.0), "", ("",) * 32), None, "gif", 32)


def test_a_video_shows_every_strength(small):
    av = pytest.importorskip("av", reason="MP4 is an extra: pip install -r requirements-dev.txt")
    inks = ("red", "lime", "blue")
    cells = [replace(small.cells[0][0], image=Image.new("RGB", (32, 33), ink)) for ink in inks]
    with av.open(BytesIO(animation(Grid([cells], (0.0, 1.0, 2.0), "", ("",)), 0, "mp4", 3))) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == 4 and shown[0].shape == (98, 96, 3), "there and back again; both sides even"
    assert [int(frame.mean((0, 1)).argmax()) for frame in shown] == [0, 1, 2, 1]


def test_without_pyav_a_video_says_what_to_install(small, monkeypatch):
    monkeypatch.setattr(exports, "films", lambda: False)
    with pytest.raises(RudderError, match="pip install"):
        animation(small, 0, "mp4")


def test_cells_of_several_sizes_are_brought_to_the_largest(small):
    cell = small.cells[0][0]
    large = replace(cell, image=cell.image.resize((64, 64), 0))
    mixed = Grid([[cell, cell], [large, large]], (0.0, 1.0), "model", ("one", "other"))
    assert sheet(mixed).width > 128 and exports.frames(mixed.cells, (64, 64), 1)[0].size == (132, 64)


def test_the_zip_remakes_its_cells(small, backbone, vector, tmp_path):
    other = vector.replace(name="not in it")
    with zipfile.ZipFile(BytesIO(archive(small, {"red": vector, "not in it": other}))) as packed:
        told = json.loads(packed.read("grid.json"))
        assert list(told["vectors"]) == ["red"] and len([n for n in packed.namelist() if "vectors/" in n]) == 1
        packed.extract(told["vectors"]["red"], tmp_path)
        assert (told["across"], told["axis"]) == ([0.0, 1.0, 2.0], "prompt")
        assert len(told["cells"]) == 6
        last = told["cells"][-1]
        recipe = read_png(BytesIO(packed.read(last["file"])))
    assert json.loads(recipe.to_json()) == last["recipe"]
    known = {name: ConceptVector.load(tmp_path / place, backbone) for name, place in told["vectors"].items()}
    again = finish(sample(backbone, recipe, Steering.from_recipe(recipe, known))).images[0]
    assert np.abs(np.asarray(again, int) - np.asarray(small.cells[1][2].image, int)).max() <= 1
    with zipfile.ZipFile(BytesIO(archive(small))) as packed:
        assert json.loads(packed.read("grid.json"))["vectors"] == {}, "shipped concepts are everywhere"
