"""The real page in a real browser: one app for all tests, a page of its own for each visitor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.page import QUIET, find_chromium
from tests.tiny import make_tiny_sd, pictures
from tests.tiny_edm import make_tiny_edm

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A headless Chromium; one clear skip where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("browser tests not run: no Chromium; install one (apt-get install chromium) or set $CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout when the embedded model is there, else a random model with two example sets."""
    if (ROOT / "models" / "tiny-sd" / "unet" / "diffusion_pytorch_model.safetensors").is_file():
        return ROOT
    home = tmp_path_factory.mktemp("home")
    make_tiny_sd(home / "models" / "tiny-sd")
    for place, name in enumerate(("sketch", "night")):
        folder = home / "assets" / "concepts" / name
        for part, tint in (("examples", (40 * place, 10, 50)), ("baseline", (0, 0, 0))):
            (folder / part).mkdir(parents=True)
            for count, picture in enumerate(pictures(4, seed=place, tint=tint)):
                picture.save(folder / part / f"{count}.png")
        about = {
            "name": name,
            "title": name.title(),
            "description": "A test set.",
            "prompt": "",
            "baseline_prompt": "",
        }
        (folder / "concept.json").write_text(json.dumps(about))
    return home


@pytest.fixture(scope="session")
def by_heart() -> list[Path]:
    """Pictures that tiny-sd was shown most often and gives back, and that its calibration calls memorised: most."""
    from steering import load
    from steering.calibration import shipped

    folder = ROOT / "models" / "tiny-sd"
    listed = json.loads((folder / "prompts.json").read_text())["memorized"]
    top = max(row["level"] for row in listed)
    paths = [folder / row["thumbnail"] for row in listed if row["level"] == top and row["recall"] == 1]
    backbone = load("tiny-sd")
    made = shipped(backbone)
    told = made.verdicts(made.score(backbone, [Image.open(path).convert("RGB") for path in paths]))
    known = [path for path, verdict in zip(paths, told, strict=True) if verdict.memorized]
    assert len(known) >= 0.8 * len(paths)
    return known


@pytest.fixture(scope="session")
def app(browser: object, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address; started once, on a free port, with the home's model and, second, a random EDM."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("app") / "log"
    second = make_tiny_edm(tmp_path_factory.mktemp("second") / "random-edm")
    environment = {
        **os.environ,
        "RUDDER_HOME": str(home),
        "GRADIO_SERVER_PORT": str(port),
        "RUDDER_SEARCH_SECONDS": "4",
        "NO_PROXY": "127.0.0.1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--model", "tiny-sd", "--model", str(second)],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(address, timeout=2) as answer:
                    if "X-Rudder-Door" not in answer.headers:
                        break
            except OSError:
                pass
            time.sleep(0.5)
        else:
            pytest.fail(f"the app did not start: {log.read_text()}")
        yield address
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Visit:
    """One visitor's page with what a person would see, and what the browser noticed."""

    page: object
    trouble: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    seen: int = 0  # the newest run when the stage was last waited for at rest

    def wait(self, phase: str = "idle", timeout: int = 60_000) -> None:
        """Until the stage is idle, or a run has begun since it last was (it may be over already)."""
        if phase == "running":
            begun = "(seen) => +(document.querySelector('.rd-stage').dataset.run || 0) > seen"
            self.page.wait_for_function(begun, arg=self.seen, timeout=timeout)
            return
        self.page.wait_for_selector(f".rd-stage[data-phase={phase}]", timeout=timeout)
        self.seen = self.run()

    def run(self) -> int:
        """The number of the newest run that has begun; 0 before the first."""
        return int(self.page.get_attribute(".rd-stage", "data-run") or 0)

    def generate(self, wait: bool = True, steps: int = 8) -> None:
        """Press Generate, with few steps; by default until the pictures are there."""
        self.type("#rd-steps", str(steps))
        self.seen = self.run()
        self.page.click(".rd-generate")
        self.wait("running")
        if wait:
            self.wait()

    def type(self, slider: str, value: str) -> None:
        """Type a value into the field beside one of Gradio's sliders; the slider has to follow."""
        box = self.page.locator(f"{slider} input[type=number]")
        box.click()  # waits until an accordion that unfolds has come to rest
        box.fill(value)
        box.press("Tab")
        script = "([slider, value]) => +document.querySelector(`${slider} input[type=range]`).value === +value"
        self.page.wait_for_function(script, arg=[slider, value])
        self.page.wait_for_timeout(150)  # Gradio takes typed values in after a moment

    def exact(self, timeout: int = 60_000) -> None:
        """Until the exact pictures of the newest run are there; the rest of its strips may still be painted."""
        there = "() => { const { exact, run } = document.querySelector('.rd-stage').dataset; return exact === run; }"
        self.page.wait_for_function(there, timeout=timeout)
        self.seen = self.run()

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest strength of the slider."""
        thumb = "[data-helm=both] input[type=range]"
        return float(self.page.get_attribute(thumb, "min")), float(self.page.get_attribute(thumb, "max"))

    def notice(self) -> str:
        """The sentence of the notice on show."""
        self.page.wait_for_selector(".rd-notice.is-shown")
        return self.page.inner_text(".rd-notice p")

    def picture(self, name: str) -> str:
        """What a canvas shows, as a data URI."""
        return self.page.evaluate("(name) => document.querySelector(`[data-picture=${name}]`).toDataURL()", name)

    def strength(self, column: str = "a") -> float:
        """The strength of the frame on show in a column."""
        return float(self.page.get_attribute(f"[data-picture={column}-steered]", "data-strength"))

    def slide(self, value: float) -> None:
        """Set the linked slider as a release does."""
        self.page.evaluate(
            """(value) => {
              const range = document.querySelector("[data-helm=both] input[type=range]");
              range.value = value;
              range.dispatchEvent(new Event("input", { bubbles: true }));
              range.dispatchEvent(new Event("change", { bubbles: true }));
            }""",
            value,
        )


@pytest.fixture(scope="session")
def contexts(browser: object) -> Iterator[dict[str, object]]:
    """Browser contexts by their options, kept so that later pages find Gradio's scripts in the cache."""
    kept: dict[str, object] = {}
    yield kept
    for context in kept.values():
        context.close()


@pytest.fixture
def visit(browser: object, contexts: dict[str, object], app: str) -> Iterator[object]:
    """Open the page as a new visitor: `visit()`; no page may log an error or ask another host."""
    opened: list[Visit] = []

    def enter(**options: object) -> Visit:
        key = json.dumps(options, sort_keys=True)
        if key not in contexts:
            contexts[key] = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
            contexts[key].set_default_timeout(60_000)
            contexts[key].set_default_navigation_timeout(120_000)
        one = Visit(contexts[key].new_page())
        opened.append(one)
        one.page.on("console", lambda said: one.trouble.append(said.text) if said.type == "error" else None)
        one.page.on("pageerror", lambda error: one.trouble.append(str(error)))
        one.page.on("request", lambda request: _note(one, request.url, app))
        one.page.goto(app)
        one.page.wait_for_selector(".rd-stage[data-ready=yes]")
        return one

    yield enter
    for one in opened:
        one.page.evaluate("localStorage.clear()")
        one.page.close()
    for one in opened:
        assert not one.trouble, one.trouble
        assert not one.outside, one.outside


def _note(visit: Visit, url: str, app: str) -> None:
    if not url.startswith((app, "data:", "blob:")):
        visit.outside.append(url)
    if "queue/join" in url or "/run/" in url or "/call/" in url:
        visit.joined.append(url)


def go_to(page, room: str) -> None:
    """Go to a tab of the page, on a narrow screen by the menu that holds those for which there is no room."""
    tab = page.locator("#rd-tabs > .tab-wrapper [role=tab]", has_text=room)
    if not tab.count():
        page.click("#rd-tabs > .tab-wrapper .overflow-menu > button")
        tab = page.locator("#rd-tabs > .tab-wrapper .overflow-dropdown button", has_text=room)
    tab.first.click()
