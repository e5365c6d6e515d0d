"""Editability: how a picture answers to strength, measured on the frames of a strip, and said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .backbones.base import Backbone
from .errors import RudderError, unknown
from .scoring import read
from .vectors import ConceptVector

TIMESTEP = 100  # at which the concept's coordinate is read: structure is there, the noise is low
INERT = 0.03  # RMS between the ends of the way, pixels in 0..1: about eight grey levels, hardly seen
DEAF = 0.05  # of a unit along the concept per unit of strength: the picture changes, but along something else
STRETCH, JUMP = 0.25, 0.6  # a jump: more than JUMP of the path within some STRETCH of the strengths (even: STRETCH)

VERDICTS = ("ordinary", "memorised", "none")  # none: not calibrated, or unlike anything the calibration knew
MOVEMENTS = ("towards", "away", "aside", "hardly")
EVENNESS = ("evenly", "in a jump")

HEADS = {"ordinary": "Not memorised (balanced)", "memorised": "Memorised (spiky)", "none": "No verdict"}
ANSWERS = {  # (movement, evenness): what the edit does
    ("towards", "evenly"): "this edit takes, and the picture moves towards the concept step by step",
    ("towards", "in a jump"): "this edit jumps, and most of the way to the concept is made at once",
    ("away", "evenly"): "this edit leads away from the concept, step by step",
    ("away", "in a jump"): "this edit jumps, and away from the concept",
    ("aside", "evenly"): "this edit changes the picture step by step, but not along the concept",
    ("aside", "in a jump"): "this edit jumps to another picture, not along the concept",
    ("hardly", "evenly"): "this edit hardly moves the picture",
    ("hardly", "in a jump"): "this edit hardly moves the picture",
}


@dataclass(frozen=True, eq=False)
class Response:
    """How a strip of n frames answers on the way from strength 0 to its last one.

    `strengths` [n] from 0 outwards; `moved` [n]: RMS distance from the frame at 0, pixels in 0..1;
    `coordinate` [n]: the picture's own representation along the concept, in units of strength, `gained` its
    change per unit of strength (negative: away from what was asked for); `path`: RMS length of the way;
    `fastest`: the largest share of the path within STRETCH of the strengths; `movement` and `evenness`: see
    MOVEMENTS and EVENNESS.
    """

    strengths: tuple[float, ...]
    moved: np.ndarray
    coordinate: np.ndarray
    gained: float
    path: float
    fastest: float
    movement: str
    evenness: str


def response(
    backbone: Backbone,
    vector: ConceptVector,
    strengths: Sequence[float],
    frames: Sequence[Image.Image] | Tensor,
    pictures: Sequence[Image.Image] | None = None,
    *,
    seed: int = 0,
) -> Response:
    """Measure the way from strength 0 to the last one. `frames`: its pictures, or its latents with their `pictures`.

    RudderError for fewer than three frames, or strengths that do not start at 0 and go on in one direction.
    """
    pictures = list(frames) if pictures is None else list(pictures)
    values = np.asarray(strengths, float)
    ahead = np.diff(values) if len(values) < 2 or values[-1] > 0 else -np.diff(values)
    if len(values) < 3 or len(values) != len(pictures) or values[0] != 0 or (ahead <= 0).any():
        raise RudderError("A response needs at least three frames from strength 0 on: paint a longer strip.")
    pixels = np.stack([np.asarray(p.convert("RGB"), np.float32) / 255 for p in pictures]).reshape(len(values), -1)
    steps = np.sqrt(np.square(np.diff(pixels, axis=0)).mean(1))
    moved = np.sqrt(np.square(pixels - pixels[0]).mean(1))
    along = coordinates(backbone, vector, frames, seed=seed)
    gained = float(along[-1] - along[0]) / float(values[-1])
    fastest = busiest(np.abs(values), steps)
    movement, evenness = describe(float(moved[-1]), gained, fastest)
    return Response(
        tuple(values.tolist()), moved, along, gained, float(steps.sum()), fastest, movement, evenness
    )  # fmt: skip


def describe(moved: float, gained: float, fastest: float) -> tuple[str, str]:
    """(movement, evenness) of a whole way: `moved` RMS between its ends, `gained` along the concept per unit of
    strength, `fastest` the share of the path within its busiest STRETCH."""
    evenness = EVENNESS[fastest > JUMP]
    if moved < INERT:
        return "hardly", evenness
    if abs(gained) < DEAF:
        return "aside", evenness
    return ("towards" if gained > 0 else "away"), evenness


def busiest(strengths: np.ndarray, steps: np.ndarray) -> float:
    """The largest share of a path [n - 1] that lies within STRETCH of the strengths [n], whatever their spacing."""
    if steps.sum() <= 0:
        return STRETCH
    walked = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    wide = STRETCH * (strengths[-1] - strengths[0])
    starts = np.concatenate([strengths, strengths - wide])
    starts = starts[(starts >= strengths[0]) & (starts <= strengths[-1] - wide)]
    ahead = np.interp(starts + wide, strengths, walked) - np.interp(starts, strengths, walked)
    return float(ahead.max())


def expected(verdict: str, movement: str, evenness: str) -> bool | None:
    """Whether an answer is what the paper expects of such a picture; None without a verdict, and of a memorised one
    that changes evenly but not along the concept: it neither takes it nor holds.

    Balanced pictures take edits evenly; memorised ones hold, or jump.
    """
    for value, known in ((verdict, VERDICTS), (movement, MOVEMENTS), (evenness, EVENNESS)):
        if value not in known:
            raise unknown("state of a reading", value, known)
    takes = (movement, evenness) == ("towards", "evenly")
    if verdict == "none" or (verdict, movement, evenness) == ("memorised", "aside", "evenly"):
        return None
    return takes if verdict == "ordinary" else not takes


def joined(verdict: str, movement: str, evenness: str) -> str:
    """One sentence for a verdict and an answer, also where they disagree; RudderError for an unknown state."""
    agree = expected(verdict, movement, evenness)
    link = ":" if agree is None else ", and it shows:" if agree else ", and yet"
    return f"{HEADS[verdict]}{link} {ANSWERS[movement, evenness]}."


def lesson(verdict: str, movement: str = "", evenness: str = "") -> tuple[str, str] | None:
    """What the laboratory can explain of a case: (a sentence for its link, "gen" or "mem"); None without a verdict.

    Without an answer (a picture that was not painted here) the link speaks of what is usual.
    """
    if verdict == "none":
        return None
    side = "gen" if verdict == "ordinary" else "mem"
    if not movement or not expected(verdict, movement, evenness):
        usual = {"gen": "Edits of a balanced picture usually take", "mem": "Edits of a memorised picture usually fail"}
        return f"{usual[side]}: see why", side
    return {"gen": "See why edits of such a picture take", "mem": "See why edits of such a picture fail"}[side], side


def coordinates(
    backbone: Backbone, vector: ConceptVector, frames: Sequence[Image.Image] | Tensor, *, seed: int = 0
) -> np.ndarray:
    """<h, v> / <v, v> of each frame [n], h pooled over the plane at the vector's sites: in units of strength.

    The mean over sites; only differences between frames mean anything.
    """
    timestep = vector.timesteps[vector.nearest(TIMESTEP)]
    (found,) = read(backbone, frames, vector.sites, [timestep], poolings=["mean"], seed=seed, at_once=None)
    rows = []
    for site in vector.sites:
        v = vector.at(site, timestep)
        v = v.mean((1, 2)) if v.ndim == 3 else v
        h = found.pooled[site, "mean"][:, 0, 0]
        rows.append(h @ v / v.square().sum().clamp(min=torch.finfo(v.dtype).tiny))
    return torch.stack(rows).mean(0).numpy()
