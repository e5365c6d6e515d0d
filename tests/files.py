"""Files as other programs write them, for tests: pictures, colour profiles, PNG chunks, EXIF, zips."""

from __future__ import annotations

import struct
import zipfile
import zlib
from io import BytesIO

from PIL import Image

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))  # D50 colorants
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, compression)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks put in after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with (marker, content) put in at its start."""
    made = (bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments)
    return jpeg[:2] + b"".join(made) + jpeg[2:]


def exif(entries: list[tuple[int, int, int, bytes]], rest: bytes = b"", order: str = "<") -> bytes:
    """EXIF of one directory: (tag, type, count, four bytes), then what the entries point to, from 14 + 12 n on."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    rows = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + rest


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """An ICC profile of version 2 (ICC.1:2001-04)."""
    described = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": described, b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"none", 0x02400000, kind, space, pcs, bytes(12), b"acsp")
    head += bytes(28) + struct.pack(">3i", *(int(v * 65536) for v in (0.9642, 1.0, 0.8249))) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def gamma(power: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(power * 256)) + bytes(2)


def wide(colorants: tuple[tuple[float, ...], ...] = P3, power: float = 2.2) -> bytes:
    """A profile of RGB with these primaries."""
    columns = {name + b"XYZ": xyz(*values) for name, values in zip((b"r", b"g", b"b"), colorants, strict=True)}
    return profile(b"RGB ", columns | {name + b"TRC": gamma(power) for name in (b"r", b"g", b"b")})


def inks() -> bytes:
    """A profile of CMYK in which cyan alone is a pure green, which no plain conversion makes of it."""
    corners = b""
    for place in range(16):
        c, m, y, k = (place >> shift & 1 for shift in (3, 2, 1, 0))
        light = 0 if k else 255 - 77 * c - 80 * m - 20 * y  # L, a, b of Lab in 8 bits
        corners += bytes([max(light, 0), 128 if k else max(0, 128 - 80 * c + 70 * m), 128 + (0 if k else 60 * c)])
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    ramps = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramps + corners + 3 * ramps
    return profile(b"CMYK", {b"A2B0": table}, pcs=b"Lab ", kind=b"prtr")
