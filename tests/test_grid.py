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

from steering.errors import Cancelled, RudderError
from steering.exports import animation, archive, sheet
from steering.grid import Grid, grid, numbers, rows_of, seconds, work
from steering.pace import Pace
from steering.plan import Steering
from steering.png import read_png
from steering.recipe import Recipe, Window
from steering.sampling import finish, sample

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
                                  "0..1e300", "-1..9999", "..", "[9]"])  # fmt: skip
def test_what_is_no_range_gets_one_sentence(told: str):
    with pytest.raises(RudderError, match="^It ") as caught:
        numbers(told, "It", 64)
    assert "\n" not in str(caught.value)


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
        rows("prompt", "a cat\n" * 64)


@pytest.mark.parametrize(("axis", "told"), [("seed", "5, 9"), ("prompt", "a cat\na red apple"),
                                            ("window", "0.2:0.6, 0.5:0.95")])  # fmt: skip
def test_cells_are_what_single_runs_paint(backbone, vector, axis: str, told: str):
    rows = rows_of(axis, told, RECIPE, {"red": vector}, backbone)
    *steps, made = grid(backbone, rows, {"red": vector}, [-1.0, 0.5], axis=axis)
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


def test_the_bound_the_time_and_the_stop(backbone, vector):
    rows = rows_of("seed", "1..32", RECIPE, {"red": vector}, backbone)
    with pytest.raises(RudderError, match="32 x 17 cells"):
        next(grid(backbone, rows, {"red": vector}, numbers("0..1 [17]", "It", 64)))
    assert work(RECIPE, 9) == 4 + 9 * 4, "four steps before the window once, four after its start for each"
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
        with Image.open(BytesIO(animation(small, 1, kind, 2))) as moving:
            assert (moving.n_frames, moving.size, moving.info["loop"]) == (4, (64, 64), 0)
    with Image.open(BytesIO(animation(small, 1, "webp", 1))) as moving:
        moving.seek(2)
        assert np.array_equal(np.asarray(moving.convert("RGB")), np.asarray(small.cells[1][2].image))
    with pytest.raises(RudderError, match="kind of animation"):
        animation(small, 0, "mp4")


def test_the_zip_remakes_its_cells(small, backbone, vector):
    with zipfile.ZipFile(BytesIO(archive(small))) as packed:
        told = json.loads(packed.read("grid.json"))
        assert (told["across"], told["axis"]) == ([0.0, 1.0, 2.0], "prompt")
        assert len(told["cells"]) == 6
        last = told["cells"][-1]
        recipe = read_png(BytesIO(packed.read(last["file"])))
    assert json.loads(recipe.to_json()) == last["recipe"]
    again = finish(sample(backbone, recipe, Steering.from_recipe(recipe, {"red": vector}))).images[0]
    assert np.abs(np.asarray(again, int) - np.asarray(small.cells[1][2].image, int)).max() <= 1
