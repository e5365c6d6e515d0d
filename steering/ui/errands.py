"""What is painted on a model in one go, wherever it runs: generator functions that need nothing of the page around
them, so that a replica (replicas.py) does them as the page's own model does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ..against import Rival, against
from ..backbones.base import Backbone
from ..backbones.layout import sizes
from ..backbones.registry import load, outline
from ..calibration import Calibration, shipped
from ..concepts import ConceptVector, Progress, library
from ..errors import RudderError, shorten
from ..grid import Bench, Grid, Painted, Rows, across_models
from ..inversion import invert, told
from ..plan import Steering
from ..recipe import Recipe
from ..sampling import Result, Step, sample, strip
from ..words import heard
from .pictures import ROWS, SMALL

MODEL_BYTES = 4 * 2**30  # of another model that is read for its row


def frames(
    backbone: Backbone, recipe: Recipe, steering: Steering, factors: Sequence[float],
    own: Image.Image | None = None, way: str = "edit_friendly", stop: Any = None,
) -> Iterator[Progress | tuple[list[Image.Image], Recipe, list[str]]]:  # fmt: skip
    """A picture a factor, as the page paints strips: Progress, then pictures, the recipe, and what is to be said.

    `own`: begin with this picture, inverted by `way`. Raises as `strip` and `invert`.
    """
    begun, prefix = None, None
    said: list[str] = []
    images: list[Image.Image] = []
    if own is not None:
        for item in invert(backbone, own, recipe, way, stop=stop):
            if isinstance(item, Progress):
                yield item
            else:
                begun = item
        assert begun is not None
        recipe, said = replace(recipe, picture=begun.mark), [told(begun)]
    at_once = ROWS[backbone.resolution <= SMALL]
    for start in range(0, len(factors), at_once):
        some = factors[start : start + at_once]
        for step in strip(backbone, recipe, steering, some, prefix=prefix, stop=stop, picture=begun):
            if isinstance(step, Step):
                yield Progress(step.index, step.total, f"painting {start + 1} to {start + len(some)} of {len(factors)}")
            elif isinstance(step, Result):
                images, prefix = images + step.images, step.prefix
    yield images, recipe, said + heard(backbone, [recipe.prompt], [recipe.negative_prompt])


def compared(
    backbone: Backbone, recipe: Recipe, steering: Steering, words: Any, stop: Any = None
) -> Iterator[Progress | tuple[Image.Image, tuple[Rival, Rival], list[str]]]:
    """The steered picture and what words make of its run: Progress, then both, and what is to be said. Raises as
    `against`."""
    steered = None
    for step in sample(backbone, recipe, steering, stop=stop):
        if isinstance(step, Step):
            yield Progress(step.index, step.total, "painting the steered picture")
        else:
            (steered,) = step.images
    assert steered is not None
    for item in against(backbone, recipe, steering, words, steered=steered, stop=stop):
        if isinstance(item, Progress):
            yield item
        else:
            yield steered, item, heard(backbone, [recipe.prompt, words], [recipe.negative_prompt])


def by_models(
    backbone: Backbone, rows: Rows, vectors: Mapping[str, ConceptVector], strengths: Sequence[float],
    own: str, places: Mapping[str, str], *, calibration: Calibration | None = None, stop: Any = None,
) -> Iterator[Progress | Painted | Grid]:  # fmt: skip
    """`across_models` with this model for its own row and the others read beside it. `own`, `places`: see `opener`.
    Raises as `across_models` and `opener`."""
    opened = opener(Bench(backbone, vectors, calibration), own, places)
    together = ROWS[backbone.resolution <= SMALL]
    yield from across_models(rows, opened, strengths, home=backbone.name, together=together, stop=stop)


def opener(mine: Bench, own: str, places: Mapping[str, str]) -> Callable[[str], Bench]:
    """What opens a row's model: the one at hand, or another one, which is read, with its shipped vectors of the same
    concepts. `places`: what each model of the page is loaded by, `own`: what the one at hand is. RudderError for one
    too large to be read beside it."""

    def opened(name: str) -> Bench:
        if places[name] == own:
            return mine
        known = outline(places[name])
        if known.folder is None or sum(sizes(known.folder, known.family).values()) > MODEL_BYTES:
            raise RudderError(
                f"{shorten(name)} is too large to be read beside this model: leave it out, or use `rudder grid --down "
                "model` on the command line."
            )
        backbone = load(places[name], device=mine.backbone.device)
        paths = {one: info.vector_path for one, info in library(backbone.name).items() if one in mine.vectors}
        vectors = {one: ConceptVector.load(path, backbone) for one, path in paths.items() if path}
        return Bench(backbone, vectors, shipped(backbone))

    return opened
