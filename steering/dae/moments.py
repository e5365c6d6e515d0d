"""Moments of a rectified Gaussian: the denoising loss of the autoencoder without sampling the noise.

With z ~ N(m, S), h = [z]_+, a = m/s and s^2 = diag S, the first two moments are
E h_j = m_j Phi(a_j) + s_j phi(a_j),  E h_j^2 = (m_j^2 + s_j^2) Phi(a_j) + m_j s_j phi(a_j), and by Price's theorem
E h_j h_k = E h_j E h_k + s_j s_k (rho Phi(a_j) Phi(a_k) + int_0^rho (rho - t) phi2(a_j, a_k; t) dt),
phi2 being the bivariate normal density. With t = sin(u) the integrand is smooth: Gauss-Legendre nodes suffice.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

NODES = 24
ROWS = 2**21  # numbers of one work array


def first_moment(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """E[z]_+ for z ~ N(mean, deviation^2), elementwise; deviation 0 gives [mean]_+."""
    safe = np.where(deviation > 0, deviation, 1.0)
    a = mean / safe
    return np.where(deviation > 0, mean * ndtr(a) + safe * _density(a), np.maximum(mean, 0))


def cross_moment(
    m: np.ndarray, k: np.ndarray, s: np.ndarray, t: np.ndarray, rho: np.ndarray, nodes: int = NODES
) -> np.ndarray:
    """E[z]_+[w]_+ for a pair of Gaussians with means m, k, deviations s, t > 0 and correlation rho; broadcasts."""
    rho = np.clip(rho, -1.0, 1.0)
    a, b = m / s, k / t
    point, weight = np.polynomial.legendre.leggauss(nodes)
    end = np.arcsin(rho)
    integral = np.zeros(np.broadcast_shapes(a.shape, b.shape, rho.shape))
    for u, w in zip(point, weight, strict=True):
        angle = end * (u + 1) / 2
        sine, cosine2 = np.sin(angle), np.maximum(np.cos(angle) ** 2, 1e-300)
        integral += w * (rho - sine) * np.exp(-(a**2 + b**2 - 2 * a * b * sine) / (2 * cosine2))
    integral *= end / (4 * np.pi)
    return first_moment(m, s) * first_moment(k, t) + s * t * (rho * ndtr(a) * ndtr(b) + integral)


def second_moment_risk(encoder: np.ndarray, decoder: np.ndarray, x: np.ndarray, sigma: float) -> float:
    """(1/n) sum_i E||W2 [W1^T (x_i + sigma eps)]_+ - x_i||^2 for W1, W2 [d, p], x [n, d], in closed form."""
    live = np.flatnonzero((np.linalg.norm(encoder, axis=0) > 0) & (np.linalg.norm(decoder, axis=0) > 0))
    encoder, decoder = encoder[:, live], decoder[:, live]
    base = np.sum(x**2) / len(x)
    if not live.size:
        return float(base)
    mean, gram = x @ encoder, decoder.T @ decoder
    if sigma == 0:
        return float(np.mean(np.sum((np.maximum(mean, 0) @ decoder.T - x) ** 2, 1)))
    deviation = sigma * np.linalg.norm(encoder, axis=0)
    first = first_moment(mean, deviation)
    total = -2 * np.sum((x @ decoder) * first)
    a = mean / deviation
    square = (mean**2 + deviation**2) * ndtr(a) + mean * deviation * _density(a)
    total += np.sum(square * np.diag(gram))
    j, k = np.triu_indices(len(live), 1)
    rho = (sigma**2 * (encoder.T @ encoder))[j, k] / (deviation[j] * deviation[k])
    chunk = max(1, ROWS // max(1, len(j)))
    for start in range(0, len(x), chunk):
        m = mean[start : start + chunk]
        total += 2 * np.sum(gram[j, k] * cross_moment(m[:, j], m[:, k], deviation[j], deviation[k], rho))
    return float(base + total / len(x))


def _density(a: np.ndarray) -> np.ndarray:
    return np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
