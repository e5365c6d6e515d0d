"""A folder of one's own in which vectors stay between two starts: NAME.safetensors, and NAME.webp with its pictures.

Files that are no vectors of the model at hand are passed over and said; nothing is ever overwritten that is no vector.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from .backbones.base import Backbone
from .decoding import Limits, decode_image
from .errors import RudderError, shorten
from .files import writing
from .vectors import FILE_LIMIT, ConceptVector, told

FILES_LIMIT = 500  # that are looked at
KEPT_LIMIT = 100  # vectors of one model
BYTES_LIMIT = 1024 * 2**20  # of the vectors that are read
SHEET_LIMITS = Limits(file_bytes=4 * 2**20, side=2048)


@dataclass
class Shelf:
    """The vectors of a folder that were learned from one model, by name; `left`: a sentence for each file passed over.

    `sheets`: the pictures a vector was learned from, where the folder has them.
    """

    folder: Path
    vectors: dict[str, ConceptVector] = field(default_factory=dict)
    sheets: dict[str, Image.Image] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    _paths: dict[str, Path] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, vector: ConceptVector, sheet: Image.Image | None = None) -> None:
        """Keep a vector under its name, in place of another of that name. RudderError where it cannot be written, or
        the folder is full."""
        with self._lock:
            if vector.name not in self.vectors and len(self.vectors) >= KEPT_LIMIT:
                raise RudderError(
                    f"The library holds {KEPT_LIMIT} concepts, its limit: delete one, or start Rudder with another "
                    "folder."
                )
            path = self._paths.get(vector.name) or self._free(vector.name)
            vector.save(path)
            self.vectors[vector.name], self._paths[vector.name] = vector, path
            if sheet is not None:
                file = io.BytesIO()
                sheet.convert("RGB").save(file, "WEBP", quality=84)
                part = path.with_suffix(".webp.part")
                with writing(part):
                    part.write_bytes(file.getvalue())
                    part.replace(path.with_suffix(".webp"))
                self.sheets[vector.name] = sheet

    def rename(self, old: str, vector: ConceptVector) -> None:
        """Put what was called `old` under the vector's name: the new file first, so that nothing is lost."""
        sheet = self.sheets.get(old)
        self.put(vector, sheet)
        if old != vector.name:
            self.remove(old)

    def remove(self, name: str) -> None:
        """Delete a vector's files; nothing happens where there are none."""
        with self._lock:
            path = self._paths.pop(name, None)
            self.vectors.pop(name, None)
            self.sheets.pop(name, None)
            if path is not None:
                with writing(path):
                    path.unlink(missing_ok=True)
                    path.with_suffix(".webp").unlink(missing_ok=True)

    def _free(self, name: str) -> Path:
        """A file that is not there yet, called after the name."""
        plain = "".join(c if c.isalnum() or c in "-_ " else "-" for c in name).strip()[:40].strip() or "concept"
        path, count = self.folder / f"{plain}.safetensors", 2
        while path.exists() or path.with_suffix(".webp").exists():
            path, count = self.folder / f"{plain}-{count}.safetensors", count + 1
        return path


def open_shelf(folder: str | Path, backbone: Backbone) -> Shelf:
    """The shelf of a folder, which is made where it is missing; RudderError where it cannot be had or read."""
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise RudderError(f"{shorten(folder, 200)} is no folder: give one for the library.")
    with writing(folder / "any"):
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    shelf, size, strangers = Shelf(folder), 0, 0
    if len(paths) > FILES_LIMIT:
        shelf.left.append(f"The library has {len(paths):,} vector files: the first {FILES_LIMIT} are read.")
    for path in paths[:FILES_LIMIT]:
        try:
            if not path.is_file():
                raise RudderError(f"{shorten(path.name)} is no file: move it away.")
            size += path.stat().st_size
            if told(path)["fingerprint"] != backbone.fingerprint:
                strangers += 1
                continue
            if size > BYTES_LIMIT or path.stat().st_size > FILE_LIMIT or len(shelf.vectors) >= KEPT_LIMIT:
                shelf.left.append(f"{shorten(path.name)} is left out: the library is larger than the page takes.")
                continue
            vector = ConceptVector.load(path, backbone)
        except RudderError as error:
            shelf.left.append(str(error))
            continue
        except OSError as error:
            shelf.left.append(f"{shorten(path.name)} cannot be read ({error.strerror}): check it.")
            continue
        if vector.name in shelf.vectors:
            called = shorten(vector.name, 40)
            shelf.left.append(f"{shorten(path.name)} is called {called} as another file is: move one away.")
            continue
        shelf.vectors[vector.name], shelf._paths[vector.name] = vector, path
        sheet = path.with_suffix(".webp")
        if sheet.is_file():
            try:
                shelf.sheets[vector.name] = decode_image(sheet.name, _bytes(sheet), SHEET_LIMITS)
            except (OSError, RudderError) as error:
                shelf.left.append(str(error))
    if strangers:
        were = "vector was" if strangers == 1 else "vectors were"
        shelf.left.append(f"{strangers} of the library's {were} made for another model and left alone.")
    return shelf


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SHEET_LIMITS.file_bytes + 1)[: SHEET_LIMITS.file_bytes]
