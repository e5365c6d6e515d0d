"""What is installed from a wheel: built from a source distribution, in a fresh environment, away from the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.test_readme import README, REPOSITORY, trained

PARTS = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "requirements.txt", "CHANGELOG.md")
ROOMS = ("steering", "models", "assets")
LEFT_OUT = re.compile(r"assets/readme/.*|assets/dae/figures/.*|models/[^/]*/training\.json")
LICENCES = ("LICENSE", "models/ATTRIBUTION.md", "assets/dae/ATTRIBUTION.md", "assets/fonts/OFL.txt")
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"  # the machine's own, which has pip
PAGE = """
from steering.ui.documents import links
from steering.ui.shell import ASSETS, STYLES, scripts
from steering.backbones.registry import outline
assert scripts() and all((ASSETS / "css" / name).is_file() for name in STYLES)
print(sorted(link["title"] for link in links(outline("tiny-sd").folder)))
"""


def run(command: Sequence[str | Path], folder: Path) -> str:
    """What a command prints in a folder, told of neither the checkout nor another home."""
    around = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RUDDER_HOME")}
    done = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    """A wheel built from an unpacked source distribution of the checkout."""
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    with TemporaryDirectory() as name:  # hundreds of megabytes: gone when the tests are
        folder = Path(name)
        source = folder / "source"
        for room in ROOMS:
            shutil.copytree(REPOSITORY / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
        for part in PARTS:
            shutil.copy2(REPOSITORY / part, source / part)
        run([sys.executable, "-c", build, "build_sdist", folder], source)
        shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder / "unpacked", filter="data")
        run([sys.executable, "-c", build, "build_wheel", folder], next((folder / "unpacked").iterdir()))
        yield next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """The programs' folder of a fresh environment with the wheel; what the wheel needs is lent by this environment."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder, with_pip=False)
        python = folder / "bin" / "python"
        run([PYTHON, "-m", "pip", "--python", python, "install", *options, wheel], folder)
        lent = next(folder.glob("lib/python*/site-packages")) / "lent.pth"
        lent.write_text("\n".join(site.getsitepackages()) + "\n")
        yield python.parent


@trained
def test_a_wheel_holds_the_models_and_assets_with_their_licences(wheel: Path):
    held = {name.split("/_shipped/")[1] for name in zipfile.ZipFile(wheel).namelist() if "/_shipped/" in name}
    due = {
        path.relative_to(REPOSITORY).as_posix()
        for room in ("models", "assets")
        for path in (REPOSITORY / room).rglob("*")
        if path.is_file()
    }
    assert held == {"LICENSE"} | {name for name in due if not LEFT_OUT.fullmatch(name)}
    names = zipfile.ZipFile(wheel).namelist()
    assert all(any(name.endswith(f".dist-info/licenses/{one}") for name in names) for one in LICENCES)
    assert "steering/py.typed" in names


@trained
def test_the_readmes_lines_run_where_only_the_wheel_is(installed: Path, tmp_path: Path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    told = run([installed / "python", "-c", f"{code}\nprint(steering.__file__)\n{PAGE}"], tmp_path)
    where, links = told.splitlines()[-2:]
    assert Path(where).is_relative_to(installed.parent)
    assert links == "['Credits', 'Licence', 'Model card', 'Paper']"
    assert len(list(tmp_path.glob("cat *.png"))) == 5


@trained
def test_the_commands_find_what_ships(installed: Path, tmp_path: Path):
    models = json.loads(run([installed / "rudder", "models", "--json"], tmp_path))
    assert {model["name"]: model["present"] for model in models}["tiny-sd"]
    assert "sketch" in run([installed / "rudder", "concept", "list"], tmp_path)
    assert "faces" in run([installed / "rudder", "dae", "list"], tmp_path)
