"""The page behind a real nginx, under a path with and without a slash; and files dropped where nothing takes them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import Visit
from tests.browser.test_visitors import save, set_files
from tests.test_visits import vector
from tests.tiny import pictures

CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
  access_log off; client_max_body_size 220m; proxy_buffering off; proxy_http_version 1.1;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port};
    location = /favicon.ico {{ return 204; }}
    location /slash/ {{ proxy_pass {app}/; }}
    location /none {{ proxy_pass {app}/; }}
    location /deep/down/ {{ proxy_pass {app}/; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme; }}
  }}
}}
"""
PLACES = {"slash": "slash/", "slash without": "slash", "none": "none", "none with": "none/", "told": "deep/down/"}


@pytest.fixture(scope="module")
def proxy(app: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an nginx before the app; a skip where there is none."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("no nginx here to stand before the page: apt-get install nginx")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "conf").write_text(CONFIG.format(folder=folder, port=port, app=app))
    with (folder / "out").open("w") as out:
        process = subprocess.Popen([nginx, "-c", str(folder / "conf"), "-p", str(folder)], stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            assert process.poll() is None, (folder / "out").read_text()
            try:
                urllib.request.urlopen(f"{address}/favicon.ico", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("place", list(PLACES))
def test_the_page_stands_under_any_path(proxy: str, contexts: dict, browser: object, tmp_path: Path, place: str):
    contexts.setdefault("proxy", browser.new_context(viewport={"width": 1440, "height": 900}))
    contexts["proxy"].set_default_timeout(60_000)
    one = Visit(contexts["proxy"].new_page())
    under = f"{proxy}/{PLACES[place].rstrip('/')}/"
    one.page.on("console", lambda said: one.trouble.append(said.text) if said.type == "error" else None)
    one.page.on("pageerror", lambda error: one.trouble.append(str(error)))
    one.page.on("request", lambda sent: None if sent.url.startswith((under, f"{under[:-1]}?", "data:", "blob:"))
                or sent.is_navigation_request() else one.outside.append(sent.url))  # fmt: skip
    one.page.goto(f"{proxy}/{PLACES[place]}")
    one.page.wait_for_selector(".rd-stage[data-ready=yes]")
    assert one.page.url == under
    for link in one.page.locator(".rd-model-links a[href^=read], .rd-models a[href]:not([href=''])").all():
        answer = one.page.request.get(under + link.get_attribute("href"), max_redirects=0)
        assert answer.status == 200, link.get_attribute("href")
    if place in ("none", "told"):  # what takes files and gives them, where Gradio's own address would be wrong
        one.generate(wait=False, steps=2)
        one.exact(120_000)
        path = tmp_path / "sent.csv"
        path.write_text("prompt\na cat\n")
        one.page.get_by_role("tab", name="Audit").click()
        set_files(one, "#rd-audit-source button", path)
        one.page.wait_for_selector("#rd-audit-source :text('sent')")
        if one.page.locator("#rd-audit-report .rd-scan").count():
            one.page.click("#rd-audit-start")
            one.page.wait_for_selector("#rd-audit-rows", timeout=60_000)
            save(one, "#rd-audit-rows", tmp_path / "rows.jsonl")
            assert "a cat" in (tmp_path / "rows.jsonl").read_text()
    one.page.close()
    assert not one.trouble, one.trouble
    assert not one.outside, one.outside


DROP = """([selector, files]) => {
  const carrier = new DataTransfer();
  for (const [name, bytes] of files) carrier.items.add(new File([new Uint8Array(bytes)], name));
  const target = document.querySelector(selector);
  const sent = (kind) => target.dispatchEvent(
    new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carrier }));
  return ["dragover", "drop"].map((kind) => !sent(kind));
}"""
ANYWHERE = ("body", "#rd-top h1", "#rd-prompt-a textarea", "#rd-seed input", ".rd-generate", "#rd-tabs", ".rd-model")


def test_a_file_dropped_anywhere_is_taken_or_refused_with_a_word(visit, tmp_path: Path):
    one = visit()
    at = urlsplit(one.page.url)
    for selector in ANYWHERE:
        taken = one.page.evaluate(DROP, [selector, [["notes.docx", [1, 2, 3]]]])
        assert taken == [True, True], f"{selector}: the browser would open it"
        assert "Nothing here takes notes.docx" in one.notice()
        one.page.click(".rd-notice button")
    for files in ([["a.zip", [80, 75]]], [["a.png", [1]], ["b.png", [2]]]):
        assert one.page.evaluate(DROP, ["body", files]) == [True, True]
        assert "Concepts tab" in one.notice()
        one.page.click(".rd-notice button")
    pictures(1)[0].save(tmp_path / "plain.png")
    one.page.evaluate(DROP, ["#rd-top", [["plain.png", list((tmp_path / "plain.png").read_bytes())]]])
    assert "carries no Rudder recipe" in one.notice()
    one.page.click(".rd-notice button")
    one.page.evaluate(DROP, ["#rd-top", [["v.safetensors", list(vector(0.001).to_bytes())]]])
    assert "model" in one.notice(), "the vector of another model was opened, and refused"
    one.page.click(".rd-notice button")
    one.page.get_by_role("tab", name="Audit").click()
    one.page.evaluate(DROP, ["#rd-audit", [["list.csv", list(b"prompt\na cat\n")]]])
    one.page.wait_for_selector("#rd-audit-source :text('list')")
    assert urlsplit(one.page.url)[:3] == at[:3]


def test_nothing_is_blocked_and_no_path_of_the_server_is_told(visit, home: Path):
    one = visit()
    one.page.evaluate(
        "window.blocked = []; addEventListener('securitypolicyviolation', (e) => blocked.push(e.blockedURI))"
    )
    for tab in one.page.get_by_role("tab").all():
        tab.click()
        one.page.wait_for_timeout(300)
    assert one.page.evaluate("blocked") == []
    told = one.page.request.get(f"{one.page.url}config").text() + one.page.content()
    for path in (str(home), str(Path.home()), "site-packages"):
        assert len(path) < 3 or path not in told, path
