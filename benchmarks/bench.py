"""Measured speed, each figure against a named alternative: `make bench` writes benchmarks/results.json.

Both sides of a pair run in turn (A B, B A, A B, ...), each pair with a prompt and seed of its own; a figure
is the median over pairs, its spread the smallest and largest. The page is started cold, as its own process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from steering import (
    ConceptVector,
    Prefix,
    Recipe,
    RudderError,
    Steering,
    finish,
    learn,
    library,
    load,
    open_images,
    sample,
    strip,
)
from steering.backbones import Backbone
from steering.files import home

from .busy import chosen
from .page import measure_page
from .stage import measure_stage

RESULTS = Path(__file__).with_name("results.json")
STRIP = tuple(round(-1 + 3 * k / 8, 3) for k in range(9))
PACKAGES = ("torch", "diffusers", "transformers", "gradio", "numpy")
Timed = Callable[[Recipe], Any]


def plain_pipeline(backbone: Backbone) -> StableDiffusionPipeline:
    """diffusers' own pipeline over the very same components."""
    pipe = StableDiffusionPipeline(
        vae=backbone.vae,
        text_encoder=backbone.text_encoder,
        tokenizer=backbone.tokenizer,
        unet=backbone.network,
        scheduler=backbone.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seconds(task: Timed, recipe: Recipe) -> float:
    """Wall-clock seconds of one run, the accelerator's work included."""
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronise()
    started = time.perf_counter()
    task(recipe)
    synchronise()
    return time.perf_counter() - started


def in_turn(one: Timed, other: Timed, recipes: list[Recipe]) -> tuple[list[float], list[float]]:
    """Seconds of both tasks for each recipe, the order swapped from pair to pair; a warm-up of each first."""
    for task in (one, other):
        task(replace(recipes[0], prompt=""))
    ones, others = [], []
    for k, recipe in enumerate(recipes):
        for task, times in ((one, ones), (other, others))[:: -1 if k % 2 else 1]:
            times.append(seconds(task, recipe))
    return ones, others


def measure_sampling(backbone: Backbone, vector: ConceptVector, recipes: list[Recipe]) -> dict[str, list[float]]:
    """Every repeated value of the sampler's figures."""
    pipe = plain_pipeline(backbone)
    told = vector.advice  # its sites and halves, but the default window of 18 steps in 40
    steering = Steering(((vector, 1.0),), recipes[0].window, told["sites"], told["halves"])

    def plain(recipe: Recipe) -> Any:
        generator = torch.Generator().manual_seed(recipe.seed)
        count, scale = recipe.num_inference_steps, recipe.guidance_scale
        return pipe(recipe.prompt, num_inference_steps=count, guidance_scale=scale, generator=generator).images

    def full(recipe: Recipe) -> Any:
        return finish(sample(backbone, recipe, steering))

    def released(recipe: Recipe) -> Any:
        return finish(sample(backbone, recipe, steering, prefix=prefixes[recipe.prompt, recipe.seed]))

    def one_strip(recipe: Recipe) -> Any:
        return finish(strip(backbone, recipe, steering, STRIP))

    def nine_runs(recipe: Recipe) -> Any:
        return [finish(sample(backbone, recipe, steering.scaled(s))) for s in STRIP]

    def pair(recipe: Recipe) -> list[Recipe]:
        return [recipe, recipes[0]]  # as two columns: the same settings

    def both_columns(recipe: Recipe) -> Any:
        two = pair(recipe)
        joined = Prefix.join([prefixes[r.prompt, r.seed] for r in two])
        prompts, seeds = [r.prompt for r in two], [r.seed for r in two]
        return finish(sample(backbone, recipe, steering, prefix=joined, prompts=prompts, seeds=seeds))

    def column_by_column(recipe: Recipe) -> Any:
        return [released(r) for r in pair(recipe)]

    values: dict[str, list[float]] = {}
    steered, unsteered = in_turn(full, plain, recipes)  # first, so that both sides encode each prompt anew
    values["steered_over_plain"] = [a / b for a, b in zip(steered, unsteered, strict=True)]
    prefixes = {
        (r.prompt, r.seed): finish(sample(backbone, r, steering.scaled(0.5))).prefix
        for r in (replace(recipes[0], prompt=""), *recipes)
    }
    moved, whole = in_turn(released, full, recipes)
    values["released_over_full"] = [a / b for a, b in zip(moved, whole, strict=True)]
    strips, nines = in_turn(one_strip, nine_runs, recipes)
    values["strip9_over_nine_runs"] = [a / b for a, b in zip(strips, nines, strict=True)]
    batch, turns = in_turn(both_columns, column_by_column, recipes)
    values["both_columns_over_two_releases"] = [a / b for a, b in zip(batch, turns, strict=True)]
    return {**values, "full_run_seconds": steered, "released_seconds": moved}


def recipes_for(backbone: Backbone, repeats: int) -> list[Recipe]:
    """One recipe a pair: the model's own ordinary prompts in turn, a new seed each."""
    file = home() / "models" / backbone.name / "prompts.json"
    known = json.loads(file.read_text()).get("ordinary", []) if file.is_file() else []
    prompts = [entry["prompt"] for entry in known] or ["a red apple", "a cat", "a house", "a car"]
    settings = {key: backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale")}
    return [
        Recipe(model=backbone.name, prompt=prompts[k % len(prompts)], seed=1000 + k, **settings) for k in range(repeats)
    ]


def vector_of(backbone: Backbone, concept: str | None) -> ConceptVector:
    """The named concept's vector, or the first that ships; learned on the spot where a model has none."""
    shipped = library(backbone.name)
    if concept is not None and concept not in shipped:
        raise RudderError(f"There is no concept named {concept!r}: choose one of {', '.join(shipped) or 'none'}.")
    chosen = [shipped[concept]] if concept else list(shipped.values())
    for info in chosen:
        if info.vector_path is not None:
            return ConceptVector.load(info.vector_path, backbone)
    if not chosen:
        raise RudderError("No concept ships with this checkout: restore assets/concepts from its source.")
    items = learn(backbone, chosen[0].name, open_images(chosen[0].examples), open_images(chosen[0].baseline))
    return list(items)[-1]


def machine(threads: int) -> dict[str, Any]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(pages / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def summary(values: dict[str, list[float]]) -> dict[str, Any]:
    """The median of each figure at the top level, and its spread and count beside."""
    medians = {name: round(statistics.median(v), 4) if v else None for name, v in values.items()}
    spread = {name: {"min": min(v), "max": max(v), "repeats": len(v)} for name, v in values.items() if v}
    rounded = {k: {a: round(b, 4) for a, b in v.items()} for k, v in spread.items()}
    return {**medians, "spread": rounded}


def main(arguments: list[str] | None = None) -> None:
    """Measure and write; exits with 2 and one sentence for bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--concept", help="the first that ships, if not given")
    parser.add_argument("--repeats", type=int, default=9, help="pairs of runs")
    parser.add_argument("--starts", type=int, default=3, help="cold starts of the page; 0 leaves the page out")
    parser.add_argument("--rounds", type=int, default=3, help="rounds with one core kept busy; 0 leaves them out")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="torch threads (2)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    if asked.repeats < 1 or min(asked.starts, asked.rounds) < 0 or asked.threads < 1:
        parser.error("--repeats and --threads must be at least 1, --starts and --rounds at least 0")
    told = machine(asked.threads)
    torch.set_num_threads(asked.threads)
    try:
        backbone = load(asked.model)
        vector = vector_of(backbone, asked.concept)
    except RudderError as error:
        parser.error(str(error))
    recipes = recipes_for(backbone, asked.repeats)
    values = measure_sampling(backbone, vector, recipes)
    values |= measure_stage(asked.model, vector.name, recipes)
    values["busy_over_idle"] = chosen(asked.model, asked.threads, pictures=3, rounds=asked.rounds)
    values |= measure_page(asked.model, asked.starts, asked.threads)
    result = {
        **summary(values),
        "model": backbone.name,
        "concept": vector.name,
        "steps": recipes[0].num_inference_steps,
        "steered_steps": len(recipes[0].window.steps(recipes[0].num_inference_steps)),
        "strip": list(STRIP),
        "machine": told,
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.bench", *(sys.argv[1:] if arguments is None else arguments)]),
    }
    asked.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if not isinstance(v, (dict, list))}, indent=2))


if __name__ == "__main__":
    main()
