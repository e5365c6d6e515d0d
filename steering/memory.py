"""When an accelerator's memory does not hold a batch: a smaller one, and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from .backbones.base import Backbone
from .errors import RudderError, remark

_FITS: WeakKeyDictionary[Backbone, dict[str, int]] = WeakKeyDictionary()  # half of the least that was too much, by what


def fitting(backbone: Backbone, wanted: int, what: str = "pictures") -> int:
    """How many of `wanted` samples to take at once, by what this model's memory was found to hold of these."""
    return min(wanted, _FITS.get(backbone, {}).get(what, wanted))


def smaller(backbone: Backbone, size: int, what: str = "pictures") -> int:
    """Half of a batch that was too large, remembered for the model, with a Remark; RudderError for a single sample."""
    if size < 2:
        raise RudderError(
            f"The memory of {backbone.device} does not hold a single picture of {backbone.name}: use --dtype float16, "
            "--device cpu, or end what else fills it."
        )
    torch.cuda.empty_cache()
    half = size // 2
    _FITS.setdefault(backbone, {})[what] = half
    remark(
        f"{backbone.device}'s memory does not hold {size} {what} of {backbone.name} at once: it goes on with {half}."
    )
    return half


def encoded(backbone: Backbone, pictures: Sequence[Image.Image], batch: int = 32) -> torch.Tensor:
    """Pictures as scaled latents [N, C, H, W], `batch` at a time."""
    parts: list[torch.Tensor] = []

    def encode(part: slice) -> None:
        parts.append(backbone.encode([*pictures[part]]))

    for _ in in_batches(backbone, len(pictures), batch, encode, "pictures to read"):
        pass
    return torch.cat(parts)


def in_batches(
    backbone: Backbone, count: int, batch: int, make: Callable[[slice], object], what: str = "pictures", each: int = 1
) -> Iterator[int]:
    """`make` for all of `count` samples in slices of `batch`, or of as many as memory holds; yields how many each had.

    A slice that was too large is made again in parts: `make` must leave nothing behind before its last pass. `each`:
    how many rows of a pass a sample stands for; OutOfMemoryError where one of several rows is too much, so that the
    caller can take fewer rows.
    """
    start, size = 0, max(1, fitting(backbone, each * batch, what) // each)
    while start < count:
        part = slice(start, min(start + size, count))
        try:
            make(part)
            held = True
        except torch.OutOfMemoryError:  # what its traceback keeps alive goes at the end of this block
            if each > 1 and part.stop - part.start == 1:
                raise
            held = False
        if held:
            yield part.stop - part.start
            start = part.stop
        else:
            size = max(1, smaller(backbone, each * (part.stop - part.start), what) // each)
