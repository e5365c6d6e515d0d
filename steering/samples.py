"""Samples of memorised and ordinary pictures: which are for choosing, which for reporting, which are of the model's
world."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .errors import RudderError, shorten

FIT = 3 / 8  # of the originals of a group choose the probe, the others report on it


@dataclass(frozen=True)
class Sample:
    """One picture to calibrate or compare on. `original`: samples that share one stay in one half."""

    picture: Image.Image
    memorized: bool
    kind: str  # "drawing" or "photograph", or what a list calls it
    origin: str  # "generated", "training" or "fresh"
    original: str
    prompt: str | None = None
    seed: int | None = None


def known_world(samples: Sequence[Sample]) -> np.ndarray:
    """Which samples are of the world that verdicts are meant for (True): every memorised one, and the ordinary ones of
    the kinds that the model paints. Where none was painted, as in lists of a user's, all of them."""
    painted = {s.kind for s in samples if not s.memorized and s.origin == "generated"}
    return np.array([s.memorized or not painted or s.kind in painted for s in samples])


def halves(samples: Sequence[Sample], seed: int) -> np.ndarray:
    """Which samples are for choosing (True); the others are for reporting. Originals are never split, and neither are
    copies of one picture, whatever original they are given under."""
    rng = np.random.default_rng(seed)
    owners = owners_of(samples)
    groups: dict[tuple, list[str]] = {}
    for s, owner in zip(samples, owners, strict=True):
        originals = groups.setdefault((s.memorized, s.kind), [])
        if owner not in originals:
            originals.append(owner)
    side: dict[str, bool] = {}
    for originals in groups.values():
        picked = set(rng.permutation(len(originals))[: max(1, math.ceil(FIT * len(originals)))].tolist())
        for i, owner in enumerate(originals):
            side.setdefault(owner, i in picked)
    return np.array([side[owner] for owner in owners])


def owners_of(samples: Sequence[Sample]) -> list[str]:
    """Each sample's original, the same for all originals that have the same pixels in one of their pictures.

    RudderError for pixels that are said to be memorised and ordinary.
    """
    known: dict[bytes, Sample] = {}
    parent: dict[str, str] = {s.original: s.original for s in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for s in samples:
        first = known.setdefault(hashlib.sha256(s.picture.tobytes() + repr(s.picture.size).encode()).digest(), s)
        if first.memorized != s.memorized:
            raise RudderError(
                f"One picture is among the memorised and among the ordinary ones ({shorten(first.original)}, "
                f"{shorten(s.original)}): leave it out of one."
            )
        parent[root(s.original)] = root(first.original)
    return [root(s.original) for s in samples]
