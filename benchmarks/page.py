"""The page started cold: from process start to the steered pictures on screen and to a page that takes a Generate.

In turn with `python app.py` the way before it is started, the model first and then the port (`-m benchmarks.page`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

REPOSITORY = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)
LIMIT = 180.0  # seconds
READY = ".rd-generate"  # on the page itself, which the door before it has not
PAINTED = """() => {
  const all = [...document.querySelectorAll("canvas[data-picture$=steered]")].filter((c) => c.offsetParent);
  const filled = (c) => c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data[3] > 0;
  return all.length > 0 && all.every(filled);
}"""


def find_chromium() -> str | None:
    """$CHROMIUM, or the first Chromium or Chrome on the path."""
    names = (os.environ.get("CHROMIUM", ""), *BROWSERS)
    return next((path for name in names if name and (path := shutil.which(name))), None)


def measure_page(model: str, starts: int, threads: int) -> dict[str, list[float]]:
    """Seconds from process start to first paint and until Generate answers, of the app and over the model-first way,
    and peak megabytes, once per start; [] without a browser."""
    names = ("first_paint_seconds", "generate_ready_seconds", "cold_start_seconds", "peak_memory_mb")
    ratios = ("first_paint_over_model_first", "generate_ready_over_model_first")
    values: dict[str, list[float]] = {name: [] for name in (*names, *ratios)}
    browser = find_chromium()
    if not starts or browser is None:
        print("The page is not measured: no Chromium here, or --starts 0.", file=sys.stderr)
        return values
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        chromium = play.chromium.launch(executable_path=browser, args=list(QUIET))
        for place in range(starts):
            took = {}
            for first in (False, True)[:: -1 if place % 2 else 1]:
                tab = chromium.new_page(viewport={"width": 1440, "height": 900})
                took[first] = _start(tab, model, threads, Path(folder) / "app.log", first)
                tab.close()
            (painted, ready, memory), before = took[False], took[True]
            for name, value in zip(names, (painted, ready, painted, memory), strict=True):
                values[name].append(value)
            for name, value in zip(ratios, (painted / before[0], ready / before[1]), strict=True):
                values[name].append(value)
        chromium.close()
    return values


def _start(tab: Any, model: str, threads: int, log: Path, model_first: bool) -> tuple[float, float, float]:
    """One cold start: (seconds to first paint, to a page that takes a Generate, peak resident megabytes after one)."""
    started = time.perf_counter()
    with opened(tab, model, threads, log, model_first) as process:
        painted = time.perf_counter() - started
        tab.wait_for_selector(READY, timeout=LIMIT * 1000)
        ready = time.perf_counter() - started
        tab.locator(".rd-generate").click()
        tab.wait_for_selector(".rd-actions.is-running", timeout=LIMIT * 1000)
        tab.wait_for_selector(".rd-actions:not(.is-running)", timeout=LIMIT * 1000)
        return painted, ready, _peak_memory(process.pid)


@contextmanager
def opened(tab: Any, model: str, threads: int, log: Path, model_first: bool = False) -> Iterator[subprocess.Popen]:
    """A fresh app, with `tab` on its page and the steered pictures painted."""
    port, started = _free_port(), time.perf_counter()
    with _app(model, port, threads, log, model_first) as process:
        address = f"http://127.0.0.1:{port}/"
        _wait(address, process, log, started)
        tab.goto(address, wait_until="commit")
        tab.wait_for_function(PAINTED, polling=50, timeout=LIMIT * 1000)
        yield process


@contextmanager
def _app(model: str, port: int, threads: int, log: Path, model_first: bool) -> Iterator[subprocess.Popen]:
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "RUDDER_MODEL": model,
        "OMP_NUM_THREADS": str(threads),
    }
    with log.open("wb") as out:
        command = ["-m", "benchmarks.page"] if model_first else ["app.py"]
        process = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env=environment, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(address: str, process: subprocess.Popen, log: Path, started: float) -> None:
    """Until the page answers; RuntimeError with the app's last words when it ends or takes too long."""
    while time.perf_counter() - started < LIMIT and process.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.03)
    raise RuntimeError(f"The page did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _peak_memory(pid: int) -> float:
    """Peak resident megabytes of a process (VmHWM of proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM: peak memory is measured on Linux only.")


def serve_model_first() -> None:
    """The page as it was served before the door: nothing answers until the model is loaded."""
    from steering.ui.firstpaint import first_paint
    from steering.ui.page import page_of
    from steering.ui.studio import open_studio
    from steering.ui.theme import launch_look

    studio = open_studio(os.environ["RUDDER_MODEL"])
    page_of(studio, first_paint(studio)).launch(ssr_mode=False, footer_links=[], _frontend=False, **launch_look())


if __name__ == "__main__":
    serve_model_first()
