"""Where a model works through many jobs: in this process, in one a device, or on a cluster (clusters.py).

A job is done by a function of a module, `work(backbone, job)`; results come in the order of the jobs, and no more jobs
are drawn than the workers have in hand and in waiting, so that a list may be as long as it likes.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from .errors import RudderError

if TYPE_CHECKING:
    from PIL import Image

    from .backbones.base import Backbone
    from .plan import Steering
    from .recipe import Recipe
    from .sampling import Prefix

AHEAD = 2  # jobs kept waiting per worker
Work = Callable[..., Any]  # (backbone, job) -> result


class Engine(Protocol):
    """`workers` work at once; `most`: how many batches a job should hold at most, where asking for one costs time."""

    workers: int
    most: int

    def map(self, work: Work, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """(job, its result) in the order of the jobs; what a job raises is raised, at its place."""
        ...


@dataclass
class Here:
    """This process, with the model that it has."""

    backbone: Backbone
    workers: int = 1
    most: int = 1

    def map(self, work: Work, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            yield job, work(self.backbone, job)


class Processes:
    """A process a device, each of which loads the model by `opened(device=...)`."""

    most = 1

    def __init__(self, opened: Callable[..., Backbone], devices: Sequence[str]) -> None:
        self.opened, self.devices, self.workers = opened, list(devices), len(devices)

    def map(self, work: Work, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """As Engine; RudderError where a process dies, as one without memory does."""
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        for device in self.devices:
            queue.put(device)
        waiting: deque[tuple[Any, Future]] = deque()
        rest = iter(jobs)
        with ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=(self.opened, queue)) as pool:
            try:
                while True:
                    for job in islice(rest, AHEAD * self.workers - len(waiting)):
                        waiting.append((job, pool.submit(_do, work, job)))
                    if not waiting:
                        return
                    job, result = waiting.popleft()
                    yield job, result.result()
            except BrokenProcessPool as error:
                raise RudderError(
                    "One of the processes was killed, perhaps for want of memory: start again with fewer --workers or "
                    "a smaller --batch; what was done is kept."
                ) from error


_backbone: Backbone | RudderError  # or why this process has none


def _start(opened: Callable[..., Backbone], queue: Any) -> None:
    global _backbone
    try:
        _backbone = opened(device=queue.get())
    except RudderError as wrong:  # told by the jobs: an initializer's error says only that a process died
        _backbone = wrong


def _do(work: Work, job: Any) -> Any:
    if isinstance(_backbone, RudderError):
        raise _backbone
    return work(_backbone, job)


_used: ContextVar[Engine | None] = ContextVar("engine", default=None)


@contextmanager
def using(engine: Engine | None) -> Iterator[None]:
    """What is painted in many batches within is painted by this engine (None: by the model at hand)."""
    token = _used.set(engine)
    try:
        yield
    finally:
        _used.reset(token)


def engine_for(backbone: Backbone) -> Engine:
    """The engine in use, else the process's own."""
    return _used.get() or Here(backbone)


@dataclass(frozen=True)
class Batch:
    """Pictures to be painted at once: prompts and seeds, one each."""

    recipe: Recipe
    prompts: Sequence[str]
    seeds: Sequence[int]
    steering: Steering | None = None
    prefix: Prefix | None = None


def paint(backbone: Backbone, batch: Batch, stop: threading.Event | None = None) -> tuple[list[Image.Image], Prefix]:
    """The pictures of a batch, and what a later one at other strengths can start from, in main memory."""
    from .sampling import finish, sample

    prefix = batch.prefix and replace(batch.prefix, latents=batch.prefix.latents.to(backbone.device))
    run = sample(backbone, batch.recipe, batch.steering, prefix=prefix, prompts=batch.prompts, seeds=batch.seeds,
                 stop=stop)  # fmt: skip
    made = finish(run)
    return made.images, replace(made.prefix, latents=made.prefix.latents.cpu())
