"""The two trays that a concept is learned from: pictures that show it and pictures that do not, uploaded or painted.

A tray's pictures lie as files in the session's folder, so that five hundred of them take no memory; copies stay out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..checks import text, whole
from ..concepts import Progress
from ..errors import Cancelled, RudderError, shorten
from ..images import Limits, OnDisk, named_images
from ..pace import PAGE_SECONDS, about
from ..recipe import SEED_KEPT
from ..references import evened, name_of, provenance, rows_of
from .pictures import square, thumbnail, weight
from .session import Session
from .studio import Studio

SIDES = ("concept", "baseline")
LEAST, MOST = 5, 500  # pictures of a tray that are learned from
COUNT = (5, 100)  # pictures that are painted for a side
PAINTING = 4 * PAGE_SECONDS  # for both sides, as by program
LIMITS = Limits(files=MOST, file_bytes=20 * 2**20, total_bytes=200 * 2**20)  # of one upload
THUMB = 56
TRAITS = 500  # characters of the traits to keep even
STOPPED = "Reading was stopped: what was read stays."
NOUNS = {"concept": "that show it", "baseline": "of the baseline"}
ONE = NOUNS | {"concept": "that shows it"}


@dataclass(frozen=True)
class Shot:
    """One picture of a tray: its content's key, its name, its file, and what is shown of it."""

    key: str
    name: str
    path: Path
    face: str


@dataclass
class Tray:
    """Pictures by content, those left out with a click, what is to be known of them, and the prompt and record of
    those that were painted."""

    shots: dict[str, Shot] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    prompt: str = ""
    painted: dict[str, Any] | None = None

    def pictures(self) -> OnDisk:
        """The pictures that are not left out."""
        return OnDisk(shot.path for key, shot in self.shots.items() if key not in self.out)


def tray_of(session: Session, side: str) -> Tray:
    """A session's tray of a side; RudderError for a side that there is not."""
    if side not in SIDES:
        raise RudderError("The page named no tray that there is: reload it.")
    return session.trays.setdefault(side, Tray())


def told(session: Session, side: str) -> dict[str, Any]:
    """A tray as the browser draws it."""
    tray = tray_of(session, side)
    return {
        "side": side,
        "shots": [{"key": shot.key, "name": shot.name, "src": shot.face} for shot in tray.shots.values()],
        "out": sorted(tray.out),
        "text": " ".join(tray.remarks),
        "cleared": len(session.cleared[side].shots) if side in session.cleared else 0,
    }


def fill(studio: Studio, session: Session, side: str, paths: Sequence[str]) -> Iterator[Progress]:
    """Put uploaded pictures and zips into a tray, with progress by file; what is left out is said in its remarks.

    RudderError where none of them can be read, or they are too many or too large; what was read until then stays.
    """
    tray, other = tray_of(session, side), tray_of(session, SIDES[side == "concept"])
    if len(paths) > MOST:
        raise RudderError(f"There are {len(paths):,} files: choose at most {MOST}.")
    size = weight(paths)
    if size > LIMITS.total_bytes:
        most = LIMITS.total_bytes / 2**20
        raise RudderError(f"The files have {size / 2**20:.0f} MB, the page takes {most:.0f} at once: choose fewer, or "
                          "add them in parts.")  # fmt: skip
    if tray.painted:
        tray.painted, tray.prompt = None, ""  # no longer all of one prompt
    tray.remarks, bad, copies, read = [], [], 0, 0
    limits = replace(LIMITS, side=min(768, max(256, 2 * studio.backbone.resolution)))
    with session.task(f"fill {side}") as stop:
        for place, path in enumerate(paths):
            yield Progress(place, len(paths), f"reading {place + 1} of {len(paths)} files")
            if stop.is_set():
                raise Cancelled(STOPPED)
            try:
                found = named_images(path, limits, tray.remarks.append, stop)
            except Cancelled:
                raise Cancelled(STOPPED) from None
            except RudderError as error:
                bad.append(str(error))
                continue
            read += len(found)
            for name, image in found:
                if len(tray.shots) >= MOST:
                    tray.remarks.append(f"A tray takes {MOST} pictures: the rest were left out.")
                    break
                copies += not _add(session, side, tray, name, image)
    if copies:
        tray.remarks.append(f"{copies} {'copy of another was' if copies == 1 else 'copies of others were'} left out.")
    if both := sum(key in other.shots for key in tray.shots):
        tray.remarks.append(f"{both} {'stands' if both == 1 else 'stand'} in both trays: leave "
                            f"{'it' if both == 1 else 'them'} out of one.")  # fmt: skip
    if bad and not read:
        raise RudderError(bad[0] if len(bad) == 1 else f"None of the {len(bad)} files can be read ({bad[0]})")
    if bad:
        tray.remarks.append(f"{len(bad)} of the files cannot be read and {'is' if len(bad) == 1 else 'are'} left out: "
                            f"{shorten(bad[0], 160)}")  # fmt: skip
    yield Progress(len(paths), len(paths), "read")


def paint(
    studio: Studio, session: Session, prompts: Sequence[str], count: object, traits: str, seed: object = 0
) -> Iterator[Progress]:
    """Paint `count` pictures for each of two prompts, at the same seeds from `seed` on, into the two trays, which grow
    as it goes.

    `traits`: groups with semicolons between them, alternatives with commas (see `references.evened`). What was painted
    before is not painted again. RudderError for prompts that are empty or the same, for trays that hold pictures of
    one's own, and where it would take too long here; Cancelled when stopped.
    """
    if any(shot.path.parent.name in SIDES for side in SIDES for shot in tray_of(session, side).shots.values()):
        raise RudderError("There are pictures of yours here, which painted ones would replace: clear both sets first.")
    number, first = whole("The number of pictures", count, *COUNT), whole("The first seed", seed, 0, SEED_KEPT - MOST)
    said = [text(f"The {title} prompt", prompt, 2000).strip()
            for title, prompt in zip(("first", "second"), prompts, strict=True)]  # fmt: skip
    if not all(said) and studio.backbone.classes is None:
        raise RudderError("Two prompts are needed: one that shows the concept, and the same without it.")
    if said[0] == said[1]:
        raise RudderError("The two prompts are the same, so nothing sets them apart: change the second one.")
    groups = [part for part in text("The traits", traits or "", TRAITS).split(";") if part.strip()]
    sides = [rows_of(evened(prompt, groups), number, first) for prompt in said]
    rows = [row for pair in zip(*sides, strict=True) for row in pair]  # in turn, so that both sheets grow
    steps = len(rows) * studio.backbone.defaults["num_inference_steps"]
    if studio.pace is not None and steps * studio.pace.together > PAINTING:
        raise RudderError(
            f"Painting {len(rows)} pictures would take {about(steps * studio.pace.together)} here, and the page allows "
            f"{about(PAINTING).removeprefix('about ')}: ask for fewer, or use `rudder concept learn --prompts`."
        )
    folder, before = session.folder() / "references", dict(session.trays)
    for side, prompt, some in zip(SIDES, said, sides, strict=True):
        session.trays[side] = Tray(prompt=prompt, painted=provenance(some, studio.backbone))
    try:
        with session.task("learn") as stop:
            for item in studio.refer(rows, folder, stop=stop):
                for side, some in zip(SIDES, sides, strict=True):
                    _gather(session.trays[side], some, folder)
                if isinstance(item, Progress):
                    yield Progress(item.done, item.total, f"painting {item.done} of {item.total} pictures")
    finally:
        if not any(session.trays[side].shots for side in SIDES):
            session.trays = before  # what was painted before is there again


def prune(session: Session, side: str, key: str, out: bool) -> None:
    """Leave a picture of a tray out, or take it back in."""
    tray = tray_of(session, side)
    if key in tray.shots:
        (tray.out.add if out else tray.out.discard)(key)


def clear(session: Session, side: str) -> None:
    """Empty a tray; `take_back` undoes it until there is something to clear again. Then files of its own are deleted,
    painted ones stay for the next time."""
    tray, before = tray_of(session, side), session.cleared.get(side, Tray())
    if not tray.shots:
        return
    session.cleared[side], session.trays[side] = tray, Tray()
    here = [*session.trays.values(), *session.cleared.values()]
    kept = {shot.path for one in here for shot in one.shots.values()}
    for shot in before.shots.values():
        if shot.path.parent.name in SIDES and shot.path not in kept:
            shot.path.unlink(missing_ok=True)


def take_back(session: Session, side: str) -> None:
    """Undo `clear`: what was cleared away comes back, and what the tray got since takes its place, so that nothing is
    lost. RudderError where there is nothing."""
    tray, cleared = tray_of(session, side), session.cleared.pop(side, None)
    if cleared is None:
        raise RudderError("No pictures were cleared away here: bring them again.")
    session.trays[side] = cleared
    if tray.shots:
        session.cleared[side] = tray


def swap(session: Session) -> None:
    """Exchange what shows the concept and what does not."""
    one, other = (tray_of(session, side) for side in SIDES)
    session.trays = {"concept": other, "baseline": one}
    session.cleared = {SIDES[side == "concept"]: tray for side, tray in session.cleared.items()}
    for tray in session.trays.values():
        tray.remarks = []


def sets_of(session: Session) -> tuple[OnDisk, OnDisk]:
    """The pictures to learn from, without those left out; RudderError where a tray has too few or too many."""
    found = [tray_of(session, side).pictures() for side in SIDES]
    for side, some in zip(SIDES, found, strict=True):
        many = len(some)
        if not many and side == "baseline":
            continue
        if not many:
            raise RudderError("There are no pictures yet: bring some that show the concept, or paint them from two "
                              "prompts.")  # fmt: skip
        if not LEAST <= many <= MOST:
            have = f"There is one picture {ONE[side]}" if many == 1 else f"There are {many} pictures {NOUNS[side]}"
            raise RudderError(f"{have}: give {LEAST} to {MOST}{', or none' if side == 'baseline' else ''}.")
    return found[0], found[1]


def _add(session: Session, side: str, tray: Tray, name: str, image: Image.Image) -> bool:
    """Write a picture into a tray's folder; False for a copy of one that is there."""
    key = _key(image)
    if key in tray.shots:
        return False
    folder = session.folder() / side
    folder.mkdir(exist_ok=True)
    path = folder / f"{key}.png"
    image.save(path, compress_level=1)
    tray.shots[key] = Shot(key, shorten(name, 60), path, thumbnail(square(image, THUMB)))
    return True


def _gather(tray: Tray, rows: Sequence[tuple[str, int]], folder: Path) -> None:
    """Take in the pictures of some rows that have been painted meanwhile."""
    known = {shot.path for shot in tray.shots.values()}
    for prompt, seed in rows:
        path = folder / name_of(prompt, seed)
        if path in known or not path.is_file():
            continue
        with Image.open(path, formats=["PNG"]) as image:
            picture = image.convert("RGB")
        key = _key(picture)
        tray.shots.setdefault(key, Shot(key, f"{shorten(prompt, 50)}, seed {seed}", path,
                                        thumbnail(square(picture, THUMB))))  # fmt: skip


def _key(image: Image.Image) -> str:
    return hashlib.sha256(repr(image.size).encode() + image.convert("RGB").tobytes()).hexdigest()[:32]
