"""Pictures on their way to the browser: frames that carry their recipe, thumbnails, contact sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from ..errors import RudderError, shorten
from ..images import Limits
from ..inversion import distance
from ..png import write_png
from ..recipe import Recipe

if TYPE_CHECKING:
    from ..concepts import ConceptVector

TILE = 64  # of a sheet of examples
ONE = Limits(files=1, file_bytes=20 * 2**20, total_bytes=20 * 2**20)  # a visitor's one picture
SMALL = 128  # up to this many pixels a side, every frame of a strip travels as its own finished PNG
ROWS = {True: 24, False: 8}  # pictures of a strip painted at once: small ones, large ones


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
    """Root mean square difference of two pictures over pixels and channels, in grey levels of 255."""
    return 255 * distance(image, unsteered)


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


def weight(paths: Sequence[str]) -> int:
    """Bytes of uploaded files together. RudderError for one that is gone: uploads are kept for an hour or two."""
    total = 0
    for path in paths:
        try:
            total += Path(path).stat().st_size
        except OSError as error:
            raise RudderError(f"{shorten(Path(path).name, 60)} is no longer here: choose it again.") from error
    return total


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


def own_sheet(images: Sequence[Image.Image], baseline: Sequence[Image.Image], count: int = 8) -> Image.Image | None:
    """The first pictures of the two sets as one picture of two rows, to be kept beside a vector; None without any."""
    rows = [list(some[:count]) for some in (images, baseline)]
    if not rows[0]:
        return None
    sheet = Image.new("RGB", (TILE * max(map(len, rows)), TILE * (2 if rows[1] else 1)), "white")
    for y, some in enumerate(rows):
        for x, image in enumerate(some):
            sheet.paste(square(image, TILE), (TILE * x, TILE * y))
    return sheet


def faces_of(sheet: Image.Image | None) -> dict[str, str]:
    """{"face", "examples", "baseline"} as data URIs from such a sheet; {} without one."""
    if sheet is None or min(sheet.size) < TILE:
        return {}
    rows = [sheet.crop((0, y, sheet.width, y + TILE)) for y in range(0, min(sheet.height, 2 * TILE) - TILE + 1, TILE)]
    faces = {"face": thumbnail(sheet.crop((0, 0, TILE, TILE))), "examples": web_picture(rows[0], 84)}
    return faces | {"baseline": web_picture(rows[1], 84) if len(rows) > 1 else ""}


def shared_face(one: str, other: str) -> str:
    """Two faces, as data URIs of this module's own, side by side in one; "" where one is missing."""
    if not one or not other:
        return ""
    halves = [Image.open(io.BytesIO(base64.b64decode(face.partition(",")[2]))).convert("RGB") for face in (one, other)]
    joined = halves[0].resize((TILE, TILE))
    joined.paste(halves[1].resize((TILE, TILE)).crop((TILE // 2, 0, TILE, TILE)), (TILE // 2, 0))
    return thumbnail(joined)
