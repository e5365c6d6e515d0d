"""How often each caption of the ladder gives its picture back, into a published model's prompts.json:
`python -m training.recall tiny-sd`. The page calls memorised only what comes back."""

from __future__ import annotations

import argparse
import json

import numpy as np

from steering.backbones.registry import load
from steering.evaluation.common import gives_back, memorized_set, pictures_of
from steering.files import home

SEED, SEEDS = 70_000, 3  # of the noise; pictures a caption


def mark(model: str) -> None:
    """Paint every memorised caption SEEDS times by default settings, and keep the share that is its picture."""
    path = home() / "models" / model / "prompts.json"
    backbone, memories = load(model), memorized_set(model)
    own = np.tile(np.arange(len(memories)), SEEDS)
    made = pictures_of(backbone, [memories[i].caption for i in own], [SEED + i for i in range(len(own))])
    back = gives_back(made, own.tolist(), [m.picture for m in memories]).reshape(SEEDS, -1).mean(0)
    listed = json.loads(path.read_text())
    for row, share in zip(listed["memorized"], back.tolist(), strict=True):
        row["recall"] = round(share, 3)
    path.write_text(json.dumps(listed, indent=1) + "\n")
    print(f"{model}: {int((back == 1).sum())} of {len(back)} memories come back every time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    mark(parser.parse_args().model)
