"""Lists and pictures in object stores: s3://, gs://, az://, hf:// and what else fsspec reads, named by their addresses.

A list is fetched once into a temporary file; pictures are read where they are scored, each in one request.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import RudderError, shorten
from ..images import is_clutter
from .places import Left, is_picture, unread

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub",
            "file": "fsspec", "memory": "fsspec"}  # fmt: skip
_ADDRESS = re.compile(rf"({'|'.join(PACKAGES)})://[^\s]", re.IGNORECASE)
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "size")  # by which stores tell one content from another


def is_remote(place: object) -> bool:
    """Whether it is an address in a store that Rudder reads, and no path of this machine."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def name_of(address: str) -> str:
    """The last part of an address."""
    return PurePosixPath(address.partition("://")[2]).name or address


def beside(address: str, place: str) -> str:
    """What a list at an address means by a path: a whole address, or one that starts at the list's folder."""
    if is_remote(place):
        return place
    scheme, _, path = address.partition("://")
    parts: list[str] = []
    for part in (*PurePosixPath(path).parent.parts, *PurePosixPath(place).parts):
        if part == ".." and len(parts) > 1:  # never out of the bucket
            parts.pop()
        elif part not in ("..", "/"):
            parts.append(part)
    return f"{scheme}://{'/' if path.startswith('/') else ''}{'/'.join(parts)}"


def read(address: str, most: int) -> bytes | None:
    """At most so many bytes; None where there are as many or more. OSError, or the store's own kinds of errors."""
    store, path = _store(address)
    data = store.cat_file(path, start=0, end=most)
    return None if len(data) >= most else data


def is_folder(address: str) -> bool:
    """Whether other things lie below it. RudderError for what is not there, or a store that does not answer."""
    with _told(address):
        store, path = _store(address)
        if store.isfile(path):
            return False
        if store.isdir(path):
            return True
    raise RudderError(f"{shorten(address)} is not there: check the address.")


def walk(address: str, left: Left) -> Iterator[tuple[str, str, str | None, str | None]]:
    """(name within the folder, address, stamp, what is wrong or None) of every picture of a folder and those in it.

    In order of names, files first; hidden files and folders are left out. A folder's entries are held in memory, one
    folder at a time: name the pictures in a list where one holds millions. RudderError as `is_folder`.
    """
    store, top = _store(address)
    start, waiting = address.rstrip("/"), [(top.rstrip("/"), "")]
    while waiting:
        place, inside = waiting.pop()
        with _told(f"{start}/{inside}"):
            found = store.ls(place, detail=True)
        folders = []
        for info in sorted(found, key=lambda one: str(one["name"])):
            name = PurePosixPath(str(info["name"])).name
            if str(info["name"]).rstrip("/") == place:  # some stores keep an entry for the folder itself
                continue
            if is_clutter(name):
                left.reasons["hidden files or folders"] += 1
            elif info["type"] == "directory":
                folders.append((str(info["name"]).rstrip("/"), f"{inside}{name}/"))
            elif not is_picture(name) and not unread(name):
                left.file(name)
            else:
                stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), None)
                yield f"{inside}{name}", f"{start}/{inside}{name}", stamp, unread(name)
        waiting += reversed(folders)


_fetched: dict[str, tempfile.TemporaryDirectory[str]] = {}


def fetched(address: str) -> Path:
    """A copy of a file on this machine, of the same name; kept until `forget`. RudderError as `is_folder`."""
    if address not in _fetched:
        folder = tempfile.TemporaryDirectory(prefix="rudder-list-")
        with _told(address):
            store, path = _store(address)
            store.get_file(path, f"{folder.name}/{name_of(address)}")
        _fetched[address] = folder
    return Path(_fetched[address].name) / name_of(address)


def forget() -> None:
    """Remove the copies."""
    while _fetched:
        _fetched.popitem()[1].cleanup()


def _store(address: str) -> tuple[Any, str]:
    """fsspec's file system, which is one for all threads, and the path in it. RudderError without its package."""
    from fsspec.core import url_to_fs

    scheme = address.partition("://")[0].lower()
    try:
        found: tuple[Any, str] = url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        needed = PACKAGES[scheme]
        raise RudderError(f"{scheme}:// needs the {needed} package: pip install {needed}.") from error
    return found


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What goes wrong with a store, of which each has kinds of its own, as one sentence."""
    try:
        yield
    except RudderError:
        raise
    except FileNotFoundError as error:
        raise RudderError(f"{shorten(address)} is not there: check the address.") from error
    except Exception as error:
        raise RudderError(
            f"{shorten(address)} cannot be read ({shorten(error)}): check the address and your access to it."
        ) from error
