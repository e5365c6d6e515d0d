"""What a visitor asks of the Grid tab: its controls over the Steer tab's, as checked rows, with count and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event

from ..axes import DOWN, TOLD_LIMIT, groups, numbers, rows_of
from ..checks import text
from ..concepts import ConceptVector, Progress
from ..errors import RudderError, shorten, unknown
from ..grid import check_size, seconds
from ..pace import PAGE_SECONDS, about
from ..recipe import STRIP_LIMIT, Recipe
from .asked import Panel, recipe_of
from .gpu import zero_gpu
from .permalink import prompt
from .session import Session
from .studio import Studio, vector_for, vectors_of

CELLS = 120
PIXELS = 40_000_000  # of all cells together
FEW = 4  # rows to begin with
ACROSS = "0..1 [5]"
WINDOWS = "0.05:0.4, 0.3:0.7, 0.5:0.95"
TITLES = {"seed": "Seeds", "prompt": "Prompts", "concept": "Concepts", "window": "Windows", "sites": "Groups of sites",
          "model": "Models"}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A checked grid: its rows (label, recipe), strengths, kind of rows, and the vectors they need."""

    rows: tuple[tuple[str, Recipe], ...]
    across: tuple[float, ...]
    axis: str
    vectors: Mapping[str, ConceptVector]


def kinds(studio: Studio, models: Sequence[str]) -> list[tuple[str, str]]:
    """The kinds of rows that this page can have, (title, name)."""
    classes = studio.backbone.classes
    titles = TITLES if classes is None else TITLES | {"prompt": "Classes"}
    lacking = {"model"} if len(models) < 2 or zero_gpu() else set()
    lacking |= {"prompt"} if classes is not None and not classes.count else set()
    lacking |= set() if studio.groups else {"sites"}  # no group's name was measured to hold
    return [(titles[axis], axis) for axis in DOWN if axis not in lacking]


def first_axis(studio: Studio) -> str:
    """What the tab opens with: concepts where there are several, else seeds."""
    return "concept" if len(studio.concepts) > 1 else "seed"


def first_rows(studio: Studio, owner: Session, axis: str, panel: Panel, models: Sequence[str]) -> str:
    """Rows worth seeing, to begin with."""
    if axis == "seed":
        return f"{panel.seed}..{panel.seed + FEW - 1}"
    if axis == "prompt":
        listed = [entry["key"] for kind in ("ordinary", "memorized") for entry in studio.prompts[kind][:FEW]]
        some = [one for one in [*panel.prompts.values(), *listed] if one.strip()]
        if not some and studio.backbone.classes is not None:
            some = list(map(str, studio.backbone.classes.labels.values()))
        return "\n".join(list(dict.fromkeys(some))[:FEW])
    if axis == "concept":
        return ", ".join(list(dict.fromkeys(filter(None, [panel.concept, *studio.concepts, *owner.vectors])))[:FEW])
    if axis == "sites":
        had = vectors_of(studio, owner)
        base = Recipe(concepts=((panel.concept, 1.0),))
        there = groups(base, had, studio.backbone) if panel.concept in had else studio.groups
        return ", ".join(name for name in studio.groups if name in there)
    return WINDOWS if axis == "window" else ", ".join(models)


def names(studio: Studio, owner: Session, panel: Panel, axis: str, rows: str) -> list[str]:
    """The concepts a grid needs; RudderError for one that is not here."""
    found = [part.strip() for part in rows.split(",") if part.strip()] if axis == "concept" else [panel.concept]
    known = [*studio.concepts, *owner.vectors]
    for name in found:
        if name not in known:
            raise unknown("concept", name, known)
    return list(dict.fromkeys(found))


def vectors_for(
    studio: Studio, owner: Session, wanted: Sequence[str], stop: Event
) -> Iterator[Progress | dict[str, ConceptVector]]:
    """{name: vector} as the last item, those of shipped sets learned where need be."""
    found = {}
    for name in wanted:
        for item in vector_for(studio, owner, name, stop):
            if isinstance(item, ConceptVector):
                found[name] = item
            else:
                yield item
    yield found


def asked(
    studio: Studio, panel: Panel, axis: str, rows: str, across: str, vectors: Mapping[str, ConceptVector],
    models: Sequence[str],
) -> Asked:  # fmt: skip
    """The controls as a checked grid. RudderError names the first bad value, or what is too much for the page."""
    if axis not in [name for _, name in kinds(studio, models)]:
        raise unknown("kind of rows", axis, [name for _, name in kinds(studio, models)])
    strengths = numbers(across, "The row of strengths", STRIP_LIMIT)
    base = replace(recipe_of(studio, panel), prompt=next(iter(panel.prompts.values())))
    if panel.concept in vectors:
        told = vectors[panel.concept].advice
        sites = base.sites or (tuple(told["sites"]) if told["sites"] else None)
        base = replace(base, concepts=((panel.concept, told["strength"]),), sites=sites)
    made = rows_of(axis, rows, base, vectors, studio.backbone)
    if axis == "prompt":
        made = tuple((label, replace(recipe, prompt=prompt(studio, label))) for label, recipe in made)
    for kind, what, known in (("model", "model on this page", models), ("sites", "group of sites", [*studio.groups])):
        for label, _ in made if axis == kind else ():
            if label not in known:
                raise unknown(what, label, known)
    within(studio, len(made), len(strengths))
    time = duration(studio, Asked(made, strengths, axis, vectors))
    if (time or 0) > PAGE_SECONDS:
        raise _too_much(about(time or 0), about(PAGE_SECONDS).removeprefix("about "))
    return Asked(made, strengths, axis, vectors)


def within(studio: Studio, rows: int, columns: int) -> None:
    """RudderError for more cells or pixels than the page holds."""
    check_size(rows, columns, CELLS)
    pixels = rows * columns * studio.backbone.resolution**2
    if pixels > PIXELS:
        raise _too_much(f"{pixels / 1e6:.0f} megapixels", f"{PIXELS / 1e6:.0f}")


def _too_much(much: str, most: str) -> RudderError:
    return RudderError(
        f"This grid would take {much}, and the page allows {most}: take fewer cells or steps, or use `rudder grid` on "
        "the command line."
    )


def duration(studio: Studio, wanted: Asked) -> float | None:
    """About how many seconds a grid takes here; None before the model was timed, and where others are read for it."""
    if studio.pace is None or wanted.axis == "model":
        return None
    draws = studio.calibration.draws if studio.calibration else 0
    return seconds(wanted.rows, len(wanted.across), studio.pace, draws)


def estimate(
    studio: Studio, owner: Session, panel: Panel, axis: str, rows: str, across: str, models: Sequence[str]
) -> dict[str, str]:
    """{"base": what all cells share, "text": how many pictures and how long}; RudderError as `asked`."""
    had = vectors_of(studio, owner)
    needed = names(studio, owner, panel, axis, text("The list of rows", rows, TOLD_LIMIT))
    lacking = [name for name in needed if name not in had]
    stand_in: ConceptVector | None = next(iter(had.values()), None)
    if lacking and stand_in is None:
        return {"base": based(panel, axis), "text": "Its concept is learned first, which takes longer than painting."}
    vectors = had | {name: stand_in for name in lacking if stand_in is not None}
    wanted = asked(studio, panel, axis, rows, across, vectors, models)
    time, count = duration(studio, wanted), len(wanted.rows) * len(wanted.across)
    took = f", {about(time)} here" if time is not None else ""
    if axis == "model":
        took = "; each other model is read when its turn comes"
    first = f" {', '.join(map(shorten, lacking))} will be learned first, which takes longer." if lacking else ""
    return {"base": based(panel, axis), "text": f"{count} picture{'s' * (count != 1)}{took}.{first}"}


def based(panel: Panel, axis: str) -> str:
    """What all cells share, in a sentence."""
    said = shorten(next(iter(panel.prompts.values())), 60)
    parts = {
        "prompt": f"“{said}”" if said else "no prompt",
        "concept": f"the concept {shorten(panel.concept, 40)}",
        "seed": f"seed {panel.seed}",
    }
    shared = [part for kind, part in parts.items() if kind != axis] + [f"{panel.steps:g} steps"]
    return f"All cells share {', '.join(shared)}: the Steer tab's settings."
