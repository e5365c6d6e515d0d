"""The stage's callbacks timed as a visitor meets them: from Generate to the exact pictures of both columns, to whole
strips, and from a released slider to the exact pictures; each pair of prompts and seed new. Ratios are to the whole
strips, before which a page without an order of its own would show nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from steering.backbones.registry import DEFAULT
from steering.recipe import Recipe
from steering.ui.firstpaint import default_panel
from steering.ui.session import Session
from steering.ui.steer import generate, release
from steering.ui.studio import open_studio


def measure_stage(
    model: str = DEFAULT, concept: str = "", recipes: list[Recipe] | None = None
) -> dict[str, list[float]]:
    """Seconds and ratios, once per recipe after one that warms up; both columns have prompts of their own."""
    studio, session = open_studio(model, device="cpu"), Session()
    recipes = recipes or [Recipe(prompt="a cat", seed=k) for k in range(3)]
    names = ("first_exact_seconds", "strips_seconds", "moved_seconds", "first_exact_over_strips", "moved_over_strips")
    values: dict[str, list[float]] = {name: [] for name in names}
    for place, recipe in enumerate([replace(recipes[0], seed=1), *recipes]):
        panel = default_panel(studio, concept=concept, seed=recipe.seed)
        panel = replace(panel, prompts={"a": recipe.prompt, "b": panel.prompts["b"]})
        exact, whole, last = _generated(generate(studio, session, panel, {"ticket": 3 * place}))
        asked = {
            column: {"recipe": data["recipe"], "strength": 0.37 * data["strength"]}
            for column, data in last["columns"].items()
        }
        started = time.perf_counter()
        for _ in release(studio, session, {"ticket": 3 * place + 1, "columns": asked}):
            pass
        moved = time.perf_counter() - started
        if place:
            for name, value in zip(names, (exact, whole, moved, exact / whole, moved / whole), strict=True):
                values[name].append(value)
    return values


def _generated(messages: Any) -> tuple[float, float, dict[str, Any]]:
    """(seconds to a message with every column's frames, to the last message, that message)."""
    started, exact, message = time.perf_counter(), None, {}
    for message in messages:
        columns = message["columns"].values()
        if exact is None and columns and all(data.get("frames") for data in columns):
            exact = time.perf_counter() - started
    assert exact is not None, "no frames came"
    return exact, time.perf_counter() - started, message
