"""The page's verbs by program: named endpoints for gradio_client and curl, and tools for MCP clients (docs/api.md).

They are stateless: pictures and vectors come and go as files. Bounds and queues are the page's own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gradio.data_classes import FileData
from PIL import Image

from ..against import work_of
from ..audit.report import write_report
from ..audit.sheet import write_csv
from ..axes import rows_of
from ..checks import text
from ..concepts import ConceptVector, Progress
from ..errors import RudderError
from ..exports import archive, fitted, sheet
from ..grid import Grid, work
from ..plan import Steering
from ..png import write_png
from ..recipe import Recipe
from ..words import heard
from .api_concepts import combine, concepts, learn, learn_from_prompts
from .audit import LIMITS as SCANNED
from .audit import audit
from .calls import Verb, Work, files_of, offer, sent
from .errands import compared, frames
from .grid_asked import within
from .pictures import file_name
from .reading import UNCALIBRATED, reading
from .session import Session, size_of
from .studio import Studio
from .temporary import scratch
from .wanted import Room, across, ended, in_time, masked, picture_of, plain, row_of, wanted

Halves = Literal["both", "conditional", "opposite"]
Down = Literal["", "seed", "prompt", "concept", "window", "sites"]
Inversion = Literal["edit_friendly", "ddim"]
Concepts = list[str | dict[str, Any]]
CARRIED = 64 * 2**20  # bytes of own vectors in the frames of a strip, each of which carries them where they fit
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
    with scratch() as name:
        unsteered = Steering(window=recipe.window)
        (image,), recipe, said = yield from ended(room.studio.run(frames, recipe, unsteered, [0.0]))
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
    with scratch() as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        own = None if picture is None else picture_of("picture", picture, folder)
        ready = yield from wanted(room, recipe, concepts, vectors, folder, window, sites, halves)
        steering = Steering.from_recipe(ready.recipe, ready.vectors)
        (image,), recipe, said = yield from ended(room.studio.run(frames, ready.recipe, steering, [1.0], own, invert))
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
    with scratch() as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        own = None if picture is None else picture_of("picture", picture, folder)
        ready = yield from wanted(room, recipe, concepts, vectors, folder, window, sites, halves)
        in_time(room, work(ready.recipe, len(factors)))
        steering = Steering.from_recipe(ready.recipe, ready.vectors)
        images, recipe, said = yield from ended(room.studio.run(frames, ready.recipe, steering, factors, own, invert))
        row = row_of(recipe, asked, factors, images)
        carried = ready.own if len(row.cells[0]) * sum(map(size_of, ready.own.values())) <= CARRIED else {}
        shown = [_picture(folder, one.image, one.recipe, carried, f"{k:02d}-") for k, one in enumerate(row.cells[0])]
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
    with scratch() as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        ready = yield from wanted(room, recipe, concepts, vectors, folder, window, sites, halves)
        backbone, recipe = room.studio.backbone, ready.recipe
        each = rows_of(down, told, recipe, ready.vectors, backbone) if down else (("", recipe),)
        within(room.studio, len(each), len(asked))
        in_time(room, sum(work(one, len(asked) + 1) for _, one in each))
        options = {"axis": down, "calibration": room.studio.calibration}
        item: Grid = yield from ended(room.studio.grid(each, ready.vectors, asked, **options))
        packed = folder / "grid.zip"
        packed.write_bytes(archive(item, ready.own))
        tables = {
            "distances": [[round(cell.distance, 6) for cell in row] for row in item.cells],
            "spikiness": [[cell.spikiness for cell in row] for row in item.cells],
        }
        head = {"across": list(item.across), "down": list(item.down), "axis": item.axis}
        said = heard(backbone, dict.fromkeys(one.prompt for _, one in each), [recipe.negative_prompt])
        yield _sheet(folder, item, recipe), sent(packed), {**head, **tables, **_told(recipe, said)}


def words(
    room: Room,
    prompt: str,
    words: str,
    concepts: Concepts | None = None,
    vectors: list[FileData] | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    window: list[float] | None = None,
    sites: list[str] | None = None,
    halves: Halves | None = None,
    mask: FileData | None = None,
) -> Work:
    """Steer, and ask for the same change by words, as far from the unsteered picture."""
    with scratch() as name:
        folder = Path(name)
        recipe = masked(plain(room, prompt, seed, steps, guidance, negative_prompt), mask, folder)
        ready = yield from wanted(room, recipe, concepts, vectors, folder, window, sites, halves)
        in_time(room, work_of(ready.recipe.num_inference_steps))
        steering = Steering.from_recipe(ready.recipe, ready.vectors)
        steered, rivals, said = yield from ended(room.studio.run(compared, ready.recipe, steering, words))
        ways = {one.way: {"amount": one.amount, "change": one.change, "wanted": one.wanted,
                          "matched": one.matched, "sentence": one.sentence} for one in rivals}  # fmt: skip
        shown = [_bare(folder, one.image, f"words-{one.way}.png") for one in rivals]
        yield _picture(folder, steered, ready.recipe, ready.own), *shown, {**ways, **_told(ready.recipe, said)}


def score(room: Room, picture: FileData) -> Work:
    """Tell whether a picture was memorised: its spikiness, and what that means for this model."""
    with scratch() as name:
        image = picture_of("picture", picture, Path(name))
        yield Progress(0, 1, "scoring the picture")
        told = reading(room.studio, image)
        if "missing" in told:
            raise RudderError(UNCALIBRATED)
        yield ({key: told[key] for key in TOLD},)


def scan(room: Room, files: list[FileData]) -> Work:
    """Score many pictures and prompts, a row each."""
    with scratch() as name:
        session, sources = Session(), files_of("files", files, Path(name), SCANNED.files)
        summary, kept = yield from ended(audit(room.studio, session, sources))
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


def wire(studio: Studio, menu: Sequence[Mapping[str, str]], painters: int) -> None:
    """Add every verb to the page around; `painters`: how many runs paint at once."""
    room, told = Room(studio, menu), dict[str, Any]
    painting: tuple[str, int] = ("painting", painters)
    for verb in (
        Verb(generate, (FileData, told), *painting),
        Verb(steer, (FileData, told), *painting),
        Verb(strip, (FileData, list[FileData], told), *painting),
        Verb(grid, (FileData, FileData, told), *painting),
        Verb(words, (FileData, FileData, FileData, told), *painting),
        Verb(learn, (FileData, told), "learning", 1),
        Verb(learn_from_prompts, (FileData, FileData, told), "learning", 1),
        Verb(combine, (FileData, told), "learning", 1),
        Verb(score, (told,), *painting),
        Verb(scan, (FileData, FileData, FileData, told), "auditing", 1),
        Verb(models, (list[told],), *painting),  # type: ignore[valid-type]
        Verb(concepts, (list[told],), *painting),  # type: ignore[valid-type]
    ):
        offer(verb, room)


def _picture(folder: Path, image: Image.Image, recipe: Recipe, own: Mapping[str, ConceptVector] | None = None,
             prefix: str = "") -> dict[str, Any]:  # fmt: skip
    """A picture with its recipe, and the vectors that came as files, as an answer holds it."""
    path = folder / f"{prefix}{file_name(recipe)}"
    write_png(image, path, recipe, own)
    return sent(path)


def _bare(folder: Path, image: Image.Image, name: str) -> dict[str, Any]:
    """A picture that no recipe remakes, as an answer holds it."""
    path = folder / name
    image.save(path)
    return sent(path)


def _sheet(folder: Path, cells: Grid, recipe: Recipe) -> dict[str, Any]:
    path = folder / "sheet.png"
    write_png(sheet(fitted(cells), caption=recipe.prompt), path, recipe)
    return sent(path)


def _told(recipe: Recipe, said: list[str]) -> dict[str, Any]:
    return {"recipe": _recipe(recipe), "remarks": said}


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the JSON object that a picture carries."""
    found: dict[str, Any] = json.loads(recipe.to_json())
    return found
