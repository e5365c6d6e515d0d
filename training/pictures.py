"""The renderer: objects or a person, on a background, in a style. Everything is seeded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from training.sources import COLOURS, OBJECTS, RECOLOURED

cv2.setNumThreads(1)  # pictures are small; the processes are the parallelism
SIDE = 128
STYLES = ("plain", "sketch", "oil", "neon", "pixel", "blueprint")
BACKGROUNDS = ("white", "sky", "grass", "sunset", "night", "pink", "yellow", "sea")
KINDS = (*OBJECTS, "person")
PERSON = len(OBJECTS)
PERSON_SHARE = 0.14  # of the pictures; an object has .022, and 4 drawings where a person has 36
GLASSES_SHARE = 0.4  # of the people
TWO_SHARE = 0.1  # of the pictures of objects show two
COLOURED_SHARE = 0.35  # of the pictures of one thing that can be recoloured
NAMES_STYLE, NAMES_BACKGROUND = 0.62, 0.72  # shares of captions
PLAIN_SHARE = 0.3  # of the pictures whose caption names the style
UNNAMED_PLAIN = 0.85  # of the pictures whose caption names none
FLIPS = {"guitar", "moon", "fish", "turtle", "snail", "rocket", "car", "sailboat", "banana", "person", "cake",
         "hamburger", "carrot", "pizza", "camera"}  # fmt: skip
CANVASES = 2  # of the oil paintings
_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)


@dataclass(frozen=True)
class Spec:
    """What is in one picture: indices into KINDS, STYLES and BACKGROUNDS; glasses worn; a colour, or none (-1), as
    an index into COLOURS; a second object, or none (-1), which is the same kind for "two cats"."""

    kind: int
    style: int
    background: int
    glasses: bool = False
    colour: int = -1
    second: int = -1


def held_out(kind: int, style: int, background: int) -> bool:
    """Whether training never sees this (object, style, background): 63 of the 1,920 triples of objects."""
    return kind < PERSON and (kind * 7 + style * 11 + background * 5) % 32 == 0


def kept_back(spec: Spec) -> bool:
    """Whether any object of the spec makes a held-out triple."""
    kinds = [spec.kind] if spec.second < 0 else [spec.kind, spec.second]
    return any(held_out(kind, spec.style, spec.background) for kind in kinds)


def _tint(rng: np.random.Generator, *rgb: int) -> np.ndarray:
    return np.clip(np.array(rgb, np.float32) + rng.normal(0, 7, 3), 0, 255).astype(np.float32)


def _flat(colour: np.ndarray) -> np.ndarray:
    return np.broadcast_to(colour, (SIDE, SIDE, 3)).copy()


def _over(ground: np.ndarray, distance: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Paint where the distance in pixels is negative, with an edge one pixel soft."""
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    return ground * (1 - cover) + colour * cover


def backdrop(name: str, rng: np.random.Generator) -> np.ndarray:
    """One background, float RGB [128, 128, 3] in 0..255: a colour of its own and a pattern of its own."""
    phase = rng.uniform(0, 32)
    if name == "white":
        return _flat(_tint(rng, 248, 248, 246))
    if name == "sky":
        out = _flat(_tint(rng, 135, 200, 245))
        for cx in (rng.uniform(10, 44), rng.uniform(84, 118)):
            cy = rng.uniform(14, 32)
            puffs = [
                np.hypot((_X - cx - d) / 1.25, _Y - cy - e) - r for d, e, r in ((0, 0, 10), (12, 2, 8), (-12, 2, 8))
            ]
            out = _over(out, np.minimum.reduce(puffs), np.array([250.0, 252, 255]))
        return out
    if name == "grass":
        blades = 84 - 3 * np.abs(((_X + phase) % 12) - 6)
        return _over(_flat(_tint(rng, 205, 235, 250)), blades - _Y, _tint(rng, 95, 180, 75))
    if name == "sunset":
        low, high = _tint(rng, 255, 205, 110), _tint(rng, 215, 85, 95)
        out = high + (low - high) * (_Y / SIDE)[..., None]
        out = _over(out, np.hypot(_X - rng.uniform(20, 108), _Y - 114) - 30, np.array([255.0, 240, 170]))
        return _over(out, 114 - _Y, _tint(rng, 120, 50, 80))
    if name == "night":
        out = _flat(_tint(rng, 28, 30, 72))
        for _ in range(12):
            cx, cy = rng.integers(3, SIDE - 3, 2)
            out[cy, cx - 2 : cx + 3] = out[cy - 2 : cy + 3, cx] = (250, 245, 200)
        return out
    if name == "pink":
        dots = np.hypot((_X + phase) % 32 - 16, (_Y + phase) % 32 - 16) - 8
        return _over(_flat(_tint(rng, 250, 175, 205)), dots, _tint(rng, 240, 120, 170))
    if name == "yellow":
        stripes = np.abs((_X + _Y + phase) % 32 - 16) - 6
        return _over(_flat(_tint(rng, 252, 225, 95)), stripes, _tint(rng, 245, 190, 50))
    waves = np.abs((_Y + 5 * np.sin((_X + phase) * 2 * np.pi / 32)) % 26 - 13) - 3  # sea
    return _over(_flat(_tint(rng, 40, 130, 175)), waves, _tint(rng, 160, 220, 235))


def place(
    sprite: np.ndarray,
    ground: np.ndarray,
    rng: np.random.Generator,
    flip: bool,
    centre: tuple[float, float] = (SIDE / 2, SIDE / 2),
    size: tuple[float, float] = (92, 106),
) -> np.ndarray:
    """The sprite over the ground, flipped, scaled (its side within `size` px), turned and shifted a little."""
    if flip and rng.random() < 0.5:
        sprite = sprite[:, ::-1]
    side, scale = sprite.shape[0], rng.uniform(*size) / sprite.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-6, 6), scale)
    matrix[:, 2] += np.array(centre) - side / 2 + rng.uniform(-4, 4, 2)
    straight = sprite.astype(np.float32) / 255
    straight[..., :3] *= straight[..., 3:]  # premultiply, so that edges do not darken
    soft = cv2.GaussianBlur(straight, (0, 0), 0.35 / scale)
    warped = cv2.warpAffine(soft, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return warped[..., :3] * 255 + ground * (1 - warped[..., 3:])


def _edges(picture: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.clip(np.sqrt(gx**2 + gy**2).max(-1, keepdims=True) / 220, 0, 1)


def _kuwahara(picture: np.ndarray, radius: int) -> np.ndarray:
    """The Kuwahara filter (1976): of the four windows that touch a pixel, the mean of the calmest."""
    mean = cv2.blur(picture, (radius + 1, radius + 1))
    spread = (cv2.blur(picture**2, (radius + 1, radius + 1)) - mean**2).sum(-1)
    half, out, best = radius // 2 + radius % 2, mean, np.full(spread.shape, np.inf, np.float32)
    for shift in ((-half, -half), (-half, half), (half, -half), (half, half)):
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        moved, calm = (
            cv2.warpAffine(one, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            for one in (mean, spread)
        )
        out, best = np.where((calm < best)[..., None], moved, out), np.minimum(calm, best)
    return out


@cache
def _strokes(index: int) -> np.ndarray:
    """One of CANVASES fields of slanted brush strokes [128, 128, 2], of deviation 1."""
    rng = np.random.default_rng(1000 + index)
    noise = rng.normal(0, 1, (2 * SIDE, 2 * SIDE, 2)).astype(np.float32)
    turn = cv2.getRotationMatrix2D((SIDE, SIDE), (35, 55)[index % 2], 1)
    field = cv2.warpAffine(cv2.GaussianBlur(noise, (0, 0), sigmaX=8, sigmaY=1.8), turn, (2 * SIDE, 2 * SIDE))
    field = field[SIDE // 2 : SIDE // 2 + SIDE, SIDE // 2 : SIDE // 2 + SIDE]
    return field / field.std()


def _oil(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dabs of rich colour: edges wander along strokes, and strokes catch the light. The strokes are those of a few
    canvases: were they new in every picture, they would be noise that no autoencoder of this size could keep."""
    strokes = _strokes(int(rng.integers(CANVASES)))
    wandered = cv2.remap(picture, _X + 1.3 * strokes[..., 0], _Y + 1.3 * strokes[..., 1], cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    painted = _kuwahara(wandered, 4)
    grey = painted.mean(-1, keepdims=True)
    rich = grey + (painted - grey) * 1.25
    light = cv2.Sobel(strokes[..., 0], cv2.CV_32F, 0, 1) * 6
    return rich * np.array([0.97, 0.9, 0.78], np.float32) + light[..., None] + np.array([10.0, 6, 0], np.float32)


def stylise(picture: np.ndarray, style: str, rng: np.random.Generator) -> np.ndarray:
    """One of the six styles over a float RGB picture [128, 128, 3] in 0..255."""
    picture = picture.astype(np.float32)
    if style == "plain":
        return picture
    if style == "sketch":  # dodge blend of the grey picture with its blurred negative
        grey = picture.mean(-1)
        veil = cv2.GaussianBlur(255 - grey, (0, 0), 6)
        line = np.clip(grey * 255 / np.maximum(256 - veil, 1), 0, 255)
        line = 255 - np.clip((255 - line) * 1.7, 0, 225)
        return line[..., None] * 0.9 + (0.16 * grey + 4)[..., None] * np.array([1.0, 0.98, 0.92]) * 0.6
    if style == "oil":
        return _oil(picture, rng)
    if style == "neon":
        glow = cv2.GaussianBlur(picture, (0, 0), 3)
        vivid = np.clip((glow - glow.min(-1, keepdims=True)) * 1.6 + 70, 0, 255)
        line = cv2.dilate(_edges(picture), np.ones((2, 2), np.uint8))[..., None]
        halo = cv2.GaussianBlur(line[..., 0], (0, 0), 4)[..., None]
        return vivid * np.clip(line * 1.6, 0, 1) + vivid * halo * 0.4 + picture * 0.04
    if style == "pixel":
        small = cv2.resize(picture, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
        small = np.clip(np.round((small - 128) * 1.25 / 51) * 51 + 128, 0, 255)
        return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    line = _edges(picture)  # blueprint
    paper = np.array([24.0, 70, 160]) + picture.mean(-1, keepdims=True) * 0.06
    grid = ((_X % 16 == 8) | (_Y % 16 == 8))[..., None]
    paper = np.where(grid, paper * 0.88 + np.array([120.0, 170, 235]) * 0.2, paper)
    return paper * (1 - line) + np.array([235.0, 243, 255]) * np.clip(line * 1.2, 0, 1)


def _sprite(kind: int, spec: Spec, store: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    name = KINDS[kind]
    if kind == PERSON and spec.glasses:
        name = "glasses"
    elif spec.colour >= 0:
        name = f"{list(COLOURS)[spec.colour]} {name}"
    return store[name][rng.integers(len(store[name]))]


def render(spec: Spec, store: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One fresh picture of the spec, uint8 RGB [128, 128, 3]. `store`: sources.sprites()."""
    picture = backdrop(BACKGROUNDS[spec.background], rng)
    if spec.second < 0:
        picture = place(_sprite(spec.kind, spec, store, rng), picture, rng, KINDS[spec.kind] in FLIPS)
    else:
        for kind, x in ((spec.kind, 34), (spec.second, SIDE - 34)):
            sprite, flip = _sprite(kind, spec, store, rng), KINDS[kind] in FLIPS
            picture = place(sprite, picture, rng, flip, (x, SIDE / 2), (60, 68))
    return np.clip(stylise(picture, STYLES[spec.style], rng), 0, 255).astype(np.uint8)


def draw_spec(rng: np.random.Generator, seen: bool = True) -> tuple[Spec, bool]:
    """A random spec, and whether its caption may name the style; `seen`: never a held-out triple."""
    while True:
        names_style = rng.random() < NAMES_STYLE
        plain = rng.random() < (PLAIN_SHARE if names_style else UNNAMED_PLAIN)
        style = 0 if plain else int(rng.integers(1, len(STYLES)))
        background = int(rng.integers(len(BACKGROUNDS)))
        if rng.random() < PERSON_SHARE:
            spec = Spec(PERSON, style, background, rng.random() < GLASSES_SHARE)
        else:
            kind, colour, second = int(rng.integers(PERSON)), -1, -1
            if rng.random() < TWO_SHARE:
                second = kind if rng.random() < 0.5 else int(rng.integers(PERSON))
            elif KINDS[kind] in RECOLOURED and style in (0, 2, 4) and rng.random() < COLOURED_SHARE:
                colour = int(rng.integers(len(COLOURS)))
            spec = Spec(kind, style, background, False, colour, second)
        if not (seen and kept_back(spec)):
            return spec, names_style
