"""Half precision with an autoencoder in full, and values that are no numbers: said, never painted black."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steering.backbones import load, precision
from steering.backbones.precision import check_weights, for_autoencoder
from steering.concepts import learn
from steering.errors import RudderError
from steering.plan import Term
from steering.recipe import Recipe
from steering.sampling import Steering, finish, sample
from steering.scoring import Probe, spikiness
from tests.tiny import pictures
from tests.tiny_edm import make_tiny_edm

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_the_autoencoder_of_a_half_precision_model_is_whole(copy, backbone):
    assert [for_autoencoder(kind) for kind in (torch.float16, torch.float32, torch.bfloat16)] == [
        torch.float32, torch.float32, torch.bfloat16]  # fmt: skip
    half = load(copy, dtype="float16")
    assert {half.dtype, half.network.dtype, half.text_encoder.dtype} == {torch.float16}
    assert half.vae.dtype == torch.float32
    images = pictures(2)
    latents = half.encode(images)
    assert latents.dtype == torch.float16 and torch.equal(latents, backbone.encode(images).half())
    assert half.decode(latents)[0].tobytes() == backbone.decode(latents.float())[0].tobytes()


def test_an_autoencoder_that_passes_float16s_range_still_paints(copy):
    path = copy / "vae" / WEIGHTS
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    for name in ("decoder.conv_norm_out.weight", "decoder.conv_norm_out.bias"):
        tensors[name] = tensors[name] + 1e5
    tensors["decoder.conv_out.weight"] *= 1e-5
    save_file(tensors, path, {"format": "pt"})
    half = load(copy, dtype="float16")
    x = torch.ones(1, *half.latent_shape, dtype=torch.float16)
    assert half.decode(x)[0].getextrema() != ((0, 0),) * 3
    with pytest.raises(RudderError, match="autoencoder made values"):
        half.vae.half()
        half.decode(x)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_said_at_load(copy, part: str, value: float):
    path = copy / part / ("model.safetensors" if part == "text_encoder" else WEIGHTS)
    tensors = load_file(path)
    tensors[sorted(tensors)[-1]].view(-1)[-1] = value
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(RudderError, match=f"{part} has values that are not finite, the first in ") as caught:
        load(copy)
    assert "restore it" in str(caught.value)


def test_weights_too_large_for_half_precision_are_told_apart(copy):
    path = copy / "unet" / WEIGHTS
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    tensors["conv_out.bias"][0] = 1e6
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(RudderError, match="does not fit into float16, so load it as bfloat16"):
        load(copy, dtype="float16")
    assert load(copy).dtype == torch.float32


def test_integers_and_empty_tensors_are_no_matter(tmp_path):
    module = torch.nn.Module()
    module.register_buffer("places", torch.arange(3))
    module.register_buffer("none", torch.zeros(0))
    check_weights(module, tmp_path)


@pytest.mark.parametrize("family", ["sd", "edm"])
def test_networks_laid_out_as_on_a_gpu_learn_steer_and_are_read(family, tiny_folder, tmp_path, monkeypatch):
    folder = tiny_folder if family == "sd" else make_tiny_edm(tmp_path / "edm")
    plain = load(folder)
    monkeypatch.setattr(precision, "kernels", lambda device: torch.channels_last)
    laid = load(folder)
    kernels = [k for k in laid.network.parameters() if k.dim() == 4 and min(k.shape[1], k.shape[2]) > 1]
    assert kernels and all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    text, made = "" if laid.classes is None else "cat", []
    for one in (plain, laid):
        *_, vector = learn(one, "tint", pictures(2, tint=(90, 0, 0)), pictures(2), pooling="map", timesteps=(300,))
        recipe = Recipe(prompt=text, num_inference_steps=3)
        result = finish(sample(one, recipe, Steering((Term(vector, 20.0),))))
        scores = spikiness(one, pictures(2), Probe(next(iter(one.sites())), 300), draws=1).mean
        made.append((result.latents, torch.as_tensor(scores)))
    for ours, theirs in zip(*made, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_latents_that_are_no_numbers_are_said_not_painted_black(backbone, vector):
    x = torch.zeros(2, *backbone.latent_shape)
    x[1, 0, 0, 0] = torch.nan
    with pytest.raises(RudderError, match="no numbers although it was in float32: take less strength") as caught:
        backbone.decode(x)
    assert "\n" not in str(caught.value)
    huge = vector.replace(vectors={site: v * 1e37 for site, v in vector.vectors.items()})
    with pytest.raises(RudderError, match="no numbers"):
        finish(sample(backbone, Recipe(prompt="a cat", num_inference_steps=4), Steering(((huge, 100.0),))))


def test_an_overflow_in_half_precision_names_the_remedy(copy):
    half = load(copy, dtype="float16")
    with pytest.raises(RudderError, match="larger than float16 holds: load the model as bfloat16"):
        half.decode(torch.full((1, *half.latent_shape), torch.inf, dtype=torch.float16))
