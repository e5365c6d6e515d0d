"""Concepts: vectors learned from pictures, and the library that ships with Rudder (told of without torch)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import __version__
from .backbones.base import Backbone, read_as, repeated
from .checks import text, whole
from .errors import RudderError, remark, shorten, unknown
from .files import home, read_json
from .images import Pictures, gathered
from .sets import compared, distinct
from .vectors import ConceptVector

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TIMESTEPS", "ConceptInfo", "ConceptVector", "Progress", "digest", "learn", "library", "read_under"]

TIMESTEPS = tuple(range(25, 1000, 75))  # a steered step uses the nearest


@dataclass(frozen=True)
class Progress:
    """How far a long task is: `done` of `total`, and what it is doing."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class ConceptInfo:
    """A concept that ships with Rudder: texts, example pictures, and the model's vector file once learned."""

    name: str
    title: str
    description: str
    examples: tuple[Path, ...]
    baseline: tuple[Path, ...]
    vector_path: Path | None
    prompt: str = ""
    baseline_prompt: str = ""


def library(model: str = "tiny-sd") -> dict[str, ConceptInfo]:
    """The shipped concepts by name, with the vector files made for `model`; {} when none are there."""
    return {
        path.parent.name: _concept(path.parent, model) for path in sorted(_concepts_folder().glob("*/concept.json"))
    }


def read_under(backbone: Backbone, info: ConceptInfo) -> tuple[str, str]:
    """The prompts of a shipped concept's pictures and of its baseline's: its own where texts are prompts, else none."""
    return (info.prompt, info.baseline_prompt) if backbone.classes is None else ("", "")


def learn(
    backbone: Backbone,
    name: str,
    images: Pictures,
    baseline: Pictures | None = None,
    *,
    prompt: str = "",
    baseline_prompt: str = "",
    sites: Sequence[str] | None = None,
    timesteps: Sequence[int] | None = None,
    draws: int = 1,
    pooling: str = "mean",
    seed: int = 0,
    batch_size: int = 16,
) -> Iterator[Progress | ConceptVector]:
    """Learn a vector: v = mean h(x_t, t, c) over the concept's pictures, minus the same over the baseline's.

    `images` and `baseline`: pictures, or paths of pictures, folders and zips (see `images.gathered`).
    Each picture is noised to each timestep `draws` times, every draw seeded by (seed, picture, draw,
    timestep) whatever the batch size. Without a baseline the plain mean is kept (the paper's f = g(h + a v));
    provenance says so, and in "remarks" what is to be known of copies, of pictures in both sets, and of words of the
    prompts that the model does not read; each is a Remark, too. `sites` None: the model's default sites; `timesteps`
    None: its preset's, else TIMESTEPS. `pooling`: "mean", "max" (of the picture plane) or "map" (no pooling). Yields
    Progress, then the ConceptVector. Raises RudderError for an empty set, sets that are the same, a difference that is
    zero, or an unknown site or pooling.
    """
    import torch

    from .activations import POOLINGS, find_sites
    from .memory import in_batches
    from .words import cut_short

    images, baseline = gathered(images), gathered(baseline)
    if not images:
        raise RudderError("There are no pictures to learn from: give at least one that shows the concept.")
    remarks = compared(images, baseline)
    images, baseline = distinct(images), distinct(baseline)
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    names = [site.name for site in find_sites(backbone, backbone.defaults["sites"] if sites is None else sites)]
    known = backbone.defaults.get("timesteps") or TIMESTEPS
    steps = tuple(sorted({whole("A timestep", t, 0, 999) for t in (known if timesteps is None else timesteps)}))
    draws = whole("The number of noise draws", draws, 1, 1000)
    batch_size = whole("The batch size", batch_size, 1, 1024)
    seed = whole("The seed", seed, 0, 2**63 - 1)
    prompt = text("The concept's prompt", prompt)
    baseline_prompt = text("The baseline's prompt", baseline_prompt)
    if not names or not steps:
        raise RudderError("There are no sites or no timesteps to learn at: name at least one of each.")
    read = [prompt, baseline_prompt] if baseline else [prompt]
    remarks += filter(None, [cut_short(backbone, read)])
    for sentence in remarks:
        remark(sentence)
    total = (len(images) + len(baseline)) * (1 + draws * len(steps))
    done, means = 0, []
    for pictures, words in ((images, prompt), (baseline, baseline_prompt)):
        if not pictures:
            continue
        condition, latents = read_as(backbone, words), list[torch.Tensor]()
        encode = lambda part, of=pictures, to=latents: to.append(backbone.encode(of[part]))  # noqa: E731
        for count in in_batches(backbone, len(pictures), batch_size, encode, "pictures to read"):
            done += count
            yield Progress(done, total, f"reading {name}'s pictures")
        sums: dict[str, list] = {}
        for batch in _average(
            backbone, torch.cat(latents), condition, names, steps, draws, pooling, seed, batch_size, sums
        ):
            done += batch
            yield Progress(done, total, f"learning {name}")
        means.append({site: torch.stack(rows) / (len(pictures) * draws) for site, rows in sums.items()})
    vectors = {s: (means[0][s] - means[1][s] if len(means) > 1 else means[0][s]).float() for s in names}
    if not any(v.any() for v in vectors.values()):
        raise RudderError(f"The two sets of {shorten(name)} look the same to {backbone.name}: give sets that differ.")
    yield ConceptVector(
        name=name,
        vectors=vectors,
        timesteps=steps,
        provenance={
            "model": backbone.name,
            "fingerprint": backbone.fingerprint,
            "version": __version__,
            "shapes": {site: list(v.shape[1:]) for site, v in vectors.items()},
            "pooling": pooling,
            "timesteps": list(steps),
            "draws": draws,
            "seed": seed,
            "images": len(images),
            "images_sha256": digest(images),
            "baseline": bool(baseline),
            "baseline_images": len(baseline),
            "baseline_sha256": digest(baseline) if baseline else None,
            **({"remarks": remarks} if remarks else {}),
            "prompt": prompt,
            "baseline_prompt": baseline_prompt if baseline else None,
            "unit": "mean(concept) - mean(baseline)" if baseline else "mean(concept)",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        recommended={"window": backbone.defaults["window"]} if "window" in backbone.defaults else {},
    )


def digest(images: Sequence[Image.Image]) -> str:
    """SHA-256 over sizes and RGB values of a set of pictures."""
    sha = hashlib.sha256()
    for image in images:
        sha.update(repr(image.size).encode() + image.convert("RGB").tobytes())
    return sha.hexdigest()


def _average(
    backbone: Backbone,
    latents: Tensor,
    condition: Tensor,
    sites: list[str],
    timesteps: tuple[int, ...],
    draws: int,
    pooling: str,
    seed: int,
    batch_size: int,
    sums: dict[str, list],
) -> Iterator[int]:
    """Fill sums[site][k] with float64 sums of representations at timesteps[k]; yields each batch's size."""
    import torch

    from .activations import capture
    from .memory import in_batches

    for t in timesteps:
        row: dict[str, Tensor] = {}
        for draw in range(draws):

            def read(part: slice, t: int = t, draw: int = draw, row: dict[str, Tensor] = row) -> None:
                x = latents[part]
                noise = [_generator(seed, part.start + i, draw, t) for i in range(len(x))]
                with torch.no_grad(), capture(backbone, sites, pooling) as store:
                    backbone.denoise(backbone.noise(x, t, noise), t, repeated(condition, len(x)))
                for site, summed in {s: store[s].sum(dim=0, dtype=torch.float64).cpu() for s in sites}.items():
                    row[site] = row[site] + summed if site in row else summed

            yield from in_batches(backbone, len(latents), batch_size, read, "noised pictures")
        for site in sites:
            sums.setdefault(site, []).append(row[site])


def _generator(*key: int) -> torch.Generator:
    """A generator whose stream depends on every part of the key."""
    import torch

    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _concepts_folder() -> Path:
    return home() / "assets" / "concepts"


def _concept(folder: Path, model: str) -> ConceptInfo:
    texts = read_json(folder / "concept.json")
    vector = folder / f"{Path(model).name}.safetensors"
    return ConceptInfo(
        name=folder.name,
        title=str(texts.get("title", folder.name)),
        description=str(texts.get("description", "")),
        examples=tuple(sorted((folder / "examples").glob("*.png"))),
        baseline=tuple(sorted((folder / "baseline").glob("*.png"))),
        vector_path=vector if vector.is_file() else None,
        prompt=str(texts.get("prompt", "")),
        baseline_prompt=str(texts.get("baseline_prompt", "")),
    )
