"""Careful reading of files that may be missing, truncated or hostile; writing that is whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import RudderError, shorten

HEADER_LIMIT = 4 * 1024 * 1024  # bytes; of the largest models a few hundred thousand
SIDES_LIMIT = 64  # of one tensor
JSON_LIMIT = 64 * 1024 * 1024
FULL_HASH_LIMIT = 256 * 1024 * 1024
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_START = 4096  # bytes by which a file is known to be Rudder's own
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def shipped() -> Path:
    """The folder of the models/ and assets/ that came with this code: inside the package where a wheel was installed,
    beside it in a checkout."""
    package = Path(__file__).resolve().parent
    carried = package / "_shipped"
    return carried if carried.is_dir() else package.parent


def home() -> Path:
    """The folder whose models/ and assets/ are used: $RUDDER_HOME, else what came with this code."""
    override = os.environ.get("RUDDER_HOME")
    return Path(override).expanduser() if override else shipped()


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file opened for reading; OSError for what is no file. A named pipe or a device never blocks."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, no file")
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Folders made on the way to `path`; an OSError becomes one sentence about it."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RudderError(
            f"{shorten(path, 200)} cannot be written ({error.strerror or shorten(error)}): choose another place with "
            "--out."
        ) from error


def check_target(path: str | os.PathLike[str], kind: str, ours: re.Pattern[bytes]) -> None:
    """RudderError for a place that holds a folder or a file of another kind, which is never overwritten.

    `kind` is what will be written there, in words; a file that is empty or begins as `ours` may be replaced.
    """
    path = Path(path)
    with writing(path):
        if not path.exists():
            return
        if path.is_dir():
            raise RudderError(f"{shorten(path, 200)} is a folder: name a file in it.")
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(_START)
            if start and not ours.match(start):
                raise RudderError(
                    f"{shorten(path, 200)} is there already and is no {kind}: choose another name, or move it away."
                )


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], kind: str, ours: re.Pattern[bytes]) -> Iterator[Path]:
    """A new file beside `path` to write to, which takes its place once all is written, and is gone after an error.

    RudderError as `check_target`, or where nothing can be written. A link is followed; what is no file, such as
    /dev/stdout, is written to as it is.
    """
    check_target(path, kind, ours)
    with writing(path):
        if os.path.exists(path) and not os.path.isfile(path):
            yield Path(path)
            return
        target = Path(os.path.realpath(path))
        part = target.with_name(f".rudder-{secrets.token_hex(4)}.part")
        try:
            yield part
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, part)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; RudderError if it is missing, unreadable or no object."""
    try:
        with path.open("rb") as file:
            data = file.read(JSON_LIMIT + 1)
        if len(data) > JSON_LIMIT:
            raise ValueError(f"it has over {JSON_LIMIT:,} bytes")
        value = json.loads(data.decode("utf-8"))
    except FileNotFoundError as error:
        raise RudderError(f"{path} is missing: restore the folder it belongs to from its source.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RudderError(f"{path} is not readable JSON ({shorten(error)}): restore it from its source.") from error
    if not isinstance(value, dict):
        raise RudderError(f"{path} should hold a JSON object: restore it from its source.")
    return value


def as_json(value: Any, **options: Any) -> str:
    """A value as JSON (RFC 8259), with null for NaN and infinities, which it does not know. `options`: json.dumps'."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def safetensors_header(file: BinaryIO, size: int, title: str, remedy: str) -> dict[str, Any]:
    """The header of a safetensors file of `size` bytes, checked against that size without loading a tensor.

    Raises RudderError for a pickle, a Git LFS pointer, a truncated file, or offsets that contradict shapes.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little") if len(start) == 8 else 0
    if length > HEADER_LIMIT and start.startswith(_PICKLE_STARTS):  # a header of 640 bytes begins like a pickle, too
        raise RudderError(f"{title} is a Python pickle or zip, which Rudder never opens: {remedy}.")
    if start == b"version ":
        raise RudderError(f"{title} is a Git LFS pointer, not the weights: run `git lfs pull` in the checkout.")
    if not 2 <= length <= HEADER_LIMIT:
        raise RudderError(f"{title} is not a safetensors file: {remedy}.")
    if 8 + length > size:
        raise RudderError(f"{title} is truncated (its header alone needs {8 + length:,} of {size:,} bytes): {remedy}.")
    try:
        header = json.loads(file.read(length))
        ends = [_tensor_end(name, entry, size) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RudderError(f"{title} has a damaged header ({shorten(error)}): {remedy}.") from error
    expected = 8 + length + max(ends, default=0)
    if expected != size:
        state = "truncated" if size < expected else "longer than its header says"
        raise RudderError(f"{title} is {state} ({size:,} bytes where {expected:,} are due): {remedy}.")
    return header


def check_weights(path: Path, remedy: str) -> None:
    """RudderError unless `path` is a whole safetensors file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            safetensors_header(file, size, str(path), remedy)
    except OSError as error:
        raise RudderError(f"{path} cannot be read ({error.strerror or 'I/O error'}): {remedy}.") from error


def hash_file(path: Path, digest: Any) -> None:
    """Feed a file to `digest`: whole up to 256 MB, else its size, its start and 256 blocks spread over it."""
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        if size <= FULL_HASH_LIMIT:
            while block := file.read(1 << 20):
                digest.update(block)
            return
        digest.update(file.read(1 << 20))
        for index in range(256):
            file.seek(index * (size - (1 << 16)) // 255)
            digest.update(file.read(1 << 16))


def fingerprint(configs: list[Path], weights: list[Path]) -> str:
    """16 hex digits of a SHA-256 over configurations (without private keys) and weight files."""
    digest = hashlib.sha256()
    for path in configs:
        public = {key: value for key, value in read_json(path).items() if not key.startswith("_")}
        digest.update(json.dumps(public, sort_keys=True).encode())
    for path in weights:
        hash_file(path, digest)
    return digest.hexdigest()[:16]


def _tensor_end(name: str, entry: dict[str, Any], size: int) -> int:
    """Where a tensor ends; ValueError for a shape that is not as long as it says, told once it exceeds the file."""
    begin, end = entry["data_offsets"]
    count = _BYTES[entry["dtype"]]
    if len(entry["shape"]) > SIDES_LIMIT:
        raise ValueError(f"tensor {shorten(name)!r} has {len(entry['shape']):,} sides")
    for side in entry["shape"]:
        if not isinstance(side, int) or side < 0:
            raise ValueError(f"tensor {shorten(name)!r} has a side of {shorten(side)}")
        count *= side
        if count > size:
            raise ValueError(f"tensor {shorten(name)!r} would be longer than the file")
    if not 0 <= begin <= end or end - begin != count:
        raise ValueError(f"the shape of tensor {shorten(name)!r} contradicts its size")
    return end
