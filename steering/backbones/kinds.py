"""What a model is by what is in it: Stable Diffusion 1.x and 2.x, or one of its relatives, told by name and refused.

Names of files and pipelines say little, so the networks' configurations are asked (a folder), or the names and shapes
of the tensors (a single file).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RudderError, shorten
from ..files import read_json

KINDS = {
    "inpainting": "an inpainting model (its U-Net takes a mask and a masked picture beside the latents)",
    "upscaler": "an upscaling model (its U-Net takes a small picture beside the latents)",
    "latent upscaler": "a latent upscaler (its U-Net takes the latents that it enlarges)",
    "depth": "a depth-to-image model (its U-Net takes a depth map beside the latents)",
    "pix2pix": "an InstructPix2Pix model (its U-Net takes the picture to be edited beside the latents)",
    "XL": "Stable Diffusion XL (two text encoders, sizes as a condition)",
    "refiner": "the refiner of Stable Diffusion XL",
    "SD 3": "Stable Diffusion 3 (a transformer that matches flows)",
    "Flux": "Flux (a transformer that matches flows)",
    "transformer": "a model whose denoiser is another transformer",
    "unCLIP": "an unCLIP model (its U-Net takes a picture's CLIP embedding)",
    "variations": "an image-variation model (it is conditioned on pictures, not on text)",
    "motion": "a motion module of AnimateDiff, which belongs on top of a model",
    "video": "a video model",
    "ControlNet": "a ControlNet, which belongs beside a model",
    "GLIGEN": "a GLIGEN model (its U-Net takes boxes)",
    "LCM": "a latent consistency model (its U-Net takes the guidance scale, and runs in a few steps of its own)",
    "IF": "a pixel model with a T5 text encoder, such as DeepFloyd IF",
    "cascade": "Stable Cascade or another model with a prior",
    "classes": "a model that is conditioned on classes beside the text",
    "LoRA": "a LoRA, which changes a model and is none",
    "embedding": "a textual inversion, which belongs to a model and is none",
    "vector": "a concept vector of Rudder's: steer with it by `rudder steer --concept FILE`",
    "autoencoder": "an autoencoder alone",
    "text encoder": "a text encoder alone",
    "part": "one network of a folder in diffusers layout, which is loaded by giving the whole folder",
}
REMEDY = "load a Stable Diffusion 1.x or 2.x that paints from text"
_BY_CHANNELS = {  # of the U-Net's input, beyond the latents' own
    "inpainting": lambda latents: latents + 1,
    "upscaler": lambda latents: 3,
    "depth": lambda latents: 1,
    "pix2pix": lambda latents: latents,
}
_UNET = "model.diffusion_model."
_IN = f"{_UNET}input_blocks.0.0.weight"


def refuse_folder(folder: Path) -> None:
    """RudderError naming what a folder in diffusers layout holds, unless it may be a Stable Diffusion 1.x or 2.x.

    What its configurations do not say is no reason to refuse: what is missing is told when it is read.
    """
    index = _config(folder / "model_index.json")
    parts = {name for name, entry in index.items() if isinstance(entry, list) and entry and entry[-1] is not None}
    network = _config(folder / "unet" / "config.json") or _config(folder / "transformer" / "config.json")
    kind = _of_parts(parts) or _of_network(network, _config(folder / "vae" / "config.json"))
    _refuse(folder.name, kind)


def is_stable_diffusion(folder: Path) -> bool:
    """Whether a folder has the three networks of Stable Diffusion, whatever pipeline its model_index.json names."""
    classes = {part: _config(folder / part / "config.json") for part in ("unet", "vae", "text_encoder")}
    text = classes["text_encoder"].get("architectures") or [classes["text_encoder"].get("_class_name")]
    return (
        classes["unet"].get("_class_name") == "UNet2DConditionModel"
        and classes["vae"].get("_class_name") == "AutoencoderKL"
        and "CLIPTextModel" in text
    )


def refuse_file(path: Path, header: Mapping[str, Any]) -> None:
    """RudderError naming what a single safetensors file holds, unless it is a Stable Diffusion in CompVis's layout.

    `header`: the file's own, {name: {"shape", ...}}.
    """
    _refuse(path.name, _of_tensors(header))
    if _IN not in header:
        first = next((name for name in header if name != "__metadata__"), "nothing")
        raise RudderError(f"{path.name} holds no U-Net that Rudder knows (but {shorten(first, 60)}): {REMEDY}.")


def _refuse(title: str, kind: str | None) -> None:
    if kind is not None:
        raise RudderError(f"{title} is {KINDS.get(kind, kind)}: {REMEDY}.")


def _of_parts(parts: set[str]) -> str | None:
    """The kind that a pipeline's components tell."""
    for kind, some in {
        "motion": {"motion_adapter"},
        "ControlNet": {"controlnet"},
        "cascade": {"prior", "prior_prior", "decoder"},
        "unCLIP": {"image_noising_scheduler", "image_normalizer"},
        "XL": {"text_encoder_2"} if "transformer" not in parts else set(),
        "variations": {"image_encoder"} if "text_encoder" not in parts else set(),
    }.items():
        if some & parts:
            return kind
    return None


def _of_network(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> str | None:
    """The kind that the denoiser's configuration tells."""
    name = str(unet.get("_class_name", ""))
    if "Transformer" in name:
        return "SD 3" if name.startswith("SD3") else "Flux" if name.startswith("Flux") else "transformer"
    if "Motion" in name or unet.get("use_motion_mid_block") is not None:
        return "motion"
    if "3D" in name or "SpatioTemporal" in name:
        return "video"
    if "ControlNet" in name:
        return "ControlNet"
    if unet.get("addition_embed_type") == "text_time":
        return "refiner" if unet.get("cross_attention_dim") == 1280 else "XL"
    if unet.get("addition_embed_type") is not None or unet.get("encoder_hid_dim_type") is not None:
        return "IF" if unet.get("encoder_hid_dim_type") == "text_proj" else "variations"
    if str(unet.get("attention_type", "default")).startswith("gated"):
        return "GLIGEN"
    if unet.get("time_cond_proj_dim") is not None:
        return "LCM"
    if unet.get("class_embed_type") == "projection":
        return "unCLIP"
    if any(str(block).startswith("K") for block in unet.get("down_block_types") or ()):
        return "latent upscaler"
    kind = _of_channels(unet.get("in_channels"), vae.get("latent_channels", 4))
    classes = unet.get("class_embed_type") is not None or unet.get("num_class_embeds") is not None
    return kind or ("classes" if classes else None)


def _of_channels(taken: Any, latents: Any) -> str | None:
    """The kind that the U-Net's input channels tell; None for the latents' own."""
    if not isinstance(taken, int) or not isinstance(latents, int) or taken == latents:
        return None
    for kind, more in _BY_CHANNELS.items():
        if taken == latents + more(latents):
            return kind
    return f"a model whose U-Net takes {taken} channels where its autoencoder has {latents}"


def _of_tensors(header: Mapping[str, Any]) -> str | None:
    """The kind that names and shapes tell."""
    names = header.keys() - {"__metadata__"}
    if "rudder" in (header.get("__metadata__") or {}):
        return "vector"

    def some(*starts: str) -> bool:
        return any(name.startswith(starts) for name in names)

    def holds(*parts: str) -> bool:
        return any(part in name for name in names for part in parts)

    if _IN in header:
        return _of_compvis(header, some, holds)
    if holds("motion_modules."):
        return "motion"
    if holds("lora_down.", "lora_up.", ".lora_A.", ".lora_B.", "lora.down.", "lora.up."):
        return "LoRA"
    if some("control_model.", "controlnet_cond_embedding."):
        return "ControlNet"
    if holds("joint_blocks."):
        return "SD 3"
    if holds("double_blocks.", "single_blocks."):
        return "Flux"
    if holds("transformer_blocks.0.") and not some("down_blocks.", "up_blocks."):
        return "transformer"
    if names <= {"emb_params", "clip_l", "clip_g", "string_to_param"} and names:
        return "embedding"
    if some("down_blocks.") and some("up_blocks."):
        return "part"
    if some("encoder.") and some("decoder."):
        return "autoencoder"
    return "text encoder" if some("text_model.", "transformer.text_model.") and not holds("vision_model.") else None


def _of_compvis(header: Mapping[str, Any], some: Any, holds: Any) -> str | None:
    """The kind of a file whose U-Net has CompVis's names."""
    if some("conditioner.embedders.1.") or holds("add_embedding."):
        return "XL"
    if some("conditioner.embedders.0.model."):
        return "refiner"
    if some("embedder.model.", "noise_augmentor."):
        return "unCLIP"
    if holds("motion_modules."):
        return "motion"
    if some("control_model."):
        return "ControlNet"
    if holds(".fuser.", "position_net."):
        return "GLIGEN"
    if some("depth_model."):
        return "depth"
    if holds("temporal", "time_stack", "time_mixer"):
        return "video"
    latents = header.get("first_stage_model.post_quant_conv.weight", {}).get("shape", [4])[0]
    kind = _of_channels(header[_IN]["shape"][1], latents)
    return kind or ("unCLIP" if some(f"{_UNET}label_emb.0.") else "classes" if some(f"{_UNET}label_emb.") else None)


def _config(path: Path) -> dict[str, Any]:
    """A configuration, {} where there is none; RudderError for one that is damaged."""
    return read_json(path) if path.is_file() else {}
