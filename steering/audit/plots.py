"""Plots of a report as HTML without scripts: a stretched SVG for the marks, text of one size for the axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..roc import auroc, tpr_at_fpr

BINS = 40
POSITIVE = {"memorized", "memorised", "1", "true", "yes"}
ORDER = {"ordinary": "ordinary", "memorised": "memorised", "none": "no verdict"}  # from the axis upwards
STYLE = """
.plot { position: relative; height: 220px; margin: 26px 14px 58px 52px; border: solid var(--deep);
  border-width: 0 0 1px 1px; }
.plot.square { height: auto; aspect-ratio: 1; max-width: 280px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.plot span { position: absolute; font-size: 12px; line-height: 16px; color: var(--soft); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.plot .x { top: 100%; transform: translateX(-50%); padding-top: 6px; }
.plot .x::before { content: ""; position: absolute; left: 50%; top: 0; width: 1px; height: 5px;
  background: var(--deep); }
.plot .y { right: 100%; transform: translateY(50%); padding-right: 8px; }
.plot .y::after { content: ""; position: absolute; right: 0; top: 50%; width: 5px; height: 1px;
  background: var(--deep); }
.plot .at { bottom: 100%; transform: translateX(-50%); padding-bottom: 3px; color: var(--ink); }
.plot .at.left { transform: none; } .plot .at.right { transform: translateX(-100%); }
.plot .xs { top: 100%; left: 50%; transform: translateX(-50%); padding-top: 26px; max-width: 100%; }
.plot .ys { left: -44px; top: 50%; transform: translate(-50%, -50%) rotate(-90deg); }
rect.ordinary, .key .ordinary { fill: var(--one); background: var(--one); }
rect.memorised, .key .memorised { fill: var(--two); background: var(--two); }
rect.none, .key .none { fill: var(--deep); background: var(--deep); }
.line { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 5 4; vector-effect: non-scaling-stroke; }
.curve { fill: none; stroke: var(--one); stroke-width: 2; vector-effect: non-scaling-stroke; }
.key { display: flex; flex-wrap: wrap; gap: 2px 18px; font-size: .85rem; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
"""


def histogram(values: np.ndarray, verdicts: Sequence[str], threshold: float, measure: str) -> str:
    """Pictures by score, stacked by verdict; counts on a square-root axis, so that few are seen beside many.

    `values` [N] scores, `verdicts` N of ORDER, `measure` escaped words for what the score is.
    """
    low, high = min(values.min(), threshold), max(values.max(), threshold)
    margin = 0.02 * (high - low or 1.0)
    low, high = low - margin, high + margin
    told = np.array(verdicts)
    counts = {name: np.histogram(values[told == name], BINS, (low, high))[0] for name in ORDER}
    edges = np.linspace(low, high, BINS + 1)
    most = int(np.sum(list(counts.values()), axis=0).max())
    rise = lambda n: 100 * math.sqrt(n / most)  # noqa: E731
    wide, bars = 100 / BINS, []
    for place in range(BINS):
        below = 0
        for name, count in counts.items():
            number = int(count[place])
            if number:
                base, top = rise(below), rise(below + number)
                bars.append(
                    f'<rect class="{name}" x="{place * wide + 0.15:.2f}" width="{wide - 0.3:.2f}" y="{100 - top:.2f}" '
                    f'height="{top - base:.2f}"><title>{number} {ORDER[name]}, spikiness {edges[place]:.3f} to '
                    f"{edges[place + 1]:.3f}</title></rect>"
                )
            below += number
    at = 100 * (threshold - low) / (high - low)
    side = " left" if at < 25 else " right" if at > 75 else ""
    marks = "".join(bars) + f'<line class="line" x1="{at:.2f}" x2="{at:.2f}" y1="0" y2="100"/>'
    marks_text = f'<span class="at{side}" style="left:{at:.2f}%">threshold {threshold:.3f}</span>'
    across = {f"{tick:g}": 100 * (tick - low) / (high - low) for tick in _ticks(low, high)}
    up = {f"{tick:,}": rise(tick) for tick in _counts(most)}
    key = "".join(
        f'<span><i class="{name}"></i>{title}: {int(counts[name].sum()):,}</span>'
        for name, title in ORDER.items()
        if counts[name].any()
    )
    plot = _plot(
        "Histogram of spikiness by verdict", marks, across, up, f"spikiness ({measure})", "pictures", marks_text
    )
    return f'<div class="key">{key}</div>{plot}'


def roc(values: np.ndarray, labels: Sequence[str | None]) -> str:
    """The ROC with its axes and numbers where both groups are labelled; "" otherwise."""
    known = np.array([label is not None for label in labels])
    truth = np.array([str(label).lower() in POSITIVE for label in labels])
    positive, negative = values[known & truth], values[known & ~truth]
    if not len(positive) or not len(negative):
        return ""
    cuts = np.unique(values[known])[::-1]
    points = [(0.0, 0.0), *(((negative >= c).mean(), (positive >= c).mean()) for c in cuts)]
    path = " ".join(f"{100 * x:.2f},{100 - 100 * y:.2f}" for x, y in points)
    marks = f'<polyline class="curve" points="{path}"/><line class="line" x1="0" y1="100" x2="100" y2="0"/>'
    ticks = {f"{tick:g}": 100 * tick for tick in (0, 0.25, 0.5, 0.75, 1)}
    plot = _plot("ROC curve", marks, ticks, ticks, "ordinary ones flagged", "memorised ones flagged", square=True)
    return (
        f"{plot}<p>AUROC <b>{auroc(positive, negative):.3f}</b>, true-positive rate at 1 % false positives "
        f"<b>{tpr_at_fpr(positive, negative):.3f}</b>; labelled: {len(positive):,} memorised, {len(negative):,} "
        "ordinary. The dashed line is guessing.</p>"
    )


def _plot(
    title: str,
    marks: str,
    across: Mapping[str, float],
    up: Mapping[str, float],
    below: str,
    beside: str,
    extra: str = "",
    square: bool = False,
) -> str:
    """Marks on a field of 100 by 100 with ticks {text: per cent} along both axes and a name for each."""
    ticks = "".join(f'<span class="x" style="left:{at:.2f}%">{text}</span>' for text, at in across.items())
    ticks += "".join(f'<span class="y" style="bottom:{at:.2f}%">{text}</span>' for text, at in up.items())
    return (
        f'<div class="plot{" square" if square else ""}"><svg viewBox="0 0 100 100" preserveAspectRatio="none" '
        f'role="img" aria-label="{title}">{marks}</svg>{ticks}{extra}<span class="xs">{below}</span>'
        f'<span class="ys">{beside}</span></div>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two others."""
    size = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(size * times for times in (5, 2, 1) if size * times <= (high - low) / 3)
    return [round(step * k, 12) + 0.0 for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _counts(most: int) -> list[int]:
    """Round counts for a square-root axis up to `most`, far enough apart to be read."""
    found = [0]
    for tick in sorted({times * 10**power for power in range(8) for times in (1, 2, 5)}):
        if tick <= most and math.sqrt(tick / most) - math.sqrt(found[-1] / most) > 0.12:
            found.append(tick)
    return found
