"""Words against vectors: at the same distance from the unsteered picture, which brings the concept and which keeps the
rest?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..against import Rival, rivals
from ..backbones.base import Backbone
from ..engines import engine_for
from ..errors import RudderError
from ..inversion import distance
from ..plan import Steering, Term
from ..recipe import Recipe, Window
from ..sampling import finish, sample
from . import judge as judging
from .common import QUIET, Report, caption, learned, recipe_of, share
from .shape import agreement, edges

WAYS = ("steering", "prompt", "embedding")


@dataclass(frozen=True, eq=False)
class Case:
    """One picture to be changed both ways: steered, and as near to that as `words`, a whole prompt, come."""

    recipe: Recipe
    steering: Steering
    words: str


def changed(backbone: Backbone, case: Case) -> tuple[Image.Image, Image.Image, tuple[Rival, Rival]]:
    """A case unsteered, steered, and asked for by words in both ways."""
    plain = finish(sample(backbone, case.recipe)).images[0]
    steered = finish(sample(backbone, case.recipe, case.steering)).images[0]
    return plain, steered, rivals(backbone, case.recipe, case.steering, case.words, steered)


def words(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """The five styles by steering and by words, at matched change, on ordinary prompts: {"words": {...}}.

    `limit` (default 40) cases are spread over the styles. Each is steered at its vector's recommended strength; then
    the same caption with the style named is asked for in both ways of `against.ASKED`, as far from the unsteered
    picture. By way: `taken`, the judge names the style (among pictures that did not show it unsteered);
    `object_kept` and `background_kept`, still the prompt's; `shape_kept`, the agreement (F1) of edges with the
    unsteered picture's; `change`, RMS 0..1; `matched`, the share of pictures whose change lies within a tenth of
    steering's. `by_style` has `taken` and `shape_kept` of each style. RudderError for a model that is told classes.
    """
    if backbone.classes is not None:
        raise RudderError(f"{backbone.name} is told classes: words against vectors are for models with prompts.")
    judge, rng, vectors = judging.load(), np.random.default_rng((seed, 12)), learned(backbone)
    grammar = judge.config
    pairs = [(k, b) for k in grammar["kinds"] for b in grammar["backgrounds"]]
    cases = [pairs[i] for i in rng.permutation(len(pairs))[: limit or 40]]
    styles = [list(vectors)[place % len(vectors)] for place in range(len(cases))]

    def jobs() -> Iterator[Case]:
        for place, ((kind, ground), style) in enumerate(zip(cases, styles, strict=True)):
            vector, advice = vectors[style], vectors[style].advice
            recipe = replace(recipe_of(backbone), prompt=caption(grammar, kind, ground), seed=seed + 70_000 + place)
            sites = tuple(advice["sites"]) if advice["sites"] else None
            term, window = Term(vector, advice["strength"]), Window(*advice["window"])
            yield Case(
                recipe, Steering((term,), window, sites, advice["halves"]), caption(grammar, kind, ground, style)
            )

    rows: list[dict] = []
    for place, (_, (plain, steered, found)) in enumerate(engine_for(backbone).map(changed, jobs())):
        (kind, ground), style = cases[place], styles[place]
        images = [plain, steered, *(one.image for one in found)]
        read = judge.read(images)
        style_index, object_index = grammar["styles"].index(style), grammar["kinds"].index(kind)
        background_index = grammar["backgrounds"].index(ground)
        for row, way in enumerate(WAYS, 1):
            change = distance(plain, images[row])
            rows.append(
                {
                    "way": way,
                    "style": style,
                    "taken": _if(read["style"][0] != style_index, read["style"][row] == style_index),
                    "object_kept": _if(read["object"][0] == object_index, read["object"][row] == object_index),
                    "background_kept": _if(
                        read["background"][0] == background_index, read["background"][row] == background_index
                    ),
                    "shape_kept": agreement(edges(images[row]), edges(plain)),
                    "change": change,
                    "matched": float(row == 1 or found[row - 2].matched),
                }
            )
        progress(place + 1, len(cases), f"{style} by vectors and by words")
    names = ("taken", "object_kept", "background_kept", "shape_kept", "change", "matched")
    return {
        "words": {
            "by_way": {
                way: {name: share([row[name] for row in rows if row["way"] == way]) for name in names} for way in WAYS
            },
            "by_style": {
                style: {
                    way: {
                        name: share([r[name] for r in rows if (r["way"], r["style"]) == (way, style)])
                        for name in ("taken", "shape_kept")
                    }
                    for way in WAYS
                }
                for style in vectors
            },
            "n": len(cases),
            "seed": seed,
        }
    }


def _if(counts: bool, holds: bool) -> float:
    """1 or 0 where the case counts, else NaN."""
    return float(holds) if counts else float("nan")
