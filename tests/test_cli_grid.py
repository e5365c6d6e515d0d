"""`rudder grid`: what `rudder steer` takes holds for every cell, a grid is painted again from its files, and Ctrl-C
keeps what is whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from steering import grid as grids
from steering.backbones import load
from steering.concepts import ConceptVector, learn
from steering.png import read_png
from steering.recipe import Recipe
from tests.test_cli import FAST, rudder  # noqa: F401
from tests.test_cli_studio import vector_of
from tests.tiny import make_tiny_sd, pictures

SEEDS = ["--down", "seed", "--rows", "1..2"]
WINDOWS = ["--down", "window", "--rows", "0:0.6, 0.5:1"]
PROMPTS = ["--down", "prompt", "--rows", "a cat\na red apple"]


def half_a_mask(name: str, size: tuple[int, int] = (32, 32)) -> str:
    """A mask of the left half, as a file."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((0, 0, size[0] // 2 - 1, size[1]), fill=255)
    mask.save(name)
    return name


def cells_of(path: str) -> list[tuple[Recipe, np.ndarray]]:
    """Each cell of a zip in order: its recipe and its pixels."""
    with zipfile.ZipFile(path) as packed:
        files = [packed.read(name) for name in sorted(packed.namelist()) if name.endswith(".png")]
    return [(read_png(BytesIO(data)), np.asarray(Image.open(BytesIO(data)).convert("RGB"), int)) for data in files]


def same(one: str, other: str) -> bool:
    """Whether two files are the same; of zips what is in them, whenever they were made."""
    if not one.endswith(".zip"):
        return Path(one).read_bytes() == Path(other).read_bytes()
    with zipfile.ZipFile(one) as a, zipfile.ZipFile(other) as b:
        return {name: a.read(name) for name in a.namelist()} == {name: b.read(name) for name in b.namelist()}


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUDDER_HOME as tests/test_cli.py's, its concept learned at a few timesteps and not measured."""
    folder = tmp_path_factory.mktemp("home")
    backbone = load(make_tiny_sd(folder / "models" / "tiny-sd"))
    concept = folder / "assets" / "concepts" / "red"
    concept.mkdir(parents=True)
    described = {"name": "red", "title": "Red", "description": "more red", "prompt": "", "baseline_prompt": ""}
    (concept / "concept.json").write_text(json.dumps(described))
    images, others = pictures(2, seed=1, tint=(90, 0, 0)), pictures(2, seed=2)
    vector = list(learn(backbone, "red", images, others, timesteps=(50, 300, 800)))[-1]
    advice = {"strength": 4.0, "window": [0.0, 1.0], "sites": list(vector.sites)}
    vector.replace(recommended=advice).save(concept / "tiny-sd.safetensors")
    return folder


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """The model is read once for all runs here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steering.backbones.registry.load", cache(load))
        yield


@pytest.fixture(scope="module")
def site(home: Path) -> str:
    """A site of the shipped vector."""
    return ConceptVector.load(home / "assets" / "concepts" / "red" / "tiny-sd.safetensors").sites[-1]


@pytest.fixture(scope="module")
def group(home: Path, site: str) -> str:
    """The group of that site."""
    return load(home / "models" / "tiny-sd").sites()[site].label


@pytest.mark.parametrize("kind", ["site", "mask", "concepts", "image"])
def test_what_steer_takes_holds_for_every_cell(rudder, home: Path, site: str, kind: str):  # noqa: F811
    vector_of(home, "blue", 3)
    pictures(1, seed=4)[0].save("mine.png")
    options = {
        "site": ["--site", site, "--halves", "conditional"],
        "mask": ["--mask", half_a_mask("mask.png")],
        "concepts": ["-c", "./blue.safetensors=0.5,erase,0:0.5", "--window", "0.25:1"],
        "image": ["--image", "mine.png", "--invert", "ddim", "--mask", half_a_mask("mask.png")],
    }[kind]
    given = ["a cat", "-c", "red=20", *options, *FAST]
    rows = PROMPTS[:2] + ["--rows", "a cat\na dog"] if kind == "image" else SEEDS
    prompt = [] if kind == "image" else given[:1]
    code, _, err = rudder("grid", *prompt, *given[1:], *rows, "--strengths", "0, 1", "--zip", "g.zip")
    assert code == 0, err
    cells = cells_of("g.zip")
    for place, row in enumerate((["--seed", "1"], ["--seed", "2"]) if kind != "image" else ([], [])):
        first = [["a cat"], ["a dog"]][place] if kind == "image" else ["a cat"]
        assert rudder("steer", *first, *given[1:], *row, "--out", "one.png")[0] == 0
        recipe, painted = cells[2 * place + 1]
        assert recipe == read_png("one.png")
        assert np.abs(painted - pixels("one.png")).max() <= 1, "as `rudder steer` paints it"
        assert (painted != cells[2 * place][1]).any(), "and steered"


def test_what_the_rows_vary_is_theirs_and_all_else_holds_for_each_model(rudder, home: Path, site: str):  # noqa: F811
    given = ["grid", "a cat", "-c", "red=2,norm", "--halves", "conditional", "--strengths", "1", *FAST]
    code, _, err = rudder(*given, *WINDOWS, "--site", site, "--zip", "w.zip")
    assert code == 0, err
    told = [recipe for recipe, _ in cells_of("w.zip")]
    assert [one.window.start for one in told] == [0, 0.5] and {one.sites for one in told} == {(site,)}
    for axis, rows in (("concept", "red"), ("model", "tiny-sd")):
        assert rudder(*given, "--window", "0:0.7", "--down", axis, "--rows", rows, "--zip", "m.zip")[0] == 0
        ((recipe, _),) = cells_of("m.zip")
        assert (recipe.concepts, recipe.uses[0].operator, recipe.halves) == ((("red", 2.0),), "norm", "conditional")
        assert (recipe.window.end, recipe.num_inference_steps) == (0.7, 4)


def test_what_does_not_go_together_is_one_sentence(rudder, home: Path, site: str, monkeypatch):  # noqa: F811
    pictures(1, seed=4)[0].save("mine.png")
    half_a_mask("wide.png", (64, 32))
    monkeypatch.setattr("steering.cli.grids.backbone_for", lambda *given, **more: pytest.fail("the model is read"))
    asked = ["grid", "a cat", "-c", "red", *FAST]
    cases: Sequence[tuple[list[str], str]] = (
        (["--mask", "wide.png"], "wide.png has 64x32 pixels, and what the model paints is square"),
        (["--mask", "wide.png", "--image", "mine.png"], "and the picture has 32x32"),
        (["--mask", "none.png"], "no mask that can be read"),
        (["--image", "none.png"], "none.png"),
        (["--image", "mine.png", "--down", "model", "--rows", "tiny-sd"], "inverted for one model"),
        (["--image", "mine.png", *SEEDS], "in place of the seed"),
        (["--site", "moon"], "no site in the vector 'red' named 'moon'"),
        (["--site", "moon", "--down", "model", "--rows", "tiny-sd"], "no site in the vector 'red'"),
        (["--site", site, "--down", "sites", "--rows", "shape"], "vary what --site sets"),
        (["--window", "0:1", *WINDOWS], "vary what --window sets"),
        (["--window", "1:0"], "its start must come before its end"),
        (["--seed", "3", *SEEDS], "vary what --seed sets"),
        (PROMPTS, "vary what the prompt sets"),
        (["-c", "red"], "given twice"),
        (["--down", "concept", "--rows", "blue"], "add it by --concept"),
        (["--down", "seed", "--rows", "1..32", "--strengths", "0..1 [17]"], "32 x 17 cells"),
        (["--scale", "0"], "The enlargement is 0"),
        (["--scale", "32", "--strengths", "0..1 [64]"], "enlarge less, or take fewer cells"),
    )  # fmt: skip
    for options, words in cases:
        code, out, _ = rudder(*asked, *options, "--json")
        said = json.loads(out)["error"]
        assert code == 2 and words in said and "\n" not in said, (options, said)
    for more in ([], ["--image", "mine.png"]):
        code, out, _ = rudder("steer", "a cat", "-c", "red", "--mask", "wide.png", *more, *FAST, "--json")
        assert code == 2 and "paint the mask on a copy" in out, "the same words for `rudder steer`"


@pytest.mark.parametrize(
    ("rows", "changed", "due"),
    [
        (SEEDS, ["--window", "0:0.5"], lambda one: {one.window.end, *(use.window for use in one.uses)} == {0.5, None}),
        (PROMPTS, ["--seed", "9"], lambda one: one.seed == 9),
        (WINDOWS, ["--prompt-for-all"], lambda one: one.prompt == "a house"),
        (["--down", "concept", "--rows", "red,blue"], ["--guidance", "2"], lambda one: one.guidance_scale == 2),
        (["--down", "sites", "--rows", "GROUP"], ["--halves", "opposite"], lambda one: one.halves == "opposite"),
        (["--down", "model", "--rows", "tiny-sd"], ["--steps", "3"], lambda one: one.num_inference_steps == 3),
        ([], ["-c", "red=3"], lambda one: dict(one.concepts).keys() == {"red"}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) and len(value) > 1 else "",
)
def test_a_grid_is_painted_again_from_each_of_its_files(rudder, home: Path, group, rows, changed, due):  # noqa: F811
    vector_of(home, "blue", 3)
    own = [] if "model" in rows else ["-c", "./blue.safetensors=0.3333333333,norm"]
    prompt = [] if "prompt" in rows else ["a cat"]
    rows = [group if one == "GROUP" else one for one in rows]
    files = ["--out", "g.png", "--zip", "g.zip"]
    asked = ["grid", *prompt, "-c", "red=1.7", *own, "--strengths", "-0.3, 0.7", "--scale", "2", *rows, *files]
    code, _, err = rudder(*asked, *FAST)
    assert code == 0, err
    Path("blue.safetensors").unlink()
    with zipfile.ZipFile("g.zip") as packed:
        packed.extractall("unpacked")
    for source in ("g.png", "g.zip", "unpacked/grid.json") if "seed" in rows else ("g.png",):
        code, _, err = rudder("grid", "--from", source, "--out", "a.png", "--zip", "a.zip")
        assert code == 0, err
        assert all(same(f"g.{kind}", f"a.{kind}") for kind in ("png", "zip")), source
    before = [recipe for recipe, _ in cells_of("g.zip")]
    changed = ["a house"] if changed == ["--prompt-for-all"] else changed
    code, _, err = rudder("grid", *changed, "--from", "g.png", "--zip", "b.zip")
    assert code == 0, err
    after = [recipe for recipe, _ in cells_of("b.zip")]
    assert all(map(due, after)) and not any(map(due, before))
    assert len(after) == len(before) and after[0].negative_prompt == before[0].negative_prompt


def test_other_rows_and_strengths_beside_a_grid_that_was_kept(rudder, home: Path):  # noqa: F811
    vector_of(home, "blue", 3)
    asked = ["grid", "a cat", "-c", "red=2", "-c", "./blue.safetensors", "--window", "0.2:0.9", *SEEDS]
    assert rudder(*asked, "--strengths", "1", "--zip", "g.zip", *FAST)[0] == 0
    for rows, strengths, due in (
        (["--rows", "7..9"], "1", {"seed": [7, 8, 9]}),
        (PROMPTS, "1", {"prompt": ["a cat", "a red apple"], "seed": [1, 1]}),
        (["--down", "concept", "--rows", "blue"], "0.5, 1", {"seed": [1, 1]}),
        (["--down", "model", "--rows", "tiny-sd", "-c", "red"], "1", {"seed": [1], "prompt": ["a cat"]}),
    ):
        code, _, err = rudder("grid", "--from", "g.zip", *rows, "--strengths", strengths, "--zip", "b.zip", *FAST)
        assert code == 0, err
        told = [recipe for recipe, _ in cells_of("b.zip")]
        for name, values in due.items():
            assert [getattr(recipe, name) for recipe in told] == values
    for options, words in (
        (["--down", "prompt"], "belong together"),
        (["--seed", "3"], "vary what --seed sets"),
        (["--rows", "one, two"], "The row of seeds"),
    ):
        code, out, _ = rudder("grid", "--from", "g.zip", *options, "--json")
        assert code == 2 and words in out
    assert rudder(*asked[:4], "--down", "concept", "--rows", "red", "--zip", "c.zip", "--strengths", "1", *FAST)[0] == 0
    code, out, _ = rudder("grid", "--from", "c.zip", "-c", "red=3", "--json")
    assert code == 2 and "give --rows beside --concept" in out


def test_a_grid_of_ones_own_picture_asks_for_it_again(rudder, home: Path):  # noqa: F811
    pictures(1, seed=4)[0].save("mine.png")
    asked = ["grid", "a cat", "-c", "red=4", "--image", "mine.png", "--invert", "ddim", *WINDOWS, "--strengths", "0, 1"]
    code, _, err = rudder(*asked, "--zip", "g.zip", *FAST)
    assert code == 0 and err.count("this picture") == 1, "one inversion for all rows, and how near it comes"
    code, out, _ = rudder("grid", "--from", "g.zip", "--json")
    assert code == 2 and "give that very picture with --image" in out
    assert rudder("grid", "--from", "g.zip", "--image", "mine.png", "--zip", "a.zip")[0] == 0
    assert same("a.zip", "g.zip"), "inverted as it was, without --invert"


def test_damaged_and_foreign_files_are_one_sentence(rudder, home: Path):  # noqa: F811
    vector_of(home, "blue", 3)
    asked = ["grid", "a cat", "-c", "./blue.safetensors", *SEEDS, "--strengths", "1", "--out", "g.png", *FAST]
    assert rudder(*asked, "--zip", "g.zip")[0] == 0
    with zipfile.ZipFile("g.zip") as packed:
        told = json.loads(packed.read("grid.json"))
        data = {name: packed.read(name) for name in packed.namelist()}
    blue = told["vectors"]["blue"]

    def zipped(**changed: bytes | None) -> bytes:
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in (data | {key.replace("__", "/"): value for key, value in changed.items()}).items():
                if content is not None:
                    packed.writestr(name, content)
        return file.getvalue()

    def changed(**entries: object) -> bytes:
        return json.dumps({**told, "vectors": {}, **entries}).encode()

    rows = told["rows"]
    cases = {
        "gone.json": (None, "cannot be read"),
        "empty.json": (b"", "no JSON"),
        "text.json": (b"Dear reader", "no JSON"),
        "cut.json": (changed()[:-40], "cut short"),
        "deep.json": (b"[" * 100_000, "no grid"),
        "list.json": (b"[1, 2]", "not of a grid"),
        "other.json": (b'{"axis": "x"}', "not of a grid"),
        "strip.json": (changed(rows=None), "rows' recipes"),
        "rows.json": (changed(rows=rows[:1]), "do not belong together"),
        "labels.json": (changed(down=[1, 2]), "label must be text"),
        "axis.json": (changed(axis="moon"), "no axis named 'moon'"),
        "endless.json": (changed(rows=[{**rows[0], "seed": -1}] * 800, down=["a"] * 800), "800 x 1 cells"),
        "strength.json": (changed(across=["much"]), "The strength of"),
        "twice.json": (changed(across=[1, 1]), "a strength twice"),
        "recipe.json": (changed(rows=[rows[0], {**rows[1], "seed": -1}]), "The seed is -1"),
        "models.json": (changed(rows=[rows[0], {**rows[1], "model": "other"}]), "of 2 models"),
        "newer.json": (changed(rudder=2), "update it"),
        "alone.json": (json.dumps(told).encode(), "'blue' is not beside it"),
        "away.json": (changed(vectors={"blue": "../blue.safetensors"}), "list of vectors is damaged"),
        "none.json": (changed(rows=[{**row, "concepts": []} for row in rows]), "No concept is given"),
        "bare.zip": (zipped(**{"grid.json": None}), "no grid.json in it"),
        "poor.zip": (zipped(**{blue: None}), "'blue' is not in it"),
        "bad.zip": (zipped(**{blue: b"no vector"}), "no grid that can be read"),
        "cut.zip": (zipped()[:-300], "zip"),
        "cut.png": (Path("g.png").read_bytes()[:-300], "not a readable PNG"),
        "worn.png": (Path("g.png").read_bytes().replace(b"ruGr", b"ruGx"), "a picture without one"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            Path(name).write_bytes(content)
        code, out, _ = rudder("grid", "--from", name, "--json")
        said = json.loads(out)["error"]
        assert code == 2 and words in said and "\n" not in said, (name, said)
        assert name in ("none.json", "gone.json", "cut.png") or "give the zip, the grid.json" in said, (name, said)


@pytest.mark.parametrize("rows", [WINDOWS, []], ids=["rows", "columns"])
def test_an_interrupted_grid_keeps_what_is_whole(rudder, home: Path, monkeypatch, rows: list[str]):  # noqa: F811
    paint, batches = grids._Made.paint, []

    def interrupted(self, *given):
        if len(batches) == 1:
            raise KeyboardInterrupt
        batches.append(given)
        yield from paint(self, *given)

    many = "0..1 [4]" if rows else "-1..1 [64]"  # a row of over 64 pictures is painted in two parts
    asked = ["grid", "a cat", "-c", "red", *rows, "--strengths", many, "--out", "g.png", "--zip", "g.zip"]
    with monkeypatch.context() as patch:
        patch.setattr(grids._Made, "paint", interrupted)
        code, out, err = rudder(*asked, "--json", "--steps", "1")
    told, whole = json.loads(out), 4 if rows else 63
    assert code == 130 and told["interrupted"] and sum(map(len, told["cells"])) == whole, err
    assert f"{whole} of {8 if rows else 64} pictures were whole, and are kept" in err
    assert len(cells_of("g.zip")) == whole and Image.open("g.png").width > 32
    code, out, err = rudder("grid", "--from", "g.png", "--json")
    assert code == 0 and json.loads(out)["across"] == told["across"], err


def test_a_grid_interrupted_before_a_picture_is_whole_writes_nothing(rudder, home: Path, monkeypatch):  # noqa: F811
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    asked = ["grid", "a cat", "-c", "red", "--out", "g.png", "--zip", "g.zip", *FAST]
    for place in ("steering.cli.grids.backbone_for", "steering.grid._Made.paint"):
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            code, _, err = rudder(*asked)
        assert code == 130 and "Nothing is written" in err
        assert not list(Path().iterdir()), "not even a part"
