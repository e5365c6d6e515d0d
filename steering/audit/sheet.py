"""A scan's rows as CSV for spreadsheets, which take a cell that starts with = + - or @ for a formula."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from ..files import replacing
from .results import header, results

COLUMNS = ("id", "verdict", "score", "spread", "above", "label", "prompt", "seed", "error", "unread")
KIND, OURS = "table of Rudder's", re.compile(b"\xef\xbb\xbf" + ",".join(COLUMNS[:5]).encode())
FORMULAS = tuple("=+-@\t\r\n＝＋－＠")  # how a formula may begin, in wide letters as well


def write_csv(scanned: str | Path, target: str | Path) -> None:
    """Write COLUMNS of every row, in the scan's order; text that a spreadsheet would run gets an apostrophe in front.

    UTF-8 with a mark, without which spreadsheets guess the letters. Rows stream by; the table is there whole or not at
    all. RudderError for a file that is no scan, or a `target` that is no such table.
    """
    header(scanned)
    with (
        replacing(target, KIND, OURS) as part,
        part.open("w", newline="", encoding="utf-8-sig", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in results(scanned):
            cut = row.get("unread")
            words = {"unread": " ".join(map(str, cut))} if isinstance(cut, list) else {}
            writer.writerow(cell({**row, **words}.get(name, "")) for name in COLUMNS)


def cell(value: Any) -> Any:
    """A value as a cell that is shown and never computed; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value
