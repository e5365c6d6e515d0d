"""Pictures that a model paints for itself, to learn a concept or to calibrate with: kept, and never painted twice."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backbones.base import Backbone
from .checks import text, whole
from .concepts import Progress
from .engines import Batch, Engine, Here, engine_for, paint
from .errors import Cancelled, RudderError, shorten
from .files import as_json, read_json
from .images import OnDisk
from .png import read_png, write_png
from .recipe import SEED_LIMIT, Recipe

if TYPE_CHECKING:
    from PIL import Image

FORMAT = 1
HEAD = "references.json"
COUNT_LIMIT = 10_000
PIXELS_AT_ONCE = 4 * 512 * 512  # of a batch: bounds the memory of painting it
BATCH_LIMIT = 32
COMBINATIONS = 32  # of traits that are kept even


def rows_of(prompts: Sequence[str], count: int, seed: int = 0) -> list[tuple[str, int]]:
    """`count` pairs of a prompt and a seed: the prompts in turn, the seeds from `seed` on.

    RudderError without a prompt, or for a number of pictures that is out of bounds.
    """
    count = whole("The number of references", count, 1, COUNT_LIMIT)
    seed = whole("The seed of the references", seed, 0, SEED_LIMIT - 1 - count)
    if not prompts:
        raise RudderError("There is no prompt to paint references from: give one that shows the concept.")
    return [(prompts[i % len(prompts)], seed + i) for i in range(count)]


def evened(prompt: str, traits: Sequence[str]) -> list[str]:
    """The prompt with every combination of traits that are to be even on both sides: `traits` are alternatives with
    commas between them ("man, woman"), one after the other as the prompt's last words.

    Asked so of the concept and of its baseline, with the same seeds, a trait leaks into neither. RudderError for a
    group of one alternative, or for more than COMBINATIONS of them.
    """
    groups = [[part.strip() for part in text("A trait", one).split(",") if part.strip()] for one in traits]
    groups = [group for group in groups if group]
    for group in groups:
        if len(group) < 2:
            raise RudderError(
                f"The trait {shorten(group[0], 40)!r} has no alternative: give two or more with commas between them, "
                "such as man, woman."
            )
    if math.prod(map(len, groups)) > COMBINATIONS:
        raise RudderError(f"The traits have over {COMBINATIONS} combinations: give fewer.")
    return [", ".join(filter(None, [prompt.strip(), *some])) for some in itertools.product(*groups)]


def paint_references(
    backbone: Backbone,
    rows: Sequence[tuple[str, int]],
    folder: str | Path,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    batch_size: int | None = None,
    engine: Engine | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Progress | OnDisk]:
    """Paint a picture for each prompt and seed into a folder: Progress, then the pictures in the order of `rows`.

    Unsteered, at the model's own steps and guidance unless given; each is a PNG that carries its recipe. What the
    folder has already is not painted again, so that an interrupted run goes on; no more than a batch is held in memory.
    `engine` paints the batches, in place of the one in use (`engines.using`).
    RudderError for a folder that belongs to another model or other settings; Cancelled once `stop` is set.
    """
    recipe = Recipe(
        model=backbone.name,
        num_inference_steps=backbone.defaults["num_inference_steps"] if steps is None else steps,
        guidance_scale=backbone.defaults["guidance_scale"] if guidance is None else guidance,
    )
    folder = Path(folder)
    _claim(folder, backbone, recipe)
    paths = [folder / name_of(prompt, seed) for prompt, seed in rows]
    missing = {path: row for path, row in zip(paths, rows, strict=True) if not _there(path, row)}
    todo, total = list(missing.items()), len(set(paths))
    at_once = batch_size or min(BATCH_LIMIT, max(1, PIXELS_AT_ONCE // backbone.resolution**2))
    yield Progress(total - len(todo), total, "painting references")
    done = total - len(todo)
    batches = (todo[start : start + at_once] for start in range(0, len(todo), at_once))
    jobs = (Batch(recipe, [row[0] for _, row in some], [row[1] for _, row in some]) for some in batches)
    engine = engine or engine_for(backbone)
    work = partial(paint, stop=stop) if isinstance(engine, Here) else paint  # an event reaches no other process
    for batch, (images, _) in engine.map(work, jobs):
        if stop is not None and stop.is_set():
            raise Cancelled("Stopped: what was painted is kept, start again when you like.")
        for prompt, seed, image in zip(batch.prompts, batch.seeds, images, strict=True):
            _keep(image, folder / name_of(prompt, seed), replace(recipe, prompt=prompt, seed=seed))
        done += len(images)
        yield Progress(done, total, "painting references")
    yield OnDisk(paths)


def name_of(prompt: str, seed: int) -> str:
    """The file of a prompt and a seed: the prompt by its SHA-256, the seed as it is."""
    return f"{hashlib.sha256(prompt.encode()).hexdigest()[:12]}-{seed}.png"


def provenance(rows: Sequence[tuple[str, int]], backbone: Backbone) -> dict[str, Any]:
    """What a vector's provenance says of references: prompts, number, seeds, and how they were painted."""
    seeds = [seed for _, seed in rows]
    return {
        "prompts": list(dict.fromkeys(prompt for prompt, _ in rows)),
        "count": len(rows),
        "seeds": [min(seeds), max(seeds)],
        "num_inference_steps": backbone.defaults["num_inference_steps"],
        "guidance_scale": backbone.defaults["guidance_scale"],
    }


def _claim(folder: Path, backbone: Backbone, recipe: Recipe) -> None:
    """Make the folder this model's at these settings; RudderError where it is another's."""
    head = {
        "rudder_references": FORMAT,
        "model": backbone.name,
        "fingerprint": backbone.fingerprint,
        "number type": str(backbone.dtype).removeprefix("torch."),
        "num_inference_steps": recipe.num_inference_steps,
        "guidance_scale": recipe.guidance_scale,
    }
    path = folder / HEAD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            path.write_text(as_json(head, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RudderError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error
    had = read_json(path)
    for key, value in head.items():
        if key != "model" and had.get(key) != value:  # a model may be called by another path
            raise RudderError(
                f"{folder} holds pictures with another {key.replace('_', ' ')} ({shorten(had.get(key), 40)}, not "
                f"{shorten(value, 40)}): choose another folder, or delete it."
            )


def _there(path: Path, row: tuple[str, int]) -> bool:
    """Whether a picture was painted before; RudderError where the file is something else."""
    if not path.exists():
        return False
    found = read_png(path)
    if (found.prompt, found.seed) != row:
        raise RudderError(f"{path} was not painted from {shorten(row[0], 40)!r} at seed {row[1]}: delete it.")
    return True


def _keep(image: Image.Image, path: Path, recipe: Recipe) -> None:
    """Write a picture whole or not at all."""
    part = path.with_suffix(".part")
    write_png(image, part, recipe)
    os.replace(part, path)
