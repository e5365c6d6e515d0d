"""Pictures on their way to the browser: frames that carry their recipe, thumbnails, contact sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from ..png import write_png
from ..recipe import Recipe

if TYPE_CHECKING:
    from ..concepts import ConceptVector

SMALL = 128  # up to this many pixels a side, every frame of a strip travels as its own finished PNG


@dataclass(frozen=True)
class Frame:
    """One picture of a column, shown at `strength`. `exact` means that its bytes are the download."""

    strength: float
    src: str
    moved: float
    exact: bool
    file: str


def data_uri(data: bytes, kind: str = "png") -> str:
    """Bytes as a data URI of an image type."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def web_picture(image: Image.Image, quality: int = 88) -> str:
    """A picture to look at, not to keep: WebP as a data URI."""
    file = io.BytesIO()
    image.convert("RGB").save(file, format="WEBP", quality=quality, method=3)
    return data_uri(file.getvalue(), "webp")


def moved(image: Image.Image, unsteered: Image.Image) -> float:
    """Mean absolute difference of two pictures over pixels and channels, in grey levels of 255."""
    one, other = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (image, unsteered))
    return float(np.abs(one - other).mean())


def frame(
    image: Image.Image,
    unsteered: Image.Image,
    recipe: Recipe,
    exact: bool,
    vectors: Mapping[str, ConceptVector] | None = None,
) -> Frame:
    """A frame of a column. An exact one is a PNG with its recipe (and `vectors`, for concepts not shipped);
    another one is a PNG with its recipe when small, else a WebP that releasing the slider replaces."""
    strength = recipe.concepts[0][1] if recipe.concepts else 0.0
    change = round(moved(image, unsteered), 2)
    if not exact and image.width > SMALL:
        return Frame(strength, web_picture(image), change, False, "")
    file = io.BytesIO()
    write_png(image, file, recipe, vectors if exact else None)
    return Frame(strength, data_uri(file.getvalue()), change, exact, file_name(recipe))


def file_name(recipe: Recipe) -> str:
    """What Download calls a picture: rudder-sketch+1.20-seed7.png."""
    concept = "-".join(f"{name}{strength:+.2f}" for name, strength in recipe.concepts) or "unsteered"
    safe = "".join(letter if letter.isalnum() or letter in "+-._" else "-" for letter in concept)
    return f"rudder-{safe[:60]}-seed{recipe.seed}.png"


def square(image: Image.Image, side: int) -> Image.Image:
    """The picture as the model sees it: cropped square about the middle, `side` pixels."""
    return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def thumbnail(image: Image.Image, side: int = 72) -> str:
    """A square thumbnail as a data URI."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return web_picture(small, 82)


def contact_sheet(images: Sequence[Image.Image], count: int = 8, side: int = 64) -> str:
    """The first `count` pictures in one row, as one data URI; "" when there are none."""
    some = list(images)[:count]
    if not some:
        return ""
    sheet = Image.new("RGB", (side * len(some), side))
    for place, image in enumerate(some):
        sheet.paste(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (side * place, 0))
    return web_picture(sheet, 84)
