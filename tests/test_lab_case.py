"""The laboratory's sentences, in node: whatever the case, they say what is measured in it, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import product

import numpy as np
import pytest

from steering.dae.data import folder
from steering.dae.snapshots import index
from steering.ui.shell import ASSETS

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="the page's scripts are tested in node, which is not here")
SCRIPTS = ("lab-maths.js", "lab-case.js")
CODES = ("silent", "spiky", "balanced")
WORDS = {
    "inert": "hardly moves",
    "jumps": "has jumped",
    "late": "then moves",
    "at once": "at once",
    "gradual": "bit by bit",
}
RESISTS = ("inert", "jumps", "late")


def node(body: str, given: object) -> object:
    """What `body` makes of `given`, with the laboratory's maths and sentences at hand."""
    code = "globalThis.window = globalThis;\n" + "\n".join((ASSETS / "js" / n).read_text("utf-8") for n in SCRIPTS)
    code += f"\nconst given = JSON.parse(require('fs').readFileSync(0));\nconst said = (() => {{ {body} }})();"
    done = subprocess.run(
        [NODE, "-e", code + "console.log(JSON.stringify(said));"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def facts(code="spiky", after="spiky", back=1.0, kept=0.1, word="jumps", followed=True, pushes=True, turn=0.5) -> dict:
    shares = {"silent": (0.0, 0.0), "spiky": (0.9, 1.6), "balanced": (0.2, 14.0)}
    about = lambda kind: {"kind": kind, "top": shares[kind][0], "units": shares[kind][1]}  # noqa: E731
    answer = {"word": word, "start": 1.2, "end": 1.9, "top": 80, "resists": word in RESISTS, "falls": False}
    return {"code": about(code), "after": about(after), "back": back, "kept": kept, "answer": answer, "pushes": pushes,
            "followed": followed, "passes": 20 if followed else 1, "turn": turn}  # fmt: skip


def test_every_case_gets_a_sentence_that_says_it():
    """All of code x what comes back x what a pass leaves x answer x passes x pushes x direction."""
    cases = [
        facts(*case)
        for case in product(
            CODES, CODES, (0.3, 1.0), (0.05, 0.95), WORDS, (True, False), (True, False), (-0.5, 0.0, 0.5)
        )
    ]
    told = node("return given.map((one) => LabCase.sentence('Left (memorises)', one));", cases)
    assert len(told) == len(cases) == 2160
    for case, text in zip(cases, told, strict=True):
        if case["code"]["kind"] == "silent":
            assert "wakes no unit" in text and "nothing to steer" in text
            continue
        assert ("on one unit (90 %" in text.split(" and is not")[0]) == (case["code"]["kind"] == "spiky")
        assert ("not returned" in text) == (case["back"] < 0.8)
        if not case["pushes"]:
            assert "nothing is pushed" in text and not any(way in text for way in WORDS.values())
            continue
        word, resists = case["answer"]["word"], case["answer"]["resists"]
        assert WORDS[word] in text
        code = case["code" if case["back"] >= 0.8 else "after"]["kind"]
        assert ("and yet" in text) == (code != ("spiky" if resists else "balanced"))
        assert ("a pass leaves" in text) == case["followed"]
        if case["followed"]:
            assert ("though" in text) == ((case["kept"] > 0.5) == resists)
        moved = word != "inert"
        assert ("away from the concept" in text) == (moved and case["turn"] < 0)
        assert ("hardly towards" in text) == (moved and case["turn"] == 0)


def test_the_verdict_names_who_resists():
    pairs = list(product(WORDS, WORDS))
    said = node(
        "return given.map(([one, other]) => LabCase.verdict(one, other));",
        [[facts(word=one), facts(word=other)] for one, other in pairs],
    )
    for (one, other), text in zip(pairs, said, strict=True):
        left, right = one in RESISTS, other in RESISTS
        assert ("both" in text) == (left and right) and ("neither" in text) == (not left and not right)
        if left != right:
            named = ("left", "right") if left else ("right", "left")
            assert text == "Here the {} network resists, the {} one yields.".format(*named)


@pytest.mark.parametrize(
    ("curve", "word"),
    [
        (lambda a: 2 * a / 3, "inert"),
        (lambda a: 30 * a, "gradual"),
        (lambda a: 90 * (a > 1.5), "jumps"),
        (lambda a: max(0.0, 40 * (a - 0.8)), "late"),
        (lambda a: 90 * min(1.0, 4 * a), "at once"),
        (lambda a: 0.0, "inert"),
    ],
)
def test_the_word_for_a_curve(curve, word: str):
    points = [[a / 10, curve(a / 10)] for a in range(31)]
    assert node("return LabCase.answerOf(given);", points)["word"] == word


def test_a_curve_that_comes_back_is_said():
    points = [[a / 10, 40.0 * min(a, 3) if a < 20 else 30.0] for a in range(31)]
    assert "comes part of the way back" in node("return LabCase.told(LabCase.answerOf(given));", points)


def test_the_opening_words_name_the_numbers_and_where_such_a_code_is():
    said = node(
        "return given.map((one) => LabCase.lede(...one));",
        [[[5, 10_000], "", None], [[300, 300], "", None], [[1, 30], "", None]]
        + [
            [[5, 5], came, [facts(one), facts(other)]]
            for came in ("mem", "gen")
            for one, other in product(CODES, CODES)
        ],
    )
    assert "one from 5 pictures, one from 10,000 pictures" in said[0] and "both from 300" in said[1]
    assert "from 1 picture, one" in said[2]
    asked = [(came, *pair) for came in ("mem", "gen") for pair in product(CODES, CODES)]
    for (came, one, other), text in zip(asked, said[3:], strict=True):
        kind = {"mem": "spiky", "gen": "balanced"}[came]
        where = {(True, True): "both networks", (True, False): "on the left", (False, True): "on the right"}
        assert where.get((one == kind, other == kind), "neither network") in text


def sprites(about: dict) -> tuple[np.ndarray, np.ndarray]:
    """Training pictures at hand [40, 1024] in [-1, 1], and the data's mean."""
    from PIL import Image

    grey = np.asarray(Image.open(folder() / about["train"]).convert("L"), np.float32).reshape(-1, 1024)
    return grey / 127.5 - 1, np.frombuffer((folder() / about["mean"]).read_bytes(), "<f4")


def test_who_was_trained_on_what_is_what_the_package_trains_on():
    """`knows` chooses as steering/dae/data.training_set does, repeated pictures included; a copy is recognised."""
    from steering.dae.data import load, training_set

    pictures = load("fashion")
    train, mean = sprites(index()["datasets"]["fashion"])
    given = {"set": {"train": train.tolist(), "mean": mean.tolist()}}
    for n, duplicates in ((5, 1), (30, 1), (30, 3), (40, 300)):
        x = training_set(pictures, n, duplicates)
        want = [bool((x - row).abs().amax(1).min() < 0.02) for row in pictures.train[:40]]
        settings = f"{{ n: {n}, duplicates: {duplicates} }}"
        body = f"return given.set.train.map((_, place) => LabCase.knows(given.set, {settings}, place));"
        assert node(body, given) == want, (n, duplicates)
    body = """const own = (pixels) => ({ kind: "own", name: "Your drawing", place: 0, pixels });
      const both = [{ n: 5, duplicates: 1 }, { n: 10000, duplicates: 300 }];
      const train = (place) => ({ kind: "train", name: "x", place, pixels: given.set.train[place] });
      return [own(given.set.train[3]), own(given.set.train[0].map((value) => -value)), train(1), train(30)]
        .map((one) => LabCase.source(given.set, one, both));"""
    copy, drawn, repeated, later = node(body, given)
    assert "the same as training picture 4" in copy and "left network, one of 5" in copy
    assert drawn == "Your drawing: neither network was trained on it."
    assert "left network, one of 5; and to the right network, 300 times" in repeated
    assert "left" not in later


MEASURE = """
  const fs = require("fs"), rows = given.rows;
  const read = (file) => LabMaths.halves(new Uint8Array(fs.readFileSync(file)).buffer);
  return rows.map(({ file, p, tied, sigma, pixels, mean, passes, concept }) => {
    const net = LabMaths.network(read(file), p, tied);
    const clean = Float32Array.from(pixels, (value, at) => value - mean[at]);
    const z = LabMaths.noisy(clean, sigma, 1), h = LabMaths.represent(net, z);
    const v = LabMaths.matched(net.classes[concept], h);
    const made = (a) => LabMaths.steer(net, z, v, a, passes, mean), base = made(0);
    const points = [0, 0.3, 0.6, 1, 1.5, 2, 2.5, 3].map((a) => [a, LabMaths.moved(made(a), base)]);
    const facts = LabCase.measure({ net, clean, h, v, base, made: made(3), points, passes });
    return { h: [...h], z: [...z], base: [...base], points, text: LabCase.sentence("Left", facts), kept: facts.kept };
  });"""


def drawings() -> dict[str, np.ndarray]:
    """What people put in: nothing, a stroke, noise, white."""
    blank = -np.ones((32, 32), np.float32)
    stroke = blank.copy()
    stroke[10:14, 4:28] = 1
    noise = np.random.default_rng(0).uniform(-1, 1, (32, 32)).astype(np.float32)
    return {"blank": blank, "stroke": stroke, "noise": noise, "white": -blank}


@pytest.mark.parametrize("dataset", list(index()["datasets"]))
def test_on_every_snapshot_the_sentence_agrees_with_numbers_worked_out_elsewhere(dataset: str):
    """Every snapshot (data, n, units, noise, decay, repetitions) x trained, drawn pictures x passes, against numpy."""
    about = index()["datasets"][dataset]
    train, mean = sprites(about)
    shown = {"first": train[0], "later": train[20], **{name: drawn.ravel() for name, drawn in drawings().items()}}
    rows, keys = [], []
    for state in (one for one in index()["states"] if one["dataset"] == dataset):
        for (name, pixels), passes in product(shown.items(), (1, 8)):
            if passes == 1 and name not in ("first", "stroke"):
                continue
            keys.append((state, name, passes))
            rows.append({**{k: state[k] for k in ("p", "tied", "sigma")}, "file": str(folder() / state["file"]),
                         "pixels": pixels.tolist(), "mean": mean.tolist(), "passes": passes, "concept": 1})  # fmt: skip
    seen = set()
    for (state, name, passes), told in zip(keys, node(MEASURE, {"rows": rows}), strict=True):
        where, text = (state["name"], name, passes), told["text"]
        w = np.frombuffer((folder() / state["file"]).read_bytes(), "<f2").astype(np.float64)
        p = state["p"]
        encoder = w[: p * 1024].reshape(p, 1024)
        h = np.maximum(encoder @ np.array(told["z"]), 0)
        assert np.allclose(h, told["h"], rtol=1e-3, atol=1e-3), where
        top = (h**2).max() / max((h**2).sum(), 1e-12)
        if not h.any():
            assert "wakes no unit" in text, where
            continue
        assert ("on one unit" in text.split(" and is not")[0]) == (top > 0.5), (*where, text)
        clean, base = np.array(shown[name]) - mean, np.array(told["base"])
        back = clean @ base / max(np.linalg.norm(clean) * np.linalg.norm(base), 1e-12)
        assert ("not returned" in text) == (back < 0.8), (*where, text)
        if "nothing is pushed" in text:
            continue
        strengths, moved = np.array(told["points"]).T
        resists = moved.max() < 6 or np.interp(0.12 * 3, strengths, moved) < 0.1 * moved.max()
        assert (any(WORDS[word] in text for word in ("inert", "jumps", "late"))) == resists, (*where, text)
        assert ("a pass leaves" in text) == (passes > 1), where
        seen.add((bool(top > 0.5), bool(back >= 0.8), bool(resists), "and yet" in text))
    assert len(seen) >= 3, "the table holds different cases"
