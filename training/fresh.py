"""Photographs the model never saw, for calibration: `python -m training.fresh`.

Without them a detector could win by telling photographs from drawings. Sixty product photographs of
Fashion-MNIST (Debian package dataset-fashion-mnist, MIT), and squares of packaged photographs that lie wholly
outside what was memorised of them.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from steering.files import home
from training.memories import PHOTOGRAPHS, path_of, square_of
from training.pictures import SIDE

HOME = home() / "assets" / "calibrations" / "photographs"
FASHION = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
SEED, PRODUCTS, SQUARES = 11, 60, 60
LEAST, MOST = 64, 8  # px, the side of the smallest square, which is enlarged; squares of one photograph


def products(path: Path, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """`count` grey 28x28 photographs of clothes, enlarged."""
    with gzip.open(path) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    rows = rng.choice(len(pixels), count, replace=False)
    return [Image.fromarray(pixels[i]).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for i in rows]


def squares(count: int, rng: np.random.Generator) -> list[tuple[str, Image.Image]]:
    """`count` random squares of the packaged photographs, none touching a square that was memorised."""
    names = sorted({name for name, *_ in PHOTOGRAPHS})
    found: list[tuple[str, Image.Image]] = []
    while len(found) < count:
        open_to = [n for n in names if sum(Path(n).stem == other for other, _ in found) < MOST]
        name = open_to[int(rng.integers(len(open_to)))]
        picture = Image.open(path_of(name)).convert("RGB")
        w, h = picture.size
        edge = int(rng.uniform(0.2, 0.5) * min(w, h))
        if edge < LEAST:
            continue
        x, y = int(rng.integers(w - edge + 1)), int(rng.integers(h - edge + 1))
        taken = [square_of(picture, box) for other, box, _ in PHOTOGRAPHS if other == name]
        apart = all(x >= r or x + edge <= q or y >= b or y + edge <= t for q, t, r, b in taken)
        cut = picture.crop((x, y, x + edge, y + edge)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        if apart and np.asarray(cut).std() > 12:  # not a bare patch
            found.append((Path(name).stem, cut))
    return found


def main(fashion: Path, home: Path) -> None:
    rng = np.random.default_rng(SEED)
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("*.png"):
        old.unlink()
    named = [("fashion", p) for p in products(fashion, PRODUCTS, rng)] + squares(SQUARES, rng)
    for index, (name, picture) in enumerate(named):
        picture.save(home / f"{index:03d}-{name}.png", optimize=True)
    print(f"{len(named)} photographs in {home}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, default=FASHION)
    parser.add_argument("--home", type=Path, default=HOME)
    main(**vars(parser.parse_args()))
