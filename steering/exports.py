"""A grid to take away: one labelled picture, a sweep that moves, or a zip of every cell. Picture and zip hold what
remakes it (grid_recipe.py)."""

from __future__ import annotations

import importlib.util
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from .checks import whole
from .errors import RudderError, shorten, unknown
from .files import as_json
from .grid import Cell, Grid
from .grid_recipe import GRID_CHUNK, GridRecipe
from .png import VECTOR_CHUNK, write_png
from .recipe import SCALE_LIMIT
from .vectors import ConceptVector

MOVING = ("webp", "gif", "mp4")
VIDEO = "rudder-steering[video]"  # what to install for MP4
MARGIN, GAP, LEAST = 12, 4, 24  # px; the last for the line below a picture
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, FAINT, PAPER = "#1d2733", "#5b6877", "white"
SIDE_LIMIT = 12_000  # px of a sheet's longer side
FRAME_LIMIT, SWEEP_LIMIT = 4096, 400_000_000  # px of a frame's longer side; of all frames together
LEGEND = "below each: distance from strength 0 (RMS of 0 to 1)"
LINE = 1.5  # height of a line of text over the font's size
MOST = 4  # times a moving sweep is enlarged where nothing else is asked


def sheet(grid: Grid, scale: int = 1, caption: str = "") -> Image.Image:
    """The grid as one picture: strengths above, rows' labels on the left, under each cell its distance from the
    unsteered picture and its spikiness, where it was measured. RudderError for one too large to be drawn."""
    at = laid_out(grid.down if grid.axis else (), len(grid.cells), len(grid.across), _side(grid), scale, caption)
    w, h = at.side
    made = Image.new("RGB", at.size, PAPER)
    draw = ImageDraw.Draw(made)
    if caption:
        draw.text((MARGIN, MARGIN), shorten(caption, 160), INK, at.font)
    for column, value in enumerate(grid.across):
        draw.text((at.left + column * (w + GAP) + w / 2, at.top - at.line / 2), _signed(value), INK, at.font, "mm")
    for row, cells in enumerate(grid.cells):
        y = at.top + row * (h + at.note + GAP)
        for place, text in enumerate(at.labels[row] if at.labels else ()):
            draw.text((MARGIN, y + place * at.line), text, INK, at.font)
        for column, cell in enumerate(cells):
            x = int(at.left + column * (w + GAP))
            made.paste(cell.image.resize((w, h), Image.Resampling.NEAREST), (x, y))
            draw.text((x + w / 2, y + h + at.note / 2), _measured(cell), FAINT, at.small, "mm")
    scored = "; s: spikiness" if any(cell.spikiness is not None for row in grid.cells for cell in row) else ""
    draw.text((MARGIN, at.size[1] - MARGIN - at.note), LEGEND + scored, FAINT, at.small)
    return made


@dataclass(frozen=True)
class Layout:
    """Where a sheet's parts stand, in px. `side`: width and height of an enlarged cell; `labels`: each row's lines."""

    side: tuple[int, int]
    font: Font
    small: Font
    line: int
    note: int
    labels: list[list[str]]
    left: float
    top: int
    size: tuple[int, int]


def laid_out(
    labels: Sequence[str], rows: int, columns: int, side: tuple[int, int], scale: int = 1, caption: str = ""
) -> Layout:
    """A sheet of cells of `side` (width, height in px) before it is drawn; `labels`: the rows', () for none.

    RudderError for an enlargement out of bounds, or a sheet too large to be drawn.
    """
    scale = whole("The enlargement", scale, 1, SCALE_LIMIT)
    w, h = side[0] * scale, side[1] * scale
    sizes = max(11, min(18, w // 9)), max(9, min(14, w // 11))
    font, small = (ImageFont.load_default(size) for size in sizes)
    line, note = (int(LINE * size) for size in sizes)
    wrapped = [_wrapped(text, font, 2 * w) for text in labels]
    left = MARGIN + (max(font.getlength(one) for lines in wrapped for one in lines) + MARGIN if wrapped else 0)
    top = MARGIN + (line if caption else 0) + line
    width = int(left + columns * (w + GAP) + MARGIN)
    height = top + rows * (h + note + GAP) + note + MARGIN
    if max(width, height) > SIDE_LIMIT:
        raise RudderError(f"The sheet would be {width}x{height} px: enlarge less, or take fewer cells.")
    return Layout((w, h), font, small, line, note, wrapped, left, top, (width, height))


def write_sheet(
    target: Path | BinaryIO, made: Image.Image, recipe: GridRecipe | None,
    own: Mapping[str, ConceptVector] | None = None,
) -> None:  # fmt: skip
    """Write a sheet as a PNG that holds what remakes its grid, with the vectors of somebody's `own` concepts."""
    info = PngImagePlugin.PngInfo()
    if recipe is not None:
        info.add(GRID_CHUNK, zlib.compress(recipe.to_json().encode(), 9))
        for name, vector in _named(recipe, own).items():
            info.add(VECTOR_CHUNK, vector.replace(name=name).to_bytes())
    made.save(target, format="PNG", pnginfo=info)


def remade_by(grid: Grid, scale: int = 1) -> GridRecipe | None:
    """What paints a grid again; None where its cells do not tell their rows' recipes, as a strip's."""
    firsts = [cells[0].row for cells in grid.cells]
    rows = [(label, recipe) for label, recipe in zip(grid.down, firsts, strict=True) if recipe is not None]
    return GridRecipe(grid.axis, grid.across, tuple(rows), scale) if len(rows) == len(firsts) else None


def _named(recipe: GridRecipe, own: Mapping[str, ConceptVector] | None) -> dict[str, ConceptVector]:
    """Of somebody's own vectors those that the rows name."""
    named = {name for _, row in recipe.rows for name, _ in row.concepts}
    return {name: vector for name, vector in (own or {}).items() if name in named}


def fitted(grid: Grid) -> Grid:
    """The grid with its pictures shrunk, where they are too many and too large for one sheet."""
    w, h = _side(grid)
    room = SIDE_LIMIT / (len(grid.across) + 3) - GAP, SIDE_LIMIT / (len(grid.cells) + 3) - GAP - LEAST
    factor = min(room[0] / w, room[1] / h)
    if factor >= 1:
        return grid
    size = max(1, int(factor * w)), max(1, int(factor * h))
    cells = [
        [replace(cell, image=cell.image.resize(size, Image.Resampling.LANCZOS)) for cell in row] for row in grid.cells
    ]
    return replace(grid, cells=cells)


def animation(
    grid: Grid, row: int | None = None, kind: str = "webp", scale: int | None = None, milliseconds: int = 120
) -> bytes:
    """A row, or all of them beside one another (None), moving through the strengths there and back again: an animated
    WebP or GIF, or an H.264 video in an MP4, enlarged `scale` times (None: as often as there is room for, up to 4).

    RudderError for another kind or row, for frames too large, and for MP4 where PyAV is not installed.
    """
    if kind not in MOVING:
        raise unknown("kind of animation", kind, MOVING)
    rows = grid.cells if row is None else [grid.cells[whole("The row", row, 0, len(grid.cells) - 1)]]
    scale = enlarged(len(rows), len(grid.across), _side(grid)) if scale is None else scale
    some = frames(rows, _side(grid), whole("The enlargement", scale, 1, SCALE_LIMIT))
    loop, file = some + some[-2:0:-1], BytesIO()
    if kind == "mp4":
        return _video(loop, milliseconds)
    options = {"lossless": True, "method": 2} if kind == "webp" else {"optimize": True}
    loop[0].save(file, kind.upper(), save_all=True, append_images=loop[1:], duration=milliseconds, loop=0, **options)
    return file.getvalue()


def frames(rows: Sequence[Sequence[Cell]], side: tuple[int, int], scale: int) -> list[Image.Image]:
    """A picture a strength: the rows' cells at it, tiled about as wide as high. RudderError for too large ones."""
    size = _frame(len(rows), len(rows[0]), side, scale)
    across, (w, h), gap = _abreast(len(rows)), (one * scale for one in side), GAP if len(rows) > 1 else 0
    made = []
    for column in range(len(rows[0])):
        one = Image.new("RGB", size, PAPER)
        for place, cells in enumerate(rows):
            at = place % across * (w + gap), place // across * (h + gap)
            one.paste(cells[column].image.resize((w, h), Image.Resampling.NEAREST), at)
        made.append(one)
    return made


def enlarged(rows: int, columns: int, side: tuple[int, int]) -> int:
    """How many times a sweep's cells of `side` px can be enlarged, at most 4; RudderError where not even 1."""
    for scale in range(MOST, 1, -1):
        try:
            _frame(rows, columns, side, scale)
        except RudderError:
            continue
        return scale
    _frame(rows, columns, side, 1)
    return 1


def _frame(rows: int, columns: int, side: tuple[int, int], scale: int) -> tuple[int, int]:
    """Width and height of a sweep's frames; RudderError for too large ones."""
    across, gap = _abreast(rows), GAP if rows > 1 else 0
    size = across * (side[0] * scale + gap) - gap, math.ceil(rows / across) * (side[1] * scale + gap) - gap
    if max(size) > FRAME_LIMIT or size[0] * size[1] * 2 * columns > SWEEP_LIMIT:
        raise RudderError(f"The sweep would be {size[0]}x{size[1]} px: enlarge less, or take fewer rows or strengths.")
    return size


def _abreast(rows: int) -> int:
    """How many of a sweep's rows stand beside one another."""
    return math.ceil(math.sqrt(rows))


def films() -> bool:
    """Whether MP4 can be made here."""
    return importlib.util.find_spec("av") is not None


def _video(some: Sequence[Image.Image], milliseconds: int) -> bytes:
    """H.264 in an MP4, as browsers play it."""
    if not films():
        raise RudderError(f"An MP4 needs PyAV: pip install '{VIDEO}', or choose .webp or .gif.")
    import av

    w, h = (side - side % 2 for side in some[0].size)  # 4:2:0 halves both sides
    file = BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=Fraction(1000, milliseconds), options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        for one in some:
            out.mux(stream.encode(av.VideoFrame.from_image(one.crop((0, 0, w, h)))))
        out.mux(stream.encode())
    return file.getvalue()


def archive(grid: Grid, own: Mapping[str, ConceptVector] | None = None, scale: int = 1) -> bytes:
    """A zip: every cell as a PNG that carries its recipe; grid.json with rows, strengths, recipes and what was
    measured; and, once each, the vectors of somebody's `own` concepts that the recipes name, without which no cell can
    be made again. `scale`: a sheet's enlargement, where one was made."""
    recipe = remade_by(grid, scale)
    named = {name for cells in grid.cells for cell in cells for name, _ in cell.recipe.concepts}
    kept = {name: vector for name, vector in (own or {}).items() if name in named}
    files = {name: f"vectors/{place:02d}.safetensors" for place, name in enumerate(kept)}
    file, told = BytesIO(), []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for row, cells in enumerate(grid.cells):
            for column, cell in enumerate(cells):
                name = f"row-{row:02d}-column-{column:02d}.png"
                picture = BytesIO()
                write_png(cell.image, picture, cell.recipe)
                packed.writestr(name, picture.getvalue())
                told.append({"file": name, "row": row, "column": column, "distance": round(cell.distance, 6),
                             "spikiness": cell.spikiness, "recipe": json.loads(cell.recipe.to_json())})  # fmt: skip
        for name, vector in kept.items():
            packed.writestr(files[name], vector.replace(name=name).to_bytes())
        head = recipe.told() if recipe else {"axis": grid.axis, "down": grid.down, "across": grid.across}
        packed.writestr("grid.json", as_json({**head, "vectors": files, "cells": told}, ensure_ascii=False, indent=1))
    return file.getvalue()


def _side(grid: Grid) -> tuple[int, int]:
    """Width and height of the largest cell: the models of a grid may differ."""
    every = [cell.image.size for cells in grid.cells for cell in cells]
    return max(w for w, _ in every), max(h for _, h in every)


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _measured(cell: Cell) -> str:
    score = "" if cell.spikiness is None else f"   s {cell.spikiness:.3f}"
    return f"{cell.distance:.3f}{score}"


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """The text in lines of at most that many pixels, four of them at most."""
    lines = [""]
    for word in shorten(text, 200).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:4]
