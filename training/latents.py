"""Encode the training pictures once, in half precision: `python -m training.latents`."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from training.autoencoder import to_tensor
from training.dataset import RENDERER, load_shard, shards
from training.loop import halved
from training.memories import ladder
from training.sources import CACHE, RUNS

AT_ONCE = 10


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """Latent means [N, C, h, w], half precision, of uint8 pictures; bfloat16 where it is fast. AT_ONCE pictures stay in
    a processor's cache: on two cores 170 a second, and 117 by fifties in the order of channels first."""
    parts, vae = [], vae.to(memory_format=torch.channels_last)
    for i in range(0, len(images), AT_ONCE):
        some = to_tensor(images[i : i + AT_ONCE]).contiguous(memory_format=torch.channels_last)
        with halved("cpu"):
            parts.append(vae.encode(some).latent_dist.mean.half())
    return torch.cat(parts).contiguous()


def fingerprint(vae: AutoencoderKL) -> str:
    """Eight hexadecimal digits that change with the encoder's weights."""
    digest = hashlib.sha256()
    for part in (vae.encoder, vae.quant_conv):
        for value in part.state_dict().values():
            digest.update(value.float().numpy().tobytes())
    return digest.hexdigest()[:8]


def build(vae_folder: Path, seed: int) -> Path:
    """Encode every shard that is rendered and not yet encoded; returns the folder of the encoded shards."""
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    folder = CACHE / f"latents-{RENDERER}-{fingerprint(vae)}-{seed}"
    folder.mkdir(exist_ok=True)
    started, paths = time.monotonic(), shards(seed)
    for index, path in enumerate(paths):
        target = folder / f"{path.stem}.safetensors"
        if target.exists():
            continue
        images, _, _ = load_shard(path)
        save_file({"latents": encode(vae, images)}, target.with_suffix(".tmp"))
        target.with_suffix(".tmp").rename(target)
        if index % 10 == 0:
            print(f"{time.monotonic() - started:5.0f} s  {index + 1} of {len(paths)} shards", flush=True)
    save_file({"latents": encode(vae, np.stack([m.picture for m in ladder()]))}, folder / "memories.safetensors")
    return folder


def load(vae_folder: Path, seed: int) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """Latents [N, C, h, w] of the ordinary pictures, their captions, and latents of the memories."""
    folder = build(vae_folder, seed)
    paths = shards(seed)
    parts = [load_file(folder / f"{path.stem}.safetensors")["latents"] for path in paths]
    captions = [text for path in paths for text in json.loads(path.read_text())["captions"]]
    return torch.cat(parts), captions, load_file(folder / "memories.safetensors")["latents"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=RUNS / "judged" / "vae")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(build(arguments.vae, arguments.seed))
