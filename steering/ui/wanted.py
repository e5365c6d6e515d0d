"""What a call by program asks for, checked: recipes, vectors and strengths; and the pictures that come of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..axes import numbers
from ..checks import number, strength, text, whole
from ..concepts import ConceptVector, Progress
from ..errors import RudderError, shorten
from ..grid import Cell, Grid
from ..images import open_images
from ..inversion import distance
from ..masks import mask_of
from ..pace import PAGE_SECONDS, about
from ..recipe import CONCEPTS_LIMIT, SEED_KEPT, SITES_LIMIT, STRIP_LIMIT, Recipe, Use, Window
from .calls import file_of, files_of, list_of
from .panels import MOST_GUIDANCE, MOST_STEPS
from .pictures import ONE
from .session import Session
from .studio import Studio, vector_for

T = TypeVar("T")
Ends = Generator[Progress, None, T]  # yields Progress, and returns what it comes to
USE = '{"name": "sketch", "strength": 1.0}, and if you like "operator", "window" and "sites"'


@dataclass(frozen=True)
class Room:
    """What all calls share: the studio, and where other models' pages are."""

    studio: Studio
    menu: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Wanted:
    """A steered run: its recipe, its vectors by name, and those of them that came as files."""

    recipe: Recipe
    vectors: dict[str, ConceptVector]
    own: dict[str, ConceptVector]


def plain(room: Room, prompt: Any, seed: Any, steps: Any, guidance: Any, negative_prompt: Any) -> Recipe:
    """An unsteered recipe within the page's bounds; None: the model's own steps and guidance."""
    usual = room.studio.backbone.defaults
    steps = usual["num_inference_steps"] if steps is None else steps
    guidance = usual["guidance_scale"] if guidance is None else guidance
    return Recipe(
        model=room.studio.backbone.name,
        prompt=prompt,
        seed=whole("The seed", seed, 0, SEED_KEPT),
        num_inference_steps=whole("The number of steps", steps, 1, max(MOST_STEPS, usual["num_inference_steps"])),
        guidance_scale=number("The guidance scale", guidance, 0, max(MOST_GUIDANCE, usual["guidance_scale"])),
        negative_prompt=negative_prompt,
    )


def wanted(
    room: Room,
    recipe: Recipe,
    concepts: Any,
    vectors: Any,
    folder: Path,
    window: Any = None,
    sites: Any = None,
    halves: Any = None,
) -> Ends[Wanted]:
    """A recipe with its concepts, which are shipped ones or in the vector files.

    What is not said is taken from each concept's advice. RudderError for anything unknown or out of bounds.
    """
    own = own_of(room, vectors, folder)
    asked = [_asked(one) for one in list_of("concepts", concepts, CONCEPTS_LIMIT)] or [{"name": name} for name in own]
    if not asked:
        raise RudderError("No concept is given: name one in concepts, such as " + USE + ", or send its vector file.")
    found: dict[str, ConceptVector] = {}
    for one in asked:
        name = one["name"]
        if name in found:
            raise RudderError(f"The concept {shorten(name)!r} is given twice: give it once, with one strength.")
        found[name] = yield from named(room, name, own)
    first, alone = found[asked[0]["name"]].advice, len(asked) == 1
    given = None if window is None else _window(window)
    places = tuple(list_of("sites", sites, SITES_LIMIT)) or None
    usual = tuple(first["sites"]) if alone and first["sites"] else None
    recipe = replace(
        recipe,
        concepts=tuple((one["name"], _power(one, found)) for one in asked),
        uses=tuple(_use(one, found, alone or given, alone or places) for one in asked),
        window=given or Window(*first["window"]),
        sites=places or usual,
        halves=first["halves"] if halves is None else halves,
    )
    return Wanted(recipe, found, {name: own[name] for name in found if name in own})


def own_of(room: Room, vectors: Any, folder: Path) -> dict[str, ConceptVector]:
    """The vectors in the files of a call, by name."""
    paths = files_of("vectors", vectors, folder, CONCEPTS_LIMIT)
    return {vector.name: vector for vector in (ConceptVector.load(path, room.studio.backbone) for path in paths)}


def named(room: Room, name: str, own: Mapping[str, ConceptVector]) -> Ends[ConceptVector]:
    """The vector of that name among those of the call, or else the shipped one, learned first where need be."""
    return own[name] if name in own else (yield from ended(vector_for(room.studio, Session(), name)))


def ended(run: Iterator[Any]) -> Ends[Any]:
    """What a run comes to: the last that it yields beside Progress."""
    last = None
    for item in run:
        if isinstance(item, Progress):
            yield item
        else:
            last = item
    return last


def across(given: Any) -> tuple[float, ...]:
    """Strengths as a list of numbers, or in words such as "0..1 [9]"."""
    if isinstance(given, str):
        return numbers(text("The strengths", given, 400), "The row of strengths", STRIP_LIMIT)
    several = list_of("strengths", given, STRIP_LIMIT)
    if not several:
        raise RudderError("There are no strengths: give a list such as [0, 0.5, 1], or a range such as 0..1 [9].")
    return tuple(dict.fromkeys(strength("the strip", value) for value in several))


def in_time(room: Room, steps: float, most: float = PAGE_SECONDS) -> None:
    """RudderError where so many steps of one picture would take over `most` seconds here, as far as that is known."""
    pace = room.studio.pace
    if pace is not None and steps * pace.together > most:
        raise RudderError(
            f"This would take {about(steps * pace.together)} here, and a call may take {about(most)}: ask for fewer "
            "pictures or steps."
        )


def picture_of(title: str, given: Any, folder: Path) -> Image.Image:
    """The one picture in a file of a call."""
    (image,) = open_images(file_of(title, given, folder), ONE)
    return image


def masked(recipe: Recipe, mask: Any, folder: Path) -> Recipe:
    """The recipe with a mask from a file of the call, if there is one."""
    return recipe if mask is None else replace(recipe, mask=mask_of(Path(file_of("mask", mask, folder))))


def row_of(recipe: Recipe, strengths: Sequence[float], factors: Sequence[float], images: Sequence[Image.Image]) -> Grid:
    """A strip as a grid of one row, its distances taken from the picture at factor 0."""
    painted = dict(zip(factors, images, strict=True))
    cells = []
    for value in strengths:
        scaled = replace(recipe, concepts=tuple((name, round(s * value, 9)) for name, s in recipe.concepts))
        cells.append(Cell(painted[value], scaled, distance(painted[0.0], painted[value])))
    return Grid([cells], tuple(strengths), "", ("",))


def _asked(given: Any) -> dict[str, Any]:
    """One entry of `concepts`: a name, or an object."""
    one = {"name": given} if isinstance(given, str) else given
    if not isinstance(one, Mapping) or not {"name"} <= set(one) <= {"name", "strength", "operator", "window", "sites"}:
        raise RudderError(f"A concept is {shorten(given, 60)!r}: give its name, or {USE}.")
    return {**one, "name": text("A concept's name", one["name"], 200, empty=False)}


def _power(one: Mapping[str, Any], found: Mapping[str, ConceptVector]) -> float:
    value = one.get("strength")
    return strength(one["name"], found[one["name"]].advice["strength"] if value is None else value)


def _use(one: Mapping[str, Any], found: Mapping[str, ConceptVector], window: Any, sites: Any) -> Use:
    """How a concept is used; `window`, `sites`: whether these are settled for all, and its advice is not asked."""
    advice = found[one["name"]].advice
    own, places = one.get("window"), one.get("sites")
    span = _window(own) if own is not None else None if window else Window(*advice["window"])
    where = list_of("A concept's sites", places, SITES_LIMIT) or (None if sites else advice["sites"])
    return Use(one.get("operator") or "add", span, tuple(where) if where else None)


def _window(given: Any) -> Window:
    ends = list_of("window", given, 2)
    if len(ends) != 2:
        raise RudderError(f"The window is {shorten(given, 40)}: give a start and an end, such as [0.5, 0.95].")
    return Window(*ends)
