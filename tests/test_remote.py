"""Lists and pictures in stores, by fsspec's own in memory and by files under file://."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import fsspec
import pytest

from steering.audit import remote
from steering.audit.listing import Row, from_hub, open_row, rows, survey, title
from steering.audit.results import results
from steering.audit.scan import scan
from steering.errors import RudderError
from tests.test_scan import calibration, folder, run  # noqa: F401
from tests.tiny import pictures


def png(seed: int = 0) -> bytes:
    file = BytesIO()
    pictures(1, seed=seed)[0].save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def store():
    """A bucket of three pictures in two folders, clutter beside them, and three lists."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for place, data in {
        "set/b.png": png(1), "set/a.png": png(2), "set/deep/c.png": png(3), "set/notes.txt": b"x", "set/.hidden": b"x",
        "set/d.png": b"no picture", "empty/notes.md": b"x",
        "list.csv": b"file_name,label\nset/a.png,memorized\nset/gone.png,\n../../etc/passwd.png,\nset/deep/c.png,\n",
        "list.txt": b"memory://bucket/set/b.png\n", "prompts.jsonl": b'{"prompt": "a red apple", "seed": 3}\n',
        "set.zip": b"PK",
    }.items():  # fmt: skip
        memory.pipe_file(f"/bucket/{place}", data)
    yield memory
    memory.store.clear()
    remote.forget()


def test_a_folder_in_a_store(store):
    notes: list[str] = []
    found = list(rows("memory://bucket/set", notes=notes))
    assert [row.id for row in found] == ["a.png", "b.png", "d.png", "deep/c.png"]
    assert open_row(found[3]).size == (32, 32) and found[0].path == "memory://bucket/set/a.png"
    assert "1 .txt files" in notes[0] and "hidden" in notes[0] and title("memory://bucket/set") == "set"
    with pytest.raises(RudderError, match="holds no pictures"):
        list(rows("memory://bucket/empty"))


def test_a_changed_file_has_another_mark(store):
    before = [row.mark() for row in rows("memory://bucket/set")]
    store.pipe_file("/bucket/set/a.png", png(9) + b" ")
    after = [row.mark() for row in rows("memory://bucket/set")]
    assert before[0] != after[0] and before[1:] == after[1:]


def test_lists_in_a_store_name_what_lies_beside_them(store):
    found = list(rows("memory://bucket/list.csv"))
    assert [row.path for row in found] == [
        "memory://bucket/set/a.png", "memory://bucket/set/gone.png", "memory://bucket/etc/passwd.png",
        "memory://bucket/set/deep/c.png",
    ]  # fmt: skip
    assert found[0].label == "memorized" and open_row(found[0]).size == (32, 32)
    with pytest.raises(RudderError, match="gone.png cannot be read"):
        open_row(found[1])
    (prompt,) = rows("memory://bucket/prompts.jsonl")
    assert (prompt.prompt, prompt.seed) == ("a red apple", 3)


def test_scanned_and_resumed(backbone, calibration, store, tmp_path: Path):  # noqa: F811
    out = tmp_path / "out.jsonl"
    steps = scan(backbone, calibration, "memory://bucket/set", out, batch=1)
    next(steps)
    steps.close()
    assert len(list(results(out))) == 1
    found = run(backbone, calibration, "memory://bucket/set", out)
    (bad,) = [row for row in found if "error" in row]
    assert bad["id"] == "d.png" and len(found) == 4 and found[0]["path"] == "memory://bucket/set/a.png"
    assert found[0]["picture"].startswith("data:image/webp")  # no report could fetch it later
    assert not remote._fetched and survey("memory://bucket/set")[0] == 4


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("memory://bucket/none.csv", "is not there"),
        ("memory://bucket/set.zip", "download the zip"),
        ("memory://bucket/set/notes.md", "is not there"),
        ("s3://bucket/list.csv", "pip install s3fs|cannot be read"),
    ],
)
def test_what_cannot_be_had_says_so(store, place: str, says: str):
    with pytest.raises(RudderError, match=says):
        list(rows(place))


def test_what_is_an_address():
    assert remote.is_remote("hf://datasets/some/one/a.png") and not from_hub("hf://datasets/some/one")
    assert from_hub("hf:some/one:train") and not remote.is_remote("hf:some/one:train")
    for other in ("http://x/a.png", "https://x/a.png", "a.png", "/s3://x", "C:\\a.png", None, "s3://"):
        assert not remote.is_remote(other)
    assert remote.beside("s3://b/x/list.csv", "../../../y.png") == "s3://b/y.png"
    assert remote.beside("s3://b/x/list.csv", "gs://c/y.png") == "gs://c/y.png"
    assert Row("a", "s3://b/a.png").mark() == Row("a", "s3://b/a.png").mark()


def test_uploaded_lists_reach_no_store(store, tmp_path: Path):
    (tmp_path / "list.csv").write_text("path\ns3://bucket/a.png\nmemory://bucket/set/a.png\nfile:///etc/passwd\n")
    found = list(rows(tmp_path / "list.csv", uploaded=True))
    assert len(found) == 3 and all(row.error for row in found)
    with pytest.raises(RudderError, match="is not there"):
        list(rows("memory://bucket/set", uploaded=True))
