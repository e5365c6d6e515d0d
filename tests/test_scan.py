"""Scanning: every kind of list, bad rows, killed and resumed, several processes, the report."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steering.audit.listing import open_row, rows
from steering.audit.report import write_report
from steering.audit.results import results
from steering.audit.scan import count, scan, score_rows
from steering.backbones import Backbone, load
from steering.calibration import Calibration
from steering.engines import Processes
from steering.errors import RudderError
from steering.scoring import Probe
from tests.tiny import pictures


@pytest.fixture(scope="module")
def calibration(backbone: Backbone) -> Calibration:
    probe = Probe("up_blocks.1.resnets.1.nonlinearity", 50)
    return Calibration(
        backbone.name, backbone.fingerprint, probe, 2, 0, 0.5, (0.1, 0.2, 0.6), (0.8,), {}, {}, [], (), {}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five good pictures of many kinds and four that are none."""
    place = tmp_path / "pictures"
    (place / "deep").mkdir(parents=True)
    images = pictures(5)
    images[0].save(place / "a.png")
    images[1].convert("CMYK").save(place / "b.jpg")
    images[2].quantize(8).save(place / "deep" / "c.gif", save_all=True, append_images=[images[3].quantize(8)])
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60).save(place / "d.png")
    images[4].resize((900, 700)).save(place / "e.webp")
    (place / "f.png").write_text("text renamed")
    (place / "g.png").write_bytes((place / "a.png").read_bytes()[:300])
    (place / "h.png").write_bytes(b"")
    (place / "notes.txt").write_text("not a picture, not listed")
    return place


def run(backbone: Backbone, calibration: Calibration, source, out: Path, **options) -> list[dict]:
    list(scan(backbone, calibration, source, out, **options))
    return list(results(out))


def test_a_folder_with_all_sorts(backbone, calibration, folder: Path, tmp_path: Path):
    found = run(backbone, calibration, folder, tmp_path / "out.jsonl", batch=3)
    assert [row["id"] for row in found] == [
        "a.png",
        "b.jpg",
        "d.png",
        "e.webp",
        "f.png",
        "g.png",
        "h.png",
        "deep/c.gif",
    ]
    bad = {row["id"]: row["error"] for row in found if "error" in row}
    assert set(bad) == {"f.png", "g.png", "h.png"} and all("\n" not in error for error in bad.values())
    alone = calibration.score(backbone, [Image.open(folder / "a.png")])
    assert found[0]["score"] == pytest.approx(float(alone.mean[0]), rel=1e-4)
    assert found[0]["memorized"] == (found[0]["score"] > 0.5)


def test_zip_csv_jsonl_text_and_one_picture(backbone, calibration, folder: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(folder / "a.png", "x/a.png")
        archive.writestr("x/bad.png", b"no")
    (tmp_path / "list.csv").write_text(
        "id,path,label\n1,pictures/a.png,memorized\n2,pictures/gone.png,\n1,pictures/b.jpg,\n3,,\n"
    )
    lines = [{"prompt": "a red apple", "seed": 3}, {"prompt": "a car", "seed": "x"}, {"image": "pictures/a.png"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n[1]\n")
    (tmp_path / "list.txt").write_text("a red apple\n\na car\n")
    first = {}
    for name in ("set.zip", "list.csv", "list.jsonl", "list.txt", "pictures/a.png"):
        first[name] = run(backbone, calibration, tmp_path / name, tmp_path / f"{Path(name).name}.out")
        assert len(first[name]) == count(tmp_path / name)
    expected = first["pictures/a.png"][0]["score"]
    assert first["set.zip"][0]["score"] == pytest.approx(expected, rel=1e-4) and "error" in first["set.zip"][1]
    told = first["list.csv"]
    assert told[0]["label"] == "memorized" and told[0]["score"] == pytest.approx(expected, rel=1e-4)
    for row, says in zip(told[1:], ("cannot be read", "was there before", "neither"), strict=True):
        assert says in row["error"]
    kinds = ["error" in row for row in first["list.jsonl"]]
    assert kinds == [False, True, False, True, True]
    assert first["list.txt"][0]["prompt"] == "a red apple" and not any("error" in r for r in first["list.txt"])


def test_prompts_are_scored_as_their_pictures_latents(backbone, calibration, tmp_path: Path):
    from steering.recipe import Recipe
    from steering.sampling import finish, sample

    (tmp_path / "p.csv").write_text("prompt,seed\na red apple,5\n")
    (row,) = run(backbone, calibration, tmp_path / "p.csv", tmp_path / "o.jsonl")
    steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    recipe = Recipe(backbone.name, "a red apple", 5, steps, guidance)
    latents = finish(sample(backbone, recipe)).latents
    assert row["score"] == pytest.approx(float(calibration.score(backbone, latents).mean[0]), rel=1e-3)


def test_words_that_were_not_read_stand_in_the_row(backbone, calibration, tmp_path: Path):
    long = " ".join(["apple"] * 200)
    (tmp_path / "l.jsonl").write_text(json.dumps({"prompt": long}) + "\n" + json.dumps({"prompt": "a car"}) + "\n")
    one, other = run(backbone, calibration, tmp_path / "l.jsonl", tmp_path / "out.jsonl")
    assert 0 < len(one["unread"]) < 200 and "unread" not in other
    write_report(tmp_path / "out.jsonl", tmp_path / "r.html")
    assert "too long, not read: apple" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_killed_and_resumed_loses_and_repeats_nothing(backbone, calibration, folder, tmp_path, cut, monkeypatch):
    whole = run(backbone, calibration, folder, tmp_path / "whole.jsonl", batch=2)
    out = tmp_path / "part.jsonl"
    steps = scan(backbone, calibration, folder, out, batch=2)
    next(steps)
    next(steps)
    steps.close()
    with out.open("ab") as file:  # what a kill in the middle of a line leaves
        file.write(json.dumps(whole[4]).encode()[:cut])
    scored = []
    original = Calibration.score
    monkeypatch.setattr(Calibration, "score", lambda self, b, some: scored.append(len(some)) or original(self, b, some))
    assert [r["id"] for r in run(backbone, calibration, folder, out, batch=2)] == [r["id"] for r in whole]
    assert list(results(out)) == whole and sum(scored) == sum("error" not in row for row in whole[4:])


def test_another_list_or_calibration_is_not_mixed_in(backbone, calibration, folder: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    run(backbone, calibration, folder, out)
    from dataclasses import replace

    with pytest.raises(RudderError, match="another threshold"):
        run(backbone, replace(calibration, threshold=0.1), folder, out)
    (folder / "0.png").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(RudderError, match="list has changed"):
        run(backbone, calibration, folder, out)
    with pytest.raises(RudderError, match="was made for"):
        run(backbone, replace(calibration, fingerprint="x"), folder, tmp_path / "o")
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(RudderError, match="no scan"):
        run(backbone, calibration, folder, tmp_path / "other")


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{]\n"])
def test_a_line_that_no_scan_wrote_is_said(backbone, calibration, folder: Path, tmp_path: Path, line: bytes):
    out = tmp_path / "out.jsonl"
    run(backbone, calibration, folder, out)
    head, first, *rest = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join([head, first, line, *rest]))
    with pytest.raises(RudderError, match="a line that no scan wrote"):
        run(backbone, calibration, folder, out)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.csv", None, "not there"),
        ("empty", "folder", "holds no pictures"),
        ("x.csv", "id,colour\n1,red\n", "no column path or prompt"),
        ("x.jsonl", '{"colour": "red"}\n', "no column path or prompt"),
        ("x.zip", "no zip", "damaged zip"),
        ("x.exe", "x", "no list"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str | None, says: str):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(RudderError, match=says):
        list(rows(path))


def test_a_zip_bomb_is_one_bad_row(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.png", b"\0" * (64 * 2**20))
    (row,) = rows(tmp_path / "bomb.zip")
    with pytest.raises(RudderError, match="over 20 MB"):
        open_row(row)


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_packing_that_unpacks_without_a_bound_is_one_bad_row(tmp_path: Path, packing: int):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", packing) as archive:
        archive.writestr("big.png", b"\0" * 2**20)
    with pytest.raises(RudderError, match="packed in a way"):
        open_row(next(rows(tmp_path / "z.zip")))


def test_a_zip_holds_what_its_folder_holds(tmp_path: Path):
    data = BytesIO()
    pictures(1)[0].save(data, "PNG")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("checkpoint-500/sample.png", ".hidden/x.png", "Äpfel.png"):
            archive.writestr(name, data.getvalue())
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        archive.extractall(tmp_path / "folder")
    raw = (tmp_path / "z.zip").read_bytes()
    for at in (i for i in range(len(raw)) if raw[i : i + 4] in (b"PK\1\2", b"PK\3\4")):
        flags = at + (8 if raw[at + 2] == 1 else 6)
        raw = raw[: flags + 1] + bytes([raw[flags + 1] & ~8]) + raw[flags + 2 :]  # as macOS writes it: no UTF-8 flag
    (tmp_path / "z.zip").write_bytes(raw)
    found = {row.id: row for row in rows(tmp_path / "z.zip")}
    assert set(found) == {row.id for row in rows(tmp_path / "folder")} == {"checkpoint-500/sample.png", "Äpfel.png"}
    assert all(open_row(row).size == pictures(1)[0].size for row in found.values())


def test_several_processes_give_the_same_rows(tiny_folder, backbone, calibration, folder: Path, tmp_path: Path):
    one = run(backbone, calibration, folder, tmp_path / "one.jsonl", batch=2)
    engine = Processes(partial(load, str(tiny_folder)), ["cpu", "cpu"])
    many = run(backbone, calibration, folder, tmp_path / "many.jsonl", batch=2, engine=engine)
    assert [r["id"] for r in many] == [r["id"] for r in one]
    np.testing.assert_allclose([r.get("score", 0) for r in many], [r.get("score", 0) for r in one], rtol=1e-3)


def test_a_process_that_cannot_load_the_model_says_why():
    engine = Processes(partial(load, "no-such-model-here"), ["cpu", "cpu"])
    with pytest.raises(RudderError, match="no-such-model-here"):
        list(engine.map(score_rows, [[], []]))


def test_the_report_stands_alone(backbone, calibration, folder: Path, tmp_path: Path):
    lines = [
        f"{name},pictures/{name},{label}" for name, label in (("a.png", "memorized"), ("b.jpg", "no"), ("d.png", "no"))
    ]
    (tmp_path / "list.csv").write_text("id,path,label\n" + "\n".join(lines) + "\n<script>,pictures/e.webp,no\n")
    run(backbone, calibration, tmp_path / "list.csv", tmp_path / "out.jsonl")
    write_report(tmp_path / "out.jsonl", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 4 and "AUROC" in page and "4 pictures" in page
    assert "<script>" not in page and "&lt;script&gt;" in page and 'src="http' not in page


def test_an_uploaded_list_reads_nothing_of_this_machine(folder: Path, tmp_path: Path):
    (tmp_path / "list.csv").write_text("path,prompt\npictures/a.png,\n,a car\n")
    found = list(rows(tmp_path / "list.csv", uploaded=True))
    assert "cannot name files here" in found[0].error and found[1].error is None
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(folder / "a.png", "a.png")
    assert [row.error for row in rows(tmp_path / "set.zip", uploaded=True)] == [None]
