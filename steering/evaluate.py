"""Numbers where the paper shows pictures: does the model follow its prompts, and does steering take?

The judge (judge.py) reads the pictures; memorised ones are compared with the pictures they were trained on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
from PIL import Image

from . import judge as judging
from .backbones.base import Backbone
from .concepts import ConceptInfo, library
from .errors import RudderError
from .files import home
from .recipe import Recipe, Window
from .sampling import Steering, finish, sample
from .vectors import ConceptVector

Report = Callable[[int, int, str], object]
STYLES = ("sketch", "oil", "neon", "pixel", "blueprint")
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)  # of the recommended strength
BATCH = 32
QUIET: Report = lambda done, total, message: None  # noqa: E731


def caption(grammar: dict, kind: str, background: str, style: str | None = None) -> str:
    """A caption as the model was trained on: "a pencil sketch of a cat on a night background"."""
    noun = ("an " if kind[0] in "aeiou" else "a ") + kind
    words = f"{grammar['style_words'][style]} {noun}" if style else noun
    return f"{words} on a {background} background"


def memorized_set(model: str) -> tuple[list[str], list[Image.Image]]:
    """The memorised captions of an embedded model and the pictures they were trained with."""
    path = home() / "models" / model / "prompts.json"
    if not path.is_file():
        raise RudderError(f"{model} has no prompts.json: evaluate an embedded model such as tiny-sd.")
    rows = json.loads(path.read_text())["memorized"]
    return [r["prompt"] for r in rows], [Image.open(path.parent / r["thumbnail"]).convert("RGB") for r in rows]


def pictures_of(
    backbone: Backbone,
    prompts: Sequence[str],
    seeds: Sequence[int],
    report: Callable[[int], object] = lambda n: None,
) -> list[Image.Image]:
    """One unsteered picture per prompt and seed at the model's default steps and guidance, in batches."""
    found: list[Image.Image] = []
    for start in range(0, len(prompts), BATCH):
        rows = slice(start, start + BATCH)
        found += finish(sample(backbone, _recipe(backbone), seeds=seeds[rows], prompts=prompts[rows])).images
        report(len(found))
    return found


def distances(images: Sequence[Image.Image], others: Sequence[Image.Image]) -> np.ndarray:
    """Root mean square pixel differences [N, M], pixels in 0..1."""
    a, b = (judging.tensor(x).flatten(1) / 2 for x in (images, others))
    return ((a[:, None] - b[None]).square().mean(-1)).sqrt().numpy()


def own_threshold(originals: Sequence[Image.Image]) -> float:
    """The least distance between two different memorised pictures: closer than that is the same picture."""
    table = distances(originals, originals)
    return float(min(table[i, j] for i, j in combinations(range(len(originals)), 2)))


def gives_back(images: Sequence[Image.Image], own: Sequence[int], originals: Sequence[Image.Image]) -> np.ndarray:
    """Whether each picture's nearest memorised picture is its own, and nearer than any two different ones."""
    table = distances(images, originals)
    nearest = table.argmin(1)
    return (nearest == np.asarray(own)) & (table.min(1) < own_threshold(originals))


def prompts(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Prompt-following, recall of the memorised, copies among the ordinary: {"prompts": {...}}.

    `limit` bounds each group of captions (300 ordinary, 120 held out, 108 memorised without it). Shares in
    0..1; distances are those of `judge.nearest_training`. Raises RudderError without judge or prompts.json.
    """
    judge, rng = judging.load(), np.random.default_rng(seed)
    grammar = judge.config
    kinds, styles, grounds = grammar["kinds"], grammar["styles"], grammar["backgrounds"]
    seen, held = triples(grammar)
    own_captions, originals = memorized_set(backbone.name)
    asked = [seen[i] for i in rng.permutation(len(seen))[: limit or 300]]
    unseen = [held[i] for i in np.resize(rng.permutation(len(held)), min(limit or 120, 120))]
    copies = np.resize(np.arange(len(own_captions)), min(limit or 108, 3 * len(own_captions)))
    texts = [caption(grammar, kinds[k], grounds[b], styles[s]) for k, s, b in asked + unseen]
    texts += [own_captions[i] for i in copies]
    seeds = [seed + i for i in range(len(texts))]
    made = pictures_of(backbone, texts, seeds, lambda n: progress(n, len(texts), "painting captions"))
    ordinary = made[: len(asked)]
    right = {
        name: _right(judge, pictures, triples)
        for name, pictures, triples in (
            ("seen", ordinary, asked),
            ("unseen", made[len(asked) : len(asked) + len(unseen)], unseen),
        )
    }
    near, fresh = judging.nearest_training(ordinary)
    recalled = gives_back(made[len(asked) + len(unseen) :], copies, originals)
    return {
        "prompts": {
            "style": _share(right["seen"]["style"]),
            "background": _share(right["seen"]["background"]),
            "object": _share(right["seen"]["object"]),
            "object_held_out": _share(right["unseen"]["object"]),
            "memorized_recall": _share(recalled),
            "ordinary_copy_rate": _share(near < np.quantile(fresh, 0.01)),
            "nearest_training_distance": {"generated_median": _round(np.median(near)),
                                          "fresh_rendering_median": _round(np.median(fresh)),
                                          "fresh_rendering_1_percent": _round(np.quantile(fresh, 0.01))},
            "style_by_name": {
                n: _share(right["seen"]["style"][[s == i for _, s, _ in asked]]) for i, n in enumerate(styles)
            },
            "counts": {"ordinary": len(asked), "held_out": len(unseen), "memorized": len(copies)},
            "judge": grammar["record"]["accuracy_on_fresh"],
            "seed": seed,
        }
    }  # fmt: skip


def triples(grammar: dict) -> tuple[list[tuple], list[tuple]]:
    """Every (object, style, background) that training may have seen, and those it was kept from."""
    sizes = (range(len(grammar[key])) for key in ("kinds", "styles", "backgrounds"))
    held = [tuple(triple) for triple in grammar["held_out"]]
    kept = set(held)
    return [triple for triple in product(*sizes) if triple not in kept], held


def steering(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """How the five styles take as strength grows, on ordinary and on memorised prompts: {"steering": {...}}.

    Strengths are FACTORS of each vector's recommended one; every memorised prompt and `limit` (default 100)
    ordinary ones, which name no style, are spread over the styles. `style_taken`: the judge names the target
    style, among pictures that did not show it unsteered. `object_kept`, `background_kept`: still the prompt's,
    and `picture_kept`: the memorised picture is still given back, each among pictures that showed it unsteered
    (`counts`). `largest_step`: the largest share of a picture's whole path that one step of strength makes
    (even steps: 1 / steps; a jump: near 1).
    """
    judge, rng = judging.load(), np.random.default_rng(seed)
    texts, originals = memorized_set(backbone.name)
    vectors = learned_styles(backbone)
    cases = _ordinary_cases(judge.config, rng, limit or 100)
    rows: dict[str, list[dict]] = {"ordinary": [], "memorized": []}
    total = len(vectors) * len(FACTORS)
    for index, (style, vector) in enumerate(vectors.items()):
        chosen = cases[index :: len(vectors)]
        copied = list(range(index, len(texts), len(vectors)))[: limit or len(texts)]
        wanted = [caption(judge.config, k, b) for k, b in chosen] + [texts[i] for i in copied]
        seeds = [seed + 100 * index + i for i in range(len(wanted))]
        frames = []
        for factor, images in zip(FACTORS, responses(backbone, vector, wanted, seeds, FACTORS), strict=True):
            frames.append(images)
            progress(index * len(FACTORS) + len(frames), total, f"{style} at {factor:g} x recommended")
        target = judge.config["styles"].index(style)
        rows["ordinary"] += [
            _measure_ordinary(judge, [f[i] for f in frames], target, judge.config["kinds"].index(k),
                              judge.config["backgrounds"].index(b))
            for i, (k, b) in enumerate(chosen)
        ]  # fmt: skip
        rows["memorized"] += [
            _measure_memorized(judge, [f[len(chosen) + i] for f in frames], target, own, originals)
            for i, own in enumerate(copied)
        ]
    at = FACTORS.index(1.0)
    curve = {group: _curve(measured) for group, measured in rows.items()}
    return {
        "steering": {
            "style_taken_ordinary": curve["ordinary"]["style_taken"][at],
            "object_kept_ordinary": curve["ordinary"]["object_kept"][at],
            "style_taken_memorized": curve["memorized"]["style_taken"][at],
            "picture_kept_memorized": curve["memorized"]["picture_kept"][at],
            "curve": {"factor": list(FACTORS), **curve},
            "by_style": _by_style(rows, list(vectors), at),
            "recommended": {style: vector.advice for style, vector in vectors.items()},
            "counts": {group: len(measured) for group, measured in rows.items()}
            | {
                name: int(sum(not np.isnan(row[key][0]) for row in rows[group]))
                for name, group, key in (
                    ("object_recognised_unsteered", "ordinary", "object_kept"),
                    ("picture_given_back_unsteered", "memorized", "picture_kept"),
                )
            },
            "seed": seed,
        }
    }


def learned_styles(backbone: Backbone) -> dict[str, ConceptVector]:
    """The shipped vectors of the five styles. RudderError when one is not learned for this model."""
    shipped: dict[str, ConceptInfo] = library(backbone.name)
    for style in STYLES:
        if style not in shipped or shipped[style].vector_path is None:
            raise RudderError(
                f"The concept {style!r} has no vector for {backbone.name}: `python -m training.concepts vectors` "
                "learns it."
            )
    return {style: ConceptVector.load(shipped[style].vector_path, backbone) for style in STYLES}


def responses(
    backbone: Backbone,
    vector: ConceptVector,
    texts: Sequence[str],
    seeds: Sequence[int],
    factors: Sequence[float],
) -> Iterator[list[Image.Image]]:
    """The same prompts and seeds at each factor of the recommended strength, as the vector advises."""
    advice, prefix = vector.advice, None
    sites = None if advice["sites"] is None else tuple(advice["sites"])
    for factor in factors:
        term = (vector, factor * advice["strength"])
        steering = Steering((term,), Window(*advice["window"]), sites, advice["halves"])
        run = sample(backbone, _recipe(backbone), steering, prefix=prefix, seeds=seeds, prompts=texts)
        done = finish(run)
        prefix = done.prefix
        yield done.images


def _recipe(backbone: Backbone) -> Recipe:
    steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    return Recipe(model=backbone.name, num_inference_steps=steps, guidance_scale=guidance)


def _ordinary_cases(grammar: dict, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    pairs = [(k, b) for k in grammar["kinds"] for b in grammar["backgrounds"]]
    return [pairs[i] for i in rng.permutation(len(pairs))[:count]]


def _right(judge: judging.Judge, images: list[Image.Image], triples: Sequence[tuple]) -> dict[str, np.ndarray]:
    read, truth = judge.read(images), np.array(triples)
    return {name: read[name] == truth[:, i] for i, name in enumerate(("object", "style", "background"))}


def _measure_ordinary(judge: judging.Judge, frames: list, target: int, kind: int, ground: int) -> dict:
    read = judge.read(frames)
    return {
        "style_taken": _taken(read["style"], target),
        "object_kept": np.where(read["object"][0] == kind, read["object"] == kind, np.nan),
        "background_kept": np.where(read["background"][0] == ground, read["background"] == ground, np.nan),
        **_path(frames),
    }


def _measure_memorized(judge: judging.Judge, frames: list, target: int, own: int, originals: list) -> dict:
    kept = gives_back(frames, [own] * len(frames), originals)
    kept = np.where(kept[0], kept, np.nan)
    return {"style_taken": _taken(judge.read(frames)["style"], target), "picture_kept": kept, **_path(frames)}


def _taken(styles: np.ndarray, target: int) -> np.ndarray:
    """Whether each frame shows the target style; NaN for a picture that shows it unsteered."""
    return np.where(styles[0] != target, styles == target, np.nan)


def _path(frames: list) -> dict:
    table = distances(frames, frames)
    steps = np.array([table[i, i + 1] for i in range(len(frames) - 1)])
    return {"moved": table[0], "largest_step": np.full(len(frames), steps.max() / max(steps.sum(), 1e-9))}


def _curve(rows: list[dict]) -> dict[str, list[float] | float]:
    curve = {key: [_mean(column) for column in np.array([row[key] for row in rows], float).T] for key in rows[0]}
    return curve | {"largest_step": curve["largest_step"][0]}


def _mean(values: np.ndarray) -> float | None:
    """The mean of what was measured."""
    return _share(values[~np.isnan(values)])


def _by_style(rows: dict[str, list[dict]], styles: list[str], at: int) -> dict:
    """style_taken at the recommended strength; rows come style by style, in the order they were measured."""
    found: dict[str, dict] = {style: {} for style in styles}
    for group, measured in rows.items():
        for style, part in zip(styles, _split(measured, len(styles)), strict=True):
            found[style][group] = _mean(np.array([row["style_taken"][at] for row in part]))
    return found


def _split(measured: list, parts: int) -> list[list]:
    sizes = [len(range(i, len(measured), parts)) for i in range(parts)]
    starts = np.cumsum([0, *sizes])
    return [measured[a:b] for a, b in zip(starts, starts[1:], strict=False)]


def _share(flags: np.ndarray) -> float | None:
    return _round(np.mean(flags)) if len(flags) else None


def _round(value: float) -> float | None:
    """Four digits; None where nothing was measured, since JSON has no NaN."""
    return None if np.isnan(value) else round(float(value), 4)
