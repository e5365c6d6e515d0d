"""Values from outside, checked: numbers and texts within their limits, or one sentence that names them."""

from __future__ import annotations

import math
import operator
from typing import Any

from .errors import RudderError, shorten

PROMPT_LIMIT = 2000
STRENGTH_LIMIT = 100.0


def number(title: str, value: Any, low: float, high: float) -> float:
    """`value` as a finite float in [low, high]; RudderError naming `title` otherwise."""
    try:
        result = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        result = math.nan
    if not math.isfinite(result) or not low <= result <= high:
        raise RudderError(f"{title} is {shorten(value, 40)}: give a number from {low:g} to {high:g}.")
    return result


def whole(title: str, value: Any, low: int, high: int) -> int:
    """`value` as an int in [low, high]; RudderError naming `title` otherwise."""
    try:
        result = operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        result = low - 1
    if isinstance(value, bool) or not low <= result <= high:
        raise RudderError(f"{title} is {shorten(value, 40)}: give a whole number from {low:,} to {high:,}.")
    return result


def strength(name: str, value: Any) -> float:
    """A concept's strength, finite and at most 100 either way."""
    return number(f"The strength of {shorten(name)!r}", value, -STRENGTH_LIMIT, STRENGTH_LIMIT)


def text(title: str, value: Any, limit: int = PROMPT_LIMIT, empty: bool = True) -> str:
    """`value` as text of at most `limit` characters; RudderError naming `title` otherwise."""
    if not isinstance(value, str):
        raise RudderError(f"{title} must be text, not {type(value).__name__}.")
    if len(value) > limit:
        raise RudderError(f"{title} has {len(value):,} characters: shorten it to at most {limit:,}.")
    if not empty and not value.strip():
        raise RudderError(f"{title} is empty: give one.")
    if any(0xD800 <= ord(c) <= 0xDFFF or c == "\0" for c in value):
        raise RudderError(f"{title} holds characters that are no text (surrogates or NUL): type it again.")
    return value
