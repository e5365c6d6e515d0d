"""An evaluation's file: its parts, and how each was made. Parts that were measured on the same weights stay in it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ..backbones.base import Backbone
from ..files import read_json
from ..pace import machine

PARTS = ("prompts", "steering", "detection", "editability", "words", "groups")


def parts_of(backbone: Backbone) -> list[str]:
    """What can be measured of this model: words against vectors only where there are words."""
    return [part for part in PARTS if part != "words" or backbone.classes is None]


def how(fingerprint: str, seed: int, limit: int | None, seconds: float) -> dict[str, Any]:
    """How a part was made: the weights' fingerprint, seed, limit of captions (None: all), seconds, date, machine."""
    return {
        "fingerprint": fingerprint,
        "seed": seed,
        "limit": limit,
        "seconds": round(seconds, 1),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


def kept(path: Path, fingerprint: str) -> dict[str, Any]:
    """The parts of an earlier file at `path` that were measured on the weights of that fingerprint, with "made".

    RudderError where the file is no JSON object.
    """
    told = read_json(path) if path.is_file() else {}
    made = told.get("made", {})
    made = {part: row for part, row in made.items() if part in told and row.get("fingerprint") == fingerprint}
    return {part: told[part] for part in made} | {"made": made}


def joined(earlier: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Both, what is newly found in place of what was there, in the order of PARTS."""
    whole = earlier | found | {"made": earlier["made"] | found["made"]}
    return {part: whole[part] for part in (*PARTS, *whole) if part in whole}
