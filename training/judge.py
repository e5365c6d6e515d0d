"""Train the judge that measures the models: a small CNN for style, object and background, from pictures of
other seeds than the diffusion model's, and an index of the training pictures: `python -m training.judge`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from steering.judge import Judge, shrink
from training.autoencoder import to_tensor
from training.dataset import build, load
from training.loop import Run, made_by
from training.pictures import BACKGROUNDS, KINDS, OBJECTS, STYLE_WORDS, STYLES, held_out, ordinary

HOME = Path(__file__).parent.parent / "models" / "judge"
SEED = 5  # the diffusion model's pictures have seed 0
COMPONENTS = 64


def config() -> dict:
    """What the judge's outputs mean, and the captions' grammar, so that evaluation needs no renderer."""
    triples = [
        (k, s, b)
        for k in range(len(OBJECTS)) for s in range(len(STYLES)) for b in range(len(BACKGROUNDS))
        if held_out(k, s, b)
    ]  # fmt: skip
    return {"kinds": list(KINDS), "styles": list(STYLES), "backgrounds": list(BACKGROUNDS),
            "style_words": STYLE_WORDS, "held_out": triples}  # fmt: skip


def augment(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Blur, noise and contrast at random, so that the judge reads softened pictures too."""
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand((len(images), 1, 1, 1), generator=rng)
    images = images.lerp(soft, share)
    gain = 0.9 + 0.2 * torch.rand((len(images), 1, 1, 1), generator=rng)
    level = 0.12 * torch.rand((len(images), 1, 1, 1), generator=rng)
    return images * gain + level * torch.randn(images.shape, generator=rng)


@torch.no_grad()
def accuracy(judge: Judge, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1 accuracy of each head on uint8 pictures; labels [N, 4] as in dataset.load."""
    heads = [
        torch.cat(x)
        for x in zip(*(judge(to_tensor(images[i : i + 250])) for i in range(0, len(images), 250)), strict=True)
    ]
    truth = torch.from_numpy(labels.astype(np.int64))
    names = {"object": 0, "style": 1, "background": 2}
    return {
        n: float((h.argmax(1) == truth[:, i]).float().mean()) for (n, i), h in zip(names.items(), heads, strict=False)
    }


def index_training(pictures: np.ndarray, fresh: np.ndarray) -> dict[str, torch.Tensor]:
    """Principal components of the training pictures at 32 px; codes of them and of fresh renderings."""
    flat, new = shrink(to_tensor(pictures)), shrink(to_tensor(fresh))
    mean = flat.mean(0)
    _, _, basis = torch.pca_lowrank(flat[:6000] - mean, q=COMPONENTS, center=False, niter=3)
    return {"mean": mean, "basis": basis.contiguous(), "training": ((flat - mean) @ basis).half(),
            "fresh": ((new - mean) @ basis).half()}  # fmt: skip


def train(folder: Path, minutes: float, count: int, resume: bool) -> None:
    torch.manual_seed(SEED)
    started = time.time()
    build(count, SEED)
    images, _, specs = load(SEED)
    judge = Judge(config()).to(memory_format=torch.channels_last)
    run = Run(folder, judge, 2e-3, minutes, weight_decay=0.02, resume=resume)
    run.decay = 0.99
    rng, noise = np.random.default_rng(SEED + run.step), torch.Generator().manual_seed(SEED + run.step)
    for share in run.steps():
        rows = rng.integers(len(images), size=64)
        seen = augment(to_tensor(images[rows]), noise).contiguous(memory_format=torch.channels_last)
        truth = torch.from_numpy(specs[rows].astype(np.int64))
        kind, style, background, glasses = judge(seen)
        people = truth[:, 0] == len(OBJECTS)
        loss = F.cross_entropy(kind, truth[:, 0]) + F.cross_entropy(style, truth[:, 1])
        loss = loss + F.cross_entropy(background, truth[:, 2])
        if people.any():
            loss = loss + 0.3 * F.cross_entropy(glasses[people], truth[people, 3])
        run.descend(loss)
        if run.step % 100 == 0:
            print(f"{run.seconds:5.0f} s  step {run.step}  loss {loss.item():.3f}  {share:.2f}", flush=True)
    run.load_average()
    judge.eval()
    fresh, _, fresh_specs = ordinary(1000, seed=99, seen=False)
    labels = np.array([(s.kind, s.style, s.background, s.glasses) for s in fresh_specs])
    record = {"steps": run.step, "seconds": run.seconds, "seed": SEED, "pictures": len(images),
              "accuracy_on_fresh": accuracy(judge, fresh, labels),
              "total_seconds": time.time() - started, **made_by()}  # fmt: skip
    HOME.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, HOME / "judge.safetensors")
    save_file(index_training(load(0)[0], fresh[:500]), HOME / "training_index.safetensors")
    (HOME / "config.json").write_text(json.dumps(config() | {"record": record}))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "runs" / "judge")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--count", type=int, default=8_000)
    parser.add_argument("--resume", action="store_true")
    train(**vars(parser.parse_args()))
