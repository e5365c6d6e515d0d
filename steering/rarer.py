"""Pictures of rarer kinds brought to a form that is decoded quickly and within bounds: icons and netpbm.

Pillow decodes an icon while it opens it, whatever the icon's parts claim, and netpbm in numbers one by one in Python.
So an icon is reduced to its largest picture, and netpbm to 8 bits, each bounded by the file's own size.
"""

from __future__ import annotations

import re
import struct

import numpy as np

_ICON = 1024  # px of a side that a bitmap in an icon may have: directories tell up to 256
_ICNS_PARTS = 1024
_PNG, _JP2 = b"\x89PNG\r\n\x1a\n", (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_NETPBM = re.compile(rb"P[1-6][\s#]")
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*+(\d{1,10})(?=\s)")
_SIDE = 2**20  # px, more than any file may have
_SPACE = b" \t\n\v\f\r"


def plain(data: bytes) -> bytes:
    """The file, or what stands for it: an icon's largest picture, netpbm of 8 bits. ValueError for one that is damaged
    or holds less than it claims."""
    if data.startswith(b"\0\0\1\0"):
        return _ico(data)
    if data.startswith(b"icns"):
        return _icns(data)
    return _netpbm(data) if _NETPBM.match(data) else data


def _ico(data: bytes) -> bytes:
    """The largest picture, of the most colours: a PNG by itself, a bitmap as an icon of one picture."""
    (count,) = struct.unpack_from("<H", data, 4) if len(data) >= 6 else (0,)
    if not count or len(data) < 6 + 16 * count:
        raise ValueError("its directory is cut short")
    entries = [struct.unpack_from("<BBBBHHII", data, 6 + 16 * number) for number in range(count)]
    entry = max(entries, key=lambda one: ((one[0] or 256) * (one[1] or 256), one[5] or one[2] or 256))
    size, at = entry[6:]
    part = data[at : at + size]
    if part.startswith(_PNG):
        return part
    if len(part) < 40:
        raise ValueError("its picture is cut short")
    sides = struct.unpack_from("<HH" if part[0] == 12 else "<ii", part, 4)
    if max(map(abs, sides)) > 2 * _ICON:  # the height is that of the picture and its mask together
        raise ValueError("its picture is larger than an icon's can be")
    return data[:4] + struct.pack("<HBBBBHHII", 1, *entry[:6], len(part), 22) + part


def _icns(data: bytes) -> bytes:
    """The largest PNG or JPEG 2000; an old icon without either, which is of at most 128 pixels a side, as it is."""
    at, found = 8, []
    for _ in range(_ICNS_PARTS):
        if at + 8 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at + 4)
        if length < 8:
            raise ValueError("its parts are damaged")
        found.append(data[at + 8 : at + length])
        at += length
    return max((part for part in found if part.startswith((_PNG, *_JP2))), key=len, default=data)


def _netpbm(data: bytes) -> bytes:
    """PBM, PGM and PPM as raw ones of 8 bits (1 where there is black and white alone)."""
    kind, at, numbers = data[1] - ord("0"), 2, list[int]()
    for _ in range(2 if kind in (1, 4) else 3):
        token = _TOKEN.match(data, at)
        if token is None:
            raise ValueError("its header is damaged")
        numbers.append(int(token[1]))
        at = token.end()
    width, height = numbers[:2]
    most = numbers[2] if len(numbers) > 2 else 1
    if not (0 < width < _SIDE and 0 < height < _SIDE and 0 < most < 65536):
        raise ValueError("its header is damaged")
    body = data[at + 1 :]  # one blank ends the header
    if kind == 4 or (kind > 4 and most == 255):
        return b"P%d\n%d %d\n" % (kind, width, height) + (b"255\n" if kind > 4 else b"") + body
    count = width * height * (3 if kind in (3, 6) else 1)
    if kind == 1:
        bits = np.frombuffer(re.sub(rb"#[^\r\n]*", b"", body).translate(None, _SPACE)[:count], np.uint8) - ord("0")
        _check(bits, count, 1)
        return b"P4\n%d %d\n" % (width, height) + np.packbits(bits.reshape(height, width), axis=1).tobytes()
    values = _in_numbers(body, count) if kind < 4 else _in_bytes(body, count, most)
    _check(values, count, most)
    grey = np.round(np.arange(most + 1) * 255 / most).astype(np.uint8)
    return b"P%d\n%d %d\n255\n" % (5 if kind in (2, 5) else 6, width, height) + grey[values].tobytes()


def _in_bytes(body: bytes, count: int, most: int) -> np.ndarray:
    """Values of one byte, or of two where one does not hold the largest."""
    kind = np.dtype(np.uint8 if most < 256 else ">u2")
    return np.frombuffer(body[: count * kind.itemsize], kind, min(count, len(body) // kind.itemsize))


def _in_numbers(body: bytes, count: int) -> np.ndarray:
    """Values written as numbers; of more than are asked for, the first."""
    words = re.sub(rb"#[^\r\n]*", b" ", body)
    if words.translate(None, b"0123456789" + _SPACE):
        raise ValueError("something in it is no number")
    if 2 * count > len(words) + 1:
        raise ValueError("it ends early")
    return np.fromstring(words, np.int64, sep=" ")[:count] if words.strip() else np.zeros(0, np.int64)


def _check(values: np.ndarray, count: int, most: int) -> None:
    if len(values) < count:
        raise ValueError("it ends early")
    if int(values.max(initial=0)) > most:
        raise ValueError("it has values beyond its largest")
