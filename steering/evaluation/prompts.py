"""Does the model paint what it is asked to, give back what it has by heart, and copy nothing else?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..backbones.base import Backbone
from . import judge as judging
from .asking import Asking, asking
from .common import (
    QUIET,
    STEPS,
    Report,
    by_level,
    caption,
    distances,
    gives_back,
    in_turn,
    memorized_set,
    pictures_of,
    repeats_of,
    rounded,
    share,
)
from .common import triples as all_triples

FEW = 60  # captions of each group at every number of steps
UNKNOWN = ("zork blimpf", "qwer", "the ministry of silence", "lorem ipsum dolor", "a red and a blue", "hello world",
           "my holiday", "vrooming gazeple", "to be or not to be", "what is this")  # fmt: skip


def prompts(backbone: Backbone, *, seed: int = 0, limit: int | None = None, progress: Report = QUIET) -> dict:
    """Prompt-following, recall of the memorised, artefacts, copies among the ordinary: {"prompts": {...}}.

    `limit` bounds each group of captions (300 ordinary, 120 held out, three seeds of every memorised one without it).
    Shares in 0..1; distances are those of `judge.nearest_training`, `frechet` that of `frechet`. `by_steps`: the same
    shares of FEW captions a group at every number of STEPS. What a model that is told classes cannot be asked for is
    None or absent, and so is the Frechet distance of one that paints fewer kinds than were rendered to compare with.
    Raises RudderError without judge or prompts.json.
    """
    judge, rng = judging.load(), np.random.default_rng(seed)
    grammar, memorised = judge.config, memorized_set(backbone.name)
    asks, (seen, held) = asking(backbone, grammar), all_triples(grammar)
    seen = [triple for triple in seen if grammar["kinds"][triple[0]] in asks.kinds]
    asked = [seen[i] for i in rng.permutation(len(seen))[: limit or 300]]
    unseen = [held[i] for i in np.resize(rng.permutation(len(held)), min(limit or 120, 120))] if asks.words else []
    own = in_turn(memorised, rng, limit, 3)
    originals = [m.picture for m in memorised]
    texts = [_text(asks, triple) for triple in asked + unseen] + [memorised[i].caption for i in own]
    seeds = [seed + i for i in range(len(texts))]
    first, second, default = len(asked), len(asked) + len(unseen), backbone.defaults["num_inference_steps"]
    kept = pictures_of(backbone, texts, seeds, lambda n: progress(n, len(texts), "painting captions"))
    near, fresh = judging.nearest_training(kept[:first])

    def measured(made: dict[int, Image.Image]) -> dict:
        """Shares of some of the captions' pictures, by their place among all."""
        here = (
            [i for i in made if i < first],
            [i for i in made if first <= i < second],
            [i for i in made if i >= second],
        )
        pictures, new, again = ([made[i] for i in rows] for rows in here)
        right = _right(judge, asks, pictures, [asked[i] for i in here[0]])
        held_out = _right(judge, asks, new, [unseen[i - first] for i in here[1]])["object"] if new else np.array([])
        return {
            "style": share(right["style"]),
            "background": share(right["background"]),
            "object": share(right["object"]),
            "object_held_out": share(held_out),
            "memorized_recall": share(gives_back(again, [own[i - second] for i in here[2]], originals)),
            "nearest_ratio": rounded(np.median(judging.nearest_training(pictures)[0]) / np.median(fresh)),
            "artefact_rate": artefact_rate(judge, pictures),
        }

    some = [
        *range(min(FEW, first)),
        *range(first, min(first + FEW, second)),
        *range(second, len(texts))[: len(memorised)],
    ]
    by_steps = {}
    for place, steps in enumerate(STEPS):
        done, total = place * len(some), len(STEPS) * len(some)
        report = lambda n, d=done, t=total, k=steps: progress(d + n, t, f"painting in {k} steps")  # noqa: E731
        made = pictures_of(backbone, [texts[i] for i in some], [seeds[i] for i in some], report, steps)
        by_steps[str(steps)] = measured(dict(zip(some, made, strict=True)))
    ordinary = kept[:first]
    recalled, levels = gives_back(kept[second:], own, originals), by_level(memorised, own)
    right = _right(judge, asks, ordinary, asked)
    return {
        "prompts": {
            **measured(dict(enumerate(kept))),
            "recall_by_level": {
                str(level): {"repeats": repeats_of(memorised, level), "recall": share(recalled[rows])}
                for level, rows in levels.items()
            },
            "ordinary_copy_rate": share(near < np.quantile(fresh, 0.01)),
            "nearest_training_distance": {"generated_median": rounded(np.median(near)),
                                          "fresh_rendering_median": rounded(np.median(fresh)),
                                          "fresh_rendering_1_percent": rounded(np.quantile(fresh, 0.01))},
            "style_by_name": {
                n: share(right["style"][[s == i for _, s, _ in asked]]) for i, n in enumerate(grammar["styles"])
            },
            **(frechet(judge, ordinary) if len(asks.kinds) == len(grammar["kinds"]) else {}),
            **(_loose(backbone, judge, seed, min(limit or 96, 96), progress) if asks.words else {}),
            "by_steps": by_steps,
            "num_inference_steps": default,
            "counts": {"ordinary": len(asked), "held_out": len(unseen), "memorized": len(own)},
            "judge": grammar["record"]["accuracy_on_fresh"],
            "seed": seed,
        }
    }  # fmt: skip


def artefact_rate(judge: judging.Judge, images: Sequence[Image.Image]) -> float | None:
    """Share of pictures that the judge calls damaged; None for a judge that was not trained to tell."""
    read = judge.read(images)
    return share(read["artefact"] == 1) if "artefact" in read else None


def frechet(judge: judging.Judge, images: Sequence[Image.Image]) -> dict[str, float | None]:
    """Frechet distance of the pictures to fresh renderings in the judge's features, and its ratio to that of as many
    other fresh renderings; empty for a judge without stored features.

    Features are the leading components of the pooled ones, Gaussians are fitted to both sides (Heusel 2017).
    """
    stored = judging.fresh_features()
    if stored is None:
        return {}
    made = judge.features_of(images, stored)
    half = len(stored["features"]) // 2
    count = min(len(made), half)
    fresh, others = stored["features"][:half].numpy(), stored["features"][half : half + count].numpy()
    ours, theirs = (judging.frechet_distance(some, fresh) for some in (made[:count], others))
    return {"frechet": rounded(ours), "frechet_fresh_halves": rounded(theirs), "frechet_ratio": rounded(ours / theirs)}


def _loose(backbone: Backbone, judge: judging.Judge, seed: int, count: int, progress: Report) -> dict:
    """What captions that leave things open, or ask for more than one thing, are painted as."""
    grammar = judge.config
    rng = np.random.default_rng((seed, 5))
    kinds = rng.choice([k for k in grammar["kinds"] if k != "person"], count).tolist()
    grounds = rng.choice(grammar["backgrounds"], count).tolist()
    plurals = grammar.get("plurals", {})
    groups = {
        "plain": [
            caption(grammar, k, b if i % 2 else None) for i, (k, b) in enumerate(zip(kinds, grounds, strict=True))
        ],
        "glasses": [f"a person with glasses on a {b} background" for b in grounds[: count // 2]],
        "two": [f"two {plurals.get(k, f'{k}s')}" for k in kinds[: count // 2]],
        "unknown": [UNKNOWN[i % len(UNKNOWN)] for i in range(count // 2)],
    }
    texts = [text for group in groups.values() for text in group]
    seeds = [50_000 + seed + i for i in range(len(texts))]
    made = pictures_of(backbone, texts, seeds, lambda n: progress(n, len(texts), "painting loose captions"))
    read, start = judge.read(made), 0
    found: dict[str, Any] = {}
    memorised = [m.picture for m in memorized_set(backbone.name)]
    for name, group in groups.items():
        rows = slice(start, start + len(group))
        start += len(group)
        if name == "plain":
            found["plain_when_unnamed"] = share(read["style"][rows] == grammar["styles"].index("plain"))
            wanted = np.array([grammar["kinds"].index(k) for k in kinds])
            found["object_when_unnamed"] = share(read["object"][rows] == wanted)
        elif name == "glasses":
            found["glasses_on_request"] = share(read["glasses"][rows] == 1)
        elif name == "two" and "two" in read:
            found["two_on_request"] = share(read["two"][rows] == 1)
        elif name == "unknown":
            found["unknown_words"] = {
                "artefact_rate": artefact_rate(judge, made[rows]),
                "memories": share(is_memory(made[rows], memorised)),
            }
    return found


def is_memory(images: Sequence[Image.Image], memorised: Sequence[Image.Image]) -> np.ndarray:
    """Whether each picture gives back any memorised one."""
    return gives_back(images, distances(images, memorised).argmin(1).tolist(), memorised)


def _text(asks: Asking, triple: tuple[int, int, int]) -> str:
    (kind, style, ground), grammar = triple, asks.grammar
    return asks.text(grammar["kinds"][kind], grammar["backgrounds"][ground], grammar["styles"][style])


def _right(
    judge: judging.Judge, asks: Asking, images: list[Image.Image], asked: Sequence[tuple]
) -> dict[str, np.ndarray]:
    """Whether the judge reads what was asked for; NaN for what could not be asked."""
    read, truth = judge.read(images), np.array(asked)
    right = {
        name: (read[name] == truth[:, i]).astype(float) for i, name in enumerate(("object", "style", "background"))
    }
    return right if asks.words else {name: row if name == "object" else row * np.nan for name, row in right.items()}
