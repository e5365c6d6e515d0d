"""What stands along a grid's edges, as people write it: ranges of numbers, and rows of seeds, prompts, concepts,
windows, groups of sites or models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from .backbones.base import LABELS, Backbone
from .checks import PROMPT_LIMIT, number, text, whole
from .errors import RudderError, shorten, unknown
from .recipe import SEED_KEPT, Recipe, Window
from .vectors import ConceptVector

DOWN = ("seed", "prompt", "concept", "window", "sites", "model")
ROWS_LIMIT = 32
RANGE_LIMIT, TOLD_LIMIT = 2000, 2 * ROWS_LIMIT * PROMPT_LIMIT  # characters of a range, and of a list of rows


def numbers(told: str, title: str, most: int) -> tuple[float, ...]:
    """ "-2..2 [9]" (nine even steps), "1..5" (whole steps of 1) or "0, 0.5, 1" as numbers.

    RudderError for anything else, naming `title`, and for more than `most` of them.
    """
    told = text(title, told, RANGE_LIMIT)
    remedy = "write a range such as -2..2 [9], or a list such as 0, 0.5, 1"
    first, dots, rest = told.partition("..")
    try:
        if not dots:
            values = [float(part) for part in told.split(",")]
        else:
            last, bracket, asked = rest.partition("[")
            low, high = float(first), float(last)
            if bracket and not asked.rstrip().endswith("]"):
                raise ValueError("the bracket is not closed")
            count = int(asked.rstrip()[:-1][:20]) if bracket else _whole_steps(low, high)
            if not 1 <= count <= most or (count == 1 and low != high):
                raise RudderError(f"{title} has {count:,} values: give between {2 if low != high else 1} and {most}.")
            values = [low + (high - low) * k / max(count - 1, 1) for k in range(count)]
    except RudderError:  # a ValueError, too
        raise
    except (ValueError, OverflowError) as error:
        raise RudderError(f"{title} is {shorten(told, 40)!r}: {remedy}.") from error
    if len(values) > most:
        raise RudderError(f"{title} has {len(values):,} values: give at most {most}.")
    return tuple(dict.fromkeys(round(number(title, value, -1e18, 1e18), 6) for value in values))


def _whole_steps(low: float, high: float) -> int:
    if not (low.is_integer() and high.is_integer() and low <= high):
        raise ValueError("not whole")
    return int(high - low) + 1


def rows_of(axis: str, told: str, recipe: Recipe, vectors: Mapping[str, ConceptVector], backbone: Backbone,
            ) -> tuple[tuple[str, Recipe], ...]:  # fmt: skip
    """What stands in each row: (label, recipe). `told` is read as the axis asks: seeds "1..5" or "3, 7"; prompts one a
    line; concepts "sketch, neon" of `vectors`, each at its recommended strength; windows "0.2:0.6, 0.5:0.95"; groups of
    sites "shape, style"; names of models, whose recipes `grid.across_models` then settles.

    RudderError for an unknown axis, a value that it does not have, or too many rows.
    """
    return tuple((part, _row(axis, part, recipe, vectors, backbone)) for part in labels_of(axis, told))


def labels_of(axis: str, told: str) -> tuple[str, ...]:
    """The rows' labels, as `rows_of` reads them; RudderError for an unknown axis, seeds that are none, or too many."""
    if axis not in DOWN:
        raise unknown("axis", axis, DOWN)
    told = text("The list of rows", told, TOLD_LIMIT)
    if axis == "seed":
        parts = [str(whole("A seed", value, 0, SEED_KEPT)) for value in numbers(told, "The row of seeds", ROWS_LIMIT)]
    else:
        parts = [part.strip() for part in (told.splitlines() if axis == "prompt" else told.split(",")) if part.strip()]
    parts = list(dict.fromkeys(parts))
    if not 0 < len(parts) <= ROWS_LIMIT:
        raise RudderError(f"The grid has {len(parts)} rows: give between 1 and {ROWS_LIMIT}.")
    return tuple(parts)


def _row(axis: str, part: str, recipe: Recipe, vectors: Mapping[str, ConceptVector], backbone: Backbone) -> Recipe:
    if axis == "seed":
        return replace(recipe, seed=int(part))
    if axis == "prompt":
        return replace(recipe, prompt=part)
    if axis == "model":
        return replace(recipe, model=part)
    if axis == "concept":
        if part not in vectors:
            raise unknown("concept", part, vectors)
        return advised(replace(recipe, concepts=((part, 1.0),), uses=()), vectors)
    if axis == "window":
        ends = part.split(":")
        if len(ends) != 2:
            raise RudderError(f"{shorten(part)!r} is no window: give start:end as fractions, such as 0.5:0.95.")
        window = Window(*(number("A window's end", end, 0.0, 1.0) for end in map(_float, ends)))
        return replace(recipe, window=window, uses=tuple(replace(use, window=None) for use in recipe.uses))
    if part not in LABELS:
        raise unknown("group of sites", part, LABELS)
    sites = groups(recipe, vectors, backbone).get(part)
    if not sites:
        raise RudderError(f"These concepts have no vector at any site of the group {part!r}: choose another group.")
    return replace(recipe, sites=sites, uses=tuple(replace(use, sites=None) for use in recipe.uses))


def advised(recipe: Recipe, vectors: Mapping[str, ConceptVector]) -> Recipe:
    """The recipe with every concept at its recommended strength, and the first one's window, sites and halves."""
    told = vectors[recipe.concepts[0][0]].advice
    strengths = tuple((name, vectors[name].advice["strength"]) for name, _ in recipe.concepts)
    return replace(recipe, concepts=strengths, window=Window(*told["window"]), halves=told["halves"],
                   sites=tuple(told["sites"]) if told["sites"] else None)  # fmt: skip


def groups(recipe: Recipe, vectors: Mapping[str, ConceptVector], backbone: Backbone) -> dict[str, tuple[str, ...]]:
    """The groups of sites at which every concept of a recipe has a vector, coarse to fine, each with those sites."""
    known = backbone.sites()
    had = [name for name in known if all(name in vectors[one].vectors for one, _ in recipe.concepts)]
    found = {group: tuple(name for name in had if known[name].label == group) for group in LABELS}
    return {group: sites for group, sites in found.items() if sites}


def _float(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return math.nan
