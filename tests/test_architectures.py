"""The public checkpoints' true architectures, without their weights: sites, presets, files, and 2.1's pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from steering.backbones import load, presets, registry, single_file
from steering.backbones.kinds import refuse_file
from steering.backbones.presets import PRESETS, Preset, chosen
from steering.backbones.stable_diffusion import discover_sites
from steering.concepts import learn
from steering.errors import RudderError
from steering.recipe import Recipe
from steering.sampling import Steering, finish, sample
from tests.compvis import make_narrow_sd, renamed
from tests.conftest import pipeline
from tests.full import AUTOENCODER, FIRST, SECOND
from tests.test_sampling import reference
from tests.tiny import pictures

ARCHITECTURES = {"SD 1.4": (FIRST, 859_520_964, 123_060_480), "SD 2.1": (SECOND, 865_910_724, 340_387_840)}
CHANNELS = {  # of the paper's sites, and of the U-Net from bottom to top
    **{f"up_blocks.0.resnets.{i}": (1280, (8, 8)) for i in range(3)},
    **{f"up_blocks.1.resnets.{i}": (1280, (16, 16)) for i in range(2)},
    "up_blocks.1.resnets.0.nonlinearity": (1280, (16, 16)),
    "up_blocks.2.resnets.0": (640, (32, 32)),
    "up_blocks.3.attentions.2": (320, (64, 64)),
    "mid_block": (1280, (8, 8)),
    "estimate": (4, (64, 64)),
}


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request) -> Iterator[tuple[dict, int, int, UNet2DConditionModel, CLIPTextModel]]:
    """A checkpoint's configurations, its true numbers of weights, and its networks without them."""
    configs, weights, words = ARCHITECTURES[request.param]
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
        yield configs, weights, words, UNet2DConditionModel(**configs["unet"]), text


def test_the_true_networks_have_the_presets_sites(architecture):
    configs, weights, words, network, text = architecture
    assert network.num_parameters() == weights
    assert sum(p.numel() for p in text.parameters()) == words
    side = configs["unet"]["sample_size"]
    sites = discover_sites(network, (side, side))
    for name, (channels, size) in CHANNELS.items():
        assert (sites[name].channels, sites[name].size) == (channels, tuple(x * side // 64 for x in size))
        if sites[name].path:
            network.get_submodule(sites[name].path)
    for preset in PRESETS.values():
        if preset.family != "stable_diffusion":
            continue
        told = chosen(preset, sites)
        assert told["sites"] == preset.sites and told["num_inference_steps"] == 40
        assert (told["window"], told["timesteps"]) == ((0.5, 0.95), (10,))


def test_a_true_single_file_is_told_by_its_shapes(architecture):
    configs, _, _, network, text = architecture
    second = configs is SECOND
    with torch.device("meta"):
        vae = AutoencoderKL(**AUTOENCODER)
        tensors = renamed(network.state_dict(), vae.state_dict(), text.state_dict(), second)
    header = {name: {"shape": list(tensor.shape)} for name, tensor in tensors.items()}
    refuse_file(Path("v.safetensors"), header)
    unet = single_file._unet_config(header, second)
    told = {key: network.config[key] for key in unet if key != "sample_size"}
    assert {key: as_list(value) for key, value in unet.items() if key != "sample_size"} == {
        key: as_list(value) for key, value in told.items()
    }
    assert {k: as_list(v) for k, v in single_file._vae_config(header).items() if k != "sample_size"} == {
        k: as_list(v) for k, v in AUTOENCODER.items() if k != "sample_size"
    }
    words = single_file._text_config(header, second)
    assert words == {key: configs["text_encoder"][key] for key in words if key != "projection_dim"} | {
        "projection_dim": words["hidden_size"]
    }
    assert (single_file.side(second, False), single_file.side(second, True)) == (64, 96 if second else 64)


def as_list(value):
    return list(value) if isinstance(value, tuple | list) else value


def test_a_preset_settles_the_defaults_of_what_is_loaded_by_its_name(tiny_folder, backbone, monkeypatch):
    monkeypatch.setattr(registry.hub, "fetch", lambda repo, revision, check: asked.append(revision) or tiny_folder)
    asked: list = []
    here = Preset("abc", 7, 3.5, ("up_blocks.0.resnets.0",), (0.4, 0.9), (10, 30))
    monkeypatch.setitem(presets.PRESETS, "owner/name", here)
    known = registry.outline("owner/name")
    assert known.remote and known.defaults == {"num_inference_steps": 7, "guidance_scale": 3.5}
    found = load("owner/name")
    assert asked == ["abc"]
    assert found.defaults == backbone.defaults | {
        "num_inference_steps": 7, "guidance_scale": 3.5, "sites": here.sites, "window": (0.4, 0.9),
        "timesteps": (10, 30)}  # fmt: skip
    *_, vector = learn(found, "red", pictures(2))
    assert vector.timesteps == (10, 30) and vector.sites == here.sites and vector.advice["window"] == [0.4, 0.9]
    lost = Preset(None, 7, 3.5, ("attic",), (0.4, 0.9))
    monkeypatch.setitem(presets.PRESETS, "owner/name", lost)
    with pytest.raises(RudderError, match="site of the preset named 'attic'"):
        load("owner/name")


def test_a_narrow_second_equals_its_pipeline_bit_for_bit(tmp_path):
    folder = make_narrow_sd(tmp_path / "folder", second=True, prediction="v_prediction")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": 8}))
    backbone, pipe = load(folder), pipeline(folder)
    assert backbone.scheduler.config.prediction_type == "v_prediction"
    *_, vector = learn(backbone, "x", pictures(1), timesteps=(10,))
    recipe = Recipe(prompt="a red car", seed=1, num_inference_steps=5, guidance_scale=7.5)
    result = finish(sample(backbone, recipe, Steering(((vector, 0.0),))))
    assert torch.equal(result.latents, reference(pipe, recipe, output_type="latent"))
    assert result.images[0].tobytes() == reference(pipe, recipe)[0].tobytes()
    steered = finish(sample(backbone, recipe, Steering(((vector, 1.0),))))
    assert not torch.equal(steered.latents, result.latents)
