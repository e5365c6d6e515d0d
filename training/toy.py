"""The pictures of the toy laboratory: `python -m training.toy` writes assets/dae/NAME-pictures.png and pictures.json.

Fashion-MNIST (Debian package dataset-fashion-mnist, MIT) and faces drawn by DiceBear, 32x32 grey. The first five
training pictures are of different classes and mutually most separated (least largest cosine once the mean picture
is subtracted), the next 95 are chosen greedily in the same way, the rest stay in random order: so the first n
are the training set of size n.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

HOME = Path(__file__).parent.parent / "assets" / "dae"
FASHION = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STYLES = ("personas", "micah", "toon-head", "big-smile", "lorelei")  # CC BY 4.0, lorelei CC0: see ATTRIBUTION.md
TRAIN, TEST, SEED, SEPARATED, STARTS = 10_000, 500, 1, 100, 400
FACE_GREYS = 16


def fashion(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train and test pictures uint8 [N, 28, 28] with their labels, drawn from the two files of the set."""
    rng, found = np.random.default_rng(SEED), []
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
        rows = rng.choice(len(pixels), count, replace=False)
        found += [pixels[rows], labels[rows]]
    return found[0], found[2], found[1], found[3]


@cache
def _style(name: str):
    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text()))


def face(seed: int) -> np.ndarray:
    """One drawn face on white, uint8 [32, 32], in 16 greys; its style is seed modulo five."""
    import resvg_py
    from dicebear import Avatar

    svg = str(Avatar(_style(STYLES[seed % len(STYLES)]), {"seed": str(seed)}))
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=128)))).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    grey = Image.alpha_composite(white, picture).convert("L").resize((32, 32), Image.Resampling.BOX)
    step = 255 / (FACE_GREYS - 1)
    return np.round(np.round(np.asarray(grey) / step) * step).astype(np.uint8)


def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train and test faces uint8 [N, 32, 32], no two alike, with their styles as labels."""
    with ProcessPoolExecutor() as pool:
        drawn = np.stack(list(pool.map(face, range(int(1.3 * (TRAIN + TEST))), chunksize=100)))
    _, first = np.unique(drawn.reshape(len(drawn), -1), axis=0, return_index=True)
    kept = np.sort(first)[: TRAIN + TEST]
    pixels, labels = drawn[kept], (kept % len(STYLES)).astype(np.uint8)
    return pixels[:TRAIN], pixels[TRAIN:], labels[:TRAIN], labels[TRAIN:]


def order(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rows of `pixels` [N, h, w], mutually separated ones first (see the module's text)."""
    rows = pixels.reshape(len(pixels), -1).astype(np.float32)
    rows -= rows.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    best, worst = [], np.inf
    for start in np.random.default_rng(SEED).choice(len(rows), STARTS, replace=False):
        chosen, largest, reached = [int(start)], rows @ rows[start], -1.0
        for _ in range(4):
            open_ = np.where(np.isin(labels, labels[chosen]), np.inf, largest)
            chosen.append(int(open_.argmin()))
            reached = max(reached, open_.min())
            largest = np.maximum(largest, rows @ rows[chosen[-1]])
        if reached < worst:
            best, worst = chosen, reached
    largest = (rows @ rows[best].T).max(1)
    while len(best) < SEPARATED:
        largest[best[-1]] = np.inf
        largest[best] = np.inf
        best.append(int(largest.argmin()))
        largest = np.maximum(largest, rows @ rows[best[-1]])
    rest = np.setdiff1d(np.arange(len(rows)), best)
    return np.concatenate([best, np.random.default_rng(SEED).permutation(rest)])


def sheet(train: np.ndarray, test: np.ndarray, path: Path) -> None:
    """All pictures stacked in one column, training first, as a lossless grey PNG."""
    stacked = np.concatenate([train, test])
    picture = Image.fromarray(stacked.reshape(-1, stacked.shape[2]))
    if len(np.unique(stacked)) <= FACE_GREYS:
        picture = picture.quantize(FACE_GREYS)
    picture.save(path, optimize=True)


def main(folder: Path, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    sets = {"fashion": ("Fashion-MNIST", GARMENTS, fashion(folder)), "faces": ("Drawn faces", STYLES, faces())}
    told = {}
    for name, (title, classes, (train, test, labels, test_labels)) in sets.items():
        rows = order(train, labels)
        sheet(train[rows], test, home / f"{name}-pictures.png")
        told[name] = {
            "title": title,
            "classes": list(classes),
            "side": int(train.shape[1]),
            "train": len(train),
            "labels": "".join(map(str, labels[rows])),
            "test_labels": "".join(map(str, test_labels)),
        }
    (home / "pictures.json").write_text(json.dumps(told, indent=1) + "\n")
    print({path.name: path.stat().st_size for path in sorted(home.glob("*-pictures.png"))})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FASHION, help="where Fashion-MNIST's four files lie")
    parser.add_argument("--home", type=Path, default=HOME)
    asked = parser.parse_args()
    main(asked.folder, asked.home)
