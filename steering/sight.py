"""What sets two sets of pictures apart, as anyone could see it: colour, saturation, contrast, detail, place by place.

Learned from a concept's pictures and its baseline, it says of a steered picture how far it has gone the same way, and
how much of the rest is still there. It knows nothing of the model: a vector is not judged by what it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .roc import auroc

SIDE, CELLS = 64, 8  # px at which pictures are looked at, and the cells of a side
SAME = 0.012  # root mean square difference of features up to which two pictures are copies: scaled, or saved again


@dataclass(frozen=True, eq=False)
class Sight:
    """Which way the sets differ: `weights` [F] of that direction, `way` [F] from the baseline's mean to the concept's,
    `size` [F] of each feature's ordinary variation. `auroc`: how well members left out are told apart."""

    weights: np.ndarray
    way: np.ndarray
    size: np.ndarray
    auroc: float

    def along(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Shares [N] of the way that pictures have gone between features [N, F]: 1 is as far apart as the sets."""
        return (after - before) @ self.weights / float(self.way @ self.weights)

    def kept(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """How much [N] of a picture is still there beside what the concept asks for: 1 all of it, 0 as good as another
        picture of `before`."""
        share = np.clip(self.along(before, after), 0, None)[:, None]
        other = np.linalg.norm((after - before - share * self.way) / self.size, axis=1)
        strangers = [np.linalg.norm((a - b) / self.size) for i, a in enumerate(before) for b in before[:i]]
        usual = float(np.mean(strangers)) if strangers else float(np.sqrt(len(self.size)))
        return np.clip(1 - other / max(usual, 1e-9), 0, 1)


def features(images: Sequence[Image.Image]) -> np.ndarray:
    """What is seen of pictures, float64 [N, 8 x 8 x 6]: mean red, green and blue, saturation, detail, contrast."""
    rows = []
    for image in images:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        pixels = np.asarray(small, np.float64) / 255
        grey = pixels.mean(-1)
        steps = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
        planes = [*np.moveaxis(pixels, -1, 0), np.ptp(pixels, axis=-1), steps]
        cut = [plane.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS) for plane in planes]
        means = [plane.mean((1, 3)).ravel() for plane in cut]
        contrast = grey.reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).std((1, 3)).ravel()
        rows.append(np.concatenate([*means, contrast]))
    return np.array(rows)


def alike(seen: np.ndarray) -> np.ndarray:
    """For features [N, F] the number [N] of the first picture that each is a copy of: its own where it is none."""
    labels = np.arange(len(seen))
    for i in range(1, len(seen)):
        near = np.flatnonzero(np.square(seen[:i] - seen[i]).mean(1) <= SAME**2)
        labels[i] = labels[near[0]] if len(near) else i
    return labels


def sight_of(examples: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Sight:
    """Learn a Sight from features [N, F] and [M, F] of the two sets; members are left out in turns for its AUROC,
    copies of one picture together."""
    weights, way, size = _direction(examples, baseline)
    parts, many = folds(examples, baseline, np.random.default_rng(seed))
    scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for fold in range(many):
        inner, _, _ = _direction(examples[parts[0] != fold], baseline[parts[1] != fold])
        for kept, some, part in zip(scores, (examples, baseline), parts, strict=True):
            kept.append(some[part == fold] @ inner / np.linalg.norm(inner))
    told = auroc(np.concatenate(scores[0]), np.concatenate(scores[1])) if parts else float("nan")
    return Sight(weights, way, size, told)


def folds(examples: np.ndarray, baseline: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], int]:
    """In which fold each member of the sets is left out, and how many folds there are; ([], 0) where there are too few.
    A copy is left out with its picture, whichever set that is in."""
    labels = alike(np.concatenate([examples, baseline]))
    sides = [labels[: len(examples)], labels[len(examples) :]]
    many = min(4, *(len(set(side.tolist())) for side in sides))
    if many < 2:
        return [], 0
    fold_of: dict[int, int] = {}
    for side in sides:
        fresh = [label for label in dict.fromkeys(side.tolist()) if label not in fold_of]
        part = np.arange(len(fresh)) % many
        rng.shuffle(part)
        fold_of |= dict(zip(fresh, part.tolist(), strict=True))
    parts = [np.array([fold_of[label] for label in side.tolist()]) for side in sides]
    return (parts, many) if all(set(part.tolist()) == set(range(many)) for part in parts) else ([], 0)


def _direction(examples: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The way between the means, each feature weighed by how little it varies inside the sets."""
    way = examples.mean(0) - baseline.mean(0)
    inside = (examples.var(0) * len(examples) + baseline.var(0) * len(baseline)) / (len(examples) + len(baseline))
    inside = inside + 0.1 * inside.mean() + 1e-6  # few pictures say little of a feature's variance
    return way / inside, way, np.sqrt(inside)
