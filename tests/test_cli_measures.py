"""`rudder calibrate`, `score` and `scan`, one after the other, as an auditor would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import home, rudder  # noqa: F401  (fixtures)
from tests.tiny import pictures


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flat pictures as the memorised, noisy ones as the ordinary."""
    monkeypatch.setattr("steering.calibration.ROUNDS", 20)
    for name, seed, flat in (("flat", 1, True), ("noisy", 2, False)):
        (tmp_path / name).mkdir()
        for index, picture in enumerate(pictures(4, seed=seed)):
            shown = picture.resize((4, 4)).resize((32, 32)) if flat else picture
            shown.save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_calibrate_score_scan(rudder, known: Path):  # noqa: F811
    groups = ["--memorized", str(known / "flat"), "--ordinary", str(known / "noisy")]
    code, out, err = rudder("calibrate", *groups, "--draws", "1", "--out", "c.json", "--json")
    told = json.loads(out)
    assert code == 0 and told["path"] == "c.json" and "reading representations" in err
    assert 0 <= told["auroc"] <= 1 and told["counts"] == {"memorized": 2, "ordinary": 2}

    code, out, _ = rudder("score", str(known / "flat"), "--calibration", "c.json", "--profile", "--json")
    scored = json.loads(out)["pictures"]
    assert code == 0 and len(scored) == 4 and all("than" in row["sentence"] for row in scored)
    assert len(scored[0]["profile"]["values"]) == len(scored[0]["profile"]["sites"]) > 3

    options = ["--calibration", "c.json", "--out", "s.jsonl", "--html", "r.html"]
    code, out, _ = rudder("scan", str(known), *options, "--json")
    assert code == 0 and json.loads(out)["rows"] == 8 and json.loads(out)["errors"] == 0
    first = Path("s.jsonl").read_text()
    assert rudder("scan", str(known), *options)[0] == 0 and Path("s.jsonl").read_text() == first
    assert "<svg" in Path("r.html").read_text()
    rows = {row["id"]: row["score"] for row in map(json.loads, first.splitlines()[1:])}
    for row in scored:
        assert rows[f"flat/{Path(row['path']).name}"] == pytest.approx(row["score"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["score", "gone.png"], "gone.png is not there"),
        (["scan", "gone"], "gone is not there"),
        (["score", "x.png"], "no calibration"),
        (["scan", "x.png"], "no calibration"),
        (["calibrate", "--memorized", "x"], "Both groups"),
        (["score", "x.png", "--calibration", "gone.json"], "gone.json is not there"),
    ],
)
def test_what_is_missing_is_said(rudder, arguments: list[str], says: str):  # noqa: F811
    pictures(1)[0].save("x.png")
    code, _, err = rudder(*arguments)
    assert code == 2 and says in err and "Traceback" not in err
