"""A mask painted on a picture: as text in a recipe, as weights on latents, and as the edge between two pictures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from .errors import RudderError, shorten

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64  # px: a mask is kept at this resolution, whatever the model's
PIXELS = 2**24  # of a mask in a file
TEXT_LIMIT = 4096  # characters of a mask in a recipe
FEATHER = 0.02  # of the side: how far the edge between changed and unchanged pixels is blurred
REMEDY = "paint it on the picture again"


def mask_text(mask: Image.Image) -> str:
    """A mask (white, or painted on a see-through picture: change here) as a recipe carries it: a black and white PNG of
    64x64 in base64. Of one that is not square the middle is taken, as of pictures of one's own.

    RudderError for a mask that covers nothing.
    """
    seen = mask.convert("RGBA")
    alpha, side = seen.getchannel("A"), min(mask.size)
    grey = alpha if np.asarray(alpha).min() < 255 else seen.convert("L")
    grey = ImageOps.fit(grey, (side, side))
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX).point(lambda v: 255 * (v >= 128)).convert("1")
    if not small.getbbox():
        raise RudderError("The mask covers nothing: paint where the change may be, or leave it out.")
    file = BytesIO()
    small.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def mask_of(path: Path) -> str:
    """A mask file as a recipe carries it: what is white, or painted on a see-through picture, may change.

    RudderError for a file that is none, too large, or as `mask_text`.
    """
    try:
        with Image.open(path, formats=("PNG", "WEBP", "BMP", "GIF")) as mask:
            if mask.width * mask.height > PIXELS:
                raise RudderError(f"{path.name} has {mask.width}x{mask.height} pixels: scale the mask down.")
            return mask_text(mask)
    except OSError as error:
        told = error.strerror or "it is none of PNG, WebP, BMP and GIF"
        raise RudderError(f"{path.name} is no mask that can be read ({told}): give a PNG.") from error


@lru_cache(maxsize=32)
def mask_image(text: str) -> Image.Image:
    """The 64x64 mask of a recipe's text, mode "L", 255 where pictures may change; RudderError for any other text."""
    if len(text) > TEXT_LIMIT:
        raise RudderError(f"The mask has {len(text):,} characters, at most {TEXT_LIMIT:,} are read: {REMEDY}.")
    try:
        with Image.open(BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE):
                raise RudderError(f"The mask is {image.width}x{image.height} and not {SIDE}x{SIDE}: {REMEDY}.")
            return image.convert("L")
    except (binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise RudderError(f"The mask cannot be read ({shorten(error)}): {REMEDY}.") from error


def weights(text: str, size: tuple[int, int]) -> Tensor:
    """What share of every latent place [1, 1, H, W] lies inside the mask, 0..1."""
    import torch

    small = mask_image(text).resize((size[1], size[0]), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, np.float32) / 255)[None, None]


def inside(text: str, changed: Sequence[Image.Image], unchanged: Sequence[Image.Image]) -> list[Image.Image]:
    """Each changed picture inside the mask, the unchanged one outside to the pixel; the edge is soft on the inside."""
    side = changed[0].size
    hard = mask_image(text).resize(side, Image.Resampling.NEAREST)
    soft = hard.filter(ImageFilter.GaussianBlur(FEATHER * side[0]))
    edge = Image.fromarray(
        np.minimum(np.asarray(hard), np.maximum(2 * np.asarray(soft, int) - 255, 0)).astype(np.uint8)
    )
    return [Image.composite(one, other, edge) for one, other in zip(changed, unchanged, strict=True)]
