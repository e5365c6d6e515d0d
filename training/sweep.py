"""Which sites, window, pooling and guidance half steer best? `python -m training.sweep` tries and tells.

For each setting and a few styles: the best product of style taken and object kept over ordinary prompts, and
what the same strength does to memorised ones.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from steering.backbones.registry import load
from steering.evaluation import judge as judging
from steering.evaluation.asking import asking
from steering.evaluation.common import gives_back, memorized_set, responses
from training.concepts import CONCEPTS, SEED, SETTINGS, make_vector, validation_prompts

TARGET = Path(__file__).parent / "sweep.json"
STRENGTHS = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)
VARIANTS = (
    {},
    {"pooling": "map"},
    {"halves": "conditional"},
    {"prompts": False},
    {"window": [0.5, 0.95]},
    {"window": [0.1, 0.95]},
    {"window": [0.0, 0.7]},
)


def try_setting(backbone, judge, settings: dict, style: str, count: int) -> dict:
    """One setting on one style: shares at each strength, ordinary and memorised prompts in one batch."""
    vector = make_vector(backbone, style, settings)
    target = judge.config["styles"].index(CONCEPTS[style][3])
    texts = validation_prompts(asking(backbone, judge.config), "style", count)
    memorised = memorized_set(backbone.name)
    captions, originals = [m.caption for m in memorised], [m.picture for m in memorised]
    own = np.linspace(0, len(captions) - 1, count).astype(int)
    rows, unsteered = [], None
    seeds = [SEED + i for i in range(2 * count)]
    wanted = texts + [captions[i] for i in own]
    for strength, images in zip(STRENGTHS, responses(backbone, vector, wanted, seeds, STRENGTHS), strict=True):
        read = judge.read(images)
        taken, unsteered = read["style"] == target, read["object"] if unsteered is None else unsteered
        rows.append(
            {
                "strength": strength,
                "taken": float(taken[:count].mean()),
                "kept": float((read["object"][:count] == unsteered[:count]).mean()),
                "taken_memorized": float(taken[count:].mean()),
                "picture_kept": float(gives_back(images[count:], own, originals).mean()),
            }
        )
    best = max(rows, key=lambda row: row["taken"] * row["kept"])
    return {"settings": settings, "style": style, "best": best, "rows": rows}


def main(model: str, styles: list[str], variants: list[dict], count: int, target: Path) -> None:
    backbone, judge, found = load(model), judging.load(), []
    for change in variants:
        for style in styles:
            started = time.time()
            found.append(try_setting(backbone, judge, SETTINGS | {"draws": 1} | change, style, count))
            best = found[-1]["best"]
            print(f"{json.dumps(change):40} {style:10} {time.time() - started:4.0f} s  best {best}", flush=True)
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--styles", nargs="*", default=["sketch", "neon", "oil"])
    parser.add_argument("--variants", nargs="*", type=json.loads, default=list(VARIANTS))
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    main(arguments.model, arguments.styles, arguments.variants, arguments.count, arguments.target)
