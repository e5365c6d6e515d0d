"""What is said of a vector: to machines as JSON, to people in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import table

if TYPE_CHECKING:
    from ..vectors import ConceptVector

HALVES = {
    "both": "both halves of guidance",
    "conditional": "the prompt's half of guidance alone",
    "opposite": "both halves of guidance, with opposite signs",
}
POOLED = {"mean": "the mean over the picture plane", "max": "the maximum over the plane", "map": "place by place"}


def described(vector: ConceptVector) -> dict[str, Any]:
    """A vector for JSON: provenance, what was measured, and per site its shape and mean norm."""
    sites = [
        {"site": name, "shape": list(v.shape[1:]), "norm": round(float(v.flatten(1).norm(dim=1).mean()), 6)}
        for name, v in vector.vectors.items()
    ]
    return {
        "name": vector.name,
        "timesteps": list(vector.timesteps),
        "sites": sites,
        "recommended": vector.recommended,
        "provenance": vector.provenance,
    }


def judged(vector: ConceptVector, alike: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Whether a vector is any good, for JSON: what was measured, what it resembles, what to doubt."""
    from ..quality import doubts, quality_of, searched

    found = quality_of(vector)
    return {
        "quality": None if found is None else asdict(found),
        "resembles": [{"concept": name, "cosine": round(value, 3)} for name, value in alike],
        "doubts": doubts(vector, alike),
        "searched": searched(vector),
    }


MEASURED = {"takes": "measured to work", "works": "measured to work", "weak": "where it was measured to take a little",
            "cannot": "where it was measured not to take"}  # fmt: skip


def in_words(vector: ConceptVector, asked: str, prompt: str, alike: Sequence[tuple[str, float]] = ()) -> str:
    """A vector for people: what it is, whether it takes and is any good, how to use it, where it acts, how it was
    learned.

    `asked` is what it was called on the command line, `prompt` one that its model knows, `alike` what
    `quality.resembled` gives.
    """
    from ..quality import doubts, made_of, quality_of, searched

    made, told, advice = vector.provenance, vector.recommended, vector.advice
    lines = [
        f"{vector.name}: {made_of(vector)} As {made.get('model', 'its model')} represents them.",
        str(told.get("why", "")),
        "",
        f"Use it      {example(asked, prompt)}",
        f"Strength    {advice['strength']:g} is {MEASURED.get(vector.state, 'a cautious start')}; "
        f"slide from {advice['range'][0]:g} to {advice['range'][1]:g}",
        f"Added       from {100 * advice['window'][0]:.0f} to {100 * advice['window'][1]:.0f} % of the steps, in "
        f"{HALVES[advice['halves']]}",
        f"Learned     under the prompt {made.get('prompt') or 'of no words'!r}, at {len(vector.timesteps)} timesteps "
        f"from {vector.timesteps[0]} to {vector.timesteps[-1]}, {POOLED.get(str(made.get('pooling')), 'unknown')}, "
        f"seed {made.get('seed', 'unknown')}, {str(made.get('date', 'at an unknown time'))[:10]}",
        f"Weights     {made.get('fingerprint', 'unknown')}, Rudder {made.get('version', 'unknown')}",
        "",
    ]
    used, found = set(advice["sites"] or vector.sites), quality_of(vector)
    heads, rows = ["steered", "site", "shape", "length"], []
    if found:
        heads += ["of the activations'", "told apart (AUROC)", "halves agree (cosine)"]
    for row in described(vector)["sites"]:
        cells = ["yes" if row["site"] in used else "", row["site"], " x ".join(map(str, row["shape"])), row["norm"]]
        at = found.sites.get(row["site"]) if found else None
        measured_at = [at.share, at.auroc, at.steady] if at else [None] * 3
        rows.append([*cells, *(["" if value is None else round(value, 3) for value in measured_at] if found else ())])
    lines.append(table(heads, rows))
    if not found:
        lines.append("How well it tells pictures apart was not measured: add --measure.")
    if alike:
        lines.append("Resembles   " + ", ".join(f"{name} ({value:.2f})" for name, value in alike[:4]))
    lines += [f"Searched    {searched(vector)}"] if searched(vector) else []
    lines += [f"Mind        {sentence}" for sentence in doubts(vector, alike)]
    measured = told.get("measured") or []
    if measured:
        keys = list(measured[0])
        rows = [[row.get(key) for key in keys] for row in measured]
        lines += ["", "Measured on the model's own pictures:", table(keys, rows)]
    return "\n".join(line for place, line in enumerate(lines) if line or place != 1)


def example(asked: str | Path, prompt: str, strip: int = 7) -> str:
    """A command that paints a strip with a concept, from 0 to the strength recommended for it."""
    return f"rudder steer {shlex.quote(prompt)} -c {shlex.quote(str(asked))} --strip {strip}"
