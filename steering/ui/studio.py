"""What every visitor shares: the model, the shipped concepts and prompts, and what is kept by content."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..backbones.base import Backbone
from ..backbones.layout import sizes
from ..backbones.registry import DEFAULT, Outline, load, outline, prompts_in
from ..calibration import Calibration, of_model
from ..concepts import ConceptVector, Progress, library, read_under
from ..errors import unknown
from ..files import read_json
from ..pace import Pace, measure, reader
from ..recipe import Window
from ..tuning import BUDGET
from .pictures import contact_sheet, thumbnail
from .session import ContentCache, Session
from .verbs import Verbs, verbs_of

if TYPE_CHECKING:
    from .library import Library

log = logging.getLogger("rudder.page")

WAY, OUTSIDE = 16, 4  # steps of a strip: from 0 to the recommended strength, and on each side of that at most


@dataclass(frozen=True)
class Concept:
    """A shipped concept as the picker shows it; `vector` is None until it is learned for this model."""

    name: str
    title: str
    description: str
    face: str
    examples: str
    baseline: str
    example_files: tuple[Path, ...] = ()
    baseline_files: tuple[Path, ...] = ()
    prompt: str = ""
    baseline_prompt: str = ""
    vector: ConceptVector | None = None


@dataclass(kw_only=True)
class Studio(Verbs):
    """One loaded model, what it can be had to do, and all that belongs to it. Nothing in here knows who is asking."""

    outline: Outline
    backbone: Backbone
    concepts: dict[str, Concept]
    prompts: dict[str, list[dict[str, str]]]
    prefixes: ContentCache = field(default_factory=ContentCache)
    unsteered: ContentCache = field(default_factory=ContentCache)
    learned: dict[str, ConceptVector] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    calibration: Calibration | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)  # of sites, whose names were measured to hold
    training: list[Image.Image] = field(default_factory=list)  # the memorised pictures, where they are known
    onset: dict[str, Any] = field(default_factory=dict)  # how recall, spikiness and resistance grow with repetitions
    pace: Pace | None = None  # measured once the page is up
    library: Library | None = None  # of who runs Rudder at home


def open_studio(
    model: str = DEFAULT,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
    search_seconds: float = BUDGET,
    dtype: str | None = None,
    attention: str = "sdpa",
    compile: bool | None = None,
    elsewhere: Callable[[Verbs], Verbs] | None = None,
    calibrations: Sequence[Calibration] = (),
) -> Studio:
    """Load a model with its concepts and prompts; `say` is told what is being done, `search_seconds` is the time that
    `tune` may take for a set that is learned here. `elsewhere` turns the verbs of the model here into those of a model
    that runs in replicas, too. `calibrations`: of one's own (see calibration.of_model). Raises RudderError as `load`
    does, and for a calibration of other weights.

    A model that does not ship gets those concepts alone that were learned for it, and its own prompts or none.
    """
    known = outline(model)
    folder = known.folder
    say(f"Fetching {known.name} from the hub" if known.remote else f"Loading {known.name}")
    backbone = load(
        model,
        device=device,
        dtype=dtype or None,
        attention=attention,
        compile=compile,
        reading=reader(known.name, sizes(folder, known.family) if folder else {}, say),
    )
    say("Reading its concepts")
    concepts = {name: _concept(info, backbone) for name, info in library(backbone.name).items()}
    if not known.embedded:  # sets drawn for another model say little to this one
        concepts = {name: concept for name, concept in concepts.items() if concept.vector is not None}
    verbs = verbs_of(backbone, search_seconds)
    verbs = elsewhere(verbs) if elsewhere else verbs
    return Studio(
        outline=known,
        backbone=backbone,
        concepts=concepts,
        prompts=_prompts(folder),
        **vars(verbs),
        calibration=of_model(backbone, calibrations),
        groups=_groups(known),
        training=_training(known),
        onset=_onset(known),
    )


def measure_pace(studio: Studio) -> None:
    """Time a step on this machine, so that the page can tell how long a run takes before it is started."""
    studio.pace = measure(studio.backbone)


def vector_for(
    studio: Studio, session: Session, name: str, stop: threading.Event | None = None
) -> Iterator[Progress | ConceptVector]:
    """The vector a name means to this visitor, as the last item; shipped sets are learned where need be."""
    if name in session.vectors:
        yield session.vectors[name]
        return
    if name not in studio.concepts:
        known = [*studio.concepts, *session.vectors]
        raise unknown("concept", name, known, "learn it or open its file on the Concepts tab, or choose one of")
    concept = studio.concepts[name]
    vector = concept.vector or studio.learned.get(name)
    if vector is None:
        pictures = [[_open(path) for path in paths] for paths in (concept.example_files, concept.baseline_files)]
        words = {"prompt": concept.prompt, "baseline_prompt": concept.baseline_prompt}
        for item in studio.learn(name, *pictures, stop=stop, **words):
            if isinstance(item, Progress):
                yield item
            else:
                vector = item
        assert vector is not None
        with studio.lock:
            vector = studio.learned.setdefault(name, vector)  # of two that learned it at once, the first
    yield vector


def vectors_of(studio: Studio, session: Session) -> dict[str, ConceptVector]:
    """Every concept's vector that need not be learned first, own ones and those that ship, by name."""
    shipped = {name: concept.vector or studio.learned.get(name) for name, concept in studio.concepts.items()}
    return {**session.vectors, **{name: vector for name, vector in shipped.items() if vector is not None}}


def start_of(vector: ConceptVector | None) -> tuple[list[float], str]:
    """Window and guidance halves to start with: the vector's advice, or the defaults before it is learned."""
    if vector is None:
        return [Window().start, Window().end], "both"
    return list(vector.advice["window"]), vector.advice["halves"]


def positions(low: float, high: float, strength: float | None = None) -> list[float]:
    """The strengths of a strip, rising: WAY even steps from 0 to `strength` (None: to the far end), and at most OUTSIDE
    to each end of the range that lies beyond."""
    low, high = min(low, 0.0), max(high, 0.0)
    turn = strength or high or low
    low, high = min(low, turn), max(high, turn)
    places = {turn * k / WAY for k in range(WAY + 1)}
    for start, end in ((min(turn, 0.0), low), (max(turn, 0.0), high)):
        count = min(OUTSIDE, math.ceil(abs(WAY / 4 * (end - start) / turn) - 1e-9))
        places |= {start + (end - start) * k / count for k in range(1, count + 1)}
    return sorted({round(value, 6) for value in places})


def refinements(strip: Sequence[float], had: Sequence[float] = ()) -> list[list[float]]:
    """A strip's strengths coarse to fine, without those in `had`: every fourth from 0 and the ends, every second, the
    rest; each of them in the strip's order."""
    zero = strip.index(0.0)
    stages: list[list[float]] = [[], [], []]
    for place, value in enumerate(strip):
        if value in had:
            continue
        coarse = (place - zero) % 4 == 0 or place in (0, len(strip) - 1)
        stages[0 if coarse else 1 if (place - zero) % 2 == 0 else 2].append(value)
    return [stage for stage in stages if stage]


def _concept(info: Any, backbone: Backbone) -> Concept:
    examples = [_open(path) for path in info.examples[:8]]
    baseline = [_open(path) for path in info.baseline[:8]]
    prompt, baseline_prompt = read_under(backbone, info)
    return Concept(
        name=info.name,
        title=info.title,
        description=info.description,
        face=thumbnail(examples[0]) if examples else "",
        examples=contact_sheet(examples),
        baseline=contact_sheet(baseline),
        example_files=info.examples,
        baseline_files=info.baseline,
        prompt=prompt,
        baseline_prompt=baseline_prompt,
        vector=_vector(info.vector_path, backbone) if info.vector_path else None,
    )


def _vector(path: Path, backbone: Backbone) -> ConceptVector | None:
    """A shipped vector; None where the model was trained on since, so that its set is learned anew when asked for."""
    vector = ConceptVector.load(path)
    if vector.fingerprint != backbone.fingerprint:
        log.warning("%s was learned from other weights of %s: it is learned anew when asked for.", path, backbone.name)
        return None
    vector.check(backbone)
    return vector


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _prompts(folder: Path | None) -> dict[str, list[dict[str, str]]]:
    """What `registry.prompts_in` finds, thumbnails as data URIs."""
    return {
        kind: [
            {"key": str(entry["prompt"]), "title": str(entry["prompt"]), "picture": _thumb(folder, entry)}
            for entry in entries
            if folder is not None
        ]
        for kind, entries in prompts_in(folder).items()
    }


def _training(known: Outline) -> list[Image.Image]:
    """What an embedded model has by heart, with the index of its training set; [] for others."""
    if known.folder is None or not known.embedded:
        return []
    files = [known.folder / str(entry["thumbnail"]) for entry in prompts_in(known.folder)["memorized"]]
    return [_open(file) for file in files if file.is_file()]


def _onset(known: Outline) -> dict[str, Any]:
    """{"curves", "ordinary", "onset"} as an embedded model's evaluation measured them; {} where repetitions are not
    known."""
    path = known.folder / "evaluation.json" if known.folder and known.embedded else None
    told = read_json(path).get("editability", {}) if path is not None and path.is_file() else {}
    if not any(row["repeats"] for row in told.get("curves", [])):
        return {}
    return {key: told[key] for key in ("curves", "ordinary", "onset")}


def _groups(known: Outline) -> dict[str, list[str]]:
    """The groups of sites that deserve their names by the evaluation beside the weights; {} where nobody measured."""
    path = known.folder / "evaluation.json" if known.folder and known.folder.is_dir() else None
    told = read_json(path).get("groups", {}) if path is not None and path.is_file() else {}
    return {name: list(told["by_group"][name]["sites"]) for name in told.get("deserved", [])}


def _thumb(folder: Path, entry: dict[str, Any]) -> str:
    path = folder / str(entry.get("thumbnail", ""))
    return thumbnail(_open(path)) if path.is_file() else ""
