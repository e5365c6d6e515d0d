"""One page, many GPUs: the model in several processes (Ray's actors), the page in one that calls them.

Plain actors, not Ray Serve: nothing but this page calls them, it chooses among them itself (by where a prefix lies),
and Serve would bring a proxy, a controller and forty packages for that. What a window starts from stays in the replica
that made it; the page keeps its key alone. A replica that dies is replaced, and what it was asked is asked of another.
Files are written by the page, since a replica may be on another machine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..checks import whole
from ..clusters import connected, gpus, original
from ..errors import Cancelled, RudderError, shorten
from ..images import OnDisk
from ..sampling import Prefix, Result
from .session import ContentCache
from .verbs import Gauges, Verbs, verbs_of

if TYPE_CHECKING:
    from ..backbones.base import Backbone

log = logging.getLogger("rudder.replicas")

KEPT = 512  # samples whose start of the window a replica, or the page, remembers
TRIES = 3  # replicas that one request may find dead
CALLS = 8  # at once in one replica: their forward passes take turns
LIMIT = 64
LOOK_EVERY = 0.2  # seconds between two looks at whether a run was stopped, while nothing comes of it


def count_of(asked: str, device: str = "auto", address: str | None = None) -> int:
    """How many replicas --replicas asks for: a number, or auto for one a GPU. RudderError for anything else."""
    if asked != "auto":
        return whole("The number of replicas", int(asked) if asked.isdigit() else asked, 1, LIMIT)
    if device == "cpu":
        return 1
    return max(1, min(LIMIT, gpus(connected(address)) if address else torch.cuda.device_count()))


class Replica:
    """An actor: a model with its verbs, and the starts of windows that it has made."""

    def __init__(self, opened: Callable[..., Backbone], device: str, budget: float, folder: str) -> None:
        from ..threads import settle

        settle()
        with contextlib.suppress(OSError):  # another machine need not have it
            os.chdir(folder)
        self._opened, self._device, self._budget = opened, device, budget
        self._verbs: Verbs | None = None
        self._starts = ContentCache(KEPT)
        self._stops: dict[int, threading.Event] = {}
        self._lock = threading.Lock()

    def ready(self) -> int:
        """Load the model; the process's id. RudderError as `load`."""
        with self._lock:
            self._verbs = self._verbs or verbs_of(self._opened(device=self._device), self._budget)
        return os.getpid()

    def stop(self, call: int) -> None:
        """Have a run end."""
        self._stops.setdefault(call, threading.Event()).set()

    def run(self, call: int, verb: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Iterator[Any]:
        """What a verb yields; prefixes stay here, but for their keys."""
        self.ready()
        assert self._verbs is not None
        options["stop"] = self._stops.setdefault(call, threading.Event())
        if isinstance(options.get("prefix"), Prefix):
            options["prefix"] = self._known(options["prefix"])
        try:
            for item in getattr(self._verbs, verb)(*arguments, **options):
                yield self._kept(item) if isinstance(item, Result) else item
        finally:
            self._stops.pop(call, None)

    def measure(self, verb: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What a gauge says."""
        self.ready()
        assert self._verbs is not None
        return getattr(self._verbs.gauges, verb)(*arguments, **options)

    def _known(self, asked: Prefix) -> Prefix | None:
        """The prefix as it is kept here; None, so that it is made again, where one of its samples is not."""
        if not asked.latents.is_meta:
            return asked
        found = [self._starts.get(asked.of(place).key) for place in range(len(asked.latents))]
        there = [one for one in found if one is not None]
        return Prefix.join(there) if len(there) == len(found) else None

    def _kept(self, made: Result) -> Result:
        prefix = made.prefix
        for place in range(len(prefix.latents)):
            one = prefix.of(place)
            self._starts.put(one.key, replace(one, latents=one.latents.clone()))
        return replace(made, prefix=replace(prefix, latents=torch.empty_like(prefix.latents, device="meta")))


@dataclass(eq=False)
class _Member:
    """A replica as the page sees it: `loaded` is done once its model is."""

    actor: Any
    loaded: Any
    busy: int = field(default=0)


class Replicas:
    """`count` replicas of the model that `opened(device=...)` loads, and their verbs for a page.

    RudderError where Ray, its cluster or so many devices are not to be had, or the model cannot be loaded.
    """

    def __init__(
        self,
        opened: Callable[..., Backbone],
        count: int,
        device: str = "auto",
        budget: float = 60.0,
        address: str | None = None,
    ) -> None:
        self.ray = connected(address, cpus=count)
        there = gpus(self.ray)
        self._gpu = device.startswith("cuda") or (device == "auto" and there > 0)
        if self._gpu and there < count:
            raise RudderError(f"{count} replicas need a GPU each and Ray has {there}: ask for fewer, or --device cpu.")
        self._far = address is not None  # perhaps on machines without this one's files
        self._made = (opened, "cuda" if self._gpu else "cpu", budget, os.getcwd())
        self._lock, self._calls = threading.Lock(), itertools.count()
        self._places = ContentCache(LIMIT * KEPT)
        self.members = [self._hired() for _ in range(count)]
        try:
            self.ray.get([one.loaded for one in self.members])
        except self.ray.exceptions.RayError as error:
            self.close()
            cause = original(error)
            if isinstance(cause, RudderError):
                raise cause from None
            raise RudderError(f"The replicas cannot load the model ({cause}): ask for fewer of them.") from error

    def close(self) -> None:
        """Let the replicas go."""
        while self.members:
            self.ray.kill(self.members.pop().actor)

    def verbs(self, here: Verbs) -> Verbs:
        """What a studio has the model do, done by the replicas; references, which are files, are painted by them and
        written by `here`."""

        def refer(*arguments: Any, stop: threading.Event | None = None, **options: Any) -> Iterator[Any]:
            return here.refer(*arguments, engine=_Hands(self, stop), stop=stop, **options)

        gauges = Gauges(*(partial(self._measure, gauge.name) for gauge in fields(Gauges)))
        run: dict[str, Any] = {verb.name: partial(self.run, verb.name) for verb in fields(Verbs)}
        return replace(here, **run | {"gauges": gauges, "refer": refer, "at_once": len(self.members)})

    def run(self, verb: str, *arguments: Any, **options: Any) -> Iterator[Any]:
        """A run's items, from the first one again where its replica dies. Once `stop` is set it is told to the replica,
        and nothing more comes but its Cancelled."""
        if verb == "paint" and len(arguments) > 3:
            arguments, options = arguments[:3], options | {"prefix": arguments[3]}
        if self._far:
            arguments = tuple(list(one) if isinstance(one, OnDisk) else one for one in arguments)
        stop, prefix = options.pop("stop", None), options.get("prefix")
        for _ in range(TRIES):
            call = next(self._calls)
            with self._chosen(prefix) as member:
                items = member.actor.run.options(num_returns="streaming").remote(call, verb, arguments, options)
                over = False
                try:
                    for item in self._awaited(items, stop, partial(member.actor.stop.remote, call)):
                        found = self.ray.get(item)
                        if stop is not None and stop.is_set():
                            continue
                        if isinstance(found, Result):
                            for place in range(len(found.prefix.latents)):
                                self._places.put(found.prefix.of(place).key, member)
                        yield found
                    over = True
                    if stop is not None and stop.is_set():
                        raise Cancelled("Stopped: press Generate to start again.")
                    return
                except self.ray.exceptions.RayTaskError as error:
                    over = True
                    raise original(error) from None
                except self.ray.exceptions.RayError as error:
                    over = True
                    self._replaced(member, error)
                finally:
                    if not over:  # nobody listens any more
                        member.actor.stop.remote(call)
        raise self._given_up()

    def _awaited(self, items: Any, stop: threading.Event | None, halt: Callable[[], Any]) -> Iterator[Any]:
        """A stream's references as they come; `halt` is called once `stop` is set, however long nothing comes."""
        halted = False
        while True:
            there, _ = self.ray.wait([items], timeout=LOOK_EVERY)
            if stop is not None and stop.is_set() and not halted:
                halted = True
                halt()
            if there:
                try:
                    yield next(items)
                except StopIteration:
                    return

    def _measure(self, verb: str, *arguments: Any, **options: Any) -> Any:
        for _ in range(TRIES):
            with self._chosen(None) as member:
                try:
                    return self.ray.get(member.actor.measure.remote(verb, arguments, options))
                except self.ray.exceptions.RayTaskError as error:
                    raise original(error) from None
                except self.ray.exceptions.RayError as error:
                    self._replaced(member, error)
        raise self._given_up()

    @contextlib.contextmanager
    def _chosen(self, prefix: Prefix | None) -> Iterator[_Member]:
        """The replica that has the prefix, unless another has much less to do; else the one with the least to do."""
        kept = None if prefix is None else self._places.get(prefix.of(0).key)
        with self._lock:
            awake, _ = self.ray.wait([one.loaded for one in self.members], num_returns=len(self.members), timeout=0)
            there = [one for one in self.members if one.loaded in awake] or self.members
            member = min(there, key=lambda one: one.busy)
            if kept in there and kept.busy <= member.busy + 1:
                member = kept
            member.busy += 1
        try:
            yield member
        finally:
            with self._lock:
                member.busy -= 1

    def _replaced(self, member: _Member, error: Exception) -> None:
        with self._lock:
            if member in self.members:  # another request may have found it dead before
                log.warning("A replica died and is replaced: %s", shorten(error, 200))
                self.members[self.members.index(member)] = self._hired()

    def _hired(self) -> _Member:
        options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if self._gpu else {"num_cpus": 1}
        actor = self.ray.remote(Replica).options(max_concurrency=CALLS, **options).remote(*self._made)
        return _Member(actor, actor.ready.remote())

    def _given_up(self) -> RudderError:
        return RudderError(
            f"{TRIES} replicas died over this request, perhaps for want of memory: ask for less at once, or try later."
        )


@dataclass(frozen=True)
class _Hands:
    """An Engine of the replicas for one run: one job after the other, by a `work` that takes the `stop`, too."""

    replicas: Replicas
    stop: threading.Event | None
    workers: int = 1
    most: int = 1

    def map(self, work: Callable[..., Any], jobs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            (result,) = self.replicas.run("run", _once, work, job, stop=self.stop)
            yield job, result


def _once(backbone: Backbone, work: Callable[..., Any], job: Any, stop: threading.Event | None = None) -> Iterator[Any]:
    yield work(backbone, job, stop=stop)
