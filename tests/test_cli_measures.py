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


@pytest.fixture
def calibrated(rudder, known: Path) -> list[str]:  # noqa: F811
    """Options that name a calibration."""
    groups = ["--memorized", str(known / "flat"), "--ordinary", str(known / "noisy")]
    (known / "noisy" / "cut.png").write_bytes((known / "noisy" / "0.png").read_bytes()[:200])
    (known / "noisy" / "0.txt").write_text("a caption")
    code, _, err = rudder("calibrate", *groups, "--draws", "1", "--out", "c.json")
    assert code == 0 and "cut.png is damaged" in err and "1 .txt files" in err, "the good ones are enough"
    return ["--calibration", "c.json"]


def test_one_cut_picture_leaves_the_others_their_scores(rudder, known: Path, calibrated: list[str]):  # noqa: F811
    Path("p.txt").write_text("a cat\n")
    code, out, err = rudder("score", str(known / "noisy"), *calibrated, "--json")
    told = json.loads(out)
    assert code == 0 and len(told["pictures"]) == 4 and "cut.png is damaged" in err
    assert [Path(row["path"]).name for row in told["errors"]] == ["cut.png"]
    code, out, err = rudder("score", str(known / "noisy" / "cut.png"), *calibrated, "--json")
    assert code == 2 and json.loads(out)["pictures"] == [] and "None of the 1 rows" in err
    code, _, err = rudder("score", "p.txt", *calibrated)
    assert code == 2 and "is a prompt" in err


def test_what_a_scan_refuses_and_how_it_ends(rudder, known: Path, calibrated: list[str]):  # noqa: F811
    Path("one.csv").write_text("path\nflat/0.png\nflat/gone.png\n")
    Path("two.csv").write_text("path\nflat/0.png\nflat/gone.png\nflat/1.png\n")
    code, out, err = rudder("scan", "one.csv", *calibrated, "--csv", "t.csv", "--json")
    assert code == 0 and json.loads(out)["errors"] == 1 and "gone.png cannot be read" in err
    before = {name: Path(name).read_bytes() for name in ("scan.jsonl", "one.csv", "flat/1.png", "c.json")}
    for arguments, says in (
        (["two.csv"], "belongs to another list (one.csv)"),
        (["one.csv", "--html", "scan.jsonl"], "are one file"),
        (["one.csv", "--csv", "one.csv"], "are one file"),
        (["one.csv", "--html", "flat/1.png"], "is no report"),
        (["one.csv", "--csv", "c.json"], "is no table"),
        (["one.csv", "--out", "c.json"], "is no scan"),
    ):
        code, _, err = rudder("scan", *arguments, *calibrated)
        assert code == 2 and says in err, (arguments, err)
    assert {name: Path(name).read_bytes() for name in before} == before
    (known / "flat" / "gone.png").write_bytes((known / "flat" / "1.png").read_bytes())
    assert json.loads(rudder("scan", "one.csv", *calibrated, "--json")[1])["errors"] == 1
    assert json.loads(rudder("scan", "one.csv", *calibrated, "--retry-errors", "--json")[1])["errors"] == 0


def test_a_scan_without_a_score_is_no_success(rudder, calibrated: list[str]):  # noqa: F811
    Path("gone.csv").write_text("path\n\udce9.png\ngone.png\n", encoding="utf-8", errors="surrogateescape")
    code, out, err = rudder("scan", "gone.csv", *calibrated, "--out", "g.jsonl", "--json")
    assert code == 2 and json.loads(out)["errors"] == 2 and "None of the 2 rows could be scored" in err
    Path("empty.csv").write_text("path\n")
    code, out, err = rudder("scan", "empty.csv", *calibrated, "--out", "e.jsonl")
    assert code == 2 and "has no rows" in err and not Path("e.jsonl").exists()


def test_an_error_about_a_name_that_is_no_text_is_json(rudder):  # noqa: F811
    code, out, _ = rudder("scan", "caf\udce9.csv", "--json")
    assert code == 2 and "caf\\udce9.csv is not there" in json.loads(out)["error"]
