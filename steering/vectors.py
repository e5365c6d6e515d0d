"""ConceptVector: what a concept adds to activations; arithmetic, and files that are never a pickle.

torch is imported when a vector is made or read, so that a file's metadata can be told at once (`told`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .advice import AGAIN, advice_of, checked
from .backbones.base import Backbone
from .checks import STRENGTH_LIMIT, number, whole
from .errors import RudderError, shorten, unknown
from .files import as_json, replacing, safetensors_header

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
OURS = re.compile(rb'.{8}\{"__metadata__":\{"rudder"', re.DOTALL)  # how a vector's file begins
FILE_LIMIT = 256 * 1024 * 1024
METADATA_LIMIT = 512 * 1024  # characters of the JSON in a file's header


@dataclass(frozen=True, eq=False)
class ConceptVector:
    """A concept's mean representation minus its baseline's, per site and timestep. Strength 1.0 adds it once.

    `vectors[site]` is float32 [T, C] (spatial mean or max) or [T, C, H, W] (maps), row k belonging to
    `timesteps[k]`. `provenance` says what it was made from; `recommended` what was measured to work:
    {"strength", "range": [low, high], "window": [start, end], "sites", "halves"}, or {} if nobody measured.
    """

    name: str
    vectors: dict[str, Tensor]
    timesteps: tuple[int, ...]
    provenance: dict[str, Any]
    recommended: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        if not isinstance(self.name, str) or not 0 < len(self.name) <= 200:
            raise RudderError("A concept needs a name of 1 to 200 characters: give it one.")
        steps = tuple(whole("A vector's timestep", t, 0, 1_000_000) for t in self.timesteps)
        if not steps or not self.vectors:
            raise RudderError(f"The vector {shorten(self.name)!r} is empty (no sites or no timesteps): {AGAIN}.")
        for site, v in self.vectors.items():
            if v.ndim not in (2, 4) or v.shape[0] != len(steps) or 0 in v.shape:
                raise RudderError(
                    f"The vector {shorten(self.name)!r} has shape {shorten(tuple(v.shape))} at "
                    f"{shorten(site)} for "
                    f"{len(steps)} timesteps: {AGAIN}."
                )
            if not torch.isfinite(v).all():
                raise RudderError(f"The vector {shorten(self.name)!r} is not finite at {shorten(site)}: {AGAIN}.")
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "recommended", checked(self.recommended))

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites it has vectors for."""
        return tuple(self.vectors)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model it was learned from."""
        return str(self.provenance.get("fingerprint", ""))

    @property
    def advice(self) -> dict[str, Any]:
        """Strength, range, window, sites and halves to start from: measured ones, else cautious ones.

        A vector without a baseline is a whole mean and therefore long: its cautious strengths are smaller.
        """
        return advice_of(self.provenance, self.recommended)

    @property
    def state(self) -> str:
        """What was measured of it: "takes" or "works", "weak", "cannot" (be painted), or "untried"."""
        told = self.recommended
        return str(told.get("state") or ("weak" if told.get("weak") else "works" if "strength" in told else "untried"))

    @cached_property
    def _steps(self) -> np.ndarray:
        return np.asarray(self.timesteps)

    def nearest(self, timestep: int) -> int:
        """The row learned nearest to `timestep` (the first of two equally near)."""
        return int(np.abs(self._steps - int(timestep)).argmin())

    def at(self, site: str, timestep: int) -> Tensor:
        """The vector [C] or map [C, H, W] at a site for the learned timestep nearest to `timestep`."""
        if site not in self.vectors:
            raise unknown(f"site in the vector {shorten(self.name)!r}", site, self.vectors)
        return self.vectors[site][self.nearest(timestep)]

    def replace(self, **changes: Any) -> ConceptVector:
        """A copy with some fields changed, such as `recommended=...` once measured; checked again."""
        return replace(self, **changes)

    def __add__(self, other: ConceptVector) -> ConceptVector:
        return _combined(self, other, "+", 1.0)

    def __sub__(self, other: ConceptVector) -> ConceptVector:
        return _combined(self, other, "-", -1.0)

    def __mul__(self, factor: float) -> ConceptVector:
        if isinstance(factor, (ConceptVector, str, bytes)):
            return NotImplemented
        return _scaled(self, number("The factor of a vector", factor, -1e6, 1e6))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> ConceptVector:
        if isinstance(divisor, (ConceptVector, str, bytes)):
            return NotImplemented
        value = number("The divisor of a vector", divisor, -1e6, 1e6)
        if abs(value) < 1e-6:
            raise RudderError("A vector cannot be divided by zero: give another divisor.")
        return _scaled(self, 1.0 / value)

    def __neg__(self) -> ConceptVector:
        return _scaled(self, -1.0)

    def without(self, other: ConceptVector) -> ConceptVector:
        """What is left of the vector when its part along `other` is taken away at every site, timestep and place.

        RudderError as for a difference of the two.
        """
        _alike(self, other)
        vectors = {}
        for site in self.vectors:
            v, along = _on_one_plane(self.vectors[site], other.vectors[site])
            share = (v * along).sum(1, keepdim=True) / along.square().sum(1, keepdim=True).clamp(min=1e-20)
            vectors[site] = v - share * along
        name = f"{self.name} without {other.name}"[:200]
        return ConceptVector(name, vectors, self.timesteps, _summed(vectors, self, other, "without"))

    def check(self, backbone: Backbone) -> None:
        """RudderError unless the vector was made for this model, sites and shapes."""
        title, sites = f"The vector {shorten(self.name)!r}", backbone.sites()
        if self.fingerprint != backbone.fingerprint:
            model = shorten(self.provenance.get("model", "an unnamed model"))
            made = f"{model} ({shorten(self.fingerprint, 20) or 'no fingerprint'})"
            raise RudderError(
                f"{title} was made for {made}, not for {backbone.name} ({backbone.fingerprint}): load that "
                "model, or "
                "learn the concept again with this one."
            )
        for name, v in self.vectors.items():
            if name not in sites:
                raise RudderError(f"{title} has a site {shorten(name)!r} that {backbone.name} lacks: {AGAIN}.")
            site = sites[name]
            if v.shape[1] != site.channels or (v.ndim == 4 and tuple(v.shape[2:]) != site.size):
                due = [site.channels, *(site.size if v.ndim == 4 else ())]
                raise RudderError(f"{title} has shape {list(v.shape[1:])} at {name} where {due} is due: {AGAIN}.")

    def to_bytes(self) -> bytes:
        """The vector as a safetensors file with its metadata as JSON."""
        import torch
        from safetensors.torch import save

        meta = {
            "format": FORMAT,
            "name": self.name,
            "timesteps": self.timesteps,
            "shapes": {site: list(v.shape) for site, v in self.vectors.items()},
            "provenance": self.provenance,
            "recommended": self.recommended,
        }
        tensors = {site: v.detach().to("cpu", torch.float32).contiguous().clone() for site, v in self.vectors.items()}
        return save(tensors, metadata={"rudder": as_json(meta)})

    def save(self, path: str | Path) -> None:
        """Write the vector to a .safetensors file: whole or not at all, and never over a file of another kind."""
        with replacing(path, "concept vector", OURS) as part:
            part.write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone | None = None) -> ConceptVector:
        """Read a vector file, never more than 256 MB and never a pickle; checked against `backbone` if given.

        Raises RudderError for a file that is missing, no safetensors, truncated, lies about its shapes, holds
        values that are not finite, comes from a newer Rudder, or was made for another model.
        """
        path = Path(path)
        try:
            size = path.stat().st_size
            if size > FILE_LIMIT:
                raise RudderError(f"{path.name} has {size:,} bytes: a vector file has at most {FILE_LIMIT:,}.")
            data = path.read_bytes()
        except OSError as error:
            raise RudderError(f"{path} cannot be read ({error.strerror}): check the path.") from error
        return cls.from_bytes(data, backbone, title=path.name)

    @classmethod
    def from_bytes(cls, data: bytes, backbone: Backbone | None = None, title: str = "the vector") -> ConceptVector:
        """`load` from memory; `title` names the file in messages."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        title = shorten(title)
        if len(data) > FILE_LIMIT:
            raise RudderError(f"{title} has {len(data):,} bytes: a vector file has at most {FILE_LIMIT:,}.")
        header = safetensors_header(BytesIO(data), len(data), title, AGAIN)
        meta = _metadata(header, title)
        shapes = {site: entry["shape"] for site, entry in header.items() if site != "__metadata__"}
        if meta["shapes"] != shapes:
            wrong = next((s for s in {**shapes, **meta["shapes"]} if shapes.get(s) != meta["shapes"].get(s)), "?")
            raise RudderError(f"{title} lies about its shape at {shorten(wrong)}: {AGAIN}.")
        try:
            tensors = {site: tensor.float() for site, tensor in load(data).items()}
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise RudderError(f"{title} is damaged ({shorten(error)}): {AGAIN}.") from error
        vector = cls(
            name=meta["name"],
            vectors={site: tensors[site] for site in meta["shapes"]},
            timesteps=tuple(meta["timesteps"]),
            provenance=meta["provenance"],
            recommended=meta["recommended"],
        )
        if backbone is not None:
            vector.check(backbone)
        return vector


def told(path: Path) -> dict[str, Any]:
    """A vector file's {"name", "fingerprint", "sites", "advice"} from its header alone: no tensor is read.

    Raises RudderError as `ConceptVector.load` does for what is wrong with file or metadata.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = safetensors_header(file, size, path.name, AGAIN)
    except OSError as error:
        raise RudderError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    meta = _metadata(header, path.name)
    return {
        "name": meta["name"],
        "fingerprint": str(meta["provenance"].get("fingerprint", "")),
        "sites": tuple(meta["shapes"]),
        "advice": advice_of(meta["provenance"], checked(meta["recommended"])),
    }


def _scaled(a: ConceptVector, factor: float) -> ConceptVector:
    """factor * a; the recommended strengths shrink as the vector grows."""
    recommended = dict(a.recommended)
    if factor == 0:
        recommended = {}
    most = STRENGTH_LIMIT
    if "strength" in recommended:
        recommended["strength"] = min(max(recommended["strength"] / factor, -most), most)
    if "range" in recommended:
        recommended["range"] = sorted(min(max(end / factor, -most), most) for end in recommended["range"])
    return a.replace(
        name=f"{factor:g} * {a.name}"[:200],
        vectors={site: v * factor for site, v in a.vectors.items()},
        provenance={**_shared(a), "operation": "*", "factor": factor, "of": [_part(a)], "names": [a.name]},
        recommended=recommended,
    )


def _combined(a: ConceptVector, b: Any, sign: str, factor: float) -> ConceptVector:
    if not isinstance(b, ConceptVector):
        return NotImplemented
    _alike(a, b)
    vectors = {}
    for site in a.vectors:
        one, other = _on_one_plane(a.vectors[site], b.vectors[site])
        vectors[site] = one + factor * other
    return ConceptVector(
        name=f"{a.name} {sign} {b.name}"[:200],
        vectors=vectors,
        timesteps=a.timesteps,
        provenance=_summed(vectors, a, b, sign),
    )


def _alike(a: ConceptVector, b: ConceptVector) -> None:
    """RudderError unless two vectors are of one model, with the same sites, timesteps and shapes."""
    if a.fingerprint != b.fingerprint:
        models = [shorten(v.provenance.get("model", "an unnamed model"), 40) for v in (a, b)]
        raise RudderError(
            f"{a.name} was made for {models[0]} and {b.name} for {models[1]}: combine vectors of one model."
        )
    if a.timesteps != b.timesteps or set(a.vectors) != set(b.vectors):
        what = "timesteps" if a.timesteps != b.timesteps else "sites"
        raise RudderError(f"{a.name} and {b.name} have different {what}: learn both with the same ones.")
    for site, v in a.vectors.items():
        other = b.vectors[site]
        if v.shape[:2] != other.shape[:2] or (v.ndim == other.ndim and v.shape != other.shape):
            raise RudderError(f"{a.name} and {b.name} have different shapes at {site}: learn both with one model.")


def _on_one_plane(v: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two vectors of a site, a mean spread over the plane where the other one is a map: it is added everywhere."""
    if v.ndim == other.ndim:
        return v, other
    if v.ndim == 2:
        return v[..., None, None].expand_as(other), other
    return v, other[..., None, None].expand_as(v)


def _summed(vectors: Mapping[str, Tensor], a: ConceptVector, b: ConceptVector, operation: str) -> dict[str, Any]:
    """The provenance of what two vectors make."""
    pooling = "map" if any(v.ndim == 4 for v in vectors.values()) else a.provenance.get("pooling")
    return {
        **_shared(a),
        "pooling": pooling,
        "shapes": {site: list(v.shape[1:]) for site, v in vectors.items()},
        "operation": operation,
        "of": [_part(a), _part(b)],
        "names": [a.name, b.name],
    }


def _part(vector: ConceptVector) -> dict[str, Any]:
    """A vector's provenance as a sum of it keeps it: what was measured belongs to the part alone, and of sums of sums
    only the last few are told, so that a file's header stays small."""

    def cut(made: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kept = {key: value for key, value in made.items() if key not in ("quality", "of")}
        of = made.get("of")
        if isinstance(of, list) and depth:
            kept["of"] = [cut(one, depth - 1) for one in of[:2] if isinstance(one, Mapping)]
        return kept

    return cut(vector.provenance, 3)


def _shared(a: ConceptVector) -> dict[str, Any]:
    return {key: a.provenance.get(key) for key in ("model", "fingerprint", "shapes", "pooling", "timesteps")} | {
        "version": __version__
    }


def _metadata(header: dict[str, Any], title: str) -> dict[str, Any]:
    """Rudder's own JSON from a safetensors header, its kinds checked."""
    told = header.get("__metadata__")
    if isinstance(told, dict) and len(str(told.get("rudder"))) > METADATA_LIMIT:
        raise RudderError(f"{title} has over {METADATA_LIMIT // 1024} kB of metadata: {AGAIN}.")
    try:
        meta = json.loads((told or {})["rudder"])
        form = meta["format"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RudderError(
            f"{title} holds tensors but no Rudder metadata: choose a vector that Rudder saved."
        ) from error
    if form != FORMAT:
        raise RudderError(f"{title} has format {shorten(form)}, this Rudder reads format {FORMAT}: update Rudder.")
    kinds = {"name": str, "timesteps": list, "shapes": dict, "provenance": dict, "recommended": dict}
    for key, kind in kinds.items():
        if not isinstance(meta.get(key), kind):
            raise RudderError(f"{title} has no valid {key!r} in its metadata: {AGAIN}.")
    return meta
