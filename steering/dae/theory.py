"""The closed forms of Zhang et al. 2026 (arXiv 2512.20963), section 3, in its letters.

Everywhere x [n, d] are the training pictures as rows, n their number (repeats included), n_k a cluster's, p_k the
units given to it, L_k the eigenvalues of its unnormalised Gram matrix X_k X_k^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import RudderError
from .data import REPEATED
from .training import Settings


@dataclass(frozen=True)
class Separability:
    """(alpha, beta): the largest ||x - m||/||m|| inside a cluster, the largest cosine of two clusters' means.

    `counts` are the n_k. The theorem asks for beta < 0; its remainder shrinks with the margin over sigma.
    """

    alpha: float
    beta: float
    counts: tuple[int, ...]


def separability(x: np.ndarray, labels: np.ndarray) -> Separability:
    """The (alpha, beta) of x [n, d] clustered by `labels` [n]; RudderError for one cluster or a mean of zero."""
    means, counts, alpha = [], [], 0.0
    for k in np.unique(labels):
        rows = x[labels == k]
        mean = rows.mean(0)
        length = np.linalg.norm(mean)
        if length < 1e-9:
            raise RudderError("A cluster's mean is zero, so its separability is not defined: cluster otherwise.")
        alpha = max(alpha, float(np.linalg.norm(rows - mean, axis=1).max() / length))
        means.append(mean / length)
        counts.append(len(rows))
    if len(means) < 2:
        raise RudderError("Separability needs two clusters or more: give the pictures at least two labels.")
    cosine = np.stack(means) @ np.stack(means).T
    return Separability(alpha, float(cosine[~np.eye(len(means), dtype=bool)].max()), tuple(counts))


def gains(eigenvalues: np.ndarray, n_k: int, n: int, sigma: float, lam: float) -> np.ndarray:
    """The squared column scale of each eigendirection in Theorem 3.1: (L - n lambda)_+ / (L + n_k sigma^2)."""
    eigenvalues = np.asarray(eigenvalues, float)
    return np.maximum(eigenvalues - n * lam, 0) / np.maximum(eigenvalues + n_k * sigma**2, 1e-300)


def spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors U [d, r] and eigenvalues L [r] of X X^T for pictures x [n, d] as rows, largest first."""
    _, values, vectors = np.linalg.svd(x, full_matrices=False)
    return vectors.T, values**2


def balanced(size: int) -> np.ndarray:
    """An orthogonal O [size, size] whose first column is constant, so that it spreads U's first direction evenly."""
    index = np.arange(size)
    table = np.cos(np.pi * (index[:, None] + 0.5) * index[None] / size) * np.sqrt(2 / size)
    table[:, 0] = 1 / np.sqrt(size)
    return table


def block(x: np.ndarray, p_k: int, n: int, sigma: float, lam: float, rotation: np.ndarray | None = None) -> np.ndarray:
    """Theorem 3.1's W_Xk = U_k (I + n_k sigma^2 L^-1)^(-1/2) (I - n lambda L^-1)^(1/2) O_k^T, [d, p_k].

    x [n_k, d] is one cluster. O_k is free; by default it spreads the leading direction evenly over the units, with
    the sign that makes them fire on the cluster's mean. Directions beyond the cluster's rank are zero.
    """
    if p_k < 1:
        raise RudderError("A cluster needs at least one unit: raise p.")
    vectors, values = spectrum(np.asarray(x, float))
    if np.sum(np.asarray(x) @ vectors[:, 0]) < 0:
        vectors[:, 0] *= -1
    kept = min(p_k, len(values))
    scaled = np.zeros((vectors.shape[0], p_k))
    scaled[:, :kept] = vectors[:, :kept] * np.sqrt(gains(values[:kept], len(x), n, sigma, lam))
    return scaled @ (balanced(p_k) if rotation is None else rotation).T


def solution(clusters: Sequence[np.ndarray], units: Sequence[int], sigma: float, lam: float) -> np.ndarray:
    """Theorem 3.1 without its remainder R: W1 = W2 = (W_X1 ... W_XM), [d, sum of units]."""
    n = sum(map(len, clusters))
    return np.concatenate([block(x, k, n, sigma, lam) for x, k in zip(clusters, units, strict=True)], axis=1)


def memorized(x: np.ndarray, p: int, sigma: float, lam: float) -> np.ndarray:
    """Corollary 3.2: W = (r_1 x_1 ... r_n x_n 0 ... 0), [d, p]. RudderError when p < n."""
    if p < len(x):
        raise RudderError(f"{p} units cannot store {len(x)} pictures: raise p or use fewer pictures.")
    w = np.zeros((x.shape[1], p))
    square = np.sum(np.asarray(x, float) ** 2, axis=1)
    w[:, : len(x)] = x.T * np.sqrt(np.maximum(square - len(x) * lam, 0) / (square**2 + sigma**2 * square))
    return w


def stored_norms(pictures: torch.Tensor, settings: Settings, total: int) -> np.ndarray:
    """Corollary 3.2's column norms sqrt((||x||^2 - n lambda)/(||x||^2 + sigma^2)) of pictures [m, d]: [m].

    `total` is n. A picture that appears k times (Corollary 3.4) has n lambda/k in n lambda's place.
    """
    square = pictures.double().square().sum(1).numpy()
    times = np.ones(len(pictures))
    times[:REPEATED] = settings.duplicates
    return np.sqrt(np.maximum(square - total * settings.lam / times, 1e-12) / (square + settings.sigma**2))


def generalized(x: np.ndarray, p_k: int, sigma: float, lam_over_rho: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Corollary 3.3: the principal directions [d, p_k] and gains [p_k] of W_Xk W_Xk^T.

    The rank-p_k part of (S - (lambda/rho) I)(S + sigma^2 I)^-1, S = mu mu^T + Sigma, estimated from x [n_k, d].
    """
    vectors, values = spectrum(np.asarray(x, float))
    return vectors[:, :p_k], gains(values[:p_k] / len(x), 1, 1, sigma, lam_over_rho)


def block_loss(x: np.ndarray, p_k: int, n: int, sigma: float, lam: float) -> float:
    """One cluster's share of the loss at Theorem 3.1's weights, the remainder and leaks between clusters left out.

    (1/n) (sum over kept directions of L - (L - n lambda)_+^2/(L + n_k sigma^2), plus the L of the others).
    """
    values = spectrum(np.asarray(x, float))[1]
    kept = values[:p_k]
    saved = np.maximum(kept - n * lam, 0) ** 2 / np.maximum(kept + len(x) * sigma**2, 1e-300)
    return float((values.sum() - saved.sum()) / n)


def limiting_loss(x: np.ndarray, sigma: float) -> float:
    """Corollary 3.2's loss as lambda -> 0: (1/n) sum_i sigma^2 ||x_i||^2 / (sigma^2 + ||x_i||^2)."""
    square = np.sum(np.asarray(x, float) ** 2, axis=1)
    return float(np.mean(sigma**2 * square / (sigma**2 + square)))


def theorem_condition(x: np.ndarray, settings: Settings) -> str:
    """One sentence when n lambda exceeds the smallest kept eigenvalue, which Theorem 3.1 forbids; "" otherwise.

    For n <= p every picture is its own cluster, so the eigenvalues are the ||x_i||^2 (times their repeats);
    otherwise they are the p leading ones of the whole Gram matrix. Training is allowed either way.
    """
    x = np.asarray(x, float)
    if settings.n <= settings.p:
        smallest = float(np.sum(x[: settings.n] ** 2, axis=1).min())
    else:
        values = np.linalg.eigvalsh(x.T @ x if len(x) >= x.shape[1] else x @ x.T)[::-1]
        smallest = float(max(values[: settings.p][-1], 0.0))
    product = len(x) * settings.lam
    if product < smallest:
        return ""
    return (
        f"n lambda = {product:.4g} is not below the smallest kept eigenvalue {smallest:.4g}, as Theorem 3.1 asks: "
        f"the units of that direction decay to zero; lower lambda below {smallest / len(x):.3g}."
    )
