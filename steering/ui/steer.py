"""The stage's callbacks: Generate paints a strip a column, releasing the slider paints one exact strength."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from ..concepts import ConceptVector, Progress
from ..errors import RudderError, shorten
from ..recipe import Recipe, Window, strength
from ..sampling import Prefix, Result, Steering, Step, finish
from .pictures import SMALL, frame, web_picture
from .reading import answer, profile, reading
from .session import Session, ticket_of
from .studio import Studio, positions, vector_for

TITLES = {"a": "Ordinary prompt", "b": "Memorised prompt"}
PAUSE = 0.12  # seconds between two progress messages


@dataclass(frozen=True)
class Panel:
    """What the controls said when Generate was pressed."""

    prompts: dict[str, str]
    concept: str
    seed: int
    steps: int
    guidance: float
    negative: str
    window: tuple[float, float]
    sites: tuple[str, ...]
    halves: str = "both"


def generate(studio: Studio, session: Session, panel: Panel, sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Paint every column's strip; yields the stage's messages, the last with phase "done".

    `sent` is the browser's {"ticket", "strengths": {column: number}, "concept": the one on show}.
    Raises RudderError for any bad value, Cancelled once a newer ticket is known.
    """
    ticket = ticket_of(sent.get("ticket"))
    with session.run(ticket) as stop:
        base = recipe_of(studio, panel)
        vector: ConceptVector | None = None
        for item in vector_for(studio, session, panel.concept, stop):
            if isinstance(item, Progress):
                yield _running(ticket, "strip", item.done, item.total, item.message, {})
            else:
                vector = item
        assert vector is not None
        told = vector.advice
        base = replace(base, sites=base.sites or (tuple(told["sites"]) if told["sites"] else None))
        steering = Steering(((vector, 1.0),), base.window, base.sites, base.halves)
        grid = positions(*told["range"])
        columns: dict[str, Any] = {}
        previews: dict[str, Any] = {}
        for place, (column, prompt) in enumerate(panel.prompts.items()):
            wanted = _start(sent, column, panel.concept, told["strength"])
            strengths = [wanted, *(value for value in grid if value != wanted)]  # previews show the first
            recipe = replace(base, prompt=prompt)
            prefix = studio.prefixes.get(prefix_key(studio, recipe))
            shown = 0.0
            for item in studio.paint(recipe, steering, strengths, prefix, stop=stop):
                if isinstance(item, Result):
                    columns[column] = strip_column(studio, column, recipe, vector, strengths, wanted, item)
                elif item.previews or time.monotonic() - shown > PAUSE:
                    shown = time.monotonic()
                    total = item.total * len(panel.prompts)
                    text = f"{TITLES[column]}: step {item.index} of {item.total}"
                    if item.previews:
                        previews[column] = {"preview": web_picture(item.previews[0])}
                    yield _running(ticket, "strip", place * item.total + item.index, total, text, previews)
        yield strip_message(ticket, panel.concept, told, columns)


def release(studio: Studio, session: Session, sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Paint one exact strength per column, from the window's start on where its latents are at hand.

    `sent` is {"ticket", "columns": {column: {"recipe", "strength"}}}, the recipe as the stage got it. Columns
    that differ in prompt, seed and strength alone are one batch. Raises as `generate`.
    """
    ticket = ticket_of(sent.get("ticket"))
    columns: dict[str, Any] = {}
    with session.run(ticket) as stop:
        asked = {column: job for column, job in _mapping(sent.get("columns")).items() if column in TITLES}
        groups: dict[Recipe, dict[str, Recipe]] = {}
        for column, job in asked.items():
            recipe = Recipe.from_json(_mapping(_mapping(job).get("recipe")))
            name = concept_of(studio, recipe)
            exact = replace(recipe, concepts=((name, strength(name, job.get("strength"))),))
            groups.setdefault(replace(recipe, prompt="", seed=0, concepts=((name, 1.0),)), {})[column] = exact
        for place, (shared, wanted) in enumerate(groups.items()):
            *_, vector = vector_for(studio, session, concept_of(studio, shared), stop)
            for item in _exactly(studio, wanted, vector, stop):
                if isinstance(item, Step):
                    shown = zip(wanted, item.previews, strict=False)  # those after them are unsteered pictures
                    previews = {column: {"preview": web_picture(picture)} for column, picture in shown}
                    done = (place + item.index / item.total) / len(groups)
                    value = next(iter(wanted.values())).concepts[0][1]
                    text = f"Computing {value:+.2f}: step {item.index} of {item.total}"
                    if previews or item.index % 3 == 0:
                        yield _running(ticket, "exact", done, 1, text, {**columns, **previews})
                else:
                    columns |= item
            yield _running(ticket, "exact", (place + 1) / len(groups), 1, "", columns)
        yield {"ticket": ticket, "kind": "exact", "phase": "done", "text": "", "columns": columns}


def profiled(studio: Studio, session: Session, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Where a column's unsteered picture is spiky: over sites and timesteps.

    `sent` is {"ticket", "column", "recipe"}; raises RudderError as `release`, or without a calibration.
    """
    ticket, column = ticket_of(sent.get("ticket")), str(sent.get("column"))
    recipe = Recipe.from_json(_mapping(sent.get("recipe")))
    concept_of(studio, recipe)
    unsteered = studio.unsteered.get(prefix_key(studio, recipe)[:-1])
    if unsteered is None:
        result = finish(studio.paint(recipe, Steering(window=recipe.window), [0.0]))
        unsteered = result.images[0]
        keep(studio, recipe, result.prefix, unsteered)
    told = {column: {"profile": profile(studio, unsteered)}}
    return {"ticket": ticket, "kind": "profile", "phase": "told", "text": "", "columns": told}


def _exactly(
    studio: Studio, wanted: Mapping[str, Recipe], vector: ConceptVector, stop: Any
) -> Iterator[Step | dict[str, Any]]:
    """The steps of one exact strength a column as one batch, then {column: {"frame"}}.

    Unsteered pictures that are not at hand are painted along, and so are the steps before the window.
    """
    keys = {column: prefix_key(studio, recipe) for column, recipe in wanted.items()}
    unsteered = {column: studio.unsteered.get(key[:-1]) for column, key in keys.items()}
    rows = [*wanted.items(), *((column, recipe) for column, recipe in wanted.items() if unsteered[column] is None)]
    strengths = [recipe.concepts[0][1] if place < len(wanted) else 0.0 for place, (_, recipe) in enumerate(rows)]
    prefixes = [studio.prefixes.get(keys[column]) for column, _ in rows]
    first = rows[0][1]
    run = studio.paint(
        first,
        Steering(((vector, 1.0),), first.window, first.sites, first.halves),
        strengths,
        None if None in prefixes else Prefix.join(prefixes),
        stop=stop,
        prompts=[recipe.prompt for _, recipe in rows],
        seeds=[recipe.seed for _, recipe in rows],
    )
    name = first.concepts[0][0]
    own = None if name in studio.concepts else {name: vector}
    for item in run:
        if isinstance(item, Step):
            yield item
            continue
        images = item.images
        unsteered |= {
            column: image for (column, _), image in zip(rows[len(wanted) :], images[len(wanted) :], strict=True)
        }
        for place, (column, recipe) in enumerate(wanted.items()):
            keep(studio, recipe, item.prefix.of(place), unsteered[column])
            yield {column: {"frame": asdict(frame(images[place], unsteered[column], recipe, True, own))}}


def recipe_of(studio: Studio, panel: Panel) -> Recipe:
    """The controls as a checked Recipe (without prompt); RudderError names the first bad value."""
    for prompt in panel.prompts.values():
        Recipe(prompt=prompt)
    known = studio.backbone.sites()
    for site in panel.sites:
        if site not in known:
            raise RudderError(f"{studio.backbone.name} has no site {shorten(site)!r}: choose sites from the list.")
    return Recipe(
        model=studio.backbone.name,
        seed=panel.seed,
        num_inference_steps=panel.steps,
        guidance_scale=panel.guidance,
        negative_prompt=panel.negative,
        concepts=((panel.concept, 1.0),),
        window=Window(*panel.window),
        sites=panel.sites or None,
        halves=panel.halves,
    )


def concept_of(studio: Studio, recipe: Recipe) -> str:
    """The one concept of a recipe; RudderError for another model or another number of concepts."""
    if recipe.model != studio.backbone.name:
        raise RudderError(
            f"This picture was made with the model {shorten(recipe.model)!r}, and this page runs "
            f"{studio.backbone.name!r}: start the page with that model to restore it."
        )
    if len(recipe.concepts) != 1:
        raise RudderError(
            f"This picture is steered by {len(recipe.concepts)} concepts and the page by one at a time: "
            "use the command line's steer for it."
        )
    return recipe.concepts[0][0]


def prefix_key(studio: Studio, recipe: Recipe) -> tuple[Any, ...]:
    """What the latents at the start of the window depend on."""
    start = recipe.window.steps(recipe.num_inference_steps).start
    return (
        studio.backbone.fingerprint,
        recipe.prompt,
        recipe.negative_prompt,
        recipe.seed,
        recipe.num_inference_steps,
        recipe.guidance_scale,
        start,
    )


def keep(studio: Studio, recipe: Recipe, prefix: Prefix, unsteered: Image.Image) -> None:
    """Keep what all strengths of a recipe share: latents at the window's start, the unsteered picture."""
    key = prefix_key(studio, recipe)
    studio.prefixes.put(key, prefix)
    studio.unsteered.put(key[:-1], unsteered)


def strip_column(
    studio: Studio,
    column: str,
    recipe: Recipe,
    vector: ConceptVector,
    strengths: Sequence[float],
    wanted: float,
    result: Result,
) -> dict[str, Any]:
    """A painted strip as the browser takes a column; prefix and unsteered picture are kept for releases."""
    unsteered = result.images[strengths.index(0.0)]
    keep(studio, recipe, result.prefix, unsteered)
    name = recipe.concepts[0][0]
    shipped = name in studio.concepts
    frames = []
    for value, image in sorted(zip(strengths, result.images, strict=True), key=lambda pair: pair[0]):
        exact = value == wanted or (shipped and image.width <= SMALL)
        own = None if shipped else {name: vector}
        frames.append(frame(image, unsteered, replace(recipe, concepts=((name, value),)), exact, own))
    at = strengths.index(0.0)
    return {
        "title": TITLES[column],
        "prompt": recipe.prompt,
        "reading": reading(studio, unsteered, result.latents[at : at + 1]),
        "response": answer(studio, vector, strengths, result),
        "recipe": json.loads(recipe.to_json()),
        "strength": wanted,
        "frames": [asdict(one) for one in frames],
    }


def strip_message(ticket: int, concept: str, told: Mapping[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
    """The message that fills the stage: every column's frames, the slider's range and positions."""
    low, high = told["range"]
    return {
        "ticket": ticket,
        "kind": "strip",
        "phase": "done",
        "text": "",
        "columns": columns,
        "concept": concept,
        "strip": positions(low, high),
        "range": [min(low, 0.0), max(high, 0.0)],
    }


def failed(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The message that sets the stage at rest again after an error."""
    ticket = sent.get("ticket")
    return {
        "ticket": ticket if isinstance(ticket, int) else 0,
        "kind": "none",
        "phase": "failed",
        "columns": {},
    }


def unknown_words(studio: Studio, prompts: Iterable[str]) -> str:
    """A gentle sentence about words the model was never taught; "" when there are none."""
    words = list(dict.fromkeys(word for prompt in prompts for word in studio.backbone.unknown_words(prompt)))
    if not words:
        return ""
    listed = ", ".join(f"\u201c{shorten(word, 24)}\u201d" for word in words[:6]) + (
        " and others" if len(words) > 6 else ""
    )
    return f"{studio.backbone.name} was never taught {listed}: it paints what it can from the other words."


def _running(ticket: int, kind: str, done: float, total: float, text: str, columns: dict) -> dict[str, Any]:
    return {
        "ticket": ticket,
        "kind": kind,
        "phase": "running",
        "done": done,
        "total": total,
        "text": text,
        "columns": dict(columns),
    }


def _start(sent: Mapping[str, Any], column: str, concept: str, recommended: float) -> float:
    """The strength to show first: the slider's while the concept stays the same, else the recommended one."""
    if sent.get("concept") != concept:
        return float(recommended)
    value = _mapping(sent.get("strengths")).get(column, recommended)
    return round(strength(concept, value), 6)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RudderError(f"The page sent {shorten(value)!r} where an object was due: reload the page.")
    return value
