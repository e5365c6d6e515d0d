"""The DiT family (Peebles and Xie 2022): a transformer over patches of latents, told a class instead of a prompt.

It paints what diffusers' DiTPipeline paints. The embedded tiny-dit and DiT-XL/2 go through exactly this code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from torch import Tensor, nn

from ..errors import RudderError, unknown
from ..files import read_json
from .base import LABELS, Site, label
from .classes import Classes, classes_of
from .latents import LatentModel, load_part, use_attention
from .layout import DIT, REMEDY, check_folder, fingerprint, names, part_folder, settings, variant_of
from .precision import check_weights, for_autoencoder, on_device
from .schedulers import read_scheduler


def discover_sites(transformer: DiTTransformer2DModel) -> dict[str, Site]:
    """Of every block the attention's output, the hidden layer of its MLP and its own output (the residual stream), and
    last the estimate, in order of execution. Tokens are seen as a map [B, C, h, w], h and w the patches a side."""
    config, sites = transformer.config, {}
    depth, side = len(transformer.transformer_blocks), config.sample_size // config.patch_size
    for i, block in enumerate(transformer.transformer_blocks):
        path = f"transformer.transformer_blocks.{i}"
        last = block.get_submodule("ff.net.2")
        assert isinstance(last, nn.Linear)
        width, hidden = last.out_features, last.in_features
        for name, module, channels in (
            (f"blocks.{i}.attention", f"{path}.attn1", width),
            (f"blocks.{i}.hidden", f"{path}.ff.net.0", hidden),
            (f"blocks.{i}", path, width),
        ):
            sites[name] = Site(name, module, "output", channels, (side, side), label(i, depth), tokens=True)
    size = (config.sample_size, config.sample_size)
    sites["estimate"] = Site("estimate", "", "estimate", config.in_channels, size, LABELS[-1])
    return sites


def defaults(info: Mapping[str, Any], sites: Mapping[str, Site]) -> dict[str, Any]:
    """Steps, guidance and sites to start with: rudder.json's, else 50, 4 and a quarter of the blocks, from the middle
    on: what is added to the residual stream stays in it, so more of them would add up to more than was asked.

    Beside them the quarter of blocks before is tried, and both quarters' attention. Every block's sites are scored: a
    few channels of the residual stream are huge for any picture (arXiv 2505.18584), so a calibration has to choose.
    """
    depth = sum(name.endswith(".hidden") for name in sites)
    middle, span = depth // 2, max(1, depth // 4)
    late, early = range(middle, middle + span), range(max(0, middle - span), middle)
    chosen = names(info, "sites") or [f"blocks.{i}" for i in late]
    for name in chosen:
        if name not in sites:
            raise unknown("site for rudder.json's default sites", name, sites)
    more = [f"blocks.{i}" for i in early] + [f"blocks.{i}.attention" for i in (*early, *late)]
    return {
        **settings(info, DIT),
        "sites": tuple(chosen),
        "more_sites": tuple(more),
        "scored": tuple(name for name, site in sites.items() if site.tokens),
    }


def check_fit(folder: Path, transformer: DiTTransformer2DModel, vae: AutoencoderKL) -> None:
    """RudderError unless the transformer predicts noise (and perhaps its deviation) for the autoencoder's latents."""
    config, channels = transformer.config, vae.config.latent_channels
    if config.in_channels != channels:
        raise RudderError(f"{folder} paints {config.in_channels} channels and its autoencoder has {channels}: "
                          f"{REMEDY}.")  # fmt: skip
    if transformer.out_channels not in (channels, 2 * channels):
        raise RudderError(f"{folder} predicts {transformer.out_channels} channels: load a model that predicts "
                          f"{channels}, or {2 * channels} with a learned deviation.")  # fmt: skip
    if config.sample_size % config.patch_size:
        raise RudderError(f"{folder} cuts latents of side {config.sample_size} into patches of {config.patch_size}: "
                          f"{REMEDY}.")  # fmt: skip


class Denoiser(nn.Module):
    """The transformer's predicted noise [B, C, H, W]; the deviation that it may have learned beside it is dropped."""

    def __init__(self, transformer: DiTTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        made = self.transformer(latents, timesteps, classes, return_dict=False)[0]
        return made[:, : latents.shape[1]]


class DiT(LatentModel):
    """A Backbone over DiTTransformer2DModel and AutoencoderKL. A text is the name or number of a class; "" is none."""

    family = DIT.name
    guides = conditional_first = True

    def __init__(
        self,
        name: str,
        transformer: DiTTransformer2DModel,
        vae: AutoencoderKL,
        scheduler: DDIMScheduler,
        fingerprint: str,
        classes: Classes,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        config = transformer.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        super().__init__(name, fingerprint, Denoiser(transformer), vae, scheduler, shape)
        self.classes = self._classes = classes
        self._sites = MappingProxyType(discover_sites(transformer))
        self.defaults = defaults(info or {}, self._sites)

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
    ) -> DiT:
        """Load a folder in diffusers layout; RudderError for what is missing, truncated or unfit.

        `reading` is told of each component before its weights are read.
        """
        check_folder(folder, DIT)
        described = folder / "rudder.json"
        info = read_json(described) if described.is_file() else {}
        options = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
        kinds, lender = {part: variant_of(folder, DIT, part) for part in DIT.parts}, part_folder(folder, "vae").parent
        reading("vae")
        vae = load_part(AutoencoderKL, lender, "vae", dtype=for_autoencoder(dtype), variant=kinds["vae"], **options)
        reading("transformer")
        transformer = load_part(
            DiTTransformer2DModel, folder, "transformer", dtype=dtype, variant=kinds["transformer"], **options
        )
        check_weights(vae, lender / "vae")
        check_weights(transformer, folder / "transformer")
        check_fit(folder, transformer, vae)
        use_attention(transformer, attention)
        return cls(
            name=name,
            transformer=transformer.to(device),
            vae=on_device(vae, device),
            scheduler=read_scheduler(folder),
            fingerprint=fingerprint(folder, DIT),
            classes=classes_of(folder, info, transformer.config.num_embeds_ada_norm),
            info=info,
        )

    def sites(self) -> Mapping[str, Site]:
        """Every site by name, in order of execution."""
        return self._sites

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Names or numbers of classes to numbers [B] int64; "" is the class after the last, which stands for none.
        RudderError for a class that the model does not have."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        numbers = [self._classes.number(text) if text.strip() else self._classes.count for text in texts]
        return torch.tensor(numbers, device=self.device)

    def unknown_words(self, text: str) -> list[str]:
        """[]: an unknown class is an error of `condition`, not a word to be passed over."""
        return []

    def denoise(self, latents: Tensor, level: int | Tensor, condition: Tensor) -> Tensor:
        """The prediction at (x_t, t, c) [B, C, H, W]: one forward pass, under the lock."""
        timesteps = torch.as_tensor(level, device=latents.device).expand(len(latents))
        with self.lock:
            return self.network(latents, timesteps, condition)

    def unscaled(self, latents: Tensor) -> Tensor:
        """The autoencoder's own latents, in DiTPipeline's order of operations."""
        return 1 / self.vae.config.scaling_factor * latents
