"""The EDM family (Karras et al. 2022): a U-Net on pixels, by class or unconditional, with the paper's own sampler.

The folder is our own layout: model_index.json with `_class_name` "EDMPipeline", config.json and model.safetensors in
model/, and rudder.json. NVlabs' files become such a folder by `rudder models convert`; the embedded tiny-edm is one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor

from ..errors import RudderError, shorten, unknown
from ..files import read_json
from .base import LABELS, Site
from .classes import Classes
from .edm_network import Block, Config, Denoiser, check_tensors, filled
from .layout import EDM_FAMILY, REMEDY, check_folder, fingerprint, names, settings
from .precision import check_latents

if TYPE_CHECKING:
    from .base import Predict

RHO = 7.0  # how much denser the steps lie at low noise (the paper's eq. 5)
TIMESTEPS = 1000


def ramp(positions: Tensor, config: Config) -> Tensor:
    """The noise at positions of the schedule, 0 (the most) to 1 (the least): float64, eq. 5 of the paper."""
    most, least = config.sigma_max ** (1 / RHO), config.sigma_min ** (1 / RHO)
    return (most + positions.double() * (least - most)) ** RHO


@dataclass(frozen=True)
class Heun:
    """A run of the deterministic second-order sampler (algorithm 1 of the paper): `sigmas` [n + 1] float64, the last 0,
    and the timesteps [n] int64 nearest to them. Latents are float64 between steps, as in the paper's own sampler."""

    timesteps: Tensor
    sigmas: Tensor

    def step(self, i: int, x: Tensor, predict: Predict) -> tuple[Tensor, Tensor]:
        """The latents after step `i` and the clean ones of its last evaluation: two of them, but one in the last step,
        which is Euler's. `predict` is given sigmas."""
        now, after = self.sigmas[i], self.sigmas[i + 1]
        x = x.double()
        clean = predict(x, now).double()
        slope = (x - clean) / now
        moved = x + (after - now) * slope
        if after == 0:
            return moved, clean
        clean = predict(moved, after).double()
        return x + (after - now) * (0.5 * slope + 0.5 * ((moved - clean) / after)), clean


def heun(config: Config, num_inference_steps: int) -> Heun:
    """The run of that many steps. RudderError for a number of steps that is not from 1 to 1000."""
    if not 1 <= num_inference_steps <= TIMESTEPS:
        raise RudderError(f"{num_inference_steps} steps are asked for: give a number from 1 to {TIMESTEPS}.")
    positions = torch.arange(num_inference_steps, dtype=torch.float64) / max(num_inference_steps - 1, 1)
    timesteps = ((1 - positions) * (TIMESTEPS - 1)).round().long()
    return Heun(timesteps, torch.cat([ramp(positions, config), torch.zeros(1, dtype=torch.float64)]))


def discover_sites(network: Denoiser) -> dict[str, Site]:
    """Every block's output, its last nonlinearity and, where it attends, what its attention adds; last the estimate,
    which is the clean prediction itself. In order of execution."""
    sites: dict[str, Site] = {}
    config = network.config
    depth = len(config.channel_mult)
    for half in ("enc", "dec"):
        for key, module in getattr(network.model, half).items():
            if not isinstance(module, Block):
                continue
            name, side = f"{half}.{key}", int(key.partition("x")[0])
            level = (config.img_resolution // side).bit_length() - 1
            label = LABELS[int((len(LABELS) - 1) * (depth - 1 - level) / max(depth - 1, 1) + 0.5)]

            def put(name: str, path: str, part: str, channels: int, side: int = side, label: str = label) -> None:
                sites[name] = Site(name, f"model.{path}", part, channels, (side, side), label)

            put(f"{name}.nonlinearity", f"{name}.conv1", "input", module.out_channels)
            if module.proj is not None:
                put(f"{name}.attention", f"{name}.proj", "output", module.out_channels)
            put(name, name, "output", module.out_channels)
    size = (config.img_resolution, config.img_resolution)
    sites["estimate"] = Site("estimate", "", "estimate", config.img_channels, size, LABELS[-1])
    return sites


def defaults(info: Mapping[str, Any], sites: Mapping[str, Site]) -> dict[str, Any]:
    """Steps, guidance and sites to start with: rudder.json's, else 18, 1 and the decoder's blocks. Beside them the two
    blocks of the middle and the decoder's attention are tried; scored are the last nonlinearities and the middle."""
    chosen = names(info, "sites") or [name for name in sites if re.fullmatch(r"dec\.\d+x\d+_block\d+", name)]
    for name in chosen:
        if name not in sites:
            raise unknown("site for rudder.json's default sites", name, sites)
    middle = [name for name in sites if re.fullmatch(r"dec\.\d+x\d+_in\d", name)]
    attention = [name for name in sites if name.startswith("dec.") and name.endswith(".attention")]
    return {
        **settings(info, EDM_FAMILY),
        "sites": tuple(chosen),
        "more_sites": (*middle, *attention),
        "scored": tuple(name for name in sites if name in middle or name.endswith(".nonlinearity")),
    }


def fitted(image: Image.Image, side: int) -> Image.Image:
    """A picture as RGB, centre-cropped and averaged down to [side, side]; one of that size keeps every pixel."""
    return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BOX)


def pixels(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size to float32 [B, 3, H, W] in [-1, 1]."""
    values = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(values).permute(0, 3, 1, 2).float() / 127.5 - 1


class EDM:
    """A Backbone whose latents are the pixels, in [-1, 1], and whose network predicts the clean ones.

    A timestep t from 0 to 999 is a position on the paper's own schedule: sigma(t) = (smin^(1/7) + t/999 (smax^(1/7) -
    smin^(1/7)))^7. With classes, a text is the name of one (rudder.json's `classes`) or its number; the empty text is
    the null class where rudder.json says that it was trained (`null_class`). Without classes only "" is a text.
    """

    family = EDM_FAMILY.name
    conditional_first = False

    def __init__(self, name: str, network: Denoiser, fingerprint: str, info: Mapping[str, Any] | None = None) -> None:
        info = info or {}
        self.name, self.fingerprint, self.network, self.config = name, fingerprint, network, network.config
        self.device, self.dtype = network.model.map_layer0.weight.device, network.dtype
        self.resolution = self.config.img_resolution
        self.latent_shape = (self.config.img_channels, self.resolution, self.resolution)
        self.lock = threading.RLock()
        if not isinstance(info.get("null_class", False), bool):
            raise RudderError(f"rudder.json's 'null_class' should be true or false: {REMEDY}.")
        self.guides = info.get("null_class", False) and self.config.label_dim > 0
        labels = names(info, "classes")
        self.classes = Classes(self.config.label_dim, dict(enumerate(labels)))
        different = len({label.casefold() for label in labels})
        if len(labels) not in (0, self.config.label_dim) or different != len(labels):
            raise RudderError(
                f"rudder.json names {len(labels)} classes ({different} of them different) where the "
                f"network has {self.config.label_dim}: give each one a name of its own."
            )
        self._sigmas = ramp(1 - torch.arange(TIMESTEPS, dtype=torch.float64) / (TIMESTEPS - 1), self.config)
        self._sites = MappingProxyType(discover_sites(network))
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
    ) -> EDM:
        """Load a folder in our layout; RudderError for what is missing, truncated or unfit.

        `reading` is told of the one component before its weights are read.
        """
        if attention != "sdpa":
            raise RudderError(f"There is no attention named {shorten(attention)!r} for EDM: use 'sdpa'.")
        check_folder(folder, EDM_FAMILY)
        reading("model")
        config = Config.read(read_json(folder / "model" / "config.json"), str(folder / "model" / "config.json"))
        weights = folder / "model" / EDM_FAMILY.parts["model"]
        try:
            tensors = load_file(weights)
        except Exception as error:  # the header is whole, so this is a kind of number or an I/O error
            raise RudderError(f"{weights} could not be loaded ({shorten(error, 160)}): {REMEDY}.") from error
        with torch.device("meta"):
            check_tensors(Denoiser(config), tensors, str(weights), REMEDY)
        described = folder / "rudder.json"
        return cls(
            name=name,
            network=filled(config, tensors, device, dtype),
            fingerprint=fingerprint(folder, EDM_FAMILY),
            info=read_json(described) if described.is_file() else None,
        )

    def sites(self) -> Mapping[str, Site]:
        """Every site by name, in order of execution."""
        return self._sites

    def condition(self, texts: Sequence[str]) -> Tensor:
        """Texts to one-hot classes [B, label_dim]; the null class is all zeros, and without classes label_dim is 0.

        RudderError for a text that names no class, or for any but "" where there are none.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows = torch.zeros(len(texts), self.config.label_dim, device=self.device, dtype=self.dtype)
        for row, text in zip(rows, texts, strict=True):
            if (number := self._class(text)) is not None:
                row[number] = 1
        return rows

    def _class(self, text: str) -> int | None:
        """The number of the class that a text names; None for the null class, or where there are no classes."""
        if not self.classes.count:
            if text.strip():
                raise RudderError(f"{self.name} paints without words or classes: leave {shorten(text)!r} out.")
            return None
        if text.strip():
            return self.classes.number(text)
        if not self.guides:
            raise RudderError(f"{self.name} paints by class only: name {self.classes.choices()}.")
        return None

    def unknown_words(self, text: str) -> list[str]:
        """[]: a text that names no class is refused by `condition`."""
        return []

    def start(self, noise: Tensor) -> Tensor:
        """The noise times the schedule's first sigma (80), float64."""
        return noise.double() * self._sigmas[-1]

    def noise(self, latents: Tensor, timestep: int, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
        """x + sigma(t) eps, float32; eps drawn from `generator` (one, or one per sample)."""
        draws = generator if isinstance(generator, torch.Generator) else list(generator)
        eps = randn_tensor(latents.shape, generator=draws, device=self.device, dtype=torch.float32)
        return latents.float() + self.sigma(timestep) * eps

    def sigma(self, timestep: int) -> float:
        """Deviation of the noise at a timestep, in the pixels' own units (pictures have about .5)."""
        return float(self._sigma(int(timestep)))

    def _sigma(self, level: int | Tensor) -> Tensor:
        """A timestep or timesteps [B] to sigmas, float64; what is a floating-point tensor is sigmas already."""
        if isinstance(level, Tensor) and level.is_floating_point():
            return level
        steps = torch.as_tensor(level, device="cpu").long()
        if not bool(((steps >= 0) & (steps < TIMESTEPS)).all()):
            raise RudderError(f"Timestep {shorten(level)} does not exist: give one from 0 to {TIMESTEPS - 1}.")
        return self._sigmas[steps]

    def denoise(self, latents: Tensor, level: int | Tensor, condition: Tensor) -> Tensor:
        """The clean pictures [B, 3, H, W] float32 that the network expects: one forward pass, under the lock.

        `level` is a timestep (an int, or an integer tensor, 0-dim or [B]) or, as a floating-point tensor, the exact
        sigma that a schedule's step hands over.
        """
        sigma, labels = self._sigma(level).to(self.device), condition if self.config.label_dim else None
        with self.lock:
            return self.network(latents.float(), sigma, labels)

    def clean(self, latents: Tensor, timestep: int | Tensor, prediction: Tensor) -> Tensor:
        """The prediction itself: it is of the clean pictures."""
        return prediction

    def carried(self, latents: Tensor, level: int | Tensor) -> Tensor:
        """Zeros: no part of a clean prediction is the noisy picture's own."""
        return torch.zeros_like(latents)

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures (centre-cropped, averaged to fit) to pixels [B, 3, H, W] in [-1, 1], float32."""
        return pixels([fitted(image, self.resolution) for image in images]).to(self.device)

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Pixels [B, 3, H, W] to pictures, rounded; `encode`'s come back as they were. RudderError where a value is not
        finite."""
        check_latents(latents, self.dtype)
        values = (latents.float() * 127.5 + 128).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(one) for one in values]

    def timesteps(self, num_inference_steps: int) -> Tensor:
        """The timesteps of a run, descending, [n] int64."""
        return self.schedule(num_inference_steps).timesteps

    def schedule(self, num_inference_steps: int) -> Heun:
        """The paper's deterministic sampler over that many steps: 2 n - 1 evaluations."""
        return heun(self.config, num_inference_steps)
