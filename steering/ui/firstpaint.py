"""The page's first impression, chosen by measurement and painted beforehand.

`python -m steering.ui.firstpaint --search` steers the model's prompts to its concepts, writes what it measured to
search.json in assets/firstpaint/MODEL and paints the best pair; without --search that table's pair is painted again.
Each frame there is a PNG that carries its recipe; firstpaint.json says how they were made.
Without them the page of an embedded model paints the same strips once when it starts; that of another one opens with an
empty stage, since nobody knows how long its pictures take.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..backbones.base import Backbone
from ..cli.console import progress
from ..concepts import Progress
from ..errors import RudderError, unknown
from ..evaluation.showcase import FACTORS, Cell, Pair, cells, pairs, table
from ..files import home, read_json
from ..recipe import Recipe
from .asked import Panel, prefix_key
from .panels import start_panel
from .pictures import data_uri
from .session import Session
from .steer import generate, paint_unsteered
from .studio import Studio, open_studio, start_of

SEED = 7
FALLBACK = {"ordinary": "a red apple on a sky background", "memorized": "a photo of an astronaut"}
FINALISTS = 12  # pairs that are painted whole before one is chosen


def folder(model: str) -> Path:
    """Where a model's first paint lies."""
    return home() / "assets" / "firstpaint" / model


def chosen(backbone: Backbone) -> dict[str, Any]:
    """The pair that the committed search chose for the very model: {"concept", "ordinary", "memorized", "seed",
    "strength"}; {} where it was made for another one or not at all."""
    path = folder(backbone.name) / "search.json"
    if not path.is_file():
        return {}
    kept = read_json(path)
    return kept["chosen"] if kept["made"]["fingerprint"] == backbone.fingerprint else {}


def default_panel(
    studio: Studio, prompts: dict[str, str] | None = None, concept: str = "", seed: int | None = None
) -> Panel:
    """The controls on first paint; what is left out is what the search chose, or the model's first."""
    best = chosen(studio.backbone)
    firsts = {kind: entries[0]["key"] if entries else FALLBACK[kind] for kind, entries in studio.prompts.items()}
    asked = firsts | {kind: best[kind] for kind in firsts if kind in best} | (prompts or {})
    names = list(studio.concepts)
    if concept and concept not in names:
        raise unknown("concept", concept, names)
    name = concept or (best["concept"] if best.get("concept") in names else names[0] if names else "")
    window, halves = start_of(studio.concepts[name].vector if name else None)
    return replace(
        start_panel(studio),
        prompts={"a": asked["ordinary"], "b": asked["memorized"]},
        concept=name,
        seed=best.get("seed", SEED) if seed is None else seed,
        window=(window[0], window[1]),
        halves=halves,
    )


def render(studio: Studio, panel: Panel, strength: float | None = None) -> dict[str, Any]:
    """The stage's message for a panel, shown at `strength` (None: as recommended); RudderError as `generate` raises."""
    strengths = {} if strength is None else dict.fromkeys(panel.prompts, strength)
    *_, message = generate(studio, Session(), panel, {"ticket": 0, "strengths": strengths, "concept": panel.concept})
    for data in message["columns"].values():
        data["frames"].sort(key=lambda one: one["strength"])
    return message


def search(studio: Studio, limit: int | None = None, seeds: int = 1) -> Iterator[Progress | dict[str, Any]]:
    """Measure the model's prompts x concepts and choose: Progress, then what goes into search.json.

    The best pairs of the table are painted whole, and the first whose sentences say what the table says wins; where
    none does, the best of the table, which does not hold (`holds`).
    `limit` bounds prompts of each kind, and concepts. RudderError for a model without prompts or concepts of its own.
    """
    prompts = {kind: [entry["key"] for entry in entries][:limit] for kind, entries in studio.prompts.items()}
    able = {name: one.vector for name, one in studio.concepts.items() if one.vector is not None}
    learned = {name: able[name] for name in [n for n in able if not able[n].advice.get("weak")][:limit]}
    if not all(prompts.values()) or not learned:
        raise RudderError(
            f"{studio.backbone.name} has no prompts or no learned concepts of its own to search: choose --ordinary, "
            "--memorized and --concept."
        )
    measured: list[Cell] = []
    for item in cells(studio.backbone, learned, prompts, range(SEED, SEED + seeds)):
        if isinstance(item, Progress):
            yield item
        else:
            measured = item
    ranked = pairs(measured)
    best: tuple[Pair, dict[str, Any], bool] | None = None
    for place, pair in enumerate(ranked[:FINALISTS]):
        yield Progress(place, FINALISTS, f"painting {pair.ordinary} + {pair.concept}")
        panel = default_panel(studio, {"ordinary": pair.ordinary, "memorized": pair.memorized}, pair.concept, pair.seed)
        strength = pair.factor * learned[pair.concept].advice["strength"]
        columns = render(studio, panel, strength)["columns"]
        said = {name: data["response"] for name, data in columns.items()}
        best = best or (pair, said, False)
        takes = (said["a"]["movement"], said["a"]["evenness"]) == ("towards", "evenly")
        verdicts = tuple(columns[name]["reading"]["verdict"] for name in "ab")
        right = studio.calibration is None or verdicts == ("ordinary", "memorised")
        if pair.passes and takes and right and said["b"]["movement"] != "towards":
            best = (pair, said, True)
            break
    assert best is not None
    pair, said, holds = best
    told = {name: {key: one[key] for key in ("movement", "evenness", "sentence")} for name, one in said.items()}
    strength = round(pair.factor * learned[pair.concept].advice["strength"], 6)
    yield {
        "chosen": asdict(pair) | {"strength": strength, "said": told, "holds": holds},
        "factors": list(FACTORS),
        "counts": {"prompts": {kind: len(some) for kind, some in prompts.items()}, "concepts": len(learned)},
        "best": [asdict(one) for one in _best_of_each(ranked)],
        "cells": table(measured),
    }


def _best_of_each(ranked: list[Pair]) -> list[Pair]:
    """The first pair of every concept, in rank order."""
    firsts: dict[str, Pair] = {}
    for pair in ranked:
        firsts.setdefault(pair.concept, pair)
    return list(firsts.values())


def write_search(studio: Studio, found: dict[str, Any], target: Path) -> None:
    """search.json: how it was made, the choice, the best pair of each concept, and a line a cell."""
    target.mkdir(parents=True, exist_ok=True)
    rows = found.pop("cells")
    body = json.dumps({"made": _made(studio), **found}, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (target / "search.json").write_text(f'{body},\n "cells": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def save(studio: Studio, panel: Panel, target: Path, strength: float | None = None) -> None:
    """Write every frame as a PNG with its recipe, and firstpaint.json with how they were made."""
    message = render(studio, panel, strength)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.png"):
        old.unlink()
    for column, data in message["columns"].items():
        for place, one in enumerate(data["frames"]):
            one["file_here"] = f"{column}-{place:02d}.png"
            kind, _, body = one.pop("src").partition(";base64,")
            if kind != "data:image/png":
                raise RudderError("The first paint is kept as PNG: render it with a model of at most 128 pixels.")
            (target / one["file_here"]).write_bytes(base64.b64decode(body))
    text = json.dumps({"made": _made(studio), "message": message}, indent=1, ensure_ascii=False)
    (target / "firstpaint.json").write_text(text + "\n", encoding="utf-8")


def _made(studio: Studio) -> dict[str, Any]:
    """How a file of the first paint came to be."""
    return {
        "command": " ".join(["python -m steering.ui.firstpaint", *sys.argv[1:]]),
        "model": studio.backbone.name,
        "fingerprint": studio.backbone.fingerprint,
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def load(studio: Studio) -> dict[str, Any] | None:
    """The message kept for the model, or None when it is absent or of other weights."""
    path = folder(studio.backbone.name) / "firstpaint.json"
    if not path.is_file():
        return None
    kept = read_json(path)
    if kept["made"]["fingerprint"] != studio.backbone.fingerprint or kept["message"]["concept"] not in studio.concepts:
        return None
    message = kept["message"]
    for data in message["columns"].values():
        for one in data["frames"]:
            one["src"] = data_uri((path.parent / one.pop("file_here")).read_bytes())
    return message


def warm(studio: Studio, message: dict[str, Any]) -> None:
    """Paint the unsteered pictures of the first impression, so that the first release finds its latents."""
    for data in message.get("columns", {}).values():
        recipe = Recipe.from_json(data["recipe"])
        if studio.prefixes.get(prefix_key(studio, recipe)) is None:
            paint_unsteered(studio, recipe)


def first_paint(studio: Studio) -> dict[str, Any]:
    """What the stage shows before anyone touches it; nothing for a model that does not ship."""
    message = load(studio)
    if message is None and studio.concepts and studio.outline.embedded:
        message = render(studio, default_panel(studio), chosen(studio.backbone).get("strength"))
    return message or {}


def main(arguments: list[str] | None = None) -> int:
    """Search, and render the first paint from the command line; 2 for a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m steering.ui.firstpaint", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--search", action="store_true", help="measure prompts x concepts anew and choose")
    parser.add_argument("--limit", type=int, help="search among so many prompts of each kind and concepts only")
    parser.add_argument("--seeds", type=int, default=1, help=f"seeds to search, from {SEED} on (1)")
    parser.add_argument("--ordinary", help="the ordinary column's prompt (default: what the search chose)")
    parser.add_argument("--memorized", help="the memorised column's prompt (default: what the search chose)")
    parser.add_argument("--concept", default="", help="the concept (default: what the search chose)")
    parser.add_argument("--seed", type=int, help=f"the seed (default: what the search chose, else {SEED})")
    asked = parser.parse_args(arguments)
    if (asked.limit is not None and asked.limit < 1) or asked.seeds < 1:
        parser.error("--limit and --seeds must be at least 1")
    prompts = {kind: value for kind in FALLBACK if (value := getattr(asked, kind)) is not None}
    try:
        studio = open_studio(asked.model, device="cpu")
        target = folder(studio.backbone.name)
        if asked.search:
            found: dict[str, Any] = {}
            with progress("searching") as report:
                for item in search(studio, asked.limit, asked.seeds):
                    if isinstance(item, Progress):
                        report(item.done, item.total, item.message)
                    else:
                        found = item
            write_search(studio, found, target)
            print(f"wrote {target / 'search.json'}: {found['chosen']['ordinary']} + {found['chosen']['concept']}")
            if not found["chosen"]["holds"]:
                print("No pair shows what is claimed, painted whole: look at what is shown.", file=sys.stderr)
        by_hand = bool(prompts or asked.concept)
        strength = None if by_hand else chosen(studio.backbone).get("strength")
        save(studio, default_panel(studio, prompts, asked.concept, asked.seed), target, strength)
    except RudderError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
