"""How long things take here: what is said while a model is read, before a run is started, and while it lasts."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backbones.base import Backbone

PARTS = {"unet": "its U-Net", "transformer": "its transformer", "vae": "its autoencoder",
         "text_encoder": "its text encoder"}  # fmt: skip
LONG, LEFT = 8.0, 2.0  # seconds a run has to last, and to go on, before its end is worth telling
PAGE_SECONDS = 900.0  # that a page lets one request paint, as far as that is known beforehand
EARLY = 0.02  # of a run: before it, its pace says nothing about its end
ENOUGH = 0.05  # of a model's bytes: what fewer took says nothing about the rest


@dataclass(frozen=True)
class Pace:
    """Seconds that one step of one picture takes, guidance included: painted alone, and in a strip."""

    alone: float
    together: float


def machine() -> str:
    """What measured or made something, for its record: "x86_64, 2 cores, 2 threads, torch 2.13.0"."""
    import torch

    cores = os.cpu_count()
    return f"{platform.machine()}, {cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def measure(backbone: Backbone) -> Pace:
    """Time denoising steps: one of a single picture, on a quick machine also one of eight together."""
    import torch

    from .backbones.base import read_as, repeated

    def step(count: int) -> float:
        x = torch.zeros(2 * count, *backbone.latent_shape, device=backbone.device, dtype=backbone.dtype)
        condition = repeated(read_as(backbone), 2 * count)
        started = time.perf_counter()
        with torch.inference_mode():
            float(backbone.denoise(x, 500, condition).flatten()[0])  # its value, so that an accelerator has to finish
        return (time.perf_counter() - started) / count

    alone = step(1)
    if alone < 2:  # the first pass prepares kernels, too, which counts little in a slow one
        alone = step(1)
    return Pace(alone, min(alone, step(8)) if alone < 0.3 else alone)


def reader(name: str, sizes: Mapping[str, int], say: Callable[[str], None]) -> Callable[[str], None]:
    """For `load(reading=...)`: says which component is read now, and from the second on how long the rest will take.

    `sizes`: bytes of each component, {} where they are not known yet.
    """
    began: list[tuple[str, float]] = []

    def reading(part: str) -> None:
        began.append((part, time.monotonic()))
        size = f", {_bytes(sizes[part])}" if part in sizes else ""
        done = sum(sizes.get(one, 0) for one, _ in began[:-1])
        took = began[-1][1] - began[0][1]
        total = sum(sizes.values())
        left = took / done * (total - done) if done > ENOUGH * total else 0.0
        say(
            f"Loading {name}: reading {PARTS.get(part, part)}{size}" + (f"; {about(left)} to go" if left > LEFT else "")
        )

    return reading


def timed(messages: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The stage's messages, those of a long run with how long it still takes by the share that is done."""
    started = time.monotonic()
    for message in messages:
        share = message.get("part", 0.0)
        took = time.monotonic() - started
        left = took * (1 - share) / share if share > EARLY else 0.0
        if message.get("phase") == "running" and message.get("text") and took + left > LONG and left > LEFT:
            message = {**message, "text": f"{message['text']}, {about(left)} to go"}
        yield message


def about(seconds: float) -> str:
    """ "about 7 s", "about 40 s", "about 3 min", "about 2 h": an estimate, so with one digit or two."""
    if seconds < 90:
        return f"about {max(1, round(seconds, -1 if seconds > 20 else 0)):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.0f} h"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
