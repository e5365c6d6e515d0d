"""Does a steered picture keep its shape? Edges of one picture against edges of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, sobel

SIDE = 128  # px
STRONGEST = 0.12  # share of the pixels that count as edges
NEAR = 3.0  # px: an edge that lies so near another's is the same


def edges(image: Image.Image) -> np.ndarray:
    """The strongest edges of a picture [128, 128] of bool: largest gradients of its smoothed grey."""
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    smooth = gaussian_filter(np.asarray(grey, np.float32), 1.2)
    size = np.hypot(sobel(smooth, 0), sobel(smooth, 1))
    return size > max(float(np.quantile(size, 1 - STRONGEST)), 1e-6)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """F1 of two edge maps [H, W], 0..1: how many edges of each lie within NEAR of one of the other's."""
    if not one.any() or not other.any():
        return 0.0
    found = [float((distance_transform_edt(~b)[a] <= NEAR).mean()) for a, b in ((one, other), (other, one))]
    return 2 * found[0] * found[1] / max(sum(found), 1e-9)


def shape_kept(
    steered: Sequence[Image.Image], unsteered: Sequence[Image.Image], asked: Sequence[Image.Image] | None = None
) -> dict[str, np.ndarray | float]:
    """How far steered pictures keep the shape of the unsteered ones, or have that of the same seed with the style in
    the prompt (`asked`; None: the model cannot be asked).

    `agreement` [N]: the better of both; `asked` [N]: what asking for the style keeps of the unsteered shape (NaN where
    it cannot be); `chance`:
    the 95th percentile of a steered picture's agreement with another prompt's; `kept` [N]: agreement above chance.
    """
    ours, plain = ([edges(image) for image in images] for images in (steered, unsteered))
    best, prompted = np.array([agreement(a, b) for a, b in zip(ours, plain, strict=True)]), np.full(len(ours), np.nan)
    if asked is not None:
        wanted = [edges(image) for image in asked]
        best = np.maximum(best, [agreement(a, c) for a, c in zip(ours, wanted, strict=True)])
        prompted = np.array([agreement(b, c) for b, c in zip(plain, wanted, strict=True)])
    strangers = [
        agreement(a, plain[(i + k) % len(plain)]) for i, a in enumerate(ours) for k in (1, 2) if len(plain) > 2
    ]
    chance = float(np.quantile(strangers, 0.95)) if strangers else 0.0
    return {"agreement": best, "asked": prompted, "chance": chance, "kept": best > chance}
