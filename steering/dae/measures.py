"""What a trained toy does to pictures: how spiky its representation is, what it stores, how well it denoises."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .alignment import cosines, match
from .data import REPEATED, Pictures, training_set
from .model import DAE, noisy, psnr, sampled_loss
from .theory import stored_norms
from .training import Settings

STORED = 0.95  # |cosine| from which a column counts as a stored picture
LIVE = 0.1  # a column shorter than this share of the longest is a rest
GAP = 3.0  # dB
MEASURED = 500  # pictures a figure averages over


def spikiness(h: torch.Tensor) -> torch.Tensor:
    """The population standard deviation of each representation [N, p]: [N]."""
    return h.std(dim=1, correction=0)


def top_share(h: torch.Tensor, k: int = 1) -> torch.Tensor:
    """The share of each representation's energy on its k largest units [N]; 0 without energy."""
    energy = h.double().square()
    return energy.topk(min(k, h.shape[1]), dim=1).values.sum(1) / energy.sum(1).clamp_min(1e-12)


def effective_rank(matrix: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007); 0 for a zero matrix."""
    values = torch.linalg.svdvals(matrix.double())
    share = values / values.sum().clamp_min(1e-300)
    share = share[share > 1e-15]
    return float((-(share * share.log()).sum()).exp()) if len(share) else 0.0


def stored(dae: DAE, pictures: torch.Tensor, least: float = STORED) -> np.ndarray:
    """Which pictures [n, d] are a live column of their own, by assignment at |cosine| >= `least`: bool [n]."""
    found = match(dae.decoder, pictures)
    live = dae.norms.numpy()[found.columns] > LIVE * float(dae.norms.max())
    flags = np.zeros(len(pictures), bool)
    flags[found.pictures] = (found.cosine >= least) & live
    return flags


def class_representations(dae: DAE, pictures: Pictures, count: int = 200) -> torch.Tensor:
    """v: the mean representation of each class's first `count` clean training pictures, [classes, p]."""
    rows = []
    for k in range(len(pictures.classes)):
        shown = pictures.train[(pictures.labels == k).nonzero()[:count, 0]]
        rows.append(dae.represent(shown).mean(0) if len(shown) else torch.zeros(dae.p))
    return torch.stack(rows)


def numbers(dae: DAE, pictures: Pictures, settings: Settings) -> dict[str, Any]:
    """Every figure a state is told by: spikiness, top share, cosines, PSNR and loss, on seeded noise (seed 0)."""
    n, sigma = settings.n, settings.sigma
    shown, fresh = pictures.train[:n][:MEASURED], pictures.test[:MEASURED]
    out: dict[str, Any] = {}
    for key, clean in (("train", shown), ("test", fresh)):
        dirty = noisy(clean, sigma)
        h = dae.represent(dirty)
        out[f"std_{key}"] = float(spikiness(h).mean())
        out[f"top1_{key}"] = float(top_share(h).mean())
        out[f"psnr_noisy_{key}"] = float(psnr(dirty, clean).mean())
        out[f"psnr_{key}"] = float(psnr(dae.denoise(dirty), clean).mean())
    x = training_set(pictures, n, settings.duplicates)
    found = match(dae.decoder, pictures.train[:n], stored_norms(pictures.train[:n], settings, len(x)))
    nearest = cosines(dae.decoder[:, :12], pictures.train[:n]).max(1)
    first = min(n, dae.p)
    out |= {
        "stored": int(stored(dae, pictures.train[:n]).sum()),
        "min_column_cosine": float(found.cosine.min()),
        "max_column_norm_error": float(found.norm_error.max()),
        "rest_norm": found.rest,
        "largest_columns_norm": [round(float(v), 4) for v in dae.norms[:12]],
        "largest_columns_cosine": [round(float(v), 4) for v in nearest],
        "max_column_cosine": float(cosines(dae.decoder[:, :first], pictures.train[:n]).max()),
        "live_columns": int((dae.norms > LIVE * dae.norms.max()).sum()),
        "loss": sampled_loss(dae, x[:2000], sigma, settings.lam, 8)[0] if len(x) <= 2000 else _loss(dae, x, settings),
    }
    if settings.duplicates > 1:
        own = match(dae.decoder, pictures.train[: min(REPEATED, n)])
        out["duplicated_min_cosine"] = float(own.cosine.min())
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in out.items()}


def regime(told: dict[str, Any], settings: Settings) -> str:
    """ "memorises" when 80 % of the pictures are columns, "generalises" when hardly one is and fresh ones fare alike.

    "Alike" is within GAP dB of PSNR; "hybrid" with duplicates; "between" otherwise.
    """
    if settings.duplicates > 1:
        return "hybrid"
    share, gap = told["stored"] / settings.n, told["psnr_train"] - told["psnr_test"]
    return "memorises" if share >= 0.8 else "generalises" if share <= 0.1 and gap < GAP else "between"


def _loss(dae: DAE, x: torch.Tensor, settings: Settings) -> float:
    return sampled_loss(dae, x, settings.sigma, settings.lam, 2)[0]
