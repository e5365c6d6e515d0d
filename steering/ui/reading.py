"""The reading under a picture: how spiky its representation is, what that means, and how it answers to strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..calibration import Calibration
from ..concepts import ConceptVector
from ..errors import RudderError
from ..judge import nearest_picture
from ..sampling import Result
from .pictures import web_picture
from .studio import Studio

BINS = 32
BARS = 64  # channels drawn: the largest, of more the rest is a flat tail
UNCALIBRATED = (
    "This model has no calibration, so a score would mean nothing. Make one with `rudder calibrate` from "
    "pictures known to be memorised and pictures known not to be."
)


def reading(studio: Studio, image: Image.Image, latents: Tensor | None = None) -> dict[str, Any]:
    """Score one picture, by its latents [1, C, H, W] where the sampler has just made them.

    Without a calibration for the model: {"missing": what to do}.
    """
    calibration = studio.calibration
    if calibration is None:
        return {"missing": UNCALIBRATED}
    found = studio.gauges.score(calibration, [image] if latents is None else latents)
    verdict = calibration.verdict(float(found.mean[0]), float(found.spread[0]))
    probe = calibration.probe
    return {
        "score": round(verdict.score, 4),
        "spread": round(verdict.spread, 4),
        "memorized": verdict.memorized,
        "sentence": verdict.sentence,
        "threshold": round(calibration.threshold, 4),
        "false_positives": round(calibration.false_positives, 4),
        "probe": f"{probe.statistic} of the {probe.pooling} over the picture plane at {probe.site}, timestep "
        f"{probe.timestep}, {calibration.draws} noise draws, seed {calibration.seed}",
        "histogram": _histogram(calibration, verdict.score),
        "bars": np.sort(found.representation[0])[::-1][:BARS].round(4).tolist(),
        "typical": {name: values[:BARS] for name, values in calibration.typical.items()},
        "nearest": _nearest(studio, image),
    }


def answer(studio: Studio, vector: ConceptVector, strengths: Sequence[float], result: Result) -> dict[str, Any] | None:
    """How a painted strip answers to strength; None for a strip too short to say."""
    order = np.argsort(strengths)
    try:
        told = studio.gauges.respond(
            vector, np.asarray(strengths)[order], result.latents[order.tolist()], [result.images[i] for i in order]
        )
    except RudderError:
        return None
    units = told.strengths[-1] - told.strengths[0]
    return {
        "word": told.word,
        "per_unit": round(255 * told.per_unit, 2),
        "largest_step": round(told.largest_step, 3),
        "even_step": round(1 / (len(strengths) - 1), 3),
        "coordinate_per_unit": round(float(told.coordinate[-1] - told.coordinate[0]) / units, 3),
    }


def profile(studio: Studio, image: Image.Image) -> dict[str, Any]:
    """Spikiness at every listening site and timestep: 0 as the median ordinary picture, 1 as the median memorised."""
    calibration = studio.calibration
    if calibration is None:
        raise RudderError(UNCALIBRATED)
    return studio.gauges.profile(calibration, image)


def _histogram(calibration: Calibration, score: float) -> dict[str, Any]:
    """Both groups' held-out scores in BINS bins over a range that holds them and the score."""
    every = [*calibration.ordinary, *calibration.memorized, calibration.threshold, score]
    low, high = min(every), max(every)
    margin = 0.04 * (high - low or 1)
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    counts = {
        name: (np.histogram(values, edges)[0] / len(values)).round(4).tolist()
        for name, values in (("ordinary", calibration.ordinary), ("memorized", calibration.memorized))
    }
    return {"low": round(float(edges[0]), 5), "high": round(float(edges[-1]), 5), **counts}


def _nearest(studio: Studio, image: Image.Image) -> dict[str, Any] | None:
    """The nearest training picture of an embedded model; None where the training set is not known."""
    if not studio.training:
        return None
    distance, picture, kind = nearest_picture(image, studio.training)
    return {"src": web_picture(picture), "distance": round(distance, 3), "kind": kind}
