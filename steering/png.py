"""A PNG that carries the recipe it was made by, and the learned vectors that are not shipped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from .errors import RudderError, shorten
from .recipe import CONCEPTS_LIMIT, Recipe
from .vectors import ConceptVector

PNG_BYTES_LIMIT = 64 * 1024 * 1024
PNG_PIXELS_LIMIT = 16_777_216
CHUNK = "rudder"
VECTOR_CHUNK = b"ruVc"  # private, ancillary, safe to copy (PNG specification, section 5.4)


def write_png(
    image: Image.Image,
    target: str | os.PathLike[str] | BinaryIO,
    recipe: Recipe,
    vectors: Mapping[str, ConceptVector] | None = None,
) -> None:
    """Write `image` as a PNG that carries its recipe (iTXt chunk "rudder"), with learned vectors if given.

    `vectors` ({name: vector}) makes the file self-contained for concepts that are not shipped.
    """
    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, recipe.to_json())
    for name, vector in (vectors or {}).items():
        info.add(VECTOR_CHUNK, vector.replace(name=name).to_bytes())
    try:
        image.save(target, format="PNG", pnginfo=info)
    except OSError as error:
        raise RudderError(f"{_title(target)} cannot be written ({error.strerror}): choose another place.") from error


def read_png(source: str | os.PathLike[str] | BinaryIO) -> Recipe:
    """The recipe inside a PNG; RudderError when there is none or the file is damaged."""
    found = _open_png(source).text.get(CHUNK)
    if found is None:
        raise RudderError(
            f"{_title(source)} carries no Rudder recipe: drop a PNG that Rudder's Download made (a "
            "screenshot or a "
            "re-saved copy loses it)."
        )
    return Recipe.from_json(found)


def read_png_vectors(source: str | os.PathLike[str] | BinaryIO) -> dict[str, ConceptVector]:
    """The learned vectors inside a PNG, by name; {} when it carries none. Checked like any vector file."""
    chunks = [chunk[1] for chunk in getattr(_open_png(source), "private_chunks", []) if chunk[0] == VECTOR_CHUNK]
    vectors = [
        ConceptVector.from_bytes(data, title=f"a vector in {_title(source)}") for data in chunks[:CONCEPTS_LIMIT]
    ]
    return {vector.name: vector for vector in vectors}


def _title(source: Any) -> str:
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "")
    return shorten(Path(str(name)).name) or "The picture"


def _open_png(source: str | os.PathLike[str] | BinaryIO) -> PngImagePlugin.PngImageFile:
    """A PNG with every chunk read, bounded in bytes and pixels."""
    title = _title(source)
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as file:
                return _decode_png(file, title)
        source.seek(0)
        return _decode_png(source, title)
    except RudderError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files; each becomes one sentence
        raise RudderError(
            f"{title} is not a readable PNG ({shorten(error)}): choose a PNG that Rudder made."
        ) from error


def _decode_png(file: BinaryIO, title: str) -> PngImagePlugin.PngImageFile:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > PNG_BYTES_LIMIT:
        raise RudderError(f"{title} has {size:,} bytes: choose a PNG of at most {PNG_BYTES_LIMIT:,}.")
    image = Image.open(file, formats=["PNG"])
    assert isinstance(image, PngImagePlugin.PngImageFile)
    if image.width * image.height > PNG_PIXELS_LIMIT:
        raise RudderError(
            f"{title} is {image.width}x{image.height} pixels, too many to be Rudder's: choose another PNG."
        )
    image.load()
    return image
