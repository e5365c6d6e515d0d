"""What a visitor asked for: the controls and the browser's messages, checked, as recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..checks import strength
from ..errors import RudderError, shorten
from ..recipe import SEED_KEPT, Recipe, Window
from .studio import Studio, positions

KNOWN = {"ordinary": "Ordinary prompt", "memorized": "Memorised prompt"}  # what is said of a model's own prompts


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


def recipe_of(studio: Studio, panel: Panel) -> Recipe:
    """The controls as a checked Recipe (without prompt); RudderError names the first bad value."""
    for prompt in panel.prompts.values():
        Recipe(prompt=prompt)
    if isinstance(panel.seed, int | float) and panel.seed > SEED_KEPT:
        raise RudderError(
            f"The seed is over {SEED_KEPT:,}, the largest whole number that a browser keeps: choose a smaller one."
        )
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
    """The one concept of a recipe; RudderError for another model, another number of concepts, or what the page cannot
    do yet: it would paint another picture."""
    if recipe.model != studio.backbone.name:
        raise RudderError(
            f"This picture was made with the model {shorten(recipe.model)!r}, and this page runs "
            f"{studio.backbone.name!r}: go to that model's page, or start the page with it, to restore it."
        )
    if len(recipe.concepts) != 1:
        raise RudderError(
            f"This picture is steered by {len(recipe.concepts)} concepts and this tab by one at a time: open it under "
            "Compose."
        )
    beyond = {
        "an operator or window of its concept's own": recipe.uses,
        "a mask": recipe.mask,
        "a picture of somebody's own to begin with": recipe.picture,
    }
    for what, there in beyond.items():
        if there:
            raise RudderError(
                f"This picture was made with {what}, which this tab does not have: open it under Compose."
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


def title_of(studio: Studio, prompt: str) -> str:
    """What is known of a prompt beforehand: only a model's own lists say that one is memorised or ordinary."""
    for kind, title in KNOWN.items():
        if any(entry["key"] == prompt for entry in studio.prompts.get(kind, [])):
            return title
    return "Your prompt" if prompt.strip() else "No prompt"


def strip_of(concept: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the slider needs of a strip: its strengths, those named on the axis, and the ends."""
    low, high = told["range"]
    strip = positions(low, high, told["strength"])
    ticks = sorted({strip[0], 0.0, round(told["strength"] / 2, 6), round(float(told["strength"]), 6), strip[-1]})
    return {
        "concept": concept,
        "strip": strip,
        "ticks": ticks,
        "range": [strip[0], strip[-1]],
        "recommended": told["strength"],
    }


def first_strength(sent: Mapping[str, Any], column: str, concept: str, recommended: float) -> float:
    """The strength to show first: the slider's while the concept stays the same, else the recommended one."""
    if sent.get("concept") != concept:
        return float(recommended)
    value = mapping(sent.get("strengths")).get(column, recommended)
    return round(strength(concept, value), 6)


def mapping(value: Any) -> Mapping[str, Any]:
    """What the browser sent where an object is due; RudderError for anything else."""
    if not isinstance(value, Mapping):
        raise RudderError(f"The page sent {shorten(value)!r} where an object was due: reload the page.")
    return value


def sent_by(event: gr.EventData) -> dict[str, Any]:
    """What the browser sent with an event; nothing when it is no object."""
    return event._data if isinstance(event._data, dict) else {}
