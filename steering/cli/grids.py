"""`rudder grid`: strength across, something else down, as one sheet, an animation or a zip."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from ..errors import RudderError
from .arguments import backbone_for, concepts_asked, model_named, request, settled, slug, terms, unnamed
from .console import emit, ended, say
from .options import Attention, Device, Down, Dtype, Guidance, Json, Kernels, Model, Negative, Prompt, Seed, Steps

EPILOG = (
    "[bold]Examples[/]\n\n"
    "Four seeds:  rudder grid 'a cat on a sky background' -c sketch --strengths '0..1 [5]' --down seed --rows 1..4\n\n"
    "Two concepts:  rudder grid 'a house' -c sketch -c night --down concept --rows sketch,night --zip cells.zip\n\n"
    "Prompts, a line each:  rudder grid -c oil --down prompt --rows $'a cat\\na house' --animation cat.webp"
)


def grid(
    prompt: Prompt = None,
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", help="As `rudder steer` takes it; repeat for several.")
    ] = None,
    strengths: Annotated[
        str, typer.Option(help="Across: 'first..last [count]' or a list; each multiplies the concepts' strengths.")
    ] = "0..1 [5]",
    down: Annotated[Down | None, typer.Option(help="What changes from row to row.")] = None,
    rows: Annotated[
        str, typer.Option(help="Down: seeds '1..4', prompts a line each, concepts, windows 0.2:0.6 or groups of sites.")
    ] = "",
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The sheet, a PNG.")] = None,
    animation: Annotated[Path | None, typer.Option(help="The first row moving, .webp or .gif.")] = None,
    archive: Annotated[Path | None, typer.Option("--zip", help="Every cell, with one JSON that remakes it.")] = None,
    scale: Annotated[int, typer.Option(help="How many times the sheet's cells are enlarged.")] = 1,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Paint many pictures of one thing: strength across, seeds, prompts, concepts, windows or sites down.

    Under each cell stand its distance from the row's unsteered picture (RMS, 0..1) and, where the model is calibrated,
    its spikiness.
    """
    from ..grid import STRIP_LIMIT, numbers

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
    from ..calibration import shipped
    from ..files import writing
    from ..grid import grid as run
    from ..grid import rows_of, seconds
    from ..pace import about, measure

    vectors = {term.name: term.vector(backbone) for term in meant}
    axis = down.value if down else ""
    recipes = rows_of(axis, rows, recipe, vectors, backbone) if down else ((recipe.prompt, recipe),)
    time = seconds(recipes, len(across), measure(backbone))
    say(f"{len(recipes) * len(across)} pictures, {about(time)}")
    made = ended(run(backbone, recipes, vectors, across, axis=axis, calibration=shipped(backbone)), "painting the grid")
    path = out or unnamed(Path(f"{slug(recipe.prompt)}-grid.png"))
    title = ", ".join([recipe.prompt or "no prompt", *vectors]) if axis != "prompt" else ", ".join(vectors)
    with writing(path):
        exports.sheet(made, scale, title).save(path, format="PNG")
    for place, data in (
        (animation, lambda: exports.animation(made, kind=(animation or path).suffix.lstrip(".").lower())),
        (archive, lambda: exports.archive(made)),
    ):
        if place:
            with writing(place):
                place.write_bytes(data())
    cells = [[{"distance": cell.distance, "spikiness": cell.spikiness} for cell in row] for row in made.cells]
    value = {"path": str(path), "across": across, "axis": axis, "down": made.down, "cells": cells,
             "seconds": round(perf_counter() - started, 2)}  # fmt: skip
    emit(value, json_, f"{path}: {len(made.cells)} x {len(across)} pictures")
