"""`make pictures`: paint the README's pictures anew into assets/readme: the page, and three strips."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from steering import ConceptVector, library
from steering.files import read_json
from steering.recipe import Recipe
from steering.ui.firstpaint import folder

from .page import LIMIT, PAINTED, QUIET, READY, REPOSITORY, find_chromium, opened

FOLDER = REPOSITORY / "assets" / "readme"
STRIPS = {  # file: (column of the first paint, first and last strength as multiples of the recommended one)
    "ordinary.png": ("a", 0, 2),
    "memorised.png": ("b", 0, 2),
    "too-far.png": ("a", 2, 10),
}


def strips(model: str, target: Path) -> None:
    """The two prompts of the page's first paint as strips, by the command line that the README shows."""
    painted = read_json(folder(model) / "firstpaint.json")["message"]
    usual = ConceptVector.load(library(model)[painted["concept"]].vector_path).advice["strength"]
    for name, (column, first, last) in STRIPS.items():
        recipe = Recipe.from_json(painted["columns"][column]["recipe"])
        strengths = f"{first * usual:g}:{last * usual:g}:7"
        arguments = ["steer", recipe.prompt, "--concept", painted["concept"], "--strengths", strengths]
        arguments += ["--seed", str(recipe.seed)]
        out = ["--out", str(target / name)]
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
