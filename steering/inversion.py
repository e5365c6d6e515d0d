"""A picture of one's own as the beginning of a run that paints it again, so that it can be steered.

Two ways. "ddim": the deterministic sampler run backwards (Song 2021), each step solved by a few rounds of fixed-point
iteration. "edit_friendly": independent noises at every step, and what a stochastic sampler would have had to draw to
go from each to the next (Huberman-Spiegelglas et al. 2024, arXiv 2304.06140): exact, and gentler to edit.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps
from torch import Tensor

from .backbones.base import Backbone, Schedule
from .backbones.ddim import DDIM
from .concepts import Progress
from .errors import Cancelled, RudderError, unknown
from .recipe import Recipe
from .sampling import condition_of, finish, predictor, sample

if TYPE_CHECKING:
    from .backbones.base import Predict

WAYS = ("ddim", "edit_friendly")
ROUNDS = 3  # of fixed-point iteration a step
BATCH_LIMIT = 64  # pictures inverted at once
FAR = 0.1  # RMS of 0..1 from which on the model could not have painted a picture


@dataclass(frozen=True, eq=False)
class Inverted:
    """A picture as a run that paints it: latents [1, C, H, W] to begin with, and the schedule to follow.

    `error`: root mean square (0..1) between the picture and what the run paints unsteered; `floor`: the part of it that
    encoding and decoding cause.
    """

    picture: Image.Image
    latents: Tensor
    schedule: Schedule
    way: str
    digest: str
    error: float = float("nan")
    floor: float = float("nan")

    @property
    def mark(self) -> str:
        """What a recipe that begins with it says of it."""
        return f"{self.way} {self.digest}"

    def start(self, count: int) -> Tensor:
        """The latents of `count` beginnings, equal ones where it is a single picture's."""
        return self.latents.expand(count, -1, -1, -1)


@dataclass(frozen=True)
class Redrawn:
    """DDIM with eta = 1 whose noises [n, C, H, W], of a batch [n, B, C, H, W], lead along a picture's own path."""

    base: DDIM
    noises: Tensor

    @property
    def timesteps(self) -> Tensor:
        return self.base.timesteps

    def step(self, i: int, x: Tensor, predict: Predict) -> tuple[Tensor, Tensor]:
        """x_{t-1} = mu(x_t) + sigma_t z_t, and the predicted x_0."""
        mean, sigma, clean = _mean(self.base, i, x, predict)
        return mean + sigma * self.noises[i].to(x), clean


def invert(
    backbone: Backbone,
    picture: Image.Image,
    recipe: Recipe,
    way: str = "ddim",
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Progress | Inverted]:
    """Find the run of `recipe` (its prompt, steps and guidance) that paints `picture` (cropped and resized to fit).

    Yields Progress, then the Inverted; `seed` draws the noises of "edit_friendly". Guidance above 1 makes "ddim"
    inexact. Raises RudderError for an unknown way or a schedule without steps back, Cancelled once `stop` is set.
    """
    for item in invert_all(backbone, [picture], recipe, way, rounds=rounds, seed=seed, stop=stop):
        yield item if isinstance(item, Progress) else item[0]


def invert_all(
    backbone: Backbone,
    pictures: Sequence[Image.Image],
    recipe: Recipe,
    way: str = "ddim",
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Progress | list[Inverted]]:
    """`invert` for several pictures as one batch: Progress, then an Inverted each, as each alone would have it.

    Raises as `invert`, and for no picture or more than BATCH_LIMIT.
    """
    if way not in WAYS:
        raise unknown("way of inverting", way, WAYS)
    if not 0 < len(pictures) <= BATCH_LIMIT:
        raise RudderError(f"{len(pictures)} pictures are to be inverted at once: give 1 to {BATCH_LIMIT}.")
    schedule = backbone.schedule(recipe.num_inference_steps)
    if not isinstance(schedule, DDIM):
        raise RudderError(f"{backbone.name} runs another sampler than DDIM: pictures cannot be inverted with it.")
    seen = [as_seen(picture, backbone.resolution) for picture in pictures]
    clean = backbone.encode(seen)
    walk = _backwards if way == "ddim" else _along
    made: tuple[Tensor, Tensor | None] | None = None
    predict = predictor(backbone, recipe, condition_of(backbone, recipe, (recipe.prompt,) * len(seen)))
    for item in walk(schedule, clean, predict, rounds, seed):
        if stop is not None and stop.is_set():
            raise Cancelled("Stopped while the picture was inverted: start again when you like.")
        if isinstance(item, int):
            yield Progress(item, recipe.num_inference_steps, "inverting the picture")
        else:
            made = item
    assert made is not None
    latents, noises = made
    marks = [digest_of(one, way, rounds, seed) for one in seen]
    plans = [schedule if noises is None else Redrawn(schedule, noises[:, k]) for k in range(len(seen))]
    found = [Inverted(one, latents[k : k + 1], plans[k], way, marks[k]) for k, one in enumerate(seen)]
    whole = replace(found[0], latents=latents, schedule=schedule if noises is None else Redrawn(schedule, noises))
    plain = replace(recipe, concepts=(), uses=(), mask="", picture=whole.mark)
    again = finish(sample(backbone, plain, picture=whole, seeds=range(len(seen)), stop=stop)).images
    yield [
        replace(one, error=distance(one.picture, painted), floor=distance(one.picture, returned))
        for one, painted, returned in zip(found, again, backbone.decode(clean), strict=True)
    ]


def as_seen(picture: Image.Image, side: int) -> Image.Image:
    """A picture as a model of that resolution sees it: cropped square about the middle, `side` pixels, RGB."""
    return ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def digest_of(seen: Image.Image, way: str, rounds: int = ROUNDS, seed: int = 0) -> str:
    """What stands for a picture (as seen) that is inverted in a way: 16 hexadecimal digits."""
    return hashlib.sha256(repr((way, rounds, seed)).encode() + seen.tobytes()).hexdigest()[:16]


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two pictures of one size, 0..1."""
    a, b = (np.asarray(image.convert("RGB"), np.float64) / 255 for image in (one, other))
    return float(np.sqrt(np.square(a - b).mean()))


def told(found: Inverted) -> str:
    """How well a picture can be painted by the model, in one sentence."""
    if found.floor > FAR:
        return f"Its autoencoder cannot hold this picture (error {found.floor:.2f}): what is steered is another one."
    if found.error > FAR and found.way == "ddim":
        return (
            f"The way back misses this picture (error {found.error:.2f}): the model could never paint it, or guidance "
            "is too strong to be undone. Lower it to 1, or invert edit-friendly."
        )
    if found.error > FAR:
        return f"This model could never paint this picture (error {found.error:.2f}): edits change what it never was."
    return f"The model paints this picture again with an error of {found.error:.3f} ({found.floor:.3f} of it decoding)."


@torch.no_grad()
def _backwards(schedule: DDIM, x: Tensor, predict: Predict, rounds: int, seed: int) -> Iterator[Any]:
    """DDIM from the last step to the first: x_t = (x_{t-1} - c eps(x_t)) / r, solved by rounds of iteration."""
    for i in reversed(range(len(schedule.timesteps))):
        after = guess = x
        for _ in range(rounds):
            guess = schedule.back(i, after, predict(guess, schedule.timesteps[i]), guess)
        x = guess
        yield len(schedule.timesteps) - i
    yield x, None


@torch.no_grad()
def _along(schedule: DDIM, clean: Tensor, predict: Predict, rounds: int, seed: int) -> Iterator[Any]:
    """The picture with noise of its own at every step, and what must be drawn to go from each to the next."""
    count, shape = len(schedule.timesteps), (1, *clean.shape[1:])  # the same draws for every picture of a batch
    draws = torch.Generator().manual_seed(seed)
    path = []
    for a, b in zip(schedule.sqrt_alpha, schedule.sqrt_beta, strict=True):
        path.append(a * clean + b * randn_tensor(shape, generator=draws, device=clean.device, dtype=clean.dtype))
    noises = []
    for i in range(count):
        mean, sigma, _ = _mean(schedule, i, path[i], predict)
        after = path[i + 1] if i + 1 < count else clean
        noises.append((after - mean) / sigma if float(sigma) > 0 else torch.zeros_like(mean))
        yield i + 1
    yield path[0], torch.stack(noises)


def _mean(schedule: DDIM, i: int, x: Tensor, predict: Predict) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and predicted x_0 of a step with eta = 1 (Song 2021, eq. 16)."""
    a, b, a_next, b_next = (part[i] for part in schedule.factors)
    sigma = b_next / b * (1 - (a / a_next) ** 2).clamp(min=0) ** 0.5
    clean, eps = schedule.split(i, x, predict(x, schedule.timesteps[i]))
    return a_next * clean + (b_next**2 - sigma**2).clamp(min=0) ** 0.5 * eps, sigma, clean


def inverted(backbone: Backbone, picture: Image.Image, recipe: Recipe, way: str = "ddim", **options: Any) -> Inverted:
    """`invert` run to its end."""
    last: Sequence[Any] = list(invert(backbone, picture, recipe, way, **options))
    return last[-1]
