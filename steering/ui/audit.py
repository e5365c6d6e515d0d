"""The Audit tab: a zip of pictures or a list of prompts is scored row by row, watched, and taken away."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..concepts import Progress
from ..errors import RudderError
from ..report import write_report
from ..scan import count, results, scan
from . import notices
from .reading import UNCALIBRATED
from .session import Session
from .studio import Studio

ROWS_LIMIT = 2000
BATCH = 8
PROGRESS = '<div class="rd-learning rd-auditing" role="status"><i class="rd-bar"><i></i></i><p></p></div>'
REPORT = '<iframe class="rd-report" title="Report" sandbox hidden></iframe>'
REPORT_SCRIPT = """
watch("value", () => {
  const frame = element.querySelector("iframe");
  frame.hidden = !props.value;
  frame.srcdoc = props.value || "";
});
"""
WORDS = """
<div class="rd-lede">
  <h2>What does the model have by heart?</h2>
  <p>Upload a zip of pictures, or a list of prompts (.txt with one a line, or .csv and .jsonl with a column
  <code>prompt</code> and, if you like, <code>id</code>, <code>seed</code> and <code>label</code>). Prompts are painted
  first. Each row gets its spikiness and a verdict; the results are yours to download.</p>
</div>
"""


@dataclass
class Audit:
    """The components of the tab."""

    source: gr.File
    start: gr.Button
    stop: gr.Button
    progress: gr.HTML
    report: gr.HTML
    rows: gr.DownloadButton
    page: gr.DownloadButton


def audit_panel(progress_script: str) -> Audit:
    """The tab's contents."""
    gr.HTML(WORDS)
    with gr.Group(elem_classes="rd-card"):
        source = gr.File(
            label="A zip of pictures, or a list of prompts",
            file_types=[".zip", ".txt", ".csv", ".jsonl"],
            height=112,
            elem_id="rd-audit-source",
        )
        with gr.Row():
            start = gr.Button("Scan", variant="primary", elem_id="rd-audit-start", min_width=120)
            stop = gr.Button("Stop", variant="secondary", elem_id="rd-audit-stop", min_width=90)
            rows = gr.DownloadButton("Results (.jsonl)", elem_id="rd-audit-rows", interactive=False, min_width=150)
            page = gr.DownloadButton("Report (.html)", elem_id="rd-audit-page", interactive=False, min_width=150)
        progress = gr.HTML({}, html_template=PROGRESS, js_on_load=progress_script, elem_id="rd-audit-progress")
    report = gr.HTML("", html_template=REPORT, js_on_load=REPORT_SCRIPT, elem_id="rd-audit-report")
    return Audit(source, start, stop, progress, report, rows, page)


def audit(studio: Studio, session: Session, source: str | None) -> Iterator[Progress | tuple[str, Path]]:
    """Score an uploaded list; yields Progress and at the end (summary, the results' file).

    A stopped scan ends with what it has. RudderError for no or a bad list, too many rows, or no calibration.
    """
    if studio.calibration is None:
        raise RudderError(UNCALIBRATED)
    if not source:
        raise RudderError("There is no list yet: choose a zip of pictures or a list of prompts.")
    total = count(source)
    if total > ROWS_LIMIT:
        raise RudderError(
            f"The list has {total:,} rows, the page takes {ROWS_LIMIT:,}: use `rudder scan` on the command line."
        )
    out = session.folder() / f"scan-{secrets.token_hex(4)}.jsonl"
    started = time.monotonic()
    with session.task("audit") as stop:
        run = scan(
            studio.backbone, studio.calibration, source, out, batch=BATCH, score=studio.gauges.rows, uploaded=True
        )
        done = 0
        for step in run:
            done = step.done
            left = (time.monotonic() - started) / done * (total - done)
            yield Progress(done, total, f"{done} of {total} scored, about {left:.0f} s to go")
            if stop.is_set():
                run.close()
                break
    told = list(results(out))
    flagged, bad = sum(bool(r.get("memorized")) for r in told), sum("error" in r for r in told)
    unlike = sum("score" in r and r["memorized"] is None for r in told)
    ending = "Stopped: " if done < total else ""
    yield (
        f"{ending}{len(told)} rows, {flagged} memorised, {unlike} unlike anything calibrated, {bad} could not be read.",
        out,
    )


def wire(studio: Studio, tab: Audit, session: gr.State, notice: gr.HTML) -> None:
    """Connect the tab: progress while scanning, then the report and both downloads."""
    nothing = [gr.skip()] * 3

    def on_start(owner: Session, source: Any) -> Iterator[Any]:
        def items() -> Iterator[Any]:
            yield {"text": "Reading the list", "busy": True}, *nothing, gr.skip()
            for item in audit(studio, owner, source):
                if isinstance(item, Progress):
                    said = {"text": item.message, "busy": True, "done": item.done, "total": item.total}
                    yield said, *nothing, gr.skip()
                    continue
                text, out = item
                page = out.with_suffix(".html")
                write_report(out, page)
                files = [gr.DownloadButton(value=str(path), interactive=True) for path in (out, page)]
                yield {"text": text, "busy": False}, page.read_text(encoding="utf-8"), *files, gr.skip()

        yield from notices.guarded(items(), lambda told: ({"text": "", "busy": False}, *nothing, told))

    tab.start.click(
        on_start,
        [session, tab.source],
        [tab.progress, tab.report, tab.rows, tab.page, notice],
        concurrency_id="auditing",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    tab.stop.click(lambda owner: owner.stop_task("audit"), session, None, queue=False, api_visibility="private")
