"""The reading under a picture: how spiky its representation is, what that means, and how it answers to strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..calibration import Calibration
from ..concepts import ConceptVector
from ..editability import DEAF, INERT, JUMP, joined, lesson
from ..errors import RudderError
from ..evaluation.judge import nearest_picture
from .pictures import web_picture
from .studio import Studio

if TYPE_CHECKING:
    from .steer import Painted

BINS = 32
BARS = 64  # channels drawn: the largest, of more the rest is a flat tail
ALONE = {
    "ordinary": "Not memorised: its representation is balanced.",
    "memorised": "Memorised: its representation is spiky.",
    "none": "No verdict: it is unlike anything this was calibrated on.",
}
UNCALIBRATED = (
    "This model has no calibration, so a score would mean nothing. Make one with `rudder calibrate` from "
    "pictures known to be memorised and pictures known not to be, and start the page with `--calibration`."
)


def reading(studio: Studio, image: Image.Image, latents: Tensor | None = None) -> dict[str, Any]:
    """Score one picture, by its latents [1, C, H, W] where the sampler has just made them.

    `verdict` is one of editability's VERDICTS, `sentence` what is said of the picture alone, `how` the numbers behind.
    Without a calibration for the model: {"missing": what to do, "verdict": "none"}.
    """
    calibration = studio.calibration
    if calibration is None:
        return {"missing": UNCALIBRATED, "verdict": "none", "lesson": None}
    found = studio.gauges.score(calibration, [image] if latents is None else latents)
    (verdict,) = calibration.verdicts(found)
    probe, state = calibration.probe, verdict.label
    return {
        "score": round(verdict.score, 4),
        "spread": round(verdict.spread, 4),
        "verdict": state,
        "sentence": ALONE[state],
        "lesson": lesson(state),
        "threshold": round(calibration.threshold, 4),
        "how": f"Spikiness {verdict.score:.3f} \u00b1 {verdict.spread:.3f}, {verdict.sentence}; the threshold is "
        f"{calibration.threshold:.3f}, above which lie {100 * calibration.false_positives:.1f} % of the calibration's "
        f"ordinary pictures. It is the {probe.statistic} of the {probe.pooling} over the picture plane at "
        f"{probe.site}, timestep {probe.timestep}, {calibration.draws} noise draws, seed {calibration.seed}.",
        "histogram": _histogram(calibration, verdict.score),
        "bars": np.sort(found.representation[0])[::-1][:BARS].round(4).tolist(),
        "typical": {name: values[:BARS] for name, values in calibration.typical.items()},
        "nearest": _nearest(studio, image),
    }


def answer(
    studio: Studio, vector: ConceptVector, found: Mapping[float, Painted], told: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How the painted pictures answer, from 0 to the recommended strength, joined with the reading `told`.

    `found`: {strength: picture with latents}. None where they do not reach from 0 to the recommended strength.
    """
    end = round(float(vector.advice["strength"]), 6)
    way = sorted((value for value in found if 0 <= value / end <= 1), key=abs) if end else []
    if end not in way:
        return None
    try:
        latents = torch.cat([found[value].latents for value in way])
        measured = studio.gauges.respond(vector, way, latents, [found[value].image for value in way])
    except RudderError:
        return None
    case = (told["verdict"], measured.movement, measured.evenness)
    moved, along = 255 * float(measured.moved[-1]), measured.gained
    return {
        "movement": measured.movement,
        "evenness": measured.evenness,
        "sentence": joined(*case),
        "lesson": lesson(*case),
        "how": f"Painted at {len(way)} strengths from 0 to {end:+.2f}, the recommended one. There the picture is "
        f"{moved:.1f} grey levels (RMS) from the unsteered one (below {255 * INERT:.1f}: it hardly moves), and its "
        f"representation has moved {along:+.2f} along the concept per unit of strength (within \u00b1{DEAF:.2f}: not "
        f"along it). Its busiest quarter of the strengths holds {100 * measured.fastest:.0f} % of the way "
        f"(even: 25 %; a jump: over {100 * JUMP:.0f} %).",
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
