"""One self-contained page from a scan: what the threshold means, histogram, ROC, a tile a picture, what was unreadable.

No script runs in it. Everything that comes from a list is escaped; pictures are data inside the page.
"""

from __future__ import annotations

import heapq
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RudderError, shorten
from ..files import replacing
from .listing import Row, open_row
from .plots import STYLE as PLOTS
from .plots import histogram, roc
from .results import header, results
from .scan import small

SHOWN, FOLD = 24, 96  # tiles in sight, and in each fold below
LISTED = 2000  # rows that get a tile at all: the spikiest
OPENED = 240  # picture files that are opened anew for their tile
REASONS = 200  # of unreadable rows that are told
EXACT = 2**53 - 1  # seeds up to here survive a browser
WORDS = {"memorised": "Memorised", "ordinary": "Ordinary", "none": "No verdict"}
HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>Rudder scan</title>"
)
KIND, OURS = "report of Rudder's", re.compile(re.escape(HEAD.encode()))
PICTURE = re.compile(r"data:image/(webp|png|jpeg);base64,[A-Za-z0-9+/=]+")
STYLE = (
    """
:root { color-scheme: light dark; --ink: #14222b; --soft: #4b616c; --sheet: #fff; --shallow: #f3f6f7; --line: #d3dde1;
  --deep: #b5c4ca; --one: #0b6e8f; --two: #a85a00; --one-wash: #0b6e8f16; --two-wash: #a85a0016; --course: #b3186d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2ebef; --soft: #93a9b4; --sheet: #121f28; --shallow: #0f1a22; --line: #22333d; --deep: #354954;
    --one: #58c0e2; --two: #eaa14a; --one-wash: #58c0e21a; --two-wash: #eaa14a1a; --course: #f06bb4; }
}
body { margin: 32px auto; max-width: 1040px; padding: 0 16px; background: var(--sheet); }
article { font: 16px/1.5 "IBM Plex Sans", "Segoe UI", system-ui, sans-serif; color: var(--ink); }
h1, h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 4px; }
.part { font-size: 1.02rem; margin: 28px 0 8px; }
p { color: var(--soft); margin: 4px 0; font-size: .92rem; max-width: 76ch; } b { color: var(--ink); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 18px 14px; margin-top: 12px; }
figure { margin: 0; min-width: 0; display: flex; flex-direction: column; }
img, .blank { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px;
  background: var(--shallow); image-rendering: pixelated; }
figcaption { font-size: .82rem; line-height: 1.4; color: var(--soft); overflow-wrap: anywhere; margin-top: 6px;
  display: flex; flex-direction: column; gap: 4px; align-items: flex-start; flex: 1; }
.tag { font-weight: 700; padding: 1px 7px; border-radius: 4px; color: var(--ink); background: var(--shallow);
  border: 1px solid var(--line); }
.tag.memorised { color: var(--two); background: var(--two-wash); border-color: transparent; }
.tag.ordinary { color: var(--one); background: var(--one-wash); border-color: transparent; }
.name { color: var(--ink); display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4;
  overflow: hidden; }
button { margin-top: auto; font: inherit; min-height: 40px; padding: 4px 12px; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--deep); background: none; color: var(--ink); }
button:hover { border-color: var(--ink); } :focus-visible { outline: 2px solid var(--course); outline-offset: 2px; }
details { border-top: 1px solid var(--line); margin-top: 16px; }
summary { cursor: pointer; padding: 9px 0; min-height: 22px; font-size: .92rem; }
ul { margin: 8px 0 0; padding: 0; list-style: none; font-size: .88rem; }
li { padding: 6px 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; color: var(--soft); }
@media (max-width: 480px) { .grid { grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 16px 10px; } }
"""
    + PLOTS
)


def write_report(scanned: str | Path, target: str | Path) -> None:
    """Write the page for a scan's results; rows stream by, scores and the spikiest LISTED rows are kept.

    It is there whole or not at all. RudderError for a file that is no scan, or a `target` that is no such page.
    """
    page = f"{HEAD}<style>{STYLE}</style><body>\n{body(scanned)}\n</body></html>\n"
    with replacing(target, KIND, OURS) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")


def body(scanned: str | Path, embedded: bool = False) -> str:
    """The report as one <article>; `embedded` in Rudder's page: a level lower, with buttons to steer a row's prompt
    (data-prompt and data-seed; the page listens). RudderError for a file that is no scan."""
    head = header(scanned)
    scores, verdicts, labels, bad = [], [], [], 0
    unread: list[dict[str, Any]] = []
    top: list[tuple[float, int, dict[str, Any]]] = []
    for index, row in enumerate(results(scanned)):
        if "error" in row:
            bad += 1
            if len(unread) < REASONS:
                unread.append(row)
            continue
        scores.append(row["score"])
        verdicts.append(_verdict(row))
        labels.append(row.get("label"))
        (heapq.heappush if len(top) < LISTED else heapq.heappushpop)(top, (row["score"], -index, row))
    parts = [_heading(head, Counter(verdicts), len(scores), bad, "h2" if embedded else "h1")]
    part = 'h3 class="part"' if embedded else 'h2 class="part"'

    def section(title: str, *content: str) -> None:
        parts.extend([f"<{part}>{title}</{part[:2]}>", *content])

    if scores:
        values = np.array(scores)
        section("What the threshold means", meaning(head, len(scores)))
        section("Spikiness", histogram(values, verdicts, head["threshold"], _measure(head)))
        curve = roc(values, labels)
        if curve:
            section("Against the labels", curve)
        section("The spikiest first", *_tiles(sorted(top, reverse=True), embedded, len(scores)))
    if bad:
        section("What could not be read", *_unread(unread, bad))
    if head.get("notes"):
        section("How the list was read", "<ul>", *(f"<li>{_safe(note)}</li>" for note in head["notes"]), "</ul>")
    return "<article>\n" + "\n".join(parts) + "\n</article>"


def meaning(head: dict[str, Any], count: int) -> str:
    """What the threshold of a scan means, with its false-positive rate: a paragraph; `count` pictures had a score."""
    rate, of = head.get("false_positives"), head.get("ordinary")
    text = f"<b>Memorised</b> is said of a picture that is spikier than <b>{head['threshold']:.3f}</b>, the threshold. "
    if rate is not None:
        share = f"{100 * rate:.1f} %" if rate else "none"
        among = f" {of:,}" if of else ""
        text += f"Of the{among} ordinary pictures that the calibration held out, <b>{share}</b> lie above it: that is "
        text += "its false-positive rate. "
        if rate:
            text += (
                f"If all {count:,} pictures here were ordinary, {_about(rate * count)} would be flagged all the same. "
            )
    text += "A flag is evidence, not proof. "
    if head.get("domain"):
        text += "<b>No verdict</b> is given for a picture unlike anything the threshold was calibrated on."
    return f"<p>{text}</p>"


def _heading(head: dict[str, Any], counts: Counter[str], scored: int, bad: int, tag: str) -> str:
    probe = head["probe"]
    told = f"{scored:,} picture{'s' if scored != 1 else ''}, {counts['memorised']:,} of them memorised"
    others = [f"{counts['ordinary']:,} ordinary"] + [f"{counts['none']:,} without a verdict"] * bool(counts["none"])
    others += [f"{bad:,} could not be read"] * bool(bad)
    return (
        f"<{tag}>{told}</{tag}><p><b>{', '.join(others)}.</b> {_safe(head['source'])}, scored by "
        f"{_safe(head['model'])}: {_measure(head)} at {_safe(probe['site'])}, timestep {_safe(probe['timestep'])}, "
        f"{_safe(head['draws'])} noise draws, seed {_safe(head.get('seed', 0))}.</p>"
    )


def _about(count: float) -> str:
    return f"about {count:,.0f}" if count >= 9.5 else f"about {count:.1f}" if count >= 0.05 else "hardly any"


def _measure(head: dict[str, Any]) -> str:
    probe = head["probe"]
    return _safe(f"{probe['statistic']} of the {probe['pooling']}")


def _verdict(row: dict[str, Any]) -> str:
    """A row's verdict in one of WORDS; of scans made before rows carried it, from what they do carry."""
    known = {True: "memorised", False: "ordinary", None: "none"}[row.get("memorized")]
    return row["verdict"] if row.get("verdict") in WORDS else known


def _tiles(top: Sequence[tuple[float, int, dict[str, Any]]], embedded: bool, scored: int) -> Iterator[str]:
    """The first SHOWN in sight, the rest folded by rank, so that all can be looked through from spiky to balanced."""
    yield '<div class="grid">'
    yield from _figures(top[:SHOWN], 0, embedded)
    yield "</div>"
    for start in range(SHOWN, len(top), FOLD):
        some = top[start : start + FOLD]
        yield (
            f"<details><summary>Ranks {start + 1:,} to {start + len(some):,}: spikiness {some[0][0]:.3f} to "
            f'{some[-1][0]:.3f}</summary><div class="grid">'
        )
        yield from _figures(some, start, embedded)
        yield "</div></details>"
    if scored > len(top):
        yield f"<p>The other {scored - len(top):,}, less spiky ones, are in the scan's results.</p>"


def _figures(some: Iterable[tuple[float, int, dict[str, Any]]], rank: int, embedded: bool) -> Iterator[str]:
    for place, (score, _, row) in enumerate(some, start=rank):
        verdict, prompt = _verdict(row), row.get("prompt")
        name = _safe(row["id"] if prompt is None else prompt)
        seed = row.get("seed")
        facts = f"{score:.3f} \u00b1 {row.get('spread', 0):.3f}" + (
            f", seed {_safe(seed)}" if prompt is not None else ""
        )
        known = f"<span>labelled {_safe(row['label'])}</span>" if row.get("label") else ""
        cut = row.get("unread")
        if isinstance(cut, list) and cut:
            known += f"<span>too long, not read: {_safe(shorten(' '.join(map(str, cut)), 60))}</span>"
        steer = ""
        if embedded and prompt is not None and isinstance(seed, int) and 0 <= seed <= EXACT:
            told = f'data-prompt="{name}" data-seed="{seed}" aria-label="Steer: {name}"'
            steer = f'<button type="button" {told}>Steer</button>'
        yield (
            f'<figure>{_thumbnail(row, place)}<figcaption><span class="tag {verdict}">{WORDS[verdict]}</span>'
            f'<span>{facts}</span><span class="name" title="{name}">{name}</span>{known}{steer}</figcaption></figure>'
        )


def _thumbnail(row: dict[str, Any], place: int) -> str:
    """The row's picture: kept in it, or a file that is still there; an empty square otherwise."""
    source = row.get("picture")
    if source is None and "path" in row and place < OPENED:
        try:
            source = small(open_row(Row(row["id"], row["path"], row.get("member"))))
        except RudderError:
            source = None
    if not isinstance(source, str) or not PICTURE.fullmatch(source):
        return '<div class="blank"></div>'
    return f'<img alt="" decoding="async" src="{source}">'


def _unread(unread: Sequence[dict[str, Any]], bad: int) -> Iterator[str]:
    yield "<ul>"
    yield from (f"<li><b>{_safe(row['id'])}</b>: {_safe(row['error'])}</li>" for row in unread)
    yield "</ul>"
    if bad > len(unread):
        yield f"<p>and {bad - len(unread):,} more, which are in the scan's results.</p>"


def _safe(value: object) -> str:
    return html.escape(str(value), quote=True)
