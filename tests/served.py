"""A page served for programs, in this process: a random model with one concept and a calibration."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from steering.calibration import calibrate
from steering.concepts import ConceptVector
from steering.samples import Sample
from steering.ui.calls import answers
from steering.ui.page import page_of
from steering.ui.studio import Concept, Studio, open_studio
from steering.ui.temporary import VARIABLE
from tests.tiny import pictures

ENDPOINTS = {"generate", "steer", "strip", "grid", "words", "learn", "learn_from_prompts", "combine", "score", "scan",
             "models", "concepts"}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """Where the page is, and what it serves."""

    address: str
    studio: Studio


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path, vector: ConceptVector) -> Iterator[Served]:
    """The page of the model in `folder`, with `vector` as its concept "sketch" and, where the package is there, MCP."""
    studio = open_studio(str(folder), device="cpu", search_seconds=0.5)
    sketch = Concept("sketch", "Sketch", "A test concept.", "", "", "", vector=vector.replace(name="sketch"))
    studio.concepts["sketch"] = sketch
    rows = [(picture, bool(k % 2), str(k)) for k, picture in enumerate(pictures(8, seed=5))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steering.calibration.ROUNDS", 5)
        samples = [Sample(p, m, "drawing", "fresh", o) for p, m, o in rows]
        *_, studio.calibration = calibrate(studio.backbone, samples, timesteps=(50,), draws=1)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder_:
        patch.setenv(VARIABLE, folder_)  # as `serve` has it: results lie in the folder that Gradio copies into
        yield from _launched(studio)


def _launched(studio: Studio) -> Iterator[Served]:
    page = page_of(studio, {}, [])
    port = free_port()
    options = {"server_name": "127.0.0.1", "server_port": port, "max_file_size": "1mb", "show_error": False}
    page.launch(
        **options, prevent_thread_lock=True, quiet=True, ssr_mode=False, footer_links=[], _frontend=False,
        mcp_server=find_spec("mcp") is not None, app_kwargs=answers(),
    )  # fmt: skip
    try:
        yield Served(f"http://127.0.0.1:{port}", studio)
    finally:
        page.close(verbose=False)
