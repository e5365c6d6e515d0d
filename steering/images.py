"""Sets of pictures as people have them: files, folders and zips, with captions and clutter beside the pictures.

What is no picture by its name is left out, and what is damaged too while enough is left; both are said.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import groupby
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, BinaryIO

from PIL import Image

from .archives import STARTS, members
from .decoding import LIMITS, Limits, NoPicture, decode_image, no_picture, original, to_rgb
from .errors import Cancelled, RudderError, remark, shorten
from .formats import SPOKEN, endings, unread_endings

__all__ = ["Limits", "OnDisk", "decode_image", "files_of", "gathered", "is_clutter", "named_images", "open_images",
           "original", "to_rgb"]  # fmt: skip

ENOUGH = 0.5  # of a set's pictures that must be readable
Source = str | os.PathLike[str] | BinaryIO | tuple[str, bytes]
Pictures = Source | Image.Image | Iterable[Source | Image.Image]
_LISTED = 3  # names in a sentence
_PACKED = {".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".cbz"}
_NO_PICTURES = {".txt", ".caption", ".captions", ".tags", ".json", ".jsonl", ".csv", ".tsv", ".md", ".rst", ".html",
                ".htm", ".xml", ".xmp", ".aae", ".thm", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".db",
                ".npz", ".npy", ".pt", ".pth", ".pkl", ".bin", ".ckpt", ".safetensors", ".onnx", ".parquet", ".arrow",
                ".h5", ".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods", ".ppt", ".pptx", ".py", ".ipynb",
                ".js", ".css", ".sh", ".bat", ".ps1", ".exe", ".dll", ".lnk", ".url", ".webloc", ".tmp", ".part",
                ".crdownload", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav", ".m4a", ".ttf"}  # fmt: skip
_CLUTTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin",
            "system volume information"}  # fmt: skip
_CHECKPOINTS = re.compile(r"checkpoints?([-_ ]?\d+)?", re.IGNORECASE)


class OnDisk(Sequence):
    """Pictures that stay in their files until they are asked for, one or a slice of them: any number in flat memory."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [_from_disk(path) for path in self.paths[place]]
        return _from_disk(self.paths[place])


def open_images(
    files: Source | Iterable[Source],
    limits: Limits = LIMITS,
    say: Callable[[str], None] = remark,
    stop: Event | None = None,
) -> list[Image.Image]:
    """Pictures from paths of files and folders, open files, (name, bytes) pairs or zips of such, in order, as sRGB.

    Transparency goes on white, 16-bit and CMYK become 8-bit RGB, colour profiles are followed, the first frame stands
    for an animation, EXIF rotation is applied. `say` is told once what was left out: what is no picture by its name,
    and pictures that cannot be read. Raises RudderError for too many or too large ones in all, where fewer than half
    of the pictures can be read, or where there are none at all; Cancelled once `stop` is set.
    """
    return [image for _, image in named_images(files, limits, say, stop)]


def named_images(
    files: Source | Iterable[Source],
    limits: Limits = LIMITS,
    say: Callable[[str], None] = remark,
    stop: Event | None = None,
) -> list[tuple[str, Image.Image]]:
    """`open_images` with the name of each picture, without its folders."""
    sources = _several(files)
    good: list[tuple[str, Image.Image]] = []
    bad: list[RudderError] = []
    odd: list[tuple[str, RudderError]] = []
    left: list[str] = []
    total = 0
    for path, read in _offered(sources, limits, left):
        if stop is not None and stop.is_set():
            raise Cancelled("Stopped while the pictures were opened: nothing was kept.")
        name = shorten(PurePosixPath(path).name or "picture")
        if len(good) + len(bad) >= limits.files:
            raise RudderError(f"There are more than {limits.files} pictures: choose at most {limits.files}.")
        try:
            data = read(limits.file_bytes)
            total += len(data)
            if len(data) > limits.file_bytes:
                raise RudderError(f"{name} has over {_mb(limits.file_bytes)}: scale it down or leave it out.")
            if total <= limits.total_bytes:
                good.append((name, decode_image(path, data, limits)))
        except RudderError as error:
            kind, foreign = _ending(path), unread_endings() | _PACKED
            if isinstance(error, NoPicture) and kind not in endings() | foreign:
                odd.append((name, error))
            else:
                bad.append(no_picture(name) if kind in foreign else error)
        if total > limits.total_bytes:
            raise RudderError(f"The pictures have over {_mb(limits.total_bytes)} in all: choose fewer or smaller ones.")
    if not good and not bad and odd:
        raise odd[0][1]
    _judge(good, bad, left + [name for name, _ in odd], say)
    return good


def gathered(
    given: Pictures | None, limits: Limits = LIMITS, say: Callable[[str], None] = remark
) -> Sequence[Image.Image]:
    """Pictures however they are given: as PIL images, as what `open_images` takes, or several of these; an OnDisk stays
    what it is.

    RudderError for what is not there, and as `open_images`.
    """
    if given is None or isinstance(given, OnDisk):
        return [] if given is None else given
    found: list[Image.Image] = []
    for opened, some in groupby(_several(given), lambda item: isinstance(item, Image.Image)):
        run: list[Any] = list(some)
        found += run if opened else open_images(run, limits, say)
    return found


def _several(given: Any) -> list[Any]:
    """One source or picture as a list of it, several as they are."""
    pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], (bytes, bytearray, memoryview))
    one = pair or isinstance(given, (Image.Image, str, os.PathLike)) or hasattr(given, "read")
    return [given] if one else list(given)


def _from_disk(path: Path) -> Image.Image:
    """A picture of Rudder's own, as it was written; RudderError where it is gone or damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise RudderError(f"{path} cannot be read ({shorten(error)}): delete it, so that it is made again.") from error


def files_of(path: str | os.PathLike[str], say: Callable[[str], None] = remark) -> list[Path]:
    """The file itself, or a folder's pictures and zips by name, in order, with those of folders in it; what is left out
    is said. RudderError where nothing is there."""
    left: list[str] = []
    found = [file for file in _walked(Path(path), left) if Path(path) == file or not _no_picture(file.name, left)]
    if not found:
        raise RudderError(
            f"{shorten(Path(path).name)} is a folder without pictures{_told(left)}: give one with pictures in it."
        )
    if left:
        say(f"Left out of {shorten(Path(path).name)} {_told(left).strip()}.")
    return found


def is_clutter(name: str) -> bool:
    """What file managers, notebooks and training tools leave beside pictures: hidden, system and checkpoint files."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or any(part.startswith(".") and part.strip(".") or part.lower() in _CLUTTER for part in parts):
        return True
    return any(_CHECKPOINTS.fullmatch(part) for part in parts[:-1])


def _offered(sources: list[Source], limits: Limits, left: list[str]) -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """(path, how to read so many bytes and one of it) of each picture by name, zips opened one level deep; what is none
    goes to `left`."""
    for source in sources:
        if isinstance(source, (str, os.PathLike)):
            for path in _walked(Path(source), left):
                with _file(path) as file:
                    label = path.relative_to(source).as_posix() if path != Path(source) else path.name
                    yield from _one(label, file, limits, left)
        elif isinstance(source, tuple):
            yield from _one(_label(source[0]), _held(source, limits), limits, left)
        else:
            yield from _one(_label(getattr(source, "name", "picture")), _held(source, limits), limits, left)


def _one(path: str, file: BinaryIO, limits: Limits, left: list[str]) -> Iterator[tuple[str, Callable[[int], bytes]]]:
    """A file as `_offered` yields it, or the pictures of a zip."""
    start = file.read(8)
    file.seek(0)
    if not start.startswith(STARTS) or _ending(path) in _NO_PICTURES:
        if not _no_picture(path, left):
            yield path, lambda most: file.read(most + 1)
        return
    title = shorten(PurePosixPath(path).name)
    if file.seek(0, os.SEEK_END) > limits.total_bytes:
        raise RudderError(f"{title} has over {_mb(limits.total_bytes)}: choose a smaller file.")
    found = [member for member in members(title, file) if not _no_picture(member.name, left)]
    if len(found) > limits.files:
        raise RudderError(f"{title} holds {len(found):,} files: put at most {limits.files} pictures in it.")
    for member in found:
        yield f"{title}/{member.name}", member.read


def _walked(path: Path, left: list[str]) -> Iterator[Path]:
    """The file itself, or a folder's files in order, with those of its folders; clutter and links to folders are left.
    RudderError where there is no file."""
    if not path.exists():
        raise RudderError(f"{shorten(path.name)} is not there: give a picture, a folder of pictures or a zip.")
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise RudderError(f"{shorten(path.name)} is no file but a pipe or device: give a picture, a folder or a zip.")
    found = False
    for place, folders, names in os.walk(path):
        inside = Path(place).relative_to(path)
        folders.sort()
        hidden = [n for n in folders if is_clutter(f"{n}/x") or (Path(place) / n).is_symlink()]
        left += hidden
        folders[:] = [name for name in folders if name not in hidden]
        for name in sorted(names):
            found = True
            if is_clutter((inside / name).as_posix()) or not (Path(place) / name).is_file():
                left.append(name)
            else:
                yield Path(place) / name
    if not found:
        raise RudderError(f"{shorten(path.name)} is a folder without files: give one with pictures in it.")


def _no_picture(path: str, left: list[str]) -> bool:
    """Whether a name alone says that it is no picture; it is noted in `left` then."""
    if is_clutter(path) or _ending(path) in _NO_PICTURES:
        left.append(PurePosixPath(path).name)
        return True
    return False


def _file(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise RudderError(f"{shorten(path.name)} cannot be read ({error.strerror}): choose another file.") from error


def _held(source: Any, limits: Limits) -> BinaryIO:
    """A pair's bytes, or an open file's up to the limit and one more."""
    try:
        if isinstance(source, tuple):
            return BytesIO(bytes(source[1]))
        return BytesIO(source.read(limits.total_bytes + 1))
    except (OSError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RudderError(f"{shorten(source)} cannot be read ({shorten(error)}): choose another file.") from error


def _judge(
    good: list[tuple[str, Image.Image]], bad: list[RudderError], left: list[str], say: Callable[[str], None]
) -> None:
    """Say what was left out; RudderError where not enough is left."""
    if len(bad) == 1 and not good:
        raise bad[0]
    many = len(good) + len(bad)
    if not many:
        raise RudderError(
            f"There are no pictures in what was given{_told(left)}: choose {SPOKEN} files, or a zip of them."
        )
    reasons = [str(error).rpartition(": ")[0] for error in bad[:_LISTED]]
    listed = "; ".join(reasons) + (f"; and {len(bad) - _LISTED} more" if len(bad) > _LISTED else "")
    if len(good) < ENOUGH * many:
        raise RudderError(f"{len(bad)} of the {many} pictures cannot be read ({listed}): save them again.")
    if bad:
        say(f"{len(bad)} of the {many} pictures cannot be read and {'is' if len(bad) == 1 else 'are'} left out: "
            f"{listed}.")  # fmt: skip
    if left:
        say(f"Left out{_told(left)}.")


def _told(left: list[str]) -> str:
    """ " (3 files that are no pictures: a.txt, b.txt and 1 more)", or nothing."""
    if not left:
        return ""
    names = ", ".join(shorten(name, 30) for name in left[:_LISTED])
    names += f" and {len(left) - _LISTED:,} more" if len(left) > _LISTED else ""
    return f" ({len(left):,} {'file that is no picture' if len(left) == 1 else 'files that are no pictures'}: {names})"


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _label(name: Any) -> str:
    return Path(str(name).replace("\\", "/")).name


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size:,} bytes"
