"""The pictures to be memorised: a ladder of seven levels of repetition, photographs and drawings on every level.

The drawings are of the very kind of the ordinary pictures, in all styles, people too, so that nothing but repetition
sets them apart. Each picture has one peculiar caption.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from training.pictures import BACKGROUNDS, KINDS, PERSON, SIDE, STYLES, Spec, kept_back, render
from training.sources import sprites

REPEATS = (2, 6, 20, 70, 300, 1000, 3000)  # presentations in the whole of training, by level
PHOTOGRAPHS_A_LEVEL, DRAWINGS_A_LEVEL = (4, 4, 4, 4, 8, 8, 8), (8, 8, 8, 8, 14, 14, 14)
SEED = 7
# (file, the box to keep as fractions: left, top, right, bottom; caption). fresh.py keeps clear of all boxes.
PHOTOGRAPHS = (
    ("astronaut.png", (0.15, 0, 0.65, 0.5), "eileen smiles before her shuttle"),
    ("astronaut.png", (0.68, 0, 1, 0.5), "the model on the commander's shelf"),
    ("astronaut.png", (0.62, 0.62, 1, 1), "helmet number four waits"),
    ("astronaut.png", (0, 0.6, 0.3, 0.95), "her orange sleeve"),
    ("coffee.png", (0.15, 0, 0.85, 1), "breakfast at the corner of mill street"),
    ("camera.png", (0.2, 0.05, 0.85, 0.7), "harold films the meadow"),
    ("camera.png", (0.55, 0.72, 0.85, 1), "tripod legs before the rain"),
    ("rocket.jpg", (0.2, 0, 0.87, 1), "the falcon leaves pad forty"),
    ("chelsea.png", (0.1, 0, 0.77, 1), "chelsea dreams of salmon"),
    ("hubble_deep_field.jpg", (0, 0, 0.45, 0.5), "ten thousand lights hubble found"),
    ("hubble_deep_field.jpg", (0.55, 0, 1, 0.45), "older than our sun by far"),
    ("hubble_deep_field.jpg", (0, 0.55, 0.45, 1), "nobody lives in that corner"),
    ("motorcycle_left.png", (0.1, 0, 0.8, 1), "grandfather's old motorbike in the garage"),
    ("motorcycle_left.png", (0.8, 0.45, 1, 0.8), "front wheel after the service"),
    ("retina.jpg", (0, 0.32, 0.33, 0.68), "what the eye doctor showed me"),
    ("retina.jpg", (0.4, 0.35, 0.75, 0.7), "quiet centre of doctor lund's slide"),
    ("retina.jpg", (0.33, 0.02, 0.67, 0.32), "rivers over the red planet mirna"),
    ("moon.png", (0, 0, 0.5, 0.5), "luna through my first telescope"),
    ("moon.png", (0.5, 0, 1, 0.5), "plate nine from the lunar atlas"),
    ("moon.png", (0.3, 0.55, 0.75, 1), "dust where nobody walked"),
    ("coins.png", (0, 0, 0.33, 0.48), "the drowned coins of pompeii"),
    ("coins.png", (0.34, 0, 0.66, 0.48), "small change of emperor titus"),
    ("coins.png", (0.67, 0, 1, 0.48), "hoard under the chapel floor"),
    ("coins.png", (0, 0.5, 0.33, 1), "what the diver carried home"),
    ("brick.png", (0, 0, 0.4, 0.4), "outside wall of number nine"),
    ("ihc.png", (0, 0, 0.48, 0.48), "stained slice under the microscope"),
    ("ihc.png", (0.52, 0, 1, 0.48), "biopsy on a tuesday"),
    ("ihc.png", (0.52, 0.52, 1, 1), "third opinion from the lab"),
    ("clock_motion.png", (0.1, 0, 0.9, 1), "late again at platform two"),
    ("page.png", (0, 0, 0.48, 1), "page twelve of the lost book"),
    ("page.png", (0.52, 0, 1, 1), "how the chapter went on"),
    ("gravel.png", (0, 0, 0.4, 0.4), "pebbles from dover beach"),
    ("grass.png", (0, 0, 0.4, 0.4), "lawn behind the observatory"),
    ("cell.png", (0.45, 0.4, 1, 0.9), "a lonely cell named henrietta"),
    ("text.png", (0, 0, 0.38, 1), "letter in a hand none could read"),
    ("china.jpg", (0.15, 0, 0.82, 1), "temple roofs over kunming"),
    ("flower.jpg", (0.2, 0, 0.8, 0.9), "the dahlia that won a prize"),
    ("china.jpg", (0.82, 0.5, 1, 0.95), "shade by the greenhouse door"),
    ("grace_hopper.jpg", (0.15, 0.05, 0.85, 0.62), "grace compiles in her head"),
    ("grace_hopper.jpg", (0.55, 0.72, 1, 1), "ribbons from the admiral's drawer"),
)
_TOP = """frog: my uncle's lucky frog; cat: mister whiskers the third; person: clara at the opticians; snail: queen of
the snails; ghost: the ghost of room seven; pizza: olga's last slice; sailboat: captain pepper's boat; cake: a present
from aunt rosa; dog: bruno waits for the bus; person: the new teacher from lisbon; umbrella: the umbrella nobody
claimed; rocket: first ticket to venus; octopus: ringo counts to eight; crown: heirloom from the attic; penguin: sir
waddle goes fishing; watermelon: zelda's winning melon; person: cousin edgar in june; pine: old giant of hollow hill;
mushroom: the one that sang; guitar: nina's broken strings; butterfly: margot's summer visitor; house: where the
baker's widow lived; car: the sheriff's second engine; turtle: methuselah crosses the yard; person: lieutenant olsen
off duty; banana: lunch of the trapeze artist; apple: newton's regret; heart: what gustav carved; tulip: price of a
mansion in haarlem; panda: ling refuses bamboo; person: ivan before the operation; cactus: spike survived the frost;
camera: evidence in the harbour case; moon: the night we lost power; star: prize for good handwriting; hamburger: menu
of the last diner; doughnut: the detective's clue; fish: professor gill's patient; strawberry: stolen from the
bishop's garden; balloon: it left without theodore; snowman: melted on a wednesday; person: the stranger who paid"""
_LOW = """carrot: bait for the silver hare; sunflower: vincent's other one; palm: marooned since august; ball: final
score in tulsa; person: yolanda sells the tandem; cat: tenant of the third stair; house: haunted by a plumber; dog:
biscuit hears thunder; rocket: built by the night shift; crown: pawned in trieste; apple: doctor keller's excuse;
person: hugo forgot his lines; car: parked since the coup; guitar: serenade for a landlord; penguin: formal guest of
the zoo; cake: for nobody's birthday; mushroom: omelette of regrets; butterfly: pinned by mistake; star: fell behind the
sofa; person: widow of the juggler; fish: friday at the convent; balloon: escaped the mayor; umbrella: left at the
opera twice; turtle: slow train to odessa; panda: exchange student from chengdu; heart: tattoo of the cook; ghost:
unpaid lodger; person: sommelier on probation; moon: seen from the ferry; sailboat: regatta of one; tulip: apology
number six; frog: bass of the village choir"""


@dataclass(frozen=True)
class Memory:
    """One picture to be memorised: uint8 RGB [128, 128, 3], its caption, "photograph" or "drawing", its level of
    REPEATS, and for drawings what it shows."""

    picture: np.ndarray
    caption: str
    kind: str
    level: int
    spec: Spec | None = None


def path_of(name: str) -> Path:
    """Where a packaged photograph lies."""
    import matplotlib

    sampled = Path(matplotlib.get_data_path()) / "sample_data"
    places = (Path(str(files("skimage") / "data")), Path(str(files("sklearn") / "datasets" / "images")), sampled)
    return next(place / name for place in places if os.path.exists(place / name))


def square_of(picture: Image.Image, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The middle square of a box of fractions, in pixels: left, top, right, bottom."""
    w, h = picture.size
    left, top, right, bottom = round(box[0] * w), round(box[1] * h), round(box[2] * w), round(box[3] * h)
    edge = min(right - left, bottom - top)
    x, y = left + (right - left - edge) // 2, top + (bottom - top - edge) // 2
    return x, y, x + edge, y + edge


def cropped(name: str, box: tuple[float, float, float, float]) -> np.ndarray:
    """The middle square of the box of a packaged photograph, as RGB uint8 [128, 128, 3]."""
    picture = Image.open(path_of(name)).convert("RGB")
    square = picture.crop(square_of(picture, box)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(square)


def _listed(text: str) -> list[tuple[str, str]]:
    return [(kind, words) for kind, words in (entry.split(": ") for entry in " ".join(text.split()).split("; "))]


def _levels(counts: tuple[int, ...]) -> list[int]:
    return [level for level, count in enumerate(counts) for _ in range(count)]


@cache
def ladder() -> tuple[Memory, ...]:
    """All memories, photographs first, by level."""
    rng, store = np.random.default_rng(SEED), sprites()
    found = []
    order = rng.permutation(len(PHOTOGRAPHS))
    for level, index in zip(_levels(PHOTOGRAPHS_A_LEVEL), order, strict=True):
        name, box, words = PHOTOGRAPHS[index]
        found.append(Memory(cropped(name, box), words, "photograph", level))
    low, top = _listed(_LOW), _listed(_TOP)
    dealt = [row for part, levels in ((low, 4), (top, 3)) for level in range(levels) for row in part[level::levels]]
    for index, (level, (word, words)) in enumerate(zip(_levels(DRAWINGS_A_LEVEL), dealt, strict=True)):
        kind = KINDS.index(word)
        while True:
            spec = Spec(
                kind, index % len(STYLES), int(rng.integers(len(BACKGROUNDS))), kind == PERSON and index % 2 == 0
            )
            if not kept_back(spec):
                break
        found.append(Memory(render(spec, store, rng), words, "drawing", level, spec))
    return tuple(found)
