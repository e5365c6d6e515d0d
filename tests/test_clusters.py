"""The engine on Ray, in one small session: the same results, workers killed, errors in a sentence."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from steering import clusters
from steering.audit.results import results
from steering.audit.scan import scan
from steering.backbones import Backbone, load
from steering.concepts import learn
from steering.engines import Batch, Here, engine_for, paint, using
from steering.errors import RudderError
from steering.evaluation.common import pictures_of, recipe_of
from steering.plan import Steering, Term
from steering.recipe import Recipe, Window
from steering.references import paint_references
from tests.test_scan import calibration, run  # noqa: F401
from tests.tiny import pictures

words, groups = (sys.modules[f"steering.evaluation.{part}"] for part in ("words", "groups"))


@pytest.fixture(scope="module")
def rays(tiny_folder: Path, ray_session):
    with clusters.Rays(partial(load, str(tiny_folder)), 2) as engine:
        yield engine


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures, two of them damaged."""
    place = tmp_path_factory.mktemp("many")
    for index, picture in enumerate(pictures(16)):
        picture.save(place / f"{index:02}.png")
    for name in ("03.png", "10.png"):
        (place / name).write_bytes(b"no picture")
    return place


@pytest.fixture(scope="module")
def alone(backbone, calibration, many: Path, tmp_path_factory) -> list[dict]:  # noqa: F811
    """What this process makes of them."""
    return run(backbone, calibration, many, tmp_path_factory.mktemp("alone") / "out.jsonl")


def process(backbone: Backbone, job: object) -> int:
    return os.getpid()


def squared(backbone: Backbone, job: int) -> int:
    return job * job


def ended(backbone: Backbone, job: int) -> int:
    if job == 3:
        os._exit(1)
    return job


def wrong(backbone: Backbone, job: int) -> int:
    raise RudderError("The picture is upside down: turn it.")


def full(backbone: Backbone, job: int) -> int:
    raise RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")


def same(found: list[dict], expected: list[dict]) -> None:
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert [row.get("error") for row in found] == [row.get("error") for row in expected]
    scores = [[row.get("score", 0) for row in rows] for rows in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=1e-3)


def test_results_are_those_of_one_process(backbone, calibration, many, alone, tmp_path: Path, rays):  # noqa: F811
    same(run(backbone, calibration, f"file://{many}", tmp_path / "far.jsonl", batch=4, engine=rays), alone)


def test_a_killed_worker_loses_and_doubles_nothing(backbone, calibration, many, alone, tmp_path, rays):  # noqa: F811
    rays.most = 1  # many small jobs
    out = tmp_path / "killed.jsonl"
    steps = scan(backbone, calibration, many, out, batch=1, engine=rays)
    (_, number), *_ = rays.map(process, [0])
    killed = rays._crew[0]
    next(steps)
    os.kill(number, signal.SIGKILL)
    list(steps)
    same(list(results(out)), alone)
    assert killed not in rays._crew and len(rays._crew) == 2


def test_order_holds_and_no_more_is_drawn_than_is_in_hand(rays):
    drawn = []
    found = rays.map(squared, (drawn.append(i) or i for i in range(50)))
    assert next(found) == (0, 0) and len(drawn) <= 6
    assert [result for _, result in found] == [i * i for i in range(1, 50)]


def test_a_job_that_kills_every_worker_ends_the_run(rays, monkeypatch):
    done = []
    monkeypatch.setattr(clusters, "DEATHS", 2)
    with pytest.raises(RudderError, match="2 workers died over the same rows"):
        for job, _ in rays.map(ended, range(8)):
            done.append(job)
    assert done == [0, 1, 2]
    assert [result for _, result in rays.map(squared, [5])] == [25]  # and others still work


@pytest.mark.parametrize(
    ("work", "says"), [(wrong, "upside down: turn it.$"), (full, "no more memory.*smaller --batch")]
)
def test_errors_come_through_as_sentences(rays, work, says: str):
    with pytest.raises(RudderError, match=says):
        list(rays.map(work, [1]))


def test_painting_goes_to_the_workers(backbone, rays, tmp_path: Path, monkeypatch):
    prompts, seeds = ["a red apple", "a cat"] * 20, list(range(40))
    kept = pictures_of(backbone, prompts, seeds, steps=4)
    job = Batch(recipe_of(backbone, 4), prompts, seeds)
    with using(rays), monkeypatch.context() as patch:
        patch.setattr("steering.sampling.sample", lambda *a, **k: pytest.fail("painted in this process"))
        assert engine_for(backbone) is rays
        far = pictures_of(backbone, prompts, seeds, steps=4)
        *_, referred = paint_references(backbone, [("a cat", 1), ("a dog", 2)], tmp_path / "kept", steps=4)
    assert isinstance(engine_for(backbone), Here) and len(referred) == 2
    for a, b in zip(kept, far, strict=True):
        assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 3
    assert len(paint(backbone, job)[0]) == 40


def test_comparisons_are_made_by_the_workers(backbone, rays):
    recipe = Recipe(prompt="a cat", num_inference_steps=2)
    *_, vector = learn(backbone, "it", pictures(2), timesteps=(100,), sites=["up_blocks.0.resnets.0"])
    steering = Steering((Term(vector, 5.0),), Window(0.0, 1.0))
    asked = words.Case(recipe, steering, "a red apple")
    at = groups.Case(recipe, vector, {"shape": ["up_blocks.0.resnets.0"]}, "it")
    for work, case in ((words.changed, asked), (groups.moved, at)):
        ((given, far),) = rays.map(work, [case])
        assert given is case and type(far) is type(work(backbone, case))


def test_no_ray_no_cluster_no_device(rays, tiny_folder: Path, monkeypatch):
    with pytest.raises(RudderError, match="Ray has . CPUs: give at most"):
        clusters.Rays(partial(load, str(tiny_folder)), 99)
    with pytest.raises(RudderError, match="0 GPUs"):
        clusters.Rays(partial(load, str(tiny_folder)), None, "cuda")
    with pytest.raises(ConnectionError):
        clusters._answers("127.0.0.1:1")
    with monkeypatch.context() as patch:
        patch.setattr(rays.ray, "is_initialized", lambda: False)
        with pytest.raises(RudderError, match="no Ray cluster at 127.0.0.1:1, .*ray start --head"):
            clusters.connected("127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RudderError, match=r"Ray is not installed: pip install 'rudder-steering\[ray\]'"):
        clusters.connected()
