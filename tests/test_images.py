"""Pictures from strangers: every mode comes back as RGB, every attack as one sentence."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from steering.errors import RudderError
from steering.images import Limits, gathered, open_images
from tests.files import saved, zipped
from tests.tiny import pictures

PLAIN = saved(pictures(1)[0])


def one(data: bytes, limits: Limits | None = None) -> Image.Image:
    (image,) = open_images([("upload.png", data)], limits or Limits())
    assert image.mode == "RGB"
    return image


def test_paths_files_pairs_and_zips_in_order(tmp_path):
    made = pictures(4)
    (tmp_path / "0.png").write_bytes(saved(made[0]))
    (tmp_path / "more.zip").write_bytes(
        zipped(
            {
                "folder/": b"",
                "folder/2.png": saved(made[2]),
                "../../3.bmp": saved(made[3], "BMP"),
                "__MACOSX/folder/._2.png": b"clutter",
                "folder/.DS_Store": b"clutter",
                "Thumbs.db": b"clutter",
            }
        )
    )
    images = open_images([tmp_path / "0.png", ("1.png", saved(made[1])), BytesIO((tmp_path / "more.zip").read_bytes())])
    assert [image.tobytes() for image in images] == [image.tobytes() for image in made]
    assert len(open_images(tmp_path / "more.zip")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "more.zip"]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_formats(form: str):
    assert one(saved(pictures(1)[0], form)).size == (32, 32)


def test_transparency_goes_on_white():
    for mode, colour in [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))]:
        assert one(saved(Image.new(mode, (4, 4), colour))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert one(saved(palette)).getpixel((0, 0)) == (255, 0, 0)
    assert one(saved(palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert one(saved(palette, transparency=bytes([255, 128]))).getpixel((0, 0))[1] == pytest.approx(127, abs=2)
    assert one(saved(Image.new("RGB", (4, 4)), transparency=(0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_deep_grey_float_cmyk_and_bilevel():
    deep = Image.fromarray(np.full((4, 4), 65535, np.uint16))
    assert one(saved(deep)).getpixel((0, 0)) == (255, 255, 255)
    assert one(saved(Image.fromarray(np.full((4, 4), 32896, np.uint16)))).getpixel((0, 0)) == (128, 128, 128)
    assert one(saved(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")).getpixel((0, 0)) == (
        128,
        128,
        128,
    )
    assert one(saved(Image.fromarray(np.full((4, 4), 7, np.int32)), "TIFF")).getpixel((0, 0)) == (7, 7, 7)
    assert one(saved(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG")).getpixel((0, 0)) == (255, 255, 255)
    assert one(saved(Image.new("1", (4, 4), 1))).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(RudderError, match="not finite"):
        one(saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(form: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    image = one(saved(frames[0], form, save_all=True, append_images=frames[1:], duration=10))
    assert image.getpixel((4, 4))[0] > 240


def test_exif_rotation_is_applied_and_big_pictures_shrink():
    tags = Image.Exif()
    tags[0x0112] = 6
    assert one(saved(Image.new("RGB", (20, 10)), "JPEG", exif=tags.tobytes())).size == (10, 20)
    assert one(saved(Image.new("RGB", (1600, 800)), "JPEG")).size == (768, 384)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def encrypted() -> bytes:
    data = bytearray(zipped({"a.png": PLAIN}))
    data[6] |= 1
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def oversold() -> bytes:
    """A zip whose member claims ten bytes and unpacks to more."""
    data = bytearray(zipped({"a.png": bytes(100_000)}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(data)


def long_directory() -> bytes:
    data = bytearray(zipped({"a.png": PLAIN}))
    data[-10:-6] = struct.pack("<I", 1 << 30)
    return bytes(data)


PLAIN_ZIP = zipped({"a.png": PLAIN})
BITMAP = saved(Image.new("RGB", (70, 70)), "BMP")
SMALL = Limits(files=3, file_bytes=20_000, total_bytes=40_000, pixels=10_000)
BAD = {
    "renamed text": (b"just words", SMALL, "upload.png is not a picture"),
    "empty": (b"", SMALL, "not a picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", SMALL, "not a picture"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", SMALL, "not a picture"),
    "truncated": (PLAIN[: len(PLAIN) // 2], SMALL, "upload.png is damaged"),
    "no pixels": (png_header(20, 20), SMALL, "damaged"),
    "too many pixels": (png_header(5000, 5000), SMALL, "5000 x 5000 pixels"),
    "bomb": (png_header(60_000, 60_000), SMALL, "pixels"),
    "too many bytes": (PLAIN + bytes(30_000), SMALL, "over 20,000 bytes"),
    "zip bomb": (zipped({"a.png": bytes(10_000_000)}), SMALL, "a.png has over 20,000 bytes"),
    "many bombs": (zipped({f"{i}.bmp": BITMAP for i in range(3)}), SMALL, "over 40,000 bytes in all"),
    "oversold": (oversold(), SMALL, "cannot be unpacked|not a picture"),
    "too many files": (zipped({f"{i}.png": PLAIN for i in range(4)}), SMALL, "holds 4 files"),
    "zip in a zip": (zipped({"inner.zip": zipped({"a.png": PLAIN})}), SMALL, "inner.zip is not a picture"),
    "text in a zip": (zipped({"notes.png": b"words"}), SMALL, "notes.png is not a picture"),
    "encrypted": (encrypted(), SMALL, "encrypted"),
    "cut zip": (zipped({"a.png": PLAIN})[:-30], SMALL, "truncated zip|damaged zip"),
    "broken member": (zipped({"a.png": PLAIN}, zipfile.ZIP_STORED).replace(b"IHDR", b"IHDX"), SMALL,
                      "cannot be unpacked"),
    "long directory": (long_directory(), SMALL, "directory far too long"),
    "zip64": (PLAIN_ZIP[:-22] + b"PK\x06\x07" + bytes(16) + PLAIN_ZIP[-22:], SMALL, "directory"),
    "empty zip": (zipped({}), SMALL, "no pictures"),
    "only clutter": (zipped({"__MACOSX/x": b""}), SMALL, "no pictures"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_hostile_uploads_get_one_sentence(case: str):
    data, limits, words = BAD[case]
    with warnings.catch_warnings(), pytest.raises(RudderError, match=words) as caught:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        one(data, limits)
    assert "\n" not in str(caught.value)


def test_too_many_in_all_and_nothing_at_all(tmp_path):
    with pytest.raises(RudderError, match="more than 3 pictures"):
        open_images([("a.png", PLAIN)] * 4, Limits(files=3))
    with pytest.raises(RudderError, match="in all"):
        open_images([("a.png", PLAIN)] * 4, Limits(total_bytes=2 * len(PLAIN)))
    with pytest.raises(RudderError, match="no pictures"):
        open_images([])
    with pytest.raises(RudderError, match=r"gone.png is not there"):
        open_images(tmp_path / "gone.png")
    with pytest.raises(RudderError, match="over"):
        open_images([("a.png", bytes(100))], Limits(total_bytes=50))
    with pytest.raises(RudderError, match="cannot be read"):
        open_images([None])


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_files_never_do_more_than_raise_ruddererror(data):
    form = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "ZIP"]))
    image = pictures(1, size=12)[0]
    good = bytearray(zipped({"a.png": saved(image)}) if form == "ZIP" else saved(image, form))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        open_images([("a", bytes(good[: data.draw(st.integers(0, len(good)))]))], SMALL)
    except RudderError:
        pass


def test_pictures_are_gathered_from_whatever_names_them(tmp_path):
    """Pictures, paths as text or Path, folders and zips, in order; what is not there or empty is said."""
    made = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue", "black")]
    (tmp_path / "some").mkdir()
    made[1].save(tmp_path / "some" / "1.png")
    made[2].save(tmp_path / "some" / "2.png")
    (tmp_path / "some" / ".hidden").write_text("no picture")
    made[3].save(tmp_path / "3.png")
    found = gathered([made[0], str(tmp_path / "some"), tmp_path / "3.png"])
    assert [image.getpixel((0, 0)) for image in found] == [image.getpixel((0, 0)) for image in made]
    assert len(gathered(tmp_path / "some")) == 2 and len(gathered(made[0])) == 1
    assert gathered(None) == gathered([]) == []
    assert len(gathered((tmp_path / "some" / "1.png", tmp_path / "3.png"))) == 2, "a library's tuple of paths"
    (tmp_path / "empty").mkdir()
    for bad, word in (("gone", "is not there"), ("empty", "without files")):
        with pytest.raises(RudderError, match=word):
            gathered([made[0], tmp_path / bad])
    with pytest.raises(RudderError, match="more than 2"):
        gathered([tmp_path / "some", tmp_path / "3.png"], Limits(files=2))
