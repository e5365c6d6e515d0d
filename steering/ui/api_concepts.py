"""The verbs that make and tell concepts by program (docs/api.md): a vector goes out as a file, and comes in as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gradio.data_classes import FileData
from PIL import Image

from ..arithmetic import combined
from ..checks import text, whole
from ..concepts import ConceptVector, Progress
from ..images import OnDisk, open_images
from ..pace import PAGE_SECONDS
from ..quality import doubts, quality_of
from ..recipe import SEED_KEPT
from ..references import evened
from ..references import provenance as painted_as
from ..references import rows_of as reference_rows
from .calls import Work, files_of, list_of, sent
from .temporary import scratch
from .trays import LIMITS
from .wanted import Room, ended, in_time, named, own_of

Way = Literal["plus", "minus", "without"]
PROMPTS = 64
PAINTED = 100  # references a side
SHOWN, THUMB = 12, 96  # pictures a side of a sheet of references, and their pixels


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
    with scratch() as place:
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
    with scratch() as place:
        folder = Path(place)
        painted: OnDisk = yield from ended(room.studio.refer(rows[0] + rows[1], folder / "references"))
        sets = OnDisk(painted.paths[:count]), OnDisk(painted.paths[count:])
        words = tuple(side[0] if len(side) == 1 else "" for side in sides)
        made = {side: painted_as(some, room.studio.backbone)
                for side, some in zip(("concept", "baseline"), rows, strict=True)}  # fmt: skip
        for item in _learned(room, folder, name, sets, (words[0], words[1]), seed, [], made):
            yield item if isinstance(item, Progress) else (item[0], _contact(folder, sets), item[1])


def combine(
    room: Room, first: str, second: str, way: Way = "plus", vectors: list[FileData] | None = None, name: str = ""
) -> Work:
    """Put two concepts together: their sum, their difference, or the first without what lies along the second."""
    with scratch() as place:
        folder = Path(place)
        own, titles = (
            own_of(room, vectors, folder),
            (text("The first concept", first, 200), text("The second concept", second, 200)),
        )
        one, other = (yield from named(room, titles[0], own)), (yield from named(room, titles[1], own))
        vector = combined(one, other, way, text("The concept's name", name, 40).strip())
        yield _vector(folder, vector, [])


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


def _learned(
    room: Room, folder: Path, name: str, sets: tuple[Sequence[Image.Image], Sequence[Image.Image]],
    words: tuple[str, str], seed: int, said: list[str], painted: dict[str, Any] | None = None,
) -> Work:  # fmt: skip
    """Progress, then (the vector's file, what is told of it)."""
    name = text("The concept's name", name, 40, empty=False).strip()
    options = {"prompt": words[0], "baseline_prompt": words[1], "seed": whole("The seed", seed, 0, SEED_KEPT)}
    vector: ConceptVector = yield from ended(room.studio.learn(name, *sets, **options))
    remarks = [*said, *vector.provenance.get("remarks", [])]
    more: dict[str, Any] = {"remarks": remarks} if remarks else {}
    more |= {"references": painted} if painted else {}
    yield _vector(folder, replace(vector, provenance={**vector.provenance, **more}), remarks)


def _vector(folder: Path, vector: ConceptVector, remarks: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A vector's file, and what is told of it."""
    path = folder / f"{_plain(vector.name)}.safetensors"
    vector.save(path)
    told = {"name": vector.name, "advice": vector.advice, "state": vector.state, "remarks": remarks}
    found = quality_of(vector)
    best = found.best(vector.advice["sites"]) if found else None
    apart = {"told_apart": best[1].auroc, "of_the_activations": round(found.share(), 4)} if found and best else {}
    return sent(path), {**told, **apart, "doubts": doubts(vector, ())}


def _contact(folder: Path, sets: Sequence[OnDisk]) -> dict[str, Any]:
    """The first pictures of both sides in two rows."""
    made = Image.new("RGB", (THUMB * min(SHOWN, max(map(len, sets))), THUMB * len(sets)), "white")
    for row, some in enumerate(sets):
        for column, image in enumerate(some[:SHOWN]):
            made.paste(image.resize((THUMB, THUMB), Image.Resampling.LANCZOS), (column * THUMB, row * THUMB))
    path = folder / "references.png"
    made.save(path)
    return sent(path)


def _plain(name: str) -> str:
    """A name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in name).strip() or "vector"
