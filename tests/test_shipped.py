"""What the shipped concepts recommend is what was measured of them, and the rule asks for what a visitor wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.concepts import ConceptVector, library
from steering.files import home, read_json
from training.concepts import NEARLY, STILL, recommend, success, usable

SHARES = st.floats(0, 1)
ROW = st.fixed_dictionaries({"taken": SHARES, "kept": SHARES, "artefact": SHARES}, optional={"background": SHARES})


def measured(of) -> list[dict]:
    """Rows at strengths -0.2 to 0.3; unsteered pictures keep all and take nothing."""
    rows = [{**row, "strength": (place - 2) / 10} for place, row in enumerate(of)]
    rows[2] = {"strength": 0.0, "taken": 0.0, "kept": 1.0, "artefact": 0.0}
    return rows


@given(st.lists(ROW, min_size=6, max_size=6))
def test_the_strength_is_the_best_measured_and_lies_within_its_range(of: list[dict]) -> None:
    rows = measured(of)
    told = recommend(rows)
    low, high = told["range"]
    assert low < 0 < high and low <= told["strength"] <= high
    if not told.get("weak"):
        best = next(row for row in rows if row["strength"] == told["strength"])
        asked = [row for row in rows if row["strength"] > 0]
        most = max(map(success, asked))
        assert success(best) >= NEARLY * most
        assert all(success(row) < NEARLY * most for row in asked if row["strength"] < best["strength"])
        assert all(usable(row) for row in rows if best["strength"] < row["strength"] <= high)
    nearest = rows[1]["strength"]
    assert low == nearest or all(usable(row) for row in rows if low <= row["strength"] < 0)


def test_what_harms_the_picture_is_not_recommended_however_well_it_takes() -> None:
    nothing = {"taken": 0.0, "kept": 1.0, "artefact": 0.0}
    gentle, ruined = {"taken": 0.8, "kept": 0.9, "artefact": 0.1}, {"taken": 1.0, "kept": 0.4, "artefact": 0.6}
    told = recommend(measured([ruined, nothing, nothing, nothing, gentle, ruined]))
    assert told == {"strength": pytest.approx(0.2), "range": [pytest.approx(-0.1), pytest.approx(0.2)]}
    assert recommend(measured([nothing] * 6))["weak"] is True


@pytest.mark.parametrize("name", [info.name for info in library().values() if info.vector_path])
def test_shipped_advice_follows_from_its_own_measurement(name: str) -> None:
    path = library()[name].vector_path
    assert path is not None
    told = ConceptVector.load(path).recommended
    assert {key: told[key] for key in ("strength", "range")} | ({"weak": True} if told.get("weak") else {}) == (
        recommend(told["measured"])
    )
    best = next(row for row in told["measured"] if row["strength"] == told["strength"])
    assert best["kept"] >= STILL and best["artefact"] <= 1 - STILL and best["taken"] > 0.5, "it is worth recommending"


@pytest.mark.parametrize("path", sorted((home() / "assets" / "firstpaint").glob("*/search.json")), ids=str)
def test_the_first_paint_shows_what_is_claimed(path: Path) -> None:
    best = read_json(path)["chosen"]
    assert best["passes"] and best["holds"]
    assert (best["said"]["a"]["movement"], best["said"]["a"]["evenness"]) == ("towards", "evenly")
    assert best["said"]["b"]["movement"] != "towards"
