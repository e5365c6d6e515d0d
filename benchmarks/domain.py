"""What gets no verdict? Foreign pictures of every kind, judged by a domain drawn with that kind and by one drawn
without it; and known pictures that lose theirs: `python -m benchmarks.domain --out benchmarks/domain.json`.

The domain is fitted as `rudder calibrate` does it, on its half of the originals; all figures are of the other half, and
of foreign pictures of another seed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from steering.backbones.registry import load
from steering.calibration import STRANGE, shipped
from steering.domain import Domain, fit, traits
from steering.errors import RudderError
from steering.evaluation.detection import samples
from steering.foreign import foreign
from steering.pace import machine
from steering.samples import halves, known_world

COUNT = 60  # foreign pictures of a kind that are judged


def measure(model: str, count: int, seed: int) -> dict[str, Any]:
    """Shares of verdicts by kind, with and without the kind in the fit, and of verdicts lost."""
    backbone = load(model)
    calibration = shipped(backbone)
    if calibration is None:
        raise RudderError(f"There is no calibration for {backbone.name}: make one with `rudder calibrate`.")
    known = samples(backbone, seed=seed)
    memorized, world, chosen = np.array([s.memorized for s in known]), known_world(known), halves(known, seed)
    found = traits(backbone, [s.picture for s in known], seed=seed)
    flagged = calibration.score(backbone, [s.picture for s in known]).mean > calibration.threshold
    owners = [s.original for s, of in zip(known, chosen & world, strict=True) if of]
    drawn, judged = (foreign(n, backbone.resolution, seed + k) for n, k in ((STRANGE, 1000), (count, 2000)))
    seen = {kind: traits(backbone, some, seed=seed) for kind, some in drawn.items()}
    tested = {kind: traits(backbone, some, seed=seed) for kind, some in judged.items()}
    called = {
        kind: calibration.score(backbone, some).mean > calibration.threshold for kind, some in judged.items()
    }  # fmt: skip

    def without(left: str | None) -> Domain:
        others = np.concatenate([some for kind, some in seen.items() if kind != left])
        made = fit(found[chosen & world], owners, memorized[chosen & world], others, seed)
        assert made is not None, "the embedded model has originals enough"
        return made

    def verdicts(domain: Domain, rows: np.ndarray, flags: np.ndarray) -> np.ndarray:
        return np.array([domain.knows(row, bool(flag)) for row, flag in zip(rows, flags, strict=True)])

    whole = without(None)
    kinds = {}
    for kind, rows in tested.items():
        given, unseen = (verdicts(domain, rows, called[kind]) for domain in (whole, without(kind)))
        kinds[kind] = {
            "memorised_without_domain": _share(called[kind]),
            "verdict": _share(given),
            "verdict_kind_unseen": _share(unseen),
            "memorised_kind_unseen": _share(unseen & called[kind]),
        }
    kept, rest = verdicts(whole, found, flagged), ~chosen
    groups = {"memorised": memorized, "ordinary": world & ~memorized}
    return {
        "foreign": kinds,
        "counts": {"foreign": count * len(kinds), **{name: int((rest & of).sum()) for name, of in groups.items()}},
        "lost": {name: _share(~kept[rest & of]) for name, of in groups.items()},
        "seed": seed,
        "model": backbone.fingerprint,
    }


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--count", type=int, default=COUNT, help="foreign pictures of each kind that are judged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    told = measure(asked.model, asked.count, asked.seed) | {
        "command": " ".join(["python -m benchmarks.domain", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
    }
    print(json.dumps(told, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
