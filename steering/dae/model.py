"""The two-layer ReLU denoising autoencoder f(x) = W2 [W1^T x]_+ (no bias), its loss and its Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..errors import RudderError
from .moments import second_moment_risk

PEAK = 2.0  # the pixels' range, [-1, 1]


@dataclass(frozen=True)
class DAE:
    """Weights of one autoencoder: `encoder` W1 and `decoder` W2, both [d, p]; tied when they are one tensor.

    RudderError when the shapes differ, p = 0, or an entry is not finite.
    """

    encoder: torch.Tensor
    decoder: torch.Tensor

    def __post_init__(self) -> None:
        if self.encoder.ndim != 2 or self.encoder.shape != self.decoder.shape or not self.encoder.shape[1]:
            raise RudderError("The two weight matrices must have one shape [d, p] with p >= 1: check the file.")
        if not (torch.isfinite(self.encoder).all() and torch.isfinite(self.decoder).all()):
            raise RudderError("The weights are not finite: training diverged, so lower the step size and train again.")

    @property
    def d(self) -> int:
        return self.encoder.shape[0]

    @property
    def p(self) -> int:
        return self.encoder.shape[1]

    @property
    def tied(self) -> bool:
        return self.decoder is self.encoder

    @cached_property
    def norms(self) -> torch.Tensor:
        """The decoder columns' l2 norms [p]."""
        return self.decoder.norm(dim=0)

    def represent(self, x: torch.Tensor) -> torch.Tensor:
        """h(x) = [W1^T x]_+ of centred pictures x [N, d]: [N, p]."""
        return (checked(x, self.d) @ self.encoder).relu()

    def decode(self, h: torch.Tensor) -> torch.Tensor:
        """W2 h of representations h [N, p]: [N, d]."""
        return h @ self.decoder.T

    def denoise(self, x: torch.Tensor) -> torch.Tensor:
        """f(x) of centred, noisy pictures x [N, d]: [N, d]."""
        return self.decode(self.represent(x))

    def jacobian(self, x: torch.Tensor) -> torch.Tensor:
        """df/dx at one picture x [d]: W2 diag(W1^T x > 0) W1^T, [d, d], of rank at most the units that fire."""
        fires = (checked(x[None], self.d) @ self.encoder > 0)[0]
        return self.decoder[:, fires] @ self.encoder[:, fires].T

    def ordered(self) -> DAE:
        """The same function, columns sorted by norm, largest first."""
        rank = self.norms.argsort(descending=True, stable=True)
        encoder = self.encoder[:, rank].contiguous()
        return DAE(encoder, encoder if self.tied else self.decoder[:, rank].contiguous())


def checked(x: torch.Tensor, d: int) -> torch.Tensor:
    """`x` when it is a finite [N, d] batch; RudderError otherwise."""
    if x.ndim != 2 or x.shape[1] != d:
        raise RudderError(f"Pictures must be rows of {d} numbers, not {tuple(x.shape)}: resize them to 32x32 first.")
    if not torch.isfinite(x).all():
        raise RudderError("A picture holds a value that is not a number: choose another picture.")
    return x


def noisy(x: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    """x + sigma eps with seeded standard normal eps."""
    generator = torch.Generator().manual_seed(seed)
    return x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def penalty(dae: DAE, lam: float) -> float:
    """lambda (||W1||_F^2 + ||W2||_F^2)."""
    return lam * float(dae.encoder.double().square().sum() + dae.decoder.double().square().sum())


def loss(dae: DAE, x: torch.Tensor, sigma: float, lam: float = 0.0) -> float:
    """(1/n) sum_i E||f(x_i + sigma eps) - x_i||^2 + lambda (||W1||^2 + ||W2||^2), the expectation in closed form.

    Exact up to quadrature (see `moments`); time and memory grow as n p^2, so prefer `sampled_loss` for large n.
    """
    rows = checked(x, dae.d).double().numpy()
    risk = second_moment_risk(dae.encoder.double().numpy(), dae.decoder.double().numpy(), rows, sigma)
    return risk + penalty(dae, lam)


def sampled_loss(
    dae: DAE, x: torch.Tensor, sigma: float, lam: float = 0.0, draws: int = 16, seed: int = 0
) -> tuple[float, float]:
    """The same loss with the expectation sampled: (mean, standard error over the draws)."""
    values = [float((dae.denoise(noisy(x, sigma, seed + k)) - x).square().sum(1).mean()) for k in range(draws)]
    return float(np.mean(values)) + penalty(dae, lam), float(np.std(values, ddof=1) / draws**0.5) if draws > 1 else 0.0


def psnr(made: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each row [N], the peak being the pixel range, 2."""
    return 10 * torch.log10(PEAK**2 / (made - clean).square().mean(1).clamp_min(1e-12))
