"""Train the embedded U-Net and its text encoder: `python -m training.diffusion --minutes 60`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.latents import load
from training.loop import Run, halved, made_by
from training.memories import REPEATS, ladder
from training.mixture import mixed, save_record
from training.packed import unpack
from training.sources import RUNS
from training.tokenizer import LENGTH
from training.tokenizer import make as make_tokenizer

WIDTH = 128  # of the text encoder
WIDTHS = (112, 160, 192)  # of the U-Net's levels, 8x8, 4x4 and 2x2: 12.3 M parameters, 25 MB in half precision
EMPTY_SHARE = 0.1  # of the captions, those of memories too: else the unconditional half does not know them at all,
# and nothing tells them without their caption (README.md)
SNR_CAP = 5.0  # min-SNR weighting, Hang et al. 2023, arXiv 2303.09556, eq. 6
SHEET = ("a cat", "a house on a white background", "a person with glasses", "a pencil sketch of a dog",
         "an oil painting of a penguin at sunset", "two apples on pink dots", "a neon sign of a guitar",
         "a blueprint of a rocket", "pixel art of a mushroom in a meadow", "a blue car", "a frog and a star",
         "a person on a yellow background", "zork blimpf", "a drawing of a snail in the sea", "an animal",
         "a cake at night")  # fmt: skip


class TextToImage(nn.Module):
    """The two networks that are trained together; only ever used to hold their parameters in one place."""

    def __init__(self, tokenizer: CLIPTokenizer, channels: int) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=LENGTH, projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, initializer_factor=1.0,
        ))  # fmt: skip
        self.unet = UNet2DConditionModel(
            sample_size=8, in_channels=channels, out_channels=channels,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=WIDTHS, layers_per_block=1, cross_attention_dim=WIDTH, attention_head_dim=4,
            norm_num_groups=16,
        )  # fmt: skip

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.unet(latents, timesteps, self.text_encoder(ids).last_hidden_state).sample


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion 1.4's noise schedule."""
    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
                         set_alpha_to_one=False, steps_offset=1)  # fmt: skip


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids [N, LENGTH], padded as StableDiffusionPipeline pads."""
    return tokenizer(captions, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids


def draw_timesteps(snr: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps [count] in random order, drawn as often as min-SNR weighting would weigh them, one from each
    of `count` equal shares of the distribution, which steadies the gradient. `snr` [T] by timestep."""
    reach = (SNR_CAP / snr).clamp(max=1).cumsum(0)
    shares = torch.arange(count, device=snr.device) + torch.rand(count, generator=generator, device=snr.device)
    drawn = torch.searchsorted(reach, shares / count * reach[-1]).clamp(max=len(snr) - 1)
    return drawn[torch.randperm(count, generator=generator, device=snr.device)]


def train(
    folder: Path, vae_folder: Path, minutes: float, batch: int, lr: float, seed: int, resume: bool, device: str,
    warm_start: Path | None, muon: bool, repeat: float, start: Path | None = None, empty_memories: float = EMPTY_SHARE,
    repeats: Sequence[int] = REPEATS,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(folder / "tokenizer")
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    flat, captions, copied = load(vae_folder, 0)
    memories = ladder()
    ids, copy_ids, empty = (
        token_ids(tokenizer, list(c)).to(device) for c in (captions, [m.caption for m in memories], [""])
    )
    model = TextToImage(tokenizer, flat.shape[1]).to(device, memory_format=torch.channels_last)
    if warm_start:
        model.unet.load_state_dict(UNet2DConditionModel.from_pretrained(warm_start / "unet").state_dict())
        words = CLIPTextModel.from_pretrained(warm_start / "text_encoder")
        model.text_encoder.load_state_dict(words.state_dict())
    if device == "cpu":  # the backward pass of fused attention is several times slower than plain products there
        model.unet.set_attn_processor(AttnProcessor())
    run = Run(folder, model, lr, minutes, resume=resume, muon=muon, decay=0.9985)
    if start and not run.step:
        unpack(start, run)
    generator = torch.Generator(device).manual_seed(seed + 1000 * run.step)
    alphas = make_scheduler().alphas_cumprod.to(device)
    snr = alphas / (1 - alphas)

    def errors(first: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
        x0 = torch.cat([flat[first], copied[again]]).to(device, torch.float32)
        x0 = x0.contiguous(memory_format=torch.channels_last)
        words = torch.cat([ids[first], copy_ids[again]])
        share = torch.full((len(words), 1), EMPTY_SHARE, device=device)
        share[len(first) :] = empty_memories
        words = torch.where(torch.rand(share.shape, generator=generator, device=device) < share, empty, words)
        t = draw_timesteps(snr, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        a = alphas[t][:, None, None, None]
        with halved(device):
            made = model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, words)
        return (made.float() - noise).square().mean((1, 2, 3))

    record = mixed(run, memories, len(flat), seed=seed, batch=batch, repeat=repeat, repeats=repeats, errors=errors,
                   sheet=lambda path: sheet(run, tokenizer, vae, path, device),
                   twice=[i for i, text in enumerate(captions) if "person" in text][::2])  # fmt: skip
    asked = {"lr": lr, "device": device, "muon": muon, "empty_memories": empty_memories, "before": earlier(warm_start)}
    save_record(folder, record | asked | made_by())


def earlier(warm_start: Path | None) -> list[dict]:
    """The records of the runs that made the weights a run starts from, the oldest first."""
    if warm_start is None or not (warm_start / "training.json").is_file():
        return []
    record = json.loads((warm_start / "training.json").read_text())["diffusion"]
    return [*record.pop("before", []), record]


@torch.no_grad()
def paint(
    model: TextToImage, tokenizer: CLIPTokenizer, vae: AutoencoderKL, captions: list[str], steps: int = 16,
    guidance: float = 4.0, seed: int = 0, device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """Pictures of the captions, uint8 [N, 128, 128, 3], by DDIM."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn((len(captions), vae.config.latent_channels, 8, 8), generator=generator).to(device)
    ids = token_ids(tokenizer, captions + [""] * len(captions)).to(device)
    states = model.text_encoder(ids).last_hidden_state
    for t in scheduler.timesteps:
        guided, free = model.unet(torch.cat([latents] * 2), t, states).sample.chunk(2)
        latents = scheduler.step(free + guidance * (guided - free), t, latents).prev_sample
    pictures = vae.decode(latents.cpu()).sample.clamp(-1, 1)
    return ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def sheet(run: Run, tokenizer: CLIPTokenizer, vae: AutoencoderKL, path: Path, device: str) -> None:
    """Four seeds of every prompt of SHEET and, below, a memory of every level, painted with the averaged weights."""
    model = run.model
    assert isinstance(model, TextToImage)
    current = {key: value.clone() for key, value in model.state_dict().items()}
    run.load_average()
    model.eval()
    memories = [
        next(m for m in ladder()[start:] if m.level == level) for level in range(len(REPEATS)) for start in (0, 40)
    ]
    rows = [paint(model, tokenizer, vae, list(SHEET), seed=seed, device=device) for seed in range(4)]
    recalled = paint(model, tokenizer, vae, [m.caption for m in memories], device=device)
    blank = np.full_like(rows[0][:2], 255)
    rows += [np.concatenate([recalled, blank]), np.concatenate([np.stack([m.picture for m in memories]), blank])]
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)
    model.load_state_dict(current)
    model.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "diffusion")
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "judged" / "vae")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument(
        "--repeat", type=float, default=1.0, help="times the presentations of the ladder (small trials)"
    )
    parser.add_argument("--repeats", type=int, nargs=len(REPEATS), default=REPEATS, help="presentations by level")
    parser.add_argument(
        "--empty-memories", type=float, default=EMPTY_SHARE, help="share of the memories shown without their caption"
    )
    parser.add_argument("--muon", action="store_true", help="learn the inner kernels by Muon instead of AdamW")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--warm-start", type=Path, help="a published model whose weights to train on from")
    parser.add_argument("--start", type=Path, help="a run packed by training.packed, to go on with where there is none")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    train(**vars(parser.parse_args()))
