"""Train the autoencoder's decoder on while the encoder, and so every latent, stays as it is:
`python -m training.decoder --minutes 12`. The diffusion model need not be trained again afterwards."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from training.autoencoder import MEMORIZED_SHARE, psnr, reconstruction_loss, to_tensor
from training.dataset import load
from training.diffusion import RUNS, encode
from training.loop import Run, made_by
from training.pictures import STYLES, memorized

LATENT_NOISE = 0.05  # standard deviation added to latents, whose own is 1: those the sampler makes are not exact
FAVOURED = {"pixel": 1.5}  # how much oftener a style is shown; at 4 plain pictures came out blocky, too


class Decoder(nn.Module):
    """The decoding half of an AutoencoderKL."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant_conv(latents))


def train(
    vae_folder: Path, folder: Path, minutes: float, batch: int, count: int, lr: float, seed: int, resume: bool
) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(vae_folder / "vae").to(memory_format=torch.channels_last)
    images, _, specs = (some[:count] for some in load(0))
    held, images, specs = images[:200], images[200:], specs[200:]
    shares = np.array([FAVOURED.get(style, 1.0) for style in STYLES])[specs[:, 1]]
    shares /= shares.sum()
    copies, _, _ = memorized()
    pictures = np.concatenate([images, copies])
    latents = encode(vae, pictures)
    model = Decoder(vae)
    run = Run(folder, model, lr, minutes, weight_decay=0.0, resume=resume)
    rng = np.random.default_rng(seed + run.step)
    repeated = max(1, round(batch * MEMORIZED_SHARE))
    for share in run.steps():
        rows = np.concatenate(
            [
                rng.choice(len(images), batch - repeated, p=shares),
                len(images) + rng.integers(len(copies), size=repeated),
            ]
        )
        true = to_tensor(pictures[rows]).contiguous(memory_format=torch.channels_last)
        drawn = latents[torch.from_numpy(rows)].contiguous(memory_format=torch.channels_last)
        loss = reconstruction_loss(model(drawn + LATENT_NOISE * torch.randn_like(drawn)), true)
        run.descend(loss)
        if run.step % 100 == 0:
            print(
                f"{run.seconds:6.0f} s  step {run.step}  loss {loss.item():.4f}  share {share:.3f}",
                flush=True,
            )
    run.load_average()
    record = json.loads((vae_folder / "record.json").read_text())
    former = record.pop("decoder", None)
    before = [*former.pop("before", []), former] if former else []
    record["decoder"] = {"before": before, "steps": run.step, "seconds": run.seconds, "batch": batch,
                         "lr": lr, "seed": seed,
                         "psnr_fresh_db": psnr(vae, held),
                         "psnr_memorized_db": psnr(vae, copies), **made_by()}  # fmt: skip
    vae.save_pretrained(folder / "vae")
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "vae")
    parser.add_argument("--folder", type=Path, default=RUNS / "decoder")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--count", type=int, default=24_000, help="pictures to learn from")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--resume", action="store_true")
    train(**vars(parser.parse_args()))
