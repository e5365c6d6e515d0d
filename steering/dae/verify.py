"""`rudder dae verify`: the paper's statements about the toy, measured anew from the weights.

Memorisation: fashion, n = 5. Generalisation: fashion, n = 10,000. Hybrid: the same with the first two pictures 300
times each. Weights are the committed states', or trained anew; the noise is seeded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import phase
from .alignment import angles, cosines, match
from .data import REPEATED, Pictures, load, training_set
from .measures import effective_rank, spikiness, top_share
from .model import DAE, noisy, psnr
from .snapshots import load_state, title
from .theory import generalized, spectrum, stored_norms
from .training import Settings, finished

MEMORIZING = Settings(n=5)
GENERALIZING = Settings(n=10_000)
HYBRID = Settings(n=10_000, duplicates=300)
LEADING = 5  # principal directions a block is held against
ACTIVE = 0.5  # a unit belongs to the block of a class when it fires for more of its pictures than this
SHOWN = 200
FRESH = 500  # pictures that PSNR is averaged over
HOW = {
    "min_column_cosine": "the five pictures are assigned one column each; the least |cosine| of the five pairs",
    "max_column_norm_error": "the largest |norm / Corollary 3.2's - 1| of those columns",
    "mean_std": "population standard deviation of h over the units, mean over noisy training pictures",
    "top1_energy_share": "share of ||h||^2 on the largest unit, mean over the same pictures",
    "max_column_cosine": "the largest |cosine| of any column with any of the 10,000 training pictures",
    "subspace_angle_deg": "largest principal angle between a class's 5 leading eigenvectors of S_k and "
    "the span of its units, mean over classes",
    "stored_min_cosine": "the two repeated pictures are assigned one column each; the least |cosine|",
    "rest_max_cosine": "the largest |cosine| of the other columns with any picture that is not repeated",
    "effective_rank_memorized": "exp of the entropy of the Jacobian's singular values, mean over training pictures",
    "psnr_linear_test": "the best linear denoiser of rank p = 100, fitted to the 10,000 training pictures",
    "median_relative_error": "|predicted - measured| / measured onset of memorisation, median over separabilities",
}


def verify(train: bool = False) -> dict[str, dict[str, Any]]:
    """Every number, to six digits (what machines agree on); with `train` from weights trained anew (minutes)
    instead of the committed ones."""
    weights = _trained if train else lambda settings: load_state(title(settings))
    if train:
        phase.save(list(phase.diagram()))
    pictures = load("fashion")
    told = {
        "memorization": memorization(weights(MEMORIZING), pictures),
        "generalization": generalization(weights(GENERALIZING), pictures),
        "hybrid": hybrid(weights(HYBRID), pictures),
        "jacobian": jacobians(weights, pictures),
        "denoising": denoising(weights, pictures),
        "onset": {"median_relative_error": phase.summary(phase.saved())["median_relative_error"]},
    }
    return {group: {key: float(f"{value:.6g}") for key, value in line.items()} for group, line in told.items()}


def memorization(dae: DAE, pictures: Pictures) -> dict[str, float]:
    """Corollary 3.2 against the trained columns, and how nearly one-hot the representation is."""
    x = pictures.train[: MEMORIZING.n]
    found = match(dae.decoder, x, stored_norms(x, MEMORIZING, len(x)))
    return {
        "min_column_cosine": float(found.cosine.min()),
        "max_column_norm_error": float(found.norm_error.max()),
        **_balance(dae, x),
    }


def generalization(dae: DAE, pictures: Pictures) -> dict[str, float]:
    """Corollary 3.3: no column is a picture, every class's units span its leading principal directions."""
    x = pictures.train[: GENERALIZING.n]
    return {
        "max_column_cosine": float(cosines(dae.decoder, x).max()),
        "subspace_angle_deg": float(np.mean(block_angles(dae, pictures))),
        **_balance(dae, x[:SHOWN]),
    }


def block_angles(dae: DAE, pictures: Pictures, leading: int = LEADING) -> np.ndarray:
    """For each class, the largest principal angle (degrees) of its leading directions to its units' span: [classes]."""
    found = []
    for k in range(len(pictures.classes)):
        x = pictures.train[pictures.labels == k]
        fires = (noisy(x, GENERALIZING.sigma) @ dae.encoder > 0).double().mean(0) > ACTIVE
        vectors, _ = spectrum(x.double().numpy())
        found.append(angles(vectors[:, :leading], dae.decoder[:, fires].double().numpy()).max())
    return np.array(found)


def hybrid(dae: DAE, pictures: Pictures) -> dict[str, float]:
    """Corollary 3.4: repeated pictures are columns, the other columns are no picture."""
    x = pictures.train[: HYBRID.n]
    found = match(dae.decoder, x[:REPEATED])
    others = np.setdiff1d(np.arange(dae.p), found.columns)
    return {
        "stored_min_cosine": float(found.cosine.min()),
        "rest_max_cosine": float(cosines(dae.decoder[:, others], x[REPEATED:]).max()),
    }


def jacobians(weights: Callable[[Settings], DAE], pictures: Pictures) -> dict[str, float]:
    """The Jacobian's effective rank around noisy training pictures of the two models."""
    out = {}
    for key, settings in (("memorized", MEMORIZING), ("generalized", GENERALIZING)):
        dae, shown = weights(settings), noisy(pictures.train[: min(settings.n, 20)], settings.sigma)
        out[f"effective_rank_{key}"] = float(np.mean([effective_rank(reduced_jacobian(dae, x)) for x in shown]))
    return out


def denoising(weights: Callable[[Settings], DAE], pictures: Pictures) -> dict[str, float]:
    """Mean PSNR in dB on noisy train and test pictures: both models, and the best linear denoiser with as many units.

    That one is Corollary 3.3's for a single cluster without weight decay: rank p, gains L/(L + sigma^2).
    """
    test = pictures.test[:FRESH]
    dirty = noisy(test, GENERALIZING.sigma)
    out = {"psnr_noisy_test": float(psnr(dirty, test).mean())}
    for key, settings in (("memorizing", MEMORIZING), ("generalizing", GENERALIZING)):
        dae, known = weights(settings), pictures.train[: min(settings.n, FRESH)]
        seen = noisy(known, settings.sigma)
        out[f"psnr_{key}_train"] = float(psnr(dae.denoise(seen), known).mean())
        out[f"psnr_{key}_test"] = float(psnr(dae.denoise(dirty), test).mean())
    directions, gains = generalized(pictures.train.numpy(), GENERALIZING.p, GENERALIZING.sigma)
    linear = torch.from_numpy((directions * gains) @ directions.T).float()
    out["psnr_linear_test"] = float(psnr(dirty @ linear, test).mean())
    return out


def reduced_jacobian(dae: DAE, x: torch.Tensor) -> torch.Tensor:
    """A small matrix with the singular values of the Jacobian at x [d]: R2 R1^T of the firing columns' QR factors."""
    fires = (x @ dae.encoder > 0).nonzero()[:, 0]
    if not len(fires):
        return torch.zeros(1, 1)
    one, two = (torch.linalg.qr(w[:, fires].double(), mode="r")[1] for w in (dae.encoder, dae.decoder))
    return two @ one.T


def _balance(dae: DAE, x: torch.Tensor) -> dict[str, float]:
    h = dae.represent(noisy(x, 0.2))
    return {"mean_std": float(spikiness(h).mean()), "top1_energy_share": float(top_share(h).mean())}


def _trained(settings: Settings) -> DAE:
    return finished(training_set(load(settings.dataset), settings.n, settings.duplicates), settings)
