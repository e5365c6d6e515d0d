"""How many example pictures does a concept need? What steering does, against the number it was learned from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ..backbones.base import Backbone
from ..concepts import learn
from ..images import OnDisk
from ..references import paint_references
from ..vectors import ConceptVector
from . import judge as judging
from .common import QUIET, Report, answers, caption, responses, share

COUNTS = (5, 10, 20, 50, 100)
TIMES = 3  # sets of each number, as far as the painted pictures go
PROMPTS = 16  # that are steered
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the shipped vector's recommended strength
CURVES = {"success": "style taken", "preservation": "object and background kept", "uniformity": "even answer",
          "artefacts": "artefacts"}  # fmt: skip


def by_examples(
    backbone: Backbone,
    shipped: Mapping[str, ConceptVector],
    *,
    seed: int = 0,
    limit: int | None = None,
    counts: Sequence[int] = COUNTS,
    styles: Sequence[str] | None = None,
    progress: Report = QUIET,
) -> dict[str, Any]:
    """Means over styles (None: the first two of `shipped`) and sets, by the number of pictures a side.

    The model paints examples and baseline itself, from captions with and without the style at the same seeds; only what
    a vector is learned from varies: sites, pooling, window, halves and strength are the shipped vector's, whose own
    figures stand under "shipped". `success`: the judge names the style; `preservation`: object and background are
    still the prompt's; `uniformity`: 1 for even steps of the strip, 0 for a single jump; `artefacts`: the share of
    broken pictures; each at the recommended strength, None where the judge cannot tell. `limit`: at most so many
    prompts.
    """
    judge, names = judging.load(), list(styles or list(shipped)[:2])
    most, prompts = max(counts), min(limit or PROMPTS, PROMPTS)
    rng = np.random.default_rng(seed + 70_000)
    grammar = judge.config
    pairs = [(kind, ground) for kind in grammar["kinds"] for ground in grammar["backgrounds"]]
    found: dict[Any, list[dict[str, Any]]] = {count: [] for count in (*counts, "shipped")}
    sets = {count: min(TIMES, most // count) for count in counts}
    total, done = len(names) * (2 + sum(sets.values())), 0
    for style in names:
        vector, target = shipped[style], grammar["styles"].index(style)
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[: most + prompts]]
        chosen = [chosen[i % len(chosen)] for i in range(most + prompts)]
        asked, shown = chosen[:prompts], chosen[prompts:]
        with tempfile.TemporaryDirectory(prefix="rudder-") as folder:
            rows = [(caption(grammar, kind, ground, word), seed + 70_000 + i)
                    for word in (style, None) for i, (kind, ground) in enumerate(shown)]  # fmt: skip
            *_, painted = paint_references(backbone, rows, folder)
            assert isinstance(painted, OnDisk)
            done += 1
            progress(done, total, f"painting examples of {style}")
            for count in (*counts, "shipped"):
                for part in range(sets[count] if isinstance(count, int) else 1):
                    one = vector
                    if isinstance(count, int):
                        some = slice(part * count, (part + 1) * count)
                        one = _learned(backbone, vector, painted.paths[:most][some], painted.paths[most:][some], seed)
                    found[count] += _steered(backbone, judge, one, target, asked, seed)
                    done += 1
                    progress(done, total, f"{style} from {count} pictures")
    curve = {count: _figures(rows) for count, rows in found.items()}
    return {
        "counts": list(counts),
        **{name: [curve[count][name] for count in counts] for name in CURVES},
        "sets": [sets[count] for count in counts],
        "shipped": curve["shipped"],
        "styles": names,
        "prompts": prompts,
        "seed": seed,
    }


def figure(told: Mapping[str, Any], width: int = 560, height: int = 280) -> str:
    """`by_examples` as an SVG for a page: a curve each, the number of pictures on a logarithmic axis."""
    left, right, top, bottom = 44, 170, 16, 40
    counts = told["counts"]
    ends = np.log([counts[0], max(counts[-1], counts[0] + 1)])

    def at(count: float, value: float) -> str:
        x = left + (np.log(count) - ends[0]) / (ends[1] - ends[0]) * (width - left - right)
        return f"{x:.1f},{top + (1 - value) * (height - top - bottom):.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             f'font-size="11" fill="#4b616c" role="img" aria-label="What steering does against the number of example '
             'pictures">']  # fmt: skip
    for value in (0, 0.5, 1):
        y = at(1, value).split(",")[1]
        parts.append(f'<path d="M{left} {y}H{width - right}" stroke="#d3dde1"/>'
                     f'<text x="{left - 6}" y="{y}" text-anchor="end">{100 * value:.0f} %</text>')  # fmt: skip
    for count in counts:
        x = at(count, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - bottom + 16}" text-anchor="middle">{count}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle}" y="{height - 6}" text-anchor="middle">example pictures of each side</text>')
    for place, ((name, title), colour) in enumerate(
        zip(CURVES.items(), ("#b3186d", "#0b6e8f", "#14222b", "#a85a00"), strict=True)
    ):
        points = [at(c, v) for c, v in zip(counts, told[name], strict=True) if v is not None]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(points)}"/>')
        parts += [f'<circle r="3" fill="{colour}" cx="{x}" cy="{y}"/>' for x, y in (p.split(",") for p in points)]
        line = top + 18 * place + 8
        parts.append(f'<circle r="4" fill="{colour}" cx="{width - right + 16}" cy="{line - 4}"/>'
                     f'<text x="{width - right + 26}" y="{line}">{escape(title)}</text>')  # fmt: skip
    return "".join([*parts, "</svg>"]) + "\n"


def _learned(backbone: Backbone, like: ConceptVector, shown: Sequence, others: Sequence, seed: int) -> ConceptVector:
    """A vector learned as `like` was, from other pictures, and to be steered with as that one."""
    made = like.provenance
    *_, vector = learn(
        backbone, like.name, OnDisk(shown), OnDisk(others), prompt=made.get("prompt") or "",
        baseline_prompt=made.get("baseline_prompt") or "", sites=like.sites, timesteps=like.timesteps,
        pooling=made.get("pooling", "mean"), seed=seed,
    )  # fmt: skip
    assert isinstance(vector, ConceptVector)
    return vector.replace(recommended=like.recommended)


def _steered(
    backbone: Backbone,
    judge: judging.Judge,
    vector: ConceptVector,
    target: int,
    asked: Sequence[tuple[str, str]],
    seed: int,
) -> list[dict[str, Any]]:
    """What the judge reads of every prompt's strip."""
    texts, seeds = [caption(judge.config, *pair) for pair in asked], [seed + 80_000 + i for i in range(len(asked))]
    frames = list(responses(backbone, vector, texts, seeds, FACTORS))
    return [answers(judge, [row[i] for row in frames], target, *pair) for i, pair in enumerate(asked)]


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    even = 1 / (len(FACTORS) - 1)  # of a path: each step of an even one
    return {
        "success": share([row["style_taken"][-1] for row in rows]),
        "preservation": share([row[f"{name}_kept"][-1] for name in ("object", "background") for row in rows]),
        "uniformity": share([(1 - row["largest_step"][0]) / (1 - even) for row in rows]),
        "artefacts": share([row["artefact"][-1] for row in rows]),
    }
