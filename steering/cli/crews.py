"""From --engine, --workers and --address to who does the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..checks import whole
from ..errors import RudderError
from .options import Engines

if TYPE_CHECKING:
    from ..engines import Engine

WORKERS = 4096


@contextmanager
def crew(
    kind: Engines,
    workers: int | None,
    address: str | None,
    model: str | None,
    device: str,
    dtype: str | None,
    attention: str,
) -> Iterator[Engine | None]:
    """The engine asked for, None for this process alone; RudderError where it is not to be had."""
    count = None if workers is None else whole("The number of workers", workers, 1, WORKERS)
    if kind is Engines.processes:
        if address is not None:
            raise RudderError("--address is that of a Ray cluster: add --engine ray.")
        if (count or 1) == 1:
            yield None
            return
    import torch

    from ..backbones.registry import load

    opened = partial(load, model or "tiny-sd", dtype=dtype, attention=attention)
    if kind is Engines.processes:
        from ..engines import Processes

        count = whole("The number of workers", count, 1, 64)
        each = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        yield Processes(opened, [f"cuda:{i}" if each else device for i in range(count)])
        return
    from ..clusters import Rays

    with Rays(opened, count, device, address) as engine:
        yield engine
