"""Learning a set of one's own: pictures become a vector of this session; vectors come and go as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from ..concepts import ConceptVector, Progress
from ..errors import RudderError, shorten
from ..images import Limits, open_images
from . import trays
from .library import keep, name_for
from .pictures import own_sheet
from .session import Session
from .studio import Studio

LIMITS = Limits(files=500, file_bytes=20 * 2**20, total_bytes=200 * 2**20)
REMARKS = 6  # sentences about a set that are shown


def learn_set(
    studio: Studio,
    session: Session,
    pictures: list[str] | None,
    baseline: list[str] | None,
    name: str,
    caption: str,
    limits: Limits = LIMITS,
) -> Iterator[Progress | str]:
    """Learn a vector from files; yields Progress, then the name it has in the picker.

    Raises RudderError for no or bad pictures, no name, or when stopped.
    """
    if not pictures:
        raise RudderError("There are no pictures yet: give several that show the concept, or a zip of them.")
    yield Progress(0, 1, "opening the pictures")
    left_out: list[str] = []
    with session.task("learn") as stop:
        shown = open_images(pictures, limits, left_out.append, stop)
        against = open_images(baseline, limits, left_out.append, stop) if baseline else []
    yield from learned(studio, session, name, shown, against, caption, "", left_out)


def learn_trays(studio: Studio, session: Session, name: str, caption: str) -> Iterator[Progress | str]:
    """Learn a vector from the session's two trays; yields as `learn_set`.

    Painted pictures are read under their prompts, others under `caption`. Raises RudderError for too few or too many
    pictures, no name, or when stopped.
    """
    shown, against = trays.sets_of(session)
    sides = [trays.tray_of(session, side) for side in trays.SIDES]
    painted = {side: tray.painted for side, tray in zip(trays.SIDES, sides, strict=True)}
    yield from learned(
        studio,
        session,
        name,
        shown,
        against,
        sides[0].prompt if sides[0].painted else caption,
        sides[1].prompt if sides[1].painted else "",
        [],
        painted if any(painted.values()) else None,
    )


def learned(
    studio: Studio,
    session: Session,
    name: str,
    shown: Sequence[Image.Image],
    against: Sequence[Image.Image],
    prompt: str,
    baseline_prompt: str,
    left_out: list[str],
    painted: dict[str, Any] | None = None,
) -> Iterator[Progress | str]:
    """Learn from opened pictures; yields as `learn_set`.

    `left_out`: what is to be said of the sets; `painted`: how they were painted, as a vector's provenance keeps it.
    """
    name = name_for(name)
    with session.task("learn") as stop:
        vector = None
        words = {"prompt": (prompt or "").strip(), "baseline_prompt": (baseline_prompt or "").strip()}
        for item in studio.learn(name, shown, against, stop=stop, **words):
            if isinstance(item, Progress):
                yield item
            else:
                vector = item
        assert vector is not None
        made = dict(vector.provenance)
        if remarks := [*left_out, *made.get("remarks", [])]:
            made["remarks"] = remarks
        if painted:
            made["references"] = painted
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
