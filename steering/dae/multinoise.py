"""The toy for every noise level at once, and sampling from it: does it give back copies or new pictures?

f(x, sigma) = s x + W (exp(m(log sigma)) * [W^T x]_+): 256 units, tied weights without bias, a skip s that starts at 0,
and a small network m (1-32-256, SiLU, its last layer 0 at first) that scales each unit by the noise level. Trained on
E||f(x + sigma eps, sigma) - x||^2 + 2 lambda ||W||^2 with sigma log-uniform in [0.02, 2], drawn for every row;
the expectation is sampled. Sizes, range and the 60 geometric steps are the paper's; tied weights, the shape
of m and the optimiser are ours. It works on the inner 28x28 pixels, as the frame never varies.

One thing to know before reading the numbers: at a given sigma, f(c x) = c f(x) for c > 0. So a sample has a direction,
but no length of its own: pure noise of sigma 2 is far shorter along a picture than the picture is, and f has no
way to lengthen it. Samples are therefore compared by their cosine, and by distance after scaling.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import RudderError
from ..files import read_json
from ..pace import machine
from .data import SIDE, folder, load
from .model import checked
from .threads import single_threaded

UNITS, HIDDEN = 256, 32
LOW, HIGH, STEPS = 0.02, 2.0, 60
INNER = 28
PIXELS = INNER * INNER
EDGE = (SIDE - INNER) // 2
COPY = 1 / 3  # a sample nearer to a training picture than this share of that picture's distance to the next: a copy
ROWS = 256  # rows a step
Denoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: `seed`, `steps`, `rate` of Adam (falling as a cosine), weight decay `lam`.

    RudderError for values that make no sense.
    """

    seed: int = 1
    steps: int = 3000
    rate: float = 1e-3
    lam: float = 1e-4

    def __post_init__(self) -> None:
        whole = isinstance(self.steps, int) and isinstance(self.seed, int)
        if not whole or not 1 <= self.steps <= 1_000_000 or self.seed < 0:
            raise RudderError("Steps must be a whole number from 1, and the seed one from 0.")
        if not 0 < self.rate <= 1 or not 0 <= self.lam <= 1e4:
            raise RudderError(f"The step size {self.rate} or the weight decay {self.lam} is out of range: use (0, 1].")


class MultiNoise(torch.nn.Module):
    """f(x, sigma) over rows x [N, d] and noise levels sigma [N], with `units` hidden units."""

    def __init__(self, d: int = PIXELS, units: int = UNITS, seed: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(0.01 * torch.randn(d, units, generator=generator))
        self.inner = torch.nn.Parameter(torch.randn(HIDDEN, generator=generator))
        self.inner_bias = torch.nn.Parameter(torch.randn(HIDDEN, generator=generator))
        self.outer = torch.nn.Parameter(torch.zeros(units, HIDDEN))
        self.outer_bias = torch.nn.Parameter(torch.zeros(units))
        self.skip = torch.nn.Parameter(torch.zeros(()))

    def gain(self, sigma: torch.Tensor) -> torch.Tensor:
        """exp(m(log sigma)) for sigma [N]: [N, units]; 1 before training."""
        inner = torch.nn.functional.silu(sigma.log()[:, None] * self.inner + self.inner_bias)
        return (inner @ self.outer.T + self.outer_bias).exp()

    def represent(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The hidden activations of noisy rows x [N, d], scaled by the gain: [N, units]."""
        return (x @ self.weight).relu() * self.gain(sigma)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The denoised rows [N, d]."""
        return self.skip * x + self.represent(x, sigma) @ self.weight.T


def inner(x: torch.Tensor) -> torch.Tensor:
    """Rows [N, 1024] cut to their inner 28x28 pixels: [N, 784]."""
    square = checked(x, SIDE * SIDE).reshape(-1, SIDE, SIDE)
    return square[:, EDGE : EDGE + INNER, EDGE : EDGE + INNER].reshape(-1, PIXELS)


def span(x: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis [d, r] of the span of few rows x [n, d], or the identity when there are d / 2 or more.

    Weights that start in the span stay in it, and noise outside it reaches the loss through the skip alone, by
    s^2 sigma^2 for each lost direction: training inside minimises the same loss.
    """
    return torch.linalg.qr(x.T)[0] if 2 * len(x) < x.shape[1] else torch.eye(x.shape[1])


def levels(count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` noise levels [count], log-uniform in [LOW, HIGH]."""
    return LOW * (HIGH / LOW) ** torch.rand(count, generator=generator)


@single_threaded()
def train(x: torch.Tensor, recipe: Recipe) -> tuple[MultiNoise, list[float]]:
    """A model of the rows x [n, d] after all steps, and the mean loss of each tenth of them.

    Same x, recipe and machine give the same model. RudderError without rows, or when training diverges.
    """
    x = checked(x, x.shape[1] if x.ndim == 2 else 0)
    if not len(x):
        raise RudderError("There are no pictures to train on: choose at least one.")
    generator = torch.Generator().manual_seed(recipe.seed)
    basis = span(x)
    outside, x = x.shape[1] - basis.shape[1], x @ basis
    model = MultiNoise(x.shape[1], seed=recipe.seed)
    optimizer = torch.optim.Adam(model.parameters(), recipe.rate)
    losses: list[float] = []
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate * (0.51 + 0.49 * math.cos(math.pi * step / recipe.steps))
        clean = x[torch.randint(len(x), (ROWS if len(x) > ROWS else 64,), generator=generator)]
        sigma = levels(len(clean), generator)
        made = model(clean + sigma[:, None] * torch.randn(clean.shape, generator=generator), sigma)
        error = (made - clean).square().sum(1).mean() + outside * (model.skip * sigma).square().mean()
        optimizer.zero_grad()
        (error + 2 * recipe.lam * model.weight.square().sum()).backward()
        optimizer.step()
        losses.append(float(error.detach()))
        if not math.isfinite(losses[-1]):
            raise RudderError(f"Training diverged at step {step + 1}: lower the step size {recipe.rate:g}.")
    model.requires_grad_(False).weight.data = basis @ model.weight
    return model, [float(part.mean()) for part in np.array_split(losses, min(10, len(losses)))]


@single_threaded()
@torch.no_grad()
def sample(
    denoise: Denoiser, count: int, d: int = PIXELS, seed: int = 0, steps: int = STEPS, start: float = HIGH
) -> torch.Tensor:
    """`count` samples [count, d] by the variance-exploding ancestral sampler over `steps` geometric levels HIGH..LOW.

    A step from sigma to t < sigma keeps t^2/sigma^2 of x, takes the rest from the denoised x, and adds noise of
    variance t^2 (1 - t^2/sigma^2); at the last level the denoised x is the sample. `start` is the first noise's
    standard deviation (HIGH is the true sampler). RudderError for a count or steps below 1.
    """
    if count < 1 or steps < 2 or not start > 0:
        raise RudderError("Sampling needs at least one sample, two steps and a start above 0.")
    generator = torch.Generator().manual_seed(seed)
    sigmas = np.geomspace(HIGH, LOW, steps)
    x = start * torch.randn(count, d, generator=generator)
    for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        keep = float((after / sigma) ** 2)
        clean = denoise(x, torch.full((count,), float(sigma)))
        noise = torch.randn(count, d, generator=generator)
        x = clean + keep * (x - clean) + float(after) * math.sqrt(1 - keep) * noise
    return denoise(x, torch.full((count,), float(sigmas[-1])))


def copies(samples: torch.Tensor, pictures: torch.Tensor) -> dict[str, Any]:
    """How near each sample [S, d] is to its nearest training picture [n, d] by cosine, and how many are copies.

    `relative_distance`: the sample scaled to that picture's length, its distance to it, divided by that picture's
    distance to the nearest other training picture; below COPY (a third) it counts as a copy. RudderError for n < 2.
    """
    if len(pictures) < 2:
        raise RudderError("Copies are told by the distance between training pictures: give at least two.")
    unit = torch.nn.functional.normalize
    cosine, nearest = (unit(samples) @ unit(pictures).T).max(1)
    found = pictures[nearest]
    length = found.norm(dim=1, keepdim=True)
    distance = (unit(samples) * length - found).norm(dim=1)
    between = torch.cdist(found, pictures)
    between[torch.arange(len(found)), nearest] = math.inf
    apart = between.min(1).values
    copied = distance < COPY * apart
    return {
        "samples": len(samples),
        "copies": int(copied.sum()),
        "copied_pictures": len(set(nearest[copied].tolist())),
        **{f"cosine_{name}": float(cosine.quantile(q)) for name, q in (("p10", 0.1), ("median", 0.5), ("p90", 0.9))},
        "relative_distance_median": float((distance / apart).median()),
        "pictures_apart_median": float(apart.median()),
        "length_over_pictures": float((samples.norm(dim=1) / length[:, 0]).median()),
    }


def agreement(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """Median cosine of two models' samples [S, d] from the same noise, and of one with the other's next (chance)."""
    cosine = torch.nn.functional.cosine_similarity
    return {
        "same_noise": float(cosine(one, other).median()),
        "other_noise": float(cosine(one, other.roll(1, 0)).median()),
    }


def write(model: MultiNoise, path: Path) -> None:
    """All parameters in the order of the class, as raw little-endian float16; OSError when it cannot be written."""
    flat = torch.cat([value.detach().reshape(-1) for value in model.state_dict().values()])
    path.write_bytes(flat.numpy().astype("<f2").tobytes())


def read(path: Path) -> MultiNoise:
    """The model of a file of `write`; RudderError when it is missing, of another length, or not finite."""
    model = MultiNoise()
    try:
        flat = torch.from_numpy(np.frombuffer(path.read_bytes(), "<f2").astype(np.float32))
    except (OSError, ValueError) as error:
        raise RudderError(f"{path} cannot be read: run `rudder dae sample --train`.") from error
    parts = model.state_dict()
    if len(flat) != sum(value.numel() for value in parts.values()) or not torch.isfinite(flat).all():
        raise RudderError(f"{path} is damaged: run `rudder dae sample --train`.")
    sizes = [value.numel() for value in parts.values()]
    pieces = zip(parts.items(), flat.split(sizes), strict=True)
    model.load_state_dict({name: piece.reshape(value.shape) for (name, value), piece in pieces})
    return model.requires_grad_(False)


# name: the rows of the training set, and Adam's step size; the last four answer what two models share
MODELS = {
    "n5": (slice(0, 5), 3e-3),
    "n10": (slice(0, 10), 3e-3),
    "n10000": (slice(0, 10_000), 1e-3),
    "n5-other": (slice(5, 10), 3e-3),
    "n5000-even": (slice(0, 10_000, 2), 1e-3),
    "n5000-odd": (slice(1, 10_000, 2), 1e-3),
}
PAIRS = {"memorising": ("n5", "n5-other"), "generalising": ("n5000-even", "n5000-odd")}
SHIPPED = ("n5", "n10000")
COUNT = 200


def experiment(fresh: Path | None = None) -> dict[str, Any]:
    """Copies against novel pictures of every model: trained anew into the folder `fresh`, or of the shipped weights.

    With `fresh` writes assets/dae/multinoise.json and the shipped weights beside it. Without, the other models' numbers
    are the recorded ones. RudderError when a file is missing or damaged.
    """
    rows, test = (inner(part) for part in (load("fashion").train, load("fashion").test[:COUNT]))
    told = {} if fresh else recorded()
    models = dict(told.get("models", {}))
    drawn = {}
    for name in MODELS if fresh else SHIPPED:
        part, rate = MODELS[name]
        path = (fresh or folder()) / f"multinoise-{name}.bin"
        if fresh and not path.exists():
            model, losses = train(rows[part], Recipe(rate=rate))
            write(model, path)
        model = read(path)
        drawn[name] = sample(model, COUNT)
        models[name] = {"n": len(rows[part]), "rate": rate, "skip": round(float(model.skip), 5)} | {
            key: round(value, 4) for key, value in copies(drawn[name], rows[part]).items()
        }
        if fresh and name in SHIPPED:
            (folder() / path.name).write_bytes(path.read_bytes())
    if fresh:
        told["agreement"] = {
            key: {k: round(v, 4) for k, v in agreement(*(drawn[name] for name in pair)).items()}
            for key, pair in PAIRS.items()
        }
    told |= {"models": models, "test_pictures": {k: round(v, 4) for k, v in copies(test, rows).items()}}
    told["settings"] = asdict(Recipe(rate=0.001)) | {
        "rate": "0.003 for n <= 10, else 0.001",
        **{"units": UNITS, "sigma": [LOW, HIGH], "sampler_steps": STEPS, "sample_seed": 0, "copy_below": COPY},
    }
    told |= {"date": date.today().isoformat(), "machine": machine()}
    if fresh:
        (folder() / "multinoise.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def recorded() -> dict[str, Any]:
    """The committed numbers; RudderError when the file is missing or damaged."""
    return read_json(folder() / "multinoise.json")
