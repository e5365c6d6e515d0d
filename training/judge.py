"""Train the judge that measures the models, from pictures of other seeds than the diffusion model's, and an index of
the training pictures: `python -m training.judge`.

Besides what is in a picture it learns whether it is one: damaged, blurred and half-mixed pictures, and what the
autoencoder makes of noisy latents, are a class of their own ("artefact").
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch.nn import functional as F

from steering.evaluation.judge import Judge, shrink
from steering.files import home
from training.autoencoder import to_tensor
from training.captions import PLURALS, STYLE_WORDS
from training.dataset import build, labels, load, ordinary
from training.loop import Run, halved, made_by
from training.pictures import BACKGROUNDS, KINDS, OBJECTS, PERSON, SIDE, STYLES, Spec, held_out, render
from training.sources import COLOURS, RUNS, everyday

HOME = home() / "models" / "judge"
SEED = 5  # the diffusion model's pictures have seed 0
WIDTHS = (32, 64, 96, 128, 192)
COMPONENTS, INDEXED = 64, 24_000
REFERENCES = 600  # fresh pictures in each half that Frechet distances are taken to and from
DAMAGED = 1 / 4  # of a batch
THROUGH = 1 / 2  # of the intact, how many are shown as the autoencoder gives them back
KINDS_OF_DAMAGE = ("blurred", "mixed", "shuffled", "warped", "smeared", "noisy latent")


def config() -> dict:
    """What the judge's outputs mean, and the captions' grammar, so that evaluation needs no renderer."""
    triples = [
        (k, s, b)
        for k in range(len(OBJECTS)) for s in range(len(STYLES)) for b in range(len(BACKGROUNDS))
        if held_out(k, s, b)
    ]  # fmt: skip
    heads = {"object": len(KINDS), "style": len(STYLES), "background": len(BACKGROUNDS), "glasses": 2, "two": 2,
             "colour": len(COLOURS), "artefact": 2}  # fmt: skip
    return {"side": SIDE, "widths": WIDTHS, "heads": heads, "kinds": list(KINDS), "styles": list(STYLES),
            "backgrounds": list(BACKGROUNDS), "colours": list(COLOURS), "style_words": STYLE_WORDS,
            "plurals": {kind: PLURALS.get(kind, kind + "s") for kind in KINDS},
            "held_out": triples}  # fmt: skip


def augment(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """A little blur, noise and contrast at random: pictures that are still intact."""
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand((len(images), 1, 1, 1), generator=rng)
    images = images.lerp(soft, share)
    gain = 0.9 + 0.2 * torch.rand((len(images), 1, 1, 1), generator=rng)
    level = 0.08 * torch.rand((len(images), 1, 1, 1), generator=rng)
    return images * gain + level * torch.randn(images.shape, generator=rng)


def damage(image: np.ndarray, other: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    """One uint8 picture [128, 128, 3] spoilt: "noisy latent" is left to `through`, and returned as it is."""
    if how == "blurred":
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(2.5, 7))
    if how == "mixed":
        return cv2.addWeighted(image, share := rng.uniform(0.35, 0.65), other, 1 - share, 0)
    if how == "shuffled":  # squares from elsewhere, or from another picture
        out, edge = image.copy(), int(rng.choice([16, 24, 32]))
        for _ in range(int(rng.integers(4, 10))):
            (y, x), (v, u) = rng.integers(0, SIDE - edge + 1, (2, 2))
            out[y : y + edge, x : x + edge] = (other if rng.random() < 0.5 else image)[v : v + edge, u : u + edge]
        return out
    if how == "warped":
        bend = rng.normal(0, 1, (2, SIDE, SIDE)).astype(np.float32)
        bend = np.stack([cv2.GaussianBlur(b, (0, 0), rng.uniform(5, 10)) for b in bend])
        y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + bend / bend.std() * rng.uniform(6, 12)
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if how == "smeared":  # the middle, where the object is, without its detail
        soft = cv2.medianBlur(cv2.GaussianBlur(image, (0, 0), rng.uniform(4, 8)), 9)
        mask = np.zeros((SIDE, SIDE, 1), np.float32)
        cv2.circle(mask, tuple(rng.integers(44, 84, 2).tolist()), int(rng.integers(24, 48)), 1, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), 4)[..., None]
        return (image * (1 - mask) + soft * mask).astype(np.uint8)
    return image


@torch.no_grad()
def through(vae: AutoencoderKL, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The pictures decoded from their latents with noise of that deviation [B] added, latents having deviation 1."""
    with halved("cpu"):
        latents = vae.encode(images).latent_dist.mean
        noisy = latents + noise[:, None, None, None] * torch.randn(latents.shape)
        return vae.decode(noisy).sample.float().clamp(-1, 1)


def batch_of(
    images: np.ndarray, truth: np.ndarray, vae: AutoencoderKL, size: int, rng: np.random.Generator,
    noise: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Pictures [size, 3, 128, 128], their labels [size, 6] and whether each is an artefact."""
    rows = rng.integers(len(images), size=size)
    spoilt, hows = np.arange(size) < round(DAMAGED * size), rng.integers(len(KINDS_OF_DAMAGE), size=size)
    picked = images[rows].copy()
    for i in np.flatnonzero(spoilt):
        picked[i] = damage(picked[i], images[rng.integers(len(images))], KINDS_OF_DAMAGE[hows[i]], rng)
    seen = to_tensor(picked)
    latent = spoilt & (hows == KINDS_OF_DAMAGE.index("noisy latent"))
    passed = latent | (~spoilt & (rng.random(size) < THROUGH))
    level = torch.from_numpy(np.where(latent, rng.uniform(0.5, 1.1, size), rng.uniform(0, 0.12, size))).float()
    seen[passed] = through(vae, seen[passed], level[passed])
    return augment(seen, noise), torch.from_numpy(truth[rows].astype(np.int64)), torch.from_numpy(spoilt)


def loss_of(judge: Judge, seen: torch.Tensor, truth: torch.Tensor, spoilt: torch.Tensor) -> torch.Tensor:
    """Cross entropies of all heads; what is in a picture is asked of intact ones only."""
    read = dict(zip(judge.heads_by_name, judge(seen), strict=True))
    loss = F.cross_entropy(read["artefact"].float(), spoilt.long())
    kind, style, background, glasses, colour, second = truth.T
    single = ~spoilt & ((second < 0) | (second == kind))
    asked = {"object": (kind, single), "style": (style, ~spoilt), "background": (background, ~spoilt),
             "glasses": (glasses, ~spoilt & (kind == PERSON)),
             "two": ((second >= 0).long(), ~spoilt & (kind != PERSON)),
             "colour": (colour, ~spoilt & (colour >= 0))}  # fmt: skip
    for name, (wanted, rows) in asked.items():
        if rows.any():
            weight = 0.3 if name in ("glasses", "two", "colour") else 1.0
            loss = loss + weight * F.cross_entropy(read[name][rows].float(), wanted[rows])
    return loss


@torch.no_grad()
def accuracy(judge: Judge, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Share of right answers of each head on intact uint8 pictures; labels [N, 6] as in dataset.labels."""
    parts = [judge(to_tensor(images[i : i + 250])) for i in range(0, len(images), 250)]
    read = {
        n: torch.cat(h).argmax(1).numpy() for n, h in zip(judge.heads_by_name, zip(*parts, strict=True), strict=True)
    }
    kind, style, background, glasses, colour, second = truth.T
    people, single = kind == PERSON, second < 0
    return {
        "object": float((read["object"] == kind)[single].mean()),
        "style": float((read["style"] == style).mean()),
        "background": float((read["background"] == background).mean()),
        "glasses": float((read["glasses"] == glasses)[people].mean()),
        "two": float((read["two"] == (second >= 0))[~people].mean()),
        "colour": float((read["colour"] == colour)[colour >= 0].mean()),
        "intact": float((read["artefact"] == 0).mean()),
    }


@torch.no_grad()
def artefacts_found(judge: Judge, images: np.ndarray, vae: AutoencoderKL) -> dict[str, float]:
    """Share of spoilt pictures that are called so, by kind of damage."""
    rng, found = np.random.default_rng(SEED), {}
    for how in KINDS_OF_DAMAGE:
        spoilt = to_tensor(np.stack([damage(one, images[-i - 1], how, rng) for i, one in enumerate(images[:100])]))
        if how == "noisy latent":
            spoilt = through(vae, spoilt, torch.full((100,), 0.8))
        found[how] = float(judge(spoilt)[-1].argmax(1).float().mean())
    return found


def references(count: int) -> np.ndarray:
    """Fresh pictures of the triples that training may have seen, evenly drawn: what captions of evaluation ask for."""
    rng, store, made = np.random.default_rng(98), everyday(), []
    while len(made) < count:
        spec = Spec(*(int(rng.integers(n)) for n in (len(KINDS), len(STYLES), len(BACKGROUNDS))))
        if not held_out(spec.kind, spec.style, spec.background):
            made.append(render(spec, store, rng))
    return np.stack(made)


@torch.no_grad()
def index_training(judge: Judge, pictures: np.ndarray, fresh: np.ndarray) -> dict[str, torch.Tensor]:
    """Principal components of training pictures at 32 px, codes of them and of fresh renderings; and the judge's
    features of the fresh, in as many components of their own."""
    flat, new = shrink(to_tensor(pictures)), shrink(to_tensor(fresh))
    mean = flat.mean(0)
    _, _, basis = torch.pca_lowrank(flat[:6000] - mean, q=COMPONENTS, center=False, niter=3)
    pooled = torch.cat([judge.pooled(to_tensor(fresh[i : i + 100])) for i in range(0, len(fresh), 100)])
    _, _, axes = torch.pca_lowrank(pooled - pooled.mean(0), q=COMPONENTS, center=False, niter=5)
    return {"mean": mean, "basis": basis.contiguous(), "training": ((flat - mean) @ basis).half(),
            "fresh": ((new - mean) @ basis).half(), "feature_mean": pooled.mean(0), "feature_basis": axes.contiguous(),
            "features": ((pooled - pooled.mean(0)) @ axes).half()}  # fmt: skip


def train(folder: Path, minutes: float, count: int, vae_folder: Path, resume: bool) -> None:
    torch.manual_seed(SEED)
    started = time.time()
    build(count, SEED)
    images, _, truth = load(SEED, count)
    vae = AutoencoderKL.from_pretrained(vae_folder).float().eval()
    judge = Judge(config())
    run = Run(folder, judge, 2e-3, minutes, weight_decay=0.02, resume=resume, muon=True)
    run.decay = 0.99
    rng, noise = np.random.default_rng(SEED + run.step), torch.Generator().manual_seed(SEED + run.step)
    for share in run.steps():
        batch = batch_of(images, truth, vae, 64, rng, noise)
        with halved("cpu"):
            loss = loss_of(judge, *batch)
        run.descend(loss)
        if run.step % 50 == 0:
            print(f"{run.seconds:5.0f} s  step {run.step}  loss {loss.item():.3f}  {share:.2f}", flush=True)
    run.load_average()
    judge.eval()
    fresh, _, specs = ordinary(1000, seed=99, seen=False)
    record = {"steps": run.step, "seconds": run.seconds, "seed": SEED, "pictures": len(images),
              "accuracy_on_fresh": accuracy(judge, fresh, labels(specs)),
              "artefacts_found": artefacts_found(judge, fresh, vae),
              "total_seconds": time.time() - started, **made_by()}  # fmt: skip
    HOME.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()}, HOME / "judge.safetensors")
    index = index_training(judge, load(0, INDEXED)[0], references(2 * REFERENCES))
    save_file(index, HOME / "training_index.safetensors")
    (HOME / "config.json").write_text(json.dumps(config() | {"record": record}))
    print(record, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=RUNS / "judge")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--vae-folder", type=Path, default=RUNS / "vae" / "vae")
    parser.add_argument("--resume", action="store_true")
    train(**vars(parser.parse_args()))
