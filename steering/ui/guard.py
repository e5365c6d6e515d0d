"""What stands before every answer of the page: who may ask what, how much may be sent, and what a browser is told.

Plain ASGI around Gradio's app. SECURITY.md says what is promised of it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from .address import settled
from .address import told as placed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOAD_ID = 100  # characters of the name of an upload whose progress is asked for
UPLOAD_BYTES = 220 * 2**20  # of all the files of one request
BODY_BYTES = 32 * 2**20  # of any other request
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
HUB = "https://huggingface.co https://*.hf.space"
FRAMES = f"'self' {HUB}"  # a Space is shown inside the hub's page
ASKED = f"'self' data: blob: {HUB if os.environ.get('SPACE_ID') else ''}".strip()  # there Gradio asks how the Space is
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src "
    f"{ASKED}; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    f"frame-ancestors {FRAMES}"
)  # Gradio's own page is made of inline scripts, and builds its HTML components' functions from text
FILE_POLICY = f"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors {FRAMES}"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# what Gradio serves beside a page and Rudder has no use for: traffic, run history, a proxy, an editor, recordings
UNUSED = re.compile(
    r"/(monitoring|gradio_api/(runs|run-history|proxy=|deep_link|vibe-|undo-vibe|process_recording|stream/|dev/|"
    r"profiling))"
)
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded", "text/plain")  # sent without asking first
_BEAT = re.compile(r"/gradio_api/(?:heartbeat|call/(?:v2/)?[^/]+)/([\w-]{1,100})/?$")
_ANSWERS = re.compile(rb"(?:^|&)session_hash=([\w-]{1,100})(?:&|$)")  # of /gradio_api/queue/data


def headers(path: str) -> dict[str, str]:
    """What a browser is told with the answer to a path; visitors' files open in no context of the page's."""
    return {**HEADERS, "Content-Security-Policy": FILE_POLICY if "/file=" in path or "/file/" in path else POLICY}


def stranger(host: str, names: Sequence[str]) -> bool:
    """Whether a Host header names none of `names` (() for any), and no name of this machine for itself."""
    return bool(names) and hostname(host) not in LOCAL | {hostname(name) for name in names}


def foreign(told: Mapping[str, str], names: Sequence[str] = ()) -> str | None:
    """The site that sent a form, where it is another than this one; None for programs, and for this page's own.

    `told`: a request's headers, in lower case. Browsers ask first before they send JSON to another site; forms and
    files they simply send.
    """
    if not told.get("content-type", "text/plain").lower().startswith(_FORMS):
        return None
    origin, fetched = told.get("origin", ""), told.get("sec-fetch-site", "")
    if fetched in ("same-origin", "none") or not (origin or fetched):
        return None
    here = {hostname(told[name]) for name in ("host", "x-forwarded-host") if name in told}
    mine = {*here, *map(hostname, names)}
    if fetched != "cross-site" and origin != "null" and hostname(urlsplit(origin).netloc) in mine:
        return None
    return origin or "another site"


def hostname(host: str) -> str:
    """A Host header without its port, in lower case."""
    host = host.split(",")[0].strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def connected(path: str, query: bytes) -> str | None:
    """The session (Gradio's hash) whose connection a request holds: a tab's heartbeat, or a wait for answers."""
    if path.endswith("/gradio_api/queue/data"):
        found = _ANSWERS.search(query)
        return found[1].decode() if found else None
    beat = _BEAT.search(path)
    return beat[1] if beat else None


class Guard:
    """An app with what this module says around it. `names`: the Host names it is served under, () for any."""

    def __init__(self, app: App, names: Sequence[str] = (), full: Callable[[], bool] = lambda: False) -> None:
        self.app, self.names, self.full = app, tuple(names), full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith("//"):  # a proxy's rule with one slash too many
            path = "/" + scope["path"].lstrip("/")
            scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape")}
        path, told = scope["path"], _headers(scope)
        if "/gradio_api/" in path:
            scope = {**scope, "headers": placed(scope["headers"])}

        held: list[Message] = []  # the start of a page, whose length is about to change

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in headers(path).items()]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
                if scope["method"] == "GET" and path.endswith("/") and _is_html(message):
                    held.append(message)
                    return
            elif held:
                start, body = held.pop(), message.get("body", b"")
                if not message.get("more_body"):
                    body = settled(body)
                    length = (b"content-length", str(len(body)).encode())
                    start["headers"] = [*(pair for pair in start["headers"] if pair[0] != length[0]), length]
                    message = {**message, "body": body}
                await send(start)
            await send(message)

        refusal = self._refusal(scope["method"], path, told)
        if path.rstrip("/").endswith("/upload_progress") and len(scope.get("query_string", b"")) > UPLOAD_ID:
            refusal = 404, "No upload has a name as long as that."  # Gradio keeps every name it is asked for
        if refusal:
            await _answer(sent, *refusal)
            return
        session = connected(path, scope.get("query_string", b"")) if scope["method"] == "GET" else None
        with open_tab(session) if session else nullcontext():
            await self.app(scope, _bounded(receive, UPLOAD_BYTES if _uploads(path) else BODY_BYTES), sent)

    def _refusal(self, method: str, path: str, told: Mapping[str, str]) -> tuple[int, str] | None:
        """(status, sentence) where a request goes no further."""
        if stranger(told.get("host", ""), self.names):
            return 400, "This page is not served under that name."
        if UNUSED.search(path):
            return 404, "There is nothing under this address."
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        site = foreign(told, self.names)
        if site:
            here = told.get("host", "here")[:80]
            return 403, f"A form from {site[:80]} is refused by {here}: a proxy between the two has to pass Host on."
        most = UPLOAD_BYTES if _uploads(path) else BODY_BYTES
        size = told.get("content-length", "0")
        if not size.isdecimal() or int(size[:20]) > most:
            return 413, f"That is more than the {most // 2**20} MB that one request may have: send less at once."
        if _uploads(path) and self.full():
            return 503, "The page holds as many files of its visitors as it can: come back in an hour."
        return None


OPEN: Counter[str] = Counter()  # Gradio's session hash -> connections that a tab of it holds
LEFT: dict[str, float] = {}  # session hash -> when the last of them ended, by time.monotonic


@contextmanager
def open_tab(session: str) -> Iterator[None]:
    """A tab's connection, for as long as it lasts."""
    OPEN[session] += 1
    try:
        yield
    finally:
        OPEN[session] -= 1
        if OPEN[session] <= 0:
            del OPEN[session]
            LEFT[session] = time.monotonic()


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _is_html(start: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _uploads(path: str) -> bool:
    return path.rstrip("/").endswith("/gradio_api/upload")


def _bounded(receive: Receive, most: int) -> Receive:
    """A request's body up to so many bytes; who sends more, without having said so, is hung up on."""
    left = most

    async def some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return some


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence, "detail": sentence}).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
