"""`rudder` as a studio: several concepts with operators, pictures of one's own, masks, grids, arithmetic."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from steering.arithmetic import combined, times
from steering.cli.arguments import Asked, concepts_asked
from steering.concepts import ConceptVector
from steering.errors import RudderError
from steering.png import read_png
from steering.recipe import Recipe, Use, Window
from tests.test_cli import FAST, home, rudder  # noqa: F401
from tests.tiny import pictures


@pytest.mark.parametrize(
    ("told", "due"),
    [
        ("a=b=1", Asked("a=b", 1.0)),
        ("c", Asked("c")),
        ("c=1,erase,0.1:0.5", Asked("c", 1.0, "erase", Window(0.1, 0.5))),
        ("c=norm", Asked("c", None, "norm")),
        ("c=0:1", Asked("c", None, None, Window(0, 1))),
    ],
)
def test_what_a_concept_may_be_given_with(told: str, due: Asked):
    assert concepts_asked([told], Recipe()) == [due]


def test_without_any_the_recipes_own_are_meant():
    recipe = Recipe(concepts=(("a", 1.0), ("b", 2.0)), uses=(Use(), Use("erase", Window(0, 0.5))))
    assert concepts_asked([], recipe) == [Asked("a", 1.0, "add"), Asked("b", 2.0, "erase", Window(0, 0.5))]
    with pytest.raises(RudderError, match="no strength for 'c'.*erase"):
        concepts_asked(["c=1,twice"], Recipe())


def vector_of(home: Path, name: str, seed: int) -> Path:  # noqa: F811
    """A vector file beside the shipped one, turned about at random."""
    shipped = ConceptVector.load(home / "assets" / "concepts" / "red" / "tiny-sd.safetensors")
    draw = torch.Generator().manual_seed(seed)
    turned = {site: torch.randn(v.shape, generator=draw) * v.std() for site, v in shipped.vectors.items()}
    path = Path(f"{name}.safetensors")
    shipped.replace(name=name, vectors=turned, recommended={"window": [0.2, 0.7]}).save(path)
    return path


def test_several_concepts_each_in_its_own_way(rudder, home: Path):  # noqa: F811
    vector_of(home, "blue", 3)
    code, _, err = rudder("steer", "a cat", "-c", "red=1", "-c", "./blue.safetensors=0.5,norm", "--out", "a.png", *FAST)
    assert code == 0, err
    recipe = read_png("a.png")
    assert [use.operator for use in recipe.uses] == ["add", "norm"]
    assert recipe.uses[1].window == Window(0.2, 0.7), "what its vector advises, not the first one's"
    assert rudder("steer", "--from", "a.png", "--out", "b.png")[0] == 0
    assert np.array_equal(Image.open("a.png"), Image.open("b.png"))
    code, _, err = rudder("steer", "a cat", "-c", "red=1,erase,0:1", "--out", "c.png", *FAST)
    assert code == 0 and not np.array_equal(Image.open("a.png"), Image.open("c.png"))
    assert rudder("generate", "--from", "a.png", "--out", "plain.png")[0] == 0, "and the plain picture of it"
    assert rudder("steer", "--from", "a.png", "-c", "red", "--out", "d.png")[0] == 0, "one concept in place of two"
    assert read_png("d.png").uses == ()


def test_a_picture_of_ones_own_within_a_mask(rudder, home: Path):  # noqa: F811
    pictures(1, seed=4)[0].save("mine.png")
    mask = Image.new("L", (32, 32))
    ImageDraw.Draw(mask).rectangle((0, 0, 15, 31), fill=255)
    mask.save("mask.png")
    asked = ["steer", "a cat", "-c", "red=8", "--image", "mine.png", "--mask", "mask.png", *FAST]
    code, _, err = rudder(*asked, "--out", "a.png")
    assert code == 0, err
    assert "this picture" in err.lower(), "how well the model can paint it is said"
    assert rudder("steer", "a cat", "-c", "red=0", "--image", "mine.png", *FAST, "--out", "plain.png")[0] == 0
    ours, plain = (np.asarray(Image.open(name), int) for name in ("a.png", "plain.png"))
    gone = np.abs(ours - plain)  # a batch of another size may round the last grey level otherwise
    assert gone[:, 16:].max() <= 1 < gone[:, :16].max()
    code, out, _ = rudder("steer", "--from", "a.png", "--json", "--out", "b.png")
    assert code == 2 and "begins with a picture of somebody's own" in out and not Path("b.png").exists()
    assert rudder("steer", "--from", "a.png", "--image", "mine.png", "--out", "c.png")[0] == 0
    assert np.abs(np.asarray(Image.open("c.png"), int) - ours).max() <= 1
    Path("wide.png").write_bytes(b"no picture")
    for name, words in (("wide.png", "no mask that can be read"), ("gone.png", "no mask that can be read")):
        code, out, _ = rudder(*asked[:-2], "--mask", name, "--json")
        assert code == 2 and words in out


def test_a_grid_as_sheet_animation_and_zip(rudder, home: Path):  # noqa: F811
    files = ["--out", "g.png", "--animation", "g.webp", "--zip", "g.zip"]
    asked = ["grid", "a cat", "-c", "red", "--strengths", "0..1 [3]", "--down", "seed", "--rows", "1..2", *FAST]
    code, out, err = rudder(*asked, *files, "--json")
    told = json.loads(out)
    assert code == 0 and (told["across"], told["axis"], told["down"]) == ([0, 0.5, 1], "seed", ["1", "2"]), err
    assert "6 pictures, about" in err or "6 pictures, under" in err
    assert [cell["distance"] for cell in told["cells"][0]][0] == 0 < told["cells"][0][2]["distance"]
    assert Image.open("g.png").width > 3 * 32 and Image.open("g.webp").n_frames == 4
    with zipfile.ZipFile("g.zip") as packed:
        assert len(packed.namelist()) == 7
    assert rudder(*asked, *files)[0] == 0, "what is there already is of the same kinds"
    Path("letter.txt").write_text("Dear reader")
    for option in ("--out", "--animation", "--zip"):
        name = "letter.webp" if option == "--animation" else "letter.txt"
        Path(name).write_text("Dear reader")
        code, out, _ = rudder(*asked, option, name, "--json")
        assert code == 2 and "is there already and is no" in out and Path(name).read_text() == "Dear reader"
    for bad, words in (
        (["grid", "a cat"], "No concept is given"),
        (["grid", "a cat", "-c", "red", "--down", "seed"], "belong together"),
        ([*asked[:5], "0..many", *asked[6:]], "row of strengths"),
        ([*asked[:-3], "0..9999", *FAST], "row of seeds"),
        ([*asked, "--animation", "g.avi"], "is no animation"),
        (["grid", "a cat", "-c", "red", "--down", "model", "--rows", "tiny-sd, gone", *FAST], "no model named 'gone'"),
    ):
        code, out, _ = rudder(*bad, "--json")
        assert code == 2 and words in out, out
    code, out, _ = rudder("grid", "a cat", "-c", "red", "--strengths", "1", "--down", "model", "--rows", "tiny-sd",
                          *FAST, "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["down"] == ["tiny-sd"], out


def test_concepts_are_combined(rudder, home: Path):  # noqa: F811
    path = vector_of(home, "blue", 3)
    code, out, _ = rudder("concept", "combine", "both", "red", f"./{path}=0.5", "--json")
    red, blue, both = (
        ConceptVector.load(where) for where in
        (home / "assets" / "concepts" / "red" / "tiny-sd.safetensors", path, json.loads(out)["path"])
    )  # fmt: skip
    assert code == 0 and both.name == "both"
    due = combined(red, times(blue, 0.5), "plus")
    for site, v in both.vectors.items():
        torch.testing.assert_close(v, due.vectors[site])
    assert both.advice == due.advice and both.state == "untried" and both.advice["strength"] == 1.0
    assert rudder("concept", "combine", "rest", "red", "--without", f"./{path}")[0] == 0
    rest = ConceptVector.load("rest.safetensors")
    for site, v in rest.vectors.items():
        assert ((v * blue.vectors[site]).sum(1).abs() <= 1e-4 * v.norm() * blue.vectors[site].norm()).all()
        assert (v.norm(dim=1) <= red.advice["strength"] * red.vectors[site].norm(dim=1) * (1 + 1e-5)).all()
    code, out, _ = rudder("concept", "combine", "x", "nothing", "--json")
    assert code == 2 and "nothing" in out


def test_words_are_painted_beside_the_steered_picture(rudder, home: Path):  # noqa: F811
    asked = ("steer", "a cat", "-c", "red=6", "--out", "a.png", *FAST)
    code, out, err = rudder(*asked, "--against-words", "a red car", "--json")
    assert code == 0, err
    told = json.loads(out)["images"]
    assert [one.get("way") for one in told] == [None, "prompt", "embedding"]
    assert all(Path(one["path"]).is_file() for one in told) and Path("a-prompt.png").is_file()
    assert "grey levels" in err
    code, _, err = rudder(*asked, "--against-words", "a car", "--strip", "3")
    assert code == 2 and "leave out --strip" in err
