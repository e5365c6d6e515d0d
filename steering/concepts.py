"""ConceptVector: learned from pictures, combined with + - * /, saved with its provenance."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from . import __version__
from .activations import POOLINGS, capture, find_sites
from .backbones.base import Backbone
from .errors import RudderError, shorten, unknown
from .files import home, read_json, safetensors_header
from .recipe import number, whole

FORMAT = 1
FILE_LIMIT = 256 * 1024 * 1024
TIMESTEPS = tuple(range(25, 1000, 75))  # a steered step uses the nearest
AGAIN = "learn the concept again, or ask whoever shared the file for a fresh one"


@dataclass(frozen=True)
class Progress:
    """How far a long task is: `done` of `total`, and what it is doing."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class ConceptVector:
    """A concept's mean representation minus its baseline's, per site and timestep. Strength 1.0 adds it once.

    `vectors[site]` is float32 [T, C] (spatial mean or max) or [T, C, H, W] (maps), row k belonging to `timesteps[k]`.
    `provenance` says what it was made from; `recommended` what was measured to work:
    {"strength", "range": [low, high], "window": [start, end], "sites"}, or {} if nobody measured.
    """

    name: str
    vectors: dict[str, Tensor]
    timesteps: tuple[int, ...]
    provenance: dict[str, Any]
    recommended: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 200:
            raise RudderError("A concept needs a name of 1 to 200 characters: give it one.")
        steps = tuple(whole("A vector's timestep", t, 0, 1_000_000) for t in self.timesteps)
        if not steps or not self.vectors:
            raise RudderError(f"The vector {shorten(self.name)!r} is empty (no sites or no timesteps): {AGAIN}.")
        for site, v in self.vectors.items():
            if v.ndim not in (2, 4) or v.shape[0] != len(steps) or 0 in v.shape:
                raise RudderError(
                    f"The vector {shorten(self.name)!r} has shape {shorten(tuple(v.shape))} at {shorten(site)} for "
                    f"{len(steps)} timesteps: {AGAIN}."
                )
            if not torch.isfinite(v).all():
                raise RudderError(f"The vector {shorten(self.name)!r} is not finite at {shorten(site)}: {AGAIN}.")
        object.__setattr__(self, "timesteps", steps)
        object.__setattr__(self, "recommended", _recommended(self.recommended))

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites it has vectors for."""
        return tuple(self.vectors)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model it was learned from."""
        return str(self.provenance.get("fingerprint", ""))

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
        """A copy with some fields changed, such as `recommended=...` after measuring; checked like a new one."""
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

    def check(self, backbone: Backbone) -> None:
        """RudderError unless the vector was made for this model, sites and shapes."""
        title, sites = f"The vector {shorten(self.name)!r}", backbone.sites()
        if self.fingerprint != backbone.fingerprint:
            made = f"{shorten(self.provenance.get('model', 'an unnamed model'))} ({shorten(self.fingerprint, 20) or '?'})"
            raise RudderError(
                f"{title} was made for {made}, not for {backbone.name} ({backbone.fingerprint}): load that model, or "
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
        meta = {
            "format": FORMAT,
            "name": self.name,
            "timesteps": self.timesteps,
            "shapes": {site: list(v.shape) for site, v in self.vectors.items()},
            "provenance": self.provenance,
            "recommended": self.recommended,
        }
        tensors = {site: v.detach().to("cpu", torch.float32).contiguous().clone() for site, v in self.vectors.items()}
        return save_tensors(tensors, metadata={"rudder": json.dumps(meta)})

    def save(self, path: str | Path) -> None:
        """Write the vector to a .safetensors file."""
        try:
            Path(path).write_bytes(self.to_bytes())
        except OSError as error:
            raise RudderError(f"{path} cannot be written ({error.strerror}): choose another place.") from error

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone | None = None) -> ConceptVector:
        """Read a vector file, never more than 256 MB and never a pickle; checked against `backbone` if given.

        Raises RudderError for a file that is missing, no safetensors, truncated, lies about its shapes, holds values
        that are not finite, comes from a newer Rudder, or was made for another model.
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
            tensors = {site: tensor.float() for site, tensor in load_tensors(data).items()}
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


@dataclass(frozen=True)
class ConceptInfo:
    """A concept that ships with Rudder: its texts, example pictures and, once learned for a model, its vector file."""

    name: str
    title: str
    description: str
    examples: tuple[Path, ...]
    baseline: tuple[Path, ...]
    vector_path: Path | None
    prompt: str = ""
    baseline_prompt: str = ""


def library(model: str = "tiny-sd") -> dict[str, ConceptInfo]:
    """The shipped concepts by name, with the vector files made for `model`; {} when none are there."""
    return {path.parent.name: _concept(path.parent, model) for path in sorted(_concepts_folder().glob("*/concept.json"))}


def learn(
    backbone: Backbone,
    name: str,
    images: Sequence[Image.Image],
    baseline: Sequence[Image.Image] | None = None,
    *,
    prompt: str = "",
    baseline_prompt: str = "",
    sites: Sequence[str] | None = None,
    timesteps: Sequence[int] = TIMESTEPS,
    draws: int = 1,
    pooling: str = "mean",
    seed: int = 0,
    batch_size: int = 16,
) -> Iterator[Progress | ConceptVector]:
    """Learn a vector: v = mean h(x_t, t, c) over the concept's pictures, minus the same over the baseline's.

    Each picture is noised to each timestep `draws` times, every draw seeded by (seed, picture, draw, timestep) whatever
    the batch size. Without a baseline the plain mean is kept (the paper's f = g(h + a v)); provenance says so. `sites`
    None: the model's default sites. `pooling`: "mean", "max" (of the picture plane) or "map" (no pooling).
    Yields Progress, then the ConceptVector. Raises RudderError for an empty set or an unknown site or pooling.
    """
    images, baseline = list(images), list(baseline or ())
    if not images:
        raise RudderError("There are no pictures to learn from: give at least one that shows the concept.")
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, POOLINGS)
    names = [site.name for site in find_sites(backbone, backbone.defaults["sites"] if sites is None else sites)]
    steps = tuple(sorted({whole("A timestep", t, 0, 999) for t in timesteps}))
    draws = whole("The number of noise draws", draws, 1, 1000)
    batch_size = whole("The batch size", batch_size, 1, 1024)
    seed = whole("The seed", seed, 0, 2**63 - 1)
    if not names or not steps:
        raise RudderError("There are no sites or no timesteps to learn at: name at least one of each.")
    total = (len(images) + len(baseline)) * (1 + draws * len(steps))
    done, means = 0, []
    for pictures, words in ((images, prompt), (baseline, baseline_prompt)):
        if not pictures:
            continue
        latents, condition = [], backbone.condition([words])
        for start in range(0, len(pictures), batch_size):
            latents.append(backbone.encode(pictures[start : start + batch_size]))
            done += len(latents[-1])
            yield Progress(done, total, f"reading {name}'s pictures")
        sums: dict[str, list] = {}
        for batch in _average(backbone, torch.cat(latents), condition, names, steps, draws, pooling, seed, batch_size, sums):
            done += batch
            yield Progress(done, total, f"learning {name}")
        means.append({site: torch.stack(rows) / (len(pictures) * draws) for site, rows in sums.items()})
    vectors = {s: (means[0][s] - means[1][s] if len(means) > 1 else means[0][s]).float() for s in names}
    yield ConceptVector(
        name=name,
        vectors=vectors,
        timesteps=steps,
        provenance={
            "model": backbone.name,
            "fingerprint": backbone.fingerprint,
            "version": __version__,
            "shapes": {site: list(v.shape[1:]) for site, v in vectors.items()},
            "pooling": pooling,
            "timesteps": list(steps),
            "draws": draws,
            "seed": seed,
            "images": len(images),
            "images_sha256": digest(images),
            "baseline": bool(baseline),
            "baseline_images": len(baseline),
            "baseline_sha256": digest(baseline) if baseline else None,
            "prompt": prompt,
            "baseline_prompt": baseline_prompt if baseline else None,
            "unit": "mean(concept) - mean(baseline)" if baseline else "mean(concept)",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        },
    )


def digest(images: Sequence[Image.Image]) -> str:
    """SHA-256 over sizes and RGB values of a set of pictures."""
    sha = hashlib.sha256()
    for image in images:
        sha.update(repr(image.size).encode() + image.convert("RGB").tobytes())
    return sha.hexdigest()


def _average(
    backbone: Backbone,
    latents: Tensor,
    condition: Tensor,
    sites: list[str],
    timesteps: tuple[int, ...],
    draws: int,
    pooling: str,
    seed: int,
    batch_size: int,
    sums: dict[str, list],
) -> Iterator[int]:
    """Fill sums[site][k] with the float64 sum of representations at timesteps[k]; yields each batch's size."""
    for t in timesteps:
        row: dict[str, Tensor] = {}
        for draw in range(draws):
            for start in range(0, len(latents), batch_size):
                x = latents[start : start + batch_size]
                noise = [_generator(seed, start + i, draw, t) for i in range(len(x))]
                with torch.no_grad(), capture(backbone, sites, pooling) as store:
                    backbone.denoise(backbone.noise(x, t, noise), t, condition.expand(len(x), -1, -1))
                for site in sites:
                    part = store[site].sum(dim=0, dtype=torch.float64).cpu()
                    row[site] = row[site] + part if site in row else part
                yield len(x)
        for site in sites:
            sums.setdefault(site, []).append(row[site])


def _generator(*key: int) -> torch.Generator:
    """A generator whose stream depends on every part of the key."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def _scaled(a: ConceptVector, factor: float) -> ConceptVector:
    """factor * a; the recommended strengths shrink as the vector grows."""
    recommended = dict(a.recommended)
    if factor == 0:
        recommended = {}
    if "strength" in recommended:
        recommended["strength"] = recommended["strength"] / factor
    if "range" in recommended:
        recommended["range"] = sorted(end / factor for end in recommended["range"])
    return a.replace(
        name=f"{factor:g} * {a.name}"[:200],
        vectors={site: v * factor for site, v in a.vectors.items()},
        provenance={**_shared(a), "operation": "*", "factor": factor, "of": [a.provenance]},
        recommended=recommended,
    )


def _combined(a: ConceptVector, b: Any, sign: str, factor: float) -> ConceptVector:
    if not isinstance(b, ConceptVector):
        return NotImplemented
    if a.fingerprint != b.fingerprint:
        models = [shorten(v.provenance.get("model", "an unnamed model"), 40) for v in (a, b)]
        raise RudderError(f"{a.name} was made for {models[0]} and {b.name} for {models[1]}: combine vectors of one model.")
    if a.timesteps != b.timesteps or set(a.vectors) != set(b.vectors):
        what = "timesteps" if a.timesteps != b.timesteps else "sites"
        raise RudderError(f"{a.name} and {b.name} have different {what}: learn both with the same ones.")
    for site, v in a.vectors.items():
        if v.shape != b.vectors[site].shape:
            raise RudderError(f"{a.name} and {b.name} have different shapes at {site}: learn both with the same pooling.")
    return ConceptVector(
        name=f"{a.name} {sign} {b.name}"[:200],
        vectors={site: v + factor * b.vectors[site] for site, v in a.vectors.items()},
        timesteps=a.timesteps,
        provenance={**_shared(a), "operation": sign, "of": [a.provenance, b.provenance]},
    )


def _shared(a: ConceptVector) -> dict[str, Any]:
    return {key: a.provenance.get(key) for key in ("model", "fingerprint", "shapes", "pooling", "timesteps")} | {
        "version": __version__
    }


def _recommended(value: Any) -> dict[str, Any]:
    """The measured recommendation, checked; unknown keys are kept."""
    if not isinstance(value, Mapping):
        raise RudderError(f"A vector's recommendation must be a mapping, not {type(value).__name__}: {AGAIN}.")
    result = dict(value)
    if "strength" in result:
        result["strength"] = number("The recommended strength", result["strength"], -1e8, 1e8)
    for key in ("range", "window"):
        if key in result:
            ends = result[key]
            if not isinstance(ends, (list, tuple)) or len(ends) != 2:
                raise RudderError(f"A vector's recommended {key} must be two numbers: {AGAIN}.")
            result[key] = [number(f"The recommended {key}", end, -1e8, 1e8) for end in ends]
    if "sites" in result and result["sites"] is not None:
        if not isinstance(result["sites"], (list, tuple)) or not all(isinstance(s, str) for s in result["sites"]):
            raise RudderError(f"A vector's recommended sites must be a list of names: {AGAIN}.")
        result["sites"] = list(result["sites"])
    return result


def _metadata(header: dict[str, Any], title: str) -> dict[str, Any]:
    """Rudder's own JSON from a safetensors header, its kinds checked."""
    try:
        meta = json.loads((header.get("__metadata__") or {})["rudder"])
        form = meta["format"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RudderError(f"{title} holds tensors but no Rudder metadata: choose a vector that Rudder saved.") from error
    if form != FORMAT:
        raise RudderError(f"{title} has format {shorten(form)}, this Rudder reads format {FORMAT}: update Rudder.")
    kinds = {"name": str, "timesteps": list, "shapes": dict, "provenance": dict, "recommended": dict}
    for key, kind in kinds.items():
        if not isinstance(meta.get(key), kind):
            raise RudderError(f"{title} has no valid {key!r} in its metadata: {AGAIN}.")
    return meta


def _concepts_folder() -> Path:
    return home() / "assets" / "concepts"


def _concept(folder: Path, model: str) -> ConceptInfo:
    texts = read_json(folder / "concept.json")
    vector = folder / f"{Path(model).name}.safetensors"
    return ConceptInfo(
        name=folder.name,
        title=str(texts.get("title", folder.name)),
        description=str(texts.get("description", "")),
        examples=tuple(sorted((folder / "examples").glob("*.png"))),
        baseline=tuple(sorted((folder / "baseline").glob("*.png"))),
        vector_path=vector if vector.is_file() else None,
        prompt=str(texts.get("prompt", "")),
        baseline_prompt=str(texts.get("baseline_prompt", "")),
    )
