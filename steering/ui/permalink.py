"""The page in its address: a link restores the controls of a tab, wherever it is opened; back, forward and undo.

The browser keeps the address (assets/js/link.js) and sends one that it did not write itself here, where every value is
checked as if a stranger had made it up. What a visitor uploaded does not travel in a link. Concepts stand in it by
name, and under "marks" what tells each from another of that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from ..checks import number, strength, text, whole
from ..errors import RudderError, shorten, unknown
from ..recipe import HALVES, SEED_KEPT, Window
from . import marks, notices
from .panels import MOST_GUIDANCE, MOST_STEPS, Controls
from .session import Session
from .studio import Studio

LIMIT = 64_000  # characters of a link
FIELDS = 64
STEER = ("a", "b", "compare", "concept", "seed", "steps", "guidance", "negative", "from", "until", "sites", "halves",
         "keep")  # fmt: skip
SCRIPT = """
RudderLink.mount({ element, props, trigger });
// it triggers 'put' and 'open'
"""

Read = Callable[[Session, Mapping[str, str]], tuple[list[Any], str]]

ROOMS = "rd-tabs"  # whose tabs are places; tabs within them are not


@dataclass(frozen=True)
class Part:
    """A tab whose controls stand in the address: what keeps them there, the tab's id, its components in the order of
    the link's keys, and what reads them: (values, or gr.skip() where the link says nothing; a sentence on what could
    not be restored or ""). `read` raises RudderError for a link that will not do.

    With `speaks` the tab's script tells the address what there is to keep (RudderLink.speaks), and takes it back; the
    components are then only where what `read` makes of a link goes.
    """

    link: gr.HTML
    name: str
    components: Sequence[Any]
    read: Read
    speaks: bool = False


def link(name: str, keys: Sequence[str], model: str, shown: Sequence[str] = ()) -> gr.HTML:
    """What keeps a tab's controls in the address; made inside that tab, so that it is there when they are.

    `keys`: what each control is called in the address. Values may be texts, numbers, truths, or lists of texts without
    commas. `shown`: the parts that the tab's address holds, by default its own alone.
    """
    told = {"name": name, "keys": list(keys), "model": model, "shown": list(shown) or [name]}
    return gr.HTML(told, html_template="<i></i>", js_on_load=SCRIPT, elem_classes="rd-hidden")


def wire(parts: Sequence[Part], page: gr.Blocks, session: gr.State, bus: gr.HTML, notice: gr.HTML, model: str) -> None:
    """Connect tabs to the address. Each tab of the page goes into the browser's history, with parts or without."""
    for part in parts:
        _wire_part(part, page, session, bus, notice, model)
    rooms = [block for block in page.blocks.values() if isinstance(block, gr.Tab)]
    for tab in [room for room in rooms if room.parent and room.parent.elem_id == ROOMS]:
        tab.select(None, None, None, js=f"() => RudderLink.tab({tab.id!r}, {tab.label!r})", api_visibility="private")


def _wire_part(part: Part, page: gr.Blocks, session: gr.State, bus: gr.HTML, notice: gr.HTML, model: str) -> None:
    components = list(part.components)

    def on_open(event: gr.EventData, owner: Session) -> list[Any]:
        def action() -> list[Any]:
            sent = event._data if isinstance(event._data, dict) else {}
            asked = fields(sent.get("query"))
            if asked.get("model", model) != model:
                raise RudderError(
                    f"This link is for the model {shorten(asked['model'])!r}, and this page runs {model!r}: go to that "
                    "model's page, or start the page with it."
                )
            values, lost = part.read(owner, asked)
            again: Any = gr.skip()
            if sent.get("paint") and part.name == "steer" and not lost:
                named = values[STEER.index("concept")] if "concept" in asked else None
                again = {**_strengths(asked, named), "again": os.urandom(4).hex()}
            return [*values, again, notices.error(lost) if lost else gr.skip()]

        return notices.attempt(action, lambda told: [*[gr.skip()] * (len(components) + 1), told])

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    part.link.open(on_open, session, [*components, bus, notice], trigger_mode="multiple", **private)
    if part.speaks:
        return
    see = f"(...values) => RudderLink.changed('{part.name}', values)"
    gr.on([one.change for one in components], None, components, None, js=see, **private)
    page.load(None, components, None, js=f"(...values) => RudderLink.begin('{part.name}', values)", **private)
    part.link.put(None, None, components, js=f"() => RudderLink.values('{part.name}')", **private)


def fields(query: Any) -> dict[str, str]:
    """What stands in a link, {key: text}; RudderError for one too long or no link at all."""
    if not isinstance(query, str) or len(query) > LIMIT:
        raise RudderError("This link is too long to be one of Rudder's: copy it again where it was made.")
    try:
        found = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS, errors="strict"))
    except ValueError as error:
        raise RudderError("This link is damaged: copy it again where it was made.") from error
    return {key: text("The link", value, LIMIT) for key, value in found.items()}


def steer_part(studio: Studio, controls: Controls) -> Part:
    """The Steer tab's controls in the address; called inside the page."""

    def read(owner: Session, told: Mapping[str, str]) -> tuple[list[Any], str]:
        return steer_values(studio, owner, told)

    named = controls.__dict__
    order = ("prompt_a", "prompt_b", "compare", "concept", "seed", "steps", "guidance", "negative", "start", "end",
             "sites", "halves", "lock")  # fmt: skip
    return Part(link("steer", STEER, studio.backbone.name), "steer", [named[name] for name in order], read)


def steer_values(studio: Studio, owner: Session, told: Mapping[str, str]) -> tuple[list[Any], str]:
    """Values for the Steer tab's controls in the order of STEER, and what is said of a concept that is not here.

    RudderError for the first value that will not do.
    """
    window = Window(*(
        number(f"The link's window {end}", as_number(told.get(end), usual), 0.0, 1.0)
        for end, usual in (("from", Window().start), ("until", Window().end))
    ))  # fmt: skip
    readers: dict[str, Callable[[str], Any]] = {
        "a": lambda value: prompt(studio, value),
        "b": lambda value: prompt(studio, value),
        "compare": truth,
        "concept": str,
        "seed": lambda value: whole("The link's seed", as_number(value), 0, SEED_KEPT),
        "steps": lambda value: whole("The link's number of steps", as_number(value), 1, MOST_STEPS),
        "guidance": lambda value: number("The link's guidance scale", as_number(value), 0.0, MOST_GUIDANCE),
        "negative": lambda value: text("The link's negative prompt", value),
        "from": lambda _: window.start,
        "until": lambda _: window.end,
        "sites": lambda value: _sites(studio, value),
        "halves": _half,
        "keep": truth,
    }
    values = [readers[key](told[key]) if key in told else gr.skip() for key in STEER]
    _strengths(told)
    if not (name := told.get("concept", "")):
        return values, ""
    found, lost = placed(studio, owner, [name], told)
    values[STEER.index("concept")] = found.get(name, gr.skip())
    return values, lost


def placed(studio: Studio, owner: Session, names: Iterable[str], told: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """{name in the link: name here} of those that are here, and a sentence on the others, or ""."""
    return marks.placed(studio, owner, names, marks.told(told.get("marks", "")))


def prompt(studio: Studio, value: str) -> str:
    """A prompt, or the class that a text names, as the list of classes has it."""
    value, classes = text("The link's prompt", value), studio.backbone.classes
    if classes is None or not value:
        return value
    number = classes.number(value)
    return str(classes.labels.get(number, number))


def truth(value: str) -> bool:
    """ "1" or "0"; RudderError otherwise."""
    if value not in ("0", "1"):
        raise RudderError(f"The link says {shorten(value, 40)!r} where 0 or 1 is due: copy it again where it was made.")
    return value == "1"


def _strengths(told: Mapping[str, str], concept: Any = None) -> dict[str, Any]:
    """What the stage needs to show the link's strengths of a concept; {} where it has none."""
    found = {column: strength("the link", as_number(told[f"s{column}"])) for column in "ab" if f"s{column}" in told}
    return {"strengths": found, "concept": concept} if found else {}


def as_number(told: str | None, usual: Any = None) -> Any:
    """A number from text; the text itself where it is none, for the check that follows to name."""
    if told is None:
        return usual
    try:
        return float(told) if len(told) < 40 else told
    except ValueError:
        return told


def _sites(studio: Studio, told: str) -> list[str]:
    names, known = [name for name in told.split(",") if name], studio.backbone.sites()
    for name in names:
        if name not in known:
            raise unknown(f"site in {studio.backbone.name}", name, known)
    return names


def _half(value: str) -> str:
    if value not in HALVES:
        raise unknown("choice of guidance halves", value, HALVES)
    return value
