"""Learning a concept: batches with every site in one pass against one picture, one pass and one hook at a time, the
memory it takes against the number of pictures, and the second time: `python -m benchmarks.learning`.

Writes benchmarks/learning.json. Memory is the peak of a process of its own for each number of pictures, which lie on
disk as references do.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from steering import ConceptVector, load
from steering.backbones import Backbone
from steering.concepts import TIMESTEPS, learn
from steering.images import OnDisk

RESULTS = Path(__file__).with_name("learning.json")
SITES = 5
AIM = 3.0


def drawn(count: int, folder: Path, side: int, seed: int = 0) -> OnDisk:
    """Pictures of random patches as files: what they show does not matter here."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    paths = [folder / f"{seed}-{place:04d}.png" for place in range(count)]
    for path, value in zip(paths, values, strict=True):
        Image.fromarray(value).resize((side, side), Image.Resampling.NEAREST).save(path)
    return OnDisk(paths)


def one_by_one(
    backbone: Backbone, pictures: Sequence[Image.Image], sites: Sequence[str], timesteps: Sequence[int]
) -> dict[str, torch.Tensor]:
    """The mean representation as the reference code has it: a hook at one site, a picture, a timestep, a pass.

    The noise is `learn`'s own, so that both come to the same vector.
    """
    from steering.concepts import _generator

    modules, known = dict(backbone.network.named_modules()), backbone.sites()
    condition, found = backbone.condition([""]), {}
    for site in sites:
        rows = torch.zeros(len(timesteps), known[site].channels, dtype=torch.float64)
        store: dict[str, Any] = {}

        def hook(module: Any, inputs: Any, output: Any, store: dict[str, Any] = store) -> None:
            h = output[0] if isinstance(output, tuple) else output
            store["h"] = h.detach().float().mean(dim=(2, 3))

        handle = modules[known[site].path].register_forward_hook(hook)
        for place, picture in enumerate(pictures):
            latents = backbone.encode([picture])
            for row, t in enumerate(timesteps):
                with torch.no_grad():
                    backbone.denoise(backbone.noise(latents, t, [_generator(0, place, 0, t)]), t, condition)
                rows[row] += store["h"][0].double().cpu()
        handle.remove()
        found[site] = (rows / len(pictures)).float()
    return found


def last(run: Iterator[Any]) -> ConceptVector:
    """What a run ends with."""
    *_, vector = run
    return vector


def measure(model: str, count: int, timesteps: Sequence[int], repeats: int) -> dict[str, Any]:
    """Seconds of both ways, in turn, and whether they agree."""
    backbone = load(model, device="cpu")
    sites = [name for name, site in backbone.sites().items() if site.part == "output" and "resnets" in name][-SITES:]
    with tempfile.TemporaryDirectory() as name:
        pictures = drawn(count, Path(name), backbone.resolution)
        ours, theirs = [], []
        learned, plain = None, None
        last(learn(backbone, "warm", pictures[:2], sites=sites, timesteps=timesteps[:1]))
        for _ in range(repeats):
            started = time.perf_counter()
            learned = last(learn(backbone, "it", pictures, sites=sites, timesteps=timesteps))
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            plain = one_by_one(backbone, pictures, sites, timesteps)
            theirs.append(time.perf_counter() - started)
    assert learned is not None and plain is not None
    apart = max(float((learned.vectors[s] - plain[s]).norm() / plain[s].norm()) for s in sites)
    return {
        "pictures": count,
        "sites": sites,
        "timesteps": len(timesteps),
        "learned_seconds": round(statistics.median(ours), 3),
        "one_by_one_seconds": round(statistics.median(theirs), 3),
        "times_faster": round(statistics.median(theirs) / statistics.median(ours), 2),
        "relative_difference": apart,
    }


def second_time(model: str, count: int) -> dict[str, float]:
    """Seconds of the page's learning, search included, the first and the second time."""
    from steering.ui.studio import open_studio

    studio = open_studio(model, device="cpu", search_seconds=1)
    with tempfile.TemporaryDirectory() as name:
        sets = [drawn(count, Path(name), studio.backbone.resolution, seed) for seed in (1, 2)]
        times = []
        for _ in range(2):
            started = time.perf_counter()
            last(studio.learn("it", *sets))
            times.append(time.perf_counter() - started)
    return {"first_seconds": round(times[0], 3), "second_seconds": round(times[1], 4)}


def peak(model: str, count: int, timesteps: Sequence[int]) -> float:
    """Peak memory [MB] of a process that learns from so many pictures."""
    command = [sys.executable, "-m", "benchmarks.learning", "--model", model, "--memory", str(count),
               "--timesteps", str(len(timesteps))]  # fmt: skip
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(told.strip().splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write RESULTS unless told another file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--timesteps", type=int, default=len(TIMESTEPS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, help="only learn from so many pictures and print the peak")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    timesteps = TIMESTEPS[: asked.timesteps]
    if asked.memory:
        backbone = load(asked.model, device="cpu")
        with tempfile.TemporaryDirectory() as name:
            last(learn(backbone, "it", drawn(asked.memory, Path(name), backbone.resolution), timesteps=timesteps))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    counts = (max(1, asked.pictures // 4), asked.pictures, 2 * asked.pictures)
    told = {
        "model": asked.model,
        **measure(asked.model, asked.pictures, timesteps, asked.repeats),
        "peak_memory_mb": {str(n): round(peak(asked.model, n, timesteps), 1) for n in counts},
        **second_time(asked.model, max(2, asked.pictures // 5)),
        "aim_times_faster": AIM,
        "threads": torch.get_num_threads(),
    }
    asked.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
