"""Do the names of a model's groups of sites hold? What of a picture changes when it is steered at each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, sobel

from ..backbones.base import LABELS, Backbone
from ..concepts import learn, library, read_under
from ..engines import engine_for
from ..errors import RudderError
from ..inversion import distance
from ..plan import Steering, Term
from ..recipe import Recipe, Window
from ..sampling import finish, sample, strip
from ..vectors import ConceptVector
from .common import QUIET, Report, recipe_of, share

ASPECTS = {"composition": "layout", "shape": "edges", "style": "colours", "detail": "detail"}  # what each name promises
CONCEPTS = 5  # of the shipped ones, learned at every site
CHANGE = 0.08  # RMS, 0..1, to which every group's pictures are brought
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the vector, tried for that change
SIDE, COARSE = 64, 8  # px, at which pictures are compared, and of their layout
ROUNDS, SURE = 2000, 0.95  # of the bootstrap, and the share of them in which a name must hold


@dataclass(frozen=True, eq=False)
class Case:
    """A picture to be steered with a vector at each group's sites alone; `concept` is the vector's name for people."""

    recipe: Recipe
    vector: ConceptVector
    known: Mapping[str, Sequence[str]]
    concept: str


def moved(backbone: Backbone, case: Case) -> dict[str, dict[str, float]]:
    """What steering at each group changes of a picture, by the factor that moves it nearest to CHANGE: {group: {aspect:
    change}}."""
    (plain,) = finish(sample(backbone, case.recipe)).images
    row = {}
    for label, names in case.known.items():
        steering = Steering((Term(case.vector, 1.0),), case.recipe.window, tuple(names))
        tried = finish(strip(backbone, case.recipe, steering, FACTORS)).images
        row[label] = changes(plain, min(tried, key=lambda image: abs(distance(plain, image) - CHANGE)))
    return row


def groups(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """What steering at each group of sites changes, at the same distance from the unsteered: {"groups": {...}}.

    Shipped concepts are learned at every site that has a label; `limit` (default 12) pictures each are steered at one
    group's sites alone over the whole run, by the factor that moves them nearest to CHANGE. By group: `sites`;
    `changes`, each of ASPECTS' measures relative to its mean over the groups, averaged over pictures; `sure`, the share
    of bootstrap rounds in which the group changes what its name promises more than any other group does; `deserved`,
    whether that is at least SURE. RudderError for a model without concepts, or with fewer than two groups.
    """
    known = {
        label: [name for name, site in backbone.sites().items() if site.label == label and site.part != "estimate"]
        for label in LABELS
    }
    known = {label: names for label, names in known.items() if names}
    shipped = [info for info in library(backbone.name).values() if info.examples and info.baseline][:CONCEPTS]
    if len(known) < 2 or not shipped:
        raise RudderError(f"{backbone.name} has too few groups of sites or no concepts: its names cannot be measured.")
    every, count = [name for names in known.values() for name in names], min(limit or 12, 12)
    total, done = len(shipped) * (1 + len(known) * count), 0

    def jobs() -> Iterator[Case]:
        nonlocal done
        for place, info in enumerate(shipped):
            prompt, other = read_under(backbone, info)
            *_, vector = learn(backbone, info.name, list(info.examples[:24]), list(info.baseline[:24]), sites=every,
                               prompt=prompt, baseline_prompt=other, seed=seed)  # fmt: skip
            assert isinstance(vector, ConceptVector)
            done += 1
            for index in range(count):
                at = seed + 80_000 + 1000 * place + index
                yield Case(replace(recipe_of(backbone), seed=at, window=Window(0.0, 1.0)), vector, known, info.name)

    measured: list[dict[str, dict[str, float]]] = []  # a picture each
    for case, row in engine_for(backbone).map(moved, jobs()):
        measured.append(row)
        done += len(known)
        progress(done, total, f"{case.concept} at each group of sites")
    return {"groups": judged(measured, known) | {"change": CHANGE, "n": len(measured), "seed": seed}}


def changes(plain: Image.Image, steered: Image.Image) -> dict[str, float]:
    """How much of a picture's layout, edges, colours and fine detail has changed, each per unit of the whole change.

    layout: grey levels averaged over 8x8 fields; edges: lengths of the smoothed picture's gradients; colours: means and
    deviations of the colour channels, brightness apart; detail: what a blur of 1 px takes away, by its strength in 8x8
    fields.
    """
    one, other = (_array(image) for image in (plain, steered))
    whole = float(np.sqrt(np.square(one - other).mean())) or 1.0
    parts = zip(_parts(one).items(), _parts(other).values(), strict=True)
    return {name: float(np.sqrt(np.square(a - b).mean())) / whole for (name, a), b in parts}


def judged(measured: Sequence[Mapping[str, Mapping[str, float]]], known: Mapping[str, Sequence[str]]) -> dict:
    """From each picture's changes by group to what is said of the groups: "by_group" and "deserved"."""
    names, aspects = list(known), list(ASPECTS.values())
    table = np.array([[[row[g][a] for a in aspects] for g in names] for row in measured])  # [picture, group, aspect]
    table = table / np.maximum(table.mean((0, 1), keepdims=True), 1e-12)
    draws = np.random.default_rng(0).integers(len(table), size=(ROUNDS, len(table)))
    most = np.stack([table[rows].mean(0).argmax(0) for rows in draws])  # [round, aspect]: the group that leads
    told = {}
    for place, group in enumerate(names):
        sure = float((most[:, aspects.index(ASPECTS[group])] == place).mean())
        told[group] = {
            "sites": list(known[group]),
            "promises": ASPECTS[group],
            "changes": {aspect: share(table[:, place, k]) for k, aspect in enumerate(aspects)},
            "sure": share([sure]),
            "deserved": sure >= SURE,
        }
    return {"by_group": told, "deserved": [group for group in names if told[group]["deserved"]]}


def _array(image: Image.Image) -> np.ndarray:
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float64) / 255


def _parts(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """A picture's layout, edges, colours and detail, as `changes` compares them."""
    grey = rgb.mean(-1)
    fields = lambda values: values.reshape(COARSE, SIDE // COARSE, COARSE, SIDE // COARSE).mean((1, 3))  # noqa: E731
    smooth = gaussian_filter(grey, 1.5)
    tint = rgb - grey[..., None]
    fine = grey - gaussian_filter(grey, 1.0)
    return {
        "layout": fields(grey),
        "edges": np.hypot(sobel(smooth, 0), sobel(smooth, 1)),
        "colours": np.concatenate([tint.mean((0, 1)), tint.std((0, 1)), [grey.std()]]),
        "detail": np.sqrt(fields(np.square(fine))),
    }
