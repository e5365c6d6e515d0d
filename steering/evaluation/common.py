"""What all evaluations share: captions, the memorised set, painting in batches, distances between pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ..backbones.base import Backbone
from ..concepts import library
from ..engines import Batch, engine_for, paint
from ..errors import RudderError
from ..files import home, read_json
from ..plan import Steering, Term
from ..recipe import Recipe, Window
from ..sampling import Prefix
from ..vectors import ConceptVector
from . import judge as judging

Report = Callable[[int, int, str], object]
STYLES = ("sketch", "oil", "neon", "pixel", "blueprint")
STEPS = (8, 12, 16, 20, 28, 40)  # what a number of steps loses is measured at each
BATCH = 32
SAME = 2 / 3  # of the distance to the nearest other memorised picture: nearer than that is the same picture
QUIET: Report = lambda done, total, message: None  # noqa: E731


@dataclass(frozen=True)
class Memorised:
    """One memorised picture of an embedded model: its caption, "photograph" or "drawing", and how often training
    showed it (`repeats`; None where that was not recorded), in `level` of the ladder. `recall`: the share of paintings
    in which it came back when the model was published; None where nobody looked."""

    caption: str
    picture: Image.Image
    kind: str
    level: int
    repeats: int | None
    recall: float | None = None


def caption(grammar: dict, kind: str, background: str | None = None, style: str | None = None) -> str:
    """A caption as the model was trained on: "a pencil sketch of a cat on a night background"."""
    noun = ("an " if kind[0] in "aeiou" else "a ") + kind
    words = f"{grammar['style_words'][style]} {noun}" if style else noun
    return f"{words} on a {background} background" if background else words


def memorized_set(model: str) -> list[Memorised]:
    """The memorised pictures of an embedded model. RudderError for a model without prompts.json."""
    path = home() / "models" / model / "prompts.json"
    if not path.is_file():
        raise RudderError(f"{model} has no prompts.json: evaluate an embedded model such as tiny-sd.")
    return [
        Memorised(row["prompt"], Image.open(path.parent / row["thumbnail"]).convert("RGB"), row["kind"],
                  row.get("level", 0), row.get("repeats"), row.get("recall"))
        for row in read_json(path)["memorized"]
    ]  # fmt: skip


def pictures_of(
    backbone: Backbone,
    prompts: Sequence[str],
    seeds: Sequence[int],
    report: Callable[[int], object] = lambda n: None,
    steps: int | None = None,
) -> list[Image.Image]:
    """One unsteered picture per prompt and seed at the model's default guidance and steps (or `steps`), in batches."""
    found: list[Image.Image] = []
    recipe = recipe_of(backbone, steps)
    batches = (Batch(recipe, prompts[i : i + BATCH], seeds[i : i + BATCH]) for i in range(0, len(prompts), BATCH))
    for _, (images, _) in engine_for(backbone).map(paint, batches):
        found += images
        report(len(found))
    return found


def recipe_of(backbone: Backbone, steps: int | None = None) -> Recipe:
    """The model's own settings, with another number of steps if one is given."""
    default, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    return Recipe(model=backbone.name, num_inference_steps=steps or default, guidance_scale=guidance)


def distances(images: Sequence[Image.Image], others: Sequence[Image.Image]) -> np.ndarray:
    """Root mean square pixel differences [N, M], pixels in 0..1."""
    a, b = (judging.tensor(x, judging.SIDE).flatten(1) / 2 for x in (images, others))
    return np.stack([(row - b).square().mean(-1).sqrt().numpy() for row in a])


def gives_back(images: Sequence[Image.Image], own: Sequence[int], originals: Sequence[Image.Image]) -> np.ndarray:
    """Whether each picture's nearest memorised picture is its own, and much nearer than that one's nearest other."""
    others = distances(originals, originals)
    np.fill_diagonal(others, np.inf)
    table, rows = distances(images, originals), np.asarray(own)
    mine = table[np.arange(len(rows)), rows]
    return (table.argmin(1) == rows) & (mine < SAME * others.min(1)[rows])


def triples(grammar: dict) -> tuple[list[tuple], list[tuple]]:
    """Every (object, style, background) that training may have seen, and those it was kept from."""
    sizes = (range(len(grammar[key])) for key in ("kinds", "styles", "backgrounds"))
    held = [tuple(triple) for triple in grammar["held_out"]]
    kept = set(held)
    return [triple for triple in product(*sizes) if triple not in kept], held


def learned(backbone: Backbone, names: Sequence[str] = STYLES) -> dict[str, ConceptVector]:
    """The shipped vectors of these concepts. RudderError when one is not learned for this model."""
    shipped, found = library(backbone.name), {}
    for name in names:
        path = shipped[name].vector_path if name in shipped else None
        if path is None:
            raise RudderError(
                f"The concept {name!r} has no vector for {backbone.name}: `python -m training.concepts vectors --model "
                f"{backbone.name}` learns it."
            )
        found[name] = ConceptVector.load(path, backbone)
    return found


def responses(
    backbone: Backbone,
    vector: ConceptVector,
    texts: Sequence[str],
    seeds: Sequence[int],
    factors: Sequence[float],
    steps: int | None = None,
) -> Iterator[list[Image.Image]]:
    """The same prompts and seeds at each factor of the recommended strength, as the vector advises, in batches, in the
    model's own number of steps or in `steps`."""
    advice = vector.advice
    sites = None if advice["sites"] is None else tuple(advice["sites"])
    recipe, starts = recipe_of(backbone, steps), range(0, len(texts), BATCH)
    prefixes: list[Prefix | None] = [None] * len(starts)
    for factor in factors:
        term, images = Term(vector, factor * advice["strength"]), list[Image.Image]()
        steering = Steering((term,), Window(*advice["window"]), sites, advice["halves"])
        batches = (
            Batch(recipe, texts[i : i + BATCH], seeds[i : i + BATCH], steering, prefix)
            for i, prefix in zip(starts, list(prefixes), strict=True)
        )
        for place, (_, (made, prefix)) in enumerate(engine_for(backbone).map(paint, batches)):
            prefixes[place] = prefix
            images += made
        yield images


def in_turn(memorised: Sequence[Memorised], rng: np.random.Generator, limit: int | None, times: int = 1) -> list[int]:
    """Numbers of the memorised pictures, each `times` over, at random but of every level in turn, at most `limit`."""
    shuffled = rng.permutation(np.tile(np.arange(len(memorised)), times)).tolist()
    rounds: dict[int, int] = {}
    places = []
    for i in shuffled:
        places.append(rounds.get(memorised[i].level, 0))
        rounds[memorised[i].level] = places[-1] + 1
    order = sorted(range(len(shuffled)), key=lambda k: (places[k], memorised[shuffled[k]].level))
    return [shuffled[k] for k in order][: limit or None]


def by_level(memorised: Sequence[Memorised], rows: Sequence[int]) -> dict[int, np.ndarray]:
    """Which of some cases belong to each level of the ladder: indices into `rows`, which index `memorised`."""
    levels = np.array([memorised[i].level for i in rows])
    return {int(level): np.flatnonzero(levels == level) for level in np.unique(levels)}


def repeats_of(memorised: Sequence[Memorised], level: int) -> int | None:
    """How often training showed the pictures of a level, the median; None where that was not recorded."""
    known = [m.repeats for m in memorised if m.level == level and m.repeats is not None]
    return int(np.median(known)) if known else None


def share(flags: ArrayLike) -> float | None:
    """The mean, four digits; None where nothing was measured, since JSON has no NaN."""
    values = np.asarray(flags, float)
    values = values[~np.isnan(values)]
    return rounded(float(np.mean(values))) if len(values) else None


def rounded(value: float) -> float | None:
    """Four digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 4)


def answers(
    judge: judging.Judge, frames: list[Image.Image], target: int, kind: str, ground: str | None
) -> dict[str, Any]:
    """What a strip of frames, the first one unsteered, shows of the target style and keeps of its prompt, or of the
    unsteered background where the prompt names none: arrays over the frames; NaN where the unsteered picture says
    nothing."""
    read = judge.read(frames)
    behind = read["background"][0] if ground is None else judge.config["backgrounds"].index(ground)
    wanted = {"object": judge.config["kinds"].index(kind), "background": behind}
    kept = {
        f"{name}_kept": np.where(read[name][0] == index, read[name] == index, np.nan) for name, index in wanted.items()
    }
    artefact = read["artefact"] == 1 if "artefact" in read else np.full(len(frames), np.nan)
    return {"style_taken": taken(read["style"], target), **kept, "artefact": artefact.astype(float), **path_of(frames)}


def taken(styles: np.ndarray, target: int) -> np.ndarray:
    """Whether each frame shows the target style; NaN for a picture that shows it unsteered."""
    return np.where(styles[0] != target, styles == target, np.nan)


def path_of(frames: list[Image.Image]) -> dict[str, np.ndarray]:
    """How far each frame has moved, and the largest share of the whole path that one step makes, NaN where there is
    none."""
    table = distances(frames, frames)
    steps = np.array([table[i, i + 1] for i in range(len(frames) - 1)])
    largest = steps.max() / steps.sum() if steps.sum() > 1e-6 else np.nan
    return {"moved": table[0], "largest_step": np.full(len(frames), largest)}
