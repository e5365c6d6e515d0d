"""The Stable Diffusion family: U-Net, CLIP text encoder and autoencoder, from a folder in diffusers layout.

The embedded tiny-sd and SD 1.4 go through exactly this code.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from ..errors import unknown
from ..files import read_json
from .base import LABELS, Site
from .base import label as label_at
from .latents import LatentModel, load_part, use_attention
from .layout import STABLE_DIFFUSION, check_folder, fingerprint, names, settings, variant_of
from .precision import check_weights, for_autoencoder, on_device
from .schedulers import PIPELINE, read_scheduler

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
        block(f"down_blocks.{i}", module, sizes[-1], label_at(depth - 1 - i, depth))
        if module.downsamplers is not None:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
    if network.mid_block is not None:
        channels = block("mid_block", network.mid_block, sizes[-1], LABELS[0])
        put("mid_block", "mid_block", "output", channels, sizes[-1], LABELS[0])
    for i, module in enumerate(network.up_blocks):
        block(f"up_blocks.{i}", module, sizes[-1], label_at(i, depth))
        if module.upsamplers is not None:
            sizes.pop()
    sites["estimate"] = Site("estimate", "", "estimate", network.config.out_channels, size, LABELS[-1])
    return sites


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


class StableDiffusion(LatentModel):
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
        size = network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        super().__init__(name, fingerprint, network, vae, scheduler, (network.config.in_channels, height, width))
        self.text_encoder, self.tokenizer = text_encoder.eval().requires_grad_(False), tokenizer
        # a tokenizer's file that names no length means one without end, and one too long has no positions
        tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
        self._text_lock = threading.Lock()  # a fast tokenizer must not be entered twice
        self._conditions: OrderedDict[str, Tensor] = OrderedDict()
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
        described, variant = folder / "rudder.json", partial(variant_of, folder, STABLE_DIFFUSION)
        options = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
        reading("text_encoder")
        text = load_part(CLIPTextModel, folder, "text_encoder", dtype=dtype, use_safetensors=True,
                         output_loading_info=True, variant=variant("text_encoder"))  # fmt: skip
        reading("vae")
        vae = load_part(AutoencoderKL, folder, "vae", dtype=for_autoencoder(dtype), variant=variant("vae"), **options)
        reading("unet")  # last: what the others took tells how long the largest will take
        network = load_part(UNet2DConditionModel, folder, "unet", dtype=dtype, variant=variant("unet"), **options)
        for part, module in (("text_encoder", text), ("vae", vae), ("unet", network)):
            check_weights(module, folder / part)
        use_attention(network, attention)
        return cls(
            name=name,
            network=on_device(network, device),
            vae=on_device(vae, device),
            text_encoder=text.to(device),
            tokenizer=load_part(CLIPTokenizer, folder, "tokenizer"),
            scheduler=read_scheduler(folder, PIPELINE),
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

    def denoise(self, latents: Tensor, level: int | Tensor, condition: Tensor) -> Tensor:
        """The prediction at (x_t, t, c) [B, C, H, W]: one forward pass, under the lock."""
        with self.lock:
            return self.network(latents, level, encoder_hidden_states=condition, return_dict=False)[0]
