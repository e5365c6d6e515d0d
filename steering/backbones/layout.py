"""A model's folder in diffusers layout, and what can be told of it before torch is there and the weights are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import number, whole
from ..errors import RudderError, shorten
from ..files import check_weights, home, read_json
from ..files import fingerprint as hashed

DIFFUSERS = "diffusion_pytorch_model.safetensors"
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".h5", ".msgpack")
REMEDY = "restore it from its source (`git checkout` or `git lfs pull` for an embedded model)"


@dataclass(frozen=True)
class Family:
    """What a family's folder holds, and where its code is.

    `loader`: "module:class" of a class with `from_folder`, imported when a model is loaded. `parts`: each network's
    subfolder and weights file; the first is the one that denoises. `others`: subfolders without weights. `pipelines`:
    the `_class_name`s of model_index.json that belong to it. `side`: pixels a side from the networks' configurations
    by part. `settings`: steps and guidance where rudder.json names none.
    """

    name: str
    loader: str
    parts: Mapping[str, str]
    others: tuple[str, ...]
    pipelines: tuple[str, ...]
    side: Callable[[Mapping[str, dict[str, Any]]], int | None]
    settings: tuple[int, float] = (40, 7.5)


def _latent_side(network: str) -> Callable[[Mapping[str, dict[str, Any]]], int | None]:
    """The pictures' side of a model that paints latents: its own times the autoencoder's factor."""

    def side(configs: Mapping[str, dict[str, Any]]) -> int | None:
        size, blocks = configs[network].get("sample_size"), configs["vae"].get("block_out_channels")
        size = size[0] if isinstance(size, list) and size else size
        if isinstance(size, int) and isinstance(blocks, list) and blocks:
            return size * 2 ** (len(blocks) - 1)
        return None

    return side


def _pixel_side(configs: Mapping[str, dict[str, Any]]) -> int | None:
    """The side of a model that paints pixels: its network's own."""
    side = configs["model"].get("img_resolution")
    return side if isinstance(side, int) else None


STABLE_DIFFUSION = Family(
    name="stable_diffusion",
    loader="steering.backbones.stable_diffusion:StableDiffusion",
    parts={"unet": DIFFUSERS, "vae": DIFFUSERS, "text_encoder": "model.safetensors"},
    others=("tokenizer", "scheduler"),
    pipelines=("StableDiffusionPipeline",),
    side=_latent_side("unet"),
)
DIT = Family(
    name="dit",
    loader="steering.backbones.dit:DiT",
    parts={"transformer": DIFFUSERS, "vae": DIFFUSERS},
    others=("scheduler",),
    pipelines=("DiTPipeline",),
    side=_latent_side("transformer"),
    settings=(50, 4.0),
)
EDM_FAMILY = Family(
    name="edm",
    loader="steering.backbones.edm:EDM",
    parts={"model": "model.safetensors"},
    others=(),
    pipelines=("EDMPipeline",),
    side=_pixel_side,
    settings=(18, 1.0),
)
FAMILIES = {family.name: family for family in (STABLE_DIFFUSION, DIT, EDM_FAMILY)}


def part_folder(folder: Path, part: str) -> Path:
    """Where a network lies. An embedded model may borrow another's autoencoder: {"vae": "tiny-sd"} in rudder.json.

    Raises RudderError where that is no model's name, or where the borrower is not embedded.
    """
    own, described = folder / part, folder / "rudder.json"
    if part != "vae" or own.is_dir() or not described.is_file():
        return own
    lender, embedded = read_json(described).get("vae"), (home() / "models").resolve()
    if lender is None:
        return own
    if not isinstance(lender, str) or not re.fullmatch(r"\w[\w.-]*", lender):
        raise RudderError(f"rudder.json's 'vae' is {shorten(lender)!r}: name an embedded model that has one.")
    if folder.resolve().parent != embedded:
        raise RudderError(
            f"{folder} has no vae and borrows that of {shorten(lender)}, as only embedded models may: copy "
            f"models/{shorten(lender)}/vae into it."
        )
    return embedded / lender / part


def half_of(name: str) -> str:
    """The name under which a weights file is published in half precision: "model.fp16.safetensors"."""
    stem, dot, kind = name.rpartition(".")
    return f"{stem}.fp16{dot}{kind}"


def weights_of(folder: Path, family: Family, part: str) -> Path:
    """The weights file of a part: the full one, or the one in half precision where it stands alone."""
    full = part_folder(folder, part) / family.parts[part]
    half = full.with_name(half_of(full.name))
    return half if half.is_file() and not full.is_file() else full


def variant_of(folder: Path, family: Family, part: str) -> str | None:
    """What `from_pretrained` calls that file: None for the full one, "fp16"."""
    return None if weights_of(folder, family, part).name == family.parts[part] else "fp16"


def check_folder(folder: Path, family: Family) -> None:
    """RudderError unless every file of the model is there, whole, and safetensors."""
    for part in family.parts:
        read_json(part_folder(folder, part) / "config.json")
        path = weights_of(folder, family, part)
        if not path.is_file():
            raise RudderError(f"{path} is missing{instead(names_in(path.parent))}.")
        check_weights(path, REMEDY)
    for part in family.others:
        if not (folder / part).is_dir():
            raise RudderError(f"{folder / part} is missing: {REMEDY}.")


def instead(there: Iterable[str]) -> str:
    """The end of a sentence about weights that are not there, by the names of the files that are."""
    found = sorted(there)
    pickles = [name for name in found if name.endswith(PICKLES)]
    pieces = [name for name in found if re.search(r"-\d+-of-\d+\.safetensors$|\.safetensors\.index\.json$", name)]
    others = [name for name in found if name.endswith(".safetensors") and name not in pieces]
    if pieces:
        return f"; the weights are in pieces ({shorten(pieces[0])}): save the model in one, with max_shard_size='100GB'"
    if others:
        return f", and {shorten(others[0])} is no file that Rudder looks for: rename it if it is the same network"
    if pickles:
        return (
            f", and {shorten(pickles[0])} is a pickle, which Rudder never opens: take the model's .safetensors files, "
            "or save it again with safe_serialization=True"
        )
    return f": {REMEDY}"


def names_in(folder: Path) -> list[str]:
    """The names of a folder's files; [] where there is none."""
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def fingerprint(folder: Path, family: Family) -> str:
    """What tells two models apart: 16 hex digits over configurations and weights."""
    configs = [part_folder(folder, part) / "config.json" for part in family.parts]
    if "scheduler" in family.others:
        configs.append(folder / "scheduler" / "scheduler_config.json")
    return hashed(configs, [weights_of(folder, family, part) for part in family.parts])


def sizes(folder: Path, family: Family) -> dict[str, int]:
    """Bytes of every component's weights."""
    return {part: weights_of(folder, family, part).stat().st_size for part in family.parts}


def resolution(folder: Path, family: Family) -> int:
    """Pixels a side of the pictures, from the configurations; RudderError where they do not say."""
    side = family.side({part: read_json(part_folder(folder, part) / "config.json") for part in family.parts})
    if side is None:
        raise RudderError(f"{folder}'s configurations do not say how large its pictures are: {REMEDY}.")
    return side


def settings(info: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Steps and guidance to start with: rudder.json's, else the family's usual."""
    steps, guidance = family.settings
    return {
        "num_inference_steps": whole("rudder.json's number of steps", info.get("num_inference_steps", steps), 1, 500),
        "guidance_scale": number("rudder.json's guidance scale", info.get("guidance_scale", guidance), 0.0, 50.0),
    }


def names(info: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts from rudder.json; [] when it has none."""
    found = info.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise RudderError(f"rudder.json's {key!r} should be a list of texts: {REMEDY}.")
    return found
