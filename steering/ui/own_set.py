"""Learning a set of one's own: pictures become a vector of this session; vectors come and go as files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..concepts import ConceptVector, Progress
from ..errors import shorten
from . import trays
from .library import keep, name_for
from .pictures import own_sheet
from .session import Session
from .studio import Studio

REMARKS = 6  # sentences about a set that are shown


def learn_trays(studio: Studio, session: Session, name: str, caption: str) -> Iterator[Progress | str]:
    """Learn a vector from the session's two trays; yields Progress, then the name it has in the picker.

    Painted pictures are read under their prompts, which the provenance keeps, others under `caption`. Raises
    RudderError for too few or too many pictures, no name, or when stopped.
    """
    shown, against = trays.sets_of(session)
    name, sides = name_for(name), [trays.tray_of(session, side) for side in trays.SIDES]
    painted = {side: tray.painted for side, tray in zip(trays.SIDES, sides, strict=True)}
    words = {
        "prompt": (sides[0].prompt if sides[0].painted else caption or "").strip(),
        "baseline_prompt": sides[1].prompt if sides[1].painted else "",
    }
    with session.task("learn") as stop:
        vector = None
        for item in studio.learn(name, shown, against, stop=stop, **words):
            if isinstance(item, Progress):
                yield item
            else:
                vector = item
        assert vector is not None
        made = {**vector.provenance, **({"references": painted} if any(painted.values()) else {})}
        yield keep(studio, session, vector.replace(provenance=made), sheet=own_sheet(shown, against))


def add_vector(studio: Studio, session: Session, path: str) -> str:
    """Take in a vector file, checked against this page's model; returns its name in the picker."""
    return keep(studio, session, ConceptVector.load(path, studio.backbone))


def told_of(vector: ConceptVector, how: str = "Learned") -> str:
    """What is said once a vector is there: what was left out of its sets, and whether it takes."""
    remarks = [shorten(told, 300) for told in _texts(vector.provenance.get("remarks"))]
    return " ".join(filter(None, [f"{how} “{vector.name}”.", *remarks, str(vector.recommended.get("why", ""))]))


def _texts(value: Any) -> list[str]:
    """The texts of a list that a vector file may hold, the first few."""
    return [one for one in value if isinstance(one, str)][:REMARKS] if isinstance(value, list) else []


def vector_file(session: Session, name: str, vector: ConceptVector | None = None) -> str | None:
    """A concept's vector as a file to download: the visitor's own, or the one given; None where there is none."""
    vector = vector or session.vectors.get(name)
    if vector is None:
        return None
    safe = "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in name).strip()
    path = session.folder() / f"{safe[:40] or 'vector'}.safetensors"  # 40 letters are at most 160 bytes
    vector.save(path)
    return str(path)
