"""Concept vectors: learning, arithmetic, files and the shipped library."""

from __future__ import annotations

import json
import pickle
import struct
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

import steering.vectors as vectors_module
from steering.activations import capture
from steering.concepts import ConceptVector, Progress, learn, library
from steering.errors import Remark, RudderError
from tests.tiny import pictures

SITES = ("up_blocks.0.resnets.0", "up_blocks.1.resnets.1.nonlinearity")


def learned(backbone, images, baseline=None, **options) -> ConceptVector:
    options = {"timesteps": (100, 500), "sites": SITES, **options}
    return list(learn(backbone, "it", images, baseline, **options))[-1]


def test_learning_yields_progress_and_then_the_vector(backbone):
    run = list(learn(backbone, "red", pictures(3), pictures(2, seed=1), timesteps=(10, 20), draws=2, batch_size=2))
    assert all(isinstance(item, Progress) for item in run[:-1])
    done = [item.done for item in run[:-1]]
    assert done == sorted(done)
    assert done[-1] == run[-2].total == 5 * (1 + 2 * 2)
    vector = run[-1]
    assert vector.sites == backbone.defaults["sites"]
    assert vector.timesteps == (10, 20)
    told = vector.provenance
    assert told["unit"] == "mean(concept) - mean(baseline)"
    assert (told["images"], told["baseline_images"], told["draws"], told["pooling"]) == (3, 2, 2, "mean")
    assert (told["model"], told["fingerprint"]) == (backbone.name, backbone.fingerprint)
    assert len(told["images_sha256"]) == 64
    assert told["images_sha256"] != told["baseline_sha256"]


def test_one_picture_one_draw_is_its_representation(backbone):
    from steering.concepts import _generator

    image = pictures(1)
    vector = learned(backbone, image, prompt="a dog", timesteps=(100,), seed=5)
    x = backbone.noise(backbone.encode(image), 100, _generator(5, 0, 0, 100))
    with capture(backbone, SITES) as store:
        backbone.denoise(x, 100, backbone.condition(["a dog"]))
    for site in SITES:
        torch.testing.assert_close(vector.at(site, 100), store[site][0])
    assert vector.provenance["unit"] == "mean(concept)"


def test_batch_size_does_not_matter_and_seeds_do(backbone):
    images, others = pictures(5), pictures(3, seed=9)
    one, many = (learned(backbone, images, others, batch_size=b) for b in (1, 4))
    again = learned(backbone, images, others, batch_size=4)
    other = learned(backbone, images, others, batch_size=4, seed=1)
    for site in SITES:
        torch.testing.assert_close(one.vectors[site], many.vectors[site], rtol=1e-4, atol=1e-5)
        assert torch.equal(again.vectors[site], many.vectors[site])
        assert not torch.equal(other.vectors[site], many.vectors[site])


def test_concept_minus_baseline(backbone):
    images, others = pictures(2), pictures(2, seed=3)
    with_baseline, concept, baseline = (learned(backbone, *sets) for sets in ((images, others), (images,), (others,)))
    for site in SITES:
        difference = (concept - baseline).vectors[site]
        torch.testing.assert_close(with_baseline.vectors[site], difference, rtol=1e-4, atol=1e-5)


ONE, TWO, THREE = pictures(3, seed=30)
SETS = [
    ([ONE, TWO], [THREE], 2, []),
    ([ONE, TWO, ONE], [THREE], 2, ["1 of the concept's 3 pictures is a copy of others"]),
    ([ONE, ONE, ONE], [THREE], 1, ["All 3 pictures of the concept are one and the same"]),
    ([ONE, TWO], [THREE, THREE], 2, ["All 2 pictures of the baseline are one"]),
    ([ONE, TWO], [TWO, THREE], 2, ["1 picture stands in both sets"]),
    ([ONE, TWO, TWO], [TWO, ONE, THREE], 2, ["1 of the concept's 3 pictures is a copy", "2 pictures stand in both"]),
    ([ONE, ONE], [], 1, ["All 2 pictures of the concept are one"]),
]


@pytest.mark.parametrize(("images", "baseline", "used", "says"), SETS)
def test_copies_and_pictures_in_both_sets_are_said(backbone, images, baseline, used, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vector = learned(backbone, images, baseline, timesteps=(100,), sites=SITES[:1])
    told = [str(one.message) for one in caught if issubclass(one.category, Remark)]
    assert told == vector.provenance.get("remarks", []) and len(told) == len(says)
    assert all(sentence.startswith(start) for sentence, start in zip(told, says, strict=True))
    assert vector.provenance["images"] == used
    once = learned(backbone, images[:used], baseline, timesteps=(100,), sites=SITES[:1])
    assert torch.equal(once.vectors[SITES[0]], vector.vectors[SITES[0]])


def test_sets_that_are_the_same_are_refused_before_anything_is_read(backbone):
    for images, baseline in [([ONE, TWO], [TWO, ONE]), ([ONE], [ONE, ONE.copy()])]:
        with pytest.raises(RudderError, match="are the same"):
            next(learn(backbone, "it", images, baseline))
    around = ONE.resize((64, 32))
    around.paste(ONE, (16, 0))  # what the model sees of it is the middle alone
    with pytest.raises(RudderError, match="look the same to"):
        learned(backbone, [ONE], [around])


@pytest.mark.parametrize("pooling", ["max", "map"])
def test_other_poolings(backbone, pooling: str):
    vector = learned(backbone, pictures(2), pooling=pooling)
    for site in SITES:
        stated = backbone.sites()[site]
        size = stated.size if pooling == "map" else ()
        assert vector.vectors[site].shape == (2, stated.channels, *size)
    vector.check(backbone)
    assert ConceptVector.from_bytes(vector.to_bytes(), backbone).provenance["pooling"] == pooling


def test_learning_from_bad_input(backbone):
    cases = [
        ({"images": []}, "no pictures"),
        ({"sites": ["nowhere"]}, "no site"),
        ({"sites": []}, "at least one of each"),
        ({"timesteps": []}, "at least one of each"),
        ({"timesteps": [1000]}, "timestep is 1000"),
        ({"pooling": "median"}, "pooling"),
        ({"draws": 0}, "noise draws"),
        ({"seed": -1}, "seed"),
        ({"prompt": "x" * 10_000}, "concept's prompt has 10,000"),
    ]
    for options, words in cases:
        with pytest.raises(RudderError, match=words):
            learned(backbone, **{"images": pictures(1), **options})


def make(values, steps=(0, 10), name="v", fingerprint="f", site="s") -> ConceptVector:
    return ConceptVector(name, {site: values}, steps, {"model": "m", "fingerprint": fingerprint})


numbers = st.floats(-100, 100, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
matrices = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=2).map(torch.tensor)


@given(matrices, matrices, numbers.filter(bool))
@settings(max_examples=40, deadline=None)
def test_arithmetic_is_that_of_tensors(a, b, factor):
    x, y = make(a), make(b)
    torch.testing.assert_close((x + y).vectors["s"], a + b)
    torch.testing.assert_close((x - y).vectors["s"], a - b)
    torch.testing.assert_close((factor * x).vectors["s"], a * factor)
    torch.testing.assert_close((x * factor / factor).vectors["s"], a, rtol=1e-4, atol=1e-4)
    assert torch.equal((-x).vectors["s"], -a)
    assert (x + y).provenance["of"] == [x.provenance, y.provenance]


@given(matrices, st.floats(-50, 50).filter(lambda x: abs(x) > 0.01))
@settings(max_examples=25, deadline=None)
def test_scaling_keeps_the_recommended_pushes(values, factor):
    vector = make(values).replace(recommended={"strength": 2.0, "range": [-1, 3], "sites": ["s"]})
    scaled = vector * factor
    assert scaled.recommended["strength"] * factor == pytest.approx(2.0)
    assert scaled.recommended["range"] == sorted(scaled.recommended["range"])
    assert "strength" not in (vector * 0).recommended


def test_arithmetic_checks_what_it_combines():
    a = make(torch.ones(2, 3))
    for other, words in [
        (make(torch.ones(2, 3), fingerprint="g"), "one model"),
        (make(torch.ones(2, 3), steps=(0, 11)), "timesteps"),
        (make(torch.ones(2, 3), site="t"), "sites"),
    ]:
        for combine in (lambda o=other: a + o, lambda o=other: a - o):
            with pytest.raises(RudderError, match=words):
                combine()
    with pytest.raises(RudderError, match="shapes"):
        make(torch.ones(2, 3, 4, 4)) + make(torch.ones(2, 3, 2, 2))
    for bad in (lambda: a * float("nan"), lambda: a / 0):
        with pytest.raises(RudderError):
            bad()
    for wrong in (lambda: a + 1, lambda: a * a, lambda: a / "2"):
        with pytest.raises(TypeError):
            wrong()


@given(st.sets(st.integers(0, 999), min_size=1, max_size=6), st.integers(-5, 1005))
@settings(max_examples=50, deadline=None)
def test_at_is_the_nearest_timestep(steps, t):
    steps = tuple(sorted(steps))
    vector = make(torch.tensor([[float(s)] * 3 for s in steps]), steps)
    assert abs(float(vector.at("s", t)[0]) - t) == min(abs(s - t) for s in steps)


def test_save_and_load_keep_everything(backbone, vector, tmp_path):
    told = {"strength": 1.5, "range": [-2.0, 3.0], "window": [0.5, 0.95], "sites": ["mid_block"]}
    vector.replace(recommended=told).save(tmp_path / "red.safetensors")
    loaded = ConceptVector.load(tmp_path / "red.safetensors", backbone)
    assert (loaded.name, loaded.timesteps, loaded.sites) == (vector.name, vector.timesteps, vector.sites)
    assert loaded.provenance == vector.provenance
    assert loaded.recommended == told
    assert all(torch.equal(loaded.vectors[s], vector.vectors[s]) for s in vector.sites)
    assert torch.equal(loaded.at("up_blocks.0.resnets.0", 290), vector.vectors["up_blocks.0.resnets.0"][1])


def test_advice_is_what_was_measured_or_cautious():
    vector = make(torch.ones(2, 3))
    assert vector.advice["strength"] == 1.0
    mean = vector.replace(provenance={**vector.provenance, "baseline": False})
    assert mean.advice["strength"] < 1.0
    told = {
        "strength": 1.7,
        "range": [-2.0, 2.5],
        "window": [0.1, 0.9],
        "sites": ["s"],
        "halves": "conditional",
    }
    assert mean.replace(recommended=told).advice == told


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


def retold(vector: ConceptVector, **changes) -> bytes:
    """The vector's file with its metadata changed."""
    shapes = {s: list(v.shape) for s, v in vector.vectors.items()}
    meta = {"format": 1, "name": "n", "timesteps": vector.timesteps, "shapes": shapes, "provenance": {},
            "recommended": {}} | changes  # fmt: skip
    return save(vector.vectors, {"rudder": json.dumps(meta)})


def bad_files(vector: ConceptVector) -> dict[str, tuple[bytes, str]]:
    good, shapes = vector.to_bytes(), {s: list(v.shape) for s, v in vector.vectors.items()}
    first = next(iter(shapes))
    lying = good.replace(b'"shape":[3,16]', b'"shape":[3,99]', 1)
    nan = {s: torch.full_like(v, float("nan")) for s, v in vector.vectors.items()}
    return {
        "pickle": (pickle.dumps(Bomb()), "pickle"),
        "torch zip": (b"PK\x03\x04" + bytes(100), "pickle or zip"),
        "git lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "empty": (b"", "not a safetensors file"),
        "text": (b"hello, I am a vector, honestly", "not a safetensors file"),
        "truncated": (good[:-7], "truncated"),
        "only the header": (good[:40], "truncated"),
        "trailing": (good + b"x", "longer"),
        "huge header": (struct.pack("<Q", 1 << 60) + good[8:], "not a safetensors file"),
        "sides without end": (headed([1 << 60] * 60), "longer than the file"),
        "sides of one": (headed([1] * 500_000), "500,000 sides"),
        "negative": (headed([-1, -4]), "side of -1"),
        "numbers of a thousand digits": (headed([10**1000] * 50), "longer than the file"),
        "broken header": (good[:9] + b"\xff" + good[10:], "damaged header"),
        "lying header": (lying, "contradicts its size|damaged header"),
        "metadata without end": (save(vector.vectors, {"rudder": "[" + "{}," * 200_000 + "1]"}), "512 kB of metadata"),
        "no metadata": (save(vector.vectors), "no Rudder metadata"),
        "strange metadata": (save(vector.vectors, {"rudder": "[1]"}), "no Rudder metadata"),
        "newer": (retold(vector, format=2), "update Rudder"),
        "lying shapes": (retold(vector, shapes=shapes | {first: [3, 5]}), "lies about its shape"),
        "extra site": (retold(vector, shapes=shapes | {"x": [3, 5]}), "lies about its shape at x"),
        "timesteps": (retold(vector, timesteps=[1, 2]), "for 2 timesteps"),
        "odd timesteps": (retold(vector, timesteps=["a", 2, 3]), "timestep is a"),
        "no name": (retold(vector, name=""), "name"),
        "name": (retold(vector, name=3), "'name'"),
        "recommended": (retold(vector, recommended={"range": "wide"}), "two numbers"),
        "halves": (retold(vector, recommended={"halves": "left"}), "recommended halves"),
        "not finite": (save(nan, {"rudder": json.dumps(json.loads(meta_of(good)))}), "not finite"),
    }


def headed(shape: list[int]) -> bytes:
    """A file of four bytes whose only tensor claims this shape."""
    head = json.dumps({"s": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(4)


def meta_of(data: bytes) -> str:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]["rudder"]


CASES = list(bad_files(make(torch.ones(3, 16), (1, 2, 3))))


@pytest.mark.parametrize("case", CASES)
def test_bad_vector_files_get_one_sentence(case: str, tmp_path):
    data, words = bad_files(make(torch.ones(3, 16), (1, 2, 3)))[case]
    path = tmp_path / "vector.safetensors"
    path.write_bytes(data)
    with pytest.raises(RudderError, match=words) as caught:
        ConceptVector.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_never_do_more_than_raise_ruddererror(data):
    good = bytearray(make(torch.ones(3, 4), (1, 2, 3)).to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        ConceptVector.from_bytes(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except RudderError:
        pass


def test_files_for_other_models_say_which(backbone, sd14, vector, tmp_path, monkeypatch):
    path = tmp_path / "red.safetensors"
    vector.save(path)
    with pytest.raises(RudderError, match=f"made for {backbone.name}.*not for {sd14.name}.*load that model"):
        ConceptVector.load(path, sd14)
    owned = {"model": backbone.name, "fingerprint": backbone.fingerprint}
    for site, shape, words in [
        ("gone.resnets.0", (3, 16), "lacks"),
        ("mid_block", (3, 15), r"\[15\] at mid_block where \[16\]"),
        ("mid_block", (3, 16, 5, 5), r"\[16, 5, 5\].*where \[16, 1, 1\]"),
    ]:
        ConceptVector("x", {site: torch.ones(shape)}, (1, 2, 3), owned).save(path)
        with pytest.raises(RudderError, match=words):
            ConceptVector.load(path, backbone)
    with pytest.raises(RudderError, match="cannot be read"):
        ConceptVector.load(tmp_path / "missing.safetensors")
    with pytest.raises(RudderError, match="cannot be read"):
        ConceptVector.load(tmp_path)
    with pytest.raises(RudderError, match="cannot be written"):
        vector.save(path / "no" / "folder.safetensors")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RudderError, match="is no concept vector"):
        vector.save(tmp_path / "notes.txt")
    monkeypatch.setattr(vectors_module, "FILE_LIMIT", 100)
    with pytest.raises(RudderError, match="at most 100"):
        ConceptVector.load(path)
    with pytest.raises(RudderError, match="no site in the vector"):
        vector.at("nowhere", 3)


def test_the_library_lists_what_is_there(tmp_path, monkeypatch, vector):
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    assert library() == {}
    folder = tmp_path / "assets" / "concepts" / "sketch"
    for name in ("examples", "baseline"):
        (folder / name).mkdir(parents=True)
        pictures(1)[0].save(folder / name / "1.png")
    texts = {
        "name": "sketch",
        "title": "Pencil sketch",
        "description": "d",
        "prompt": "p",
        "baseline_prompt": "b",
    }
    (folder / "concept.json").write_text(json.dumps(texts))
    info = library("tiny-sd")["sketch"]
    assert (info.title, info.prompt, info.baseline_prompt) == ("Pencil sketch", "p", "b")
    assert [len(info.examples), len(info.baseline), info.vector_path] == [1, 1, None]
    vector.save(folder / "tiny-sd.safetensors")
    assert library("tiny-sd")["sketch"].vector_path == folder / "tiny-sd.safetensors"
    assert library("../../other")["sketch"].vector_path is None
    (folder / "concept.json").write_text("[")
    with pytest.raises(RudderError, match="not readable JSON"):
        library()
