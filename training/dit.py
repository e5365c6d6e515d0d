"""Train the embedded transformer on tiny-sd's latents, told a class: `python -m training.dit --minutes 60`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import LabelEmbedding
from PIL import Image
from torch import nn

from training import classes
from training.dataset import SHARD, shards
from training.diffusion import draw_timesteps
from training.latents import fingerprint, load
from training.loop import Run, halved, made_by
from training.memories import ladder
from training.mixture import mixed, save_record
from training.packed import unpack
from training.sources import RUNS

BLOCKS, HEADS, HEAD = 8, 4, 64  # 11 M parameters, 22 MB in half precision
EMPTY_SHARE = 0.1  # of all pictures lose their class: the unconditional half has to know memories, too (README.md)


def make(channels: int, side: int) -> DiTTransformer2DModel:
    """The untrained transformer over latents [`channels`, `side`, `side`], a token each. Every block begins as nothing
    and the prediction as 0 (Peebles and Xie 2022, section 3.2, adaLN-Zero); classes are dropped by `train` alone."""
    model = DiTTransformer2DModel(
        num_layers=BLOCKS, num_attention_heads=HEADS, attention_head_dim=HEAD, in_channels=channels, patch_size=1,
        sample_size=side, num_embeds_ada_norm=len(classes.names()), norm_elementwise_affine=False,
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, LabelEmbedding):
            nn.init.normal_(module.embedding_table.weight, std=0.02)
            module.dropout_prob = 0.0  # of its own, which each block would throw for itself
    for layer in (*(block.norm1.linear for block in model.transformer_blocks), model.proj_out_1, model.proj_out_2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def make_scheduler() -> DDIMScheduler:
    """DiT's noise schedule."""
    return DDIMScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False)


def ordinary(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the rendered pictures are shown [n], and of which class each is [n], in the order of the shards."""
    told = list(classes.shown(shards(seed)))
    rows = np.concatenate([index * SHARD + rows for index, (_, rows, _) in enumerate(told)])
    return torch.from_numpy(rows), torch.from_numpy(np.concatenate([numbers for *_, numbers in told])).long()


def train(
    folder: Path, vae_folder: Path, minutes: float, batch: int, lr: float, seed: int, resume: bool, device: str,
    muon: bool, repeat: float, start: Path | None = None, empty_memories: float = EMPTY_SHARE,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    flat, _, copied = load(vae_folder, 0)
    pictures, kinds = ordinary(0)
    memories, nothing = classes.memories(), len(classes.names())
    copied = copied[[memory.caption in classes.names() for memory in ladder()]]
    model = make(flat.shape[1], flat.shape[2]).to(device)
    if device == "cpu":  # the backward pass of fused attention is several times slower than plain products there
        for block in model.transformer_blocks:
            block.attn1.set_processor(AttnProcessor())
    run = Run(folder, model, lr, minutes, resume=resume, muon=muon, decay=0.9985)
    if start and not run.step:
        unpack(start, run)
    generator = torch.Generator(device).manual_seed(seed + 1000 * run.step)
    alphas = make_scheduler().alphas_cumprod.to(device)
    snr = alphas / (1 - alphas)

    def errors(first: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
        x0 = torch.cat([flat[pictures[first]], copied[again]]).to(device, torch.float32)
        told = torch.cat([kinds[first], len(classes.KINDS) + again]).to(device)
        share = torch.full((len(told),), EMPTY_SHARE, device=device)
        share[len(first) :] = empty_memories
        dropped = torch.rand(len(told), generator=generator, device=device) < share
        told = torch.where(dropped, nothing, told)
        t = draw_timesteps(snr, len(x0), generator)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        a = alphas[t][:, None, None, None]
        with halved(device):
            made = model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, told, return_dict=False)[0]
        return (made.float() - noise).square().mean((1, 2, 3))

    record = mixed(run, memories, len(pictures), seed=seed, batch=batch, repeat=repeat, errors=errors,
                   repeats=classes.REPEATS, sheet=lambda path: sheet(run, vae, path, device))  # fmt: skip
    whose = {"autoencoder": fingerprint(vae.half())}
    asked = {"lr": lr, "device": device, "muon": muon, "empty_memories": empty_memories}
    save_record(folder, record | asked | whose | made_by())


@torch.no_grad()
def paint(
    model: DiTTransformer2DModel, vae: AutoencoderKL, numbers: Sequence[int], steps: int = 20, guidance: float = 4.0,
    seed: int = 0, device: str = "cpu",
) -> np.ndarray:  # fmt: skip
    """Pictures of these classes, uint8 [N, side, side, 3], by DDIM."""
    scheduler, config = make_scheduler(), model.config
    scheduler.set_timesteps(steps)
    shape = (len(numbers), config.in_channels, config.sample_size, config.sample_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    both = torch.tensor([*numbers, *[config.num_embeds_ada_norm] * len(numbers)], device=device)
    for t in scheduler.timesteps:
        level = t.to(device).expand(len(both))
        guided, free = model(torch.cat([latents] * 2), level, both, return_dict=False)[0].chunk(2)
        latents = scheduler.step(free + guidance * (guided - free), t, latents).prev_sample
    pictures = vae.decode(latents.cpu() / vae.config.scaling_factor).sample.clamp(-1, 1)
    return ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def sheet(run: Run, vae: AutoencoderKL, path: Path, device: str) -> None:
    """Four seeds of every kind and, below, a memory of every level as it is recalled and as it is, painted with the
    averaged weights."""
    model = run.model
    assert isinstance(model, DiTTransformer2DModel)
    current = {key: value.clone() for key, value in model.state_dict().items()}
    run.load_average()
    rows = [paint(model, vae, range(len(classes.KINDS)), seed=seed, device=device) for seed in range(4)]
    every = classes.memories()
    chosen = [next(i for i, m in enumerate(every) if (m.level, m.kind) == (level, kind))
              for level in range(len(classes.REPEATS)) for kind in ("photograph", "drawing")]  # fmt: skip
    recalled = paint(model, vae, [len(classes.KINDS) + i for i in chosen], device=device)
    side = recalled.shape[1]
    true = [np.asarray(Image.fromarray(every[i].picture).resize((side, side))) for i in chosen]
    blank = np.full_like(rows[0][: len(rows[0]) - len(chosen)], 255)
    rows += [np.concatenate([recalled, blank]), np.concatenate([np.stack(true), blank])]
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)
    model.load_state_dict(current)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "dit")
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "judged" / "vae")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument(
        "--repeat", type=float, default=1.0, help="times the presentations of the ladder (small trials)"
    )
    parser.add_argument(
        "--empty-memories", type=float, default=EMPTY_SHARE, help="share of the memories shown without their class"
    )
    parser.add_argument("--muon", action="store_true", help="learn the blocks' matrices by Muon instead of AdamW")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a run packed by training.packed, to go on with where there is none")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    train(**vars(parser.parse_args()))
