"""Calibration: which probe separates memorised from ordinary pictures for one model, and what a score means.

The probe is chosen on one part of the samples and reported on the other; no original is in both.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

from .backbones.base import Backbone
from .checks import number, whole
from .concepts import Progress
from .domain import Domain, fit, traits
from .errors import RudderError, shorten
from .files import as_json, home, read_json, replacing
from .foreign import foreign
from .memory import encoded
from .pace import machine
from .roc import FEW, auroc, interval, threshold_at, tpr_at_fpr
from .samples import Sample, halves, known_world, owners_of
from .scoring import PLANES, SIGNS, STATISTICS, Probe, Reading, Spikiness, read, spikiness

FORMAT = 1
OURS = re.compile(rb'\{\s*"rudder_calibration"')
TIMESTEPS = (10, 50, 100, 200, 300, 400, 500)
DRAWS = 4  # of the shipped verdicts: more steady than the paper's one
ROUNDS = 1000
STRANGE = 60  # pictures of each foreign kind that the domain is fitted with
LABELS = {True: "memorised", False: "ordinary", None: "none"}  # Verdict.memorized in words
REMEDY = "make it again with `rudder calibrate`"


@dataclass(frozen=True)
class Verdict:
    """What one picture's score means under a calibration."""

    score: float
    spread: float
    memorized: bool | None  # None: no verdict, for the picture is unlike anything the calibration knew
    above: float  # share of the calibration's ordinary pictures that score lower
    sentence: str

    @property
    def label(self) -> str:
        """The verdict in one word, of LABELS."""
        return LABELS[self.memorized]


@dataclass(frozen=True)
class Calibration:
    """The chosen probe, its threshold and the held-out scores behind every verdict. Scores point to spiky.

    `report` holds AUROC, TPR at 1 % FPR and their intervals on the held-out half (`one_draw`: of one noise
    draw instead of `draws`); `typical` the sorted
    activations of the median ordinary and the median memorised picture; `sweep` the fit half's AUROC of
    every probe tried; `fitted` the originals that chose the probe; `record` counts, time and machine.
    """

    model: str
    fingerprint: str
    probe: Probe
    draws: int
    seed: int
    threshold: float
    ordinary: tuple[float, ...]
    memorized: tuple[float, ...]
    report: dict[str, Any]
    typical: dict[str, list[float]]
    sweep: list[dict[str, Any]]
    fitted: tuple[str, ...]
    record: dict[str, Any]
    domain: Domain | None = None  # None: too few pictures, or a file of before: cannot tell what is unlike it

    def score(
        self, backbone: Backbone, pictures: Sequence[Image.Image] | torch.Tensor, prompts: str | Sequence[str] = ""
    ) -> Spikiness:
        """Score pictures or latents [N, C, H, W] as calibrated, which is without prompts.

        RudderError for another model, or prompts that do not pair up.
        """
        self.check(backbone)
        known = None
        if self.domain is not None and not isinstance(pictures, torch.Tensor):
            shown, pictures = pictures, encoded(backbone, pictures)  # once, for both
            known = traits(backbone, shown, pictures, seed=self.domain.seed)
        elif self.domain is not None:
            known = traits(backbone, pictures, seed=self.domain.seed)
        found = spikiness(backbone, pictures, self.probe, draws=self.draws, seed=self.seed, prompts=prompts)
        return replace(found, mean=SIGNS[self.probe.statistic] * found.mean, traits=known)

    def verdicts(self, found: Spikiness) -> list[Verdict]:
        """What scores mean, picture by picture, in the order in which `score` was given them."""
        known = [None] * len(found.mean) if found.traits is None else found.traits
        return [self.verdict(*row) for row in zip(found.mean.tolist(), found.spread.tolist(), known, strict=True)]

    def verdict(self, score: float, spread: float = 0.0, known: np.ndarray | None = None) -> Verdict:
        """A score in words: memorised above the threshold, and how many ordinary pictures it exceeds; no verdict where
        the picture's traits (`known` [F], see domain.py) are unlike those of all that was calibrated on.

        RudderError for a score that is no number, which says nothing.
        """
        if not math.isfinite(score):
            raise RudderError("The score is no number: check the picture, then the model's weights and number type.")
        above = float(np.mean(np.asarray(self.ordinary) < score))
        memorized = score > self.threshold
        if self.domain is not None and known is not None and not self.domain.knows(known, memorized):
            return Verdict(score, spread, None, above, "no verdict: unlike anything this was calibrated on")
        share = f"{100 * above:.0f}" if above in (0, 1) else f"{100 * above:.1f}"
        sentence = f"{'memorised' if memorized else 'not memorised'}: spikier than {share} % of ordinary pictures"
        return Verdict(score, spread, memorized, above, sentence)

    def profile(self, backbone: Backbone, picture: Image.Image) -> dict[str, Any]:
        """One picture's score at every site and timestep of the sweep (paper, open questions 1 and 2).

        {"sites" [S], "timesteps" [T], "values" [S][T]}: 0 as the median ordinary picture of the fit half, 1
        as the median memorised one. One noise draw. RudderError for another model.
        """
        self.check(backbone)
        probe = self.probe
        medians = {
            (row["site"], row["timestep"]): (row["ordinary"], row["memorized"])
            for row in self.sweep
            if (row["pooling"], row["statistic"]) == (probe.pooling, probe.statistic)
        }
        sites = list(dict.fromkeys(site for site, _ in medians))
        timesteps = sorted({t for _, t in medians})
        (found,) = read(backbone, [picture], sites, timesteps, poolings=[probe.pooling], seed=self.seed, at_once=None)
        values = []
        for site in sites:
            cells = []
            for t in timesteps:
                low, high = medians[site, t]
                score = SIGNS[probe.statistic] * found.scores(replace(probe, site=site, timestep=t))[0, 0]
                cells.append(round(float((score - low) / (high - low)), 3) if high != low else 0.0)
            values.append(cells)
        return {"sites": sites, "timesteps": timesteps, "values": values}

    @property
    def false_positives(self) -> float:
        """Share of the held-out ordinary pictures above the threshold."""
        return float(np.mean(np.asarray(self.ordinary) > self.threshold))

    def check(self, backbone: Backbone) -> None:
        """RudderError unless it was made for this model."""
        if self.fingerprint != backbone.fingerprint:
            raise RudderError(
                f"The calibration was made for {shorten(self.model)} ({shorten(self.fingerprint, 20)}), not for "
                f"{backbone.name} ({backbone.fingerprint}): load that model, or {REMEDY}."
            )

    def save(self, path: str | Path) -> None:
        """Write it as JSON: whole or not at all, and never over a file of another kind."""
        with replacing(path, "calibration", OURS) as part:
            part.write_text(as_json({"rudder_calibration": FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone | None = None) -> Calibration:
        """Read it, checked against `backbone` if given; RudderError for what is damaged or another model's."""
        values = read_json(Path(path))
        if values.pop("rudder_calibration", None) != FORMAT:
            raise RudderError(f"{Path(path).name} is no calibration this Rudder can read: {REMEDY}.")
        try:
            values["probe"] = Probe(**values["probe"])
            for name in ("ordinary", "memorized"):
                values[name] = tuple(number("A calibration's score", s, -1e9, 1e9) for s in values[name])
            values["threshold"] = number("A calibration's threshold", values["threshold"], -1e9, 1e9)
            values["draws"] = whole("A calibration's number of draws", values["draws"], 1, 10_000)
            values["seed"] = whole("A calibration's seed", values["seed"], 0, 2**63 - 1)
            values["fitted"] = tuple(str(name) for name in values["fitted"])
            if values.get("domain") is not None:
                values["domain"] = Domain.from_values(values["domain"])
            made = cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise RudderError(f"{Path(path).name} is damaged ({shorten(error)}): {REMEDY}.") from error
        if not made.ordinary or not made.memorized:
            raise RudderError(f"{Path(path).name} holds no scores: {REMEDY}.")
        if backbone is not None:
            made.check(backbone)
        return made


def shipped(backbone: Backbone) -> Calibration | None:
    """The calibration that ships for this very model; None where there is none."""
    path = home() / "assets" / "calibrations" / f"{Path(backbone.name).name}.json"
    if not path.is_file():
        return None
    made = Calibration.load(path)
    return made if made.fingerprint == backbone.fingerprint else None


def of_model(backbone: Backbone, given: Sequence[Calibration]) -> Calibration | None:
    """Of calibrations of one's own the one for this very model, else the one that ships, else None. RudderError for one
    that was made for other weights of the same name."""
    for one in given:
        if one.fingerprint == backbone.fingerprint:
            return one
    for one in given:
        if one.model == backbone.name:
            one.check(backbone)
    return shipped(backbone)


def calibrate(
    backbone: Backbone,
    samples: Sequence[Sample],
    *,
    sites: Sequence[str] | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    draws: int = DRAWS,
    seed: int = 0,
) -> Iterator[Progress | Calibration]:
    """Sweep every probe on FIT of the samples, report the best on the others: Progress, then Calibration.

    `sites` None: every resnet's last nonlinearity and the mid block. Samples are drawn by original, within
    each group of kind and origin. RudderError with fewer than two originals of either group.
    """
    started = perf_counter()
    sites = listening_sites(backbone) if sites is None else list(sites)
    memorized = np.array([s.memorized for s in samples])
    owners = owners_of(samples)
    chosen = halves(samples, seed)
    for flag in (True, False):
        if len({owner for s, owner in zip(samples, owners, strict=True) if s.memorized == flag}) < 2:
            raise RudderError("A calibration needs at least two memorised and two ordinary pictures: add more.")
    parts: list[Reading] = []
    done = 0
    for part in read(backbone, [s.picture for s in samples], sites, timesteps, draws=draws, seed=seed):
        parts.append(part)
        done += len(next(iter(part.pooled.values())))
        yield Progress(done, len(samples), "reading representations")
    found = Reading({key: torch.cat([p.pooled[key] for p in parts]) for key in parts[0].pooled}, parts[0].timesteps)
    sweep = [_tried(found, p, memorized, chosen) for p in _probes(sites, found.timesteps)]
    best = max(sweep, key=lambda row: (row["auroc"], row["tpr_at_1fpr"], row["margin"]))
    probe = Probe(best["site"], best["timestep"], best["pooling"], best["statistic"])
    by_draw = SIGNS[probe.statistic] * found.scores(probe)
    scores, one = by_draw.mean(1), by_draw[:, 0]
    yield Progress(len(samples), len(samples), "measuring what is known")
    domain = _domain(backbone, samples, chosen, seed)
    timed = perf_counter()
    spikiness(backbone, [s.picture for s in samples[:16]], probe, draws=1, seed=seed)
    seconds = (perf_counter() - timed) / len(samples[:16])
    held = ~chosen
    kinds = np.array([s.kind for s in samples])
    ordinary = scores[held & ~memorized]
    yield Calibration(
        model=backbone.name,
        fingerprint=backbone.fingerprint,
        probe=probe,
        draws=draws,
        seed=seed,
        threshold=threshold_at(scores[chosen & ~memorized]),
        ordinary=tuple(np.sort(ordinary).round(5).tolist()),
        memorized=tuple(np.sort(scores[held & memorized]).round(5).tolist()),
        report={
            **_report(scores, samples, held, np.ones(len(samples), bool), seed),
            "by_kind": {
                kind: _report(scores, samples, held, kinds == kind, seed)
                for kind in sorted(set(kinds[memorized]) & set(kinds[~memorized]))
            },
            "one_draw": _report(one, samples, held, np.ones(len(samples), bool), seed),
            "seconds_per_image": round(seconds, 5),
        },
        typical=_typical(found.representation(probe), scores, memorized),
        sweep=sweep,
        fitted=tuple(sorted({s.original for s, one in zip(samples, chosen, strict=True) if one})),
        record={
            "samples": len(samples),
            "memorized": int(memorized.sum()),
            "originals": len({s.original for s in samples if s.memorized}),
            "kinds": {k: int((kinds == k).sum()) for k in sorted(set(kinds))},
            "seconds": round(perf_counter() - started, 1),
            "machine": machine(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        domain=domain,
    )


def _domain(backbone: Backbone, samples: Sequence[Sample], chosen: np.ndarray, seed: int) -> Domain | None:
    """The domain from the chosen samples alone, against foreign pictures; of the others, which lose their verdict."""
    world = known_world(samples)
    memorized = np.array([s.memorized for s in samples])
    found = traits(backbone, [s.picture for s in samples], seed=seed)
    drawings_alone = {s.kind for s, of in zip(samples, world, strict=True) if of and not s.memorized} == {"drawing"}
    kinds = foreign(STRANGE, backbone.resolution, seed + 1000, photographs=drawings_alone)
    strange = traits(backbone, [picture for some in kinds.values() for picture in some], seed=seed)
    owners = [s.original for s, one in zip(samples, chosen & world, strict=True) if one]
    strange = np.concatenate([strange, found[chosen & ~world]])
    made = fit(found[chosen & world], owners, memorized[chosen & world], strange, seed)
    if made is None:
        return None
    outside = made.strangeness(found) > 0
    groups = {"memorised": memorized, "ordinary": world & ~memorized, "other ordinary": ~world}
    told = {name: round(float(outside[~chosen & of].mean()), 4) for name, of in groups.items() if (~chosen & of).any()}
    return replace(made, report={**made.report, "held_out_outside": told})


def listening_sites(backbone: Backbone) -> list[str]:
    """Where scores are read: every resnet's last nonlinearity and the mid block, in order of execution."""
    return list(backbone.defaults["scored"])


def _probes(sites: Sequence[str], timesteps: Sequence[int]) -> list[Probe]:
    return [Probe(s, t, p, stat) for s in sites for t in timesteps for p in PLANES for stat in STATISTICS]


def _tried(found: Reading, probe: Probe, memorized: np.ndarray, fit: np.ndarray) -> dict[str, Any]:
    """One probe on the fit half: separation, medians; `margin` is the means' distance in pooled deviations."""
    scores = SIGNS[probe.statistic] * found.scores(probe).mean(1)
    spiky, balanced = scores[fit & memorized], scores[fit & ~memorized]
    spread = np.sqrt((spiky.var() + balanced.var()) / 2)
    return {
        **asdict(probe),
        "auroc": round(auroc(spiky, balanced), 5),
        "tpr_at_1fpr": round(tpr_at_fpr(spiky, balanced), 5),
        "margin": round(float((spiky.mean() - balanced.mean()) / max(spread, 1e-12)), 4),
        "ordinary": round(float(np.median(balanced)), 6),
        "memorized": round(float(np.median(spiky)), 6),
    }


def _report(
    scores: np.ndarray, samples: Sequence[Sample], held: np.ndarray, among: np.ndarray, seed: int
) -> dict[str, Any]:
    """AUROC and TPR at 1 % FPR of the held-out samples among some, with 95 % intervals by original."""
    memorized = np.array([s.memorized for s in samples])
    spiky, balanced = scores[held & among & memorized], scores[held & among & ~memorized]
    owners = np.array([s.original for s in samples])[held & among & memorized]
    options = {"seed": seed, "rounds": ROUNDS, "clusters": owners}
    return {
        "auroc": round(auroc(spiky, balanced), 4),
        "auroc_ci95": [round(v, 4) for v in interval(auroc, spiky, balanced, **options)],
        "tpr_at_1fpr": round(tpr_at_fpr(spiky, balanced, FEW), 4),
        "tpr_at_1fpr_ci95": [round(v, 4) for v in interval(tpr_at_fpr, spiky, balanced, **options)],
        "counts": {"memorized": len(spiky), "ordinary": len(balanced)},
    }


def _typical(h: np.ndarray, scores: np.ndarray, memorized: np.ndarray) -> dict[str, list[float]]:
    """The activations, largest first, of the picture with the median score of each group."""
    found = {}
    for name, group in (("ordinary", ~memorized), ("memorized", memorized)):
        rows = np.flatnonzero(group)
        middle = rows[np.argsort(scores[rows])[len(rows) // 2]]
        found[name] = np.sort(h[middle])[::-1].round(4).tolist()
    return found
