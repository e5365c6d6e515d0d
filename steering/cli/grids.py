"""`rudder grid`: strength across, something else down, as one sheet, an animation or a zip."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RudderError
from ..files import check_target, replacing
from ..recipe import SCALE_LIMIT, STRIP_LIMIT, Recipe
from .arguments import Term, backbone_for, masked, model_named, own_picture, slug, unnamed, way_of
from .console import emit, progress, say
from .options import (
    Attention,
    Concept,
    Device,
    Down,
    Dtype,
    FromGrid,
    Guidance,
    Half,
    Inversion,
    Invert,
    Json,
    Kernels,
    Mask,
    Model,
    Negative,
    Picture,
    Prompt,
    Seed,
    Sites,
    Steps,
    Window,
)
from .rows import Given, Plan, alike, begun, planned

if TYPE_CHECKING:
    from PIL import Image

    from ..backbones.base import Backbone
    from ..grid import Bench, Cell, Grid
    from ..inversion import Inverted
    from ..vectors import ConceptVector

ACROSS = "0..1 [5]"
KINDS = ("webp", "gif", "mp4")
SHEET, ARCHIVE = re.compile(rb"\x89PNG\r\n\x1a\n"), re.compile(rb"PK\x03\x04")  # how what is written begins
MOVING = re.compile(rb"RIFF.{4}WEBP|GIF8|.{4}ftyp", re.DOTALL)
EPILOG = (
    "[bold]Examples[/]\n\n"
    "Four seeds:  rudder grid 'a cat on a sky background' -c sketch --strengths '0..1 [5]' --down seed --rows 1..4\n\n"
    "Two concepts:  rudder grid 'a house' -c sketch -c night --down concept --rows sketch,night --zip cells.zip\n\n"
    "Prompts, a line each:  rudder grid -c oil --down prompt --rows $'a cat\\na house' --animation cat.mp4\n\n"
    "Your own picture, within a mask:  rudder grid -c sketch --image cat.jpg --mask painted.png --down window "
    "--rows 0.2:0.6,0.5:0.95\n\n"
    "The same again, with more steps:  rudder grid --from cells.zip --steps 60"
)


def grid(
    prompt: Prompt = None,
    concept: Concept = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            help="Across: 'first..last \\[count]' or a list; each multiplies the concepts' strengths (0..1 \\[5])."
        ),
    ] = None,
    down: Annotated[Down | None, typer.Option(help="What changes from row to row.")] = None,
    rows: Annotated[
        str,
        typer.Option(
            help="Down: seeds '1..4', prompts a line each, concepts, windows 0.2:0.6, groups of sites or models."
        ),
    ] = "",
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    window: Window = None,
    site: Sites = None,
    halves: Half = None,
    picture: Picture = None,
    invert: Inversion = None,
    mask: Mask = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The sheet, a PNG.")] = None,
    animation: Annotated[Path | None, typer.Option(help="All rows moving, .webp, .gif or .mp4.")] = None,
    archive: Annotated[Path | None, typer.Option("--zip", help="Every cell, with one JSON that remakes it.")] = None,
    scale: Annotated[
        int | None, typer.Option(help="How many times the sheet's cells are enlarged (1, or as --from has it).")
    ] = None,
    source: FromGrid = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Paint many pictures of one thing: strength across; seeds, prompts, concepts, windows, sites or models down.

    What is given beside holds for every cell. Under each stand its distance from the row's unsteered picture (RMS,
    0..1) and, where the model is calibrated, its spikiness. Sheet and zip hold what paints the grid again (--from).
    Ctrl-C keeps the rows that are whole.
    """
    from ..axes import numbers
    from ..checks import whole
    from ..grid import so_far
    from ..grid_recipe import read_grid

    files = Files(out, animation, archive)
    files.check()
    kept, carried = read_grid(source) if source else (None, {})
    if strengths is None and kept:
        across = kept.across
    else:
        across = numbers(ACROSS if strengths is None else strengths, "The row of strengths", STRIP_LIMIT)
    scale = whole("The enlargement", (kept.scale if kept else 1) if scale is None else scale, 1, SCALE_LIMIT)
    mine = own_picture(picture) if picture else None
    given = Given(model, prompt, seed, steps, guidance, negative, tuple(concept or ()), window, tuple(site or ()),
                  halves and halves.value, masked(mask, mine) if mask else "")  # fmt: skip
    plan = planned(given, down.value if down else "", rows, across, kept, carried, mine is not None)
    files.check_room(plan, scale)
    cells: dict[tuple[int, int], Cell] = {}
    own: dict[str, ConceptVector] = {}
    started = perf_counter()
    try:
        load = partial(backbone_for, device=device, dtype=dtype, attention=attention)
        made, stopped = painted(plan, load, mine, invert, cells, own), False
    except KeyboardInterrupt:
        some, stopped = so_far(cells, across, plan.axis, plan.labels), True
        if some is None:
            say("Nothing is written: no picture was whole yet.")
            raise
        made = some
    path = files.write(made, plan, scale, own)
    told = [[{"distance": cell.distance, "spikiness": cell.spikiness} for cell in row] for row in made.cells]
    value = {"path": str(path), "across": made.across, "axis": plan.axis, "down": made.down, "cells": told,
             **({"interrupted": True} if stopped else {}), "seconds": round(perf_counter() - started, 2)}  # fmt: skip
    emit(value, json_, f"{path}: {len(made.cells)} x {len(made.across)} pictures")
    if stopped:
        count = len(made.cells) * len(made.across)
        say(f"{count} of {len(plan.labels) * len(across)} pictures were whole, and are kept.")
        raise KeyboardInterrupt


def painted(
    plan: Plan, load: Callable[[str], Backbone], mine: Image.Image | None, invert: Invert | None,
    cells: dict[tuple[int, int], Cell], own: dict[str, ConceptVector],
) -> Grid:  # fmt: skip
    """Paint the grid, after a sentence on how many pictures and how long. `mine`: a picture of one's own to begin with.
    Whatever is there when it is broken off stands in `cells`, by (row, column), and in `own`, the vectors of concepts
    that do not ship."""
    from ..axes import rows_of
    from ..calibration import shipped
    from ..grid import Bench, across_models, inverting, seconds
    from ..grid import grid as run
    from ..pace import about, measure

    count = len(plan.labels) * len(plan.across)
    rows: Sequence[tuple[str, Recipe]] = [(row.label, row.recipe) for row in plan.rows]
    if plan.axis == "model":
        say(f"{count} pictures; each model is read when its turn comes")
        by_model = {row.recipe.model: row.terms for row in plan.rows}

        def opened(name: str) -> Bench:
            backbone = load(name)
            return Bench(backbone, _vectors(by_model[name], backbone, own), shipped(backbone))

        return _watched(across_models(rows, opened, plan.across, ready=True), cells)
    backbone = load(plan.rows[0].recipe.model)
    vectors = _vectors([term for row in plan.rows for term in row.terms], backbone, own)
    if plan.told:
        rows = rows_of(plan.axis, plan.told, plan.rows[0].recipe, vectors, backbone)
    calibration, pace = shipped(backbone), measure(backbone)
    pictures: Sequence[Inverted] = ()
    time = seconds(rows, len(plan.across), pace, calibration.draws if calibration else 0)
    if mine:
        time += pace.alone * sum(inverting(one, way_of(invert, one)) for one in alike(rows).values())
    say(f"{count} pictures, {about(time)}")
    if mine:
        rows, pictures = begun(backbone, mine, rows, invert)
    steps = run(backbone, rows, vectors, plan.across, axis=plan.axis, calibration=calibration, pictures=pictures)
    return _watched(steps, cells)


def _vectors(terms: Sequence[Term], backbone: Backbone, own: dict[str, ConceptVector]) -> dict[str, ConceptVector]:
    """The terms' vectors by name, each read once; those that do not ship are put in `own`, too."""
    found = {term.name: term.vector(backbone) for term in {term.name: term for term in terms}.values()}
    own |= {term.name: found[term.name] for term in terms if term.own}
    return found


def _watched(steps: Iterator[Any], cells: dict[tuple[int, int], Cell]) -> Grid:
    """What a run ends with, its progress shown and its cells put in `cells`."""
    from ..concepts import Progress
    from ..grid import Grid, Painted

    with progress("painting the grid") as report:
        for item in steps:
            if isinstance(item, Progress):
                report(item.done, item.total, item.message)
            elif isinstance(item, Painted):
                cells[item.row, item.column] = item.cell
            elif isinstance(item, Grid):
                return item
    raise RudderError("The run ended without a grid: start it again.")


@dataclass(frozen=True)
class Files:
    """Where a grid is written."""

    sheet: Path | None
    animation: Path | None
    archive: Path | None

    @property
    def kind(self) -> str:
        """The animation's, of KINDS; "" without one."""
        return self.animation.suffix.lstrip(".").lower() if self.animation else ""

    def check(self) -> None:
        """RudderError for a place where something else lies, and an animation of an unknown kind."""
        if self.animation and self.kind not in KINDS:
            raise RudderError(f"{self.animation.name} is no animation: give a name that ends in .{', .'.join(KINDS)}.")
        for what, place, ours in (("sheet", self.sheet, SHEET), ("animation", self.animation, MOVING),
                                  ("archive", self.archive, ARCHIVE)):  # fmt: skip
            if place:
                check_target(place, what, ours)

    def check_room(self, plan: Plan, scale: int) -> None:
        """RudderError for what could not be drawn, before it is painted."""
        from .. import exports

        if self.kind == "mp4" and not exports.films():
            raise RudderError(f"An MP4 needs PyAV: pip install '{exports.VIDEO}', or choose .webp or .gif.")
        side = max(model_named(row.recipe.model).resolution for row in plan.rows)
        size = len(plan.labels), len(plan.across)
        if side and scale > 1:
            exports.laid_out(plan.labels if plan.axis else (), *size, (side, side), scale, plan.title)
        if side and self.kind:
            exports.enlarged(*size, (side, side))

    def write(self, made: Grid, plan: Plan, scale: int, own: Mapping[str, ConceptVector]) -> Path:
        """Write all that was asked for, each file whole; returns where the sheet lies."""
        from .. import exports

        path = self.sheet or unnamed(Path(f"{slug(plan.rows[0].recipe.prompt)}-grid.png"))
        with replacing(path, "sheet", SHEET) as part:
            drawn = exports.sheet(exports.fitted(made) if scale == 1 else made, scale, plan.title)
            exports.write_sheet(part, drawn, exports.remade_by(made, scale), own)
        if self.animation:
            with replacing(self.animation, "animation", MOVING) as part:
                part.write_bytes(exports.animation(made, kind=self.kind))
        if self.archive:
            with replacing(self.archive, "archive", ARCHIVE) as part:
                part.write_bytes(exports.archive(made, own, scale))
        return path
