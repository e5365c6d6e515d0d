"""Is a vector any good? What is measured of it once it is learned, what it resembles, and what to doubt, in words.

`assess` reads the sets again at a few noise levels, all under the same prompt, and leaves members out in turns; what it
finds stays in the vector's provenance, so that a card or a table needs no model.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from .backbones.base import Backbone, read_as, repeated
from .concepts import Progress
from .errors import Cancelled, shorten
from .images import Pictures, gathered
from .roc import auroc
from .sets import distinct
from .sight import features, folds
from .vectors import ConceptVector

if TYPE_CHECKING:
    from torch import Tensor

TIMESTEPS = (100, 300, 600)  # at which the sets are read: detail, shape, composition
MOST = 64  # pictures of a set that are read
CELLS = 4  # of a side, where the vector has a place for each point of the plane
FEW = 10  # pictures
TOLD_APART = 0.8  # AUROC below which the sets hardly differ
STEADY = 0.25  # cosine of the directions of two halves of the sets, below which chance has a large part in them
ALIKE = 0.5  # cosine from which two concepts are said to resemble each other
DEPTH = 4  # of sums of sums that are told
_signatures: WeakKeyDictionary[ConceptVector, dict[str, Tensor]] = WeakKeyDictionary()


@dataclass(frozen=True)
class AtSite:
    """What was measured at a site.

    `auroc`: the chance that a picture of the concept, left out of the learning, lies further along the vector than one
    of the baseline; `steady`: the cosine of the directions that two halves of the sets give; both None where there is
    no baseline or too little of it. `share`: the vector's length over the mean length of the activations there.
    """

    auroc: float | None
    steady: float | None
    share: float


@dataclass(frozen=True)
class Quality:
    """What `assess` found: pictures read of each set, and of each site its numbers."""

    images: int
    baseline: int
    sites: dict[str, AtSite]

    def best(self, among: Sequence[str] | None = None) -> tuple[str, AtSite] | None:
        """The site that tells the sets apart best, of those given (None: all); None where nothing was told apart."""
        rows = [(name, at) for name, at in self.sites.items() if at.auroc is not None and name in (among or self.sites)]
        return max(rows, key=lambda row: (row[1].auroc or 0, row[1].steady or 0), default=None)

    def share(self, among: Sequence[str] | None = None) -> float:
        """The vector's length over the activations' own, the mean over sites."""
        return float(np.mean([at.share for name, at in self.sites.items() if name in (among or self.sites)] or [0.0]))


def assess(
    backbone: Backbone,
    vector: ConceptVector,
    images: Pictures,
    baseline: Pictures | None = None,
    *,
    seed: int = 0,
    batch_size: int = 16,
    stop: threading.Event | None = None,
) -> Iterator[Progress | ConceptVector]:
    """Measure a vector on the sets it was learned from; yields Progress, then the vector with its Quality.

    At most MOST pictures of each set are read, spread over it. Both sets are read under the empty prompt, so that what
    tells them apart is seen and not said. Raises Cancelled once `stop` is set.
    """
    from .memory import in_batches

    shown, others = (_some(distinct(gathered(given))) for given in (images, baseline))
    steps = sorted({vector.timesteps[vector.nearest(t)] for t in TIMESTEPS})
    found: list[dict[str, np.ndarray]] = []
    total, done = len(shown) + len(others), 0
    for pictures in (shown, others):
        parts: list[dict[str, np.ndarray]] = []
        read = lambda part, of=pictures, to=parts: to.append(_read(backbone, vector, of[part], steps, seed))  # noqa: E731
        for count in in_batches(backbone, len(pictures), batch_size, read, "pictures to read"):
            if stop is not None and stop.is_set():
                raise Cancelled("Measuring was stopped: start again when you like.")
            done += count
            yield Progress(done, total, f"measuring how good {shorten(vector.name, 40)} is")
        found.append({site: np.concatenate([part[site] for part in parts]) for site in vector.sites} if parts else {})
    left_out, many = folds(features(shown), features(others), np.random.default_rng(seed)) if others else ([], 0)
    sites = {}
    for site in vector.sites:
        both = [some[site] for some in found if some]
        length = np.linalg.norm(both[-1], axis=2).mean(0)  # [T], of the baseline where there is one
        v = np.stack([_pooled(vector.at(site, t)[None], vector).flatten().numpy() for t in steps])
        share = float((np.linalg.norm(v, axis=1) / np.maximum(length, 1e-9)).mean())
        apart = steady = None
        if many and len(both) > 1:
            scaled = [(rows / np.maximum(length[:, None], 1e-9)).reshape(len(rows), -1) for rows in both]
            apart, steady = round(_apart(scaled, left_out, many), 4), round(_steady(scaled, left_out), 4)
        sites[site] = AtSite(apart, steady, round(share, 5))
    told = Quality(len(shown), len(others), sites)
    yield vector.replace(provenance={**vector.provenance, "quality": asdict(told)})


def quality_of(vector: ConceptVector) -> Quality | None:
    """What was measured of a vector; None where nothing was, or where its file does not hold it as it should."""
    told = vector.provenance.get("quality")
    try:
        sites = {
            str(name): AtSite(_number(at["auroc"], 0, 1), _number(at["steady"], -1, 1), _number(at["share"], 0) or 0.0)
            for name, at in told["sites"].items()  # type: ignore[index]
            if name in vector.vectors
        }
        return Quality(int(told["images"]), int(told["baseline"]), sites) if sites else None  # type: ignore[index]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return None


def cosine(a: ConceptVector, b: ConceptVector) -> float | None:
    """How far two concepts point the same way, -1 to 1: the mean cosine over the sites that both have, at a few
    timesteps; None for vectors of different models or without a site in common."""
    one, other = signature(a), signature(b)
    shared = [s for s in one if s in other and one[s].shape[1] == other[s].shape[1]]
    if a.fingerprint != b.fingerprint or not shared:
        return None
    found = []
    for site in shared:
        x, y = one[site], other[site]
        norms = float(x.norm() * y.norm())
        if norms > 0:
            found.append(float((x * y).sum()) / norms)
    return float(np.clip(np.mean(found), -1, 1)) if found else None


def resembled(vector: ConceptVector, others: Mapping[str, ConceptVector]) -> list[tuple[str, float]]:
    """(name, cosine) of the other concepts, the largest cosine either way first; those of other models are left out."""
    rows = [(name, cosine(vector, other)) for name, other in others.items() if other is not vector]
    return sorted([(name, c) for name, c in rows if c is not None], key=lambda row: -abs(row[1]))


def doubts(vector: ConceptVector, alike: Sequence[tuple[str, float]] = ()) -> list[str]:
    """What speaks against a vector, a sentence each with its remedy; `alike`: what `resembled` gives, names as they are
    to be called."""
    made, told, found = vector.provenance, vector.recommended, []
    count = made.get("images")
    if isinstance(count, int) and 0 < count < FEW:
        found.append(f"{'One picture says' if count == 1 else f'{count} pictures say'} little of what is meant: "
                     f"give {FEW} or more.")  # fmt: skip
    if made.get("baseline") is False:
        found.append("Without a baseline it holds all that its pictures share: give the same kind of pictures without "
                     "the concept.")  # fmt: skip
    measured = quality_of(vector)
    best = measured.best(told.get("sites")) if measured else None
    if best is not None:
        at = best[1]
        if (at.auroc or 0) < TOLD_APART and vector.state in ("takes", "works"):
            found.append(f"Only steering shows what it does: pictures left out of it are hardly told apart along it "
                         f"({_percent(at.auroc)} right; chance: 50 %), and yet it was measured to take.")  # fmt: skip
        elif (at.auroc or 0) < TOLD_APART:
            found.append(f"The direction is weak: of a held-out picture and one of the baseline it names the right one "
                         f"{_percent(at.auroc)} of the time (chance: 50 %), so give pictures that share one thing more "
                         "clearly.")  # fmt: skip
        elif at.steady is not None and at.steady < STEADY:
            found.append(f"Two halves of the sets give directions that hardly agree (cosine {at.steady:.2f}): give "
                         "more pictures.")  # fmt: skip
    for name, value in alike[:2]:
        called = f"“{shorten(name, 40)}”"
        if value >= ALIKE:
            found.append(f"It resembles {called} (cosine {value:.2f}): where that is not meant, the two sets differ in "
                         "it too, so give sets that differ in nothing else.")  # fmt: skip
        elif value <= -ALIKE:
            found.append(f"It points away from {called} (cosine −{-value:.2f}): where {called} is meant, concept and "
                         "baseline are swapped.")  # fmt: skip
    if told.get("state") in ("weak", "cannot"):
        found.append(shorten(told.get("why", ""), 300))
    return found


def searched(vector: ConceptVector) -> str:
    """What the search over sites, window, halves and pooling gained over the default, in words; "" without a search."""
    told = vector.recommended
    gained, tried = _number(told.get("gained"), -2, 2), told.get("settings_tried")
    if gained is None or not isinstance(tried, int):
        return ""
    many = f"{tried} ways to steer with it were tried" if tried > 1 else "There was time for the default alone"
    if tried == 1:
        return f"{many}."
    if gained <= 0:
        return f"{many}, and none did better than the default."
    return f"{many}: the best gains {100 * gained:.0f} points of 100 over the default (way gone, times what is kept)."


def made_of(vector: ConceptVector) -> str:
    """What a vector was made of, in one sentence: pictures, prompts, a sum of others, and when."""
    return f"{_origin(vector.provenance, DEPTH)}{_when(vector.provenance)}."


def signature(vector: ConceptVector) -> dict[str, Tensor]:
    """The vector at a few timesteps on a coarse plane, {site: [T, C, CELLS, CELLS]}: means and maps alike, to compare
    by."""
    import torch

    if vector not in _signatures:
        rows = [vector.nearest(t) for t in TIMESTEPS]
        pool = torch.nn.functional.adaptive_avg_pool2d
        _signatures[vector] = {
            site: pool(v[rows], CELLS) if v.ndim == 4 else v[rows][..., None, None].expand(-1, -1, CELLS, CELLS)
            for site, v in vector.vectors.items()
        }
    return _signatures[vector]


def _read(
    backbone: Backbone, vector: ConceptVector, pictures: Sequence[Image.Image], steps: Sequence[int], seed: int
) -> dict[str, np.ndarray]:
    """{site: float64 [n, T, F]} of a batch: every picture under the same noise, pooled as the vector is."""
    import torch

    from .activations import capture

    latents = backbone.encode(list(pictures))
    condition = repeated(read_as(backbone), len(latents))
    found: dict[str, list[np.ndarray]] = {site: [] for site in vector.sites}
    for t in steps:
        key = np.random.SeedSequence((seed, t)).generate_state(1, np.uint64)[0] >> 1
        noise = [torch.Generator().manual_seed(int(key)) for _ in range(len(latents))]
        with torch.no_grad(), capture(backbone, vector.sites, "map") as store:
            backbone.denoise(backbone.noise(latents, t, noise), t, condition)
        for site, rows in found.items():
            rows.append(_pooled(store[site].cpu(), vector).flatten(1).double().numpy())
    return {site: np.stack(rows, axis=1) for site, rows in found.items()}


def _pooled(h: Tensor, vector: ConceptVector) -> Tensor:
    """Activations, or the vector itself [N, C, (H, W)], on a coarse plane for a map and one number a channel else."""
    from torch.nn import functional

    if h.ndim == 2:
        return h
    kind = vector.provenance.get("pooling")
    pool = functional.adaptive_max_pool2d if kind == "max" else functional.adaptive_avg_pool2d
    return pool(h, CELLS if kind == "map" else 1)


def _apart(sets: Sequence[np.ndarray], parts: Sequence[np.ndarray], many: int) -> float:
    """AUROC of members left out in turns, along the way between the means of the others."""
    scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for fold in range(many):
        one, other = (some[part != fold].mean(0) for some, part in zip(sets, parts, strict=True))
        way, middle = one - other, (one + other) / 2
        for kept, some, part in zip(scores, sets, parts, strict=True):
            kept.append((some[part == fold] - middle) @ way / max(float(np.linalg.norm(way)), 1e-12))
    return auroc(np.concatenate(scores[0]), np.concatenate(scores[1]))


def _steady(sets: Sequence[np.ndarray], parts: Sequence[np.ndarray]) -> float:
    """The cosine of the ways between the means of two halves."""
    ways = [np.subtract(*(some[part % 2 == half].mean(0) for some, part in zip(sets, parts, strict=True)))
            for half in (0, 1)]  # fmt: skip
    norms = float(np.linalg.norm(ways[0]) * np.linalg.norm(ways[1]))
    return float(ways[0] @ ways[1]) / norms if norms > 0 else 0.0


def _some(pictures: Sequence[Image.Image]) -> Sequence[Image.Image]:
    """At most MOST pictures, spread over them."""
    places = np.linspace(0, len(pictures) - 1, MOST).round().astype(int) if len(pictures) > MOST else None
    return pictures if places is None else [pictures[int(place)] for place in places]


def _number(value: Any, low: float, high: float = math.inf) -> float | None:
    """A number of a file within bounds, or None; ValueError for what is neither."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{shorten(value, 40)} is no number in bounds")
    return float(value)


def _percent(value: float | None) -> str:
    return f"{100 * (value or 0):.0f} %"


def _origin(made: Mapping[str, Any], depth: int) -> str:
    """What a provenance tells, without a full stop; sums of sums only so deep."""
    operation, of = made.get("operation"), made.get("of")
    if isinstance(operation, str) and isinstance(of, list) and 0 < len(of) <= 2 and depth:
        called = made.get("names")
        names = [shorten(n, 40) for n in called[:2] if isinstance(n, str)] if isinstance(called, list) else []
        parts = [f"“{names[place]}”" if place < len(names) else f"({_origin(one, depth - 1)})"
                 for place, one in enumerate(of) if isinstance(one, Mapping)]  # fmt: skip
        factor = made.get("factor")
        if operation == "*" and parts:
            return f"{factor:g} times {parts[0]}" if isinstance(factor, int | float) else f"a multiple of {parts[0]}"
        words = {"+": "{} plus {}", "-": "{} minus {}", "without": "{} without what lies along {}"}
        return words.get(operation, "{} and {}").format(*parts) if len(parts) == 2 else "other vectors"
    painted = made.get("references")
    count, other = made.get("images"), made.get("baseline_images")
    if not isinstance(count, int):
        return "a vector that does not say what it was made of"
    against = f" against {other} without it" if isinstance(other, int) and other else ", without a baseline"
    text = f"{count} picture{'s' if count != 1 else ''}{against}"
    if isinstance(painted, Mapping):
        sides = [painted.get("concept"), painted.get("baseline")]
        told = [side.get("prompts") for side in sides if isinstance(side, Mapping)]
        prompts = [shorten(some[0], 60) for some in told if isinstance(some, list) and some]
        text += ", painted from " + " and ".join(f"“{one}”" for one in prompts) if prompts else ", painted"
    return text


def _when(made: Mapping[str, Any]) -> str:
    date = made.get("date")
    return f", on {shorten(date, 40)[:10]}" if isinstance(date, str) and date[:4].isdigit() else ""
