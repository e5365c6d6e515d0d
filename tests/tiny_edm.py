"""Random EDM networks in the layout of the real ones, small enough for unit tests."""

from __future__ import annotations

from pathlib import Path

import torch

from steering.backbones.edm_network import Config, Denoiser, initialise
from steering.backbones.nvlabs import write

CLASSES = ("cat", "dog", "red apple")


def small(architecture: str = "ddpmpp", label_dim: int = 3, **changes) -> Config:
    """Two levels, 16 and 8 pixels, of 16 and 32 channels; attention at 8."""
    shape = {"img_resolution": 16, "model_channels": 16, "channel_mult": (1, 2), "num_blocks": 1}
    return Config(architecture, **{**shape, "attn_resolutions": (8,), "label_dim": label_dim, **changes})


def random_network(config: Config, seed: int = 0) -> Denoiser:
    """A network whose every branch speaks: none is left at its start near 0."""
    torch.manual_seed(seed)
    network = Denoiser(config)
    initialise(network)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.split(".")[-2] in ("conv1", "proj") or "aux_conv" in name:
                p.copy_(torch.randn(p.shape) * 0.05)
    return network.eval().requires_grad_(False)


def make_tiny_edm(folder: Path, config: Config | None = None, **described) -> Path:
    """Write a random EDM in our layout; returns the folder."""
    config = config or small()
    told = {"name": folder.name, "family": "edm", "description": "random weights for tests"}
    if config.label_dim:
        told |= {"classes": list(CLASSES), "null_class": True}
    write(folder, config, random_network(config).state_dict(), told | described)
    return folder
