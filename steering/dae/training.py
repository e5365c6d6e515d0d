"""Train the toy: the paper's loss, streamed, with the noise sampled anew in every step.

One exact reduction. h(x) knows the noise only through W1^T eps, so while the weights lie in a subspace that holds
the data, the expected gradient lies in it too, and noise outside it changes nothing: training in the
coordinates of any such subspace minimises the same objective. The subspace used here is the data's span plus
`SPARE` random directions, or all pixels that vary when those are no more. The spare directions hold no data, but
RMSprop's steps shake every live unit along them by the same amount however short its column; short copies
of a stored picture drown in it, so that one column a picture survives. Theorem 3.1 leaves that choice open
(any rotation O_k): Adam, or RMSprop in the bare span, splits each picture over many parallel columns.

One restriction. From more than `LEADING` pictures (or 2p) Adam trains in their leading principal directions, where
Theorem 3.1 puts the weights: 97 % of Fashion's energy, 99.9 % of the faces'. RMSprop on repeated and other
pictures does so in `MIXED` leading and the spare directions. The weights cannot leave them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from ..errors import RudderError, unknown
from .data import NAMES
from .model import DAE, checked
from .threads import single_threaded

SPARE = 123
LEADING = 256
MIXED = 98
BATCH = 256
EVERY = 0.25  # seconds between two steps that are told
OPTIMIZERS = ("auto", "rmsprop", "adam")
HOLD = {"rmsprop": 0.6, "adam": 0.2}  # the share of steps at full step size; then it falls geometrically
FALL = 0.01
BLOWN = 1e3  # training that is so many times worse than f = 0 has diverged


@dataclass(frozen=True)
class Settings:
    """One experiment; 0 for `rate` means the optimiser's own.

    `optimizer` "auto" is RMSprop when n <= p or pictures are repeated, and Adam otherwise.

    RudderError, naming cause and remedy, for values that make no sense.
    """

    dataset: str = "fashion"
    n: int = 5
    p: int = 100
    sigma: float = 0.2
    lam: float = 0.0025
    duplicates: int = 1
    tied: bool = True
    optimizer: str = "auto"
    steps: int = 4000
    rate: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.dataset not in NAMES:
            raise unknown("data set", self.dataset, NAMES)
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimiser", self.optimizer, OPTIMIZERS)
        limits = {
            "n": ("The number of pictures n", 1, 1_000_000, True),
            "p": ("The number of units p", 1, 4096, True),
            "sigma": ("The noise sigma", 0.0, 10.0, False),
            "lam": ("The weight decay lambda", 0.0, 1e4, False),
            "duplicates": ("The number of duplicates", 1, 100_000, True),
            "steps": ("The number of steps", 1, 1_000_000, True),
            "rate": ("The step size", 0.0, 10.0, False),
            "seed": ("The seed", 0, 2**32 - 1, True),
        }
        for field in fields(self):
            if field.name in limits:
                _limited(getattr(self, field.name), *limits[field.name])

    @property
    def rule(self) -> str:
        """The optimiser that "auto" stands for."""
        if self.optimizer != "auto":
            return self.optimizer
        return "rmsprop" if self.n <= self.p or self.duplicates > 1 else "adam"

    @property
    def pace(self) -> float:
        """The step size that 0 stands for."""
        return self.rate or (
            0.005 if self.rule == "adam" else 0.01 if self.n <= self.p or self.duplicates > 1 else 0.003
        )


@dataclass(frozen=True)
class Step:
    """Progress: step of total, the loss (sampled, averaged since the last Step), the weights so far, whether done."""

    step: int
    total: int
    loss: float
    dae: DAE
    done: bool


def train(x: torch.Tensor, settings: Settings, parts: int = 0) -> Iterator[Step]:
    """Minimise the loss over the rows of x [n, d]; yields a few times a second, or after each of `parts` equal
    parts of the steps, the last Step being `done`.

    Same x, settings and machine give the same last Step. RudderError when training diverges.
    """
    rows = checked(x, x.shape[1] if x.ndim == 2 else 0).numpy().astype(np.float32)
    if not len(rows):
        raise RudderError("There are no pictures to train on: choose at least one.")
    rng = np.random.default_rng(settings.seed)
    basis = chosen_space(rows, settings, rng)
    data = rows if basis is None else rows @ basis
    scale = float(np.square(data).sum(1).mean())
    w1 = (0.01 * rng.standard_normal((data.shape[1], settings.p))).astype(np.float32)
    w2 = w1 if settings.tied else w1.copy()
    total, started = settings.steps, time.perf_counter()
    losses: list[float] = []
    rule = Rule(settings.rule, [w1] if settings.tied else [w1, w2])
    step, part = 0, -(-total // parts) if parts else 0
    while step < total:
        with single_threaded():
            while step < total and (not losses or (step % part if part else time.perf_counter() - started < EVERY)):
                step += 1
                batch = data if len(data) <= BATCH else data[rng.integers(len(data), size=BATCH)]
                value, gradients = slope(w1, w2, batch, settings, rng)
                losses.append(value)
                if not math.isfinite(value) or value > BLOWN * max(scale, 1e-6):
                    raise RudderError(
                        f"Training diverged at step {step} (loss {value:.3g}): lower the step size {settings.pace:g} "
                        f"or the noise {settings.sigma:g}."
                    )
                rule.step(gradients, pace(settings, step / total))
            told = Step(step, total, float(np.mean(losses)), lifted(w1, w2, basis, settings.tied), step == total)
        yield told
        losses.clear()
        started = time.perf_counter()


def finished(x: torch.Tensor, settings: Settings) -> DAE:
    """The weights after all of `train`, columns sorted by norm."""
    *_, last = train(x, settings)
    return last.dae.ordered()


def chosen_space(rows: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray | None:
    """An orthonormal basis [d, r] of the space to train in from `rows` [n, d]; None stands for all of R^d.

    Adam and many rows: their leading principal directions. Repeated pictures: the MIXED leading directions (the
    repeated pictures' own are first) and SPARE random ones. Else `subspace`.
    """
    varied, wide = rows.any(0).sum(), max(LEADING, 2 * settings.p)
    if settings.rule == "adam" and len(rows) > wide and varied > wide:
        return principal(rows, wide)
    if settings.duplicates > 1 and len(np.unique(rows, axis=0)) > MIXED and varied > MIXED + SPARE:
        return _spared(principal(rows, MIXED).T, rng)
    return subspace(rows, rng)


def subspace(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """An orthonormal basis [d, r] of a space that holds `rows` [n, d]; None stands for all of R^d.

    For few rows their span and SPARE random directions, else the axes of all pixels that ever differ from the mean.
    """
    varied = rows.any(0)  # the pixels that are not the same in every picture
    distinct = np.unique(rows, axis=0) if len(rows) < 2 * rows.shape[1] else rows
    if len(distinct) + SPARE >= varied.sum():
        return None if varied.all() or not varied.any() else np.eye(varied.size, dtype=np.float32)[:, varied]
    return _spared(distinct, rng)


def principal(rows: np.ndarray, rank: int) -> np.ndarray:
    """The `rank` leading eigenvectors [d, rank] of the Gram matrix of `rows` [n, d]."""
    gram = rows.T.astype(np.float64) @ rows
    return np.ascontiguousarray(np.linalg.eigh(gram)[1][:, : -rank - 1 : -1], dtype=np.float32)


def slope(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, settings: Settings, rng: np.random.Generator
) -> tuple[float, list[np.ndarray]]:
    """The loss on x [B, r] with one draw of noise a row, and its gradients for the free matrices (one if tied)."""
    noisy = x + np.float32(settings.sigma) * rng.standard_normal(x.shape, dtype=np.float32)
    z = noisy @ w1
    h = np.maximum(z, 0)
    error = h @ w2.T - x
    half = np.float32(2 / len(x))
    inner = half * (error.T @ h)
    outer = half * (noisy.T @ ((error @ w2) * (z > 0)))
    decay = np.float32(2 * settings.lam)
    value = float(np.vdot(error, error)) / len(x) + settings.lam * float(np.vdot(w1, w1) + np.vdot(w2, w2))
    if settings.tied:
        return value, [inner + outer + 2 * decay * w1]
    return value, [outer + decay * w1, inner + decay * w2]


class Rule:
    """RMSprop or Adam with torch's default constants, updating matrices in place."""

    def __init__(self, name: str, matrices: list[np.ndarray]) -> None:
        self.name, self.matrices, self.count = name, matrices, 0
        self.squares = [np.zeros_like(w) for w in matrices]
        self.means = [np.zeros_like(w) for w in matrices]

    def step(self, gradients: list[np.ndarray], rate: float) -> None:
        """One update of every matrix by its gradient."""
        self.count += 1
        keep = np.float32(0.99 if self.name == "rmsprop" else 0.999)
        for w, g, square, mean in zip(self.matrices, gradients, self.squares, self.means, strict=True):
            square *= keep
            square += (1 - keep) * g * g
            if self.name == "rmsprop":
                w -= np.float32(rate) * g / (np.sqrt(square) + np.float32(1e-8))
                continue
            mean *= np.float32(0.9)
            mean += np.float32(0.1) * g
            root = np.sqrt(square * np.float32(1 / (1 - 0.999**self.count))) + np.float32(1e-8)
            w -= np.float32(rate / (1 - 0.9**self.count)) * mean / root


def pace(settings: Settings, done: float) -> float:
    """The step size after the share `done` of the steps."""
    return settings.pace * FALL ** max(0.0, (done - HOLD[settings.rule]) / (1 - HOLD[settings.rule]))


def lifted(w1: np.ndarray, w2: np.ndarray, basis: np.ndarray | None, tied: bool) -> DAE:
    """The weights in R^d."""
    encoder = torch.from_numpy(w1.copy() if basis is None else basis @ w1)
    return DAE(encoder, encoder if tied else torch.from_numpy(w2.copy() if basis is None else basis @ w2))


def _spared(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spare = rng.standard_normal((SPARE, rows.shape[1])).astype(np.float32)
    return np.ascontiguousarray(np.linalg.qr(np.concatenate([rows, spare]).T)[0])


def _limited(value: object, title: str, low: float, high: float, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    kind = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise RudderError(f"{title} must be {kind} between {low:g} and {high:,.0f}, not {value}.")
