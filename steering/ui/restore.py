"""A picture that Download made brings everything back, from the prompt to the sites."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..concepts import ConceptVector
from ..errors import RudderError, unknown
from ..keeping import read_recipe, read_vectors
from ..recipe import SEED_KEPT, Recipe
from .asked import concept_of
from .panels import MOST_GUIDANCE, MOST_STEPS, concept_items
from .session import Session
from .studio import Studio


def read(studio: Studio, session: Session, path: str) -> tuple[Recipe, str]:
    """The recipe in a picture and the name its concept has here; vectors inside the file join the session.

    Raises RudderError for a file without a recipe, another model's, or a concept neither here nor inside.
    """
    recipe = read_recipe(path)
    name = concept_of(studio, recipe)
    carried = read_vectors(path).get(name)
    if carried is not None:
        carried.check(studio.backbone)
        name = known_as(session, carried) or session.keep(carried, {}, {*studio.concepts, *session.vectors})
    if name not in studio.concepts and name not in session.vectors:
        known = [*studio.concepts, *session.vectors]
        raise unknown("concept", name, known, "open its vector file on the Concepts tab first, or choose one of")
    bounded(studio, recipe)
    return recipe, name


def bounded(studio: Studio, recipe: Recipe) -> None:
    """RudderError for a recipe that goes beyond the page's controls, or names sites that the model lacks."""
    for what, value, most in (
        ("steps", recipe.num_inference_steps, MOST_STEPS),
        ("guidance", recipe.guidance_scale, MOST_GUIDANCE),
        ("seed", recipe.seed, SEED_KEPT),
    ):
        if value > most:
            raise RudderError(
                f"This picture was made with {what} {value:,}, and the page goes up to {most:,}: use "
                "`rudder steer --from` on the command line for it."
            )
    for site in (*(recipe.sites or ()), *(site for use in recipe.uses for site in use.sites or ())):
        if site not in studio.backbone.sites():
            raise unknown(f"site in {studio.backbone.name}", site, studio.backbone.sites())


def controls(studio: Studio, session: Session, recipe: Recipe, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Values for every control, in the order of Controls, and the strength for the slider."""
    memorized = {entry["key"] for entry in studio.prompts["memorized"]}
    to_b = recipe.prompt in memorized
    values = [
        gr.skip() if to_b else recipe.prompt,
        recipe.prompt if to_b else gr.skip(),
        True if to_b else gr.skip(),
        gr.HTML(value=name, items=concept_items(studio, session)),
        recipe.seed,
        recipe.num_inference_steps,
        recipe.guidance_scale,
        recipe.negative_prompt,
        recipe.window.start,
        recipe.window.end,
        list(recipe.sites or ()),
        recipe.halves,
        True,
    ]
    return values, {"strength": recipe.concepts[0][1], "concept": name, "column": "b" if to_b else "a"}


def known_as(session: Session, vector: ConceptVector) -> str | None:
    """The name under which this very vector is already in the session."""
    data = vector.to_bytes()
    return next(
        (name for name, own in session.vectors.items() if own.replace(name=vector.name).to_bytes() == data),
        None,
    )
