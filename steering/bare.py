"""Files of pictures cut down to what their pixels need, before a decoder sees them.

What surrounds pixels is where pictures from strangers go wrong: damaged EXIF, texts that unpack to gigabytes, a hundred
directory entries that each point at the whole file. So it is left out here, each file walked once and bounded by its
own size; colour profile and rotation are read on the way. ValueError for a file whose structure cannot be followed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = "rudder"  # the keyword under which a PNG of Rudder's carries its recipe
PROFILE_LIMIT = 4 * 2**20
_PARTS = 65_536  # of one file
_PNG_NEEDS = (b"IHDR", b"PLTE", b"tRNS")
_WEBP_NEEDS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # ICC profile, EXIF and XMP, as VP8X announces them
_TIFF_NEEDS = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325,
               332, 338, 339, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532}  # fmt: skip
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ORIENTATION, _TIFF_PROFILE, _PSD_PROFILE = 274, 34675, 1039


@dataclass(frozen=True)
class Bare:
    """A file that decodes to the same pixels, its ICC profile, its EXIF orientation (1: upright), whether it is a PNG
    with a recipe; and of a JPEG, how many bytes a decoder holds beside the scaled picture, and its scans."""

    data: bytes
    profile: bytes | None = None
    turn: int = 1
    marked: bool = False
    held: int = 0
    scans: int = 1


def bare(data: bytes) -> Bare:
    """The file without what its pixels do not need; a format that has no such thing, or is unknown, as it is."""
    starts = [
        (SIGNATURE, _png), (b"\xff\xd8\xff", _jpeg), (b"GIF8", _gif), (b"8BPS\0\1", _psd), (b"II*\0", _tiff),
        (b"MM\0*", _tiff), (b"II+\0", _tiff), (b"MM\0+", _tiff),
    ]  # fmt: skip
    for start, cut in starts:
        if data.startswith(start):
            return cut(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return _avif(data) if data[4:8] == b"ftyp" else Bare(data)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of a PNG's chunks up to IEND. ValueError for one that is cut short, or pixels' that are damaged;
    other chunks with a wrong checksum are passed over."""
    at = len(SIGNATURE)
    for _ in range(_PARTS):
        if at + 12 > len(data):
            raise ValueError("it ends early")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise ValueError("it ends early")
        content = data[at + 8 : at + 8 + length]
        (due,) = struct.unpack_from(">I", data, at + 8 + length)
        whole = due == zlib.crc32(content, zlib.crc32(kind))
        if not whole and not kind[0] & 0x20:  # an upper-case first letter: the pixels need it
            raise ValueError(f"its chunk {kind.decode('latin-1')!r} is broken")
        if whole:
            yield kind, content
        if kind == b"IEND":
            return
        at += 12 + length
    raise ValueError("it is in too many pieces")


def inflated(data: bytes, limit: int) -> bytes:
    """Unpacked by zlib; ValueError for what is damaged or unpacks to over `limit` bytes."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError("it cannot be unpacked") from error
    if len(found) > limit or not unpacking.eof:
        raise ValueError("it is cut short or unpacks to too much")
    return found


def turned(exif: bytes) -> int:
    """The orientation that EXIF tells, 1 to 8; 1 where it cannot be understood."""
    try:
        for tag, kind, many, value in exif_entries(exif.removeprefix(b"Exif\0\0")):
            value = value >> 16 if exif.removeprefix(b"Exif\0\0")[:2] == b"MM" else value & 0xFFFF
            if (tag, kind, many) == (_ORIENTATION, 3, 1) and 1 <= value <= 8:
                return value
    except ValueError:
        pass
    return 1


def exif_entries(exif: bytes, at: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """(tag, type, count, value or where it stands) of the directory at `at` (None: the first) of EXIF; ValueError where
    it cannot be followed."""
    try:
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (at,) = struct.unpack_from(f"{order}I", exif, 4) if at is None else (at,)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            yield struct.unpack_from(f"{order}HHII", exif, place)
    except (KeyError, struct.error) as error:
        raise ValueError("its EXIF cannot be followed") from error


def jpeg_exif(data: bytes) -> bytes:
    """A JPEG's EXIF, which begins with its byte order; b"" without one."""
    for marker, segment in _jpeg_segments(data):
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            return segment[10:]
    return b""


def _png(data: bytes) -> Bare:
    kept, pixels, profile, turn, marked = [SIGNATURE], [], None, 1, False
    for kind, content in png_chunks(data):
        if kind in _PNG_NEEDS:
            kept.append(_png_chunk(kind, content))
        elif kind == b"IDAT":
            pixels.append(content)
        elif kind == b"iCCP":
            try:
                profile = inflated(content[content.index(b"\0") + 2 :], PROFILE_LIMIT)
            except ValueError:
                pass  # a profile that cannot be read is none
        elif kind == b"eXIf":
            turn = turned(content)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            marked |= content.startswith(f"{CHUNK}\0".encode())
    whole = [*kept, _png_chunk(b"IDAT", b"".join(pixels)), _png_chunk(b"IEND", b"")]
    return Bare(b"".join(whole), profile, turn, marked)


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, segment) up to the first scan, with which comes all the rest; ValueError for a file without one."""
    at = 2
    for _ in range(_PARTS):
        at = data.find(b"\xff", at)
        while at >= 0 and data[at + 1 : at + 2] == b"\xff":  # padding
            at += 1
        if at < 0 or at + 4 > len(data):
            raise ValueError("it ends before its pixels")
        if data[at + 1] == 0xDA:
            yield 0xDA, data[at:]
            return
        length = max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        yield data[at + 1], data[at : at + 2 + length]
        at += 2 + length
    raise ValueError("it is in too many pieces")


def _jpeg(data: bytes) -> Bare:
    """Application segments up to the first scan go, but for JFIF's and Adobe's, which say what the numbers mean."""
    kept, profile, turn, frame, rest = [data[:2]], {}, 1, b"", b""
    for marker, segment in _jpeg_segments(data):
        if marker == 0xDA:
            rest = segment
        elif marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            turn = turned(segment[4:])
        elif marker == 0xE2 and segment[4:16] == b"ICC_PROFILE\0" and len(segment) > 18:
            profile[segment[16]] = segment[18:]
        elif (not 0xE1 <= marker <= 0xEF and marker != 0xFE) or segment[4:9] == b"Adobe":
            kept.append(segment)
        frame = segment if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) else frame
    held, scans = 0, 1
    if len(frame) >= 10 and (frame[1] > 0xC1 or (len(rest) > 4 and rest[4] < frame[9])):  # not all in one scan
        factors = [(s >> 4) * (s & 15) for s in frame[11 : 11 + 3 * frame[9] : 3]]
        height, width = struct.unpack_from(">HH", frame, 5)
        held = 2 * height * width * sum(factors) // max(1, *factors, 1)  # coefficients of 2 bytes
        scans = rest.count(b"\xff\xda")
    icc = b"".join(profile[number] for number in sorted(profile)) or None
    return Bare(b"".join(kept) + rest, icc, turn, held=held, scans=scans)


def _webp(data: bytes) -> Bare:
    kept, profile, turn, at = [], None, 1, 12
    for _ in range(_PARTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        chunk = bytearray(data[at : at + 8 + length + (length & 1)])
        if kind == b"VP8X" and length:
            chunk[8] &= ~_WEBP_METADATA
        if kind in _WEBP_NEEDS:
            kept.append(bytes(chunk))
        profile = bytes(chunk[8 : 8 + length]) if kind == b"ICCP" else profile
        turn = turned(bytes(chunk[8:])) if kind == b"EXIF" else turn
        at += 8 + length + (length & 1)
    body = b"WEBP" + b"".join(kept)
    return Bare(b"RIFF" + struct.pack("<I", len(body)) + body, profile, turn)


def _gif(data: bytes) -> Bare:
    """Extensions before the first picture go, but for the one that says what is transparent."""
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if len(data) > 12 and data[10] & 0x80 else 0)
    head, control = data[:at], b""
    for _ in range(_PARTS):
        if data[at : at + 1] != b"!":
            break
        start, at = at, at + 2
        for _ in range(_PARTS):
            length = data[at] if at < len(data) else 0
            at += 1 + length
            if not length:
                break
        control = data[start:at] if data[start + 1 : start + 2] == b"\xf9" else control
    return Bare(head + control + data[at:])


def _tiff(data: bytes) -> Bare:
    """The first directory alone, with the entries that pixels need, whose values together fit the file."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    entry, number, wide = ("HHQ8s", "Q", 8) if big else ("HHI4s", "I", 4)
    size = 4 + 2 * wide
    try:
        (at,) = struct.unpack_from(order + number, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        first = at + (8 if big else 2)
        if count > _PARTS or first + count * size + wide > len(data):
            raise ValueError("its directory is cut short")
        kept, total, profile, turn = [], 0, None, 1
        for place in range(first, first + count * size, size):
            tag, kind, many, value = struct.unpack_from(order + entry, data, place)
            length = many * _TIFF_SIZES.get(kind, 1)
            if tag in _TIFF_NEEDS:
                kept.append(data[place : place + size])
                total += length
            elif tag == _ORIENTATION and kind == 3:
                turn = struct.unpack_from(order + "H", value)[0]
            elif tag == _TIFF_PROFILE and wide < length <= PROFILE_LIMIT:
                (where,) = struct.unpack(order + number, value)
                profile = data[where : where + length]
    except struct.error as error:
        raise ValueError("its directory is cut short") from error
    if total > len(data) + 4096:
        raise ValueError("its directory lies about its size")
    found = bytearray(data)
    shorter = struct.pack(order + ("Q" if big else "H"), len(kept)) + b"".join(kept) + bytes(wide)
    found[at : at + len(shorter)] = shorter
    return Bare(bytes(found), profile, turn)


def _psd(data: bytes) -> Bare:
    """Without layers and resources: the merged picture."""
    try:
        (length,) = struct.unpack_from(">I", data, 26)
        at = 30 + length
        (length,) = struct.unpack_from(">I", data, at)
        resources, at = data[at + 4 : at + 4 + length], at + 4 + length
        (length,) = struct.unpack_from(">I", data, at)
    except struct.error as error:
        raise ValueError("it ends before its pixels") from error
    head = data[: 30 + int.from_bytes(data[26:30], "big")]
    return Bare(head + bytes(8) + data[at + 4 + length :], _psd_profile(resources))


def _psd_profile(resources: bytes) -> bytes | None:
    at = 0
    for _ in range(_PARTS):
        if at + 12 > len(resources):
            break
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] + 2) // 2 * 2
        length = int.from_bytes(resources[at : at + 4], "big")
        if kind == _PSD_PROFILE:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + (length & 1)
    return None


def _avif(data: bytes) -> Bare:
    """EXIF is renamed in the file's table of contents, where the decoder would find it."""
    at = 0
    for _ in range(_PARTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"meta":
            return Bare(data[:at] + data[at : at + length].replace(b"Exif", b"none") + data[at + length :])
        at += max(length, 8)
    return Bare(data)
