"""The door: what a visitor gets while the model is still being loaded.

A server of the standard library alone holds the port from the first second. It shows the first paint, kept in files,
on the real stage, where it can be dragged at once; says what is being done and since when; and asks programs to come
again. When the page itself is ready it takes the port, and the browser changes over without being asked.
"""

from __future__ import annotations

import base64
import errno
import html
import json
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..backbones.layout import fingerprint
from ..backbones.registry import outline
from ..errors import RudderError
from ..files import home, read_json
from .address import SLASH
from .guard import headers, stranger
from .shell import ASSETS, HEADER, LEDE, STAGE, STAGE_SCRIPTS, scripts

MARK = "X-Rudder-Door"  # the header that a waiting page asks for
REFUSES = {MARK: quote(json.dumps({"refused": True}))}
AGAIN = 2  # seconds after which a program should ask again
ASK = 0.4  # seconds between two questions of a waiting browser
WAITING = """
<aside class="rd-card rd-door">
  <h2>One moment</h2>
  <p role="status" aria-live="polite"><b class="rd-door-text">{text}</b> <span class="rd-door-time"></span></p>
  <p>{hint}</p>
  <p class="rd-door-asked" role="status" hidden>Exact strengths and new pictures need the model: wait for it here.</p>
  <p>The controls take this place by themselves as soon as the model is ready.</p>
</aside>
"""
REFUSED = """
<aside class="rd-card rd-door">
  <h2>This model cannot be had</h2>
  <p role="alert">{sentence}</p>
  <p><a href="../../">Back to the first model</a></p>
</aside>
"""
FIRST = "The pictures beside this were painted beforehand: drag the strength and watch them."
BARE = "A large model from a disk takes a minute or two, from the hub as long as its download."
SCRIPT = """<script>
const ASK = $ASK;
window.RudderLab = { there: () => false };  // no laboratory to link to yet
addEventListener("DOMContentLoaded", () => {
  const find = (selector) => document.querySelector(selector);
  Rudder.startTheme(find(".rd-theme"));
  const wait = () => { find(".rd-door-asked").hidden = false; };
  const ask = async () => {
    if (!find(".rd-door-text")) return;
    let next = ASK;
    try {
      const answer = await fetch("./", { method: "HEAD", cache: "no-store" });
      const told = answer.headers.get("$MARK");
      if (!told && answer.status < 500) { location.reload(); return; }  // 5xx: a proxy in front of a closed port
      const { text, seconds, closing, refused } = JSON.parse(decodeURIComponent(told));
      if (refused) { location.reload(); return; }  // the page says why
      find(".rd-door-text").textContent = text;
      find(".rd-door-time").textContent = `(${Math.round(seconds)} s)`;
      if (closing) next = 5 * ASK;  // the port changes hands: a request in between would be refused
    } catch { /* it has just done so */ }
    setTimeout(ask, next);
  };
  setTimeout(ask, ASK);
  const message = JSON.parse(find("#rd-first").textContent);
  if (message) RudderStage.mount({ element: document, props: { value: message }, watch() {},
    trigger(name) { if (name !== "stop") { wait(); setTimeout(Rudder.lost); } } });
});
</script>"""


class Waiting:
    """What is said while a model is being read: the page to show, and how far it is."""

    def __init__(self, model: str) -> None:
        self.text, self.closing, self.started = "Starting", False, time.monotonic()
        painted = kept_message(model)
        self.page = _page(WAITING.format(text="Starting", hint=FIRST if painted else BARE), painted)

    def say(self, text: str) -> None:
        """What is being done now, in a few words."""
        self.text = text

    def told(self) -> dict[str, str]:
        """The header that the page asks for."""
        told = {"text": self.text, "seconds": time.monotonic() - self.started, "closing": self.closing}
        return {MARK: quote(json.dumps(told))}

    def refusal(self, sentence: str) -> str:
        """The page of a model that cannot be had."""
        return _page(REFUSED.format(sentence=html.escape(sentence)), None)


class Door(Waiting):
    """Holds host:port with the waiting page until `close`; `names`: the Host names it answers to, () for any.

    RudderError where the port cannot be had.
    """

    def __init__(self, host: str, port: int, model: str, names: Sequence[str] = ()) -> None:
        super().__init__(model)
        self.names = names
        try:
            self._server = _Server((host, port), _handler(self))
        except (OSError, OverflowError) as wrong:
            raise RudderError(no_place(host, port, wrong)) from wrong
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Give the port back."""
        self.closing = True
        time.sleep(1.5 * ASK)  # waiting browsers hear of it
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Also at an IPv6 address."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)


def no_place(host: str, port: int, wrong: Exception | None = None) -> str:
    """Why nothing can be served at host:port, and the remedy."""
    if isinstance(wrong, socket.gaierror) or getattr(wrong, "errno", None) in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{host} is no address of this machine: choose another with --host (0.0.0.0 for all of its networks)."
    return f"Port {port} on {host} cannot be used: choose another with --port."


def kept_message(model: str) -> dict[str, Any] | None:
    """The stage's message kept in assets/firstpaint/MODEL, its frames as data URIs; None where there is none, or it was
    painted with other weights.

    RudderError for a damaged file.
    """
    path = home() / "assets" / "firstpaint" / Path(model).name / "firstpaint.json"
    if not path.is_file():
        return None
    kept = read_json(path)
    try:
        if kept["made"]["fingerprint"] != _fingerprint(model):
            return None
        message = kept["message"]
        for data in message["columns"].values():
            for one in data["frames"]:
                body = base64.b64encode((path.parent / Path(one.pop("file_here")).name).read_bytes()).decode()
                one["src"] = f"data:image/png;base64,{body}"
    except (KeyError, TypeError, OSError) as wrong:
        raise RudderError(f"{path} is damaged: make it again with `python -m steering.ui.firstpaint`.") from wrong
    return message


def _fingerprint(model: str) -> str | None:
    """That of the model's weights; None where they cannot be had, which whoever loads them is about to say."""
    try:
        known = outline(model)
        return fingerprint(known.folder, known.family) if known.folder else None
    except (RudderError, OSError):
        return None


def _page(words: str, painted: dict[str, Any] | None) -> str:
    style = (ASSETS / "css" / "rudder.css").read_text(encoding="utf-8")
    script = SCRIPT.replace("$ASK", f"{1000 * ASK:g}").replace("$MARK", MARK)
    kept = json.dumps(painted).replace("<", "\\u003c")
    stage = f'<div id="rd-stage-column">{LEDE}{STAGE}</div>' if painted else ""
    return (
        f'<!doctype html><html lang="en">{SLASH.decode()}<meta charset="utf-8"><title>Rudder</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style>{scripts(STAGE_SCRIPTS)}{script}</head>"
        f'<body class="rd-waiting"><div class="gradio-container"><main>{HEADER}'
        f'<div id="rd-room">{words}{stage}</div></main></div>'
        f'<script type="application/json" id="rd-first">{kept}</script></body></html>'
    )


def _handler(door: Door) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds after which a connection that says nothing is closed

        def do_GET(self) -> None:
            path = "/" + self.path.partition("?")[0].lstrip("/")
            if stranger(self.headers.get("Host", ""), door.names):
                self._answer(400, "text/plain", b"This page is not served under that name.")
            elif path == "/favicon.ico":
                self._answer(200, "image/svg+xml", (ASSETS / "rudder.svg").read_bytes())
            elif path == "/":
                self._answer(200, "text/html; charset=utf-8", door.page.encode())
            else:
                self._later()

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self._later()

        def _later(self) -> None:
            told = {"error": f"The model is still being loaded ({html.escape(door.text)}): ask again in {AGAIN} s."}
            self._answer(503, "application/json", json.dumps(told).encode())

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            for name, value in {**headers("/"), **door.told()}.items():
                self.send_header(name, value)
            if code == 503:
                self.send_header("Retry-After", str(AGAIN))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Nothing: the page's own server keeps quiet, too."""

    return Handler
