"""Pictures from strangers: opened one by one, bounded in number, bytes and pixels, returned as plain RGB."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from .errors import RudderError, shorten
from .png import CHUNK

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_SPOKEN = "PNG, JPEG, WebP, BMP, GIF or TIFF"
ENLARGED_MOST = 16  # times that a download may be enlarged
_DIRECTORY_LIMIT = 4 * 1024 * 1024  # bytes of a zip's central directory: read whole by zipfile, so bounded first
Source = str | os.PathLike[str] | BinaryIO | tuple[str, bytes]
Pictures = Source | Image.Image | Iterable[Source | Image.Image]


@dataclass(frozen=True)
class Limits:
    """Bounds on one upload. `side` is the longest side kept: larger pictures are scaled down on arrival."""

    files: int = 200
    file_bytes: int = 20 * 1024 * 1024
    total_bytes: int = 200 * 1024 * 1024
    pixels: int = 50_000_000
    side: int = 768


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


def open_images(files: Source | Iterable[Source], limits: Limits = Limits()) -> list[Image.Image]:
    """Pictures from paths, open files, (name, bytes) pairs or zips of such, in order, as RGB.

    Transparency goes on white, 16-bit and CMYK become 8-bit RGB, the first frame stands for an animation,
    EXIF rotation is applied. Raises RudderError naming the file for anything too large, too many, damaged or
    no picture at all.
    """
    images: list[Image.Image] = []
    total = 0
    for name, data in _unpacked(_several(files), limits):
        total += len(data)
        if len(images) >= limits.files:
            raise RudderError(f"There are more than {limits.files} pictures: choose at most {limits.files}.")
        if total > limits.total_bytes:
            raise RudderError(f"The pictures have over {_mb(limits.total_bytes)} in all: choose fewer or smaller ones.")
        images.append(decode_image(name, data, limits))
    if not images:
        raise RudderError(f"There are no pictures in what was given: choose {_SPOKEN} files, or a zip of them.")
    return images


def gathered(given: Pictures | None, limits: Limits = Limits()) -> Sequence[Image.Image]:
    """Pictures however they are given: as PIL images, as what `open_images` takes, as folders, or several of these; an
    OnDisk stays what it is.

    RudderError for what is not there, and as `open_images`.
    """
    if given is None or isinstance(given, OnDisk):
        return [] if given is None else given
    flat: list[Any] = []
    for item in _several(given):
        flat += files_of(item) if isinstance(item, (str, os.PathLike)) else [item]
    found: list[Image.Image] = []
    for opened, some in groupby(flat, lambda item: isinstance(item, Image.Image)):
        run = list(some)
        found += run if opened else open_images(run, limits)
    return found


def _several(given: Any) -> list[Any]:
    """One source or picture as a list of it, several as they are."""
    one = isinstance(given, (Image.Image, str, os.PathLike, tuple)) or hasattr(given, "read")
    return [given] if one else list(given)


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or a folder's files in order without hidden ones; RudderError where nothing is there."""
    path = Path(path)
    if not path.exists():
        raise RudderError(f"{shorten(path)} is not there: give a picture, a folder of pictures or a zip.")
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise RudderError(f"{shorten(path)} is a folder without files: give one with pictures in it.")
    return files


def decode_image(name: str, data: bytes, limits: Limits = Limits()) -> Image.Image:
    """One picture's bytes to RGB within the limits; RudderError naming the file otherwise."""
    name = shorten(PurePosixPath(name.replace("\\", "/")).name or "picture")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > limits.pixels:
                raise RudderError(
                    f"{name} has {image.width} x {image.height} pixels: scale it down to at most "
                    f"{limits.pixels:,} in all."
                )
            image.draft("RGB", (limits.side, limits.side))
            image.load()
            rgb = to_rgb(ImageOps.exif_transpose(image))
            rgb = original(rgb) if CHUNK in image.info else rgb
    except RudderError:
        raise
    except Image.UnidentifiedImageError as error:
        raise RudderError(f"{name} is not a picture Rudder can read: choose {_SPOKEN}.") from error
    except Image.DecompressionBombError as error:
        raise RudderError(f"{name} has too many pixels: scale it down to at most {limits.pixels:,}.") from error
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files; each becomes one sentence
        raise RudderError(f"{name} is damaged ({shorten(error)}): save it again or leave it out.") from error
    rgb.thumbnail((limits.side, limits.side), Image.Resampling.LANCZOS)
    return rgb


def _from_disk(path: Path) -> Image.Image:
    """A picture of Rudder's own, as it was written; RudderError where it is gone or damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise RudderError(f"{path} cannot be read ({shorten(error)}): delete it, so that it is made again.") from error


def original(image: Image.Image) -> Image.Image:
    """A picture that Download enlarged by whole pixels, as it was painted; any other one as it is."""
    for factor in range(ENLARGED_MOST, 1, -1):
        if image.width % factor == 0 and image.height % factor == 0:
            small = image.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST)
            if small.resize(image.size, Image.Resampling.NEAREST).tobytes() == image.tobytes():
                return small
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: alpha over white, wide integers and floats scaled to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("its values are not finite")
        if image.mode == "F":
            values = values * (255 if values.max(initial=0) <= 1 else 1)
        else:
            values = values / (257 if values.max(initial=0) > 255 or image.mode.startswith("I;16") else 1)
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _unpacked(sources: list[Source], limits: Limits) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each file, zips opened one level deep; no more than the limits is ever read."""
    for source in sources:
        name, data = _read(source, limits)
        if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _unzipped(name, data, limits)
        elif len(data) > limits.file_bytes:
            raise RudderError(f"{name} has over {_mb(limits.file_bytes)}: scale it down or leave it out.")
        else:
            yield name, data


def _read(source: Any, limits: Limits) -> tuple[str, bytes]:
    most = limits.total_bytes + 1
    try:
        if isinstance(source, tuple):
            name, data = str(source[0]), bytes(source[1])
        elif hasattr(source, "read"):
            name, data = str(getattr(source, "name", "picture")), source.read(most)
        else:
            name = str(source)
            with open(source, "rb") as file:
                data = file.read(most)
    except (OSError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shorten(error)
        raise RudderError(f"{shorten(source)} cannot be read ({reason}): choose another file.") from error
    name = shorten(Path(name).name)
    if len(data) > limits.total_bytes:
        raise RudderError(f"{name} has over {_mb(limits.total_bytes)}: choose a smaller file.")
    return name, data


def _unzipped(title: str, data: bytes, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """The pictures of a zip: names are labels only (nothing is written), declared sizes are not believed."""
    _check_directory(title, data)
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise RudderError(f"{title} is a damaged zip ({shorten(error)}): make it again.") from error
    members = [info for info in archive.infolist() if not info.is_dir() and not is_clutter(info.filename)]
    if len(members) > limits.files:
        raise RudderError(f"{title} holds {len(members):,} files: put at most {limits.files} pictures in it.")
    left = limits.total_bytes
    for info in members:
        name = shorten(f"{title}/{PurePosixPath(info.filename).name}")
        if info.flag_bits & 0x1:
            raise RudderError(f"{name} is encrypted: make the zip without a password.")
        most = min(limits.file_bytes, left)
        try:
            with archive.open(info) as file:
                content = file.read(most + 1)
        except Exception as error:  # zipfile raises a dozen kinds for damaged or exotic members
            raise RudderError(f"{name} cannot be unpacked ({shorten(error)}): make the zip again.") from error
        if len(content) > most:
            raise RudderError(f"{name} unpacks to over {_mb(most)}: scale the pictures down or choose fewer.")
        left -= len(content)
        yield name, content


def _check_directory(title: str, data: bytes) -> None:
    """Refuse a zip whose directory is too long for pictures before zipfile reads it (as zipfile finds it)."""
    at = len(data) - 22
    if at < 0 or data[at : at + 4] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        at = data.rfind(b"PK\x05\x06", max(0, len(data) - 65536 - 22))
    if at < 0 or at + 22 > len(data):
        raise RudderError(f"{title} is a truncated zip: make it again.")
    if (
        data[max(at - 20, 0) : at].startswith(b"PK\x06\x07")
        or int.from_bytes(data[at + 12 : at + 16], "little") > _DIRECTORY_LIMIT
    ):
        raise RudderError(f"{title} has a directory far too long for a set of pictures: put only the pictures in it.")


def is_clutter(name: str) -> bool:
    """What file managers leave in zips."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "__MACOSX" in parts or not parts or parts[-1].startswith(".") or parts[-1] in ("Thumbs.db", "desktop.ini")


def _mb(size: int) -> str:
    return f"{size / 2**20:.0f} MB" if size >= 2**20 else f"{size:,} bytes"
