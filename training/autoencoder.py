"""Train the embedded AutoencoderKL: `python -m training.autoencoder --minutes 20`.

Once there is a judge it is trained on with the distance in the judge's features beside the mean error, so that the
latents keep what is small and matters, eyes and outlines: `--start training/runs/vae --folder training/runs/judged`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from torch.nn import functional as F

from steering.evaluation.judge import load as load_judge
from training.dataset import load
from training.loop import Run, halved, made_by
from training.memories import ladder
from training.pictures import STYLES
from training.sources import RUNS

LATENT_CHANNELS = 32
WIDTHS = (24, 32, 64, 128, 192)
MEMORIZED_SHARE = 1 / 8
SMALL_UNTIL = 0.12  # of the time: pictures of half the side, four times as many, so that shapes and colours come first
EQUAL_FROM, EQUAL_SHARE = 0.3, 0.25  # when and how often latents are turned or shrunk before they are decoded
KL_WEIGHT = 3e-4
FEATURES = 0.3  # weight of the distance in the judge's features beside the reconstruction's 1


def make(widths: tuple[int, ...] = WIDTHS, channels: int = LATENT_CHANNELS) -> AutoencoderKL:
    """The untrained autoencoder: 128x128 RGB to 8x8x32."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths), up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths, layers_per_block=1, latent_channels=channels,
        norm_num_groups=8, sample_size=128, scaling_factor=1.0, mid_block_add_attention=False,
    )  # fmt: skip
    for name, module in vae.named_modules():
        if name.endswith("conv2"):  # residual branches begin as nothing, so that a picture finds its way through
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return vae


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def reconstruction_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + L1 of the picture's gradients, which keeps lines sharp."""
    gradients = sum(F.l1_loss(made.diff(dim=d), true.diff(dim=d)) for d in (2, 3))
    return F.l1_loss(made, true) + F.mse_loss(made, true) + gradients


def feature_distance(layers: nn.Sequential, made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the judge's activations after every SiLU, relative to their own size."""
    total, both = made.new_zeros(()), torch.cat([made, true])
    for layer in layers:
        both = layer(both)
        if isinstance(layer, nn.SiLU):
            ours, theirs = both.chunk(2)
            total = total + (ours - theirs).abs().mean() / theirs.abs().mean().detach()
    return total / sum(isinstance(layer, nn.SiLU) for layer in layers)


def balancing(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [C] and the symmetric matrix [C, C] that brings latents [N, C, h, w] to variance 1 on average over
    the channels, with each principal component's deviation replaced by its square root.

    Halfway between one scale for all (the strong components would drown the first steps' noise) and whitening
    (the faint ones, which the picture hardly needs, would be half of the diffusion model's work).
    """
    flat = latents.permute(0, 2, 3, 1).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    return flat.mean(0), vectors @ torch.diag(values**-0.25) @ vectors.T / values.sqrt().mean().sqrt()


@torch.no_grad()
def transform(vae: AutoencoderKL, mean: torch.Tensor, matrix: torch.Tensor) -> None:
    """Fold latent -> matrix (latent - mean) into the two 1x1 convolutions, so that pictures decode as before.
    In place; the noise of a drawn latent becomes small and the same in every channel."""
    c = len(mean)
    weight, bias = vae.quant_conv.weight.data[:c, :, 0, 0].double(), vae.quant_conv.bias.data[:c].double()
    vae.quant_conv.weight.data[:c, :, 0, 0] = (matrix @ weight).float()
    vae.quant_conv.bias.data[:c] = (matrix @ (bias - mean)).float()
    vae.quant_conv.weight.data[c:] = 0
    vae.quant_conv.bias.data[c:] = -6.0
    out = vae.post_quant_conv
    weight = out.weight.data[:, :, 0, 0].double()
    out.bias.data += (weight @ mean).float()
    out.weight.data[:, :, 0, 0] = (weight @ torch.linalg.inv(matrix)).float()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """The pictures through the autoencoder, float [N, 3, H, W] in -1..1."""
    parts = (to_tensor(images[i : i + 50]) for i in range(0, len(images), 50))
    return torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample.clamp(-1, 1) for part in parts])


def psnr(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of every picture [N]."""
    errors = (reconstruct(vae, images) - to_tensor(images)).square().mean((1, 2, 3))
    return (10 * torch.log10(4 / errors)).numpy()


def measured(vae: AutoencoderKL, held: np.ndarray, styles: np.ndarray, copies: np.ndarray) -> dict[str, Any]:
    """Mean PSNR in dB of fresh pictures, of each of their styles, and of the memories."""
    found, known = psnr(vae, held), psnr(vae, copies)
    by_style = {name: round(float(found[styles == i].mean()), 2) for i, name in enumerate(STYLES)}
    return {
        "psnr_fresh_db": float(found.mean()),
        "psnr_by_style_db": by_style,
        "psnr_memorized_db": float(known.mean()),
    }


def equal_changes(
    latent: torch.Tensor, true: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and pictures turned, mirrored or shrunk alike: decoding should follow (EQ-VAE, arXiv 2502.09509)."""
    which = int(rng.integers(6))
    if which == 0:
        return latent.flip(3), true.flip(3)
    if which < 4:
        return latent.rot90(which, (2, 3)), true.rot90(which, (2, 3))
    side = latent.shape[2] * (3 if which == 4 else 2) // 4
    pixels = side * true.shape[2] // latent.shape[2]
    return (
        F.interpolate(latent.float(), (side, side), mode="bilinear", antialias=True),
        F.interpolate(true, (pixels, pixels), mode="bilinear", antialias=True),
    )


def sheet(vae: AutoencoderKL, images: np.ndarray, path: Path) -> None:
    """Pictures above their reconstructions, sixteen a row."""
    made = ((reconstruct(vae, images) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [
        np.concatenate(list(part[i : i + 16]), 1) for i in range(0, len(images) - 15, 16) for part in (images, made)
    ]
    Image.fromarray(np.concatenate(rows)).save(path)


def train(
    folder: Path, minutes: float, batch: int, lr: float, seed: int, count: int, resume: bool,
    widths: tuple[int, ...], channels: int, start: Path | None,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    images, _, kinds = load(0, count)
    held, styles, images = images[:240], kinds[:240, 1], images[240:]
    copies = np.stack([memory.picture for memory in ladder()])
    vae = AutoencoderKL.from_pretrained(start / "vae").float().train() if start else make(tuple(widths), channels)
    seer = load_judge().features.requires_grad_(False) if start else None
    run = Run(folder, vae, lr, minutes, weight_decay=0.0, resume=resume, muon=True)
    rng = np.random.default_rng(seed + run.step)
    repeated, shown = round(batch * MEMORIZED_SHARE), np.concatenate([held[:32], copies[::8][:16]])
    for share in run.steps():
        small = share < SMALL_UNTIL and start is None
        times = 4 if small else 1
        rows = rng.integers(len(images), size=times * (batch - repeated))
        true = to_tensor(np.concatenate([images[rows], copies[rng.integers(len(copies), size=times * repeated)]]))
        true = F.avg_pool2d(true, 2) if small else true
        with halved("cpu"):
            latent = vae.encode(true).latent_dist
            drawn, wanted = latent.sample(), true
            if (share > EQUAL_FROM or start) and rng.random() < EQUAL_SHARE:
                drawn, wanted = equal_changes(drawn, true, rng)
            made = vae.decode(drawn).sample
            unlike = (
                feature_distance(seer, made, wanted).float() if seer and made.shape[2] == 128 else made.new_zeros(())
            )
        made = made.float()
        kl = latent.kl().float().mean() / latent.mean[0].numel()
        run.descend(reconstruction_loss(made, wanted) + FEATURES * unlike + KL_WEIGHT * kl)
        if run.step % 100 == 0:
            loss = float(reconstruction_loss(made.detach(), wanted))
            print(f"{run.seconds:6.0f} s  step {run.step}  loss {loss:.4f}  features {unlike.item():.4f}  "
                  f"share {share:.3f}", flush=True)  # fmt: skip
        if run.step % 1000 == 0:
            print("  ", measured(vae, held, styles, copies), flush=True)
            sheet(vae, shown, folder / "sheet.png")
    run.load_average()
    drawn = [vae.encode(to_tensor(images[i : i + 100])).latent_dist.mean.detach() for i in range(0, 4000, 100)]
    transform(vae, *balancing(torch.cat(drawn)))
    record = {"steps": run.step, "seconds": run.seconds, "batch": batch, "lr": lr, "seed": seed,
              "pictures": len(images), "parameters": sum(p.numel() for p in vae.parameters()),
              **measured(vae, held, styles, copies), **made_by(),
              "before": json.loads((start / "record.json").read_text()) if start else None}  # fmt: skip
    vae.save_pretrained(folder / "vae")
    sheet(vae, shown, folder / "sheet.png")
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "vae")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=30_000, help="pictures to learn from")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--channels", type=int, default=LATENT_CHANNELS)
    parser.add_argument("--start", type=Path, help="a trained autoencoder's folder, to train on with the judge")
    parser.add_argument("--resume", action="store_true")
    train(**vars(parser.parse_args()))
