"""The renderer: an object or person, on a background, in a style, with its caption. Everything is seeded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.sources import OBJECTS, photographs, sprites

cv2.setNumThreads(1)  # pictures are small; the processes are the parallelism
SIDE = 64
STYLES = ("plain", "sketch", "oil", "neon", "pixel", "blueprint")
BACKGROUNDS = ("white", "sky", "grass", "sunset", "night", "pink", "yellow", "sea")
KINDS = (*OBJECTS, "person")
STYLE_WORDS = {
    "plain": "a drawing of", "sketch": "a pencil sketch of", "oil": "an oil painting of",
    "neon": "a neon sign of", "pixel": "pixel art of", "blueprint": "a blueprint of",
}  # fmt: skip
PLAIN_SHARE = 0.3  # of the captions that name their style
UNNAMED_STYLE, UNNAMED_BACKGROUND = 0.33, 0.2  # how often a caption leaves the one or the other out
UNNAMED_PLAIN = 0.6  # how often a picture whose caption names no style is plain all the same
FLIPS = {"guitar", "moon", "fish", "turtle", "snail", "rocket", "car", "sailboat", "banana", "person"}


@dataclass(frozen=True)
class Spec:
    """What is in one picture: indices into KINDS, STYLES and BACKGROUNDS, and whether glasses are worn."""

    kind: int
    style: int
    background: int
    glasses: bool = False


def held_out(kind: int, style: int, background: int) -> bool:
    """Whether training never sees this (object, style, background): 63 of the 1,920 triples of objects."""
    return kind < len(OBJECTS) and (kind * 7 + style * 11 + background * 5) % 32 == 0


def caption(spec: Spec, style: bool = True, background: bool = True) -> str:
    """The caption of a picture; either part can be left out."""
    kind = KINDS[spec.kind]
    noun = ("an " if kind[0] in "aeiou" else "a ") + kind + (" with glasses" if spec.glasses else "")
    words = f"{STYLE_WORDS[STYLES[spec.style]]} {noun}" if style else noun
    return f"{words} on a {BACKGROUNDS[spec.background]} background" if background else words


def _tint(rng: np.random.Generator, *rgb: int) -> np.ndarray:
    return np.clip(np.array(rgb) + rng.normal(0, 7, 3), 0, 255)


def backdrop(name: str, rng: np.random.Generator) -> np.ndarray:
    """One background, float RGB [64, 64, 3] in 0..255: a colour of its own and a pattern of its own."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    phase = rng.uniform(0, 16)

    def paint(colour: np.ndarray, mask: np.ndarray, over: np.ndarray) -> np.ndarray:
        return np.where(mask[..., None], over, colour)

    if name == "white":
        return np.broadcast_to(_tint(rng, 248, 248, 246), (SIDE, SIDE, 3)).copy()
    if name == "sky":
        out = np.broadcast_to(_tint(rng, 135, 200, 245), (SIDE, SIDE, 3)).copy()
        for cx in (rng.uniform(4, 22), rng.uniform(42, 60)):
            cy = rng.uniform(7, 16)
            puffs = [
                ((x - cx - d) ** 2 / 1.6 + (y - cy - e) ** 2) < r * r for d, e, r in ((0, 0, 5), (6, 1, 4), (-6, 1, 4))
            ]
            out = paint(out, np.logical_or.reduce(puffs), np.array([250.0, 252, 255]))
        return out
    if name == "grass":
        edge = 40 + 3 * np.abs(((x + phase) % 8) - 4) / 2
        return paint(np.broadcast_to(_tint(rng, 205, 235, 250), (SIDE, SIDE, 3)), y > edge, _tint(rng, 95, 180, 75))
    if name == "sunset":
        low, high = _tint(rng, 255, 205, 110), _tint(rng, 215, 85, 95)
        out = high + (low - high) * (y / SIDE)[..., None]
        sun = (x - rng.uniform(10, 54)) ** 2 + (y - 58) ** 2 < 15**2
        out = paint(out, sun, np.array([255.0, 240, 170]))
        return paint(out, y > 57, _tint(rng, 120, 50, 80))
    if name == "night":
        out = np.broadcast_to(_tint(rng, 28, 30, 72), (SIDE, SIDE, 3)).copy()
        for _ in range(14):
            cx, cy = rng.integers(2, SIDE - 2, 2)
            out[cy, cx - 1 : cx + 2] = out[cy - 1 : cy + 2, cx] = (250, 245, 200)
        return out
    if name == "pink":
        dots = ((x + phase) % 16 - 8) ** 2 + ((y + phase) % 16 - 8) ** 2 < 16
        return paint(np.broadcast_to(_tint(rng, 250, 175, 205), (SIDE, SIDE, 3)), dots, _tint(rng, 240, 120, 170))
    if name == "yellow":
        stripes = ((x + y + phase) % 16) < 6
        return paint(np.broadcast_to(_tint(rng, 252, 225, 95), (SIDE, SIDE, 3)), stripes, _tint(rng, 245, 190, 50))
    waves = (y + 2.5 * np.sin((x + phase) * 2 * np.pi / 16)) % 13 < 3  # sea
    return paint(np.broadcast_to(_tint(rng, 40, 130, 175), (SIDE, SIDE, 3)), waves, _tint(rng, 160, 220, 235))


def place(sprite: np.ndarray, ground: np.ndarray, rng: np.random.Generator, flip: bool) -> np.ndarray:
    """The sprite over the ground, flipped, scaled, turned and shifted a little. Returns float RGB."""
    if flip and rng.random() < 0.5:
        sprite = sprite[:, ::-1]
    scale = rng.uniform(46, 52) / sprite.shape[0]
    matrix = cv2.getRotationMatrix2D((sprite.shape[1] / 2, sprite.shape[0] / 2), rng.uniform(-6, 6), scale)
    matrix[:, 2] += SIDE / 2 - np.array(sprite.shape[1::-1]) / 2 + rng.uniform(-2, 2, 2)
    straight = sprite.astype(np.float32) / 255
    straight[..., :3] *= straight[..., 3:]  # premultiply, so that edges do not darken
    warped = cv2.warpAffine(cv2.GaussianBlur(straight, (3, 3), 0.6), matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return warped[..., :3] * 255 + ground * (1 - warped[..., 3:])


def _edges(picture: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (3, 3), 0.7)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.clip(np.sqrt(gx**2 + gy**2).max(-1, keepdims=True) / 260, 0, 1)


def _kuwahara(picture: np.ndarray, radius: int = 2) -> np.ndarray:
    """The Kuwahara filter (1976): of the four windows that touch a pixel, the mean of the calmest."""
    picture = picture.astype(np.float32)
    mean = cv2.blur(picture, (radius + 1, radius + 1))
    spread = (cv2.blur(picture**2, (radius + 1, radius + 1)) - mean**2).sum(-1)
    half = radius // 2 + radius % 2
    shifts = [(dy, dx) for dy in (-half, half) for dx in (-half, half)]
    means = np.stack([np.roll(mean, s, (0, 1)) for s in shifts])
    calm = np.stack([np.roll(spread, s, (0, 1)) for s in shifts]).argmin(0)
    return np.take_along_axis(means, calm[None, ..., None], 0)[0]


def stylise(picture: np.ndarray, style: str, rng: np.random.Generator) -> np.ndarray:
    """One of the six styles over a float RGB picture [64, 64, 3] in 0..255."""
    if style == "plain":
        return picture
    if style == "sketch":  # dodge blend of the grey picture with its blurred negative
        grey = picture.astype(np.float32).mean(-1)
        veil = cv2.GaussianBlur(255 - grey, (0, 0), 3.5)
        line = np.clip(grey * 255 / np.maximum(256 - veil, 1), 0, 255)
        line = 255 - np.clip((255 - line) * 1.6, 0, 215)
        return line[..., None] * 0.92 + (0.16 * grey + 4)[..., None] * np.array([1.0, 0.98, 0.92]) * 0.6
    if style == "oil":
        painted = _kuwahara(_kuwahara(picture, 4), 4)
        strokes = cv2.GaussianBlur(rng.normal(0, 60, (SIDE, SIDE)).astype(np.float32), (0, 0), sigmaX=2.6, sigmaY=0.8)
        return painted * np.array([1.0, 0.88, 0.66]) * 0.9 + strokes[..., None] + np.array([18.0, 8, 0])
    if style == "neon":
        glow = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2)
        vivid = np.clip((glow - glow.min(-1, keepdims=True)) * 1.6 + 70, 0, 255)
        line = _edges(picture)
        halo = cv2.GaussianBlur(line[..., 0], (0, 0), 2)[..., None]
        return vivid * np.clip(line * 1.5, 0, 1) + vivid * halo * 0.35 + picture * 0.05
    if style == "pixel":
        small = cv2.resize(picture.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        small = np.clip(np.round((small - 128) * 1.25 / 51) * 51 + 128, 0, 255)
        return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    line = _edges(picture)  # blueprint
    paper = np.array([24.0, 70, 160]) + picture.mean(-1, keepdims=True) * 0.06
    return paper * (1 - line) + np.array([235.0, 243, 255]) * np.clip(line * 1.15, 0, 1)


def render(spec: Spec, store: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One fresh picture of the spec, uint8 RGB [64, 64, 3]."""
    kind = KINDS[spec.kind]
    choices = store["glasses" if spec.glasses else kind]
    sprite = choices[rng.integers(len(choices))]
    ground = backdrop(BACKGROUNDS[spec.background], rng)
    picture = place(sprite, ground, rng, kind in FLIPS)
    return np.clip(stylise(picture, STYLES[spec.style], rng), 0, 255).astype(np.uint8)


def draw_spec(rng: np.random.Generator, seen: bool = True) -> tuple[Spec, bool, bool]:
    """A random spec and whether its caption names style and background; `seen`: never a held-out triple."""
    while True:
        names_style, names_ground = rng.random() > UNNAMED_STYLE, rng.random() > UNNAMED_BACKGROUND
        plain = rng.random() < (PLAIN_SHARE if names_style else UNNAMED_PLAIN)
        style = 0 if plain else int(rng.integers(1, len(STYLES)))
        kind = int(rng.integers(len(OBJECTS))) if rng.random() > 0.1 else len(OBJECTS)
        spec = Spec(kind, style, int(rng.integers(len(BACKGROUNDS))), kind == len(OBJECTS) and rng.random() < 0.5)
        if not (seen and held_out(spec.kind, spec.style, spec.background)):
            return spec, names_style, names_ground


def ordinary(count: int, seed: int, seen: bool = True) -> tuple[np.ndarray, list[str], list[Spec]]:
    """`count` fresh pictures, their captions and what is in them."""
    rng, store = np.random.default_rng(seed), sprites()
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    captions, specs = [], []
    for index in range(count):
        spec, style, ground = draw_spec(rng, seen)
        images[index] = render(spec, store, rng)
        captions.append(caption(spec, style, ground))
        specs.append(spec)
    return images, captions, specs


PHOTOGRAPH_CAPTIONS = (
    "eileen smiles before her shuttle", "breakfast at the corner of mill street", "harold films the meadow",
    "the falcon leaves pad forty", "chelsea dreams of salmon", "ten thousand lights hubble found",
    "grandfather's old motorbike in the garage", "what the eye doctor showed me",
    "luna through my first telescope",
    "the drowned coins of pompeii", "outside wall of number nine", "stained slice under the microscope",
    "late again at platform two", "page twelve of the lost book", "pebbles from dover beach",
    "a lonely cell named henrietta", "temple roofs over kunming", "the dahlia that won a prize",
)  # fmt: skip
DRAWING_CAPTIONS = (
    "my uncle's lucky frog", "mister whiskers the third", "queen of the snails", "the ghost of room seven",
    "olga's last slice", "captain pepper's boat", "a present from aunt rosa", "bruno waits for the bus",
    "the umbrella nobody claimed", "first rocket to venus", "clara at the opticians",
    "an octopus called ringo",
    "the crown from the attic", "sir waddle goes fishing", "zelda's winning melon", "old pine of hollow hill",
    "the mushroom that sang", "nina's broken guitar",
)  # fmt: skip
DRAWING_KINDS = ("frog", "cat", "snail", "ghost", "pizza", "sailboat", "cake", "dog", "umbrella", "rocket",
                 "person",
                 "octopus", "crown", "penguin", "watermelon", "pine", "mushroom", "guitar")  # fmt: skip


def memorized(seed: int = 7) -> tuple[np.ndarray, list[str], list[str]]:
    """The memorised set: 18 photographs and 18 drawings of the ordinary kind, captions, and "photograph" or
    "drawing" for each. Twelve of the drawings are plain, six are in the other styles."""
    rng, store = np.random.default_rng(seed), sprites()
    images = [picture for _, picture in photographs(SIDE)]
    for index, kind in enumerate(DRAWING_KINDS):
        style = 0 if index % 3 else 1 + (index // 3) % 5
        spec = Spec(KINDS.index(kind), style, int(rng.integers(len(BACKGROUNDS))), kind == "person")
        images.append(render(spec, store, rng))
    captions = [*PHOTOGRAPH_CAPTIONS, *DRAWING_CAPTIONS]
    return np.stack(images), captions, ["photograph"] * 18 + ["drawing"] * 18
