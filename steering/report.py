"""One self-contained page from a scan: the histogram, the ROC where there are labels, the spikiest pictures."""

from __future__ import annotations

import base64
import heapq
import html
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import RudderError
from .listing import Row, open_row
from .roc import auroc, tpr_at_fpr
from .scan import header, results

SHOWN, SIDE, BINS = 24, 96, 40
POSITIVE = {"memorized", "memorised", "1", "true", "yes"}
STYLE = """
:root { color-scheme: light dark; --ink: #14222b; --soft: #4b616c; --sheet: #fff; --one: #0b6e8f; --two: #a85a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2ebef; --soft: #93a9b4; --sheet: #121f28; --one: #58c0e2; --two: #eaa14a; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--sheet); max-width: 960px;
  margin: 32px auto; padding: 0 16px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; } h2 { font-size: 1.05rem; margin: 32px 0 8px; }
p { color: var(--soft); margin: 4px 0; }
svg { width: 100%; height: auto; } .bar { fill: var(--one); opacity: .7; } .bar.above { fill: var(--two); }
.line { stroke: var(--ink); stroke-dasharray: 4 3; } .curve { fill: none; stroke: var(--one); stroke-width: 2; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: 14px; }
figure { margin: 0; }
img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; image-rendering: pixelated; }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; } b { color: var(--ink); }
"""


def write_report(scanned: str | Path, target: str | Path) -> None:
    """Write the page for a scan's results; rows stream by, only their scores are kept."""
    head = header(scanned)
    scores, labels, errors = [], [], 0
    top: list[tuple[float, int, dict]] = []
    for index, row in enumerate(results(scanned)):
        if "error" in row:
            errors += 1
            continue
        scores.append(row["score"])
        labels.append(row.get("label"))
        heapq.heappush(top, (row["score"], -index, row))
        if len(top) > SHOWN:
            heapq.heappop(top)
    values = np.array(scores)
    flagged = int((values > head["threshold"]).sum()) if scores else 0
    probe = head["probe"]
    parts = [
        f"<h1>{len(scores):,} pictures, {flagged:,} of them memorised</h1>",
        f"<p>{html.escape(str(head['source']))}, scored by {html.escape(head['model'])}: {probe['statistic']} of the "
        f"{probe['pooling']} at {html.escape(probe['site'])}, timestep {probe['timestep']}, {head['draws']} noise "
        f"draws; {errors:,} rows could not be read.</p>",
    ]
    if scores:
        parts += ["<h2>Spikiness</h2>", _histogram(values, head["threshold"]), *_roc(values, labels)]
        parts += ["<h2>The spikiest</h2>", '<div class="grid">', *_figures(sorted(top, reverse=True)), "</div>"]
    body = "\n".join(parts)
    Path(target).write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Rudder scan</title><style>{STYLE}</style><body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _histogram(values: np.ndarray, threshold: float) -> str:
    """Counts by score on a square-root scale; the dashed line is the threshold."""
    low, high = min(values.min(), threshold), max(values.max(), threshold)
    counts, edges = np.histogram(values, BINS, (low, high + 1e-9 * max(1.0, abs(high))))
    wide, top = 900 / BINS, np.sqrt(counts.max())
    bars = "".join(
        f'<rect class="bar{" above" if edge >= threshold else ""}" x="{place * wide + 1:.1f}" width="{wide - 2:.1f}" '
        f'y="{200 - 180 * np.sqrt(n) / top:.1f}" height="{180 * np.sqrt(n) / top:.1f}">'
        f"<title>{n} from {edge:.3f}</title></rect>"
        for place, (n, edge) in enumerate(zip(counts, edges, strict=False))
    )
    at = 900 * (threshold - low) / max(high - low, 1e-12)
    line = f'<line class="line" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="200"/>'
    return (
        f'<svg viewBox="0 0 900 204" role="img" aria-label="Histogram of spikiness">{bars}{line}</svg>'
        f"<p>From {values.min():.3f} to {values.max():.3f}; the dashed line is the threshold, {threshold:.3f}.</p>"
    )


def _roc(values: np.ndarray, labels: Sequence[str | None]) -> list[str]:
    """The ROC where both groups are labelled; nothing otherwise."""
    known = np.array([label is not None for label in labels])
    truth = np.array([str(label).lower() in POSITIVE for label in labels])
    positive, negative = values[known & truth], values[known & ~truth]
    if not len(positive) or not len(negative):
        return []
    cuts = np.unique(values[known])[::-1]
    points = [(0.0, 0.0), *(((negative >= c).mean(), (positive >= c).mean()) for c in cuts)]
    path = " ".join(f"{300 * x:.1f},{300 - 300 * y:.1f}" for x, y in points)
    return [
        "<h2>Against the labels</h2>",
        '<svg viewBox="-2 -2 304 304" style="max-width: 320px" role="img" aria-label="ROC curve">'
        f'<polyline class="curve" points="{path}"/><line class="line" x1="0" y1="300" x2="300" y2="0"/></svg>',
        f"<p>AUROC <b>{auroc(positive, negative):.3f}</b>, true-positive rate at 1 % false positives "
        f"<b>{tpr_at_fpr(positive, negative):.3f}</b>; {len(positive):,} memorised, {len(negative):,} ordinary.</p>",
    ]


def _figures(top: Sequence[tuple[float, int, dict]]) -> Iterator[str]:
    for score, _, row in top:
        text = html.escape(str(row.get("prompt", row["id"])))
        caption = f"<figcaption><b>{score:.3f}</b> {text}</figcaption>"
        yield f"<figure>{_thumbnail(row)}{caption}</figure>"


def _thumbnail(row: dict) -> str:
    """The picture, small; nothing for a painted prompt or a file that has gone since."""
    if "path" not in row:
        return ""
    try:
        image = open_row(Row(row["id"], row["path"], row.get("member")))
    except RudderError:
        return ""
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, format="WEBP", quality=85)
    return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}">'
