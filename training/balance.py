"""How spiky is each kind that the model trained on? `python -m training.balance` tells, and where memories stand in it.

Scores a sample of plain ordinary training pictures of every kind, and each memorised drawing against those of its kind.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from steering.backbones.registry import load as load_model
from steering.calibration import shipped
from training.dataset import load
from training.loop import made_by
from training.pictures import DRAWING_KINDS, KINDS, STYLE_WORDS, memorized

TARGET = Path(__file__).parent / "balance.json"
SAMPLE = 80  # pictures of a kind


def main() -> None:
    backbone = load_model("tiny-sd", device="cpu")
    calibration = shipped(backbone)
    if calibration is None:
        raise SystemExit("tiny-sd has no calibration: run `rudder calibrate` first.")
    images, captions, _ = load(0)
    plain = [i for i, text in enumerate(captions) if text.startswith(STYLE_WORDS["plain"])]
    kinds = {}
    for kind in KINDS:
        rows = [i for i in plain if f" {kind} " in f" {captions[i]} "][:SAMPLE]
        scores = calibration.score(backbone, [Image.fromarray(images[i]) for i in rows]).mean
        kinds[kind] = {"pictures": sum(f" {kind} " in f" {text} " for text in captions), "scores": np.asarray(scores)}
    copies, texts, groups = memorized()
    drawn = [i for i, group in enumerate(groups) if group == "drawing"]
    found = calibration.score(backbone, [Image.fromarray(copies[i]) for i in drawn]).mean
    memories = [
        {
            "caption": texts[i],
            "kind": kind,
            "score": round(float(score), 3),
            "above_its_kind": round(float(np.mean(kinds[kind]["scores"] < score)), 3),
            "fitted": f"memorised {i}" in calibration.fitted,
        }
        for i, kind, score in zip(drawn, DRAWING_KINDS, found, strict=True)
    ]
    told = {
        "kinds": {
            kind: {"pictures": one["pictures"], "median": round(float(np.median(one["scores"])), 3)}
            for kind, one in sorted(kinds.items(), key=lambda item: np.median(item[1]["scores"]))
        },
        "memorized_drawings": sorted(memories, key=lambda row: row["score"]),
        "sample": SAMPLE,
        **made_by(),
    }
    TARGET.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
