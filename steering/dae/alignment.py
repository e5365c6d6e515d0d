"""Trained weights against what theory or the data say, up to the freedom theory leaves: order, sign, rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.optimize import linear_sum_assignment

from ..errors import RudderError


@dataclass(frozen=True)
class Match:
    """Columns matched one to one with pictures: both as indices [m], |cosine| [m], relative norm error [m].

    `rest` is the largest norm of the columns left over, as a share of the smallest matched one's.
    """

    columns: np.ndarray
    pictures: np.ndarray
    cosine: np.ndarray
    norm_error: np.ndarray
    rest: float


def cosines(columns: torch.Tensor, pictures: torch.Tensor) -> np.ndarray:
    """|cosine| of every column of [d, p] with every picture of [n, d]: [p, n]; 0 where either is zero."""
    units, rows = (_unit(a.double().numpy()) for a in (columns.T, pictures))
    return np.abs(units @ rows.T)


def match(columns: torch.Tensor, pictures: torch.Tensor, norms: np.ndarray | None = None) -> Match:
    """The assignment of columns [d, p] to pictures [n, d] with the largest sum of |cosine| (Hungarian algorithm).

    The min(n, p) pairs come in the pictures' order. `norms` [n] are the predicted column norms; without them the
    norm errors are NaN. Invariant under reordering and sign of the columns.
    """
    if not len(pictures):
        raise RudderError("There are no pictures to match columns with: choose at least one.")
    table, lengths = cosines(columns, pictures), columns.double().norm(dim=0).numpy()
    weight = table * np.minimum(lengths / max(lengths.max(), 1e-12), 1)[:, None]  # a dead column is no match
    columns_, pictures_ = linear_sum_assignment(weight, maximize=True)
    order = np.argsort(pictures_)
    columns_, pictures_ = columns_[order], pictures_[order]
    error = np.full(len(columns_), np.nan)
    if norms is not None:
        error = np.abs(lengths[columns_] / np.asarray(norms)[pictures_] - 1)
    left = np.delete(lengths, columns_)
    rest = float(left.max() / max(lengths[columns_].min(), 1e-12)) if left.size else 0.0
    return Match(columns_, pictures_, table[columns_, pictures_], error, rest)


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Principal angles in degrees between the column spaces of [d, a] and [d, b], largest first: [min(a, b)]."""
    if not one.size or not other.size:
        raise RudderError("A subspace without a direction has no angle: the block has no active unit.")
    return np.degrees(subspace_angles(one, other))


def top_space(matrix: np.ndarray, rank: int) -> np.ndarray:
    """An orthonormal basis [d, rank] of a matrix's [d, p] leading left singular directions."""
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, : min(rank, int((values > 1e-9 * max(values[0], 1e-12)).sum()))]


def gram_error(columns: np.ndarray, predicted: np.ndarray) -> float:
    """||W W^T - P P^T||_F / ||P P^T||_F of W [d, p] and P [d, q], which no order or rotation of columns changes."""
    cross = np.sum((columns.T @ predicted) ** 2)
    own, aim = np.sum((columns.T @ columns) ** 2), np.sum((predicted.T @ predicted) ** 2)
    return float(np.sqrt(max(own - 2 * cross + aim, 0.0) / aim))


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)
