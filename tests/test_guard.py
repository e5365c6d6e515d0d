"""What stands before the page: whose requests go through, how much of them, and what a browser is told with answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from steering.ui import guard
from steering.ui.guard import FILE_POLICY, OPEN, POLICY, Guard, hostname

FORM = {"content-type": "multipart/form-data; boundary=x"}
UPLOAD = "/gradio_api/upload"
JSON = {"content-type": "application/json"}


def asked(
    path: str = "/", method: str = "GET", names: tuple[str, ...] = (), body: tuple[bytes, ...] = (), full: bool = False,
    query: bytes = b"", **headers: str,
) -> tuple[int, dict[str, str], dict]:  # fmt: skip
    """(status, headers, what the app behind the guard saw or the refusal said)."""
    told = {"host": "rudder.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in told.items()],
    }  # fmt: skip
    parts = iter([*({"type": "http.request", "body": part, "more_body": True} for part in body),
                  {"type": "http.request", "body": b"", "more_body": False}])  # fmt: skip
    sent: list[dict] = []

    async def receive() -> dict:
        return next(parts)

    async def send(message: dict) -> None:
        sent.append(message)

    async def app(scope, receive, send) -> None:
        size, ended = 0, ""
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        ended = message["type"]
        seen = {"path": scope["path"], "size": size, "ended": ended, "open": dict(OPEN)}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"uvicorn")]})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})

    asyncio.run(Guard(app, names, full=lambda: full)(scope, receive, send))
    head, answer = sent
    return head["status"], {n.decode(): v.decode() for n, v in head["headers"]}, json.loads(answer["body"])


@pytest.mark.parametrize(
    ("host", "names", "through"),
    [
        ("rudder.example", (), True),
        ("anything", (), True),
        ("rudder.example", ("rudder.example",), True),
        ("RUDDER.example:7860", ("rudder.example",), True),
        ("other.example", ("rudder.example", "other.example"), True),
        ("localhost:7860", ("rudder.example",), True),
        ("127.0.0.1", ("rudder.example",), True),
        ("[::1]:7860", ("rudder.example",), True),
        ("evil.example", ("rudder.example",), False),
        ("rudder.example.evil.example", ("rudder.example",), False),
        ("evil.example:7860", ("rudder.example",), False),
        ("", ("rudder.example",), False),
    ],
)
def test_with_names_no_other_host_is_answered(host: str, names: tuple[str, ...], through: bool):
    status, _, told = asked(names=names, host=host)
    assert (status == 200) == through
    if not through:
        assert status == 400 and told["error"] == "This page is not served under that name."


@pytest.mark.parametrize(
    ("headers", "names", "through"),
    [
        ({}, (), True),  # a program
        ({"origin": "https://rudder.example"}, (), True),
        ({"origin": "http://rudder.example:7860"}, (), True),
        ({"sec_fetch_site": "same-origin", "origin": "https://public.example", "host": "10.0.0.1"}, (), True),
        ({"origin": "https://public.example", "x_forwarded_host": "public.example", "host": "10.0.0.1"}, (), True),
        ({"origin": "https://public.example", "host": "10.0.0.1"}, ("public.example", "10.0.0.1"), True),
        ({"origin": "https://evil.example"}, (), False),
        ({"origin": "https://evil.example", "sec_fetch_site": "cross-site"}, (), False),
        ({"origin": "https://rudder.example", "sec_fetch_site": "cross-site"}, (), False),
        ({"sec_fetch_site": "cross-site"}, (), False),
        ({"origin": "null"}, (), False),
        ({"origin": "https://evil.example", "host": "localhost:7860"}, (), False),
        ({"origin": "https://evil.example", "content_type": "text/plain"}, (), False),
        ({"origin": "https://evil.example", "content_type": "application/x-www-form-urlencoded"}, (), False),
        ({"origin": "https://evil.example", "content_type": "application/json"}, (), True),  # a browser asks first
    ],
)
def test_a_form_from_another_site_is_refused(headers: dict[str, str], names: tuple[str, ...], through: bool):
    status, _, told = asked(UPLOAD, "POST", names, **{"content_type": FORM["content-type"], **headers})
    assert (status == 200) == through
    assert through or (status == 403 and "is refused" in told["error"])


@pytest.mark.parametrize(
    "path",
    ["/monitoring", "/monitoring/summary", "/monitoring/key", "/gradio_api/runs", "/gradio_api/run-history/records",
     "/gradio_api/proxy=https://x", "/gradio_api/deep_link", "/gradio_api/vibe-edit/", "/gradio_api/undo-vibe-edit",
     "/gradio_api/process_recording", "/gradio_api/dev/reload", "/gradio_api/profiling/summary",
     "/gradio_api/stream/x", "//monitoring", "/m/tiny-edm/monitoring/summary", "/m/x/gradio_api/vibe-code"],
)  # fmt: skip
def test_what_gradio_serves_beside_a_page_is_off(path: str):
    assert {asked(path, method)[0] for method in ("GET", "HEAD", "POST")} == {404}


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/queue/join", "/read/README.md"])
def test_what_the_page_needs_is_there(path: str):
    assert asked(path)[0] == 200


def test_a_body_is_bounded_by_what_it_says_and_by_what_comes(monkeypatch):
    monkeypatch.setattr(guard, "UPLOAD_BYTES", 1000)
    monkeypatch.setattr(guard, "BODY_BYTES", 100)
    for path, most in ((UPLOAD, 1000), (f"/m/x{UPLOAD}", 1000), ("/gradio_api/queue/join", 100)):
        assert asked(path, "POST", content_length=str(most), body=(bytes(most),))[2]["size"] == most
        for length in (str(most + 1), "9" * 400, "-1", "x", "²"):
            assert asked(path, "POST", content_length=length)[0] == 413, length
        told = asked(path, "POST", body=(bytes(most), b"x", bytes(most)))[2]  # without a length
        assert told["ended"] == "http.disconnect" and told["size"] == most


def test_uploads_wait_while_all_room_is_taken_and_nothing_else_does():
    assert asked(UPLOAD, "POST", full=True, **{"content_type": FORM["content-type"]})[0] == 503
    assert asked("/gradio_api/queue/join", "POST", full=True, **{"content_type": "application/json"})[0] == 200


def test_an_uploads_name_is_short():
    place = "/gradio_api/upload_progress"
    assert asked(place, query=b"upload_id=" + b"a" * 60)[0] == 200
    assert asked(place, query=b"upload_id=" + b"a" * 200)[0] == 404


def test_browsers_are_told_the_same_with_every_answer():
    for path, method, names in (("/", "GET", ()), ("/monitoring", "GET", ()), ("/", "GET", ("elsewhere",))):
        told = asked(path, method, names)[1]
        assert told["x-content-type-options"] == "nosniff" and "referrer-policy" in told
        assert told["content-security-policy"] == POLICY
    assert "https://huggingface.co https://*.hf.space" in POLICY, "a Space stands in the hub's page"
    files = [
        asked(path)[1]["content-security-policy"] for path in ("/gradio_api/file=/tmp/a.svg", "/gradio_api/file/a")
    ]
    assert set(files) == {FILE_POLICY} and FILE_POLICY.startswith("sandbox")


def test_a_tab_counts_while_it_is_connected_and_slashes_are_one():
    for path in ("/gradio_api/heartbeat/abc-1", "//gradio_api/heartbeat/abc-1/", "/m/x/gradio_api/heartbeat/abc-1"):
        assert asked(path)[2]["open"] == {"abc-1": 1}
    for path in ("/gradio_api/call/paint/abc-1", "/gradio_api/call/v2/paint/abc-1", "/m/x/gradio_api/call/a/abc-1"):
        assert asked(path)[2]["open"] == {"abc-1": 1}, "who waits for an answer by program"
    for query in (b"session_hash=abc-1", b"x=1&session_hash=abc-1&y"):
        assert asked("/gradio_api/queue/data", query=query)[2]["open"] == {"abc-1": 1}
    assert asked("/gradio_api/queue/data", query=b"my_session_hash=a/b")[2]["open"] == {}
    assert asked("/gradio_api/heartbeat/" + "x" * 200)[2]["open"] == {} and not OPEN
    assert asked("///config")[2]["path"] == "/config"


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.example", "a.example"), ("A.example:80", "a.example"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", "")],
)
def test_a_host_without_its_port(host: str, name: str):
    assert hostname(host) == name
