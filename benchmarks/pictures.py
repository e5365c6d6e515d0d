"""`make pictures`: paint the README's pictures anew into assets/readme: the page, and three strips."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from steering import ConceptVector, available, library
from steering.files import read_json
from steering.ui.firstpaint import CONCEPT, PROMPT, SEED

from .page import LIMIT, PAINTED, QUIET, READY, REPOSITORY, find_chromium, opened

FOLDER = REPOSITORY / "assets" / "readme"
STRIPS = {  # file: (kind of prompt, first and last strength as multiples of the recommended one)
    "ordinary.png": ("ordinary", 0, 2),
    "memorised.png": ("memorized", 0, 2),
    "too-far.png": ("ordinary", 2, 10),
}


def strips(model: str, folder: Path) -> None:
    """One strip a prompt, by the command line that the README shows."""
    prompts = read_json(next(info.path for info in available() if info.name == model) / "prompts.json")
    usual = ConceptVector.load(library(model)[CONCEPT].vector_path).advice["strength"]
    for name, (kind, first, last) in STRIPS.items():
        prompt = PROMPT if kind == "ordinary" else prompts[kind][0]["prompt"]
        strengths = f"{first * usual:g}:{last * usual:g}:7"
        arguments = ["steer", prompt, "--concept", CONCEPT, "--strengths", strengths, "--seed", str(SEED)]
        out = ["--out", str(folder / name)]
        subprocess.run([sys.executable, "-m", "steering", *arguments, *out], check=True, cwd=REPOSITORY)
        print(f"{name}: rudder {' '.join(repr(a) if ' ' in a else a for a in arguments)}")


def screenshot(model: str, path: Path) -> None:
    """The page at 1440 px as it first appears; without a Chromium it is left as it was."""
    browser = find_chromium()
    if browser is None:
        print("The page's picture is left as it was: no Chromium here.", file=sys.stderr)
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        chromium = play.chromium.launch(executable_path=browser, args=list(QUIET))
        tab = chromium.new_page(viewport={"width": 1440, "height": 1000})
        with opened(tab, model, 2, Path(folder) / "app.log"):
            tab.wait_for_selector(READY, timeout=LIMIT * 1000)  # the page itself, not the door before it
            tab.wait_for_function(PAINTED, timeout=LIMIT * 1000)
            tab.wait_for_timeout(500)
            tab.screenshot(path=path)
        chromium.close()


def main() -> None:
    """Paint them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    strips("tiny-sd", FOLDER)
    screenshot("tiny-sd", FOLDER / "page.png")


if __name__ == "__main__":
    main()
