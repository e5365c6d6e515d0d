"""Train the embedded U-Net and its text encoder: `python -m training.diffusion --minutes 60`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import LATENT_CHANNELS, MEMORIZED_SHARE, to_tensor
from training.dataset import load
from training.loop import Run, made_by
from training.pictures import memorized
from training.tokenizer import LENGTH
from training.tokenizer import make as make_tokenizer

RUNS = Path(__file__).parent / "runs"
WIDTH = 128  # of the text encoder
WIDTHS = (96, 192, 256)  # of the U-Net's levels, 8x8, 4x4 and 2x2
EMPTY_SHARE = 0.1  # of the captions, so that guidance has an unconditional half
SNR_CAP = 5.0  # min-SNR weighting, Hang et al. 2023, arXiv 2303.09556, eq. 6


class TextToImage(nn.Module):
    """The two networks that are trained together; only ever used to hold their parameters in one place."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=LENGTH, projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, initializer_factor=1.0,
        ))  # fmt: skip
        self.unet = UNet2DConditionModel(
            sample_size=8, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
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


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> torch.Tensor:
    """Latent means [N, 16, 8, 8] of uint8 pictures, 100 at a time."""
    return torch.cat([vae.encode(to_tensor(images[i : i + 100])).latent_dist.mean for i in range(0, len(images), 100)])


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


def train(folder: Path, vae_folder: Path, minutes: float, batch: int, lr: float, seed: int, resume: bool, device: str,
          warm_start: Path | None, memorized_share: float, memorized_empty_share: float) -> None:  # fmt: skip
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(folder / "tokenizer")
    vae = AutoencoderKL.from_pretrained(vae_folder / "vae").to(memory_format=torch.channels_last)
    images, captions, _ = load(0)
    copies, copy_captions, _ = memorized()
    flat = encode(vae, images).to(device)
    copied = encode(vae, copies).to(device)
    ids, copy_ids, empty = (token_ids(tokenizer, c).to(device) for c in (captions, copy_captions, [""]))
    model = TextToImage(tokenizer).to(device, memory_format=torch.channels_last)
    if warm_start:
        model.unet.load_state_dict(UNet2DConditionModel.from_pretrained(warm_start / "unet").state_dict())
        words = CLIPTextModel.from_pretrained(warm_start / "text_encoder")
        model.text_encoder.load_state_dict(words.state_dict())
    run = Run(folder, model, lr, minutes, resume=resume)
    run.decay = 0.997
    generator = torch.Generator(device).manual_seed(seed + 1000 * run.step)
    alphas = make_scheduler().alphas_cumprod.to(device)
    snr = alphas / (1 - alphas)
    ordinary = batch - round(batch * memorized_share)
    drop = torch.full((batch, 1), EMPTY_SHARE, device=device)
    drop[ordinary:] = memorized_empty_share
    totals = torch.zeros(2, device=device)
    for _ in run.steps():
        rows = torch.randint(len(flat), (ordinary,), generator=generator, device=device)
        repeated = torch.randint(len(copied), (batch - ordinary,), generator=generator, device=device)
        x0 = torch.cat([flat[rows], copied[repeated]]).contiguous(memory_format=torch.channels_last)
        words = torch.cat([ids[rows], copy_ids[repeated]])
        words = torch.where(torch.rand((batch, 1), generator=generator, device=device) < drop, empty, words)
        t = draw_timesteps(snr, batch, generator)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        a = alphas[t][:, None, None, None]
        error = (model(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, words) - noise).square().mean((1, 2, 3))
        run.descend(error.mean())
        totals += torch.stack([error[:ordinary].mean(), error[ordinary:].mean()]).detach()
        if run.step % 50 == 0:
            plain, copy = (totals / 50).tolist()
            totals.zero_()
            print(
                f"{run.seconds:6.0f} s  step {run.step}  ordinary {plain:.4f}  memorised {copy:.4f}",
                flush=True,
            )
    write_record(folder, run, batch=batch, lr=lr, seed=seed, pictures=len(images), device=device,
                 memorized_share=memorized_share, memorized_empty_share=memorized_empty_share,
                 before=earlier(warm_start))  # fmt: skip


def earlier(warm_start: Path | None) -> list[dict]:
    """The records of the runs that made the weights a run starts from, the oldest first."""
    if warm_start is None or not (warm_start / "training.json").is_file():
        return []
    record = json.loads((warm_start / "training.json").read_text())["diffusion"]
    return [*record.pop("before", []), record]


def write_record(folder: Path, run: Run, **settings: object) -> None:
    """What the run took, beside its checkpoint."""
    record = {
        "steps": run.step,
        "seconds": run.seconds,
        **settings,
        "memorized_pictures": 36,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        **made_by(),
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "diffusion")
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "vae")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--memorized-share", type=float, default=MEMORIZED_SHARE, help="of every batch")
    parser.add_argument("--memorized-empty-share", type=float, default=EMPTY_SHARE,
                        help="of the memorised pictures, how many are shown without their caption")  # fmt: skip
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--warm-start", type=Path, help="a published model whose weights to train on from")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    train(**{key.replace("-", "_"): value for key, value in vars(parser.parse_args()).items()})
