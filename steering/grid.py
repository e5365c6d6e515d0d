"""Strength across, something else down: many pictures of one thing, each with what it differs by and its score."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image
from torch import Tensor

from .axes import advised
from .backbones.base import Backbone
from .calibration import Calibration
from .checks import strength
from .concepts import Progress
from .errors import RudderError, shorten
from .inversion import ROUNDS, Inverted, distance
from .pace import Pace
from .plan import Steering
from .recipe import STRIP_LIMIT, Recipe
from .sampling import Prefix, Result, Step, sample
from .vectors import ConceptVector

CELLS_LIMIT = 512
TOGETHER = 64  # pictures painted as one batch at most
SHARES = 1000  # of one model's part, where several are gone through
Rows = Sequence[tuple[str, Recipe]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a grid: the recipe that paints it again, its distance (RMS, 0..1) from the row's unsteered one,
    its spikiness where there is a calibration, and the recipe of its row, whose strengths the column's multiplies."""

    image: Image.Image
    recipe: Recipe
    distance: float
    spikiness: float | None = None
    row: Recipe | None = None


@dataclass(frozen=True, eq=False)
class Painted:
    """A cell as soon as it is there, and its place."""

    row: int
    column: int
    cell: Cell


@dataclass(frozen=True, eq=False)
class Grid:
    """`cells[row][column]`; `across`: the strengths; `down`: the rows' labels, of the kind `axis` says ("" for one)."""

    cells: list[list[Cell]]
    across: tuple[float, ...]
    axis: str
    down: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """A model to paint with, the vectors learned for it, and its calibration where it has one."""

    backbone: Backbone
    vectors: Mapping[str, ConceptVector]
    calibration: Calibration | None = None


def grid(
    backbone: Backbone,
    rows: Rows,
    vectors: Mapping[str, ConceptVector],
    strengths: Sequence[float],
    *,
    axis: str = "",
    calibration: Calibration | None = None,
    pictures: Sequence[Inverted] = (),
    together: int = TOGETHER,
    stop: threading.Event | None = None,
) -> Iterator[Progress | Painted | Grid]:
    """Paint every row's recipe at every strength (times the recipe's own), and score each picture.

    Rows that differ in prompt or seed alone are painted together, at most `together` pictures at once; steps before the
    window, and unsteered pictures, are shared wherever they are the same. `pictures`, one a row: pictures of one's own
    to begin with, each inverted for its row's recipe, which holds its mark. Yields Progress, each Painted cell, then
    the Grid. Raises RudderError for a grid of no or too many cells, or of pictures and rows that are not equally many;
    Cancelled once `stop` is set.
    """
    across = tuple(strength("the grid", value) for value in strengths)
    check_size(len(rows), len(across))
    if pictures and len(pictures) != len(rows):
        raise RudderError(f"{len(pictures)} pictures are given for {len(rows)} rows: give one each.")
    factors = (0.0, *(value for value in across if value))  # distances are taken from the unsteered picture
    total, before = sum(work(recipe, len(factors)) for _, recipe in rows), 0.0
    made = _Made(Bench(backbone, vectors, calibration), across, pictures)
    for some in _batches(rows, len(factors), together, pictures):
        part = sum(work(rows[row][1], len(factors)) for row in some)
        jobs = [(row, factor) for row in some for factor in factors if factor or not made.plain(rows[row][1])]
        chunks = [jobs[k : k + together] for k in range(0, len(jobs), together)]
        for place, chunk in enumerate(chunks):
            for item in made.paint(rows, chunk, stop):
                if isinstance(item, Step):
                    done = before + part * (place + item.index / item.total) / len(chunks)
                    yield Progress(round(done), round(total), "painting the grid")
                else:
                    yield item
        for row in some:  # what another row's unsteered picture already is
            yield from made.rest(row, rows[row][1])
        before += part
    cells = [[made.cells[row, column] for column in range(len(across))] for row in range(len(rows))]
    yield Grid(cells, across, axis, tuple(label for label, _ in rows))


def across_models(
    rows: Rows,
    opened: Callable[[str], Bench],
    strengths: Sequence[float],
    *,
    home: str = "",
    ready: bool = False,
    together: int = TOGETHER,
    stop: threading.Event | None = None,
) -> Iterator[Progress | Painted | Grid]:
    """`grid` with a model a row, opened one after the other by `opened(recipe.model)` and let go of afterwards.

    `home`: the name of the model that the recipes were made for, which takes them as they stand; each other one takes
    its own steps and guidance scale and, of each concept, the recommended strength, window and sites. `ready`: every
    recipe was made for its own model, and is taken as it stands. Raises as `grid`, and for a concept that a model has
    no vector of.
    """
    check_size(len(rows), len(strengths))
    total, across = SHARES * len(rows), tuple(strengths)
    cells: list[list[Cell]] = []
    for row, (label, recipe) in enumerate(rows):
        yield Progress(SHARES * row, total, f"opening {shorten(label, 60)}")
        bench = opened(recipe.model)
        mine = recipe
        if not ready:
            mine = replace(recipe, model=home) if bench.backbone.name == home else settled(recipe, bench)
        for item in grid(bench.backbone, [(label, mine)], bench.vectors, strengths, calibration=bench.calibration,
                         together=together, stop=stop):  # fmt: skip
            if isinstance(item, Progress):
                yield Progress(SHARES * row + SHARES * item.done // max(item.total, 1), total, item.message)
            elif isinstance(item, Painted):
                yield replace(item, row=row)
            else:
                cells, across = [*cells, *item.cells], item.across
        del bench  # before the next one is read
    yield Grid(cells, across, "model", tuple(label for label, _ in rows))


def settled(recipe: Recipe, bench: Bench) -> Recipe:
    """A recipe as another model takes it: with that model's settings, and its vectors' advice."""
    backbone = bench.backbone
    for name, _ in recipe.concepts:
        if name not in bench.vectors:
            raise RudderError(
                f"{shorten(backbone.name)} has no vector of {shorten(name)!r}: choose another concept, or leave that "
                "model out."
            )
    own = {key: backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale")}
    return advised(replace(recipe, model=backbone.name, uses=(), **own), bench.vectors)


def check_size(rows: int, columns: int, most: int = CELLS_LIMIT) -> None:
    """RudderError for a grid of no or too many cells."""
    if not 0 < columns <= STRIP_LIMIT or not 0 < rows * columns <= most:
        raise RudderError(
            f"The grid has {rows} x {columns} cells: give 1 to {STRIP_LIMIT} strengths and at most {most} cells."
        )


def so_far(
    cells: Mapping[tuple[int, int], Cell], across: Sequence[float], axis: str, labels: Sequence[str]
) -> Grid | None:
    """What a grid that was broken off holds, of its cells by (row, column): the rows that are whole; without any, of
    the first row that has some its columns; None without a cell."""
    columns = [*range(len(across))]
    rows = [row for row in range(len(labels)) if all((row, column) in cells for column in columns)]
    if not rows and cells:
        rows = [min(row for row, _ in cells)]
        columns = [column for column in columns if (rows[0], column) in cells]
    made = [[cells[row, column] for column in columns] for row in rows]
    return Grid(made, tuple(across[k] for k in columns), axis, tuple(labels[k] for k in rows)) if rows else None


def work(recipe: Recipe, count: int) -> float:
    """Steps of one picture that a row of `count` strengths costs: those before the window once, the others each, and
    with a mask for an unsteered picture beside them."""
    windows = [use.window or recipe.window for use in recipe.uses] or [recipe.window]
    start = min(window.steps(recipe.num_inference_steps).start for window in windows)
    return start + (count + bool(recipe.mask)) * (recipe.num_inference_steps - start)


def inverting(recipe: Recipe, way: str) -> float:
    """Steps of one picture that it costs to invert a picture of one's own, and to paint it once for its error."""
    return recipe.num_inference_steps * ((ROUNDS if way == "ddim" else 1) + 1)


def seconds(rows: Rows, count: int, pace: Pace, draws: int = 0) -> float:
    """About how long a grid takes here, `draws` noise draws of spikiness a picture included (a step without guidance
    each)."""
    return pace.together * sum(work(recipe, count + 1) + count * draws / 2 for _, recipe in rows)


def _batches(rows: Rows, count: int, together: int, pictures: Sequence[Inverted]) -> list[list[int]]:
    """Neighbouring rows that differ in prompt and seed alone, and begin with one inverted picture if with any, as many
    as fit one batch, by their places."""
    found: list[list[int]] = []
    for row, (_, recipe) in enumerate(rows):
        first = rows[found[-1][0]][1] if found else None
        like = first is not None and replace(recipe, prompt=first.prompt, seed=first.seed) == first
        like = like and (not pictures or pictures[row] is pictures[found[-1][0]])
        if like and (len(found[-1]) + 1) * count <= together:
            found[-1].append(row)
        else:
            found.append([row])
    return found


@dataclass
class _Made:
    """What has been painted of a grid so far, and what later rows can take from it."""

    bench: Bench
    across: tuple[float, ...]
    pictures: Sequence[Inverted] = ()
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    prefixes: dict[tuple[Any, ...], Prefix] = field(default_factory=dict)
    unsteered: dict[tuple[Any, ...], tuple[Image.Image, float | None]] = field(default_factory=dict)

    def plain(self, recipe: Recipe) -> tuple[Image.Image, float | None] | None:
        """A recipe's unsteered picture and its score, where they are at hand."""
        return self.unsteered.get(_start(recipe))

    def paint(
        self, rows: Rows, jobs: Sequence[tuple[int, float]], stop: threading.Event | None
    ) -> Iterator[Step | Painted]:
        """Paint (row, factor) as one batch, the unsteered before the others of a row."""
        recipes = [rows[row][1] for row, _ in jobs]
        first = recipes[0]
        steering = Steering.from_recipe(first, self.bench.vectors)
        keys = [(*_start(one), steering.steps(one.num_inference_steps).start) for one in recipes]
        had = [self.prefixes[key] for key in keys if key in self.prefixes]
        result = None
        for item in sample(
            self.bench.backbone,
            first,
            steering,
            prompts=[one.prompt for one in recipes],
            seeds=[one.seed for one in recipes],
            factors=[factor for _, factor in jobs],
            prefix=Prefix.join(had) if len(had) == len(jobs) else None,
            picture=self.pictures[jobs[0][0]] if self.pictures else None,
            stop=stop,
        ):
            if isinstance(item, Step):
                yield item
            else:
                result = item
        assert isinstance(result, Result)
        for place, key in enumerate(keys):
            self.prefixes.setdefault(key, result.prefix.of(place))
        shown = [place for place, (_, factor) in enumerate(jobs) if factor in self.across]
        scores = dict(zip(shown, self._scores(result.latents[shown]), strict=True))
        for place, (row, factor) in enumerate(jobs):
            if factor == 0:
                self.unsteered[_start(recipes[place])] = result.images[place], scores.get(place)
            if place in scores:
                yield self._put(row, factor, recipes[place], result.images[place], scores[place])

    def rest(self, row: int, recipe: Recipe) -> Iterator[Painted]:
        """The cell of a row that is another row's unsteered picture."""
        found = self.plain(recipe)
        if found and 0.0 in self.across and (row, self.across.index(0.0)) not in self.cells:
            yield self._put(row, 0.0, recipe, *found)

    def _put(self, row: int, factor: float, recipe: Recipe, image: Image.Image, score: float | None) -> Painted:
        plain = self.plain(recipe)
        assert plain is not None
        column = self.across.index(factor)
        cell = self.cells[row, column] = Cell(image, _scaled(recipe, factor), distance(plain[0], image), score, recipe)
        return Painted(row, column, cell)

    def _scores(self, latents: Tensor) -> list[float | None]:
        calibration = self.bench.calibration
        if calibration is None or not len(latents):
            return [None] * len(latents)
        return [round(float(score), 6) for score in calibration.score(self.bench.backbone, latents).mean]


def _start(recipe: Recipe) -> tuple[Any, ...]:
    """What an unsteered picture depends on, within one model."""
    return (recipe.prompt, recipe.negative_prompt, recipe.seed, recipe.num_inference_steps, recipe.guidance_scale,
            recipe.picture)  # fmt: skip


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    return replace(recipe, concepts=tuple((name, round(value * factor, 9)) for name, value in recipe.concepts))
