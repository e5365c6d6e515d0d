"""An engine on Ray: actors that hold the model, one a GPU or as many as asked for, on this machine or on a cluster.

Plain actors, not Ray Data: jobs are drawn here one by one from a list that is checked against earlier results while it
is read, and their order is that of the results. Ray is imported when it is used; it is an extra (`[ray]`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from .engines import AHEAD, Work
from .errors import RudderError, shorten

if TYPE_CHECKING:
    from .backbones.base import Backbone

STORE = 200 * 2**20  # bytes of shared memory for what is on its way, of a Ray that is started here
DEATHS = 3  # of workers over one job, after which the job is taken to be the reason
CONNECT = 5.0  # seconds that a cluster may take to answer
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_raylet_start_wait_time_s": "180",  # a busy machine takes long
}
MEMORY = "start again with fewer --workers or a smaller --batch"


def connected(address: str | None = None, cpus: int = 1) -> Any:
    """The ray module, connected: to the cluster at `address` ("auto": the one of this machine), else to a Ray of this
    process's own, without dashboard and telemetry, that ends with it.

    RudderError where Ray is not installed, or no cluster answers.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise RudderError("Ray is not installed: pip install 'rudder-steering[ray]'.") from error
    if ray.is_initialized():
        return ray
    main = threading.current_thread() is threading.main_thread()
    former = signal.getsignal(signal.SIGTERM) if main else None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "rudder"}
    try:
        if address is None:
            ray.init(num_cpus=cpus, object_store_memory=STORE, include_dashboard=False, address="local", **options)
        else:
            _answers(address)
            ray.init(address=address, **options)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError and plain Exception, as it happens
        if address is None:
            raise RudderError(f"Ray cannot be started here ({shorten(error)}): leave out --engine ray.") from error
        raise RudderError(
            f"There is no Ray cluster at {shorten(address)}, or it asks for another token ({shorten(error)}): start "
            "one with `ray start --head`, set RAY_AUTH_MODE and RAY_AUTH_TOKEN as there, or leave the address out."
        ) from error
    if main:  # Ray sets one of its own
        signal.signal(signal.SIGTERM, former or signal.SIG_DFL)
    return ray


def gpus(ray: Any) -> int:
    """How many GPUs the cluster has."""
    return int(ray.cluster_resources().get("GPU", 0))


def original(error: Exception) -> BaseException:
    """What was raised in an actor, as it was raised there."""
    return getattr(error, "cause", None) or error


class Rays:
    """Actors that load the model by `opened(device=...)`, kept until `close`: on a "cuda" device one a GPU, if no
    number is given; "auto" is that where the cluster has GPUs.

    RudderError where Ray, the cluster or its GPUs are not to be had.
    """

    most = 4

    def __init__(
        self,
        opened: Callable[..., Backbone],
        workers: int | None = None,
        device: str = "cpu",
        address: str | None = None,
    ) -> None:
        self.ray = connected(address, cpus=workers or 1)
        self.opened = opened
        self.gpu = device.startswith("cuda") or (device == "auto" and gpus(self.ray) > 0)
        self.device = "cuda" if self.gpu else device
        there = gpus(self.ray) if self.gpu else int(self.ray.cluster_resources().get("CPU", 0))
        self.workers = workers or (there if self.gpu else 1)
        if self.workers > there or not self.workers:
            kind = "GPUs" if self.gpu else "CPUs"
            raise RudderError(
                f"{max(1, self.workers)} workers are asked for and Ray has {there} {kind}: give at most {there} with "
                "--workers, or another --device."
            )
        self._crew: list[Any] = []

    def __enter__(self) -> Rays:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the workers go."""
        while self._crew:
            self.ray.kill(self._crew.pop())

    def map(self, work: Work, jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """As Engine. A worker that dies is replaced, and its jobs are done again; results are given out once.

        RudderError for a job over which workers die DEATHS times, and where memory ends.
        """
        known = self.ray.put(work)
        while len(self._crew) < self.workers:
            self._crew.append(self._hired())
        waiting: deque[_Asked] = deque()
        rest = iter(jobs)
        while True:
            for job in islice(rest, AHEAD * self.workers - len(waiting)):
                waiting.append(self._asked(job, known, waiting))
            if not waiting:
                return
            first = waiting[0]
            try:
                result = self.ray.get(first.result)
            except self.ray.exceptions.RayTaskError as error:
                raise _plain(original(error)) from None
            except self.ray.exceptions.RayError as error:
                first.deaths += 1
                if first.deaths == DEATHS:
                    raise _dead(error) from error
                with contextlib.suppress(ValueError):  # another of its jobs has had it replaced already
                    self._crew[self._crew.index(first.worker)] = self._hired()
                waiting[0] = self._asked(first.job, known, waiting, first.deaths)
                continue
            waiting.popleft()
            yield first.job, result

    def _hired(self) -> Any:
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if self.gpu else {"num_cpus": 1}
        if self.gpu:
            options["max_concurrency"] = 2  # one job's pictures are read and decoded while another's are scored
        return self.ray.remote(Worker).options(**options).remote(self.opened, self.device, os.getcwd())

    def _asked(self, job: Any, known: Any, waiting: Iterable[_Asked], deaths: int = 0) -> _Asked:
        """The job given to the worker that has the fewest to do."""
        results = {one.result: one.worker for one in waiting}
        _, open_ = self.ray.wait(list(results), num_returns=len(results), timeout=0) if results else ([], [])
        busy = [sum(results[one] is worker for one in open_) for worker in self._crew]
        worker = self._crew[busy.index(min(busy))]
        return _Asked(job, worker, worker.do.remote(known, job), deaths)


@dataclass
class _Asked:
    """A job, who has it, where its result will be, and how many workers died while they had it."""

    job: Any
    worker: Any
    result: Any
    deaths: int = 0


class Worker:
    """An actor: the model, loaded for the first job, in the folder that paths start at."""

    def __init__(self, opened: Callable[..., Backbone], device: str, folder: str) -> None:
        from .threads import settle

        settle()
        with contextlib.suppress(OSError):  # another machine need not have it
            os.chdir(folder)
        self._opened, self._device = opened, device
        self._backbone: Backbone | None = None
        self._lock = threading.Lock()

    def do(self, work: Work, job: Any) -> Any:
        with self._lock:
            self._backbone = self._backbone or self._opened(device=self._device)
        return work(self._backbone, job)


def _answers(address: str) -> None:
    """ConnectionError unless something listens at host:port; Ray itself would ask for half a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()


def _plain(error: BaseException) -> BaseException:
    """A worker's error as this process would have raised it; that of a memory that is full as one sentence."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return RudderError(f"A worker has no more memory ({shorten(error)}): {MEMORY}; what was done is kept.")
    return error


def _dead(error: Exception) -> RudderError:
    reason = "for want of memory" if "memory" in str(error).lower() else f"({shorten(error)})"
    return RudderError(
        f"{DEATHS} workers died over the same rows {reason}: {MEMORY}, or leave these rows out; what was done is kept."
    )
