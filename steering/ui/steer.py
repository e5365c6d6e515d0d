"""The stage's callbacks: Generate paints what was asked for, then a strip a column, coarse to fine; releasing the
slider paints one exact strength and what a strip still lacks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from threading import Event
from typing import Any

from PIL import Image
from torch import Tensor

from ..checks import strength
from ..concepts import ConceptVector, Progress
from ..plan import Steering, Term
from ..recipe import Recipe
from ..sampling import Prefix, Result, Step, finish
from .asked import Panel, concept_of, first_strength, mapping, prefix_key, recipe_of, strip_of, title_of
from .pictures import ROWS, SMALL, frame, web_picture
from .reading import answer, profile, reading
from .restore import bounded
from .session import Session, ticket_of, unless_stopped
from .studio import Studio, positions, refinements, vector_for

COLUMNS = ("a", "b")
PAUSE = 0.12  # seconds between two progress messages


@dataclass(frozen=True, eq=False)
class Painted:
    """One picture as the sampler left it, with its latents [1, C, H, W]."""

    image: Image.Image
    latents: Tensor


def generate(studio: Studio, session: Session, panel: Panel, sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Paint every column's exact pictures, then its strip; yields the stage's messages, the last with phase "done".

    `sent` is the browser's {"ticket", "strengths": {column: number}, "concept": the one on show}. A message's columns
    hold previews, and from when the exact pictures are there all that is known: frames are only ever added.
    Raises RudderError for any bad value, Cancelled once a newer ticket is known.
    """
    ticket = ticket_of(sent.get("ticket"))
    with session.run(ticket) as stop:
        unless_stopped(stop)
        base = recipe_of(studio, panel)
        vector: ConceptVector | None = None
        for item in vector_for(studio, session, panel.concept, stop):
            if isinstance(item, Progress):
                yield _message(ticket, "strip", {}, item.message, item.done / item.total)
            else:
                vector = item
        assert vector is not None
        told = vector.advice
        base = replace(base, sites=base.sites or (tuple(told["sites"]) if told["sites"] else None))
        wanted, heads = {}, {}
        for column, prompt in panel.prompts.items():
            value = first_strength(sent, column, panel.concept, told["strength"])
            wanted[column] = replace(base, prompt=prompt, concepts=((panel.concept, value),))
            heads[column] = {"title": title_of(studio, prompt), "prompt": prompt}
        note = _throttled(ticket, "strip", "Painting both pictures" if len(wanted) > 1 else "Painting")
        exact: dict[str, Painted] = {}
        for made in _exactly(studio, wanted, vector, stop):
            if isinstance(made, Step):
                yield from note(
                    made, {column: heads[column] | shown for column, shown in _previews(studio, made, wanted)}
                )
            else:
                exact = made
        columns = {}
        for column, recipe in wanted.items():
            plain = _unsteered(studio, recipe)
            columns[column] = heads[column] | {
                "reading": reading(studio, plain.image, plain.latents),
                "recipe": json.loads(replace(recipe, concepts=((panel.concept, 1.0),)).to_json()),
                "strength": recipe.concepts[0][1],
                "frames": [_frame(studio, recipe, vector, *one) for one in _ends(recipe, plain, exact[column])],
            }
        about = strip_of(panel.concept, told)
        yield _message(ticket, "strip", columns, "The exact pictures; now their strip", 0.0) | about
        for text, part in _fill(studio, wanted, exact, vector, stop, columns):
            yield _message(ticket, "strip", columns, text, part) | about
        yield _message(ticket, "strip", columns, phase="done") | about


def release(studio: Studio, session: Session, sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Paint one exact strength per column, from the window's start on where its latents are at hand.

    `sent` is {"ticket", "columns": {column: {"recipe", "strength", "fill"}}}, the recipe as the stage got it; with
    "fill" the column's strip is painted after it. Columns that differ in prompt, seed and strength alone are one batch.
    Raises as `generate`.
    """
    ticket = ticket_of(sent.get("ticket"))
    columns: dict[str, Any] = {}
    with session.run(ticket) as stop:
        asked = {column: job for column, job in mapping(sent.get("columns")).items() if column in COLUMNS}
        groups: dict[Recipe, dict[str, Recipe]] = {}
        for column, job in asked.items():
            recipe = Recipe.from_json(mapping(mapping(job).get("recipe")))
            name = concept_of(studio, recipe)
            bounded(studio, recipe)
            exact = replace(recipe, concepts=((name, strength(name, job.get("strength"))),))
            groups.setdefault(replace(recipe, prompt="", seed=0, concepts=((name, 1.0),)), {})[column] = exact
        rest = []
        for wanted in groups.values():
            value = next(iter(wanted.values())).concepts[0][1]
            *_, vector = vector_for(studio, session, next(iter(wanted.values())).concepts[0][0], stop)
            assert isinstance(vector, ConceptVector)
            note = _throttled(ticket, "exact", f"Computing {value:+.2f}")
            for item in _exactly(studio, wanted, vector, stop):
                if isinstance(item, Step):
                    yield from note(item, columns | dict(_previews(studio, item, wanted)))
                    continue
                for column, recipe in wanted.items():
                    columns[column] = {"frame": _frame(studio, recipe, vector, recipe.concepts[0][1], item[column])}
                fill = {column: recipe for column, recipe in wanted.items() if asked[column].get("fill")}
                rest.append((fill, {column: item[column] for column in fill}, vector))
        yield _message(ticket, "exact", columns, "", 1.0)
        for fill, found, vector in rest:
            for column, recipe in fill.items():
                plain = _unsteered(studio, recipe)
                columns[column] |= {"frames": [], "reading": reading(studio, plain.image, plain.latents)}
            for text, part in _fill(studio, fill, found, vector, stop, columns):
                yield _message(ticket, "exact", columns, text, part)
        yield _message(ticket, "exact", columns, phase="done")


def profiled(studio: Studio, session: Session, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Where a column's unsteered picture is spiky: over sites and timesteps.

    `sent` is {"ticket", "column", "recipe"}; raises RudderError as `release`, or without a calibration.
    """
    ticket, column = ticket_of(sent.get("ticket")), str(sent.get("column"))
    recipe = Recipe.from_json(mapping(sent.get("recipe")))
    concept_of(studio, recipe)
    bounded(studio, recipe)
    plain = studio.unsteered.get(prefix_key(studio, recipe)[:-1]) or paint_unsteered(studio, recipe)
    told = {column: {"profile": profile(studio, plain.image)}}
    return {"ticket": ticket, "kind": "profile", "phase": "told", "text": "", "columns": told}


def paint_unsteered(studio: Studio, recipe: Recipe) -> Painted:
    """A recipe's unsteered picture, kept with the latents at its window's start for what comes after."""
    result = finish(studio.paint(recipe, Steering(window=recipe.window), [0.0]))
    plain = Painted(result.images[0], result.latents)
    keep(studio, recipe, result.prefix, plain)
    return plain


def _exactly(
    studio: Studio, wanted: Mapping[str, Recipe], vector: ConceptVector, stop: Event | None
) -> Iterator[Step | dict[str, Painted]]:
    """The steps of one exact strength a column as one batch, then {column: the picture}.

    Unsteered pictures that are not at hand are painted along, and so are the steps before the window.
    """
    keys = {column: prefix_key(studio, recipe) for column, recipe in wanted.items()}
    lacking = [column for column, key in keys.items() if studio.unsteered.get(key[:-1]) is None]
    rows = [*wanted.items(), *((column, wanted[column]) for column in lacking)]
    strengths = [recipe.concepts[0][1] if place < len(wanted) else 0.0 for place, (_, recipe) in enumerate(rows)]
    for item in _batch(studio, rows, strengths, vector, stop):
        if isinstance(item, Step):
            yield item
            continue
        painted = [Painted(image, item.latents[place : place + 1]) for place, image in enumerate(item.images)]
        plain = dict(zip(lacking, painted[len(wanted) :], strict=True))
        for place, (column, recipe) in enumerate(wanted.items()):
            kept = plain.get(column) or studio.unsteered.get(keys[column][:-1]) or paint_unsteered(studio, recipe)
            keep(studio, recipe, item.prefix.of(place), kept)
        yield dict(zip(wanted, painted[: len(wanted)], strict=True))


def _fill(
    studio: Studio,
    wanted: Mapping[str, Recipe],
    exact: Mapping[str, Painted],
    vector: ConceptVector,
    stop: Event,
    columns: dict[str, Any],
) -> Iterator[tuple[str, float]]:
    """Paint the strips of columns whose exact pictures are there, coarse to fine, adding to columns[column]["frames"],
    and at last its "response"; yields (what is done, which part of all) after every batch."""
    if not wanted:
        return
    told = vector.advice
    low, high = told["range"]
    strip = positions(low, high, told["strength"])
    found = {column: {0.0: _unsteered(studio, recipe)} for column, recipe in wanted.items()}
    for column, recipe in wanted.items():
        found[column][recipe.concepts[0][1]] = exact[column]
    todo = [
        (value, column, recipe)
        for values in refinements(strip, [0.0])
        for value in values
        for column, recipe in wanted.items()
        if value not in found[column]
    ]
    at_once, total = ROWS[studio.backbone.resolution <= SMALL], len(todo)
    while todo:
        some, todo = todo[:at_once], todo[at_once:]
        rows, strengths = [(column, recipe) for _, column, recipe in some], [value for value, _, _ in some]
        for item in _batch(studio, rows, strengths, vector, stop, previews=False):
            if isinstance(item, Step):
                done = 1 - (len(todo) + len(some) * (1 - item.index / item.total)) / total
                yield f"Painting the strip: {total - len(todo) - len(some)} of {total} frames", done
                continue
            for place, (value, column, recipe) in enumerate(some):
                found[column][value] = Painted(item.images[place], item.latents[place : place + 1])
                columns[column]["frames"].append(_frame(studio, recipe, vector, value, found[column][value]))
        yield f"Painting the strip: {total - len(todo)} of {total} frames", 1 - len(todo) / total
    for column in wanted:
        columns[column]["response"] = answer(studio, vector, found[column], columns[column]["reading"])


def _batch(
    studio: Studio,
    rows: list[tuple[str, Recipe]],
    strengths: list[float],
    vector: ConceptVector,
    stop: Event | None,
    previews: bool = True,
) -> Iterator[Step | Result]:
    """Paint recipes that differ in prompt and seed alone at a strength each, from the prefixes that are at hand."""
    first = rows[0][1]
    found = [studio.prefixes.get(prefix_key(studio, recipe)) for _, recipe in rows]
    prefixes: list[Prefix] = [one for one in found if one is not None]
    return studio.paint(
        first,
        Steering((Term(vector, 1.0),), first.window, first.sites, first.halves),
        strengths,
        Prefix.join(prefixes) if len(prefixes) == len(rows) else None,
        stop=stop,
        prompts=[recipe.prompt for _, recipe in rows],
        seeds=[recipe.seed for _, recipe in rows],
        previews=previews,
    )


def _unsteered(studio: Studio, recipe: Recipe) -> Painted:
    """The unsteered picture of a recipe that was just painted; again where the cache has forgotten it meanwhile."""
    return studio.unsteered.get(prefix_key(studio, recipe)[:-1]) or paint_unsteered(studio, recipe)


def _ends(recipe: Recipe, plain: Painted, exact: Painted) -> list[tuple[float, Painted]]:
    """The unsteered picture and the exact one, once where they are the same."""
    value = recipe.concepts[0][1]
    return [(0.0, plain)] if value == 0 else [(0.0, plain), (value, exact)]


def _frame(studio: Studio, recipe: Recipe, vector: ConceptVector, value: float, one: Painted) -> dict[str, Any]:
    """A picture as the browser takes it; of large models only the strengths asked for are finished downloads."""
    name = recipe.concepts[0][0]
    shipped = name in studio.concepts
    exact = value == recipe.concepts[0][1] or (shipped and one.image.width <= SMALL)
    own = None if shipped else {name: vector}
    plain = _unsteered(studio, recipe).image
    return asdict(frame(one.image, plain, replace(recipe, concepts=((name, value),)), exact, own))


def _previews(studio: Studio, step: Step, wanted: Mapping[str, Recipe]) -> list[tuple[str, dict[str, Any]]]:
    """(column, {"preview", "plain"}) of a step with pictures: the steered one and its unsteered one."""
    shown = list(step.previews)
    lacking = iter(shown[len(wanted) :])
    found = []
    for place, (column, recipe) in enumerate(wanted.items() if shown else ()):
        kept = studio.unsteered.get(prefix_key(studio, recipe)[:-1])
        plain = kept.image if kept else next(lacking)
        found.append((column, {"preview": web_picture(shown[place]), "plain": web_picture(plain)}))
    return found


def _throttled(ticket: int, kind: str, doing: str) -> Callable[[Step, dict[str, Any]], Iterator[dict[str, Any]]]:
    """Progress messages of a run's steps: those with pictures, and of the others one every PAUSE seconds."""
    last = 0.0

    def note(step: Step, columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
        nonlocal last
        if step.previews or time.monotonic() - last > PAUSE:
            last = time.monotonic()
            text = f"{doing}: step {step.index} of {step.total}"
            yield _message(ticket, kind, columns, text, step.index / step.total)

    return note


def keep(studio: Studio, recipe: Recipe, prefix: Prefix, unsteered: Painted) -> None:
    """Keep what all strengths of a recipe share: latents at the window's start, the unsteered picture."""
    key = prefix_key(studio, recipe)
    studio.prefixes.put(key, prefix)
    studio.unsteered.put(key[:-1], unsteered)


def failed(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The message that sets the stage at rest again after an error."""
    ticket = sent.get("ticket")
    return {
        "ticket": ticket if isinstance(ticket, int) else 0,
        "kind": "none",
        "phase": "failed",
        "columns": {},
    }


def _message(
    ticket: int, kind: str, columns: Mapping[str, Any], text: str = "", part: float = 0.0, phase: str = "running"
) -> dict[str, Any]:
    """A message to the stage; its columns as they are now, since later messages go on adding to them."""
    shown = {
        column: data | ({"frames": list(data["frames"])} if "frames" in data else {})
        for column, data in columns.items()
    }
    return {"ticket": ticket, "kind": kind, "phase": phase, "text": text, "part": round(part, 4), "columns": shown}
