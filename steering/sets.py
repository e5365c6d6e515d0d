"""What is wrong with two sets of pictures before anything is learned from them: copies, and pictures in both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image

from .errors import RudderError
from .images import OnDisk


def distinct(images: Sequence[Image.Image]) -> Sequence[Image.Image]:
    """The pictures in order, each once however often it stands there; what is OnDisk stays so."""
    found: dict[str, int] = {}
    for place, image in enumerate(images):
        found.setdefault(_key(image), place)
    if len(found) == len(images):
        return images
    if isinstance(images, OnDisk):
        return OnDisk(images.paths[place] for place in found.values())
    return [images[place] for place in found.values()]


def compared(images: Sequence[Image.Image], baseline: Sequence[Image.Image]) -> list[str]:
    """Sentences about copies within the concept's pictures or its baseline's, and about pictures in both.

    RudderError where the two sets are the same, for their difference is nothing.
    """
    sets = [[_key(image) for image in some] for some in (images, baseline)]
    first, second = map(set, sets)
    if first == second and first:
        raise RudderError(
            "The concept's pictures and the baseline's are the same, so what sets them apart is nothing: give a "
            "baseline without the concept, or none."
        )
    told = []
    for title, keys in zip(("concept", "baseline"), sets, strict=True):
        many, copies = len(keys), len(keys) - len(set(keys))
        if copies and copies == many - 1:
            told.append(
                f"All {many} pictures of the {title} are one and the same: what is learned is that picture, so give "
                "several that have in common only what you mean."
            )
        elif copies:
            told.append(
                f"{copies} of the {title}'s {many} pictures {'is a copy' if copies == 1 else 'are copies'} of others: "
                "each picture is used once."
            )
    if both := len(first & second):
        told.append(
            f"{both} {'picture stands' if both == 1 else 'pictures stand'} in both sets and cancel in part what is "
            "learned: leave them out of one."
        )
    return told


def _key(image: Image.Image) -> str:
    """The same for pictures of the same pixels."""
    return hashlib.sha256(repr(image.size).encode() + image.convert("RGB").tobytes()).hexdigest()
