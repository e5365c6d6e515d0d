"""The interface every model family implements, and the two things it speaks of: sites and schedules."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

LABELS = ("composition", "shape", "style", "detail")


@dataclass(frozen=True)
class Site:
    """A named place in the network that can be read or added to.

    `part` is "output" (what the module returns), "nonlinearity" (a resnet block's last SiLU, i.e. the input of its
    `conv2`; the feature the paper scores) or "estimate" (the network's prediction without what the noisy latents alone
    account for: the picture it expects, see `Backbone.carried`). `size` is (height, width) at the model's resolution.
    """

    name: str
    path: str
    part: str
    channels: int
    size: tuple[int, int]
    label: str


@dataclass(frozen=True)
class Schedule:
    """A deterministic DDIM schedule: `timesteps` [n] int64, and per step the 0-dim float32 factors of eq. 12.

    Kept as 0-dim CPU tensors and applied in the order of diffusers' DDIMScheduler, so results agree bit for
    bit.
    """

    timesteps: Tensor
    sqrt_alpha: tuple[Tensor, ...]
    sqrt_beta: tuple[Tensor, ...]
    sqrt_alpha_next: tuple[Tensor, ...]
    sqrt_beta_next: tuple[Tensor, ...]
    clip: float | None = None


class Backbone(Protocol):
    """One loaded diffusion model. Safe to share between threads: `lock` is held during each forward pass."""

    name: str
    family: str
    fingerprint: str
    device: torch.device
    dtype: torch.dtype
    network: nn.Module
    resolution: int
    latent_shape: tuple[int, int, int]
    defaults: dict[str, Any]
    lock: threading.RLock

    def sites(self) -> Mapping[str, Site]:
        """Every site by name."""

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Prompts ("" allowed) to conditions [B, L, D], encoded as one batch."""

    def unknown_words(self, prompt: str) -> list[str]:
        """The words the model was never taught, in order; [] for models that list no words."""

    def noise(self, latents: Tensor, timestep: int, generator: Any) -> Tensor:
        """x_t from x_0 [B, C, H, W]; `generator` is one torch.Generator, or one per sample."""

    def denoise(self, latents: Tensor, timestep: int | Tensor, condition: Tensor) -> Tensor:
        """The predicted noise [B, C, H, W]: one forward pass."""

    def carried(self, latents: Tensor, timestep: int | Tensor) -> Tensor:
        """What of a prediction noisy latents x_t [B, C, H, W] account for, x_t / sqrt(1 - a_t): the rest of it,
        -sqrt(a_t / (1 - a_t)) x_0, is the network's estimate of the picture."""

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures to scaled latents [B, C, H, W] (posterior mean: no randomness)."""

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents to pictures."""

    def timesteps(self, num_inference_steps: int) -> Tensor:
        """The timesteps of a run, descending, [n] int64."""

    def schedule(self, num_inference_steps: int) -> Schedule:
        """The same with the DDIM factors."""
