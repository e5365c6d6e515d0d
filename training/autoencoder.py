"""Train the embedded AutoencoderKL: `python -m training.autoencoder --minutes 20`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F

from training.dataset import load
from training.loop import Run, made_by
from training.pictures import memorized

LATENT_CHANNELS = 16
MEMORIZED_SHARE = 1 / 8
CROP, CROPS_UNTIL = (
    32,
    0.75,
)  # the network is convolutional: learn on crops first, on whole pictures at the end
KL_WEIGHT = 3e-4


def make() -> AutoencoderKL:
    """The untrained autoencoder: 64x64 RGB to 8x8x16."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 40, 80, 128), layers_per_block=1, latent_channels=LATENT_CHANNELS,
        norm_num_groups=8, sample_size=64, scaling_factor=1.0, mid_block_add_attention=False,
    )  # fmt: skip


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, 64, 64, 3] to float [B, 3, 64, 64] in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def reconstruction_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + L1 of the picture's gradients, which keeps lines sharp."""
    gradients = sum(F.l1_loss(made.diff(dim=d), true.diff(dim=d)) for d in (2, 3))
    return F.l1_loss(made, true) + F.mse_loss(made, true) + gradients


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
    c = LATENT_CHANNELS
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
def psnr(vae: AutoencoderKL, images: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio in dB over the images."""
    true = to_tensor(images)
    made = vae.decode(vae.encode(true).latent_dist.mean).sample.clamp(-1, 1)
    return float((10 * torch.log10(4 / (made - true).square().mean((1, 2, 3)))).mean())


def sample_batch(
    images: np.ndarray, copies: np.ndarray, batch: int, share: float, rng: np.random.Generator
) -> torch.Tensor:
    """`batch` whole pictures, or four times as many crops of half the side while `share` is small."""
    count = round(batch * MEMORIZED_SHARE)
    if share > CROPS_UNTIL:
        rows, cut = (
            (rng.integers(len(images), size=batch - count), rng.integers(len(copies), size=count)),
            None,
        )
    else:
        rows = rng.integers(len(images), size=4 * (batch - count)), rng.integers(len(copies), size=4 * count)
        cut = rng.integers(0, images.shape[1] - CROP + 1, (4 * batch, 2))
    picked = np.concatenate([images[rows[0]], copies[rows[1]]])
    if cut is not None:
        picked = np.stack([p[y : y + CROP, x : x + CROP] for p, (y, x) in zip(picked, cut, strict=True)])
    return to_tensor(picked).contiguous(memory_format=torch.channels_last)


def train(folder: Path, minutes: float, batch: int, lr: float, seed: int, resume: bool) -> None:
    torch.manual_seed(seed)
    images, _, _ = load(0)
    held, images = images[:200], images[200:]
    copies, _, _ = memorized()
    vae = make().to(memory_format=torch.channels_last)  # several times faster than contiguous on a CPU here
    run = Run(folder, vae, lr, minutes, weight_decay=0.0, resume=resume)
    rng = np.random.default_rng(seed + run.step)
    for share in run.steps():
        true = sample_batch(images, copies, batch, share, rng)
        latent = vae.encode(true).latent_dist
        made = vae.decode(latent.sample()).sample
        loss = reconstruction_loss(made, true) + KL_WEIGHT * latent.kl().mean() / latent.mean[0].numel()
        run.descend(loss)
        if run.step % 50 == 0:
            print(
                f"{run.seconds:6.0f} s  step {run.step}  loss {loss.item():.4f}  share {share:.3f}",
                flush=True,
            )
        if run.step % 400 == 0:
            print("  psnr", round(psnr(vae, held), 2), "memorised", round(psnr(vae, copies), 2), flush=True)
    run.load_average()
    drawn = [vae.encode(to_tensor(images[i : i + 100])).latent_dist.mean for i in range(0, 4000, 100)]
    transform(vae, *balancing(torch.cat(drawn)))
    record = {"steps": run.step, "seconds": run.seconds, "batch": batch, "lr": lr, "seed": seed,
              "pictures": len(images),
              "psnr_fresh_db": psnr(vae, held), "psnr_memorized_db": psnr(vae, copies),
              **made_by()}  # fmt: skip
    vae.save_pretrained(folder / "vae")
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "runs" / "vae")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    train(arguments.folder, arguments.minutes, arguments.batch, arguments.lr, arguments.seed, arguments.resume)
