"""Two replicas of a random model behind one studio: prefixes stay where they were made, deaths are made good."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from steering.backbones import load
from steering.errors import Cancelled, RudderError
from steering.grid import Grid, Painted
from steering.images import OnDisk
from steering.plan import Steering, Term
from steering.recipe import Recipe, Window
from steering.sampling import Prefix, Result, Step, finish
from steering.ui import replicas
from steering.ui.errands import frames
from steering.ui.grid import _painter
from steering.ui.grid_asked import Asked
from steering.ui.replicas import Replicas, count_of
from steering.ui.verbs import verbs_of

RECIPE = Recipe(model="tiny-random", prompt="a red apple", num_inference_steps=8, window=Window(0.5, 1.0))


@pytest.fixture(scope="module")
def both(tiny_folder: Path, ray_session):
    made = Replicas(partial(load, str(tiny_folder)), 2, "cpu")
    yield made
    made.close()


@pytest.fixture
def steering(vector) -> Steering:
    return Steering((Term(vector, 1.0),), Window(0.5, 1.0))


def near(one, other) -> bool:
    return all(np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 3 for a, b in zip(one, other, strict=True))


def test_they_paint_what_one_model_paints_and_keep_the_start(both, backbone, steering):
    here = verbs_of(backbone, 1.0)
    there = both.verbs(here)
    items = list(there.paint(RECIPE, steering, [0.0, 0.5]))
    result = items[-1]
    assert [type(item) for item in items] == [Step] * 8 + [Result] and result.prefix.latents.is_meta
    assert near(result.images, finish(here.paint(RECIPE, steering, [0.0, 0.5])).images)
    maker = both._places.get(result.prefix.of(0).key)
    again = list(there.paint(RECIPE, steering, [1.0], result.prefix))
    assert len(again) == 5  # the window alone, so that it was its maker who painted
    assert both._places.get(again[-1].prefix.of(0).key) is maker
    assert near(again[-1].images, finish(here.paint(RECIPE, steering, [1.0])).images)


def test_another_replica_paints_the_start_again(both, backbone, steering):
    paint = both.verbs(verbs_of(backbone, 1.0)).paint
    first = finish(paint(RECIPE, steering, [1.0]))
    maker = both._places.get(first.prefix.of(0).key)
    maker.busy += 2  # visitors wait there
    try:
        items = list(paint(RECIPE, steering, [1.0], first.prefix))
    finally:
        maker.busy -= 2
    assert len(items) == 9 and near(items[-1].images, first.images)
    assert both._places.get(first.prefix.of(0).key) is not maker


def test_two_visitors_are_served_by_two_replicas(both, backbone, steering):
    paint = both.verbs(verbs_of(backbone, 1.0)).paint
    runs = [paint(RECIPE, steering, [1.0]) for _ in range(2)]
    assert all(isinstance(next(run), Step) for run in runs)
    assert [one.busy for one in both.members] == [1, 1]
    for run in runs:
        run.close()
    assert [one.busy for one in both.members] == [0, 0]


def test_batches_join_what_lies_in_one_replica(both, backbone, steering):
    paint = both.verbs(verbs_of(backbone, 1.0)).paint
    made = finish(paint(RECIPE, steering, [1.0, 1.0], None, prompts=["a cat", "a dog"], seeds=[1, 2]))
    joined = Prefix.join([made.prefix.of(1), made.prefix.of(0)])
    items = list(paint(RECIPE, steering, [1.0, 1.0], joined, prompts=["a dog", "a cat"], seeds=[2, 1]))
    assert len(items) == 5 and near(items[-1].images, made.images[::-1])


def test_a_replica_that_dies_is_replaced_and_the_request_done_again(both, backbone, steering, caplog):
    run = both.verbs(verbs_of(backbone, 1.0)).paint(RECIPE, steering, [1.0])
    first = next(run)
    (member,) = [one for one in both.members if one.busy]
    os.kill(both.ray.get(member.actor.ready.remote()), signal.SIGKILL)
    items = list(run)
    assert isinstance(first, Step) and isinstance(items[-1], Result) and len(items[-1].images) == 1
    assert member not in both.members and len(both.members) == 2 and "replaced" in caplog.text
    both.ray.get([one.loaded for one in both.members])


def test_stop_reaches_a_replica(both, backbone, steering):
    stop = threading.Event()
    run = both.verbs(verbs_of(backbone, 1.0)).paint(
        replace(RECIPE, num_inference_steps=500), steering, [1.0], stop=stop
    )
    next(run)
    stop.set()
    started = time.monotonic()
    with pytest.raises(Cancelled, match="Stopped"):
        list(run)
    assert time.monotonic() - started < 2


def errands(there, vector, folder: Path, steps: int = 8) -> dict:
    """What the page has done beside painting and learning, by kind: each takes a `stop`."""
    recipe = replace(RECIPE, num_inference_steps=steps, concepts=(("red", 1.0),))
    rows, vectors = (("late", recipe), ("early", replace(recipe, window=Window(0.25, 1.0)))), {"red": vector}
    page = SimpleNamespace(**vars(there), backbone=SimpleNamespace(resolution=16), calibration=None,
                           outline=SimpleNamespace(asked="here"))  # fmt: skip
    painter = _painter(page, {"this": "here"})
    models = (("this", replace(recipe, model="this")),)
    return {
        "grid": partial(painter, Asked(rows, (0.0, 1.0), "window", vectors)),
        "models": partial(painter, Asked(models, (0.0, 1.0), "model", vectors)),
        "references": partial(there.refer, [("a cat", 1), ("a dog", 2)], folder, steps=steps, batch_size=1),
        "call": partial(there.run, frames, recipe, Steering.from_recipe(recipe, vectors), [0.0, 1.0]),
    }


KINDS = ("grid", "models", "references", "call")


def pictures_of(kind: str, items: list) -> list:
    """What came of it, whole and once."""
    last = items[-1]
    if kind == "references":
        assert isinstance(last, OnDisk)
        return list(last)
    if kind == "call":
        return last[0]
    assert isinstance(last, Grid)
    cells = [item for item in items if isinstance(item, Painted)]
    assert len(cells) == len({(cell.row, cell.column) for cell in cells}) == sum(map(len, last.cells))
    return [cell.image for row in last.cells for cell in row]


def kill(both) -> None:
    """Kill the replica that is at work, as soon as one is."""
    while not (busy := [one for one in both.members if one.busy]):
        time.sleep(0.01)
    os.kill(both.ray.get(busy[0].actor.ready.remote()), signal.SIGKILL)


def alone(*_, **__):
    raise AssertionError("the page's own model is asked")


@pytest.mark.parametrize("kind", KINDS)
def test_grids_references_and_calls_are_done_by_a_replica(both, backbone, vector, tmp_path, monkeypatch, kind):
    here = verbs_of(backbone, 1.0)
    expected = pictures_of(kind, list(errands(here, vector, tmp_path / "here")[kind](stop=None)))
    monkeypatch.setattr(type(backbone), "denoise", alone)
    items = list(errands(both.verbs(here), vector, tmp_path / "there")[kind](stop=None))
    assert len(items) > 2, "with progress"
    assert near(pictures_of(kind, items), expected)


@pytest.mark.parametrize("kind", ["grid", "references"])
def test_they_are_done_again_where_a_replica_dies(both, backbone, vector, tmp_path, kind, caplog):
    run = errands(both.verbs(verbs_of(backbone, 1.0)), vector, tmp_path, 100)[kind](stop=None)
    items = [next(run)]
    while kind == "grid" and not isinstance(items[-1], Painted):
        items.append(next(run))
    killer = threading.Thread(target=kill, args=[both])
    killer.start()
    items += run
    killer.join()
    assert "replaced" in caplog.text
    assert len(pictures_of(kind, items)) == (4 if kind == "grid" else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_stop_reaches_them_too(both, backbone, vector, tmp_path, kind):
    stop = threading.Event()
    run = errands(both.verbs(verbs_of(backbone, 1.0)), vector, tmp_path, 500)[kind](stop=stop)
    next(run)
    threading.Timer(0.3, stop.set).start()  # also while nothing comes: references tell of whole batches alone
    started = time.monotonic()
    with pytest.raises(Cancelled):
        list(run)
    assert time.monotonic() - started < 2 and not any(one.busy for one in both.members)


def test_a_replica_needs_nothing_of_the_page(both, backbone):
    def loaded(backbone, stop=None):
        import steering.ui.errands  # noqa: F401  whatever it imports

        yield os.getpid(), "gradio" in sys.modules

    ((pid, gradio_there),) = both.verbs(verbs_of(backbone, 1.0)).run(loaded)
    assert pid in both.ray.get([one.loaded for one in both.members]) and not gradio_there


def test_gauges_and_errors_come_through(both, backbone, steering):
    from tests.tiny import pictures

    there = both.verbs(verbs_of(backbone, 1.0))
    with pytest.raises(RudderError, match="^The strip strength|strength") as told:
        list(there.paint(RECIPE, steering, [float("nan")]))
    assert "Traceback" not in str(told.value)
    *_, vector = there.learn("red", pictures(3, tint=(90, 0, 0)), pictures(3, seed=2), prompt="a red apple")
    assert vector.fingerprint == backbone.fingerprint


def test_a_request_that_kills_every_replica_is_given_up(both, backbone, steering, monkeypatch):
    monkeypatch.setattr(replicas, "TRIES", 1)
    run = both.verbs(verbs_of(backbone, 1.0)).paint(RECIPE, steering, [1.0])
    next(run)
    (member,) = [one for one in both.members if one.busy]
    os.kill(both.ray.get(member.actor.ready.remote()), signal.SIGKILL)
    with pytest.raises(RudderError, match="replicas died over this request"):
        list(run)


def test_how_many(ray_session, tiny_folder: Path, tmp_path: Path):
    assert count_of("3") == 3 and count_of("auto", "cpu") == 1
    for wrong in ("none", "0", "65", "-1", "1.5"):
        with pytest.raises(RudderError, match="number of replicas"):
            count_of(wrong)
    with pytest.raises(RudderError, match="need a GPU each and Ray has 0"):
        Replicas(partial(load, str(tiny_folder)), 2, "cuda")
    with pytest.raises(RudderError, match="model_index.json"):
        Replicas(partial(load, str(tmp_path)), 1, "cpu")
