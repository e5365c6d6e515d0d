"""The page's verbs by program: named endpoints for gradio_client and curl, and tools for MCP clients (docs/api.md).

They are stateless: pictures and vectors come and go as files. Bounds and queues are the page's own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gradio.data_classes import FileData
from PIL import Image

from ..audit.report import write_report
from ..audit.sheet import write_csv
from ..axes import rows_of
from ..checks import text, whole
from ..concepts import ConceptVector, Progress
from ..errors import RudderError
from ..exports import archive, fitted, sheet
from ..grid import Grid, work
from ..grid import grid as painted_grid
from ..images import OnDisk, open_images
from ..pace import PAGE_SECONDS
from ..plan import Steering
from ..png import write_png
from ..recipe import SEED_KEPT, Recipe
from ..references import evened, paint_references
from ..references import provenance as painted_as
from ..references import rows_of as reference_rows
from .audit import LIMITS as SCANNED
from .audit import audit
from .calls import Answer, Verb, files_of, list_of, offer, sent
from .pictures import file_name
from .reading import UNCALIBRATED, reading
from .session import Session, size_of
from .studio import Studio
from .trays import LIMITS
from .wanted import Room, across, frames, in_time, masked, picture_of, plain, room_of, row_of, wanted

Work = Iterator[Progress | Answer]
Halves = Literal["both", "conditional", "opposite"]
Down = Literal["", "seed", "prompt", "concept", "window", "sites"]
Inversion = Literal["edit_friendly", "ddim"]
Concepts = list[str | dict[str, Any]]
PROMPTS = 64
PAINTED = 100  # references a side
CARRIED = 64 * 2**20  # bytes of own vectors in the frames of a strip, each of which carries them where they fit
SHOWN, THUMB = 12, 96  # pictures a side of a sheet of references, and their pixels
TOLD = ("score", "spread", "verdict", "sentence", "threshold", "how")


def generate(
    room: Room,
    prompt: str,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
) -> Work:
    """Paint one picture, unsteered."""
    recipe = plain(room, prompt, seed, steps, guidance, negative_prompt)
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        for item in room.run(frames, recipe, Steering(window=recipe.window), [0.0]):
            if isinstance(item, Progress):
                yield item
            else:
                (image,), recipe, said = item
                yield _picture(Path(name), image, recipe), _told(recipe, said)


def steer(
    room: Room,
    prompt: str,
    concepts: Concepts | None = None,
    vectors: list[FileData] | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    window: list[float] | None = None,
    sites: list[str] | None = None,
    halves: Halves | None = None,
    picture: FileData | None = None,
    invert: Inversion = "edit_friendly",
    mask: FileData | None = None,
) -> Work:
    """Paint one picture with concepts added to the model's activations while it is painted."""
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        own = None if picture is None else picture_of("picture", picture, folder)
        for ready in wanted(room, recipe, concepts, vectors, folder, window, sites, halves):
            if isinstance(ready, Progress):
                yield ready
                continue
            steering = Steering.from_recipe(ready.recipe, ready.vectors)
            for item in room.run(frames, ready.recipe, steering, [1.0], own, invert):
                if isinstance(item, Progress):
                    yield item
                else:
                    (image,), recipe, said = item
                    yield _picture(folder, image, recipe, ready.own), _told(recipe, said)


def strip(
    room: Room,
    prompt: str,
    concepts: Concepts | None = None,
    vectors: list[FileData] | None = None,
    strengths: list[float] | str = "0..1 [9]",
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    window: list[float] | None = None,
    sites: list[str] | None = None,
    halves: Halves | None = None,
    picture: FileData | None = None,
    invert: Inversion = "edit_friendly",
    mask: FileData | None = None,
) -> Work:
    """Paint a row of pictures over strengths; the steps before the window are painted once for all of them."""
    asked = across(strengths)
    factors = asked if 0.0 in asked else (0.0, *asked)
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        own = None if picture is None else picture_of("picture", picture, folder)
        for ready in wanted(room, recipe, concepts, vectors, folder, window, sites, halves):
            if isinstance(ready, Progress):
                yield ready
                continue
            in_time(room, work(ready.recipe, len(factors)))
            steering = Steering.from_recipe(ready.recipe, ready.vectors)
            for item in room.run(frames, ready.recipe, steering, factors, own, invert):
                if isinstance(item, Progress):
                    yield item
                    continue
                images, recipe, said = item
                row = row_of(recipe, asked, factors, images)
                carried = ready.own if len(row.cells[0]) * sum(map(size_of, ready.own.values())) <= CARRIED else {}
                shown = [_picture(folder, one.image, one.recipe, carried, f"{k:02d}-")
                         for k, one in enumerate(row.cells[0])]  # fmt: skip
                far = [round(one.distance, 6) for one in row.cells[0]]
                tables = {"strengths": list(asked), "distances": far}
                yield _sheet(folder, row, recipe), shown, {**tables, **_told(recipe, said)}


def grid(
    room: Room,
    prompt: str,
    concepts: Concepts | None = None,
    vectors: list[FileData] | None = None,
    strengths: list[float] | str = "0..1 [5]",
    down: Down = "",
    rows: str = "",
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    window: list[float] | None = None,
    sites: list[str] | None = None,
    halves: Halves | None = None,
    mask: FileData | None = None,
) -> Work:
    """Paint strengths across and something else down, and measure each cell's spikiness and distance from unsteered."""
    asked, told = across(strengths), text("The rows", rows, 20_000)
    if down == "concept" and not concepts:
        concepts = [name.strip() for name in told.split(",") if name.strip()]
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        for ready in wanted(room, recipe, concepts, vectors, folder, window, sites, halves):
            if isinstance(ready, Progress):
                yield ready
                continue
            backbone, recipe = room.studio.backbone, ready.recipe
            each = rows_of(down, told, recipe, ready.vectors, backbone) if down else (("", recipe),)
            in_time(room, sum(work(one, len(asked) + 1) for _, one in each))
            options = {"axis": down, "calibration": room.studio.calibration}
            for item in room.run(painted_grid, each, ready.vectors, asked, **options):
                if isinstance(item, Progress):
                    yield item
                elif isinstance(item, Grid):
                    packed = folder / "grid.zip"
                    packed.write_bytes(archive(item))
                    tables = {
                        "distances": [[round(cell.distance, 6) for cell in row] for row in item.cells],
                        "spikiness": [[cell.spikiness for cell in row] for row in item.cells],
                    }
                    head = {"across": list(item.across), "down": list(item.down), "axis": item.axis}
                    yield _sheet(folder, item, recipe), sent(packed), {**head, **tables, "recipe": _recipe(recipe)}


def learn(
    room: Room,
    name: str,
    pictures: list[FileData],
    baseline: list[FileData] | None = None,
    caption: str = "",
    seed: int = 0,
) -> Work:
    """Learn a concept from pictures, and search how it takes best."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rudder-") as place:
        folder = Path(place)
        given = files_of("pictures", pictures, folder, LIMITS.files)
        others = files_of("baseline", baseline, folder, LIMITS.files)
        shown = open_images(given, LIMITS, said.append) if given else []
        against = open_images(others, LIMITS, said.append) if others else []
        yield from _learned(room, folder, name, (shown, against), (caption, ""), seed, said)


def learn_from_prompts(
    room: Room,
    name: str,
    prompts: list[str],
    against: list[str],
    count: int = 20,
    seed: int = 0,
    even: list[str] | None = None,
) -> Work:
    """Learn a concept from pictures that the model paints itself: one set by some prompts, one by others."""
    count, seed = whole("The number of pictures a side", count, 1, PAINTED), whole("The seed", seed, 0, SEED_KEPT)
    traits = list_of("even", even, PROMPTS) if even else []
    sides = [[full for one in list_of(title, given, PROMPTS) for full in evened(text("A prompt", one), traits)]
             for title, given in (("prompts", prompts), ("against", against))]  # fmt: skip
    rows = [reference_rows(side, count, seed) for side in sides]
    in_time(room, 2 * count * room.studio.backbone.defaults["num_inference_steps"], 4 * PAGE_SECONDS)
    with tempfile.TemporaryDirectory(prefix="rudder-") as place:
        folder, painted = Path(place), OnDisk(())
        for item in room.run(paint_references, rows[0] + rows[1], folder / "references"):
            if isinstance(item, Progress):
                yield item
            else:
                painted = item
        sets = OnDisk(painted.paths[:count]), OnDisk(painted.paths[count:])
        words = tuple(side[0] if len(side) == 1 else "" for side in sides)
        made = {side: painted_as(some, room.studio.backbone)
                for side, some in zip(("concept", "baseline"), rows, strict=True)}  # fmt: skip
        for item in _learned(room, folder, name, sets, (words[0], words[1]), seed, [], made):
            yield item if isinstance(item, Progress) else (item[0], _contact(folder, sets), item[1])


def score(room: Room, picture: FileData) -> Work:
    """Tell whether a picture was memorised: its spikiness, and what that means for this model."""
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        image = picture_of("picture", picture, Path(name))
        yield Progress(0, 1, "scoring the picture")
        told = reading(room.studio, image)
        if "missing" in told:
            raise RudderError(UNCALIBRATED)
        yield ({key: told[key] for key in TOLD},)


def scan(room: Room, files: list[FileData]) -> Work:
    """Score many pictures and prompts, a row each."""
    with tempfile.TemporaryDirectory(prefix="rudder-") as name:
        session, sources = Session(), files_of("files", files, Path(name), SCANNED.files)
        for item in audit(room.studio, session, sources):
            if isinstance(item, Progress):
                yield item
                continue
            summary, kept = item
            out = Path(shutil.copy(kept, name))  # the session and its folder end before the answer is read
            table, page = out.with_suffix(".csv"), out.with_suffix(".html")
            write_csv(out, table)
            write_report(out, page)
            yield sent(out), sent(table), sent(page), {"summary": summary}


def models(room: Room) -> Work:
    """The models that are offered here: this page's in detail, the others with the addresses of their pages."""
    studio = room.studio
    backbone, classes = studio.backbone, studio.backbone.classes
    here = {
        "name": backbone.name,
        "address": "",
        "description": studio.outline.description,
        "family": backbone.family,
        "fingerprint": backbone.fingerprint,
        "resolution": backbone.resolution,
        "steps": backbone.defaults["num_inference_steps"],
        "guidance": backbone.defaults["guidance_scale"],
        "sites": {name: site.label for name, site in backbone.sites().items()},
        "classes": None if classes is None else classes.count,
        "calibrated": studio.calibration is not None,
        "prompts": {kind: [entry["key"] for entry in entries] for kind, entries in studio.prompts.items()},
    }
    others = [{"name": entry["title"], "address": entry["href"]} for entry in room.menu if entry["href"]]
    yield ([here, *others],)


def concepts(room: Room) -> Work:
    """The concepts that ship with this model, and how each is best used."""
    shipped = [
        {
            "name": one.name,
            "title": one.title,
            "description": one.description,
            "learned": one.vector is not None,
            "advice": one.vector.advice if one.vector else {},
        }
        for one in room.studio.concepts.values()
    ]
    yield (shipped,)


def wire(studio: Studio, menu: Sequence[Mapping[str, str]], painters: int) -> None:
    """Add every verb to the page around; `painters`: how many runs paint at once."""
    room, told = room_of(studio, menu), dict[str, Any]
    painting: tuple[str, int] = ("painting", painters)
    for verb in (
        Verb(generate, (FileData, told), *painting),
        Verb(steer, (FileData, told), *painting),
        Verb(strip, (FileData, list[FileData], told), *painting),
        Verb(grid, (FileData, FileData, told), *painting),
        Verb(learn, (FileData, told), "learning", 1),
        Verb(learn_from_prompts, (FileData, FileData, told), "learning", 1),
        Verb(score, (told,), *painting),
        Verb(scan, (FileData, FileData, FileData, told), "auditing", 1),
        Verb(models, (list[told],), *painting),  # type: ignore[valid-type]
        Verb(concepts, (list[told],), *painting),  # type: ignore[valid-type]
    ):
        offer(verb, room)


def _learned(
    room: Room, folder: Path, name: str, sets: tuple[Sequence[Image.Image], Sequence[Image.Image]],
    words: tuple[str, str], seed: int, said: list[str], painted: dict[str, Any] | None = None,
) -> Work:  # fmt: skip
    """Progress, then (the vector's file, what is told of it)."""
    name = text("The concept's name", name, 40, empty=False).strip()
    options = {"prompt": words[0], "baseline_prompt": words[1], "seed": whole("The seed", seed, 0, SEED_KEPT)}
    for item in room.studio.learn(name, *sets, **options):
        if isinstance(item, Progress):
            yield item
            continue
        assert isinstance(item, ConceptVector)
        remarks = [*said, *item.provenance.get("remarks", [])]
        more: dict[str, Any] = {"remarks": remarks} if remarks else {}
        more |= {"references": painted} if painted else {}
        vector = replace(item, provenance={**item.provenance, **more})
        path = folder / f"{_plain(name)}.safetensors"
        vector.save(path)
        yield sent(path), {"name": name, "advice": vector.advice, "remarks": remarks}


def _picture(folder: Path, image: Image.Image, recipe: Recipe, own: Mapping[str, ConceptVector] | None = None,
             prefix: str = "") -> dict[str, Any]:  # fmt: skip
    """A picture with its recipe, and the vectors that came as files, as an answer holds it."""
    path = folder / f"{prefix}{file_name(recipe)}"
    write_png(image, path, recipe, own)
    return sent(path)


def _sheet(folder: Path, cells: Grid, recipe: Recipe) -> dict[str, Any]:
    path = folder / "sheet.png"
    write_png(sheet(fitted(cells), caption=recipe.prompt), path, recipe)
    return sent(path)


def _contact(folder: Path, sets: Sequence[OnDisk]) -> dict[str, Any]:
    """The first pictures of both sides in two rows."""
    made = Image.new("RGB", (THUMB * min(SHOWN, max(map(len, sets))), THUMB * len(sets)), "white")
    for row, some in enumerate(sets):
        for column, image in enumerate(some[:SHOWN]):
            made.paste(image.resize((THUMB, THUMB), Image.Resampling.LANCZOS), (column * THUMB, row * THUMB))
    path = folder / "references.png"
    made.save(path)
    return sent(path)


def _told(recipe: Recipe, said: list[str]) -> dict[str, Any]:
    return {"recipe": _recipe(recipe), "remarks": said}


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the JSON object that a picture carries."""
    found: dict[str, Any] = json.loads(recipe.to_json())
    return found


def _plain(name: str) -> str:
    """A name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in name).strip() or "vector"
