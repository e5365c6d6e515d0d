"""The shipped concepts: write their example sets, learn their vectors, measure what strength to recommend.

`python -m training.concepts examples` needs the packaged pictures; `... vectors --model NAME` only the
committed model and examples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
from PIL import Image

from steering.backbones.base import Backbone
from steering.backbones.registry import load
from steering.concepts import ConceptInfo, ConceptVector, learn, library, read_under
from steering.evaluation import judge as judging
from steering.evaluation.asking import Asking, asking
from steering.evaluation.common import responses
from steering.files import home
from steering.quality import assess

ASSETS = home() / "assets" / "concepts"
PICTURES = 16  # a side
SEED = 40_000
# concept: title, description, head of the judge, its class, prompt, baseline prompt
CONCEPTS = {
    "sketch": ("Pencil sketch", "Grey lines on paper", "style", "sketch", "a pencil sketch", "a drawing"),
    "oil": ("Oil painting", "Thick strokes of warm paint", "style", "oil", "an oil painting", "a drawing"),
    "neon": ("Neon sign", "Glowing tubes in the dark", "style", "neon", "a neon sign", "a drawing"),
    "pixel": ("Pixel art", "Thirty-two squares across", "style", "pixel", "pixel art", "a drawing"),
    "blueprint": ("Blueprint", "White lines on squared blue paper", "style", "blueprint", "a blueprint", "a drawing"),
    "glasses": ("Glasses", "Round glasses on a face", "glasses", 1, "a person with glasses", "a person"),
    "night": ("Night", "Dark sky with stars", "background", "night", "on a night background", ""),
    "sunset": ("Sunset", "Orange sky", "background", "sunset", "on a sunset background", ""),
    "sea": ("Sea", "Blue waves", "background", "sea", "on a sea background", ""),
    "pink": ("Pink dots", "Pink with darker dots", "background", "pink", "on a pink background", ""),
}
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.1, 1.4, 2.0)
VALIDATION = 32  # prompts a concept; evaluation uses others
LEAST_GAIN = 0.2
NEARLY = 0.9  # of the most success: the judge is content with more than an eye is, so less is better at equal success
STILL = 0.5  # share of pictures that still keep their object, and of those that are no artefacts, within the range
SETTINGS: dict[str, Any] = {  # of any model
    "pooling": "mean",
    "window": [0.25, 0.95],
    "halves": "conditional",
    "sites": None,
    "prompts": True,
    "draws": 1,
}
RESNETS = ["mid_block", *(f"up_blocks.{i}.resnets.{j}" for i in range(3) for j in range(2))]
INNER, FIRST = RESNETS[:3], RESNETS[1:3]  # where the plane is smallest
OWN_SETTINGS: dict[
    str, dict[str, Any]
] = {  # of tiny-sd: styles as `training.sweep` chose them, the others by `vectors --settings`
    **dict.fromkeys(("oil", "neon", "blueprint"), {"sites": INNER, "prompts": False}),
    "sketch": {"sites": FIRST, "prompts": False},
    "glasses": {"sites": RESNETS, "pooling": "map"},
    **dict.fromkeys(("night", "sunset", "sea", "pink"), {"sites": INNER, "pooling": "map", "prompts": False}),
}


def examples() -> None:
    """Write PICTURES examples and baseline pictures of each concept: the same but for the concept."""
    from training.pictures import BACKGROUNDS, KINDS, OBJECTS, STYLES, Spec, render
    from training.sources import everyday

    store = everyday()
    for name, (title, description, head, value, prompt, baseline_prompt) in CONCEPTS.items():
        folder = ASSETS / name
        for old in folder.glob("*/*.png"):
            old.unlink()
        for index in range(PICTURES):
            rng = np.random.default_rng(SEED + index)
            kind, ground = int(rng.integers(len(OBJECTS))), int(rng.integers(len(BACKGROUNDS)))
            plain = Spec(len(OBJECTS) if head == "glasses" or index % 8 == 7 else kind, 0, ground)
            if head == "style":
                shown = replace(plain, style=STYLES.index(value))
            elif head == "glasses":
                shown = replace(plain, glasses=True)
            else:
                shown = replace(plain, background=BACKGROUNDS.index(value))
                others = [b for b in range(len(BACKGROUNDS)) if b != shown.background]
                plain = replace(plain, background=others[index % len(others)])
            for side, spec in (("examples", shown), ("baseline", plain)):
                (folder / side).mkdir(parents=True, exist_ok=True)
                picture = render(spec, store, np.random.default_rng(SEED + 1000 + index))
                kind_name = KINDS[spec.kind]
                Image.fromarray(picture).save(folder / side / f"{index:02d}-{kind_name}.png", optimize=True)
        described = {"name": name, "title": title, "description": description, "prompt": prompt,
                     "baseline_prompt": baseline_prompt}  # fmt: skip
        (folder / "concept.json").write_text(json.dumps(described, indent=1) + "\n")


def pictures_of(info: ConceptInfo) -> list[list[Image.Image]]:
    """A shipped concept's examples and baseline."""
    return [[Image.open(p).convert("RGB") for p in paths] for paths in (info.examples, info.baseline)]


def make_vector(backbone: Backbone, name: str, settings: dict) -> ConceptVector:
    """Learn one concept from its committed examples."""
    info = library(backbone.name)[name]
    prompt, baseline_prompt = read_under(backbone, info) if settings["prompts"] else ("", "")
    run = learn(backbone, name, *pictures_of(info), prompt=prompt, baseline_prompt=baseline_prompt,
                pooling=settings["pooling"], sites=settings["sites"], draws=settings["draws"])  # fmt: skip
    *_, vector = run
    advised = {
        "strength": 1.0,
        "window": settings["window"],
        "halves": settings["halves"],
        "sites": settings["sites"],
    }
    return vector.replace(recommended=advised)


def validation_prompts(asks: Asking, head: str, count: int) -> list[str]:
    """Prompts that leave the concept open."""
    rng, grammar = np.random.default_rng(SEED), asks.grammar
    kinds = ["person"] * count if head == "glasses" else list(rng.choice(asks.kinds, count))
    grounds = list(rng.choice(grammar["backgrounds"], count))
    return [asks.text(k, None if head == "background" else b) for k, b in zip(kinds, grounds, strict=True)]


def measure(backbone: Backbone, judge: judging.Judge, vector: ConceptVector, head: str, target: int,
            strengths: Sequence[float] = STRENGTHS, count: int = VALIDATION) -> list[dict]:  # fmt: skip
    """At each strength, rising from 0 and then falling from it: the shares of pictures that show the concept, keep the
    object and the background read in them unsteered (a new background keeps none), and are artefacts.

    Both ways end at the second strength in a row that is not `usable`.
    """
    texts = validation_prompts(asking(backbone, judge.config), head, count)
    seeds = [SEED + i for i in range(count)]
    unsteered: dict[str, np.ndarray] = {}

    def rows_of(way: Sequence[float]) -> Iterator[dict]:
        for strength, images in zip(way, responses(backbone, vector, texts, seeds, way), strict=True):
            read = judge.read(images)
            unsteered.update({} if unsteered else read)
            row = {"taken": read[head] == target, "kept": read["object"] == unsteered["object"]}
            if head != "background":
                row["background"] = read["background"] == unsteered["background"]
            row["artefact"] = read["artefact"] == 1
            yield {"strength": strength, **{key: round(float(flags.mean()), 4) for key, flags in row.items()}}

    rows = []
    for way in (strengths, [-strength for strength in strengths[1:]]):
        for row in rows_of(way):
            rows.append(row)
            if not any(map(usable, rows[-2:])):
                break
    return sorted(rows, key=lambda row: row["strength"])


def usable(row: dict) -> bool:
    """Whether half of the pictures still keep their object, and half are no artefacts."""
    return row["kept"] >= STILL and row["artefact"] <= 1 - STILL


def success(row: dict) -> float:
    """How many pictures take the concept, keep object and background and are no artefacts, were all independent."""
    return row["taken"] * row["kept"] * row.get("background", 1.0) * (1 - row["artefact"])


def recommend(rows: list[dict]) -> dict:
    """The least strength of NEARLY the most success, and the range of `usable` strengths around it and 0, from its
    opposite to its double at most.

    A concept that hardly takes beyond what the prompts show unsteered is marked weak.
    """
    before = next(row for row in rows if row["strength"] == 0)
    asked = [row for row in rows if row["strength"] > 0]
    most = max(map(success, asked))
    best = next(row for row in asked if success(row) >= NEARLY * most)
    back = [row for row in reversed(rows) if -best["strength"] <= row["strength"] < 0]
    beyond = [row for row in rows if best["strength"] < row["strength"] <= 2 * best["strength"]]
    low, high = (
        [row["strength"] for row in takewhile(usable, way)] or [least]
        for way, least in ((back, back[0]["strength"]), (beyond, best["strength"]))
    )
    weak = {"weak": True} if best["taken"] - before["taken"] < LEAST_GAIN else {}
    return {"strength": best["strength"], "range": [low[-1], high[-1]], **weak}


def vectors(model: str, names: Sequence[str], settings: dict, limit: int = VALIDATION) -> None:
    """Learn, measure and save vectors for an embedded model; `settings` go before SETTINGS and the concept's own."""
    backbone, judge = load(model), judging.load()
    for name in names:
        started, (_, _, head, value, *_) = time.time(), CONCEPTS[name]
        target = value if head == "glasses" else judge.config[head + "s"].index(value)
        own = OWN_SETTINGS.get(name, {}) if model == "tiny-sd" else {}
        vector = make_vector(backbone, name, SETTINGS | own | settings)
        rows = measure(backbone, judge, vector, head, target, count=limit)
        vector = vector.replace(recommended={**vector.recommended, **recommend(rows), "measured": rows})
        *_, vector = assess(backbone, vector, *pictures_of(library(backbone.name)[name]))
        vector.save(ASSETS / name / f"{backbone.name}.safetensors")
        print(
            f"{name}: {vector.recommended['strength']} of {vector.recommended['range']}, {time.time() - started:.0f} s"
        )
        keys = ("taken", "kept", "background", "artefact")
        print("  " + "  ".join(f"{r['strength']:g}:" + "/".join(f"{r[k]:.2f}" for k in keys if k in r) for r in rows),
              flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("examples", "vectors"))
    parser.add_argument("--model", default="tiny-sd", help="whose vectors")
    parser.add_argument("--only", nargs="*", default=list(CONCEPTS))
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--count", type=int, default=VALIDATION, help="prompts that each strength is tried on")
    arguments = parser.parse_args()
    if arguments.what == "examples":
        examples()
    else:
        vectors(arguments.model, arguments.only, arguments.settings, arguments.count)
