"""Pictures and sets as cameras, phones, design and training tools and file managers leave them, as tables."""

from __future__ import annotations

import os
import re
import struct
import time
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from steering import decoding
from steering.decoding import decode_image, to_rgb
from steering.errors import RudderError
from steering.images import Limits, files_of, is_clutter, open_images
from tests.files import ADOBE, P3, chunk, exif, gamma, inks, profile, saved, wide, with_chunks, with_segments, zipped
from tests.tiny import pictures

RED, GREEN, BLUE = (Image.new("RGB", (24, 16), colour) for colour in ("red", "lime", "blue"))
PLAIN = saved(pictures(1)[0])
ORIENTATION = (0x0112, 3, 1)


def colour(image: Image.Image) -> tuple[int, ...]:
    return image.getpixel((image.width // 2, image.height // 2))


# sets: what is given, how many pictures are used, and what is said of the rest

SETS = {
    "captions": ({"1.png": PLAIN, "1.txt": b"a cat", "2.png": PLAIN, "2.caption": b"a dog"}, 2, "2 files that are no"),
    "metadata": ({"1.png": PLAIN, "metadata.jsonl": b"{}", "metadata.csv": b"", "dataset.toml": b""}, 1, "3 files"),
    "windows": ({"1.png": PLAIN, "Thumbs.db": b"", "desktop.ini": b"", "THUMBS.DB": b""}, 1, "3 files"),
    "macos": ({"1.png": PLAIN, ".DS_Store": b"", "__MACOSX/._1.png": b"", "Icon\r": b""}, 1, "3 files"),
    "nas": ({"1.png": PLAIN, "@eaDir/1.png/THUMB.jpg": PLAIN}, 1, "1 file that is no picture"),
    "notebook": ({"1.png": PLAIN, ".ipynb_checkpoints/1-checkpoint.png": PLAIN}, 1, "1 file"),
    "checkpoints": ({"1.png": PLAIN, "checkpoint-500/sample.png": PLAIN, "checkpoints/a.png": PLAIN}, 1, "2 files"),
    "latents": ({"1.png": PLAIN, "1.npz": b"PK\3\4", "last.safetensors": b"", "optimizer.pt": b""}, 1, "3 files"),
    "kohya": ({"img/10_cat/1.png": PLAIN, "img/10_cat/1.txt": b"cat", "log/events.log": b""}, 1, "2 files"),
    "live photo": ({"1.jpg": saved(RED, "JPEG"), "1.MOV": b"", "1.AAE": b""}, 1, "2 files"),
    "no ending": ({"IMG_0001": PLAIN, "README": b"words"}, 1, "1 file that is no picture: README"),
    "odd endings": ({"a.jpg_large": saved(RED, "JPEG"), "b.JFIF": saved(RED, "JPEG"), "c.PnG": PLAIN}, 3, ""),
    "a phone's JPEG called .heic": ({"1.heic": saved(RED, "JPEG")}, 1, ""),
    "one is damaged": ({"1.png": PLAIN, "2.png": PLAIN, "3.png": PLAIN[:90]}, 2, "1 of the 3 pictures.*3.png is dam"),
    "one is no picture": ({"1.png": PLAIN, "2.png": b"<html>"}, 1, "2.png is not a picture"),
    "one is a HEIC": ({"1.png": PLAIN, "2.heic": b"\0\0\0\x18ftypheic" + bytes(40)}, 1, "2.heic is not a picture"),
    "a zip in it": ({"1.png": PLAIN, "more.zip": zipped({"a.png": PLAIN})}, 1, "more.zip is not a picture"),
}


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("case", [case for case in SETS if case != "a zip in it"] + ["a zip in it"])
def test_a_set_is_what_its_pictures_are(case: str, as_zip: bool, tmp_path: Path):
    files, count, words = SETS[case]
    said: list[str] = []
    if as_zip:
        given = ("set.zip", zipped(files))
    elif case == "a zip in it":
        pytest.skip("a zip in a folder is opened")
    else:
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        given = str(tmp_path)
    assert len(open_images(given, say=said.append)) == count
    if not words:
        assert not said
    elif as_zip or "file" not in words:
        (told,) = said
        assert re.search(words, told), told
        assert "\n" not in told and len(told) < 400


def test_what_is_left_out_is_said_once_with_how_many():
    files = {f"{i}.png": PLAIN for i in range(5)} | {f"{i}.txt": b"x" for i in range(120)}
    said: list[str] = []
    open_images(("set.zip", zipped(files)), say=said.append)
    assert said == ["Left out (120 files that are no pictures: 0.txt, 1.txt, 2.txt and 117 more)."]


@pytest.mark.parametrize(("good", "bad"), [(1, 1), (3, 2), (1, 2), (0, 3)])
def test_the_good_ones_are_used_when_enough_are_left(good: int, bad: int):
    files = [(f"{i}.png", PLAIN) for i in range(good)] + [(f"bad {i}.png", PLAIN[:80]) for i in range(bad)]
    if good >= bad:
        said: list[str] = []
        assert len(open_images(files, say=said.append)) == good and f"{bad} of the {good + bad}" in said[0]
    else:
        with pytest.raises(RudderError, match=rf"{bad} of the {good + bad} pictures cannot be read \(bad 0.png is"):
            open_images(files)


def test_folders_pipes_and_links(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.png").write_bytes(PLAIN)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    said: list[str] = []
    assert len(open_images(tmp_path, say=said.append)) == 1 and "loop" in said[0] and "pipe.png" in said[0]
    assert [path.name for path in files_of(tmp_path, said.append)] == ["1.png"]
    for odd in (tmp_path / "pipe.png", Path("/dev/null")):
        with pytest.raises(RudderError, match="pipe or device"):
            open_images(odd)


def test_names_that_are_clutter_and_names_that_are_not():
    assert all(
        map(is_clutter, ["a/.hidden/1.png", "__MACOSX/1.png", "Thumbs.db", "x\\Thumbs.db", "checkpoint-1/a.png"])
    )
    assert not any(map(is_clutter, ["a.png", "a/b/c.png", "../a.png", "./a.png", "checkpoint.png", "thumbs.png"]))


# zips


def powershell() -> bytes:
    """Backslashes in names, and directories as empty entries that end in one."""
    return zipped({"set\\": b"", "set\\in\\": b"", "set\\in\\1.png": PLAIN, "set\\Thumbs.db": b"x"})


def zip64() -> bytes:
    """Every size in a Zip64 field and a Zip64 end of the directory, as programs write that stream."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("1.png", "w", force_zip64=True) as member:
        member.write(PLAIN)
    data = file.getvalue()
    end = len(data) - 22
    count, size, at = struct.unpack_from("<HII", data, end + 10)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:end] + record + locator + last


def named(raw: bytes, flag: bool = False, extra: bytes = b"") -> bytes:
    """A zip of one damaged picture whose name is these bytes."""
    info = zipfile.ZipInfo("x" * len(raw))
    info.extra = extra
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, b"damaged")
    data = file.getvalue().replace(b"x" * len(raw), raw)
    at = data.rfind(b"PK\1\2")
    return data[: at + 8] + struct.pack("<H", 0x800) + data[at + 10 :] if flag else data


@pytest.mark.parametrize("data", [powershell(), zip64(), b"PK\7\x08" + zipped({"1.png": PLAIN})])
def test_zips_as_they_are_written(data: bytes):
    assert [image.size for image in open_images(("set.zip", data), say=lambda told: None)] == [(32, 32)]


CYRILLIC = "кот.png".encode("cp866")
PATH = b"\1" + struct.pack("<I", zlib.crc32(CYRILLIC)) + "кот.png".encode()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (named("猫.png".encode()), "猫.png"),  # macOS: UTF-8 without the flag
        (named("é.png".encode("cp437")), "é.png"),
        (named(CYRILLIC, extra=struct.pack("<HH", 0x7075, len(PATH)) + PATH), "кот.png"),
    ],
)
def test_names_in_zips_are_those_that_were_meant(data: bytes, name: str):
    with pytest.raises(RudderError, match=f"{name} is not a picture"):
        open_images(("set.zip", data))


@pytest.mark.parametrize("length", [1 << 62, 10_000_000])
def test_a_zip64_directory_is_bounded_by_the_file(length: int):
    data = bytearray(zip64())
    at = data.rfind(b"PK\6\6")
    data[at + 40 : at + 48] = struct.pack("<Q", length)
    with pytest.raises(RudderError, match="directory far too long"):
        open_images(("set.zip", bytes(data)))


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_packings_that_unpack_without_a_bound_are_refused_by_name(packing: int):
    with pytest.raises(RudderError, match="1.png is packed in a way"):
        open_images(("set.zip", zipped({"1.png": PLAIN}, packing)))


# colours


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("colorants", [P3, ADOBE])
def test_wide_gamuts_come_back_as_the_colours_they_mean(form: str, colorants):
    meant = Image.fromarray(np.array([[[200, 40, 60], [30, 160, 90], [90, 90, 220], [128, 128, 128]]], np.uint8))
    meant = meant.resize((64, 16), Image.Resampling.NEAREST)
    icc = wide(colorants)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    written = ImageCms.profileToProfile(meant, srgb, ImageCms.ImageCmsProfile(BytesIO(icc)), 1)
    assert np.abs(np.asarray(written, int) - np.asarray(meant, int)).max() > 8, "the numbers are others"
    options = {"quality": 98, "subsampling": 0} if form == "JPEG" else {"quality": 100} if form == "AVIF" else {}
    options |= {"lossless": True} if form == "WEBP" else {}
    found = decode_image("x", saved(written, form, icc_profile=icc, **options))
    middle = [found.getpixel((x, 8)) for x in (8, 24, 40, 56)]
    due = [meant.getpixel((x, 8)) for x in (8, 24, 40, 56)]
    assert np.abs(np.array(middle) - np.array(due)).max() <= (12 if form == "AVIF" else 5)


def test_profiles_of_grey_ink_and_palettes():
    grey = saved(Image.new("L", (8, 8), 128), icc_profile=profile(b"GRAY", {b"kTRC": gamma(1.0)}))
    assert colour(decode_image("x", grey))[0] == pytest.approx(188, abs=2)  # linear half
    deep = saved(Image.fromarray(np.full((8, 8), 32896, np.uint16)), icc_profile=profile(b"GRAY", {b"kTRC": gamma(1)}))
    assert colour(decode_image("x", deep))[0] == pytest.approx(188, abs=2)
    for form in ("JPEG", "TIFF"):
        cyan = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), form, icc_profile=inks())
        red, green, blue = colour(decode_image("x", cyan))
        assert green > 150 and green > red + 60 and green > blue + 40
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 234, 51, 35])
    assert colour(decode_image("x", saved(palette, icc_profile=wide())))[0] > 250
    clear = Image.new("RGBA", (8, 8), (234, 51, 35, 255))
    assert colour(decode_image("x", saved(clear, icc_profile=wide())))[0] > 250


@pytest.mark.parametrize(
    "icc", [b"", b"x", bytes(200), wide()[:200], wide()[:-40], inks(), wide().replace(b"acsp", b"????")]
)
def test_a_profile_that_is_damaged_or_anothers_is_none(icc: bytes):
    assert colour(decode_image("x", saved(RED, icc_profile=icc))) == (255, 0, 0)


def test_lab_and_wide_numbers():
    lab = Image.new("LAB", (8, 8), (255, 128, 128))
    assert min(colour(decode_image("x", saved(lab, "TIFF")))) >= 250
    cases = [("F", 0.5, 128), ("F", 128.0, 128), ("F", 32896.0, 128), ("I", 32896, 128), ("I", 7, 7)]
    for mode, value, due in cases:
        image = Image.fromarray(np.full((4, 4), value, np.float32 if mode == "F" else np.int32))
        image.putpixel((0, 0), 1 if value <= 1 else 255 if value < 256 else 65535)
        assert to_rgb(image).getpixel((2, 2))[0] == pytest.approx(due, abs=1)


# rotation, several pictures, sizes


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_rotation_in_every_format(form: str, turn: int):
    corner = Image.new("RGB", (48, 32), "white")
    corner.paste("black", (0, 0, 16, 16))
    tags = Image.Exif()
    tags[0x0112] = turn
    found = decode_image("x", saved(corner, form, exif=tags))
    assert found.size == ((32, 48) if turn > 4 else (48, 32))
    wide_, high = found.width - 8, found.height - 8
    place = {1: (8, 8), 2: (wide_, 8), 3: (wide_, high), 4: (8, high), 5: (8, 8), 6: (wide_, 8), 7: (wide_, high),
             8: (8, high)}[turn]  # fmt: skip
    corners = [(8, 8), (wide_, 8), (8, high), (wide_, high)]
    assert min(corners, key=lambda xy: sum(found.getpixel(xy))) == place


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_several_pictures_the_first(form: str):
    data = saved(RED, form, save_all=True, append_images=[GREEN, BLUE])
    assert colour(decode_image("x", data))[0] > 240


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: saved(Image.new("L", (12000, 9000)), "JPEG"), (768, 576)),  # 108 megapixels
        (lambda: saved(Image.new("L", (12000, 4000), 128)), (768, 256)),
        (lambda: saved(Image.new("1", (9000, 5000))), (768, 427)),
    ],
)
def test_large_pictures_are_scaled_down(make, size):
    found = decode_image("x", make())
    assert (found.size, found.mode) == (size, "RGB")


def test_a_picture_too_large_to_be_opened_says_so():
    for data in (
        saved(Image.new("L", (9000, 6000))),
        saved(Image.new("1", (9000, 6000)), "TIFF", compression="group4"),
    ):
        with pytest.raises(RudderError, match="9000 x 6000 pixels: scale it down to at most 50,000,000"):
            decode_image("x", data)
    progressive = saved(Image.new("RGB", (6000, 6000)), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(RudderError, match="progressive JPEG too large"):
        decode_image("x", progressive, Limits(pixels=20_000_000))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "F", "I;16"])
def test_reducing_by_bands_is_as_averaging_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "_BAND", 4000)
    smooth = pictures(1, size=5)[0].resize((208, 136), Image.Resampling.BICUBIC)
    grey = np.asarray(smooth.convert("L"))
    made = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "F": lambda: smooth.convert("L").convert("F"),
    }
    image = made.get(mode, lambda: smooth.quantize(64) if mode == "P" else smooth.convert(mode))()
    banded = to_rgb(decoding._reduced(image, 12))
    whole = to_rgb(image).resize(banded.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(banded, int) - np.asarray(whole, int))
    assert banded.size == (26, 17) and difference.mean() < 1


# metadata that is damaged, or made to do harm

MANY = exif([(0x9000 + i, 7, 60_000, struct.pack("<I", 0)) for i in range(4000)])[:65_000]
POINTER = exif([(0x8769, 4, 1, struct.pack("<I", 8)), (0x8825, 4, 1, struct.pack("<I", 0xFFFFFFF0))])
BAD_EXIF = {"nothing": b"", "words": b"hello", "cut": exif([(*ORIENTATION, b"\6\0\0\0")])[:12], "many": MANY,
            "loop": POINTER, "odd turn": exif([(*ORIENTATION, b"\x63\0\0\0")])}  # fmt: skip


def metadata(form: str, content: bytes) -> bytes:
    """A red picture with EXIF of such content."""
    data = saved(RED, form)
    if form == "PNG":
        return with_chunks(data, chunk(b"eXIf", content))
    if form == "JPEG":
        return with_segments(data, (0xE1, b"Exif\0\0" + content))
    if form == "WEBP":
        vp8x = b"VP8X" + struct.pack("<I", 10) + bytes([0x08, 0, 0, 0, 23, 0, 0, 15, 0, 0])
        body = b"WEBP" + vp8x + data[12:] + b"EXIF" + struct.pack("<I", len(content)) + content
        body += bytes(len(content) & 1)
        return b"RIFF" + struct.pack("<I", len(body)) + body
    if form == "AVIF":
        return saved(RED, form, exif=exif([(*ORIENTATION, b"\1\0\0\0")])).replace(
            exif([(*ORIENTATION, b"\1\0\0\0")]), content[:26].ljust(26, b"\0")
        )
    at = struct.unpack_from("<I", data, 4)[0]  # TIFF: the directory again, at the end, with EXIF in it
    count = struct.unpack_from("<H", data, at)[0]
    entries = data[at + 2 : at + 2 + 12 * count]
    end = len(data) + len(data) % 2
    where = end + 2 + 12 * (count + 1) + 4
    made = struct.pack("<H", count + 1) + entries + struct.pack("<HHII", 34665, 4, 1, where) + bytes(4) + content
    return data[:4] + struct.pack("<I", end) + data[8:] + bytes(len(data) % 2) + made


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("case", list(BAD_EXIF))
def test_damaged_exif_costs_no_picture(form: str, case: str):
    started = time.monotonic()
    found = decode_image("x", metadata(form, BAD_EXIF[case]))
    assert found.size == (24, 16) and colour(found)[0] > 240
    assert time.monotonic() - started < 3


def gif_with(extension: bytes) -> bytes:
    data = saved(RED, "GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + extension + data[at:]


BOMB = zlib.compress(bytes(50_000_000))
JUNK = {
    "PNG: a text with a wrong checksum": with_chunks(PLAIN, chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
    "PNG: a text that unpacks to 50 MB": with_chunks(PLAIN, chunk(b"zTXt", b"a\0\0" + BOMB)),
    "PNG: a profile that unpacks to 50 MB": with_chunks(PLAIN, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "PNG: a thousand texts": with_chunks(PLAIN, *[chunk(b"zTXt", b"a\0\0" + BOMB[:900])] * 1000),
    "PNG: animation that is damaged": with_chunks(PLAIN, chunk(b"acTL", b"\0"), chunk(b"fcTL", b"\0")),
    "PNG: chunks that nobody knows": with_chunks(PLAIN, chunk(b"vpAg", b"x"), chunk(b"raNd", b"")),
    "JPEG: XMP, IPTC and comments": with_segments(
        saved(RED, "JPEG"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"), (0xED, b"Photoshop 3.0\0xx"), (0xFE, b"\xff")),
    "JPEG: a damaged table of pictures": with_segments(saved(RED, "JPEG"), (0xE2, b"MPF\0II*\0\xff\xff\xff\xff")),
    "JPEG: a profile in parts that lack": with_segments(saved(RED, "JPEG"), (0xE2, b"ICC_PROFILE\0\2\3xx")),
    "JPEG: a thousand segments": with_segments(saved(RED, "JPEG"), *[(0xE5, b"")] * 1000),
    "GIF: comments in 20,000 blocks": gif_with(b"!\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0"),
    "GIF: XMP": gif_with(b"!\xff\x0bXMP DataXMP" + bytes([3, 1, 2, 3, 0])),
}  # fmt: skip


@pytest.mark.parametrize("case", list(JUNK))
def test_what_is_around_pixels_costs_no_picture(case: str):
    started = time.monotonic()
    assert decode_image("x", JUNK[case]).size in ((32, 32), (24, 16))
    assert time.monotonic() - started < 3


def test_a_directory_that_names_the_whole_file_a_thousand_times_is_refused():
    """What a decoder would hold a copy of, tag by tag."""
    data = saved(Image.new("RGB", (400, 400)), "TIFF")
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    needed = data[at + 2 : at + 2 + 12 * count]
    more = b"".join(struct.pack("<HHII", 347, 7, len(data), 0) for _ in range(1000))
    made = struct.pack("<H", count + 1000) + needed + more + bytes(4)
    with pytest.raises(RudderError, match="lies about its size"):
        decode_image("x", data[:4] + struct.pack("<I", len(data)) + data[8:] + made)
