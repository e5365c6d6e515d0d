"""A grid of 5 seeds x 9 strengths against 45 full runs, one picture at a time: `python -m benchmarks.grid`.

Both paint the same pictures with the same vector, in turn on the same machine; what is told is their ratio. Writes
benchmarks/grid.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steering.axes import advised, numbers, rows_of
from steering.backbones.registry import load, outline
from steering.concepts import ConceptVector, library
from steering.errors import RudderError
from steering.grid import Grid, grid
from steering.plan import Steering
from steering.recipe import Recipe
from steering.sampling import finish, sample

HERE = Path(__file__).resolve().parent
LIMIT = 0.45  # of the time of full runs
PROMPT = "a red apple on a sky background"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what it returns)."""
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def measure(model: str, concept: str, rows: int, columns: int, steps: int | None, rounds: int) -> dict[str, Any]:
    """Seconds of both ways, once a round, and how far their pictures are apart (grey levels of 255)."""
    backbone, settings = load(model), outline(model).defaults
    shipped = library(backbone.name)
    if concept not in shipped or shipped[concept].vector_path is None:
        raise RudderError(f"{concept} has no vector for {backbone.name}: choose another --concept.")
    vectors = {concept: ConceptVector.load(shipped[concept].vector_path, backbone)}
    asked = {key: settings[key] for key in ("num_inference_steps", "guidance_scale")}
    asked |= {"num_inference_steps": steps} if steps else {}
    recipe = advised(Recipe(model=model, prompt=PROMPT, concepts=((concept, 1.0),), **asked), vectors)
    down = rows_of("seed", f"1..{rows}", recipe, vectors, backbone)
    across = numbers(f"-2..2 [{columns}]", "The row of strengths", columns)

    def together() -> Grid:
        *_, made = grid(backbone, down, vectors, across, axis="seed")
        return made

    def one_by_one() -> list[Any]:
        made = []
        for _, one in down:
            for value in across:
                steering = Steering.from_recipe(one, vectors).scaled(value)
                made.append(finish(sample(backbone, one, steering)).images[0])
        return made

    finish(sample(backbone, replace(recipe, num_inference_steps=2)))  # kernels are prepared before anything is timed
    took: dict[str, list[float]] = {"grid": [], "full_runs": []}
    gone = 0.0
    for place in range(rounds):
        found = {}
        ways = {"grid": together, "full_runs": one_by_one}
        for name in list(ways)[:: -1 if place % 2 else 1]:
            seconds, found[name] = timed(ways[name])
            took[name].append(round(seconds, 3))
        cells = [cell.image for row in found["grid"].cells for cell in row]
        apart = [np.abs(np.asarray(a, int) - np.asarray(b, int)).max() for a, b in
                 zip(cells, found["full_runs"], strict=True)]  # fmt: skip
        gone = max(gone, float(max(apart)))
    ratios = [one / other for one, other in zip(took["grid"], took["full_runs"], strict=True)]
    return {"model": backbone.name, "fingerprint": backbone.fingerprint, "concept": concept, "rows": rows,
            "columns": columns, "steps": recipe.num_inference_steps, "window": [recipe.window.start, recipe.window.end],
            "seconds": took, "ratio": round(statistics.median(ratios), 4), "limit": LIMIT, "apart": gone,
            "threads": torch.get_num_threads(), "machine": platform.processor() or platform.machine()}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--concept", default="sketch")
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--columns", type=int, default=9)
    parser.add_argument("--steps", type=int, help="denoising steps (the model's own)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "grid.json")
    asked = parser.parse_args()
    found = measure(asked.model, asked.concept, asked.rows, asked.columns, asked.steps, asked.rounds)
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{found['ratio']:.3f} of {asked.rows * asked.columns} full runs, at most {LIMIT} is due: {asked.out}")
    return 0 if found["ratio"] <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
