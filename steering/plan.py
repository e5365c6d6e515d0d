"""Which vectors at what strengths, and what they do to a site's activations in each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .activations import find_sites
from .backbones.base import Backbone, Schedule, Site, in_order
from .checks import strength
from .errors import RudderError, shorten, unknown
from .recipe import HALVES, OPERATORS, Recipe, Use, Window
from .vectors import ConceptVector

FACTORS = {"both": (1.0, 1.0), "conditional": (0.0, 1.0), "opposite": (-1.0, 1.0)}  # of a strength, by guidance half


@dataclass(frozen=True)
class Term:
    """One concept's part in a steering; None: the steering's own window and sites.

    `operator`: "add" (h + s v), "norm" (h + s v, brought back to the length of h at every position) or "erase"
    (h - s <h, u> u with u = v / |v|: at strength 1 nothing is left along the vector).
    """

    vector: ConceptVector
    strength: float
    operator: str = "add"
    window: Window | None = None
    sites: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", strength(self.vector.name, self.strength))
        object.__setattr__(self, "sites", None if self.sites is None else tuple(self.sites))
        if self.operator not in OPERATORS:
            raise unknown("operator", self.operator, OPERATORS)


@dataclass(frozen=True)
class Steering:
    """What steers a run. `terms` may be given as (vector, strength) pairs; `window` and `sites` (None: all a vector
    has) hold for every term that has none of its own.

    `halves`: "both" changes the unconditional and the conditional half of a guided batch, "conditional" the latter
    alone, "opposite" the unconditional one with the opposite sign.
    """

    terms: tuple[Term, ...] = ()
    window: Window = field(default_factory=Window)
    sites: tuple[str, ...] | None = None
    halves: str = "both"

    def __post_init__(self) -> None:
        terms = tuple(term if isinstance(term, Term) else Term(*term) for term in self.terms)
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "sites", None if self.sites is None else tuple(self.sites))
        if self.halves not in HALVES:
            raise unknown("choice of guidance halves", self.halves, HALVES)

    @classmethod
    def from_recipe(cls, recipe: Recipe, vectors: Mapping[str, ConceptVector], halves: str | None = None) -> Steering:
        """The steering a recipe describes; `vectors` holds its concepts by name, else RudderError."""
        for name, _ in recipe.concepts:
            if name not in vectors:
                raise unknown("concept", name, vectors)
        uses = recipe.uses or (Use(),) * len(recipe.concepts)
        terms = tuple(
            Term(vectors[name], s, use.operator, use.window, use.sites)
            for (name, s), use in zip(recipe.concepts, uses, strict=True)
        )
        return cls(terms, recipe.window, recipe.sites, halves or recipe.halves)

    def scaled(self, factor: float) -> Steering:
        """The same with every strength times `factor`."""
        return replace(self, terms=tuple(replace(term, strength=term.strength * factor) for term in self.terms))

    def steps(self, num_inference_steps: int) -> range:
        """From the first step in which some term acts to the last."""
        spans = [(term.window or self.window).steps(num_inference_steps) for term in self.terms]
        spans = spans or [self.window.steps(num_inference_steps)]
        return range(min(span.start for span in spans), max(span.stop for span in spans))


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to activations h [N, C, H, W] of a site; tensors are [1 or N, C or 1, 1 or H, 1 or W].

    Erased first (pairs of a unit vector and a share), then added, then added with the norm kept.
    """

    erased: tuple[tuple[Tensor, Tensor], ...] = ()
    added: Tensor | None = None
    kept: Tensor | None = None

    def __call__(self, h: Tensor) -> Tensor:
        for unit, share in self.erased:
            h = h - share * (h * unit).sum(1, keepdim=True) * unit
        if self.added is not None:
            h = h + self.added
        if self.kept is not None:
            moved = h + self.kept
            had, has = (x.float().norm(dim=1, keepdim=True) for x in (h, moved))
            h = moved * torch.where(has > 0, had / has, torch.ones_like(has)).to(h.dtype)
        return h


def plan(
    backbone: Backbone,
    steering: Steering,
    schedule: Schedule,
    num_inference_steps: int,
    factors: Sequence[float],
    count: int,
    guided: bool,
) -> dict[int, dict[Site, Change]]:
    """What to do in each step, {step: {site: Change}}; {} if every strength is 0. `factors`, one or one a sample,
    multiply the strengths of `count` samples.

    Computed before the run, once per distinct set of terms and nearest learned timesteps. Raises RudderError for
    vectors of another model, sites they lack, or a window without a step.
    """
    placed = [(term, *_where(backbone, steering, term, num_inference_steps)) for term in steering.terms]
    active = [(k, *one) for k, one in enumerate(placed) if one[0].strength != 0 and any(factors)]
    made: dict[tuple[tuple[int, int], ...], dict[Site, Change]] = {}
    changes = {}
    for i in steering.steps(num_inference_steps) if active else ():
        t = int(schedule.timesteps[i])
        now = [(k, term, names) for k, term, names, steps in active if i in steps]
        key = tuple((k, term.vector.nearest(t)) for k, term, _ in now)
        if not now:
            continue
        if key not in made:
            spread = _spreader(backbone, steering.halves, factors, count, guided)
            names = dict.fromkeys(name for _, _, some in now for name in some)
            made[key] = {
                site: _change([term for _, term, some in now if site.name in some], site.name, t, spread)
                for site in find_sites(backbone, names)
            }
        changes[i] = made[key]
    return changes


def _where(backbone: Backbone, steering: Steering, term: Term, count: int) -> tuple[list[str], range]:
    """A term's sites and steps, checked."""
    term.vector.check(backbone)
    window, chosen = term.window or steering.window, term.sites if term.sites is not None else steering.sites
    names = list(term.vector.vectors) if chosen is None else [site.name for site in find_sites(backbone, chosen)]
    for name in names:
        if name not in term.vector.vectors:
            raise unknown(f"site in the vector {shorten(term.vector.name)!r}", name, term.vector.vectors)
    steps = window.steps(count)
    if not steps and term.strength != 0:
        raise RudderError(
            f"The window from {window.start:g} to {window.end:g} holds none of the {count} steps: widen it "
            "or take more steps."
        )
    return names, steps


def _spreader(
    backbone: Backbone, halves: str, factors: Sequence[float], count: int, guided: bool
) -> Callable[[Tensor, bool], Tensor]:
    """A function that brings [...] or [C, ...] to the batch on the model's device: [1, C or 1, *, *] where every row
    gets the same, else [N, ...] in the order of its halves; and, if asked, multiplies it by the rows' factors."""
    rows = torch.tensor(factors).view(-1, 1, 1, 1)
    without, given = FACTORS[halves] if guided else (1.0, 1.0)

    def spread(v: Tensor, by_row: bool) -> Tensor:
        v = v.view(*v.shape, *[1] * (3 - v.ndim))[None]
        if by_row:
            v = rows * v
            if (without, given) != (1.0, 1.0) or (guided and len(v) > 1):
                v = v.expand(count, *v.shape[1:])
                v = torch.cat(in_order(backbone, without * v, given * v))
        return v.to(device=backbone.device, dtype=backbone.dtype)

    return spread


def _change(terms: Sequence[Term], site: str, timestep: int, spread: Callable[[Tensor, bool], Tensor]) -> Change:
    """What the terms do together at one site in a step of that timestep."""
    sums: dict[str, Tensor] = {}
    erased = []
    for term in terms:
        v = term.vector.at(site, timestep)
        if term.operator == "erase":
            unit = torch.nn.functional.normalize(v, dim=0)
            erased.append((spread(unit, False), spread(torch.tensor(term.strength), True)))
        else:
            v = term.strength * v
            v = v[:, None, None] if v.ndim == 1 else v
            sums[term.operator] = sums[term.operator] + v if term.operator in sums else v
    added, kept = (spread(sums[name], True) if name in sums else None for name in ("add", "norm"))
    return Change(tuple(erased), added, kept)
