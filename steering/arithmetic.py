"""Sums of concepts as one means them: each at the strength and sites at which it works, the result again at 1."""

from __future__ import annotations

import torch

from .errors import RudderError, shorten, unknown
from .vectors import ConceptVector

WAYS = {"plus": "a + b", "minus": "a − b", "without": "a without what lies along b"}
LEFT = 0.05  # of a vector's length, below which nothing of it is left


def times(vector: ConceptVector, factor: float) -> ConceptVector:
    """A concept so many times as strong: what its advice says is then that much more."""
    return vector.replace(vectors={site: factor * v for site, v in vector.vectors.items()})


def combined(a: ConceptVector, b: ConceptVector, way: str, name: str = "") -> ConceptVector:
    """`a` and `b` put together by one of WAYS, both as their advice has them, so that strength 1 is their sum as they
    work alone; a concept stays out of the sites at which it is not steered.

    Where their timesteps differ, both get those of the one that has more, each as it is steered there. RudderError for
    an unknown way, vectors of different models, or where nothing is left.
    """
    if way not in WAYS:
        raise unknown("way to combine concepts", way, WAYS)
    times = max(a.timesteps, b.timesteps, key=len)
    one, other = (_at_times(_at_work(vector), times) for vector in (a, b))
    one, other = (one if way == "without" else _beside(one, other)), _beside(other, one, way == "without")
    if way == "without":
        made = one.without(other)
    else:
        made = one + other if way == "plus" else one - other
    left, whole = (max(float(v.norm()) for v in vector.vectors.values()) for vector in (made, one))
    if left < LEFT * whole:
        raise RudderError(
            f"Nothing is left: {shorten(a.name, 40)} and {shorten(b.name, 40)} lie along one line, so choose another "
            "second concept."
        )
    told = [vector.advice for vector in (a, b)]
    sites = [told[0]["sites"] or list(a.vectors), told[1]["sites"] or list(b.vectors)]
    both = way != "without"
    return made.replace(
        name=name or made.name,
        provenance={**made.provenance, "names": [a.name, b.name]},
        recommended={
            "strength": 1.0,
            "range": [-1.0, 2.0],
            "window": [min(t["window"][0] for t in told), max(t["window"][1] for t in told)] if both else
            told[0]["window"],
            "halves": told[0]["halves"] if told[0]["halves"] == told[1]["halves"] or not both else "both",
            "sites": list(dict.fromkeys([*sites[0], *sites[1]])) if both else sites[0],
            "state": "untried",
            "why": "Put together from others at the strengths that were measured for them: look how it takes.",
        },
    )  # fmt: skip


def _at_times(vector: ConceptVector, times: tuple[int, ...]) -> ConceptVector:
    """The vector at these timesteps, at each as it is steered there."""
    if vector.timesteps == times:
        return vector
    moved = {site: torch.stack([vector.at(site, t) for t in times]) for site in vector.vectors}
    return vector.replace(timesteps=times, vectors=moved)


def _beside(vector: ConceptVector, other: ConceptVector, only: bool = False) -> ConceptVector:
    """The vector with the other one's sites too, nothing there; with `only` none but those."""
    kept = {site: v for site, v in vector.vectors.items() if not only or site in other.vectors}
    lacking = {site: 0 * v for site, v in other.vectors.items() if site not in kept}
    return vector.replace(vectors={**kept, **lacking}) if lacking or len(kept) < len(vector.vectors) else vector


def _at_work(vector: ConceptVector) -> ConceptVector:
    """The vector times its recommended strength, nothing where it is not steered."""
    told = vector.advice
    strength, sites = float(told["strength"]), set(told["sites"] or vector.vectors)
    scaled = {site: strength * v if site in sites else 0 * v for site, v in vector.vectors.items()}
    return vector.replace(vectors=scaled, recommended={})
