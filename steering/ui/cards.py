"""Cards of all concepts: what each is made of and whether it is any good, as the browser draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..arithmetic import WAYS, combined
from ..concepts import ConceptVector, Progress
from ..errors import RudderError, shorten, unknown
from ..quality import cosine, doubts, made_of, quality_of, searched
from .library import keep, name_for
from .pictures import shared_face
from .session import Session
from .studio import Concept, Studio, vectors_of

STATES = {
    "takes": "Takes",
    "works": "Measured to work",
    "weak": "Weak",
    "cannot": "Cannot be painted",
    "untried": "Not tried yet",
}
LISTED = 4  # concepts that are named as alike


def cards(studio: Studio, session: Session) -> list[dict[str, Any]]:
    """One card a concept: the visitor's own first, the newest at the front, then those that ship."""
    vectors = vectors_of(studio, session)
    titles = titles_of(studio, session)
    found = []
    for name in [*reversed(list(session.vectors)), *studio.concepts]:
        own = name in session.vectors
        faces = session.faces.get(name, {}) if own else vars(studio.concepts[name])
        found.append({
            "key": name,
            "title": titles[name],
            "own": own,
            "description": "" if own else studio.concepts[name].description,
            **{part: faces.get(part, "") for part in ("face", "examples", "baseline")},
            **judged(name, vectors, titles, own),
            "measurable": not own and bool(studio.concepts[name].example_files),
        })  # fmt: skip
    return found


def told_of(studio: Studio, session: Session, opened: str = "", renamed: Sequence[str] = ()) -> dict[str, Any]:
    """The cards as the browser takes them: which to unfold ("": as they are), what was just `renamed` (old, new), and
    the concept that was deleted last, for as long as it can be taken back."""
    gone = session.gone.vector.name if session.gone else ""
    return {"cards": cards(studio, session), "open": opened, "gone": gone, "renamed": list(renamed)}


def judged(
    name: str, vectors: Mapping[str, ConceptVector], titles: Mapping[str, str], own: bool = True
) -> dict[str, Any]:
    """What a card says of a vector: a state, three figures in words, doubts, and what unfolds; of a concept that is not
    learned yet only that. That one resembles another is a doubt for an `own` one that is no sum: the others were meant.
    """
    vector = vectors.get(name)
    if vector is None:
        return {"state": "", "says": "Learned from its pictures when it is first used.", "figures": [], "doubts": [],
                "made": "", "searched": "", "sites": [], "alike": [], "measured": False}  # fmt: skip
    advice, found = vector.advice, quality_of(vector)
    rows = [(other, cosine(vector, one)) for other, one in vectors.items() if other != name]
    alike = sorted([(titles[other], value) for other, value in rows if value is not None], key=lambda row: -abs(row[1]))
    used = advice["sites"] or list(vector.vectors)
    best = found.best(used) if found else None
    low, high = advice["range"]
    figures = [["Strength", f"{_signed(advice['strength'])}, from {_signed(low)} to {_signed(high)}"]]
    if best is not None:
        figures.append(["Told apart", f"{100 * (best[1].auroc or 0):.0f} % of pictures left out"])
    if found:
        figures.append(["Length", f"{100 * found.share(used):.0f} % of the activations’"])
    if len(figures) < 3 and alike:
        figures.append(["Nearest", f"{shorten(alike[0][0], 24)}, cosine {_signed(alike[0][1])}"])
    state = vector.state
    return {
        "state": state if state in STATES else "untried",
        "says": STATES.get(state, STATES["untried"]),
        "why": shorten(vector.recommended.get("why", ""), 300),
        "figures": figures[:3],
        "doubts": doubts(vector, alike if own and "operation" not in vector.provenance else ()),
        "made": _sentence(made_of(vector)),
        "searched": searched(vector),
        "sites": _sites(vector, set(used)),
        "alike": [[shorten(title, 30), round(value, 3)] for title, value in alike[:LISTED]],
        "measured": found is not None,
    }


def titles_of(studio: Studio, session: Session) -> dict[str, str]:
    """What every concept is called on the page."""
    return {**{name: name for name in session.vectors}, **{name: one.title for name, one in studio.concepts.items()}}


def choices(studio: Studio, session: Session) -> list[tuple[str, str]]:
    """(title, name) of the concepts that can be put together: those that have a vector."""
    titles = titles_of(studio, session)
    return [(titles[name], name) for name in vectors_of(studio, session)]


def combine(studio: Studio, session: Session, one: object, way: object, other: object, name: str) -> str:
    """Put two concepts together under a new name; returns the name it has. RudderError as `arithmetic.combined`, and
    for concepts that are not there."""
    vectors, titles = vectors_of(studio, session), titles_of(studio, session)
    for asked in (one, other):
        if asked not in vectors:
            raise unknown("concept to combine", asked or "", vectors)
    if way not in WAYS:
        raise unknown("way to combine concepts", way, WAYS)
    a, b = (vectors[str(asked)].replace(name=titles[str(asked)]) for asked in (one, other))
    usual = {"plus": "{} + {}", "minus": "{} − {}", "without": "{} without {}"}[str(way)].format(a.name, b.name)
    called = name_for(name) if (name or "").strip() else shorten(usual, 40)
    made = combined(a, b, str(way), called)
    faces = [_face(studio, session, str(asked)) for asked in (one, other)]
    return keep(studio, session, made, {"face": shared_face(*faces), "examples": "", "baseline": ""})


def measure(studio: Studio, session: Session, name: str) -> Iterator[Progress]:
    """Measure how good a shipped concept's vector is, on its own sets; all visitors have it then.

    RudderError for a concept that does not ship or is not learned yet, Cancelled when stopped.
    """
    concept = studio.concepts.get(name)
    vector = vectors_of(studio, Session()).get(name)
    if concept is None or vector is None or not concept.example_files:
        raise RudderError(f"{shorten(name, 40)} has no pictures here to measure it on: choose a concept that ships.")
    sets = [[Image.open(path).convert("RGB") for path in files]
            for files in (concept.example_files, concept.baseline_files)]  # fmt: skip
    with session.task("learn") as stop:
        for item in studio.assess(vector, *sets, stop=stop):
            if isinstance(item, Progress):
                yield item
                continue
            with studio.lock:
                _hold(studio, concept, item)


def _hold(studio: Studio, concept: Concept, vector: ConceptVector) -> None:
    if concept.vector is None:
        studio.learned[concept.name] = vector
    else:
        studio.concepts[concept.name] = replace(concept, vector=vector)


def _face(studio: Studio, session: Session, name: str) -> str:
    own = session.faces.get(name, {}) if name in session.vectors else vars(studio.concepts[name])
    return str(own.get("face", ""))


def _sites(vector: ConceptVector, used: set[str]) -> list[dict[str, Any]]:
    """A row a site: whether it is steered there, and what was measured."""
    found = quality_of(vector)
    rows = []
    for site in vector.vectors:
        at = found.sites.get(site) if found else None
        rows.append({"site": site, "used": site in used, "auroc": at.auroc if at else None,
                     "share": at.share if at else None, "steady": at.steady if at else None})  # fmt: skip
    return rows


def _signed(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
