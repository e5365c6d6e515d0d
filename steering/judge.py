"""The judge: a small CNN that names style, object and background of a picture, and what counts as a copy.

Trained by training/judge.py on the renderer's output from seeds the diffusion model never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import RudderError
from .files import check_weights, home, read_json

REMEDY = "restore it with `git checkout models/judge`, or make it with `python -m training.judge`"
WIDTHS = (32, 64, 128, 192)


class Judge(nn.Module):
    """Pictures [B, 3, 64, 64] in -1..1 to logits of object, style, background and glasses."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        last = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(last, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            last = width
        self.features = nn.Sequential(*layers)
        self.sizes = [len(config["kinds"]), len(config["styles"]), len(config["backgrounds"]), 2]
        self.heads = nn.Linear(2 * last, sum(self.sizes))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = self.features(pictures)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return list(self.heads(pooled).split(self.sizes, 1))

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image], batch_size: int = 64) -> dict[str, np.ndarray]:
        """Indices of the likeliest "object", "style", "background" and "glasses" of each picture."""
        names, read = ("object", "style", "background", "glasses"), []
        for start in range(0, len(images), batch_size):
            read.append([h.argmax(1) for h in self(tensor(images[start : start + batch_size]))])
        return {name: torch.cat(part).numpy() for name, part in zip(names, zip(*read, strict=True), strict=True)}


def tensor(images: Sequence[Image.Image]) -> Tensor:
    """Pictures as float [B, 3, 64, 64] in -1..1, resized where they are of another size."""
    arrays = [np.asarray(i.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)) for i in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


def shrink(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, 64, 64] averaged to 32 px and flattened [B, 3072]: what copies are compared on."""
    return F.avg_pool2d(pictures, 2).flatten(1)


def folder() -> Path:
    """Where the judge's files are."""
    return home() / "models" / "judge"


def load() -> Judge:
    """The committed judge. RudderError when its files are missing or damaged."""
    weights = folder() / "judge.safetensors"
    if not weights.is_file():
        raise RudderError(f"{weights} is missing: {REMEDY}.")
    check_weights(weights, REMEDY)
    judge = Judge(read_json(folder() / "config.json"))
    judge.load_state_dict({key: value.float() for key, value in load_file(weights).items()})
    return judge.eval()


def nearest_picture(image: Image.Image, memorized: Sequence[Image.Image]) -> tuple[float, Image.Image, str]:
    """The training picture nearest to an image, as `nearest_training` measures: (distance, picture, kind).

    "memorised" ones are given and returned as they are; of "ordinary" ones only 64 components are kept, and
    the picture is what those say, 32 px. Raises RudderError without the index.
    """
    stored = _index()
    ours, theirs = ((shrink(tensor(some)) - stored["mean"]) @ stored["basis"] for some in ([image], memorized))
    root = stored["mean"].numel() ** 0.5
    own, known = torch.cdist(ours, theirs)[0] / root, torch.cdist(ours, stored["training"])[0] / root
    if own.min() <= known.min():
        return float(own.min()), memorized[int(own.argmin())], "memorised"
    pixels = stored["training"][known.argmin()] @ stored["basis"].T + stored["mean"]
    values = ((pixels.reshape(3, 32, 32).permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).byte().numpy()
    return float(known.min()), Image.fromarray(values), "ordinary"


def nearest_training(images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest training picture, of these pictures and of fresh renderings.

    Root mean square, pixels in 0..2, over 64 principal components of the pictures at 32 px. Raises
    RudderError without the index.
    """
    stored = _index()
    codes = (shrink(tensor(images)) - stored["mean"]) @ stored["basis"]
    root = stored["mean"].numel() ** 0.5
    return tuple((torch.cdist(c, stored["training"]).amin(1) / root).numpy() for c in (codes, stored["fresh"]))


def _index() -> dict[str, Tensor]:
    """The training pictures in 64 components; read once per process and file."""
    path = folder() / "training_index.safetensors"
    if not path.is_file():
        raise RudderError(f"{path} is missing: {REMEDY}.")
    return _read_index(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read_index(path: Path, changed: int) -> dict[str, Tensor]:
    check_weights(path, REMEDY)
    return {key: value.float() for key, value in load_file(path).items()}
