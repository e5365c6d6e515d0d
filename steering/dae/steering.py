"""Steering the toy by the page's rule (assets/js/lab-maths.js), and the response to strength.

K passes of the denoiser. In the first ceil(3K/4) of them the edit a v is added in equal shares to h; the others only
denoise. Pixels stay in [-1, 1], and v is brought to the length of the picture's own representation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import RudderError
from .model import DAE

PASSES = 20
STRENGTHS = tuple(round(0.075 * k, 3) for k in range(41))
GREY = 127.5  # grey levels of 255 in one unit of a pixel
INERT = 6.0  # grey levels: an answer that never goes further than this is none


@dataclass(frozen=True)
class Response:
    """How one picture answers to strength: `strengths` [S], `pictures` [S, d] and `moved` [S].

    `moved` is the root mean square difference from strength 0 in grey levels, `top` its largest value, `jump` its
    largest step between neighbouring strengths over `top`, `start` and `end` the strengths of 10 % and 90 % of `top`.
    """

    strengths: np.ndarray
    pictures: torch.Tensor
    moved: np.ndarray
    top: float
    jump: float
    start: float
    end: float

    @property
    def word(self) -> str:
        """ "inert", "jumps" (nothing for a good part of the way, then all) or "smooth", as the page says it."""
        if self.top < INERT:
            return "inert"
        return "jumps" if self.start > max(0.3 * self.end, 0.12 * self.strengths[-1]) else "smooth"


def steered_passes(passes: int) -> int:
    """How many of the passes carry the edit: the first three quarters, rounded up."""
    return math.ceil(0.75 * passes)


def matched(v: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """The direction v [p] brought to the length of h [p]; unchanged when it has none."""
    length = float(v.norm())
    return v * (float(h.norm()) / length) if length > 1e-9 else v


def steer(
    dae: DAE, x: torch.Tensor, v: torch.Tensor, a: float | Sequence[float], mean: torch.Tensor, passes: int = PASSES
) -> torch.Tensor:
    """Pictures x [N, d] steered by a v and denoised `passes` times: [N, d].

    v is a direction [p], `a` one strength or one a row, `mean` [d] the data's mean picture, which the pictures lack.
    RudderError for a direction of another size or fewer than one pass.
    """
    if v.shape != (dae.p,):
        raise RudderError(f"The direction has {tuple(v.shape)} entries where the model has {dae.p} units.")
    if passes < 1:
        raise RudderError(f"Steering takes at least one pass, not {passes}.")
    first = steered_passes(passes)
    share = torch.as_tensor(a, dtype=v.dtype).reshape(-1, 1) * v / first
    for done in range(passes):
        h = dae.represent(x)
        x = dae.decode(h + share if done < first else h).clamp(-1 - mean, 1 - mean)
    return x


def response(
    dae: DAE,
    z: torch.Tensor,
    v: torch.Tensor,
    mean: torch.Tensor,
    strengths: Sequence[float] = STRENGTHS,
    passes: int = PASSES,
) -> Response:
    """One noisy picture z [d] steered along v [p] (brought to the length of h(z)) at every strength."""
    rows = z[None].repeat(len(strengths), 1)
    made = steer(dae, rows, matched(v, dae.represent(z[None])[0]), strengths, mean, passes)
    base = steer(dae, z[None], v, 0.0, mean, passes)
    moved = GREY * (made - base).double().square().mean(1).sqrt().numpy()
    top, values = float(moved.max()), np.asarray(strengths, float)
    jump = float(np.abs(np.diff(moved)).max() / max(top, 1e-9))
    return Response(values, made, moved, top, jump, _crossing(values, moved, 0.1), _crossing(values, moved, 0.9))


def page_noise(seed: int, count: int) -> torch.Tensor:
    """The page's seeded standard normal numbers [count]: mulberry32 through Box and Muller."""
    state, full = seed & 0xFFFFFFFF, 0xFFFFFFFF

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & full
        t = ((state ^ (state >> 15)) * (1 | state)) & full
        t = ((t + (((t ^ (t >> 7)) * (61 | t)) & full)) & full) ^ t
        return ((t ^ (t >> 14)) & full) / 4294967296

    pairs = ((uniform(), uniform()) for _ in range(count))
    return torch.tensor([math.sqrt(-2 * math.log(1 - one)) * math.cos(2 * math.pi * two) for one, two in pairs])


def _crossing(strengths: np.ndarray, moved: np.ndarray, share: float) -> float:
    """The strength at which `moved` first reaches `share` of its largest value, interpolated."""
    aim = share * moved.max()
    for k in range(1, len(moved)):
        if moved[k] >= aim:
            low, high = moved[k - 1], moved[k]
            rise = float(high - low) or 1.0
            return float(strengths[k - 1] + (strengths[k] - strengths[k - 1]) * max(0.0, aim - low) / rise)
    return float(strengths[-1])
