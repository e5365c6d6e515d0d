"""Pictures that carry their recipe, as files: PNG, with learned vectors if need be, or JPEG with the recipe in EXIF.

The recipe of a JPEG stands in EXIF's UserComment, which tools that rewrite pictures keep.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from .bare import exif_entries, jpeg_exif
from .errors import RudderError, shorten
from .files import replacing
from .png import read_bytes, read_png, read_png_vectors, title_of, write_png
from .recipe import Recipe
from .vectors import ConceptVector

JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
QUALITY = 95
EXIF_LIMIT = 60_000  # bytes of a recipe: a segment of a JPEG has at most 65,535
PICTURE = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff")
_CODES = {b"ASCII\0\0\0": "utf-8", b"UNICODE\0": "utf-16", bytes(8): "utf-8"}  # of UserComment (EXIF 2.32, 4.6.5)


def kept_as(path: str | os.PathLike[str], vectors: object = None, recipe: Recipe | None = None) -> Path:
    """Where a picture is written: `path`, with .png where it has no ending. RudderError for another ending than PNG's
    and JPEG's, or for a JPEG that would have to carry `vectors`, or a recipe longer than EXIF may be."""
    path = Path(path)
    ending = path.suffix.lower()
    if not ending:
        return path.with_name(f"{path.name}.png")
    if ending not in (".png", *JPEG):
        raise RudderError(f"{shorten(path.name)} would be neither a PNG nor a JPEG: let its name end in .png or .jpg.")
    if ending in JPEG and vectors:
        raise RudderError(
            f"{shorten(path.name)} would be a JPEG, which cannot carry a vector that does not ship: let its name end "
            "in .png."
        )
    if ending in JPEG and recipe is not None and len(recipe.to_json()) > EXIF_LIMIT:
        raise RudderError(f"The recipe is too long for a JPEG: let {shorten(path.name)} end in .png.")
    return path


def write_picture(
    image: Image.Image, path: str | os.PathLike[str], recipe: Recipe, vectors: Mapping[str, ConceptVector] | None = None
) -> Path:
    """Write `image` with its recipe as its name's ending says, whole or not at all; returns where (see `kept_as`).

    RudderError as `kept_as`, and for a place that cannot be written.
    """
    path, file = kept_as(path, vectors, recipe), BytesIO()
    if path.suffix.lower() in JPEG:
        image.convert("RGB").save(file, "JPEG", quality=QUALITY, subsampling=0, exif=_exif(recipe))
    else:
        write_png(image, file, recipe, vectors)
    with replacing(path, "picture", PICTURE) as part:
        part.write_bytes(file.getvalue())
    return path


def read_recipe(source: str | os.PathLike[str] | BinaryIO) -> Recipe:
    """The recipe inside a PNG or JPEG; RudderError when there is none or the file is damaged."""
    data = read_bytes(source)
    if not data.startswith(b"\xff\xd8\xff"):
        return read_png(source)
    text = _comment(data)
    if text.lstrip().startswith("{") and '"rudder"' in text:
        return Recipe.from_json(text.strip().strip("\0"))
    raise RudderError(
        f"{title_of(source)} carries no Rudder recipe: drop a picture that Rudder made (a screenshot or an edited "
        "copy loses it)."
    )


def read_vectors(source: str | os.PathLike[str] | BinaryIO) -> dict[str, ConceptVector]:
    """The learned vectors inside a picture, by name; {} when it carries none, as every JPEG."""
    return {} if read_bytes(source).startswith(b"\xff\xd8\xff") else read_png_vectors(source)


def _exif(recipe: Recipe) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "Rudder"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + recipe.to_json().encode()
    return exif


def _comment(data: bytes) -> str:
    """The UserComment of a JPEG's EXIF, however it is encoded; "" without one."""
    try:
        exif = jpeg_exif(data)
        where = next((value for tag, _, _, value in exif_entries(exif) if tag == ExifTags.IFD.Exif), None)
        inner = () if where is None else exif_entries(exif, where)
        length, at = next(((many, value) for tag, _, many, value in inner if tag == ExifTags.Base.UserComment), (0, 0))
    except ValueError:
        return ""
    content = exif[at : at + length]
    code = _CODES.get(content[:8], "utf-8")
    wide = "utf-16-le" if exif[:2] == b"II" else "utf-16-be"
    return content[8:].decode(wide if code == "utf-16" else code, errors="replace")
