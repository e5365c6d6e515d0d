"""Rivals: the detectors of memorisation that spikiness is compared with, each behind one signature.

Each takes samples and returns one score a sample, higher for memorised; none is fitted. Those that need the
prompt run the sampler's own trajectory from the sample's seed, so they cannot score a picture from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..activations import attention_over_tokens
from ..backbones.base import Backbone
from ..errors import RudderError
from ..samples import Sample
from ..sampling import initial
from .judge import nearest_training

BATCH = 32
NORM_WEIGHT, ANGLE_WEIGHT = (
    1.0,
    2.0,
)  # of 2601.20642 for Stable Diffusion 1.4 (its repository, detect_eval.py)
ANGLE_STEP = -3  # the third last timestep of the schedule (same repository, pipe.py)


@dataclass(frozen=True)
class Rival:
    """A detector: what it is, what it needs, and its scores [N] for samples."""

    title: str
    source: str
    needs_prompt: bool
    needs_training_data: bool
    reads: str  # what of the model it goes by: "guidance", "words" or "" (neither)
    score: Callable[[Backbone, Sequence[Sample]], np.ndarray]


def score_difference(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """|eps(x_T, c) - eps(x_T)| at the first step [N] (Wen 2024, arXiv 2407.21720, eq. 3 with one step)."""
    return _gathered(backbone, samples, lambda run: float_rows(norms(next(run).difference)))


def score_difference_mean(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """The same norm averaged over all steps of the run [N] (Wen 2024, eq. 3)."""
    return _gathered(backbone, samples, lambda run: _mean(norms(step.difference) for step in run))


def attention_entropy(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """Entropy over tokens of the cross-attention, averaged over layers and steps [N] (Ren 2024, arXiv 2403.11052).

    Memorised prompts spread attention over their trigger tokens instead of resting on the first one. The
    source weighs layers and steps by inspection of Stable Diffusion; here all count the same.
    """
    return _gathered(
        backbone, samples, lambda run: _mean(step.entropy for step in run if step.entropy is not None), attention=True
    )


def latent_update(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """|x_{t-1} - x_t| averaged over the run [N] (arXiv 2605.22050; its regions of stability are not fitted)."""
    return _gathered(backbone, samples, lambda run: _mean(norms(step.update) for step in run))


def anisotropy(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """Norm of guidance at the first step plus its alignment with the unconditional prediction [N].

    Pure noise is shown to the network as if at a late timestep; the cosine is taken over channels and
    averaged over the plane (arXiv 2601.20642; weights and timestep from its repository).
    """
    schedule = backbone.schedule(backbone.defaults["num_inference_steps"])
    late = schedule.timesteps[max(ANGLE_STEP, -len(schedule.timesteps))]
    found = []
    for some in _batches(samples):
        x, condition = _start(backbone, some)
        without, given = _pair(backbone, x, schedule.timesteps[0], condition)
        norm = norms(given - without)
        without, given = _pair(backbone, x, late, condition)
        cosine = torch.nn.functional.cosine_similarity(without, given - without, dim=1).mean((1, 2))
        found.append(float_rows(NORM_WEIGHT * norm + ANGLE_WEIGHT * cosine))
    return np.concatenate(found)


def nearest_neighbour(backbone: Backbone, samples: Sequence[Sample]) -> np.ndarray:
    """Minus the distance to the nearest training picture [N]: what memorised means, where the set is known."""
    from .common import distances, memorized_set

    pictures = [s.picture for s in samples]
    originals = [m.picture for m in memorized_set(backbone.name)]
    ordinary, _ = nearest_training(pictures)
    return -np.minimum(distances(pictures, originals).min(1), ordinary / 2)


RIVALS: dict[str, Rival] = {
    "score_difference_first": Rival(
        "Score difference, first step", "Wen 2024", True, False, "guidance", score_difference
    ),
    "score_difference_mean": Rival(
        "Score difference, all steps", "Wen 2024", True, False, "guidance", score_difference_mean
    ),
    "attention_entropy": Rival("Cross-attention entropy", "Ren 2024", True, False, "words", attention_entropy),
    "latent_update": Rival("Latent update norm", "arXiv 2605.22050", True, False, "guidance", latent_update),
    "anisotropy": Rival("Norm and angle on pure noise", "arXiv 2601.20642", True, False, "guidance", anisotropy),
    "nearest_neighbour": Rival("Nearest training picture", "ground truth", False, True, "", nearest_neighbour),
}


def fit_for(backbone: Backbone) -> dict[str, Rival]:
    """The rivals that have something to go by in this model: no guidance without an empty text, no words in a class."""
    there = {"": True, "guidance": backbone.guides, "words": backbone.guides and backbone.classes is None}
    return {name: rival for name, rival in RIVALS.items() if there[rival.reads]}


@dataclass(frozen=True, eq=False)
class Moment:
    """One step of a batch's run: guidance [n, C, H, W], latent update [n, C, H, W], attention entropy [n]."""

    difference: Tensor
    update: Tensor
    entropy: Tensor | None


def trajectory(backbone: Backbone, samples: Sequence[Sample], attention: bool = False) -> Iterator[Moment]:
    """The guided run that made the samples, step by step. RudderError without prompt or seed."""
    steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    schedule = backbone.schedule(steps)
    x, condition = _start(backbone, samples)
    for i in range(steps):
        pairs: list[tuple[Tensor, Tensor]] = []

        def predict(x: Tensor, level: Any, pairs: list = pairs) -> Tensor:
            pairs.append(_pair(backbone, x, level, condition))
            without, given = pairs[-1]
            return without + guidance * (given - without)

        with (
            torch.inference_mode(),
            attention_over_tokens(backbone) if attention else nullcontext() as weights,
        ):
            after, _ = schedule.step(i, x, predict)
            without, given = pairs[0]
            entropy = None if weights is None else _entropy(weights, len(x))
        yield Moment(given - without, after - x, entropy)
        x = after


def norms(tensor: Tensor) -> Tensor:
    """Euclidean norm of each row [n, ...] -> [n]."""
    return tensor.flatten(1).norm(dim=1)


def float_rows(tensor: Tensor) -> np.ndarray:
    """[n] as float64 numpy."""
    return tensor.double().cpu().numpy()


def _gathered(
    backbone: Backbone,
    samples: Sequence[Sample],
    summarise: Callable[[Iterator[Moment]], np.ndarray],
    attention: bool = False,
) -> np.ndarray:
    return np.concatenate([summarise(trajectory(backbone, some, attention)) for some in _batches(samples)])


def _mean(rows: Iterator[Tensor]) -> np.ndarray:
    return float_rows(torch.stack(list(rows)).mean(0))


def _batches(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[i : i + BATCH] for i in range(0, len(samples), BATCH)]


def _start(backbone: Backbone, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """x_T [n, C, H, W] of the samples' seeds and their condition [2 n, L, D]."""
    prompts = [s.prompt for s in samples if s.prompt is not None]
    seeds = [s.seed for s in samples if s.seed is not None]
    if min(len(prompts), len(seeds)) < len(samples):
        raise RudderError("This detector needs the prompt and seed of every picture: leave out those without.")
    condition = torch.cat([backbone.condition([""] * len(prompts)), backbone.condition(prompts)])
    return initial(backbone, seeds), condition


@torch.inference_mode()
def _pair(backbone: Backbone, x: Tensor, t: Any, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Unconditional and conditional prediction."""
    without, given = backbone.denoise(torch.cat([x, x]), t, condition).chunk(2)
    return without, given


def _entropy(weights: list[Tensor], count: int) -> Tensor:
    """Mean over layers of the entropy in nats [count] of [2 count, L] attention, conditional half."""
    rows = [w[count:] for w in weights]
    return torch.stack([-(w * w.clamp(min=1e-12).log()).sum(-1) for w in rows]).mean(0)
