"""What makes a picture: a Recipe, checked on creation, that travels inside the picture it made (png.py, keeping.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .checks import PROMPT_LIMIT, number, strength, text, whole
from .errors import RudderError, shorten, unknown
from .masks import TEXT_LIMIT, mask_image

FORMAT = 1
STEPS_LIMIT = 500
GUIDANCE_LIMIT = 50.0
CONCEPTS_LIMIT = 16
STRIP_LIMIT = 64
SCALE_LIMIT = 32
SITES_LIMIT = 256
SEED_LIMIT = 2**63
SEED_KEPT = 2**53 - 1  # whole numbers up to here survive a browser, a spreadsheet and most JSON
OPTIONAL = ("uses", "mask", "picture", "strip")
HALVES = ("both", "conditional", "opposite")
OPERATORS = ("add", "norm", "erase")


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
class Use:
    """How one concept of several is used: by which operator, and in a window and at sites of its own (None: the
    recipe's)."""

    operator: str = "add"
    window: Window | None = None
    sites: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise unknown("operator", self.operator, OPERATORS)
        if isinstance(self.window, Mapping):
            object.__setattr__(self, "window", _window(self.window))
        if self.window is not None and not isinstance(self.window, Window):
            raise RudderError("A concept's window must be two fractions, a start and an end, such as 0.5 and 0.95.")
        object.__setattr__(self, "sites", None if self.sites is None else _sites(self.sites))


@dataclass(frozen=True)
class Strip:
    """A row of pictures in place of one: `strengths` multiply every concept's, `scale` enlarges each frame."""

    strengths: tuple[float, ...]
    scale: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.strengths, (str, bytes)) or not hasattr(self.strengths, "__iter__"):
            raise RudderError("A strip's strengths must be given as a list of numbers, such as [0, 0.5, 1].")
        given = list(self.strengths)
        if not 0 < len(given) <= STRIP_LIMIT:
            raise RudderError(f"A strip of {len(given)} is asked for: give between 1 and {STRIP_LIMIT} strengths.")
        object.__setattr__(self, "strengths", tuple(strength("the strip", value) for value in given))
        object.__setattr__(self, "scale", whole("A strip's enlargement", self.scale, 1, SCALE_LIMIT))


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a picture.

    `concepts` is ((name, strength), ...), where strength 1.0 adds concept minus baseline once; `halves` says which
    half of guidance is steered; `uses`, () or one a concept, says what sets a concept apart; `mask` ("" for none, else
    masks.mask_text) keeps changes inside it; `picture` is the mark of a picture of one's own that the run begins with
    (inversion.py); `strip` is what makes a row of pictures of one. Values are checked on creation; RudderError names
    the first that will not do.
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
    uses: tuple[Use, ...] = ()
    mask: str = ""
    picture: str = ""
    strip: Strip | None = None

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
        put("uses", _uses(self.uses, len(self.concepts)))
        put("mask", text("The mask", self.mask, TEXT_LIMIT))
        put("picture", text("The mark of a picture", self.picture, 80))
        if self.mask:
            mask_image(self.mask)
        if isinstance(self.strip, Mapping):
            put("strip", _strip(self.strip))
        if not isinstance(self.strip, Strip | None):
            raise RudderError("A strip must be given as its strengths and how many times its frames are enlarged.")

    def to_json(self) -> str:
        """A JSON object in ASCII, which survives every tool that rewrites a picture, with every field and the format
        number; "uses", "mask", "picture" and "strip" only where there are any."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["window"] = asdict(self.window)
        values["uses"] = [asdict(use) for use in self.uses]
        values["strip"] = self.strip and asdict(self.strip)
        values = {key: value for key, value in values.items() if value or key not in OPTIONAL}
        return json.dumps({"rudder": FORMAT, **values}, allow_nan=False)

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


def _uses(value: Any, count: int) -> tuple[Use, ...]:
    """One for each concept; () where all are used alike."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise RudderError("Uses must be given as a list, one for each concept.")
    uses = tuple(use if isinstance(use, Use) else _use(use) for use in value)
    if uses and len(uses) != count:
        raise RudderError(f"{len(uses)} uses are given for {count} concepts: give one each, or none.")
    return uses if any(use != Use() for use in uses) else ()


def _use(value: Any) -> Use:
    if not isinstance(value, Mapping) or not set(value) <= {f.name for f in fields(Use)}:
        raise RudderError("A concept's use has an operator, a window and sites, and nothing else.")
    return Use(**value)


def _window(value: Mapping[str, Any]) -> Window:
    if not set(value) <= {"start", "end"}:
        raise RudderError("The window must have just a start and an end, such as 0.5 and 0.95.")
    return Window(**value)


def _strip(value: Mapping[str, Any]) -> Strip:
    if "strengths" not in value or not set(value) <= {"strengths", "scale"}:
        raise RudderError("A strip must have just its strengths and a scale, such as [0, 0.5, 1] and 2.")
    return Strip(**value)


def _sites(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise RudderError("Sites must be given as a list of names, such as ['up_blocks.0.resnets.1'].")
    names = tuple(text("A site's name", name, 200, empty=False) for name in value)
    if not 0 < len(names) <= SITES_LIMIT:
        raise RudderError(f"{len(names)} sites are chosen: choose between 1 and {SITES_LIMIT}.")
    return tuple(dict.fromkeys(names))
