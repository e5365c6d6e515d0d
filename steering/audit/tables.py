"""Lists as text files: old encodings, any delimiter, quotes that nobody closes.

One record a row, or what is wrong with it; a bad row never takes its neighbours along.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import RudderError, shorten
from ..files import open_regular
from .columns import HEADERS, NARROW, check_columns, chosen, kind_of, plain

DELIMITERS = ",;\t|"
LINE_LIMIT = 2**20  # characters of a line
OPEN_LINES, OPEN_CHARACTERS = 200, 65_536  # how far a quote may reach over lines
JSON_LIMIT = 256 * 2**20  # bytes of a JSON file that is no JSON lines, since it is read whole
SAMPLE = 1000  # rows within which a JSONL names a picture or a prompt, or is refused
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHERS = {
    b"PK\x03\x04": "a spreadsheet or a zip", b"\xd0\xcf\x11\xe0": "a spreadsheet", b"%PDF": "a PDF",
    b"\x1f\x8b": "compressed", b"PAR1": "a Parquet file", b"SQLite": "a database",
}  # fmt: skip
FOREIGN = re.compile(rb"[\x80-\xff]{4}|[\x81\x8d\x8f\x90\x9d]")  # what Western European text in cp1252 hardly holds
UNDECODED = re.compile("[\udc80-\udcff]")
DOUBLED = re.compile(r'"((?:[^"]++|"")*+)"')
Line = tuple[int, str, str | None]
ESCAPED = re.compile(r'"((?:[^"\\]++|\\.|"")*+)"', re.DOTALL)


@dataclass(frozen=True)
class Record:
    """A row as it stands in a file: where it starts (lines from 1), {column: value}, and what is wrong with it."""

    line: int
    values: dict[str, Any]
    error: str | None = None


def encoding(path: Path) -> tuple[str, str | None]:
    """A text file's encoding by its mark, else by its bytes: UTF-8, else Windows' Western European one; and a sentence
    where it is a guess. RudderError for what is no text. Non-ASCII lines of other old encodings are left undecoded."""
    title = shorten(path.name)
    good = bad = foreign = 0
    with open_regular(path) as file:
        start = file.read(4096)
        for mark, codec in MARKS.items():
            if start.startswith(mark):
                return codec, None
        for mark, kind in OTHERS.items():
            if start.startswith(mark):
                raise RudderError(f"{title} is {kind}, not text: save it as CSV, in UTF-8.")
        half = len(start) // 2
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) > 0.4 * half > 0 and min(even, odd) < 0.1 * half:
            return ("utf-16-le" if odd > even else "utf-16-be"), None
        if start.count(0) > 0.1 * len(start):
            raise RudderError(f"{title} is no text: give a list as CSV, JSONL or plain text, in UTF-8.")
        file.seek(0)
        while chunk := file.read(LINE_LIMIT):
            chunk += file.readline(LINE_LIMIT)
            if chunk.isascii():
                continue
            for line in chunk.split(b"\n"):
                if line.isascii():
                    continue
                try:
                    line.decode("utf-8")
                    good += 1
                except UnicodeDecodeError:
                    bad += 1
                    foreign += FOREIGN.search(line) is not None
    if not bad or good or foreign or start.startswith(b"\xef\xbb\xbf"):
        return "utf-8", None
    return "cp1252", f"{title} is no UTF-8 and was read as Windows-1252: save it as UTF-8 if letters are wrong."


def lines(path: Path, notes: list[str] | None = None) -> Iterator[Line]:
    """(number from 1, text, what is wrong with it or None) of every line; RudderError as `encoding`.

    Lines end as on any system. One that is too long, or not in the file's encoding, is told and the next one is read.
    """
    codec, note = encoding(path)
    if note and notes is not None:
        notes.append(note)
    errors = "replace" if codec.startswith("utf-16") or codec == "utf-32" else "surrogateescape"
    with TextIOWrapper(open_regular(path), encoding=codec, errors=errors) as file:
        number, text = 1, file.readline(LINE_LIMIT)
        while text:
            error = None
            if len(text) == LINE_LIMIT and not text.endswith("\n"):
                error = f"line {number} has over {LINE_LIMIT:,} characters: shorten it"
                while (more := file.readline(LINE_LIMIT)) and not more.endswith("\n"):
                    pass
            elif (errors == "replace" and "\ufffd" in text) or UNDECODED.search(text):
                error = f"line {number} is no {codec.upper()}: save the list as UTF-8"
            yield number, text.removesuffix("\n"), error
            number, text = number + 1, file.readline(LINE_LIMIT)


def table(path: Path, notes: list[str] | None = None) -> Iterator[Record]:
    """The rows of a CSV with a header, whatever it puts between its columns; RudderError without a column of use."""
    ahead = _Ahead(lines(path, notes))
    title = shorten(path.name)
    first = ahead.next()
    delimiter = ""
    if first and (own := re.fullmatch(r"\"?sep=(.)\"?", first[1], re.IGNORECASE)):  # Excel's line
        delimiter, first = own[1], ahead.next()
    if first is None:
        raise RudderError(f"{title} is empty: give a list with a header and at least one row.")
    if first[2]:
        raise RudderError(f"{title} cannot be read: {first[2]}.")
    delimiter = delimiter or sniffed(first[1])
    names, _, _ = split(first[1], delimiter)
    check_columns(names, title)
    first_at = {name: k for k, name in reversed(list(enumerate(names)))}
    columns = [name if name and first_at[name] == k else f"\0{k}" for k, name in enumerate(names)]  # each its own
    while (row := ahead.next()) is not None:
        number, text, error = row
        if error:
            yield Record(number, {}, error)
            continue
        values, starts, end = split(text, delimiter)
        if end < 0:
            values, starts, text = _over_lines(ahead, text, delimiter, len(names))
            if not values:
                yield Record(number, {}, f"line {number} opens a quote that nothing closes: close it, or double it")
                continue
        while len(values) > len(names) and not values[-1]:
            values.pop()
        if len(values) > len(names):
            values = _joined(text, values, starts, names)
        if len(values) > len(names):
            due = f"{len(values)} values where the list has {len(names)} columns"
            yield Record(number, {}, f"line {number} has {due}: put quotes around text that holds {delimiter!r}")
        elif values == names:
            yield Record(number, {}, f"line {number} is the header once more: leave it out")
        elif any(values):
            yield Record(number, dict(zip(columns, values, strict=False)))


def sniffed(header: str) -> str:
    """What stands between the columns of a header: what makes most of its names known, then most names; "" for one
    column alone, whose rows are then taken whole."""
    best = ""
    most = (1 if kind_of(split(header, "")[0][0]) else 0, 1)
    for delimiter in DELIMITERS:
        names = split(header, delimiter)[0]
        found = (sum(bool(kind_of(name)) for name in names), len(names))
        if len(names) > 1 and found > most:
            best, most = delimiter, found
    return best


def split(text: str, delimiter: str) -> tuple[list[str], list[int], int]:
    """The values of the record that starts a text, where each starts, and where the record ends: at the end of a line
    outside quotes, or -1 if a quote is open.

    A quote opens a value at its start alone, and closes it before a delimiter alone: any other one is a mark like any
    other. Quotes inside are doubled, or escaped by a backslash.
    """
    values, starts, at = [], [], 0
    stop = re.compile(f"[\n{re.escape(delimiter)}]")
    while True:
        starts.append(at)
        value, end = _value(text, at, stop)
        values.append(value)
        if end < 0 or end == len(text) or text[end] == "\n":
            return values, starts, end
        at = end + 1


def _value(text: str, at: int, stop: re.Pattern[str]) -> tuple[str, int]:
    begin = at
    while begin < len(text) and text[begin] == " ":
        begin += 1
    if text.startswith('"', begin):
        for pattern in (DOUBLED, ESCAPED):
            found = pattern.match(text, begin)
            if found is None and pattern is DOUBLED:
                return text[at:], -1
            if found is None:
                break
            end = found.end()
            while end < len(text) and text[end] in " \r":
                end += 1
            if end == len(text) or stop.match(text, end):
                inside = found[1].replace('""', '"')
                return (inside if pattern is DOUBLED else re.sub(r'\\(["\\])', r"\1", inside)), end
    found = stop.search(text, at)
    end = found.start() if found else len(text)
    return text[at:end].strip(), end


def _over_lines(ahead: _Ahead, text: str, delimiter: str, count: int) -> tuple[list[str], list[int], str]:
    """The record that a line with an open quote starts, if the lines after it close it as a CSV's writer would have,
    and it then has `count` values; else nothing, and those lines stay unread."""
    whole = "\n".join([text, *ahead.peek(OPEN_LINES, OPEN_CHARACTERS)])
    values, starts, end = split(whole, delimiter)
    if end <= len(text) or len(values) != count:
        return [], [], text
    ahead.skip(whole.count("\n", 0, end))
    return values, starts, whole[:end]


def _joined(text: str, values: list[str], starts: list[int], names: list[str]) -> list[str]:
    """Values with those that delimiters without quotes cut apart put together, where only one column can hold text."""
    wide = [index for index, name in enumerate(names) if kind_of(name) not in NARROW]
    if len(wide) != 1 or kind_of(names[wide[0]]) not in ("path", "prompt"):
        return values
    first, after = wide[0], len(names) - wide[0] - 1
    end = starts[len(values) - after] - 1 if after else len(text)
    return [*values[:first], text[starts[first] : end].strip(), *values[len(values) - after :][:after]]


def plain_text(path: Path, endings: tuple[str, ...], notes: list[str] | None = None) -> Iterator[Record]:
    """The rows of a .txt: prompts or, where lines end in `endings` as files do, paths; with a header, a table's."""
    first = next(_filled(lines(path)), None)
    if first is None:
        raise RudderError(f"{shorten(path.name)} is empty: write a prompt or a path in each line.")
    head = first[1]
    named = plain(head) in HEADERS or ("\t" in head and {"path", "prompt"} & set(chosen(head.split("\t"))))
    if named and not first[2]:
        yield from table(path, notes)
        return
    ends = lambda text: text.strip().strip("\"'").lower().endswith(endings)  # noqa: E731
    paths = all(ends(text) for _, text, _ in _filled(lines(path)))
    for number, text, error in _filled(lines(path, notes)):
        text = text.strip()
        bare = text.strip("\"'")
        if error:
            yield Record(number, {}, error)
        elif ends(text) and (paths or not re.search(r"\s", bare) or "/" in bare or "\\" in bare):
            yield Record(number, {"path": bare})
        else:
            yield Record(number, {"prompt": text})


def json_records(path: Path, notes: list[str] | None = None) -> Iterator[Record]:
    """The rows of JSON lines, of a JSON array, or of an object {picture: {caption, ...}} as training tools write it.

    RudderError where none of the first rows names a picture or a prompt.
    """
    title, records = shorten(path.name), iter(_json_whole(path) or _json_lines(path, notes))
    first: list[Record] = []
    for record in records:
        first.append(record)
        if {"path", "prompt"} & set(chosen(record.values)):
            break
        if len(first) == SAMPLE:
            break
    else:
        names = dict.fromkeys(name for record in first for name in record.values)
        if not names:
            why = f" ({first[0].error})" if first else ""
            raise RudderError(f"{title} holds no row that Rudder can read{why}: write a JSON object in each line.")
        check_columns(names, title)
    yield from first
    yield from records


def _filled(source: Iterator[Line]) -> Iterator[Line]:
    """Lines with which a record may begin, without the byte order marks that files put together have in the middle."""
    for number, text, error in source:
        text = text.lstrip("\ufeff")
        if text.strip("\0 \t\r\f\v") or error:
            yield number, text, error


def _json_lines(path: Path, notes: list[str] | None) -> Iterator[Record]:
    for number, text, error in _filled(lines(path, notes)):
        try:
            value = None if error else json.loads(text)
        except (ValueError, RecursionError) as wrong:
            error = f"line {number} is no JSON ({shorten(wrong)})"
        yield Record(number, {}, error) if error else _object(number, value, f"line {number}")


def _json_whole(path: Path) -> list[Record] | None:
    """The rows of a file that is one JSON value over several lines; None for JSON lines."""
    first = next(_filled(lines(path)), (0, "", None))[1].strip()
    if not first.startswith(("[", "{")):
        return None
    try:
        value = json.loads(first)
        if isinstance(value, dict) and not _all_objects(value):
            return None
        if isinstance(value, list) and not all(isinstance(one, dict | str) for one in value):
            return None
    except (ValueError, RecursionError):
        pass
    if path.stat().st_size > JSON_LIMIT:
        return None
    try:
        value = json.loads("\n".join(text for _, text, _ in lines(path)).lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if _all_objects(value):
        return [Record(n, {"path": key, **one}) for n, (key, one) in enumerate(value.items(), start=1)]
    if isinstance(value, list):
        return [_object(n, one, f"entry {n}") for n, one in enumerate(value, start=1)]
    return [_object(1, value, "entry 1")]


def _all_objects(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(one, dict) for one in value.values())


def _object(number: int, value: Any, what: str) -> Record:
    """A JSON value as a row: an object, or a text as a prompt."""
    if isinstance(value, str):
        return Record(number, {"prompt": value})
    return Record(number, value) if isinstance(value, dict) else Record(number, {}, f"{what} is no JSON object")


class _Ahead:
    """Lines one by one, with a look at those to come."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._seen: deque[Line] = deque()

    def next(self) -> Line | None:
        """The next line that is not blank."""
        return next(_filled(iter(self._one, None)), None)

    def _one(self) -> Line | None:
        return self._seen.popleft() if self._seen else next(self._source, None)

    def peek(self, count: int, characters: int) -> list[str]:
        """The texts of the next lines, at most so many lines and characters."""
        found: list[str] = []
        while len(found) < count and characters > 0:
            if len(found) == len(self._seen):
                row = next(self._source, None)
                if row is None:
                    break
                self._seen.append(row)
            found.append(self._seen[len(found)][1])
            characters -= len(found[-1])
        return found

    def skip(self, count: int) -> None:
        for _ in range(count):
            self._seen.popleft()
