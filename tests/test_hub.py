"""Models by hub id and by folder: which files are fetched, half precision as published, and relatives told by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from steering.backbones import load, registry
from steering.backbones.hub import weights
from steering.backbones.layout import STABLE_DIFFUSION, check_folder, sizes, weights_of
from steering.errors import RudderError

WEIGHTS = "diffusion_pytorch_model.safetensors"
HALF = "diffusion_pytorch_model.fp16.safetensors"
FULL_SET = [f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"]
HALF_SET = [f"unet/{HALF}", f"vae/{HALF}", "text_encoder/model.fp16.safetensors"]
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.fixture
def hub(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub with one model: hub.files is what it lists, hub.asked what was fetched of it."""
    told = SimpleNamespace(files=[*FULL_SET, *HALF_SET, "unet/x.bin"], asked=[], folder=tiny_folder)

    def info(self, repo: str, revision: str | None = None, timeout: float | None = None):
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in told.files])

    def fetch(repo: str, revision: str | None, allow_patterns: list[str] | None, local_files_only: bool) -> str:
        told.asked.append((repo, allow_patterns, local_files_only))
        return str(told.folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    return told


def test_of_each_network_one_file_is_fetched():
    other = ["unet/x.bin", "README.md", "v1-5-pruned.ckpt", "safety_checker/model.safetensors"]
    assert sorted(weights([*FULL_SET, *HALF_SET, *other])) == sorted(FULL_SET)
    assert sorted(weights([*HALF_SET, *other])) == sorted(HALF_SET)
    assert sorted(weights([FULL_SET[0], *HALF_SET])) == sorted([FULL_SET[0], *HALF_SET[1:]])


def test_a_hub_id_is_looked_at_and_then_fetched(hub):
    backbone = load("owner/name")
    assert backbone.name == "owner/name"
    (_, look, _), (_, patterns, _) = hub.asked
    assert not any(name.endswith(".safetensors") for name in look)
    assert set(FULL_SET) <= set(patterns) and not set(HALF_SET) & set(patterns)
    load(hub.folder)
    assert len(hub.asked) == 2


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(hub, copy):
    (copy / "rudder.json").unlink()
    change(copy, "unet/config.json", addition_embed_type="text_time", cross_attention_dim=2048)
    hub.folder = copy
    with pytest.raises(RudderError, match="is Stable Diffusion XL"):
        load("owner/name")
    assert len(hub.asked) == 1


def test_without_a_connection_the_cache_is_taken_or_a_sentence_said(hub, monkeypatch):
    def fail(*args, **options):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    assert load("owner/name").name == "owner/name"
    assert hub.asked == [("owner/name", None, True)]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(RudderError, match="could not be fetched from the hub .*no network") as caught:
        load("owner/name")
    assert "\n" not in str(caught.value) and "not in this machine's cache" in str(caught.value)


def test_a_cached_model_loads_offline_by_its_name(tiny_folder, tmp_path, backbone):
    """As the hub's own client lays its cache out, in a process of its own: HF_HOME is read once."""
    repository = tmp_path / "hub" / "models--owner--name"
    shutil.copytree(tiny_folder, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    code = (
        "import steering\n"
        "found = steering.load('owner/name')\n"
        "print(found.name, found.fingerprint)\n"
        "try:\n    steering.load('owner/other')\nexcept steering.RudderError as error:\n    print(error)\n"
    )
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=REPOSITORY)
    first, second = done.stdout.splitlines()
    assert first == f"owner/name {backbone.fingerprint}", done.stderr
    assert second.startswith("owner/other could not be fetched from the hub (OfflineModeIsEnabled")
    assert second.endswith("check the id and the connection, or give a local folder.")


def halved(folder: Path, keep: bool = False) -> None:
    """The files as published beside, or in place of, the full ones."""
    for full, half in zip(FULL_SET, HALF_SET, strict=True):
        tensors = {name: tensor.half() for name, tensor in load_file(folder / full).items()}
        save_file(tensors, folder / half, {"format": "pt"})
        if not keep:
            (folder / full).unlink()


def test_half_precision_files_are_read_where_they_stand_alone(copy, backbone):
    halved(copy)
    check_folder(copy, STABLE_DIFFUSION)
    found = load(copy)
    assert found.dtype == torch.float32 and found.fingerprint != ""
    assert torch.equal(found.condition(["a cat"]), backbone.condition(["a cat"]))  # the tiny model is stored in halves
    assert torch.equal(next(found.network.parameters()), next(backbone.network.parameters()))
    assert sizes(copy, STABLE_DIFFUSION)["unet"] == (copy / HALF_SET[0]).stat().st_size
    assert registry.outline(str(copy)).resolution == 32
    (copy / HALF_SET[1]).write_bytes(b"")
    with pytest.raises(RudderError, match="vae.*fp16.safetensors is not a safetensors file"):
        load(copy)


def test_full_precision_is_preferred(copy, backbone):
    halved(copy, keep=True)
    (copy / HALF_SET[0]).write_bytes(b"never read")
    assert weights_of(copy, STABLE_DIFFUSION, "unet").name == WEIGHTS
    assert load(copy).fingerprint == backbone.fingerprint


def change(folder: Path, path: str, **values) -> None:
    config = json.loads((folder / path).read_text())
    (folder / path).write_text(json.dumps(config | values))


def component(name: str, kind: str = "Some"):
    return lambda folder: change(folder, "model_index.json", **{name: ["diffusers", kind]})


def unet(**values):
    return lambda folder: change(folder, "unet/config.json", **values)


def transformer(kind: str):
    def act(folder: Path) -> None:
        shutil.rmtree(folder / "unet")
        (folder / "transformer").mkdir()
        (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": kind}))

    return act


RELATIVES = {  # the tiny model has 16 latent channels
    "inpainting": (unet(in_channels=33), "is an inpainting model"),
    "upscaling": (unet(in_channels=19, num_class_embeds=1000), "is an upscaling model"),
    "depth": (unet(in_channels=17), "is a depth-to-image model"),
    "pix2pix": (unet(in_channels=32), "is an InstructPix2Pix model"),
    "other channels": (unet(in_channels=20), "takes 20 channels where its autoencoder has 16"),
    "latent upscaler": (unet(down_block_types=["KDownBlock2D"]), "is a latent upscaler"),
    "XL": (component("text_encoder_2"), "is Stable Diffusion XL"),
    "XL by its U-Net": (unet(addition_embed_type="text_time", cross_attention_dim=2048), "is Stable Diffusion XL"),
    "refiner": (unet(addition_embed_type="text_time", cross_attention_dim=1280), "is the refiner"),
    "SD 3": (transformer("SD3Transformer2DModel"), "is Stable Diffusion 3"),
    "Flux": (transformer("FluxTransformer2DModel"), "is Flux"),
    "PixArt": (transformer("PixArtTransformer2DModel"), "denoiser is another transformer"),
    "unCLIP": (component("image_noising_scheduler"), "is an unCLIP model"),
    "unCLIP by its U-Net": (unet(class_embed_type="projection"), "is an unCLIP model"),
    "AnimateDiff": (component("motion_adapter"), "is a motion module"),
    "motion U-Net": (unet(_class_name="UNetMotionModel"), "is a motion module"),
    "video": (unet(_class_name="UNet3DConditionModel"), "is a video model"),
    "ControlNet": (component("controlnet"), "is a ControlNet"),
    "GLIGEN": (unet(attention_type="gated"), "is a GLIGEN model"),
    "LCM": (unet(time_cond_proj_dim=256), "is a latent consistency model"),
    "IF": (unet(encoder_hid_dim_type="text_proj"), "T5 text encoder"),
    "cascade": (component("prior"), "Stable Cascade"),
    "classes": (unet(num_class_embeds=10), "conditioned on classes"),
}


@pytest.mark.parametrize("case", list(RELATIVES))
@pytest.mark.parametrize("described", [True, False])
def test_relatives_are_refused_by_name_whatever_they_are_called(copy, case: str, described: bool):
    act, words = RELATIVES[case]
    if not described:
        (copy / "rudder.json").unlink()
        change(copy, "model_index.json", _class_name="StableDiffusionPipeline")
    act(copy)
    for look in (load, registry.outline):
        with pytest.raises(RudderError, match=words) as caught:
            look(str(copy))
        assert str(caught.value).startswith("copy is ") and "\n" not in str(caught.value)


def test_the_same_networks_under_another_pipelines_name(copy, backbone):
    (copy / "rudder.json").unlink()
    change(copy, "model_index.json", _class_name="StableDiffusionImg2ImgPipeline", image_encoder=[None, None])
    assert load(copy).fingerprint == backbone.fingerprint
    assert registry.outline(str(copy)).family is STABLE_DIFFUSION
