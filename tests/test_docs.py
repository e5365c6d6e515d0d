"""The documents keep their word: their Python runs, and what they link to exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steering.backbones.layout import FAMILIES
from steering.errors import RudderError
from tests.test_readme import REPOSITORY

DOCUMENTS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "training/README.md")]
DOCUMENTS += [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted((REPOSITORY / "models").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_to_a_file_leads_somewhere(document: Path):
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_readme_leads_to_every_document():
    linked = {(REPOSITORY / link).resolve() for link in LINK.findall((REPOSITORY / "README.md").read_text())}
    assert set(DOCUMENTS[1:4]) | set((REPOSITORY / "docs").glob("*.md")) <= linked


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
