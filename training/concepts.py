"""The shipped concepts: write their example sets, learn their vectors, measure what strength to recommend.

`python -m training.concepts examples` needs the packaged pictures; `... vectors --model NAME` only the
committed model and examples.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace

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
STRENGTHS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.5)
OWN_STRENGTHS = {"glasses": (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 11.0, 15.0, 20.0)}  # its vector is short
VALIDATION = 32  # prompts a concept; evaluation uses others
KEPT = 0.6  # share of objects that must survive the recommended strength
LEAST_GAIN = 0.2
DEEP = ["mid_block", *(f"up_blocks.{i}.resnets.{j}" for i in range(3) for j in range(2)),
        *(f"up_blocks.{i}.attentions.{j}" for i in (1, 2) for j in range(2))]  # fmt: skip
OWN_SETTINGS = {name: {"sites": DEEP} for name in ("oil", "pixel", "glasses")}  # where the resnets alone do little
SETTINGS = {
    "pooling": "mean",
    "window": [0.25, 0.95],
    "halves": "conditional",
    "sites": None,
    "prompts": True,
    "draws": 1,
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
    kinds = ["person"] * count if head == "glasses" else list(rng.choice(grammar["kinds"], count))
    grounds = list(rng.choice(grammar["backgrounds"], count))
    return [asks.text(k, None if head == "background" else b) for k, b in zip(kinds, grounds, strict=True)]


def measure(backbone: Backbone, judge: judging.Judge, vector: ConceptVector, head: str, target: int,
            strengths: Sequence[float] = STRENGTHS, count: int = VALIDATION) -> list[dict]:  # fmt: skip
    """At each strength: how often the concept is seen, and the object is read as unsteered."""
    texts = validation_prompts(asking(backbone, judge.config), head, count)
    seeds = [SEED + i for i in range(count)]
    rows, unsteered = [], None
    for strength, images in zip(strengths, responses(backbone, vector, texts, seeds, strengths), strict=True):
        read = judge.read(images)
        unsteered = read["object"] if unsteered is None else unsteered
        taken, kept = read[head] == target, read["object"] == unsteered
        rows.append({"strength": strength, "taken": float(taken.mean()), "kept": float(kept.mean())})
    return rows


def recommend(rows: list[dict]) -> dict:
    """Of the strengths that keep the object often enough, the one at which most pictures would both take the concept
    and keep it, were the two independent; the slider goes twice as far.

    A concept that hardly takes beyond what the prompts show unsteered is marked weak and gets the whole range.
    """
    before = rows[0]["taken"]
    kept = [row for row in rows if row["kept"] >= KEPT]
    best = max(kept, key=lambda row: (row["taken"] * row["kept"], -row["strength"]))
    if best["taken"] - before < LEAST_GAIN:
        most = rows[-1]["strength"]
        return {"strength": round(most / 1.5, 2), "range": [-most, most], "weak": True}
    return {"strength": best["strength"], "range": [-best["strength"], 2 * best["strength"]]}


def vectors(model: str, names: Sequence[str], settings: dict, limit: int = VALIDATION) -> None:
    """Learn, measure and save vectors for an embedded model."""
    backbone, judge = load(model), judging.load()
    for name in names:
        started, (_, _, head, value, *_) = time.time(), CONCEPTS[name]
        target = value if head == "glasses" else judge.config[head + "s"].index(value)
        own = settings | (OWN_SETTINGS.get(name, {}) if model == "tiny-sd" else {})
        vector = make_vector(backbone, name, own)
        rows = measure(backbone, judge, vector, head, target, OWN_STRENGTHS.get(name, STRENGTHS), limit)
        vector = vector.replace(recommended={**vector.recommended, **recommend(rows), "measured": rows})
        *_, vector = assess(backbone, vector, *pictures_of(library(backbone.name)[name]))
        vector.save(ASSETS / name / f"{backbone.name}.safetensors")
        print(
            f"{name}: {vector.recommended['strength']} of {vector.recommended['range']}, {time.time() - started:.0f} s"
        )
        print("  " + "  ".join(f"{r['strength']:g}:{r['taken']:.2f}/{r['kept']:.2f}" for r in rows), flush=True)


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
        vectors(arguments.model, arguments.only, SETTINGS | arguments.settings, arguments.count)
