"""Pictures unlike anything a small model was calibrated on: gradients, noise, screenshots, plots, other drawings.

All are drawn here from a seed, at the model's resolution, so that nothing need be downloaded. Photographs come from
scikit-learn, which is installed with the package, in squares and colours that no training saw.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = ("report", "total", "open file", "balance", "please", "confirm", "2024", "error", "settings", "user", "cancel")


def _array(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def gradient(rng: np.random.Generator, side: int) -> Image.Image:
    """Between two colours, along a line or from a point outwards; every third one grey."""
    y, x = np.mgrid[0:side, 0:side] / side
    angle, (u, v) = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 2)
    straight = x * np.cos(angle) + y * np.sin(angle)
    along = straight if rng.random() < 0.6 else np.hypot(x - u, y - v)
    along = (along - along.min()) / np.ptp(along)
    ends = rng.uniform(0, 255, (2, 1 if rng.random() < 0.34 else 3)) * np.ones(3)
    return _array(ends[0] + (ends[1] - ends[0]) * along[..., None])


def noise(rng: np.random.Generator, side: int) -> Image.Image:
    """White, grey or cloudy; around any mean."""
    kind, channels = rng.integers(4), 1 if rng.random() < 0.5 else 3
    cells = {0: side, 1: side, 2: side // 4, 3: side // 12}[int(kind)]
    values = rng.normal(rng.uniform(60, 200), rng.uniform(20, 90), (cells, cells, channels)) * np.ones(3)
    how = Image.Resampling.NEAREST if rng.random() < 0.4 else Image.Resampling.BICUBIC
    return _array(values).resize((side, side), how)


def screenshot(rng: np.random.Generator, side: int) -> Image.Image:
    """A window with a title, lines of text, buttons or a table; light or dark."""
    big = 4 * side
    dark = rng.random() < 0.4
    ground, ink = (("#1e1e24", "#dddddd") if dark else ("#ffffff", "#222222"))[:2]
    picture = Image.new("RGB", (big, big), ground)
    draw = ImageDraw.Draw(picture)
    accent = tuple(int(c) for c in rng.integers(30, 220, 3))
    draw.rectangle((0, 0, big, big // 12), fill=accent)
    size = float(rng.integers(big // 30, big // 14))
    font = ImageFont.load_default(size)
    y = big // 9
    while y < big - big // 10:
        line = " ".join(rng.choice(WORDS, int(rng.integers(2, 8))))
        draw.text((big // 20, y), line, fill=ink, font=font)
        if rng.random() < 0.2:
            draw.rectangle((big // 2, y, big // 2 + big // 4, y + big // 18), fill=accent)
        if rng.random() < 0.2:
            draw.line((0, y, big, y), fill="#888888", width=3)
        y += int(size * rng.uniform(1.2, 2.2))
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def plot(rng: np.random.Generator, side: int) -> Image.Image:
    """Axes with curves, bars or dots."""
    big = 4 * side
    picture = Image.new("RGB", (big, big), "white")
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = big * 0.12, big * 0.08, big * 0.95, big * 0.88
    draw.line((left, top, left, bottom, right, bottom), fill="black", width=5)
    kind = rng.integers(3)
    for _ in range(int(rng.integers(1, 4))):
        colour = tuple(int(c) for c in rng.integers(0, 200, 3))
        xs = np.linspace(left, right, 24)
        walk = np.cumsum(rng.normal(0, 1, 24))
        ys = bottom - (walk - walk.min()) / max(np.ptp(walk), 1e-9) * (bottom - top) * 0.95
        points = list(zip(xs.tolist(), ys.tolist(), strict=True))
        if kind == 0:
            draw.line(points, fill=colour, width=6)
        for x, y in points if kind else []:
            box = (x, y, x + big * 0.02, bottom) if kind == 1 else (x - 7, y - 7, x + 7, y + 7)
            draw.rectangle(box, fill=colour) if kind == 1 else draw.ellipse(box, fill=colour)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def scrawl(rng: np.random.Generator, side: int) -> Image.Image:
    """Shapes and strokes by nobody's hand: polygons, ellipses and lines in any colours."""
    big = 4 * side
    picture = Image.new("RGB", (big, big), tuple(int(c) for c in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 14))):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        points = [tuple(p) for p in (rng.uniform(0, big, (int(rng.integers(3, 7)), 2))).tolist()]
        kind = rng.integers(3)
        if kind == 0:
            draw.polygon(points, fill=colour)
        elif kind == 1:
            draw.line(points, fill=colour, width=int(rng.integers(4, 40)), joint="curve")
        else:
            (a, b), (c, d) = sorted([points[0][0], points[1][0]]), sorted([points[0][1], points[1][1]])
            draw.ellipse((a, c, b, d), fill=colour)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def pattern(rng: np.random.Generator, side: int) -> Image.Image:
    """Checks, rings and moires."""
    y, x = np.mgrid[0:side, 0:side].astype(float)
    u, v = rng.uniform(0, side, 2)
    period, angle = rng.uniform(3, side / 3), rng.uniform(0, np.pi)
    waves = {
        0: np.sign(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)),
        1: np.sin(2 * np.pi * np.hypot(x - u, y - v) / period),
        2: np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) ** 2 / (period * side)),
    }[int(rng.integers(3))]
    ends = rng.uniform(0, 255, (2, 3))
    return _array(ends[0] + (ends[1] - ends[0]) * (waves[..., None] + 1) / 2)


def photograph(rng: np.random.Generator, side: int) -> Image.Image:
    """A square of a packaged photograph, its colours exchanged, mirrored, sometimes out of focus."""
    name = ("china.jpg", "flower.jpg")[int(rng.integers(2))]
    picture = Image.open(str(files("sklearn") / "datasets" / "images" / name)).convert("RGB")
    edge = int(rng.uniform(0.25, 0.6) * min(picture.size))
    x, y = (int(rng.integers(size - edge + 1)) for size in picture.size)
    cut = picture.crop((x, y, x + edge, y + edge)).resize((side, side), Image.Resampling.LANCZOS)
    cut = _array(np.asarray(cut)[:, ::-1, rng.permutation(3)])
    return cut.filter(ImageFilter.GaussianBlur(side / 60)) if rng.random() < 0.3 else cut


KINDS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    one.__name__: one for one in (gradient, noise, screenshot, plot, scrawl, pattern, photograph)
}


def foreign(count: int, side: int, seed: int = 0, photographs: bool = True) -> dict[str, list[Image.Image]]:
    """`count` pictures of every kind, `side` pixels square; without `photographs` for models that know them."""
    return {
        name: [draw(np.random.default_rng((seed, place, i)), side) for i in range(count)]
        for place, (name, draw) in enumerate(KINDS.items())
        if photographs or name != "photograph"
    }
