"""Words and groups are painted by the engine in use, with the numbers of this process."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from steering import evaluation
from steering.backbones import Backbone, load
from steering.concepts import learn, library
from steering.engines import using
from steering.evaluation.common import STYLES
from steering.files import home
from tests.tiny import pictures

HERE = {part: sys.modules[f"steering.evaluation.{part}"] for part in ("words", "groups")}


class Posted:
    """Workers as other processes are: jobs and results are sent, two are drawn ahead, and the model is another one."""

    workers, most = 2, 1

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.done = backbone, 0

    def map(self, work: Callable[..., Any], jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        rest = iter(jobs)
        waiting = list(islice(rest, 2))
        while waiting:
            job = waiting.pop(0)
            waiting += islice(rest, 1)
            there, sent = pickle.loads(pickle.dumps((work, job)))
            self.done += 1
            yield job, pickle.loads(pickle.dumps(there(self.backbone, sent)))


@pytest.fixture
def measured(backbone: Backbone, monkeypatch: pytest.MonkeyPatch):
    """A random model as one that has vectors of the styles and two concepts, at a few steps."""
    if not (home() / "models" / "judge").is_dir() or not library("tiny-sd"):
        pytest.skip("the judge or the concepts are absent")
    monkeypatch.setitem(backbone.defaults, "num_inference_steps", 3)
    monkeypatch.setitem(backbone.defaults, "timesteps", (100,))
    monkeypatch.setattr(HERE["groups"], "FACTORS", (0.5, 2.0))
    *_, vector = learn(backbone, "it", pictures(2), pictures(2, seed=5), timesteps=(100,))
    vectors = {style: vector.replace(name=style, recommended={"strength": 5.0}) for style in STYLES}
    monkeypatch.setattr(HERE["words"], "learned", lambda backbone: vectors)
    infos = {
        name: replace(info, examples=info.examples[:2], baseline=info.baseline[:2])
        for name, info in islice(library("tiny-sd").items(), 2)
    }
    monkeypatch.setattr(HERE["groups"], "library", lambda model: infos)
    return backbone


@pytest.mark.parametrize(("part", "jobs"), [("words", 6), ("groups", 4)])
def test_the_engine_paints_and_the_numbers_stay(
    measured: Backbone, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, jobs: int
):
    limit, said = (6, []) if part == "words" else (2, [])
    measure = getattr(evaluation, part)
    alone = measure(measured, seed=3, limit=limit)
    workers = Posted(load(tiny_folder))
    monkeypatch.setattr(measured, "schedule", lambda *_: pytest.fail("painted in this process"))
    with using(workers):
        found = measure(measured, seed=3, limit=limit, progress=lambda *told: said.append(told))
    assert json.dumps(found) == json.dumps(alone) and workers.done == jobs
    assert said[-1][0] == said[-1][1] and [done for done, *_ in said] == sorted(done for done, *_ in said)
