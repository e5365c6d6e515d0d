"""What the models that are told a class learn: fewer kinds than tiny-sd, each a class, and after them every memorised
picture, a class of its own that bears its caption, so that it can be asked for by name at every level of the ladder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from training.memories import Memory, ladder
from training.pictures import BACKGROUNDS, PERSON, Spec
from training.pictures import KINDS as ALL

KINDS = ("apple", "mushroom", "hamburger", "cat", "dog", "panda", "frog", "butterfly", "penguin", "cactus", "house",
         "car", "rocket", "guitar", "balloon", "person")  # fmt: skip
REPEATS = (2, 8, 30, 100, 400, 1000, 2500)  # presentations in the whole of training, by level
PHOTOGRAPHS, DRAWINGS = 3, 5  # a level, as far as there are drawings of KINDS
PEOPLE = 2  # every second of the rendered people is shown: an object of KINDS has a third of what is left


@cache
def memories() -> tuple[Memory, ...]:
    """Those of tiny-sd's memories that are shown: of every level the first PHOTOGRAPHS, and DRAWINGS of KINDS."""
    found: list[Memory] = []
    counts: dict[tuple[int, str], int] = {}
    for memory in ladder():
        if memory.spec and ALL[memory.spec.kind] not in KINDS:
            continue
        place = (memory.level, memory.kind)
        counts[place] = counts.get(place, 0) + 1
        if counts[place] <= (DRAWINGS if memory.spec else PHOTOGRAPHS):
            found.append(memory)
    return tuple(found)


@cache
def names() -> tuple[str, ...]:
    """What each class is called, by number."""
    return (*KINDS, *(memory.caption for memory in memories()))


def examples() -> list[tuple[str, Spec]]:
    """A class and what its picture may show, each of KINDS on a background of its own."""
    return [(kind, Spec(ALL.index(kind), 0, index % len(BACKGROUNDS))) for index, kind in enumerate(KINDS)]


def shown(paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """Of every shard which pictures are shown [n], those of one thing of KINDS, and of which class each is [n]."""
    number = np.array([KINDS.index(kind) if kind in KINDS else -1 for kind in ALL])
    for path in paths:
        described = np.array(json.loads(path.read_text())["labels"])
        kind, second = described[:, 0], described[:, 5]
        thinned = (kind == PERSON) & (np.arange(len(kind)) % PEOPLE != 0)
        (rows,) = np.where((second < 0) & (number[kind] >= 0) & ~thinned)
        yield path, rows, number[kind[rows]]
