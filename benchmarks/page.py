"""The page started cold: from `python app.py` to the steered pictures on screen, and the memory it took."""

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
    """Seconds from process start to first paint and peak megabytes, once per start; [] without a browser."""
    values: dict[str, list[float]] = {"cold_start_seconds": [], "peak_memory_mb": []}
    browser = find_chromium()
    if not starts or browser is None:
        print("The page is not measured: no Chromium here, or --starts 0.", file=sys.stderr)
        return values
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        chromium = play.chromium.launch(executable_path=browser, args=list(QUIET))
        for _ in range(starts):
            tab = chromium.new_page(viewport={"width": 1440, "height": 900})
            taken, memory = _start(tab, model, threads, Path(folder) / "app.log")
            values["cold_start_seconds"].append(taken)
            values["peak_memory_mb"].append(memory)
            tab.close()
        chromium.close()
    return values


def _start(tab: Any, model: str, threads: int, log: Path) -> tuple[float, float]:
    """One cold start: (seconds to first paint, peak resident megabytes after one Generate)."""
    started = time.perf_counter()
    with opened(tab, model, threads, log) as process:
        taken = time.perf_counter() - started
        tab.locator(".rd-generate").click()
        tab.wait_for_selector(".rd-actions.is-running", timeout=LIMIT * 1000)
        tab.wait_for_selector(".rd-actions:not(.is-running)", timeout=LIMIT * 1000)
        return taken, _peak_memory(process.pid)


@contextmanager
def opened(tab: Any, model: str, threads: int, log: Path) -> Iterator[subprocess.Popen]:
    """A fresh app, with `tab` on its page and the steered pictures painted."""
    port, started = _free_port(), time.perf_counter()
    with _app(model, port, threads, log) as process:
        address = f"http://127.0.0.1:{port}/"
        _wait(address, process, log, started)
        tab.goto(address, wait_until="commit")
        tab.wait_for_function(PAINTED, polling=50, timeout=LIMIT * 1000)
        yield process


@contextmanager
def _app(model: str, port: int, threads: int, log: Path) -> Iterator[subprocess.Popen]:
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "RUDDER_MODEL": model,
        "OMP_NUM_THREADS": str(threads),
    }
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY, env=environment, stdout=out, stderr=out)
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
