"""Long lists of pictures or prompts to audit: folders, zips, tables, JSON, text files, here or in a store (remote.py),
and Hugging Face datasets.

Rows come one by one, so that a list may be as long as it likes. What is wrong with one row is told in the row.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..archives import METHODS, meant
from ..checks import text
from ..errors import RudderError, printable, shorten
from ..files import open_regular
from ..formats import endings, unread_endings
from ..images import Limits, decode_image
from . import columns, hub, places, remote, tables

LIMITS = Limits()
HUB = "hf:"
ID_LIMIT = 300  # characters kept of what a list calls a row, and of its label
UPLOADED_LIST = 20 * 2**20  # bytes of a list that somebody else sent
TABLES, JSON, TEXT = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json"), (".txt", ".text")
KINDS = "a folder, a zip, a picture, or a list as .csv, .tsv, .json, .jsonl or .txt"
Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Row:
    """One entry: a picture (by `path`, `member` of the zip at `path`, or `data`) or a `prompt`; or an `error`.

    `stamp`: what tells a picture's file from another one of its name, without reading it (bytes, or a zip's CRC).
    """

    id: str
    path: str | None = None
    member: str | None = None
    data: bytes | None = None
    prompt: str | None = None
    seed: int = 0
    label: str | None = None
    error: str | None = None
    stamp: str | None = None

    def mark(self, stamped: bool = True) -> str:
        """12 hex digits that stand for the entry and (`stamped`) its file as it is."""
        place = self.path if remote.is_remote(self.path) else None
        if self.path and place is None and "\0" not in self.path:
            place = os.path.abspath(self.path)
        told = (self.id, place, self.member, self.prompt, self.seed, self.label, self.error)
        whole = (*told, self.stamp) if stamped else told
        return hashlib.sha256(repr(whole).encode()).hexdigest()[:12]


def rows(source: Source, uploaded: bool = False, notes: list[str] | None = None) -> Iterator[Row]:
    """Every row of a list, in a fixed order; a second row of an id becomes an error.

    `source`: a folder (with its subfolders), a .zip, a table (.csv, .tsv) or JSON (.jsonl, .json) that names pictures
    or prompts (see columns.py; id, label and seed as well if there), a .txt of prompts or of paths, one picture,
    hf:NAME[:SPLIT[:COLUMN]], the address of a folder, list or picture in a store (s3://...), or several of these.
    `notes` gets a sentence for each thing that was left out or guessed. RudderError for anything else, a missing file,
    or a list without a row; of several, what cannot be read is a row that says so. In an `uploaded` list a path is an
    error, since it would name a file of this machine.
    """
    given = {_place(one) for one in ([source] if isinstance(source, str | Path) else source)}
    seen: set[int] = set()
    for row in _read(source, uploaded, notes) if isinstance(source, str | Path) else _several(source, uploaded, notes):
        key = hash(row.id)
        if key in seen and not row.error:
            row = replace(row, error=f"the id {shorten(row.id)!r} was there before: give every row its own")
        seen.add(key)
        if uploaded and row.path and row.member is None and row.path not in given and not row.error:
            row = replace(row, error="an uploaded list cannot name files here: put the pictures into a zip")
        yield row
    if not seen:
        raise RudderError(f"{shorten(title(source))} has no rows: give a list with at least one picture or prompt.")


def open_row(row: Row) -> Image.Image:
    """The row's picture as RGB within the limits; RudderError names what is wrong with it."""
    if row.error:
        raise RudderError(row.error)
    full = row.member or (Path(row.path).name if row.path else row.id)
    name = shorten(full)
    if row.data is not None:
        return decode_image(full, _bounded(name, row.data), LIMITS)
    if row.path is None:
        raise RudderError(f"{name} names no picture: give it a path.")
    try:
        data = _content(row, LIMITS.file_bytes + 1)
    except Exception as error:  # zipfile and the file system raise a dozen kinds; each becomes one sentence
        reason = getattr(error, "strerror", None) or shorten(error)  # without the place, which may be a server's
        raise RudderError(f"{name} cannot be read ({reason}): check the file.") from error
    return decode_image(full, _bounded(name, data), LIMITS)


def _bounded(name: str, data: bytes | None) -> bytes:
    """The bytes of a picture; RudderError for None, as `_content` tells too many, and for too many."""
    if data is None or len(data) > LIMITS.file_bytes:
        raise RudderError(f"{name} has over {LIMITS.file_bytes // 2**20} MB: scale it down.")
    return data


def _content(row: Row, most: int) -> bytes | None:
    """At most so many bytes of a row's file; None, without reading, where it says that it has as many or more."""
    assert row.path is not None
    if remote.is_remote(row.path):
        return remote.read(row.path, most)
    if row.member is not None:
        archive = places.archive(row.path)
        info = archive.getinfo(row.member)
        if info.compress_type not in METHODS:
            raise RudderError("packed in a way that is not read here, so make the zip with plain compression")
        if info.file_size >= most:
            return None
        with archive.open(info) as file:
            return file.read(most)
    with open_regular(row.path) as file:
        return None if os.fstat(file.fileno()).st_size >= most else file.read(most)


def survey(source: Source, uploaded: bool = False) -> tuple[int, str, list[str]]:
    """(how many rows, a hash of what they are, what was left out or guessed): one pass without opening a picture.

    The hash is of the entries, not of the files they name: those carry a stamp each. RudderError as `rows`.
    """
    notes: list[str] = []
    total, digest = 0, hashlib.sha256()
    for row in rows(source, uploaded, notes):
        total += 1
        digest.update(row.mark(stamped=False).encode())
    return total, digest.hexdigest()[:16], notes


def from_hub(source: str | Path) -> bool:
    """Whether a source is a data set of the hub, read by its library; an address in the hub's store is none."""
    return str(source).startswith(HUB) and not remote.is_remote(str(source))


def readable(sources: Sequence[str | Path]) -> None:
    """RudderError as `rows` for a source that is not there, or alone and without a row; the hub is not asked."""
    for source in sources:
        if from_hub(source):
            continue
        try:
            next(rows(source))
        except RudderError:
            if len(sources) == 1 or not os.path.lexists(source):
                raise


def title(source: Source) -> str:
    """What to call a source in a report: its name, without the folders of this machine."""
    if isinstance(source, str | Path):
        if from_hub(source):
            return str(source)
        if remote.is_remote(source):
            return printable(remote.name_of(str(source)))
        return printable(Path(source).name or Path(source).resolve().name or "/")
    return title(source[0]) if len(source) == 1 else f"{len(source)} files"


def _several(sources: Sequence[str | Path], uploaded: bool, notes: list[str] | None) -> Iterator[Row]:
    """The rows of each source in turn; with more than one, those of a zip or a list are named after it too.

    Of sources that share a name the second is called "name (2)", and so on.
    """
    named: Counter[str] = Counter()
    for source in sources:
        name = title(source)
        named[name] += 1
        name += f" ({named[name]})" if named[name] > 1 else ""
        try:
            for row in _read(source, uploaded, notes):
                itself = row.path == _place(source) and not row.member
                yield row if len(sources) == 1 else replace(row, id=name if itself else f"{name}/{row.id}")
        except RudderError as error:
            if len(sources) == 1:
                raise
            yield Row(name, error=str(error))


def _read(source: str | Path, uploaded: bool = False, notes: list[str] | None = None) -> Iterator[Row]:
    if from_hub(source):
        yield from _dataset(str(source)[len(HUB) :])
        return
    if remote.is_remote(source) and not uploaded:
        yield from _in_store(str(source), notes)
        return
    path, told = Path(source), title(source) if uploaded else shorten(source)
    try:
        if path.is_dir():
            yield from _folder(path, notes)
            return
        if not path.exists():
            raise RudderError(f"{told} is not there: give {KINDS}.")
        if not path.is_file():
            raise RudderError(f"{told} is a pipe or a device, no file: give {KINDS}.")
        yield from _file(path, path.suffix.lower(), uploaded, notes)
    except (OSError, ValueError) as error:
        if isinstance(error, RudderError):
            raise
        reason = getattr(error, "strerror", None) or shorten(error)
        raise RudderError(f"{told} cannot be read ({reason}): check the file.") from error


def _file(path: Path, ending: str, uploaded: bool, notes: list[str] | None) -> Iterator[Row]:
    if ending == ".zip":
        yield from _zip(path, uploaded, notes)
        return
    if ending in (*TABLES, *JSON, *TEXT):
        if uploaded and path.stat().st_size > UPLOADED_LIST:
            raise RudderError(f"{shorten(path.name)} has over {UPLOADED_LIST // 2**20} MB: send a shorter list.")
        for index, record in enumerate(_records(path, ending, notes)):
            yield _entry(record, index, str(path))
        return
    if places.is_picture(path.name) or places.picture_file(path):
        yield Row(printable(path.name), str(path), stamp=str(path.stat().st_size))
        return
    reason = places.unread(path.name)
    raise RudderError(reason or f"{shorten(path.name)} is no list Rudder can read: give {KINDS}.")


def _records(path: Path, ending: str, notes: list[str] | None) -> Iterator[tables.Record]:
    if ending in TABLES:
        return tables.table(path, notes)
    if ending in JSON:
        return tables.json_records(path, notes)
    return tables.plain_text(path, tuple(endings() | unread_endings()), notes)


def _in_store(address: str, notes: list[str] | None) -> Iterator[Row]:
    """The rows of a folder, list or picture at an address."""
    ending = Path(remote.name_of(address)).suffix.lower()
    if remote.is_folder(address):
        left, found = places.Left(title(address)), False
        for name, place, stamp, error in remote.walk(address, left):
            found = True
            yield Row(printable(name), place, error=error, stamp=stamp)
        if notes is not None:
            notes += left.notes()
        if not found:
            raise RudderError(f"{shorten(address)} holds no pictures: give another folder.")
    elif ending in (*TABLES, *JSON, *TEXT):
        for index, record in enumerate(_records(remote.fetched(address), ending, notes)):
            yield _entry(record, index, address)
    elif places.is_picture(address):
        yield Row(printable(remote.name_of(address)), address)
    else:
        also = "download the zip, or give its pictures' folder" if ending == ".zip" else f"give {KINDS}"
        raise RudderError(f"{shorten(address)} is no list Rudder can read from a store: {also}.")


def _folder(folder: Path, notes: list[str] | None) -> Iterator[Row]:
    left, found = places.Left(title(folder)), False
    for name, path, size, error in places.walk(folder, left):
        found = True
        yield Row(printable(name), str(path), error=error, stamp=None if size is None else str(size))
    if notes is not None:
        notes += left.notes()
    if not found:
        also = f" ({left.notes()[0].partition(': ')[2].rstrip('.')})" if left.notes() else ""
        raise RudderError(f"{shorten(folder)} holds no pictures{also}: give another folder.")


def _zip(path: Path, uploaded: bool, notes: list[str] | None) -> Iterator[Row]:
    left, found = places.Left(title(path)), False
    for info, error in places.members(path, left, uploaded):
        found = True
        stamp = f"{info.CRC:08x}"
        yield Row(printable(meant(info)), str(path), info.filename, error=error, stamp=stamp)
    if notes is not None:
        notes += left.notes()
    if not found:
        raise RudderError(f"{shorten(path.name)} holds no pictures: give another zip.")


def _dataset(name: str) -> Iterator[Row]:
    """The rows of a data set of the hub; one that is damaged says so, and its pictures are decoded by `open_row`."""
    for index, entry in enumerate(hub.entries(name)):
        stamp = None if entry.data is None else f"{zlib.crc32(entry.data):08x}"
        yield Row(_named(entry.told, index, entry.error), entry.path, data=entry.data, label=_label(entry.told),
                  error=entry.error, stamp=stamp)  # fmt: skip


def _entry(record: tables.Record, index: int, at: str) -> Row:
    """One row of the list `at` a path or an address; relative paths start at its folder."""
    told = columns.told(record.values)
    name = _named(told, index, record.error)
    label = _label(told)
    if record.error:
        return Row(name, label=label, error=record.error)
    if "path" not in told and "prompt" not in told:
        web = ", only an address on the web, and Rudder fetches nothing" if "url" in told else ""
        return Row(name, label=label, error=f"row {index + 1} has neither a path nor a prompt{web}")
    try:
        if "path" not in told:
            prompt, seed = text("The prompt", told["prompt"]).strip(), columns.seed_of(told.get("seed"))
            return Row(name, prompt=prompt, seed=seed, label=label)
        place = columns.place_of(told["path"])
    except RudderError as error:
        return Row(name, label=label, error=f"row {index + 1}: {shorten(error, 200)}")
    if os.sep == "/" and "\\" in place and "/" not in place:  # as Windows writes it
        place = place.replace("\\", "/")
    whole = (
        remote.beside(at, place) if remote.is_remote(at) or remote.is_remote(place) else str(Path(at).parent / place)
    )
    return Row(name, whole, label=label, error=places.unread(place))


def _place(source: str | Path) -> str:
    """A source as rows name it: an address as it is, a path as the system writes it."""
    return str(source) if remote.is_remote(source) else str(Path(source))


def _name(value: object) -> str:
    """What a list calls a row; long names that start alike stay apart."""
    told = str(value)[: 16 * ID_LIMIT].strip()
    name = printable(told)
    if len(name) <= ID_LIMIT:
        return name
    return f"{name[: ID_LIMIT - 9]}…{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _named(told: Mapping[str, Any], index: int, error: str | None) -> str:
    """A row's id, else its path, else its number from 0; one that cannot be read takes no other's id from it."""
    return _name(told.get("id", told.get("path", f"row {index + 1}" if error else index)))


def _label(told: Mapping[str, Any]) -> str | None:
    return shorten(told["label"], ID_LIMIT) if "label" in told else None
