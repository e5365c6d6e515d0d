"""From a name to a loaded model: embedded ones first, then a local folder in diffusers layout or a single file, then a
hub id.

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
from . import hub, presets
from .base import Backbone
from .kinds import is_stable_diffusion, refuse_folder
from .layout import FAMILIES, STABLE_DIFFUSION, Family, check_folder, names, resolution, settings, weights_of
from .single_file import outlined

if TYPE_CHECKING:
    import torch

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".pkl")  # of which only the first is ever opened
DEFAULT = "tiny-sd"


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

    `folder` is None for a single file, and for a hub id (`remote`) that has yet to be fetched: then everything below it
    is its preset's or a Stable Diffusion's usual. `resolution` is 0 where it is not known yet; `words` are all that it
    was taught, () where it lists none.
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
    remote: bool = False


def outline(name_or_path: str = DEFAULT) -> Outline:
    """A model's name, defaults and words, without torch, weights or network.

    Raises RudderError as `load` does for all that a look at the folder can tell: an unknown model, another family,
    missing or truncated weights.
    """
    asked = str(name_or_path)
    if _is_remote(asked):
        preset = presets.PRESETS.get(asked)
        usual = FAMILIES[preset.family] if preset else STABLE_DIFFUSION
        told = settings({}, usual) | (preset.settings() if preset else {})
        return Outline(asked, asked, usual, None, False, "", told, 0, (), remote=True)
    folder = find(asked)
    if folder.is_file():
        told, side = outlined(folder, STABLE_DIFFUSION)
        return Outline(folder.stem, asked, STABLE_DIFFUSION, None, False, "", told, side, ())
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


def prompts_in(folder: Path | None) -> dict[str, list[dict[str, Any]]]:
    """A model's own prompts, {"ordinary": [...], "memorized": [...]} of {"prompt", "thumbnail", ...} as prompts.json
    beside its weights lists them; both empty without it. Memorised: what came back whenever it was asked for
    (`recall` 1), the most repeated first."""
    listed = read_json(folder / "prompts.json") if folder and (folder / "prompts.json").is_file() else {}
    held = [row for row in listed.get("memorized", []) if row.get("recall", 0 if "level" in row else 1) == 1]
    held.sort(key=lambda row: -(row.get("repeats") or 0))
    return {"ordinary": listed.get("ordinary", []), "memorized": held}


def prompts_of(model: str) -> dict[str, list[dict[str, Any]]]:
    """An embedded model's own prompts, as `prompts_in` gives them; both empty for any other model."""
    return prompts_in(models_folder() / Path(model).name)


def load(
    name_or_path: str = DEFAULT,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    attention: str = "sdpa",
    reading: Callable[[str], None] = lambda part: None,
    compile: bool | None = None,
) -> Backbone:
    """Load a model for steering.

    `name_or_path`: an embedded model's name, a local folder in diffusers layout, a single .safetensors file of a Stable
    Diffusion 1.x or 2.x, or a hub id ("owner/name", the only case that may download; with a preset's settings where it
    has one). `device`: "cpu", "cuda", "auto", ... `dtype` None: float32 on CPU,
    float16 on CUDA. `attention`: "sdpa" (torch's own) or "xformers" where installed. `reading` is told of each
    component ("text_encoder", "vae", "unet", "transformer") before its weights are read. `compile`: run the network's
    blocks by torch.compile (None: where RUDDER_COMPILE is set). Raises RudderError for an unknown model, missing or
    truncated weights, another family, or a device that is not there.
    """
    asked = str(name_or_path)
    folder = find(asked)
    single = folder.is_file()
    info = _info(folder)
    family = STABLE_DIFFUSION if single else _family(info)
    import torch

    where, kind = _device(device), _dtype(dtype)
    options: dict[str, Any] = {
        "name": folder.stem if single else asked if _is_hub_id(asked, folder) else info.name,
        "device": where,
        "dtype": kind or (torch.float16 if where.type == "cuda" else torch.float32),
        "attention": attention,
        "reading": reading,
    }
    if single:
        from .single_file import from_file

        backbone: Backbone = from_file(folder, **options)
    else:
        module, _, name = family.loader.partition(":")
        backbone = getattr(importlib.import_module(module), name).from_folder(folder, **options)
        presets.settle(backbone, asked)
    from .compiled import compile_blocks, wanted

    if wanted(compile):
        compile_blocks(backbone)
    return backbone


def _family(info: ModelInfo) -> Family:
    """The family of a model; RudderError for one that Rudder does not have, by the name of what it is."""
    if info.family == STABLE_DIFFUSION.name or info.family not in FAMILIES:
        refuse_folder(info.path)
    if info.family not in FAMILIES:
        raise RudderError(
            f"{info.path.name} is of the family {shorten(info.family)!r}: load one of {', '.join(FAMILIES)}."
        )
    return FAMILIES[info.family]


def find(name_or_path: str) -> Path:
    """The folder or single file of a model, fetched from the hub if a hub id asks for it."""
    embedded = models_folder() / name_or_path
    if re.fullmatch(r"\w[\w.-]*", name_or_path) and os.path.isdir(embedded):
        return embedded
    path = Path(os.path.expanduser(name_or_path))
    if name_or_path.strip() and os.path.isdir(path):
        if not (path / "model_index.json").is_file():
            raise RudderError(f"{path} has no model_index.json: give a folder in diffusers layout.")
        return path
    if name_or_path.strip() and os.path.isfile(path):
        return path
    if path.suffix.lower() in _FILES:
        raise RudderError(f"{shorten(name_or_path)} is not there: check the path.")
    if _HUB_ID.fullmatch(name_or_path):
        preset = presets.PRESETS.get(name_or_path)
        folder = hub.fetch(name_or_path, preset.revision if preset else None, lambda folder: _family(_info(folder)))
        if preset and not folder.name.startswith(preset.commit):  # the hub's cache calls a snapshot by its commit
            raise RudderError(
                f"{name_or_path} stands at {shorten(folder.name, 12)} of {preset.revision}, not at {preset.commit} as "
                "it was read: give a local folder of the weights you trust."
            )
        return folder
    known = [info.name for info in available()]
    raise unknown("model", name_or_path, known, "give a folder, a file, a hub id such as owner/name, or")


def _info(folder: Path) -> ModelInfo:
    described = folder / "rudder.json"
    info = read_json(described) if described.is_file() else {}
    index = folder / "model_index.json"
    kind = str(read_json(index).get("_class_name", "")) if index.is_file() else ""
    guessed = next((name for name, family in FAMILIES.items() if kind in family.pipelines), kind)
    if guessed not in FAMILIES and is_stable_diffusion(folder):  # another pipeline over the same networks
        guessed = STABLE_DIFFUSION.name
    family = str(info.get("family", guessed or STABLE_DIFFUSION.name))
    known = FAMILIES.get(family)
    whole = known is None or all(weights_of(folder, known, part).is_file() for part in known.parts)
    present = index.is_file() and whole
    return ModelInfo(
        name=str(info.get("name", folder.name)),
        family=family,
        path=folder,
        description=str(info.get("description", "")),
        present=present,
    )


def _is_remote(asked: str) -> bool:
    """Whether only the hub can have it: the shape of a hub id, and no folder of that name here."""
    return (
        bool(_HUB_ID.fullmatch(asked))
        and not os.path.exists(os.path.expanduser(asked))
        and Path(asked).suffix.lower() not in _FILES
    )


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
