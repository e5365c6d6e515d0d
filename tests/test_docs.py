"""The documents keep their word: their Python runs, and what they link to exists."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steering.backbones.base import Backbone
from steering.backbones.layout import FAMILIES
from steering.errors import RudderError
from tests.served import ENDPOINTS, Served
from tests.test_readme import REPOSITORY, trained
from tests.tiny import pictures

DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "training/README.md")]
NOTEBOOK = REPOSITORY / "docs" / "first-figure.ipynb"
DOCUMENTS += [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted((REPOSITORY / "models").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_to_a_file_leads_somewhere(document: Path):
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_readme_leads_to_every_document():
    linked = {(REPOSITORY / link).resolve() for link in LINK.findall((REPOSITORY / "README.md").read_text())}
    assert set(DOCUMENTS[1:4]) | set((REPOSITORY / "docs").iterdir()) <= linked


API = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
HERE = "http://localhost:7860"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that docs/api.md names."""
    folder = tmp_path_factory.mktemp("desk")
    for name, tint in (("wet", (0, 0, 80)), ("dry", (60, 30, 0))):
        (folder / name).mkdir()
        for place, picture in enumerate(pictures(5, seed=len(name) + tint[0], tint=tint)):
            picture.save(folder / name / f"{place}.png")
    Image.new("L", (32, 32), 255).save(folder / "mask.png")
    (folder / "prompts.txt").write_text("a red apple\na car\n")
    return folder


def test_the_api_page_calls_every_verb():
    python, curl = API.partition("## curl")[::2]
    for name in ENDPOINTS:
        assert f'api_name="/{name}"' in python and f"call {name} " in curl and f"`{name}`" in API


def test_its_python_runs_with_the_real_clients(served: Served, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {}
    for code in CODE.findall(API):
        if "from mcp" in code and find_spec("mcp") is None:
            continue
        exec(compile(code.replace(HERE, served.address), "docs/api.md", "exec"), names)
    assert {"sketch"} == set(names["names"]) and names["told"]["summary"].startswith("7 rows")
    assert "did you mean 'sketch'" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_its_shell_runs(served: Served, desk: Path):
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", API, re.DOTALL) if "curl" in block]
    shell = "set -e\n" + "\n".join(blocks).replace(HERE, served.address)
    told = subprocess.run(["bash", "-c", shell], cwd=desk, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    asked = re.findall(r"^call (\w+) ", shell, re.MULTILINE)
    assert told.stdout.count("event: complete") == len(asked) - 1, told.stdout  # learn's goes to a file
    assert "event: error" not in told.stdout and "warm" not in told.stdout and '"wet"' in (desk / "learned").read_text()


@pytest.mark.skipif(find_spec("mcp") is None, reason="the package mcp is not here")
def test_its_mcp_configuration_leads_to_the_tools(served: Served):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    told = json.loads(re.search(r"```json\n(.*?)```", API, re.DOTALL)[1].replace(HERE, served.address))

    async def names() -> set[str]:
        async with (
            streamable_http_client(told["mcpServers"]["rudder"]["url"]) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return {tool.name for tool in (await session.list_tools()).tools}

    assert asyncio.run(names()) == ENDPOINTS


@trained
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4 and len(book["cells"]) < 30
    names: dict[str, Any] = {}
    for place, cell in enumerate(book["cells"]):
        assert not cell.get("outputs"), "numbers of some weights are not committed"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {place}", "exec"), names)
    count = len(names["PROMPTS"])
    assert names["spiky"].shape == (count,) and names["moved"].shape == (count, len(names["STRENGTHS"]))
    assert (names["moved"][:, 0] == 0).all() and (names["moved"][:, -1] > 0).all()
    made = {"first-figure.pdf", "first-figure.png", "first-figure.csv", "cells.zip", "sheet.png", "first-row.webp"}
    assert made <= {file.name for file in tmp_path.iterdir()}
    assert len((tmp_path / "first-figure.csv").read_text().splitlines()) == 1 + count


@trained
def test_the_python_page_runs(desk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {}
    for code in CODE.findall((REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert (desk / "cat.png").is_file() and len(names["steered"].images) == 1


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything docs/family.md names once its code has run, in a folder of its own."""
    folder = tmp_path_factory.mktemp("family")
    written, *run = CODE.findall((REPOSITORY / "docs" / "family.md").read_text(encoding="utf-8"))
    (folder / "toy.py").write_text(written)
    names: dict[str, Any] = {"written": written}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setitem(FAMILIES, "toy", None)
        for code in run:
            exec(compile(code, "docs/family.md", "exec"), names)
        yield names
        sys.modules.pop("toy", None)


def test_a_family_takes_under_a_hundred_lines(family: dict[str, Any]):
    assert len([line for line in family["written"].splitlines() if line.strip()]) < 100


def test_it_has_all_that_a_model_has(family: dict[str, Any]):
    asked = {*Backbone.__annotations__, *(name for name in vars(Backbone) if not name.startswith("_"))}
    assert "classes" in asked and "denoise" in asked
    assert [name for name in sorted(asked) if not hasattr(family["backbone"], name)] == []


def test_the_toy_is_steered(family: dict[str, Any]):
    finish, sample, steer = family["steering"].finish, family["steering"].sample, family["steer"]

    def redness(strength: float) -> float:
        images = finish(sample(family["backbone"], family["recipe"], steer.scaled(strength), seeds=range(16))).images
        r, g, b = np.mean([np.asarray(image, float).mean((0, 1)) for image in images], 0)
        return r - (g + b) / 2

    none, half, one = redness(0), redness(0.5), redness(1)
    assert none < half < one and one - none > 30


def test_the_toy_is_scored(family: dict[str, Any]):
    spiky = family["spiky"]
    assert spiky.mean.shape == (4,) and (spiky.mean > 0).all() and (spiky.spread > 0).all()
    assert len(set(spiky.mean.round(6))) == 4


def test_its_folder_is_checked_like_any_other(family: dict[str, Any], tmp_path: Path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "Toy"}')
    with pytest.raises(RudderError, match="config.json is missing"):
        family["steering"].load(str(tmp_path))


def test_a_vector_of_another_training_is_refused(family: dict[str, Any]):
    with torch.inference_mode():
        other = family["toy"].Toy(family["net"], "other", "0" * 16, torch.device("cpu"), torch.float32)
    with pytest.raises(RudderError, match="was made for squares"):
        family["red"].check(other)
