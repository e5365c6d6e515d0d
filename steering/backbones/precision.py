"""Numbers stay numbers: the type that an autoencoder works in, and what is no number told, never painted black."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import RudderError
from .layout import REMEDY

Network = TypeVar("Network", bound=nn.Module)


def for_autoencoder(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of float16: some autoencoders pass 65,504, float16's largest number, on the way to a picture.

    It is a tenth of a model's weights and runs once a picture, so that this costs little; bfloat16 has float32's range.
    """
    return torch.float32 if dtype == torch.float16 else dtype


def kernels(device: torch.device) -> torch.memory_format:
    """How kernels lie on a device: channels last on a GPU, as tensor cores take them; in the file's order on a
    processor, with which pictures are bit for bit those of diffusers' pipelines."""
    return torch.channels_last if device.type == "cuda" else torch.preserve_format


def on_device(module: Network, device: torch.device) -> Network:
    """A network moved to its device, and laid out as is best there."""
    return module.to(device).to(memory_format=kernels(device))  # type: ignore[call-overload]  # not in its stubs


@torch.no_grad()
def check_weights(module: nn.Module, where: Path) -> None:
    """RudderError naming the first tensor of a network that holds NaN or infinity; one pass, 9 ms for 100 MB."""
    for name, tensor in module.state_dict().items():
        if tensor.numel() == 0 or not tensor.is_floating_point():
            continue
        low, high = torch.aminmax(tensor)  # NaN comes through, and infinities are either's value
        if not bool(low.isfinite() & high.isfinite()):
            narrow = tensor.dtype == torch.float16 and not bool(low.isnan())
            why = "does not fit into float16, so load it as bfloat16 or float32" if narrow else REMEDY
            raise RudderError(f"{where} has values that are not finite, the first in {name}: {why}.")


def check_latents(latents: Tensor, dtype: torch.dtype) -> None:
    """RudderError where latents [B, C, H, W] to be decoded hold NaN or infinity; `dtype`: the model's number type."""
    if bool(latents.isfinite().all()):
        return
    raise RudderError(f"The run ended in values that are no numbers{_remedy(dtype)}.")


def check_pixels(pixels: Tensor, dtype: torch.dtype) -> None:
    """RudderError where a decoded picture [B, 3, H, W] holds NaN or infinity."""
    if not bool(pixels.isfinite().all()):
        raise RudderError(f"The autoencoder made values that are no numbers of finite latents{_remedy(dtype)}.")


def _remedy(dtype: torch.dtype) -> str:
    kind = str(dtype).removeprefix("torch.")
    if dtype == torch.float16:
        return ", larger than float16 holds: load the model as bfloat16 or float32, or take less strength or guidance"
    return f" although it was in {kind}: take less strength or guidance, or {REMEDY}"
