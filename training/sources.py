"""The packaged pictures: icons by four artists, people drawn in three styles, and squares of packaged photographs."""

from __future__ import annotations

import io
import json
import os
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import resvg_py
from dicebear import Avatar, Style
from PIL import Image

WORK = Path(os.environ.get("RUDDER_TRAINING") or Path(__file__).parent)  # where renderings and runs are kept
CACHE, RUNS = WORK / "cache", WORK / "runs"
ICON_SETS = {  # npm: @iconify-json/<name>; licences in models/ATTRIBUTION.md
    "twemoji": "1.2.5",
    "fluent-emoji-flat": "1.2.6",
    "noto": "1.2.9",
    "emojione": "1.2.3",
}
SPRITE = 160  # px, the side every sprite is rasterised at
PEOPLE = 150  # distinct faces of each style, each drawn with and without glasses
SHOWN = 6  # of them are in ordinary pictures (of 150, and of 16, each was seen too seldom: blurs); memories may be any

OBJECTS = {  # the word in a caption: the CLDR slug shared by the icon sets
    "apple": "red-apple", "banana": "banana", "watermelon": "watermelon", "strawberry": "strawberry",
    "carrot": "carrot", "mushroom": "mushroom", "hamburger": "hamburger", "pizza": "pizza",
    "doughnut": "doughnut", "cake": "birthday-cake", "cat": "cat-face", "dog": "dog-face",
    "panda": "panda", "frog": "frog", "fish": "fish", "octopus": "octopus", "butterfly": "butterfly",
    "penguin": "penguin", "turtle": "turtle", "snail": "snail", "sunflower": "sunflower",
    "cactus": "cactus", "pine": "evergreen-tree", "palm": "palm-tree", "tulip": "tulip",
    "house": "house", "car": "automobile", "rocket": "rocket", "sailboat": "sailboat",
    "umbrella": "umbrella", "guitar": "guitar", "camera": "camera", "star": "star",
    "moon": "crescent-moon", "heart": "red-heart", "snowman": "snowman-without-snow", "ghost": "ghost",
    "balloon": "balloon", "crown": "crown", "ball": "basketball",
}  # fmt: skip
RECOLOURED = ("apple", "balloon", "car", "heart", "umbrella", "tulip", "mushroom", "butterfly", "fish")
COLOURS = {"red": 0, "orange": 26, "yellow": 50, "green": 125, "blue": 212, "purple": 275, "pink": 328}  # hue, degrees
FACES = {  # DiceBear style: what every face of it has, and what makes it wear glasses or not
    "miniavs": ({}, {"glassesProbability": 100}, {"glassesProbability": 0}),
    "personas": (
        {"mouthVariant": ["bigSmile", "frown", "lips", "smile", "smirk", "surprise"]},
        {"eyesVariant": ["glasses"]},
        {"eyesVariant": ["open", "happy"]},
    ),
    "open-peeps": (
        {
            "maskProbability": 0,
            "expressionVariant": ["calm", "cute", "driven", "explaining", "lovingGrin1", "smile", "smileBig", "solemn"],
        },
        {"accessoriesProbability": 100, "accessoriesVariant": ["glasses", "glasses2", "glasses3", "glasses4"]},
        {"accessoriesProbability": 0},
    ),
}


def icon_sets() -> dict[str, dict]:
    """The parsed icons.json of every icon package, fetched with npm into the cache if absent."""
    folder = CACHE / "npm"
    paths = {name: folder / "node_modules" / "@iconify-json" / name / "icons.json" for name in ICON_SETS}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"@iconify-json/{name}@{version}" for name, version in ICON_SETS.items()]
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), *wanted], check=True)
    return {name: json.loads(path.read_text()) for name, path in paths.items()}


def rasterise(svg: str, side: int = SPRITE) -> np.ndarray:
    """One SVG as a straight-alpha RGBA array [side, side, 4] of uint8."""
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side * 2))
    picture = Image.open(io.BytesIO(data)).convert("RGBA").resize((side, side), Image.Resampling.BOX)
    return np.asarray(picture)


def icon(icons: dict, slug: str) -> np.ndarray:
    """The icon of that slug (aliases followed) as RGBA [160, 160, 4]; KeyError when the set lacks it."""
    name = slug if slug in icons["icons"] else icons["aliases"][slug]["parent"]
    entry = icons["icons"][name]
    width, height = (entry.get(key, icons.get(key, 16)) for key in ("width", "height"))
    return rasterise(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
    )


@cache
def _face_style(name: str) -> Style:
    return Style(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text()))


def person(style: str, seed: int, glasses: bool) -> np.ndarray:
    """One drawn face of a DiceBear style of FACES as RGBA [160, 160, 4]; but for the glasses the same for both."""
    always, worn, bare = FACES[style]
    return rasterise(str(Avatar(_face_style(style), {"seed": str(seed), **always, **(worn if glasses else bare)})))


def recoloured(sprite: np.ndarray, hue: float) -> np.ndarray:
    """The RGBA sprite with its commonest hue, and what lies within 40 degrees of it, turned to `hue` degrees."""
    hsv = cv2.cvtColor(np.ascontiguousarray(sprite[..., :3]), cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
    vivid = (hsv[..., 1] > 70) & (hsv[..., 2] > 50) & (sprite[..., 3] > 128)
    counts = np.bincount((hsv[..., 0][vivid] / 256 * 36).astype(int), minlength=36)
    own = (int(np.argmax(counts + np.roll(counts, 1) + np.roll(counts, -1))) + 0.5) / 36 * 256
    away = (hsv[..., 0] - own + 128) % 256 - 128
    turned = (np.abs(away) < 40 / 360 * 256) & (hsv[..., 1] > 40)
    hsv[..., 0] = np.where(turned, (hue / 360 * 256 + away * 0.4) % 256, hsv[..., 0])
    rgb = cv2.cvtColor(hsv.round().clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB_FULL)
    return np.dstack([rgb, sprite[..., 3]])


def sprites() -> dict[str, np.ndarray]:
    """Every sprite, RGBA uint8 [N, 160, 160, 4] by kind, one an artist; "person" and "glasses" hold the faces in the
    same order, "red apple" and the like the recoloured. Cached."""
    path = CACHE / f"sprites-{SPRITE}.npz"
    if not path.exists():
        sets = icon_sets()
        found = {word: np.stack([icon(icons, slug) for icons in sets.values()]) for word, slug in OBJECTS.items()}
        for word in RECOLOURED:
            for colour, hue in COLOURS.items():
                found[f"{colour} {word}"] = np.stack([recoloured(sprite, hue) for sprite in found[word]])
        faces = [(style, seed) for style in FACES for seed in range(PEOPLE)]
        found["person"] = np.stack([person(style, seed, False) for style, seed in faces])
        found["glasses"] = np.stack([person(style, seed, True) for style, seed in faces])
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **found)
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


def everyday() -> dict[str, np.ndarray]:
    """The sprites of ordinary pictures: of people only the first SHOWN faces of each style."""
    found = sprites()
    few = [place for place in range(len(found["person"])) if place % PEOPLE < SHOWN]
    return found | {name: found[name][few] for name in ("person", "glasses")}
