"""How well a score separates two groups: AUROC, the true-positive rate at few false positives, bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import RudderError

ROUNDING = 1e-12  # of a rate, which is a count over a count
FEW = 0.01  # the false-positive rate of the field's tables


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties half. RudderError for an empty or NaN group."""
    from sklearn.metrics import roc_auc_score  # takes a second to import, and most commands measure nothing

    return float(roc_auc_score(*_labelled(positive, negative)))


def tpr_at_fpr(positive: np.ndarray, negative: np.ndarray, rate: float = FEW) -> float:
    """The largest share of positives above any threshold that at most `rate` of the negatives exceed."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(*_labelled(positive, negative), drop_intermediate=False)
    return float(true[false <= rate + ROUNDING].max())


def threshold_at(negative: np.ndarray, rate: float = FEW) -> float:
    """The least of the negatives' scores that at most `rate` of them exceed; flag what is above it."""
    ordered = np.sort(_checked(negative))
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered))])


def interval(
    measure: Callable[[np.ndarray, np.ndarray], float],
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    seed: int = 0,
    rounds: int = 1000,
    clusters: np.ndarray | None = None,
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of `measure` over resampled positives and negatives.

    `clusters` names each positive's origin: pictures of one memorised original are drawn together, since
    they are no independent evidence.
    """
    rng = np.random.default_rng(seed)
    positive, negative = _checked(positive), _checked(negative)
    owners = np.arange(len(positive)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    members = [np.flatnonzero(owners == owner) for owner in range(owners.max() + 1)]
    found = []
    for _ in range(rounds):
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        found.append(measure(positive[drawn], rng.choice(negative, len(negative))))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _labelled(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = _checked(positive), _checked(negative)
    return np.repeat([1, 0], [len(positive), len(negative)]), np.concatenate([positive, negative])


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise RudderError("A group of scores is empty or not finite: score at least one picture of each group.")
    return scores
