"""What the page has the model do: paint, learn, measure. Wherever the model runs: here, in ZeroGPU's slices, in a
replica (replicas.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..against import Rival, against
from ..audit.scan import score_rows
from ..concepts import ConceptVector, digest
from ..editability import Response, response
from ..grid import grid
from ..images import gathered
from ..inversion import ROUNDS, Inverted, invert
from ..quality import assess
from ..references import paint_references
from ..sampling import Prefix, Result, Step, sample, strip
from ..tuning import tune
from .gpu import MOST, PASS, Work, call_on_gpu, on_gpu, zero_gpu
from .session import ContentCache

if TYPE_CHECKING:
    from PIL import Image

    from ..audit.listing import Row
    from ..backbones.base import Backbone
    from ..calibration import Calibration
    from ..concepts import Progress
    from ..plan import Steering
    from ..recipe import Recipe
    from ..scoring import Spikiness

PREVIEW_EVERY = 8
SLICE = 30.0  # seconds of a ZeroGPU slice that a search may last
COMPARED = 16  # pictures that are painted to compare words with steering, about
ROUND = 64  # passes of what is said of pictures without painting any: timesteps, draws and sites of a few
REMEMBERED = 8  # vectors learned here that are kept for who learns from the same pictures again


@dataclass(frozen=True)
class Gauges:
    """What is measured on the model beside painting and learning."""

    score: Callable[..., Spikiness]
    respond: Callable[..., Response]
    profile: Callable[..., dict[str, Any]]
    rows: Callable[..., list[dict[str, Any]]]


@dataclass(kw_only=True)
class Verbs:
    """The functions of one model; `at_once`: how many replicas of it there are."""

    paint: Callable[..., Iterator[Step | Result]]
    learn: Callable[..., Iterator[Progress | ConceptVector]]
    gauges: Gauges
    refer: Callable[..., Iterator[Any]]  # paints references, as `paint_references` does
    assess: Callable[..., Iterator[Any]]  # measures how good a vector is, as `quality.assess` does
    invert: Callable[..., Iterator[Progress | Inverted]]
    against: Callable[..., Iterator[Progress | tuple[Rival, Rival]]]
    grid: Callable[..., Iterator[Any]]  # as `grid.grid`
    run: Callable[..., Iterator[Any]]  # what any other generator function of a model yields, its first argument
    at_once: int = 1


def verbs_of(backbone: Backbone, budget: float) -> Verbs:
    """The verbs of a loaded model; `budget`: seconds that the search for an own set's settings may last."""
    steps = backbone.defaults["num_inference_steps"]
    return Verbs(
        paint=_painter(backbone),
        learn=_learner(backbone, budget),
        gauges=_gauges(backbone),
        refer=_bound(paint_references, backbone, lambda rows, *_, **__: 2 * steps * len(rows)),
        assess=_bound(assess, backbone, lambda *_, **__: 4 * ROUND),
        invert=_inverter(backbone),
        against=_opponent(backbone),
        grid=_bound(grid, backbone, lambda rows, _, across, **__: sum(passes(one, len(across)) for _, one in rows)),
        run=_bound(_called, backbone, lambda *_, **__: MOST / PASS),  # a call by program may be anything
    )


def passes(recipe: Recipe, pictures: int) -> int:
    """How often so many pictures of a recipe go through the network, with guidance."""
    return 2 * recipe.num_inference_steps * pictures


def _painter(backbone: Backbone) -> Callable[..., Iterator[Step | Result]]:
    """The function that paints: one recipe's strengths as a strip, or the same with a prompt, a seed and a strength
    each as a batch; both with previews."""

    @on_gpu(lambda recipe, steering, strengths, *_, **__: passes(recipe, len(strengths)))
    def paint(
        recipe: Recipe,
        steering: Steering,
        strengths: Sequence[float],
        prefix: Prefix | None = None,
        stop: threading.Event | None = None,
        prompts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        previews: bool = True,
        picture: Inverted | None = None,
    ) -> Iterator[Step | Result]:
        picture = _moved(picture, backbone)
        if prefix is not None:
            prefix = replace(prefix, latents=prefix.latents.to(backbone.device))
        every = PREVIEW_EVERY if previews else 0
        if prompts is None:
            run = strip(backbone, recipe, steering, strengths, prefix=prefix, preview_every=every, stop=stop,
                        picture=picture)  # fmt: skip
        else:
            run = sample(backbone, recipe, steering, prompts=prompts, seeds=seeds, factors=strengths, prefix=prefix,
                         preview_every=every, stop=stop, picture=picture)  # fmt: skip
        for item in run:
            if isinstance(item, Result):  # kept in main memory: it may come from another process
                kept = replace(item.prefix, latents=item.prefix.latents.cpu())
                item = replace(item, latents=item.latents.cpu(), prefix=kept)
            yield item

    return paint


def _inverter(backbone: Backbone) -> Callable[..., Iterator[Progress | Inverted]]:
    """`invert` on this model; what is kept of it lies in main memory."""

    @on_gpu(lambda picture, recipe, *_, **__: passes(recipe, 1) * (2 + ROUNDS))
    def inverter(*arguments: Any, **options: Any) -> Iterator[Any]:
        for item in invert(backbone, *arguments, **options):
            yield replace(item, latents=item.latents.cpu()) if isinstance(item, Inverted) else item

    return inverter


def _opponent(backbone: Backbone) -> Callable[..., Iterator[Progress | tuple[Rival, Rival]]]:
    """`against` on this model."""

    @on_gpu(lambda recipe, *_, **__: passes(recipe, COMPARED))
    def opponent(*arguments: Any, picture: Inverted | None = None, **options: Any) -> Iterator[Any]:
        yield from against(backbone, *arguments, picture=_moved(picture, backbone), **options)

    return opponent


def _moved(picture: Inverted | None, backbone: Backbone) -> Inverted | None:
    """A picture's run where the model is."""
    return picture and replace(picture, latents=picture.latents.to(backbone.device))


def _learner(backbone: Backbone, budget: float) -> Callable[..., Iterator[Progress | ConceptVector]]:
    """`tune` on this model, wherever it runs; on ZeroGPU within one slice of its time. The same sets asked for in the
    same way are learned once: the last REMEMBERED vectors are kept by what they depend on."""
    budget = min(budget, SLICE) if zero_gpu() else budget
    kept = ContentCache(REMEMBERED)

    @on_gpu(lambda *_, **__: budget / PASS + ROUND)
    def learner(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from tune(backbone, *arguments, budget=budget, **options)

    def remembering(
        name: str,
        images: Sequence[Image.Image],
        baseline: Sequence[Image.Image] | None = None,
        *,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        images, baseline = gathered(images), gathered(baseline)
        key = (digest(images), digest(baseline), *sorted((key, repr(value)) for key, value in options.items()))
        had = kept.get(key)
        if had is not None:
            yield had.replace(name=name)
            return
        for item in learner(name, images, baseline, stop=stop, **options):
            if isinstance(item, ConceptVector):
                kept.put(key, item)
            yield item

    return remembering


def _called(backbone: Backbone, errand: Callable[..., Iterator[Any]], *arguments: Any, **options: Any) -> Iterator[Any]:
    """What `errand(backbone, ...)` yields."""
    yield from errand(backbone, *arguments, **options)


def _bound(run: Callable[..., Iterator[Any]], backbone: Backbone, work: Work) -> Callable[..., Iterator[Any]]:
    """A generator function with this model as its first argument, wherever it runs; `work`: see gpu.Work."""

    @on_gpu(work)
    def bound(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield from run(backbone, *arguments, **options)

    return bound


def _gauges(backbone: Backbone) -> Gauges:
    """The measuring passes on this model."""
    steps = backbone.defaults["num_inference_steps"]

    @call_on_gpu(lambda *_: ROUND)
    def score(calibration: Calibration, pictures: Any) -> Spikiness:
        return calibration.score(backbone, pictures)

    @call_on_gpu(lambda *_: ROUND)
    def respond(vector: ConceptVector, *strip: Any) -> Response:
        return response(backbone, vector, *strip)

    @call_on_gpu(lambda *_: 4 * ROUND)
    def profile(calibration: Calibration, picture: Image.Image) -> dict[str, Any]:
        return calibration.profile(backbone, picture)

    @call_on_gpu(lambda calibration, some, *_: (2 * steps + ROUND) * len(some))
    def rows(calibration: Calibration, some: Sequence[Row], pictures: bool = False) -> list[dict[str, Any]]:
        return score_rows(backbone, calibration, some, pictures)

    return Gauges(score, respond, profile, rows)
