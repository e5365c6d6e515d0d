"""The Concepts tab at work: trays fill, sets are learned, and every list of concepts follows."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from ..arithmetic import WAYS
from ..concepts import Progress
from ..errors import Cancelled, RudderError
from . import notices, trays
from .asked import sent_by
from .cards import choices, combine, measure
from .cards import told_of as cards_told
from .concepts_panel import Tab
from .library import forget, rename, take_back
from .own_set import add_vector, learn_trays, told_of, vector_file
from .panels import Controls, concept_items
from .session import Session
from .steer import PAUSE
from .studio import Studio, start_of, vectors_of

WAITING = "() => ({ text: 'Waiting for its turn', busy: true, done: 0, total: 1 })"


def wire(
    studio: Studio, tab: Tab, page: gr.Blocks, session: gr.State, controls: Controls, bus: gr.HTML, notice: gr.HTML
) -> None:
    """Connect the tab: trays fill, learning streams its progress, and whatever changes the visitor's concepts redraws
    cards, pickers and lists."""
    lists = _lists(tab, controls)
    chosen = [*lists, controls.start, controls.end, controls.halves]
    nothing = [gr.skip()] * len(chosen)
    as_they_are = nothing[len(lists) :]
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    working: dict[str, Any] = {**hidden, "concurrency_id": "learning", "concurrency_limit": 1}
    at_once: dict[str, Any] = {**hidden, "queue": False, "trigger_mode": "multiple"}

    redrawn = partial(_redrawn, studio)

    def picked(owner: Session, name: str, opened: str = "") -> list[Any]:
        """Values for `chosen`: the concept to steer with, in the window and halves that it advises."""
        (start, end), halves = start_of(vectors_of(studio, owner).get(name))
        return [*redrawn(owner, name, opened), start, end, halves]

    def streamed(run: Callable[..., Iterator[Any]], more: int) -> Callable[..., Iterator[Any]]:
        """A callback of a generator of (what is said, `more` outputs): ends in a notice, or in how it was stopped."""

        def items(*values: Any) -> Iterator[Any]:
            last = 0.0
            try:
                for told, *outputs in run(*values):
                    if outputs or not told.get("busy") or time.monotonic() - last > PAUSE:
                        last = time.monotonic()
                        yield told, *(outputs or [gr.skip()] * more), gr.skip()
            except Cancelled as stopped:
                yield {"text": str(stopped), "busy": False}, *[gr.skip()] * more, gr.skip()

        def guarded(*values: Any) -> Iterator[Any]:
            yield from notices.guarded(
                items(*values), lambda told: ({"text": "", "busy": False}, *[gr.skip()] * more, told)
            )

        return guarded

    def busy(item: Progress) -> dict[str, Any]:
        return {"done": item.done, "total": item.total, "text": item.message, "busy": True}

    def both(owner: Session) -> list[Any]:
        return [trays.told(owner, side) for side in trays.SIDES]

    def on_learn(owner: Session, name: str, caption: str) -> Iterator[Any]:
        for item in learn_trays(studio, owner, name, caption):
            if isinstance(item, str):
                yield ({"text": told_of(owner.vectors[item]), "busy": False, "steer": item}, *picked(owner, item, item))
            else:
                yield (busy(item),)

    def on_paint(owner: Session, one: str, other: str, count: Any, even: str, seed: Any) -> Iterator[Any]:
        last = -1
        for item in trays.paint(studio, owner, (one or "", other or ""), count, even, seed):
            yield (busy(item), *both(owner)) if item.done != last else (busy(item),)
            last = item.done
        yield ({"text": "Painted: leave out what does not fit with a click, name it, and learn.", "busy": False},
               *both(owner))  # fmt: skip

    def on_fill(side: str) -> Callable[..., Iterator[Any]]:
        def fill(owner: Session, paths: list[str] | None) -> Iterator[Any]:
            try:
                for item in trays.fill(studio, owner, side, paths or []):
                    yield (busy(item),)
            except RudderError:
                yield {"text": "", "busy": False}, None, *both(owner)
                raise
            yield {"text": "", "busy": False}, None, *both(owner)

        return fill

    def on_measure(event: gr.EventData, owner: Session) -> Iterator[Any]:
        name = str(sent_by(event).get("key"))

        def run(owner: Session) -> Iterator[Any]:
            for item in measure(studio, owner, name):
                yield (busy(item),)
            yield {"text": "", "busy": False}, gr.HTML(value=cards_told(studio, owner, name))

        yield from streamed(run, 1)(owner)

    def on_vector(owner: Session, path: str) -> Any:
        def action() -> list[Any]:
            name = add_vector(studio, owner, path)
            said = {"text": told_of(owner.vectors[name], "Opened"), "busy": False, "steer": name}
            return [said, *picked(owner, name, name), gr.skip()]

        return notices.attempt(action, lambda told: [gr.skip(), *nothing, told])

    def on_combine(owner: Session, one: Any, way: Any, other: Any, called: str) -> Any:
        def action() -> list[Any]:
            name = combine(studio, owner, one, way, other, called)
            said = {"text": f"“{name}” is there: {WAYS[way]}.", "busy": False, "steer": name}
            return [said, *picked(owner, name, name), gr.skip()]

        return notices.attempt(action, lambda told: [gr.skip(), *nothing, told])

    def on_steer(event: gr.EventData, owner: Session) -> Any:
        def action() -> list[Any]:
            name = str(sent_by(event).get("key"))
            if name not in owner.vectors and name not in studio.concepts:
                raise RudderError("This concept is no longer there: choose another one.")
            (start, end), halves = start_of(vectors_of(studio, owner).get(name))
            return [gr.HTML(value=name, items=concept_items(studio, owner)), start, end, halves, [],
                    {"again": secrets.token_hex(4)}, gr.skip()]  # fmt: skip

        return notices.attempt(action, lambda told: [*[gr.skip()] * 6, told])

    def on_rename(event: gr.EventData, owner: Session, selected: Any) -> Any:
        def action() -> list[Any]:
            sent = sent_by(event)
            old = str(sent.get("key"))
            name = rename(studio, owner, old, sent.get("name"))
            renamed = (old, name) if name != old else ()
            return [*redrawn(owner, name if selected == old else selected, name, renamed), gr.skip()]

        return notices.attempt(action, lambda told: [*[gr.skip()] * len(lists), told])

    def on_remove(event: gr.EventData, owner: Session, selected: Any) -> Any:
        def action() -> list[Any]:
            name = str(sent_by(event).get("key"))
            forget(owner, name, chosen=selected == name)
            if selected != name:
                return [*redrawn(owner, selected), *as_they_are, gr.skip()]
            left = next(iter(studio.concepts), next(iter(owner.vectors), ""))
            return [*picked(owner, left), gr.skip()]

        return notices.attempt(action, lambda told: [*nothing, told])

    def on_undo(owner: Session, selected: Any) -> Any:
        def action() -> list[Any]:
            name, was_chosen = take_back(studio, owner)
            if was_chosen:
                return [*picked(owner, name, name), gr.skip()]
            return [*redrawn(owner, selected, name), *as_they_are, gr.skip()]

        return notices.attempt(action, lambda told: [*nothing, told])

    def on_fetch(event: gr.EventData, owner: Session) -> Any:
        def action() -> list[Any]:
            name = str(sent_by(event).get("key"))
            path = vector_file(owner, name, vectors_of(studio, owner).get(name))
            if path is None:
                raise RudderError("This concept has no vector yet: steer with it once, and it is learned.")
            return [gr.DownloadButton(value=path), gr.skip()]

        return notices.attempt(action, lambda told: [gr.skip(), told])

    def on_blend(event: gr.EventData) -> Any:
        return str(sent_by(event).get("key"))

    def on_prune(side: str) -> Callable[..., None]:
        def prune(event: gr.EventData, owner: Session) -> None:
            sent = sent_by(event)
            trays.prune(owner, side, str(sent.get("key")), bool(sent.get("out")))

        return prune

    def on_clear(side: str) -> Callable[..., Any]:
        def clear(owner: Session) -> dict[str, Any]:
            trays.clear(owner, side)
            return trays.told(owner, side)

        return clear

    def on_unclear(side: str) -> Callable[..., Any]:
        def unclear(owner: Session) -> Any:
            def action() -> list[Any]:
                trays.take_back(owner, side)
                return [trays.told(owner, side), gr.skip()]

            return notices.attempt(action, lambda told: [gr.skip(), told])

        return unclear

    def on_swap(owner: Session) -> list[Any]:
        trays.swap(owner)
        return both(owner)

    def on_stop(owner: Session) -> None:
        for task in ("learn", *(f"fill {side}" for side in trays.SIDES)):
            owner.stop_task(task)

    sides = [tab.trays[side] for side in trays.SIDES]
    runs: list[Any] = []
    for side, upload in tab.uploads.items():
        runs.append(upload.upload(
            streamed(on_fill(side), 3), [session, upload], [tab.progress, upload, *sides, notice], **hidden
        ))  # fmt: skip
    for listener, run, inputs, outputs in (
        (tab.paint.click, on_paint, [session, *tab.prompts, tab.count, tab.even, tab.seed], sides),
        (tab.learn.click, on_learn, [session, tab.name, tab.caption], chosen),
    ):
        listener(None, None, tab.progress, js=WAITING, api_visibility="private")
        runs.append(listener(streamed(run, len(outputs)), inputs, [tab.progress, *outputs, notice], **working))
    runs.append(tab.cards.measure(on_measure, session, [tab.progress, tab.cards, notice], **working))
    tab.stop.click(None, None, tab.progress, js="() => RudderConcepts.stopped()", api_visibility="private")
    tab.stop.click(on_stop, session, None, queue=False, cancels=runs, api_visibility="private")
    for side, tray in tab.trays.items():
        tray.prune(on_prune(side), session, None, **at_once)
        tray.clear(on_clear(side), session, tray, **at_once)
        tray.undo(on_unclear(side), session, [tray, notice], **at_once)
        tray.swap(on_swap, session, sides, **at_once)
    tab.vector.upload(on_vector, [session, tab.vector], [tab.progress, *chosen, notice], **hidden)
    tab.combine.click(on_combine, [session, tab.one, tab.way, tab.other, tab.called],
                      [tab.progress, *chosen, notice], **hidden)  # fmt: skip
    steered = [controls.concept, controls.start, controls.end, controls.halves, controls.sites, bus, notice]
    for source in (tab.cards, tab.progress):
        source.steer(on_steer, session, steered, **hidden)
    tab.cards.rename(on_rename, [session, controls.concept], [*lists, notice], **hidden)
    tab.cards.remove(on_remove, [session, controls.concept], [*chosen, notice], **hidden)
    tab.cards.undo(on_undo, [session, controls.concept], [*chosen, notice], **hidden)
    tab.cards.blend(on_blend, None, tab.one, **hidden)
    fetched = tab.cards.fetch(on_fetch, session, [tab.file, notice], **hidden)
    fetched.success(None, None, None, js="() => RudderConcepts.save()", api_visibility="private")
    if studio.library is not None:  # of another tab, or of this one before it was loaded anew
        page.load(redrawn, session, lists, **hidden)


def redraw_after(run: Any, studio: Studio, tab: Tab, session: gr.State, controls: Controls) -> None:
    """Redraw cards, pickers and lists after an event that may bring a vector from elsewhere, such as a picture's."""
    run.success(
        partial(_redrawn, studio), session, _lists(tab, controls), show_progress="hidden", api_visibility="private"
    )


def _lists(tab: Tab, controls: Controls) -> list[Any]:
    """What shows all concepts there are."""
    return [tab.cards, controls.concept, tab.one, tab.other]


def _redrawn(
    studio: Studio, owner: Session, selected: Any = None, opened: str = "", renamed: Sequence[str] = ()
) -> list[Any]:
    """Values for `_lists`; `selected` is the concept that the picker is to show as chosen."""
    known = choices(studio, owner)
    items = {"items": concept_items(studio, owner)} | ({} if selected is None else {"value": selected})
    return [gr.HTML(value=cards_told(studio, owner, opened, renamed)), gr.HTML(**items),
            gr.Dropdown(choices=known), gr.Dropdown(choices=known)]  # fmt: skip
