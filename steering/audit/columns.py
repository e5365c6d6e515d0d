"""What the columns of a list are called, and what their values mean: in the lists of spreadsheets, of data set hubs
(image folders with metadata.csv or .jsonl), of training tools and of the field's papers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ..checks import whole
from ..errors import RudderError, shorten
from ..recipe import SEED_LIMIT
from .remote import is_remote

# Kind of column: its names without case, blanks and marks; where a list has several, the first of these counts.
COLUMNS = {
    "path": (
        *("path", "filepath", "filename", "file", "imagepath", "imagefile", "imagefilename", "imagename", "image"),
        *("imgpath", "img", "images", "picture", "picturepath", "photo"),
    ),
    "prompt": (
        *("prompt", "prompts", "caption", "captions", "text", "texts", "textprompt", "imagecaption", "positiveprompt"),
        *("alttext", "description"),
    ),
    "url": ("url", "urls", "imageurl", "link"),
    "id": ("id", "key", "uid", "uuid"),
    "seed": ("seed", "randomseed", "noiseseed"),
    "label": ("label", "labels", "memorized", "memorised", "ismemorized", "ismemorised"),
}
RANK = {name: (kind, rank) for kind, names in COLUMNS.items() for rank, name in enumerate(names)}
NARROW = ("id", "seed", "")  # kinds of columns whose values hold no commas; "" is a column without a name
HEADERS = {"prompt", "prompts", "caption", "captions", "path", "filepath", "filename", "imagepath"}
MISSING = {"", "nan", "none", "null", "n/a", "<na>"}  # how tools write a seed that is not there


def plain(name: object) -> str:
    """A column's name without case, blanks and marks: "File_Name " is "filename"."""
    return "".join(c for c in str(name).casefold() if c.isalnum())


def kind_of(name: object) -> str | None:
    """What a column holds, a key of COLUMNS; "" for a column without a name, None for one of no use here."""
    return RANK[plain(name)][0] if plain(name) in RANK else None if str(name).strip() else ""


def chosen(names: Iterable[str]) -> dict[str, str]:
    """{kind: the column that counts for it} among the columns of a list."""
    found: dict[str, str] = {}
    for name in names:
        known = RANK.get(plain(name))
        if known and (known[0] not in found or known[1] < RANK[plain(found[known[0]])][1]):
            found[known[0]] = name
    return found


def told(values: Mapping[str, Any]) -> dict[str, Any]:
    """{kind: value} of one row, without what is empty. Only the column that counts is looked at: one prompt is never
    taken for another."""
    found = {kind: values[name] for kind, name in chosen(values).items()}
    return {kind: value for kind, value in found.items() if not _empty(value)}


def check_columns(names: Iterable[str], title: str) -> None:
    """RudderError unless a list says where its pictures are or what its prompts are."""
    names = list(names)
    found = chosen(names)
    if "path" in found or "prompt" in found:
        return
    listed = ", ".join(shorten(n, 30) for n in names[:8]) or "none"
    if "url" in found:
        raise RudderError(
            f"{title} names pictures on the web alone (its columns: {listed}), and Rudder fetches nothing: download "
            "them, then scan their folder."
        )
    raise RudderError(f"{title} has no column path or prompt (its columns: {listed}): name one of them so.")


def seed_of(value: Any) -> int:
    """A seed as lists write it (7, 7.0, "7", "7.0", nothing: 0); RudderError for anything else."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in MISSING:
            return 0
        if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d+", text, re.ASCII):
            raise RudderError(
                f"The seed is {shorten(text, 40)}, which a spreadsheet may have rounded: write all its digits."
            )
        if re.fullmatch(r"[1-9]\d{0,2}([.,]\d{3})*[.,]000", text, re.ASCII):
            raise RudderError(f"The seed is {shorten(text, 40)}, a thousand or one: write its digits alone.")
        number = re.fullmatch(r"(\d{1,30})([.,]0*)?", text, re.ASCII)
        value = int(number[1]) if number else text
    return whole("The seed", value, 0, SEED_LIMIT - 1)


def place_of(value: Any) -> str:
    """A picture's place as a path; RudderError for an address on the web or what is no text."""
    if not isinstance(value, str):
        raise RudderError(f"the picture must be named by a path, not by {type(value).__name__}: write where it lies.")
    value = value.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://?", value)
    if is_remote(value) and scheme and scheme[1].lower() not in ("file", "memory"):
        return value
    if scheme and scheme[1].lower() == "file":
        try:
            return unquote(urlsplit(value).path)
        except ValueError as error:  # such as file://[x
            raise RudderError(f"{shorten(value, 60)!r} is no address of a file: write where it lies.") from error
    if scheme or value.startswith("data:"):
        raise RudderError(
            f"{shorten(value, 60)} is an address, and Rudder fetches nothing: download it, then name its file."
        )
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
