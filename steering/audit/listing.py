"""Long lists of pictures or prompts to audit: folders, zips, CSV, JSONL, text files, Hugging Face datasets.

Rows come one by one, so that a list may be as long as it likes. What is wrong with one row is told in the row.
"""

from __future__ import annotations

import csv
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ..checks import text, whole
from ..errors import RudderError, shorten
from ..images import Limits, decode_image, is_clutter, to_rgb
from ..recipe import SEED_LIMIT

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
COLUMNS = {"path": ("path", "image", "file"), "prompt": ("prompt", "caption", "text")}
LISTS = {".csv", ".jsonl", ".txt"}
LIMITS = Limits()
HUB = "hf:"
ID_LIMIT = 300  # characters kept of what a list calls a row, and of its label
Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Row:
    """One entry: a picture (by `path`, `member` of the zip at `path`, or `data`) or a `prompt`; or an `error`."""

    id: str
    path: str | None = None
    member: str | None = None
    data: bytes | None = None
    prompt: str | None = None
    seed: int = 0
    label: str | None = None
    error: str | None = None


def rows(source: Source, uploaded: bool = False) -> Iterator[Row]:
    """Every row of a list, in a fixed order; a second row of an id becomes an error.

    `source`: a folder (with its subfolders), a .zip, a .csv or .jsonl with a column path or prompt (id, label
    and seed as well if there), a .txt of prompts, one picture, hf:NAME[:SPLIT[:COLUMN]], or several of these.
    RudderError for anything else, a missing file, or a list without one of the columns; of several, what cannot be
    read is a row that says so. In an `uploaded` list a path is an error, since it would name a file of this machine.
    """
    given = {str(source)} if isinstance(source, str | Path) else {str(one) for one in source}
    seen: set[int] = set()
    for row in _read(source) if isinstance(source, str | Path) else _several(source):
        key = hash(row.id)
        if key in seen and not row.error:
            row = replace(row, error=f"the id {shorten(row.id)!r} was there before: give every row its own")
        seen.add(key)
        if uploaded and row.path and row.member is None and row.path not in given and not row.error:
            row = replace(row, error="an uploaded list cannot name files here: put the pictures into a zip")
        yield row


def open_row(row: Row) -> Image.Image:
    """The row's picture as RGB within the limits; RudderError names what is wrong with it."""
    if row.error:
        raise RudderError(row.error)
    name = shorten(row.member or (Path(row.path).name if row.path else row.id))
    if row.data is not None:
        return decode_image(name, row.data, LIMITS)
    try:
        if row.member is None:
            with open(row.path, "rb") as file:
                data = file.read(LIMITS.file_bytes + 1)
        else:
            with zipfile.ZipFile(row.path) as archive, archive.open(row.member) as file:
                data = file.read(LIMITS.file_bytes + 1)
    except Exception as error:  # zipfile and the file system raise a dozen kinds; each becomes one sentence
        reason = getattr(error, "strerror", None) or shorten(error)  # without the place, which may be a server's
        raise RudderError(f"{name} cannot be read ({reason}): check the file.") from error
    if len(data) > LIMITS.file_bytes:
        raise RudderError(f"{name} has over {LIMITS.file_bytes // 2**20} MB: scale it down.")
    return decode_image(name, data, LIMITS)


def readable(source: str | Path) -> None:
    """RudderError as `rows` for a source that is not there or no list; the hub is not asked."""
    if not str(source).startswith(HUB):
        _read(source)


def is_list(path: Path) -> bool:
    """Whether a path is a list of pictures or prompts, rather than a picture, a zip or a folder."""
    return path.suffix.lower() in LISTS and not path.is_dir()


def title(source: Source) -> str:
    """What to call a source in a report: its name, without the folders of this machine."""
    if isinstance(source, str | Path):
        return str(source) if str(source).startswith(HUB) else Path(source).name
    return title(source[0]) if len(source) == 1 else f"{len(source)} files"


def _several(sources: Sequence[str | Path]) -> Iterator[Row]:
    """The rows of each source in turn; with more than one, those of a zip or a list are named after it too.

    Of sources that share a name the second is called "name (2)", and so on.
    """
    named: Counter[str] = Counter()
    for source in sources:
        name = Path(source).name
        named[name] += 1
        name += f" ({named[name]})" if named[name] > 1 else ""
        inside = len(sources) > 1 and Path(source).suffix.lower() not in PICTURES
        try:
            for row in _read(source):
                one = len(sources) > 1 and not inside
                yield replace(row, id=name if one else f"{name}/{row.id}" if inside else row.id)
        except RudderError as error:
            if len(sources) == 1:
                raise
            yield Row(name, error=str(error))


def _read(source: str | Path) -> Iterator[Row]:
    if str(source).startswith(HUB):
        return _dataset(str(source)[len(HUB) :])
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise RudderError(f"{shorten(source)} is not there: give a folder, a zip, a list or a picture.")
    kind = path.suffix.lower()
    if kind in PICTURES:
        return iter([Row(path.name, str(path))])
    readers = {".zip": _zip, ".csv": _csv, ".jsonl": _jsonl, ".txt": _texts}
    if kind not in readers:
        raise RudderError(
            f"{shorten(path.name)} is no list Rudder can read: give a folder, a zip, a .csv, .jsonl or .txt file."
        )
    return readers[kind](path)


def _folder(folder: Path) -> Iterator[Row]:
    found = False
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if Path(name).suffix.lower() in PICTURES and not name.startswith("."):
                found = True
                path = Path(place) / name
                yield Row(path.relative_to(folder).as_posix(), str(path))
    if not found:
        raise RudderError(f"{shorten(folder)} holds no pictures: give another folder.")


def _zip(path: Path) -> Iterator[Row]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [i.filename for i in archive.infolist() if not i.is_dir() and not is_clutter(i.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise RudderError(f"{shorten(path.name)} is a damaged zip ({shorten(error)}): make it again.") from error
    pictures = [name for name in members if Path(name).suffix.lower() in PICTURES]
    if not pictures:
        raise RudderError(f"{shorten(path.name)} holds no pictures: give another zip.")
    for name in pictures:
        yield Row(name, str(path), name)


def _csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        names = [name for name in reader.fieldnames or () if name]
        _column(names, path)
        try:
            for index, values in enumerate(reader):
                yield _entry(values, index, path)
        except csv.Error as error:
            raise RudderError(
                f"{shorten(path.name)} is no CSV from here on ({shorten(error)}): save it again."
            ) from error


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for index, line in enumerate(file):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(str(index), error=f"line {index + 1} is no JSON ({shorten(error)})")
                continue
            if not isinstance(values, dict):
                yield Row(str(index), error=f"line {index + 1} is no JSON object")
                continue
            if index == 0:
                _column(list(values), path)
            yield _entry(values, index, path)


def _texts(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for index, line in enumerate(file):
            if line.strip():
                yield _entry({"prompt": line.strip()}, index, path)


def _dataset(name: str) -> Iterator[Row]:
    """Rows of a Hugging Face dataset, streamed; its image column is found by its feature."""
    try:
        import datasets
    except ImportError as error:
        raise RudderError("Hugging Face data sets need the datasets package: pip install datasets.") from error
    repository, _, rest = name.partition(":")
    split, _, column = rest.partition(":")
    try:
        if Path(repository).is_dir() and (Path(repository) / "state.json").is_file():
            found = datasets.load_from_disk(repository)
        else:
            found = datasets.load_dataset(repository, split=split or "train", streaming=True)
    except Exception as error:  # the library raises many kinds; all mean that the set cannot be read
        raise RudderError(f"The data set {shorten(name)} cannot be read ({shorten(error)}): check its name.") from error
    column = column or next(
        (key for key, kind in (found.features or {}).items() if isinstance(kind, datasets.Image)), ""
    )
    if not column:
        raise RudderError(f"{shorten(name)} has no image column: name one as hf:NAME:SPLIT:COLUMN.")
    for index, values in enumerate(found):
        yield Row(str(values.get("id", index)), data=_bytes(values[column]), label=_label(values))


def _bytes(image: Any) -> bytes:
    file = BytesIO()
    to_rgb(image).save(file, format="PNG")
    return file.getvalue()


def _column(names: list[str], path: Path) -> None:
    """RudderError unless a list says where its pictures are or what its prompts are."""
    if not any(name in names for known in COLUMNS.values() for name in known):
        listed = ", ".join(shorten(n, 30) for n in names[:8]) or "none"
        raise RudderError(
            f"{shorten(path.name)} has no column path or prompt (its columns: {listed}): name one of them so."
        )


def _entry(values: Mapping[str, Any], index: int, path: Path) -> Row:
    """One row of a list; relative paths start at the list's folder."""
    told = {key: next((values[n] for n in names if values.get(n)), None) for key, names in COLUMNS.items()}
    name = shorten(values.get("id") or told["path"] or index, ID_LIMIT)
    if told["path"] is None and told["prompt"] is None:
        return Row(name, error=f"row {index + 1} has neither a path nor a prompt")
    try:
        seed = whole("The seed", int(values.get("seed") or 0), 0, SEED_LIMIT - 1)
        prompt = None if told["prompt"] is None else text("The prompt", told["prompt"], 2000)
    except (RudderError, TypeError, ValueError) as error:
        return Row(name, error=f"row {index + 1}: {shorten(error, 200)}")
    where = None if told["path"] is None else str(path.parent / str(told["path"]))
    return Row(name, where, prompt=prompt, seed=seed, label=_label(values))


def _label(values: Mapping[str, Any]) -> str | None:
    label = values.get("label")
    return None if label in (None, "") else shorten(label, ID_LIMIT)
