"""Data sets of the hub: a damaged row says so and leaves its neighbours; by a stand-in for the library, and by it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from steering.audit import hub
from steering.audit.listing import open_row, rows
from steering.audit.results import results
from steering.audit.scan import scan
from steering.errors import RudderError
from tests.files import saved, zipped
from tests.test_scan import calibration  # noqa: F401
from tests.tiny import pictures

FIRST, LAST = (saved(image) for image in pictures(2))
BAD: dict[str, tuple[Any, str]] = {
    "undecodable": ({"image": {"bytes": b"no picture", "path": "x.png"}}, "not a picture"),
    "cut": ({"image": {"bytes": FIRST[:70], "path": None}}, "damaged"),
    "an archive": ({"image": {"bytes": zipped({"a.png": FIRST}), "path": None}}, "not a picture"),
    "too long": ({"image": {"bytes": FIRST + bytes(21 * 2**20), "path": None}}, "over 20 MB"),
    "nothing": ({"image": None}, "row 2 holds no picture"),
    "neither": ({"image": {"bytes": None, "path": None}}, "row 2 holds no picture"),
    "no column": ({"caption": "a cat"}, "row 2 holds no picture"),
    "a number": ({"image": 5}, "row 2 holds no picture but int"),
    "a text": ({"image": "images/1.png"}, "row 2 holds no picture but str"),
    "a list of them": ({"image": [{"bytes": FIRST, "path": None}]}, "row 2 holds no picture but list"),
    "another type": ([1, 2], "row 2 is no record but list"),
    "null": (None, "row 2 is no record but NoneType"),
    "a file here": ({"image": {"bytes": None, "path": "/etc/hostname"}}, "row 2 names a picture that is not in"),
    "a file by address": ({"image": {"bytes": None, "path": "file:///etc/hostname"}}, "row 2 names a picture"),
    "an archive that is gone": ({"image": {"bytes": None, "path": "zip://a.png::hf://datasets/a/b/c.zip"}},
                                "row 2 cannot be read"),
    "what cannot be read": (OSError("block 7 is damaged"), r"row 2 cannot be read \(block 7 is damaged\)"),
}  # fmt: skip


class Image:
    """The library's kind of column: it decodes while rows are read, unless told not to."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Streamed:
    """The library's set, as far as it is used here; what is raised for a row ends it."""

    def __init__(self, values: list, features: dict[str, Any]) -> None:
        self.values, self.features = values, features

    def select_columns(self, names: list[str]) -> Any:
        def cut(row: Any) -> Any:
            return {k: v for k, v in row.items() if k in names} if isinstance(row, dict) else row

        return type(self)([cut(row) for row in self.values], {k: v for k, v in self.features.items() if k in names})

    def cast_column(self, name: str, kind: Image) -> Any:
        return type(self)(self.values, {**self.features, name: kind})

    def read(self, row: Any) -> Any:
        if isinstance(row, Exception):
            raise row
        for name, kind in self.features.items():
            if isinstance(kind, Image) and kind.decode and (row.get(name) or {}).get("bytes") not in (FIRST, LAST):
                raise ValueError("cannot identify image file")
        return row

    def __iter__(self):
        yield from map(self.read, self.values)


class OnDisk(Streamed):
    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.read(self.values[index])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`library(values)` is the name of a set of these rows, `library(values, OnDisk)` of one on this disk."""
    fake: Any = ModuleType("datasets")
    fake.Image, fake.Dataset = Image, OnDisk
    monkeypatch.setitem(sys.modules, "datasets", fake)

    def named(values: list, kind: type = Streamed, features: dict | None = None) -> str:
        known = {"id": SimpleNamespace(dtype="string"), "label": SimpleNamespace(dtype="int64"), "image": Image()}
        made = kind(values, features or {**known, "thumbnail": Image()})
        fake.load_dataset = lambda repository, split, streaming: made
        fake.load_from_disk = lambda folder: made
        (tmp_path / "saved").mkdir(exist_ok=True)
        (tmp_path / "saved" / "state.json").write_text("{}")
        return "hf:some/one" if kind is Streamed else f"hf:{tmp_path / 'saved'}"

    return named


def around(bad: Any) -> list:
    """A good row, the bad one, a good one."""
    return [
        {"id": "first", "image": {"bytes": FIRST, "path": None}},
        bad,
        {"id": "last", "image": {"bytes": LAST, "path": "last.png"}, "label": 1},
    ]


@pytest.mark.parametrize("kind", [Streamed, OnDisk])
@pytest.mark.parametrize("case", list(BAD))
def test_a_damaged_row_says_so_and_leaves_its_neighbours(library, case: str, kind: type):
    bad, says = BAD[case]
    if kind is Streamed and isinstance(bad, Exception):
        pytest.skip("a stream cannot be read past what the library raises")
    if kind is OnDisk and case == "a file here":
        bad, says = {"image": {"bytes": None, "path": "gone.png"}}, "gone.png cannot be read"
    first, wrong, last = rows(library(around(bad), kind))
    assert (first.id, last.id, last.label) == ("first", "last", "1")
    assert open_row(first).tobytes() == pictures(2)[0].tobytes()
    assert open_row(last).tobytes() == pictures(2)[1].tobytes()
    with pytest.raises(RudderError, match=says):
        open_row(wrong)


def test_rows_without_ids_keep_their_numbers(library):
    good = {"image": {"bytes": FIRST, "path": None}}
    found = list(rows(library([good, None, good, {"id": 1, **good}])))
    assert [row.id for row in found] == ["0", "row 2", "2", "1"] and [bool(row.error) for row in found] == [0, 1, 0, 0]


def test_a_scan_scores_the_rest(backbone, calibration, library, tmp_path: Path):  # noqa: F811
    name = library(around(BAD["undecodable"][0]))
    list(scan(backbone, calibration, name, tmp_path / "out.jsonl"))
    found = list(results(tmp_path / "out.jsonl"))
    assert ["score" in row for row in found] == [True, False, True] and "not a picture" in found[1]["error"]


@pytest.mark.parametrize(
    "features",
    [
        {"image": {"bytes": SimpleNamespace(dtype="binary"), "path": SimpleNamespace(dtype="string")}},
        {"caption": SimpleNamespace(dtype="string"), "image": SimpleNamespace(dtype="binary")},
        {"cover": SimpleNamespace(dtype="binary"), "image": Image()},
    ],
)
def test_the_column_of_pictures_is_found_by_what_it_holds(library, features: dict):
    (row,) = rows(library([{"image": {"bytes": FIRST, "path": None}}], features=features))
    assert open_row(row).size == (32, 32)


def test_a_picture_in_the_hubs_store_is_read_where_it_is_scored(library):
    (row,) = rows(library([{"image": {"bytes": None, "path": "hf://datasets/some/one@main/a.png"}}]))
    assert row.path == "hf://datasets/some/one@main/a.png" and row.error is None


def test_what_no_set_can_be_read_by_says_so(library, monkeypatch: pytest.MonkeyPatch):
    text = {"caption": SimpleNamespace(dtype="string")}
    with pytest.raises(RudderError, match="has no image column: name one as hf:NAME:SPLIT:COLUMN"):
        list(rows(library([], features=text)))
    with pytest.raises(RudderError, match="has no column 'photo': choose one of caption"):
        list(rows(library([], features=text) + ":train:photo"))
    with pytest.raises(RudderError, match="cannot be read further than row 1 .*: start the scan again or"):
        list(rows(library(around(OSError("gone")))))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RudderError, match="pip install datasets"):
        list(hub.entries("some/one"))


@pytest.mark.parametrize("form", ["parquet", "plain parquet", "bytes", "saved", "folder"])
def test_the_library_itself(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = tmp_path / "set"
    place.mkdir()
    held = [FIRST, b"no picture", None, LAST]
    pair = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([data and {"bytes": data, "path": None} for data in held], pair)
    table = pa.table({"id": list("abcd"), "image": pa.array(held) if form == "bytes" else images})
    if form in ("parquet", "saved"):
        kinds = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image()})
        table = table.cast(kinds.arrow_schema)
    if form == "folder":
        for name, data in zip("abcd", held, strict=True):
            (place / f"{name}.png").write_bytes(data or b"")
    elif form == "saved":
        datasets.Dataset(table, fingerprint="x").save_to_disk(place)
    else:
        pq.write_table(table, place / "train.parquet")
    found = list(rows(f"hf:{place}"))
    assert len(found) == 4
    for row, good in zip(found, (True, False, False, True), strict=True):
        if good:
            assert open_row(row).size == (32, 32)
        else:
            with pytest.raises(RudderError):
                open_row(row)
