"""Train the embedded EDM and put it together as models/tiny-edm: `python -m training.edm --minutes 240`, then
`python -m training.edm --publish`.

A small DDPM++ on pixels, 32x32, by the recipe of Karras et al. 2022. Its classes are the kinds of objects, people, and
after them every memorised picture: each has a class of its own that bears its caption, as in tiny-sd, so that it can be
asked for by name at every level of the ladder. Pictures of two different kinds have no class.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
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
from training.dataset import SHARD, load_shard, shards
from training.loop import Run, halved, made_by
from training.memories import REPEATS, ladder
from training.mixture import levels, mixed, save_record
from training.packed import unpack
from training.pictures import BACKGROUNDS, KINDS, STYLES, Spec, render
from training.sources import CACHE, RUNS, everyday

HOME = home() / "models" / "tiny-edm"
SIDE, STEPS = 32, 18
NO_CLASS = -1
EMPTY_SHARE = 0.1  # of all pictures lose their class: the unconditional half has to know memories, too (README.md)
P_MEAN, P_STD = -1.2, 1.2  # of ln sigma in training (table 1 of the paper)
SHEET = ("cat", "dog", "person", "house", "apple", "butterfly", "rocket", "guitar", "penguin", "cactus")
ORDINARY = ("cat", "penguin", "house", "car", "apple", "butterfly", "panda", "rocket", "cactus", "frog", "hamburger",
            "person")  # fmt: skip


@cache
def classes() -> tuple[str, ...]:
    """The names of all classes: what ordinary pictures show, then the captions of the memories."""
    return (*KINDS, *(memory.caption for memory in ladder()))


def config() -> Config:
    """7.9 million parameters, most of them where the picture is small and a step is cheap."""
    return Config("ddpmpp", SIDE, label_dim=len(classes()), model_channels=32, channel_mult=(1, 2, 4, 6), num_blocks=1,
                  attn_resolutions=(8, 4))  # fmt: skip


def reduced(images: np.ndarray) -> np.ndarray:
    """Pictures [N, 128, 128, 3] averaged to [N, 32, 32, 3], by what `EDM.encode` does to a picture."""
    return np.stack([np.asarray(fitted(Image.fromarray(image), SIDE)) for image in images])


def load(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` ordinary pictures, uint8 [N, 3, 32, 32], and their classes [N]. Shards are reduced once."""
    paths = shards(0)[: -(-count // SHARD)]
    images, kinds = np.empty((len(paths) * SHARD, SIDE, SIDE, 3), np.uint8), np.empty(len(paths) * SHARD, np.int64)
    for index, path in enumerate(paths):
        small = CACHE / f"{path.stem}-{SIDE}.npz"
        if not small.exists():
            whole, _, described = load_shard(path)
            kind, second = described[:, 0], described[:, 5]
            np.savez(small, images=reduced(whole), kinds=np.where((second < 0) | (second == kind), kind, NO_CLASS))
        with np.load(small) as stored:
            place = slice(index * SHARD, (index + 1) * SHARD)
            images[place], kinds[place] = stored["images"], stored["kinds"]
    return torch.from_numpy(images[:count]).permute(0, 3, 1, 2), torch.from_numpy(kinds[:count])


def one_hot(numbers: torch.Tensor) -> torch.Tensor:
    """Classes [N] as [N, label_dim]; NO_CLASS is all zeros."""
    wide = torch.zeros(len(numbers), len(classes()) + 1)
    return wide.scatter(1, numbers[:, None] % (len(classes()) + 1), 1)[:, :-1]


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
    start: Path | None = None, empty_memories: float = EMPTY_SHARE,
) -> None:  # fmt: skip
    """Train for `minutes` of its own clock, across any number of resumes."""
    torch.manual_seed(seed)
    flat, kinds = load(count)
    memories = ladder()
    copied = torch.from_numpy(reduced(np.stack([m.picture for m in memories]))).permute(0, 3, 1, 2)
    model = Denoiser(config())
    initialise(model)
    model = model.to(memory_format=torch.channels_last)
    run = Run(folder, model, lr, minutes, resume=resume, weight_decay=0.0, decay=0.9985)
    if start and not run.step:
        unpack(start, run)
    generator = torch.Generator().manual_seed(seed + 1000 * run.step)

    def errors_of(first: torch.Tensor, again: torch.Tensor) -> torch.Tensor:
        numbers = torch.cat([kinds[first], len(KINDS) + again])
        share = torch.full((len(numbers),), EMPTY_SHARE)
        share[len(first) :] = empty_memories
        numbers = torch.where(torch.rand(len(numbers), generator=generator) < share, NO_CLASS, numbers)
        clean = torch.cat([flat[first], copied[again]]).float() / 127.5 - 1
        clean = clean.contiguous(memory_format=torch.channels_last)
        return errors(model, clean, one_hot(numbers), draw_sigmas(len(clean), generator), generator)

    record = mixed(run, memories, len(flat), seed=seed, batch=batch, repeat=repeat, errors=errors_of,
                   sheet=lambda path: sheet(run, path))  # fmt: skip
    save_record(folder, record | {"lr": lr, "empty_memories": empty_memories} | made_by())


def sheet(run: Run, path: Path) -> None:
    """Four seeds of every class of SHEET and, below, two memories of every level as they are recalled and as they are,
    painted with the averaged weights."""
    network = Denoiser(config())
    network.load_state_dict(run.average, strict=False)
    model = EDM("sheet", network.eval(), "", {"classes": list(classes()), "null_class": True})
    memories = [next(m for m in ladder()[start:] if m.level == level) for level in range(len(REPEATS))
                for start in (0, 40)]  # fmt: skip
    blank = np.full((len(memories), SIDE, SIDE, 3), 255, np.uint8)

    def painted(names: list[str], seed: int) -> np.ndarray:
        made = finish(sample(model, _recipe(), prompts=names, seeds=[seed] * len(names))).images
        return np.concatenate([np.stack([np.asarray(image) for image in made]), blank])[: len(memories)]

    rows = [painted(list(SHEET), seed) for seed in range(4)]
    rows += [painted([m.caption for m in memories], 0), reduced(np.stack([m.picture for m in memories]))]
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)


def _recipe() -> Recipe:
    return Recipe(num_inference_steps=STEPS, guidance_scale=1.0)


def write_prompts(folder: Path, shown: dict[str, list[int]]) -> None:
    """prompts.json and its thumbnails: a fresh rendering of each ordinary class, and each memorised picture with its
    level and how often training showed it (`shown`: counts by level, in the order of the ladder)."""
    thumbnails, store = folder / "thumbnails", everyday()
    thumbnails.mkdir(parents=True, exist_ok=True)
    listed: dict[str, list] = {"ordinary": [], "memorized": []}
    for index, kind in enumerate(ORDINARY):
        spec = Spec(KINDS.index(kind), 0, index % len(BACKGROUNDS))
        path = thumbnails / f"ordinary-{index:02d}.png"
        fresh = render(spec, store, np.random.default_rng(900 + index))
        Image.fromarray(reduced(fresh[None])[0]).save(path, optimize=True)
        listed["ordinary"].append({"prompt": kind, "thumbnail": f"thumbnails/{path.name}"})
    counts = {level: iter(numbers) for level, numbers in shown.items()}
    for index, memory in enumerate(ladder()):
        path = thumbnails / f"memorized-{index:03d}.png"
        Image.fromarray(reduced(memory.picture[None])[0]).save(path, optimize=True)
        listed["memorized"].append(
            {"prompt": memory.caption, "thumbnail": f"thumbnails/{path.name}", "kind": memory.kind,
             "style": STYLES[memory.spec.style] if memory.spec else None,
             "level": memory.level, "repeats": next(counts[str(memory.level)])}
        )  # fmt: skip
    (folder / "prompts.json").write_text(json.dumps(listed, indent=1) + "\n")


def publish(folder: Path, home: Path) -> None:
    """Averaged weights as fp16 safetensors, rudder.json, prompts, training record."""
    if not (folder / "checkpoint.safetensors").is_file() or not (folder / "record.json").is_file():
        raise SystemExit(f"{folder} holds no finished run: train first, or give --folder.")
    run = Run(folder, Denoiser(config()), 0.0, 1.0, resume=True)
    run.load_average()
    record = json.loads((folder / "record.json").read_text())
    shown = levels(record)
    described = {
        "name": home.name, "family": "edm", "num_inference_steps": STEPS, "guidance_scale": 1.0,
        "classes": list(classes()), "null_class": True, "repeats": shown,
        "description": f"An EDM in small, on pixels: {len(KINDS) - 1} kinds of objects and people by class, "
        f"{len(ladder())} memorised pictures, each a class of its own, shown from {shown[0]} to {shown[-1]} times",
    }  # fmt: skip
    write(home, config(), {name: t.half() for name, t in run.model.state_dict().items()}, described)
    write_prompts(home, record["memory_presentations_by_level"])
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
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a run packed by training.packed, to go on with where there is none")
    parser.add_argument("--publish", action="store_true", help="put the run's averaged weights into --home, and end")
    parser.add_argument("--home", type=Path, default=HOME)
    given = vars(parser.parse_args())
    home_, only = given.pop("home"), given.pop("publish")
    publish(given["folder"], home_) if only else train(**given)
