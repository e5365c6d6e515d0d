"""ZeroGPU's slices, played by a stand-in for the `spaces` package that passes on no more of an error than its class."""

from __future__ import annotations

import inspect
import threading
from types import SimpleNamespace

import pytest

from steering.errors import Cancelled, RudderError
from steering.plan import Steering
from steering.recipe import Recipe
from steering.ui import gpu, verbs


class Space:
    """What `spaces.GPU` does, in one process."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def GPU(self, duration):
        def decorate(task):
            def generator(*arguments, **options):
                self.asked.append(duration(*arguments, **options))
                try:
                    yield from task(*arguments, **options)
                except Exception as wrong:
                    raise RuntimeError(f"ZeroGPU worker error: {type(wrong).__name__}") from None

            def called(*arguments, **options):
                self.asked.append(duration(*arguments, **options))
                try:
                    return task(*arguments, **options)
                except Exception as wrong:
                    raise RuntimeError(f"ZeroGPU worker error: {type(wrong).__name__}") from None

            return generator if inspect.isgeneratorfunction(task) else called

        return decorate


@pytest.fixture
def space(monkeypatch) -> Space:
    space = Space()
    monkeypatch.setattr(gpu, "zero_gpu", lambda: True)
    monkeypatch.setattr(verbs, "zero_gpu", lambda: True)
    monkeypatch.setattr(gpu, "spaces", SimpleNamespace(GPU=space.GPU), raising=False)
    return space


def test_an_error_keeps_its_words(space):
    @gpu.on_gpu(lambda count, **_: count)
    def several(count, stop=None):
        yield count
        raise RudderError("The picture is too dark: take a lighter one.")

    @gpu.call_on_gpu(lambda: 0)
    def once():
        raise RudderError("There is no such site.")

    run = several(3)
    assert next(run) == 3
    with pytest.raises(RudderError, match="too dark: take a lighter one"):
        next(run)
    with pytest.raises(RudderError, match="no such site"):
        once()


def test_a_stop_is_heard_between_two_items(space):
    ended, stop = [], threading.Event()

    @gpu.on_gpu(lambda **_: 0)
    def endless(stop=None):
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    run = endless(stop=stop)
    next(run)
    stop.set()
    with pytest.raises(Cancelled):
        next(run)
    assert ended


@pytest.mark.parametrize(("passes", "seconds"), [(0, gpu.LEAST), (1000, 60), (10**6, gpu.MOST)])
def test_the_time_asked_for_follows_the_work(passes, seconds):
    assert gpu.seconds(passes) == seconds


def test_every_verb_asks_by_its_work(space, backbone):
    made = verbs.verbs_of(backbone, 60.0)
    recipe = Recipe(model=backbone.name, prompt="a cat", num_inference_steps=2)
    list(made.paint(recipe, Steering(), [0.0]))
    list(made.paint(Recipe(model=backbone.name, prompt="a cat", num_inference_steps=200), Steering(), [0.0] * 2))
    with pytest.raises(RudderError):
        list(made.learn("name", [], []))
    assert space.asked[0] == gpu.LEAST and space.asked[1] == 50 and verbs.SLICE <= space.asked[2] <= gpu.MOST


def test_elsewhere_nothing_is_sliced(monkeypatch):
    def run(stop=None):
        yield 1

    assert gpu.on_gpu(lambda **_: 0)(run) is run and gpu.call_on_gpu(lambda: 0)(run) is run
