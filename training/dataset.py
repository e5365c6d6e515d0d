"""Render the training pictures once, in shards, on every core: `python -m training.dataset`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from training.captions import written
from training.pictures import SIDE, Spec, draw_spec, render
from training.sources import CACHE, everyday, sprites

SHARD = 1000
RENDERER = hashlib.sha256(  # shards of another renderer are not used
    b"".join((Path(__file__).parent / name).read_bytes() for name in ("pictures.py", "sources.py", "captions.py"))
).hexdigest()[:8]


def ordinary(count: int, seed: int, seen: bool = True) -> tuple[np.ndarray, list[str], list[Spec]]:
    """`count` fresh pictures, uint8 RGB [count, 128, 128, 3], their captions and what is in them."""
    rng, store = np.random.default_rng(seed), everyday()
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    captions, specs = [], []
    for index in range(count):
        spec, names_style = draw_spec(rng, seen)
        images[index] = render(spec, store, rng)
        captions.append(written(spec, names_style, rng))
        specs.append(spec)
    return images, captions, specs


def labels(specs: list[Spec]) -> np.ndarray:
    """What is in the pictures as integers [N, 6]: kind, style, background, glasses, colour, second; none is -1."""
    return np.array([(s.kind, s.style, s.background, s.glasses, s.colour, s.second) for s in specs], np.int16)


def _shard(index: int, seed: int) -> None:
    path = CACHE / f"shard-{RENDERER}-{seed}-{index:03d}"
    if not path.with_suffix(".json").exists():
        images, captions, specs = ordinary(SHARD, seed=seed * 1_000_003 + index)
        np.save(path.with_suffix(".npy"), images)
        path.with_suffix(".json").write_text(json.dumps({"captions": captions, "labels": labels(specs).tolist()}))


def build(count: int, seed: int, workers: int | None = None) -> None:
    """Render `count` pictures (rounded up to shards of 1,000) that are not there yet."""
    sprites()  # rasterise once, before the processes would each do it
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_shard, range(-(-count // SHARD)), [seed] * (-(-count // SHARD))))


def shards(seed: int) -> list[Path]:
    """The descriptions of all shards rendered with that seed; SystemExit when there are none."""
    paths = sorted(CACHE.glob(f"shard-{RENDERER}-{seed}-???.json"))
    if not paths:
        raise SystemExit("No pictures are rendered yet: run `python -m training.dataset` first.")
    return paths


def load_shard(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """One shard: images uint8 [1000, 128, 128, 3], captions, labels [1000, 6]."""
    told = json.loads(path.read_text())
    return np.load(path.with_suffix(".npy")), told["captions"], np.array(told["labels"])


def load(seed: int, count: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The first `count` pictures rendered with that seed, as `load_shard` gives them."""
    images, captions, described = zip(*map(load_shard, shards(seed)[: -(-count // SHARD)]), strict=True)
    texts = [text for part in captions for text in part]
    return np.concatenate(images)[:count], texts[:count], np.concatenate(described)[:count]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    build(**vars(parser.parse_args()))
