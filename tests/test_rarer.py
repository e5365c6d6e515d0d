"""Pictures of rarer kinds: read where Pillow decodes them by itself, within bounds; else said to be unread, by name."""

from __future__ import annotations

import struct
import time
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steering.audit.listing import open_row, rows
from steering.decoding import Limits, decode_image
from steering.errors import RudderError
from steering.formats import endings, formats_of, unread_endings
from steering.images import open_images
from tests.files import chunk, saved
from tests.tiny import pictures

PICTURE = pictures(1)[0]
RGB = np.asarray(PICTURE)
GREY = np.asarray(PICTURE.convert("L"))
WIDTH, HEIGHT = PICTURE.size
SIZE = f"{WIDTH} # of a line\n{HEIGHT}"
EXACT, CLOSE, GREYS = 0, 9, -1  # how far values may be from the picture's; those of its grey version


def numbers(kind: str, most: int, values: np.ndarray) -> bytes:
    """Netpbm written in numbers, a comment in its header and one among its values."""
    written = " ".join(str(v) for v in np.round(values.ravel() / 255 * most).astype(int))
    return f"{kind}\n{SIZE}\n{most}\n# 1 2 3\n{written}\n".encode()


def raw(kind: str, most: int, values: np.ndarray) -> bytes:
    scaled = np.round(values / 255 * most).astype(np.uint8 if most < 256 else ">u2")
    return f"{kind} {SIZE} {most}\n".encode() + scaled.tobytes()


def targa(described: int) -> bytes:
    """32 bits a pixel, every fourth byte 0: alpha (`described` 8) or nothing (0)."""
    pixels = np.dstack([RGB[::-1, :, ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, WIDTH, HEIGHT, 32, described)
    return head + pixels.astype(np.uint8).tobytes()


def icon(*parts: tuple[int, bytes]) -> bytes:
    """A Windows icon of (side told, PNG or bitmap)."""
    at, entries = 6 + 16 * len(parts), b""
    for side, part in parts:
        entries += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, 32, len(part), at)
        at += len(part)
    return struct.pack("<HHH", 0, 1, len(parts)) + entries + b"".join(part for _, part in parts)


def mac(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack(">I", len(part) + 8) + part for kind, part in parts)
    return b"icns" + struct.pack(">I", len(body) + 8) + body


SMALL = saved(Image.new("RGB", (16, 16), "red"))
PIXELS = PICTURE.convert("RGBA")
GOOD = {
    "a.ppm": (saved(PICTURE, "PPM"), EXACT),
    "a.pgm": (saved(PICTURE.convert("L"), "PPM"), GREYS),
    "a.pnm": (numbers("P3", 255, RGB), EXACT),
    "numbers.pgm": (numbers("P2", 65535, GREY), GREYS),
    "few.ppm": (numbers("P3", 100, RGB), CLOSE),
    "wide.ppm": (raw("P6", 65535, RGB), EXACT),
    "odd.ppm": (raw("P6", 100, RGB), CLOSE),
    "odd.pgm": (raw("P5", 1023, GREY), GREYS),
    "floats.pfm": (saved(Image.fromarray(GREY.astype(np.float32) / 255), "PPM"), GREYS),
    "a.tga": (saved(PICTURE, "TGA"), EXACT),
    "packed.TGA": (saved(PICTURE, "TGA", compression="tga_rle"), EXACT),
    "a.icb": (targa(0), EXACT),
    "a png.tga": (saved(PICTURE), EXACT),
    "a.dib": (saved(PICTURE, "BMP"), EXACT),
    "a.pcx": (saved(PICTURE, "PCX"), EXACT),
    "a.qoi": (saved(PICTURE, "QOI"), EXACT),
    "a.sgi": (saved(PICTURE, "SGI"), EXACT),
    "a.dds": (saved(PICTURE, "DDS"), EXACT),
    "a.ico": (icon((16, SMALL), (256, saved(PICTURE)), (16, SMALL)), EXACT),
    "bitmap.ico": (saved(PIXELS, "ICO", sizes=[PICTURE.size], bitmap_format="bmp"), EXACT),
    "a.icns": (mac((b"ic11", SMALL), (b"TOC ", bytes(8)), (b"ic12", saved(PICTURE))), EXACT),
}


def black(given: str) -> np.ndarray:
    return np.array([[0 if bit == "1" else 255 for bit in line] for line in given.split()], np.uint8)


@pytest.mark.parametrize("name", list(GOOD))
def test_a_picture_of_a_rarer_kind_is_the_same_in_sets_folders_and_lists(name: str, tmp_path: Path):
    data, far = GOOD[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "list.txt").write_text(name)
    said: list[str] = []
    (of_set,) = open_images((name, data), say=said.append)
    (in_folder,) = [row for row in rows(tmp_path) if row.id == name]
    (listed,) = rows(tmp_path / "list.txt")
    (alone,) = rows(tmp_path / name)
    due = RGB if far >= 0 else np.repeat(GREY[..., None], 3, 2)
    for found in (of_set, *map(open_row, (in_folder, listed, alone))):
        assert np.abs(np.asarray(found).astype(int) - due).max() <= max(far, -far)
    assert not said


@pytest.mark.parametrize(
    "data", [b"P1\n5 2\n01100\n1 1 1 # two\n 11 and more", b"P4 5 2\n" + bytes([0b01100000, 0xF8])]
)
def test_black_and_white(data: bytes):
    assert np.array_equal(np.asarray(decode_image("a.pbm", data))[..., 0], black("01100 11111"))


def test_alpha_counts_where_a_targa_says_that_it_has_some():
    assert decode_image("a.tga", targa(8)).getextrema() == ((255, 255),) * 3


def test_a_long_name_keeps_its_ending():
    name = f"{'x' * 200}.tga"
    assert open_images((name, GOOD["a.tga"][0]))[0].size == PICTURE.size


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def bitmap(width: int, height: int) -> bytes:
    """A bitmap as icons hold it, run by run, of one run."""
    return struct.pack("<IiiHHIIIIII", 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(1024) + b"\xff\1" * 50


BAD = {
    "early.ppm": (saved(PICTURE, "PPM")[:-9], "damaged"),
    "early.pgm": (numbers("P2", 255, GREY)[:-40], "damaged.*ends early"),
    "none.ppm": (b"P3 4 4 255\n", "damaged.*ends early"),
    "huge.ppm": (b"P6 999999 999999 255\n" + bytes(99), "too many pixels"),
    "huge.pgm": (b"P2 999999 999999 255\n1 2 3", "damaged.*ends early"),
    "beyond.pgm": (b"P2 2 2 7\n1 2 3 8", "damaged.*beyond"),
    "overflow.pgm": (b"P2 2 2 7\n1 2 3 99999999999999999999999", "damaged.*beyond"),
    "words.pgm": (b"P2 2 2 7\n1 2 three 4", "damaged.*no number"),
    "minus.pgm": (b"P2 2 2 7\n1 2 -3 4", "damaged.*no number"),
    "bits.pbm": (b"P1 2 2\n0 1 0 7", "damaged.*beyond"),
    "largest.ppm": (b"P6 2 2 65536\n" + bytes(99), "damaged.*header"),
    "nothing.ppm": (b"P6 0 2 255\n", "damaged.*header"),
    "comments.ppm": (b"P3" + b"\n#" * 2_000_000, "damaged.*header"),
    "among.ppm": (b"P3 1000 1000 255\n" + b"#\n" * 2_000_000, "damaged.*ends early"),
    "bomb.ico": (icon((256, png(9000, 8000))), "9000 x 8000 pixels"),
    "bits.ico": (icon((256, bitmap(60_000, 60_000))), "damaged.*larger than an icon"),
    "back.ico": (icon((256, bitmap(-60_000, 16))), "damaged.*larger than an icon"),
    "none.ico": (b"\0\0\1\0\0\0", "damaged.*directory"),
    "cut.ico": (icon((16, SMALL))[:30], "damaged"),
    "many.ico": (b"\0\0\1\0\xff\xff" + bytes(99), "damaged.*directory"),
    "bomb.icns": (mac((b"ic10", png(9000, 8000))), "9000 x 8000 pixels"),
    "none.icns": (mac((b"ic07", b"neither")), "damaged"),
    "loop.icns": (b"icns" + struct.pack(">I4sI", 99, b"ic07", 0), "damaged.*parts"),
    "large.tga": (struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65535, 65535, 24, 0), "too many pixels"),
    "words.tga": (b"only words", "not a picture"),
    "large.pcx": (b"\n\5\1\x08" + struct.pack("<HHHH", 0, 0, 65534, 65534) + bytes(53) + b"\3" + bytes(62), "pixels"),
    "slow.qoi": (b"qoif" + struct.pack(">IIBB", 3000, 1000, 3, 0) + b"\xfd" * 60_000, "at most 1,500,000"),
    "cut.qoi": (b"qoif" + struct.pack(">IIBB", 9, 9, 3, 0) + b"\xa0", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_damaged_or_too_large_costs_a_sentence_and_no_time(name: str):
    data, says = BAD[name]
    began = time.process_time()
    with pytest.raises(RudderError, match=says) as caught:
        decode_image(name, data)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("form", ["EPS", "WMF", "PDF", "FITS"])
def test_what_starts_a_program_or_holds_no_plain_picture_is_never_tried(form: str):
    assert form not in formats_of("a.png") and form not in formats_of("a.tga")


def test_targa_is_known_by_its_name_alone():
    for name in ("a.png", "a", "a.bin"):
        with pytest.raises(RudderError, match="not a picture"):
            decode_image(name, GOOD["a.tga"][0])


def test_what_pillow_reads_and_people_have_is_read_or_said_to_be_unread(tmp_path: Path):
    told = endings() | unread_endings()
    programs = {".bufr", ".grib", ".h5", ".hdf", ".pdf", ".ps", ".mpg", ".mpeg", ".fit", ".fits"}  # no plain pictures
    old = {".blp", ".dcx", ".fli", ".flc", ".ftc", ".ftu", ".gbr", ".im", ".iim", ".msp", ".palm", ".pxr"}
    assert set(Image.registered_extensions()) - told <= programs | old
    assert not endings() & unread_endings() and all(ending == ending.lower() for ending in told)
    for number, ending in enumerate(sorted(unread_endings())):
        (tmp_path / f"{number}{ending}").write_bytes(b"x")
    assert all(row.error and "does not read: save it as PNG" in row.error for row in rows(tmp_path))


def test_numbers_of_many_pixels_stay_within_time_and_memory():
    made = BytesIO(b"P2 3000 3000 255\n")
    made.seek(0, 2)
    made.write(b"7 " * 9_000_000)
    began = time.process_time()
    found = decode_image("a.pgm", made.getvalue(), Limits())
    assert found.size == (768, 768) and found.getpixel((9, 9)) == (7, 7, 7)
    assert time.process_time() - began < 4
