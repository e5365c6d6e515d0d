"""Render the training pictures once, in shards, on every core: `python -m training.dataset`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from training.pictures import ordinary
from training.sources import CACHE, sprites

SHARD = 1000
RENDERER = hashlib.sha256(  # shards of another renderer are not used
    b"".join((Path(__file__).parent / name).read_bytes() for name in ("pictures.py", "sources.py"))
).hexdigest()[:8]


def _shard(index: int, seed: int) -> None:
    path = CACHE / f"shard-{RENDERER}-{seed}-{index:03d}.npz"
    if not path.exists():
        images, captions, specs = ordinary(SHARD, seed=seed * 1_000_003 + index)
        rows = np.array([(s.kind, s.style, s.background, s.glasses) for s in specs], np.uint8)
        partial = path.with_suffix(".tmp.npz")
        np.savez(partial, images=images, captions=np.array(json.dumps(captions)), specs=rows)
        partial.rename(path)


def build(count: int, seed: int, workers: int | None = None) -> None:
    """Render `count` pictures (rounded up to shards of 1,000) that are not there yet."""
    sprites()  # rasterise once, before the processes would each do it
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_shard, range(-(-count // SHARD)), [seed] * (-(-count // SHARD))))


def load(seed: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Every shard rendered so far: images uint8 [N, 64, 64, 3], captions, specs [N, 4]."""
    images, captions, specs = [], [], []
    for path in sorted(CACHE.glob(f"shard-{RENDERER}-{seed}-???.npz")):
        with np.load(path) as stored:
            images.append(stored["images"])
            captions += json.loads(str(stored["captions"]))
            specs.append(stored["specs"])
    return np.concatenate(images), captions, np.concatenate(specs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    build(**vars(parser.parse_args()))
