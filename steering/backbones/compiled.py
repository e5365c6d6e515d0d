"""torch.compile for a network that is steered: block by block, with everything that steers outside the graphs.

Each outermost block that is a site is compiled by itself, and hooks stand around it: a vector, its strength, or whether
there is one at all, is nothing that a graph has seen, so that a moving slider compiles nothing. What is hooked inside a
block (the last nonlinearity that spikiness reads, a cross-attention) runs that block without its graph meanwhile:
torch would pass the hook over in silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ..activations import hooked
from .base import Backbone, Site

SWITCH = "RUDDER_COMPILE"
GRAPHS = 64  # of one block: a batch of one size, of any size, each for the number types and devices that come


def wanted(asked: bool | None) -> bool:
    """What was asked for, or, where nothing was, whether the environment's RUDDER_COMPILE is set, and not to 0."""
    return os.environ.get(SWITCH, "0") not in ("", "0") if asked is None else asked


def blocks(sites: Iterable[Site]) -> list[str]:
    """Paths of the modules whose output is a site, those within another left out."""
    paths = sorted({site.path for site in sites if site.part == "output"})
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def compile_blocks(backbone: Backbone, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile a loaded model's blocks; each when it is first needed, and once more when the batch changes its size.

    `backend`: torch.compile's. Pictures are those of the model as it was up to rounding, no longer bit for bit.
    """
    for path in blocks(backbone.sites().values()):
        block = backbone.network.get_submodule(path)
        block.forward = _either(block, backend)


def _either(block: nn.Module, backend: str | Callable[..., Any]) -> Callable[..., Any]:
    """The block's forward pass: its graph, or its own code while something inside it is read or changed."""
    plain = block.forward
    own: dict[str, Any] = {"recompile_limit": GRAPHS, "isolate_recompiles": True}  # not in its declared types
    quick = torch.compile(plain, backend=backend, **own)
    inner = [module for module in block.modules() if module is not block]

    def forward(*given: Any, **named: Any) -> Any:
        return (plain if hooked(inner) else quick)(*given, **named)

    return forward
