"""A model's folder in diffusers layout, and what can be told of it before torch is there and the weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checks import number, whole
from ..errors import RudderError
from ..files import check_weights, read_json
from ..files import fingerprint as hashed

COMPONENTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
REMEDY = "restore it from its source (`git checkout` or `git lfs pull` for an embedded model)"


def check_folder(folder: Path) -> None:
    """RudderError unless every file of the model is there, whole, and safetensors."""
    for part, weights in COMPONENTS.items():
        read_json(folder / part / "config.json")
        path = folder / part / weights
        if not path.is_file():
            raise RudderError(f"{path} is missing: {REMEDY}.")
        check_weights(path, REMEDY)
    for part in ("tokenizer", "scheduler"):
        if not (folder / part).is_dir():
            raise RudderError(f"{folder / part} is missing: {REMEDY}.")


def fingerprint(folder: Path) -> str:
    """What tells two models apart: 16 hex digits over configurations and weights."""
    configs = [*(folder / part / "config.json" for part in COMPONENTS), folder / "scheduler" / "scheduler_config.json"]
    return hashed(configs, [folder / part / weights for part, weights in COMPONENTS.items()])


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every component's weights."""
    return {part: (folder / part / weights).stat().st_size for part, weights in COMPONENTS.items()}


def resolution(folder: Path) -> int:
    """Pixels a side of the pictures, from the configurations; RudderError where they do not say."""
    network, vae = read_json(folder / "unet" / "config.json"), read_json(folder / "vae" / "config.json")
    size, blocks = network.get("sample_size"), vae.get("block_out_channels")
    side = size[0] if isinstance(size, list) and size else size
    if not isinstance(side, int) or not isinstance(blocks, list) or not blocks:
        raise RudderError(f"{folder}'s configurations do not say how large its pictures are: {REMEDY}.")
    return side * 2 ** (len(blocks) - 1)


def settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """Steps and guidance to start with: rudder.json's, else 40 and 7.5."""
    return {
        "num_inference_steps": whole("rudder.json's number of steps", info.get("num_inference_steps", 40), 1, 500),
        "guidance_scale": number("rudder.json's guidance scale", info.get("guidance_scale", 7.5), 0.0, 50.0),
    }


def names(info: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts from rudder.json; [] when it has none."""
    found = info.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise RudderError(f"rudder.json's {key!r} should be a list of texts: {REMEDY}.")
    return found
