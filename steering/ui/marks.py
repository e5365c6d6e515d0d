"""Marks tell two concepts of one name apart: in links, and where something was made with a concept that may be renamed.

A mark says what is added to the activations, so a new name or a new measurement leaves it as it is.
"""

from __future__ import annotations

import hashlib
import re
import weakref
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ..concepts import ConceptVector
from ..errors import RudderError, shorten
from .session import Session
from .studio import Concept, Studio

LENGTH = 12  # hex digits
LINE = re.compile(rf"([0-9a-f]{{{LENGTH}}}) (.+)")
LOST = (
    "The concept {names} of this link is not here, since uploads do not travel in a link: the rest is restored; open "
    "its vector file on the Concepts tab, or choose another concept."
)
OTHER = (
    "The concept {names} of this link is not the one that has this name here, so it is left out and the rest is "
    "restored: open its vector file on the Concepts tab, or choose another concept."
)

_known: weakref.WeakKeyDictionary[ConceptVector, str] = weakref.WeakKeyDictionary()


def mark_of(vector: ConceptVector) -> str:
    """What tells a vector from others: hex digits over its timesteps, sites and values."""
    if vector not in _known:
        digest = hashlib.sha256(repr(vector.timesteps).encode())
        for site, values in sorted(vector.vectors.items()):
            digest.update(f"{site} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().float().contiguous().numpy().tobytes())
        _known[vector] = digest.hexdigest()[:LENGTH]
    return _known[vector]


def mark_of_shipped(concept: Concept) -> str:
    """A shipped concept's: its vector's, or where it comes without one that of the pictures and prompts it is learned
    from, since what two machines learn differs in the last bits."""
    if concept.vector is not None:
        return mark_of(concept.vector)
    return _mark_of_set(concept.prompt, concept.baseline_prompt, (*concept.example_files, *concept.baseline_files))


@cache
def _mark_of_set(prompt: str, baseline_prompt: str, paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(repr((prompt, baseline_prompt)).encode())
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:LENGTH]


def marks_of(studio: Studio, session: Session) -> dict[str, str]:
    """{name: mark} of every concept of a visitor, own and shipped."""
    shipped = {name: mark_of_shipped(concept) for name, concept in studio.concepts.items()}
    return {**shipped, **{name: mark_of(vector) for name, vector in session.vectors.items()}}


def told(text: str) -> dict[str, str]:
    """{name: mark} of what a link says, a line "MARK NAME" each; RudderError for anything else."""
    found = {}
    for line in filter(None, text.split("\n")):
        parts = LINE.fullmatch(line)
        if parts is None:
            raise RudderError("This link is damaged where it marks its concepts: copy it again where it was made.")
        found[parts[2]] = parts[1]
    return found


def placed(
    studio: Studio, session: Session, names: Iterable[str], marks: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """{name in a link: name here} of the link's concepts that are here, and a sentence on the others, or "".

    With a mark, the name alone does not count: a renamed concept is found, and another one of that name is not taken
    for it. Links of before marks have none.
    """
    here = marks_of(studio, session)
    found: dict[str, str] = {}
    lost: list[str] = []
    others: list[str] = []
    for name in dict.fromkeys(names):
        mark = marks.get(name)
        if name in here and mark in (None, here[name]):
            found[name] = name
        elif mark in here.values():
            found[name] = next(one for one, known in here.items() if known == mark)
        else:
            (others if name in here else lost).append(repr(shorten(name, 40)))
    said = [form.format(names=" and ".join(some)) for form, some in ((OTHER, others), (LOST, lost)) if some]
    return found, " ".join(said)
