"""The Stable Diffusion family: U-Net, CLIP text encoder and autoencoder, from a folder in diffusers layout.

The embedded tiny-sd and SD 1.4 go through exactly this code.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from ..errors import RudderError, shorten, unknown
from ..files import read_json
from .base import LABELS, Site
from .ddim import DDIM, PREDICTIONS, carried, clean, ddim
from .layout import REMEDY, STABLE_DIFFUSION, check_folder, fingerprint, names, settings

_PIXELS_AT_ONCE = 4 * 512 * 512  # bounds the autoencoder's memory
_CONDITIONS_KEPT = 64
_UP_RESNET = re.compile(r"up_blocks\.\d+\.resnets\.\d+")
_UP_ATTENTION = re.compile(r"up_blocks\.\d+\.attentions\.\d+")


def discover_sites(network: UNet2DConditionModel, size: tuple[int, int]) -> dict[str, Site]:
    """Every resnet output and inner nonlinearity, attention output, the mid block, and last the estimate, in order of
    execution.

    `size` is the latents' (height, width); block sizes follow from the down- and upsamplers.
    """
    sites: dict[str, Site] = {}

    def put(name: str, path: str, part: str, channels: int, size: tuple[int, int], label: str) -> None:
        sites[name] = Site(name, path, part, channels, size, label)

    def block(path: str, module: Any, size: tuple[int, int], label: str) -> int:
        channels = 0
        for i, resnet in enumerate(module.resnets):
            channels = resnet.out_channels
            one = f"{path}.resnets.{i}"
            put(f"{one}.nonlinearity", f"{one}.conv2", "input", resnet.conv2.in_channels, size, label)
            put(one, one, "output", channels, size, label)
        for i, _ in enumerate(getattr(module, "attentions", None) or ()):
            one = f"{path}.attentions.{i}"
            put(one, one, "output", channels, size, label)
        return channels

    depth = len(network.down_blocks)
    sizes = [size]
    for i, module in enumerate(network.down_blocks):
        block(f"down_blocks.{i}", module, sizes[-1], _label(depth - 1 - i, depth))
        if module.downsamplers is not None:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
    if network.mid_block is not None:
        channels = block("mid_block", network.mid_block, sizes[-1], LABELS[0])
        put("mid_block", "mid_block", "output", channels, sizes[-1], LABELS[0])
    for i, module in enumerate(network.up_blocks):
        block(f"up_blocks.{i}", module, sizes[-1], _label(i, depth))
        if module.upsamplers is not None:
            sizes.pop()
    sites["estimate"] = Site("estimate", "", "estimate", network.config.out_channels, size, LABELS[-1])
    return sites


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


def load_scheduler(folder: Path) -> DDIMScheduler:
    """The folder's noise schedule as a DDIM scheduler (SD 1.4 ships PNDM with the same betas)."""
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    try:
        scheduler = DDIMScheduler.from_config(config)
    except Exception as error:  # a damaged configuration raises whatever its first bad value provokes
        raise RudderError(f"{folder / 'scheduler'} could not be read ({shorten(error)}): {REMEDY}.") from error
    if scheduler.config.prediction_type not in PREDICTIONS or scheduler.config.thresholding:
        raise RudderError(
            f"{folder.name} predicts {shorten(scheduler.config.prediction_type)!r}, with thresholding "
            f"{scheduler.config.thresholding}: load a model that predicts one of {', '.join(PREDICTIONS)} without it."
        )
    return scheduler


def use_attention(network: UNet2DConditionModel, attention: str) -> None:
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


def defaults(info: Mapping[str, Any], sites: Mapping[str, Site]) -> dict[str, Any]:
    """Steps, guidance and sites to start with: rudder.json's, else 40, 7.5 and the up blocks' resnets. Beside them the
    mid block and the up blocks' attention are tried; scored are the last nonlinearities and the mid block."""
    chosen = names(info, "sites") or [name for name in sites if _UP_RESNET.fullmatch(name)]
    for name in chosen:
        if name not in sites:
            raise unknown("site for rudder.json's default sites", name, sites)
    return {
        **settings(info, STABLE_DIFFUSION),
        "sites": tuple(chosen),
        "more_sites": tuple(name for name in sites if name == "mid_block" or _UP_ATTENTION.fullmatch(name)),
        "scored": tuple(name for name in sites if name == "mid_block" or name.endswith(".nonlinearity")),
    }


class StableDiffusion:
    """A Backbone over UNet2DConditionModel, CLIPTextModel and AutoencoderKL."""

    family = STABLE_DIFFUSION.name
    guides = True

    def __init__(
        self,
        name: str,
        network: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: DDIMScheduler,
        fingerprint: str,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        info = info or {}
        self.name, self.fingerprint = name, fingerprint
        self.network, self.vae, self.text_encoder = network, vae, text_encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        for module in (network, vae, text_encoder):
            module.eval().requires_grad_(False)
        self.device, self.dtype = network.device, network.dtype
        self.scale = 2 ** (len(vae.config.block_out_channels) - 1)
        size = network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        self.latent_shape = (network.config.in_channels, height, width)
        self.resolution = height * self.scale
        self.lock = threading.RLock()
        self._text_lock = threading.Lock()  # a fast tokenizer must not be entered twice
        self._conditions: OrderedDict[str, Tensor] = OrderedDict()
        self._schedules: dict[int, DDIM] = {}
        self._processor = VaeImageProcessor(vae_scale_factor=self.scale)
        self._sites = MappingProxyType(discover_sites(network, (height, width)))
        self._words = frozenset(word.lower() for word in names(info, "words"))
        self.defaults = defaults(info, self._sites)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        attention: str = "sdpa",
        reading: Callable[[str], None] = lambda part: None,
    ) -> StableDiffusion:
        """Load a folder in diffusers layout; RudderError for what is missing, truncated or unfit.

        `reading` is told of each component before its weights are read.
        """
        check_folder(folder, STABLE_DIFFUSION)
        transformers_logging.disable_progress_bar()  # a second of loading needs none
        described = folder / "rudder.json"
        options = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
        reading("text_encoder")
        text = load_part(CLIPTextModel, folder, "text_encoder", dtype=dtype, use_safetensors=True,
                         output_loading_info=True)  # fmt: skip
        reading("vae")
        vae = load_part(AutoencoderKL, folder, "vae", dtype=dtype, **options)
        reading("unet")  # last: what the others took tells how long the largest will take
        network = load_part(UNet2DConditionModel, folder, "unet", dtype=dtype, **options)
        use_attention(network, attention)
        return cls(
            name=name,
            network=network.to(device),
            vae=vae.to(device),
            text_encoder=text.to(device),
            tokenizer=load_part(CLIPTokenizer, folder, "tokenizer"),
            scheduler=load_scheduler(folder),
            fingerprint=fingerprint(folder, STABLE_DIFFUSION),
            info=read_json(described) if described.is_file() else None,
        )

    def sites(self) -> Mapping[str, Site]:
        """Every site by name, in order of execution."""
        return self._sites

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Prompts ("" allowed) to CLIP states [B, L, D], encoded as one batch; single ones are kept."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        with self._text_lock:
            if len(prompts) == 1 and prompts[0] in self._conditions:
                self._conditions.move_to_end(prompts[0])
                return self._conditions[prompts[0]]
            length = self.tokenizer.model_max_length
            tokens = self.tokenizer(
                prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            )
            masked = getattr(self.text_encoder.config, "use_attention_mask", False)
            mask = tokens.attention_mask.to(self.device) if masked else None
            states = self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0].to(self.dtype)
            if len(prompts) == 1:
                self._conditions[prompts[0]] = states
                while len(self._conditions) > _CONDITIONS_KEPT:
                    self._conditions.popitem(last=False)
        return states

    def unknown_words(self, prompt: str) -> list[str]:
        """Words (lower case, no punctuation) that rudder.json does not list, in order; [] without a list."""
        if not self._words:
            return []
        words = (word.strip(".,;:!?\"'`()[]{}<>*_~…“”‘’-–—") for word in prompt.lower().split())
        return list(dict.fromkeys(word for word in words if word and not self._knows(word)))

    def _knows(self, word: str) -> bool:
        """A listed word, or its possessive where "'s" is listed as a token of its own."""
        stem = word.replace("’", "'").removesuffix("'s")
        return word in self._words or ("'s" in self._words and stem in self._words)

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
        """sqrt((1 - a_t) / a_t)."""
        alpha = float(self.scheduler.alphas_cumprod[timestep])
        return ((1 - alpha) / alpha) ** 0.5

    def denoise(self, latents: Tensor, level: int | Tensor, condition: Tensor) -> Tensor:
        """The prediction at (x_t, t, c) [B, C, H, W]: one forward pass, under the lock."""
        with self.lock:
            return self.network(latents, level, encoder_hidden_states=condition, return_dict=False)[0]

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
            pixels = self._processor.preprocess(some).to(self.device, self.dtype)
            parts.append(self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor)
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Scaled latents [B, C, H, W] to pictures, as diffusers' pipeline makes them."""
        images: list[Image.Image] = []
        for some in latents.split(self._at_once()):
            pixels = self.vae.decode(some / self.vae.config.scaling_factor, return_dict=False)[0]
            images += self._processor.postprocess(pixels, output_type="pil")
        return images

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


def _label(position: int, depth: int) -> str:
    """Coarse to fine: how far towards the highest resolution a block lies, as one of four words."""
    return LABELS[int((len(LABELS) - 1) * position / max(depth - 1, 1) + 0.5)]


def _chunks(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]
