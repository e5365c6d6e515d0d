"""Steered sampling: the model's deterministic sampler as a generator, with prefix reuse and strips of strengths.

With every strength 0 the result equals diffusers' StableDiffusionPipeline (DDIM, eta 0) bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from .activations import change
from .backbones.base import Backbone, Schedule, Site, in_order, repeated
from .checks import strength
from .errors import Cancelled, RudderError, remark
from .masks import inside, weights
from .memory import fitting, smaller
from .plan import Change, Steering, plan
from .recipe import STRIP_LIMIT, Recipe
from .words import cut_short, large_seeds

if TYPE_CHECKING:
    from .backbones.base import Predict
    from .inversion import Inverted

BATCH_LIMIT = 256
PER_SAMPLE = ("prompt", "seed")  # of a prefix's key: tuples with an entry a sample


@dataclass(frozen=True, eq=False)
class Prefix:
    """Latents [B, C, H, W] at the start of the window, equal for all strengths, and what they belong to."""

    latents: Tensor
    key: tuple[tuple[str, Any], ...]

    @classmethod
    def join(cls, prefixes: Sequence[Prefix]) -> Prefix:
        """Several runs' prefixes as one batch's. Raises RudderError where they differ in more than prompt and seed."""
        keys = [dict(one.key) for one in prefixes]
        first = keys[0] | {what: sum((key[what] for key in keys), ()) for what in PER_SAMPLE}
        for key in keys:
            shared = key | {what: first[what] for what in PER_SAMPLE}
            _same(tuple(shared.items()), tuple(first.items()))
        return cls(torch.cat([one.latents for one in prefixes]), tuple(first.items()))

    def of(self, sample: int) -> Prefix:
        """One sample's own prefix, for a later run of it alone or in another batch."""
        key = tuple((what, value[sample : sample + 1] if what in PER_SAMPLE else value) for what, value in self.key)
        return replace(self, latents=self.latents[sample : sample + 1], key=key)


@dataclass(frozen=True)
class Step:
    """One denoising step done: `index` (from 1) of `total`; if asked for, a strip's first or a batch's pictures
    as predicted so far."""

    index: int
    total: int
    previews: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What a run ends with: pictures, final latents [B, C, H, W], and the prefix for the next strength."""

    images: list[Image.Image]
    latents: Tensor
    prefix: Prefix


def sample(
    backbone: Backbone,
    recipe: Recipe,
    steering: Steering | None = None,
    *,
    prefix: Prefix | None = None,
    preview_every: int = 0,
    stop: threading.Event | None = None,
    seeds: Sequence[int] | None = None,
    prompts: Sequence[str] | None = None,
    factors: Sequence[float] | None = None,
    picture: Inverted | None = None,
) -> Iterator[Step | Result]:
    """Denoise with the steering (none: the plain pipeline), yielding a Step per step and then the Result.

    What steers is `steering`, not `recipe.concepts`, which is a record. `seeds` (and `prompts`, one each)
    make a batch in place of the recipe's own; each sample's noise comes from its own generator, whatever the
    batch; `factors`, one each, multiply every strength. Samples of one prompt and seed share the steps before the
    window. `prefix` (from an earlier Result, or joined of several, with the same model, prompts, seeds, steps, guidance
    and window start) skips the steps before the window. `picture`: begin with a picture of one's own that was
    inverted (inversion.py), whatever the seed; the recipe's mask keeps changes inside it.
    Raises RudderError for vectors of another model, unknown sites or a prefix of another run; Cancelled once
    `stop` is set.
    """
    seeds, prompts = _batch(backbone, recipe, seeds, prompts)
    factors = (1.0,) if factors is None else tuple(strength("the batch", s) for s in factors)
    if len(factors) not in (1, len(seeds)):
        raise RudderError(f"{len(factors)} factors are given for {len(seeds)} samples: give one each.")
    asked = list(zip(seeds, prompts, strict=True))
    every, steering = factors * len(asked) if len(factors) == 1 else factors, steering or Steering(window=recipe.window)

    def part(some: slice, first: Prefix | None) -> Iterator[Step | Result]:
        here, own = asked[some], prefix
        if own and len(here) < len(asked):
            own = Prefix.join([own.of(row) for row in range(len(asked))[some]])
        alike = here if own else list(dict.fromkeys(here))
        rows = [*range(len(here))] if own else [alike.index(one) for one in here]
        return _paint(backbone, recipe, steering, alike, rows, every[some], rows, own, len(rows), preview_every, stop,
                      picture)  # fmt: skip

    yield from _in_parts(backbone, len(asked), part)


def strip(
    backbone: Backbone,
    recipe: Recipe,
    steering: Steering,
    strengths: Sequence[float],
    *,
    prefix: Prefix | None = None,
    preview_every: int = 0,
    stop: threading.Event | None = None,
    picture: Inverted | None = None,
) -> Iterator[Step | Result]:
    """One picture per strength, the window and after as one batch: Result.images[i] is strengths[i]'s.

    Each strength multiplies every term of `steering` (whose own strengths are therefore usually 1.0). The
    steps before the window run once, or not at all with `prefix`. Raises as `sample`, and for more than 64
    strengths.
    """
    factors = tuple(strength("the strip", s) for s in strengths)
    if not 0 < len(factors) <= STRIP_LIMIT:
        raise RudderError(f"A strip of {len(factors)} strengths is asked for: give between 1 and {STRIP_LIMIT}.")
    alike = list(zip(*_batch(backbone, recipe, None, None), strict=True))

    def part(some: slice, first: Prefix | None) -> Iterator[Step | Result]:
        here = factors[some]
        return _paint(backbone, recipe, steering, alike, [0] * len(here), here, [0], prefix or first, 1, preview_every,
                      stop, picture)  # fmt: skip

    for item in _in_parts(backbone, len(factors), part):
        if isinstance(item, Result) and len(item.prefix.latents) > 1:  # each part had the same
            item = replace(item, prefix=item.prefix.of(0))
        yield item


def _in_parts(
    backbone: Backbone, count: int, part: Callable[[slice, Prefix | None], Iterator[Step | Result]]
) -> Iterator[Step | Result]:
    """A run of `count` rows at once or, where memory does not hold them, in ever smaller parts, its previews then left
    out. `part(rows, prefix of the first part)` runs some of them."""
    start, size, done = 0, fitting(backbone, count), 0
    results: list[Result] = []
    while start < count:
        some, held, last = slice(start, min(start + size, count)), True, 0
        try:
            for item in part(some, results[0].prefix if results else None):
                if isinstance(item, Result):
                    results.append(item)
                    continue
                last = item.total
                ahead = -(-(count - some.stop) // size) * item.total
                yield item if size >= count else Step(done + item.index, done + item.total + ahead)
        except torch.OutOfMemoryError:  # what its traceback keeps alive goes at the end of this block
            held = False
        if held:
            start, done = some.stop, done + last
        else:
            size = smaller(backbone, some.stop - some.start)
    if len(results) == 1:
        yield results[0]
    else:
        images = [image for result in results for image in result.images]
        yield Result(images, torch.cat([result.latents for result in results]),
                     Prefix.join([result.prefix for result in results]))  # fmt: skip


def _paint(
    backbone: Backbone, recipe: Recipe, steering: Steering, alike: list[tuple[int, str]], rows: list[int],
    factors: tuple[float, ...], kept: list[int], prefix: Prefix | None, shown: int, preview_every: int,
    stop: threading.Event | None, picture: Inverted | None,
) -> Iterator[Step | Result]:  # fmt: skip
    """The steps before the window for each (seed, prompt) of `alike`, those from there on for `rows` of them by their
    factors. `kept`: the rows of the prefix that is handed out; `shown`: how many of the first rows have previews.

    With a mask an unsteered row runs along for each of `alike`: outside the mask its latents take the others' place.
    """
    _check_picture(recipe, picture)
    n, count = recipe.num_inference_steps, len(rows)
    seeds, prompts = (tuple(one) for one in zip(*(alike[row] for row in kept), strict=True))
    schedule = picture.schedule if picture else backbone.schedule(n)
    steps = steering.steps(n)
    key = _key(backbone, recipe, seeds, prompts, steps.start, picture)
    run = _Run(backbone, recipe, schedule, condition_of(backbone, recipe, tuple(prompt for _, prompt in alike)), stop)
    own = [*range(len(alike))] if recipe.mask else []
    changes = run.plan(steering, factors + (0.0,) * len(own), count + len(own))
    total, done = n - (steps.start if prefix else 0), 0
    if prefix is None:
        x = picture.start(len(alike)) if picture else initial(backbone, [seed for seed, _ in alike])
        for _, latents, clean in _walk(run, x, range(steps.start), {}):
            x, done = latents, done + 1
            yield _step(backbone, done, total, clean, preview_every, rows[:shown])
        first, prefix = x, Prefix(x[kept].clone(), key)
    else:
        first = _resumed(prefix, key)
    x = first[rows + own]
    run = replace(run, condition=_rows(run.condition, rows + own, run.guided))
    mask = weights(recipe.mask, backbone.latent_shape[1:]).to(x.device, x.dtype) if recipe.mask else None
    beside = [count + row for row in rows]
    for _, latents, clean in _walk(run, x, range(steps.start, n), changes, mask, beside):
        x, done = latents, done + 1
        yield _step(backbone, done, total, clean, preview_every, range(shown))
    images = backbone.decode(x)
    if recipe.mask:
        images = inside(recipe.mask, images[:count], [images[row] for row in beside])
    yield Result(images, x[:count].clone(), prefix)


def _check_picture(recipe: Recipe, picture: Inverted | None) -> None:
    """RudderError unless a recipe that begins with a picture of one's own is given that picture, and no other."""
    if recipe.picture and (picture is None or picture.mark != recipe.picture):
        raise RudderError(
            f"This recipe begins with a picture of somebody's own ({recipe.picture}), which it does not hold: give "
            "that very picture, inverted the same way."
        )


def _rows(condition: Tensor, rows: Sequence[int], guided: bool) -> Tensor:
    """The conditions of these samples, in each half of guidance where there are two."""
    halves = condition.chunk(2) if guided else (condition,)
    return torch.cat([half[list(rows)] for half in halves])


def finish(run: Iterator[Step | Result]) -> Result:
    """Run a sampler to its end and return the Result."""
    last: Step | Result | None = None
    for item in run:
        last = item
    if not isinstance(last, Result):
        raise RudderError("The run ended without a picture: start it again.")
    return last


def predictor(backbone: Backbone, recipe: Recipe, condition: Tensor | None = None) -> Predict:
    """The unsteered, guided prediction of a recipe's prompt (or of another `condition`, as `condition_of` makes them),
    as its run makes it step by step."""
    condition = condition_of(backbone, recipe, (recipe.prompt,)) if condition is None else condition
    return _Run(backbone, recipe, backbone.schedule(recipe.num_inference_steps), condition, None).predict


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same from step to step."""

    backbone: Backbone
    recipe: Recipe
    schedule: Schedule
    condition: Tensor
    stop: threading.Event | None

    @property
    def guided(self) -> bool:
        return _guided(self.backbone, self.recipe)

    def plan(self, steering: Steering, factors: Sequence[float], count: int) -> dict[int, dict[Site, Change]]:
        """What steers `count` samples in each step."""
        n = self.recipe.num_inference_steps
        return plan(self.backbone, steering, self.schedule, n, factors, count, self.guided)

    def predict(self, x: Tensor, level: Any) -> Tensor:
        """The network's prediction at noisy latents, guided where the run is."""
        if not self.guided:
            return self.backbone.denoise(x, level, self.condition)
        both = self.backbone.denoise(torch.cat([x, x]), level, self.condition).chunk(2)
        without, given = in_order(self.backbone, *both)
        return without + self.recipe.guidance_scale * (given - without)


def _walk(
    run: _Run,
    x: Tensor,
    steps: range,
    changes: Mapping[int, Mapping[Site, Change]],
    mask: Tensor | None = None,
    unsteered: Sequence[int] = (),
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Denoise over `steps`, changing activations by changes[i] in step i; yields (i, latents, predicted x_0).

    With a `mask` [1, 1, H, W] each of the first rows keeps, outside it, the latents of the row that `unsteered` names.
    Hooks and inference mode live inside one step and never across a yield, which may change threads.
    """
    for i in steps:
        if run.stop is not None and run.stop.is_set():
            count = run.recipe.num_inference_steps
            raise Cancelled(f"Stopped after {i} of {count} steps: start again when you like.")
        with torch.inference_mode(), change(run.backbone, changes[i]) if i in changes else nullcontext():
            x, clean = run.schedule.step(i, x, run.predict)
            if mask is not None:
                x, clean = (_masked(some, mask, unsteered) for some in (x, clean))
        yield i, x, clean


def _masked(x: Tensor, mask: Tensor, unsteered: Sequence[int]) -> Tensor:
    count = len(unsteered)
    return torch.cat([mask * x[:count] + (1 - mask) * x[list(unsteered)], x[count:]])


def _step(backbone: Backbone, index: int, total: int, clean: Tensor, preview_every: int, rows: Sequence[int]) -> Step:
    """The report of one step; every `preview_every` steps (0: never) with pictures of these rows of `clean`."""
    wanted = preview_every > 0 and index % preview_every == 0 and index < total
    return Step(index, total, tuple(backbone.decode(clean[list(rows)])) if wanted else ())


def _batch(
    backbone: Backbone, recipe: Recipe, seeds: Sequence[int] | None, prompts: Sequence[str] | None
) -> tuple[tuple, tuple]:
    """Seeds and prompts of equal number, each checked as the recipe's own are; a Remark on what cannot be read or
    kept."""
    count = len(seeds if seeds is not None else prompts if prompts is not None else (0,))
    seeds = [recipe.seed] * count if seeds is None else list(seeds)
    prompts = [recipe.prompt] * count if prompts is None else list(prompts)
    if len(seeds) != len(prompts) or not 0 < count <= BATCH_LIMIT:
        raise RudderError(
            f"{len(seeds)} seeds and {len(prompts)} prompts are given: give equally many, at most {BATCH_LIMIT}."
        )
    checked = [replace(recipe, seed=s, prompt=p) for s, p in zip(seeds, prompts, strict=True)]
    for sentence in (cut_short(backbone, {*prompts, recipe.negative_prompt}), large_seeds(seeds)):
        if sentence:
            remark(sentence)
    return tuple(one.seed for one in checked), tuple(one.prompt for one in checked)


def initial(backbone: Backbone, seeds: Sequence[int]) -> Tensor:
    """x_T [B, C, H, W], one CPU generator per sample, drawn as the pipeline draws it."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (len(seeds), *backbone.latent_shape)
    return backbone.start(randn_tensor(shape, generator=generators, device=backbone.device, dtype=backbone.dtype))


def _guided(backbone: Backbone, recipe: Recipe) -> bool:
    return backbone.guides and recipe.guidance_scale > 1  # as diffusers: no second half at 1 or below


def condition_of(backbone: Backbone, recipe: Recipe, prompts: tuple[str, ...]) -> Tensor:
    """[B, ...], or [2 B, ...] with guidance, its halves in the model's order; one prompt is encoded once."""

    def encoded(texts: tuple[str, ...]) -> Tensor:
        if len(set(texts)) == 1:
            return repeated(backbone.condition(texts[:1]), len(texts))
        return backbone.condition(texts)

    conditional = encoded(prompts)
    if not _guided(backbone, recipe):
        return conditional
    return torch.cat(in_order(backbone, encoded((recipe.negative_prompt,) * len(prompts)), conditional))


def _key(
    backbone: Backbone, recipe: Recipe, seeds: tuple, prompts: tuple, start: int, picture: Inverted | None
) -> tuple[tuple[str, Any], ...]:
    return (
        ("model", backbone.fingerprint),
        ("prompt", prompts),
        ("negative prompt", recipe.negative_prompt),
        ("seed", seeds),
        ("number of steps", recipe.num_inference_steps),
        ("guidance", recipe.guidance_scale),
        ("picture", picture.digest if picture else ""),
        ("window start", start),
    )


def _resumed(prefix: Prefix, key: tuple[tuple[str, Any], ...]) -> Tensor:
    """The prefix's latents if it belongs to this run; RudderError naming what differs otherwise."""
    _same(prefix.key, key)
    return prefix.latents


def _same(had: Sequence[tuple[str, Any]], now: Sequence[tuple[str, Any]]) -> None:
    """RudderError naming the first thing two prefixes' keys differ in."""
    for (what, one), (_, other) in zip(had, now, strict=True):
        if one != other:
            raise RudderError(f"The prefix was made with another {what}: run once without it to make a new one.")
