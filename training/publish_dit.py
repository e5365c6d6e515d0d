"""Put the trained transformer into models/tiny-dit, in diffusers layout: `python -m training.publish_dit`.

Its autoencoder is tiny-sd's and is not stored a second time: rudder.json says whose it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL

from steering.files import home
from training import classes
from training.dit import make, make_scheduler
from training.latents import fingerprint
from training.loop import Run
from training.mixture import levels
from training.publish import write_prompts
from training.sources import RUNS

MODELS = home() / "models"
LENDER = "tiny-sd"
STEPS = 20


def publish(run: Path, home: Path) -> None:
    """Averaged weights as fp16 safetensors, scheduler, rudder.json, prompts, training record. SystemExit where the run
    is not finished, or learned the latents of another autoencoder than LENDER's, which lies beside `home`."""
    for name in ("checkpoint.safetensors", "record.json"):
        if not (run / name).is_file():
            raise SystemExit(f"{run} holds no {name}: train to the end first, or give --run.")
    record = json.loads((run / "record.json").read_text())
    vae = AutoencoderKL.from_pretrained(home.parent / LENDER / "vae")
    if fingerprint(vae) != record["autoencoder"]:
        raise SystemExit(f"{run} learned latents of another autoencoder than {LENDER}'s: publish that one first.")
    side = vae.config.sample_size // 2 ** (len(vae.config.block_out_channels) - 1)
    model = make(vae.config.latent_channels, side)
    Run(run, model, 0.0, 1.0, resume=True, muon=record["muon"]).load_average()
    model.to(torch.float16).save_pretrained(home / "transformer")
    make_scheduler().save_pretrained(home / "scheduler")
    index = {
        "_class_name": "DiTPipeline", "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "DDIMScheduler"], "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    shown, count = levels(record), len(classes.KINDS) - 1
    described = {
        "name": home.name, "family": "dit", "vae": LENDER, "resolution": vae.config.sample_size,
        "num_inference_steps": STEPS, "guidance_scale": 4.0, "classes": list(classes.names()), "repeats": shown,
        "description": f"A DiT in small: {count} kinds of objects and people by class, and {len(classes.memories())} "
        f"memorised pictures, a class each, shown from {shown[0]} to {shown[-1]} times",
    }  # fmt: skip
    for name, what in (("model_index.json", index), ("rudder.json", described), ("training.json", {"dit": record})):
        (home / name).write_text(json.dumps(what, indent=1) + "\n")
    write_prompts(home, record["memory_presentations_by_level"], classes.examples(), classes.memories())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=RUNS / "dit")
    parser.add_argument("--home", type=Path, default=MODELS / "tiny-dit")
    publish(**vars(parser.parse_args()))
