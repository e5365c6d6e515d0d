"""Own concepts that stay: in the session, and in the folder of someone who runs Rudder at home."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..backbones.base import Backbone
from ..checks import text
from ..concepts import ConceptVector
from ..errors import RudderError, shorten
from ..shelf import Shelf, open_shelf
from .pictures import faces_of
from .session import Session
from .studio import Studio

NAME_LIMIT = 40


@dataclass
class Library:
    """A folder's vectors with their faces, shared by all tabs of the one who owns it."""

    shelf: Shelf
    faces: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Gone:
    """A concept that was deleted, with all that brings it back: its pictures, and whether it was the chosen one."""

    vector: ConceptVector
    faces: dict[str, str]
    sheet: Image.Image | None
    chosen: bool


def open_library(folder: str | Path, backbone: Backbone) -> Library:
    """The library of a folder for a model; RudderError as `open_shelf`."""
    shelf = open_shelf(folder, backbone)
    return Library(shelf, {name: faces_of(sheet) for name, sheet in shelf.sheets.items()})


def name_for(name: object) -> str:
    """A name as a visitor may give it, trimmed; RudderError unless it has 1 to NAME_LIMIT characters."""
    plain = text("The name", name if isinstance(name, str) else "", 10 * NAME_LIMIT).strip()
    if not 0 < len(plain) <= NAME_LIMIT:
        raise RudderError(f"The concept needs a name of 1 to {NAME_LIMIT} characters: fill in 'Name'.")
    return " ".join(plain.split())


def keep(
    studio: Studio,
    session: Session,
    vector: ConceptVector,
    faces: dict[str, str] | None = None,
    sheet: Image.Image | None = None,
) -> str:
    """Keep a vector for the session, and in the library where there is one; returns the name it has.

    A name that is taken gets a number, so that nothing is lost, but the very same vector stands there once.
    RudderError past the session's or the library's limits.
    """
    library = session.library
    known = {**(library.shelf.vectors if library else {}), **session.vectors}  # another tab may have added some
    first = name = f"my {vector.name}" if vector.name in studio.concepts else vector.name
    count = 2
    while (had := known.get(name)) is not None:
        if name in session.vectors and same(had, vector):
            return name
        name, count = f"{first} {count}", count + 1
    vector = vector if name == vector.name else vector.replace(name=name)
    name = session.keep(vector, faces or faces_of(sheet), set(studio.concepts))
    if library is not None:
        try:
            library.shelf.put(session.vectors[name], sheet)
        except RudderError:
            forget_here(session, name)
            raise
        library.faces[name] = session.faces[name]
    return name


def rename(studio: Studio, session: Session, old: str, new: object) -> str:
    """Call an own concept by another name; RudderError for a name that is taken, or one that is not the visitor's."""
    vector, name = own(session, old), name_for(new)
    if name == old:
        return name
    if name in session.vectors or name in studio.concepts:
        raise RudderError(f"There is a concept called {shorten(name, 40)!r} already: choose another name.")
    renamed = vector.replace(name=name)
    if session.library is not None and old in session.library.shelf.vectors:
        session.library.shelf.rename(old, renamed)
        session.library.faces[name] = session.library.faces.pop(old, {})
    session.vectors = {name if key == old else key: renamed if key == old else one
                       for key, one in session.vectors.items()}  # fmt: skip
    session.faces[name] = session.faces.pop(old, {})
    return name


def forget(session: Session, name: str, chosen: bool = False) -> None:
    """Delete an own concept, from the library too; `take_back` undoes it until the next is deleted. RudderError for one
    that is not the visitor's.
    """
    vector, library = own(session, name), session.library
    gone = Gone(vector, session.faces.get(name, {}), library.shelf.sheets.get(name) if library else None, chosen)
    if library is not None:
        library.shelf.remove(name)
        library.faces.pop(name, None)
    forget_here(session, name)
    session.gone = gone


def take_back(studio: Studio, session: Session) -> tuple[str, bool]:
    """Keep the concept that was deleted last again; returns the name it has, another one where its own was taken
    meanwhile, and whether it had been chosen. RudderError where there is none, and as `keep`, which loses nothing."""
    gone = session.gone
    if gone is None:
        raise RudderError("No concept was deleted in this session: open its vector file if you have one.")
    name = keep(studio, session, gone.vector, gone.faces or None, gone.sheet)
    session.gone = None
    return name, gone.chosen


def forget_here(session: Session, name: str) -> None:
    """Delete a concept of the session alone."""
    session.vectors.pop(name, None)
    session.faces.pop(name, None)


def own(session: Session, name: str) -> ConceptVector:
    """The visitor's own concept of that name; RudderError where there is none."""
    if name not in session.vectors:
        raise RudderError(f"{shorten(name, 40)} is none of your concepts: choose one that is marked as yours.")
    return session.vectors[name]


def same(a: ConceptVector, b: ConceptVector) -> bool:
    """Whether two vectors are one, but for their names."""
    return a is b or a.replace(name=b.name).to_bytes() == b.to_bytes()
