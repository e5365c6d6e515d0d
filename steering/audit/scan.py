"""Audit many pictures or prompts: one JSON line each, in order, resumable, in flat memory."""

from __future__ import annotations

import base64
import hashlib
import math
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from ..backbones.base import Backbone
from ..calibration import Calibration, Verdict
from ..concepts import Progress
from ..engines import Engine, Here
from ..errors import Cancelled, RudderError, shorten
from ..files import replacing, writing
from ..recipe import Recipe
from ..sampling import finish, sample
from ..words import unread
from . import places, remote
from .listing import Row, Source, from_hub, open_row, rows, survey, title
from .results import KIND, OURS, encoded, failures, heading, owned, results, resumed

BATCH = 16
SIDE = 96  # px, of the pictures that results and reports keep
READERS = 16  # pictures of a store that are fetched at once
Scored = list[dict[str, Any]]


def scan(
    backbone: Backbone,
    calibration: Calibration,
    source: Source,
    out: str | Path,
    *,
    batch: int = BATCH,
    engine: Engine | None = None,
    score: Callable[[Calibration, Sequence[Row]], Scored] | None = None,
    uploaded: bool = False,
    retry: bool = False,
) -> Generator[Progress, None, None]:
    """Score every row of a list (see `listing.rows`) into `out`, a JSON line each; yields Progress a batch.

    A prompt is painted first, with the model's default steps and guidance and its seed, and scored from the
    sampler's latents; its row keeps the picture, small, as a data URI (as every row of an `uploaded` list does). A row
    that cannot be read becomes {"id", "error"}. An `out` from an interrupted scan of the same list, model and
    calibration is continued: nothing is scored twice, no row is lost; `retry` first tries again what failed. `engine`:
    who scores, this process if None is given. `score` takes the place of `score_rows` on this backbone; an `uploaded`
    list may not name files of this machine, and its results name none. RudderError for another model's calibration, a
    list without rows, a second scan into `out`, or an `out` that belongs to something else, which another list is, and
    this one once it has changed.
    """
    calibration.check(backbone)
    out = Path(out)
    sources = [source] if isinstance(source, str | Path) else source
    notes: list[str] = []
    if any(map(from_hub, sources)):  # a data set from the hub is not read twice
        total, told = 0, hashlib.sha256("\n".join(map(str, sources)).encode()).hexdigest()[:16]
    else:
        total, told, notes = survey(source, uploaded)
    head = {**heading(calibration, title(source)), "list": told} | ({"notes": notes} if notes else {})
    if score is not None or engine is None:
        score = score or partial(score_rows, backbone, pictures=uploaded)
        engine, work = Here(backbone), partial(_lines, score, calibration, batch, uploaded)
    else:
        work = partial(_scored, calibration, batch, uploaded)
    share = batch * max(1, min(engine.most, total // (2 * batch * engine.workers)))

    def written(listed: Iterator[Row]) -> Iterator[tuple[Sequence[Row], list[bytes]]]:
        return engine.map(work, iter(lambda: list(islice(listed, share)), []))

    with owned(out):
        try:
            if retry and out.is_file() and out.stat().st_size:
                yield from _retried(out, head, rows(source, uploaded), written, total)
            listed = rows(source, uploaded)
            done = resumed(out, head, listed)
            if done == 0:
                with writing(out):
                    out.write_bytes(encoded(head))
            for _, lines in written(listed):
                with writing(out), out.open("ab") as file:
                    file.write(b"".join(lines))
                done += len(lines)
                yield Progress(done, total, "scoring")
        finally:
            places.forget()
            remote.forget()


def count(source: Source) -> int:
    """How many rows a list has: one pass without opening a picture."""
    return survey(source)[0]


def score_rows(backbone: Backbone, calibration: Calibration, some: Sequence[Row], pictures: bool = False) -> Scored:
    """The results of a few rows, in order: scores of those that can be read, errors of the others.

    Painted prompts keep their picture, with `pictures` the others do, too.
    """
    told: dict[int, dict[str, Any]] = {}
    opened: list[tuple[int, Image.Image]] = []
    prompts: list[int] = []
    for index, row in enumerate(some):
        if row.error is None and row.path is None and row.data is None:
            prompts.append(index)
    asked = [index for index in range(len(some)) if index not in prompts]
    for index, picture in zip(asked, _opened([some[index] for index in asked]), strict=True):
        if isinstance(picture, RudderError):
            told[index] = {"error": str(picture)}
        else:
            opened.append((index, picture))

    def shown(batch: Sequence[tuple[int, Image.Image]]) -> Scored:
        verdicts = calibration.verdicts(calibration.score(backbone, [picture for _, picture in batch]))
        kept = [pictures or not _at_hand(some[index].path) for index, _ in batch]
        return [
            _line(some[index], verdict, picture if keep else None)
            for (index, picture), verdict, keep in zip(batch, verdicts, kept, strict=True)
        ]

    def painted(batch: Sequence[int]) -> Scored:
        steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
        recipe = Recipe(model=backbone.name, num_inference_steps=steps, guidance_scale=guidance)
        asked = [some[index] for index in batch]
        made = finish(sample(backbone, recipe, prompts=[r.prompt or "" for r in asked], seeds=[r.seed for r in asked]))
        verdicts = calibration.verdicts(calibration.score(backbone, made.latents))
        lines = [_line(*each) for each in zip(asked, verdicts, made.images, strict=True)]
        cut = [unread(backbone, row.prompt or "") for row in asked]
        return [line | {"unread": words} if words else line for line, words in zip(lines, cut, strict=True)]

    told |= zip((index for index, _ in opened), _each(shown, opened), strict=True)
    told |= zip(prompts, _each(painted, prompts), strict=True)
    return [{"id": some[index].id, **told[index]} for index in range(len(some))]


def _opened(some: Sequence[Row]) -> Iterator[Image.Image | RudderError]:
    """The rows' pictures, or what is wrong with them; those of a store are fetched side by side."""

    def one(row: Row) -> Image.Image | RudderError:
        try:
            return open_row(row)
        except RudderError as error:
            return error

    if not any(remote.is_remote(row.path) for row in some):
        yield from map(one, some)
        return
    with ThreadPoolExecutor(min(READERS, len(some))) as pool:
        yield from pool.map(one, some)


def _each(measure: Callable[[Sequence[Any]], Scored], batch: Sequence[Any]) -> Scored:
    """What is measured of a batch at once or, where that fails, one by one: a bad entry spoils no other."""
    if not batch:
        return []
    try:
        return measure(batch)
    except Cancelled:
        raise
    except RudderError as error:
        if len(batch) == 1:
            return [{"error": str(error)}]
        return [line for one in batch for line in _each(measure, [one])]


def small(image: Image.Image) -> str:
    """A picture at most SIDE pixels wide as a data URI (WebP, of a kilobyte or two)."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, format="WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _line(row: Row, verdict: Verdict, picture: Image.Image | None) -> dict[str, Any]:
    if not math.isfinite(verdict.score):
        return {
            "error": f"{shorten(row.id)} has a score that is no number: check the picture, then the model's weights."
        }
    line = {
        "verdict": verdict.label,
        "score": round(verdict.score, 6),
        "spread": round(verdict.spread, 6),
        "above": round(verdict.above, 4),
        "memorized": verdict.memorized,
    }
    if row.prompt is not None and row.path is None:
        line |= {"prompt": row.prompt, "seed": row.seed}
    extra = {"path": row.path, "member": row.member, "label": row.label}
    extra["picture"] = None if picture is None else small(picture)
    return line | {key: value for key, value in extra.items() if value is not None}


def _written(row: Row, line: dict[str, Any], uploaded: bool) -> bytes:
    """A result as it is kept: with the mark of its row, without a path that is nobody's business or no text."""
    if uploaded or not _written_down(row.path):
        line.pop("path", None)
    return encoded(line if "error" in line else line | {"mark": row.mark()})


def _written_down(path: str | None) -> bool:
    """Whether a path can be kept as text, which the names of files need not be."""
    return path is None or not any("\ud800" <= c <= "\udfff" for c in path)


def _at_hand(path: str | None) -> bool:
    """Whether a report can open the picture itself, later: it lies on this machine, by a name that is text."""
    return _written_down(path) and not remote.is_remote(path)


def _retried(
    out: Path,
    head: dict[str, Any],
    listed: Iterator[Row],
    again: Callable[[Iterator[Row]], Iterator[tuple[Sequence[Row], list[bytes]]]],
    total: int,
) -> Iterator[Progress]:
    """Score anew what failed, then put the results in the errors' places: all of them, or none if it is stopped."""
    done = 0
    with tempfile.TemporaryFile() as fresh:
        for _, lines in again(row for _, row in failures(out, head, listed) if row is not None):
            fresh.writelines(lines)
            done += len(lines)
            yield Progress(done, total, "trying again what failed")
        fresh.seek(0)
        with replacing(out, KIND, OURS) as part, part.open("wb") as file:
            file.write(encoded(head))
            file.writelines(fresh.readline() if "error" in line else encoded(line) for line in results(out))


def _scored(
    calibration: Calibration, batch: int, uploaded: bool, backbone: Backbone, some: Sequence[Row]
) -> list[bytes]:
    """A job of a scan wherever it is done: the lines of some rows, as many scored at once as a batch has."""
    return _lines(partial(score_rows, backbone, pictures=uploaded), calibration, batch, uploaded, backbone, some)


def _lines(
    score: Callable[[Calibration, Sequence[Row]], Scored],
    calibration: Calibration,
    batch: int,
    uploaded: bool,
    backbone: Backbone,
    some: Sequence[Row],
) -> list[bytes]:
    lines: list[bytes] = []
    for start in range(0, len(some), batch):
        part = some[start : start + batch]
        scored = score(calibration, part)
        lines += [_written(row, line, uploaded) for row, line in zip(part, scored, strict=True)]
    return lines
