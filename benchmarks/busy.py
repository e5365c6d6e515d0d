"""What a busy machine costs: a picture painted with one core kept busy against the same on an idle one, for every
waiting policy of OpenMP and number of threads. `python -m benchmarks.busy` writes benchmarks/busy.json, from which
steering/threads.py is chosen.

Each way is a process of its own, since OpenMP reads its environment once. Rounds go through all ways in turn, so that
whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steering.threads import POLICY

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("busy.json")
WAYS: dict[str, dict[str, str]] = {  # what OpenMP is told; "spinning" is what it does untold
    "spinning": {},
    "short spin": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"},
}
PAINT = """
import json, sys, time
import torch
from dataclasses import replace
from steering import ConceptVector, Recipe, Steering, finish, library, load, sample
torch.set_num_threads(int(sys.argv[2]))
backbone = load(sys.argv[1])
settings = {key: backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale")}
recipe = Recipe(model=backbone.name, prompt="a house", **settings)
paths = [info.vector_path for info in library(backbone.name).values() if info.vector_path]
steering = Steering(((ConceptVector.load(paths[0], backbone), 1.0),), recipe.window) if paths else None
finish(sample(backbone, replace(recipe, num_inference_steps=4), steering))
taken = []
for seed in range(int(sys.argv[3])):
    started = time.perf_counter()
    finish(sample(backbone, replace(recipe, seed=seed), steering))
    taken.append(time.perf_counter() - started)
print(json.dumps(taken))
"""


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """So many cores kept busy by a loop each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def paint(model: str, told: dict[str, str], threads: int, pictures: int) -> list[float]:
    """Seconds of each of so many steered pictures in a fresh process; the first is not counted."""
    known = {*POLICY, "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in known} | told
    command = [sys.executable, "-c", PAINT, model, str(threads), str(pictures)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(
    model: str, ways: dict[str, dict[str, str]], threads: list[int], pictures: int, rounds: int, loops: int = 1
) -> list[dict[str, Any]]:
    """A row a way and number of threads: median seconds idle and busy, and their ratio."""
    taken: dict[tuple[str, int, bool], list[float]] = {}
    for _ in range(rounds):
        for is_busy in (False, True):
            with busy(loops if is_busy else 0):
                for name, told in ways.items():
                    for count in threads if name == next(iter(ways)) else [n for n in threads if n > 1] or threads:
                        key = (name if count > 1 else "one thread", count, is_busy)
                        taken.setdefault(key, []).extend(paint(model, told, count, pictures))
    rows = []
    for name, count in dict.fromkeys((name, count) for name, count, _ in taken):
        idle, busied = (statistics.median(taken[name, count, one]) for one in (False, True))
        rows.append(
            {
                "way": name,
                "threads": count,
                "idle_seconds": round(idle, 3),
                "busy_seconds": round(busied, 3),
                "busy_over_idle": round(busied / idle, 3),
            }
        )
    return rows


def chosen(model: str, threads: int, pictures: int, rounds: int = 1) -> list[float]:
    """`busy_over_idle` of the way Rudder runs, once a round."""
    some = [measure(model, {"as chosen": POLICY}, [threads], pictures, 1) for _ in range(rounds)]
    return [rows[0]["busy_over_idle"] for rows in some]


def main(arguments: list[str] | None = None) -> None:
    """Measure every way and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy", description=__doc__)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--pictures", type=int, default=5, help="pictures a process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=1, help="cores kept busy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    if min(asked.pictures, asked.rounds, asked.loops) < 1:
        parser.error("--pictures, --rounds and --loops must be at least 1")
    load = os.getloadavg()[0]
    counts = sorted({1, 2, os.cpu_count() or 1})
    rows = measure(asked.model, WAYS, counts, asked.pictures, asked.rounds, asked.loops)
    told = {
        "ways": rows,
        "told": WAYS,
        "loops": asked.loops,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.busy", *(sys.argv[1:] if arguments is None else arguments)]),
    }
    asked.out.write_text(json.dumps(told, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
