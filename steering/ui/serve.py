"""From a command line to a served page: the port first, then the model."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..backbones.registry import DEFAULT, available, outline
from ..errors import Remark, RudderError
from ..threads import settle
from .door import Door
from .shell import ASSETS

if TYPE_CHECKING:
    import gradio as gr

    from .studio import Studio

UPLOAD = "20mb"  # one file


def serve(arguments: list[str] | None = None) -> None:
    """Open the door, load the model, build the page and serve it; exits with 2 and one sentence when the port cannot
    be had or the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve Rudder's page.")
    parser.add_argument(
        "--model",
        action="append",
        help="embedded name, folder, file or hub id; repeat it for several (RUDDER_MODELS, else the embedded ones)",
    )
    parser.add_argument("--device", default=os.environ.get("RUDDER_DEVICE", "auto"), help="cpu, cuda or auto")
    parser.add_argument("--dtype", default=os.environ.get("RUDDER_DTYPE"), help="float32, float16 or bfloat16")
    parser.add_argument("--attention", default=os.environ.get("RUDDER_ATTENTION", "sdpa"), help="sdpa or xformers")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument(
        "--search-seconds",
        type=float,
        default=os.environ.get("RUDDER_SEARCH_SECONDS", "60"),
        help="how long the search for an own set's settings may last",
    )
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore", Remark)  # visitors are told on the page; their words are for no log
    settle()
    try:
        models = offered(asked.model)
        known = outline(models[0])
        door = Door(asked.host, asked.port, known.name if known.embedded else known.asked)
    except (OSError, OverflowError) as wrong:
        _end(f"Port {asked.port} on {asked.host} cannot be used: choose another with --port.", wrong)
    except RudderError as wrong:
        _end(str(wrong), wrong)
    door.say("Starting: reading the libraries")
    from .documents import add_routes
    from .firstpaint import first_paint, warm
    from .gpu import zero_gpu
    from .hangar import Hangar, addresses, menu, mounter
    from .page import page_of
    from .studio import measure_pace, open_studio
    from .theme import launch_look

    keys = addresses(models)

    def opened(model: str, say: Callable[[str], None]) -> tuple[gr.Blocks, Studio, dict[str, Any]]:
        kind = {"dtype": asked.dtype, "attention": asked.attention}
        studio = open_studio(model, asked.device, say, asked.search_seconds, **kind)
        say("Laying out the page")
        painted = first_paint(studio)
        return page_of(studio, painted, menu(keys, model)), studio, painted

    try:
        page, studio, painted = opened(models[0], door.say)
    except RudderError as wrong:
        _end(str(wrong), wrong)
    look = launch_look()
    door.close()
    try:
        app, _, _ = page.launch(
            server_name=asked.host,
            server_port=asked.port,
            max_file_size=UPLOAD,
            show_error=False,
            footer_links=[],
            favicon_path=str(ASSETS / "rudder.svg"),
            ssr_mode=False,
            prevent_thread_lock=True,
            _frontend=False,  # else Gradio gives up when a busy machine needs 3 s for the first answer
            **look,
        )
    except OSError as wrong:
        _end(f"Port {asked.port} on {asked.host} cannot be used: choose another with --port.", wrong)
    add_routes(app, studio.outline.folder)
    app.router.routes.insert(0, Hangar(keys, opened, mounter(UPLOAD, look)))
    if not zero_gpu():
        measure_pace(studio)
        warm(studio, painted)
    page.block_thread()


def offered(given: Sequence[str] | None) -> list[str]:
    """The models to offer, the first one first: those given, else those of RUDDER_MODELS or RUDDER_MODEL, else the
    embedded ones."""
    told = os.environ.get("RUDDER_MODELS") or os.environ.get("RUDDER_MODEL") or ""
    asked = list(given or ()) or [name.strip() for name in told.split(",") if name.strip()]
    if asked:
        return list(dict.fromkeys(asked))
    others = [info.name for info in available() if info.present and info.name != DEFAULT]
    return [DEFAULT, *others]


def _end(sentence: str, wrong: Exception) -> None:
    print(sentence, file=sys.stderr)
    raise SystemExit(2) from wrong
