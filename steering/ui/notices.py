"""One sentence to the visitor: every callback ends in pictures or in a notice, never in a broken page.

A callback that can fail has the notice as its last output and goes through `guarded` or `attempt`. When it succeeds,
an error shown before it began leaves the page.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import Cancelled, RudderError
from ..files import home, shipped

log = logging.getLogger("rudder.page")

TEMPLATE = (
    '<div class="rd-notice" role="alert"><p></p>'
    '<button type="button" aria-label="Dismiss this notice">Dismiss</button></div>'
)
SCRIPT = """
element.querySelector("button").addEventListener("click", () => Rudder.quiet());
watch("value", () => Rudder.notify(props.value));
"""
_FOLDERS = re.compile(r"(?<![\w.:/…])/(?:[^\s/'\"<>:;,()]+/)+(?=[^\s/'\"<>:;,()])")
PROGRESS_SCRIPT = """
watch("value", () => {
  const { done = 0, total = 1, text = "", busy = false } = props.value || {};
  element.querySelector("p").textContent = text;
  element.querySelector(".rd-bar i").style.width = `${busy ? (100 * done) / total : 0}%`;
  element.querySelector(".rd-learning").classList.toggle("is-busy", busy);
});
"""
BROKEN = "Something on our side went wrong and was written to the log: try again, or reload the page."


def notice_box() -> gr.HTML:
    """The place of every notice: fixed over the page, so that showing one moves nothing."""
    return gr.HTML(value={}, html_template=TEMPLATE, js_on_load=SCRIPT, elem_id="rd-notices")


def error(sentence: object) -> dict[str, Any]:
    """A notice that stays until it is dismissed or the next action succeeds."""
    return {"text": outward(str(sentence)), "kind": "error", "at": time.time()}


def outward(sentence: str) -> str:
    """A sentence for visitors: files are called by their names, not by where they lie on this machine."""
    for place in sorted({str(one) for one in (home(), shipped(), Path.cwd())}, key=len, reverse=True):
        if len(place) > 1:
            sentence = sentence.replace(place + os.sep, "").replace(place, "…")
    return _FOLDERS.sub("…/", sentence)


def note(sentence: str) -> dict[str, Any]:
    """A notice that goes by itself."""
    return {"text": sentence, "kind": "note", "at": time.time()}


def settled(started: float) -> dict[str, Any]:
    """Said when an action that began at `started` [s, monotonic] succeeds: errors shown before that may go.

    It tells how long the action took, for the clocks of page and server need not agree.
    """
    return {"text": "", "took": time.monotonic() - started, "at": time.time()}


def guarded(items: Iterator[Any], failed: Callable[[dict[str, Any]], Any]) -> Iterator[Any]:
    """Pass items (outputs, the notice last) on, then settle; end a stopped run quietly; turn what went wrong into
    `failed(notice)`."""
    started, last = time.monotonic(), None
    try:
        for last in items:
            yield last
    except Cancelled:
        return
    except RudderError as wrong:
        yield failed(error(wrong))
    except Exception:
        log.exception("a callback of the page failed")
        yield failed(error(BROKEN))
    else:
        if last is not None and _silent(last[-1]):
            yield (*[gr.skip()] * (len(last) - 1), settled(started))


def attempt(action: Callable[[], Any], failed: Callable[[dict[str, Any]], Any]) -> Any:
    """The same for a callback that returns once."""
    started = time.monotonic()
    try:
        done = action()
    except RudderError as wrong:
        return failed(error(wrong))
    except Exception:
        log.exception("a callback of the page failed")
        return failed(error(BROKEN))
    return (*done[:-1], settled(started)) if _silent(done[-1]) else done


def _silent(notice: Any) -> bool:
    """Whether a callback has nothing to say: gr.skip() stands for its notice."""
    return notice == gr.skip()
