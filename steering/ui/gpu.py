"""Run the model inside Hugging Face ZeroGPU's time slices where there are any; plain calls elsewhere."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Cancelled

SECONDS = 60


def zero_gpu() -> bool:
    """True on a ZeroGPU Space that has the `spaces` package."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


if zero_gpu():
    import spaces  # before the model goes to the GPU: it takes the place of CUDA's start


def on_gpu(generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a generator function that takes `stop=`.

    ZeroGPU runs it in another process, which a threading.Event cannot reach: there the event is watched
    between two items, on this side, and closing the generator ends the other one.
    """
    if not zero_gpu():
        return generate
    sliced = spaces.GPU(duration=SECONDS)(generate)

    def watched(*arguments: Any, stop: threading.Event | None = None, **options: Any) -> Iterator[Any]:
        items = sliced(*arguments, stop=None, **options)
        try:
            for item in items:
                if stop is not None and stop.is_set():
                    raise Cancelled("Stopped: press Generate to start again.")
                yield item
        finally:
            items.close()

    return watched


def call_on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a plain function that needs the model for a moment."""
    return spaces.GPU(duration=SECONDS)(function) if zero_gpu() else function
