"""Recipes: checked on creation, and carried by the PNG they made."""

from __future__ import annotations

import json
import math
import struct
import zlib
from io import BytesIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from steering.errors import RudderError
from steering.keeping import read_recipe, read_vectors, write_picture
from steering.png import read_png, read_png_vectors, write_png
from steering.recipe import Recipe, Strip, Window
from tests.files import chunk, exif, saved, with_chunks, with_segments
from tests.tiny import pictures

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=60)
fractions = st.floats(0, 1)
windows = st.tuples(fractions, fractions).filter(lambda w: w[0] < w[1]).map(lambda w: Window(*w))
names = texts.filter(str.strip)
recipes = st.builds(
    Recipe,
    prompt=texts,
    negative_prompt=texts,
    seed=st.integers(0, 2**63 - 1),
    num_inference_steps=st.integers(1, 500),
    guidance_scale=st.floats(0, 50),
    concepts=st.lists(st.tuples(names, st.floats(-100, 100)), max_size=4).map(tuple),
    window=windows,
    halves=st.sampled_from(["both", "conditional"]),
    strip=st.none() | st.builds(Strip, st.lists(st.floats(-100, 100), min_size=1, max_size=5), st.integers(1, 32)),
    sites=st.none() | st.lists(names, min_size=1, max_size=4, unique=True).map(tuple),
)


@given(recipes)
@settings(max_examples=100, deadline=None)
def test_json_round_trip(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe


@given(recipes)
@settings(max_examples=30, deadline=None)
def test_png_round_trip(recipe):
    file = BytesIO()
    image = pictures(1)[0]
    write_png(image, file, recipe)
    assert read_png(file) == recipe
    assert read_png_vectors(file) == {}
    assert Image.open(file).convert("RGB").tobytes() == image.tobytes()


def test_a_png_carries_learned_vectors(vector, tmp_path):
    path = tmp_path / "steered.png"
    recipe = Recipe(concepts=(("mine", 2.0),))
    write_png(pictures(1)[0], path, recipe, {"mine": vector})
    assert read_png(path) == recipe
    back = read_png_vectors(path)
    assert list(back) == ["mine"]
    assert all(torch.equal(back["mine"].vectors[s], v) for s, v in vector.vectors.items())


def test_the_default_window_is_the_last_half_but_two():
    assert Window().steps(40) == range(20, 38)
    assert Window(0, 1).steps(40) == range(40)


@given(windows, st.integers(1, 500))
@settings(max_examples=100, deadline=None)
def test_a_windows_steps_exist(window, count):
    steps = window.steps(count)
    assert 0 <= steps.start <= steps.stop <= count


BAD = [
    ({"prompt": "x" * 10_000}, "prompt has 10,000 characters"),
    ({"negative_prompt": "x" * 10_000}, "negative prompt has"),
    ({"prompt": None}, "must be text"),
    ({"prompt": "\ud800"}, "no text"),
    ({"seed": -1}, "seed is -1"),
    ({"seed": 1.5}, "seed is 1.5"),
    ({"seed": True}, "seed is True"),
    ({"seed": 2**63}, "seed is"),
    ({"seed": "7"}, "seed is 7"),
    ({"num_inference_steps": -3}, "steps is -3"),
    ({"num_inference_steps": 0}, "steps is 0"),
    ({"num_inference_steps": 10**9}, "steps is 1000000000"),
    ({"num_inference_steps": math.nan}, "steps is nan"),
    ({"num_inference_steps": math.inf}, "steps is inf"),
    ({"guidance_scale": math.nan}, "guidance scale is nan"),
    ({"guidance_scale": -1}, "guidance scale is -1"),
    ({"guidance_scale": "much"}, "guidance scale is much"),
    ({"guidance_scale": 10**400}, "guidance scale is 1000"),
    ({"concepts": (("neon", math.nan),)}, "strength of 'neon' is nan"),
    ({"concepts": (("neon", 1e30),)}, r"strength of 'neon' is 1e\+30"),
    ({"concepts": (("", 1.0),)}, "name is empty"),
    ({"concepts": 5}, "pairs"),
    ({"concepts": (5,)}, "pairs"),
    ({"concepts": ("neon",)}, "pairs"),
    ({"concepts": (("x", 1),) * 20}, "20 concepts"),
    ({"window": 3}, "two fractions"),
    ({"window": {"start": 0.1, "stop": 1}}, "just a start and an end"),
    ({"window": {"start": 0.9, "end": 0.1}}, "before its end"),
    ({"window": {"start": math.nan}}, "start is nan"),
    ({"sites": ()}, "0 sites"),
    ({"sites": "mid_block"}, "list of names"),
    ({"sites": (3,)}, "must be text"),
    ({"strip": 3}, "its strengths"),
    ({"strip": {"strengths": "abc"}}, "list of numbers"),
    ({"strip": {"strengths": []}}, "strip of 0"),
    ({"strip": {"strengths": [1] * 65}}, "strip of 65"),
    ({"strip": {"strengths": [math.inf]}}, "strength of 'the strip' is inf"),
    ({"strip": {"strengths": [1], "scale": 99}}, "enlargement is 99"),
    ({"strip": {"strengths": [1], "size": 2}}, "just its strengths and a scale"),
    ({"model": ""}, "empty"),
    ({"halves": "left"}, "guidance halves"),
    ({"halves": ["both"]}, "guidance halves"),
]


@pytest.mark.parametrize(("values", "words"), BAD)
def test_bad_values_get_one_sentence(values, words):
    with pytest.raises(RudderError, match=words) as caught:
        Recipe(**values)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_whole_floats_and_numpy_numbers_are_welcome():
    import numpy as np

    recipe = Recipe(seed=7.0, num_inference_steps=np.int64(12), guidance_scale=np.float32(2), sites=["a", "a"])
    assert (recipe.seed, recipe.num_inference_steps, recipe.guidance_scale) == (7, 12, 2.0)
    assert recipe.sites == ("a",)
    assert json.loads(recipe.to_json())["seed"] == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"rudder": 9}', "update Rudder"),
        ('{"rudder": 1, "colour": 3}', "unknown entry 'colour'"),
        ('{"seed": -1}', "seed is -1"),
        ({3: 4, "b": 5}, "unknown entry '3'"),
        ('{"guidance_scale": NaN}', "guidance scale is nan"),
    ],
)
def test_bad_json_gets_one_sentence(text, words):
    with pytest.raises(RudderError, match=words):
        Recipe.from_json(text)


def png(**chunks: str) -> bytes:
    info, file = PngImagePlugin.PngInfo(), BytesIO()
    for name, text in chunks.items():
        info.add_itxt(name, text, zip=True)
    pictures(1)[0].save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def test_bad_pngs_get_one_sentence(tmp_path):
    whole = png(rudder=Recipe().to_json())
    jpeg = BytesIO()
    pictures(1)[0].save(jpeg, format="JPEG")
    cases = [
        (png(), "carries no Rudder recipe"),
        (png(rudder="[]"), "not a JSON object"),
        (png(rudder="x" * 20_000_000), "not a readable PNG"),
        (whole[: len(whole) // 2], "not a readable PNG"),
        (jpeg.getvalue(), "not a readable PNG"),
        (b"", "not a readable PNG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a readable PNG"),
    ]
    for data, words in cases:
        (tmp_path / "dropped.png").write_bytes(data)
        with pytest.raises(RudderError, match=words):
            read_png(tmp_path / "dropped.png")
    with pytest.raises(RudderError, match="not a readable PNG"):
        read_png(tmp_path / "missing.png")
    assert read_png(BytesIO(whole)) == Recipe()


SAID = Recipe(prompt="кот, 猫, ü – “x”", seed=2**60, concepts=(("ö", 0.5),), strip=Strip((0, 0.5, 1), 3))
WORDS = SAID.to_json().encode()
PACKED = zlib.compress(WORDS)
REWRITTEN = {  # by tools that read a PNG's texts and write them again
    "tEXt": (b"tEXt", b"rudder\0" + WORDS),
    "tEXt in UTF-8": (b"tEXt", b"rudder\0" + json.dumps(json.loads(WORDS), ensure_ascii=False).encode()),
    "zTXt": (b"zTXt", b"rudder\0\0" + PACKED),
    "iTXt": (b"iTXt", b"rudder\0\0\0\0\0" + WORDS),
    "iTXt, packed": (b"iTXt", b"rudder\0\1\0\0\0" + PACKED),
    "iTXt with a language": (b"iTXt", b"rudder\0\0\0en\0Rudder\0" + WORDS),
}


@pytest.mark.parametrize("case", list(REWRITTEN))
@pytest.mark.parametrize("last", [True, False])
def test_a_recipe_survives_tools_that_rewrite_it(case: str, last: bool):
    made = chunk(*REWRITTEN[case])
    data = png()[:-12] + made + png()[-12:] if last else with_chunks(png(), made)
    assert read_png(BytesIO(data)) == read_recipe(BytesIO(data)) == SAID


def test_latin_1_is_read_as_such_and_what_is_written_is_ascii():
    data = with_chunks(png(), chunk(b"tEXt", b"rudder\0" + '{"prompt": "café"}'.encode("latin-1")))
    assert read_png(BytesIO(data)).prompt == "café"
    assert WORDS.isascii()


def test_older_recipes_have_no_strip():
    assert "strip" not in Recipe().to_json() and Recipe.from_json('{"rudder": 1}').strip is None


@given(recipes)
@settings(max_examples=20, deadline=None)
def test_a_jpeg_carries_its_recipe_in_exif(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("jpeg") / "a.JPG"
    assert write_picture(pictures(1)[0], path, recipe) == path
    assert read_recipe(path) == recipe and read_vectors(path) == {}
    with Image.open(path) as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("code", ["UNICODE\0", "\0" * 8, "ASCII\0\0\0"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_comments_of_other_encodings_are_read(code: str, order: str):
    text = SAID.to_json().encode("utf-8" if code[0] != "U" else "utf-16-le" if order == "<" else "utf-16-be")
    content = code.encode() + text
    inside = struct.pack(f"{order}HHHII", 1, 0x9286, 7, len(content), 44) + bytes(4) + content
    made = exif([(0x8769, 4, 1, struct.pack(f"{order}I", 26))], inside, order)
    data = with_segments(saved(pictures(1)[0], "JPEG"), (0xE1, b"Exif\0\0" + made))
    assert read_recipe(BytesIO(data)) == SAID


@pytest.mark.parametrize(
    ("name", "vectors", "says"),
    [
        ("a.webp", False, "neither a PNG nor a JPEG"),
        ("a.txt", False, "let its name end in .png or .jpg"),
        ("a.safetensors", False, "neither"),
        ("a.jpeg", True, "cannot carry a vector"),
    ],
)
def test_other_endings_are_refused(vector, tmp_path, name, vectors, says):
    (tmp_path / name).write_text("here before")
    with pytest.raises(RudderError, match=says):
        write_picture(pictures(1)[0], tmp_path / name, Recipe(), {"mine": vector} if vectors else None)
    assert (tmp_path / name).read_text() == "here before"


def test_pictures_are_written_whole_or_not_at_all(vector, tmp_path):
    assert write_picture(pictures(1)[0], tmp_path / "a", Recipe(), {"mine": vector}).name == "a.png"
    assert list(read_vectors(tmp_path / "a.png")) == ["mine"]
    long = Recipe(sites=[f"{i}" + "x" * 190 for i in range(250)], prompt="ü" * 2000, negative_prompt="ü" * 2000)
    with pytest.raises(RudderError, match="too long for a JPEG"):
        write_picture(pictures(1)[0], tmp_path / "b.jpg", long)
    with pytest.raises(RudderError, match="cannot be written"):
        write_picture(pictures(1)[0], tmp_path / "a.png" / "b.png", Recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", exif([(0x8769, 4, 1, b"\xff\xff\xff\xff")]), exif([(0x8769, 4, 1, bytes(4))] * 3)]
)
def test_jpegs_without_a_recipe_get_one_sentence(content: bytes):
    data = with_segments(saved(pictures(1)[0], "JPEG"), (0xE1, b"Exif\0\0" + content))
    for some in (data, data[:30], data[:3]):
        with pytest.raises(RudderError, match="carries no Rudder recipe"):
            read_recipe(BytesIO(some))


def test_a_vector_chunk_is_checked_like_a_file(vector):
    info, file = PngImagePlugin.PngInfo(), BytesIO()
    info.add(b"ruVc", vector.to_bytes()[:-4])
    pictures(1)[0].save(file, format="PNG", pnginfo=info)
    with pytest.raises(RudderError, match="truncated"):
        read_png_vectors(file)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_pngs_never_do_more_than_raise_ruddererror(data):
    good = bytearray(png(rudder=Recipe().to_json()))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_png(BytesIO(bytes(good[: data.draw(st.integers(0, len(good)))])))
    except RudderError:
        pass


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(RudderError, match="cannot be written"):
        write_png(pictures(1)[0], tmp_path / "no" / "such.png", Recipe())
