"""Past the paper: does spikiness carry over to deeper autoencoders, and to a noise level drawn for every sample?

A network of depth L has L matrices and L - 1 hidden layers of `p` ReLU units, untied and without bias: depth 2 is
the paper's model with untied weights. Loss: E||f(x + sigma eps) - x||^2 + lambda sum ||W||^2, sampled, with sigma
fixed (0.2) or log-uniform in [0.02, 2] for every row ("varied"). Three training sets of Fashion pictures: five that
are stored, 10,000 that are learnt, and both in one network (two pictures 300 times each among 1,560 others).

Between the first two sets optimiser and weight decay differ, as in the laboratory; only within the third network is
nothing else different. And storing need not look spiky: one try with RMSprop at 0.001 in the bare span of the five,
without the spare directions, stored them over many units at every depth (std over mean 1.3 to 1.6).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import torch

from ..errors import RudderError, unknown
from ..files import read_json
from ..pace import machine
from ..roc import auroc
from .alignment import cosines
from .data import REPEATED, Pictures, folder, load, training_set
from .measures import spikiness, top_share
from .model import checked, noisy, psnr
from .multinoise import HIGH, LOW, inner, levels
from .threads import single_threaded
from .training import SPARE

SETS = {"memorising": (5, 1), "generalising": (10_000, 1), "hybrid": (10_000, 300)}  # n, duplicates
DEPTHS = (2, 3, 4)
NOISES = ("fixed", "varied")
SEEDS = {"memorising": (1, 2, 3), "generalising": (1,), "hybrid": (1, 2)}
SIGMA = 0.2
MEASURED_AT = (0.05, 0.2, 1.0)
DRAWS = 200  # noisy pictures a measure averages over
ROWS = 256
FEW = 16  # rows a step when there are fewer pictures than ROWS


@dataclass(frozen=True)
class Plan:
    """One training: its set (a key of SETS), depth 2 to 4, noise "fixed" or "varied", units a layer, seed, steps.

    RudderError for values that make no sense.
    """

    kind: str = "memorising"
    depth: int = 2
    noise: str = "fixed"
    p: int = 100
    seed: int = 1
    steps: int = 3000
    rate: float = 1e-3
    lam: float = 1e-3

    def __post_init__(self) -> None:
        if self.kind not in SETS:
            raise unknown("training set", self.kind, SETS)
        if self.noise not in NOISES:
            raise unknown("noise", self.noise, NOISES)
        for name, low, high in (("depth", 2, 8), ("p", 1, 4096), ("seed", 0, 2**32 - 1), ("steps", 1, 10**6)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise RudderError(f"{name} must be a whole number between {low} and {high:,}, not {value}.")
        if not 0 < self.rate <= 1 or not 0 <= self.lam <= 1e4:
            raise RudderError(f"The step size {self.rate} or the weight decay {self.lam} is out of range: use (0, 1].")


class Deep:
    """f(x) = W_L [... [W_1 x]_+ ...]_+ over rows x [N, d]; `weights` are [d, p], [p, p] ..., [p, d]."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        self.weights = weights

    def layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The hidden representations of x [N, d], first layer first: L - 1 of [N, p]."""
        found = []
        for weight in self.weights[:-1]:
            x = (x @ weight).relu()
            found.append(x)
        return found

    def denoise(self, x: torch.Tensor) -> torch.Tensor:
        """f(x): [N, d]."""
        return self.layers(x)[-1] @ self.weights[-1]


def start(d: int, plan: Plan) -> Deep:
    """Random first weights: the outer matrices small (0.01), the middle ones of He's variance 2/p."""
    generator = torch.Generator().manual_seed(plan.seed)
    sizes = [d, *[plan.p] * (plan.depth - 1), d]
    weights = []
    for k, (rows, columns) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        scale = 0.01 if k in (0, plan.depth - 1) else math.sqrt(2 / plan.p)
        weights.append(scale * torch.randn(rows, columns, generator=generator))
    return Deep(weights)


@single_threaded()
def train(x: torch.Tensor, plan: Plan) -> tuple[Deep, list[float]]:
    """The network of the rows x [n, d] after all steps, and the mean squared error of each tenth of them.

    RMSprop when the set is to be stored and Adam otherwise, as in the two-layer laboratory; RudderError when training
    diverges. Same x, plan and machine give the same weights.
    """
    x = checked(x, x.shape[1] if x.ndim == 2 else 0)
    model = start(x.shape[1], plan)
    generator = torch.Generator().manual_seed(plan.seed)
    for weight in model.weights:
        weight.requires_grad_(True)
    rule = torch.optim.Adam if plan.kind == "generalising" else torch.optim.RMSprop
    optimizer = rule(model.weights, plan.rate)
    losses: list[float] = []
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate * (0.51 + 0.49 * math.cos(math.pi * step / plan.steps))
        clean = x[torch.randint(len(x), (ROWS if len(x) > ROWS else FEW,), generator=generator)]
        sigma = levels(len(clean), generator)[:, None] if plan.noise == "varied" else SIGMA
        made = model.denoise(clean + sigma * torch.randn(clean.shape, generator=generator))
        error = (made - clean).square().sum(1).mean()
        optimizer.zero_grad()
        (error + plan.lam * sum(weight.square().sum() for weight in model.weights)).backward()
        optimizer.step()
        losses.append(float(error.detach()))
        if not math.isfinite(losses[-1]):
            raise RudderError(f"Training diverged at step {step + 1}: lower the step size {plan.rate:g}.")
    for weight in model.weights:
        weight.requires_grad_(False)
    return model, [float(part.mean()) for part in np.array_split(losses, min(10, len(losses)))]


def layer_measures(h: torch.Tensor) -> dict[str, float]:
    """Spikiness of one layer's representations h [N, p], averaged over the rows that fire at all.

    `std` is the population std over units; `std_over_mean` is free of h's scale (0 for a uniform row, sqrt(p - 1) for
    a one-hot one); `top_share` is the largest unit's share of ||h||^2; `firing` the share of units above 0.
    """
    h = h[h.sum(1) > 0]
    if not len(h):
        return {"std": 0.0, "std_over_mean": 0.0, "top_share": 0.0, "firing": 0.0}
    return {
        "std": float(spikiness(h).mean()),
        "std_over_mean": float(relative(h).mean()),
        "top_share": float(top_share(h).mean()),
        "firing": float((h > 0).float().mean()),
    }


def experiment(train_: bool = False) -> Iterator[dict[str, Any]]:
    """Train every combination of set, depth and noise, and measure each layer; yields one row a network.

    `train_` False yields the committed rows instead. RudderError when those are missing or damaged.
    """
    if not train_:
        yield from recorded()["rows"]
        return
    pictures = load("fashion")
    for kind in SETS:
        for depth in DEPTHS:
            for noise in NOISES:
                for seed in SEEDS[kind]:
                    yield row(pictures, replace(OWN[kind], depth=depth, noise=noise, seed=seed))


def row(pictures: Pictures, plan: Plan) -> dict[str, Any]:
    """Train one network and measure it at every level of MEASURED_AT on noisy training pictures.

    For the hybrid set "stored" are the repeated pictures, "shared" others of its set, and `auroc` tells, layer by
    layer, how well std and std_over_mean separate the two inside that one network.
    """
    n, duplicates = SETS[plan.kind]
    x = inner(chosen(pictures, plan.kind))
    basis = _basis(x)
    model, losses = train(x @ basis, plan)
    shown = {"stored": x[: min(n, REPEATED if duplicates > 1 else n)]}
    if plan.kind != "memorising":
        others = x[REPEATED * duplicates :] if duplicates > 1 else x
        shown = ({"stored": shown["stored"]} if duplicates > 1 else {}) | {"shared": others[:DRAWS]}
    out: dict[str, Any] = asdict(plan) | {"n": n, "duplicates": duplicates, "error": round(losses[-1], 4)}
    for sigma in MEASURED_AT:
        found = {}
        for name, clean in shown.items():
            clean = clean.repeat(-(-DRAWS // len(clean)), 1)
            dirty = noisy(clean, sigma)
            made = model.denoise(dirty @ basis) @ basis.T
            layers = model.layers(dirty @ basis)
            found[name] = layers
            out.setdefault(name, {})[str(sigma)] = {
                "psnr_noisy": _round(psnr(dirty, clean)),
                "psnr": _round(psnr(made, clean)),
                "layers": [{k: round(v, 4) for k, v in layer_measures(h).items()} for h in layers],
            }
        if len(found) == 2:
            out.setdefault("auroc", {})[str(sigma)] = [
                {key: round(auroc(score(a).numpy(), score(b).numpy()), 4) for key, score in SCORES.items()}
                for a, b in zip(found["stored"], found["shared"], strict=True)
            ]
    fresh = model.denoise(noisy(inner(pictures.test[:DRAWS]), SIGMA) @ basis)
    out["test_output_cosine"] = _round(cosines(fresh.T, x @ basis).max(1)) if plan.kind == "memorising" else None
    return out


def save(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write assets/dae/deep.json; returns what was written."""
    told = {
        "rows": rows,
        "settings": {"sigma": SIGMA, "varied": [LOW, HIGH], "measured_at": list(MEASURED_AT), "draws": DRAWS},
        "date": date.today().isoformat(),
        "machine": machine(),
    }
    (folder() / "deep.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def recorded() -> dict[str, Any]:
    """The committed numbers; RudderError when the file is missing or damaged."""
    return read_json(folder() / "deep.json")


def relative(h: torch.Tensor) -> torch.Tensor:
    """std over mean of each representation [N, p], 0 where nothing fires: [N]."""
    return spikiness(h) / h.mean(1).clamp_min(1e-9)


SCORES = {"std": spikiness, "std_over_mean": relative, "top_share": top_share}
# what trains each set: few pictures in the span of the data are quick
OWN = {
    "memorising": Plan("memorising", steps=4000, rate=0.01, lam=0.0025),
    "generalising": Plan("generalising", steps=1500, rate=0.002, lam=1e-4),
    "hybrid": Plan("hybrid", steps=1500, rate=0.002, lam=1e-4),
}


def chosen(pictures: Pictures, kind: str) -> torch.Tensor:
    """The training set of a kind: rows [N, 1024]: the first n pictures; for "hybrid" two repeated ones come first.

    Its others are those with a negative cosine to both (`training_set` asks for more room between them).
    """
    n, duplicates = SETS[kind]
    x = training_set(pictures, n)
    if duplicates == 1:
        return x
    repeated, others = x[:REPEATED], x[REPEATED:]
    return torch.cat([repeated.repeat(duplicates, 1), others[(others @ repeated.T < 0).all(1)]])


def _basis(x: torch.Tensor) -> torch.Tensor:
    """Few rows' span and SPARE random directions (see `training`), else all pixels: [d, r], orthonormal."""
    if len(x) + SPARE >= x.shape[1]:
        return torch.eye(x.shape[1])
    spare = np.random.default_rng(1).standard_normal((SPARE, x.shape[1])).astype(np.float32)
    return torch.from_numpy(np.linalg.qr(np.concatenate([np.unique(x.numpy(), axis=0), spare]).T)[0])


def _round(values: torch.Tensor) -> float:
    return round(float(values.mean()), 4)
