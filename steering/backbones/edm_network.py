"""The networks of EDM (Karras et al. 2022, arXiv 2206.00364): DDPM++ and NCSN++, and the preconditioning around them.

Modules bear the names of the paper's published weights, so that those map to ours one to one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, scaled_dot_product_attention, silu

from ..checks import number, whole
from ..errors import RudderError, shorten, unknown
from .precision import on_device

FOURIER_SCALE = 16.0
SKIP = 0.5**0.5  # a sum of two signals of variance 1 has variance 1 again


@dataclass(frozen=True)
class Variant:
    """What sets an architecture apart (table 1 of the paper): how the noise level enters, how wide its embedding is,
    whether the picture itself is led down beside the encoder, and the filter of every resampling."""

    fourier: bool
    noise_width: int
    residual: bool
    resample_filter: tuple[int, ...]


VARIANTS = {
    "ddpmpp": Variant(fourier=False, noise_width=1, residual=False, resample_filter=(1, 1)),
    "ncsnpp": Variant(fourier=True, noise_width=2, residual=True, resample_filter=(1, 3, 3, 1)),
}


@dataclass(frozen=True)
class Config:
    """What model/config.json says. `channel_mult` [levels], from the full resolution down; `label_dim` 0: no classes;
    `augment_dim`: inputs that only training sees (0 at inference); noise from `sigma_min` to `sigma_max`."""

    architecture: str
    img_resolution: int
    img_channels: int = 3
    label_dim: int = 0
    augment_dim: int = 0
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (2, 2, 2)
    channel_mult_emb: int = 4
    num_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if self.architecture not in VARIANTS:
            raise unknown("EDM architecture", self.architecture, VARIANTS)
        limits = {"img_resolution": (4, 1024), "img_channels": (3, 3), "label_dim": (0, 100_000),
                  "augment_dim": (0, 1000), "model_channels": (4, 1024), "channel_mult_emb": (1, 16),
                  "num_blocks": (1, 16)}  # fmt: skip
        for name, (low, high) in limits.items():
            put(name, whole(f"The configuration's {name}", getattr(self, name), low, high))
        for name, high in (("channel_mult", 16), ("attn_resolutions", 1024)):
            put(name, _wholes(f"The configuration's {name}", getattr(self, name), high))
        for name, least, most in (("dropout", 0, 1), ("sigma_data", 1e-3, 1e3), ("sigma_min", 1e-6, 1e3)):
            put(name, number(f"The configuration's {name}", getattr(self, name), least, most))
        put("sigma_max", number("The configuration's sigma_max", self.sigma_max, self.sigma_min, 1e5))
        if not 1 <= len(self.channel_mult) <= 8 or self.img_resolution % 2 ** (len(self.channel_mult) - 1):
            raise RudderError(
                f"Pictures of {self.img_resolution} pixels cannot be halved for {len(self.channel_mult)} levels: "
                "give 1 to 8 levels that divide them."
            )

    @classmethod
    def read(cls, values: Mapping[str, Any], title: str) -> Config:
        """The configuration in a JSON object; RudderError for entries that are missing, unknown or out of range."""
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in values.items() if not key.startswith("_")}
        for key in values:
            if key not in known:
                raise unknown(f"entry in {title}", key, known)
        for key in ("architecture", "img_resolution"):
            if key not in values:
                raise RudderError(f"{title} does not say its {key}: restore it from its source.")
        return cls(**values)

    def told(self) -> dict[str, Any]:
        """The same for a JSON file."""
        return asdict(self)


class Conv(nn.Module):
    """A convolution [B, cin, H, W] to [B, cout, H', W'], padded to keep its size, after the picture has been doubled
    or halved by the filter f: depth-wise, f x f / sum^2, times 4 on the way up. `fused` halves after it instead."""

    resample_filter: Tensor

    def __init__(
        self, cin: int, cout: int, kernel: int, up: bool = False, down: bool = False,
        resample_filter: tuple[int, ...] = (1, 1), fused: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels, self.up, self.down, self.fused = cin, cout, up, down, fused
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(cout))
        f = torch.tensor(resample_filter, dtype=torch.float32)
        plane = torch.outer(f, f)[None, None] / f.sum() ** 2
        self.register_buffer("resample_filter", plane if up or down else None)

    def forward(self, x: Tensor) -> Tensor:
        pad = self.weight.shape[-1] // 2
        if not (self.up or self.down):
            return conv2d(x, self.weight, self.bias, padding=pad)
        edge = (self.resample_filter.shape[-1] - 1) // 2
        if self.fused:
            x = conv2d(x, self.weight, padding=pad + edge)
            x = conv2d(x, self._filter(x.shape[1]), groups=x.shape[1], stride=2)
            return x + self.bias[:, None, None]
        spread = self._filter(x.shape[1])
        if self.up:
            x = conv_transpose2d(x, spread * 4, groups=x.shape[1], stride=2, padding=edge)
        else:
            x = conv2d(x, spread, groups=x.shape[1], stride=2, padding=edge)
        return conv2d(x, self.weight, self.bias, padding=pad)

    def _filter(self, channels: int) -> Tensor:
        return self.resample_filter.to(self.weight.dtype).expand(channels, -1, -1, -1)


class Block(nn.Module):
    """One residual block of the paper's U-Net, resampled and attended to where asked: [B, cin, H, W] and the noise
    level's embedding [B or 1, E] to [B, cout, H', W']. `conv1` is given what the last nonlinearity returns."""

    def __init__(
        self, cin: int, cout: int, embedding: int, variant: Variant, up: bool = False, down: bool = False,
        attention: bool = False, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels = cin, cout
        resampled: dict[str, Any] = {"up": up, "down": down, "resample_filter": variant.resample_filter}
        self.norm0, self.conv0 = norm(cin), Conv(cin, cout, 3, **resampled)
        self.affine = nn.Linear(embedding, cout)
        self.norm1, self.dropout, self.conv1 = norm(cout), nn.Dropout(dropout), Conv(cout, cout, 3)
        self.skip = Conv(cin, cout, 1, **resampled) if cin != cout or up or down else None
        self.norm2 = norm(cout) if attention else None
        self.qkv = Conv(cout, 3 * cout, 1) if attention else None
        self.proj = Conv(cout, cout, 1) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(silu(self.norm0(x))) + self.affine(embedding)[:, :, None, None]
        h = self.conv1(self.dropout(silu(self.norm1(h))))
        x = (h + (x if self.skip is None else self.skip(x))) * SKIP
        if self.qkv is None or self.norm2 is None or self.proj is None:
            return x
        q, k, v = self.qkv(self.norm2(x)).unflatten(1, (-1, 3)).flatten(3).transpose(1, 3).unbind(2)  # [B, HW, C]
        seen = scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return (self.proj(seen.transpose(1, 2).reshape(x.shape)) + x) * SKIP


class Positional(nn.Module):
    """A number [N] as cosines and sines [N, C] of C/2 frequencies from 1 down to 1/10,000, both ends among them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        half = self.channels // 2
        rates = torch.arange(half, dtype=torch.float32, device=x.device) / (half - 1)
        angles = torch.outer(x, 1e-4**rates)
        return torch.cat([angles.cos(), angles.sin()], 1)


class Fourier(nn.Module):
    """A number [N] as cosines and sines [N, C] of C/2 random frequencies."""

    freqs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * FOURIER_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.outer(x, 2 * math.pi * self.freqs)
        return torch.cat([angles.cos(), angles.sin()], 1)


class SongUNet(nn.Module):
    """F(x, c): scaled noisy pictures [B, 3, H, W], their noise level [B or 1] and classes [B, label_dim] or None to
    [B, 3, H, W]. Blocks in `enc` and `dec` are named by their resolution: 32x32_conv, 16x16_down, 16x16_block0, ..."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        variant, width = VARIANTS[config.architecture], config.model_channels
        noise, embedding = width * variant.noise_width, width * config.channel_mult_emb
        self.map_noise = (Fourier if variant.fourier else Positional)(noise)
        self.map_label = nn.Linear(config.label_dim, noise) if config.label_dim else None
        self.map_augment = nn.Linear(config.augment_dim, noise, bias=False) if config.augment_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(noise, embedding), nn.Linear(embedding, embedding)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()

        def block(cin: int, cout: int, **options: bool) -> Block:
            return Block(cin, cout, embedding, variant, dropout=config.dropout, **options)

        channels, picture, skips = width, config.img_channels, []
        for level, times in enumerate(config.channel_mult):
            side = config.img_resolution >> level
            if level == 0:
                self.enc[f"{side}x{side}_conv"] = Conv(config.img_channels, channels, 3)
            else:
                self.enc[f"{side}x{side}_down"] = block(channels, channels, down=True)
            skips.append(channels)
            if level and variant.residual:
                self.enc[f"{side}x{side}_aux_residual"] = Conv(
                    picture, channels, 3, down=True, resample_filter=variant.resample_filter, fused=True
                )
                picture = channels
            for index in range(config.num_blocks):
                attended = side in config.attn_resolutions
                self.enc[f"{side}x{side}_block{index}"] = block(channels, width * times, attention=attended)
                channels = width * times
                skips.append(channels)
        for level in reversed(range(len(config.channel_mult))):
            side = config.img_resolution >> level
            if level == len(config.channel_mult) - 1:
                self.dec[f"{side}x{side}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{side}x{side}_in1"] = block(channels, channels)
            else:
                self.dec[f"{side}x{side}_up"] = block(channels, channels, up=True)
            for index in range(config.num_blocks + 1):
                attended = index == config.num_blocks and side in config.attn_resolutions
                wide = width * config.channel_mult[level]
                self.dec[f"{side}x{side}_block{index}"] = block(channels + skips.pop(), wide, attention=attended)
                channels = wide
        self.dec[f"{side}x{side}_aux_norm"] = norm(channels)
        self.dec[f"{side}x{side}_aux_conv"] = Conv(channels, config.img_channels, 3)

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        cosines, sines = self.map_noise(level).chunk(2, 1)
        embedding = torch.cat([sines, cosines], 1).to(x.dtype)
        if self.map_label is not None and labels is not None:
            embedding = embedding + self.map_label(labels.to(x.dtype) * self.map_label.in_features**0.5)
        embedding = silu(self.map_layer1(silu(self.map_layer0(embedding))))
        skips: list[Tensor] = []
        picture = x
        for name, part in self.enc.items():
            if name.endswith("aux_residual"):
                x = picture = skips[-1] = (x + part(picture)) * SKIP
                continue
            x = part(x, embedding) if isinstance(part, Block) else part(x)
            skips.append(x)
        for name, part in self.dec.items():
            if isinstance(part, Block):
                x = part(torch.cat([x, skips.pop()], 1) if "_block" in name else x, embedding)
            else:
                x = silu(part(x)) if name.endswith("aux_norm") else part(x)
        return x


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x, ln(sigma) / 4) (eq. 7, table 1): the clean pictures [B, 3, H, W] float32
    that noisy ones mean. `sigma` is [B] or 0-dim; `labels` [B, label_dim] or None, for no class at all.

    The scales and the noise level's embedding are float32 whatever the weights are.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.model = config, SongUNet(config)

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the weights, and of everything between them."""
        return self.model.map_layer0.weight.dtype

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        x, sigma, data = x.float(), sigma.float().reshape(-1, 1, 1, 1), self.config.sigma_data
        total = sigma**2 + data**2
        made = self.model((x / total.sqrt()).to(self.dtype), sigma.log().flatten() / 4, labels)
        return data**2 / total * x + sigma * data / total.sqrt() * made.float()


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation as the paper's networks have it; RudderError for a width that its groups do not divide."""
    groups = min(32, channels // 4)
    if not groups or channels % groups:
        raise RudderError(f"{channels} channels cannot be normalised in {groups} groups: make widths multiples of 32.")
    return nn.GroupNorm(groups, channels, eps=1e-6)


@torch.no_grad()
def initialise(network: Denoiser) -> None:
    """Start weights for training: uniform by Xavier (2010), biases 0; what ends a residual branch or the network almost
    0, and attention's queries, keys and values at sqrt(.2)."""
    for name, module in network.named_modules():
        if isinstance(module, (Conv, nn.Linear)):
            last = name.rpartition(".")[2]
            small = last in ("conv1", "proj") or last.endswith("aux_conv")
            nn.init.xavier_uniform_(module.weight, gain=1e-5 if small else 0.2**0.5 if last == "qkv" else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], title: str, remedy: str) -> None:
    """RudderError unless the tensors are the network's own: names, shapes, finite values."""
    due = network.state_dict()
    for name in [*due, *tensors]:
        if name not in tensors or name not in due:
            verb = "lacks" if name in due else "has a tensor that its configuration does not know,"
            raise RudderError(f"{title} {verb} {shorten(name)}: {remedy}.")
        if tensors[name].shape != due[name].shape:
            shapes = f"{list(tensors[name].shape)} where {list(due[name].shape)} is due"
            raise RudderError(f"{title} has the shape {shorten(shapes)} at {name}: {remedy}.")
        if not torch.isfinite(tensors[name]).all():
            raise RudderError(f"{title} has values that are not finite at {name}: {remedy}.")


def filled(config: Config, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> Denoiser:
    """The network with these weights, copied (a file's own memory is not aligned) and frozen; frequencies stay float32.
    The tensors have passed `check_tensors`."""
    with torch.device("meta"):
        network = Denoiser(config)
    kinds = {name: torch.float32 if name.endswith("map_noise.freqs") else dtype for name in tensors}
    placed = {name: t.to(device, kinds[name], copy=True) for name, t in tensors.items()}
    network.load_state_dict(placed, assign=True)
    return on_device(network, device).eval().requires_grad_(False)


def _wholes(title: str, values: Any, high: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)):
        raise RudderError(f"{title} is {shorten(values, 40)}: give a list of whole numbers.")
    return tuple(whole(title, value, 1, high) for value in values)
