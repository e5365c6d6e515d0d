"""From what was typed on the command line to models, recipes, vectors and files.

What can be wrong with it is told from headers and folders, before `backbone_for` imports torch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RudderError, shorten, unknown
from ..files import replacing
from ..keeping import PICTURE, read_recipe, write_picture
from ..recipe import OPERATORS, STRIP_LIMIT, Recipe, Use, Window
from ..vectors import told
from ..words import unread, untaught
from .console import ended, say
from .options import Invert

if TYPE_CHECKING:
    from PIL import Image

    from ..backbones.base import Backbone
    from ..backbones.registry import Outline
    from ..concepts import ConceptVector
    from ..inversion import Inverted

ODD = 0.02  # by which a mask's proportions may differ from its picture's


@dataclass(frozen=True)
class Term:
    """One concept as asked for, with what its vector advises; the vector itself is read later, or came with a PNG."""

    name: str
    strength: float
    advice: dict[str, Any]
    sites: tuple[str, ...]
    source: ConceptVector | Path
    own: bool
    use: Use

    def vector(self, backbone: Backbone) -> ConceptVector:
        """The vector, checked against the model; RudderError as `ConceptVector.load`."""
        from ..concepts import ConceptVector

        if isinstance(self.source, ConceptVector):
            self.source.check(backbone)
            return self.source
        return ConceptVector.load(self.source, backbone)


def model_named(model: str | None) -> Outline:
    """What is known of a model before it is loaded, tiny-sd if none is named; RudderError where it cannot be."""
    from ..backbones.registry import outline

    return outline(model or "tiny-sd")


def backbone_for(model: str | None, device: str = "cpu", dtype: str | None = None, attention: str = "sdpa") -> Backbone:
    """The loaded model; tiny-sd if none is named."""
    from ..backbones.registry import load

    return load(model or "tiny-sd", device=device, dtype=dtype, attention=attention)


def request(
    source: Path | Recipe | None,
    model: str | None,
    prompt: str | None,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
    negative: str | None,
) -> Recipe:
    """The recipe of `source`, a file's or itself, if given, else the model's own settings, with what is not None put
    in."""
    given: dict[str, Any] = {
        "prompt": prompt,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "negative_prompt": negative,
    }
    given = {key: value for key, value in given.items() if value is not None}
    base = source if isinstance(source, Recipe) else read_recipe(source) if source else Recipe(**given)
    own = model_named(model or base.model).defaults if source is None else {}
    return replace(base, model=model or base.model, **{**own, **given})


@dataclass(frozen=True)
class Asked:
    """A concept as --concept names it: None where nothing is said of its strength, operator or window."""

    name: str
    strength: float | None = None
    operator: str | None = None
    window: Window | None = None
    sites: tuple[str, ...] | None = None


def concepts_asked(
    given: Sequence[str], recipe: Recipe, window: str | None = None, sites: Sequence[str] | None = None
) -> list[Asked]:
    """What each "name", "name=strength" or "name=strength,operator,start:end" asks for; without any, the recipe's, none
    with a window or sites of its own where these are given for all."""
    if not given:
        uses = recipe.uses or (Use(),) * len(recipe.concepts)
        return [
            Asked(name, value, use.operator, None if window else use.window, None if sites else use.sites)
            for (name, value), use in zip(recipe.concepts, uses, strict=True)
        ]
    return [_asked(text) for text in given]


def _asked(text: str) -> Asked:
    name, sign, told = text.rpartition("=")
    if not sign:
        return Asked(text)
    strength, operator, window = None, None, None
    for part in told.split(","):
        if part in OPERATORS:
            operator = part
        elif ":" in part:
            window = window_of(part)
        else:
            try:
                strength = float(part)
            except ValueError as error:
                raise RudderError(
                    f"{shorten(part)!r} is no strength for {shorten(name)!r}: write a number, as in --concept "
                    f"sketch=1.0, and after commas, if you like, {', '.join(OPERATORS)} or a window start:end."
                ) from error
    return Asked(name, strength, operator, window)


def terms(asked: Sequence[Asked], carried: dict[str, ConceptVector], model: str, recommended: bool) -> list[Term]:
    """The concepts asked for, whose vectors were `carried` by a PNG, lie in a file, or ship for `model` (its name).

    A strength of None becomes the recommended one, or 1. RudderError for what is unknown, unreadable or given twice.
    """
    found: dict[str, Term] = {}
    for one in asked:
        name, value = one.name, one.strength
        if name in carried:
            vector = carried[name]
            head: dict[str, Any] = {"name": vector.name, "advice": vector.advice, "sites": vector.sites}
            source: ConceptVector | Path = vector
        else:
            source = vector_path(name, model)
            head = told(source)
        if head["name"] in found:
            raise RudderError(f"The concept {head['name']!r} is given twice: give it once, with one strength.")
        usual = head["advice"]["strength"] if recommended else 1.0
        power = usual if value is None else value
        own = name in carried or _is_file(name)
        use = Use(one.operator or "add", one.window, one.sites)
        found[head["name"]] = Term(head["name"], power, head["advice"], head["sites"], source, own, use)
    return list(found.values())


def _is_file(name: str) -> bool:
    return name.endswith(".safetensors") or "/" in name


def vector_path(name: str, model: str) -> Path:
    """A vector file, or where the vector of a shipped concept for `model` lies."""
    from ..concepts import library

    if _is_file(name):
        return Path(name)
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
    return path


def settled(
    recipe: Recipe,
    asked: Sequence[Term],
    window: str | None,
    sites: Sequence[str] | None,
    halves: str | None,
    fresh: bool,
) -> Recipe:
    """The recipe with concepts, window, sites and halves: given ones, else (`fresh`) each concept's advice; halves are
    one for all, the first's."""
    uses = tuple(term.use for term in asked)
    recipe = replace(recipe, concepts=tuple((term.name, term.strength) for term in asked), uses=uses)
    if fresh:
        advice = asked[0].advice
        recipe = replace(recipe, window=Window(*advice["window"]), halves=advice["halves"])
        if len(asked) == 1:
            recipe = replace(recipe, sites=tuple(advice["sites"]) if advice["sites"] else None)
        else:
            recipe = replace(recipe, uses=tuple(_advised(term, window is None, not sites) for term in asked))
    for site in sites or ():
        for term in asked:
            if site not in term.sites:
                raise unknown(f"site in the vector {shorten(term.name)!r}", site, term.sites)
    changes: dict[str, Any] = {"halves": halves} if halves else {}
    changes |= {"window": window_of(window)} if window else {}
    changes |= {"sites": tuple(sites)} if sites else {}
    return replace(recipe, **changes)


def _advised(term: Term, window: bool, sites: bool) -> Use:
    """How a concept among several is used: in the window and at the sites that it advises, where these are asked."""
    use, advice = term.use, term.advice
    if window and use.window is None:
        use = replace(use, window=Window(*advice["window"]))
    return replace(use, sites=tuple(advice["sites"])) if sites and advice["sites"] else use


def window_of(text: str) -> Window:
    """ "0.5:0.95" as a Window."""
    try:
        start, end = map(float, text.split(":"))
    except ValueError as error:
        raise RudderError(f"{shorten(text)!r} is no window: give start:end as fractions, such as 0.5:0.95.") from error
    return Window(start, end)


def strengths_of(text: str) -> tuple[float, ...]:
    """ "first:last:count" or "a,b,c" as strengths."""
    from ..checks import strength

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


def slug(text: str) -> str:
    """A file name from a prompt or a path, in whatever script it is written; at most 80 bytes."""
    plain = unicodedata.normalize("NFC", text.removesuffix(".safetensors").lower())
    kept = "".join(letter if unicodedata.category(letter)[0] in "LMN" else "-" for letter in plain)
    words = "-".join(word for word in kept.split("-") if word)
    return words.encode()[:80].decode(errors="ignore").strip("-") or "untitled"


def unnamed(path: Path) -> Path:
    """`path`, or the first of name-2, name-3 and so on that is not there yet: for files that nobody gave a name."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def numbered(path: Path, index: int | None) -> Path:
    """`name-000.png` for one of several pictures."""
    return path if index is None else path.with_name(f"{path.stem}-{index:03d}{path.suffix or '.png'}")


def film(images: Sequence[Image.Image], strengths: Sequence[float], scale: int) -> Image.Image:
    """One row of frames, each pixel enlarged `scale` times, its strength written below."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = images[0].width * scale, images[0].height * scale
    size, gap = max(10, min(16, width // 6)), max(2, width // 32)
    font, label = ImageFont.load_default(size), int(size * 1.8)
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


def known_prompt(model: str | None, otherwise: str = "") -> str:
    """A prompt that an example can use: the first ordinary one of an embedded model, else the one given or "a cat"."""
    from ..backbones.registry import prompts_of

    listed = prompts_of(model or "tiny-sd")["ordinary"]
    return listed[0]["prompt"] if listed else otherwise or "a cat"


def warned(backbone: Backbone, recipe: Recipe) -> dict[str, list[str]]:
    """The words the model was never taught, said on stderr, and those it does not read, of which the sampler warns."""
    words = backbone.unknown_words(recipe.prompt)
    if words:
        say(untaught(backbone, [recipe.prompt]))
    return {"unknown_words": words, "unread_words": unread(backbone, recipe.prompt)}


def own_picture(path: Path) -> Image.Image:
    """The one picture in a file, as RGB; RudderError where it cannot be read."""
    from ..images import open_images

    return open_images(path)[0]


def masked(path: Path, picture: Image.Image | None = None) -> str:
    """A mask file as a recipe carries it. RudderError for one that cannot be read, and for one that is neither square,
    as what a model paints, nor of the proportions of the picture of one's own whose middle it sees."""
    from PIL import Image

    from ..masks import mask_of

    text = mask_of(path)
    with Image.open(path) as mask:
        w, h = mask.size
    across, down = picture.size if picture else (1, 1)
    if w != h and abs(w * down - h * across) > ODD * w * down:
        due = f"the picture has {across}x{down}" if picture else "what the model paints is square"
        raise RudderError(
            f"{shorten(path.name)} has {w}x{h} pixels, and {due}: paint the mask on a copy of the picture, or crop it "
            "to a square."
        )
    return text


def way_of(asked: Invert | None, recipe: Recipe) -> str:
    """How a picture of one's own is inverted: as asked, else as the recipe had one inverted, else edit-friendly."""
    return asked.value if asked else recipe.picture.split(" ")[0] or Invert.edit_friendly.value


def inverted(backbone: Backbone, picture: Image.Image, recipe: Recipe, way: str) -> Inverted:
    """A picture's run, with progress, and what is to be known of it on stderr."""
    from ..inversion import invert, told

    found: Inverted = ended(invert(backbone, picture, recipe, way), "inverting the picture")
    say(told(found))
    return found


def saved(image: Image.Image, path: Path, recipe: Recipe, vectors: dict[str, ConceptVector] | None = None) -> Path:
    """Where the picture lies, with its recipe, once it is written whole; folders are made on the way."""
    return write_picture(image, path, recipe, vectors)


def beside(run: Iterator[Any], path: Path) -> list[dict[str, Any]]:
    """Paint what words make of a steered picture's run, and keep the pictures beside it (name-prompt.png,
    name-embedding.png); how well each is matched is said on stderr."""
    told = []
    for one in ended(run, "asking by words"):
        target = path.with_name(f"{path.stem}-{one.way}.png")
        with replacing(target, "picture", PICTURE) as part:
            one.image.save(part, "PNG")
        say(f"{target}: {one.sentence}")
        told.append({"path": str(target), "way": one.way, "amount": one.amount, "change": one.change,
                     "wanted": one.wanted})  # fmt: skip
    return told
