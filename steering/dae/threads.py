"""One BLAS and OpenMP thread for the toy: several wait for each other whenever the cores are busy.

4,000 steps of five pictures: 143 s of waiting with two threads beside other work, .4 s of computing with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import ThreadpoolController

_lock = Lock()
_held: list = []  # the limit in force, once for each holder: the last one to leave lifts it


@contextmanager
def single_threaded() -> Iterator[None]:
    """BLAS and OpenMP keep to one thread inside; the process's own number returns when the last holder leaves."""
    with _lock:
        _held.append(_held[0] if _held else _controller().limit(limits=1))
    try:
        yield
    finally:
        with _lock:
            limit = _held.pop()
            if not _held:
                limit.restore_original_limits()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
