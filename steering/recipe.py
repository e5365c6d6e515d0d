"""What makes a picture: a Recipe, checked on creation, that travels inside the PNG it made."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image, PngImagePlugin

from .errors import RudderError, shorten, unknown

if TYPE_CHECKING:
    from .vectors import ConceptVector

FORMAT = 1
PROMPT_LIMIT = 2000
STEPS_LIMIT = 500
GUIDANCE_LIMIT = 50.0
STRENGTH_LIMIT = 100.0
CONCEPTS_LIMIT = 16
STRIP_LIMIT = 64
SITES_LIMIT = 256
SEED_LIMIT = 2**63
PNG_BYTES_LIMIT = 64 * 1024 * 1024
PNG_PIXELS_LIMIT = 16_777_216
HALVES = ("both", "conditional")
CHUNK = "rudder"
VECTOR_CHUNK = b"ruVc"  # private, ancillary, safe to copy (PNG specification, section 5.4)


@dataclass(frozen=True)
class Window:
    """The steps that are steered, as fractions of the schedule; default: steps 20 to 37 of 40."""

    start: float = 0.5
    end: float = 0.95

    def __post_init__(self) -> None:
        start = number("The window's start", self.start, 0.0, 1.0)
        end = number("The window's end", self.end, 0.0, 1.0)
        if start >= end:
            raise RudderError(
                f"The window starts at {start:g} but ends at {end:g}: its start must come before its end."
            )
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)

    def steps(self, num_inference_steps: int) -> range:
        """The steered steps of a run: 40 steps give range(20, 38) by default."""
        return range(int(self.start * num_inference_steps + 0.5), int(self.end * num_inference_steps + 0.5))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a picture.

    `concepts` is ((name, strength), ...), where strength 1.0 adds concept minus baseline once; `halves` says
    which half of guidance is steered. Values are checked on creation; RudderError names the first that will
    not do.
    """

    model: str = "tiny-sd"
    prompt: str = ""
    seed: int = 0
    num_inference_steps: int = 40
    guidance_scale: float = 4.0
    negative_prompt: str = ""
    concepts: tuple[tuple[str, float], ...] = ()
    window: Window = field(default_factory=Window)
    sites: tuple[str, ...] | None = None
    halves: str = "both"

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("model", text("The model's name", self.model, 300, empty=False))
        put("prompt", text("The prompt", self.prompt, PROMPT_LIMIT))
        put("negative_prompt", text("The negative prompt", self.negative_prompt, PROMPT_LIMIT))
        put("seed", whole("The seed", self.seed, 0, SEED_LIMIT - 1))
        put("num_inference_steps", whole("The number of steps", self.num_inference_steps, 1, STEPS_LIMIT))
        put("guidance_scale", number("The guidance scale", self.guidance_scale, 0.0, GUIDANCE_LIMIT))
        put("concepts", _concepts(self.concepts))
        if isinstance(self.window, Mapping):
            put("window", _window(self.window))
        if not isinstance(self.window, Window):
            raise RudderError("The window must be given as two fractions, a start and an end, such as 0.5 and 0.95.")
        put("sites", None if self.sites is None else _sites(self.sites))
        if self.halves not in HALVES:
            raise unknown("choice of guidance halves", self.halves, HALVES)

    def to_json(self) -> str:
        """A JSON object with every field and the format number."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["window"] = {"start": self.window.start, "end": self.window.end}
        return json.dumps({"rudder": FORMAT, **values}, ensure_ascii=False)

    @classmethod
    def from_json(cls, source: str | bytes | Mapping[str, Any]) -> Recipe:
        """The recipe of `to_json`; missing keys take the defaults. RudderError if it will not do."""
        try:
            values = dict(source) if isinstance(source, Mapping) else json.loads(source)
        except (ValueError, RecursionError) as error:
            raise RudderError(f"The recipe is not valid JSON ({shorten(error)}): save the picture again.") from error
        if not isinstance(values, dict):
            raise RudderError("The recipe is not a JSON object: save the picture again.")
        form = values.pop("rudder", FORMAT)
        if form != FORMAT:
            raise RudderError(
                f"The recipe has format {shorten(form)}, this Rudder reads format {FORMAT}: update Rudder."
            )
        stray = sorted(str(key) for key in set(values) - {f.name for f in fields(cls)})
        if stray:
            raise RudderError(
                f"The recipe has an unknown entry {shorten(stray[0])!r}: remove it or save the picture again."
            )
        return cls(**values)


def write_png(
    image: Image.Image,
    target: str | os.PathLike[str] | BinaryIO,
    recipe: Recipe,
    vectors: Mapping[str, ConceptVector] | None = None,
) -> None:
    """Write `image` as a PNG that carries its recipe (iTXt chunk "rudder"), with learned vectors if given.

    `vectors` ({name: vector}) makes the file self-contained for concepts that are not shipped.
    """
    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, recipe.to_json())
    for name, vector in (vectors or {}).items():
        info.add(VECTOR_CHUNK, vector.replace(name=name).to_bytes())
    try:
        image.save(target, format="PNG", pnginfo=info)
    except OSError as error:
        raise RudderError(f"{_title(target)} cannot be written ({error.strerror}): choose another place.") from error


def read_png(source: str | os.PathLike[str] | BinaryIO) -> Recipe:
    """The recipe inside a PNG; RudderError when there is none or the file is damaged."""
    found = _open_png(source).text.get(CHUNK)
    if found is None:
        raise RudderError(
            f"{_title(source)} carries no Rudder recipe: drop a PNG that Rudder's Download made (a "
            "screenshot or a "
            "re-saved copy loses it)."
        )
    return Recipe.from_json(found)


def read_png_vectors(source: str | os.PathLike[str] | BinaryIO) -> dict[str, ConceptVector]:
    """The learned vectors inside a PNG, by name; {} when it carries none. Checked like any vector file."""
    from .vectors import ConceptVector

    chunks = [chunk[1] for chunk in getattr(_open_png(source), "private_chunks", []) if chunk[0] == VECTOR_CHUNK]
    vectors = [
        ConceptVector.from_bytes(data, title=f"a vector in {_title(source)}") for data in chunks[:CONCEPTS_LIMIT]
    ]
    return {vector.name: vector for vector in vectors}


def number(title: str, value: Any, low: float, high: float) -> float:
    """`value` as a finite float in [low, high]; RudderError naming `title` otherwise."""
    try:
        result = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        result = math.nan
    if not math.isfinite(result) or not low <= result <= high:
        raise RudderError(f"{title} is {shorten(value, 40)}: give a number from {low:g} to {high:g}.")
    return result


def whole(title: str, value: Any, low: int, high: int) -> int:
    """`value` as an int in [low, high]; RudderError naming `title` otherwise."""
    try:
        result = operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        result = low - 1
    if isinstance(value, bool) or not low <= result <= high:
        raise RudderError(f"{title} is {shorten(value, 40)}: give a whole number from {low:,} to {high:,}.")
    return result


def strength(name: str, value: Any) -> float:
    """A concept's strength, finite and at most 100 either way."""
    return number(f"The strength of {shorten(name)!r}", value, -STRENGTH_LIMIT, STRENGTH_LIMIT)


def text(title: str, value: Any, limit: int = PROMPT_LIMIT, empty: bool = True) -> str:
    """`value` as text of at most `limit` characters; RudderError naming `title` otherwise."""
    if not isinstance(value, str):
        raise RudderError(f"{title} must be text, not {type(value).__name__}.")
    if len(value) > limit:
        raise RudderError(f"{title} has {len(value):,} characters: shorten it to at most {limit:,}.")
    if not empty and not value.strip():
        raise RudderError(f"{title} is empty: give one.")
    if any(0xD800 <= ord(c) <= 0xDFFF or c == "\0" for c in value):
        raise RudderError(f"{title} holds characters that are no text (surrogates or NUL): type it again.")
    return value


def _concepts(value: Any) -> tuple[tuple[str, float], ...]:
    try:
        pairs = [tuple(pair) for pair in (value.items() if isinstance(value, Mapping) else value)]
    except TypeError as error:
        raise RudderError("Concepts must be given as pairs of a name and a strength.") from error
    if any(len(pair) != 2 for pair in pairs):
        raise RudderError("Concepts must be given as pairs of a name and a strength.")
    if len(pairs) > CONCEPTS_LIMIT:
        raise RudderError(f"{len(pairs)} concepts are too many at once: use at most {CONCEPTS_LIMIT}.")
    return tuple((text("A concept's name", name, 200, empty=False), strength(name, s)) for name, s in pairs)


def _window(value: Mapping[str, Any]) -> Window:
    if not set(value) <= {"start", "end"}:
        raise RudderError("The window must have just a start and an end, such as 0.5 and 0.95.")
    return Window(**value)


def _sites(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise RudderError("Sites must be given as a list of names, such as ['up_blocks.0.resnets.1'].")
    names = tuple(text("A site's name", name, 200, empty=False) for name in value)
    if not 0 < len(names) <= SITES_LIMIT:
        raise RudderError(f"{len(names)} sites are chosen: choose between 1 and {SITES_LIMIT}.")
    return tuple(dict.fromkeys(names))


def _title(source: Any) -> str:
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "")
    return shorten(Path(str(name)).name) or "The picture"


def _open_png(source: str | os.PathLike[str] | BinaryIO) -> PngImagePlugin.PngImageFile:
    """A PNG with every chunk read, bounded in bytes and pixels."""
    title = _title(source)
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as file:
                return _decode_png(file, title)
        source.seek(0)
        return _decode_png(source, title)
    except RudderError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files; each becomes one sentence
        raise RudderError(
            f"{title} is not a readable PNG ({shorten(error)}): choose a PNG that Rudder made."
        ) from error


def _decode_png(file: BinaryIO, title: str) -> PngImagePlugin.PngImageFile:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > PNG_BYTES_LIMIT:
        raise RudderError(f"{title} has {size:,} bytes: choose a PNG of at most {PNG_BYTES_LIMIT:,}.")
    image = Image.open(file, formats=["PNG"])
    if image.width * image.height > PNG_PIXELS_LIMIT:
        raise RudderError(
            f"{title} is {image.width}x{image.height} pixels, too many to be Rudder's: choose another PNG."
        )
    image.load()
    return image
