"""Do own sets take? Twenty made-up concepts, each of twelve pictures and the same twelve without it:
`python -m benchmarks.own_concepts --out docs/own_concepts.json`.

Each is learned and tuned as the page does it (steering/tuning.py), then steered at its recommendation on prompts and
seeds that the search did not use, and on memorised prompts. "Takes": the pictures go half of the way or more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from steering.backbones.base import Backbone
from steering.backbones.registry import load
from steering.concepts import ConceptVector, Progress, library
from steering.evaluation.common import memorized_set, responses
from steering.evaluation.detection import ordinary_captions
from steering.pace import machine
from steering.sight import Sight, features, sight_of
from steering.tuning import HOLDS, TAKES, tune

PICTURES, FRESH = 12, 16
Change = Callable[[Image.Image], Image.Image]


def _pixels(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A picture changed as an array of 0..1."""

    def changed(image: Image.Image) -> Image.Image:
        values = change(np.asarray(image.convert("RGB"), np.float64) / 255)
        return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))

    return changed


def _tint(*colour: float) -> Change:
    return _pixels(lambda x: 0.55 * x + 0.45 * np.array(colour))


def _frame(colour: str, share: float = 0.1) -> Change:
    def changed(image: Image.Image) -> Image.Image:
        out, width = image.convert("RGB"), round(share * image.width)
        draw = ImageDraw.Draw(out)
        for inset in range(width):
            draw.rectangle((inset, inset, out.width - 1 - inset, out.height - 1 - inset), outline=colour)
        return out

    return changed


def _over(draw_on: Callable[[np.ndarray, np.ndarray], np.ndarray], colour: tuple[float, ...]) -> Change:
    """A pattern laid half over the picture; `draw_on` gives its mask from x and y, 0..1."""

    def change(x: np.ndarray) -> np.ndarray:
        v, u = np.mgrid[0 : x.shape[0], 0 : x.shape[1]] / x.shape[0]
        mask = draw_on(u, v)[..., None] * 0.6
        return x * (1 - mask) + np.array(colour) * mask

    return _pixels(change)


def _outlined(image: Image.Image) -> Image.Image:
    grey = np.asarray(image.convert("L").filter(ImageFilter.GaussianBlur(image.width / 90)), np.float64)
    edge = np.hypot(*np.gradient(grey)) > 12
    return _pixels(lambda x: np.where(edge[..., None], 0.0, x))(image)


def _ground(colour: tuple[float, ...]) -> Change:
    """The colour of the corners, wherever it is, replaced."""

    def change(x: np.ndarray) -> np.ndarray:
        corners = np.stack([x[0, 0], x[0, -1], x[-1, 0], x[-1, -1]])
        near = np.min([np.abs(x - c).max(-1) for c in corners], axis=0) < 0.14
        return np.where(near[..., None], np.array(colour), x)

    return _pixels(change)


MADE_UP: dict[str, Change] = {
    "red tint": _tint(0.9, 0.1, 0.1),
    "green tint": _tint(0.1, 0.7, 0.2),
    "blue tint": _tint(0.1, 0.2, 0.9),
    "sepia": _pixels(lambda x: x.mean(-1, keepdims=True) * np.array([1.0, 0.85, 0.6])),
    "greyscale": _pixels(lambda x: np.repeat(x.mean(-1, keepdims=True), 3, -1)),
    "dark": _pixels(lambda x: 0.4 * x),
    "bright": _pixels(lambda x: 1 - 0.45 * (1 - x)),
    "high contrast": _pixels(lambda x: 0.5 + 1.9 * (x - 0.5)),
    "washed out": _pixels(lambda x: 0.6 + 0.35 * (x - 0.5)),
    "vivid": _pixels(lambda x: x.mean(-1, keepdims=True) + 1.9 * (x - x.mean(-1, keepdims=True))),
    "blurred": lambda image: image.convert("RGB").filter(ImageFilter.GaussianBlur(image.width / 28)),
    "black frame": _frame("black"),
    "white frame": _frame("white"),
    "red frame": _frame("#d02020"),
    "vignette": _pixels(lambda x: x * _vignette(x.shape[0])),
    "green ground": _ground((0.35, 0.7, 0.3)),
    "violet ground": _ground((0.5, 0.3, 0.7)),
    "outlined": _outlined,
    "bars": _over(lambda u, v: (v * 8 % 1 < 0.4).astype(float), (0.1, 0.1, 0.1)),
    "dots": _over(lambda u, v: (np.hypot(u * 8 % 1 - 0.5, v * 8 % 1 - 0.5) < 0.28).astype(float), (1.0, 1.0, 1.0)),
}


def _vignette(side: int) -> np.ndarray:
    v, u = np.mgrid[0:side, 0:side] / side - 0.5
    return np.clip(1.25 - 2.2 * (u**2 + v**2) ** 0.5, 0, 1)[..., None]


def plain_pictures(model: str, count: int, seed: int) -> list[Image.Image]:
    """Ordinary plain pictures from the shipped baselines, each once."""
    paths = sorted({p for info in library(model).values() if info.name in ("sketch", "neon") for p in info.baseline})
    order = np.random.default_rng(seed).permutation(len(paths))[:count]
    return [Image.open(paths[i]).convert("RGB") for i in order]


def measure(backbone: Backbone, name: str, change: Change, seed: int, budget: float) -> dict[str, Any]:
    """One concept: learned, tuned, and steered where the search did not look."""
    baseline = plain_pictures(backbone.name, PICTURES, seed)
    images = [change(picture) for picture in baseline]
    started = time.perf_counter()
    for item in tune(backbone, name, images, baseline, budget=budget, seed=seed):
        if isinstance(item, Progress):
            continue
        vector = item
    seconds = time.perf_counter() - started
    sight, told = sight_of(features(images), features(baseline), seed), vector.recommended
    texts = ordinary_captions(backbone, seed + 71, FRESH, styles=False)
    copies = memorized_set(backbone.name)
    top = [m.caption for m in copies if m.level == max(m.level for m in copies)][:FRESH]
    along, kept = _steered(backbone, vector, sight, texts, seed + 7000)
    resist, held = _steered(backbone, vector, sight, top, seed + 8000)
    return {
        "concept": name, "state": told["state"], "why": told["why"], "strength": told["strength"],
        "window": told["window"], "halves": told["halves"], "pooling": vector.provenance["pooling"],
        "promised": told["along"], "along": along, "kept": kept, "takes": along >= TAKES and kept >= HOLDS,
        "along_memorized": resist, "kept_memorized": held, "gained": told["gained"],
        "settings_tried": told["settings_tried"], "seconds": round(seconds, 1),
    }  # fmt: skip


def _steered(
    backbone: Backbone, vector: ConceptVector, sight: Sight, texts: list[str], seed: int
) -> tuple[float, float]:
    """Mean share of the way, and of the picture kept, at the recommended strength."""
    before, after = responses(backbone, vector, texts, [seed + i for i in range(len(texts))], (0.0, 1.0))
    a, b = features(before), features(after)
    return round(float(np.mean(np.clip(sight.along(a, b), -2, 2))), 3), round(float(np.mean(sight.kept(a, b))), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--only", nargs="*", default=list(MADE_UP))
    parser.add_argument("--budget", type=float, default=60, help="seconds of search for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    backbone, rows = load(asked.model), []
    for name in asked.only:
        rows.append(measure(backbone, name, MADE_UP[name], asked.seed, asked.budget))
        print({k: v for k, v in rows[-1].items() if k not in ("window", "halves")}, flush=True)
    takes = [row["takes"] for row in rows]
    told = {
        "concepts": rows,
        "take": round(float(np.mean(takes)), 3),
        "called_weak": [row["concept"] for row in rows if row["state"] != "takes"],
        "promised_in_vain": [row["concept"] for row in rows if not row["takes"] and row["state"] == "takes"],
        "command": " ".join(["python -m benchmarks.own_concepts", *sys.argv[1:]]),
        "seed": asked.seed,
        "model": backbone.fingerprint,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
    }  # fmt: skip
    print(f"{sum(takes)} of {len(takes)} take; promised in vain: {told['promised_in_vain']}")
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
