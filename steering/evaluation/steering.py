"""Does steering take, on ordinary and on memorised pictures, and what of the picture does it keep?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..backbones.base import Backbone
from ..concepts import library
from ..vectors import ConceptVector
from . import judge as judging
from .asking import Asking, asking
from .common import (
    QUIET,
    STEPS,
    Memorised,
    Report,
    answers,
    by_level,
    gives_back,
    in_turn,
    learned,
    memorized_set,
    path_of,
    pictures_of,
    repeats_of,
    responses,
    share,
    taken,
)
from .examples import COUNTS, by_examples
from .shape import shape_kept

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # of the recommended strength
AT = FACTORS.index(1.0)
FEW = 8  # pictures of each style at every number of steps


def steering(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """How the five styles take as strength grows, on ordinary and on memorised prompts: {"steering": {...}}.

    Strengths are FACTORS of each vector's recommended one; every memorised prompt and `limit` (default 200)
    ordinary ones, which name no style, are spread over the styles. `style_taken`: the judge names the target
    style, among pictures that did not show it unsteered. `object_kept`, `background_kept`: still the prompt's,
    and `picture_kept`: the memorised picture is still given back, each among pictures that showed it unsteered
    (`counts`). `shape_kept`: see `shape.shape_kept`. `largest_step`: the largest share of a picture's whole path that
    one step of strength makes (even steps: 1 / steps; a jump: near 1). Numbers named "memorized" are of the top level
    of the ladder, `by_level` has them all; `by_examples`: see `examples.by_examples`; `by_steps`: FEW pictures of each
    style at the recommended strength, at every number of STEPS. A model that is told classes names no style: it has no
    `by_examples`, and keeps a background where the unsteered picture's is read again.
    """
    judge, rng = judging.load(), np.random.default_rng(seed)
    memorised, vectors = memorized_set(backbone.name), learned(backbone)
    asks = asking(backbone, judge.config)
    cases = asks.cases(rng, limit or 200)
    spread = in_turn(memorised, np.random.default_rng((seed, 7)), None)
    ordinary, shapes, copies = [], [], []
    total = len(vectors) * (len(FACTORS) + 1)
    owners: list[int] = []
    for index, (style, vector) in enumerate(vectors.items()):
        chosen = cases[index :: len(vectors)]
        copied = spread[index :: len(vectors)][: limit or None]
        plain = [asks.text(k, b) for k, b in chosen]
        seeds = [seed + 1000 * index + i for i in range(len(chosen) + len(copied))]
        frames = []
        wanted = plain + [memorised[i].caption for i in copied]
        for factor, images in zip(FACTORS, responses(backbone, vector, wanted, seeds, FACTORS), strict=True):
            frames.append(images)
            progress(index * (len(FACTORS) + 1) + len(frames), total, f"{style} at {factor:g} x recommended")
        n, asked = len(chosen), None
        if asks.words:
            asked = pictures_of(backbone, [asks.text(k, b, style) for k, b in chosen], seeds[:n])
        shapes.append(shape_kept(frames[AT][:n], frames[0][:n], asked))
        target = judge.config["styles"].index(style)
        ordinary += [{"concept": style, **answers(judge, [f[i] for f in frames], target, *chosen[i])} for i in range(n)]
        originals = [m.picture for m in memorised]
        copies += [
            {"concept": style, **_measure_memorized(judge, [f[n + i] for f in frames], target, own, originals)}
            for i, own in enumerate(copied)
        ]
        owners += copied
    few = [count for count in COUNTS if count <= max(limit or COUNTS[-1], COUNTS[0])]
    levels = by_level(memorised, owners)
    top = [copies[i] for i in levels[max(levels)]]
    curve = {"ordinary": _curve(ordinary), "memorized": _curve(top)}
    return {
        "steering": {
            "style_taken_ordinary": curve["ordinary"]["style_taken"][AT],
            "object_kept_ordinary": curve["ordinary"]["object_kept"][AT],
            "background_kept_ordinary": curve["ordinary"]["background_kept"][AT],
            "artefact_rate": share([row["artefact"][AT] for row in ordinary]),
            "artefact_rate_unsteered": share([row["artefact"][0] for row in ordinary]),
            "shape_kept": share(np.concatenate([s["kept"] for s in shapes])),
            "shape": {
                "agreement": share(np.concatenate([s["agreement"] for s in shapes])),
                "asked_for_in_the_prompt": share(np.concatenate([s["asked"] for s in shapes])),
                "chance_95_percent": share([float(s["chance"]) for s in shapes]),
            },
            "style_taken_memorized": curve["memorized"]["style_taken"][AT],
            "picture_kept_memorized": curve["memorized"]["picture_kept"][AT],
            "curve": {"factor": list(FACTORS), **curve},
            "by_style": {
                style: {
                    "ordinary": share([row["style_taken"][AT] for row in ordinary if row["concept"] == style]),
                    "memorized": share([row["style_taken"][AT] for row in top if row["concept"] == style]),
                    "object_kept": share([row["object_kept"][AT] for row in ordinary if row["concept"] == style]),
                    "shape_kept": share(shapes[place]["kept"]),
                }
                for place, style in enumerate(vectors)
            },
            "by_level": _by_level(memorised, copies, levels),
            "by_steps": _by_steps(backbone, judge, asks, vectors, cases, seed, progress),
            "by_examples": by_examples(backbone, vectors, seed=seed, limit=limit, counts=few, progress=progress)
            if asks.words
            else None,
            "glasses": _glasses(backbone, judge, asks, seed, min(limit or 48, 48)),
            "recommended": {style: vector.advice for style, vector in vectors.items()},
            "counts": {
                "ordinary": len(ordinary),
                "memorized": len(top),
                "object_recognised_unsteered": int(sum(not np.isnan(row["object_kept"][0]) for row in ordinary)),
                "picture_given_back_unsteered": int(sum(not np.isnan(row["picture_kept"][0]) for row in top)),
            },
            "seed": seed,
        }
    }


def _by_level(memorised: Sequence[Memorised], copies: Sequence[dict], levels: dict[int, np.ndarray]) -> dict:
    """At the recommended strength, by level of repetition."""
    return {
        str(level): {
            "repeats": repeats_of(memorised, level),
            "style_taken": share([copies[i]["style_taken"][AT] for i in rows]),
            "picture_kept": share([copies[i]["picture_kept"][AT] for i in rows]),
            "given_back_unsteered": share([not np.isnan(copies[i]["picture_kept"][0]) for i in rows]),
            "moved": share([copies[i]["moved"][AT] for i in rows]),
            "largest_step": share([copies[i]["largest_step"][0] for i in rows]),
        }
        for level, rows in levels.items()
    }


def _by_steps(
    backbone: Backbone,
    judge: judging.Judge,
    asks: Asking,
    vectors: dict[str, ConceptVector],
    cases: Sequence[tuple[str, str | None]],
    seed: int,
    progress: Report,
) -> dict:
    """What the recommended strength does at every number of steps, to the same pictures."""
    told = {}
    for place, steps in enumerate(STEPS):
        progress(place, len(STEPS), f"steering in {steps} steps")
        rows = []
        for index, (style, vector) in enumerate(vectors.items()):
            chosen = cases[index :: len(vectors)][:FEW]
            texts, seeds = [asks.text(*case) for case in chosen], [seed + 1000 * index + i for i in range(len(chosen))]
            plain, steered = responses(backbone, vector, texts, seeds, (0.0, 1.0), steps)
            target = judge.config["styles"].index(style)
            rows += [answers(judge, [plain[i], steered[i]], target, *case) for i, case in enumerate(chosen)]
        keys = ("style_taken", "object_kept", "background_kept", "artefact")
        told[str(steps)] = {key: share([row[key][1] for row in rows]) for key in keys}
    return told


def _glasses(backbone: Backbone, judge: judging.Judge, asks: Asking, seed: int, count: int) -> dict | None:
    """Do people take glasses at the recommended strength? None where that concept is not learned for the model."""
    shipped = library(backbone.name)
    if "glasses" not in shipped or shipped["glasses"].vector_path is None:
        return None
    vector = ConceptVector.load(shipped["glasses"].vector_path, backbone)
    texts = [asks.text("person", b) for b in np.resize(judge.config["backgrounds"], count)]
    before, after = responses(backbone, vector, texts, [seed + 60_000 + i for i in range(count)], (0.0, 1.0))
    read = [judge.read(images) for images in (before, after)]
    person = judge.config["kinds"].index("person")
    bare = read[0]["glasses"] == 0
    return {
        "taken": share(np.where(bare, read[1]["glasses"] == 1, np.nan)),
        "still_a_person": share(read[1]["object"] == person),
        "unsteered_with_glasses": share(~bare),
    }


def _measure_memorized(
    judge: judging.Judge, frames: list[Image.Image], target: int, own: int, originals: list[Image.Image]
) -> dict:
    kept = gives_back(frames, [own] * len(frames), originals)
    kept = np.where(kept[0], kept, np.nan)
    return {"style_taken": taken(judge.read(frames)["style"], target), "picture_kept": kept, **path_of(frames)}


def _curve(rows: Sequence[dict]) -> dict:
    names = [key for key in rows[0] if key != "concept"]
    curve = {key: [share(column) for column in np.array([row[key] for row in rows], float).T] for key in names}
    return curve | {"largest_step": curve["largest_step"][0]}
