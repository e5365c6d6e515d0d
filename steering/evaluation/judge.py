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

from ..errors import RudderError
from ..files import check_weights, home, read_json

REMEDY = "restore it with `git checkout models/judge`, or make it with `python -m training.judge`"
SIDE = 64  # px, at which copies are compared


class Judge(nn.Module):
    """Pictures [B, 3, side, side] in -1..1 to logits of the heads that its config names: object, style, background,
    glasses, and where it was trained for them two (objects), colour and artefact.

    `config`: "side" (pixels), "widths" of its levels, and "heads", the number of classes by name.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.heads_by_name: dict[str, int] = config["heads"]
        layers: list[nn.Module] = []
        last = 3
        for width in config["widths"]:
            layers += [nn.Conv2d(last, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            last = width
        self.features = nn.Sequential(*layers)
        self.heads = nn.Linear(2 * last, sum(self.heads_by_name.values()))

    def pooled(self, pictures: Tensor) -> Tensor:
        """What the heads see of the pictures: mean and maximum of the last features [B, 2 C]."""
        features = self.features(pictures)
        return torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        return list(self.heads(self.pooled(pictures)).split(list(self.heads_by_name.values()), 1))

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image], batch_size: int = 64) -> dict[str, np.ndarray]:
        """Index of the likeliest class of each picture, by head."""
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        read = [[h.argmax(1) for h in self(tensor(part, self.config["side"]))] for part in parts]
        return {name: torch.cat(h).numpy() for name, h in zip(self.heads_by_name, zip(*read, strict=True), strict=True)}

    @torch.inference_mode()
    def features_of(self, images: Sequence[Image.Image], stored: dict[str, Tensor], batch_size: int = 64) -> np.ndarray:
        """Leading components [N, K] of the pooled features of pictures; `stored`: `fresh_features()`."""
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        pooled = torch.cat([self.pooled(tensor(part, self.config["side"])) for part in parts])
        return ((pooled - stored["feature_mean"]) @ stored["feature_basis"]).numpy()


def frechet_distance(some: np.ndarray, others: np.ndarray) -> float:
    """Distance of the Gaussians fitted to two sets [N, K] and [M, K]: |mean difference|^2 + tr(A + B - 2 (A B)^1/2)
    (Heusel 2017, arXiv 1706.08500, eq. 6)."""
    a, b = np.cov(some.T), np.cov(others.T)
    root = np.sqrt(np.clip(np.linalg.eigvals(a @ b).real, 0, None)).sum()
    return float(np.square(some.mean(0) - others.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * root)


def fresh_features() -> dict[str, Tensor] | None:
    """The judge's features of fresh renderings and the components they are in; None for an index without them."""
    stored = _index()
    return stored if "features" in stored else None


def tensor(images: Sequence[Image.Image], side: int) -> Tensor:
    """Pictures as float [B, 3, side, side] in -1..1, resized where they are of another size."""
    arrays = [np.asarray(i.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)) for i in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1


def shrink(pictures: Tensor) -> Tensor:
    """Square pictures [B, 3, 32 k, 32 k] averaged to 32 px and flattened [B, 3072]: what copies are compared on."""
    return F.avg_pool2d(pictures, pictures.shape[-1] // 32).flatten(1)


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
    ours, theirs = ((shrink(tensor(some, SIDE)) - stored["mean"]) @ stored["basis"] for some in ([image], memorized))
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
    codes = (shrink(tensor(images, SIDE)) - stored["mean"]) @ stored["basis"]
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
