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
from training.dit import class_names, make, make_scheduler
from training.latents import fingerprint
from training.loop import Run
from training.memories import ladder
from training.mixture import levels
from training.pictures import BACKGROUNDS, KINDS, Spec
from training.publish import ORDINARY, write_prompts
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
    described = {
        "name": home.name, "family": "dit", "vae": LENDER, "resolution": vae.config.sample_size,
        "num_inference_steps": STEPS, "guidance_scale": 4.0, "classes": class_names(), "repeats": levels(record),
        "description": f"A DiT in small: {len(KINDS)} kinds of objects and people by class, and {len(ladder())} "
        f"memorised pictures, a class each, shown from {levels(record)[0]} to {levels(record)[-1]} times",
    }  # fmt: skip
    for name, what in (("model_index.json", index), ("rudder.json", described), ("training.json", {"dit": record})):
        (home / name).write_text(json.dumps(what, indent=1) + "\n")
    specs = [Spec(KINDS.index(kind), 0, BACKGROUNDS.index(ground)) for kind, ground in ORDINARY]
    write_prompts(home, record["memory_presentations_by_level"], [(KINDS[spec.kind], spec) for spec in specs])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=RUNS / "dit")
    parser.add_argument("--home", type=Path, default=MODELS / "tiny-dit")
    publish(**vars(parser.parse_args()))
