"""The classes of a class-conditional model: their names as people write them, and the numbers that stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RudderError, shorten, unknown
from ..files import read_json
from .layout import REMEDY, names


def classes_of(folder: Path, info: Mapping[str, Any], count: int) -> Classes:
    """The classes of a model with `count` of them: rudder.json's list `info["classes"]`, in the order of their numbers,
    else the `id2label` of model_index.json, as DiTPipeline has it. RudderError for a list that does not fit the model.
    """
    labels = dict(enumerate(names(info, "classes")))
    if not labels:
        told = read_json(folder / "model_index.json").get("id2label", {})
        if not isinstance(told, dict) or not all(
            key.isdecimal() and isinstance(label, str) for key, label in told.items()
        ):
            raise RudderError(f"model_index.json's 'id2label' should give each class number a name: {REMEDY}.")
        labels = {int(key): label for key, label in sorted(told.items(), key=lambda item: int(item[0]))}
    if any(number >= count for number in labels):
        raise RudderError(f"{folder} names class {max(labels)}, but its transformer has only {count}: {REMEDY}.")
    return Classes(count, labels)


@dataclass(frozen=True)
class Classes:
    """Classes 0 to `count` - 1. `labels`: names by number, synonyms separated by commas; a class may have none."""

    count: int
    labels: Mapping[int, str]

    def choices(self, most: int = 12) -> str:
        """The first of what a text may name, as a sentence ends with it."""
        named = list(self.labels.values())
        more = f" and {len(named) - most} more" if len(named) > most else ""
        return f"one of {', '.join(named[:most])}{more}" if named else f"a number from 0 to {self.count - 1}"

    def has(self, text: str) -> bool:
        """Whether a text names one class, or is its number."""
        try:
            self.number(text)
        except RudderError:
            return False
        return True

    def number(self, text: str) -> int:
        """The class of a name, a synonym (both in any case) or a number; RudderError where it is none, or several."""
        asked = _folded(text)
        for spelled in (_label, _synonyms):
            found = [number for number, label in self.labels.items() if asked in spelled(label)]
            if len(found) > 1:
                listed = ", ".join(map(str, found[:8]))
                raise RudderError(f"{shorten(text)!r} is the name of the classes {listed}: give the number of one.")
            if found:
                return found[0]
        if asked.isdecimal() and asked.isascii() and len(asked) < 10:
            if int(asked) < self.count:
                return int(asked)
            raise RudderError(f"There is no class {shorten(text)}: give one from 0 to {self.count - 1}, or a name.")
        numbers = f"a number from 0 to {self.count - 1}"
        if not self.labels:
            raise RudderError(f"There is no class named {shorten(text)!r}: the model names none, give {numbers}.")
        known = {name for label in self.labels.values() for name in _synonyms(label)}
        raise unknown("class", asked, known, f"give {numbers}, or one of")


def _folded(text: str) -> str:
    """One way of writing for all: lower case, single spaces, a space after each comma."""
    return ", ".join(" ".join(part.split()) for part in text.casefold().split(","))


def _label(label: str) -> tuple[str, ...]:
    return (_folded(label),)


def _synonyms(label: str) -> list[str]:
    return _folded(label).split(", ")
