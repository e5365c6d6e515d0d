"""How far is a picture from what a calibration knew? Spikiness means something only near it.

A picture is noised and denoised once: the network errs little on what it learned (least on what it has by heart) and
much on gradients, noise, screenshots and other hands' drawings. Of what was tried on tiny-sd (the autoencoder's error,
Mahalanobis distances of representations at three sites, poolings and scales) nothing separated a picture that only
looks memorised from one that is as well as this error does: see README.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from .backbones.base import Backbone
from .recipe import number, whole

TIMESTEP, DRAWS = 300, 2
KNOWN = 0.995  # share of the calibration's own pictures that count as known
BATCH = 32


@dataclass(frozen=True)
class Domain:
    """The largest denoising error at which a verdict is still given: `memorized` of that verdict, `ordinary` of the
    other. `report` says what share of known pictures lose their verdict, and of foreign ones get one, by kind."""

    timestep: int
    draws: int
    seed: int
    memorized: float
    ordinary: float
    report: dict[str, Any]

    def knows(self, error: float, memorized: bool) -> bool:
        """Whether a picture of that error is near enough to those that the verdict was calibrated on."""
        return error <= (self.memorized if memorized else self.ordinary)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Domain:
        """Read from a calibration's JSON; RudderError for numbers out of bounds, TypeError for a wrong shape."""
        made = cls(**values)
        for name in ("memorized", "ordinary"):
            number("A calibration's denoising error", getattr(made, name), 0, 1e9)
        whole("A calibration's timestep", made.timestep, 0, 999)
        whole("A calibration's noise draws", made.draws, 1, 1000)
        return made


@torch.no_grad()
def denoising_error(
    backbone: Backbone,
    pictures: Sequence[Image.Image] | torch.Tensor,
    timestep: int = TIMESTEP,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    """Mean squared error [N] of the noise that the network predicts under the empty prompt, averaged over `draws`.

    `pictures`: pictures, or latents [N, C, H, W]; every one gets the same noise. 0: perfect; 1: no better than saying
    nothing.
    """
    empty, found = backbone.condition([""]), []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        latents = some if isinstance(some, torch.Tensor) else backbone.encode(list(some))
        latents = latents.to(backbone.device, backbone.dtype)
        errors = np.zeros(len(latents))
        for draw in range(draws):
            state = np.random.SeedSequence((seed, draw, timestep, 7)).generate_state(1, np.uint64)[0] >> 1
            same = [torch.Generator().manual_seed(int(state)) for _ in latents]
            noised = backbone.noise(latents, timestep, same)
            nothing = backbone.noise(torch.zeros_like(latents), timestep, [g.manual_seed(int(state)) for g in same])
            size = nothing.float().std((1, 2, 3), correction=0, keepdim=True)
            noise = nothing / size.to(nothing.dtype)  # of an empty picture only the noise is left
            t = torch.full((len(latents),), timestep, device=backbone.device)
            made = backbone.denoise(noised, t, empty.expand(len(latents), *empty.shape[1:]))
            errors += (made - noise).float().square().mean((1, 2, 3)).cpu().numpy() / draws
        found.append(errors)
    return np.concatenate(found)
