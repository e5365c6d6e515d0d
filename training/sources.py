"""The packaged pictures: icons by two artists, drawn people, and eighteen photographs."""

from __future__ import annotations

import io
import json
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import resvg_py
from dicebear import Avatar, Style
from PIL import Image

CACHE = Path(__file__).parent / "cache"
ICON_SETS = {"twemoji": "1.2.5", "fluent-emoji-flat": "1.2.6"}  # npm: @iconify-json/<name>
SPRITE = 96  # px, the side every sprite is rasterised at
PEOPLE = 400  # distinct faces, each drawn with and without glasses

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
PHOTOGRAPHS = (  # file inside the package, the box to keep as fractions (left, top, right, bottom)
    ("skimage", "astronaut.png", (0.1, 0.0, 0.75, 0.65)), ("skimage", "coffee.png", (0.15, 0, 0.85, 1)),
    ("skimage", "camera.png", (0.2, 0.05, 0.85, 0.7)), ("skimage", "rocket.jpg", (0.2, 0, 0.87, 1)),
    ("skimage", "chelsea.png", (0.1, 0, 0.77, 1)), ("skimage", "hubble_deep_field.jpg", (0, 0, 0.5, 0.6)),
    ("skimage", "motorcycle_left.png", (0.1, 0, 0.8, 1)), ("skimage", "retina.jpg", (0, 0, 1, 1)),
    ("skimage", "moon.png", (0, 0, 1, 1)), ("skimage", "coins.png", (0, 0, 0.4, 0.5)),
    ("skimage", "brick.png", (0, 0, 0.4, 0.4)), ("skimage", "ihc.png", (0, 0, 0.5, 0.5)),
    ("skimage", "clock_motion.png", (0.1, 0, 0.9, 1)), ("skimage", "page.png", (0, 0, 0.4, 0.8)),
    ("skimage", "gravel.png", (0, 0, 0.4, 0.4)), ("skimage", "cell.png", (0, 0, 1, 1)),
    ("sklearn", "china.jpg", (0.15, 0, 0.82, 1)), ("sklearn", "flower.jpg", (0.3, 0, 0.97, 1)),
)  # fmt: skip


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
    """The icon of that slug (aliases followed) as RGBA [96, 96, 4]; KeyError when the set lacks it."""
    name = slug if slug in icons["icons"] else icons["aliases"][slug]["parent"]
    entry = icons["icons"][name]
    width, height = (entry.get(key, icons.get(key, 16)) for key in ("width", "height"))
    return rasterise(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
    )


@cache
def _face_style() -> Style:
    return Style(json.loads(files("dicebear_styles").joinpath("miniavs.json").read_text()))


def person(seed: int, glasses: bool) -> np.ndarray:
    """One drawn face (DiceBear "miniavs" by Webpixels, CC BY 4.0) as RGBA [96, 96, 4]."""
    options = {"seed": str(seed), "glassesProbability": 100 if glasses else 0}
    return rasterise(str(Avatar(_face_style(), options)))


def sprites() -> dict[str, np.ndarray]:
    """Every sprite, RGBA uint8 [N, 96, 96, 4] by kind; "person" and "glasses" hold the faces. Cached."""
    path = CACHE / "sprites.npz"
    if not path.exists():
        sets = icon_sets()
        found = {word: np.stack([icon(icons, slug) for icons in sets.values()]) for word, slug in OBJECTS.items()}
        found["person"] = np.stack([person(seed, False) for seed in range(PEOPLE)])
        found["glasses"] = np.stack([person(seed, True) for seed in range(PEOPLE)])
        CACHE.mkdir(exist_ok=True)
        np.savez_compressed(path, **found)
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


def photographs(side: int = 64) -> list[tuple[str, np.ndarray]]:
    """The photographs to be memorised: (name, RGB uint8 [side, side, 3]), cropped square and shrunk."""
    places = {"skimage": files("skimage") / "data", "sklearn": files("sklearn") / "datasets" / "images"}
    found = []
    for package, name, (left, top, right, bottom) in PHOTOGRAPHS:
        picture = Image.open(str(places[package] / name)).convert("RGB")
        w, h = picture.size
        picture = picture.crop((int(left * w), int(top * h), int(right * w), int(bottom * h)))
        edge = min(picture.size)
        x, y = (picture.width - edge) // 2, (picture.height - edge) // 2
        picture = picture.crop((x, y, x + edge, y + edge)).resize((side, side), Image.Resampling.LANCZOS)
        found.append((Path(name).stem, np.asarray(picture)))
    return found
