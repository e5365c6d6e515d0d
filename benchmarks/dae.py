"""The toy's training against the notebook's recipe, in one process: `python -m benchmarks.dae` writes dae.json.

The recipe: d = 1024, tied, p = 100, n = 5, RMSprop 1e-3 with weight decay 1e-2 (lambda = 0.0025), one draw of noise a
picture and step, 50,000 steps with torch. Ours: random weights too, the same optimiser and objective, but
in the subspace that holds the data and 123 random directions, with steps ten times as large that shrink at the
end. Time runs until the first told state whose exact loss (closed form) is no higher than the recipe's last.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path

import torch

from steering.dae.data import load, training_set
from steering.dae.model import DAE, loss
from steering.dae.training import Settings, train

from .bench import machine

RESULTS = Path(__file__).with_name("dae.json")
STEPS = 50_000


def recipe(x: torch.Tensor, settings: Settings, steps: int) -> tuple[DAE, float]:
    """The straightforward training, and the seconds it took."""
    torch.manual_seed(settings.seed)
    w = (0.01 * torch.randn(x.shape[1], settings.p)).requires_grad_()
    optimizer = torch.optim.RMSprop([w], lr=1e-3, weight_decay=4 * settings.lam)
    started = time.perf_counter()
    for _ in range(steps):
        made = ((x + settings.sigma * torch.randn_like(x)) @ w).relu() @ w.T
        error = (made - x).square().sum(1).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    w = w.detach()
    return DAE(w, w), time.perf_counter() - started


def ours(x: torch.Tensor, settings: Settings, target: float) -> tuple[float, float]:
    """Seconds of training until the loss is no higher than `target`, and that loss; judging it is not counted."""
    seconds, reached, started = 0.0, float("inf"), time.perf_counter()
    for step in train(x, settings):
        seconds += time.perf_counter() - started
        reached = loss(step.dae, x, settings.sigma, settings.lam) if step.done or step.loss < 2 * target else reached
        if reached <= target:
            break
        started = time.perf_counter()
    return seconds, reached


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dae", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the recipe")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of ours; the median counts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    told = machine(torch.get_num_threads())
    settings, x = Settings(), training_set(load("fashion"), 5)
    slow, slow_seconds = recipe(x, settings, asked.steps)
    target = loss(slow, x, settings.sigma, settings.lam)
    runs = sorted(ours(x, Settings(seed=k + 1), target) for k in range(asked.repeats))
    seconds, reached = runs[len(runs) // 2]
    result = {
        "dae": {
            "recipe_seconds": round(slow_seconds, 3),
            "recipe_loss": target,
            "seconds": round(seconds, 3),
            "loss": reached,
            "times_faster": round(slow_seconds / seconds, 1) if reached <= target else None,
            "runs": [{"seconds": round(s, 3), "loss": v} for s, v in runs],
            "steps": asked.steps,
            "machine": told,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": "python -m benchmarks.dae",
        }
    }
    asked.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["dae"], indent=2))


if __name__ == "__main__":
    main()
