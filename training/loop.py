"""What every training shares: a schedule by the clock, an average of the weights, resumable checkpoints."""

from __future__ import annotations

import datetime
import json
import math
import platform
import statistics
import sys
import time
from collections import deque
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


def halves(device: str) -> bool:
    """Whether products in bfloat16 are fast: on a GPU and on processors that have them (AVX-512)."""
    return device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def halved(device: str) -> torch.autocast:
    """Products in bfloat16 where they are fast, in float32 elsewhere."""
    return torch.autocast(device, torch.bfloat16, enabled=halves(device))


def orthogonal(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """`matrix` [m, n], its singular values brought near 1 by Newton and Schulz's iteration with the coefficients of
    torch.optim.Muon (Jordan 2024)."""
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), wide, beta=3.4445)
    return wide.T if len(matrix) > matrix.shape[1] else wide


STALL = 4  # times the usual step: what one takes longer, the machine slept or the process was held, and is not training
RECENT = 25  # steps by which the usual one is known


class Matrices(torch.optim.Muon):
    """torch's Muon for kernels of any shape: each is seen as a matrix [out, everything else] that shares its memory.

    `adjust_lr_fn="match_rms_adamw"`, so that AdamW's rate fits (Liu et al. 2025, arXiv 2502.16982).
    """

    def __init__(self, kernels: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        self.kernels = kernels
        flat = [nn.Parameter(self._flat(kernel.data)) for kernel in kernels]
        super().__init__(flat, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @staticmethod
    def _flat(kernel: torch.Tensor) -> torch.Tensor:
        last = kernel.is_contiguous(memory_format=torch.channels_last) if kernel.dim() == 4 else False
        return (kernel.permute(0, 2, 3, 1) if last else kernel).reshape(len(kernel), -1)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for flat, kernel in zip(self.param_groups[0]["params"], self.kernels, strict=True):
            assert kernel.grad is not None
            flat.grad = self._flat(kernel.grad.contiguous(
                memory_format=torch.channels_last if kernel.dim() == 4 and not kernel.is_contiguous()
                else torch.preserve_format))  # fmt: skip
        if halves(str(self.kernels[0].device.type)):
            super().step(closure)
            return
        for group in self.param_groups:  # Muon's own products are in bfloat16, which this processor would emulate
            for flat in group["params"]:
                moments = self.state[flat]
                held = moments.setdefault("momentum_buffer", torch.zeros_like(flat))
                held.lerp_(flat.grad, 1 - group["momentum"])
                update = orthogonal(flat.grad.lerp(held, group["momentum"]), group["ns_steps"])
                flat.mul_(1 - group["lr"] * group["weight_decay"])
                flat.add_(update, alpha=-0.2 * group["lr"] * max(flat.shape) ** 0.5)


class Run:
    """Trains `model` for `minutes` of its own wall clock, across any number of resumes.

    Weights, their exponential average and the optimisers' moments go to one safetensors file, never a pickle.
    `muon`: kernels inside the network learn by Muon, and the rest (embeddings, norms, first and last layer) by AdamW.
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
        save_every: float = 180,
        muon: bool = False,
    ) -> None:
        self.folder, self.model, self.lr, self.minutes = Path(folder), model, lr, minutes
        self.decay, self.warmup, self.save_every = decay, warmup, save_every
        self.step, self.seconds = 0, 0.0
        self.names = {id(p): name for name, p in model.named_parameters()}
        inner = [p for name, p in model.named_parameters() if muon and p.dim() > 1 and not _outer(name)]
        rest = [p for p in model.parameters() if id(p) not in {id(one) for one in inner}]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
        ]
        self.trained = [rest]
        if inner:
            self.optimizers.append(Matrices(inner, lr, weight_decay))
            self.trained.append(inner)
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items() if v.is_floating_point()}
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume and self._path.exists():
            self._load()

    @property
    def _path(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def share(self) -> float:
        """How much of the time has passed, 0..1."""
        return min(self.seconds / (60 * self.minutes), 1.0)

    def steps(self) -> Iterator[float]:
        """Yield the share of the time that has passed; set the rate before each step, save now and then."""
        saved = time.monotonic()
        recent: deque[float] = deque(maxlen=RECENT)
        while self.share < 1:
            fall = (1 + math.cos(math.pi * self.share)) / 2
            rate = self.lr * min(1, (self.step + 1) / self.warmup) * (0.02 + 0.98 * fall)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            began = time.monotonic()
            yield self.share
            recent.append(time.monotonic() - began)
            self.seconds += min(recent[-1], STALL * statistics.median(recent))
            if time.monotonic() - saved > self.save_every:
                self.save()
                saved = time.monotonic()
        self.save()

    def descend(self, loss: torch.Tensor, clip: float = 1.0) -> None:
        """One step of the optimisers down `loss`, and of the average after it."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.decay, self.step / (self.step + 20))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_(list(self.average.values()), [state[key] for key in self.average], 1 - keep)

    def save(self) -> None:
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for optimizer, trained in zip(self.optimizers, self.trained, strict=True):
            for index, state in optimizer.state_dict()["state"].items():
                name = self.names[id(trained[index])]
                tensors |= {f"{key}/{name}": value for key, value in state.items() if isinstance(value, torch.Tensor)}
        tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
        partial = self._path.with_suffix(".tmp")
        save_file(tensors, partial, {"progress": json.dumps({"step": self.step, "seconds": self.seconds})})
        partial.rename(self._path)

    def _load(self) -> None:
        with safe_open(self._path, "pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        for key, value in self.average.items():
            value.copy_(tensors[f"average/{key}"])
        for optimizer, trained in zip(self.optimizers, self.trained, strict=True):
            state = optimizer.state_dict()
            keys = ("momentum_buffer",) if isinstance(optimizer, Matrices) else ("step", "exp_avg", "exp_avg_sq")
            state["state"] = {
                index: {key: tensors[f"{key}/{self.names[id(p)]}"] for key in keys} for index, p in enumerate(trained)
            }
            optimizer.load_state_dict(state)

    def load_average(self) -> None:
        """Put the averaged weights into the model."""
        self.model.load_state_dict(self.average, strict=False)


def _outer(name: str) -> bool:
    """Whether a parameter belongs to the layers that Muon is not for: embeddings, the first and the last layer."""
    outer = ("embedding", "conv_in", "conv_out", "pos_embed", "proj_out_", "map_", "x32_conv", "aux_conv")
    return any(part in name for part in outer)
