"""What makes a grid: its rows' recipes and its strengths, as JSON, in the zip of its cells and in its sheet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .archives import STARTS, Member, members
from .axes import DOWN
from .bare import SIGNATURE, inflated
from .checks import PROMPT_LIMIT, strength, text, whole
from .errors import RudderError, shorten, unknown
from .files import open_regular
from .grid import check_size
from .png import opened, read_png_vectors
from .recipe import FORMAT, SCALE_LIMIT, Recipe
from .vectors import FILE_LIMIT, ConceptVector

GRID_CHUNK = b"ruGr"  # of a PNG: private, ancillary, safe to copy (PNG specification, section 5.4)
NAME = "grid.json"
BYTES_LIMIT = 16 * 1024 * 1024  # of a grid as JSON, its measured cells included
VECTORS_LIMIT = 64
VECTOR = re.compile(r"vectors/\d{1,4}\.safetensors")  # as exports.archive names them
AGAIN = (
    "give the zip, the grid.json in it or the sheet that `rudder grid` wrote, as it was (a screenshot or a re-saved "
    "copy holds no grid)"
)


@dataclass(frozen=True)
class GridRecipe:
    """What paints a grid again: `rows`, (label, recipe at strength 1) each, of the kind `axis` ("" for one row), the
    strengths `across`, and how many times the sheet enlarges its cells. RudderError names the first that will not do.
    """

    axis: str
    across: tuple[float, ...]
    rows: tuple[tuple[str, Recipe], ...]
    scale: int = 1

    def __post_init__(self) -> None:
        if self.axis and self.axis not in DOWN:
            raise unknown("axis", self.axis, DOWN)
        across = tuple(strength("the grid", value) for value in self.across)
        check_size(len(self.rows), len(across))
        if len(set(across)) < len(across):
            raise RudderError("The grid has a strength twice: give each once.")
        for label, _ in self.rows:
            text("A row's label", label, PROMPT_LIMIT)
        object.__setattr__(self, "across", across)
        object.__setattr__(self, "scale", whole("The enlargement", self.scale, 1, SCALE_LIMIT))

    def told(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "rudder": FORMAT,
            "axis": self.axis,
            "across": list(self.across),
            "down": [label for label, _ in self.rows],
            "rows": [json.loads(recipe.to_json()) for _, recipe in self.rows],
            "scale": self.scale,
        }

    def to_json(self) -> str:
        """`told` as text, in ASCII."""
        return json.dumps(self.told(), allow_nan=False)

    @classmethod
    def of(cls, told: Any) -> GridRecipe:
        """The grid that `told` tells of, whatever else stands there; RudderError for anything else."""
        if not isinstance(told, Mapping) or not isinstance(told.get("across"), list) or "axis" not in told:
            raise RudderError("It is JSON, but not of a grid.")
        if told.get("rudder", FORMAT) != FORMAT:
            raise RudderError(f"It has format {shorten(told['rudder'])}, this Rudder reads format {FORMAT}: update it.")
        down, rows = told.get("down"), told.get("rows")
        if not isinstance(rows, list):
            raise RudderError("It does not hold its rows' recipes: an earlier Rudder wrote it, or it is a strip.")
        if not isinstance(down, list) or len(down) != len(rows) or not all(isinstance(row, Mapping) for row in rows):
            raise RudderError("Its rows and their labels do not belong together.")
        axis = text("The axis", told["axis"], 20)
        check_size(len(rows), len(told["across"]))  # before any of them is read
        made = tuple((label, Recipe.from_json(row)) for label, row in zip(down, rows, strict=True))
        models = {recipe.model for _, recipe in made}
        if len(models) > 1 and axis != "model":
            raise RudderError(f"Its rows are of {len(models)} models, but are not rows of models.")
        return cls(axis, tuple(told["across"]), made, told.get("scale", 1))


def read_grid(path: Path) -> tuple[GridRecipe, dict[str, ConceptVector]]:
    """The grid in a grid.json, in the zip of its cells or in its sheet, and the vectors of somebody's own concepts that
    came with it, by name.

    RudderError for a file that cannot be read, is damaged, or holds no grid.
    """
    try:
        with open_regular(path) as file:
            start = file.read(8)
            if start == SIGNATURE:
                return _from_sheet(path)
            with _damaged(path):
                if start.startswith(STARTS):
                    return _from_zip(path, file)
                return _from_json(path, start + file.read(BYTES_LIMIT + 1))
    except OSError as error:
        raise RudderError(f"{shorten(path, 200)} cannot be read ({error.strerror}): check the path.") from error


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """What is wrong with a file, in a sentence that says what to give instead."""
    try:
        yield
    except (ValueError, RecursionError) as error:  # a RudderError is one
        raise RudderError(
            f"{shorten(path.name)} holds no grid that can be read ({shorten(error, 200).rstrip('.')}): {AGAIN}."
        ) from error


def _from_sheet(path: Path) -> tuple[GridRecipe, dict[str, ConceptVector]]:
    _, chunks = opened(path)
    with _damaged(path):
        found = next((data for kind, data in chunks if kind == GRID_CHUNK), None)
        if found is None:
            raise ValueError("it is a picture without one")
        recipe = GridRecipe.of(_parsed(inflated(found, BYTES_LIMIT)))
    return recipe, read_png_vectors(path)


def _from_zip(path: Path, file: BinaryIO) -> tuple[GridRecipe, dict[str, ConceptVector]]:
    inside: dict[str, Member] = {member.name: member for member in members(shorten(path.name), file)}
    if NAME not in inside:
        raise ValueError(f"there is no {NAME} in it")
    told, vectors = _parsed(inside[NAME].read(BYTES_LIMIT)), {}
    recipe = GridRecipe.of(told)
    for name, place in _places(told).items():
        if place not in inside:
            raise ValueError(f"the vector {shorten(name)!r} is not in it")
        vectors[name] = ConceptVector.from_bytes(inside[place].read(FILE_LIMIT), title=place).replace(name=name)
    return recipe, vectors


def _from_json(path: Path, data: bytes) -> tuple[GridRecipe, dict[str, ConceptVector]]:
    told, vectors = _parsed(data), {}
    recipe = GridRecipe.of(told)
    for name, place in _places(told).items():
        if not (path.parent / place).is_file():
            raise ValueError(f"the vector {shorten(name)!r} is not beside it, at {place}")
        vectors[name] = ConceptVector.load(path.parent / place).replace(name=name)
    return recipe, vectors


def _places(told: Mapping[str, Any]) -> dict[str, str]:
    """Where the vectors of somebody's own concepts lie, {name: place}; ValueError for places that are none."""
    found = told.get("vectors", {})
    if not isinstance(found, dict) or not all(isinstance(v, str) and VECTOR.fullmatch(v) for v in found.values()):
        raise ValueError("its list of vectors is damaged")
    if len(found) > VECTORS_LIMIT:
        raise ValueError(f"it lists {len(found):,} vectors, at most {VECTORS_LIMIT} are read")
    return found


def _parsed(data: bytes) -> Any:
    if len(data) > BYTES_LIMIT:
        raise ValueError(f"it has over {BYTES_LIMIT:,} bytes")
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ValueError("it is no JSON, or JSON that is cut short") from error
