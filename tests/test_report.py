"""What a scan's report and table say, and what they never hold: scripts, formulas, this machine's folders."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from steering.audit.listing import rows
from steering.audit.report import body, write_report
from steering.audit.results import heading
from steering.audit.scan import scan
from steering.audit.sheet import COLUMNS, cell, write_csv
from steering.errors import RudderError
from steering.ui import audit
from tests.test_scan import calibration  # noqa: F401  (fixture)
from tests.tiny import pictures

HEAD = {
    "rudder_scan": 1, "source": "list.csv", "model": "m", "fingerprint": "f", "draws": 4, "seed": 0, "threshold": 1.0,
    "probe": {"site": "mid_block", "timestep": 10, "pooling": "max", "statistic": "std"},
    "false_positives": 0.01, "domain": True,
}  # fmt: skip


def written(folder: Path, *lines: dict, head: dict = HEAD) -> Path:
    path = folder / "scan.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (head, *lines)) + "\n")
    return path


def row(name: str, score: float, memorized: bool | None, **more: object) -> dict:
    verdict = {True: "memorised", False: "ordinary", None: "none"}[memorized]
    told = {"id": name, "verdict": verdict, "score": score, "spread": 0.0, "above": 0.5, "memorized": memorized}
    return {**told, **more}


def test_every_tile_has_its_verdict_and_the_threshold_is_explained(tmp_path: Path):
    rows_ = [row("a", 1.5, True, label="memorized"), row("b", 0.5, False, label="no"), row("c", 1.2, None)]
    page = body(written(tmp_path, *rows_, {"id": "gone.png", "error": "gone.png is damaged: save it again."}))
    assert page.count("<figure>") == 3
    for verdict, words in (("memorised", "Memorised"), ("ordinary", "Ordinary"), ("none", "No verdict")):
        assert page.count(f'class="tag {verdict}">{words}<') == 1
    assert "3 pictures, 1 of them memorised" in page and "1 could not be read" in page
    assert "1.000" in page and "1.0 %" in page and "false-positive rate" in page
    assert "gone.png is damaged: save it again." in page, "the name of what could not be read, and why"
    assert "AUROC" in page and page.count('class="xs"') == page.count('class="ys"') == 2, "both plots have named axes"
    assert page.index(">a<") < page.index(">c<") < page.index(">b<"), "the spikiest first"


def test_a_scan_of_nothing_readable_still_says_so(tmp_path: Path):
    page = body(written(tmp_path, {"id": "x", "error": "x is damaged."}))
    assert "0 pictures" in page and "x is damaged." in page and "<figure>" not in page


def test_prompts_can_be_steered_in_the_page_alone(tmp_path: Path):
    path = written(tmp_path, row("1", 1.5, True, prompt='a "cat" <b>', seed=7), row("2", 0.5, False))
    shown = body(path, embedded=True)
    assert shown.count("<button") == 1 and 'data-seed="7"' in shown
    assert 'data-prompt="a &quot;cat&quot; &lt;b&gt;"' in shown and '<b>"' not in shown
    assert "<button" not in body(path)


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'); alert(1); ('", "</style><script>"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_list_brings_becomes_markup(tmp_path: Path, text: str):
    told = row(text, 1.5, True, prompt=text, seed=1, label=text, picture=text)
    path = written(tmp_path, told, {"id": text, "error": text}, head={**HEAD, "source": text, "model": text})
    write_report(path, tmp_path / "report.html")
    for page in ((tmp_path / "report.html").read_text(), body(path, embedded=True)):
        assert "<script" not in page and "onerror=alert(1)>" not in page.replace("&gt;", "").replace("&quot;", "")
        assert "<img src=x" not in page


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "＝1", "\r=1"])
def test_no_cell_is_a_formula(text: str):
    assert cell(text) == f"'{text}"


def test_the_table_has_every_row_in_order(tmp_path: Path):
    path = written(
        tmp_path, row("a,b", 1.5, True, prompt="=HYPERLINK(1)", seed=3, unread=["a", "b"]), {"id": "x", "error": "bad"}
    )
    write_csv(path, tmp_path / "t.csv")
    found = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8-sig", newline="")))
    assert tuple(found[0]) == COLUMNS and [r["id"] for r in found] == ["a,b", "x"]
    assert found[0]["prompt"] == "'=HYPERLINK(1)" and float(found[0]["score"]) == 1.5 and found[1]["error"] == "bad"
    assert found[0]["unread"] == "a b" and found[1]["unread"] == ""
    assert cell(-0.5) == -0.5, "a number stays one"
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(RudderError):
        write_csv(tmp_path / "other", tmp_path / "u.csv")
    assert not (tmp_path / "u.csv").exists()


def test_several_sources_are_read_in_turn_and_leave_no_folder_behind(
    backbone,
    calibration,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    secret = tmp_path / "secret-folder"
    secret.mkdir()
    for index, picture in enumerate(pictures(2, size=32)):
        picture.save(secret / f"{index}.png")
    (secret / "broken.png").write_bytes(b"no picture")
    (secret / "list.txt").write_text("a cat\n")
    sources = [str(secret / name) for name in ("0.png", "1.png", "broken.png", "list.txt")]
    assert [r.id for r in rows(sources, uploaded=True)][:3] == ["0.png", "1.png", "broken.png"]
    monkeypatch.setitem(backbone.defaults, "num_inference_steps", 2)
    out = tmp_path / "out.jsonl"
    assert list(scan(backbone, calibration, sources, out, uploaded=True))[-1].done == 4
    write_report(out, tmp_path / "r.html")
    write_csv(out, tmp_path / "r.csv")
    for name in ("out.jsonl", "r.html", "r.csv"):
        told = (tmp_path / name).read_text(encoding="utf-8")
        assert "secret-folder" not in told and str(tmp_path) not in told, name
    assert (tmp_path / "r.html").read_text().count("<img") == 3, "pictures, and the one painted for the prompt"


def test_the_example_greets_only_where_it_was_scored_by_these_weights_and_this_calibration(
    calibration,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(audit, "example_path", lambda: tmp_path / "scan.jsonl")
    greet = lambda used: audit.greeting(SimpleNamespace(calibration=used))  # noqa: E731
    assert greet(calibration)["report"] == "" and "No example" in greet(calibration)["text"]
    written(tmp_path, row("1", 1.5, True), head={**heading(calibration, "x"), "made": {"command": "c"}})
    assert greet(calibration)["example"] and "<figure>" in greet(calibration)["report"]
    for other in (replace(calibration, fingerprint="f"), replace(calibration, threshold=0.7)):
        told = greet(other)
        assert told["report"] == "" and not told["example"] and "other weights or another calibration" in told["text"]
    assert greet(None)["report"] == "" and "no calibration" in greet(None)["text"]


def test_a_row_is_steered_as_it_was_painted_and_nothing_else_is(backbone):
    studio = SimpleNamespace(backbone=backbone)
    steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    *values, message = audit.steered(studio, {"prompt": "a cat", "seed": "7"})
    assert values == ["a cat", 7, steps, guidance, "", True] and message["again"]
    for sent in (None, {}, {"prompt": "a"}, {"prompt": 3, "seed": "1"}, {"prompt": "a", "seed": "-1"}, {"seed": "1"}):
        with pytest.raises(RudderError):
            audit.steered(studio, sent)
    for sent in ({"prompt": "a" * 2001, "seed": "1"}, {"prompt": "a", "seed": "9" * 40}):
        with pytest.raises(RudderError):
            audit.steered(studio, sent)


def test_sources_of_one_name_are_told_apart(tmp_path: Path):
    paths = []
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        paths.append(str(tmp_path / place / "a.png"))
        pictures(1)[0].save(paths[-1])
    assert [(r.id, r.error) for r in rows(paths, uploaded=True)] == [("a.png", None), ("a.png (2)", None)]
