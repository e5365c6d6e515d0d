"""What every training shares: Muon without bfloat16, and a clock that leaves out what held it up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from training import loop
from training.loop import Matrices, Run, orthogonal


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (8, 4, 3, 3)])
def test_muon_in_float32_steps_as_torchs_own(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(shape, generator=generator)
    ours, theirs = (nn.Parameter(first.clone()) for _ in range(2))
    steps = {fast: Matrices([one], 1e-2, 0.1) for fast, one in ((False, ours), (True, theirs))}
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        for fast, one in ((False, ours), (True, theirs)):
            monkeypatch.setattr(loop, "halves", lambda device, fast=fast: fast)
            one.grad = gradient.clone()
            steps[fast].step()
    way = (theirs - first).norm()
    assert way > 0.1 and (ours - theirs).norm() < 0.02 * way, "but for the rounding of bfloat16"


def test_singular_values_come_near_one() -> None:
    made = orthogonal(torch.randn(30, 70, generator=torch.Generator().manual_seed(1)), 5)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5 and values.max() < 1.3


def test_the_clock_leaves_out_what_held_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    run = Run(tmp_path, nn.Linear(2, 2), 1e-3, minutes=1, save_every=1e9)
    count = 0
    for _ in run.steps():
        now[0] += 600 if count == 10 else 1  # a machine that slept for ten minutes
        count += 1
    assert 55 <= count <= 57, "one step counts as four"
    assert 60 <= run.seconds < 62
