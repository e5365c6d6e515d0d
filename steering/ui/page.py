"""The page: panels laid out, callbacks wired, limits set. Nothing is computed here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from ..images import open_images
from ..keeping import read_recipe
from ..pace import timed
from ..words import heard
from . import api, audit, compose, concepts, concepts_panel, documents, grid, lab, notices, permalink, restore
from .asked import Panel, sent_by
from .calls import Page
from .gpu import zero_gpu
from .panels import Controls, concept_panel, follow_concept, panel_from, prompt_panel, settings_panel, start_panel
from .pictures import ONE, square, web_picture
from .reading import reading
from .session import Session
from .shell import HEADER, LEDE, STAGE
from .steer import failed, generate, profiled, release
from .studio import Studio

PAINTERS = 2  # runs at once, a replica: the forward passes take turns on one model, so both visitors see progress
WAITING = 32  # requests in the queue before newcomers are asked to come back

EMPTY = "Nothing is painted yet: type a prompt, choose a concept and press Generate."
ALONE = """
<div class="rd-lede">
  <h2>Does the picture answer the helm?</h2>
  <p>A concept is added to the model's hidden activations while it paints. Drag the strength and watch: does the
  picture change step by step, or does it hold its course and then jump?</p>
</div>
"""
BARE = "Nothing is painted yet, and this model has no concept so far: make or open one on the Concepts tab."
MODEL = '<section class="rd-model" aria-label="The model"></section>'
MODEL_SCRIPT = "RudderModel.mount({ element, props, server });"
STAGE_SCRIPT = """
RudderStage.mount({ element, props, trigger, watch });
// it triggers 'generate', 'release', 'stop' and 'profile'
"""
ONSET = """
<details class="rd-onset"><summary>How often must a picture repeat before it is held by heart?</summary>
  <div><p class="rd-onset-said"></p><p class="rd-onset-keys"></p><svg role="img"></svg>
  <p>Measured on this model: pictures that were shown a known number of times while it was trained, each with a caption
  of its own. 0 is the median ordinary picture, 1 the median of the most repeated ones; recall is the share of captions
  that give back their picture.</p></div>
</details>
"""
SCORED = '<section class="rd-reading" hidden></section>'
SCORED_SCRIPT = """
const card = RudderReading.card(element.querySelector(".rd-reading"));
watch("value", () => { if (props.value?.reading) card.show("Your picture: is it memorised?",
  props.value.reading, null, props.value.picture); });
Rudder.watchDrops(element, "#rd-score");
"""
ACTIONS = """
<div class="rd-actions">
  <button type="button" class="rd-generate"><span>Generate</span></button>
  <button type="button" class="rd-stop-too">Stop</button>
</div>
<div class="rd-under">
  <p class="rd-estimate" aria-live="polite"></p>
  <button type="button" class="rd-undo" data-part="steer" aria-label="Undo" title="Undo (Ctrl+Z)" disabled></button>
  <button type="button" class="rd-redo" data-part="steer" aria-label="Redo" title="Redo (Ctrl+Y)" disabled></button>
</div>
"""
ACTIONS_SCRIPT = """
element.querySelector(".rd-generate").addEventListener("click", () => Rudder.generate());
element.querySelector(".rd-stop-too").addEventListener("click", () => Rudder.stop());
const panel = element.closest("#rd-panel");
Rudder.watchPanel(panel);
Rudder.watchEnter(panel);
RudderModel.estimate();
"""


def page_of(
    studio: Studio,
    painted: dict[str, Any],
    menu: Sequence[dict[str, str]] = (),
    models: Mapping[str, str] | None = None,
) -> gr.Blocks:
    """The whole page for an opened studio, with the stage showing `painted` first; `menu`: the models one can go to,
    `models`: what each of them is loaded by."""
    models = models or {}
    panel = _panel_of(painted, start_panel(studio))
    painted = painted or _empty(studio)
    page = Page(title="Rudder", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600))
    with page:
        first = Session(studio.library)
        session = gr.State(first)
        gr.HTML(HEADER, js_on_load="Rudder.startTheme(element.querySelector('.rd-theme'))", elem_id="rd-top")
        _model_line(studio, menu)
        notice = notices.notice_box()
        with gr.Tabs(elem_id="rd-tabs") as tabs:
            with gr.Tab("Steer", id="steer"), gr.Row(elem_id="rd-room"):
                with gr.Column(elem_id="rd-panel", min_width=280):
                    box_a, box_b, compare = prompt_panel(studio, panel)
                    with gr.Group(elem_classes="rd-card"):
                        concept = concept_panel(studio, panel, first)
                    settings = settings_panel(studio, panel)
                    gr.HTML(ACTIONS, js_on_load=ACTIONS_SCRIPT, elem_id="rd-actions")
                with gr.Column(elem_id="rd-stage-column", min_width=280):
                    gr.HTML(LEDE if studio.prompts["memorized"] else ALONE)
                    stage = gr.HTML(painted, html_template=STAGE, js_on_load=STAGE_SCRIPT, elem_id="rd-stage")
                    with gr.Row(elem_id="rd-restore"):
                        gr.HTML(
                            "<p>Download keeps the whole recipe inside the picture. Drop it anywhere on the "
                            "pictures to bring everything back, or</p>"
                        )
                        opened = gr.UploadButton(
                            "open a picture", file_types=[".png", ".jpg", ".jpeg"], size="sm", elem_id="rd-open"
                        )
                        gr.HTML("<p>Is a picture of yours memorised? Drop it on a reading, or</p>")
                        strange = gr.UploadButton(
                            "score a picture", file_types=["image"], size="sm", elem_id="rd-score"
                        )
                    scored = gr.HTML({}, html_template=SCORED, js_on_load=SCORED_SCRIPT, elem_id="rd-scored")
                    if studio.onset:
                        gr.HTML(
                            studio.onset,
                            html_template=ONSET,
                            js_on_load="RudderOnset.mount({ element, props });",
                            elem_id="rd-onset",
                        )
            with gr.Tab("Compose", id="compose") as bench_tab, gr.Column(elem_id="rd-compose-column"):
                bench = compose.compose_panel(studio, painted)
            with gr.Tab("Concepts", id="concepts"), gr.Column(elem_id="rd-concepts"):
                own = concepts_panel.concepts_panel(studio, first)
            with gr.Tab("Grid", id="grid"), gr.Column(elem_id="rd-grid"):
                grid_tab = grid.grid_panel(studio, panel, list(models))
            with gr.Tab("Audit", id="audit"), gr.Column(elem_id="rd-audit"):
                tab = audit.audit_panel(studio, notices.PROGRESS_SCRIPT)
            if lab.ready():
                with gr.Tab("Why memories resist", id="lab"):
                    lab.wire(lab.lab_panel(), session, notice)
        bus = gr.HTML(
            {},
            html_template="<i></i>",
            elem_id="rd-bus",
            js_on_load='watch("value", () => Rudder.restored(props.value));',
        )
        controls = Controls(box_a, box_b, compare, concept, **settings)
        follow_concept(concept, controls)
        concepts.wire(studio, own, page, session, controls, bus, notice)
        _wire_stage(studio, session, stage, notice, controls)
        compose.wire(studio, bench, bench_tab, session, notice, PAINTERS * studio.at_once)
        restored = _wire_restore(studio, session, opened, controls, bus, notice, bench, tabs)
        concepts.redraw_after(restored, studio, own, session, controls)
        _wire_score(studio, strange, scored, notice)
        audit.wire(studio, tab, session, controls, bus, notice)
        api.wire(studio, menu, PAINTERS * studio.at_once)
        grid.wire(studio, grid_tab, session, controls, notice, models)
        parts = [
            permalink.steer_part(studio, controls),
            compose.compose_part(studio, bench),
            concepts_panel.concepts_part(studio, own),
            grid.grid_part(studio, grid_tab, list(models)),
        ]
        permalink.wire(parts, page, session, bus, notice, studio.backbone.name)
    # nothing is run past the queue: a Space shuts that door by itself, and elsewhere Gradio leaves it open
    return page.queue(default_concurrency_limit=PAINTERS * studio.at_once, max_size=WAITING, api_open=False)


def _empty(studio: Studio) -> dict[str, Any]:
    """The message of a stage without pictures: one sentence that says what to do."""
    text = EMPTY if studio.concepts else BARE
    return {"ticket": 0, "kind": "strip", "phase": "done", "text": text, "columns": {}, "concept": None}


def _model_line(studio: Studio, menu: Sequence[dict[str, str]]) -> gr.HTML:
    """Names the model, links what there is to read, and unfolds to the words and prompts it knows."""

    def pace(_: Any = None) -> dict[str, float] | None:
        return vars(studio.pace) if studio.pace else None

    known = studio.outline
    told = {
        "name": studio.backbone.name,
        "description": known.description,
        "resolution": studio.backbone.resolution,
        "words": list(known.words),
        "links": documents.links(known.folder),
        "menu": list(menu),
        "paced": not zero_gpu(),  # its slices are too dear to time a step in
        **{kind: [entry["key"] for entry in entries] for kind, entries in studio.prompts.items()},
    }
    return gr.HTML(told, html_template=MODEL, js_on_load=MODEL_SCRIPT, elem_id="rd-model", server_functions=[pace])


def _wire_stage(studio: Studio, session: gr.State, stage: gr.HTML, notice: gr.HTML, controls: Controls) -> None:
    """Generate, release and stop. The unqueued listeners outdate older runs at once, whatever the queue."""

    def on_generate(event: gr.EventData, owner: Session, *values: Any) -> Iterator[Any]:
        sent = sent_by(event)

        def items() -> Iterator[Any]:
            panel = panel_from(list(values))
            for message in timed(generate(studio, owner, panel, sent)):
                done = message["phase"] == "done"
                words = " ".join(heard(studio.backbone, panel.prompts.values(), [panel.negative])) if done else ""
                yield message, notices.note(words) if words else gr.skip()

        yield from notices.guarded(items(), lambda told: (failed(sent), told))

    def on_release(event: gr.EventData, owner: Session) -> Iterator[Any]:
        sent = sent_by(event)
        messages = ((message, gr.skip()) for message in timed(release(studio, owner, sent)))
        yield from notices.guarded(messages, lambda told: (failed(sent), told))

    def on_newer(event: gr.EventData, owner: Session) -> None:
        ticket = sent_by(event).get("ticket")
        if isinstance(ticket, int):
            owner.outdate(ticket)

    painting: dict[str, Any] = {
        "outputs": [stage, notice],
        "concurrency_id": "painting",
        "concurrency_limit": PAINTERS * studio.at_once,
        "trigger_mode": "multiple",
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    at_once: dict[str, Any] = {
        "inputs": session,
        "outputs": None,
        "queue": False,
        "trigger_mode": "multiple",
        "api_visibility": "private",
    }
    for listen, work in ((stage.generate, on_generate), (stage.release, on_release)):
        listen(on_newer, **at_once)
        asked = listen(work, [session, *controls.values()] if work is on_generate else [session], **painting)
        asked.failure(None, None, None, js="() => Rudder.lost()", api_visibility="private")
    stage.stop(on_newer, **at_once)

    def on_profile(event: gr.EventData, owner: Session) -> Any:
        return notices.attempt(
            lambda: (profiled(studio, owner, sent_by(event)), gr.skip()), lambda told: (gr.skip(), told)
        )

    stage.profile(on_profile, [session], **painting)


def _wire_score(studio: Studio, strange: gr.UploadButton, scored: gr.HTML, notice: gr.HTML) -> None:
    """A picture from anywhere gets its reading under the stage."""

    def on_score(path: str) -> Any:
        def action() -> Any:
            (image,) = open_images(path, ONE)
            told = reading(studio, image)
            return {"reading": told, "picture": web_picture(square(image, studio.backbone.resolution))}, gr.skip()

        return notices.attempt(action, lambda told: (gr.skip(), told))

    strange.upload(
        on_score,
        strange,
        [scored, notice],
        concurrency_id="painting",
        concurrency_limit=PAINTERS * studio.at_once,
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    )


def _wire_restore(
    studio: Studio,
    session: gr.State,
    opened: gr.UploadButton,
    controls: Controls,
    bus: gr.HTML,
    notice: gr.HTML,
    bench: compose.Compose,
    tabs: gr.Tabs,
) -> Any:
    """A dropped or chosen picture fills the controls, then Generate paints it again; one that asks for more than this
    tab has goes to Compose."""
    count = len(controls.values())

    def on_open(owner: Session, path: str) -> list[Any]:
        def action() -> list[Any]:
            found = read_recipe(path)
            if compose.beyond_stage(found):
                message = compose.restored(studio, owner, path, found)
                return [*[gr.skip()] * (count + 1), message, gr.Tabs(selected="compose"), gr.skip()]
            recipe, name = restore.read(studio, owner, path)
            values, start = restore.controls(studio, owner, recipe, name)
            again = {**start, "again": os.urandom(4).hex()}
            return [*values, again, gr.skip(), gr.Tabs(selected="steer"), gr.skip()]

        return notices.attempt(action, lambda told: [*[gr.skip()] * (count + 3), told])

    return opened.upload(
        on_open,
        [session, opened],
        [*controls.values(), bus, bench.bench, tabs, notice],
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    )


def _panel_of(painted: dict[str, Any], otherwise: Panel) -> Panel:
    """The controls that go with what is painted first."""
    columns = painted.get("columns") or {}
    if not columns:
        return otherwise
    recipe = next(iter(columns.values()))["recipe"]
    return Panel(
        prompts={column: data["prompt"] for column, data in columns.items()},
        concept=painted["concept"],
        seed=recipe["seed"],
        steps=recipe["num_inference_steps"],
        guidance=recipe["guidance_scale"],
        negative=recipe["negative_prompt"],
        window=(recipe["window"]["start"], recipe["window"]["end"]),
        sites=(),
        halves=recipe["halves"],
    )
