"""Steering the toy: f(x) = W2 (h(x) + a v), the denoiser iterated, and the response to strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import RudderError
from .model import DAE

ITERATIONS = 20  # after 40 the generalising model too settles on a few fixed pictures, and both curves jump
STRENGTHS = tuple(round(0.1 * k, 1) for k in range(31))
TAKEAWAY = (
    "A memorising model can only give back one of its stored pictures, so an edit is first undone and then replaces "
    "the picture at once; a generalising model has directions in between, so the same edit moves it step by step."
)


@dataclass(frozen=True)
class Response:
    """How one picture answers to strength: `strengths` [S], `pictures` [S, d], and the way gone `moved` [S].

    `moved` is the projection of each picture on the line from the first to the last, 0 to 1; `jump` the largest step
    of it between two neighbouring strengths, 1/(S - 1) for a perfectly even answer and 1 for a switch.
    """

    strengths: np.ndarray
    pictures: torch.Tensor
    moved: np.ndarray
    jump: float


def steer(dae: DAE, x: torch.Tensor, v: torch.Tensor, a: float) -> torch.Tensor:
    """W2 (h(x) + a v) for pictures x [N, d] and a direction v [p]."""
    if v.shape != (dae.p,):
        raise RudderError(f"The direction has {tuple(v.shape)} entries where the model has {dae.p} units.")
    return dae.decode(dae.represent(x) + a * v)


def iterate(dae: DAE, x: torch.Tensor, times: int = ITERATIONS) -> torch.Tensor:
    """f applied `times` to x [N, d], each result brought back to x's norm, since f shrinks every direction a little."""
    norm = x.norm(dim=1, keepdim=True)
    for _ in range(times):
        x = dae.denoise(x)
        x = x * (norm / x.norm(dim=1, keepdim=True).clamp_min(1e-6))
    return x


def response(
    dae: DAE,
    x: torch.Tensor,
    v: torch.Tensor,
    strengths: Sequence[float] = STRENGTHS,
    iterations: int = ITERATIONS,
) -> Response:
    """Steer one picture x [d] along v [p] at every strength and iterate the denoiser on each result."""
    found = torch.cat([steer(dae, x[None], v, a) for a in strengths])
    settled = iterate(dae, found, iterations)
    units = settled / settled.norm(dim=1, keepdim=True).clamp_min(1e-6)
    way = units[-1] - units[0]
    length = float(way.square().sum())
    moved = ((units - units[0]) @ way / max(length, 1e-12)).double().numpy()
    jump = float(np.abs(np.diff(moved)).max()) if length > 1e-9 else 0.0
    return Response(np.asarray(strengths, float), settled, moved, jump)
