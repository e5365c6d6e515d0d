"""One sentence to the visitor: every callback ends in pictures or in a notice, never in a broken page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ..errors import Cancelled, RudderError

log = logging.getLogger("rudder.page")

TEMPLATE = (
    '<div class="rd-notice" role="alert"><p></p>'
    '<button type="button" aria-label="Dismiss this notice">Dismiss</button></div>'
)
SCRIPT = """
element.querySelector("button").addEventListener("click", () => Rudder.quiet());
watch("value", () => Rudder.notify(props.value));
"""
BROKEN = "Something on our side went wrong and was written to the log: try again, or reload the page."


def notice_box() -> gr.HTML:
    """The place of every notice: fixed over the page, so that showing one moves nothing."""
    return gr.HTML(value={}, html_template=TEMPLATE, js_on_load=SCRIPT, elem_id="rd-notices")


def error(sentence: object) -> dict[str, Any]:
    """A notice that stays until it is dismissed or something else is tried."""
    return {"text": str(sentence), "kind": "error", "at": time.time()}


def note(sentence: str) -> dict[str, Any]:
    """A notice that goes by itself."""
    return {"text": sentence, "kind": "note", "at": time.time()}


def guarded(items: Iterator[Any], failed: Callable[[dict[str, Any]], Any]) -> Iterator[Any]:
    """Pass items on; end a stopped run quietly; turn what went wrong into `failed(notice)`."""
    try:
        yield from items
    except Cancelled:
        return
    except RudderError as wrong:
        yield failed(error(wrong))
    except Exception:
        log.exception("a callback of the page failed")
        yield failed(error(BROKEN))


def attempt(action: Callable[[], Any], failed: Callable[[dict[str, Any]], Any]) -> Any:
    """The same for a callback that returns once."""
    try:
        return action()
    except RudderError as wrong:
        return failed(error(wrong))
    except Exception:
        log.exception("a callback of the page failed")
        return failed(error(BROKEN))
