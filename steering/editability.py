"""Editability: how a picture answers to strength, measured on the frames of a strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .backbones.base import Backbone
from .errors import RudderError
from .spikiness import read
from .vectors import ConceptVector

TIMESTEP = 100  # at which the concept's coordinate is read: structure is there, the noise is low
INERT = 0.03  # RMS of the whole way, pixels in 0..1: about eight grey levels, hardly seen
DEAF = 0.05  # of a unit along the concept per unit of strength: the picture changes, but not towards it
BRITTLE = 2.5  # times the mean speed, in path per strength, of the fastest step


@dataclass(frozen=True, eq=False)
class Response:
    """How a strip of n frames answers, from its lowest strength to its highest.

    `moved` [n]: RMS distance from the frame nearest strength 0, pixels in 0..1; `coordinate` [n]: the
    picture's own representation along the concept, in units of strength; `per_unit`: RMS path per unit of
    strength; `largest_step`: the largest step's share of the path; `word`: smooth, brittle or inert.
    """

    strengths: tuple[float, ...]
    moved: np.ndarray
    coordinate: np.ndarray
    per_unit: float
    largest_step: float
    word: str


def response(
    backbone: Backbone,
    vector: ConceptVector,
    strengths: Sequence[float],
    frames: Sequence[Image.Image] | Tensor,
    pictures: Sequence[Image.Image] | None = None,
    *,
    seed: int = 0,
) -> Response:
    """Measure a strip. `frames`: its pictures, or its latents with their `pictures`.

    RudderError for fewer than three frames, or strengths that do not rise.
    """
    pictures = list(frames) if pictures is None else list(pictures)
    values = np.asarray(strengths, float)
    if len(values) < 3 or len(values) != len(pictures) or (np.diff(values) <= 0).any():
        raise RudderError("A response needs at least three frames at rising strengths: paint a longer strip.")
    pixels = np.stack([np.asarray(p.convert("RGB"), np.float32) / 255 for p in pictures]).reshape(len(values), -1)
    steps = np.sqrt(np.square(np.diff(pixels, axis=0)).mean(1))
    start = int(np.abs(values).argmin())
    moved = np.sqrt(np.square(pixels - pixels[start]).mean(1))
    largest = float(steps.max() / max(steps.sum(), 1e-9))
    along, units = coordinates(backbone, vector, frames, seed=seed), float(values[-1] - values[0])
    gained = float(along[-1] - along[0]) / units
    fastest = float((steps / np.diff(values)).max() * units / max(steps.sum(), 1e-9))
    return Response(
        tuple(values.tolist()),
        moved,
        along,
        float(steps.sum() / units),
        largest,
        describe(moved, fastest, gained),
    )


def describe(moved: np.ndarray, fastest: float, gained: float) -> str:
    """One word: "inert", "brittle" or "smooth".

    Inert: the picture hardly moves, or hardly along the concept (`gained` per unit of strength). Brittle: its
    `fastest` step is many times as fast as the mean.
    """
    if moved.max() < INERT or abs(gained) < DEAF:
        return "inert"
    return "brittle" if fastest > BRITTLE else "smooth"


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
