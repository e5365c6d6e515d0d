"""A noise schedule as its file was found: any of the samplers that diffusers knows for Stable Diffusion, run as DDIM.

What a file names is a sampler over a row of betas; the betas, the spacing of the timesteps and the kind of prediction
belong to the model, the rest (Karras sigmas, solver orders, ancestral noise) to the sampler, and DDIM does without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from ..errors import RudderError, shorten
from ..files import read_json
from .ddim import PREDICTIONS
from .layout import REMEDY

TRAINED = 1000  # timesteps of every Stable Diffusion; noise levels are numbered so
FILE = "scheduler/scheduler_config.json"
SAMPLERS = frozenset(
    f"{name}Scheduler"
    for name in (
        "DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "PNDM", "LMSDiscrete", "EulerDiscrete",
        "EulerAncestralDiscrete", "HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete",
        "DPMSolverMultistep", "DPMSolverSinglestep", "DPMSolverSDE", "DEISMultistep", "UniPCMultistep", "SASolver",
    )
)  # fmt: skip
# what StableDiffusionPipeline sets in any scheduler that it is given (its __init__, diffusers 0.42): latents are never
# clipped, which Euler's files do not say and DDIM by itself would do, and the last timestep of "leading" is 1
PIPELINE = {"clip_sample": False, "steps_offset": 1}


def read_scheduler(folder: Path, corrections: Mapping[str, Any] | None = None) -> DDIMScheduler:
    """The folder's noise schedule, as `as_ddim`; RudderError for a file that is missing or no JSON object."""
    return as_ddim(read_json(folder / FILE), folder / "scheduler", corrections)


def as_ddim(config: Mapping[str, Any], where: Path, corrections: Mapping[str, Any] | None = None) -> DDIMScheduler:
    """DDIM over a scheduler file's betas: DDIMScheduler.from_config, so what the file leaves out is DDIM's default.

    `where` is named in errors, `corrections` are set over the file's values (PIPELINE for Stable Diffusion).
    RudderError for flow matching, EDM's sigmas, consistency sampling, other numbers of timesteps, thresholding, and
    whatever DDIM would divide by zero for.
    """
    _check_kind(config, where)
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    try:
        scheduler = DDIMScheduler.from_config({**public, **(corrections or {})})
    except Exception as error:  # a damaged configuration raises whatever its first bad value provokes
        raise RudderError(f"{where} could not be read ({shorten(error)}): {REMEDY}.") from error
    _check_values(scheduler, where)
    return scheduler


def _check_kind(config: Mapping[str, Any], where: Path) -> None:
    """RudderError for a sampler that is no walk along betas."""
    name = str(config.get("_class_name") or "DDIMScheduler")
    flow = config.get("use_flow_sigmas") or str(config.get("prediction_type", "")).startswith("flow")
    if flow or "FlowMatch" in name:
        what = "matches flows, which have no betas"
    elif name.startswith("EDM") or "sigma_data" in config or config.get("timestep_type") == "continuous":
        what = "has EDM's sigmas in place of timesteps with betas"
    elif name in ("LCMScheduler", "TCDScheduler"):
        what = "samples a model that was distilled to a few steps, which DDIM cannot stand in for"
    elif name not in SAMPLERS:
        what = f"names {shorten(name)}, which DDIM cannot stand in for"
    else:
        return
    raise RudderError(f"{where} {what}: load a model whose scheduler is DDIM, PNDM, Euler, DPM-Solver or the like.")


def _check_values(scheduler: DDIMScheduler, where: Path) -> None:
    config = scheduler.config
    if config.prediction_type not in PREDICTIONS or config.thresholding:
        raise RudderError(
            f"{where} predicts {shorten(config.prediction_type)!r}, with thresholding {config.thresholding}: load a "
            f"model that predicts one of {', '.join(PREDICTIONS)} without it."
        )
    if config.timestep_spacing not in ("leading", "trailing", "linspace"):
        raise RudderError(f"{where} spaces timesteps by {shorten(config.timestep_spacing)!r}: {REMEDY}.")
    if config.num_train_timesteps != TRAINED or len(scheduler.betas) != TRAINED:
        found = len(scheduler.betas) if config.num_train_timesteps == TRAINED else config.num_train_timesteps
        raise RudderError(f"{where} has {found} timesteps: load a model with {TRAINED}.")
    betas, alphas = scheduler.betas, scheduler.alphas_cumprod  # NaN fails both comparisons
    if not bool(((betas >= 0) & (betas <= 1)).all() & (alphas[:-1] > 0).all()):
        raise RudderError(f"{where} has betas that are no noise schedule: {REMEDY}.")
    if float(alphas[-1]) == 0 and config.prediction_type == "epsilon" and config.timestep_spacing != "leading":
        raise RudderError(
            f"{where} starts from pure noise (rescale_betas_zero_snr), where a predicted noise says nothing of the "
            "picture: set prediction_type to what the model predicts, or timestep_spacing to 'leading'."
        )
