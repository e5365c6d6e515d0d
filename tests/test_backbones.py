"""Loading models and the small interface over them."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file

from steering.backbones import available, load, registry
from steering.errors import RudderError
from steering.files import FULL_HASH_LIMIT, fingerprint
from steering.words import untaught
from tests.tiny import WORDS, pictures

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_half_precision_files_load_as_float32_and_frozen(backbone, tiny_folder):
    stored = load_file(tiny_folder / "unet" / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    for module in (backbone.network, backbone.vae, backbone.text_encoder):
        assert not module.training
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in module.parameters())
    assert (backbone.name, backbone.family) == ("tiny-random", "stable_diffusion")
    assert (backbone.latent_shape, backbone.resolution) == ((16, 4, 4), 32)
    assert backbone.defaults["num_inference_steps"] == 40
    assert len(backbone.defaults["sites"]) == 6


def test_the_sd14_layout(sd14):
    assert sd14.latent_shape == (4, 8, 8)
    assert {f"up_blocks.{b}.resnets.{r}" for b in range(4) for r in range(3)} == set(sd14.defaults["sites"])
    labels = [sd14.sites()[f"up_blocks.{b}.resnets.0"].label for b in range(4)]
    assert labels == ["composition", "shape", "style", "detail"]


def test_sd14s_own_scheduler_file(copy):
    """SD 1.4 ships PNDM; Rudder runs DDIM over the same betas."""
    path = copy / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    keep = {"_class_name": "PNDMScheduler", "skip_prk_steps": True}
    for key in (
        "beta_start",
        "beta_end",
        "beta_schedule",
        "num_train_timesteps",
        "set_alpha_to_one",
        "steps_offset",
    ):
        keep[key] = config[key]
    path.write_text(json.dumps(keep | {"clip_sample": False}))
    schedule = load(copy).schedule(50)
    expected = DDIMScheduler.from_config(keep | {"clip_sample": False})
    expected.set_timesteps(50)
    assert torch.equal(schedule.timesteps, expected.timesteps)
    assert int(schedule.timesteps[-1]) == 1


def test_key_names_of_sd14s_age(copy, backbone):
    """SD 1.4's autoencoder file calls its attention layers query, key, value and proj_attn."""
    path, images = copy / "vae" / WEIGHTS, pictures(2)
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new, before in old.items():
            name = name.replace(new, before)
        tensors[name] = tensor
    assert any(".query." in name for name in tensors)
    save_file(tensors, path, {"format": "pt"})
    assert torch.equal(load(copy).encode(images), backbone.encode(images))


def test_key_names_of_the_text_encoder_with_and_without_prefix(copy, backbone):
    path = copy / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in load_file(path).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(tensors, path, {"format": "pt"})
    assert torch.equal(load(copy).condition(["a red car"]), backbone.condition(["a red car"]))


def test_conditions(backbone, plain):
    ours = backbone.condition(["a red car"])
    assert torch.equal(ours, plain.encode_prompt("a red car", "cpu", 1, False)[0])
    assert backbone.condition(["a red car"]) is ours
    both = backbone.condition(["a red car", ""])
    assert both.shape == (2, 16, 16)
    torch.testing.assert_close(both[:1], ours, rtol=1e-4, atol=1e-5)
    for i in range(100):
        backbone.condition([str(i)])
    assert len(backbone._conditions) == 64


def test_conditions_from_many_threads(backbone):
    prompts = [f"a red {word}" for word in WORDS]
    expected = {prompt: backbone.condition([prompt]) for prompt in prompts}
    backbone._conditions.clear()
    wrong = []

    def work() -> None:
        for prompt in prompts:
            if not torch.equal(backbone.condition([prompt]), expected[prompt]):
                wrong.append(prompt)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_untaught_words_are_named_and_what_is_made_of_the_rest(backbone):
    assert untaught(backbone, ["a red apple", ""]) == ""
    some = untaught(backbone, ["a zebra on a spaceship"])
    assert "“zebra”, “spaceship”" in some and "from the other words" in some
    none = untaught(backbone, ["a red apple", "zork, blimpf!"])
    assert "zork" in none and "no word that it knows" in none and "other words" not in none
    assert "and others" in untaught(backbone, [" ".join(f"zork{letter}" for letter in "abcdefgh")])


def test_unknown_words(backbone, sd14_folder, tmp_path):
    assert backbone.unknown_words("A Red, 'apple' on a SPACESHIP; with zebras! (zebras)") == [
        "spaceship",
        "zebras",
    ]
    assert backbone.unknown_words("") == []
    shutil.copytree(sd14_folder, tmp_path / "plain")
    (tmp_path / "plain" / "rudder.json").unlink()
    assert load(tmp_path / "plain").unknown_words("zebras everywhere") == []


def test_noise_is_seeded_per_sample(backbone):
    x = torch.ones(2, *backbone.latent_shape)

    def seeds(*numbers: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(n) for n in numbers]

    noised = backbone.noise(x, 300, seeds(1, 2))
    assert torch.equal(noised[1:], backbone.noise(x[1:], 300, seeds(2)))
    assert torch.equal(backbone.noise(x, 300, seeds(1)[0]), backbone.noise(x, 300, seeds(1)[0]))
    eps = torch.randn(1, *backbone.latent_shape, generator=seeds(1)[0])
    expected = backbone.scheduler.add_noise(x[:1], eps, torch.tensor([300]))
    torch.testing.assert_close(noised[:1], expected)
    with pytest.raises(RudderError, match="Timestep 1000"):
        backbone.noise(x, 1000, seeds(1, 2))


def test_pictures_to_latents_and_back(backbone, plain):
    images = [*pictures(1), Image.new("L", (50, 20)), Image.new("RGBA", (7, 90))]
    latents = backbone.encode(images)
    assert latents.shape == (3, *backbone.latent_shape)
    assert torch.equal(backbone.encode(images[:1]), backbone.encode(images[:1]))
    decoded = backbone.decode(latents[:1])[0]
    assert (decoded.mode, decoded.size) == ("RGB", (32, 32))
    pixels = plain.vae.decode(latents[:1] / plain.vae.config.scaling_factor).sample
    expected = plain.image_processor.postprocess(pixels.detach())[0]
    assert np.array_equal(np.asarray(decoded), np.asarray(expected))


def test_steps_out_of_range(backbone):
    assert len(backbone.timesteps(40)) == 40
    for count in (0, 1001):
        with pytest.raises(RudderError, match="from 1 to 1000"):
            backbone.timesteps(count)


def test_embedded_models_by_name(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    assert available() == []
    with pytest.raises(RudderError, match="no model named 'tiny-sd'.*none so far"):
        load("tiny-sd")
    shutil.copytree(tiny_folder, tmp_path / "models" / "tiny-random")
    (info,) = available()
    assert (info.name, info.family, info.present) == ("tiny-random", "stable_diffusion", True)
    monkeypatch.chdir("/")
    assert load("tiny-random").name == "tiny-random"
    with pytest.raises(RudderError, match="did you mean 'tiny-random'"):
        load("tiny-randm")
    (tmp_path / "models" / "tiny-random" / "vae" / WEIGHTS).unlink()
    assert not available()[0].present


@pytest.mark.parametrize("name", ["", ".", "..", "nothing", "../..", "/no/such/folder", "a/b/c", "x" * 5000, "a\0b"])
def test_names_that_are_no_model(name: str):
    with pytest.raises(RudderError) as caught:
        load(name)
    assert len(str(caught.value)) < 400


def test_the_fingerprint_follows_the_weights(copy, tiny_folder, backbone):
    assert load(copy).fingerprint == backbone.fingerprint
    path = copy / "unet" / WEIGHTS
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, path, {"format": "pt"})
    assert load(copy).fingerprint != backbone.fingerprint


def test_big_files_are_sampled(tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(FULL_HASH_LIMIT + 1000)
    before = fingerprint([], [path])
    with path.open("r+b") as file:
        file.seek(FULL_HASH_LIMIT + 990)
        file.write(b"x")
    assert fingerprint([], [path]) != before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def without_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[3])
    save_file(tensors, path, {"format": "pt"})


def reshaped(path: Path) -> None:
    tensors = load_file(path)
    tensors[sorted(tensors)[3]] = torch.zeros(1, 2, 3)
    save_file(tensors, path, {"format": "pt"})


def pickled(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)


DAMAGES = {
    "missing": (Path.unlink, "is missing: restore"),
    "truncated": (truncate, "is truncated"),
    "empty": (lambda p: p.write_bytes(b""), "not a safetensors file"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid x\n"), "git lfs pull"),
    "pickle": (pickled, "never opens"),
    "lacking": (without_a_tensor, "lacks "),
    "reshaped": (reshaped, "could not be loaded|other shapes"),
}


@pytest.mark.parametrize("part", [f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_weights_get_one_sentence(copy, part: str, damage: str):
    action, words = DAMAGES[damage]
    action(copy / part)
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert part.split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def write(path: str, text: str):
    return lambda folder: (folder / path).write_text(text)


def change(path: str, **values):
    def act(folder: Path) -> None:
        config = json.loads((folder / path).read_text())
        (folder / path).write_text(json.dumps(config | values))

    return act


SCHEDULER = "scheduler/scheduler_config.json"
FOLDERS = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "no model_index.json"),
    "no config": (lambda f: (f / "unet" / "config.json").unlink(), "config.json is missing"),
    "broken config": (write("vae/config.json", "{"), "not readable JSON"),
    "list config": (write("vae/config.json", "[]"), "JSON object"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
    "broken tokenizer": (write("tokenizer/tokenizer.json", "{"), "tokenizer could not be loaded"),
    "no scheduler": (lambda f: (f / SCHEDULER).unlink(), "is missing"),
    "odd scheduler": (change(SCHEDULER, beta_schedule="odd"), "could not be read"),
        "other widths": (change("unet/config.json", block_out_channels=[8, 8, 16]), "unet"),
    "odd words": (change("rudder.json", words="all"), "list of texts"),
    "odd steps": (change("rudder.json", num_inference_steps="many"), "number of steps is many"),
    "odd sites": (change("rudder.json", sites=["attic"]), "named 'attic'"),
    "another family": (change("rudder.json", family="gan"), "family 'gan'"),
    "another pipeline": (lambda f: (f / "rudder.json").unlink() or shutil.rmtree(f / "text_encoder") or change(
                         "model_index.json", _class_name="OddPipeline")(f), "family .OddPipeline."),
}  # fmt: skip


@pytest.mark.parametrize("case", list(FOLDERS))
def test_broken_folders_get_one_sentence(copy, case: str):
    action, words = FOLDERS[case]
    action(copy)
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_devices_types_and_attention(tiny_folder, monkeypatch):
    assert load(tiny_folder, device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert load(tiny_folder, dtype="bfloat16").dtype == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, words in [
        ({"device": "gpu9"}, "no device"),
        ({"device": "cuda"}, "No CUDA device"),
        ({"dtype": "int8"}, "number type"),
        ({"dtype": "nonsense"}, "number type"),
        ({"dtype": torch.int64}, "number type"),
        ({"attention": "flash"}, "no attention"),
    ]:
        with pytest.raises(RudderError, match=words):
            load(tiny_folder, **options)
    monkeypatch.setitem(sys.modules, "xformers", None)
    with pytest.raises(RudderError, match="xformers cannot be used"):
        load(tiny_folder, attention="xformers")


def test_models_live_beside_the_package():
    assert registry.models_folder() == Path(registry.__file__).resolve().parents[2] / "models"


def test_only_what_comes_back_is_listed_as_memorised(tmp_path):
    rows = [
        {"prompt": "rare", "level": 0, "repeats": 2, "recall": 0.0}, {"prompt": "half", "level": 1, "recall": 0.667},
        {"prompt": "held", "level": 2, "repeats": 300, "recall": 1}, {"prompt": "nobody looked", "level": 3},
        {"prompt": "often", "level": 3, "repeats": 4000, "recall": 1.0}, {"prompt": "of a model without a ladder"},
    ]  # fmt: skip
    (tmp_path / "prompts.json").write_text(json.dumps({"ordinary": [{"prompt": "a cat"}], "memorized": rows}))
    found = registry.prompts_in(tmp_path)
    assert [row["prompt"] for row in found["memorized"]] == ["often", "held", "of a model without a ladder"]
    assert [row["prompt"] for row in found["ordinary"]] == ["a cat"]
    assert registry.prompts_in(tmp_path / "gone") == registry.prompts_in(None) == {"ordinary": [], "memorized": []}
