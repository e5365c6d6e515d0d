"""What the families that paint latents share: an autoencoder, a noise schedule in timesteps, how their parts load."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, ModelMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..errors import RudderError, shorten
from .ddim import DDIM, carried, clean, ddim
from .layout import REMEDY
from .precision import check_latents, check_pixels

_PIXELS_AT_ONCE = 4 * 512 * 512  # bounds the autoencoder's memory


def load_part(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """`from_pretrained` from one subfolder, offline; every failure becomes a RudderError."""
    try:
        loaded = kind.from_pretrained(folder / part, local_files_only=True, **options)
    except Exception as error:  # the libraries raise many kinds; all mean that this part cannot be used
        raise RudderError(f"{folder / part} could not be loaded ({shorten(error, 160)}): {REMEDY}.") from error
    if not isinstance(loaded, tuple):
        return loaded
    module, report = loaded
    missing = [key for key in report.get("missing_keys", ()) if not key.endswith("position_ids")]
    if missing or report.get("mismatched_keys"):
        what = f"lacks {missing[0]}" if missing else "has tensors of other shapes than its configuration says"
        raise RudderError(f"{folder / part} {what}: {REMEDY}.")
    return module


def use_attention(network: ModelMixin, attention: str) -> None:
    """Choose the attention kernels: "sdpa" (torch, the default) or "xformers"."""
    if attention == "sdpa":
        return
    if attention != "xformers":
        raise RudderError(f"There is no attention named {shorten(attention)!r}: use 'sdpa' or 'xformers'.")
    try:
        network.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, RuntimeError, NotImplementedError) as error:
        raise RudderError(
            f"xformers cannot be used here ({shorten(error)}): install it with CUDA, or use 'sdpa'."
        ) from error


class LatentModel:
    """The part of a Backbone that has nothing to do with its network: pictures, noise and DDIM over an autoencoder."""

    conditional_first = False

    def __init__(
        self,
        name: str,
        fingerprint: str,
        network: nn.Module,
        vae: AutoencoderKL,
        scheduler: DDIMScheduler,
        latent_shape: tuple[int, int, int],
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.network, self.vae, self.scheduler = network, vae, scheduler
        for module in (network, vae):
            module.eval().requires_grad_(False)
        weights = next(network.parameters())
        self.device, self.dtype = weights.device, weights.dtype
        self.scale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_shape = latent_shape
        self.resolution = latent_shape[1] * self.scale
        self.lock = threading.RLock()
        self._schedules: dict[int, DDIM] = {}
        self._processor = VaeImageProcessor(vae_scale_factor=self.scale)

    def noise(self, latents: Tensor, timestep: int, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
        """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, eps drawn from `generator` (one, or one per sample)."""
        trained = self.scheduler.config.num_train_timesteps
        if not 0 <= int(timestep) < trained:
            raise RudderError(f"Timestep {shorten(timestep)} does not exist: give one from 0 to {trained - 1}.")
        draws = generator if isinstance(generator, torch.Generator) else list(generator)
        eps = randn_tensor(latents.shape, generator=draws, device=self.device, dtype=self.dtype)
        alpha = self.scheduler.alphas_cumprod[int(timestep)]
        return alpha**0.5 * latents + (1 - alpha) ** 0.5 * eps

    def start(self, noise: Tensor) -> Tensor:
        """x_T: the noise itself (DDIM's initial deviation is 1)."""
        return noise

    def sigma(self, timestep: int) -> float:
        """sqrt((1 - a_t) / a_t); infinite where a schedule begins with noise alone."""
        alpha = float(self.scheduler.alphas_cumprod[timestep])
        return ((1 - alpha) / alpha) ** 0.5 if alpha else math.inf

    def clean(self, latents: Tensor, timestep: int | Tensor, prediction: Tensor) -> Tensor:
        """The x_0 [B, C, H, W] that a prediction at x_t means."""
        return clean(self.scheduler, latents, timestep, prediction)

    def carried(self, latents: Tensor, level: int | Tensor) -> Tensor:
        """What of a prediction the noisy latents [B, C, H, W] account for (see ddim.carried)."""
        return carried(self.scheduler, latents, level)

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures (centre-cropped, resized to fit) to scaled latents [B, C, H, W], posterior mean."""
        size = (self.latent_shape[2] * self.scale, self.latent_shape[1] * self.scale)
        fitted = [ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS) for image in images]
        parts = []
        for some in _chunks(fitted, self._at_once()):
            pixels = self._processor.preprocess(some).to(self.device, self.vae.dtype)
            parts.append(self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor)
        return torch.cat(parts).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents [B, C, H, W] to pictures, as diffusers' pipelines make them. RudderError where a value is not
        finite."""
        check_latents(latents, self.dtype)
        images: list[Image.Image] = []
        for some in latents.to(self.vae.dtype).split(self._at_once()):
            pixels = self.vae.decode(self.unscaled(some), return_dict=False)[0]
            check_pixels(pixels, self.dtype)
            images += self._processor.postprocess(pixels, output_type="pil")
        return images

    def unscaled(self, latents: Tensor) -> Tensor:
        """The autoencoder's own latents, in StableDiffusionPipeline's order of operations."""
        return latents / self.vae.config.scaling_factor

    def timesteps(self, num_inference_steps: int) -> Tensor:
        """The timesteps of a DDIM run, descending, [n] int64."""
        return self.schedule(num_inference_steps).timesteps

    def schedule(self, num_inference_steps: int) -> DDIM:
        """The DDIM schedule of a run; remembered."""
        if num_inference_steps not in self._schedules:
            self._schedules[num_inference_steps] = ddim(self.scheduler, num_inference_steps)
        return self._schedules[num_inference_steps]

    def _at_once(self) -> int:
        return max(1, _PIXELS_AT_ONCE // self.resolution**2)


def _chunks(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]
