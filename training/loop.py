"""What every training shares: a schedule by the clock, an average of the weights, resumable checkpoints."""

from __future__ import annotations

import datetime
import json
import math
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def made_by() -> dict[str, str]:
    """How a file came about: the command, the day and the machine."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    module = Path(sys.argv[0]).stem
    return {
        "command": " ".join(["python -m", f"training.{module}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}",
    }


class Run:
    """Trains `model` for `minutes` of its own wall clock, across any number of resumes.

    Weights, their exponential average and AdamW's moments go to one safetensors file, never a pickle.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        lr: float,
        minutes: float,
        *,
        weight_decay: float = 0.01,
        decay: float = 0.998,
        warmup: int = 100,
        resume: bool = False,
        save_every: float = 120,
    ) -> None:
        self.folder, self.model, self.lr, self.minutes = Path(folder), model, lr, minutes
        self.decay, self.warmup, self.save_every = decay, warmup, save_every
        self.step, self.seconds = 0, 0.0
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98),
                                           weight_decay=weight_decay, fused=True)  # fmt: skip
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume and self._path.exists():
            self._load()

    @property
    def _path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def steps(self) -> Iterator[float]:
        """Yield the share of the time that has passed; set the rate before each step, save now and then."""
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        while (share := self.seconds / (60 * self.minutes)) < 1:
            rate = self.lr * min(1, (self.step + 1) / self.warmup) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            yield share
            self.seconds = time.monotonic() - started
            if time.monotonic() - saved > self.save_every:
                self.save()
                saved = time.monotonic()
        self.save()

    def descend(self, loss: torch.Tensor, clip: float = 1.0) -> None:
        """One step of AdamW down `loss`, and of the average after it."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.decay, self.step / (self.step + 20))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                if key in self.average:
                    self.average[key].lerp_(value, 1 - keep)

    def save(self) -> None:
        tensors = {f"model/{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v.contiguous() for k, v in self.average.items()}
        names = [name for name, _ in self.model.named_parameters()]
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{key}/{names[index]}": value.contiguous() for key, value in state.items()}
        tensors = {key: value.clone() for key, value in tensors.items()}
        partial = self._path.with_suffix(".tmp")
        save_file(tensors, partial, {"progress": json.dumps({"step": self.step, "seconds": self.seconds})})
        partial.rename(self._path)

    def _load(self) -> None:
        with safe_open(self._path, "pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average/")}
        state = self.optimizer.state_dict()
        state["state"] = {
            index: {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, (name, _) in enumerate(self.model.named_parameters())
        }
        self.optimizer.load_state_dict(state)

    def load_average(self) -> None:
        """Put the averaged weights into the model."""
        self.model.load_state_dict(self.average, strict=False)
