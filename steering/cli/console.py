"""What the command line shows: progress and remarks on stderr, results on stdout as text or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import RudderError

if TYPE_CHECKING:
    from ..sampling import Result, Step

Report = Callable[[int, int, str], None]


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """report(done, total, message) for stderr: a bar on a terminal, a line per quarter elsewhere."""
    if sys.stderr.isatty():
        yield from _bar(title)
        return
    said = -1

    def report(done: int, total: int, message: str = "") -> None:
        nonlocal said
        quarter = 4 * done // max(total, 1)
        if quarter != said:
            said = quarter
            say(f"{message or title}: {done} of {total}")

    yield report


def _bar(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int, message: str = "") -> None:
            bar.update(task, completed=done, total=total, description=message or title)

        yield report


def watched(steps: Iterator[Step | Result], title: str) -> Result:
    """A sampler to its end, with progress on stderr."""
    from ..sampling import Result, Step

    with progress(title) as report:
        for item in steps:
            if isinstance(item, Step):
                report(item.index, item.total, title)
            elif isinstance(item, Result):
                return item
    raise RudderError("The run ended without a picture: start it again.")


def say(text: str) -> None:
    """A remark for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def emit(value: Any, as_json: bool, text: str | None = None) -> None:
    """The result on stdout: `value` as JSON, or `text` for people."""
    told = files.as_json(value, ensure_ascii=False, indent=2) if as_json or text is None else text
    print(told.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)  # names need not be text


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Plain aligned columns, whatever the width of the terminal; numbers to the right."""
    cells = [[str(h) for h in header], *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    right = [bool(rows) and all(isinstance(row[k], (int, float)) for row in rows) for k in range(len(header))]
    lines = [
        "  ".join(text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def ended(run: Iterator[Any], title: str) -> Any:
    """What a run ends with, its Progress shown."""
    from ..concepts import Progress

    item = None
    with progress(title) as report:
        for item in run:
            if isinstance(item, Progress):
                report(item.done, item.total, item.message)
    return item
