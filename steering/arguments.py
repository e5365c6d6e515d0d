"""From what was typed on the command line to models, recipes, vectors and files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import say
from .errors import RudderError, shorten, unknown
from .recipe import STRIP_LIMIT, Recipe, Window, read_png, read_png_vectors, write_png

if TYPE_CHECKING:
    from PIL import Image

    from .backbones.base import Backbone
    from .concepts import ConceptVector


def backbone_for(model: str | None, device: str = "cpu") -> Backbone:
    """The loaded model; tiny-sd if none is named."""
    from .backbones.registry import load

    return load(model or "tiny-sd", device=device)


def request(
    source: Path | None,
    model: str | None,
    device: str,
    prompt: str | None,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
    negative: str | None,
) -> tuple[Backbone, Recipe, dict[str, ConceptVector]]:
    """Model, recipe and the vectors that came with it: the recipe of `source` if given, then the rest."""
    given = {
        "prompt": prompt,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "negative_prompt": negative,
    }
    given = {key: value for key, value in given.items() if value is not None}
    base = read_png(source) if source else Recipe(**given)
    backbone = backbone_for(model or base.model, device)
    if source is None:
        own = {key: backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale")}
        given = {**own, **given}
    recipe = replace(base, model=model or base.model, **given)
    return backbone, recipe, dict(read_png_vectors(source)) if source else {}


def concepts_asked(given: Sequence[str], recipe: Recipe) -> list[tuple[str, float | None]]:
    """(name or file, strength or None) from each "name=strength" or "name"; without any, the recipe's."""
    if not given:
        return list(recipe.concepts)
    pairs: list[tuple[str, float | None]] = []
    for text in given:
        name, sign, value = text.rpartition("=")
        if not sign:
            pairs.append((text, None))
            continue
        try:
            pairs.append((name, float(value)))
        except ValueError as error:
            raise RudderError(
                f"{shorten(value)!r} is no strength for {shorten(name)!r}: write a number, as in --concept sketch=1.0."
            ) from error
    return pairs


def terms(
    asked: Sequence[tuple[str, float | None]],
    carried: dict[str, ConceptVector],
    backbone: Backbone,
    recommended: bool,
) -> tuple[dict[str, ConceptVector], list[tuple[str, float]], dict[str, ConceptVector]]:
    """Vectors by name, (name, strength) pairs, and those vectors that do not ship, for a PNG to carry.

    A strength of None becomes the recommended one, or 1.
    """
    vectors, pairs, own = {}, [], {}
    for name, value in asked:
        vector = carried.get(name) or vector_for(name, backbone.name)
        vector.check(backbone)
        if vectors.get(vector.name, vector) is not vector:
            raise RudderError(f"The concept {vector.name!r} is given twice: give it once, with one strength.")
        vectors[vector.name] = vector
        if name in carried or _is_file(name):
            own[vector.name] = vector
        usual = vector.advice["strength"] if recommended else 1.0
        pairs.append((vector.name, usual if value is None else value))
    return vectors, pairs, own


def _is_file(name: str) -> bool:
    return name.endswith(".safetensors") or "/" in name


def vector_for(name: str, model: str) -> ConceptVector:
    """A vector file, or the vector of a shipped concept for `model`."""
    from .concepts import ConceptVector, library

    if _is_file(name):
        return ConceptVector.load(name)
    shipped = library(model)
    if name not in shipped:
        raise unknown("concept", name, shipped, "give a vector file, or one of")
    path = shipped[name].vector_path
    if path is None:
        folder = f"assets/concepts/{name}"
        raise RudderError(
            f"The concept {name!r} has no vector for {shorten(model)}: learn one from its pictures with "
            f"`rudder concept learn {name} {folder}/examples --baseline {folder}/baseline "
            f"--model {shorten(model)}`."
        )
    return ConceptVector.load(path)


def settled(
    recipe: Recipe,
    pairs: Sequence[tuple[str, float]],
    vectors: dict[str, ConceptVector],
    window: str | None,
    sites: Sequence[str] | None,
    halves: str | None,
    fresh: bool,
) -> Recipe:
    """The recipe with concepts, window, sites and halves: given ones, else (`fresh`) the first's advice."""
    recipe = replace(recipe, concepts=tuple(pairs))
    if fresh:
        told = vectors[pairs[0][0]].advice
        alone = len(vectors) == 1 and told["sites"]
        recipe = replace(recipe, window=Window(*told["window"]), halves=told["halves"])
        recipe = replace(recipe, sites=tuple(told["sites"])) if alone else recipe
    changes: dict[str, Any] = {"halves": halves} if halves else {}
    changes |= {"window": window_of(window)} if window else {}
    changes |= {"sites": tuple(sites)} if sites else {}
    return replace(recipe, **changes)


def window_of(text: str) -> Window:
    """ "0.5:0.95" as a Window."""
    try:
        start, end = map(float, text.split(":"))
    except ValueError as error:
        raise RudderError(f"{shorten(text)!r} is no window: give start:end as fractions, such as 0.5:0.95.") from error
    return Window(start, end)


def strengths_of(text: str) -> tuple[float, ...]:
    """ "first:last:count" or "a,b,c" as strengths."""
    from .recipe import strength

    remedy = "give first:last:count such as -1:2:9, or a list such as 0,0.5,1"
    try:
        if ":" not in text:
            values = [float(part) for part in text.split(",")]
        else:
            first, last, count = text.split(":")
            low, high, n = float(first), float(last), int(count)
            if not 2 <= n <= STRIP_LIMIT:
                raise RudderError(f"A strip of {n} is asked for: give a count from 2 to {STRIP_LIMIT}.")
            values = [round(low + (high - low) * k / (n - 1), 6) for k in range(n)]
    except RudderError:
        raise
    except ValueError as error:
        raise RudderError(f"{shorten(text)!r} is no row of strengths: {remedy}.") from error
    if len(values) > STRIP_LIMIT:
        raise RudderError(f"A strip of {len(values)} is asked for: give at most {STRIP_LIMIT} strengths.")
    return tuple(strength("the strip", value) for value in values)


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """The files meant by files, zips and folders (their files in order, hidden ones left out)."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        else:
            files.append(path)
    return files


def slug(text: str) -> str:
    """A file name from a prompt or a path."""
    words = re.findall(r"[a-z0-9]+", text.removesuffix(".safetensors").lower())
    return "-".join(words)[:60].strip("-") or "untitled"


def numbered(path: Path, index: int | None) -> Path:
    """`name-000.png` for one of several pictures."""
    return path if index is None else path.with_name(f"{path.stem}-{index:03d}{path.suffix or '.png'}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Folders made on the way; an OSError becomes one sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise RudderError(
            f"{path} cannot be written ({error.strerror or error}): choose another place with --out."
        ) from error


def film(images: Sequence[Image.Image], strengths: Sequence[float], scale: int) -> Image.Image:
    """One row of frames, each pixel enlarged `scale` times, its strength written below."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = images[0].width * scale, images[0].height * scale
    font, gap = ImageFont.load_default(max(10, min(16, width // 6))), max(2, width // 32)
    label = int(font.size * 1.8)
    sheet = Image.new("RGB", (len(images) * (width + gap) - gap, height + label), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (image, value) in enumerate(zip(images, strengths, strict=True)):
        left = k * (width + gap)
        sheet.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, 0))
        draw.text((left + width / 2, height + label / 2), f"{value:+g}" if value else "0", "black", font, "mm")
    return sheet


def flat(measured: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of nested results, lists of numbers left whole."""
    if isinstance(measured, dict):
        for key, value in measured.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, measured


def described(vector: ConceptVector) -> dict[str, Any]:
    """A vector for JSON: provenance, what was measured, and per site its shape and mean norm."""
    sites = [
        {"site": name, "shape": list(v.shape[1:]), "norm": round(float(v.flatten(1).norm(dim=1).mean()), 6)}
        for name, v in vector.vectors.items()
    ]
    return {
        "name": vector.name,
        "timesteps": list(vector.timesteps),
        "sites": sites,
        "recommended": vector.recommended,
        "provenance": vector.provenance,
    }


def warned(backbone: Backbone, recipe: Recipe) -> list[str]:
    """The words the model was never taught, said on stderr."""
    words = backbone.unknown_words(recipe.prompt)
    if words:
        listed = ", ".join(repr(shorten(word, 30)) for word in words[:12])
        say(f"{backbone.name} was never taught {listed}: it paints what it makes of the rest of the prompt.")
    return words


def saved(image: Image.Image, path: Path, recipe: Recipe, vectors: dict[str, ConceptVector] | None = None) -> Path:
    with writing(path):
        write_png(image, path, recipe, vectors)
    return path
