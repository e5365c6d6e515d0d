"""Run the model inside Hugging Face ZeroGPU's time slices where there are any; plain calls elsewhere.

A slice is asked for as long as its work may take, since a visitor's quota has to hold as much before it begins, and an
error keeps its words, of which ZeroGPU passes on the class alone.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import Cancelled, RudderError

START = 10.0  # seconds of a slice until the model is on the GPU
PASS = (
    0.05  # seconds for one picture once through the network: an estimate for SD 1.x at 512 pixels, not measured there
)
LEAST, MOST = 15, 120  # seconds that are ever asked for; ZeroGPU gives no visitor more

Work = Callable[..., float]
"""How often pictures go through the network in a call with these arguments, each counted."""


@dataclass(frozen=True)
class Failure:
    """What came of a call in a slice's process that should have raised this here."""

    error: RudderError


def zero_gpu() -> bool:
    """True on a ZeroGPU Space that has the `spaces` package."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


if zero_gpu():
    import spaces  # before the model goes to the GPU: it takes the place of CUDA's start


def seconds(work: float) -> int:
    """How long a slice to ask for, for so many passes."""
    return round(min(max(START + PASS * work, LEAST), MOST))


def on_gpu(work: Work) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Iterator[Any]]]:
    """Decorate a generator function that takes `stop=`; `work`: see Work.

    ZeroGPU runs it in another process, which a threading.Event cannot reach: there the event is watched
    between two items, on this side, and closing the generator ends the other one.
    """

    def decorate(generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        if not zero_gpu():
            return generate

        def told(*arguments: Any, **options: Any) -> Iterator[Any]:
            try:
                yield from generate(*arguments, **options)
            except RudderError as wrong:
                yield Failure(wrong)

        sliced = spaces.GPU(duration=_duration(work))(told)

        def watched(*arguments: Any, stop: threading.Event | None = None, **options: Any) -> Iterator[Any]:
            items = sliced(*arguments, stop=None, **options)
            try:
                for item in items:
                    if stop is not None and stop.is_set():
                        raise Cancelled("Stopped: press Generate to start again.")
                    yield _heard(item)
            finally:
                items.close()

        return watched

    return decorate


def call_on_gpu(work: Work) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a plain function that needs the model for a moment; `work`: see Work."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not zero_gpu():
            return function

        def told(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except RudderError as wrong:
                return Failure(wrong)

        sliced = spaces.GPU(duration=_duration(work))(told)
        return lambda *arguments, **options: _heard(sliced(*arguments, **options))

    return decorate


def _duration(work: Work) -> Callable[..., int]:
    return lambda *arguments, **options: seconds(work(*arguments, **options))


def _heard(item: Any) -> Any:
    if isinstance(item, Failure):
        raise item.error
    return item
