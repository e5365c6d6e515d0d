"""Learn a concept and find how it takes best: window, guidance half, sites, pooling and strength, by painting with it.

Every candidate paints the same few prompts at a few strengths; a Sight learned from the sets says how far the pictures
go towards the concept and how much of them is kept. The search plans itself by the time its first candidate took.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
from PIL import Image

from .backbones.base import Backbone
from .backbones.registry import prompts_of
from .concepts import ConceptVector, Progress, learn
from .errors import Cancelled
from .images import Pictures, gathered
from .pace import about, measure
from .plan import Steering, Term
from .quality import assess
from .recipe import Recipe, Window
from .sampling import Result, sample
from .sets import distinct
from .sight import Sight, features, sight_of

BUDGET = 60.0  # seconds
PATIENCE = 5  # times the budget that a single candidate may take
PROMPTS = 4
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
BACK = (-0.25, -0.5, -1.0, -2.0, -4.0)  # away from the concept
TAKES, HOLDS = 0.5, 0.35  # of the way to the concept, and of the picture that must be left
PAINTABLE = 0.5  # of the way that must survive the autoencoder
TOLD_APART = 0.8  # AUROC of members left out, below which the sets hardly differ
FEW = 5  # pictures
MAP_SIDE = 16  # the largest plane that is kept as a map: more is a picture of its own
STOPPED = "Learning was stopped: nothing was kept, start again when you like."


@dataclass(frozen=True)
class Setting:
    """One way to steer with a vector; `where` is one of PLACES."""

    pooling: str
    halves: str
    window: tuple[float, float]
    where: str


# the model's default sites; the innermost of them and of the middle, where the plane is smallest; the default ones, the
# middle and attention, where it thinks of composition; the picture it expects, which alone takes what is a matter of
# pixels (tints, frames); the default ones and that
PLACES = ("usual", "inner", "deep", "estimate", "usual and estimate")
DEFAULT = Setting("mean", "conditional", (0.25, 0.95), "usual")
SETTINGS = (
    DEFAULT,
    Setting("map", "both", (0.5, 0.95), "estimate"),
    Setting("map", "both", (0.1, 0.95), "usual"),
    Setting("mean", "conditional", (0.25, 0.95), "inner"),
    Setting("map", "conditional", (0.25, 0.95), "inner"),
    Setting("mean", "both", (0.25, 0.95), "estimate"),
    Setting("map", "both", (0.5, 0.95), "usual and estimate"),
    Setting("mean", "both", (0.1, 0.95), "usual"),
    Setting("map", "conditional", (0.25, 0.95), "usual"),
    Setting("mean", "both", (0.5, 0.95), "deep"),
    Setting("map", "both", (0.25, 0.95), "estimate"),
    Setting("map", "both", (0.0, 0.95), "deep"),
    Setting("mean", "conditional", (0.1, 0.95), "deep"),
)


def tune(
    backbone: Backbone,
    name: str,
    images: Pictures,
    baseline: Pictures | None = None,
    *,
    prompt: str = "",
    baseline_prompt: str = "",
    prompts: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    pooling: str | None = None,
    timesteps: Sequence[int] | None = None,
    draws: int = 1,
    budget: float = BUDGET,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Iterator[Progress | ConceptVector]:
    """Learn `name` from its pictures, search how it takes best, and yield Progress, then the vector with its advice.

    `prompts`: what to paint while searching (the model's example prompts, the baseline's, some classes). `sites`
    and `pooling` narrow the search; `timesteps` and `draws` are `learn`'s. `budget` in seconds, without learning;
    one candidate is tried, unless it would take PATIENCE times as long. The advice has, beside strength, range,
    window, halves and sites: `state` "takes", "weak", "cannot" or "untried", `why` in words, and of a search
    `along` and `kept` at the strength, and what was tried; the provenance has what `quality.assess` measured.
    Raises RudderError as `learn` does, Cancelled once `stop` is set.
    """
    images, baseline = gathered(images), gathered(baseline)
    texts = list(prompts or _own_prompts(backbone, baseline_prompt))
    rows = [(texts[i % len(texts)], seed + 900 + i) for i in range(PROMPTS)]
    vectors: dict[str, ConceptVector] = {}
    poolings = [pooling] if pooling else ["mean", "map"] if max(backbone.latent_shape[1:]) <= MAP_SIDE else ["mean"]
    for item in learn(backbone, name, images, baseline, prompt=prompt, baseline_prompt=baseline_prompt,
                      sites=sites or _every_site(backbone), timesteps=timesteps, draws=draws, pooling=poolings[-1],
                      seed=seed):  # fmt: skip
        _check(stop)
        if isinstance(item, Progress):
            yield item
        else:
            vectors[poolings[-1]] = item
    if len(poolings) > 1:
        vectors["mean"] = _averaged(vectors["map"])
    images, baseline = distinct(images), distinct(baseline)
    settings = _settings(poolings, sites)
    seconds = measure(backbone).together * len(STRENGTHS) * PROMPTS * backbone.defaults["num_inference_steps"]
    if seconds > PATIENCE * budget:
        why = f"How it takes was not measured, since that is {about(seconds)} of painting here: start low, and look."
        told = {"state": "untried", "why": why, "sites": list(sites or _sites(backbone, DEFAULT.where))}
        vector = vectors[settings[0].pooling]
        vector = vector.replace(recommended={**vector.recommended, **told})
        yield from assess(backbone, vector, images, baseline, seed=seed, stop=stop)
        return
    yield Progress(0, 1, "painting pictures to compare with")
    plain = _painted(backbone, None, settings[0], sites, rows, [0.0] * PROMPTS, stop)
    before = features(plain)
    against = features(baseline) if baseline else before
    sight = sight_of(features(images), against, seed)
    tried: list[dict[str, Any]] = []
    started, many = time.monotonic(), len(settings)
    for place, setting in enumerate(settings):
        if place and time.monotonic() - started > budget * place / (place + 1):  # the next would not fit
            break
        if place == 1:
            many = int(np.clip(budget / (time.monotonic() - started), 1, len(settings)))
        yield Progress(place, many, f"trying {place + 1} of about {many} ways to steer with it")
        tried += _rows(backbone, vectors[setting.pooling], setting, sites, rows, STRENGTHS, sight, before, stop)
    best = max(tried, key=lambda row: row["score"])
    usual = max((row for row in tried if row["setting"] == settings[0]), key=lambda row: row["score"])
    setting = best["setting"]
    held = _survives(backbone, sight, images, baseline or plain)
    state, why = _told(best, sight, held, len(images))
    strength = best["strength"]
    way = [row for row in tried if row["setting"] == setting and row["strength"] > 0]
    yield Progress(len(tried) // len(STRENGTHS), many, "trying how far it goes the other way")
    back = _rows(backbone, vectors[setting.pooling], setting, sites, rows, BACK, sight, before, stop)
    vector = vectors[setting.pooling].replace(
        recommended={
            "strength": strength,
            "range": [_end(back, strength), max(strength, _end(way, 2 * strength))],
            "window": list(setting.window),
            "halves": setting.halves,
            "sites": list(sites or _sites(backbone, setting.where)),
            "state": state,
            "why": why,
            **({"weak": True} if state != "takes" else {}),
            "along": round(best["along"], 3),
            "kept": round(best["kept"], 3),
            "told_apart": round(sight.auroc, 3) if np.isfinite(sight.auroc) else None,
            "gained": round(best["score"] - usual["score"], 3),
            "measured": [
                {"strength": row["strength"], "along": round(row["along"], 3), "kept": round(row["kept"], 3)}
                for row in [*reversed(back), *way]
            ],
            "settings_tried": len({row["setting"] for row in tried}),
        }
    )
    yield from assess(backbone, vector, images, baseline, seed=seed, stop=stop)


def _averaged(vector: ConceptVector) -> ConceptVector:
    """The vector of means over the plane that a vector of maps holds."""
    means = {site: v.mean((2, 3)) if v.ndim == 4 else v for site, v in vector.vectors.items()}
    shapes = {site: list(v.shape[1:]) for site, v in means.items()}
    return vector.replace(vectors=means, provenance={**vector.provenance, "pooling": "mean", "shapes": shapes})


def _settings(poolings: Sequence[str], sites: Sequence[str] | None) -> list[Setting]:
    """The settings to try, of these poolings; at given sites each pooling, half and window once."""
    if not sites:
        found = [one for one in SETTINGS if one.pooling in poolings]
        return found or [replace(DEFAULT, pooling=poolings[0])]
    narrowed = [replace(one, where="usual", pooling=kind) for kind in poolings for one in SETTINGS]
    return list(dict.fromkeys(narrowed))


def _rows(
    backbone: Backbone, vector: ConceptVector, setting: Setting, sites: Sequence[str] | None,
    rows: Sequence[tuple[str, int]], strengths: Sequence[float], sight: Sight, before: np.ndarray,
    stop: threading.Event | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Along, kept and their product at every strength, means over the prompts, painted as one batch."""
    found = _painted(backbone, vector, setting, sites, [row for _ in strengths for row in rows],
                     [strength for strength in strengths for _ in rows], stop)  # fmt: skip
    told = []
    for place, strength in enumerate(strengths):
        after = features(found[place * len(before) : (place + 1) * len(before)])
        along, kept = sight.along(before, after), sight.kept(before, after)
        score = float(np.mean(np.clip(along, 0, 1) * kept))
        told.append({"setting": setting, "strength": strength, "along": float(np.mean(np.clip(along, -2, 2))),
                     "kept": float(np.mean(kept)), "score": score})  # fmt: skip
    return told


def _end(way: Sequence[dict[str, Any]], most: float) -> float:
    """The furthest strength of a way from 0, `most` at most, up to which the picture holds; the nearest where none."""
    tried = [row for row in way if abs(row["strength"]) <= most]
    held = list(takewhile(lambda row: row["kept"] >= HOLDS, tried)) or tried[:1]
    return held[-1]["strength"]


def _survives(backbone: Backbone, sight: Sight, images: Sequence[Image.Image], others: Sequence[Image.Image]) -> float:
    """What share of the way between the sets is left when both have been through the autoencoder."""
    through = [features(backbone.decode(backbone.encode(list(some[:12])))).mean(0) for some in (images, others)]
    return float((through[0] - through[1]) @ sight.weights / (sight.way @ sight.weights))


def _told(best: dict[str, Any], sight: Sight, survives: float, count: int) -> tuple[str, str]:
    """What came of it, in a word and in a sentence."""
    along, kept = best["along"], best["kept"]
    share = f"{100 * max(along, 0):.0f} % of the way, and {100 * kept:.0f} % of the picture is left"
    if survives < PAINTABLE:
        lost = f"its autoencoder gives back {100 * max(survives, 0):.0f} % of what sets your pictures apart"
        return "cannot", f"This model cannot paint it: {lost}."
    if along >= TAKES and kept >= HOLDS:
        return "takes", f"It takes: at strength {best['strength']:g} pictures go {share}."
    if np.isfinite(sight.auroc) and sight.auroc < TOLD_APART:
        reason = "the two sets hardly differ in what can be seen, so give pictures that share one thing more clearly"
    elif count < FEW:
        reason = f"{count} pictures say little of what they share, so give more"
    elif along < 0.15:
        reason = "the model's pictures hardly move towards it at any strength tried"
    elif along >= TAKES:
        reason = "it takes the picture's place before it changes it"
    else:
        reason = "the model goes only a part of the way"
    return "weak", f"Weak: {reason} (at best {share})."


def _own_prompts(backbone: Backbone, otherwise: str) -> list[str]:
    """Example prompts of an embedded model, spread over its list; else the one given; else some of its classes."""
    known = [row["prompt"] for row in prompts_of(backbone.name)["ordinary"]]
    if not known and not otherwise.strip() and backbone.classes and backbone.classes.count:
        known = [str(number) for number in range(backbone.classes.count)]
    return known[:: max(1, len(known) // PROMPTS)][:PROMPTS] or [otherwise]


def _sites(backbone: Backbone, where: str) -> list[str]:
    """The sites of one of PLACES."""
    usual, known = list(backbone.defaults["sites"]), backbone.sites()
    deep = list(dict.fromkeys([*usual, *backbone.defaults["more_sites"]]))
    least = min(known[name].size for name in deep)
    inner = [name for name in deep if known[name].size == least]
    estimate = [name for name, site in known.items() if site.part == "estimate"]
    return {"usual": usual, "inner": inner, "deep": deep, "estimate": estimate,
            "usual and estimate": [*usual, *estimate]}[where]  # fmt: skip


def _every_site(backbone: Backbone) -> list[str]:
    """What some setting steers at, each once."""
    return list(dict.fromkeys(name for where in PLACES for name in _sites(backbone, where)))


def _painted(
    backbone: Backbone,
    vector: ConceptVector | None,
    setting: Setting,
    at: Sequence[str] | None,
    rows: Sequence[tuple[str, int]],
    strengths: Sequence[float],
    stop: threading.Event | None,
) -> list[Image.Image]:
    """One picture a row (prompt, seed) at its strength, as a batch at the model's own steps and guidance; `at`: sites
    to steer in place of the setting's."""
    recipe = Recipe(
        model=backbone.name,
        num_inference_steps=backbone.defaults["num_inference_steps"],
        guidance_scale=backbone.defaults["guidance_scale"],
        window=Window(*setting.window),
    )
    steering = Steering(window=recipe.window)
    if vector is not None:
        sites = tuple(at or _sites(backbone, setting.where))
        steering = Steering((Term(vector, 1.0),), recipe.window, sites, setting.halves)
    run = sample(backbone, recipe, steering, prompts=[p for p, _ in rows], seeds=[s for _, s in rows],
                 factors=list(strengths), stop=stop)  # fmt: skip
    for item in run:
        if isinstance(item, Result):
            return item.images
    raise Cancelled(STOPPED)


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Cancelled(STOPPED)
