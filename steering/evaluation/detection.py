"""Does spikiness tell memorised from ordinary pictures, and better than its rivals?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from ..backbones.base import Backbone
from ..calibration import Calibration, Verdict, shipped
from ..concepts import library
from ..errors import RudderError
from ..files import home
from ..foreign import foreign
from ..roc import auroc, tpr_at_fpr
from ..samples import Sample, known_world
from .asking import asking
from .common import (
    QUIET,
    Memorised,
    Report,
    by_level,
    gives_back,
    in_turn,
    memorized_set,
    pictures_of,
    repeats_of,
    rounded,
    share,
)
from .judge import load as load_judge
from .rivals import fit_for

SEEDS = 3  # pictures of each memorised caption
ORDINARY = 240  # generated from ordinary captions
FRESH = 240  # drawings by the renderer that training never saw
FOREIGN = 44  # pictures of each kind that is unlike anything known
BY_HEART = 0.9  # recall of a level from which its pictures count as memorised


def samples(
    backbone: Backbone,
    *,
    seed: int = 0,
    limit: int | None = None,
    progress: Report = QUIET,
    by_heart: float = BY_HEART,
) -> list[Sample]:
    """Memorised and ordinary pictures of an embedded model, generated and real, drawings and photographs.

    Memorised: of the levels that the model has by heart (recall >= `by_heart`), each caption painted SEEDS times, kept
    where it gave back its own picture, and the training pictures themselves; what was repeated less is neither.
    Ordinary: painted from captions, and drawings and photographs that training never saw. `limit` bounds each group.
    RudderError for a model without prompts.json, or one that has no level by heart.
    """
    memorised = memorized_set(backbone.name)
    made = recalled(backbone, memorised, seed, limit, progress)
    owners = [int(s.original.split()[1]) for s, _ in made]
    known = by_level(memorised, range(len(memorised)))
    shares = {level: [memorised[i].recall for i in rows] for level, rows in known.items()}
    painted = {level: [float(made[i][1]) for i in rows] for level, rows in by_level(memorised, owners).items()}
    told = {level: some if None not in some else painted.get(level, [0.0]) for level, some in shares.items()}
    complete = {level for level, some in told.items() if np.mean(np.asarray(some, float)) >= by_heart}
    if not complete:
        raise RudderError(
            f"{backbone.name} gives back no level of its memorised pictures reliably: nothing to calibrate."
        )
    found = [s for (s, given), owner in zip(made, owners, strict=True) if given and memorised[owner].level in complete]
    real = [i for i, m in enumerate(memorised) if m.level in complete]
    real = np.random.default_rng((seed, 3)).permutation(real)[: limit or None].tolist()
    found += [Sample(memorised[i].picture, True, memorised[i].kind, "training", f"memorised {i}") for i in real]
    return found + _ordinary(backbone, seed, limit, progress)


def recalled(
    backbone: Backbone, memorised: Sequence[Memorised], seed: int, limit: int | None, progress: Report
) -> list[tuple[Sample, bool]]:
    """Each memorised caption painted SEEDS times (a random `limit` of those), and whether its own picture came back."""
    own = in_turn(memorised, np.random.default_rng((seed, 4)), limit, SEEDS)
    seeds, texts = [10_000 + seed + i for i in range(len(own))], [memorised[i].caption for i in own]
    made = pictures_of(backbone, texts, seeds, _part(progress, len(own), "painting memorised"))
    kept = gives_back(made, own, [m.picture for m in memorised])
    return [
        (Sample(picture, True, memorised[i].kind, "generated", f"memorised {i}", memorised[i].caption, s), bool(given))
        for picture, i, s, given in zip(made, own, seeds, kept, strict=True)
    ]


def _ordinary(backbone: Backbone, seed: int, limit: int | None, progress: Report) -> list[Sample]:
    """Ordinary pictures: painted, drawn and photographed."""
    prompts = ordinary_captions(backbone, seed, limit or ORDINARY)
    seeds = [20_000 + seed + i for i in range(len(prompts))]
    made = pictures_of(backbone, prompts, seeds, _part(progress, len(prompts), "painting ordinary"))
    found = [
        Sample(p, False, "drawing", "generated", f"caption {i}", text, s)
        for i, (p, text, s) in enumerate(zip(made, prompts, seeds, strict=True))
    ]
    drawings = fresh_drawings(backbone)
    photographs = sorted((home() / "assets" / "calibrations" / "photographs").glob("*.png"))
    for kind, some in (("drawing", drawings), ("photograph", photographs)):
        order = np.random.default_rng(seed).permutation(len(some))
        paths = [some[i] for i in order[: limit or (FRESH if kind == "drawing" else None)]]
        found += [
            Sample(Image.open(p).convert("RGB"), False, kind, "fresh", f"{p.parent.parent.name}/{p.name}")
            for p in paths
        ]
    return found


def fresh_drawings(backbone: Backbone) -> list[Path]:
    """Drawings of kinds that the model paints, which training never saw: the shipped example sets, NN-kind.png."""
    known = asking(backbone, load_judge().config).kinds
    every = [p for info in library(backbone.name).values() for p in (*info.examples, *info.baseline)]
    some = {p.read_bytes(): p for p in every if p.stem.partition("-")[2] in known}  # baselines share pictures
    return list(some.values())


def detection(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Spikiness and its rivals on samples whose originals chose no probe: {"detection": {...}}.

    `auroc_in_kind`: among drawings; `auroc_photographs`: among photographs. Rivals that need a prompt are
    measured on the generated samples, the only ones with one, and spikiness there too (`on_generated`, and
    `on_generated_with_prompt` under each picture's own prompt); those to which the model gives nothing to go by are
    absent. Seconds are a picture's, beyond painting it.
    RudderError for a model without a shipped calibration.
    """
    calibration = shipped(backbone)
    if calibration is None:
        raise RudderError(f"{backbone.name} has no calibration: make one with `rudder calibrate`.")
    found = samples(backbone, seed=seed, limit=limit, progress=progress)
    held = [s for s in found if s.original not in calibration.fitted]
    started = perf_counter()
    spiky = calibration.score(backbone, [s.picture for s in held])
    scored, seconds = spiky.mean, (perf_counter() - started) / len(held)
    painted = np.array([s.prompt is not None for s in held])
    made = [s for s in held if s.prompt is not None]
    given = calibration.score(backbone, [s.picture for s in made], prompts=[s.prompt or "" for s in made]).mean
    rivals, fitting = {}, fit_for(backbone)
    for place, (name, rival) in enumerate(fitting.items()):
        progress(place, len(fitting), rival.title)
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
            "originals": len({s.original for s in held if s.memorized}),
            "by_level": _by_level(backbone, calibration, seed, limit, progress),
            "verdicts": _verdicts(backbone, calibration, held, calibration.verdicts(spiky), seed, limit),
            "probe": vars(calibration.probe),
            "draws": calibration.draws,
            "rivals": rivals,
            "seed": seed,
        }
    }


def ordinary_captions(backbone: Backbone, seed: int, count: int, styles: bool = True) -> list[str]:
    """Ordinary texts that training may have seen, spread over what the model can be asked for (see `Asking.spread`)."""
    return asking(backbone, load_judge().config).spread((seed, 17), count, styles)


def _verdicts(
    backbone: Backbone, calibration: Calibration, held: list[Sample], told: list[Verdict], seed: int, limit: int | None
) -> dict:
    """What is said of pictures that the calibration should know, and of those that it cannot: shares by kind."""

    def shares(verdicts: Sequence[Verdict]) -> dict[str, float | None]:
        return {
            "memorised": share([v.memorized is True for v in verdicts]),
            "ordinary": share([v.memorized is False for v in verdicts]),
            "none": share([v.memorized is None for v in verdicts]),
        }

    memorized, world = np.array([s.memorized for s in held]), known_world(held)
    groups = {"memorised": memorized, "ordinary": world & ~memorized}
    known = {name: [v for v, of in zip(told, among, strict=True) if of] for name, among in groups.items()}
    others = [v for v, of in zip(told, world, strict=True) if not of]  # photographs, of which it paints none
    strange = foreign(limit or FOREIGN, backbone.resolution, seed)
    scored = {kind: calibration.verdicts(calibration.score(backbone, some)) for kind, some in strange.items()}
    every = [verdict for some in scored.values() for verdict in some]
    return {
        "known": {name: shares(some) for name, some in known.items()},
        **({"fresh_photographs": shares(others)} if others else {}),
        "foreign": {**{kind: shares(some) for kind, some in scored.items()}, "all": shares(every)},
        "counts": {"known": len(held), "foreign": len(every)},
    }


def _by_level(
    backbone: Backbone, calibration: Calibration, seed: int, limit: int | None, progress: Report
) -> dict[str, dict]:
    """Spikiness of the memorised captions' pictures at every level, whether they are given back or not, against that
    of the ordinary pictures that the calibration holds."""
    memorised = memorized_set(backbone.name)
    made = recalled(backbone, memorised, seed + 5000, limit, progress)
    owners = [int(s.original.split()[1]) for s, _ in made]
    scores = calibration.score(backbone, [s.picture for s, _ in made]).mean
    return {
        str(level): {
            "repeats": repeats_of(memorised, level),
            "recall": share([made[i][1] for i in rows]),
            "spikiness_median": rounded(np.median(scores[rows])),
            "flagged": share(scores[rows] > calibration.threshold),
            "auroc": rounded(auroc(scores[rows], np.asarray(calibration.ordinary))),
        }
        for level, rows in by_level(memorised, owners).items()
    }


def _separation(scores: np.ndarray, found: Sequence[Sample]) -> dict[str, float]:
    memorized = np.array([s.memorized for s in found])
    return {
        "auroc": round(auroc(scores[memorized], scores[~memorized]), 4),
        "tpr_at_1fpr": round(tpr_at_fpr(scores[memorized], scores[~memorized]), 4),
    }


def _among(scores: np.ndarray, found: Sequence[Sample], kind: str) -> float | None:
    """AUROC among the samples of a kind; None where a few samples hold only one of the two groups."""
    some = [s for s in found if s.kind == kind]
    if len({s.memorized for s in some}) < 2:
        return None
    return _separation(scores[np.array([s.kind == kind for s in found])], some)["auroc"]


def _counts(found: Sequence[Sample]) -> dict[str, int]:
    memorized = sum(s.memorized for s in found)
    return {"memorized": memorized, "ordinary": len(found) - memorized}


def _part(progress: Report, total: int, message: str) -> Callable[[int], object]:
    return lambda n: progress(n, total, message)
