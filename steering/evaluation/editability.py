"""Does spikiness predict how a picture answers to steering, and how often must a picture repeat to be held by heart?"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from ..backbones.base import Backbone
from ..calibration import shipped
from ..errors import RudderError
from .common import (
    QUIET,
    Report,
    by_level,
    gives_back,
    in_turn,
    learned,
    memorized_set,
    repeats_of,
    responses,
    rounded,
    share,
)
from .detection import ordinary_captions

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the recommended strength
ROUNDS = 2000


def editability(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Rank correlation of a picture's spikiness with how far it moves per strength: {"editability": {...}}.

    Every memorised prompt of the ladder and as many ordinary ones, each steered to all five styles. Movement is the
    RMS slope up to the recommended strength; `spearman` takes a prompt's spikiness and its movement relative to the
    concept's median, both averaged over the concepts; `spearman_by_concept` each concept alone, `spearman_memorized`
    the ladder alone, `slope_median.memorized` its most repeated level. The interval is a
    percentile bootstrap over prompts. `onset`: see `onset`.
    """
    calibration = shipped(backbone)
    if calibration is None:
        raise RudderError(f"{backbone.name} has no calibration: make one with `rudder calibrate`.")
    memorised, vectors = memorized_set(backbone.name), learned(backbone)
    own = in_turn(memorised, np.random.default_rng((seed, 6)), limit)
    prompts = [memorised[i].caption for i in own] + ordinary_captions(backbone, seed, len(own), styles=False)
    seeds = [30_000 + seed + i for i in range(len(prompts))]
    slopes = np.empty((len(vectors), len(prompts)))
    for index, (style, vector) in enumerate(vectors.items()):
        frames = []
        for images in responses(backbone, vector, prompts, seeds, FACTORS):
            frames.append(np.stack([np.asarray(p, np.float32) / 255 for p in images]))
            if index == 0 and len(frames) == 1:
                spiky = calibration.score(backbone, images).mean
                given = gives_back(images[: len(own)], own, [m.picture for m in memorised])
            progress(index * len(FACTORS) + len(frames), len(vectors) * len(FACTORS), f"steering to {style}")
        moved = np.stack([np.sqrt(np.square(f - frames[0]).mean((1, 2, 3))) for f in frames])
        factors = np.array(FACTORS)
        slopes[index] = factors @ moved / np.square(factors).sum()
    easy = (slopes / np.median(slopes, axis=1, keepdims=True)).mean(0)
    memorized = np.arange(len(prompts)) < len(own)
    levels = by_level(memorised, own)
    top = levels[max(levels)]
    rng = np.random.default_rng(seed)
    rounds = [_rank(spiky[i], easy[i]) for i in rng.integers(len(prompts), size=(ROUNDS, len(prompts)))]
    curves = [
        {
            "repeats": repeats_of(memorised, level),
            "recall": share(given[rows]),
            "spikiness": rounded(np.median(spiky[rows])),
            "movement": rounded(np.median(easy[rows])),
        }
        for level, rows in levels.items()
    ]
    base = {
        "recall": 0.0,
        "spikiness": float(np.median(spiky[~memorized])),
        "movement": float(np.median(easy[~memorized])),
    }
    return {
        "editability": {
            "spearman": rounded(_rank(spiky, easy)),
            "ci95": [rounded(v) for v in np.quantile(rounds, (0.025, 0.975))],
            "n": len(prompts),
            "spearman_ordinary": rounded(_rank(spiky[~memorized], easy[~memorized])),
            "spearman_memorized": rounded(_rank(spiky[memorized], easy[memorized])),
            "spearman_by_concept": {n: rounded(_rank(spiky, s)) for n, s in zip(vectors, slopes, strict=True)},
            "slope_median": {
                "ordinary": rounded(np.median(slopes[:, ~memorized])),
                "memorized": rounded(np.median(slopes[:, top])),
            },
            "curves": curves,
            "ordinary": {key: rounded(value) for key, value in base.items()},
            "onset": {key: onset(curves, key, base[key]) for key in base},
            "seed": seed,
        }
    }


def onset(curves: list[dict], key: str, start: float) -> float | None:
    """The number of repetitions at which a curve has gone half of its way from `start`, its value for ordinary
    pictures, to that of the most repeated; between levels on the logarithm. None where repeats were not recorded or
    the curve never gets there."""
    levels = [row for row in sorted(curves, key=lambda row: row["repeats"] or 0) if row["repeats"]]
    if len(levels) < 2 or levels[-1][key] == start:
        return None
    way = [(row[key] - start) / (levels[-1][key] - start) for row in levels]
    last = next((i for i in reversed(range(len(way))) if way[i] < 0.5), None)  # the last level short of half
    if last is None:
        return float(levels[0]["repeats"])
    low, high = np.log([levels[last]["repeats"], levels[last + 1]["repeats"]])
    part = (0.5 - way[last]) / (way[last + 1] - way[last])
    return rounded(np.exp(low + part * (high - low)))


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)
