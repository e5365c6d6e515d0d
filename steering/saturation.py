"""The range of a learned vector, found by measuring where pictures saturate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .backbones.base import Backbone
from .concepts import Progress
from .recipe import Recipe, Window
from .sampling import Result, Steering, strip
from .vectors import ConceptVector

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SEEDS = (0, 1)
HALF, NEARLY = 0.5, 0.9  # of the largest change: where to start, and where the slider ends


def saturate(
    backbone: Backbone,
    vector: ConceptVector,
    *,
    prompt: str = "",
    seeds: Sequence[int] = SEEDS,
    stop: threading.Event | None = None,
) -> Iterator[Progress | ConceptVector]:
    """Steer a few pictures ever more strongly and see where they stop changing: Progress, then the vector.

    Its recommended strength is where a picture has changed by half of what it ever does, and its range ends
    where it has by nine tenths, on both sides of 0. Raises Cancelled once `stop` is set.
    """
    advice = vector.advice
    recipe = Recipe(
        model=backbone.name,
        prompt=prompt,
        num_inference_steps=backbone.defaults["num_inference_steps"],
        guidance_scale=backbone.defaults["guidance_scale"],
        window=Window(*advice["window"]),
    )
    steering = Steering(((vector, 1.0),), recipe.window, None, advice["halves"])
    moved = []
    for place, seed in enumerate(seeds):
        for item in strip(backbone, replace(recipe, seed=seed), steering, STRENGTHS, stop=stop):
            if isinstance(item, Result):
                frames = np.stack([np.asarray(image, np.float32) for image in item.images])
                moved.append(np.abs(frames - frames[0]).mean(axis=(1, 2, 3)))
            else:
                done = place * item.total + item.index
                yield Progress(done, len(seeds) * item.total, "measuring how strongly it acts")
    changed = np.maximum.accumulate(np.mean(moved, axis=0))  # too much can turn pictures alike again
    start, end = (_reached(changed, share) for share in (HALF, NEARLY))
    measured = [{"strength": s, "moved": round(float(m), 2)} for s, m in zip(STRENGTHS, changed, strict=True)]
    yield vector.replace(
        recommended={**vector.recommended, "strength": start, "range": [-end, end], "measured": measured}
    )


def _reached(changed: np.ndarray, share: float) -> float:
    """The strength at which `share` of the largest change is reached, between the tried ones; two digits."""
    if changed[-1] <= 0:
        return STRENGTHS[-1]
    value = float(np.interp(share * changed[-1], changed, STRENGTHS))
    return float(f"{value:.2g}")
