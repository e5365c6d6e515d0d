"""From a command line to a served page: the port first, then the model."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..backbones.registry import DEFAULT, available, load, outline
from ..errors import Remark, RudderError, shorten
from ..threads import settle
from .door import Door, no_place
from .guard import LOCAL
from .session import end_sessions
from .shell import ASSETS, check_assets
from .temporary import full, remove_folder, settle_folder

if TYPE_CHECKING:
    import gradio as gr

    from .studio import Studio
    from .verbs import Verbs

UPLOAD = "20mb"  # one file
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
EVENTS = "200"  # of which Gradio keeps figures, and computes them anew after each
WITHOUT_MCP = "--mcp needs the package mcp: install it with `pip install 'rudder-steering[mcp]'`."


def serve(arguments: list[str] | None = None) -> None:
    """Open the door, load the model, build the page and serve it; exits with 2 and one sentence when the port cannot
    be had, the model cannot be loaded, or a file of the page is missing."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve Rudder's page.")
    parser.add_argument(
        "--model",
        action="append",
        help="embedded name, folder, file or hub id; repeat it for several (RUDDER_MODELS, else the embedded ones)",
    )
    parser.add_argument("--device", default=os.environ.get("RUDDER_DEVICE", "auto"), help="cpu, cuda or auto")
    parser.add_argument("--dtype", default=os.environ.get("RUDDER_DTYPE"), help="float32, float16 or bfloat16")
    parser.add_argument("--attention", default=os.environ.get("RUDDER_ATTENTION", "sdpa"), help="sdpa or xformers")
    parser.add_argument("--compile", action="store_true", default=None, help="by torch.compile (RUDDER_COMPILE)")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument(
        "--search-seconds",
        type=float,
        default=os.environ.get("RUDDER_SEARCH_SECONDS", "60"),
        help="how long the search for an own set's settings may last",
    )
    parser.add_argument(
        "--name",
        action="append",
        help="a name that the page is served under, if no other is to be answered; repeat it (RUDDER_NAMES)",
    )
    parser.add_argument(
        "--replicas", default=os.environ.get("RUDDER_REPLICAS", "1"), help="auto (one a GPU) or how many"
    )
    parser.add_argument("--address", default=os.environ.get("RUDDER_RAY"), help="the replicas' Ray cluster")
    parser.add_argument("--mcp", action="store_true", help="offer the page's verbs as tools for MCP clients, too")
    parser.add_argument(
        "--library",
        default=os.environ.get("RUDDER_LIBRARY"),
        help="a folder in which own concepts are kept: only where nobody else has access",
    )
    parser.add_argument(
        "--calibration",
        action="append",
        help="a file of `rudder calibrate` for one of the models; repeat it (RUDDER_CALIBRATIONS)",
    )
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore", Remark)  # visitors are told on the page; their words are for no log
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    names = _listed(asked.name, "RUDDER_NAMES")
    settle()
    try:
        if asked.mcp and importlib.util.find_spec("mcp") is None:
            raise RudderError(WITHOUT_MCP)
        _settle_gradio(asked.host)
        check_assets()
        settle_folder()
        models = offered(asked.model)
        known = outline(models[0])
        door = Door(asked.host, asked.port, known.name if known.embedded else known.asked, names)
    except RudderError as wrong:
        _end(str(wrong), wrong)
    door.say("Starting: reading the libraries")
    from starlette.middleware import Middleware

    from ..calibration import Calibration
    from .calls import answers
    from .documents import add_routes
    from .firstpaint import first_paint, warm
    from .gpu import zero_gpu
    from .guard import Guard
    from .hangar import Hangar, addresses, menu, mounter
    from .library import open_library
    from .page import page_of
    from .replicas import Replicas, count_of
    from .studio import measure_pace, open_studio
    from .theme import launch_look
    from .visits import ending, fetch_nothing

    fetch_nothing()
    keys, first = addresses(models), models[0]
    calibrations: list[Calibration] = []

    def opened(model: str, say: Callable[[str], None]) -> tuple[gr.Blocks, Studio, dict[str, Any]]:
        kind = {"dtype": asked.dtype or None, "attention": asked.attention, "compile": asked.compile}
        many = count_of(asked.replicas, asked.device, asked.address) if model == first else 1

        def elsewhere(here: Verbs) -> Verbs:
            say(f"Starting {many} replicas")
            replica = partial(load, model, **kind)
            return Replicas(replica, many, asked.device, asked.search_seconds, asked.address).verbs(here)

        studio = open_studio(model, asked.device, say, asked.search_seconds, **kind, calibrations=calibrations,
                             elsewhere=elsewhere if many > 1 else None)  # fmt: skip
        for one in calibrations if len(keys) == 1 else ():
            one.check(studio.backbone)
        if asked.library:
            studio.library = open_library(asked.library, studio.backbone)
            for sentence in studio.library.shelf.left:
                print(sentence, file=sys.stderr)
        say("Laying out the page")
        painted = first_paint(studio)
        shown = menu(keys, model)
        models = dict(zip((entry["title"] for entry in shown), keys.values(), strict=False))
        return page_of(studio, painted, shown, models), studio, painted

    try:
        calibrations += map(Calibration.load, _listed(asked.calibration, "RUDDER_CALIBRATIONS"))
        page, studio, painted = opened(models[0], door.say)
        look = launch_look() | {"mcp_server": asked.mcp}
    except RudderError as wrong:
        _end(str(wrong), wrong)
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
            enable_monitoring=False,
            run_history=False,
            prevent_thread_lock=True,
            app_kwargs={"middleware": [Middleware(Guard, names=names, full=full)], "lifespan": ending(page)}
            | answers(),
            _frontend=False,  # else Gradio gives up when a busy machine needs 3 s for the first answer
            **look,
        )
    except OSError as wrong:
        _end(no_place(asked.host, asked.port), wrong)
    if asked.mcp and not page.mcp_server:
        _end(f"The MCP tools cannot be offered: {page.mcp_error}", RuntimeError(page.mcp_error))
    add_routes(app, studio.outline.folder)
    app.router.routes.insert(0, Hangar(keys, opened, mounter(UPLOAD, look)))
    if not zero_gpu():
        measure_pace(studio)
        warm(studio, painted)
    try:
        page.block_thread()
    finally:
        end_sessions()


def offered(given: Sequence[str] | None) -> list[str]:
    """The models to offer, the first one first: those given, else those of RUDDER_MODELS or RUDDER_MODEL, else the
    embedded ones."""
    asked = _listed(given, "RUDDER_MODELS") or _listed(None, "RUDDER_MODEL")
    if asked:
        return list(dict.fromkeys(asked))
    others = [info.name for info in available() if info.present and info.name != DEFAULT]
    return [DEFAULT, *others]


def _listed(given: Sequence[str] | None, variable: str) -> list[str]:
    """What was given on the command line, else what a variable lists, between commas."""
    return list(given or ()) or [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _settle_gradio(host: str) -> None:
    """What Gradio asks the environment for: its own page is not looked for through a proxy. RudderError for proxies
    that it could not be imported with."""
    given = {name for name in os.environ if name.upper() in PROXIES and os.environ[name]}
    for variable in ("NO_PROXY", "no_proxy"):
        told = os.environ.get(variable, "").replace("[", "").replace("]", "")  # httpx takes brackets for a port's
        direct = [name.strip() for name in told.split(",") if name.strip()]
        os.environ[variable] = ",".join(dict.fromkeys([*direct, *sorted(LOCAL), host]))
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", EVENTS)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if not given:
        return
    import httpx  # as Gradio does, whose import ends with what this raises

    try:
        httpx.Client().close()
    except Exception as wrong:
        raise RudderError(
            f"The proxy that {', '.join(sorted(given))} name cannot be used ({shorten(wrong)}): mend or unset them."
        ) from wrong


def _terminated(*_: object) -> None:
    """SIGTERM: temporary files go, then the process, without waiting for what it is in the middle of."""
    try:
        end_sessions()
    finally:
        remove_folder()
        os._exit(0)


def _end(sentence: str, wrong: Exception) -> None:
    print(sentence, file=sys.stderr)
    raise SystemExit(2) from wrong
