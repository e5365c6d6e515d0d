"""The interface every model family implements, and what it speaks of: sites, conditions, noise levels, schedules.

A *condition* is a tensor [B, ...] made from texts that each family reads its own way: a prompt, the name of a class, or
nothing at all. A *noise level* is a timestep from 0 (clean) to 999 (noise) of the model's own numbering, whatever its
schedule is written in; `Backbone.sigma` says how much noise that is. So windows, vectors, probes and calibrations mean
the same thing in every family.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

    from .classes import Classes

    Predict = Callable[[Tensor, Any], Tensor]  # noisy latents and their level to the (guided) prediction

_MEANS: WeakKeyDictionary[Backbone, Tensor] = WeakKeyDictionary()  # of a model's classes, where there is no empty text
LABELS = ("composition", "shape", "style", "detail")


@dataclass(frozen=True)
class Site:
    """A named place in the network that can be read or added to.

    `part` is "output" (what the module at `path` returns), "input" (what it is given: the input of a resnet block's
    last convolution is what its last nonlinearity returns, the feature the paper scores) or "estimate" (the network's
    prediction without what the noisy latents alone account for: the picture it expects, see `Backbone.carried`).
    `size` is (height, width) at the model's resolution. With `tokens` the module speaks in [B, height width, C], row by
    row; whoever reads or adds sees [B, C, height, width] all the same.
    """

    name: str
    path: str
    part: str
    channels: int
    size: tuple[int, int]
    label: str
    tokens: bool = False


class Schedule(Protocol):
    """A deterministic run: `timesteps` [n], descending, and how one step is done."""

    @property
    def timesteps(self) -> Tensor: ...

    def step(self, i: int, x: Tensor, predict: Predict) -> tuple[Tensor, Tensor]:
        """The latents [B, C, H, W] after step `i` and the clean ones as predicted in it.

        `predict(x, level)` may be called more than once; `level` is what `Backbone.denoise` takes.
        """
        ...


class Backbone(Protocol):
    """One loaded diffusion model. Safe to share between threads: `lock` is held during each forward pass.

    `guides`: whether an empty text is a condition of its own, so that guidance can set the two apart; where it is,
    `conditional_first` says which half of a guided batch comes first, as in diffusers' own pipeline: the last bit of a
    sum may depend on a row's place.
    `classes`: None where texts are prompts; else what they name, a count of 0 for a model that is told nothing.
    `defaults`: "num_inference_steps", "guidance_scale"; and by what a site is for, tuples of names: "sites" (steered at
    unless told otherwise), "more_sites" (tried beside them), "scored" (where spikiness is looked for). Of a checkpoint
    with a preset also its "window" and "timesteps" (see presets.py).
    """

    name: str
    family: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    network: nn.Module
    resolution: int
    latent_shape: tuple[int, int, int]
    defaults: dict[str, Any]
    guides: bool
    classes: Classes | None
    conditional_first: bool
    lock: threading.RLock

    def sites(self) -> Mapping[str, Site]:
        """Every site by name."""
        ...

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Texts ("" allowed where the model guides) to conditions [B, ...], encoded as one batch."""
        ...

    def unknown_words(self, text: str) -> list[str]:
        """The words the model was never taught, in order; [] for models that list no words."""
        ...

    def start(self, noise: Tensor) -> Tensor:
        """The latents a run begins with, from noise [B, C, H, W] of variance 1."""
        ...

    def noise(self, latents: Tensor, timestep: int, generator: Any) -> Tensor:
        """x_t from x_0 [B, C, H, W]; `generator` is one torch.Generator, or one per sample."""
        ...

    def sigma(self, timestep: int) -> float:
        """Deviation of the noise at a timestep, in units of the clean signal's scale there."""
        ...

    def denoise(self, latents: Tensor, level: Any, condition: Tensor) -> Tensor:
        """The network's prediction [B, C, H, W]: one forward pass. `level`: a timestep, one a sample [B], or what a
        schedule's step hands over."""
        ...

    def clean(self, latents: Tensor, timestep: int | Tensor, prediction: Tensor) -> Tensor:
        """The clean latents [B, C, H, W] that a prediction at noisy ones means."""
        ...

    def carried(self, latents: Tensor, level: Any) -> Tensor:
        """What of a prediction noisy latents [B, C, H, W] account for by themselves; the rest of it is a multiple of
        the clean latents that the network expects."""
        ...

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures to scaled latents [B, C, H, W] (no randomness)."""
        ...

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents to pictures."""
        ...

    def timesteps(self, num_inference_steps: int) -> Tensor:
        """The timesteps of a run, descending, [n]."""
        ...

    def schedule(self, num_inference_steps: int) -> Schedule:
        """How a run of that many steps is done."""
        ...


def label(position: int, depth: int) -> str:
    """One of LABELS, coarse to fine: how far from the coarsest (0) to the finest (`depth` - 1) place a site lies."""
    return LABELS[int((len(LABELS) - 1) * position / max(depth - 1, 1) + 0.5)]


def in_order(backbone: Backbone, without: Any, given: Any) -> tuple[Any, Any]:
    """The unconditional and the conditional half in the model's order; and from that order back to this one."""
    return (given, without) if backbone.conditional_first else (without, given)


def read_as(backbone: Backbone, text: str = "") -> Tensor:
    """The condition [1, ...] under which pictures are read: that of a text or, for the empty text of a model that was
    never trained without a class, the mean of all its classes."""
    classes = backbone.classes
    if text.strip() or backbone.guides or classes is None or not classes.count:
        return backbone.condition([text])
    if backbone not in _MEANS:
        names = [classes.labels.get(number, str(number)) for number in range(classes.count)]
        _MEANS[backbone] = backbone.condition(names).mean(0, keepdim=True)
    return _MEANS[backbone]


def repeated(condition: Tensor, count: int) -> Tensor:
    """One condition [1, ...] for a batch of `count`, without a copy."""
    return condition.expand(count, *condition.shape[1:])
