"""The Concepts tab as it is laid out: cards of all concepts, and the ways to make one's own: pictures, two prompts, a
sum, a file."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..arithmetic import WAYS
from ..checks import text, whole
from ..errors import unknown
from ..recipe import SEED_KEPT
from . import trays
from .cards import choices, told_of
from .panels import Asked, asked_by
from .permalink import Part, as_number, link, placed, prompt
from .session import Session
from .studio import Studio

KEYS = ("way", "a", "b", "count", "even", "seed", "card")
WAYS_IN = ("pictures", "prompts", "combine", "file")
WORDS = """
<div class="rd-lede">
  <h2>What can it be steered towards?</h2>
  <p>A concept is what a set of pictures has in common, as the model sees it. Take one that is here, put two together,
  or make your own from pictures or from two prompts.</p>
</div>
"""
CARDS = '<div class="rd-concept-cards"></div>'
CARDS_SCRIPT = """
RudderConcepts.cards({ element, props, trigger, watch });
// it triggers 'steer', 'rename', 'remove', 'undo', 'fetch', 'measure' and 'blend'
"""
TRAY = '<section class="rd-tray"></section>'
TRAY_SCRIPT = """
RudderConcepts.tray({ element, props, trigger, watch });
// it triggers 'prune', 'clear', 'undo' and 'swap'
"""
PROGRESS = """<div class="rd-learning" role="status"><i class="rd-bar"><i></i></i><p></p>
<button type="button" class="rd-go" hidden>Steer with it</button></div>"""
PROGRESS_SCRIPT = """
RudderConcepts.progress({ element, props, trigger, watch });
// it triggers 'steer'
"""
HOLDS = "RudderConcepts.holds({name!r}, {{ props, watch }});"
COPY = '<button type="button" class="rd-quiet rd-concepts-copy">Copy link</button>'


@dataclass
class Tab:
    """The components of the tab that are listened to or written to."""

    uploads: dict[str, gr.File]
    trays: dict[str, gr.HTML]
    caption: gr.Textbox
    prompts: tuple[Asked, Asked]
    count: gr.Slider
    even: gr.Textbox
    seed: gr.Number
    paint: gr.Button
    one: gr.Dropdown
    way: gr.Radio
    other: gr.Dropdown
    called: gr.Textbox
    combine: gr.Button
    vector: gr.UploadButton
    name: gr.Textbox
    learn: gr.Button
    stop: gr.Button
    progress: gr.HTML
    cards: gr.HTML
    file: gr.DownloadButton
    way_open: gr.HTML
    card_open: gr.HTML
    link: gr.HTML


def concepts_panel(studio: Studio, session: Session) -> Tab:
    """The tab's contents, for a visitor who begins with `session`."""
    gr.HTML(WORDS + COPY, js_on_load="RudderConcepts.copying(element)", elem_id="rd-concepts-lede")
    if session.library and session.library.shelf.left:
        gr.HTML(f"<p class='rd-hint'>{html.escape(' '.join(session.library.shelf.left[:6]))}</p>")
    drop: dict[str, Any] = {"file_count": "multiple", "height": 96}
    uploads, shown = {}, {}
    first = "" if studio.concepts else "pictures"
    with gr.Accordion("Make a concept", open=bool(first), elem_id="rd-maker", elem_classes="rd-card") as maker:
        with gr.Row(elem_id="rd-maker-row"):
            with gr.Column(elem_id="rd-maker-ways", min_width=280), gr.Tabs(elem_id="rd-ways"):
                with gr.Tab("Pictures", id="pictures") as pictures:
                    gr.HTML("<p class='rd-hint'>Pictures that share one thing, and, if you can, the same kind of "
                            "pictures without it. Files or a zip, up to 500 pictures.</p>")  # fmt: skip
                    uploads["concept"] = gr.File(label="They show it", elem_id="rd-own-pictures", **drop)
                    uploads["baseline"] = gr.File(
                        label="They don’t (optional, but better)", elem_id="rd-own-baseline", **drop
                    )
                    caption = gr.Textbox(
                        label="What they show (optional)",
                        placeholder="a prompt that fits all of them",
                        max_lines=1,
                        elem_id="rd-own-caption",
                        visible=studio.backbone.classes is None,
                    )
                with gr.Tab("Two prompts", id="prompts", visible=asks(studio)) as two:
                    word = "prompt" if studio.backbone.classes is None else "class"
                    gr.HTML("<p class='rd-hint'>The model paints both sets itself, at the same seeds: what differs is "
                            f"the {word} alone.</p>")  # fmt: skip
                    prompts = (
                        asked_by(studio, "", f"A {word} that shows it", "rd-two-a"),
                        asked_by(studio, "", "The same without it", "rd-two-b"),
                    )
                    with gr.Row(elem_id="rd-two-row"):
                        count = gr.Slider(
                            *trays.COUNT, 24, step=1, label="Pictures of each", elem_id="rd-two-count", buttons=[],
                            min_width=160, scale=3,
                        )  # fmt: skip
                        seed = gr.Number(
                            0, label="First seed", precision=0, elem_id="rd-two-seed", min_width=90, scale=1
                        )
                    even = gr.Textbox(
                        label="Keep even on both sides (optional)",
                        placeholder="man, woman; indoors, outdoors",
                        info="Alternatives with commas, groups with semicolons: so they do not leak in.",
                        max_lines=1,
                        elem_id="rd-two-even",
                        visible=studio.backbone.classes is None,
                    )
                    paint = gr.Button("Paint both sets", elem_id="rd-two-paint")
                with gr.Tab("Combine", id="combine") as sums:
                    known = choices(studio, session)
                    one = gr.Dropdown(known, value=None, label="a", elem_id="rd-sum-a")
                    way = gr.Radio(
                        [(label, key) for key, label in WAYS.items()], value="plus", label="How", elem_id="rd-sum-way"
                    )
                    other = gr.Dropdown(known, value=None, label="b", elem_id="rd-sum-b")
                    called = gr.Textbox(label="Name (optional)", max_lines=1, elem_id="rd-sum-name")
                    blend = gr.Button("Combine", variant="primary", elem_id="rd-sum", elem_classes="rd-primary")
                with gr.Tab("File", id="file") as file:
                    gr.HTML("<p class='rd-hint'>A vector that was saved here or by another Rudder (.safetensors), for "
                            "this very model.</p>")  # fmt: skip
                    vector = gr.UploadButton("Open vector", file_types=[".safetensors"], elem_id="rd-open-vector")
            with gr.Column(elem_id="rd-maker-sets", min_width=280):
                for side in trays.SIDES:
                    shown[side] = gr.HTML(
                        {"side": side, "shots": [], "out": [], "text": ""},
                        html_template=TRAY,
                        js_on_load=TRAY_SCRIPT,
                        elem_id=f"rd-tray-{side}",
                        least=trays.LEAST,
                        most=trays.MOST,
                    )
                with gr.Row(elem_id="rd-learn-row"):
                    name = gr.Textbox(
                        label="Name", placeholder="my style", max_lines=1, elem_id="rd-own-name", min_width=120
                    )
                    learn = gr.Button(
                        "Learn", variant="primary", elem_id="rd-learn", elem_classes="rd-primary", min_width=110
                    )
        for tab, key in zip((pictures, two, sums, file), WAYS_IN, strict=True):
            tab.select(None, None, None, js=f"() => RudderConcepts.way('{key}')", api_visibility="private")
    for listen, is_open in ((maker.expand, "true"), (maker.collapse, "false")):
        listen(None, None, None, js=f"() => RudderConcepts.folds({is_open})", api_visibility="private")
    with gr.Row(elem_id="rd-concepts-bar"):
        progress = gr.HTML({}, html_template=PROGRESS, js_on_load=PROGRESS_SCRIPT, elem_id="rd-learning")
        stop = gr.Button("Stop", variant="secondary", elem_id="rd-learn-stop", min_width=90)
    way_open, card_open = _held("way", first), _held("card", "")
    grid = gr.HTML(told_of(studio, session), html_template=CARDS, js_on_load=CARDS_SCRIPT, elem_id="rd-concept-grid")
    download = gr.DownloadButton("The vector", elem_id="rd-concept-file")
    return Tab(
        uploads, shown, caption, prompts, count, even, seed, paint, one, way, other, called, blend, vector, name, learn,
        stop, progress, grid, download, way_open, card_open, link("concepts", KEYS, studio.backbone.name),
    )  # fmt: skip


def concepts_part(studio: Studio, tab: Tab) -> Part:
    """The tab in the address: which way to make a concept is open, what two prompts ask for, and the card that is
    unfolded. Pictures do not travel; painted ones can be painted again."""

    def read(owner: Session, told: Mapping[str, str]) -> tuple[list[Any], str]:
        known = ["", *(key for key in WAYS_IN if key != "prompts" or asks(studio))]
        if told.get("way", "") not in known:
            raise unknown("way to make a concept", told["way"], known[1:])
        readers: dict[str, Callable[[str], Any]] = {
            "way": str,
            "a": lambda value: prompt(studio, value),
            "b": lambda value: prompt(studio, value),
            "count": lambda value: whole("The link's number of pictures", as_number(value), *trays.COUNT),
            "even": lambda value: text("The link's traits", value, trays.TRAITS),
            "seed": lambda value: whole("The link's seed", as_number(value), 0, SEED_KEPT),
            "card": str,
        }
        values = [readers[key](told[key]) if key in told else gr.skip() for key in KEYS]
        if not (name := told.get("card", "")):
            return values, ""
        found, lost = placed(studio, owner, [name], told)
        values[KEYS.index("card")] = found.get(name, "")
        return values, lost

    components = [tab.way_open, *tab.prompts, tab.count, tab.even, tab.seed, tab.card_open]
    return Part(tab.link, "concepts", components, read)


def _held(name: str, value: str) -> gr.HTML:
    """What the tab's script knows and the address keeps."""
    return gr.HTML(value, html_template="<i></i>", js_on_load=HOLDS.format(name=name), elem_classes="rd-hidden")


def asks(studio: Studio) -> bool:
    """Whether the model can be asked for what a prompt or a class says."""
    return studio.backbone.classes is None or studio.backbone.classes.count > 0
