"""Which prompts and concept show best that memorised pictures resist: measured over prompts x concepts, never picked by
hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..backbones.base import Backbone
from ..concepts import Progress
from ..editability import JUMP, STRETCH, response
from ..errors import RudderError
from ..vectors import ConceptVector
from . import judge as judging
from .common import gives_back, memorized_set, responses

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the recommended strength
RELIEF = 60.0  # grey levels: a picture with light and dark in it
AT_ONCE = 16  # prompts painted as one batch


@dataclass(frozen=True)
class Cell:
    """One prompt under one concept. `moved`: RMS grey levels from the unsteered picture at FACTORS; `movement`,
    `evenness`, `gained`, `fastest`: see editability.

    `relief`: standard deviation of the unsteered picture, grey levels: how much there is to see in it. `kept`: the
    largest factor up to which the judge sees the prompt's object (of a memorised prompt: up to which it is still its
    own training picture), -1 if not even unsteered, with the background that the prompt names; `whole`: up to which it
    calls no picture damaged; `taken`: the least factor from which it sees the concept, inf if never. They are None
    where no judge can say.
    """

    concept: str
    kind: str  # "ordinary" or "memorized"
    prompt: str
    seed: int
    moved: tuple[float, ...]
    movement: str
    evenness: str
    gained: float
    fastest: float
    relief: float
    kept: float | None = None
    taken: float | None = None
    whole: float | None = None


@dataclass(frozen=True)
class Pair:
    """An ordinary and a memorised cell of one concept and seed, shown at `factor` of the recommended strength, where
    their `contrast` (grey levels) is largest. `passes`: all that was asked of both holds there. `score`, by which pairs
    are ranked: the contrast, times how evenly the ordinary one got there (1 for even, 0 for a jump), times how much
    there is to see in the memorised one (1 from RELIEF on)."""

    concept: str
    ordinary: str
    memorized: str
    seed: int
    factor: float
    contrast: float
    score: float
    passes: bool


def cells(
    backbone: Backbone,
    vectors: Mapping[str, ConceptVector],
    prompts: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
) -> Iterator[Progress | list[Cell]]:
    """Steer every prompt of {"ordinary", "memorized"} to every concept at FACTORS: Progress, then the cells.

    RudderError as `responses` raises; a model that the judge was not made for is measured without it.
    """
    judged = _judge_for(backbone)
    asked = [(kind, prompt, seed) for seed in seeds for kind, some in prompts.items() for prompt in some]
    found: list[Cell] = []
    for place, (concept, vector) in enumerate(vectors.items()):
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            texts, own = [prompt for _, prompt, _ in some], [seed for _, _, seed in some]
            painted = list(responses(backbone, vector, texts, own, FACTORS))
            for row, (kind, prompt, seed) in enumerate(some):
                frames = [images[row] for images in painted]
                found.append(_cell(backbone, vector, concept, kind, prompt, seed, frames, judged))
            yield Progress(place * len(asked) + start + len(some), len(vectors) * len(asked), f"steering to {concept}")
    yield found


def pairs(found: Sequence[Cell]) -> list[Pair]:
    """Every ordinary cell beside every memorised one of its concept and seed, the most telling first."""
    ordinary = [cell for cell in found if cell.kind == "ordinary"]
    memorized = [cell for cell in found if cell.kind == "memorized"]
    made = [
        _pair(one, other) for one in ordinary for other in memorized
        if (one.concept, one.seed) == (other.concept, other.seed)
    ]  # fmt: skip
    return sorted(made, key=lambda pair: (-pair.passes, -pair.score))


def answers(cell: Cell, factor: float) -> bool:
    """An ordinary cell does what is claimed at a factor: it keeps its object, undamaged, takes the concept, and moved
    evenly."""
    kept = all(until is None or until >= factor for until in (cell.kept, cell.whole))
    taken = cell.taken is None or 0 < cell.taken <= factor
    return kept and taken and (cell.movement, cell.evenness) == ("towards", "evenly")


def holds(cell: Cell) -> bool:
    """A memorised cell does, up to the recommended strength: it is still itself, and neither goes over to the concept
    nor ever shows it."""
    kept = cell.kept is None or cell.kept >= FACTORS[-1]
    return kept and cell.taken in (None, np.inf) and cell.movement != "towards"


def table(found: Sequence[Cell]) -> list[dict[str, Any]]:
    """The cells as plain values for JSON; a concept that is never seen has no "taken"."""
    rows = []
    for cell in found:
        row = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(cell).items()}
        row["taken"] = None if row["taken"] == np.inf else row["taken"]
        rows.append(row)
    return rows


def _pair(one: Cell, other: Cell) -> Pair:
    """Both at the factor of the largest contrast, among those where all holds if there are any."""
    steps = [k for k, factor in enumerate(FACTORS) if factor and answers(one, factor) and holds(other)]
    at = max(steps or range(1, len(FACTORS)), key=lambda k: one.moved[k] - other.moved[k])
    contrast = one.moved[at] - other.moved[at]
    score = contrast * min(1.0, max(0.0, (JUMP - one.fastest) / (JUMP - STRETCH))) * min(1.0, other.relief / RELIEF)
    told = (FACTORS[at], round(contrast, 2), round(score, 2), bool(steps) and contrast > 0)
    return Pair(one.concept, one.prompt, other.prompt, one.seed, *told)


def _cell(
    backbone: Backbone,
    vector: ConceptVector,
    concept: str,
    kind: str,
    prompt: str,
    seed: int,
    frames: list[Image.Image],
    judged: dict[str, Any] | None,
) -> Cell:
    usual = vector.advice["strength"]
    told = response(backbone, vector, [factor * usual for factor in FACTORS], frames)
    seen = _seen(judged, kind, concept, prompt, frames) if judged else {}
    return Cell(
        concept,
        kind,
        prompt,
        seed,
        tuple(round(255 * float(value), 2) for value in told.moved),
        told.movement,
        told.evenness,
        round(told.gained, 3),
        round(told.fastest, 3),
        round(float(np.asarray(frames[0].convert("RGB"), float).std()), 1),
        **seen,
    )


def _judge_for(backbone: Backbone) -> dict[str, Any] | None:
    """The judge with the memorised captions and pictures of an embedded model; None for any other."""
    try:
        known = memorized_set(backbone.name)
        captions, originals = [one.caption for one in known], [one.picture for one in known]
        return {"judge": judging.load(), "captions": captions, "originals": originals}
    except RudderError:
        return None


def _seen(judged: dict[str, Any], kind: str, concept: str, prompt: str, frames: list[Image.Image]) -> dict[str, Any]:
    """`kept`, `taken` and `whole` of a cell."""
    grammar, read = judged["judge"].config, judged["judge"].read(frames)
    if kind == "memorized":
        at = judged["captions"].index(prompt) if prompt in judged["captions"] else None
        same = None if at is None else gives_back(frames, [at] * len(frames), judged["originals"])
    else:
        kind_of, ground = (_named(grammar[names], prompt) for names in ("kinds", "backgrounds"))
        same = None if kind_of is None else read["object"] == kind_of
        if same is not None and ground is not None:
            same[0] &= read["background"][0] == ground
    heads = {"styles": "style", "backgrounds": "background"}
    shows = next(
        (read[head] == grammar[names].index(concept) for names, head in heads.items() if concept in grammar[names]),
        read["glasses"] == 1 if concept == "glasses" else None,
    )
    return {
        "kept": None if same is None else _until(same),
        "taken": None if shows is None else next((f for f, s in zip(FACTORS, shows, strict=True) if s), np.inf),
        "whole": _until(read["artefact"] != 1) if "artefact" in read else None,
    }


def _named(names: Sequence[str], prompt: str) -> int | None:
    """Which of the names a prompt has in it, the longest; None for none."""
    found = [name for name in names if f" {name} " in f" {prompt} "]
    return list(names).index(max(found, key=len)) if found else None


def _until(same: np.ndarray) -> float:
    """The largest factor up to which it holds without a break; -1 where it does not hold at the first."""
    count = len(same) if same.all() else int(np.argmin(same))
    return FACTORS[count - 1] if count else -1.0
