"""Pictures for the toy: Fashion-MNIST, drawn faces, and mixtures of Gaussians with known clusters.

Pixels lie in [-1, 1]; the mean training picture is subtracted, since a background that all pictures share makes
them anything but separable. Training order is fixed and nested: a state with n pictures sees train[:n]. The
first five are of different classes and mutually most separated, the next 95 chosen greedily in the same way
(training/toy.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import RudderError, unknown
from ..files import home, read_json

SIDE = 32
D = SIDE * SIDE
REPEATED = 2  # how many of the first pictures "duplicates" repeats
SEPARATED = -0.05  # the largest cosine of the others with them: nearer ones leak into the stored columns
NAMES = ("fashion", "faces", "mixture", "mixture-wide")


@dataclass(frozen=True)
class Pictures:
    """A data set: train [N, 1024] and test [T, 1024] float32 minus `mean` [1024], integer labels, class names."""

    name: str
    title: str
    train: torch.Tensor
    test: torch.Tensor
    mean: torch.Tensor
    labels: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]


def folder() -> Path:
    """Where the toy's pictures, snapshots and figures lie."""
    return home() / "assets" / "dae"


@cache
def load(name: str) -> Pictures:
    """A data set by name ("fashion", "faces", "mixture", "mixture-wide"); RudderError for any other name."""
    if name == "mixture":
        return mixture(name=name)
    if name == "mixture-wide":
        return mixture(alpha=2.0, name=name)
    if name not in NAMES:
        raise unknown("data set", name, NAMES)
    told = read_json(folder() / "pictures.json")[name]
    pixels = _sheet(folder() / f"{name}-pictures.png", told["side"])
    count = told["train"]
    mean = pixels[:count].mean(0)
    centred = torch.from_numpy(pixels - mean)
    labels, test_labels = (torch.tensor([int(digit) for digit in told[key]]) for key in ("labels", "test_labels"))
    return Pictures(
        name,
        told["title"],
        centred[:count],
        centred[count:],
        torch.from_numpy(mean),
        labels,
        test_labels,
        tuple(told["classes"]),
    )


def mixture(
    clusters: int = 4,
    alpha: float = 0.5,
    rank: int = 20,
    imbalance: float = 1.0,
    count: int = 10_000,
    d: int = D,
    norm: float = 16.0,
    seed: int = 0,
    name: str = "mixture",
) -> Pictures:
    """A mixture of Gaussians around means of equal norm and equal pairwise cosine -1/(clusters - 1).

    `alpha` is the root mean square of ||x - m||/||m|| inside a cluster (the theorem's alpha; large means little
    separated), `rank` the dimension of each cluster's own random subspace, in which variance falls as 1/j,
    `imbalance` the ratio of the largest cluster's share to the smallest's. Means are smooth patterns when d = 1024.
    RudderError for values out of range.
    """
    _check_mixture(clusters, alpha, rank, imbalance, count, d, norm)
    rng = np.random.default_rng(seed)
    basis = _smooth(clusters, rng) if d == D else np.linalg.qr(rng.standard_normal((d, clusters)))[0].T
    corners = np.eye(clusters) - 1 / clusters
    means = norm * (corners / np.linalg.norm(corners, axis=1, keepdims=True)) @ basis
    spread = 1 / np.arange(1, rank + 1)
    spread *= (alpha * norm) ** 2 / spread.sum()
    axes = [np.linalg.qr(rng.standard_normal((d, rank)))[0].T for _ in range(clusters)]
    share = imbalance ** -np.linspace(0, 1, clusters)
    labels = rng.choice(clusters, count + 500, p=share / share.sum())
    labels[:clusters] = np.arange(clusters)
    noise = rng.standard_normal((count + 500, rank)) * np.sqrt(spread)
    x = means[labels]
    for k in range(clusters):
        x[labels == k] += noise[labels == k] @ axes[k]
    x, marks = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)
    title = f"{clusters} Gaussians, alpha = {alpha:g}"
    classes = tuple(f"cluster {k + 1}" for k in range(clusters))
    return Pictures(name, title, x[:count], x[count:], torch.zeros(d), marks[:count], marks[count:], classes)


def training_set(pictures: Pictures, n: int, duplicates: int = 1) -> torch.Tensor:
    """The first n training pictures as rows [n, d]; with `duplicates` k > 1 the hybrid set of Corollary 3.4.

    That is the first two pictures k times each, and of the other n - 2 those whose cosine with both is below
    SEPARATED, since the theorem asks for clusters of negative cosine. RudderError when n exceeds the data, or n or
    duplicates is below 1.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(pictures.train):
        raise RudderError(
            f"{n} pictures are asked for, but {pictures.title} has {len(pictures.train):,}: "
            f"choose between 1 and {len(pictures.train):,}."
        )
    if isinstance(duplicates, bool) or not isinstance(duplicates, int) or not 1 <= duplicates <= 100_000:
        raise RudderError(f"Duplicates must be a whole number between 1 and 100,000, not {duplicates}.")
    x = pictures.train[:n]
    if duplicates == 1:
        return x
    repeated, others = x[:REPEATED], x[REPEATED:]
    cosine = others @ repeated.T / (others.norm(dim=1, keepdim=True) * repeated.norm(dim=1)).clamp_min(1e-9)
    return torch.cat([repeated.repeat(duplicates, 1), others[(cosine < SEPARATED).all(1)]])


def picture(image: Image.Image, pictures: Pictures) -> torch.Tensor:
    """An uploaded picture of any shape as a centred row [1024]: cut square, grey, 32x32, minus the data's mean."""
    if min(image.size) < 1:
        raise RudderError("The picture is empty: choose another.")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    grey = image.convert("L").crop((left, top, left + edge, top + edge)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(grey, np.float32).reshape(-1) / 127.5 - 1) - pictures.mean


def _sheet(path: Path, side: int) -> np.ndarray:
    """A column of stacked grey pictures as rows [N, 1024] in [-1, 1], padded to 32x32 with -1."""
    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("L"), np.float32)
    except OSError as error:
        raise RudderError(f"{path} cannot be read: restore assets/dae from its source.") from error
    pixels = pixels.reshape(-1, side, side) / 127.5 - 1
    edge = (SIDE - side) // 2
    return np.pad(pixels, ((0, 0), (edge, edge), (edge, edge)), constant_values=-1).reshape(len(pixels), D)


def _smooth(count: int, rng: np.random.Generator) -> np.ndarray:
    """Orthonormal smooth random patterns [count, 1024]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = [np.cos(np.pi * (i * y + j * x) + rng.uniform(0, 6)) for i in range(5) for j in range(5)]
    mixed = rng.standard_normal((count, len(waves))) @ np.stack(waves).reshape(len(waves), -1)
    return np.linalg.qr(mixed.T)[0].T


def _check_mixture(clusters: int, alpha: float, rank: int, imbalance: float, count: int, d: int, norm: float) -> None:
    limits = {
        "clusters": (clusters, 2, min(25, d)),
        "alpha": (alpha, 0, 100),
        "rank": (rank, 1, d),
        "imbalance": (imbalance, 1, 1000),
        "count": (count, clusters, 10**6),
        "norm": (norm, 1e-3, 1e4),
    }
    for name, (value, low, high) in limits.items():
        if not (np.isfinite(value) and low <= value <= high):
            raise RudderError(f"The mixture's {name} must lie between {low:g} and {high:g}, not {value}.")
