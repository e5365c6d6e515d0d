"""Errors and successes: what the last output, the notice, gets for everything a callback can do."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from steering.errors import Cancelled, RudderError
from steering.ui import notices
from steering.ui.page import page_of
from steering.ui.studio import open_studio


def raising(wrong: Exception):
    def run():
        yield 1, gr.skip()
        raise wrong

    return run


ENDS = {
    "success": (lambda: iter([(1, gr.skip()), (2, gr.skip())]), "settled"),
    "a note": (lambda: iter([(1, gr.skip()), (2, notices.note("Mind."))]), "note"),
    "a mistake": (raising(RudderError("No.")), "error"),
    "a fault": (raising(ValueError("x")), "error"),
    "a stop": (raising(Cancelled("x")), "nothing"),
    "nothing at all": (lambda: iter([]), "nothing"),
}


@pytest.mark.parametrize("case", list(ENDS))
def test_only_success_settles(case: str):
    run, end = ENDS[case]
    told = list(notices.guarded(run(), lambda notice: ("failed", notice)))
    last = told[-1][-1] if told else gr.skip()
    kind = "nothing" if last == gr.skip() else last.get("kind") or ("settled" if last["took"] >= 0 else "")
    assert kind == end and all(len(one) == 2 for one in told)
    assert all(one[-1] == gr.skip() for one in told[:-1]), "nothing is settled on the way"


@pytest.mark.parametrize("end", ["settled", "note", "error"])
def test_once_returned_it_is_the_same(end: str):
    def action():
        if end == "error":
            raise RudderError("No.")
        return [1, gr.skip() if end == "settled" else notices.note("Mind.")]

    *rest, last = notices.attempt(action, lambda notice: ("failed", notice))
    assert (last.get("kind") or "settled") == end and rest == (["failed"] if end == "error" else [1])


def test_the_notice_is_the_last_output_wherever_it_is_one(tiny_folder: Path):
    page = page_of(open_studio(str(tiny_folder), device="cpu"), {})
    count = 0
    for listener in page.fns.values():
        places = [place for place, one in enumerate(listener.outputs) if one.elem_id == "rd-notices"]
        assert places in ([], [len(listener.outputs) - 1]), listener.name
        count += bool(places)
    assert count >= 8


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Choose a concept.", "Choose a concept."),
        ("/srv/models/sd/unet/config.json is missing: restore it.", "…/config.json is missing: restore it."),
        ("No (/home/a/b.png), '/opt/x/y': restore.", "No (…/b.png), '…/y': restore."),
        *[(same, same) for same in ("See https://example.org/a/b.", "3/4 and/or .png/.jpg", "read/README.md")],
        (f"{Path.cwd()}/models/x is damaged.", "models/x is damaged."),
        ("models/tiny-sd/unet is missing.", "models/tiny-sd/unet is missing."),
    ],
)  # fmt: skip
def test_a_visitor_is_told_no_place_of_the_server(said: str, told: str):
    assert notices.error(said)["text"] == told
