"""The toy's closed forms: by property, against sampling, and against their own gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steering.dae import moments, theory
from steering.dae.alignment import angles, cosines, gram_error, match, top_space
from steering.dae.data import mixture
from steering.dae.model import DAE, loss, sampled_loss
from steering.dae.training import Settings, finished, slope
from steering.errors import RudderError

seeds = st.integers(0, 2**32 - 1)
SIGMA, LAM = 0.2, 0.01


def simplex(n: int, d: int, seed: int, norm: float = 8.0) -> np.ndarray:
    """n pictures of equal norm and cosine -1/(n - 1), randomly turned: the theorem's best case."""
    corners = np.eye(n) - 1 / n
    turned = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, n)))[0].T
    return norm * (corners / np.linalg.norm(corners, axis=1, keepdims=True)) @ turned


def gradient(w: np.ndarray, x: np.ndarray, lam: float, draws: int = 400) -> np.ndarray:
    """The loss's gradient at tied weights, averaged over noise that comes in pairs eps, -eps."""
    rng = np.random.default_rng(0)
    out = np.zeros_like(w)
    for _ in range(draws):
        eps = SIGMA * rng.standard_normal(x.shape)
        for noisy in (x + eps, x - eps):
            z = noisy @ w
            error = np.maximum(z, 0) @ w.T - x
            out += error.T @ np.maximum(z, 0) + noisy.T @ ((error @ w) * (z > 0))
    return out / (draws * len(x)) + 4 * lam * w


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_gradient_vanishes_at_the_stored_solution(seed: int) -> None:
    """Corollary 3.2, margin 8/3 against sigma .2: what is left is sampling error, a thousandth of a wrong scale's."""
    x = simplex(4, 12, seed)
    w = theory.memorized(x, 6, SIGMA, LAM)
    assert np.abs(gradient(w, x, LAM)).max() < 0.02 * np.abs(gradient(1.1 * w, x, LAM)).max()


def test_gradient_vanishes_at_the_block_solution() -> None:
    """Theorem 3.1 with two clusters of three pictures, rank two each, any rotation that keeps the units firing."""
    rng = np.random.default_rng(3)
    means = simplex(2, 10, 1, 10.0)
    parts = [mean + 0.4 * rng.standard_normal((3, 10)) for mean in means]
    w = theory.solution(parts, [2, 2], SIGMA, LAM)
    x = np.concatenate(parts)
    assert np.abs(gradient(w, x, LAM)).max() < 0.05 * np.abs(gradient(1.1 * w, x, LAM)).max()


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_loss_in_closed_form_is_the_sampled_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w1, w2 = (torch.from_numpy(rng.standard_normal((6, 5)) / 2) for _ in range(2))
    dae, x = DAE(w1, w2), torch.from_numpy(rng.standard_normal((3, 6)))
    mean, error = sampled_loss(dae, x.repeat(2000, 1), 0.7, 0.1, draws=12)
    assert abs(loss(dae, x, 0.7, 0.1) - mean) < 8 * error + 1e-6


def test_loss_survives_parallel_dead_and_noiseless_columns() -> None:
    x = simplex(3, 8, 0)
    one = theory.memorized(x, 3, SIGMA, 0.0)
    split = np.concatenate([one / np.sqrt(2), one / np.sqrt(2), np.zeros((8, 2))], axis=1)
    alone, halved = (moments.second_moment_risk(w, w, x, SIGMA) for w in (one, split))
    assert alone == pytest.approx(halved, rel=1e-9)
    assert alone == pytest.approx(theory.limiting_loss(x, SIGMA), rel=1e-6)
    plain = np.mean(np.sum((np.maximum(x @ one, 0) @ one.T - x) ** 2, 1))
    assert moments.second_moment_risk(one, one, x, 0.0) == pytest.approx(plain)
    assert moments.second_moment_risk(split * 0, split * 0, x, SIGMA) == pytest.approx(np.mean(np.sum(x**2, 1)))


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_order_and_turn_change_nothing(seed: int) -> None:
    """The loss knows neither the columns' order nor a common rotation of pictures and weights."""
    rng = np.random.default_rng(seed)
    w, x = rng.standard_normal((6, 5)), rng.standard_normal((4, 6))
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    base = moments.second_moment_risk(w, w, x, 0.5)
    shuffled = w[:, rng.permutation(5)]
    assert moments.second_moment_risk(shuffled, shuffled, x, 0.5) == pytest.approx(base)
    assert moments.second_moment_risk(turn @ w, turn @ w, x @ turn.T, 0.5) == pytest.approx(base)


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(0.0, 0.4), st.integers(1, 5))
def test_block_loss_is_what_the_block_costs(seed: int, lam: float, units: int) -> None:
    """The formula against the quadratic it came from, E||A(x + sigma eps) - x||^2 + 2 lambda tr A with A = W W^T."""
    x = np.random.default_rng(seed).standard_normal((7, 5)) + 2
    w = theory.block(x, units, 7, SIGMA, lam)
    a = w @ w.T
    direct = np.mean(np.sum((x @ a - x) ** 2, 1)) + SIGMA**2 * np.sum(a**2) + 2 * lam * np.trace(a)
    assert theory.block_loss(x, units, 7, SIGMA, lam) == pytest.approx(direct)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_rotation_inside_a_block_is_free(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((9, 6)) + 1
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    one, other = theory.block(x, 4, 9, SIGMA, LAM), theory.block(x, 4, 9, SIGMA, LAM, turn)
    assert gram_error(one, other) < 1e-6
    assert angles(one, other).max() < 1e-4
    directions, gains = theory.generalized(x, 4, SIGMA, LAM)
    assert gram_error(one, directions * np.sqrt(gains)) < 1e-6
    assert angles(top_space(one, 2), directions[:, :2]).max() < 1e-4


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_assignment_undoes_order_and_sign(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((4, 12)))
    order, sign = rng.permutation(4), torch.from_numpy(rng.choice([-1.0, 1.0], 4))
    found = match(x[order].T * sign, x, x.norm(dim=1).numpy())
    assert np.array_equal(order[found.columns], np.arange(4))
    assert found.cosine.min() > 1 - 1e-9 and found.norm_error.max() < 1e-9 and found.rest == 0


def test_training_finds_the_corollary() -> None:
    """From random weights, on separated data: the columns of Corollary 3.2, and its loss."""
    x = torch.from_numpy(simplex(4, 40, 5).astype(np.float32))
    told = Settings(n=4, p=12, lam=LAM, optimizer="rmsprop", steps=3000)
    dae = finished(x, told)
    found = match(dae.decoder, x, theory.stored_norms(x, told, 4))
    assert found.cosine.min() > 0.99 and found.norm_error.max() < 0.02
    w = torch.from_numpy(theory.memorized(x.numpy(), 12, SIGMA, LAM))
    best = loss(DAE(w, w), x, SIGMA, LAM)
    assert best <= loss(dae, x, SIGMA, LAM) < 1.1 * best


def test_a_repeated_point_among_gaussians_is_a_column_and_the_rest_span_their_clusters() -> None:
    """Corollary 3.4 from random weights: one of four clusters is a single picture, repeated.

    Its columns are parallel copies of it (any O_k is allowed), so the best of them is judged, not its norm.
    """
    drawn = mixture(4, 0.3, 20, 1.0, 800, 64)
    x, single = drawn.train.clone(), drawn.labels == 0
    x[single] = x[single].mean(0)
    dae = finished(x, Settings(n=len(x), p=24, lam=1e-3, optimizer="adam", steps=3000))
    found = match(dae.decoder, x[single][:1])
    assert found.cosine.min() > 0.95
    others = np.setdiff1d(np.arange(dae.p), found.columns)
    assert cosines(dae.decoder[:, others], x[~single]).max() < 0.95
    for k in (1, 2, 3):
        rows = x[drawn.labels == k]
        fires = (rows @ dae.encoder > 0).double().mean(0) > 0.5
        leading = theory.spectrum(rows.double().numpy())[0][:, :3]
        assert angles(leading, dae.decoder[:, fires].double().numpy()).max() < 20


def test_slope_is_the_gradient() -> None:
    rng = np.random.default_rng(0)
    w1, w2 = (rng.standard_normal((5, 4)) for _ in range(2))
    x = rng.standard_normal((3, 5))
    told = Settings(n=3, p=4, lam=0.3, tied=False)
    _, (one, two) = slope(w1, w2, x, told, np.random.default_rng(7))
    for which, found in ((0, one), (1, two)):
        step = np.zeros_like(w1)
        step[2, 1] = 1e-5
        values = [
            slope(*((w1 + s * step, w2) if which == 0 else (w1, w2 + s * step)), x, told, np.random.default_rng(7))[0]
            for s in (1, -1)
        ]
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(found[2, 1], rel=1e-3, abs=1e-5)


def test_condition_is_said_and_separability_measured() -> None:
    x = simplex(3, 8, 0, 4.0)
    assert theory.theorem_condition(x, Settings(n=3, lam=0.1)) == ""
    assert "Theorem 3.1" in theory.theorem_condition(x, Settings(n=3, lam=6.0))
    found = theory.separability(np.repeat(x, 2, axis=0), np.repeat(np.arange(3), 2))
    assert found.alpha == pytest.approx(0, abs=1e-9) and found.beta == pytest.approx(-0.5)
    with pytest.raises(RudderError, match="two clusters"):
        theory.separability(x + 1, np.zeros(3))
    with pytest.raises(RudderError, match="cannot store"):
        theory.memorized(x, 2, SIGMA, LAM)
