"""The tab Compose: one picture, from a prompt or from one's own, with several concepts, a mask, and words beside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from ..concepts import ConceptVector
from ..errors import RudderError, unknown
from ..images import open_images
from ..keeping import read_recipe, read_vectors
from ..pace import timed
from ..recipe import Recipe
from ..words import heard
from . import notices
from .asked import mapping, sent_by
from .compose_asked import AGAIN, MOST_TERMS, job_of, keep_picture, state_of
from .compose_run import paint
from .panels import MOST_GUIDANCE, MOST_STEPS
from .permalink import Part, link, placed
from .pictures import ONE, web_picture
from .reading import reading
from .restore import bounded, known_as
from .session import Session
from .studio import Studio

BENCH = '<section class="rd-bench" aria-label="Compose one picture"></section>'
BENCH_SCRIPT = """
RudderCompose.mount({ element, props, trigger, watch });
// it triggers 'paint' and 'halt'
"""
ABSENT = "open its vector file on the Concepts tab first, or choose one of"
OTHER = (
    "This is not the picture that the recipe began with, so another one will be painted: bring that very picture to "
    "have it back."
)


@dataclass
class Compose:
    """The tab's components: the workbench, two upload buttons that it presses, and what keeps it in the address."""

    bench: gr.HTML
    own: gr.UploadButton
    opened: gr.UploadButton
    link: gr.HTML


def compose_panel(studio: Studio, painted: Mapping[str, Any]) -> Compose:
    """The tab's contents; `painted`: the stage's first message, whose first column is shown until something else is."""
    bench = gr.HTML(
        {"kind": "first", **listing(studio, Session()), **_first(studio, painted)},
        html_template=BENCH,
        js_on_load=BENCH_SCRIPT,
        about=about(studio),
        elem_id="rd-compose",
    )
    with gr.Row(elem_id="rd-compose-files"):
        own = gr.UploadButton("Your picture", file_types=["image"], size="sm", elem_id="rd-compose-own")
        opened = gr.UploadButton("Open a picture", file_types=["image"], size="sm", elem_id="rd-compose-open")
    return Compose(bench, own, opened, link("compose", ("bench",), studio.backbone.name))


def about(studio: Studio) -> dict[str, Any]:
    """What of the model the workbench needs to know: what it reads, its sites and their groups, its limits."""
    backbone, classes = studio.backbone, studio.backbone.classes
    labels = [str(classes.labels.get(k, k)) for k in range(classes.count)] if classes is not None else []
    return {
        "model": backbone.name,
        "side": backbone.resolution,
        "guides": backbone.guides,
        "reads": "prompt" if classes is None else "class" if classes.count else "nothing",
        "classes": labels,
        "inverts": _inverts(studio),
        "prompts": [entry["key"] for entry in studio.prompts["ordinary"]],
        "groups": [{"name": name, "sites": sites} for name, sites in studio.groups.items()],
        "steps": MOST_STEPS,
        "guidance": MOST_GUIDANCE,
        "terms": MOST_TERMS,
    }


def listing(studio: Studio, session: Session) -> dict[str, Any]:
    """{"concepts": what this visitor can steer with, each with what its vector advises}."""
    found = []
    for concept in studio.concepts.values():
        vector = concept.vector or studio.learned.get(concept.name)
        told = _advice(studio, vector)
        found.append({"name": concept.name, "title": concept.title, "words": concept.prompt, **told})
    for name, vector in session.vectors.items():
        found.append({"name": name, "title": f"{name} (yours)", "words": "", "own": True, **_advice(studio, vector)})
    return {"concepts": found}


def beyond_stage(recipe: Recipe) -> bool:
    """Whether a recipe asks for more than the Steer tab has: several concepts, an operator, a mask, a picture."""
    return len(recipe.concepts) != 1 or bool(recipe.uses or recipe.mask or recipe.picture)


def restored(studio: Studio, session: Session, path: str, recipe: Recipe) -> dict[str, Any]:
    """A picture's recipe as the workbench's message; vectors inside the file join the session.

    Raises RudderError for another model's recipe, or a concept neither here nor inside.
    """
    if recipe.model != studio.backbone.name:
        raise RudderError(
            f"This picture was made with the model {recipe.model[:60]!r}, and this page runs "
            f"{studio.backbone.name!r}: go to that model's page, or start the page with it, to restore it."
        )
    bounded(studio, recipe)
    carried, names = read_vectors(path), dict[str, str]()
    for vector in carried.values():
        vector.check(studio.backbone)
    for name, _ in recipe.concepts:
        if name in carried:
            vector = carried[name]
            names[name] = known_as(session, vector) or session.keep(vector, {}, {*studio.concepts, *session.vectors})
        elif name not in studio.concepts and name not in session.vectors:
            known = [*studio.concepts, *session.vectors]
            raise unknown("concept", name, known, ABSENT)
    return _brought_back(studio, session, recipe, names)


def compose_part(studio: Studio, made: Compose) -> Part:
    """The workbench in the address: all of it but pictures of one's own, and concepts made by oneself."""

    def read(owner: Session, told: Mapping[str, str]) -> tuple[list[Any], str]:
        if "bench" not in told:
            return [gr.skip()], ""
        message, lost = linked(studio, owner, told)
        return [message], lost

    return Part(made.link, "compose", (made.bench,), read, speaks=True)


def linked(studio: Studio, session: Session, told: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What a link says of the workbench, its "bench" of {"recipe", "way", "words"} as JSON, as the workbench's message;
    and a sentence where concepts of it are not here, without which it is restored.

    Raises RudderError for what is no such thing, or another model.
    """
    try:
        state = mapping(json.loads(told["bench"]))
        recipe = Recipe.from_json(mapping(state.get("recipe")))
    except (ValueError, RecursionError) as error:
        raise RudderError("This link is damaged: copy it again where it was made.") from error
    found, lost = placed(studio, session, [name for name, _ in recipe.concepts], told)
    here = [place for place, (name, _) in enumerate(recipe.concepts) if name in found]
    uses = tuple(recipe.uses[place] for place in here if place < len(recipe.uses))
    named = tuple((found[recipe.concepts[place][0]], recipe.concepts[place][1]) for place in here)
    recipe = replace(recipe, concepts=named, uses=uses)
    job = job_of(studio, session, {**state, "own": "", "recipe": json.loads(replace(recipe, picture="").to_json())})
    message = _brought_back(studio, session, replace(job.recipe, picture=recipe.picture), {})
    return {**message, "state": {**message["state"], "way": job.way, "words": job.words}}, lost


def _brought_back(studio: Studio, session: Session, recipe: Recipe, names: Mapping[str, str]) -> dict[str, Any]:
    """The message that sets the workbench to a recipe; `names`: what its concepts are called here."""
    vectors = {name: one.vector for name, one in studio.concepts.items() if one.vector is not None}
    state = state_of(studio, recipe, names, {**vectors, **session.vectors})
    return {"kind": "state", **listing(studio, session), "state": state, "needs": AGAIN if recipe.picture else ""}


def own_picture(studio: Studio, session: Session, path: str) -> dict[str, Any]:
    """A visitor's picture as the workbench's message; "other" is said where a restored recipe needs another one."""
    (image,) = open_images(path, ONE)
    told = keep_picture(studio, session, image)
    seen = session.pictures[told["own"]]
    return {
        "kind": "own",
        **told,
        "src": web_picture(seen, 94),
        "reading": reading(studio, seen),
        "other": OTHER,
    }


def wire(studio: Studio, made: Compose, tab: gr.Tab, session: gr.State, notice: gr.HTML, painters: int) -> None:
    """Connect the workbench: paint and stop, a picture of one's own, a Rudder picture to open, and what a visit to
    another tab may have added to the concepts."""
    queued: dict[str, Any] = {
        "concurrency_id": "painting",
        "concurrency_limit": painters,
        "trigger_mode": "multiple",
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    at_once: dict[str, Any] = {"queue": False, "trigger_mode": "multiple", "api_visibility": "private"}

    def on_paint(event: gr.EventData, owner: Session) -> Iterator[Any]:
        sent = sent_by(event)
        failed = {"kind": "run", "phase": "failed", "ticket": sent.get("ticket")}

        def items() -> Iterator[Any]:
            for message in timed(paint(studio, owner, sent)):
                said = []
                if message["phase"] == "done":
                    recipe = message["recipe"]
                    said = heard(studio.backbone, [recipe["prompt"]], [recipe["negative_prompt"]])
                yield message, notices.note(" ".join(said)) if said else gr.skip()

        yield from notices.guarded(items(), lambda told: (failed, told))

    def on_newer(event: gr.EventData, owner: Session) -> None:
        ticket = sent_by(event).get("ticket")
        if isinstance(ticket, int):
            owner.bench.outdate(ticket)

    def on_own(owner: Session, path: str) -> Any:
        def action() -> Any:
            return own_picture(studio, owner, path), gr.skip()

        return notices.attempt(action, lambda told: (gr.skip(), told))

    def on_open(owner: Session, path: str) -> Any:
        def action() -> Any:
            return restored(studio, owner, path, read_recipe(path)), gr.skip()

        return notices.attempt(action, lambda told: (gr.skip(), told))

    made.bench.halt(on_newer, session, None, **at_once)
    made.bench.paint(on_newer, session, None, **at_once)
    asked = made.bench.paint(on_paint, [session], [made.bench, notice], **queued)
    asked.failure(None, None, None, js="() => RudderCompose.lost()", api_visibility="private")
    made.own.upload(on_own, [session, made.own], [made.bench, notice], **queued)
    made.opened.upload(on_open, [session, made.opened], [made.bench, notice], **queued)
    tab.select(
        lambda owner: {"kind": "listing", **listing(studio, owner)},
        session,
        made.bench,
        show_progress="hidden",
        **at_once,
    )


def _inverts(studio: Studio) -> bool:
    """Whether pictures can be inverted with the model's sampler."""
    from ..backbones.ddim import DDIM

    return isinstance(studio.backbone.schedule(2), DDIM)


def _advice(studio: Studio, vector: ConceptVector | None) -> dict[str, Any]:
    """What the rows start from: the vector's advice, or cautious values before it is learned."""
    if vector is None:
        sites = list(studio.backbone.defaults["sites"])
        return {"strength": 1.0, "range": [0.0, 1.5], "window": [0.5, 0.95], "halves": "both", "sites": sites,
                "advised": sites, "state": "untried"}  # fmt: skip
    told = vector.advice
    return {
        "strength": round(float(told["strength"]), 4),
        "range": [float(value) for value in told["range"]],
        "window": [float(value) for value in told["window"]],
        "halves": told["halves"],
        "sites": list(vector.sites),
        "advised": list(told["sites"] or vector.sites),
        "state": vector.state,
    }


def _first(studio: Studio, painted: Mapping[str, Any]) -> dict[str, Any]:
    """The first paint's first column as this tab shows it, and the state that goes with it."""
    columns = painted.get("columns") or {}
    data = next(iter(columns.values()), None)
    vectors = {name: one.vector for name, one in studio.concepts.items() if one.vector is not None}
    if data is None:
        name = next(iter(studio.concepts), "")
        defaults, prompts = studio.backbone.defaults, studio.prompts["ordinary"]
        told = _advice(studio, vectors.get(name))
        recipe = Recipe(
            model=studio.backbone.name,
            prompt=prompts[0]["key"] if prompts else "",
            num_inference_steps=defaults["num_inference_steps"],
            guidance_scale=defaults["guidance_scale"],
            concepts=((name, told["strength"]),) if name else (),
            halves=told["halves"],
        )
        return {"state": state_of(studio, recipe, {}, vectors)}
    recipe = Recipe.from_json(data["recipe"])
    frames = {round(one["strength"], 6): one for one in data["frames"]}
    after, before = frames.get(round(data["strength"], 6)), frames.get(0.0)
    recipe = Recipe.from_json(data["recipe"] | {"concepts": [[recipe.concepts[0][0], data["strength"]]]})
    shown = {} if after is None or before is None else {
        "before": {"src": before["src"], "reading": data["reading"]},
        "after": {**after, "change": None},
        "recipe": data["recipe"],
    }  # fmt: skip
    return {"state": state_of(studio, recipe, {}, vectors), **shown}
