"""Zips of pictures as Windows, macOS and PowerShell write them: read member by member, names as labels only.

Nothing is written, no declared size is believed, and the directory is bounded before it is read.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from .errors import RudderError, shorten

STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04")
_DIRECTORY_LIMIT = 4 * 1024 * 1024  # bytes of a zip's directory: zipfile reads it whole
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of others zipfile unpacks without a bound all that it has read
_ENCRYPTED, _UTF8, _UNICODE_PATH = 0x1, 0x800, 0x7075
_END, _LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


@dataclass(frozen=True)
class Member:
    """A file in a zip, by the name that was meant, with slashes."""

    name: str
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def read(self, most: int) -> bytes:
        """At most `most` + 1 bytes of what it unpacks to; RudderError naming it where it cannot be unpacked."""
        if self.info.compress_type not in METHODS:
            raise RudderError(f"{self._title} is packed in a way not read here: make the zip with plain compression.")
        try:
            with self.archive.open(self.info) as file:
                return file.read(most + 1)
        except Exception as error:  # zipfile raises a dozen kinds for damaged or exotic members
            raise RudderError(f"{self._title} cannot be unpacked ({shorten(error)}): make the zip again.") from error

    @property
    def _title(self) -> str:
        return shorten(PurePosixPath(self.name).name)


def members(title: str, file: BinaryIO) -> Iterator[Member]:
    """The files of a zip in order; directories are none, whatever slash they end in.

    RudderError for a zip that is damaged, cut short, encrypted, or whose directory is too long for pictures.
    """
    _check_directory(title, file)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        raise RudderError(f"{title} is a damaged zip ({shorten(error)}): make it again.") from error
    for info in archive.infolist():
        name = meant(info).replace("\\", "/")
        if name.endswith("/"):
            continue
        if info.flag_bits & _ENCRYPTED:
            raise RudderError(f"{shorten(f'{title}/{name}')} is encrypted: make the zip without a password.")
        yield Member(name, archive, info)


def _check_directory(title: str, file: BinaryIO) -> None:
    """Refuse a zip whose directory is too long for pictures before zipfile reads it (as zipfile finds it)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65536 - 22 - 76))
    tail = file.read()
    at = len(tail) - 22
    if at < 0 or tail[at : at + 4] != _END or tail[-2:] != b"\0\0":
        at = tail.rfind(_END, max(0, len(tail) - 65536 - 22))
    if at < 0 or at + 22 > len(tail):
        raise RudderError(f"{title} is a truncated zip: make it again.")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if at >= 76 and tail[at - 20 : at - 16] == _LOCATOR and tail[at - 76 : at - 72] == _END64:
        length = int.from_bytes(tail[at - 36 : at - 28], "little")
    if length > min(_DIRECTORY_LIMIT, size):
        raise RudderError(f"{title} has a directory far too long for a set of pictures: put only the pictures in it.")


def meant(info: zipfile.ZipInfo) -> str:
    """A member's name: as its Unicode field says, in UTF-8 where the flag says so or it can only be that (macOS sets no
    flag), else in the old code page 437."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        raw = info.orig_filename.encode("cp437")
        return _unicode_path(info.extra, raw) or raw.decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the extra field of Info-ZIP, where it belongs to this very name (APPNOTE.TXT, 4.6.9)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        content = extra[at + 4 : at + 4 + length]
        if kind == _UNICODE_PATH and len(content) > 5 and content[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return content[5:].decode("utf-8")
        at += 4 + length
    return None
