"""NVlabs' EDM files, pickles of modules, read as tensors and plain containers only, and written in our layout.

Such a file is {"ema": network, ...}; every module goes through `torch_utils.persistence._reconstruct_persistent_obj`
with its class's name, its state (the module's `__dict__`) and its source code, which the original executes and this
reader does not look at. Each tensor lies in a stream of pickles of its own, in torch's older format. Every name that a
pickle may ask for stands for a class of ours that keeps what it is given; anything else is refused by name.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import RudderError, shorten, unknown
from .edm_network import VARIANTS, Config, Denoiser, check_tensors
from .layout import EDM_FAMILY

FILE_LIMIT = 2 * 1024**3  # bytes; the largest of the published files has 1.2 GB
OPERATIONS = 1_000_000  # of one pickle; the published networks need about a tenth
TUPLES = 20_000  # of one pickle: hashing one nested deeper than the stack would end the process
MODULES = 20_000
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
            "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
            "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}  # fmt: skip
REMEDY = "download it again, and convert only what NVlabs published"
SMALL_STEPS, LARGE_STEPS = 18, 40  # table 2 of the paper: 35 evaluations at 32x32, 79 at 64x64


class _Record:
    """What a pickle may make: it is given its arguments, checked by `__new__`, and nothing after; nor may a pickle set
    anything of the class itself, which would call `__setstate__` without an instance."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if state:
            raise RudderError(f"The pickle sets the state of {type(self).__name__}: {REMEDY}.")


class _Dict(dict, _Record):
    """OrderedDict and EasyDict."""

    __slots__ = ()


class _Set(set, _Record):
    """A set, as protocols before 4 write it."""

    __slots__ = ()


class _Module(_Record):
    """A module that is torch's own (ModuleDict): its state."""

    __slots__ = ("state",)
    state: dict[str, Any]

    def __new__(cls) -> _Module:
        self = super().__new__(cls)
        self.state = {}
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = _kind(state, dict, "a module's state")


class _Persistent(_Record):
    """A module of NVlabs': the name of its class and its state. Its source code is dropped unread."""

    __slots__ = ("class_name", "state")
    class_name: str
    state: dict[str, Any]

    def __new__(cls, meta: Any) -> _Persistent:
        self = super().__new__(cls)
        _kind(meta, dict, "a persistent object")
        self.class_name = _kind(meta.get("class_name"), str, "a persistent object's class name")
        self.state = _kind(meta.get("state"), dict, "a persistent object's state")
        return self


class _Storage(_Record):
    """The bytes of a tensor and their number type, from torch's older stream: magic number, protocol, a description of
    the machine, what is stored, its key, the count and the bytes themselves."""

    __slots__ = ("raw", "dtype", "count")
    raw: memoryview
    dtype: torch.dtype
    count: int

    def __new__(cls, data: Any) -> _Storage:
        stream = io.BytesIO(_kind(data, bytes, "a tensor's bytes"))
        magic, protocol, machine, claim, keys = (_load(_Nested, stream, "a tensor") for _ in range(5))
        if (magic, protocol) != (MAGIC, PROTOCOL) or not isinstance(claim, tuple) or len(claim) != 6:
            raise RudderError(f"A tensor is not in the format that these files have: {REMEDY}.")
        kind, dtype, key, _, count, view = claim
        raw = memoryview(data)[stream.tell() :]
        held = len(raw) - 8
        if kind != "storage" or dtype not in STORAGES.values() or view is not None or keys != [key] or held < 0:
            raise RudderError(f"A tensor is not in the format that these files have: {REMEDY}.")
        if _kind(machine, dict, "a tensor's machine").get("little_endian") is not True:
            raise RudderError(f"A tensor was written on a big-endian machine: {REMEDY}.")
        self = super().__new__(cls)
        self.raw, self.dtype, self.count = raw[8:], getattr(torch, dtype), _kind(count, int, "a tensor's count")
        if not count == int.from_bytes(raw[:8], "little") or count * self.dtype.itemsize != held:
            raise RudderError(f"A tensor claims {shorten(count)} numbers and holds {held:,} bytes: {REMEDY}.")
        return self


class _Tensor(_Record):
    """A tensor over a storage, whose numbers from `first` on it spans; RudderError where its shape reaches past it."""

    __slots__ = ("storage", "first", "span", "size", "stride")
    storage: _Storage
    first: int
    span: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __new__(cls, storage: Any, first: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
        self = super().__new__(cls)
        self.storage, self.first = _kind(storage, _Storage, "a tensor's storage"), first
        self.size = _kind(size, tuple, "a tensor's shape")
        self.stride = _kind(stride, tuple, "a tensor's strides")
        if any(_kind(side, int, "a tensor's side") < 0 for side in (first, *size, *stride)) or len(size) > 8:
            raise RudderError(f"A tensor has the shape {shorten(size)} and strides {shorten(stride)}: {REMEDY}.")
        self.span = 1 + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if prod(size) else 0
        if prod(size) > self.span or first + self.span > storage.count:
            raise RudderError(f"A tensor of shape {shorten(size)} claims more than its {storage.count:,}: {REMEDY}.")
        return self

    def made(self) -> Tensor:
        """The tensor itself, a copy of its part of the storage."""
        dtype = self.storage.dtype
        if not self.span:
            return torch.empty(self.size, dtype=dtype)
        part = self.storage.raw[self.first * dtype.itemsize : (self.first + self.span) * dtype.itemsize]
        return torch.frombuffer(bytearray(part), dtype=dtype).as_strided(self.size, self.stride)


class _Parameter(_Record):
    """A parameter is its tensor."""

    __slots__ = ()

    def __new__(cls, data: Any, *rest: Any) -> Any:
        return _kind(data, _Tensor, "a parameter's tensor")


class _Dtype(_Record):
    """numpy's number type of a scalar: its code, such as "f8"; the state says the order of the bytes."""

    __slots__ = ("code",)
    code: str

    def __new__(cls, code: Any, *rest: Any) -> _Dtype:
        self = super().__new__(cls)
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise RudderError(f"The pickle asks for numpy numbers of the kind {shorten(code)}: {REMEDY}.")
        self.code = code
        return self

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|"):
            raise RudderError(f"The pickle has numpy numbers in an order of bytes of their own: {REMEDY}.")


class _Scalar(_Record):
    """A numpy scalar is a number of Python's."""

    __slots__ = ()

    def __new__(cls, kind: Any, raw: Any) -> Any:
        (value,) = np.frombuffer(_kind(raw, bytes, "a number"), "<" + _kind(kind, _Dtype, "a number's kind").code)
        return value.item()


class _Nested(pickle.Unpickler):
    """Of a tensor's stream: plain values, and the names of storages, which become the names of number types."""

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in STORAGES:
            raise _asked(module, name)
        return STORAGES[name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


class _Outer(pickle.Unpickler):
    """Of the file: plain values and the names below."""

    ALLOWED = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Persistent,
        ("torch.nn.modules.container", "ModuleDict"): _Module,
        ("dnnlib.util", "EasyDict"): _Dict,
        ("collections", "OrderedDict"): _Dict,
        ("builtins", "set"): _Set,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch._utils", "_rebuild_parameter"): _Parameter,
        ("torch.storage", "_load_from_bytes"): _Storage,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "scalar"): _Scalar,
        ("numpy._core.multiarray", "scalar"): _Scalar,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise _asked(module, name)
        return self.ALLOWED[module, name]


def read(source: str | Path) -> tuple[Config, dict[str, Tensor], bool]:
    """A file's configuration, its tensors by our names, and whether its null class was trained.

    Nothing in it is executed. Raises RudderError for a file that is no pickle, is truncated or too large, asks for
    anything but tensors and plain containers (naming it), or holds another network than EDM's SongUNet.
    """
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise RudderError(f"{path.name} has {size:,} bytes: a file of NVlabs' has at most {FILE_LIMIT:,}.")
        data = path.read_bytes()
    except OSError as error:
        raise RudderError(f"{path} cannot be read ({error.strerror or 'I/O error'}): check the path.") from error
    if data[:4] == b"PK\x03\x04":
        raise RudderError(f"{path.name} is an archive of torch.save, not a pickle of NVlabs': give one of theirs.")
    held = _load(_Outer, io.BytesIO(data), path.name)
    network = held.get("ema") if isinstance(held, dict) else None
    if not isinstance(network, _Persistent):
        raise RudderError(f"{path.name} holds no network under 'ema': give one of NVlabs' network files.")
    try:
        return _understood(network, path.name)
    except RudderError:
        raise
    except Exception as error:  # a hostile configuration raises whatever its first bad value provokes
        raise RudderError(f"{path.name} describes no network ({shorten(error)}): {REMEDY}.") from error


def convert(
    source: str | Path, folder: str | Path, dtype: torch.dtype = torch.float16, classes: Sequence[str] = ()
) -> Config:
    """Write an NVlabs file as a folder in our layout, weights as `dtype`, and return its configuration.

    `classes`: the names of its classes in order, where known; without them a class is called by its number. Raises
    RudderError as `read` does, for a number of names that does not fit, and for a folder that is not empty.
    """
    source, folder = Path(source), Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise RudderError(f"{folder} is not empty: choose another folder.")
    config, tensors, null_class = read(source)
    if len(classes) not in (0, config.label_dim):
        raise RudderError(f"{len(classes)} class names are given for {config.label_dim} classes: give one each.")
    kept = {name: t if name.endswith("map_noise.freqs") else t.to(dtype) for name, t in tensors.items()}
    with torch.device("meta"):
        check_tensors(Denoiser(config), kept, f"{source.name} as {str(dtype).removeprefix('torch.')}", "use float32")
    described = {
        "name": folder.name,
        "family": EDM_FAMILY.name,
        "description": f"EDM (Karras et al. 2022), converted from NVlabs' {source.name}",
        "num_inference_steps": SMALL_STEPS if config.img_resolution <= 32 else LARGE_STEPS,
        "guidance_scale": 1.0,
        "classes": list(classes),
        "null_class": null_class,
    }
    write(folder, config, kept, described)
    return config


def write(folder: Path, config: Config, tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> None:
    """A folder in our layout; `described` becomes rudder.json. RudderError where it cannot be written."""
    try:
        (folder / "model").mkdir(parents=True, exist_ok=True)
        ready = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        save_file(ready, folder / "model" / EDM_FAMILY.parts["model"], {"format": "pt"})
        (folder / "model" / "config.json").write_text(json.dumps(config.told(), indent=1) + "\n")
        (folder / "rudder.json").write_text(json.dumps(described, indent=1) + "\n")
        (folder / "model_index.json").write_text(json.dumps({"_class_name": EDM_FAMILY.pipelines[0]}) + "\n")
    except OSError as error:
        raise RudderError(f"{folder} cannot be written ({error.strerror}): choose another place.") from error


def _understood(network: _Persistent, title: str) -> tuple[Config, dict[str, Tensor], bool]:
    """`read` of the network's record."""
    if network.class_name != "EDMPrecond":
        raise unknown(f"preconditioning that Rudder has for {title}", network.class_name, ["EDMPrecond"])
    inner = _children(network).get("model")
    if not isinstance(inner, _Persistent) or inner.class_name != "SongUNet":
        name = inner.class_name if isinstance(inner, _Persistent) else "nothing"
        which = "ADM's network (DhariwalUNet)" if name == "DhariwalUNet" else shorten(name)
        raise RudderError(f"{title} holds {which}, which Rudder does not have: convert one of DDPM++ or NCSN++.")
    given = inner.state.get("_init_kwargs")
    if not isinstance(given, dict) or inner.state.get("_init_args"):
        raise RudderError(f"{title} does not name what its network was made with: {REMEDY}.")
    given = dict(given)
    usual = {"embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard",
             "channel_mult_noise": 1, "resample_filter": [1, 1]}  # fmt: skip
    asked = {key: given.pop(key, value) for key, value in usual.items()}
    channels, made = given.pop("in_channels", 3), given.pop("out_channels", 3)
    if channels != made:
        raise RudderError(f"{title} turns {shorten(channels)} channels into {shorten(made)}: {REMEDY}.")
    null_class, _ = given.pop("label_dropout", 0) > 0, given.pop("use_fp16", None)
    state = network.state
    config = Config.read(
        {
            "dropout": 0.1,  # SongUNet's own
            **given,
            "architecture": _architecture(asked, title),
            "img_channels": channels,
            "sigma_data": state.get("sigma_data", 0.5),
            "sigma_min": max(0.002, state.get("sigma_min", 0.0)),  # what the sampler of the paper goes from and to
            "sigma_max": min(80.0, state.get("sigma_max", 80.0)),
        },
        title,
    )
    tensors = {name: record.made() for name, record in _gathered(network).items()}
    with torch.device("meta"):
        check_tensors(Denoiser(config), tensors, title, REMEDY)
    return config, {name: t.float() for name, t in tensors.items()}, null_class


def _architecture(asked: Mapping[str, Any], title: str) -> str:
    for name, variant in VARIANTS.items():
        its = {"embedding_type": "fourier" if variant.fourier else "positional",
               "encoder_type": "residual" if variant.residual else "standard", "decoder_type": "standard",
               "channel_mult_noise": variant.noise_width, "resample_filter": list(variant.resample_filter)}  # fmt: skip
        if asked == its:
            return name
    said = ", ".join(f"{key} {shorten(value, 20)}" for key, value in asked.items())
    raise RudderError(f"{title} is neither DDPM++ nor NCSN++ ({said}): convert one of those.")


def _children(record: _Module | _Persistent) -> dict[str, Any]:
    return _kind(record.state.get("_modules", {}), dict, "a module's parts")


def _gathered(network: _Persistent) -> dict[str, _Tensor]:
    """Every tensor of a network by its path."""
    found: dict[str, _Tensor] = {}
    due: list[tuple[str, Any]] = [("", network)]
    for prefix, record in due:
        if not isinstance(record, (_Module, _Persistent)):
            raise RudderError(f"{shorten(prefix)} is no module: {REMEDY}.")
        for kind in ("_parameters", "_buffers"):
            for name, value in _kind(record.state.get(kind, {}), dict, "a module's tensors").items():
                if value is not None:
                    found[f"{prefix}{_kind(name, str, 'a name')}"] = _kind(value, _Tensor, "a module's tensor")
        due += [(f"{prefix}{name}.", part) for name, part in _children(record).items() if part is not None]
        if max(len(due), len(found), 20 * len(prefix)) > MODULES:
            raise RudderError(f"The network has more than {MODULES:,} modules or tensors: {REMEDY}.")
    if sum(one.span * one.storage.dtype.itemsize for one in found.values()) > FILE_LIMIT:
        raise RudderError(f"The network's tensors claim more than {FILE_LIMIT:,} bytes: {REMEDY}.")
    return found


def _load(kind: type[pickle.Unpickler], stream: io.BytesIO, title: str) -> Any:
    """One pickle from a stream, which is left behind its end. It is looked through before it is read, so that its
    claims of memory are bounded by its own length."""
    start, tuples = stream.tell(), 0
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            tuples += operation.name.startswith("TUPLE")
            if count >= OPERATIONS or tuples > TUPLES or (operation.name.endswith("PUT") and (argument or 0) > count):
                raise RudderError(f"{title} is a larger pickle than a network needs: {REMEDY}.")
        end = stream.tell()
        stream.seek(start)
        return kind(io.BytesIO(stream.read(end - start))).load()
    except RudderError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its first bad operation provokes
        raise RudderError(f"{title} is not a whole pickle ({shorten(error)}): {REMEDY}.") from error


def _asked(module: str, name: str) -> RudderError:
    asked = shorten(f"{module}.{name}")
    return RudderError(f"The pickle asks for {asked}, which is no tensor and no plain container: {REMEDY}.")


def _kind(value: Any, kind: type, title: str) -> Any:
    if not isinstance(value, kind):
        raise RudderError(f"{title[0].upper()}{title[1:]} is {type(value).__name__}: {REMEDY}.")
    return value
