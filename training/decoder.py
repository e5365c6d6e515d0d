"""Train the autoencoder's decoder on while the encoder, and so every latent, stays as it is:
`python -m training.decoder --minutes 30`. The diffusion model need not be trained again afterwards; a published one is
improved by `--vae-folder models/tiny-sd`, then `python -m training.publish --vae training/runs/decoder --only-vae`.

Two terms make edges crisp that a mean error leaves soft: the distance in the features of our own judge, and a small
discriminator of patches that is told the latent (after TAESD, madebyollin/taesd).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from steering.evaluation.judge import load as load_judge
from training.autoencoder import (
    FEATURES,
    MEMORIZED_SHARE,
    feature_distance,
    measured,
    reconstruction_loss,
    sheet,
    to_tensor,
)
from training.dataset import load
from training.latents import encode
from training.loop import Run, halved, made_by
from training.memories import ladder
from training.sources import RUNS

LATENT_NOISE = 0.05  # standard deviation added to latents, whose own is 1: those the sampler makes are not exact
ADVERSARIAL = 0.02  # weight beside the reconstruction's 1
ALONE = 300  # steps in which the discriminator learns before the decoder listens to it


class Decoder(nn.Module):
    """The decoding half of an AutoencoderKL."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant_conv(latents))


class Patches(nn.Module):
    """Pictures [B, 3, 128, 128] and their latents [B, C, 8, 8] to a logit "real" for every patch [B, 1, 16, 16]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, 2, 1), nn.GroupNorm(8, 64), nn.LeakyReLU(0.2),
            nn.Conv2d(64, 96, 4, 2, 1), nn.GroupNorm(8, 96), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.know = nn.Conv2d(channels, 96, 1)
        self.say = nn.Sequential(nn.Conv2d(96, 96, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(96, 1, 1))

    def forward(self, pictures: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        seen = self.see(pictures)
        return self.say(seen + F.interpolate(self.know(latents), seen.shape[2:], mode="bilinear"))


def train(
    vae_folder: Path, folder: Path, minutes: float, batch: int, count: int, lr: float, seed: int, resume: bool
) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(vae_folder / "vae")
    images, _, kinds = load(0, count)
    held, styles, images = images[:240], kinds[:240, 1], images[240:]
    copies = np.stack([memory.picture for memory in ladder()])
    pictures = np.concatenate([images, copies])
    latents = encode(vae, pictures).float()
    model, seer, critic = Decoder(vae), load_judge().features.requires_grad_(False), Patches(latents.shape[1])
    run = Run(folder, model, lr, minutes, weight_decay=0.0, resume=resume, muon=True)
    rule = torch.optim.Adam(critic.parameters(), 3e-4, betas=(0.9, 0.9))
    rng, begun = np.random.default_rng(seed + run.step), run.step
    repeated = max(1, round(batch * MEMORIZED_SHARE))
    for share in run.steps():
        rows = np.concatenate(
            [rng.integers(len(images), size=batch - repeated), len(images) + rng.integers(len(copies), size=repeated)]
        )
        true, drawn = to_tensor(pictures[rows]), latents[torch.from_numpy(rows)]
        with halved("cpu"):
            made = model(drawn + LATENT_NOISE * torch.randn_like(drawn)).float()
            real, fake = critic(true, drawn), critic(made.detach(), drawn)
            F.relu(1 - real.float()).mean().add(F.relu(1 + fake.float()).mean()).backward()
            rule.step()
            rule.zero_grad()
            loss = reconstruction_loss(made, true) + FEATURES * feature_distance(seer, made, true).float()
            if run.step - begun > ALONE:
                loss = loss - ADVERSARIAL * critic(made, drawn).float().mean()
        run.descend(loss)
        critic.zero_grad()
        if run.step % 100 == 0:
            print(f"{run.seconds:6.0f} s  step {run.step}  loss {loss.item():.4f}  real {real.mean().item():.2f}  "
                  f"fake {fake.mean().item():.2f}  share {share:.3f}", flush=True)  # fmt: skip
        if run.step % 1000 == 0:
            print("  ", measured(vae, held, styles, copies), flush=True)
            sheet(vae, np.concatenate([held[:32], copies[::8][:16]]), folder / "sheet.png")
    run.load_average()
    sheet(vae, np.concatenate([held[:32], copies[::8][:16]]), folder / "sheet.png")
    record = _record_of(vae_folder)
    former = record.pop("decoder", None)
    before = [*former.pop("before", []), former] if former else []
    record["decoder"] = {"before": before, "steps": run.step, "seconds": run.seconds, "batch": batch,
                         "lr": lr, "seed": seed, **measured(vae, held, styles, copies), **made_by()}  # fmt: skip
    vae.save_pretrained(folder / "vae")
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)


def _record_of(folder: Path) -> dict:
    """How the autoencoder of a run, or of a published model, was made."""
    run = folder / "record.json"
    if run.is_file():
        return json.loads(run.read_text())
    return json.loads((folder / "training.json").read_text())["autoencoder"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "judged")
    parser.add_argument("--folder", type=Path, default=RUNS / "decoder")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--count", type=int, default=24_000, help="pictures to learn from")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--resume", action="store_true")
    train(**vars(parser.parse_args()))
