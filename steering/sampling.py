"""Steered sampling: the model's deterministic sampler as a generator, with prefix reuse and strips of strengths.

With every strength 0 the result equals diffusers' StableDiffusionPipeline (DDIM, eta 0) bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from .activations import find_sites, push
from .backbones.base import Backbone, Schedule, Site, repeated
from .checks import strength
from .errors import Cancelled, RudderError, remark, shorten, unknown
from .recipe import HALVES, STRIP_LIMIT, Recipe, Window
from .vectors import ConceptVector
from .words import cut_short, large_seeds

BATCH_LIMIT = 256
PER_SAMPLE = ("prompt", "seed")  # of a prefix's key: tuples with an entry a sample


@dataclass(frozen=True)
class Steering:
    """Which vectors at what strengths, in which window of steps, at which sites (None: all a vector has).

    `halves`: "both" adds to the unconditional and the conditional half of a guided batch, "conditional" to
    the latter.
    """

    vectors: tuple[tuple[ConceptVector, float], ...] = ()
    window: Window = field(default_factory=Window)
    sites: tuple[str, ...] | None = None
    halves: str = "both"

    def __post_init__(self) -> None:
        pairs = tuple((vector, strength(vector.name, s)) for vector, s in self.vectors)
        object.__setattr__(self, "vectors", pairs)
        object.__setattr__(self, "sites", None if self.sites is None else tuple(self.sites))
        if self.halves not in HALVES:
            raise unknown("choice of guidance halves", self.halves, HALVES)

    @classmethod
    def from_recipe(cls, recipe: Recipe, vectors: Mapping[str, ConceptVector], halves: str | None = None) -> Steering:
        """The steering a recipe describes; `vectors` holds its concepts by name, else RudderError."""
        for name, _ in recipe.concepts:
            if name not in vectors:
                raise unknown("concept", name, vectors)
        pairs = tuple((vectors[name], s) for name, s in recipe.concepts)
        return cls(pairs, recipe.window, recipe.sites, halves or recipe.halves)

    def scaled(self, factor: float) -> Steering:
        """The same with every strength times `factor`."""
        return replace(self, vectors=tuple((vector, s * factor) for vector, s in self.vectors))


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
) -> Iterator[Step | Result]:
    """Denoise with the steering (none: the plain pipeline), yielding a Step per step and then the Result.

    What steers is `steering`, not `recipe.concepts`, which is a record. `seeds` (and `prompts`, one each)
    make a batch in place of the recipe's own; each sample's noise comes from its own generator, whatever the
    batch; `factors`, one each, multiply every strength. Samples of one prompt and seed share the steps before the
    window. `prefix` (from an earlier Result, or joined of several,
    with the same model, prompts, seeds, steps, guidance and window start) skips the steps before the window.
    Raises RudderError for vectors of another model, unknown sites or a prefix of another run; Cancelled once
    `stop` is set.
    """
    seeds, prompts = _batch(backbone, recipe, seeds, prompts)
    n, steps = recipe.num_inference_steps, (steering or recipe).window.steps(recipe.num_inference_steps)
    run = _Run(backbone, recipe, backbone.schedule(n), _condition(backbone, recipe, prompts), stop)
    factors = (1.0,) if factors is None else tuple(strength("the batch", s) for s in factors)
    if len(factors) not in (1, len(seeds)):
        raise RudderError(f"{len(factors)} factors are given for {len(seeds)} samples: give one each.")
    pushes = _pushes(run, steering, steps, factors) if steering else {}
    key = _key(backbone, recipe, seeds, prompts, steps.start)
    first = 0 if prefix is None else steps.start
    if prefix is None:
        alike = list(dict.fromkeys(zip(seeds, prompts, strict=True)))
        rows = [alike.index(one) for one in zip(seeds, prompts, strict=True)]
        x = initial(backbone, [seed for seed, _ in alike])
        shared = replace(run, condition=_condition(backbone, recipe, tuple(prompt for _, prompt in alike)))
        for i, latents, clean in _walk(shared, x, range(steps.start), {}):
            x = latents
            step = _step(backbone, i + 1, n, clean, preview_every)
            yield replace(step, previews=tuple(step.previews[row] for row in rows)) if step.previews else step
        prefix = Prefix(x[rows], key)
    x = _resumed(prefix, key)
    for i, latents, clean in _walk(run, x, range(steps.start, n), pushes):
        x = latents
        yield _step(backbone, i + 1 - first, n - first, clean, preview_every)
    yield Result(backbone.decode(x), x.clone(), prefix)


def strip(
    backbone: Backbone,
    recipe: Recipe,
    steering: Steering,
    strengths: Sequence[float],
    *,
    prefix: Prefix | None = None,
    preview_every: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Step | Result]:
    """One picture per strength, the window and after as one batch: Result.images[i] is strengths[i]'s.

    Each strength multiplies every term of `steering` (whose own strengths are therefore usually 1.0). The
    steps before the window run once, or not at all with `prefix`. Raises as `sample`, and for more than 64
    strengths.
    """
    factors = tuple(strength("the strip", s) for s in strengths)
    if not 0 < len(factors) <= STRIP_LIMIT:
        raise RudderError(f"A strip of {len(factors)} strengths is asked for: give between 1 and {STRIP_LIMIT}.")
    n, steps = recipe.num_inference_steps, steering.window.steps(recipe.num_inference_steps)
    seeds, prompts = _batch(backbone, recipe, None, None)
    run = _Run(backbone, recipe, backbone.schedule(n), _condition(backbone, recipe, prompts), stop)
    pushes = _pushes(run, steering, steps, factors)
    key = _key(backbone, recipe, seeds, prompts, steps.start)
    total, done = n - (steps.start if prefix else 0), 0
    if prefix is None:
        x = initial(backbone, seeds)
        for _, latents, clean in _walk(run, x, range(steps.start), {}):
            x, done = latents, done + 1
            yield _step(backbone, done, total, clean, preview_every)
        prefix = Prefix(x.clone(), key)
    x = _resumed(prefix, key).expand(len(factors), -1, -1, -1)
    run = replace(run, condition=run.condition.repeat_interleave(len(factors), dim=0))
    for _, latents, clean in _walk(run, x, range(steps.start, n), pushes):
        x, done = latents, done + 1
        yield _step(backbone, done, total, clean[:1], preview_every)
    yield Result(backbone.decode(x), x.clone(), prefix)


def finish(run: Iterator[Step | Result]) -> Result:
    """Run a sampler to its end and return the Result."""
    last: Step | Result | None = None
    for item in run:
        last = item
    if not isinstance(last, Result):
        raise RudderError("The run ended without a picture: start it again.")
    return last


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

    def predict(self, x: Tensor, level: Any) -> Tensor:
        """The network's prediction at noisy latents, guided where the run is."""
        if not self.guided:
            return self.backbone.denoise(x, level, self.condition)
        without, given = self.backbone.denoise(torch.cat([x, x]), level, self.condition).chunk(2)
        return without + self.recipe.guidance_scale * (given - without)


def _walk(
    run: _Run, x: Tensor, steps: range, pushes: Mapping[int, Mapping[Site, Tensor]]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Denoise over `steps`, pushing pushes[i] in step i; yields (i, latents, predicted x_0).

    Hooks and inference mode live inside one step and never across a yield, which may change threads.
    """
    for i in steps:
        if run.stop is not None and run.stop.is_set():
            count = run.recipe.num_inference_steps
            raise Cancelled(f"Stopped after {i} of {count} steps: start again when you like.")
        with torch.inference_mode(), push(run.backbone, pushes[i]) if i in pushes else nullcontext():
            x, clean = run.schedule.step(i, x, run.predict)
        yield i, x, clean


def _step(backbone: Backbone, index: int, total: int, clean: Tensor, preview_every: int) -> Step:
    """The report of one step; every `preview_every` steps (0: never) with the pictures of `clean`."""
    wanted = preview_every > 0 and index % preview_every == 0 and index < total
    return Step(index, total, tuple(backbone.decode(clean)) if wanted else ())


def _pushes(run: _Run, steering: Steering, steps: range, factors: tuple[float, ...]) -> dict[int, dict[Site, Tensor]]:
    """What to add in each step: {step: {site: sum of s_k v_k, [B, C, 1 or H, 1 or W]}}; {} if all are 0.

    Computed before the run, once per distinct set of nearest learned timesteps.
    """
    backbone = run.backbone
    terms = [(vector, s) for vector, s in steering.vectors if s != 0 and any(factors)]
    for vector, _ in steering.vectors:
        vector.check(backbone)
    chosen = None if steering.sites is None else find_sites(backbone, steering.sites)
    for site in chosen or ():
        for vector, _ in steering.vectors:
            if site.name not in vector.vectors:
                raise unknown(f"site in the vector {shorten(vector.name)!r}", site.name, vector.vectors)
    if not terms:
        return {}
    if not steps:
        window, count = steering.window, run.recipe.num_inference_steps
        raise RudderError(
            f"The window from {window.start:g} to {window.end:g} holds none of the {count} steps: widen it "
            "or take more steps."
        )
    where = {"device": backbone.device, "dtype": backbone.dtype}
    scale = torch.tensor(factors).view(-1, 1, 1, 1)
    count = max(len(factors), len(run.condition) // (2 if run.guided else 1))
    made: dict[tuple[int, ...], dict[Site, Tensor]] = {}
    pushes = {}
    for i in steps:
        t = int(run.schedule.timesteps[i])
        rows = tuple(vector.nearest(t) for vector, _ in terms)
        if rows not in made:
            total: dict[str, Tensor] = {}
            for (vector, s), row in zip(terms, rows, strict=True):
                for name in vector.vectors if chosen is None else [site.name for site in chosen]:
                    v = s * vector.vectors[name][row]
                    v = v[:, None, None] if v.ndim == 1 else v
                    total[name] = total[name] + v if name in total else v
            names = find_sites(backbone, total)
            made[rows] = {
                site: _halved(scale * total[site.name], run.guided, steering.halves, count).to(**where)
                for site in names
            }
        pushes[i] = made[rows]
    return pushes


def _halved(v: Tensor, guided: bool, halves: str, count: int) -> Tensor:
    """[1 or B, ...] to [2 B, ...] for [unconditional, conditional]; one row for all broadcasts by itself."""
    if not guided or (halves == "both" and len(v) == 1):
        return v
    v = v.expand(count, *v.shape[1:])
    return torch.cat([v if halves == "both" else torch.zeros_like(v), v])


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


def _condition(backbone: Backbone, recipe: Recipe, prompts: tuple[str, ...]) -> Tensor:
    """[B, ...], or [2 B, ...] as [unconditional, conditional] with guidance; one prompt is encoded once."""

    def encoded(texts: tuple[str, ...]) -> Tensor:
        if len(set(texts)) == 1:
            return repeated(backbone.condition(texts[:1]), len(texts))
        return backbone.condition(texts)

    conditional = encoded(prompts)
    if not _guided(backbone, recipe):
        return conditional
    return torch.cat([encoded((recipe.negative_prompt,) * len(prompts)), conditional])


def _key(backbone: Backbone, recipe: Recipe, seeds: tuple, prompts: tuple, start: int) -> tuple[tuple[str, Any], ...]:
    return (
        ("model", backbone.fingerprint),
        ("prompt", prompts),
        ("negative prompt", recipe.negative_prompt),
        ("seed", seeds),
        ("number of steps", recipe.num_inference_steps),
        ("guidance", recipe.guidance_scale),
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
