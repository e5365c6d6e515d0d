"""Figures past the two-layer toy: samples of the multi-noise variant, and spikiness over depth. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from . import deep, multinoise
from .data import folder, load
from .figures import BLUE, RED

SHOWN = 8
INKS = {"stored": RED, "shared": BLUE}
TITLES = {"n5": ("5 pictures", RED), "n10000": ("10,000 pictures", BLUE)}


def draw() -> Iterator[Path]:
    """Write figures/multinoise.png and figures/depth.png from committed weights and numbers; yields each path."""
    yield _saved(samples(), folder() / "figures" / "multinoise.png")
    yield _saved(depth(deep.recorded()["rows"]), folder() / "figures" / "depth.png")


def samples() -> plt.Figure:
    """Eight samples of each shipped model over its nearest training pictures, and all samples' cosines to those."""
    pictures = load("fashion")
    rows, mean = multinoise.inner(pictures.train), multinoise.inner(pictures.mean[None])[0]
    figure = plt.figure(figsize=(13, 5.2), layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(8.6, 4.4))
    grid = left.subplots(4, SHOWN)
    axis = right.subplots()
    for k, (name, (title, ink)) in enumerate(TITLES.items()):
        known = rows[multinoise.MODELS[name][0]]
        made = multinoise.sample(multinoise.read(folder() / f"multinoise-{name}.bin"), multinoise.COUNT)
        unit = torch.nn.functional.normalize
        cosine, nearest = (unit(made) @ unit(known).T).max(1)
        for j in range(SHOWN):
            near = known[nearest[j]]
            top, below = grid[2 * k, j], grid[2 * k + 1, j]
            _image(top, made[j] * near.norm() / made[j].norm() + mean)
            _image(below, near + mean)
            top.set_title(f"cos {cosine[j]:.2f}", fontsize=8)
            if not j:
                top.set_ylabel(f"{title}\nsample", fontsize=8, color=ink)
                below.set_ylabel("nearest\nin training", fontsize=8)
        axis.hist(cosine.numpy(), np.linspace(0, 1, 41), color=ink, alpha=0.7, label=f"samples, {title}")
    test = multinoise.inner(pictures.test[: multinoise.COUNT])
    cosine = (torch.nn.functional.normalize(test) @ torch.nn.functional.normalize(rows).T).max(1).values
    axis.hist(cosine.numpy(), np.linspace(0, 1, 41), histtype="step", color="black", label="fresh photographs")
    axis.set(xlabel="cosine with the nearest training picture", ylabel=f"of {multinoise.COUNT}")
    axis.legend(fontsize=8, loc="upper left")
    return figure


def depth(rows: list[dict[str, Any]]) -> plt.Figure:
    """Std over mean of each hidden layer by depth (columns) and noise (line style); red stored, blue learnt pictures.

    Upper row: networks of their own; lower row: both kinds of picture in one network, with the AUROC of each layer.
    """
    figure, axes = plt.subplots(2, len(deep.DEPTHS), figsize=(11, 6), sharey=True, layout="constrained")
    for column, layers in enumerate(deep.DEPTHS):
        for line, kinds in enumerate((("memorising", "generalising"), ("hybrid",))):
            axis = axes[line, column]
            for noise, style in zip(deep.NOISES, ("o-", "s--"), strict=True):
                for part, ink in INKS.items():
                    chosen = [r for r in rows if r["kind"] in kinds and part in r]
                    chosen = [r for r in chosen if (r["depth"], r["noise"]) == (layers, noise)]
                    if chosen:
                        _curve(axis, chosen, part, style, ink)
                if chosen and line and noise == "fixed":
                    _areas(axis, chosen)
            axis.set(xticks=range(1, layers), xlim=(0.5, layers - 0.5), ylim=(0, 11))
            axis.axhline(np.sqrt(99), color="grey", lw=0.8, ls=":")
            axis.set_title(f"depth {layers}, " + ("two networks" if line == 0 else "one network"), fontsize=9)
            axis.set_xlabel("hidden layer", fontsize=8)
    for line in (0, 1):
        axes[line, 0].set_ylabel("std / mean of h")
    axes[0, 0].annotate("one-hot", (0.52, np.sqrt(99)), (0, 3), textcoords="offset points", fontsize=7, color="grey")
    axes[0, 0].legend(fontsize=7, loc="center right")
    return figure


def _curve(axis: plt.Axes, rows: list[dict[str, Any]], part: str, style: str, ink: str) -> None:
    """The mean over seeds of each layer's std over mean, and the seeds' range shaded."""
    values = np.array([[h["std_over_mean"] for h in r[part][str(deep.SIGMA)]["layers"]] for r in rows])
    places = np.arange(1, values.shape[1] + 1)
    axis.plot(places, values.mean(0), style, color=ink, label=f"{part}, {rows[0]['noise']} noise")
    axis.fill_between(places, values.min(0), values.max(0), color=ink, alpha=0.15, lw=0)


def _areas(axis: plt.Axes, rows: list[dict[str, Any]]) -> None:
    """How well each layer tells stored from shared pictures (fixed noise), mean over seeds."""
    at = str(deep.SIGMA)
    for k in range(len(rows[0]["auroc"][at])):
        area = np.mean([r["auroc"][at][k]["std_over_mean"] for r in rows])
        axis.annotate(f"AUROC {area:.2f}", (k + 1, 8.5), fontsize=8, ha="center")


def _image(axis: plt.Axes, row: torch.Tensor) -> None:
    axis.imshow(row.reshape(multinoise.INNER, multinoise.INNER).numpy(), cmap="gray", vmin=-1, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])


def _saved(figure: plt.Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path
