"""What the page links to, readable without a network: README, credits and licence as pages, the code as text; and what
its laboratory fetches."""

from __future__ import annotations

import html
import re
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..files import shipped

ROOT = shipped()
PAPER = "https://arxiv.org/abs/2512.20963"
ROOMS = ("steering", "training", "benchmarks", "tests", "docs", "models", "assets/readme")  # and files beside them
KINDS = {".md", ".py", ".ipynb", ".js", ".css", ".toml", ".txt", ".png"}
NAMES = {"LICENSE", "Makefile", "Dockerfile"}
LIMIT = 2 * 2**20  # bytes of one document
TOY = ROOT / "assets" / "dae"
TOY_KINDS = {".json", ".png", ".bin"}
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - Rudder</title><style>
:root {{ color-scheme: light dark }}
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
body {{ font: 1rem/1.6 "Segoe UI", "Helvetica Neue", Arial, sans-serif }}
img {{ max-width: 100% }} pre, table {{ overflow-x: auto; display: block }}
td, th {{ padding: .2rem .6rem; text-align: left }}
code, pre {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9em }}
</style><main>{body}</main></html>"""


def links(card: Path | None) -> list[dict[str, str]]:
    """[{"title", "href"}] of what there is to read, hrefs relative to the page; `card`: a model's folder."""
    there = [
        ("README", "README.md", ROOT / "README.md"),
        ("Code", "steering/", ROOT / "steering"),
        ("Licence", "LICENSE", ROOT / "LICENSE"),
        ("Credits", "models/ATTRIBUTION.md", ROOT / "models" / "ATTRIBUTION.md"),
        ("Model card", "model", card / "README.md" if card else ROOT / "absent"),
    ]
    found = [{"title": title, "href": f"read/{place}"} for title, place, path in there if path.exists()]
    return [{"title": "Paper", "href": PAPER}, *found]


def add_routes(app: Starlette, card: Path | None, at: str = "") -> None:
    """Serve `at`/read/... and `at`/dae/... on the page's app; `card`: the folder whose README is the model's card."""

    def read(request: Request) -> Response:
        place = request.path_params["place"]
        if place == "model":
            path = card / "README.md" if card else None
            return _shown(path) if path and path.is_file() else _absent()
        path = allowed(place)
        return _shown(path) if path else _absent()

    def toy(request: Request) -> Response:
        path = toy_file(request.path_params["place"])
        return FileResponse(path) if path else _absent()

    app.router.routes.insert(0, Route(at + "/dae/{place:path}", toy))
    app.router.routes.insert(0, Route(at + "/read/{place:path}", read))  # before Gradio's own, which take every path


def toy_file(place: str) -> Path | None:
    """The file of the toy's states and pictures that a path names; None where there is none."""
    if "\0" in place:
        return None
    path = (TOY / place).resolve()
    return path if path.is_relative_to(TOY) and path.suffix in TOY_KINDS and path.is_file() else None


def allowed(place: str) -> Path | None:
    """The file or folder of the checkout, or of what a wheel carries, that a path names; None where it is not meant."""
    if "\0" in place:
        return None
    path = (ROOT / place).resolve()
    if not path.is_relative_to(ROOT) or path == ROOT or not path.exists():
        return None
    inside = path.relative_to(ROOT)
    if any(part.startswith((".", "__")) and part not in ("__init__.py", "__main__.py") for part in inside.parts):
        return None
    if len(inside.parts) > 1 or path.is_dir():
        rooms = [Path(room) for room in ROOMS]
        if not any(inside.is_relative_to(room) for room in rooms):
            return None
    return path if path.is_dir() or path.name in NAMES or path.suffix in KINDS else None


def _shown(path: Path) -> Response:
    if path.is_dir():
        return _listing(path)
    if path.suffix == ".png":
        return FileResponse(path)
    if path.stat().st_size > LIMIT:
        return _absent()
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".md":
        return PlainTextResponse(text)
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(FRONT.sub("", text))
    return _page(path.name, re.sub(r"<p>&lt;!--.*?--&gt;</p>", "", body))


def _listing(folder: Path) -> Response:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    shown = [name for name in names if allowed(f"{folder.relative_to(ROOT).as_posix()}/{name}")]
    rows = "".join(f'<li><a href="{html.escape(name)}">{html.escape(name)}</a></li>' for name in shown)
    return _page(folder.name, f"<h1>{html.escape(folder.relative_to(ROOT).as_posix())}</h1><ul>{rows}</ul>")


def _page(title: str, body: str) -> Response:
    return HTMLResponse(PAGE.format(title=html.escape(title), body=body))


def _absent() -> Response:
    text = "<h1>Not here</h1><p>There is nothing to read under this address.</p>"
    return HTMLResponse(PAGE.format(title="Not here", body=text), status_code=404)
