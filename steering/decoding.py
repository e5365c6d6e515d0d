"""One picture's bytes to plain sRGB: in bounded memory, upright, coloured as its profile means, whatever its metadata.

Pillow decodes. What is large is scaled while it is read where the format can (JPEG), else band by band right after.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin

from .bare import PROFILE_LIMIT, Bare, bare, turned
from .errors import RudderError, shorten
from .formats import NAMELESS, SPOKEN, formats_of
from .rarer import plain

ENLARGED_MOST, ENLARGED_PIXELS = 16, 16_777_216  # times that a download may be enlarged, and its pixels
_AT_READING = 4  # times as many pixels may a JPEG in one scan have, which is scaled while it is read
_EACH = 4  # bytes that a pixel takes, and that a JPEG in several scans may hold for each pixel
_SCANS, _SCANNED = 20, 100_000_000  # scans that any JPEG may have, and bytes held up to which it may have more
_SHARE = {"WEBP": 0.36, "AVIF": 0.5, "JPEG2000": 0.24}  # of the pixels, where decoders hold more than the picture
_SLOW = {"qoi": 0.03, "dds_rgb": 0.03}  # and of decoders of Pillow's that go pixel by pixel in Python
_BAND = 4_000_000  # pixels reduced at once
_COLOURS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # of ICC profiles, and Pillow's modes
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # of EXIF orientations
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


@dataclass(frozen=True)
class Limits:
    """Bounds on one upload. `pixels` are those decoded in full; `side` is the longest side kept: larger pictures are
    scaled down on arrival."""

    files: int = 200
    file_bytes: int = 20 * 1024 * 1024
    total_bytes: int = 200 * 1024 * 1024
    pixels: int = 50_000_000
    side: int = 768


LIMITS = Limits()


class NoPicture(RudderError):
    """Raised for bytes that are no picture of a kind read here."""


def no_picture(name: str) -> NoPicture:
    """The error for a file of a kind that is not read here."""
    return NoPicture(f"{name} is not a picture Rudder can read: choose {SPOKEN}.")


def decode_image(name: str, data: bytes, limits: Limits = LIMITS) -> Image.Image:
    """One picture's bytes to RGB within the limits; RudderError naming the file otherwise.

    Of several pictures in a file the first is taken, of an icon's the largest. Metadata is never a reason to refuse
    one, damaged pixels are.
    """
    formats = formats_of(name)
    name = shorten(PurePosixPath(name.replace("\\", "/")).name or "picture")
    try:
        return _decoded(bare(plain(data)), name, formats, limits)
    except RudderError:
        raise
    except Image.UnidentifiedImageError as error:
        raise no_picture(name) from error
    except Image.DecompressionBombError as error:
        raise RudderError(f"{name} has too many pixels: scale it down to at most {limits.pixels:,}.") from error
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files; each becomes one sentence
        raise RudderError(f"{name} is damaged ({shorten(error)}): save it again or leave it out.") from error


def original(image: Image.Image) -> Image.Image:
    """A picture that Download enlarged by whole pixels, as it was painted; any other one as it is."""
    for factor in range(ENLARGED_MOST, 1, -1):
        if image.width % factor == 0 and image.height % factor == 0:
            small = image.resize((image.width // factor, image.height // factor), Image.Resampling.NEAREST)
            if small.resize(image.size, Image.Resampling.NEAREST).tobytes() == image.tobytes():
                return small
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to sRGB: alpha over white, wide integers and floats scaled to 8 bits, an ICC profile in
    `info` followed where it is one for such pixels. ValueError for values that are not finite."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("its values are not finite")
        grey = (values * _scale(image.mode, values.max(initial=0))).round().clip(0, 255).astype(np.uint8)
        return _coloured(Image.fromarray(grey), profile)
    if image.mode in _ALPHA or "transparency" in image.info:
        layered = image.convert("RGBA")
        alpha, white = layered.getchannel("A"), Image.new("RGB", layered.size, "white")
        white.paste(_coloured(layered.convert("RGB"), profile), mask=alpha)
        return white
    if image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    return _coloured(image, profile)


def _decoded(found: Bare, name: str, formats: tuple[str, ...], limits: Limits) -> Image.Image:
    if found.held > limits.pixels * _EACH or found.scans > max(_SCANS, _SCANNED * _SCANS // max(found.held, 1)):
        raise RudderError(f"{name} is a progressive JPEG too large to be opened: save it as a plain one.")
    with _opened(found, formats) as image:
        most = limits.pixels * _AT_READING if image.format == "JPEG" and not found.held else limits.pixels
        codec = image.tile[0][0] if image.tile else ""
        most = int(most * _SHARE.get(image.format or "", 1) * _SLOW.get(codec, 1))
        if image.width * image.height > most:
            raise RudderError(
                f"{name} has {image.width} x {image.height} pixels: scale it down to at most {most:,} in all."
            )
        if image.format == "JPEG":
            image.draft(None, (limits.side, limits.side))
        image.load()
        turn = turned(image.info["exif"]) if image.format == "AVIF" and "exif" in image.info else found.turn
        if image.format == NAMELESS and image.mode == "RGBA" and not found.data[17] & 15:
            image.putalpha(255)  # four bytes a pixel, of which the header says that the last means nothing
        if found.profile:
            image.info["icc_profile"] = found.profile
        if found.marked and image.width * image.height <= ENLARGED_PIXELS:
            rgb = original(to_rgb(image))
        else:
            rgb = to_rgb(_reduced(image, limits.side))
    rgb.info.clear()
    rgb.thumbnail((limits.side, limits.side), Image.Resampling.LANCZOS)
    return rgb.transpose(_TURNS[turn]) if turn in _TURNS else rgb


def _opened(found: Bare, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """The file's first picture, its pixels not yet read."""
    if found.data.startswith(b"\xff\xd8"):  # as a JPEG alone: the others of an MPO are never looked at
        return JpegImagePlugin.JpegImageFile(BytesIO(found.data))
    return Image.open(BytesIO(found.data), formats=formats)


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """Averaged down by a whole factor to no less than twice `side`, band by band: no second picture of full size is
    ever held."""
    factor = max(image.size) // (2 * side)
    if factor < 2:
        return image
    wide = {"1": "L", "P": "RGB"}.get(image.mode, "I" if image.mode.startswith("I") else image.mode)
    wide = "RGBA" if image.mode in _ALPHA or "transparency" in image.info else wide
    small = Image.new(wide, (-(-image.width // factor), -(-image.height // factor)))
    rows = max(1, _BAND // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste((band if band.mode == wide else band.convert(wide)).reduce(factor), (0, top // factor))
    small.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return small


def _scale(mode: str, high: float) -> float:
    """What values up to `high` are multiplied by to lie in 0..255: integers are of 8 or 16 bits (32 where they exceed
    that), floats from 0 to 1 or like integers."""
    if mode == "F" and high <= 1:
        return 255.0
    if mode.startswith("I;16") or 255 < high <= 65535:
        return 1 / 257
    return 1.0 if high <= 255 else 255 / high


def _coloured(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB, as an ICC profile means it; a profile that is damaged, or one for other pixels, counts as none."""
    if image.mode == "LAB":
        return _turned(image, ImageCms.createProfile("LAB"), ImageCms.Intent.PERCEPTUAL)
    if profile and len(profile) <= PROFILE_LIMIT:
        try:
            known = ImageCms.ImageCmsProfile(BytesIO(profile))
            if _COLOURS.get(known.profile.xcolor_space.strip()) == image.mode and not _is_srgb(known):
                return _turned(image, known, ImageCms.Intent.RELATIVE_COLORIMETRIC)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
            pass
    return image.convert("RGB")


def _turned(image: Image.Image, profile: object, intent: ImageCms.Intent) -> Image.Image:
    """From a profile's colours to sRGB."""
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION if intent else ImageCms.Flags.NONE
    made = ImageCms.profileToProfile(image, profile, _srgb(), intent, "RGB", flags=flags)  # type: ignore[arg-type]
    assert made is not None  # it would be in place
    return made


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether it says that it is sRGB: nothing is to be converted then, nor rounded."""
    return (profile.profile.profile_description or "").startswith("sRGB")
