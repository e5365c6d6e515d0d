"""The other half of tests/hostile.py: files that are no pictures. Lists and zips to scan, results, calibrations, model
configurations, masks, and what a browser may send in a message's place."""

from __future__ import annotations

import json
import random
import re
import tempfile
from itertools import islice
from pathlib import Path

from PIL import Image

from steering.audit import places
from steering.audit.listing import open_row, rows
from steering.audit.results import header, results
from steering.calibration import Calibration
from steering.errors import RudderError
from steering.files import check_weights, read_json
from steering.masks import mask_image
from steering.recipe import Recipe
from steering.ui.asked import first_strength, mapping
from steering.ui.session import ticket_of
from tests.files import saved, zipped

ROWS = 2001  # as many as the page reads before it refuses a list
WORDS = ("a cat", "é", "日本", "", " ", '"', "'", "=1+1", "<b>", "\\", "\ud800", "\x00", "a,b", "../a.png", "/dev/zero",
         "file:///etc/passwd", "http://127.0.0.1/", "x" * 3000, "9" * 400, "-1", "1e999", "NaN", "[]")  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252", "shift-jis", "latin-1")
HEADS = ("prompt", "Caption", "path", "text", "file_name", "seed", "id", "label", "", "url", "prompt", "\ufeffprompt")
NUMBERS = ("1e999", "NaN", "-Infinity", "9" * 5000, "-1", "1.5", '"1"', "null", "true", "[]", "{}", str(2**64))
DEEP = ("[" * 100_000, '{"a":' * 100_000, "[" + "[]," * 200_000 + "[]]", "9" * 4_000_000, '"' + "x" * 3_000_000 + '"')


def opened(name: str, kind: str, data: bytes) -> None:
    """Read a file as what it says it is; RudderError where it is refused."""
    if kind == "mask":
        mask_image(data.decode("latin-1"))
        return
    if kind == "message":
        _message(data.decode("utf-8", "surrogatepass"))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name.rpartition("/")[2]
        path.write_bytes(data)
        if kind == "list":
            try:
                for row in islice(rows([str(path)], uploaded=True, notes=[]), ROWS):
                    _row(row, folder)
            finally:
                places.forget()
        elif kind == "results":
            header(path)
            for line in islice(results(path), ROWS):
                json.dumps(line)
        elif kind == "calibration":
            Calibration.load(path).verdict(1.0)
        elif kind == "weights":
            check_weights(path, "restore it")
        else:
            read_json(path)


def _row(row, folder: str) -> None:
    """No row may lead out of what was sent."""
    assert row.error or row.path is None or row.path.startswith(folder), row
    if row.error is None and row.path is not None:
        try:
            open_row(row)
        except RudderError:
            pass  # one bad row


def _message(text: str) -> None:
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RudderError("What is no JSON reaches no callback.") from error
    sent = mapping(sent)
    ticket_of(sent.get("ticket"))
    first_strength(sent, "a", "x", 1.0)
    Recipe.from_json(mapping(sent.get("recipe")))


def _cell(draw: random.Random) -> str:
    word = draw.choice(WORDS)
    return draw.choice([word, f'"{word}"', '"' + word.replace('"', '""') + '"', f'"{word}'])


def table(draw: random.Random) -> bytes:
    """Columns that do not fit, quotes that nobody closes, names twice, encodings mixed."""
    between, end = draw.choice(",;\t|"), draw.choice(["\n", "\r\n", "\r", "\n\n", "\0"])
    head = between.join(draw.choices(HEADS, k=draw.randint(1, 6)))
    width = draw.choice([1, 3, 6, 500])
    lines = [between.join(_cell(draw) for _ in range(draw.choice([1, width]))) for _ in range(draw.choice([1, 40]))]
    text = end.join([*draw.choice([[], ["sep=;"], [head]]), head, *lines])
    data = text.encode(draw.choice(ENCODINGS), "replace")
    return data + draw.choice([b"", b"\xff\xfe\x00", draw.randbytes(200)])


def long_table(draw: random.Random) -> bytes:
    """Lines, quotes or columns without measure."""
    case = draw.randrange(5)
    if case == 0:
        return b"prompt\n" + b'"' * draw.choice([1, 2_000_001])
    if case == 1:
        return b"prompt,seed\n" + b'"open\n' * 300_000
    if case == 2:
        return b",".join([b"prompt"] * 200_000) + b"\n" + b"," * 200_000
    if case == 3:
        return b"prompt\n" + b"a" * 15_000_000
    return b"prompt\n" + b"\n" * 15_000_000


def json_list(draw: random.Random) -> bytes:
    """Values without bottom or measure, keys twice, numbers that are none."""
    if draw.random() < 0.4:
        return draw.choice(DEEP).encode()
    rows = [f'{{"{draw.choice(HEADS)}": {draw.choice([json.dumps(draw.choice(WORDS)), draw.choice(NUMBERS)])}, '
            f'"prompt": {draw.choice(NUMBERS)}}}' for _ in range(draw.choice([1, 60]))]  # fmt: skip
    return draw.choice(["\n".join(rows), f"[{','.join(rows)}]", f'{{"a.png": {rows[0]}}}']).encode("utf-8", "replace")


def plain_list(draw: random.Random) -> bytes:
    lines = [draw.choice(WORDS) for _ in range(draw.choice([1, 100]))]
    return draw.choice(["\n", "\r", "\0"]).join(lines).encode(draw.choice(ENCODINGS), "replace") + draw.randbytes(30)


def zip_list(draw: random.Random) -> bytes:
    """Names that lead elsewhere, pictures that are none, in a zip that may be bent."""
    names = ["a.png", "../../a.png", "/etc/a.png", "C:\\a.png", "a/\x00.png", "a" * 300 + ".png", "é.jpg", ".a.png"]
    image = saved(Image.frombytes("RGB", (8, 8), draw.randbytes(192)), "PNG")
    data = bytearray(zipped({name: draw.choice([image, b"", draw.randbytes(90)]) for name in draw.sample(names, 4)}))
    for _ in range(draw.choice([0, 3])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def results_file(draw: random.Random) -> bytes:
    head = {"rudder_scan": 1, "source": draw.choice(WORDS), "model": "m", "list": "x", "fingerprint": "f"}
    line = json.dumps({"id": draw.choice(WORDS), "score": 1.0, "memorized": True})
    bad = draw.choice([line[:-3], "{", f'{{"score": {draw.choice(NUMBERS)}}}', draw.choice(DEEP)])
    first = draw.choice([json.dumps(head), "{}", "[]", draw.choice(DEEP), ""])
    return "\n".join([first, line, bad, ""]).encode("utf-8", "replace")


def calibration_file(draw: random.Random) -> bytes:
    probe = {"site": "s", "timestep": 1, "pooling": "mean", "statistic": "std"}
    values = {"rudder_calibration": 1, "model": "s", "fingerprint": "s", "probe": probe, "draws": 1, "seed": 1,
              "threshold": 1.0, "ordinary": [1.0], "memorized": [2.0], "report": {}, "typical": {}, "sweep": [],
              "fitted": ["s"], "record": {}}  # fmt: skip
    text = json.dumps(values)
    for _ in range(draw.randint(1, 3)):
        text = re.sub(draw.choice([r"1\.0", r"\[", '"s"', r"\d"]), lambda m: draw.choice(NUMBERS), text, count=1)
    return draw.choice([text, text, draw.choice(DEEP), "", "null"]).encode()


def weights_file(draw: random.Random) -> bytes:
    """Headers that lie about what follows."""
    start = draw.choice([b"version https://git-lfs", b"\x80\x04\x95", b"PK\3\4", (2**40).to_bytes(8, "little"),
                         (100).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}"])  # fmt: skip
    return start + draw.randbytes(draw.choice([0, 92, 1000]))


def mask_text(draw: random.Random) -> bytes:
    import base64

    side = draw.choice([64, 64, 1, 65])
    data = saved(Image.frombytes("L", (side, side), draw.randbytes(side * side)).convert("1"), "PNG")
    text = base64.b64encode(draw.choice([data, data[: len(data) // 2], b"", draw.randbytes(50)]))
    return draw.choice([text, text, text + b"=", b"A" * 5000, b"\xff", text[:-1]])


def message(draw: random.Random) -> bytes:
    """What no page sends."""
    keys = ("prompt", "seed", "window", "concepts", "sites", "strip", "mask", "uses", "picture", "model", "halves", "x")
    recipe = ", ".join(f'"{draw.choice(keys)}": {draw.choice([*NUMBERS, *DEEP[:1], json.dumps(draw.choice(WORDS))])}'
                       for _ in range(draw.randint(0, 4)))  # fmt: skip
    whole = (
        f'{{"ticket": {draw.choice(["1", "1", "1", *NUMBERS])}, "recipe": {{{recipe}}}, "concept": "x", "strengths": '
    )
    return (whole + draw.choice(["{}", "{}", '{"a": 1}', *NUMBERS]) + "}").encode("utf-8", "surrogatepass")


# kind of reader -> {file name: (maker, how many)}
MORE = {
    "list": {
        "table.csv": (table, 30), "tabs.tsv": (table, 10), "long.csv": (long_table, 10), "list.json": (json_list, 20),
        "lines.jsonl": (json_list, 20), "plain.txt": (plain_list, 15), "set.zip": (zip_list, 20),
    },
    "results": {"scan.jsonl": (results_file, 20)},
    "calibration": {"calibration.json": (calibration_file, 20)},
    "config": {"config.json": (json_list, 10)},
    "weights": {"weights.safetensors": (weights_file, 15)},
    "mask": {"mask": (mask_text, 20)},
    "message": {"message": (message, 30)},
}  # fmt: skip
