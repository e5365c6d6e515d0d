"""Train the embedded EDM and put it together as models/tiny-edm: `python -m training.edm --minutes 240`, then
`python -m training.edm --publish`.

A small DDPM++ on pixels, 32x32, by the recipe of Karras et al. 2022; its classes are those of training.classes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from steering.backbones.edm import EDM, fitted
from steering.backbones.edm_network import Config, Denoiser, initialise
from steering.backbones.nvlabs import write
from steering.files import home
from steering.recipe import Recipe
from steering.sampling import finish, sample
from training import classes
from training.dataset import SHARD, shards
from training.loop import Run, halved, made_by
from training.mixture import levels, mixed, save_record
from training.packed import unpack
from training.publish import write_prompts
from training.sources import CACHE, RUNS

HOME = home() / "models" / "tiny-edm"
SIDE, STEPS = 32, 18
NO_CLASS = -1
EMPTY_SHARE = 0.1  # of all pictures lose their class: the unconditional half has to know memories, too (README.md)
# Of ln sigma in training. The paper's -1.2 and 1.2 (its table 1) draw one in sixty above 4, where shapes and classes
# are decided: after 600 steps all classes were still one picture.
P_MEAN, P_STD = -0.3, 1.3


def config() -> Config:
    """7.9 million parameters, most of them where the picture is small and a step is cheap."""
    return Config("ddpmpp", SIDE, label_dim=len(classes.names()), model_channels=32, channel_mult=(1, 2, 4, 6),
                  num_blocks=1, attn_resolutions=(8, 4))  # fmt: skip


def reduced(images: np.ndarray) -> np.ndarray:
    """Pictures [N, 128, 128, 3] averaged to [N, 32, 32, 3], by what `EDM.encode` does to a picture."""
    return np.stack([np.asarray(fitted(Image.fromarray(image), SIDE)) for image in images])


def load(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the first `count` rendered pictures those that are shown, uint8 [N, 3, 32, 32], and their classes [N]. Shards
    are reduced once."""
    images, kinds = [], []
    for path, rows, numbers in classes.shown(shards(0)[: -(-count // SHARD)]):
        small = CACHE / f"{path.stem}-{SIDE}.npy"
        if not small.exists():
            np.save(small, reduced(np.load(path.with_suffix(".npy"))))
        images.append(np.load(small)[rows])
        kinds.append(numbers)
    return planes(np.concatenate(images)), torch.from_numpy(np.concatenate(kinds))


def planes(images: np.ndarray) -> torch.Tensor:
    """Pictures [N, h, w, 3] as [N, 3, h, w], laid out so: convolutions of so few channels are a third faster than with
    channels last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def one_hot(numbers: torch.Tensor) -> torch.Tensor:
    """Classes [N] as [N, label_dim]; NO_CLASS is all zeros."""
    wide = torch.zeros(len(numbers), len(classes.names()) + 1)
    return wide.scatter(1, numbers[:, None] % wide.shape[1], 1)[:, :-1]


def draw_sigmas(count: int, generator: torch.Generator) -> torch.Tensor:
    """Noise levels [count], ln sigma normal, one from each of `count` equal shares of the distribution, in random
    order: a steadier gradient than independent ones give."""
    shares = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    return (P_MEAN + P_STD * torch.special.ndtri(shares.clamp(1e-6, 1 - 1e-6))).exp()


def errors(
    model: Denoiser, clean: torch.Tensor, labels: torch.Tensor, sigma: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The paper's loss of each picture [B]: the squared error of D(x + s eps; s), weighted by (s^2 + d^2) / (s d)^2."""
    noise, data = torch.randn(clean.shape, generator=generator), model.config.sigma_data
    with halved("cpu"):
        made = model(clean + sigma[:, None, None, None] * noise, sigma, labels)
    return (sigma**2 + data**2) / (sigma * data) ** 2 * (made - clean).square().mean((1, 2, 3))


def train(
    folder: Path, minutes: float, batch: int, lr: float, seed: int, count: int, repeat: float, resume: bool,
    muon: bool = False, start: Path | None = None, empty_memories: float = EMPTY_SHARE,
) -> None:  # fmt: skip
    """Train for `minutes` of its own clock, across any number of resumes."""
    torch.manual_seed(seed)
    flat, kinds = load(count)
    memories = classes.memories()
    copied = planes(reduced(np.stack([m.picture for m in memories])))
    model = Denoiser(config())
    initialise(model)
    run = Run(folder, model, lr, minutes, resume=resume, weight_decay=0.0, decay=0.9985, muon=muon)
    if start and not run.step:
        unpack(start, run)
    generator = torch.Generator().manual_seed(seed + 1000 * run.step)

    def errors_of(first: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
        numbers = torch.cat([kinds[first], len(classes.KINDS) + again])
        share = torch.full((len(numbers),), EMPTY_SHARE)
        share[len(first) :] = empty_memories
        numbers = torch.where(torch.rand(len(numbers), generator=generator) < share, NO_CLASS, numbers)
        clean = torch.cat([flat[first], copied[again]]).float() / 127.5 - 1
        return errors(model, clean, one_hot(numbers), draw_sigmas(len(clean), generator), generator)

    record = mixed(run, memories, len(flat), seed=seed, batch=batch, repeat=repeat, errors=errors_of,
                   repeats=classes.REPEATS, sheet=lambda path: sheet(run, path))  # fmt: skip
    save_record(folder, record | {"lr": lr, "muon": muon, "empty_memories": empty_memories} | made_by())


def sheet(run: Run, path: Path) -> None:
    """Four seeds of every kind and, below, two memories of every level as they are recalled and as they are,
    painted with the averaged weights."""
    network = Denoiser(config())
    network.load_state_dict(run.average, strict=False)
    model = EDM("sheet", network.eval(), "", {"classes": list(classes.names()), "null_class": True})
    every = classes.memories()
    memories = [next(m for m in every if (m.level, m.kind) == (level, kind)) for level in range(len(classes.REPEATS))
                for kind in ("photograph", "drawing")]  # fmt: skip
    blank = np.full((len(classes.KINDS), SIDE, SIDE, 3), 255, np.uint8)

    def filled(images: np.ndarray) -> np.ndarray:
        return np.concatenate([images, blank])[: len(blank)]

    def painted(names: list[str], seed: int) -> np.ndarray:
        made = finish(sample(model, _recipe(), prompts=names, seeds=[seed] * len(names))).images
        return filled(np.stack([np.asarray(image) for image in made]))

    rows = [painted(list(classes.KINDS), seed) for seed in range(4)]
    rows += [painted([m.caption for m in memories], 0), filled(reduced(np.stack([m.picture for m in memories])))]
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)


def _recipe() -> Recipe:
    return Recipe(num_inference_steps=STEPS, guidance_scale=1.0)


def publish(folder: Path, home: Path) -> None:
    """Averaged weights as fp16 safetensors, rudder.json, prompts, training record."""
    if not (folder / "checkpoint.safetensors").is_file() or not (folder / "record.json").is_file():
        raise SystemExit(f"{folder} holds no finished run: train first, or give --folder.")
    record = json.loads((folder / "record.json").read_text())
    run = Run(folder, Denoiser(config()), 0.0, 1.0, resume=True, muon=record["muon"])
    run.load_average()
    shown = levels(record)
    described = {
        "name": home.name, "family": "edm", "num_inference_steps": STEPS, "guidance_scale": 1.0,
        "classes": list(classes.names()), "null_class": True, "repeats": shown,
        "description": f"An EDM in small, on pixels: {len(classes.KINDS) - 1} kinds of objects and people by class, "
        f"{len(classes.memories())} memorised pictures, a class each, shown from {shown[0]} to {shown[-1]} times",
    }  # fmt: skip
    write(home, config(), {name: t.half() for name, t in run.model.state_dict().items()}, described)
    write_prompts(home, record["memory_presentations_by_level"], classes.examples(), classes.memories(), SIDE)
    (home / "training.json").write_text(json.dumps({"edm": record}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RUNS / "edm")
    parser.add_argument("--minutes", type=float, default=240)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--count", type=int, default=240_000, help="ordinary pictures, of those that are rendered")
    parser.add_argument("--repeat", type=float, default=1.0, help="times the ladder's presentations (small trials)")
    parser.add_argument(
        "--empty-memories", type=float, default=EMPTY_SHARE, help="share of the memories shown without their class"
    )
    parser.add_argument("--muon", action="store_true", help="learn the kernels by Muon instead of AdamW")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a run packed by training.packed, to go on with where there is none")
    parser.add_argument("--publish", action="store_true", help="put the run's averaged weights into --home, and end")
    parser.add_argument("--home", type=Path, default=HOME)
    given = vars(parser.parse_args())
    home_, only = given.pop("home"), given.pop("publish")
    publish(given["folder"], home_) if only else train(**given)
