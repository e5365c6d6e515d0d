"""Deterministic DDIM as a Schedule, for the families whose noise levels are timesteps with betas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ..errors import RudderError

if TYPE_CHECKING:
    from .base import Predict

PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class DDIM:
    """A run of DDIM (Song 2021, eq. 12, sigma = 0): `timesteps` [n] int64, and per step the 0-dim float32 factors.

    Kept as 0-dim CPU tensors and applied in the order of diffusers' DDIMScheduler, so that results agree bit for bit.
    `prediction`: what the network predicts, one of PREDICTIONS; `clip`: the range that predicted pictures are held in.
    """

    timesteps: Tensor
    sqrt_alpha: tuple[Tensor, ...]
    sqrt_beta: tuple[Tensor, ...]
    sqrt_alpha_next: tuple[Tensor, ...]
    sqrt_beta_next: tuple[Tensor, ...]
    clip: float | None = None
    prediction: str = "epsilon"

    @property
    def factors(self) -> tuple[tuple[Tensor, ...], ...]:
        """sqrt(a_t), sqrt(1 - a_t) of every step and of the level after it."""
        return self.sqrt_alpha, self.sqrt_beta, self.sqrt_alpha_next, self.sqrt_beta_next

    def split(self, i: int, x: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """The x_0 and the noise that a prediction at x_t means, in diffusers' order."""
        a, b = self.sqrt_alpha[i], self.sqrt_beta[i]
        if self.prediction == "epsilon":
            clean, eps = (x - b * made) / a, made
        elif self.prediction == "v_prediction":
            clean, eps = a * x - b * made, a * made + b * x
        else:
            clean, eps = made, (x - a * made) / b
        return clean if self.clip is None else clean.clamp(-self.clip, self.clip), eps

    def step(self, i: int, x: Tensor, predict: Predict) -> tuple[Tensor, Tensor]:
        """x_{t-1} and the predicted x_0."""
        clean, eps = self.split(i, x, predict(x, self.timesteps[i]))
        direction = self.sqrt_beta_next[i] * eps
        return self.sqrt_alpha_next[i] * clean + direction, clean

    def back(self, i: int, after: Tensor, made: Tensor, x: Tensor) -> Tensor:
        """The x_t from which the step leads to `after`, were `made`, predicted at about x_t, its prediction."""
        _, eps = self.split(i, x, made)
        ratio = self.sqrt_alpha[i] / self.sqrt_alpha_next[i]
        return ratio * (after - self.sqrt_beta_next[i] * eps) + self.sqrt_beta[i] * eps


def ddim(scheduler: DDIMScheduler, num_inference_steps: int) -> DDIM:
    """The run of that many steps, its factors computed by the scheduler's own expressions. RudderError for a number
    of steps that it does not have."""
    trained = scheduler.config.num_train_timesteps
    if not 1 <= num_inference_steps <= trained:
        raise RudderError(f"{num_inference_steps} steps are asked for: give a number from 1 to {trained}.")
    own = DDIMScheduler.from_config(scheduler.config)  # set_timesteps changes a scheduler; this one is ours
    own.set_timesteps(num_inference_steps)
    steps = own.timesteps
    if len(steps) != num_inference_steps or not (int(steps.min()) >= 0 and int(steps.max()) < trained):
        raise RudderError(
            f"{num_inference_steps} steps do not fit into {trained} timesteps with {own.config.timestep_spacing!r} "
            "spacing: take one fewer."
        )
    alpha = [own.alphas_cumprod[t] for t in own.timesteps]
    before = [t - trained // num_inference_steps for t in own.timesteps]
    following = [own.alphas_cumprod[t] if t >= 0 else own.final_alpha_cumprod for t in before]
    return DDIM(
        timesteps=own.timesteps,
        sqrt_alpha=tuple(a**0.5 for a in alpha),
        sqrt_beta=tuple((1 - a) ** 0.5 for a in alpha),
        sqrt_alpha_next=tuple(a**0.5 for a in following),
        sqrt_beta_next=tuple((1 - a) ** 0.5 for a in following),
        clip=own.config.clip_sample_range if own.config.clip_sample else None,
        prediction=own.config.prediction_type,
    )


def factors(scheduler: DDIMScheduler, timestep: int | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(a_t) and sqrt(1 - a_t), [B or 1, 1, 1, 1] of `like`'s device and number type."""
    alpha = scheduler.alphas_cumprod[torch.as_tensor(timestep, device="cpu").long()].reshape(-1, 1, 1, 1)
    return (alpha**0.5).to(like.device, like.dtype), ((1 - alpha) ** 0.5).to(like.device, like.dtype)


def clean(scheduler: DDIMScheduler, x: Tensor, timestep: int | Tensor, prediction: Tensor) -> Tensor:
    """The x_0 [B, C, H, W] that a prediction at x_t means."""
    a, b = factors(scheduler, timestep, x)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return (x - b * prediction) / a
    return a * x - b * prediction if kind == "v_prediction" else prediction


def carried(scheduler: DDIMScheduler, x: Tensor, timestep: int | Tensor) -> Tensor:
    """What of a prediction the noisy x_t accounts for: x_t / sqrt(1 - a_t) of a predicted noise, that times sqrt(a_t)
    of a predicted velocity, nothing of a predicted picture. The rest is a multiple of the expected x_0."""
    a, b = factors(scheduler, timestep, x)
    kind = scheduler.config.prediction_type
    return x / b if kind == "epsilon" else x * (a / b) if kind == "v_prediction" else torch.zeros_like(x)
