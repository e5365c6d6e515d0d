"""A results file belongs to one list; what failed is tried again; two scans never share one; outputs are whole."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from steering.audit.listing import Row
from steering.audit.report import write_report
from steering.audit.results import encoded, header, owned, results
from steering.audit.scan import scan, score_rows
from steering.audit.sheet import write_csv
from steering.calibration import Calibration
from steering.cli import arguments
from steering.errors import RudderError
from steering.files import replacing
from steering.recipe import Recipe
from tests.test_scan import calibration  # noqa: F401  (fixture)
from tests.tiny import pictures


def scored(calibration: Calibration, some: Sequence[Row]) -> list[dict]:  # noqa: F811
    """What a scan would say, without a model: a prompt with "bad" in it, or a file with it, fails."""
    wrong = [row.error or (Path(row.path).read_bytes() == b"bad" if row.path else "bad" in row.prompt) for row in some]
    good = {"verdict": "ordinary", "score": 0.1, "spread": 0.0, "above": 0.5, "memorized": False}
    return [{"id": r.id, **({"error": f"{r.id} fails"} if w else good)} for r, w in zip(some, wrong, strict=True)]


@pytest.fixture
def run(backbone, calibration):  # noqa: F811
    """run(source, out, **options) -> the file's rows."""

    def go(source: object, out: Path, **options: object) -> list[dict]:
        list(scan(backbone, calibration, source, out, score=scored, batch=2, **options))
        return list(results(out))

    return go


def test_two_lists_never_share_a_file(run, tmp_path: Path):
    (tmp_path / "one.csv").write_text("prompt\na\nb\n")
    (tmp_path / "two.csv").write_text("prompt\na\nb\nc\n")
    (tmp_path / "copy.tsv").write_bytes("Caption\tURL\r\na\t\r\nb\t\r\n".encode("utf-16"))
    run(tmp_path / "one.csv", tmp_path / "s.jsonl")
    before = (tmp_path / "s.jsonl").read_bytes()
    with pytest.raises(RudderError, match=r"belongs to another list \(one.csv\)"):
        run(tmp_path / "two.csv", tmp_path / "s.jsonl")
    assert len(run(tmp_path / "copy.tsv", tmp_path / "s.jsonl")) == 2, "the same content is the same list"
    assert (tmp_path / "s.jsonl").read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_pictures_of_one_name_in_two_places_are_two_lists(run, tmp_path: Path, kind: str):
    for place in ("x/set", "y/set"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "0.png").write_bytes(place[:1].encode())
        (tmp_path / place / "l.csv").write_text("path\n0.png\n")
    sources = [tmp_path / place / ("l.csv" if kind == "list" else ".") for place in ("x/set", "y/set")]
    run(sources[0], tmp_path / "s.jsonl")
    with pytest.raises(RudderError, match="another list"):
        run(sources[1], tmp_path / "s.jsonl")


def test_a_picture_that_was_replaced_is_noticed(run, tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.png").write_bytes(b"one")
    run(tmp_path / "set", tmp_path / "s.jsonl")
    (tmp_path / "set" / "0.png").write_bytes(b"another")
    with pytest.raises(RudderError, match="the list has changed"):
        run(tmp_path / "set", tmp_path / "s.jsonl")


def test_what_failed_is_tried_again_when_asked_to(run, tmp_path: Path):
    (tmp_path / "set").mkdir()
    for index in range(7):
        (tmp_path / "set" / f"{index}.png").write_bytes(b"bad" if index in (1, 2, 5) else b"good")
    out = tmp_path / "s.jsonl"
    assert [i for i, row in enumerate(run(tmp_path / "set", out)) if "error" in row] == [1, 2, 5]
    (tmp_path / "set" / "1.png").write_bytes(b"mended")
    (tmp_path / "set" / "5.png").write_bytes(b"mended too")
    assert [i for i, row in enumerate(run(tmp_path / "set", out)) if "error" in row] == [1, 2, 5], "not asked to"
    found = run(tmp_path / "set", out, retry=True)
    assert [row["id"] for row in found] == [f"{i}.png" for i in range(7)]
    assert [i for i, row in enumerate(found) if "error" in row] == [2]
    assert run(tmp_path / "set", out) == found, "and goes on from there"


def test_a_row_that_failed_may_be_mended_in_the_list_and_no_other(run, tmp_path: Path):
    out, listed = tmp_path / "s.jsonl", tmp_path / "l.csv"
    listed.write_text("prompt,seed\na,1\nb,x\nc,3\n")
    assert "error" in run(listed, out)[1]
    listed.write_text("prompt,seed\na,1\nb,2\nc,3\nd,4\n")
    with pytest.raises(RudderError, match="the list has changed"):
        run(listed, out)
    found = run(listed, out, retry=True)
    assert len(found) == 4 and not any("error" in row for row in found)
    listed.write_text("prompt,seed\nanother,1\nb,2\nc,3\nd,4\n")
    with pytest.raises(RudderError, match="the list has changed"):
        run(listed, out, retry=True)
    assert list(results(out)) == found


def test_a_retry_that_is_stopped_changes_nothing(run, backbone, calibration, tmp_path: Path):  # noqa: F811
    (tmp_path / "l.txt").write_text("bad a\nb\nbad c\nd\nbad e\n")
    run(tmp_path / "l.txt", tmp_path / "s.jsonl")
    before = (tmp_path / "s.jsonl").read_bytes()
    again = scan(backbone, calibration, tmp_path / "l.txt", tmp_path / "s.jsonl", score=scored, batch=1, retry=True)
    next(again)
    again.close()
    assert (tmp_path / "s.jsonl").read_bytes() == before and sorted(os.listdir(tmp_path)) == ["l.txt", "s.jsonl"]


def test_two_scans_into_one_file_at_once_are_refused(run, backbone, calibration, tmp_path: Path):  # noqa: F811
    (tmp_path / "l.txt").write_text("a\nb\nc\nd\n")
    first = scan(backbone, calibration, tmp_path / "l.txt", tmp_path / "s.jsonl", score=scored, batch=1)
    next(first)
    with pytest.raises(RudderError, match="Another scan is writing"):
        run(tmp_path / "l.txt", tmp_path / "s.jsonl")
    first.close()
    assert len(run(tmp_path / "l.txt", tmp_path / "s.jsonl")) == 4
    assert not (tmp_path / "s.jsonl.lock").exists()


def test_a_lock_ends_with_its_process(tmp_path: Path):
    holder = (
        "import os, sys; from pathlib import Path; from steering.audit.results import owned\n"
        "with owned(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read(1); os._exit(9)"
    )
    out = tmp_path / "s.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RudderError, match="Another scan"), owned(out):
            pass
        other.communicate("x")
    assert other.returncode == 9 and (tmp_path / "s.jsonl.lock").exists()
    with owned(out):
        pass
    with pytest.raises(RudderError, match="a pipe or a device"), owned(Path("/dev/null")):
        pass


def test_one_bad_row_spoils_no_other(backbone, calibration, tmp_path: Path, monkeypatch):  # noqa: F811
    original = Calibration.score

    def fails(self, b, shown):
        if any(picture.getpixel((0, 0)) == (1, 2, 3) for picture in shown):
            raise RudderError("Not this one: leave it out.")
        return original(self, b, shown)

    monkeypatch.setattr(Calibration, "score", fails)
    made = pictures(3)
    made[1].putpixel((0, 0), (1, 2, 3))
    for index, picture in enumerate(made):
        picture.save(tmp_path / f"{index}.png")
    found = score_rows(backbone, calibration, [Row(str(i), str(tmp_path / f"{i}.png")) for i in range(3)])
    assert ["error" in row for row in found] == [False, True, False] and [row["id"] for row in found] == ["0", "1", "2"]


def test_every_line_is_json_and_a_score_that_is_no_number_an_error(backbone, calibration, tmp_path, monkeypatch):  # noqa: F811
    original = Calibration.verdicts
    monkeypatch.setattr(
        Calibration, "verdicts", lambda self, found: [replace(v, score=math.nan) for v in original(self, found)]
    )
    pictures(1)[0].save(tmp_path / "a.png")
    (row,) = score_rows(backbone, calibration, [Row("a", str(tmp_path / "a.png"))])
    assert "no number" in row["error"] and "score" not in row
    with pytest.raises(ValueError, match="JSON"):
        encoded({"score": math.inf})


def test_names_that_are_no_text_are_scanned_resumed_and_shown(backbone, calibration, tmp_path: Path):  # noqa: F811
    (tmp_path / "set").mkdir()
    for index, picture in enumerate(pictures(3)):
        picture.save(tmp_path / "set" / os.fsdecode(b"caf\xe9%d.png" % index))
    out = tmp_path / "s.jsonl"
    first = scan(backbone, calibration, tmp_path / "set", out, batch=1)
    next(first)
    first.close()
    assert list(scan(backbone, calibration, tmp_path / "set", out))[-1].done == 3
    for line in out.read_bytes().decode("utf-8").splitlines():
        json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")
    write_report(out, tmp_path / "r.html")
    write_csv(out, tmp_path / "r.csv")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count("<img") == 3


def test_what_was_left_out_stands_in_results_and_report(run, tmp_path: Path):
    (tmp_path / "set").mkdir()
    for name in ("a.png", "a.txt", "Thumbs.db"):
        (tmp_path / "set" / name).write_bytes(b"x")
    run(tmp_path / "set", tmp_path / "s.jsonl")
    (tmp_path / "set" / "b.txt").write_bytes(b"x")
    run(tmp_path / "set", tmp_path / "s.jsonl")
    (note,) = header(tmp_path / "s.jsonl")["notes"]
    assert "1 .txt files" in note and "1 hidden" in note
    write_report(tmp_path / "s.jsonl", tmp_path / "r.html")
    assert note in (tmp_path / "r.html").read_text()


FOREIGN = {
    "a document": b"Dear all,\n",
    "another page": b"<!doctype html><title>Mine</title>",
    "another table": b"id,prompt\n1,a\n",
    "other JSON": b'{"name": "x"}\n',
    "a picture": b"\x89PNG\r\n\x1a\n....",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_another_kind_is_never_overwritten(run, vector, calibration, tmp_path: Path, what: str):  # noqa: F811
    (tmp_path / "l.txt").write_text("a\n")
    run(tmp_path / "l.txt", tmp_path / "s.jsonl")
    place = tmp_path / "mine"
    place.write_bytes(FOREIGN[what])
    writers = {
        "scan": lambda: run(tmp_path / "l.txt", place),
        "report": lambda: write_report(tmp_path / "s.jsonl", place),
        "table": lambda: write_csv(tmp_path / "s.jsonl", place),
        "calibration": lambda: calibration.save(place),
        "vector": lambda: vector.save(place),
    }
    for name, write in writers.items():
        with pytest.raises(RudderError, match="is there already and is no"):
            write()
        assert place.read_bytes() == FOREIGN[what], name
    assert sorted(os.listdir(tmp_path)) == ["l.txt", "mine", "s.jsonl"], "and nothing is left beside it"


def test_rudders_own_files_are_replaced(run, vector, calibration, tmp_path: Path):  # noqa: F811
    (tmp_path / "l.txt").write_text("a\n")
    for _ in range(2):
        run(tmp_path / "l.txt", tmp_path / "s.jsonl")
        write_report(tmp_path / "s.jsonl", tmp_path / "r.html")
        write_csv(tmp_path / "s.jsonl", tmp_path / "r.csv")
        calibration.save(tmp_path / "c.json")
        vector.save(tmp_path / "v.safetensors")
    assert len(os.listdir(tmp_path)) == 6
    with pytest.raises(RudderError, match="is no scan"):
        write_report(tmp_path / "r.csv", tmp_path / "r.html")


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path):
    own = re.compile(b"mine")
    place, link = tmp_path / "deep" / "x", tmp_path / "link"
    with pytest.raises(KeyError), replacing(place, "text", own) as part:
        part.write_text("mi")
        raise KeyError
    assert os.listdir(place.parent) == []
    with replacing(place, "text", own) as part:
        part.write_text("mine, old")
        assert not place.exists()
    place.chmod(0o640)
    link.symlink_to(place)
    with pytest.raises(KeyError), replacing(link, "text", own) as part:
        part.write_text("mine, new")
        raise KeyError
    assert place.read_text() == "mine, old" and os.listdir(place.parent) == ["x"]
    with replacing(link, "text", own) as part:
        part.write_text("mine, new")
    assert place.read_text() == "mine, new" and link.is_symlink() and place.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RudderError, match="is a folder"), replacing(tmp_path, "text", own):
        pass
    with pytest.raises(RudderError, match="cannot be written"), replacing(place / "y", "text", own):
        pass
    with replacing("/dev/null", "text", own) as part:
        part.write_text("x")
    assert Path("/dev/null").is_char_device()


def test_a_picture_is_written_beside_and_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    picture, place = pictures(1)[0], tmp_path / "p.png"
    arguments.saved(picture, place, Recipe())
    before = place.read_bytes()

    def full(*places):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RudderError, match="No space left"):
        arguments.saved(picture, place, Recipe())
    assert place.read_bytes() == before and os.listdir(tmp_path) == ["p.png"]
