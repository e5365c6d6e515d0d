"""Which sites, window, pooling and guidance half steer best? `python -m training.sweep` tries and tells.

Every setting of the five styles paints the same prompts, two thirds of them ordinary and the rest captions of pictures
known by heart, at rising strength. Its score at a strength is the product of four shares of the ordinary pictures:
takes the concept, keeps its object, keeps its background, is no artefact; the best strength counts. What it chose
stands in `concepts.OWN_SETTINGS`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steering.backbones.base import Backbone
from steering.backbones.registry import load
from steering.evaluation import judge as judging
from steering.evaluation.asking import asking
from steering.evaluation.common import answers, memorized_set, responses, share
from training.concepts import CONCEPTS, FIRST, INNER, RESNETS, SEED, SETTINGS, make_vector

TARGET = Path(__file__).parent / "sweep.json"
STRENGTHS = (0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9, 1.4, 2.2)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"prompts": False},
    {"window": [0.55, 1.0]},
    {"window": [0.1, 0.95]},
    {"halves": "both"},
    {"pooling": "map"},
    {"sites": ["estimate"], "halves": "both"},
    {"sites": FIRST, "prompts": False},
    {"sites": INNER, "prompts": False},
    {"sites": INNER, "prompts": False, "window": [0.4, 1.0]},
    {"sites": INNER, "prompts": False, "halves": "both"},
    {"sites": INNER, "prompts": False, "pooling": "map"},
    {"sites": RESNETS, "pooling": "map"},
    {"sites": RESNETS[:5], "prompts": False},
)
KEYS = ("style_taken", "object_kept", "background_kept", "artefact")


def score(row: dict[str, Any]) -> float:
    """What a person who slides wants of an ordinary picture, all at once: the product of the four shares."""
    return row["style_taken"] * (row["object_kept"] or 0) * (row["background_kept"] or 0) * (1 - row["artefact"])


def try_setting(backbone: Backbone, judge: judging.Judge, settings: dict, name: str, count: int) -> list[dict]:
    """One setting of one style: shares at each strength, ordinary and memorised prompts in one batch."""
    vector = make_vector(backbone, name, settings)
    target = judge.config["styles"].index(CONCEPTS[name][3])
    asks = asking(backbone, judge.config)
    cases = asks.cases(np.random.default_rng(SEED), count)
    known = [m.caption for m in memorized_set(backbone.name) if (m.recall or 0) > 0.9]
    texts = [asks.text(*case) for case in cases] + list(np.random.default_rng(SEED).permutation(known)[: count // 2])
    seeds = [SEED + i for i in range(len(texts))]
    frames, known_styles, rows = [], [], list[dict]()
    for strength, images in zip(STRENGTHS, responses(backbone, vector, texts, seeds, STRENGTHS), strict=True):
        frames.append(images)
        ordinary = [answers(judge, [f[i] for f in frames], target, *case) for i, case in enumerate(cases)]
        row = {key: share([one[key][-1] for one in ordinary]) for key in KEYS}
        known_styles.append(judge.read(images[count:])["style"])
        took = np.where(known_styles[0] == target, np.nan, known_styles[-1] == target)
        rows.append({"strength": strength, **row, "memorized": share(took)})
        if max(map(score, rows)) > 2 * max(map(score, rows[-2:])):  # past its best
            break
    return rows


def main(model: str, names: Sequence[str], variants: Sequence[dict], count: int, target: Path) -> None:
    backbone, judge, found = load(model), judging.load(), list[dict]()
    for name in names:
        for change in variants:
            started = time.time()
            rows = try_setting(backbone, judge, SETTINGS | change, name, count)
            best = max(rows, key=score)
            found.append({"concept": name, "change": change, "score": round(score(best), 3), "best": best})
            told = "  ".join(f"{key} {value:.2f}" for key, value in best.items() if value is not None)
            told = f"{name:10} {score(best):.3f}  {told}  {json.dumps(change)}  {time.time() - started:.0f} s"
            print(told, flush=True)
    target.write_text(json.dumps({"model": model, "prompts": count, "tried": found}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--names", nargs="*", default=["sketch", "oil", "neon", "pixel", "blueprint"])
    parser.add_argument("--variants", nargs="*", type=json.loads, default=list(VARIANTS))
    parser.add_argument("--count", type=int, default=16, help="ordinary prompts; half as many captions known by heart")
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    main(arguments.model, arguments.names, arguments.variants, arguments.count, arguments.target)
