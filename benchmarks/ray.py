"""Scanning on Ray against the present processes, and what 100 million pictures would cost: `python -m benchmarks.ray`.

Measured: pictures a second with 1 and 2 workers of each engine (start and loading apart), what Ray adds on a list of
2,000 when the work itself is nothing, and how fast a list is read, a picture is fetched, decoded and scored. On paper:
`cost` puts these figures together for many GPUs. Writes benchmarks/ray.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from steering.audit.listing import Row, open_row, rows
from steering.audit.scan import scan, score_rows
from steering.backbones.registry import load
from steering.calibration import shipped
from steering.clusters import Rays
from steering.engines import Engine, Here, Processes

HERE = Path(__file__).resolve().parent
THUMBNAILS = HERE.parent / "assets" / "concepts"
OVERHEAD = 2000  # rows of the list whose rows cost nothing
PICTURES = 100_000_000
GPUS = (8, 64, 512)
BATCH = 16


@dataclass(frozen=True)
class Figures:
    """What a plan rests on, each a second (`bytes_read`: of the network that all machines share; `kilobytes`: one
    picture's file): rows listed by the process that deals them out, jobs that it deals out and takes back, pictures
    decoded by a core, pictures scored by a GPU; cores beside each GPU, dollars an hour of a GPU with them."""

    listed: float
    dealt: float
    decoded: float
    scored: float
    bytes_read: float
    kilobytes: float
    rows_a_job: int = 4 * BATCH
    cores: int = 8
    dollars: float = 2.5


def cost(known: Figures, gpus: int, pictures: int = PICTURES) -> dict[str, object]:
    """Hours and dollars of a scan of so many pictures, and which part bounds it.

    All parts run side by side (a list is read thrice: surveyed, resumed and dealt, of which the first is waited for),
    so the slowest one sets the pace: {"hours", "dollars", "bound", "a_second": {part: pictures a second}}.
    """
    a_second = {
        "listing": known.listed,
        "dealing": known.dealt * known.rows_a_job,
        "network": known.bytes_read / (1000 * known.kilobytes),
        "decoding": known.decoded * known.cores * gpus,
        "scoring": known.scored * gpus,
    }
    bound = min(a_second, key=lambda part: a_second[part])
    hours = (pictures / a_second[bound] + pictures / known.listed) / 3600
    return {
        "gpus": gpus,
        "hours": round(hours, 2),
        "dollars": round(hours * gpus * known.dollars),
        "bound": bound,
        "a_second": {part: round(value) for part, value in a_second.items()},
    }


def nothing(backbone: object, some: list[int]) -> int:
    """Work that costs no time; a job without rows keeps one worker until the others are there, too."""
    if not some:
        time.sleep(20)
    return len(some)


@contextmanager
def engine_of(kind: str, workers: int, model: str) -> Iterator[Engine]:
    opened = partial(load, model)
    if kind == "ray":
        with Rays(opened, workers) as engine:
            yield engine
        engine.ray.shutdown()
    else:
        yield Processes(opened, ["cpu"] * workers) if kind == "processes" else Here(opened())


def listed(folder: Path, count: int) -> Path:
    """A list of `count` shipped pictures, repeated as needed."""
    path, paths = folder / "list.csv", sorted(THUMBNAILS.glob("*/*/*.png"))
    with path.open("w", newline="") as file:
        told = csv.writer(file)
        told.writerow(["id", "path"])
        told.writerows([i, str(paths[i % len(paths)].resolve())] for i in range(count))
    return path


def scanning(kind: str, workers: int, model: str, count: int) -> dict[str, float]:
    """Pictures a second from the first result to the last, and seconds until the first."""
    with tempfile.TemporaryDirectory() as name, engine_of(kind, workers, model) as engine:
        backbone = load(model)
        calibration = replace(shipped(backbone), draws=1)
        started, times, done = time.perf_counter(), [], []
        for progress in scan(backbone, calibration, listed(Path(name), count), Path(name) / "out", engine=engine):
            times.append(time.perf_counter())
            done.append(progress.done)
    rate = (done[-1] - done[0]) / (times[-1] - times[0])
    return {"pictures_per_second": round(rate, 2), "seconds_to_first": round(times[0] - started, 1)}


def dealing(kind: str, model: str) -> float:
    """Seconds that a list of OVERHEAD rows takes when scoring costs nothing, workers loaded."""
    with engine_of(kind, 2, model) as engine:
        jobs = [list(range(BATCH))] * (OVERHEAD // BATCH)
        results = engine.map(nothing, [[], [], *jobs])
        next(results)  # processes start here
        next(results)
        started = time.perf_counter()
        assert sum(result for _, result in results) == OVERHEAD
        return time.perf_counter() - started


def parts(model: str, count: int) -> dict[str, float]:
    """Rows listed, pictures decoded and scored a second by one process; kilobytes of a picture of 512 px as JPEG."""
    backbone = load(model)
    calibration = replace(shipped(backbone), draws=1)
    with tempfile.TemporaryDirectory() as name:
        path = listed(Path(name), 20_000)
        started = time.perf_counter()
        read = sum(1 for _ in rows(path))
        found = {"listed": read / (time.perf_counter() - started)}
        large = (
            Image.open(next(THUMBNAILS.glob("*/*/*.png"))).convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
        )
        file = BytesIO()
        large.save(file, "JPEG", quality=90)
        (Path(name) / "large.jpg").write_bytes(file.getvalue())
        row = Row("large", str(Path(name) / "large.jpg"))
        started = time.perf_counter()
        for _ in range(count):
            open_row(row)
        found["decoded"] = count / (time.perf_counter() - started)
        some = list(rows(listed(Path(name), BATCH)))
        score_rows(backbone, calibration, some)
        seconds = []
        for _ in range(max(3, count // BATCH)):
            started = time.perf_counter()
            score_rows(backbone, calibration, some)
            seconds.append(time.perf_counter() - started)
    return found | {"scored_here": BATCH / statistics.median(seconds), "kilobytes": file.tell() / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--count", type=int, default=480, help="pictures of each scan")
    parser.add_argument("--scored", type=float, default=40.0, help="pictures a second that one GPU scores")
    parser.add_argument("--network", type=float, default=12.5e9, help="bytes a second from the store, all machines")
    parser.add_argument("--out", type=Path, default=HERE / "ray.json")
    asked = parser.parse_args()
    kinds = [("here", 1), ("processes", 1), ("processes", 2), ("ray", 1), ("ray", 2)]
    scans = {f"{kind} {n}": scanning(kind, n, asked.model, asked.count) for kind, n in kinds}
    seconds = {kind: round(dealing(kind, asked.model), 3) for kind in ("processes", "ray")}
    known = parts(asked.model, asked.count)
    figures = Figures(
        listed=round(known["listed"]),
        dealt=round(OVERHEAD / BATCH / seconds["ray"]),
        decoded=round(known["decoded"]),
        scored=asked.scored,
        bytes_read=asked.network,
        kilobytes=round(known["kilobytes"], 1),
    )
    found = {
        "scans": scans,
        f"seconds_for_{OVERHEAD}_empty_rows": seconds,
        "scored_here": round(known["scored_here"], 1),
        "figures": asdict(figures),
        "on_paper": {"pictures": PICTURES, "plans": [cost(figures, gpus) for gpus in GPUS]},
        "count": asked.count,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
