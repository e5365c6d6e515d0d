"""Scanning 1,000 pictures against the reference notebook's way, and memory: `python -m benchmarks.scan`.

The notebook's way (la0ka1/diffusion-gen-from-rep), rewritten here: one picture at a time, and for each site a forward
pass of its own with one hook. Both read the same four sites. Writes benchmarks/scan.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from steering.backbones.registry import load
from steering.calibration import shipped
from steering.scoring import Probe, read

HERE = Path(__file__).resolve().parent
THUMBNAILS = HERE.parent / "assets" / "concepts"
SITES = 4
ROUNDS = 3


def one_by_one(backbone, images: list[Image.Image], sites: list[str], timestep: int) -> list[float]:
    """A picture at a time, a hook at a time: std of the spatial maximum before conv2."""
    empty, scores = backbone.condition([""]), []
    for image in images:
        latents = backbone.encode([image])
        for site in sites:
            noised = backbone.noise(latents, timestep, torch.Generator().manual_seed(0))
            kept = []
            module = backbone.network.get_submodule(backbone.sites()[site].path).conv2
            handle = module.register_forward_pre_hook(lambda m, inputs, kept=kept: kept.append(inputs[0]))
            with torch.no_grad():
                backbone.denoise(noised, timestep, empty)
            handle.remove()
            scores.append(float(kept[0].amax((2, 3)).std(dim=-1, correction=0)))
    return scores


def together(backbone, images: list[Image.Image], sites: list[str], timestep: int) -> list[float]:
    """Rudder's way: batches, all sites in one pass."""
    scores = []
    for part in read(backbone, images, sites, [timestep], poolings=["max"]):
        by_site = [part.scores(Probe(site, timestep)) for site in sites]
        scores += [float(s[i, 0]) for i in range(len(by_site[0])) for s in by_site]
    return scores


def pictures(count: int) -> list[Image.Image]:
    """`count` shipped example pictures, repeated as needed."""
    paths = sorted(THUMBNAILS.glob("*/*/*.png"))
    some = [Image.open(p).convert("RGB") for p in paths[: min(count, len(paths))]]
    return [some[i % len(some)] for i in range(count)]


def peak_memory(model: str, count: int) -> float:
    """Peak megabytes of a process that scans `count` pictures with one noise draw."""
    with tempfile.TemporaryDirectory() as folder:
        listed, paths = Path(folder) / "list.csv", sorted(THUMBNAILS.glob("*/*/*.png"))
        with listed.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "path"])
            rows.writerows([i, str(paths[i % len(paths)].resolve())] for i in range(count))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.scan", "--model", model, "--child", str(listed)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    return float(done.stdout.split()[-1])


def child(model: str, listed: Path) -> None:
    """Scan in this process and print its peak megabytes."""
    from dataclasses import replace

    from steering.audit.scan import scan

    backbone = load(model)
    calibration = replace(shipped(backbone), draws=1)
    for _ in scan(backbone, calibration, listed, listed.with_suffix(".out")):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--long", type=int, default=20_000, help="pictures of the longer scan for memory; 0: none")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.model, asked.child)
        return
    backbone = load(asked.model)
    probe = shipped(backbone).probe
    inner = [name for name in backbone.defaults["scored"] if name.startswith("up_blocks.")]
    sites, images = inner[:SITES], pictures(asked.count // ROUNDS)
    slow, fast = (way(backbone, images[:3], sites, probe.timestep) for way in (one_by_one, together))  # warm
    assert len(slow) == len(fast) == 3 * len(sites)
    seconds: dict[str, list[float]] = {"one_by_one": [], "together": []}
    for _ in range(ROUNDS):
        for way in (one_by_one, together):
            started = time.perf_counter()
            way(backbone, images, sites, probe.timestep)
            seconds[way.__name__].append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(seconds["one_by_one"], seconds["together"], strict=True)]
    memory = [peak_memory(asked.model, n) for n in (asked.count, asked.long) if n]
    found = {
        "faster": round(statistics.median(ratios), 2),
        "pictures_per_second": {k: round(len(images) / statistics.median(v), 1) for k, v in seconds.items()},
        "pictures": ROUNDS * len(images),
        "sites": sites,
        "peak_memory_mb": {str(n): round(m) for n, m in zip((asked.count, asked.long), memory, strict=False)},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    (HERE / "scan.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
