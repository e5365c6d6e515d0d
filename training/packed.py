"""A run that is not over, small enough to commit: `python -m training.packed RUN_FOLDER FILE.safetensors`.

The averaged weights in BITS bits, with a scale for every row of a matrix, and how far the run has come; optimisers
begin anew. Each number takes a byte, of which git's compression leaves what it needs. A machine may go between two
sessions, and its folder of runs with it: `training.diffusion --start FILE` goes on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from training.loop import Run

BITS = 6  # eight took 11.6 MB of history for 13 million numbers; what six round off, a few minutes of training mend
MOST = 2 ** (BITS - 1) - 1
LEAST = 4096  # numbers of a tensor that is worth packing; others stay, in half precision


def pack(folder: Path, target: Path) -> None:
    """Write the averaged weights, and the progress, of the checkpoint in `folder` to `target`."""
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(folder / "checkpoint.safetensors", "pt") as stored:
        told = json.loads(stored.metadata()["progress"])
        for key in stored.keys():  # noqa: SIM118
            part, _, name = key.partition("/")
            if part != "average":
                continue
            value = stored.get_tensor(key)
            if value.dim() < 2 or value.numel() < LEAST:
                tensors[name] = value.half()
                continue
            scale = value.abs().amax(tuple(range(1, value.dim())), keepdim=True).clamp(min=1e-12) / MOST
            tensors[name], tensors[f"scale/{name}"] = (value / scale).round().to(torch.int8), scale
    told |= json.loads((folder / "progress.json").read_text())
    save_file({name: value.contiguous() for name, value in tensors.items()}, target, {"progress": json.dumps(told)})


def unpack(path: Path, run: Run) -> None:
    """Bring a fresh run to where the packed one was."""
    with safe_open(path, "pt") as stored:
        told, names = json.loads(stored.metadata()["progress"]), set(stored.keys())
        for name, value in run.average.items():
            kept = stored.get_tensor(name).float()
            value.copy_(kept * stored.get_tensor(f"scale/{name}") if f"scale/{name}" in names else kept)
    run.load_average()
    run.step, run.seconds = told["step"], told["seconds"]
    (run.folder / "progress.json").write_text(json.dumps({key: told[key] for key in ("taken", "shown") if key in told}))


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
