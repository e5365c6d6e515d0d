"""Contact sheets and the onset figure of an embedded model into assets/readme: `python -m benchmarks.sheets`.

samples.png: an ordinary caption for each of the seeds 0 to 63, as they come. steered.png: prompts that name no style,
unsteered and at every style's recommended strength, and two memories. From the committed evaluation, onset.png: recall,
spikiness and resistance against repetitions; examples.svg: what steering does against the number of example pictures.
Needs matplotlib.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from steering import load
from steering.backbones.base import Backbone
from steering.evaluation.common import learned, memorized_set, pictures_of, responses
from steering.evaluation.detection import ordinary_captions
from steering.evaluation.examples import figure
from steering.files import home, read_json

from .page import REPOSITORY

FOLDER = REPOSITORY / "assets" / "readme"
FILES = {"samples": "samples.png", "steered": "steered.png", "onset": "onset.png", "examples": "examples.svg"}
ROWS, COLUMNS = 8, 8
GAP = 4  # px between pictures
BLUE, RED, GREY = "#2a6fb0", "#c2452d", "#666666"


def tiled(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows, on white."""
    side = rows[0][0].width
    whole = Image.new("RGB", (len(rows[0]) * (side + GAP) + GAP, len(rows) * (side + GAP) + GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture, (GAP + x * (side + GAP), GAP + y * (side + GAP)))
    return whole


def samples(backbone: Backbone) -> Image.Image:
    """Seeds 0 to 63, a random ordinary caption each: 8 x 8, nothing chosen."""
    count = ROWS * COLUMNS
    made = pictures_of(backbone, ordinary_captions(backbone, 0, count), range(count))
    return tiled([made[i : i + COLUMNS] for i in range(0, count, COLUMNS)])


def steered(backbone: Backbone) -> Image.Image:
    """Columns: eight ordinary prompts and the first two memories of the top level; rows: unsteered, then each style at
    its recommended strength. Seeds 0, 1, ..."""
    memories = memorized_set(backbone.name)
    top = max(m.level for m in memories)
    own = [m.caption for m in memories if m.level == top]
    texts = [*ordinary_captions(backbone, 0, COLUMNS, styles=False), own[0], own[-1]]
    seeds = range(len(texts))
    rows = []
    for vector in learned(backbone).values():
        plain, changed = responses(backbone, vector, texts, seeds, (0.0, 1.0))
        rows += [changed] if rows else [plain, changed]
    return tiled(rows)


def onset(told: dict) -> plt.Figure:
    """Recall, spikiness and resistance against repetitions, each 0 for ordinary pictures and 1 for the most repeated;
    a tick on the axis where a curve has gone half its way."""
    levels = sorted((row for row in told["curves"] if row["repeats"]), key=lambda row: row["repeats"])
    shown = np.array([row["repeats"] for row in levels])
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for key, name, ink in (("recall", "recall", GREY), ("spikiness", "spikiness", RED),
                           ("movement", "resistance to steering", BLUE)):  # fmt: skip
        start, end = told["ordinary"][key], levels[-1][key]
        axis.plot(shown, [(row[key] - start) / (end - start) for row in levels], "o-", color=ink, label=name)
        if told["onset"].get(key):
            axis.axvline(told["onset"][key], color=ink, linewidth=1, linestyle=":")
    axis.set_xscale("log")
    axis.set_xticks(shown, [f"{n:,}" for n in shown])
    axis.minorticks_off()
    axis.set_xlabel("times a picture was shown while training")
    axis.set_ylabel("0 ordinary, 1 most repeated")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Make all four, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", choices=[*FILES, []], default=[])
    parser.add_argument("--model", default="tiny-sd")
    given = parser.parse_args()
    wanted = given.only or [*FILES]
    measured = read_json(home() / "models" / given.model / "evaluation.json")
    backbone = load(given.model) if {"samples", "steered"} & set(wanted) else None
    for name, make in (("samples", samples), ("steered", steered)):
        if name in wanted and backbone is not None:
            make(backbone).save(FOLDER / FILES[name], optimize=True)
    if "onset" in wanted:
        onset(measured["editability"]).savefig(FOLDER / FILES["onset"], dpi=110)
    if "examples" in wanted:
        (FOLDER / FILES["examples"]).write_text(figure(measured["steering"]["by_examples"]), encoding="utf-8")
    print(*(FOLDER / FILES[name] for name in wanted), sep="\n")


if __name__ == "__main__":
    main()
