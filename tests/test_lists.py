"""Lists as people have them, each with the right rows: from spreadsheets, hubs, training tools, other countries."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steering.audit import places
from steering.audit.columns import seed_of
from steering.audit.listing import Row, open_row, rows, survey
from steering.audit.tables import split
from steering.errors import RudderError
from tests.tiny import pictures

WEBSTER = (
    ";Caption;URL;type;mean_sscd\n"
    '0;"The ""best"" <i>café</i>; by night";http://x/1.jpg;MV;0.9\n'
    "1;Plattville Green Area Rug;http://x/2.jpg;TV;0.8\n"
)


def told(path: Path, **options: object) -> list[object]:
    """A list's rows: its prompts with their seeds where they have one, pictures as Paths, errors as exceptions."""
    found: list[object] = []
    for row in rows(path, **options):
        if row.error:
            found.append(RudderError(row.error))
        elif row.path is not None:
            found.append(Path(row.path))
        else:
            found.append((row.prompt, row.seed) if row.seed else row.prompt)
    return found


def same(found: list[object], due: list[object]) -> None:
    """Rows equal what is due; a text that begins with "!" is due as an error that says the rest of it."""
    assert len(found) == len(due), found
    for one, other in zip(found, due, strict=True):
        if isinstance(other, str) and other.startswith("!"):
            assert isinstance(one, RudderError) and other[1:] in str(one), (one, other)
        else:
            assert one == other


# name: (file, content, the rows)
TABLES: dict[str, tuple[str, str | bytes, list[object]]] = {
    "the field's own": ("l.csv", WEBSTER, ['The "best" <i>café</i>; by night', "Plattville Green Area Rug"]),
    "tabs": ("l.tsv", "TEXT\tURL\na cat, red\thttp://x\n", ["a cat, red"]),
    "tabs in a csv": ("l.csv", "prompt\tseed\na cat, red\t3\n", [("a cat, red", 3)]),
    "pipes": ("l.csv", "id|Prompt\n1|a cat, red; sad\n", ["a cat, red; sad"]),
    "Excel's own line": ("l.csv", "sep=;\r\nprompt;seed\r\na cat, red;3\r\n", [("a cat, red", 3)]),
    "case and blanks": ("l.csv", " Prompt , SEED \n a cat , 3 \n", [("a cat", 3)]),
    "marks in names": ("l.csv", "File Name,TEXT\na.png,x\n", [Path("a.png")]),
    "quoted header": ("l.csv", '"prompt","seed"\n"a cat","3"\n', [("a cat", 3)]),
    "image folder": ("metadata.csv", "file_name,text\n0001.png,a cat\n", [Path("0001.png")]),
    "first of several": ("l.csv", "text,prompt\nwrong,right\nwrong,\n", ["right", "!neither a path nor a prompt"]),
    "twice": ("l.csv", "prompt,prompt\nfirst,second\n", ["first"]),
    "a column alone": ("l.csv", "prompt\na red apple, on a white background\nb; c\n",
                       ["a red apple, on a white background", "b; c"]),
    "a column alone, quoted": ("l.csv", 'prompt\n"a red apple, on white"\n"a ""b"" c"\n',
                               ["a red apple, on white", 'a "b" c']),
    "commas in the last": ("l.csv", "id,prompt\n1,a red apple, on white\n2,b\n", ["a red apple, on white", "b"]),
    "commas in the first": ("l.csv", "prompt,seed\na red apple, on white,3\n", [("a red apple, on white", 3)]),
    "commas where two may have them": ("l.csv", "label,prompt\na, b, c\nx,d\n", ["!put quotes around text", "d"]),
    "surplus delimiters": ("l.csv", "prompt,seed\na cat,3,,,\n,,\n", [("a cat", 3)]),
    "too few": ("l.csv", "prompt,seed\na cat\n", ["a cat"]),
    "an open quote": ("l.csv", 'prompt,seed\na,1\n"12 inch pizza,1\nb,2\n"c, d",3\n',
                      [("a", 1), "!line 3 opens a quote", ("b", 2), ("c, d", 3)]),
    "an open quote in one column": ("l.csv", 'prompt\n"12 inch pizza\nb\n"c"\n', ["!line 2 opens a quote", "b", "c"]),
    "inches": ("l.csv", 'prompt,seed\na 12" pizza,1\nthe 3" and 4",2\n', [('a 12" pizza', 1), ('the 3" and 4"', 2)]),
    "a quoted word first": ("l.csv", 'prompt,seed\n"Mona" by X,1\n', [('"Mona" by X', 1)]),
    "over lines": ("l.csv", 'prompt,seed\n"a\n\nb, c",1\nd,2\n', [("a\n\nb, c", 1), ("d", 2)]),
    "blanks at quotes": ("l.csv", 'id, prompt, seed\n1, "a, b" , 3\n', [("a, b", 3)]),
    "backslashes": ("l.csv", 'prompt,seed\n"a \\"red\\", big cat",3\n', [('a "red", big cat', 3)]),
    "markup stays": ("l.csv", "caption\n<b>bold</b> &amp; caf\u00e9\n", ["<b>bold</b> &amp; café"]),
    "the header again": ("l.csv", "prompt,seed\na,1\nprompt,seed\nb,2\n",
                         [("a", 1), "!the header once more", ("b", 2)]),
    "old Macs": ("l.csv", "prompt,seed\ra,1\rb,2\r", [("a", 1), ("b", 2)]),
    "web alone": ("l.csv", "prompt,url\n,http://x\n", ["!Rudder fetches nothing"]),
    "a web path": ("l.csv", "image\nhttps://x/a.png\n", ["!is an address, and Rudder fetches nothing"]),
    "Windows' paths": ("l.csv", "path\nsub\\a.png\n", [Path("sub/a.png")]),
    "a file's address": ("l.csv", "path\nfile:///x/a%20b.png\n", [Path("/x/a b.png")]),
    "no address": ("l.csv", "path\nfile://[x\nb.png\n", ["!is no address of a file", Path("b.png")]),
    "names that come again": ("l.csv", "prompt,x,x,prompt\na,1,2,b\n", ["a"]),
    "unread kinds": ("l.csv", "path\na.heic\n", ["!a format that Rudder does not read"]),
    "NUL": ("l.csv", "prompt,seed\na\0b,1\nc,2\n", ["!no text", ("c", 2)]),
    "too long a prompt": ("l.csv", f"prompt\n{'a' * 2001}\nb\n", ["!2,001 characters", "b"]),
    "too long a line": ("l.csv", f"prompt\n{'a' * 2**21}\nb\n", ["!line 2 has over", "b"]),
    "a huge cell": ("l.csv", f"prompt,x\nb,{'a' * 200_000}\n", ["b"]),
    "UTF-8 with a mark": ("l.csv", "prompt\ncafé\n".encode("utf-8-sig"), ["café"]),
    "UTF-16": ("l.csv", "prompt\tseed\ncafé, 猫\t3\n".encode("utf-16"), [("café, 猫", 3)]),
    "UTF-16 without a mark": ("l.csv", "prompt,seed\ncafé,3\n".encode("utf-16-be"), [("café", 3)]),
    "UTF-32": ("l.csv", "prompt\ncafé\n".encode("utf-32"), ["café"]),
    "Windows' letters": ("l.csv", "prompt\nun café “noir” créé\n".encode("cp1252"), ["un café “noir” créé"]),
    "another alphabet": ("l.csv", b"prompt\na cat\n" + "красное яблоко\n".encode("cp1251"), ["a cat", "!no UTF-8"]),
    "one bad byte": ("l.csv", "prompt\ncafé\n".encode() + b"caf\xe9\nb\n", ["café", "!line 3 is no UTF-8", "b"]),
    "joined files": ("l.csv", b"prompt\na\n\xef\xbb\xbfb\n", ["a", "b"]),
    "JSON lines": ("l.jsonl", '{"Prompt": "a", "seed": "3.0"}\n{"prompt": "b"}\n', [("a", 3), "b"]),
    "a bad first line": ("l.jsonl", '{"prompt": \n{"prompt": "b"}\n', ["!line 1 is no JSON", "b"]),
    "an odd first line": ("l.jsonl", '{"version": 1}\n{"prompt": "b"}\n', ["!neither a path nor a prompt", "b"]),
    "texts": ("l.jsonl", '"a"\n[1]\n3\n"b"\n', ["a", "!no JSON object", "!no JSON object", "b"]),
    "no number": ("l.jsonl", '{"prompt": "a", "seed": NaN}\n{"prompt": "b", "seed": 1e999}\n', ["a", "!seed is inf"]),
    "no text": ("l.jsonl", '{"prompt": 3}\n{"prompt": ["a"]}\n{"path": {"x": 1}}\n'
                '{"prompt": "\\ud800"}\n{"prompt": "b"}',
                ["!must be text", "!must be text", "!named by a path", "!no text", "b"]),
    "deep": ("l.jsonl", "[" * 100_000 + '\n{"prompt": "b"}\n', ["!line 1 is no JSON", "b"]),
    "an array": ("l.json", '[\n{"prompt": "a",\n"seed": 3},\n"b"\n]', [("a", 3), "b"]),
    "a training tool's": ("meta.json", json.dumps({"img/1.png": {"caption": "a"}, "2.jpg": {"tags": "b"}}, indent=1),
                          [Path("img/1.png"), Path("2.jpg")]),
    "lines in .json": ("l.json", '{"prompt": "a"}\n{"prompt": "b"}\n', ["a", "b"]),
    "a cat.jpg list": ("l.txt", "my cat.jpg\nsub/b.PNG\nc.heic\n", [Path("my cat.jpg"), Path("sub/b.PNG"),
                                                                   "!a format that Rudder does not read"]),
    "copied paths": ("l.txt", '"sub\\a b.png"\n', [Path("sub/a b.png")]),
    "prompts": ("l.txt", "a cat\n\n  a car  \na shot of logo.png\n", ["a cat", "a car", "a shot of logo.png"]),
    "both in a .txt": ("l.txt", "a cat\nphotos/b.png\nb.png\n", ["a cat", Path("photos/b.png"), Path("b.png")]),
    "Excel's Unicode text": ("l.txt", "Prompt\tSeed\na cat\t3\n".encode("utf-16"), [("a cat", 3)]),
    "a headed .txt": ("l.txt", "prompt\na cat, red\n", ["a cat, red"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_a_list_is_read_as_it_was_meant(tmp_path: Path, case: str):
    name, content, due = TABLES[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    same(told(tmp_path / name), [tmp_path / one if isinstance(one, Path) else one for one in due])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.csv", b"", "is empty"),
        ("l.txt", b"\n \n", "is empty"),
        ("l.jsonl", b"", "no row"),
        ("l.csv", b"prompt,seed\n", "has no rows"),
        ("l.csv", b"prompt,seed\n,,\n\n", "has no rows"),
        ("l.csv", b"a red apple\na car\n", r"no column path or prompt \(its columns: a red apple\)"),
        ("l.csv", b"url,width\nhttp://x,3\n", "fetches nothing"),
        ("l.csv", b"PK\x03\x04....", "a spreadsheet or a zip, not text"),
        ("l.csv", b"\xd0\xcf\x11\xe0....", "a spreadsheet, not text"),
        ("l.csv", b"a\0\0\0b\0\0c\0\0\0\0\0\0", "no text"),
        ("l.jsonl", b'{"colour": "red"}\n' * 3, r"no column path or prompt \(its columns: colour\)"),
        ("l.jsonl", b"oops\n", "line 1 is no JSON"),
        ("l.parquet", b"PAR1", "no list Rudder can read"),
        ("l.heic", b"x", "a format that Rudder does not read"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_list_says_why(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RudderError, match=says):
        survey(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "due"),
    [
        (7, 7), (7.0, 7), ("7", 7), (" 7 ", 7), ("7.0", 7), ("7,0", 7), ("007", 7), ("", 0), (None, 0), ("NaN", 0),
        (float("nan"), 0), (2**63 - 1, 2**63 - 1), (str(2**63 - 1), 2**63 - 1), (-1, None), ("-1", None), ("1.5", None),
        (1.5, None), (2**63, None), ("9" * 5000, None), ("1e999", None),
        ("1,000", None), ("12.000", None), ("1.000.000", None), ("1000.000", 1000), ("1,0000", 1),
        (float("inf"), None), ("1.23457E+09", None),
        ("1_000", None), ("x", None), (True, None), ([], None), ("٣", None),
    ],
)  # fmt: skip
def test_a_seed_is_a_whole_number_or_an_error(value: object, due: int | None):
    if due is None:
        with pytest.raises(RudderError, match="seed is"):
            seed_of(value)
    else:
        assert seed_of(value) == due


def test_a_guess_is_told(tmp_path: Path):
    (tmp_path / "l.csv").write_bytes("prompt\ncafé\n".encode("cp1252"))
    assert "was read as Windows-1252" in survey(tmp_path / "l.csv")[2][0]


WORD = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=8)
CELL = st.lists(
    st.one_of(WORD, st.sampled_from([",", ";", '"', "\t", "|", "a b", "\n", "\n\ufeff", "''", "é"])), min_size=1
).map(lambda parts: "x" + "".join(parts) + "x")
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.csv", "prompt\na cat\n\ufeff\n\ufeffa dog\n"), ("l.txt", "\ufeffa cat\n\ufeffa dog\n"),
     ("l.jsonl", '\ufeff{"prompt": "a cat"}\n\ufeff{"prompt": "a dog"}\n'),
     ("l.json", '\ufeff[{"prompt": "a cat"}, {"prompt": "a dog"}]')],
)  # fmt: skip
def test_byte_order_marks_of_files_put_together_are_no_letters(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [row.prompt for row in rows(tmp_path / name)] == ["a cat", "a dog"]


@QUICK
@given(st.lists(st.tuples(CELL, st.integers(1, 99)), min_size=1, max_size=8), st.sampled_from(",;\t|"), st.booleans())
def test_what_a_csv_writer_writes_is_read_back(tmp_path: Path, entries: list[tuple[str, int]], mark: str, every: bool):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL)
    writer.writerows([("Caption", "Seed"), *entries])
    (tmp_path / "l.csv").write_bytes(file.getvalue().encode())
    assert [(row.prompt, row.seed) for row in rows(tmp_path / "l.csv")] == entries


@QUICK
@given(
    st.lists(st.text("abc 'é", min_size=1, max_size=9).map(lambda t: f"x{t}x"), min_size=2, max_size=12),
    st.sampled_from(
        ['"12 inch,3', '""x"y,3', '"a ""b"",3', "a,b,c,d,e", "\0,3", "a,x", "a,1e999", "\udcff,3", '"', ","]
    ),
    st.data(),
)
def test_a_bad_row_leaves_its_neighbours(tmp_path: Path, prompts: list[str], bad: str, data: st.DataObject):
    """Whatever one row is, those around it are read, in order, each once."""
    at = data.draw(st.integers(0, len(prompts)))
    lines = ["prompt,seed", *(f"{prompt},3" for prompt in prompts[:at]), bad, *(f"{p},3" for p in prompts[at:])]
    (tmp_path / "l.csv").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    found = list(rows(tmp_path / "l.csv"))
    assert [row.prompt for row in found if row.seed == 3 and row.prompt and row.prompt in prompts] == prompts
    assert len(found) <= len(prompts) + 1


@QUICK
@given(st.binary(max_size=300), st.sampled_from(["l.csv", "l.tsv", "l.txt", "l.jsonl", "l.json", "l.zip"]))
def test_no_bytes_raise_anything_but_a_sentence(tmp_path: Path, content: bytes, name: str):
    for start in (b"", b"prompt,seed\n", b'{"prompt": "a"}\n', b"\xff\xfep\0r\0o\0m\0p\0t\0\n\0"):
        (tmp_path / name).write_bytes(start + content)
        try:
            found = list(rows(tmp_path / name))
        except RudderError as error:
            assert "\n" not in str(error)
            continue
        for row in found:
            row.id.encode(), (row.error or "").encode(), (row.prompt or "").encode(), row.mark()


@given(st.text(',;"\\ \nab', max_size=40), st.sampled_from([",", ";", ""]))
@settings(max_examples=300, deadline=None)
def test_every_text_splits_and_ends(text: str, delimiter: str):
    values, starts, end = split(text, delimiter)
    assert len(values) == len(starts) and -1 <= end <= len(text) and starts == sorted(starts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good picture under names of every kind, and what lies beside pictures."""
    place = tmp_path / "set"
    (place / ".hidden").mkdir(parents=True)
    (place / "sub").mkdir()
    pictures(1)[0].save(place / "a.png")
    data = (place / "a.png").read_bytes()
    for name in ("b.JFIF", "c.jpe", "sub/d.webp", "e.tiff", "f.heic", ".g.png", ".hidden/h.png", "notes.txt", "x"):
        (place / name).write_bytes(data)
    return place


def test_a_folder_is_read_whole_and_says_what_it_leaves_out(folder: Path):
    os.mkfifo(folder / "pipe.png")
    os.symlink("/dev/zero", folder / "zero.png")
    os.symlink("gone.png", folder / "lost.png")
    os.symlink(folder / "sub", folder / "linked")
    os.symlink(folder, folder / "sub" / "round")
    notes: list[str] = []
    found = {row.id: row.error for row in rows(folder, notes=notes)}
    good = ["a.png", "b.JFIF", "c.jpe", "e.tiff", "linked/d.webp"]
    assert [name for name, error in found.items() if error is None] == good
    bad = {"f.heic": "does not read", "lost.png": "cannot be read", "pipe.png": "no file", "zero.png": "no file"}
    assert set(found) == {*good, *bad} and all(says in found[name] for name, says in bad.items())
    (note,) = notes
    for part in ("2 hidden", "2 links to folders that are read already", "1 .txt", "1 files without an ending"):
        assert part in note, note


def test_pipes_and_devices_named_in_a_list_never_block(folder: Path):
    os.mkfifo(folder / "pipe.png")
    (folder / "l.csv").write_text("path\npipe.png\n/dev/zero\nsub\na.png\n")
    *bad, good = rows(folder / "l.csv")
    for row in bad:
        with pytest.raises(RudderError, match="no file"):
            open_row(row)
    assert open_row(good).size == (32, 32)
    for source in (folder / "pipe.png", Path("/dev/zero")):
        with pytest.raises(RudderError, match="no file"):
            list(rows(source))


def test_names_that_are_no_text_are_rows_like_others(folder: Path):
    name = os.fsdecode(b"caf\xe9.png")
    (folder / "a.png").rename(folder / name)
    found = {row.id: row for row in rows(folder)}
    row = found["caf\\udce9.png"]
    assert row.error is None and open_row(row).size == (32, 32)
    for other in found.values():
        other.id.encode()


def test_long_names_that_start_alike_stay_apart(tmp_path: Path):
    lines = ["id,prompt", *(f"{'x' * 400}{n},a" for n in range(2))]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    assert [row.error for row in rows(tmp_path / "l.csv")] == [None, None]


def test_a_zips_directory_is_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for index in range(20):
            archive.write(folder / "a.png", f"{index}.png")
        archive.writestr("sub\\", b"")
        archive.writestr("__MACOSX/._0.png", b"")
        archive.writestr(".git/1.png", b"")
        archive.writestr("notes.txt", b"")
    read = []
    real = zipfile.ZipFile._RealGetContents
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", lambda self: read.append(1) or real(self))
    places.forget()
    notes: list[str] = []
    found = list(rows(tmp_path / "s.zip", uploaded=True, notes=notes))
    assert all(open_row(row).size == (32, 32) for row in found) and len(found) == 20 and len(read) == 1
    assert "2 hidden" in notes[0] and "1 .txt" in notes[0]
    os.replace(folder / "a.png", tmp_path / "s.zip")
    with pytest.raises(RudderError, match="cannot be read"):
        open_row(found[0])


def test_what_will_be_refused_is_not_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with (folder / "big.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RudderError, match="over 20 MB"):
        open_row(Row("big", str(folder / "big.png")))
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for index in range(400):
            archive.writestr(f"{index:0200d}.png", b"")
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.png", b"\0" * (21 * 2**20))
    with monkeypatch.context() as patch, pytest.raises(RudderError, match="over 20 MB"):
        patch.setattr(zipfile.ZipFile, "open", None)
        open_row(next(rows(tmp_path / "big.zip")))
    monkeypatch.setattr(places, "UPLOADED_DIRECTORY", 50_000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(RudderError, match="too long a directory"):
        list(rows(tmp_path / "many.zip", uploaded=True))
    with (tmp_path / "l.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RudderError, match="over 20 MB"):
        list(rows(tmp_path / "l.csv", uploaded=True))
