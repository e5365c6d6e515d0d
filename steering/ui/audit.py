"""The Audit tab: pictures, zips and lists of prompts are scored row by row, watched, and taken away.

It greets with an example that was scored beforehand. `python -m steering.ui.audit --example` makes it anew: the model's
own prompts of both kinds, two pictures unlike anything it knows, and a file that is no picture, to
assets/audit/example.jsonl, whose first line says how it was made.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from .. import __version__
from ..audit.listing import JSON, TABLES, TEXT
from ..audit.listing import rows as listed
from ..audit.report import EXACT, STYLE, body, write_report
from ..audit.results import header, heading, results
from ..audit.scan import scan
from ..audit.sheet import write_csv
from ..checks import text, whole
from ..cli.console import progress
from ..concepts import Progress
from ..errors import Cancelled, RudderError, shorten
from ..files import home
from ..images import Limits
from . import notices
from .panels import Controls
from .pictures import weight
from .reading import UNCALIBRATED
from .session import Session
from .studio import Studio, open_studio

ROWS_LIMIT = 2000
LIMITS = Limits(files=200, file_bytes=20 * 2**20, total_bytes=200 * 2**20)
BATCH = 8
FILES = 3  # that a scan leaves: results, table, report
EACH = 12  # prompts of a kind in the example
PROGRESS = '<div class="rd-learning rd-auditing" role="status"><i class="rd-bar"><i></i></i><p></p></div>'
IDLE = "() => ({ text: '', busy: false })"
WAITING = "() => { Rudder.quiet(); return { text: 'Waiting for its turn', busy: true, done: 0, total: 1 }; }"
REPORT = '<p class="rd-scan-label" role="status"></p><div class="rd-scan" hidden></div>'
REPORT_SCRIPT = """
RudderAudit.mount({ element, props, trigger, watch });
// it triggers 'steer'
"""
WORDS = """
<div class="rd-lede">
  <h2>What does the model have by heart?</h2>
  <p>Bring pictures, zips of pictures, or lists of prompts (.txt with one a line, or .csv, .tsv, .jsonl and .json with a
  column <code>prompt</code>, <code>caption</code> or <code>text</code> and, if you like, <code>id</code>,
  <code>seed</code> and <code>label</code>). Prompts are painted first. Each row gets its spikiness and a verdict; the
  results are yours to download.</p>
</div>
"""
GREETING = (
    "Scored beforehand: prompts that this model has by heart, prompts that many pictures fit, and three files that "
    "show what else may happen. Scan your own above to replace it."
)


@dataclass
class Audit:
    """The components of the tab."""

    source: gr.File
    start: gr.Button
    stop: gr.Button
    progress: gr.HTML
    report: gr.HTML
    rows: gr.DownloadButton
    sheet: gr.DownloadButton
    page: gr.DownloadButton


def audit_panel(studio: Studio, progress_script: str) -> Audit:
    """The tab's contents, with the example where there is one for the very model and calibration."""
    gr.HTML(WORDS)
    with gr.Group(elem_classes="rd-card"):
        source = gr.File(
            label="Pictures, zips or lists of prompts",
            file_count="multiple",
            file_types=["image", ".zip", *TABLES, *JSON, *TEXT],
            height=132,
            elem_id="rd-audit-source",
        )
    with gr.Row(elem_id="rd-audit-bar"):
        start = gr.Button("Scan", variant="primary", elem_id="rd-audit-start", min_width=120)
        stop = gr.Button("Stop", variant="secondary", elem_id="rd-audit-stop", min_width=90)
        progress = gr.HTML({}, html_template=PROGRESS, js_on_load=progress_script, elem_id="rd-audit-progress")
    hidden: dict[str, Any] = {"visible": False, "size": "sm", "min_width": 130}
    with gr.Row(elem_id="rd-audit-files"):
        rows = gr.DownloadButton("Results (.jsonl)", elem_id="rd-audit-rows", **hidden)
        sheet = gr.DownloadButton("Table (.csv)", elem_id="rd-audit-sheet", **hidden)
        page = gr.DownloadButton("Report (.html)", elem_id="rd-audit-page", **hidden)
    report = gr.HTML(
        greeting(studio), html_template=REPORT, js_on_load=REPORT_SCRIPT, look=STYLE, elem_id="rd-audit-report"
    )
    return Audit(source, start, stop, progress, report, rows, sheet, page)


def example_path() -> Path:
    """Where the example lies."""
    return home() / "assets" / "audit" / "example.jsonl"


def greeting(studio: Studio) -> dict[str, Any]:
    """What the tab shows at first, {"text", "report", "example"}: the shipped example, or why there is none."""
    if studio.calibration is None:
        return {"text": UNCALIBRATED, "report": "", "example": False}
    try:
        head = header(example_path())
        now = heading(studio.calibration, head["source"])
        if any(head.get(key) != value for key, value in now.items()):
            made = shorten(head["model"], 60)
            return {
                "text": f"The example that ships was scored by other weights or another calibration of {made}, so it "
                "says nothing here: scan something of your own.",
                "report": "",
                "example": False,
            }
        return {"text": GREETING, "report": body(example_path(), embedded=True), "example": True}
    except (OSError, RudderError):
        return {"text": "No example ships for this model: scan something of your own.", "report": "", "example": False}


def audit(studio: Studio, session: Session, sources: Sequence[str] | None) -> Iterator[Progress | tuple[str, Path]]:
    """Score uploaded files; yields Progress and at the end (summary, the results' file).

    A stopped scan ends with what it has. RudderError for no or a bad list, too many files, bytes or rows, or no
    calibration.
    """
    if studio.calibration is None:
        raise RudderError(UNCALIBRATED)
    if not sources:
        raise RudderError("There is nothing to scan yet: choose pictures, zips of pictures, or lists of prompts.")
    folder = session.folder()
    for old in sorted(folder.glob("scan-*"), key=lambda path: path.stat().st_mtime_ns)[:-FILES]:
        old.unlink(missing_ok=True)  # the scan before this one stays until this one is there
    out = folder / f"scan-{secrets.token_hex(4)}.jsonl"
    with session.task("audit") as stop:
        total, notes = _counted(sources, stop)
        started = time.monotonic()
        score = partial(studio.gauges.rows, pictures=True)
        run = scan(studio.backbone, studio.calibration, sources, out, batch=BATCH, score=score, uploaded=True)
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
    ending, rows = "Stopped: " if done < total else "", f"{len(told)} row{'s' * (len(told) != 1)}"
    yield (
        f"{ending}{rows}, {flagged} memorised, {unlike} unlike anything calibrated, {bad} could not be read."
        + "".join(f" {note}" for note in notes),
        out,
    )


def _counted(sources: Sequence[str], stop: Event) -> tuple[int, list[str]]:
    """How many rows uploaded files have, and what of them was left out or guessed; RudderError where files, bytes or
    rows are too many, which is told before they are read, Cancelled once `stop` is set."""
    if len(sources) > LIMITS.files:
        raise RudderError(f"There are {len(sources):,} files: choose at most {LIMITS.files}, or put them into a zip.")
    size = weight(sources)
    if size > LIMITS.total_bytes:
        raise RudderError(
            f"The files have {size / 2**20:.0f} MB, the page takes {LIMITS.total_bytes / 2**20:.0f}: choose fewer."
        )
    notes: list[str] = []
    total = 0
    for _ in islice(listed(sources, uploaded=True, notes=notes), ROWS_LIMIT + 1):
        total += 1
        if stop.is_set():
            break
    if stop.is_set():
        raise Cancelled("The scan was stopped before its first row.")
    if total > ROWS_LIMIT:
        raise RudderError(
            f"There are over {ROWS_LIMIT:,} rows, more than the page takes: use `rudder scan` on the command line."
        )
    return total, notes


def steered(studio: Studio, sent: Any) -> list[Any]:
    """A row's prompt and seed for column A: values of prompt, seed, steps, guidance, negative prompt and the seed's
    lock, as the scan painted it, and the message that presses Generate. RudderError for what no report holds."""
    if not isinstance(sent, dict) or not str(sent.get("seed")).isdecimal():
        raise RudderError("The page sent no prompt and seed to steer: reload the page.")
    prompt = text("The prompt", sent.get("prompt"), 2000)
    seed = whole("The seed", int(str(sent["seed"])[:20]), 0, EXACT)
    steps, guidance = (studio.backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    return [prompt, seed, steps, guidance, "", True, {"again": secrets.token_hex(4)}]


def wire(studio: Studio, tab: Audit, session: gr.State, controls: Controls, bus: gr.HTML, notice: gr.HTML) -> None:
    """Connect the tab: progress while scanning, then the report and the downloads; a row's button steers its prompt."""
    nothing = [gr.skip()] * 4

    def on_start(owner: Session, sources: Any) -> Iterator[Any]:
        def items() -> Iterator[Any]:
            try:
                yield from told()
            except Cancelled as stopped:
                yield {"text": str(stopped), "busy": False}, *nothing, gr.skip()

        def told() -> Iterator[Any]:
            yield {"text": "Reading the list", "busy": True}, *nothing, gr.skip()
            for item in audit(studio, owner, sources):
                if isinstance(item, Progress):
                    said = {"text": item.message, "busy": True, "done": item.done, "total": item.total}
                    yield said, *nothing, gr.skip()
                    continue
                summary, out = item
                sheet, page = out.with_suffix(".csv"), out.with_suffix(".html")
                write_csv(out, sheet)
                write_report(out, page)
                files = [gr.DownloadButton(value=str(path), visible=True) for path in (out, sheet, page)]
                shown = {"text": "", "report": body(out, embedded=True), "example": False}
                yield {"text": summary, "busy": False}, shown, *files, gr.skip()

        yield from notices.guarded(items(), lambda told: ({"text": "", "busy": False}, *nothing, told))

    def on_steer(event: gr.EventData) -> list[Any]:
        return notices.attempt(
            lambda: [*steered(studio, event._data), gr.skip()], lambda told: [*[gr.skip()] * 7, told]
        )

    tab.start.click(None, None, tab.progress, js=WAITING, api_visibility="private")
    at_once: dict[str, Any] = {"inputs": session, "outputs": None, "queue": False, "api_visibility": "private"}
    tab.start.click(lambda owner: owner.await_task("audit"), **at_once)
    begun = tab.start.click(
        on_start,
        [session, tab.source],
        [tab.progress, tab.report, tab.rows, tab.sheet, tab.page, notice],
        concurrency_id="auditing",
        concurrency_limit=1,
        show_progress="hidden",
        api_visibility="private",
    )
    begun.failure(None, None, tab.progress, js=IDLE, api_visibility="private")
    tab.stop.click(lambda owner: owner.halt_task("audit"), **at_once)  # also one that waits in the queue
    tab.report.steer(
        on_steer,
        None,
        [
            controls.prompt_a,
            controls.seed,
            controls.steps,
            controls.guidance,
            controls.negative,
            controls.lock,
            bus,
            notice,
        ],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def make_example(studio: Studio, target: Path) -> Iterator[Progress]:
    """Scan the example into `target`, with a record of how it was made; RudderError without prompts or calibration."""
    if studio.calibration is None or not all(studio.prompts.values()):
        raise RudderError(f"{studio.backbone.name} needs a calibration and prompts of both kinds to make an example.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "prompts.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "prompt", "seed", "label"])
            for kind, entries in studio.prompts.items():
                some = entries[:: max(1, len(entries) // EACH)][:EACH]
                writer.writerows([f"{kind}-{n:02d}", one["key"], n, kind] for n, one in enumerate(some))
        side = studio.backbone.resolution
        ramp = np.linspace(0, 255, side).astype(np.uint8)
        Image.fromarray(np.tile(ramp, (side, 1))).convert("RGB").save(folder / "grey-gradient.png")
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(folder / "noise.png")
        (folder / "cut-off.png").write_bytes((folder / "noise.png").read_bytes()[:200])
        sources = [folder / "prompts.csv", *sorted(folder.glob("*.png"))]
        out = folder / "out.jsonl"
        score = partial(studio.gauges.rows, pictures=True)
        yield from scan(studio.backbone, studio.calibration, sources, out, score=score, uploaded=True)
        first, *rest = out.read_text(encoding="utf-8").splitlines(keepends=True)
    made = {
        "command": "python -m steering.ui.audit --example",
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    head = {**json.loads(first), "source": "Prompts of the model and three files", "made": made}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(head) + "\n" + "".join(rest), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Make the example anew; 2 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m steering.ui.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--example", action="store_true", required=True, help="score the tab's example anew")
    parser.add_argument("--model", default="tiny-sd")
    asked = parser.parse_args(arguments)
    try:
        studio = open_studio(asked.model, device="cpu")
        with progress("scoring the example") as report:
            for item in make_example(studio, example_path()):
                report(item.done, item.total, item.message)
    except RudderError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    print(f"wrote {example_path()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
