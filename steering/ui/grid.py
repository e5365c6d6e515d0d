"""The Grid tab: strength across, something else down; cells as they are painted, to go on from and to take away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from .. import exports
from ..axes import TOLD_LIMIT
from ..checks import text
from ..concepts import Progress
from ..errors import Cancelled, RudderError, shorten, unknown
from ..grid import Grid, Painted
from ..words import heard
from . import notices
from .asked import Panel, mapping
from .errands import by_models
from .grid_asked import ACROSS, Asked, asked, estimate, first_axis, first_rows, kinds, names, vectors_for
from .panels import Controls, panel_from
from .permalink import Part, link, placed
from .pictures import ROWS, SMALL, web_picture
from .session import Session, ticket_of, unless_stopped
from .steer import PAUSE
from .studio import Studio

KEYS = ("axis", "rows", "across")
LARGE = 256  # px of a cell's side on the page; the downloads have all of it
SWEEP_SIDE = 512  # px that a sweep's cells are enlarged to
FILES = {"png": "Sheet (.png)", "webp": "Sweep (.webp)", "gif": "Sweep (.gif)", "mp4": "Sweep (.mp4)",
         "zip": "All cells (.zip)"}  # fmt: skip
WORDS = """
<div class="rd-lede">
  <h2>Where does it hold, and where does it turn?</h2>
  <p>Strength runs across, something of your choice runs down. Under each picture stands how far it is from the
  unsteered one, and how spiky it is where the model is calibrated. A click on a picture goes on from it.</p>
</div>
"""
TOLD = '<p class="rd-grid-base"></p><p class="rd-grid-told" role="status"></p>'
TOLD_SCRIPT = "RudderGrid.told({ element, props, watch });"
BOARD = '<section class="rd-grid" aria-label="The grid"></section>'
BOARD_SCRIPT = """
RudderGrid.mount({ element, props, trigger, watch });
// it triggers 'paint', 'stop', 'estimate' and 'take'
"""
LISTED = {"concept": "concepts", "sites": "groups", "model": "models"}  # kinds of rows that commas part
STRENGTHS = "1 is the recommended strength. A range such as -2..2 [9], or a list such as 0, 0.5, 1."


@dataclass
class GridTab:
    """The components of the tab."""

    axis: gr.Radio
    rows: gr.Textbox
    across: gr.Textbox
    told: gr.HTML
    board: gr.HTML
    file: gr.DownloadButton
    link: gr.HTML


def grid_panel(studio: Studio, panel: Panel, models: Sequence[str]) -> GridTab:
    """The tab's contents, with rows and strengths that make something worth seeing."""
    axis = first_axis(studio)
    gr.HTML(WORDS)
    with gr.Group(elem_classes="rd-card", elem_id="rd-grid-asked"):
        across = gr.Textbox(ACROSS, label="Strengths, across", info=STRENGTHS, max_lines=1, elem_id="rd-grid-across")
        kind = gr.Radio(kinds(studio, models), value=axis, label="What changes, down", elem_id="rd-grid-axis")
        first = first_rows(studio, Session(), axis, panel, models)
        listed = [title for name, title in LISTED.items() if name in [axis for _, axis in kinds(studio, models)]]
        ways = f"Seeds 1..5 or 3, 7; prompts one a line; {' and '.join(listed)} with commas; windows start:end."
        rows = gr.Textbox(first, label="Rows", info=ways, lines=2, max_lines=8, elem_id="rd-grid-rows")
        told = gr.HTML({}, html_template=TOLD, js_on_load=TOLD_SCRIPT, elem_id="rd-grid-estimate")
    files = {kind: title for kind, title in FILES.items() if kind != "mp4" or exports.films()}
    board = gr.HTML(
        {}, html_template=BOARD, js_on_load=BOARD_SCRIPT, files=files, video=exports.VIDEO, elem_id="rd-grid-board"
    )
    file = gr.DownloadButton("The file", elem_id="rd-grid-file", elem_classes="rd-hidden", size="sm")
    return GridTab(kind, rows, across, told, board, file, link("grid", KEYS, studio.backbone.name, ("steer", "grid")))


def grid_part(studio: Studio, tab: GridTab, models: Sequence[str]) -> Part:
    """The tab's controls in the address."""

    def read(owner: Session, told: Mapping[str, str]) -> tuple[list[Any], str]:
        known = [name for _, name in kinds(studio, models)]
        if told.get("axis", known[0]) not in known:
            raise unknown("kind of rows", told["axis"], known)
        for key, title in (("rows", "The link's list of rows"), ("across", "The link's row of strengths")):
            text(title, told.get(key, ""), TOLD_LIMIT)
        values, lost = {key: told.get(key, gr.skip()) for key in KEYS}, ""
        if told.get("axis") == "concept" and "rows" in told:
            named = [name for part in told["rows"].split(",") if (name := part.strip())]
            found, lost = placed(studio, owner, named, told)
            values["rows"] = ", ".join(found[name] for name in named if name in found)
        return list(values.values()), lost

    return Part(tab.link, "grid", (tab.axis, tab.rows, tab.across), read)


def painted(
    studio: Studio, owner: Session, panel: Panel, sent: Mapping[str, Any], axis: str, rows: str, across: str,
    models: Mapping[str, str], paint: Callable[..., Iterator[Any]],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Paint a grid; yields the board's messages, the last with phase "done". A message holds every cell so far.

    `sent` is the browser's {"ticket"}. A stopped grid keeps the rows that are whole, for its downloads. Raises
    RudderError for any bad value, Cancelled once a newer ticket is known.
    """
    ticket = ticket_of(sent.get("ticket"))
    with owner.grids.run(ticket) as stop:
        unless_stopped(stop)
        wanted = names(studio, owner, panel, axis, text("The list of rows", rows, TOLD_LIMIT))
        vectors = {}
        for item in vectors_for(studio, owner, wanted, stop):
            if isinstance(item, Progress):
                yield {"ticket": ticket, "phase": "running", "text": item.message, "part": item.done / item.total}
            else:
                vectors = item
        plan = asked(studio, panel, axis, rows, across, vectors, list(models))
        owner.grid = None
        head = {"axis": axis, "across": plan.across, "down": [shorten(label, 200) for label, _ in plan.rows]}
        cells: list[dict[str, Any]] = []
        grown: dict[tuple[int, int], Painted] = {}
        total, last, part = len(plan.rows) * len(plan.across), 0.0, 0.0

        def message(phase: str = "running") -> dict[str, Any]:
            said = f"{len(cells)} of {total} picture{'s' * (total != 1)}"
            return {"ticket": ticket, "phase": phase, "text": said, "part": part, **head, "cells": list(cells)}

        yield message()
        try:
            for item in paint(plan, stop=stop):
                if isinstance(item, Grid):
                    owner.hold(item)
                elif isinstance(item, Painted):
                    grown[item.row, item.column] = item
                    cells.append(_cell(item))
                else:
                    part = round(item.done / max(item.total, 1), 4)
                if time.monotonic() - last > PAUSE:
                    last = time.monotonic()
                    yield message()
        except Cancelled:
            if (whole := _whole(plan, grown)) is not None:
                owner.hold(whole)
            raise
        yield message("done")


def _heard(studio: Studio, made: Grid) -> str:
    """What there is to say about the words of a grid's prompts, those that this page's model was asked for."""
    own = [cell.recipe for row in made.cells for cell in row if cell.recipe.model == studio.backbone.name]
    prompts, negatives = (dict.fromkeys(getattr(r, name) for r in own) for name in ("prompt", "negative_prompt"))
    return " ".join(heard(studio.backbone, prompts, negatives))


def _cell(one: Painted) -> dict[str, Any]:
    """A cell as the browser takes it."""
    image, cell = one.cell.image, one.cell
    if image.width > LARGE:
        image = image.resize((LARGE, LARGE * image.height // image.width))
    return {
        "row": one.row,
        "column": one.column,
        "src": web_picture(image),
        "distance": round(cell.distance, 4),
        "spikiness": None if cell.spikiness is None else round(cell.spikiness, 4),
        "recipe": json.loads(cell.recipe.to_json()),
    }


def _whole(plan: Asked, grown: Mapping[tuple[int, int], Painted]) -> Grid | None:
    """The rows of a stopped grid that are whole; None without any."""
    columns = range(len(plan.across))
    rows = [row for row in range(len(plan.rows)) if all((row, column) in grown for column in columns)]
    cells = [[grown[row, column].cell for column in columns] for row in rows]
    return Grid(cells, plan.across, plan.axis, tuple(plan.rows[row][0] for row in rows)) if rows else None


def taken(owner: Session, kind: Any) -> str:
    """A file of the last grid, of one of FILES' kinds; its path. RudderError without a grid."""
    if kind not in FILES:
        raise unknown("kind of file", kind, FILES)
    grid = owner.grid
    if grid is None:
        raise RudderError("There is no whole row to take away: paint a grid first.")
    first = grid.cells[0][0]
    side = first.image.width
    told = ", ".join([shorten(first.recipe.prompt, 60) or "no prompt", *(name for name, _ in first.recipe.concepts)])
    if kind == "png":
        sheet = exports.sheet(grid, max(1, SMALL // side), told if grid.axis not in ("prompt", "concept") else "")
        path = _place(owner, "sheet", kind)
        sheet.save(path, format="PNG")
        return str(path)
    if kind == "zip":
        data = exports.archive(grid, owner.vectors)
    else:
        room = SWEEP_SIDE if len(grid.cells) == 1 else SWEEP_SIDE // 2
        data = exports.animation(grid, kind=kind, scale=max(1, room // side))
    path = _place(owner, "cells" if kind == "zip" else "sweep", kind)
    path.write_bytes(data)
    return str(path)


def _place(owner: Session, name: str, kind: str) -> Path:
    """Where a download is written: the last of its kind is written over."""
    folder = owner.folder() / f"grid-{kind}"
    folder.mkdir(exist_ok=True)
    return folder / f"rudder-{name}.{kind}"


def _painter(studio: Studio, models: Mapping[str, str]) -> Callable[..., Iterator[Any]]:
    """The function that paints a grid, wherever the model runs; each cell comes once."""
    options: dict[str, Any] = {"calibration": studio.calibration}

    def paint(plan: Asked, stop: Event) -> Iterator[Any]:
        given = plan.rows, plan.vectors, plan.across
        if plan.axis == "model":
            run = studio.run(by_models, *given, studio.outline.asked, dict(models), stop=stop, **options)
        else:
            together = ROWS[studio.backbone.resolution <= SMALL]
            run = studio.grid(*given, axis=plan.axis, together=together, stop=stop, **options)
        there: set[tuple[int, int]] = set()
        for item in run:
            if isinstance(item, Painted):
                if (item.row, item.column) in there:  # a replica has died, and another one paints all of it again
                    continue
                there.add((item.row, item.column))
            yield item

    return paint


def wire(
    studio: Studio, tab: GridTab, session: gr.State, controls: Controls, notice: gr.HTML, models: Mapping[str, str]
) -> None:
    """Connect the tab: rows follow what changes, an estimate follows the controls, cells come as they are painted."""
    paint = _painter(studio, models)
    own = [tab.axis, tab.rows, tab.across]
    count = len(own)

    def on_axis(owner: Session, axis: str, *values: Any) -> Any:
        try:
            return first_rows(studio, owner, axis, panel_from(list(values)), list(models))
        except RudderError:  # no concept is chosen: the estimate says so
            return gr.skip()

    def on_estimate(owner: Session, *values: Any) -> dict[str, str]:
        try:
            axis, rows, across = (str(value or "") for value in values[:count])
            return estimate(studio, owner, panel_from(list(values[count:])), axis, rows, across, list(models))
        except RudderError as wrong:
            return {"base": "", "text": "", "wrong": str(wrong)}

    def on_paint(event: gr.EventData, owner: Session, *values: Any) -> Iterator[Any]:
        sent = mapping(event._data)
        failed = {"ticket": sent.get("ticket"), "phase": "failed"}

        def items() -> Iterator[Any]:
            axis, rows, across = (str(value or "") for value in values[:count])
            panel = panel_from(list(values[count:]))
            for message in painted(studio, owner, panel, sent, axis, rows, across, models, paint):
                done = owner.grid if message["phase"] == "done" else None
                yield message, notices.note(said) if done and (said := _heard(studio, done)) else gr.skip()

        yield from notices.guarded(items(), lambda told: (failed, told))

    def on_newer(event: gr.EventData, owner: Session) -> None:
        ticket = mapping(event._data).get("ticket")
        if isinstance(ticket, int):
            owner.grids.outdate(ticket)

    def on_take(event: gr.EventData, owner: Session) -> Any:
        def action() -> Any:
            return gr.DownloadButton(value=taken(owner, mapping(event._data).get("kind"))), gr.skip()

        return notices.attempt(action, lambda told: (gr.DownloadButton(value=None), told))

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    every = [session, *own, *controls.values()]
    tab.axis.input(on_axis, [session, tab.axis, *controls.values()], tab.rows, queue=False, **private)
    tab.board.estimate(on_estimate, every, tab.told, queue=False, trigger_mode="always_last", **private)
    tab.board.paint(on_newer, session, None, queue=False, trigger_mode="multiple", **private)
    begun = tab.board.paint(
        on_paint, every, [tab.board, notice], concurrency_id="grids", concurrency_limit=1, trigger_mode="multiple",
        **private,
    )  # fmt: skip
    begun.failure(None, None, None, js="() => RudderGrid.lost()", api_visibility="private")
    tab.board.stop(on_newer, session, None, queue=False, trigger_mode="multiple", **private)
    tab.board.take(on_take, session, [tab.file, notice], concurrency_id="taking", **private).then(
        None, None, None, js="() => RudderGrid.save()", api_visibility="private"
    )
