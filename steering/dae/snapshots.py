"""The states that ship: trained once, read at once. `rudder dae snapshots` makes them all anew.

assets/dae/index.json tells every state and data set; a state's weights are one raw little-endian float16 file:
p rows of 1024 (row j is column w_j of W1 = W2, largest norm first), for untied states the same of the decoder, then
the mean representation of each class, one row of p a class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import RudderError, unknown
from ..files import read_json
from .data import SIDE, D, Pictures, folder, load, training_set
from .measures import class_representations, numbers, regime
from .model import DAE
from .training import Settings, train

SPRITES = 40
KNOBS = ("dataset", "n", "p", "sigma", "lam", "duplicates", "tied")
CURVE = 60  # points of a loss curve


@dataclass(frozen=True)
class State:
    """One shipped state: its knobs, the regime it is in, its measured numbers and its file below assets/dae."""

    name: str
    settings: Settings
    regime: str
    numbers: dict[str, Any]
    file: str


def catalogue() -> list[Settings]:
    """The settings of every shipped state."""
    small, large = Settings(n=5), Settings(n=10_000)
    found = [small, large, Settings("faces", 5), Settings("faces", 10_000), replace(large, duplicates=300)]
    found += [Settings(dataset, n) for n in (10, 30, 100, 300, 1000, 3000) for dataset in ("fashion", "faces")]
    found += [replace(small, sigma=sigma) for sigma in (0.05, 0.5, 1.0)] + [replace(small, p=p) for p in (3, 25, 50)]
    found += [replace(small, lam=1.0), replace(small, lam=5.0), replace(small, tied=False)]
    found += [Settings("faces", 5, sigma=0.5), Settings("mixture", 5), Settings("mixture-wide", 5)]
    found += [Settings("mixture", 10_000), replace(large, p=25), replace(large, p=50), replace(large, sigma=0.5)]
    found += [Settings("mixture-wide", 10_000), replace(large, lam=0.05)]
    return found


def title(settings: Settings) -> str:
    """A state's name, which is also its file's: only what differs from the defaults is said."""
    parts = [settings.dataset, f"n{settings.n}"]
    default = Settings()
    for key in KNOBS[2:]:
        value = getattr(settings, key)
        if value != getattr(default, key):
            parts.append("untied" if key == "tied" else f"{key}{value:g}")
    return "-".join(parts)


def index() -> dict[str, Any]:
    """assets/dae/index.json; RudderError when it is missing."""
    return read_json(folder() / "index.json")


def states() -> list[State]:
    """Every shipped state, in the catalogue's order."""
    return [
        State(s["name"], Settings(**{key: s[key] for key in KNOBS}), s["regime"], s["numbers"], s["file"])
        for s in index()["states"]
    ]


def nearest(settings: Settings) -> State:
    """The shipped state whose knobs lie nearest: same data set, then least distance of the knobs' logarithms."""
    found = [state for state in states() if state.settings.dataset == settings.dataset]
    if not found:
        raise unknown("data set", settings.dataset, {state.settings.dataset for state in states()})
    return min(found, key=lambda state: distance(state.settings, settings))


def distance(one: Settings, other: Settings) -> float:
    """How far apart two settings' knobs are: sum of |log ratios|, lambda's weighing a quarter, 1 for tied or not."""
    terms = [abs(math.log(getattr(one, key) / getattr(other, key))) for key in ("n", "p", "duplicates")]
    terms.append(2 * abs(math.log(max(one.sigma, 0.01) / max(other.sigma, 0.01))))
    terms.append(abs(math.log(max(one.lam, 1e-4) / max(other.lam, 1e-4))) / 4)
    return sum(terms) + (one.tied != other.tied)


def load_state(name: str) -> DAE:
    """A shipped state's weights, float32; RudderError for an unknown name or a damaged file."""
    found = {state.name: state for state in states()}
    if name not in found:
        raise unknown("state of the toy", name, found)
    return read(folder() / found[name].file, found[name].settings)


def read(path: Path, settings: Settings) -> DAE:
    """The weights in one state file."""
    try:
        values = np.fromfile(path, "<f2").astype(np.float32)
    except OSError as error:
        raise RudderError(f"{path} is missing: run `rudder dae snapshots`, or restore assets/dae.") from error
    size = settings.p * D
    if len(values) < size * (1 if settings.tied else 2):
        raise RudderError(f"{path} is truncated: run `rudder dae snapshots`, or restore assets/dae.")
    encoder = torch.from_numpy(values[:size].reshape(settings.p, D).T.copy())
    if settings.tied:
        return DAE(encoder, encoder)
    return DAE(encoder, torch.from_numpy(values[size : 2 * size].reshape(settings.p, D).T.copy()))


def write(dae: DAE, vectors: torch.Tensor, path: Path) -> None:
    """A state file: the columns, then the classes' mean representations [classes, p]."""
    parts = [dae.encoder.T] + ([] if dae.tied else [dae.decoder.T]) + [vectors]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(part.contiguous().numpy().astype("<f2").tobytes() for part in parts))


def make(chosen: Sequence[Settings] | None = None) -> Iterator[str]:
    """Train every state (or the `chosen`), write its file and its entry of index.json; yields each name when done."""
    root, wanted = folder(), catalogue()
    try:
        entries = {entry["name"]: entry for entry in index()["states"]}
    except RudderError:
        entries = {}
    for settings in chosen if chosen is not None else wanted:
        entries[title(settings)] = made(settings, root)
        _tell(root, [entries[name] for name in map(title, wanted) if name in entries])
        yield title(settings)


def made(settings: Settings, root: Path) -> dict[str, Any]:
    """Train one state, write its weights, and return its entry of index.json."""
    pictures, name = load(settings.dataset), title(settings)
    steps = list(train(training_set(pictures, settings.n, settings.duplicates), settings, CURVE))
    path = root / "states" / f"{name}.bin"
    dae = steps[-1].dae.ordered()
    write(dae, class_representations(dae, pictures), path)
    dae = read(path, settings)  # the numbers are those of the file
    told = numbers(dae, pictures, settings)
    knobs = {key: value for key, value in asdict(settings).items() if key in KNOBS}
    told["curve"] = [[step.step, round(step.loss, 4)] for step in steps]
    return {"name": name, **knobs, "regime": regime(told, settings), "file": f"states/{name}.bin", "numbers": told}


def _tell(root: Path, entries: list[dict[str, Any]]) -> None:
    """Write index.json with the data sets that the entries name, and those sets' sprites."""
    names = list(dict.fromkeys(entry["dataset"] for entry in entries))
    sets = {name: _dataset(root, load(name)) for name in names}
    (root / "index.json").write_text(json.dumps({"datasets": sets, "states": entries}, indent=1) + "\n")


def _dataset(root: Path, pictures: Pictures) -> dict[str, Any]:
    name, out = pictures.name, {"title": pictures.title, "classes": list(pictures.classes)}
    pictures.mean.numpy().astype("<f4").tofile(root / f"{name}-mean.bin")
    for key, rows, labels in (
        ("train", pictures.train, pictures.labels),
        ("test", pictures.test, pictures.test_labels),
    ):
        grey = ((rows[:SPRITES] + pictures.mean + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        Image.fromarray(grey.reshape(-1, SIDE)).save(root / f"{name}-{key}.png", optimize=True)
        out[key], out[f"{key}_labels"] = f"{name}-{key}.png", labels[:SPRITES].tolist()
    return {**out, "mean": f"{name}-mean.bin", "count": len(pictures.train)}
