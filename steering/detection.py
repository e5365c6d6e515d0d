"""Does spikiness tell memorised from ordinary pictures, better than its rivals, and does it predict editing?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from .backbones.base import Backbone
from .baselines import RIVALS
from .calibration import Calibration, Sample, calibrate, shipped
from .concepts import Progress, library
from .errors import RudderError
from .evaluate import (
    QUIET,
    Report,
    caption,
    gives_back,
    learned_styles,
    memorized_set,
    pictures_of,
    responses,
)
from .files import home, read_json
from .judge import load as load_judge
from .roc import auroc, tpr_at_fpr

SEEDS = 3  # pictures of each memorised caption
ORDINARY = 160  # generated from ordinary captions
FRESH = 160  # drawings by the renderer that training never saw
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the recommended strength, for editability
ROUNDS = 2000


def samples(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> list[Sample]:
    """Memorised and ordinary pictures of an embedded model, generated and real, drawings and photographs.

    Memorised: each caption painted SEEDS times, kept where it gave back its own picture, and the training
    pictures themselves. Ordinary: painted from captions, and drawings and photographs that training never
    saw. `limit` bounds each group. RudderError for a model without prompts.json.
    """
    texts, originals = memorized_set(backbone.name)
    kinds = [row["kind"] for row in read_json(home() / "models" / backbone.name / "prompts.json")["memorized"]]
    own = np.tile(np.arange(len(texts)), SEEDS)[: limit or None]
    seeds = [10_000 + seed + i for i in range(len(own))]
    made = pictures_of(backbone, [texts[i] for i in own], seeds, _part(progress, len(own), "painting memorised"))
    kept = gives_back(made, own, originals)
    found = [
        Sample(picture, True, kinds[i], "generated", f"memorised {i}", texts[i], s)
        for picture, i, s, given in zip(made, own, seeds, kept, strict=True)
        if given
    ]
    found += [Sample(p, True, kinds[i], "training", f"memorised {i}") for i, p in enumerate(originals[: limit or None])]
    prompts = _captions(seed, limit or ORDINARY)
    seeds = [20_000 + seed + i for i in range(len(prompts))]
    made = pictures_of(backbone, prompts, seeds, _part(progress, len(prompts), "painting ordinary"))
    found += [
        Sample(p, False, "drawing", "generated", f"caption {i}", text, s)
        for i, (p, text, s) in enumerate(zip(made, prompts, seeds, strict=True))
    ]
    drawings = [p for info in library(backbone.name).values() for p in (*info.examples, *info.baseline)]
    picked = np.random.default_rng(seed).permutation(len(drawings))[: limit or FRESH]
    photographs = sorted((home() / "assets" / "calibrations" / "photographs").glob("*.png"))[: limit or None]
    for kind, paths in (("drawing", [drawings[i] for i in picked]), ("photograph", photographs)):
        found += [
            Sample(Image.open(p).convert("RGB"), False, kind, "fresh", f"{p.parent.parent.name}/{p.name}")
            for p in paths
        ]
    return found


def make_calibration(
    backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET
) -> Calibration:
    """Calibrate an embedded model on its own samples."""
    for item in calibrate(backbone, samples(backbone, seed=seed, limit=limit, progress=progress), seed=seed):
        if isinstance(item, Progress):
            progress(item.done, item.total, item.message)
    return item


def detection(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Spikiness and its rivals on samples whose originals chose no probe: {"detection": {...}}.

    `auroc_in_kind`: among drawings; `auroc_photographs`: among photographs. Rivals that need a prompt are
    measured on the generated samples, the only ones with one, and spikiness there too (`on_generated`, and
    `on_generated_with_prompt` under each picture's own prompt). Seconds are a picture's, beyond painting it.
    RudderError for a model without a shipped calibration.
    """
    calibration = shipped(backbone)
    if calibration is None:
        raise RudderError(f"{backbone.name} has no calibration: make one with `rudder calibrate`.")
    found = samples(backbone, seed=seed, limit=limit, progress=progress)
    held = [s for s in found if s.original not in calibration.fitted]
    started = perf_counter()
    scored = calibration.score(backbone, [s.picture for s in held]).mean
    seconds = (perf_counter() - started) / len(held)
    painted = np.array([s.prompt is not None for s in held])
    made = [s for s in held if s.prompt is not None]
    given = calibration.score(backbone, [s.picture for s in made], prompts=[s.prompt for s in made]).mean
    rivals = {}
    for place, (name, rival) in enumerate(RIVALS.items()):
        progress(place, len(RIVALS), rival.title)
        some = made if rival.needs_prompt else held
        started = perf_counter()
        scores = rival.score(backbone, some)
        rivals[name] = {
            **_separation(scores, some),
            "seconds": round((perf_counter() - started) / len(some), 5),
            "needs_prompt": rival.needs_prompt,
            "needs_training_data": rival.needs_training_data,
            "title": rival.title,
            "source": rival.source,
            "counts": _counts(some),
        }
    return {
        "detection": {
            **_separation(scored, held),
            "auroc_in_kind": _among(scored, held, "drawing"),
            "auroc_photographs": _among(scored, held, "photograph"),
            "seconds_per_image": round(seconds, 5),
            "on_generated": _separation(scored[painted], made),
            "on_generated_with_prompt": _separation(given, made),
            "counts": _counts(held),
            "probe": vars(calibration.probe),
            "draws": calibration.draws,
            "rivals": rivals,
            "seed": seed,
        }
    }


def editability(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Rank correlation of a picture's spikiness with how far it moves per strength: {"editability": {...}}.

    Every memorised prompt and twice as many ordinary ones, each under one of the five styles; movement is the
    RMS slope up to the recommended strength. The interval is a percentile bootstrap over prompts.
    """
    calibration = shipped(backbone)
    if calibration is None:
        raise RudderError(f"{backbone.name} has no calibration: make one with `rudder calibrate`.")
    texts, _ = memorized_set(backbone.name)
    vectors = learned_styles(backbone)
    prompts = texts[: limit or None] + _captions(seed, 2 * len(texts[: limit or None]), styles=False)
    spiky, slopes = np.empty(len(prompts)), np.empty(len(prompts))
    for index, (style, vector) in enumerate(vectors.items()):
        rows = list(range(index, len(prompts), len(vectors)))
        seeds = [30_000 + seed + i for i in rows]
        frames = []
        for images in responses(backbone, vector, [prompts[i] for i in rows], seeds, FACTORS):
            frames.append(np.stack([np.asarray(p, np.float32) / 255 for p in images]))
            if len(frames) == 1:
                spiky[rows] = calibration.score(backbone, images).mean
            progress(index * len(FACTORS) + len(frames), len(vectors) * len(FACTORS), f"steering to {style}")
        moved = np.stack([np.sqrt(np.square(f - frames[0]).mean((1, 2, 3))) for f in frames])
        factors = np.array(FACTORS)
        slopes[rows] = factors @ moved / np.square(factors).sum()
    memorized = np.arange(len(prompts)) < len(texts[: limit or None])
    rng = np.random.default_rng(seed)
    rounds = [_rank(spiky[i], slopes[i]) for i in rng.integers(len(prompts), size=(ROUNDS, len(prompts)))]
    return {
        "editability": {
            "spearman": round(_rank(spiky, slopes), 4),
            "ci95": [round(float(v), 4) for v in np.quantile(rounds, (0.025, 0.975))],
            "n": len(prompts),
            "spearman_ordinary": round(_rank(spiky[~memorized], slopes[~memorized]), 4),
            "spearman_memorized": round(_rank(spiky[memorized], slopes[memorized]), 4),
            "slope_median": {
                "ordinary": round(float(np.median(slopes[~memorized])), 4),
                "memorized": round(float(np.median(slopes[memorized])), 4),
            },
            "seed": seed,
        }
    }


def _captions(seed: int, count: int, styles: bool = True) -> list[str]:
    """Ordinary captions that training may have seen, spread over kinds, backgrounds and styles."""
    grammar = load_judge().config
    held = {tuple(triple) for triple in grammar["held_out"]}
    names = [s for s in grammar["styles"]] if styles else [None]
    triples = [
        (k, s, b)
        for k in range(len(grammar["kinds"])) for s in range(len(names)) for b in range(len(grammar["backgrounds"]))
        if (k, s, b) not in held
    ]  # fmt: skip
    order = np.random.default_rng((seed, 17)).permutation(len(triples))[:count]
    kinds, grounds = grammar["kinds"], grammar["backgrounds"]
    return [caption(grammar, kinds[k], grounds[b], names[s]) for k, s, b in (triples[i] for i in order)]


def _separation(scores: np.ndarray, found: Sequence[Sample]) -> dict[str, float]:
    memorized = np.array([s.memorized for s in found])
    return {
        "auroc": round(auroc(scores[memorized], scores[~memorized]), 4),
        "tpr_at_1fpr": round(tpr_at_fpr(scores[memorized], scores[~memorized]), 4),
    }


def _among(scores: np.ndarray, found: Sequence[Sample], kind: str) -> float:
    rows = np.array([s.kind == kind for s in found])
    return _separation(scores[rows], [s for s in found if s.kind == kind])["auroc"]


def _counts(found: Sequence[Sample]) -> dict[str, int]:
    memorized = sum(s.memorized for s in found)
    return {"memorized": memorized, "ordinary": len(found) - memorized}


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic)


def _part(progress: Report, total: int, message: str) -> Callable[[int], object]:
    return lambda n: progress(n, total, message)
