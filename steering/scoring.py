"""Spikiness: how unevenly a picture's representation spreads its energy (paper, section on detection).

A picture is noised a little, passes once through the network under the empty prompt (of a model without one: the mean
of its classes), and the activation at a site is pooled to one number a channel. Few channels carry nearly everything
for a memorised picture, many share it for a generalised one. Everything is seeded: the same picture, seed and draws
give the same score in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .activations import POOLINGS, capture, find_sites
from .backbones.base import Backbone, read_as, repeated
from .checks import text, whole
from .errors import RudderError, remark, unknown
from .memory import in_batches
from .words import cut_short

NOISED = "noised pictures"
ROWS_AT_ONCE = 64  # rows of one forward pass: pictures x timesteps x draws
PLANES = tuple(name for name in POOLINGS if name != "map")  # poolings that leave one number a channel


def std(h: Tensor) -> Tensor:
    """Population standard deviation over the last dimension: the paper's score."""
    return h.std(dim=-1, correction=0)


def l4_over_l2(h: Tensor) -> Tensor:
    """||h||_4 / ||h||_2, from C^(-1/4) (uniform) to 1 (one-hot); whatever the scale."""
    return _over(h.pow(4).sum(-1).pow(0.25), h.pow(2).sum(-1).sqrt())


def max_share(h: Tensor) -> Tensor:
    """The largest channel's share of the energy, from 1/C to 1."""
    energy = h.pow(2)
    return _over(energy.amax(-1), energy.sum(-1))


def participation(h: Tensor) -> Tensor:
    """How many channels share the energy: (sum h^2)^2 / sum h^4, from 1 (one-hot) to C (uniform)."""
    energy = h.pow(2)
    return _over(energy.sum(-1).pow(2), energy.pow(2).sum(-1))


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "std": std,
    "l4_over_l2": l4_over_l2,
    "max_share": max_share,
    "participation": participation,
}
SIGNS = {"std": 1, "l4_over_l2": 1, "max_share": 1, "participation": -1}  # +1: high means spiky


@dataclass(frozen=True)
class Probe:
    """Where and how a representation is read: at which site and timestep, pooled and summarised how."""

    site: str
    timestep: int
    pooling: str = "max"
    statistic: str = "std"

    def __post_init__(self) -> None:
        if self.pooling not in PLANES:
            raise unknown("pooling to one number a channel", self.pooling, PLANES)
        if self.statistic not in STATISTICS:
            raise unknown("statistic", self.statistic, STATISTICS)
        object.__setattr__(self, "timestep", whole("A timestep", self.timestep, 0, 999))


@dataclass(frozen=True, eq=False)
class Reading:
    """Pooled activations of N pictures: `pooled[(site, pooling)]` is float32 [N, draws, timesteps, C]."""

    pooled: dict[tuple[str, str], Tensor]
    timesteps: tuple[int, ...]

    def scores(self, probe: Probe) -> np.ndarray:
        """float64 [N, draws]; KeyError or ValueError where the reading does not hold the probe's place."""
        h = self.pooled[probe.site, probe.pooling][:, :, self.timesteps.index(probe.timestep)]
        return STATISTICS[probe.statistic](h.double()).numpy()

    def representation(self, probe: Probe) -> np.ndarray:
        """The pooled activation itself, mean over draws, float32 [N, C]."""
        h = self.pooled[probe.site, probe.pooling][:, :, self.timesteps.index(probe.timestep)]
        return h.mean(1).numpy()


@dataclass(frozen=True, eq=False)
class Spikiness:
    """Scores of N pictures: `mean` and population deviation `spread` over the noise draws, each [N]. `traits` [N, F]:
    what tells whether they are like anything known (domain.py), where a calibration can tell."""

    mean: np.ndarray
    spread: np.ndarray
    probe: Probe
    draws: int
    seed: int
    representation: np.ndarray
    traits: np.ndarray | None = None


def spikiness(
    backbone: Backbone,
    pictures: Sequence[Image.Image] | Tensor,
    probe: Probe,
    *,
    draws: int = 1,
    seed: int = 0,
    prompts: str | Sequence[str] = "",
) -> Spikiness:
    """Score pictures, or latents [N, C, H, W] straight from the sampler: one forward pass a draw.

    `draws` noises are averaged; picture by picture the same ones. `prompts`: one for all (the paper's is
    empty) or one each. Raises RudderError for an unknown site, no pictures, or prompts that do not pair up.
    """
    (found,) = read(backbone, pictures, [probe.site], [probe.timestep], poolings=[probe.pooling], draws=draws,
                    seed=seed, prompts=prompts, at_once=None)  # fmt: skip
    scores = found.scores(probe)
    return Spikiness(scores.mean(1), scores.std(1), probe, draws, seed, found.representation(probe))


def read(
    backbone: Backbone,
    pictures: Sequence[Image.Image] | Tensor,
    sites: Sequence[str],
    timesteps: Sequence[int],
    *,
    poolings: Sequence[str] = PLANES,
    draws: int = 1,
    seed: int = 0,
    prompts: str | Sequence[str] = "",
    at_once: int | None = 1,
) -> Iterator[Reading]:
    """Read many sites, timesteps and poolings of many pictures, every site in the same forward passes.

    Yields a Reading per `at_once` batches' worth of pictures, in order, so that memory stays flat however
    many there are; None: one Reading of all. Timesteps are read in ascending order, each once. A Remark names words of
    the prompts that the model does not read.
    """
    count = len(pictures)
    if not count:
        raise RudderError("There are no pictures to score: give at least one.")
    texts = [text("The prompt", p) for p in ([prompts] if isinstance(prompts, str) else prompts)]
    if len(texts) not in (1, count):
        raise RudderError(f"There are {len(texts)} prompts for {count} pictures: give one each, or one.")
    if said := cut_short(backbone, texts):
        remark(said)
    for pooling in poolings:
        if pooling not in PLANES:
            raise unknown("pooling to one number a channel", pooling, PLANES)
    names = [site.name for site in find_sites(backbone, sites)]
    steps = tuple(sorted({whole("A timestep", t, 0, 999) for t in timesteps}))
    if not names or not steps or not poolings:
        raise RudderError("There is nothing to read: name at least one site, timestep and pooling.")
    draws, seed = whole("The number of noise draws", draws, 1, 1000), whole("The seed", seed, 0, 2**63 - 1)
    noises = [(draw, t) for draw in range(draws) for t in steps]
    share = max(1, ROWS_AT_ONCE // len(noises))
    group = count if at_once is None else share * at_once
    for start in range(0, count, group):
        parts: list[dict[tuple[str, str], Tensor]] = []

        def one(part: slice, start: int = start, parts: list = parts) -> None:
            here = slice(start + part.start, start + part.stop)
            words = texts if len(texts) == 1 else texts[here]
            parts.append(_pass(backbone, pictures[here], words, names, noises, poolings, seed))

        for _ in in_batches(backbone, min(group, count - start), share, one, "pictures to read"):
            pass
        shape = (draws, len(steps))
        yield Reading({key: torch.cat([p[key] for p in parts]).unflatten(1, shape) for key in parts[0]}, steps)


@torch.no_grad()
def _pass(
    backbone: Backbone,
    pictures: Sequence[Image.Image] | Tensor,
    prompts: Sequence[str],
    sites: Sequence[str],
    noises: Sequence[tuple[int, int]],
    poolings: Sequence[str],
    seed: int,
) -> dict[tuple[str, str], Tensor]:
    """[n, noises, C] for each site and pooling; noises that do not fit one forward pass take several."""
    latents = pictures if isinstance(pictures, Tensor) else backbone.encode(list(pictures))
    latents = latents.to(backbone.device, backbone.dtype)
    n = len(latents)
    condition = torch.cat([read_as(backbone, p) for p in prompts])
    condition = condition if len(condition) == n else repeated(condition, n)
    found: dict[tuple[str, str], list[Tensor]] = {(s, p): [] for s in sites for p in poolings}

    def one(part: slice) -> None:
        some = noises[part]
        noised = [
            backbone.noise(latents, t, [torch.Generator().manual_seed(_draw(seed, draw, t)) for _ in range(n)])
            for draw, t in some
        ]
        t = torch.tensor([t for _, t in some], device=backbone.device).repeat_interleave(n)
        with ExitStack() as stack:
            stores = {p: stack.enter_context(capture(backbone, sites, p)) for p in poolings}
            backbone.denoise(torch.cat(noised), t, condition.repeat(len(some), *[1] * (condition.ndim - 1)))
        for (site, pooling), rows in found.items():
            rows.append(stores[pooling][site].cpu().unflatten(0, (len(some), n)).transpose(0, 1))

    for _ in in_batches(backbone, len(noises), max(1, ROWS_AT_ONCE // n), one, NOISED, each=n):
        pass
    return {key: torch.cat(rows, 1) for key, rows in found.items()}


def _draw(seed: int, draw: int, timestep: int) -> int:
    """The noise's own seed. Every picture gets the same noise, so that scores differ by the pictures alone."""
    return int(np.random.SeedSequence((seed, draw, timestep)).generate_state(1, np.uint64)[0] >> 1)


def _over(a: Tensor, b: Tensor) -> Tensor:
    """a / b; 0 where there is no energy at all."""
    return torch.where(b > 0, a / b.clamp(min=torch.finfo(b.dtype).tiny), torch.zeros_like(a))
