"""When is a sub-population memorised? Measured and predicted over n_k/p_k and separability, on Gaussian mixtures.

The prediction. Theorem 3.1 gives one local minimiser for every way of cutting the data into clusters, so it does not
say which of them training finds. Take the one of least loss. Of a cluster with n_k pictures and p_k units let m
pictures be clusters of their own (Corollary 3.2: one column r_i x_i each) and the other n_k - m one block of rank
p_k - m (Corollary 3.4). Alone, a stored picture costs sigma^2 ||x||^2/(||x||^2 + sigma^2), about sigma^2; a block
costs n_k' sigma^2 L/(L + n_k' sigma^2) for each kept direction and L for each lost one: so storing pays until
the units run out, at n_k = p_k. But columns of one cluster also fire for each other's pictures, the more the smaller
alpha is, since cos(x_i, x_j) is about 1/(1 + alpha^2) there. So the loss of each candidate is taken with
all those leaks, by the closed form of `moments`; m* is its minimiser, m*/n_k the predicted share of memorised
pictures, and the onset the n_k/p_k at which that share falls below one half.

What came out (assets/dae/phase.json): for alpha up to 1.4 both onsets lie between one and two pictures a cluster, as
close as whole pictures allow; from alpha = 2 on the least-loss candidate stores far more than training finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import RudderError
from ..files import read_json
from .data import folder, mixture
from .measures import stored
from .model import DAE
from .moments import second_moment_risk
from .theory import memorized, solution
from .training import Settings, finished

CLUSTERS, UNITS, D = 4, 6, 64  # M, p_k, d
RANK, NORM, SIGMA, LAM = 32, 16.0, 0.2, 1e-4
SIZES = (1, 2, 3, 4, 6, 8, 12, 18, 30)  # n_k
ALPHAS = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
SEEDS = (0, 1)
OWN = 0.98  # |cosine| that counts as stored: a cluster's mean reaches .958 with its pictures at alpha = .3
STEPS = 3000


@dataclass(frozen=True)
class Cell:
    """One square of the diagram: alpha, n_k/p_k, and the shares of pictures stored, measured and predicted."""

    alpha: float
    ratio: float
    measured: float
    predicted: float


def clusters(alpha: float, size: int, seed: int) -> list[torch.Tensor]:
    """CLUSTERS clusters of `size` pictures [size, D] each, with the given root-mean-square alpha."""
    drawn = mixture(CLUSTERS, alpha, RANK, 1.0, 60 * size + 200, D, NORM, seed, "phase")
    return [drawn.train[drawn.labels == k][:size] for k in range(CLUSTERS)]


def predicted_share(rows: list[np.ndarray], units: int, sigma: float, lam: float) -> float:
    """m*/n_k: the share of each cluster [n_k, d] whose storage as single columns minimises the loss."""
    size, everything = len(rows[0]), np.concatenate(rows)
    best, share = np.inf, 0.0
    for m in range(min(size, units), -1, -1):  # at equal loss, the candidate that needs fewer columns
        if m == units and m < size:  # the rest would have no unit at all
            continue
        w = candidate(rows, m, units, sigma, lam)
        loss = second_moment_risk(w, w, everything, sigma) + 2 * lam * float(np.sum(w**2))
        if loss < best * (1 - 1e-9):
            best, share = loss, m / size
    return share


def candidate(rows: list[np.ndarray], m: int, units: int, sigma: float, lam: float) -> np.ndarray:
    """Corollary 3.4's weights [d, M p_k] with the first m pictures of each cluster stored and the rest as a block."""
    n, parts = sum(map(len, rows)), []
    for x in rows:
        if m:
            parts.append(memorized(x[:m], m, sigma, lam * n / m))  # its n is m: the same n lambda
        if m < len(x):
            parts.append(solution([x[m:]], [units - m], sigma, lam * n / (len(x) - m)))
    return np.concatenate(parts, axis=1)


def measured_share(rows: list[torch.Tensor], units: int, sigma: float, lam: float, seed: int) -> float:
    """The share of pictures that are a column of their own after training from random weights."""
    x = torch.cat(rows)
    settings = Settings(
        n=len(x), p=units * len(rows), sigma=sigma, lam=lam, optimizer="rmsprop", steps=STEPS, seed=seed
    )
    dae: DAE = finished(x, settings)
    return float(stored(dae, x, OWN).mean())


def diagram() -> Iterator[Cell]:
    """Every cell, averaged over SEEDS; minutes in all."""
    for alpha in ALPHAS:
        for size in SIZES:
            drawn = [clusters(alpha, size, seed) for seed in SEEDS]
            told = [predicted_share([c.double().numpy() for c in rows], UNITS, SIGMA, LAM) for rows in drawn]
            found = [measured_share(rows, UNITS, SIGMA, LAM, seed) for rows, seed in zip(drawn, SEEDS, strict=True)]
            yield Cell(alpha, size / UNITS, float(np.mean(found)), float(np.mean(told)))


def onset(ratios: np.ndarray, shares: np.ndarray) -> float | None:
    """The n_k/p_k at which the share last falls through one half, log-interpolated; None if it never does."""
    falls = np.flatnonzero((shares[:-1] >= 0.5) & (shares[1:] < 0.5))
    if not len(falls):
        return None
    i = int(falls[-1])
    part = (shares[i] - 0.5) / (shares[i] - shares[i + 1])
    return float(np.exp(np.log(ratios[i]) + part * np.log(ratios[i + 1] / ratios[i])))


def summary(cells: list[Cell]) -> dict[str, Any]:
    """Onsets by alpha, measured and predicted, the relative errors' median, and the share of cells told right."""
    rows = []
    for alpha in sorted({cell.alpha for cell in cells}):
        line = sorted((cell for cell in cells if cell.alpha == alpha), key=lambda cell: cell.ratio)
        ratios = np.array([cell.ratio for cell in line])
        found, told = (onset(ratios, np.array([getattr(c, k) for c in line])) for k in ("measured", "predicted"))
        error = abs(told - found) / found if found and told else None
        rows.append({"alpha": alpha, "measured": found, "predicted": told, "relative_error": error})
    errors = [row["relative_error"] for row in rows if row["relative_error"] is not None]
    agree = np.mean([(cell.measured >= 0.5) == (cell.predicted >= 0.5) for cell in cells])
    return {
        "onsets": rows,
        "median_relative_error": float(np.median(errors)) if errors else None,
        "compared": len(errors),
        "cells_agreeing": float(agree),
    }


def save(cells: list[Cell]) -> dict[str, Any]:
    """Write assets/dae/phase.json; returns what was written."""
    told = {
        **summary(cells),
        "mixture": {"clusters": CLUSTERS, "p_k": UNITS, "d": D, "rank": RANK, "norm": NORM, "sigma": SIGMA, "lam": LAM},
        "cells": [asdict(cell) for cell in cells],
    }
    (folder() / "phase.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def saved() -> list[Cell]:
    """The committed cells; RudderError when they are missing."""
    try:
        return [Cell(**cell) for cell in read_json(folder() / "phase.json")["cells"]]
    except (KeyError, TypeError) as error:
        raise RudderError("assets/dae/phase.json is damaged: run `rudder dae phase`.") from error
