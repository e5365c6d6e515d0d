"""What the shipped concepts recommend is what was measured of them, and the rule asks for what a visitor wants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.concepts import ConceptVector, library
from steering.files import home, read_json
from training.concepts import NEARLY, STILL, recommend, success, usable

HERE = Path(__file__).resolve().parents[1]
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


def examples() -> list[str]:
    """Every command that README, docs and the command line's own help show."""
    pages = [HERE / "README.md", *(HERE / "docs").glob("*.md"), *(HERE / "steering" / "cli").glob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    shown = re.findall(r"(?:rudder (?:steer|grid) |`--strengths)[^`\n]*", text)
    return [line for line in shown if re.search(r"-c [a-z]|--strengths", line)]


def test_examples_ask_for_strengths_that_were_measured_to_hold() -> None:
    shipped = {
        i.name: ConceptVector.load(i.vector_path).recommended["range"] for i in library().values() if i.vector_path
    }
    asked = 0
    for line in examples():
        concepts = [(name, value) for name, value, erases in
                    re.findall(r"-c ([a-z]+)\b(?!\.)(?:=(-?[\d.]+))?(,erase)?", line) if not erases]  # fmt: skip
        assert {name for name, _ in concepts} <= set(shipped), line
        ends = re.search(r"--strengths (-?[\d.]+):(-?[\d.]+):", line)
        for name, value in concepts or [("sketch", "")]:  # the row of docs/command-line.md that shows options alone
            for strength in [value] * bool(value) + list(ends.groups() if ends and len(concepts) < 2 else ()):
                low, high = shipped[name]
                asked += 1
                assert low <= float(strength) <= high, f"{name} at {strength}, which holds from {low} to {high}: {line}"
    assert asked >= 5


@pytest.mark.parametrize("path", sorted((home() / "assets" / "firstpaint").glob("*/search.json")), ids=str)
def test_the_first_paint_shows_what_is_claimed(path: Path) -> None:
    best = read_json(path)["chosen"]
    assert best["passes"] and best.get("holds", True)  # searches from before `holds` end at a pair that does
    assert (best["said"]["a"]["movement"], best["said"]["a"]["evenness"]) == ("towards", "evenly")
    assert best["said"]["b"]["movement"] != "towards"
    assert [best["said"][column]["sentence"].split()[0] for column in "ab"] == ["Not", "Memorised"]
