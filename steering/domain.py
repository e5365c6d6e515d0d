"""Is a picture like anything a calibration knew? Spikiness means something only then.

Two networks are asked how much they err on it: the autoencoder that gives it back, and the U-Net that predicts the
noise laid over it. Both err more the more there is in a picture (compare Serra et al., ICLR 2020, on input complexity),
so how much there is in it is measured too. What they err on pictures of the kind they learned lies on one side of a
smooth boundary in these traits, gradients, noise, screenshots and other hands' drawings on the other: a support vector
machine draws it. `python -m benchmarks.domain` measures it, on kinds of strange pictures too that it was not drawn
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from .backbones.base import Backbone, read_as, repeated
from .checks import number, whole
from .memory import in_batches

TIMESTEPS = (50, 300)
TRAITS = ("returned", "returned_edges", "edges", "spots", "bytes", "latent_edges",
          *(f"{name}_{t}" for t in TIMESTEPS for name in ("noise", "noise_flat")))  # fmt: skip
KNOWN = 0.99  # share of known pictures, unseen by the boundary, that lie within it
SOFTNESS, WIDTH = 1.0, 2.0  # of the support vector machine: C, and 1 / (gamma x traits)
FOLDS, LEAST = 5, 20  # originals below which nothing is fitted
TOLERANCE = 3.0  # deviations of log error over the memorised pictures' mean up to which one may be memorised
BATCH = 32
VECTORS_LIMIT = 5000


@dataclass(frozen=True)
class Domain:
    """Where verdicts are given: traits [F] are standardised by `mean` and `scale`, and strangeness is
    sum_s weights_s exp(-gamma |z - vectors_s|^2) - limit, above 0 outside. `memorized`: the largest log error of the
    noise predicted at the last timestep with which a picture may be called memorised. `report`: counts and shares of
    the fit."""

    seed: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    vectors: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    gamma: float
    limit: float
    memorized: float
    report: dict[str, Any]

    def strangeness(self, traits: np.ndarray) -> np.ndarray:
        """[N] from traits [N, F]: above 0 for what is unlike the pictures the calibration knew."""
        z = (np.atleast_2d(traits) - self.mean) / self.scale
        far = np.square(z[:, None] - np.asarray(self.vectors)[None]).sum(-1)
        return np.exp(-self.gamma * far) @ np.asarray(self.weights) - self.limit

    def knows(self, traits: np.ndarray, memorized: bool) -> bool:
        """Whether a picture with these traits [F] is like those on which that verdict was calibrated."""
        if memorized and traits[TRAITS.index(f"noise_{TIMESTEPS[-1]}")] > self.memorized:
            return False
        return bool(self.strangeness(traits)[0] <= 0)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Domain:
        """Read from a calibration's JSON; RudderError for numbers out of bounds, TypeError for a wrong shape."""
        values = dict(values)
        if len(values["vectors"]) > VECTORS_LIMIT or len(values["weights"]) != len(values["vectors"]):
            raise TypeError("its domain has no weight for each vector")
        values["vectors"] = tuple(_row(v, len(TRAITS)) for v in values["vectors"])
        values["weights"] = _row(values["weights"], len(values["vectors"]))
        for name in ("mean", "scale"):
            values[name] = _row(values[name], len(TRAITS))
        for name in ("gamma", "limit", "memorized"):
            values[name] = number("A number of a calibration's domain", values[name], -1e9, 1e9)
        if min(values["scale"]) <= 0 or values["gamma"] <= 0:
            raise TypeError("its domain has a scale of 0 or less")
        whole("A calibration's seed", values["seed"], 0, 2**63 - 1)
        return cls(**values)


def fit(
    known: np.ndarray, owners: Sequence[str], memorized: np.ndarray, strange: np.ndarray, seed: int = 0
) -> Domain | None:
    """The boundary between known pictures' traits [N, F] and strange ones' [M, F]; None for fewer than LEAST originals.

    `owners` [N] names each known picture's original: those of one original are left out of the fit together when the
    limit is set, so that KNOWN of the pictures it has not seen lie within. `memorized` [N]: which are memorised.
    """
    from sklearn.model_selection import GroupKFold  # a second to import, and only calibrating needs it
    from sklearn.svm import SVC

    if len(set(owners)) < LEAST or len(strange) < LEAST or not memorized.any():
        return None
    rows = np.concatenate([known, strange])
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-6)
    z, gamma = (rows - mean) / scale, 1 / (WIDTH * rows.shape[1])
    truth = np.arange(len(rows)) >= len(known)
    groups = np.array([*owners, *(f"strange {i}" for i in range(len(strange)))])

    def machine(some: np.ndarray) -> Any:
        return SVC(C=SOFTNESS, gamma=gamma, class_weight="balanced").fit(z[some], truth[some])

    unseen = np.empty(len(rows))
    for seen, left in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(z, truth, groups):
        unseen[left] = machine(seen).decision_function(z[left])
    made = machine(np.arange(len(rows)))
    limit = float(np.quantile(unseen[~truth], KNOWN))
    errors = known[memorized, TRAITS.index(f"noise_{TIMESTEPS[-1]}")]
    return Domain(
        seed=seed,
        mean=_rounded(mean),
        scale=_rounded(scale),
        vectors=tuple(_rounded(v) for v in made.support_vectors_),
        weights=_rounded(made.dual_coef_[0]),
        gamma=round(gamma, 6),
        limit=round(limit - float(made.intercept_[0]), 6),
        memorized=round(float(errors.mean() + TOLERANCE * errors.std()), 6),
        report={
            "known": len(known),
            "strange": len(strange),
            "strange_inside": round(float(np.mean(unseen[truth] <= limit)), 4),
        },
    )


@torch.no_grad()
def traits(
    backbone: Backbone,
    pictures: Sequence[Image.Image] | torch.Tensor,
    encoded: torch.Tensor | None = None,
    *,
    seed: int = 0,
) -> np.ndarray:
    """What Domain judges by, float64 [N, len(TRAITS)], all natural logarithms; pictures (with `encoded` where their
    latents are at hand), or latents [N, C, H, W].

    How the autoencoder errs (root mean square, and of its horizontal differences), how much there is in the picture
    (mean absolute differences and Laplacian of its greys, bytes as JPEG, squared differences of its latents), and at
    each of TIMESTEPS the mean squared error of the noise predicted under the empty prompt, whole and averaged over the
    plane. Every picture gets the same noise.
    """
    found: list[np.ndarray] = []

    def one(part: slice) -> None:
        some = pictures[part]
        if isinstance(some, torch.Tensor):
            some = backbone.decode(some.to(backbone.device, backbone.dtype))
        latents = backbone.encode(list(some)) if encoded is None else encoded[part]
        made = backbone.decode(latents)
        returned = _pixels(made)
        side = returned.shape[2], returned.shape[1]
        pixels = backbone.latent_shape[1:] == returned.shape[1:3]  # its latents: nothing is lost, however it was scaled
        fitted = made if pixels else [_fitted(picture, side) for picture in some]
        found.append(np.stack([*_seen(fitted, returned), *_predicted(backbone, latents, seed)], 1))

    for _ in in_batches(backbone, len(pictures), BATCH, one, "pictures to read"):
        pass
    return np.concatenate(found)


def _seen(fitted: Sequence[Image.Image], returned: np.ndarray) -> list[np.ndarray]:
    """The traits of the picture itself and of what the autoencoder gives back [N, H, W, 3] of it; the latents'
    apart."""
    pixels = _pixels(fitted)
    grey, lost = pixels.mean(-1), pixels - returned
    across, down = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return [
        np.log(np.sqrt(np.square(lost).mean((1, 2, 3))) + 1e-4),
        np.log(np.sqrt(np.square(np.diff(lost.mean(-1), axis=2)).mean((1, 2))) + 1e-4),
        np.log(across.mean((1, 2)) + down.mean((1, 2)) + 1e-3),
        np.log(np.abs(4 * middle - around).mean((1, 2)) + 1e-3),
        np.log([_bytes(picture) for picture in fitted]),
    ]


def _predicted(backbone: Backbone, latents: torch.Tensor, seed: int) -> list[np.ndarray]:
    """The latents' differences, and at each timestep how the noise is predicted: whole, and averaged over the plane."""
    rows = [np.log(_numbers(latents.float().diff(dim=3).square().mean((1, 2, 3))) + 1e-6)]
    empty = read_as(backbone)
    for t in TIMESTEPS:
        state = int(np.random.SeedSequence((seed, t, 7)).generate_state(1, np.uint64)[0] >> 1)

        noised = backbone.noise(latents, t, [torch.Generator().manual_seed(state) for _ in latents])
        at = torch.full((len(latents),), t, device=backbone.device)
        made = backbone.denoise(noised, at, repeated(empty, len(latents)))
        error = (backbone.clean(noised, t, made) - latents).float() / backbone.sigma(t)  # that of the noise
        rows.append(np.log(_numbers(error.square().mean((1, 2, 3))) + 1e-9))
        rows.append(np.log(_numbers(error.mean((2, 3)).square().mean(1)) + 1e-9))
    return rows


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture as the model sees it: its middle, at the model's resolution."""
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)


def _pixels(pictures: Sequence[Image.Image]) -> np.ndarray:
    """float64 [N, H, W, 3] in 0..1."""
    return np.stack([np.asarray(p.convert("RGB"), np.float64) for p in pictures]) / 255


def _bytes(picture: Image.Image) -> int:
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.tell()


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 5) for v in values)


def _row(values: Any, length: int) -> tuple[float, ...]:
    if len(values) != length:
        raise TypeError(f"its domain has a row of {len(values)} numbers where {length} are due")
    return tuple(number("A number of a calibration's domain", v, -1e9, 1e9) for v in values)
