"""A PNG that carries the recipe it was made by, and the learned vectors that are not shipped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from .bare import CHUNK, SIGNATURE, inflated, png_chunks
from .errors import RudderError, shorten
from .recipe import CONCEPTS_LIMIT, Recipe
from .vectors import ConceptVector

BYTES_LIMIT = 64 * 1024 * 1024
TEXT_LIMIT = 1024 * 1024
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
        raise RudderError(f"{title_of(target)} cannot be written ({error.strerror}): choose another place.") from error


def read_png(source: str | os.PathLike[str] | BinaryIO) -> Recipe:
    """The recipe inside a PNG, in whichever text chunk a tool left it; RudderError when there is none or the file is
    damaged."""
    title, chunks = opened(source)
    try:
        found = next((text for kind, data in chunks if (text := _text(kind, data)) is not None), None)
    except ValueError as error:
        raise _unreadable(title, error) from error
    if found is None:
        raise RudderError(
            f"{title} carries no Rudder recipe: drop a picture that Rudder's Download made (a screenshot or a "
            "re-saved copy loses it)."
        )
    return Recipe.from_json(found)


def read_png_vectors(source: str | os.PathLike[str] | BinaryIO) -> dict[str, ConceptVector]:
    """The learned vectors inside a PNG, by name; {} when it carries none. Checked like any vector file."""
    title, chunks = opened(source)
    found = [data for kind, data in chunks if kind == VECTOR_CHUNK]
    vectors = [ConceptVector.from_bytes(data, title=f"a vector in {title}") for data in found[:CONCEPTS_LIMIT]]
    return {vector.name: vector for vector in vectors}


def read_bytes(source: str | os.PathLike[str] | BinaryIO) -> bytes:
    """What a file holds, up to the limit; RudderError for one that cannot be read or has more."""
    title = title_of(source)
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as file:
                data = file.read(BYTES_LIMIT + 1)
        else:
            source.seek(0)
            data = source.read(BYTES_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(title, getattr(error, "strerror", None) or error) from error
    if len(data) > BYTES_LIMIT:
        raise RudderError(f"{title} has over {BYTES_LIMIT:,} bytes: choose a picture that Rudder made.")
    return data


def opened(source: str | os.PathLike[str] | BinaryIO) -> tuple[str, list[tuple[bytes, bytes]]]:
    """A PNG's title and its chunks but for the pixels; RudderError for what is no whole PNG."""
    title, data = title_of(source), read_bytes(source)
    try:
        if not data.startswith(SIGNATURE):
            raise ValueError("it is no PNG")
        return title, [chunk for chunk in png_chunks(data) if chunk[0] != b"IDAT"]
    except ValueError as error:
        raise _unreadable(title, error) from error


def title_of(source: Any) -> str:
    """What to call a file in a sentence."""
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "")
    return shorten(Path(str(name)).name) or "The picture"


def _text(kind: bytes, data: bytes) -> str | None:
    """The text of a chunk with the keyword CHUNK: tEXt, zTXt or iTXt, packed or not; None for any other chunk.

    ValueError for one that is cut short or unpacks to too much (PNG specification, section 11.3.4).
    """
    keyword, _, rest = data.partition(b"\0")
    if kind not in (b"tEXt", b"zTXt", b"iTXt") or keyword != CHUNK.encode():
        return None
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    rest = inflated(rest, TEXT_LIMIT) if packed else rest
    if len(rest) > TEXT_LIMIT:
        raise ValueError(f"its recipe has over {TEXT_LIMIT:,} bytes")
    try:
        return rest.decode("utf-8")
    except UnicodeDecodeError:
        return rest.decode("latin-1")  # what the specification says of tEXt; most tools write UTF-8 there


def _unreadable(title: str, why: object) -> RudderError:
    return RudderError(f"{title} is not a readable PNG ({shorten(why)}): choose a PNG that Rudder made.")
