"""Strength across, something else down: many pictures of one thing, each with what it differs by and its score."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from .backbones.base import LABELS, Backbone
from .calibration import Calibration
from .checks import number, strength, whole
from .concepts import Progress
from .errors import RudderError, shorten, unknown
from .inversion import distance
from .pace import Pace
from .plan import Steering
from .recipe import STRIP_LIMIT, Recipe, Window
from .sampling import Prefix, Result, Step, sample
from .vectors import ConceptVector

DOWN = ("seed", "prompt", "concept", "window", "sites")
ROWS_LIMIT, CELLS_LIMIT = 32, 512
TOGETHER = 64  # pictures painted as one batch at most
_RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)\s*(?:\[\s*(\d+)\s*\])?\s*")


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a grid: the recipe that paints it again, its distance (RMS, 0..1) from the row's unsteered one,
    and its spikiness where there is a calibration."""

    image: Image.Image
    recipe: Recipe
    distance: float
    spikiness: float | None = None


@dataclass(frozen=True, eq=False)
class Grid:
    """`cells[row][column]`; `across`: the strengths; `down`: the rows' labels, of the kind `axis` says ("" for one)."""

    cells: list[list[Cell]]
    across: tuple[float, ...]
    axis: str
    down: tuple[str, ...]


def numbers(told: str, title: str, most: int) -> tuple[float, ...]:
    """ "-2..2 [9]" (nine even steps), "1..5" (whole steps of 1) or "0, 0.5, 1" as numbers.

    RudderError for anything else, naming `title`, and for more than `most` of them.
    """
    remedy = "write a range such as -2..2 [9], or a list such as 0, 0.5, 1"
    span = _RANGE.fullmatch(told)
    try:
        if span is None:
            values = [float(part) for part in told.split(",")]
        else:
            low, high = float(span[1]), float(span[2])
            count = int(span[3]) if span[3] else _whole_steps(low, high)
            if not 1 <= count <= most or (count == 1 and low != high):
                raise RudderError(f"{title} has {count:,} values: give between {2 if low != high else 1} and {most}.")
            values = [low + (high - low) * k / max(count - 1, 1) for k in range(count)]
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
    line; concepts "sketch, neon" of `vectors`; windows "0.2:0.6, 0.5:0.95"; groups of sites "shape, style".

    RudderError for an unknown axis, a value that it does not have, or too many rows.
    """
    if axis not in DOWN:
        raise unknown("axis", axis, DOWN)
    if axis == "seed":
        values = [whole("A seed", value, 0, 2**53) for value in numbers(told, "The row of seeds", ROWS_LIMIT)]
        found = [(str(seed), replace(recipe, seed=seed)) for seed in values]
    elif axis == "prompt":
        found = [(line.strip(), replace(recipe, prompt=line.strip())) for line in told.splitlines() if line.strip()]
    else:
        parts = [part.strip() for part in told.split(",") if part.strip()]
        found = [(part, _row(axis, part, recipe, vectors, backbone)) for part in parts]
    if not 0 < len(found) <= ROWS_LIMIT:
        raise RudderError(f"The grid has {len(found)} rows: give between 1 and {ROWS_LIMIT}.")
    return tuple(found)


def _row(axis: str, part: str, recipe: Recipe, vectors: Mapping[str, ConceptVector], backbone: Backbone) -> Recipe:
    if axis == "concept":
        if part not in vectors:
            raise unknown("concept", part, vectors)
        told = vectors[part].advice
        return replace(recipe, concepts=((part, 1.0),), uses=(), window=Window(*told["window"]), halves=told["halves"],
                       sites=tuple(told["sites"]) if told["sites"] else None)  # fmt: skip
    if axis == "window":
        ends = part.split(":")
        if len(ends) != 2:
            raise RudderError(f"{shorten(part)!r} is no window: give start:end as fractions, such as 0.5:0.95.")
        return replace(recipe, window=Window(*(number("A window's end", end, 0.0, 1.0) for end in map(_float, ends))))
    if part not in LABELS:
        raise unknown("group of sites", part, LABELS)
    known, had = backbone.sites(), {name for one, _ in recipe.concepts for name in vectors[one].sites}
    sites = tuple(name for name in known if name in had and known[name].label == part)
    if not sites:
        raise RudderError(f"These concepts have no vector at any site of the group {part!r}: choose another group.")
    return replace(recipe, sites=sites)


def _float(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return math.nan


def grid(
    backbone: Backbone,
    rows: Sequence[tuple[str, Recipe]],
    vectors: Mapping[str, ConceptVector],
    strengths: Sequence[float],
    *,
    axis: str = "",
    calibration: Calibration | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Progress | Grid]:
    """Paint every row's recipe at every strength (times the recipe's own), then score the pictures.

    Rows that differ in prompt or seed alone are painted together; steps before the window are shared wherever they are
    the same. Yields Progress, then the Grid. Raises RudderError for a grid of no or too many cells, Cancelled once
    `stop` is set.
    """
    across = tuple(strength("the grid", value) for value in strengths)
    count = len(rows) * len(across)
    if not across or not rows or len(across) > STRIP_LIMIT or count > CELLS_LIMIT:
        raise RudderError(
            f"The grid has {len(rows)} x {len(across)} cells: give 1 to {STRIP_LIMIT} strengths and at most "
            f"{CELLS_LIMIT} cells."
        )
    factors = across if 0.0 in across else (0.0, *across)  # the unsteered picture is what distances are taken from
    total = sum(work(recipe, len(factors)) for _, recipe in rows)
    done, images = 0.0, []
    prefixes: dict[tuple[Any, ...], Prefix] = {}
    for some in _batches([recipe for _, recipe in rows], len(factors)):
        first = some[0]
        steering = Steering.from_recipe(first, vectors)
        asked = [(recipe.prompt, recipe.seed, factor) for recipe in some for factor in factors]
        kept = _shared(first, steering, some)
        before, result = done, None
        prompts, seeds, every = zip(*asked, strict=True)
        batch = {"prompts": prompts, "seeds": seeds, "factors": every, "prefix": prefixes.get(kept)}
        for item in sample(backbone, first, steering, **batch, stop=stop):
            if isinstance(item, Step):
                done = before + item.index / item.total * sum(work(recipe, len(factors)) for recipe in some)
                yield Progress(round(done), round(total), "painting the grid")
            else:
                result = item
        assert isinstance(result, Result)
        prefixes[kept] = result.prefix
        images += result.images
    painted = [images[k : k + len(factors)] for k in range(0, len(images), len(factors))]
    yield Progress(round(total), round(total), "scoring the pictures")
    cells = []
    for (_, recipe), pictures in zip(rows, painted, strict=True):
        plain = pictures[factors.index(0.0)]
        shown = [pictures[factors.index(value)] for value in across]
        scores = _scores(backbone, calibration, shown)
        cells.append([
            Cell(image, _scaled(recipe, value), distance(plain, image), score)
            for image, value, score in zip(shown, across, scores, strict=True)
        ])  # fmt: skip
    yield Grid(cells, across, axis, tuple(label for label, _ in rows))


def work(recipe: Recipe, count: int) -> float:
    """Steps of one picture that a row of `count` strengths costs: those before the window once, the others each."""
    start = recipe.window.steps(recipe.num_inference_steps).start
    return start + count * (recipe.num_inference_steps - start)


def seconds(rows: Sequence[tuple[str, Recipe]], count: int, pace: Pace) -> float:
    """About how long the painting of a grid takes here."""
    return pace.together * sum(work(recipe, count + 1) for _, recipe in rows)


def _batches(recipes: Sequence[Recipe], count: int) -> list[list[Recipe]]:
    """Neighbouring rows that differ in prompt and seed alone, as many as fit one batch."""
    found: list[list[Recipe]] = []
    for recipe in recipes:
        like = found and replace(recipe, prompt=found[-1][0].prompt, seed=found[-1][0].seed) == found[-1][0]
        if like and (len(found[-1]) + 1) * count <= TOGETHER:
            found[-1].append(recipe)
        else:
            found.append([recipe])
    return found


def _shared(first: Recipe, steering: Steering, some: Sequence[Recipe]) -> tuple[Any, ...]:
    """What the latents at the window's start depend on, for a batch."""
    n = first.num_inference_steps
    return (steering.steps(n).start, n, first.guidance_scale, first.negative_prompt,
            tuple((recipe.prompt, recipe.seed) for recipe in some))  # fmt: skip


def _scores(backbone: Backbone, calibration: Calibration | None, pictures: Sequence[Image.Image]) -> list[float | None]:
    if calibration is None:
        return [None] * len(pictures)
    return [round(float(score), 6) for score in calibration.score(backbone, list(pictures)).mean]


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    return replace(recipe, concepts=tuple((name, round(value * factor, 9)) for name, value in recipe.concepts))
