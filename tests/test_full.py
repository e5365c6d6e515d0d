"""A whole steered run at Stable Diffusion 1.4's true size, with random weights: `pytest -m full -s`."""

from __future__ import annotations

import resource
import time

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from steering.backbones.presets import PRESETS, chosen
from steering.backbones.single_file import BETAS
from steering.backbones.stable_diffusion import StableDiffusion
from steering.concepts import learn
from steering.recipe import Recipe, Window
from steering.sampling import Steering, finish, sample
from tests.full import AUTOENCODER, FIRST
from tests.tiny import make_tokenizer, pictures

MINUTES = 10


@pytest.mark.full
def test_a_steered_run_of_sd14s_true_size():
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = FIRST["text_encoder"]["max_position_embeddings"]
    backbone = StableDiffusion(
        name="random SD 1.4",
        network=UNet2DConditionModel(**FIRST["unet"]),
        vae=AutoencoderKL(**AUTOENCODER),
        text_encoder=CLIPTextModel(CLIPTextConfig(**FIRST["text_encoder"])),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(**BETAS),
        fingerprint="full",
    )
    preset = PRESETS["CompVis/stable-diffusion-v1-4"]
    backbone.defaults.update(chosen(preset, backbone.sites()))
    assert (backbone.resolution, backbone.latent_shape) == (512, (4, 64, 64))
    started = time.monotonic()
    *_, vector = learn(backbone, "red", pictures(1, tint=(90, 0, 0), size=512), pictures(1, seed=1, size=512))
    assert vector.timesteps == (10,) and vector.sites == preset.sites
    recipe = Recipe(
        prompt="a red apple",
        num_inference_steps=preset.num_inference_steps,
        guidance_scale=preset.guidance_scale,
        window=Window(*preset.window),
    )
    result = finish(sample(backbone, recipe, Steering(((vector, 1.0),), recipe.window)))
    took, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n{took:.0f} s, peak memory {peak / 2**20:.2f} GiB, {torch.get_num_threads()} threads")
    assert result.images[0].size == (512, 512) and torch.isfinite(result.latents).all()
    assert took < 60 * MINUTES
