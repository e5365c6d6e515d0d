"""The left side: prompts, concept, seed, steps, guidance, and what is folded under Advanced."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..concepts import ConceptVector
from ..errors import RudderError
from .asked import Panel
from .marks import mark_of, mark_of_shipped
from .session import Session
from .studio import Studio, positions, start_of

PICKER = '<div class="rd-thumbs" role="radiogroup" aria-label="{label}"></div>'
CONCEPTS = '<div class="rd-concepts" role="radiogroup" aria-label="Concepts"></div><div class="rd-about"></div>'
KNOWN = '<p class="rd-known" aria-live="polite"></p>'
BARE = """<p class="rd-hint">{name} has no concepts yet. Learn one from pictures of yours or from two prompts, or open a
vector that was learned for it, on the Concepts tab.</p>"""
OWN = '<button type="button" class="rd-own-link">Make your own</button>'
Asked = gr.Textbox | gr.Dropdown  # a prompt, or a class
SEED_END = 2**31 - 1
MOST_STEPS, MOST_GUIDANCE = 100, 20
PAPER_STEPS = 40  # for steering (arXiv 2512.20963, appendix)


@dataclass
class Controls:
    """The components whose values make a Panel, in the order of `values`."""

    prompt_a: Asked
    prompt_b: Asked
    compare: gr.Checkbox
    concept: gr.HTML
    seed: gr.Number
    steps: gr.Slider
    guidance: gr.Slider
    negative: gr.Textbox
    start: gr.Slider
    end: gr.Slider
    sites: gr.Dropdown
    halves: gr.Radio
    lock: gr.Checkbox

    def values(self) -> list[Any]:
        """The components, as the inputs of a callback that calls `panel_from`."""
        return list(self.__dict__.values())


def panel_from(values: list[Any]) -> Panel:
    """What the controls say; RudderError when no concept is chosen."""
    prompt_a, prompt_b, compare, concept, seed, steps, guidance, negative, start, end, sites, halves, _ = values
    if not concept:
        raise RudderError("No concept is chosen: choose one, or make your own on the Concepts tab.")
    prompts = {"a": prompt_a or "", "b": prompt_b or ""} if compare else {"a": prompt_a or ""}
    return Panel(
        prompts=prompts,
        concept=str(concept),
        seed=seed,
        steps=steps,
        guidance=guidance,
        negative=negative or "",
        window=(start, end),
        sites=tuple(sites or ()),
        halves=halves,
    )


def start_panel(studio: Studio) -> Panel:
    """The controls of a page that shows no picture yet: the model's first prompt of each kind, where it has any, its
    first concept and its own settings."""
    firsts = {kind: entries[0]["key"] if entries else "" for kind, entries in studio.prompts.items()}
    name = next(iter(studio.concepts), "")
    window, halves = start_of(studio.concepts[name].vector if name else None)
    defaults = studio.backbone.defaults
    return Panel(
        prompts={"a": firsts["ordinary"]} | ({"b": firsts["memorized"]} if firsts["memorized"] else {}),
        concept=name,
        seed=0,
        steps=defaults["num_inference_steps"],
        guidance=defaults["guidance_scale"],
        negative="",
        window=(window[0], window[1]),
        sites=(),
        halves=halves,
    )


def prompt_panel(studio: Studio, panel: Panel) -> tuple[Asked, Asked, gr.Checkbox]:
    """Two prompts, or classes, with the examples the model has of each kind; the second one can be switched off. A
    model that is told nothing has neither.

    A line under each says what is known of the very prompt: that is known of the model's own examples only.
    """
    boxes, classes = [], studio.backbone.classes
    word = "Prompt" if classes is None else "Class"
    kinds = {"a": ("ordinary", word), "b": ("memorized", f"{word} to compare with")}
    lists: dict[str, Any] = {kind: [entry["key"] for entry in entries] for kind, entries in studio.prompts.items()}
    with gr.Group(elem_classes="rd-card", visible=classes is None or classes.count > 0):
        gr.HTML(f"<h2>{'Prompts' if classes is None else 'Classes'}</h2>", elem_classes="rd-title")
        for column, (kind, label) in kinds.items():
            entries = studio.prompts[kind]
            if column == "b":
                compare = gr.Checkbox(
                    "b" in panel.prompts,
                    label=f"Compare with a {'memorised' if entries else 'second'} {word.lower()}",
                    elem_id="rd-compare",
                    show_label=False,
                )
            off = "" if column in panel.prompts else " is-off"
            with gr.Group(elem_classes=f"rd-prompt-box is-{column}{off}", elem_id=f"rd-box-{column}"):
                text = panel.prompts.get(column, "")
                box = asked_by(studio, text, label, f"rd-prompt-{column}")
                known = gr.HTML(
                    text,
                    html_template=KNOWN,
                    js_on_load="RudderPickers.known({element, props, watch})",
                    elem_id=f"rd-known-{column}",
                    **lists,
                )
                box.change(None, box, known, js="(text) => text", show_progress="hidden", api_visibility="private")
                if entries:
                    picker = gr.HTML(
                        panel.prompts.get(column),
                        items=entries,
                        html_template=PICKER.format(label=f"{label}: examples"),
                        js_on_load="RudderPickers.prompts({element, props, trigger, watch})",
                        elem_id=f"rd-picker-{column}",
                    )
                    box.change(None, box, picker, js="(text) => text", show_progress="hidden", api_visibility="private")
                    picker.select(None, picker, box, js="(prompt) => prompt", api_visibility="private")
            boxes.append(box)
    compare.change(None, compare, None, js="(on) => Rudder.compare(on)", api_visibility="private")
    return boxes[0], boxes[1], compare


def asked_by(studio: Studio, text: str, label: str, name: str) -> Asked:
    """What a picture is asked for by: a box for a prompt, or a list of the model's classes."""
    classes = studio.backbone.classes
    if classes is None:
        return gr.Textbox(
            text, label=label, lines=2, max_lines=4, elem_id=name, placeholder="no prompt", container=True
        )
    usual = [("none", "")] if studio.backbone.guides or not classes.count else []
    named = [(str(classes.labels.get(number, number)), str(classes.labels.get(number, number)))
             for number in range(classes.count)]  # fmt: skip
    return gr.Dropdown([*usual, *named], value=text, label=label, elem_id=name, filterable=True)


def concept_items(studio: Studio, session: Session | None = None) -> list[dict[str, Any]]:
    """The concept picker's cards: shipped ones, then this visitor's own."""
    items = []
    for concept in studio.concepts.values():
        items.append(
            {
                "key": concept.name,
                "title": concept.title,
                "description": concept.description,
                "face": concept.face,
                "examples": concept.examples,
                "baseline": concept.baseline,
                "own": False,
                "mark": mark_of_shipped(concept),
                "start": start_of(concept.vector),
                "frames": _frames(concept.vector) if concept.vector else 0,
            }
        )
    if session is None:
        return items
    for name, vector in session.vectors.items():
        faces = session.faces.get(name, {})
        items.append(
            {
                "key": name,
                "title": name,
                "description": _provenance(vector),
                "own": True,
                "mark": mark_of(vector),
                "face": faces.get("face", ""),
                "examples": faces.get("examples", ""),
                "baseline": faces.get("baseline", ""),
                "start": start_of(vector),
                "frames": _frames(vector),
            }
        )
    return items


def _frames(vector: ConceptVector) -> int:
    """How many pictures a strip of this concept has."""
    (low, high), strength = vector.advice["range"], vector.advice["strength"]
    return len(positions(low, high, strength))


def concept_panel(studio: Studio, panel: Panel, session: Session) -> gr.HTML:
    """The concept picker with the selected one's example pictures."""
    gr.HTML("<h2>Concept</h2>", elem_classes="rd-title")
    if not studio.concepts:
        gr.HTML(BARE.format(name=html.escape(studio.backbone.name)), elem_id="rd-bare")
    picker = gr.HTML(
        panel.concept,
        items=concept_items(studio, session),
        html_template=CONCEPTS,
        js_on_load="RudderPickers.concepts({element, props, trigger, watch})",
        elem_id="rd-concept",
    )
    gr.HTML(OWN, js_on_load="RudderConcepts.link(element)", elem_id="rd-own")
    return picker


def settings_panel(studio: Studio, panel: Panel) -> dict[str, Any]:
    """Seed with lock and dice, steps, guidance; window, sites and negative prompt folded away."""
    known = studio.backbone.sites()
    used = set(studio.backbone.defaults["sites"])
    used.update(site for concept in studio.concepts.values() if concept.vector for site in concept.vector.sites)
    sites = [(f"{name} ({site.label})", name) for name, site in known.items() if name in used]
    with gr.Group(elem_classes="rd-card"):
        gr.HTML("<h2>Settings</h2>", elem_classes="rd-title")
        with gr.Row(elem_classes="rd-seed"):
            seed = gr.Number(panel.seed, label="Seed", precision=0, elem_id="rd-seed", min_width=90, scale=3)
            lock = gr.Checkbox(True, label="Keep", info="", elem_id="rd-lock", min_width=84, scale=1)
            dice = gr.Button("Roll", elem_id="rd-dice", size="sm", min_width=70, scale=1)
        usual = studio.backbone.defaults["num_inference_steps"]
        steps = gr.Slider(
            1, MOST_STEPS, panel.steps, step=1, label="Steps", elem_id="rd-steps", buttons=[],
            info=f"The model's own: {usual}. The paper's: {PAPER_STEPS}." if usual != PAPER_STEPS else None,
        )  # fmt: skip
        guides = studio.backbone.guides
        guidance = gr.Slider(
            0, MOST_GUIDANCE, panel.guidance, step=0.5, label="Guidance", elem_id="rd-guidance", buttons=[],
            visible=guides,
        )  # fmt: skip
        with gr.Accordion("Advanced", open=False, elem_id="rd-advanced"):
            span: dict[str, Any] = {"minimum": 0, "maximum": 1, "step": 0.01, "buttons": []}
            start = gr.Slider(value=panel.window[0], label="Steer from", elem_id="rd-start", **span)
            end = gr.Slider(
                value=panel.window[1],
                label="Steer until",
                info="Shares of the steps: 0 is the first, 1 the last.",
                elem_id="rd-end",
                **span,
            )
            chosen = gr.Dropdown(
                sites,
                value=list(panel.sites),
                multiselect=True,
                allow_custom_value=True,  # an uploaded vector may have others; the recipe names those that do not exist
                label="Sites",
                elem_id="rd-sites",
                info="Where the vector is added. None chosen: where it was found to work best.",
            )
            halves = gr.Radio(
                [("both", "both"), ("with the prompt", "conditional"), ("opposite signs", "opposite")],
                value=panel.halves,
                label="Guidance half",
                info="Guidance predicts with and without the prompt: steer both, the first alone, or the other "
                "backwards.",
                elem_id="rd-halves",
                visible=guides,
            )
            negative = gr.Textbox(
                panel.negative,
                label="Negative prompt",
                elem_id="rd-negative",
                lines=1,
                visible=guides and studio.backbone.classes is None,
            )
    dice.click(
        None,
        None,
        seed,
        js=f"() => {{ Rudder.due(true); return Math.floor(Math.random() * {SEED_END}); }}",
        api_visibility="private",
    )
    return {
        "seed": seed,
        "lock": lock,
        "steps": steps,
        "guidance": guidance,
        "start": start,
        "end": end,
        "sites": chosen,
        "halves": halves,
        "negative": negative,
    }


def follow_concept(concept: gr.HTML, controls: Controls) -> None:
    """Choosing a concept sets the window and halves it was measured with, in the browser."""
    script = "(name) => RudderPickers.startOf(name)"
    outputs = [controls.start, controls.end, controls.halves]
    concept.select(None, concept, outputs, js=script, api_visibility="private")


def _provenance(vector: ConceptVector) -> str:
    """What a visitor's own vector was made from, and how it takes where that was measured."""
    count, other = (vector.provenance.get(key) for key in ("images", "baseline_images"))
    against = f" against {other}" if other else ", without a baseline"
    made = f"Learned from {count} picture{'s' if count != 1 else ''}{against}" if count else "Your vector"
    return f"{made}. {vector.recommended.get('why', '')}".strip()
