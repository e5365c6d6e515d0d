"""Scheduler files as they are found: each paints what diffusers' pipeline paints with DDIM over it, or says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from steering.backbones import load
from steering.backbones.schedulers import PIPELINE, as_ddim
from steering.errors import RudderError
from steering.recipe import Recipe
from steering.sampling import finish, sample

FILE = "scheduler/scheduler_config.json"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
FOUND = {
    "PNDM of SD 1.4": {"_class_name": "PNDMScheduler", "_diffusers_version": "0.7.0", **BETAS, "clip_sample": False,
                       "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None},
    "PNDM of the first files": {"_class_name": "PNDMScheduler", **BETAS, "skip_prk_steps": True},
    "DDIM of SD 2.1": {"_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", **BETAS, "clip_sample": False,
                       "prediction_type": "v_prediction", "set_alpha_to_one": False, "skip_prk_steps": True,
                       "steps_offset": 1, "trained_betas": None},
    "DDIM that clips, from 0": {"_class_name": "DDIMScheduler", **BETAS, "clip_sample": True, "steps_offset": 0},
    "DDIM, trailing": {"_class_name": "DDIMScheduler", **BETAS, "timestep_spacing": "trailing"},
    "DDIM, linspace": {"_class_name": "DDIMScheduler", **BETAS, "timestep_spacing": "linspace"},
    "from nothing but noise": {"_class_name": "DDIMScheduler", **BETAS, "timestep_spacing": "trailing",
                               "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "the same, leading": {"_class_name": "DDIMScheduler", **BETAS, "rescale_betas_zero_snr": True},
    "a predicted picture": {"_class_name": "DDIMScheduler", **BETAS, "prediction_type": "sample"},
    "betas of its own": {"_class_name": "DDIMScheduler", "trained_betas": [0.0001 + 1.2e-5 * t for t in range(1000)]},
    "cosine": {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"},
    "Euler": {"_class_name": "EulerDiscreteScheduler", **BETAS, "interpolation_type": "linear",
              "use_karras_sigmas": False},
    "Euler of a turbo": {"_class_name": "EulerDiscreteScheduler", **BETAS, "clip_sample": False, "steps_offset": 1,
                         "set_alpha_to_one": False, "timestep_spacing": "trailing", "timestep_type": "discrete"},
    "Euler ancestral": {"_class_name": "EulerAncestralDiscreteScheduler", **BETAS, "steps_offset": 1},
    "DPM-Solver++": {"_class_name": "DPMSolverMultistepScheduler", **BETAS, "algorithm_type": "dpmsolver++",
                     "use_karras_sigmas": True, "solver_order": 2, "lower_order_final": True},
    "LMS": {"_class_name": "LMSDiscreteScheduler", **BETAS},
    "Heun": {"_class_name": "HeunDiscreteScheduler", **BETAS, "timestep_spacing": "linspace"},
    "UniPC": {"_class_name": "UniPCMultistepScheduler", **BETAS, "predict_x0": True, "solver_type": "bh2"},
    "DEIS": {"_class_name": "DEISMultistepScheduler", **BETAS, "algorithm_type": "deis", "final_sigmas_type": "zero"},
    "no class": BETAS,
    "nothing at all": {},
}  # fmt: skip


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def pipeline_of(plain: StableDiffusionPipeline, config: dict) -> StableDiffusionPipeline:
    """diffusers' pipeline with DDIM over a file's values."""
    parts = {name: part for name, part in plain.components.items() if name != "scheduler"}
    public = {key: value for key, value in config.items() if key != "_class_name"}
    made = StableDiffusionPipeline(**parts, scheduler=DDIMScheduler.from_config(public), requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("case", list(FOUND))
@pytest.mark.parametrize("steps", [1, 7])
def test_a_found_file_paints_what_the_pipeline_paints(copy, plain, case: str, steps: int):
    (copy / FILE).write_text(json.dumps(FOUND[case]))
    recipe = Recipe(prompt="a red apple", seed=3, num_inference_steps=steps, guidance_scale=4.0)
    pipe = pipeline_of(plain, FOUND[case])
    drawn = {"guidance_scale": 4.0, "generator": torch.Generator().manual_seed(3), "output_type": "latent"}
    expected = pipe(recipe.prompt, num_inference_steps=steps, **drawn).images
    made = finish(sample(load(copy), recipe)).latents
    assert torch.isfinite(expected).all() and torch.equal(made, expected)


def test_latents_are_never_clipped(copy):
    """Euler's files do not speak of clipping, and DDIM by itself would: latents have a deviation of 1, not a bound."""
    assert DDIMScheduler.from_config(FOUND["Euler"]).config.clip_sample
    for case in ("Euler", "DDIM that clips, from 0", "nothing at all"):
        assert as_ddim(FOUND[case], copy, PIPELINE).config.clip_sample is False
    (copy / FILE).write_text(json.dumps(FOUND["Euler"]))
    made = finish(sample(load(copy), Recipe(prompt="a cat", num_inference_steps=10))).latents
    assert float(made.abs().max()) > 1


def test_without_corrections_a_file_means_what_it_says(copy):
    made = as_ddim({"_class_name": "DDIMScheduler", "clip_sample": True, "steps_offset": 0}, copy)
    assert made.config.clip_sample is True and made.config.steps_offset == 0


REFUSED = {
    "flow matching": ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "matches flows"),
    "flow sigmas": ({"_class_name": "UniPCMultistepScheduler", **BETAS, "use_flow_sigmas": True}, "matches flows"),
    "flow prediction": ({**BETAS, "prediction_type": "flow_prediction"}, "matches flows"),
    "EDM": ({"_class_name": "EDMEulerScheduler", "sigma_min": 0.002}, "EDM's sigmas"),
    "EDM by its values": ({"_class_name": "DPMSolverMultistepScheduler", "sigma_data": 0.5}, "EDM's sigmas"),
    "continuous": ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "EDM's sigmas"),
    "LCM": ({"_class_name": "LCMScheduler", **BETAS}, "distilled to a few steps"),
    "unCLIP": ({"_class_name": "UnCLIPScheduler"}, "names UnCLIPScheduler"),
    "thresholding": ({**BETAS, "thresholding": True}, "thresholding True"),
    "another prediction": ({**BETAS, "prediction_type": "score"}, "predicts 'score'"),
    "another spacing": ({**BETAS, "timestep_spacing": "even"}, "spaces timesteps by 'even'"),
    "other betas": ({**BETAS, "beta_schedule": "sigmoid"}, "could not be read"),
    "broken betas": ({**BETAS, "beta_end": 2.0}, "no noise schedule"),
    "few timesteps": ({**BETAS, "num_train_timesteps": 100}, "has 100 timesteps"),
    "few betas": ({"trained_betas": [0.1] * 10}, "has 10 timesteps"),
    "noise of noise": ({**BETAS, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, "from pure noise"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_ddim_cannot_stand_in_for(copy, case: str):
    config, words = REFUSED[case]
    (copy / FILE).write_text(json.dumps(config))
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert "scheduler" in str(caught.value) and "\n" not in str(caught.value)


def test_steps_that_a_spacing_cannot_hold(copy):
    (copy / FILE).write_text(json.dumps(FOUND["DDIM, trailing"]))
    backbone = load(copy)
    assert len(backbone.timesteps(60)) == 60
    with pytest.raises(RudderError, match="61 steps do not fit into 1000 timesteps"):
        backbone.timesteps(61)
    (copy / FILE).write_text(json.dumps(FOUND["PNDM of SD 1.4"]))
    with pytest.raises(RudderError, match="1000 steps do not fit"):
        load(copy).timesteps(1000)


def test_noise_without_a_picture_has_no_end(copy):
    (copy / FILE).write_text(json.dumps(FOUND["from nothing but noise"]))
    assert load(copy).sigma(999) == float("inf")
