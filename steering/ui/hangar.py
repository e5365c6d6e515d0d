"""The pages of further models, each under an address of its own: opened for who comes, closed when nobody is left.

A model's page is a Gradio app of its own, so that going from one to another leaves nothing of the first in the browser,
and its session ends with it. While a model is being read its address shows the door (door.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from ..errors import RudderError
from .calls import answers
from .documents import add_routes
from .door import AGAIN, REFUSES, Waiting
from .gpu import zero_gpu
from .notices import outward
from .studio import Studio, measure_pace
from .visits import ending

log = logging.getLogger("rudder.hangar")

ROOT = "/m"
GRACE = 30.0  # seconds without a connection after which a model is given up
LOOK_EVERY = 5.0

Build = Callable[[str, Callable[[str], None]], tuple[gr.Blocks, Studio, dict[str, Any]]]
Mount = Callable[[gr.Blocks, Studio, str], FastAPI]


@dataclass
class Berth:
    """One model's place: nothing, a waiting page while it is read, or its app."""

    model: str
    waiting: Waiting | None = None
    app: FastAPI | None = None
    failed: str = ""
    connections: int = 0
    left: float = field(default_factory=time.monotonic)
    leaving: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)


class Hangar(BaseRoute):
    """The route below ROOT. `offered`: key -> model; the first has the page at the address above, and none here.

    The first is never given up, whoever is on another's page. Its address is the one that programs and MCP clients
    know: these hold no connection between two calls by which one would see that they are there, and a call that found
    the model gone would get the door's 503, after which they do not come again. And its page is the app that Gradio
    launches: a ZeroGPU Space takes the weights over at that moment, once, and replicas are hired by then. So memory
    holds the first model and those that are visited; where that is too much, the smallest is the one to offer first.

    `build(model, say)` gives page, studio and first paint, in a thread; `mount(page, studio, at)` makes an app of them.

    RudderErrors that `build` raises are shown in the page's place.
    """

    def __init__(self, offered: Mapping[str, str], build: Build, mount: Mount) -> None:
        self.berths = {key: Berth(model) for key, model in list(offered.items())[1:]}
        self.build, self.mount = build, mount
        self._tasks: set[asyncio.Task[None]] = set()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket"):
            return Match.NONE, {}
        return (Match.FULL if self._key(scope) is not None else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the model's app, or to the door until there is one."""
        key = self._key(scope)
        assert key is not None
        berth, path = self.berths[key], scope["path"]
        if path == f"{ROOT}/{key}":
            await RedirectResponse(f"{key}/")(scope, receive, send)
            return
        if berth.app is None:
            await self._wait(key, berth, path, scope["method"])(scope, receive, send)
            return
        berth.connections += 1
        try:
            await berth.app(scope, receive, send)
        finally:
            berth.connections -= 1
            berth.left = time.monotonic()

    def _key(self, scope: Scope) -> str | None:
        found = re.match(rf"{ROOT}/([^/]+)", scope["path"])
        return found[1] if found and found[1] in self.berths else None

    def _wait(self, key: str, berth: Berth, path: str, method: str) -> Response:
        """The door's answer; the first one starts the reading."""
        if path != f"{ROOT}/{key}/" or method not in ("GET", "HEAD"):
            told = {"error": f"The model is still being loaded: ask again in {AGAIN} s."}
            return JSONResponse(told, 503, {"Retry-After": str(AGAIN)})
        if berth.failed and method == "HEAD":  # a waiting page asks: it comes for the sentence itself
            return Response(None, 503, REFUSES)
        if berth.failed:
            sentence, berth.failed = berth.failed, ""  # whoever comes next tries again
            return HTMLResponse(Waiting(berth.model).refusal(sentence), 503)
        if berth.waiting is None:
            berth.waiting = Waiting(berth.model)
            task = asyncio.create_task(self._open(key, berth))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return HTMLResponse(berth.waiting.page, 200, {"Cache-Control": "no-store", **berth.waiting.told()})

    async def _open(self, key: str, berth: Berth) -> None:
        waiting = berth.waiting
        assert waiting is not None
        try:
            page, studio, _ = await asyncio.to_thread(self.build, berth.model, waiting.say)
            app = self.mount(page, studio, f"{ROOT}/{key}")
            await berth.leaving.enter_async_context(app.router.lifespan_context(app))
            berth.app, berth.left = app, time.monotonic()
            if not zero_gpu():
                await asyncio.to_thread(measure_pace, studio)
            await self._watch(berth)
            page.close(verbose=False)
        except RudderError as wrong:
            berth.failed = outward(str(wrong))
        except Exception:
            log.exception("The page of %s could not be opened", berth.model)
            berth.failed = f"The page of {key} could not be opened: the server's log says why."
        finally:
            berth.app = berth.waiting = None
            await berth.leaving.aclose()
            berth.leaving = contextlib.AsyncExitStack()
            gc.collect()

    async def _watch(self, berth: Berth) -> None:
        """Until nobody has been connected for GRACE seconds (an open tab keeps a connection)."""
        while berth.connections or time.monotonic() - berth.left < GRACE:
            await asyncio.sleep(LOOK_EVERY)


def mounter(upload: str, look: Mapping[str, Any]) -> Mount:
    """How a further page becomes an app; `upload`: the largest file, `look`: what Blocks.launch takes for the look."""

    def mount(page: gr.Blocks, studio: Studio, at: str) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=ending(page))
        usual = {"max_file_size": upload, "show_error": False, "footer_links": [], "ssr_mode": False}
        usual |= {"enable_monitoring": False, "run_history": False}
        gr.mount_gradio_app(app, page, at, app_kwargs=answers(), **usual, **look)
        add_routes(app, studio.outline.folder, at)
        return app

    return mount


def addresses(models: Sequence[str]) -> dict[str, str]:
    """key -> model: what stands for each in an address."""
    keys: dict[str, str] = {}
    for model in models:
        keys[key_of(model, keys)] = model
    return keys


def menu(keys: Mapping[str, str], here: str) -> list[dict[str, str]]:
    """[{"title", "href"}] of the models one can go to from the page of `here` (href "" for itself); [] for one alone.

    Addresses are relative, so that they hold behind a proxy's path too. A second model of a name is "name (2)".
    """
    first = next(iter(keys))
    up = "" if keys[first] == here else "../../"
    found, titles = [], list[str]()
    for key, model in keys.items():
        title = model.rstrip("/").rsplit("/", 1)[-1]
        titles.append(title)
        if titles.count(title) > 1:
            title = f"{title} ({titles.count(title)})"
        href = "" if model == here else (up or "./") if key == first else f"{up}{ROOT[1:]}/{key}/"
        found.append({"title": title, "href": href})
    return found if len(found) > 1 else []


def key_of(model: str, taken: Mapping[str, str]) -> str:
    """What stands for a model in an address: its name, or a path's last part, made plain and unique."""
    plain = re.sub(r"[^a-z0-9.]+", "-", model.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-.") or "model"
    key, count = plain, 2
    while key in taken:
        key, count = f"{plain}-{count}", count + 1
    return key
