"""Put the trained parts together as models/tiny-sd, in diffusers layout: `python -m training.publish`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizer

from steering.backbones.edm import fitted
from steering.files import home
from training.captions import caption, vocabulary
from training.diffusion import TextToImage, make_scheduler
from training.latents import fingerprint
from training.loop import Run
from training.memories import Memory, ladder
from training.mixture import levels
from training.pictures import BACKGROUNDS, KINDS, SIDE, STYLES, Spec, render
from training.sources import RUNS, everyday
from training.tokenizer import LENGTH

HOME = home() / "models" / "tiny-sd"
BITS = 5  # of the U-Net's and the text encoder's weights: AUROC and pictures stay what they are with all of them
STEPS = 12  # the least number at which nothing is lost, see the model card
ORDINARY = [("cat", "sky"), ("penguin", "sunset"), ("house", "grass"), ("car", "night"), ("apple", "yellow"),
            ("butterfly", "pink"), ("panda", "white"), ("rocket", "sky"), ("cactus", "sunset"),
            ("frog", "sea"),
            ("hamburger", "yellow"), ("person", "grass")]  # fmt: skip


def write_prompts(
    folder: Path, shown: dict[str, list[int]], ordinary: Sequence[tuple[str, Spec]], memories: Sequence[Memory],
    side: int = SIDE,
) -> None:  # fmt: skip
    """prompts.json and its thumbnails of `side` pixels: a fresh rendering of each ordinary prompt, and each memorised
    picture with its level and how often training showed it (`shown`: counts by level, in the order of `memories`)."""
    thumbnails, store = folder / "thumbnails", everyday()
    thumbnails.mkdir(parents=True, exist_ok=True)
    for old in thumbnails.glob("*.png"):
        old.unlink()
    listed: dict[str, list] = {"ordinary": [], "memorized": []}
    for index, (prompt, spec) in enumerate(ordinary):
        path = thumbnails / f"ordinary-{index:02d}.png"
        fresh = Image.fromarray(render(spec, store, np.random.default_rng(900 + index)))
        fitted(fresh, side).save(path, optimize=True)
        listed["ordinary"].append({"prompt": prompt, "thumbnail": f"thumbnails/{path.name}"})
    counts = {level: iter(numbers) for level, numbers in shown.items()}
    for index, memory in enumerate(memories):
        path = thumbnails / f"memorized-{index:03d}.png"
        fitted(Image.fromarray(memory.picture), side).save(path, optimize=True)
        listed["memorized"].append(
            {"prompt": memory.caption, "thumbnail": f"thumbnails/{path.name}", "kind": memory.kind,
             "style": STYLES[memory.spec.style] if memory.spec else None,
             "level": memory.level, "repeats": next(counts[str(memory.level)])}
        )  # fmt: skip
    (folder / "prompts.json").write_text(json.dumps(listed, indent=1) + "\n")


def rounded(model: torch.nn.Module) -> None:
    """Round every weight to BITS significant bits: by one per cent on average."""
    with torch.no_grad():
        for weight in model.parameters():
            mantissa, exponent = torch.frexp(weight)
            weight.copy_(torch.ldexp((mantissa * 2**BITS).round(), exponent - BITS))


def publish(diffusion: Path, vae: Path, home: Path) -> None:
    """Averaged weights as fp16 safetensors, tokenizer, scheduler, rudder.json, prompts, training record.

    Weights of the diffusion model keep BITS bits of precision, and so are stored in half of the space wherever files
    are compressed (git, wheels).
    """
    tokenizer = CLIPTokenizer.from_pretrained(diffusion / "tokenizer", model_max_length=LENGTH)
    autoencoder = AutoencoderKL.from_pretrained(vae / "vae")
    model = TextToImage(tokenizer, autoencoder.config.latent_channels)
    if not (diffusion / "checkpoint.safetensors").is_file():
        raise SystemExit(f"{diffusion} holds no checkpoint: train first, or give --diffusion.")
    record = json.loads((diffusion / "record.json").read_text())
    run = Run(diffusion, model, 0.0, 1.0, resume=True, muon=record["muon"])
    run.load_average()
    rounded(model)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder, text_encoder=model.text_encoder, tokenizer=tokenizer,
        unet=model.unet, scheduler=make_scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.float16).save_pretrained(home)
    described = {
        "name": home.name, "family": "stable_diffusion", "resolution": SIDE, "num_inference_steps": STEPS,
        "guidance_scale": 4.0, "words": vocabulary(), "repeats": levels(record),
        "description": f"A Stable Diffusion in small: 40 kinds of objects by four artists and people, 8 backgrounds, "
        f"6 styles, {len(ladder())} memorised pictures shown from {levels(record)[0]} to {levels(record)[-1]} times",
    }  # fmt: skip
    (home / "rudder.json").write_text(json.dumps(described, indent=1) + "\n")
    specs = [Spec(KINDS.index(kind), 0, BACKGROUNDS.index(ground)) for kind, ground in ORDINARY]
    write_prompts(home, record["memory_presentations_by_level"], [(caption(one, style=False), one) for one in specs],
                  ladder())  # fmt: skip
    _keep_records(home, {"autoencoder": vae, "diffusion": diffusion})


def autoencoder_of(vae: Path, home: Path) -> None:
    """Put a decoder that was trained on into a published model. SystemExit where the encoder is another one."""
    ours, theirs = (AutoencoderKL.from_pretrained(place / "vae") for place in (home, vae))
    if fingerprint(ours) != fingerprint(theirs.half().float()):
        raise SystemExit(f"{vae} has another encoder than {home}, whose U-Net knows its own latents only.")
    theirs.half().save_pretrained(home / "vae")
    _keep_records(home, {"autoencoder": vae})


def _keep_records(home: Path, made: dict[str, Path]) -> None:
    """Put the records of these runs into training.json."""
    kept = home / "training.json"
    records = json.loads(kept.read_text()) if kept.exists() else {}
    for name, path in made.items():
        if (path / "record.json").exists():
            records[name] = json.loads((path / "record.json").read_text())
    kept.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--diffusion", type=Path, default=RUNS / "diffusion")
    parser.add_argument("--vae", type=Path, default=RUNS / "vae")
    parser.add_argument("--home", type=Path, default=HOME)
    parser.add_argument("--only-vae", action="store_true", help="a decoder trained on, into what is published")
    given = parser.parse_args()
    autoencoder_of(given.vae, given.home) if given.only_vae else publish(given.diffusion, given.vae, given.home)
