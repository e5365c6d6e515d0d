"""What a vector advises: strength, range, window, sites and halves; cautious where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import STRENGTH_LIMIT, number
from .errors import RudderError
from .recipe import HALVES, Window

AGAIN = "learn the concept again, or ask whoever shared the file for a fresh one"


def advice_of(provenance: Mapping[str, Any], recommended: Mapping[str, Any]) -> dict[str, Any]:
    """`ConceptVector.advice` of a vector with this provenance and recommendation."""
    long = provenance.get("baseline") is False
    start = {"strength": 0.3, "range": [-0.5, 1.0]} if long else {"strength": 1.0, "range": [-1.0, 3.0]}
    return {**start, "window": [0.5, 0.95], "sites": None, "halves": "both", **recommended}


def checked(value: Any) -> dict[str, Any]:
    """The measured recommendation, checked; unknown keys are kept."""
    if not isinstance(value, Mapping):
        raise RudderError(f"A vector's recommendation must be a mapping, not {type(value).__name__}: {AGAIN}.")
    result = dict(value)
    most = STRENGTH_LIMIT
    if "strength" in result:
        result["strength"] = number("The recommended strength", result["strength"], -most, most)
    for key in ("range", "window"):
        if key in result:
            ends = result[key]
            if not isinstance(ends, (list, tuple)) or len(ends) != 2:
                raise RudderError(f"A vector's recommended {key} must be two numbers: {AGAIN}.")
            result[key] = [number(f"The recommended {key}", end, -most, most) for end in ends]
    if "range" in result and not result["range"][0] <= 0 <= result["range"][1] > result["range"][0]:
        raise RudderError(f"A vector's recommended range must rise and hold 0: {AGAIN}.")
    if "window" in result:
        Window(*result["window"])
    if result.get("halves", "both") not in HALVES:
        raise RudderError(f"A vector's recommended halves must be one of {', '.join(HALVES)}: {AGAIN}.")
    if "sites" in result and result["sites"] is not None:
        if not isinstance(result["sites"], (list, tuple)) or not all(isinstance(s, str) for s in result["sites"]):
            raise RudderError(f"A vector's recommended sites must be a list of names: {AGAIN}.")
        result["sites"] = list(result["sites"])
    return result
