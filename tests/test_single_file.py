"""A Stable Diffusion in one file equals the folder that holds the same weights; everything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steering.backbones import load, registry
from steering.backbones.single_file import find_tokenizer, predicts_velocity
from steering.errors import RudderError
from tests.compvis import compvis, make_narrow_sd, single_file
from tests.tiny import make_tokenizer

KINDS = {"first": (False, "epsilon"), "second": (True, "v_prediction")}


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bool]:
    """A folder, the same as one file, and whether it is a 2.x."""
    second, prediction = KINDS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    folder = make_narrow_sd(root / "folder", second, prediction)
    return folder, single_file(folder, root / "v.safetensors", second), second


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_narrow_sd(tmp_path_factory.mktemp("first") / "folder")


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    own, theirs = one.state_dict(), other.state_dict()
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_file_is_its_folder(pair):
    folder, path, second = pair
    one, other = load(path), load(folder)
    assert (one.name, one.family, one.latent_shape) == ("v", "stable_diffusion", other.latent_shape)
    assert one.resolution == other.resolution == (768 if second else 512)
    for part in ("network", "vae", "text_encoder"):
        assert_same(getattr(one, part), getattr(other, part))
    prompts = ["a red apple", ""]
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    states = one.condition(prompts)
    close(states, other.condition(prompts))  # to the last bit but for where in memory the tensors lie
    close(one.denoise(x, 400, states), other.denoise(x, 400, states))
    close(one.vae.decode(x).sample, other.vae.decode(x).sample)
    assert one.vae.config.scaling_factor == other.vae.config.scaling_factor
    assert dict(one.scheduler.config) == dict(other.scheduler.config) | {
        key: value for key, value in one.scheduler.config.items() if key.startswith("_")
    }
    assert one.sites() == other.sites() and one.defaults == other.defaults


def test_what_is_known_before_the_weights_are_read(pair):
    folder, path, second = pair
    known = registry.outline(str(path))
    assert (known.name, known.resolution, known.remote) == ("v", 0 if second else 512, False)
    assert known.defaults == registry.outline(str(folder)).defaults


def test_a_file_that_follows_its_own_schedule(first, tmp_path):
    path = single_file(first, tmp_path / "one" / "v.safetensors")
    (path.parent / "scheduler").mkdir()
    told = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.001,
            "beta_end": 0.012, "prediction_type": "v_prediction"}  # fmt: skip
    (path.parent / "scheduler" / "scheduler_config.json").write_text(json.dumps(told))
    backbone = load(path)
    assert backbone.scheduler.config.prediction_type == "v_prediction"
    assert float(backbone.scheduler.betas[0]) == pytest.approx(0.001)
    assert backbone.schedule(4).clip is None


def test_running_averages_are_what_is_painted_with(first, tmp_path):
    path = single_file(first, tmp_path / "v.safetensors", averages=True)
    assert not load_file(path)["model.diffusion_model.out.2.weight"].any()
    assert_same(load(path).network, load(first).network)


def test_what_a_second_predicts_is_asked_of_its_weights():
    class Network(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def __init__(self, velocity: bool) -> None:
            super().__init__()
            self.velocity = velocity
            self.config = type("Config", (), {"in_channels": 4, "cross_attention_dim": 8})()

        def forward(self, x, timestep, encoder_hidden_states, return_dict):
            a, b = 0.068, 0.998  # at the last timestep
            picture = torch.linspace(-1, 1, 32).expand_as(x)
            noise = (x - a * picture) / b
            return (a * noise - b * picture if self.velocity else noise,)

    assert predicts_velocity(Network(True)) and not predicts_velocity(Network(False))


def test_the_tokenizer_beside_it_or_in_the_cache_or_a_sentence(first, tmp_path, monkeypatch):
    path = single_file(first, tmp_path / "v.safetensors")
    assert find_tokenizer(path, False, 1000).pad_token == "<|endoftext|>"
    assert find_tokenizer(path, True, 1000).pad_token == "!"
    with pytest.raises(RudderError, match="take CLIP's tokenizer"):
        find_tokenizer(path, False, 3)
    (tmp_path / "tokenizer").unlink()
    with pytest.raises(RudderError, match=r"put the folder tokenizer/ .* beside it") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    cached = tmp_path / "cached"
    make_tokenizer().save_pretrained(cached)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: str(cached / Path(name).name))
    assert load(path).condition(["a red apple"]).shape == (1, 16, 64)


def without(start: str):
    def act(tensors: dict) -> dict:
        return {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}

    return act


def wider(channels: int):
    def act(tensors: dict) -> dict:
        name = "model.diffusion_model.input_blocks.0.0.weight"
        return tensors | {name: torch.zeros(tensors[name].shape[0], channels, 3, 3)}

    return act


def holding(**more: torch.Tensor):
    def act(tensors: dict) -> dict:
        return tensors | {name.replace("__", "."): tensor for name, tensor in more.items()}

    return act


def alone(*names: str):
    return lambda tensors: {name: torch.zeros(1) for name in names}


def nan(tensors: dict) -> dict:
    name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    broken = tensors[name].clone()
    broken.view(-1)[5] = torch.nan
    return tensors | {name: broken}


ONE = torch.zeros(1)
FILES = {
    "inpainting": (wider(9), "is an inpainting model"),
    "upscaler": (wider(7), "is an upscaling model"),
    "pix2pix": (wider(8), "is an InstructPix2Pix"),
    "depth": (wider(5), "is a depth-to-image"),
    "unknown channels": (wider(6), "takes 6 channels where its autoencoder has 4"),
    "XL": (holding(conditioner__embedders__1__model__x=ONE), "is Stable Diffusion XL"),
    "refiner": (holding(conditioner__embedders__0__model__x=ONE), "is the refiner"),
    "unCLIP": (holding(embedder__model__x=ONE), "is an unCLIP"),
    "unCLIP by its U-Net": (holding(model__diffusion_model__label_emb__0__0__weight=ONE), "is an unCLIP"),
    "classes": (holding(model__diffusion_model__label_emb__weight=ONE), "conditioned on classes"),
    "motion": (alone("down_blocks.0.motion_modules.0.x"), "is a motion module"),
    "SD 3": (alone("model.diffusion_model.joint_blocks.0.x"), "is Stable Diffusion 3"),
    "Flux": (alone("double_blocks.0.img_attn.x"), "is Flux"),
    "LoRA": (alone("lora_unet_down_blocks_0.lora_down.weight"), "is a LoRA"),
    "ControlNet": (alone("control_model.x"), "is a ControlNet"),
    "GLIGEN": (holding(position_net__x=ONE), "is a GLIGEN"),
    "embedding": (alone("emb_params"), "is a textual inversion"),
    "autoencoder": (alone("encoder.conv_in.weight", "decoder.conv_in.weight"), "is an autoencoder alone"),
    "one part": (alone("down_blocks.0.x", "up_blocks.0.x"), "by giving the whole folder"),
    "nothing known": (alone("weight"), "holds no U-Net that Rudder knows"),
    "no autoencoder": (without("first_stage_model."), "holds no autoencoder"),
    "no text encoder": (without("cond_stage_model."), "holds no text encoder"),
    "a tensor less": (without("model.diffusion_model.middle_block.1.norm.bias"), "lacks mid_block.attentions.0.norm"),
    "no middle": (without("model.diffusion_model.middle_block"), "lacks mid_block"),
    "not finite": (nan, "values that are not finite, the first in mid_block"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(FILES))
def test_other_files_are_refused_in_one_sentence(first, tmp_path, case: str):
    change, words = FILES[case]
    path = single_file(first, tmp_path / "v.safetensors")
    tensors = {name: tensor.contiguous() for name, tensor in change(compvis(first)).items()}
    save_file(tensors, path)
    with pytest.raises(RudderError, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0


def test_files_that_are_never_opened(tmp_path, vector):
    torch.save({"a": torch.ones(1)}, tmp_path / "v.ckpt")
    torch.save({"a": torch.ones(1)}, tmp_path / "v.safetensors")
    vector.save(tmp_path / "red.safetensors")
    told = {"v.ckpt": "no .safetensors file", "v.safetensors": "never opens", "red.safetensors": "is a concept vector",
            "gone.ckpt": "is not there", "a/gone.safetensors": "is not there"}  # fmt: skip
    for name, words in told.items():
        for look in (load, registry.outline):
            with pytest.raises(RudderError, match=words):
                look(str(tmp_path / name))
    with pytest.raises(RudderError, match="is not there"):
        load("owner/gone.safetensors")


def test_the_fingerprint_is_that_of_the_file(first, tmp_path):
    path = single_file(first, tmp_path / "v.safetensors")
    before = load(path).fingerprint
    tensors = load_file(path)
    tensors["first_stage_model.quant_conv.bias"] += 1
    save_file(tensors, path)
    assert load(path).fingerprint != before
