"""`rudder grid`: strength across, something else down, as one sheet, an animation or a zip."""

from __future__ import annotations

import re
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from ..errors import RudderError
from ..files import check_target, replacing
from .arguments import Asked, backbone_for, concepts_asked, model_named, request, settled, slug, terms, unnamed
from .console import emit, ended, say
from .options import Attention, Device, Down, Dtype, Guidance, Json, Kernels, Model, Negative, Prompt, Seed, Steps

KINDS = ("webp", "gif", "mp4")
SHEET, ARCHIVE = re.compile(rb"\x89PNG\r\n\x1a\n"), re.compile(rb"PK\x03\x04")  # how what is written begins
MOVING = re.compile(rb"RIFF.{4}WEBP|GIF8|.{4}ftyp", re.DOTALL)
EPILOG = (
    "[bold]Examples[/]\n\n"
    "Four seeds:  rudder grid 'a cat on a sky background' -c sketch --strengths '0..1 [5]' --down seed --rows 1..4\n\n"
    "Two concepts:  rudder grid 'a house' -c sketch -c night --down concept --rows sketch,night --zip cells.zip\n\n"
    "Prompts, a line each:  rudder grid -c oil --down prompt --rows $'a cat\\na house' --animation cat.mp4"
)


def grid(
    prompt: Prompt = None,
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", help="As `rudder steer` takes it; repeat for several.")
    ] = None,
    strengths: Annotated[
        str, typer.Option(help="Across: 'first..last \\[count]' or a list; each multiplies the concepts' strengths.")
    ] = "0..1 [5]",
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
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The sheet, a PNG.")] = None,
    animation: Annotated[Path | None, typer.Option(help="All rows moving, .webp, .gif or .mp4.")] = None,
    archive: Annotated[Path | None, typer.Option("--zip", help="Every cell, with one JSON that remakes it.")] = None,
    scale: Annotated[int, typer.Option(help="How many times the sheet's cells are enlarged.")] = 1,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Paint many pictures of one thing: strength across; seeds, prompts, concepts, windows, sites or models down.

    Under each cell stand its distance from the row's unsteered picture (RMS, 0..1) and, where the model is calibrated,
    its spikiness.
    """
    from ..axes import numbers
    from ..recipe import STRIP_LIMIT

    kind = animation.suffix.lstrip(".").lower() if animation else ""
    if animation and kind not in KINDS:
        raise RudderError(f"{animation.name} is no animation: give a name that ends in .{', .'.join(KINDS)}.")
    places = {"sheet": (out, SHEET), "animation": (animation, MOVING), "archive": (archive, ARCHIVE)}
    for what, (place, ours) in places.items():
        if place:
            check_target(place, what, ours)
    across = numbers(strengths, "The row of strengths", STRIP_LIMIT)
    recipe = request(None, model, prompt, seed, steps, guidance, negative)
    asked = concepts_asked(concept or [], recipe)
    if not asked:
        raise RudderError("No concept is given: add --concept name (`rudder concept list` shows the names).")
    if bool(down) != bool(rows):
        raise RudderError("--down and --rows belong together: give both, or neither for one row.")
    meant = terms(asked, {}, model_named(recipe.model).name, recommended=True)
    recipe = settled(recipe, meant, None, None, None, fresh=True)
    started = perf_counter()
    backbone = backbone_for(recipe.model, device, dtype, attention)
    from .. import exports
    from ..axes import rows_of
    from ..calibration import shipped
    from ..concepts import library
    from ..grid import Bench, across_models, check_size, seconds
    from ..grid import grid as run
    from ..pace import about, measure

    if kind == "mp4" and not exports.films():
        raise RudderError(f"An MP4 needs PyAV: pip install '{exports.VIDEO}', or choose .webp or .gif.")
    vectors = {term.name: term.vector(backbone) for term in meant}
    axis = down.value if down else ""
    recipes = rows_of(axis, rows, recipe, vectors, backbone) if down else ((recipe.prompt, recipe),)
    check_size(len(recipes), len(across))
    calibration = shipped(backbone)
    if axis == "model":
        say(f"{len(recipes) * len(across)} pictures; each model is read when its turn comes")

        def opened(name: str) -> Bench:
            if name in (recipe.model, backbone.name):
                return Bench(backbone, vectors, calibration)
            other = backbone_for(name, device, dtype, attention)
            theirs = terms([Asked(one.name) for one in asked], {}, other.name, recommended=True)
            return Bench(other, {term.name: term.vector(other) for term in theirs}, shipped(other))

        made = ended(across_models(recipes, opened, across, home=backbone.name), "painting the grid")
    else:
        time = seconds(recipes, len(across), measure(backbone), calibration.draws if calibration else 0)
        say(f"{len(recipes) * len(across)} pictures, {about(time)}")
        made = ended(run(backbone, recipes, vectors, across, axis=axis, calibration=calibration), "painting the grid")
    shipped_here, path = library(backbone.name), out or unnamed(Path(f"{slug(recipe.prompt)}-grid.png"))
    title = ", ".join([recipe.prompt or "no prompt", *vectors]) if axis != "prompt" else ", ".join(vectors)
    with replacing(path, "sheet", SHEET) as part:
        exports.sheet(made, scale, title).save(part, format="PNG")
    for what, data in (
        ("animation", lambda: exports.animation(made, kind=kind)),
        (
            "archive",
            lambda: exports.archive(made, {name: v for name, v in vectors.items() if name not in shipped_here}),
        ),
    ):
        place, ours = places[what]
        if place:
            with replacing(place, what, ours) as part:
                part.write_bytes(data())
    cells = [[{"distance": cell.distance, "spikiness": cell.spikiness} for cell in row] for row in made.cells]
    value = {"path": str(path), "across": across, "axis": axis, "down": made.down, "cells": cells,
             "seconds": round(perf_counter() - started, 2)}  # fmt: skip
    emit(value, json_, f"{path}: {len(made.cells)} x {len(across)} pictures")
