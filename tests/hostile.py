"""Files made to do harm, by seed: pictures, zips, vectors, recipes, lists and messages, at least 600; and what Rudder
does with them.

`python -m tests.hostile` opens them all in this process and prints a JSON line for each that misbehaves, then a
summary; `--seed` for others, `--core` for a fifth of them, spread over every kind.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from steering.bare import SIGNATURE
from steering.errors import RudderError
from steering.images import open_images
from steering.keeping import read_recipe, read_vectors
from steering.recipe import Recipe
from tests import hostile_lists
from tests.files import chunk, exif, saved, wide, with_chunks, with_segments, zipped
from tests.hostile_lists import MORE

SECONDS, MEGABYTES = 5.0, 300  # of processor and of memory that any one file may take
CORE = 5  # one of so many is in the core part
FORMS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")


@dataclass(frozen=True)
class File:
    """One file: how it is called, who reads it ("picture", "vector", ..., see KINDS), and its bytes."""

    name: str
    kind: str
    data: bytes


def files(seed: int = 0, every: int = 1) -> Iterator[File]:
    """Over 600 files, the same for a seed; those of one kind differ by what the seed draws. One of `every`."""
    draw, index = random.Random(seed), 0
    for kind, makers in KINDS.items():
        for name, (make, count) in makers.items():
            for number in range(count):
                state, index = draw.random(), index + 1
                if index % every == 0:
                    yield File(f"{name} {number}", kind, make(random.Random(state)))


def opened(file: File) -> str:
    """What came of it: "taken" or "refused"; any exception but RudderError is let through."""
    from steering.vectors import ConceptVector

    try:
        if file.kind == "picture":
            open_images((file.name, file.data), say=lambda told: None)
        elif file.kind == "vector":
            ConceptVector.from_bytes(file.data)
        elif file.kind == "recipe":
            read_recipe(BytesIO(file.data))
            read_vectors(BytesIO(file.data))
        else:
            hostile_lists.opened(file.name.rpartition(" ")[0], file.kind, file.data)
    except RudderError as error:
        assert "\n" not in str(error) and len(str(error)) < 600, str(error)
        return "refused"
    return "taken"


def picture(draw: random.Random, form: str | None = None, side: int = 24) -> bytes:
    image = Image.frombytes("RGB", (side, side), draw.randbytes(3 * side * side))
    return saved(image, form or draw.choice(FORMS))


def bent(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, most of them near the start, and perhaps cut or with something behind."""
    made = bytearray(data)
    for _ in range(draw.randint(1, 12)):
        at = min(int(draw.expovariate(8 / len(made))), len(made) - 1)
        made[at] = draw.choice([0, 0xFF, 0x7F, draw.randrange(256)])
    end = draw.choice([len(made), len(made), draw.randrange(len(made))])
    return bytes(made[:end]) + draw.choice([b"", b"", draw.randbytes(50)])


def _sized(draw: random.Random) -> bytes:
    """A header that promises far more pixels than there are."""
    side, form = draw.choice([7_000, 20_000, 65_535, 2**31 - 1]), draw.choice(["PNG", "JPEG", "GIF", "BMP"])
    if form == "PNG":
        head = struct.pack(">IIBBBBB", side, side, 8, draw.choice([0, 2, 3, 6]), 0, 0, 0)
        return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    data, least = picture(draw, form), min(side, 65_500)
    if form == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + struct.pack(">HH", least, least) + data[at + 4 :]
    if form == "GIF":
        return data[:6] + struct.pack("<HH", least, least) + data[10:]
    return data[:18] + struct.pack("<ii", side, side) + data[26:]


@lru_cache
def _zeros(count: int = 60_000_000) -> bytes:
    return zlib.compress(bytes(count))


def _packed_bomb(draw: random.Random) -> bytes:
    """Pixels, texts or profiles that unpack to fifty times what a file may have."""
    side, kind = draw.choice([7_000, 5_000]), draw.choice([b"IDAT", b"zTXt", b"iCCP"])
    if kind == b"IDAT":
        head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", _zeros()) + chunk(b"IEND", b"")
    return with_chunks(picture(draw, "PNG"), *[chunk(kind, b"rudder\0\0" + _zeros())] * 20)


def _crowd(draw: random.Random) -> bytes:
    """Hundreds of thousands of parts."""
    many, form = draw.choice([50_000, 300_000]), draw.choice(["PNG", "JPEG", "GIF", "scans"])
    if form == "scans":
        data = saved(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
        at = data.rfind(b"\xff\xda")
        return data[:at] + data[at:-2] * 2000
    data = picture(draw, form)
    if form == "PNG":
        return with_chunks(data, chunk(draw.choice([b"tEXt", b"ruVc", b"prVt"]), b"a\0b") * many)
    if form == "JPEG":
        return data[:2] + draw.choice([b"\xff\xe5\0\2", b"\xff\xfe\0\3x", b"\0"]) * many + data[2:]
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + draw.choice([b"!\xfe\1x\0", b"!\xf9\4\0\0\0\0\0"]) * many + data[at:]


def _exif_bomb(draw: random.Random) -> bytes:
    """Directories whose every entry points to all the file, or to themselves."""
    entries = [(0x9000 + i, 7, 60_000, struct.pack("<I", draw.choice([0, 8]))) for i in range(4000)]
    loop = [(0x8769, 4, 1, struct.pack("<I", 8))] * 20
    made = exif(draw.choice([entries, loop]))[:64_000]
    if draw.random() < 0.5:
        return with_segments(picture(draw, "JPEG"), *[(0xE1, b"Exif\0\0" + made)] * draw.choice([1, 40]))
    return draw.choice([with_chunks(picture(draw, "PNG"), chunk(b"eXIf", made * 20)), made])


def _profile_bomb(draw: random.Random) -> bytes:
    form = draw.choice(["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
    icc = draw.choice([bent(wide(), draw), wide() + bytes(900_000), b"\xff" * 3000])
    return saved(Image.new("RGB", (24, 24)), form, icc_profile=icc)


def _zip(draw: random.Random) -> bytes:
    some = {f"{i}.{draw.choice(['png', 'txt', 'jpg', 'zip'])}": picture(draw) for i in range(draw.randint(1, 6))}
    return bent(zipped(some, draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])), draw)


@lru_cache
def _many_zeros(count: int) -> bytes:
    return zipped({f"{i}.bmp": bytes(30_000_000) for i in range(count)})


def _zip_bomb(draw: random.Random) -> bytes:
    """Members that unpack to gigabytes, a member in a hundred entries, lies about sizes, packings that take memory."""
    case = draw.randrange(5)
    if case == 0:
        return _many_zeros(draw.choice([1, 12]))
    if case == 1:
        data = zipped({"a.png": picture(draw, "PNG")})
        at = data.rfind(b"PK\1\2")
        many = data[at:-22] * 199
        end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 199, 199, len(many), at, 0)
        return data[:at] + many + end
    if case == 2:
        data = bytearray(zipped({"a.png": bytes(100_000)}))
        at = data.rfind(b"PK\1\2") + draw.choice([20, 24])
        data[at : at + 4] = struct.pack("<I", draw.choice([10, 2**32 - 1, 2**31]))
        return bytes(data)
    if case == 3:
        return zipped({"a.png": bytes(20_000_000)}, draw.choice([zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]))
    data = zipped({"a.png": picture(draw)})
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2**60, 1, draw.choice([2**62, 46]), 2**61)
    return data[:-22] + record + struct.pack("<4sIQI", b"PK\6\7", 0, 2**40, 1) + data[-22:]


def _zip_directory(draw: random.Random) -> bytes:
    """A directory of many entries and no files."""
    count = draw.choice([1_000, 80_000])
    name = draw.choice([b"a.png", b"a\\", b"../../a.png", b"\xff\xfe.png", b"a" * 200])
    entry = struct.pack("<4s4BHH20xH16x", b"PK\1\2", 20, 3, 20, 0, draw.choice([0, 0x800]), 0, len(name))
    body, shown = (entry + name) * count, count & 0xFFFF
    return b"PK\3\4" + body + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, shown, shown, len(body), 4, 0)


def _vector(draw: random.Random) -> bytes:
    """A sound vector file of two sites."""
    import torch

    from steering.vectors import ConceptVector

    sites = {name: torch.tensor([[draw.random()] * draw.choice([4, 16])] * 3) for name in ("a", "b")}
    return ConceptVector("v", sites, (1, 2, 3), {"model": "m", "fingerprint": "f"}).to_bytes()


def _headed(header: str | bytes, data: bytes = bytes(64)) -> bytes:
    head = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(head)) + head + data


def _vector_header(draw: random.Random) -> bytes:
    """Sides that multiply to numbers without end, nests without bottom, offsets that overlap, names without measure."""
    case = draw.randrange(7)
    if case < 3:
        big = draw.choice([str(2**62), "9" * 4000, "1", "0", "-1", "1e999", "NaN", '"x"', "[]"])
        sides = ",".join([big] * draw.choice([1, 100, 100_000 if len(big) < 20 else 700]))
        kind = draw.choice(["F32", "BOOL", "Q7"])
        return _headed(f'{{"s":{{"dtype":"{kind}","shape":[{sides}],"data_offsets":[0,64]}}}}')
    entry = '{"dtype":"F32","shape":[16],"data_offsets":[0,64]}'
    if case == 3:
        return _headed("{" + ",".join(f'"{i}":{entry}' for i in range(20_000)) + "}")
    if case == 6:
        nothing = '{"format":1,"name":"n","timesteps":[1],"shapes":{"s":[16]},"recommended":{},"provenance":{"x":['
        told = json.dumps(nothing + "{}," * 300_000 + "{}]}}")
        return _headed(f'{{"__metadata__":{{"rudder":{told}}},"s":{entry}}}')
    if case == 4:
        meta = {"format": 1, "name": "n" * draw.choice([1, 10**6]), "timesteps": [1], "shapes": {"s": [16]}}
        told = json.dumps(json.dumps(meta | {"provenance": {}, "recommended": {}}))
        return _headed(f'{{"__metadata__":{{"rudder":{told}}},"s":{entry}}}')
    return _headed(draw.choice(["[" * 1_000_000, '{"a":' * 200_000, "{}", "[]", "1" * 5000, '{"s":{"shape":[1]}}',
                                "[" + "[]," * 1_000_000 + "[]]", b"\xff" * 100]))  # fmt: skip


def _vector_length(draw: random.Random) -> bytes:
    length = draw.choice([0, 1, 2**63, 2**32, 4 * 2**20, 10**6])
    return struct.pack("<Q", length) + draw.randbytes(draw.choice([0, 8, 2000]))


def _recipe_text(draw: random.Random) -> bytes:
    """PNGs whose recipe is no recipe."""
    texts = [b"", b"{", b"[" * 200_000, b'{"seed":' + b"9" * 5000 + b"}", b'{"prompt":"' + b"x" * 900_000 + b'"}',
             b"\xff\xfe",
             b'{"concepts":' + b"[" * 50_000, b'{"strip":{"strengths":[' + b"1," * 50_000 + b"1]}}", b"null", b"NaN",
             b'{"sites":[' + b'"a",' * 50_000 + b'"a"]}', b'{"window":{"start":NaN}}', b'{"rudder":1e400}',
             b'{"uses":[' + b"{}," * 700_000 + b"{}]}", b'{"halves":"' + b"a" * 2_000_000 + b'"}']  # fmt: skip
    text = draw.choice(texts)
    packed = draw.choice([zlib.compress(text), _zeros()])
    forms = [(b"tEXt", b"rudder\0" + text), (b"zTXt", b"rudder\0\0" + packed), (b"iTXt", b"rudder\0\1\0\0\0" + packed),
             (b"iTXt", b"rudder\0\0\0\0\0" + text), (b"zTXt", b"rudder\0"), (b"iTXt", b"rudder\0\1")]  # fmt: skip
    return with_chunks(picture(draw, "PNG"), chunk(*draw.choice(forms)))


def _recipe_whole(draw: random.Random) -> bytes:
    recipe = Recipe(prompt="a cat", concepts=(("x", 1.0),)).to_json().encode()
    vector = draw.choice([_vector, _vector_header])(draw)
    return with_chunks(picture(draw, "PNG"), chunk(b"tEXt", b"rudder\0" + recipe), chunk(b"ruVc", bent(vector, draw)))


def _recipe_jpeg(draw: random.Random) -> bytes:
    comment = b"ASCII\0\0\0" + draw.choice([b'{"rudder": 1}', b'{"rudder": ' * 3000, b'{"rudder"' + b" " * 30_000])
    inside = struct.pack("<HHHII", 1, 0x9286, 7, draw.choice([len(comment), 2**32 - 1]), 44) + bytes(4) + comment
    made = exif([(0x8769, 4, 1, struct.pack("<I", draw.choice([26, 0, 8])))] * draw.choice([1, 5000]), inside)[:65_000]
    return with_segments(picture(draw, "JPEG"), (0xE1, b"Exif\0\0" + made))


def _bent(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
    return lambda draw: bent(make(draw), draw)


Makers = dict[str, tuple[Callable[[random.Random], bytes], int]]
PICTURES: Makers = {
    **{f"bent {form}": (_bent(lambda draw, form=form: picture(draw, form)), 12) for form in FORMS},
    "no picture": (lambda draw: draw.choice([b"", b"\0", b"words", draw.randbytes(5000)]), 6),
    "too many pixels": (_sized, 24),
    "packed": (_packed_bomb, 8),
    "in parts": (_crowd, 20),
    "EXIF": (_exif_bomb, 20),
    "profile": (_profile_bomb, 24),
    "zip": (_zip, 40),
    "zip bomb": (_zip_bomb, 30),
    "zip directory": (_zip_directory, 16),
}
VECTORS: Makers = {
    "bent vector": (_bent(_vector), 40),
    "header": (_vector_header, 44),
    "length": (_vector_length, 14),
}
RECIPES: Makers = {
    "text": (_recipe_text, 40),
    "bent PNG": (_bent(lambda draw: with_chunks(picture(draw, "PNG"), chunk(b"tEXt", b"rudder\0{}"))), 24),
    "vector inside": (_recipe_whole, 20),
    "JPEG": (_recipe_jpeg, 20),
}


KINDS: dict[str, Makers] = {"picture": PICTURES, "vector": VECTORS, "recipe": RECIPES, **MORE}


def peak() -> float:
    """The most memory that this process has held, in MB (Linux)."""
    (line,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(line) / 1024


def run(seed: int, core: bool) -> dict[str, int]:
    """Open the files; print what misbehaves. {"files", "taken", "refused", "wrong", "seconds", "megabytes"}."""
    opened(File("first", "vector", _vector(random.Random(0))))  # what is imported on first use is nobody's
    opened(File("first 0", "message", b"{}"))
    opened(File("first", "picture", saved(Image.new("CMYK", (64, 64)), "JPEG", icc_profile=wide())))
    told = {"files": 0, "taken": 0, "refused": 0, "wrong": 0}
    slowest = largest = 0.0
    for file in files(seed, CORE if core else 1):
        before, started, wrong = peak(), time.process_time(), ""
        try:
            told[opened(file)] += 1
        except Exception as error:  # this is what is looked for
            wrong = f"{type(error).__name__}: {error}"[:300]
        seconds, more = time.process_time() - started, peak() - before
        slowest, largest = max(slowest, seconds), max(largest, more)
        told["files"] += 1
        if wrong or seconds > SECONDS or more > MEGABYTES:
            told["wrong"] += 1
            row = {"file": file.name, "wrong": wrong, "seconds": round(seconds, 1), "megabytes": round(more)}
            print(json.dumps(row), flush=True)
    return {**told, "seconds": round(slowest, 2), "megabytes": round(largest)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--core", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(run(asked.seed, asked.core)))
