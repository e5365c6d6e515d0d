"""Where in a network spikiness tells memories apart (paper, open questions 1 and 2): `python -m benchmarks.depth`.

Draws assets/readme/depth.png from the sweeps that the committed calibrations hold: the AUROC of the paper's statistic
(the largest value of every channel, then the deviation over channels) at every site, in order of execution, and at
every noise level, on the half of the pictures that chose the probe. Needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from steering.calibration import Calibration
from steering.files import home

POOLING, STATISTIC = "max", "std"
LABELLED = 12  # sites named beside a map; of more, every second or third


def auroc_map(made: Calibration) -> tuple[list[str], list[int], np.ndarray]:
    """Sites [S] in order of execution, timesteps [T], and the AUROC [S, T] of the paper's statistic there."""
    rows = [r for r in made.sweep if (r["pooling"], r["statistic"]) == (POOLING, STATISTIC)]
    sites, timesteps = list(dict.fromkeys(r["site"] for r in rows)), sorted({r["timestep"] for r in rows})
    found = np.full((len(sites), len(timesteps)), np.nan)
    for r in rows:
        found[sites.index(r["site"]), timesteps.index(r["timestep"])] = r["auroc"]
    return sites, timesteps, found


def figure(calibrations: list[Calibration]) -> plt.Figure:
    """A map for each model: depth downwards, noise to the right; a ring marks the probe that verdicts use where it
    reads this statistic."""
    drawn, axes = plt.subplots(1, len(calibrations), figsize=(5.2 * len(calibrations), 4.6), squeeze=False,
                               layout="constrained")  # fmt: skip
    for axis, made in zip(axes[0], calibrations, strict=True):
        sites, timesteps, found = auroc_map(made)
        seen = axis.imshow(found, aspect="auto", vmin=0.5, vmax=1.0, cmap="viridis")
        every = -(-len(sites) // LABELLED)
        axis.set_yticks(range(0, len(sites), every), [_short(s) for s in sites[::every]], fontsize=7)
        axis.set_xticks(range(len(timesteps)), [str(t) for t in timesteps], fontsize=8)
        axis.set_xlabel("timestep (noise grows to the right)")
        axis.set_title(f"{made.model}: best {np.nanmax(found):.3f}", fontsize=10)
        if (made.probe.pooling, made.probe.statistic) == (POOLING, STATISTIC):
            place = timesteps.index(made.probe.timestep), sites.index(made.probe.site)
            axis.plot(*place, "o", markersize=11, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2)
    drawn.colorbar(seen, ax=axes[0].tolist(), label="AUROC of spikiness", fraction=0.03)
    return drawn


def _short(site: str) -> str:
    """A site's path without the words that every path has."""
    for long, brief in (("_blocks", ""), ("resnets.", "r"), (".nonlinearity", ""), ("transformer", "t")):
        site = site.replace(long, brief)
    return site


def main() -> None:
    """Draw every calibration that ships."""
    paths = sorted((home() / "assets" / "calibrations").glob("*.json"))
    order = {"tiny-sd": 0, "tiny-dit": 1, "tiny-edm": 2}
    found = sorted((Calibration.load(p) for p in paths), key=lambda made: order.get(made.model, len(order)))
    target = Path("assets/readme/depth.png")
    figure(found).savefig(target, dpi=110)
    print(target)


if __name__ == "__main__":
    main()
