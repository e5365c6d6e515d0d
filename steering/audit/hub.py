"""Data sets of the hub, row by row: what a row holds is handed on as it lies there, and decoded where it is scored.

The datasets library decodes while it reads, so that one damaged picture would end the list: here it decodes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RudderError, shorten
from ..images import Limits
from . import columns

MOST = Limits().file_bytes  # of a picture in an archive
_NAMED = ("id", "label")  # kinds of columns that are read beside the pictures
_OF_HUB = "hf://"


@dataclass(frozen=True)
class Entry:
    """One row: its picture's `data`, or `path` (a file here, or an address in the hub's store), or an `error`; `told`:
    its id and label."""

    data: bytes | None = None
    path: str | None = None
    error: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


def entries(name: str) -> Iterator[Entry]:
    """The rows of NAME[:SPLIT[:COLUMN]] in order, one for each, whatever is wrong with it.

    RudderError for a data set that cannot be opened or has no column of pictures, and where its files cannot be read
    any further: which rows would follow is not known then.
    """
    repository, _, rest = name.partition(":")
    split, _, column = rest.partition(":")
    local = Path(repository) if Path(repository).is_dir() else None
    found = _opened(name, repository, split, local)
    column = column or _pictures(found.features or {})
    if not column:
        raise RudderError(f"{shorten(name)} has no image column: name one as hf:NAME:SPLIT:COLUMN.")
    for index, values in enumerate(_rows(_undecoded(name, found, column), name)):
        yield _entry(values, column, index, local)


def _opened(name: str, repository: str, split: str, local: Path | None) -> Any:
    """The data set, streamed unless it was saved to a folder here by the library."""
    try:
        import datasets
    except ImportError as error:
        raise RudderError("Hugging Face data sets need the datasets package: pip install datasets.") from error
    try:
        if local and (local / "state.json").is_file():
            return datasets.load_from_disk(repository)
        return datasets.load_dataset(repository, split=split or "train", streaming=True)
    except Exception as error:  # the library raises many kinds; all mean that the set cannot be read
        raise RudderError(f"The data set {shorten(name)} cannot be read ({shorten(error)}): check its name.") from error


def _pictures(features: Mapping[str, Any]) -> str:
    """The column of pictures: one of that kind, else of bytes with a path as files of the hub hold them, else the only
    one of bytes; "" where there is none."""
    import datasets

    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    pairs = [key for key, kind in features.items() if isinstance(kind, dict) and {"bytes", "path"} <= set(kind)]
    raw = [key for key, kind in features.items() if getattr(kind, "dtype", None) in ("binary", "large_binary")]
    return next(iter([*images, *pairs, *(raw if len(raw) == 1 else [])]), "")


def _undecoded(name: str, found: Any, column: str) -> Any:
    """The set with the columns that are used alone, nothing of which is decoded."""
    import datasets

    features = found.features
    if features is None:  # rows of unknown kinds are not decoded
        return found
    if column not in features:
        listed = ", ".join(shorten(key, 30) for key in list(features)[:8])
        raise RudderError(f"{shorten(name)} has no column {shorten(column)!r}: choose one of {listed}.")
    named = columns.chosen(key for key in features if key != column)
    found = found.select_columns([column, *(named[kind] for kind in _NAMED if kind in named)])
    if isinstance(features[column], datasets.Image):
        found = found.cast_column(column, datasets.Image(decode=False))
    return found


def _rows(found: Any, name: str) -> Iterator[Any]:
    """What the library gives for each row, or the exception that it raises for it. RudderError where the next one
    cannot be reached."""
    import datasets

    if isinstance(found, datasets.Dataset):  # of a set on this disk each row is asked for by itself
        for index in range(len(found)):
            try:
                yield found[index]
            except Exception as error:  # the library's and Arrow's, of many kinds
                yield error
        return
    several = iter(found)
    for index in itertools.count():
        try:
            values = next(several)
        except StopIteration:
            return
        except Exception as error:  # a network's, or a file's of which no row can be told from another
            raise RudderError(
                f"The data set {shorten(name)} cannot be read further than row {index} ({shorten(error)}): start the "
                "scan again or, where a file of it is damaged, give its lists or folders by address, as "
                "hf://datasets/OWNER/NAME/..."
            ) from error
        yield values


def _entry(values: Any, column: str, index: int, local: Path | None) -> Entry:
    """One row's values, or what was raised for them, as an entry."""
    if isinstance(values, Exception):
        return Entry(error=f"row {index + 1} cannot be read ({shorten(values)})")
    if not isinstance(values, Mapping):
        return Entry(error=f"row {index + 1} is no record but {type(values).__name__}")
    known = columns.told({key: value for key, value in values.items() if key != column})
    told = {kind: value for kind, value in known.items() if kind in _NAMED}
    held = values.get(column)
    data, path = (held.get("bytes"), held.get("path")) if isinstance(held, Mapping) else (held, None)
    if isinstance(data, bytes | bytearray | memoryview):
        return Entry(bytes(data), told=told)
    if data is not None:
        return Entry(error=f"row {index + 1} holds no picture but {type(data).__name__}", told=told)
    if not isinstance(path, str) or not path:
        return Entry(error=f"row {index + 1} holds no picture", told=told)
    if path.startswith(_OF_HUB):
        return Entry(path=path, told=told)
    if path.rpartition("::")[2].startswith(_OF_HUB):
        try:
            return Entry(_in_archive(path), told=told)
        except Exception as error:  # the store's and the archive's, of many kinds
            return Entry(error=f"row {index + 1} cannot be read ({shorten(error)})", told=told)
    if local is None or "://" in path:  # a stranger's set names no files of this machine, nor any other
        return Entry(error=f"row {index + 1} names a picture that is not in the data set", told=told)
    return Entry(path=str(local / path), told=told)


def _in_archive(address: str) -> bytes:
    """A picture in an archive in the hub's store, such as zip://a.png::hf://...; at most one byte more than MOST."""
    import fsspec

    with fsspec.open(address, "rb") as file:
        data: bytes = file.read(MOST + 1)
    return data
