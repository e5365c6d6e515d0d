"""`make figures`: every figure of the laboratory as PNG, and the numbers beside them. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from ..files import as_json
from . import phase
from .alignment import cosines
from .data import SIDE, Pictures, folder, load
from .measures import class_representations, spikiness
from .model import DAE, noisy, psnr
from .snapshots import load_state
from .steering import PASSES, STRENGTHS, page_noise, response
from .verify import GENERALIZING, MEMORIZING, reduced_jacobian, verify

BLUE, RED = "#2a6fb0", "#c2452d"  # generalising, memorising
SIGMA = 0.2
SHOWN = 3  # the training picture that the page opens with


def draw() -> Iterator[Path]:
    """Write assets/dae/verify.json, steering.json and figures/*.png; yields each path."""
    root = folder()
    (root / "figures").mkdir(parents=True, exist_ok=True)
    yield _told(root / "verify.json", verify())
    pictures = load("fashion")
    models = {"memorising": load_state("fashion-n5"), "generalising": load_state("fashion-n10000")}
    yield _saved(columns(models, pictures), root / "figures" / "columns.png")
    yield _saved(histograms(models, pictures), root / "figures" / "std.png")
    yield _saved(spectra(models, pictures), root / "figures" / "jacobian.png")
    yield _saved(denoising(models, pictures), root / "figures" / "denoising.png")
    figure, told = steering(models, pictures)
    yield _saved(figure, root / "figures" / "steering.png")
    yield _told(root / "steering.json", told)
    yield _saved(diagram(phase.saved()), root / "figures" / "phase.png")


def columns(models: dict[str, DAE], pictures: Pictures) -> plt.Figure:
    """The seven largest columns of both models with norm and largest cosine, and one representation each."""
    figure, axes = plt.subplots(2, 8, figsize=(13, 3.8), width_ratios=[1] * 7 + [2.2])
    for row, (name, dae), settings in zip(axes, models.items(), (MEMORIZING, GENERALIZING), strict=True):
        near = cosines(dae.decoder[:, :7], pictures.train[: settings.n]).max(1)
        for k in range(7):
            _image(row[k], dae.decoder[:, k])
            row[k].set_title(f"norm {dae.norms[k]:.2f}\ncos {near[k]:.2f}", fontsize=8)
        h = dae.represent(noisy(pictures.train[:1], SIGMA))
        row[7].vlines(np.arange(dae.p), 0, h[0].numpy(), color=RED if name == "memorising" else BLUE)
        row[7].set_title(f"h of one picture, std {float(spikiness(h)[0]):.2f}", fontsize=8)
        row[0].set_ylabel(name)
    return figure


def histograms(models: dict[str, DAE], pictures: Pictures) -> plt.Figure:
    """The std of the representation, each model on its own noisy training pictures (many draws of five, or 500)."""
    figure, axis = plt.subplots(figsize=(5, 3))
    for (name, dae), x in zip(models.items(), (pictures.train[:5].repeat(100, 1), pictures.train[:500]), strict=True):
        values = spikiness(dae.represent(noisy(x, SIGMA))).numpy()
        axis.hist(values, 40, alpha=0.7, label=f"{name}, mean {values.mean():.2f}", color=_colour(name))
    axis.set(xlabel="std of h", ylabel="pictures")
    axis.legend()
    return figure


def spectra(models: dict[str, DAE], pictures: Pictures) -> plt.Figure:
    """Singular values of the Jacobian around ten noisy training pictures."""
    figure, axis = plt.subplots(figsize=(5, 3))
    for name, dae in models.items():
        for k, x in enumerate(noisy(pictures.train[:10], SIGMA)):
            values = torch.linalg.svdvals(reduced_jacobian(dae, x)).numpy()
            axis.plot(
                np.arange(1, len(values) + 1), values, ".-", color=_colour(name), alpha=0.5, label=None if k else name
            )
    axis.set(xlabel="index", ylabel="singular value of df/dx")
    axis.legend()
    return figure


def denoising(models: dict[str, DAE], pictures: Pictures) -> plt.Figure:
    """Train and test pictures: clean, noisy, denoised by both, with PSNR."""
    figure, axes = plt.subplots(4, 8, figsize=(11, 6))
    clean = torch.cat([pictures.train[:4], pictures.test[:4]])
    dirty = noisy(clean, SIGMA)
    rows = {"clean": clean, "noisy": dirty} | {name: dae.denoise(dirty) for name, dae in models.items()}
    for row, (name, made) in zip(axes, rows.items(), strict=True):
        for k in range(8):
            _image(row[k], made[k] + pictures.mean)
            label = ("train" if k < 4 else "test") if name == "clean" else f"{float(psnr(made, clean)[k]):.1f} dB"
            row[k].set_title(label, fontsize=8)
        row[0].set_ylabel(name)
    return figure


def steering(models: dict[str, DAE], pictures: Pictures) -> tuple[plt.Figure, dict]:
    """Response curves by the page's rule and noise: the trouser it opens with, towards the stored pictures' classes.

    The bold line is the page's first, towards the coat. The numbers are those of `Response`, a class each.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharex=True)
    z = pictures.train[SHOWN] + SIGMA * page_noise(1, pictures.train.shape[1])
    told = {"picture": SHOWN, "seed": 1, "passes": PASSES, "strengths": list(STRENGTHS)}
    for axis, (name, dae) in zip(axes, models.items(), strict=True):
        vectors, rows = class_representations(dae, pictures), {}
        for k in (label for place, label in enumerate(pictures.labels[:5].tolist()) if place != SHOWN):
            title, found = pictures.classes[k], response(dae, z, vectors[k], pictures.mean)
            label, look = (
                f"{title}: {found.word}",
                {"alpha": 1, "lw": 2.2} if title == "coat" else {"alpha": 0.5, "lw": 1},
            )
            axis.plot(STRENGTHS, found.moved, color=_colour(name), label=label, **look)
            axis.annotate(title, (STRENGTHS[-12], found.moved[-12]), fontsize=6)
            rows[title] = {key: round(getattr(found, key), 4) for key in ("top", "jump", "start", "end")}
            rows[title] |= {"word": found.word, "moved": [round(float(m), 2) for m in found.moved]}
        told[name] = {"mean_largest_step": float(np.mean([row["jump"] for row in rows.values()])), "towards": rows}
        axis.set(xlabel="strength a (v as long as h)", ylabel=f"grey levels moved, {PASSES} passes", title=name)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    return figure, told


def diagram(cells: list[phase.Cell]) -> plt.Figure:
    """The share of stored pictures over n_k/p_k and alpha, with measured and predicted onset."""
    figure, axis = plt.subplots(figsize=(6, 3.8))
    alphas, ratios = (sorted({getattr(cell, key) for cell in cells}) for key in ("alpha", "ratio"))
    table = {(cell.alpha, cell.ratio): cell.measured for cell in cells}
    grid = np.array([[table[a, r] for a in alphas] for r in ratios])
    mesh = axis.pcolormesh(np.arange(len(alphas) + 1), np.arange(len(ratios) + 1), grid, cmap="magma", vmin=0, vmax=1)
    figure.colorbar(mesh, label="share stored as a column")
    for key, style in (("measured", "o-"), ("predicted", "s--")):
        rows = [(i, row[key]) for i, row in enumerate(phase.summary(cells)["onsets"]) if row[key]]
        heights = np.interp(np.log([v for _, v in rows]), np.log(ratios), np.arange(len(ratios)) + 0.5)
        axis.plot([i + 0.5 for i, _ in rows], heights, style, color="cyan" if key == "measured" else "lime", label=key)
    axis.set_xticks(np.arange(len(alphas)) + 0.5, [f"{a:g}" for a in alphas])
    axis.set_yticks(np.arange(len(ratios)) + 0.5, [f"{r:.2f}" for r in ratios])
    axis.set(xlabel="alpha (small: pictures of a cluster alike)", ylabel="n_k / p_k")
    axis.legend(title="onset")
    return figure


def _colour(name: str) -> str:
    return RED if name == "memorising" else BLUE


def _image(axis: plt.Axes, row: torch.Tensor) -> None:
    axis.imshow(row.reshape(SIDE, SIDE).numpy(), cmap="gray")
    axis.set_xticks([])
    axis.set_yticks([])


def _saved(figure: plt.Figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def _told(path: Path, value: dict) -> Path:
    path.write_text(as_json(value, indent=1) + "\n")
    return path
