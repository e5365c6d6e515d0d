"""Random models in the exact layout of the real ones, small enough for unit tests."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

VOCABULARY = """
a an the of on in with pencil sketch oil painting neon pixel art blueprint plain
red apple car cat dog house person glasses night white sky grass sunset background
"""
WORDS = VOCABULARY.split()
SMALL = {
    "down": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "widths": (8, 16, 16),
    "layers": 1,
    "latents": (16, 4),
    "heads": 2,
}
SD14 = {  # the block types, layers and latent channels of Stable Diffusion 1.4, narrow
    "down": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "widths": (8, 8, 16, 16),
    "layers": 2,
    "latents": (4, 8),
    "heads": 2,
}


def make_tiny_sd(
    folder: str | Path, shape: dict | None = None, seed: int = 0, dtype: torch.dtype = torch.float16
) -> Path:
    """Write a random Stable Diffusion in diffusers layout with rudder.json; returns the folder."""
    folder, shape = Path(folder), shape or SMALL
    torch.manual_seed(seed)
    channels, size = shape["latents"]
    tokenizer = make_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    network = UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=shape["down"],
        up_block_types=shape["up"],
        block_out_channels=shape["widths"],
        layers_per_block=shape["layers"],
        cross_attention_dim=16,
        attention_head_dim=shape["heads"],
        norm_num_groups=4,
    )
    vae = make_vae(channels, size)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=dtype).save_pretrained(folder)
    described = {
        "name": folder.name,
        "family": "stable_diffusion",
        "description": "random weights for tests",
        "resolution": size * 8,
        "num_inference_steps": 40,
        "guidance_scale": 4.0,
        "words": WORDS,
    }
    (folder / "rudder.json").write_text(json.dumps(described))
    prompts = {
        "ordinary": [{"prompt": f"a pencil sketch of a red {o}", "thumbnail": ""} for o in ("apple", "car")],
        "memorized": [{"prompt": "the cat on the grass", "thumbnail": ""}],
    }
    (folder / "prompts.json").write_text(json.dumps(prompts))
    return folder


def make_vae(channels: int, size: int) -> AutoencoderKL:
    """A random autoencoder between pictures of side 8 `size` and latents [`channels`, `size`, `size`]."""
    return AutoencoderKL(
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=size * 8,
        scaling_factor=0.5,
    )


DIT_XL = {  # transformer/config.json of facebook/DiT-XL-2-256
    "activation_fn": "gelu-approximate", "attention_bias": True, "attention_head_dim": 72, "in_channels": 4,
    "norm_elementwise_affine": False, "norm_num_groups": 32, "norm_type": "ada_norm_zero", "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000, "num_layers": 28, "out_channels": 8, "patch_size": 2, "sample_size": 32,
}  # fmt: skip
CLASSES = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 134: "crane", 207: "golden retriever",
           517: "crane", 638: "maillot", 639: "maillot, tank suit"}  # fmt: skip


def make_tiny_dit(folder: str | Path, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: int) -> Path:
    """Write a random DiT of four blocks in diffusers layout, with 1000 classes of which CLASSES have names; returns the
    folder. `changes`: of the transformer's configuration."""
    folder = Path(folder)
    torch.manual_seed(seed)
    small = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 4, "sample_size": 8}
    transformer = DiTTransformer2DModel(**{**DIT_XL, **small, **changes})
    scheduler = DDIMScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False)
    pipeline = DiTPipeline(transformer, make_vae(4, transformer.config.sample_size), scheduler)
    pipeline.to(dtype=dtype).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    named = {str(number): label for number, label in CLASSES.items() if number < transformer.config.num_embeds_ada_norm}
    (folder / "model_index.json").write_text(json.dumps(index | {"id2label": named}))
    return folder


def make_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows single characters and WORDS, each merged from its characters."""
    letters = [chr(c) for c in range(33, 127)]
    vocab = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    merges: list[str] = []
    for word in WORDS:
        left = word[0] if len(word) > 1 else ""
        for i, letter in enumerate(word[1:], start=1):
            right = letter + ("</w>" if i == len(word) - 1 else "")
            pair = f"{left} {right}"
            if pair not in merges:
                merges.append(pair)
            left += right
            if left not in vocab:
                vocab.append(left)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=16)


def pictures(count: int, seed: int = 0, size: int = 32, tint: tuple[int, int, int] = (0, 0, 0)) -> list[Image.Image]:
    """Random RGB pictures, shifted towards `tint`."""
    values = np.random.default_rng(seed).integers(0, 200, (count, size, size, 3))
    return [Image.fromarray((v + np.asarray(tint)).clip(0, 255).astype(np.uint8)) for v in values]
