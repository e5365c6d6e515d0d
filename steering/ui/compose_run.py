"""The workbench's painting: the unsteered picture, the steered one from its prefix, and what words make of the same.

The steered picture is always painted alone: the same controls give the same bytes, here and on the command line.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from io import BytesIO
from threading import Event
from typing import Any

from PIL import Image

from ..against import Rival
from ..concepts import ConceptVector, Progress
from ..inversion import Inverted, distance, told
from ..plan import Steering
from ..recipe import Recipe
from ..sampling import Prefix, Result, Step
from .compose_asked import Job, job_of, settled
from .pictures import SMALL, data_uri, frame, web_picture
from .reading import reading
from .session import Session, ticket_of, unless_stopped
from .steer import PAUSE, Painted
from .studio import Studio, vector_for

TITLES = {"prompt": "By words in the prompt", "embedding": "By the prompt's embedding"}


def paint(studio: Studio, session: Session, sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Paint what the page's state asks for; yields its messages, the last with phase "done".

    `sent` is {"ticket", "state"} (compose_asked.job_of). Messages hold previews; once the pictures are there, all that
    is known of them. Raises RudderError for any bad value, Cancelled once a newer ticket is known.
    """
    ticket = ticket_of(sent.get("ticket"))
    with session.bench.run(ticket) as stop:
        unless_stopped(stop)
        job = job_of(studio, session, sent.get("state"))
        note = _Note(ticket)
        vectors: dict[str, ConceptVector] = {}
        for name, _ in job.recipe.concepts:
            for item in vector_for(studio, session, name, stop):
                if isinstance(item, Progress):
                    yield from note(item.message, item.done / item.total)
                else:
                    vectors[name] = item
        recipe = settled(job.recipe, vectors)
        steering = Steering.from_recipe(recipe, vectors)
        begun: Inverted | None = None
        for one in _inverted(studio, job, recipe, stop):
            if isinstance(one, Progress):
                yield from note("Inverting your picture", one.done / one.total)
            else:
                begun = one
        known: dict[str, Any] = {"own": told(begun)} if begun else {}
        plain: tuple[Painted, Prefix] | None = None
        for made in _unsteered(studio, recipe, steering, begun, stop):
            if isinstance(made, Step):
                yield from note("Painting it unsteered", made.index / made.total, before=made.previews)
            else:
                plain = made
        assert plain is not None
        base, prefix = plain
        known["before"] = {"src": _shown(base.image), "reading": reading(studio, base.image, base.latents)}
        yield note.message("running", "Painting", 0.0, known)
        steered: Painted | None = None
        for drawn in _steered(studio, recipe, steering, vectors, prefix, begun, stop):
            if isinstance(drawn, Step):
                yield from note("Painting", drawn.index / drawn.total, known, drawn.previews)
            else:
                steered = drawn
        assert steered is not None
        own = {name: vector for name, vector in vectors.items() if name not in studio.concepts}
        known["after"] = {
            **asdict(frame(steered.image, base.image, recipe, True, own or None)),
            "reading": reading(studio, steered.image, steered.latents),
            "change": round(255 * distance(base.image, steered.image), 1),
        }
        known["recipe"] = json.loads(recipe.to_json())
        yield note.message("running" if job.words else "done", "Asking by words" if job.words else "", 0.0, known)
        if not job.words:
            return
        for found in studio.against(recipe, steering, job.words, steered=steered.image, picture=begun, stop=stop):
            if isinstance(found, Progress):
                yield from note(f"Words: {found.message}", found.done / found.total, known)
            else:
                known["rivals"] = [_rival(rival, recipe.seed) for rival in found]
        yield note.message("done", "", 1.0, known)


class _Note:
    """Progress messages of one run: those with pictures, and of the others one every PAUSE seconds."""

    def __init__(self, ticket: int) -> None:
        self.ticket, self.last = ticket, 0.0

    def message(self, phase: str, text: str, part: float, known: Mapping[str, Any]) -> dict[str, Any]:
        return {"kind": "run", "ticket": self.ticket, "phase": phase, "text": text, "part": round(part, 4), **known}

    def __call__(
        self,
        text: str,
        part: float,
        known: Mapping[str, Any] | None = None,
        after: tuple[Image.Image, ...] = (),
        before: tuple[Image.Image, ...] = (),
    ) -> Iterator[dict[str, Any]]:
        previews = {name: web_picture(some[0]) for name, some in (("before", before), ("after", after)) if some}
        if previews or time.monotonic() - self.last > PAUSE:
            self.last = time.monotonic()
            yield self.message("running", text, part, known or {}) | {"previews": previews}


def _inverted(studio: Studio, job: Job, recipe: Recipe, stop: Event) -> Iterator[Progress | Inverted]:
    """The visitor's picture as a run, kept by what it depends on; nothing without one."""
    if job.own is None:
        return
    key = ("inverted", *_run_key(studio, recipe))
    found = studio.prefixes.get(key)
    if found is None:
        for item in studio.invert(job.own, recipe, job.way, stop=stop):
            if isinstance(item, Progress):
                yield item
            else:
                found = item
        studio.prefixes.put(key, found)
    assert found is not None
    yield found


def _unsteered(
    studio: Studio, recipe: Recipe, steering: Steering, begun: Inverted | None, stop: Event
) -> Iterator[Step | tuple[Painted, Prefix]]:
    """The same run with every strength 0, and its latents where the first term sets in."""
    key = ("compose", *_run_key(studio, recipe), steering.steps(recipe.num_inference_steps).start)
    kept = studio.unsteered.get(key)
    if kept is None:
        plain = Recipe.from_json(json.loads(recipe.to_json()) | {"mask": ""})
        for item in studio.paint(plain, steering, [0.0], stop=stop, picture=begun):
            if isinstance(item, Result):
                kept = (Painted(item.images[0], item.latents), item.prefix)
            else:
                yield item
        studio.unsteered.put(key, kept)
    assert kept is not None
    yield kept


def _steered(
    studio: Studio,
    recipe: Recipe,
    steering: Steering,
    vectors: Mapping[str, ConceptVector],
    prefix: Prefix,
    begun: Inverted | None,
    stop: Event,
) -> Iterator[Step | Painted]:
    """The picture asked for, kept with the very vectors that made it."""
    made = tuple(hashlib.sha256(vector.to_bytes()).hexdigest() for vector in vectors.values())
    key = ("composed", studio.backbone.fingerprint, recipe.to_json(), made)
    kept = studio.unsteered.get(key)
    if kept is None:
        for item in studio.paint(recipe, steering, [1.0], prefix, stop=stop, picture=begun):
            if isinstance(item, Result):
                kept = Painted(item.images[0], item.latents)
            else:
                yield item
        studio.unsteered.put(key, kept)
    assert kept is not None
    yield kept


def _run_key(studio: Studio, recipe: Recipe) -> tuple[Any, ...]:
    """What an unsteered run depends on."""
    return (
        studio.backbone.fingerprint, recipe.prompt, recipe.negative_prompt, recipe.seed, recipe.num_inference_steps,
        recipe.guidance_scale, recipe.picture,
    )  # fmt: skip


def _rival(one: Rival, seed: int) -> dict[str, Any]:
    """A picture that words made. It is a PNG without a recipe, since none remakes it: nothing in it is steered."""
    return {
        "way": one.way,
        "title": TITLES[one.way],
        "src": _exact(one.image),
        "file": f"rudder-words-{one.way}-seed{seed}.png",
        "change": round(255 * one.change, 1),
        "sentence": one.sentence,
    }


def _shown(image: Image.Image) -> str:
    """A picture to lay beside another: to the pixel where it is small, so that only what changed differs."""
    return web_picture(image, 94) if image.width > SMALL else _exact(image)


def _exact(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return data_uri(file.getvalue())
