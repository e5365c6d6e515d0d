"""From a name to a loaded model: embedded ones first, then a local diffusers folder, then a hub id.

torch is imported by `load` alone, so that what a model is can be told at once.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RudderError, shorten, unknown
from ..files import home, read_json
from .base import Backbone
from .layout import (
    DIT,
    FAMILIES,
    STABLE_DIFFUSION,
    Family,
    check_folder,
    names,
    part_folder,
    resolution,
    settings,
)

if TYPE_CHECKING:
    import torch

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DEFAULT = "tiny-sd"


@dataclass(frozen=True)
class Preset:
    """A public checkpoint that needs more than its id: its family, the revision its safetensors stand at, and the
    beginning of the commit that this has to be."""

    family: Family
    revision: str
    commit: str


# the main branch has pickles alone; these stand in a request that was never merged
PRESETS = {"facebook/DiT-XL-2-256": Preset(DIT, revision="refs/pr/1", commit="32d0e35")}


@dataclass(frozen=True)
class ModelInfo:
    """A model that ships with Rudder; `present` says whether its weights are there."""

    name: str
    family: str
    path: Path
    description: str
    present: bool


def models_folder() -> Path:
    """Where embedded models live: models/ beside the package."""
    return home() / "models"


def available() -> list[ModelInfo]:
    """The embedded models, by name; a folder counts once it has a rudder.json."""
    return [_info(path.parent) for path in sorted(models_folder().glob("*/rudder.json"))]


@dataclass(frozen=True)
class Outline:
    """What is known of a model before its weights are read.

    `folder` is None for a hub id that has yet to be fetched; then everything below it is its family's usual, and the
    family a Stable Diffusion's unless PRESETS knows better.
    `resolution` is 0 where it is not known yet; `words` are all that it was taught, () where it lists none.
    """

    name: str
    asked: str
    family: Family
    folder: Path | None
    embedded: bool
    description: str
    defaults: dict[str, Any]
    resolution: int
    words: tuple[str, ...]


def outline(name_or_path: str = DEFAULT) -> Outline:
    """A model's name, defaults and words, without torch, weights or network.

    Raises RudderError as `load` does for all that a look at the folder can tell: an unknown model, another family,
    missing or truncated weights.
    """
    asked = str(name_or_path)
    if _is_remote(asked):
        usual = PRESETS[asked].family if asked in PRESETS else STABLE_DIFFUSION
        return Outline(asked, asked, usual, None, False, "", settings({}, usual), 0, ())
    folder = find(asked)
    info = _info(folder)
    family = _family(info)
    check_folder(folder, family)
    described = folder / "rudder.json"
    told = read_json(described) if described.is_file() else {}
    return Outline(
        name=info.name,
        asked=asked,
        family=family,
        folder=folder,
        embedded=folder.resolve().parent == models_folder().resolve(),
        description=info.description,
        defaults=settings(told, family),
        resolution=resolution(folder, family),
        words=tuple(names(told, "words")),
    )


def prompts_of(model: str) -> dict[str, list[dict[str, str]]]:
    """An embedded model's own prompts, {"ordinary": [...], "memorized": [...]} of {"prompt", "thumbnail"}; both empty
    for any other model."""
    path = models_folder() / Path(model).name / "prompts.json"
    listed = read_json(path) if path.is_file() else {}
    return {kind: listed.get(kind, []) for kind in ("ordinary", "memorized")}


def load(
    name_or_path: str = DEFAULT,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    attention: str = "sdpa",
    reading: Callable[[str], None] = lambda part: None,
) -> Backbone:
    """Load a model for steering.

    `name_or_path`: an embedded model's name, a local folder in diffusers layout, or a hub id ("owner/name",
    the only case that may download). `device`: "cpu", "cuda", "auto", ... `dtype` None: float32 on CPU,
    float16 on CUDA. `attention`: "sdpa" (torch's own) or "xformers" where installed. `reading` is told of each
    component ("text_encoder", "vae", "unet", "transformer") before its weights are read. Raises RudderError for
    an unknown model, missing or truncated weights, another family, or a device that is not there.
    """
    asked = str(name_or_path)
    folder = find(asked)
    info = _info(folder)
    family = _family(info)
    import torch

    where, kind = _device(device), _dtype(dtype)
    module, _, name = family.loader.partition(":")
    return getattr(importlib.import_module(module), name).from_folder(
        folder,
        name=asked if _is_hub_id(asked, folder) else info.name,
        device=where,
        dtype=kind or (torch.float16 if where.type == "cuda" else torch.float32),
        attention=attention,
        reading=reading,
    )


def _family(info: ModelInfo) -> Family:
    """The family of a model; RudderError for one that Rudder does not have."""
    if info.family not in FAMILIES:
        raise RudderError(
            f"{info.path.name} is of the family {shorten(info.family)!r}: load one of {', '.join(FAMILIES)}."
        )
    return FAMILIES[info.family]


def find(name_or_path: str) -> Path:
    """The folder of a model, fetched from the hub if a hub id asks for it."""
    embedded = models_folder() / name_or_path
    if re.fullmatch(r"\w[\w.-]*", name_or_path) and os.path.isdir(embedded):
        return embedded
    path = Path(os.path.expanduser(name_or_path))
    if name_or_path.strip() and os.path.isdir(path):
        if not (path / "model_index.json").is_file():
            raise RudderError(f"{path} has no model_index.json: give a folder in diffusers layout.")
        return path
    if _HUB_ID.fullmatch(name_or_path):
        return _from_hub(name_or_path)
    known = [info.name for info in available()]
    raise unknown("model", name_or_path, known, "give a folder in diffusers layout, a hub id such as owner/name, or")


def _from_hub(repo: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["model_index.json", "rudder.json", "scheduler/*.json", "tokenizer/*"]
    for family in FAMILIES.values():
        patterns += [f"{part}/{name}" for part, weights in family.parts.items() for name in ("config.json", weights)]
    preset = PRESETS.get(repo)
    pinned = {"revision": preset.revision} if preset else {}
    try:
        folder = Path(snapshot_download(repo, allow_patterns=patterns, **pinned))
    except Exception as error:  # network, HTTP, authentication, cache: all mean that the model cannot be had
        raise RudderError(
            f"{repo} could not be fetched from the hub ({type(error).__name__}: {shorten(error)}): check "
            "the id and the "
            "connection, or give a local folder."
        ) from error
    if preset and not folder.name.startswith(preset.commit):  # the hub's cache calls a snapshot by its commit
        raise RudderError(
            f"{repo} stands at {shorten(folder.name, 12)} of {preset.revision}, not at {preset.commit} as it was read: "
            "give a local folder of the weights you trust."
        )
    return folder


def _info(folder: Path) -> ModelInfo:
    described = folder / "rudder.json"
    info = read_json(described) if described.is_file() else {}
    index = folder / "model_index.json"
    kind = str(read_json(index).get("_class_name", "")) if index.is_file() else ""
    guessed = next((name for name, family in FAMILIES.items() if kind in family.pipelines), kind)
    family = str(info.get("family", guessed or STABLE_DIFFUSION.name))
    parts = FAMILIES[family].parts if family in FAMILIES else {}
    present = index.is_file() and all((part_folder(folder, part) / name).is_file() for part, name in parts.items())
    return ModelInfo(
        name=str(info.get("name", folder.name)),
        family=family,
        path=folder,
        description=str(info.get("description", "")),
        present=present,
    )


def _is_remote(asked: str) -> bool:
    """Whether only the hub can have it: the shape of a hub id, and no folder of that name here."""
    return bool(_HUB_ID.fullmatch(asked)) and not os.path.isdir(os.path.expanduser(asked))


def _is_hub_id(asked: str, folder: Path) -> bool:
    return bool(_HUB_ID.fullmatch(asked)) and Path(asked) != folder


def _device(device: str | torch.device) -> torch.device:
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise RudderError(f"{shorten(device)!r} is no device: use 'cpu', 'cuda' or 'auto'.") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise RudderError("No CUDA device is to be had here: use device 'cpu' or 'auto'.")
    return where


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in (None, torch.float32, torch.float16, torch.bfloat16) or (found is None and dtype is not None):
        raise RudderError(f"{shorten(dtype)!r} is no number type for a model: use float32, float16 or bfloat16.")
    return found
