"""Where the pictures of a list lie: folders and zips, what in them is a picture, and what is left out and why."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import threading
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from ..errors import RudderError, shorten
from ..files import open_regular
from ..formats import FORMATS, endings, unread_endings
from ..images import is_clutter

HIDDEN = re.compile(r"(^|[/\\])\.[^./\\]")
KEPT = 4  # archives whose directory is kept
UPLOADED_DIRECTORY = 4 * 2**20  # bytes of the directory of a zip that somebody else sent


@dataclass
class Left:
    """What of a folder or a zip is left out, by reason."""

    title: str
    reasons: Counter[str] = field(default_factory=Counter)

    def file(self, name: str) -> None:
        """A file that is no picture, by the ending of its name."""
        ending = PurePosixPath(name).suffix.lower()
        self.reasons[f"{shorten(ending, 12)} files" if ending else "files without an ending"] += 1

    def notes(self) -> list[str]:
        """One sentence, or none if nothing was left out."""
        told = [f"{count:,} {reason}" for reason, count in self.reasons.most_common(8)]
        more = sum(self.reasons.values()) - sum(count for _, count in self.reasons.most_common(8))
        told += [f"{more:,} others"] * bool(more)
        return [f"{self.title}: left out what is no picture: {', '.join(told)}."] if told else []


def is_picture(name: str) -> bool:
    """Whether a file's name says that it is a picture that can be read."""
    return PurePosixPath(name).suffix.lower() in endings()


def unread(name: str) -> str | None:
    """Why a picture is none that can be read, by its name; None for one that can, and for what is no picture."""
    ending = PurePosixPath(name).suffix.lower()
    if ending in unread_endings():
        return (
            f"{shorten(PurePosixPath(name).name)} is a picture in a format that Rudder does not read: save it as PNG."
        )
    return None


def walk(folder: Path, left: Left) -> Iterator[tuple[str, Path, int | None, str | None]]:
    """(name within the folder, path, bytes, what is wrong or None) of every picture of a folder and those in it.

    In order of names, files first. Links are followed, each folder is read once; hidden files and folders are left out.
    RudderError for a folder that cannot be read; one further in is a row that says so.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(folder, "")]
    while waiting:
        place, inside = waiting.pop()
        try:
            here = place.stat()
            if (here.st_dev, here.st_ino) in seen:
                left.reasons["links to folders that are read already"] += 1
                continue
            seen.add((here.st_dev, here.st_ino))
            names = sorted(os.listdir(place))
        except OSError as error:
            reason = f"{shorten(inside or place)} cannot be read ({error.strerror}): check the folder."
            if not inside:
                raise RudderError(reason) from error
            yield inside, place, None, reason
            continue
        folders = []
        for name in names:
            path, told = place / name, f"{inside}{name}"
            if is_clutter(name):
                left.reasons["hidden files or folders"] += 1
                continue
            try:
                found = path.stat()
            except OSError as error:
                if is_picture(name) or unread(name):
                    yield told, path, None, f"{shorten(name)} cannot be read ({error.strerror}): check the file."
                else:
                    left.reasons["links to nothing"] += 1
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append((path, f"{told}/"))
            elif not is_picture(name) and not unread(name):
                left.file(name)
            elif not stat.S_ISREG(found.st_mode):
                yield told, path, None, f"{shorten(name)} is a pipe or a device, no file: leave it out."
            else:
                yield told, path, found.st_size, unread(name)
        waiting += reversed(folders)


def members(path: Path, left: Left, uploaded: bool = False) -> Iterator[tuple[zipfile.ZipInfo, str | None]]:
    """(member, what is wrong or None) of every picture of a zip, in its order.

    RudderError for a damaged zip, and for an `uploaded` one whose directory is too long to be read.
    """
    if uploaded:
        _bound(path)
    try:
        found = archive(path).infolist()
    except OSError as error:
        raise RudderError(f"{shorten(path.name)} cannot be read ({error.strerror}): check the file.") from error
    except Exception as error:  # zipfile raises a dozen kinds
        raise RudderError(f"{shorten(path.name)} is a damaged zip ({shorten(error)}): make it again.") from error
    for info in found:
        name = info.filename
        if info.is_dir() or name.endswith("\\"):
            continue
        if any(map(is_clutter, PurePosixPath(name.replace("\\", "/")).parts)) or HIDDEN.search(name):
            left.reasons["hidden files or folders"] += 1
        elif not is_picture(name) and not unread(name):
            left.file(name)
        else:
            yield info, unread(name)


_archives: OrderedDict[tuple[str, int, int], zipfile.ZipFile] = OrderedDict()
_lock = threading.Lock()  # visitors' scans run side by side


def archive(path: str | Path) -> zipfile.ZipFile:
    """An open zip; its directory is read once, not once a row. Kept until `forget`, or until others come."""
    found = os.stat(path)
    key = (str(path), found.st_mtime_ns, found.st_size)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, no file")
    with _lock:
        opened = _archives.get(key) or zipfile.ZipFile(path)
        _archives[key] = opened
        _archives.move_to_end(key)
        while len(_archives) > KEPT:
            _archives.popitem(last=False)
    return opened


def forget() -> None:
    """Let go of the zips that were open; those in use stay so until they are done with."""
    with _lock:
        _archives.clear()


def picture_file(path: Path) -> bool:
    """Whether a file without a known ending begins as a picture that can be read."""
    try:
        with open_regular(path) as file, Image.open(file, formats=FORMATS):
            return True
    except Exception:  # Pillow's readers raise many kinds; all of them mean no
        return False


def _bound(path: Path) -> None:
    """RudderError for a zip with a directory too long for a set of pictures, told before zipfile reads it whole."""
    with open_regular(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65_557 - 76))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(end):
        raise RudderError(f"{shorten(path.name)} is a damaged zip (it has no end): make it again.")
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    if end[max(at - 20, 0) : at].startswith(b"PK\x06\x07"):  # Zip64: its record stands before, with a size of its own
        record = end[max(at - 76, 0) : at - 20]
        size = int.from_bytes(record[40:48], "little") if record.startswith(b"PK\x06\x06") else sys.maxsize
    if size > UPLOADED_DIRECTORY:
        raise RudderError(f"{shorten(path.name)} has too long a directory: send fewer pictures at once.")
