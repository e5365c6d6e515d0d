"""Narrow random models with the true blocks of Stable Diffusion, as folders and as single files in CompVis's layout."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from tests.tiny import make_tokenizer

WEIGHTS = "diffusion_pytorch_model.safetensors"
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
         "self_attn.out_proj": "attn.out_proj"}  # fmt: skip


def make_narrow_sd(folder: Path, second: bool = False, prediction: str = "epsilon") -> Path:
    """A random Stable Diffusion 1.x, or `second`, 2.x, with the true blocks and layers and few channels."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "!" if second else tokenizer.eos_token
    width, layers = 64, 23 if second else 12
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=1,
        max_position_embeddings=16,
        hidden_act="gelu" if second else "quick_gelu",
        projection_dim=width,
    )
    widths = (64, 64, 128, 128) if second else (32, 32, 64, 64)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32,) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=768 if second and prediction == "v_prediction" else 512,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=96 if second and prediction == "v_prediction" else 64,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=widths,
            layers_per_block=2,
            cross_attention_dim=width,
            attention_head_dim=[w // 64 for w in widths] if second else 8,
            use_linear_projection=second,
            upcast_attention=second,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                                set_alpha_to_one=False, steps_offset=1, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def single_file(folder: Path, path: Path, second: bool = False, averages: bool = False) -> Path:
    """The folder's networks as one file, and the folder's tokenizer beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(compvis(folder, second, averages), path)
    beside = path.parent / "tokenizer"
    if not beside.exists():
        beside.symlink_to(folder / "tokenizer")
    return path


def compvis(folder: Path, second: bool = False, averages: bool = False) -> dict[str, Tensor]:
    """Every tensor of a folder under its name in CompVis's layout."""
    text = load_file(folder / "text_encoder" / "model.safetensors")
    made = renamed(load_file(folder / "unet" / WEIGHTS), load_file(folder / "vae" / WEIGHTS), text, second)
    if averages:  # the running averages, and last weights that are not to be used
        for name in [n for n in made if n.startswith("model.diffusion_model.")]:
            made[f"model_ema.{name.removeprefix('model.').replace('.', '')}"] = made[name]
            made[name] = torch.zeros_like(made[name])
    return made


def renamed(
    unet: dict[str, Tensor], vae: dict[str, Tensor], text: dict[str, Tensor], second: bool
) -> dict[str, Tensor]:
    """Three networks' tensors under their names in CompVis's layout."""
    made = {f"model.diffusion_model.{_unet(name)}": tensor for name, tensor in unet.items()}
    for name, tensor in vae.items():
        old = _vae(name)
        linear = ".mid.attn_1." in old and tensor.ndim == 2
        made[f"first_stage_model.{old}"] = tensor[:, :, None, None].contiguous() if linear else tensor
    text = {name.removeprefix("text_model."): tensor for name, tensor in text.items()}
    made |= _open_clip(text) if second else {f"cond_stage_model.transformer.text_model.{n}": t for n, t in text.items()}
    return made


def _unet(name: str) -> str:
    for new, old in ENDS.items():
        if name.startswith(f"{new}."):
            return name.replace(new, old, 1)
    if name.startswith("mid_block."):
        _, kind, place, rest = name.split(".", 3)
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(place)}.{_resnet(rest, kind)}"
    side, block, kind, place, rest = name.split(".", 4)
    i, j = int(block), int(place)
    if kind == "downsamplers":
        return f"input_blocks.{3 * i + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}.{rest}"
    where = f"input_blocks.{3 * i + j + 1}" if side == "down_blocks" else f"output_blocks.{3 * i + j}"
    return f"{where}.{0 if kind == 'resnets' else 1}.{_resnet(rest, kind)}"


def _resnet(rest: str, kind: str) -> str:
    if kind != "resnets":
        return rest
    layer, what = rest.rsplit(".", 1)
    return f"{RESNET[layer]}.{what}"


def _vae(name: str) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for new, old in ATTENTION.items():
            name = name.replace(f"attn_1.{new}.", f"attn_1.{old}.")
    return name


def _open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's names: query, key and value in one, and the last layer, which 2.x does not use."""
    start = "cond_stage_model.model."
    made = {
        f"{start}token_embedding.weight": text["embeddings.token_embedding.weight"],
        f"{start}positional_embedding": text["embeddings.position_embedding.weight"],
        f"{start}ln_final.weight": text["final_layer_norm.weight"],
        f"{start}ln_final.bias": text["final_layer_norm.bias"],
    }
    for layer in range(24):
        own = f"encoder.layers.{min(layer, 22)}."
        block = f"{start}transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            joined = [text[f"{own}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            made[f"{block}attn.in_proj_{kind}"] = torch.cat(joined)
            for new, old in LAYER.items():
                made[f"{block}{old}.{kind}"] = text[f"{own}{new}.{kind}"].clone()
    return made
