"""What one visitor owns: learned vectors, and tickets that let a newer request outdate an older one."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, RudderError, shorten
from .temporary import VARIABLE

if TYPE_CHECKING:
    from PIL import Image

    from ..concepts import ConceptVector
    from ..grid import Grid
    from .library import Gone, Library
    from .trays import Tray

VECTORS_LIMIT = 24
VECTOR_BYTES_LIMIT = 64 * 2**20  # of one session's vectors together
HELD_LIMIT = 1024 * 2**20  # of all sessions' vectors and grids together


class Runs:
    """Runs of one kind, by tickets: a newer one outdates those before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self._running: dict[threading.Event, int] = {}

    def outdate(self, ticket: int) -> None:
        """Stop every run older than `ticket`, and refuse those that have yet to start."""
        with self._lock:
            self._newest = max(self._newest, ticket)
            for stop, older in self._running.items():
                if older < self._newest:
                    stop.set()

    def halt(self) -> None:
        """Stop every run there is; what is asked for later begins."""
        with self._lock:
            for stop in self._running:
                stop.set()

    @contextmanager
    def run(self, ticket: int) -> Iterator[threading.Event]:
        """A run's stop event, already set when a newer ticket is known."""
        stop = threading.Event()
        self.outdate(ticket)
        with self._lock:
            if ticket < self._newest:
                stop.set()
            self._running[stop] = ticket
        try:
            yield stop
        finally:
            with self._lock:
                self._running.pop(stop, None)


def unless_stopped(stop: threading.Event) -> None:
    """Cancelled where a run that has waited in the queue was outdated meanwhile: its errors are nobody's any more."""
    if stop.is_set():
        raise Cancelled


class Session(Runs):
    """One browser tab's state, held in gr.State; Gradio's deep copy of the default makes a fresh one. Its own runs are
    those of the stage."""

    def __init__(self, library: Library | None = None) -> None:
        super().__init__()
        self.library = library  # of who runs Rudder at home: its concepts are this session's from the start
        self.vectors: dict[str, ConceptVector] = dict(library.shelf.vectors) if library else {}
        # concept name -> {"face", "examples", "baseline"} as data URIs
        self.faces: dict[str, dict[str, str]] = dict(library.faces) if library else {}
        self.gone: Gone | None = None  # the concept that was deleted last, to be taken back
        self.trays: dict[str, Tray] = {}  # the pictures that are to be learned from
        self.cleared: dict[str, Tray] = {}  # those that were cleared away last, side by side
        self.bench = Runs()  # those of the tab Compose
        self.pictures: OrderedDict[str, Image.Image] = OrderedDict()  # this visitor's own, as the model sees them
        self.lab = Runs()  # trainings of the toy laboratory
        self.grids = Runs()
        self.grid: Grid | None = None  # the last one, for its downloads
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._tasks: dict[str, threading.Event] = {}
        self._halted: set[str] = set()
        _sessions.add(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return Session(self.library)

    @contextmanager
    def task(self, name: str) -> Iterator[threading.Event]:
        """The stop event of the one run a session may have of a kind; a second one stops the first."""
        stop = threading.Event()
        with self._lock:
            if name in self._tasks:
                self._tasks[name].set()
            if name in self._halted:
                self._halted.discard(name)
                stop.set()
            self._tasks[name] = stop
        try:
            yield stop
        finally:
            with self._lock:
                if self._tasks.get(name) is stop:
                    del self._tasks[name]

    def stop_task(self, name: str) -> None:
        """Ask the run of that kind, if there is one, to end."""
        with self._lock:
            if name in self._tasks:
                self._tasks[name].set()

    def halt_task(self, name: str) -> None:
        """The same also for a run that was asked for (see `await_task`) and has yet to begin."""
        with self._lock:
            if name in self._tasks:
                self._tasks[name].set()
            else:
                self._halted.add(name)

    def await_task(self, name: str) -> None:
        """A run of that kind is asked for: only a stop from now on is meant for it."""
        with self._lock:
            self._halted.discard(name)

    def halt(self) -> None:
        """Stop all that runs for this session, whatever its kind: nobody is there to see it. What it has stays."""
        super().halt()
        for runs in self._kinds():
            runs.halt()
        with self._lock:
            for stop in self._tasks.values():
                stop.set()

    def _kinds(self) -> list[Runs]:
        """Its kinds of runs beside those of the stage."""
        return [one for one in vars(self).values() if isinstance(one, Runs)]

    def folder(self) -> Path:
        """Where this session's downloads are written; deleted together with the session."""
        with self._lock:
            if self._folder is None:
                place = os.environ.get(VARIABLE) or None  # from there Gradio serves files without copying them
                self._folder = tempfile.TemporaryDirectory(prefix="rudder-", dir=place, ignore_cleanup_errors=True)
            return Path(self._folder.name)

    def held(self) -> int:
        """Bytes of its vectors, without those of a library, which all tabs share, and of its grid's pictures."""
        cells = [cell for row in self.grid.cells for cell in row] if self.grid else []
        vectors = [one for _, one in self._own()] + ([self.gone.vector] if self.gone else [])
        return sum(map(size_of, vectors)) + sum(_weight(cell.image) for cell in cells)

    def hold(self, grid: Grid) -> None:
        """Keep a grid for its downloads, in place of the last one; RudderError past the limit of all sessions."""
        self.grid = grid
        held = sum(one.held() for one in _all())
        if held > HELD_LIMIT:
            self.grid = None
            raise RudderError(
                f"This page's visitors hold {held / 2**20:,.0f} MB together, nearly all that it keeps: the grid is not "
                "kept for download, come back when some of them have left."
            )

    def _own(self) -> list[tuple[str, ConceptVector]]:
        """(name, vector) of those that are held by this session alone."""
        at_home = self.library.shelf.vectors if self.library else {}
        return [(name, one) for name, one in list(self.vectors.items()) if name not in at_home]

    def end(self) -> None:
        """Stop what still runs, and let go of vectors, files and results."""
        for runs in (self, *self._kinds()):
            runs.outdate(2**53)
        self.halt()
        with self._lock:
            folder, self._folder = self._folder, None
        self.grid = self.gone = None
        self.vectors.clear()
        self.faces.clear()
        self.trays.clear()
        self.cleared.clear()
        self.pictures.clear()
        if folder is not None:
            folder.cleanup()

    def keep(self, vector: ConceptVector, faces: dict[str, str], taken: set[str]) -> str:
        """Add a vector under a name no shipped concept has; returns it. RudderError past the limits, this session's and
        that of all of them together."""
        mine = [one for name, one in self._own() if name != vector.name]
        if len(mine) >= VECTORS_LIMIT:
            raise RudderError(
                f"This session holds {VECTORS_LIMIT} vectors, its limit: download and delete one on the Concepts tab."
            )
        size = sum(map(size_of, (*mine, vector)))
        others = sum(one.held() for one in _all() if one is not self)
        if size > VECTOR_BYTES_LIMIT:
            raise RudderError(
                f"This session's vectors would take {size / 2**20:.0f} MB, its limit is "
                f"{VECTOR_BYTES_LIMIT / 2**20:.0f}: delete one on the Concepts tab, or learn with fewer sites."
            )
        if size + others > HELD_LIMIT:
            raise RudderError(
                f"This page's visitors hold {others / 2**20:,.0f} MB together, nearly all that it keeps: "
                "come back when some of them have left."
            )
        name = vector.name
        while name in taken:
            name = f"my {name}"
        self.vectors[name] = vector if name == vector.name else vector.replace(name=name)
        self.faces[name] = faces
        return name


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def folders() -> list[Path]:
    """Where the downloads of all sessions lie."""
    return [Path(one._folder.name) for one in _all() if one._folder is not None]


def end_sessions() -> None:
    """End all of them: the process is about to."""
    for one in _all():
        one.end()


def _all() -> list[Session]:
    """Every session there is; others may come and go in other threads meanwhile."""
    while True:
        try:
            return list(_sessions)
        except RuntimeError:  # the set changed while it was read
            continue


def _weight(image: Image.Image) -> int:
    """Bytes of a picture in memory."""
    return image.width * image.height * len(image.getbands())


def size_of(vector: ConceptVector) -> int:
    """Bytes of a vector's tensors."""
    return sum(values.numel() * values.element_size() for values in vector.vectors.values())


class ContentCache:
    """Results kept by what they depend on (model, prompt, seed, ...): the same for whoever asks."""

    def __init__(self, size: int = 48) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any | None:
        """What is kept under `key`, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value`, dropping the least recently used one when full."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)


def ticket_of(value: Any) -> int:
    """A ticket as the browser sent it; RudderError unless it is a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise RudderError(f"The page sent {shorten(value)!r} as its ticket: reload the page.")
    return value
