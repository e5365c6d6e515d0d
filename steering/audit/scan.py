"""Audit many pictures or prompts: one JSON line each, in order, resumable, in flat memory."""

from __future__ import annotations

import base64
import hashlib
import math
import multiprocessing
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from ..backbones.base import Backbone
from ..backbones.registry import load
from ..calibration import Calibration, Verdict
from ..concepts import Progress
from ..errors import Cancelled, RudderError, shorten
from ..files import replacing, writing
from ..recipe import Recipe
from ..sampling import finish, sample
from . import places
from .listing import HUB, Row, Source, open_row, rows, survey, title
from .results import KIND, OURS, encoded, failures, heading, owned, results, resumed

BATCH = 16
SIDE = 96  # px, of the pictures that results and reports keep
AHEAD = 2  # batches kept waiting per worker
Scored = list[dict[str, Any]]


def scan(
    backbone: Backbone,
    calibration: Calibration,
    source: Source,
    out: str | Path,
    *,
    batch: int = BATCH,
    devices: Sequence[str] = (),
    model: str = "",
    loading: Mapping[str, Any] | None = None,
    score: Callable[[Calibration, Sequence[Row]], Scored] | None = None,
    uploaded: bool = False,
    retry: bool = False,
) -> Generator[Progress, None, None]:
    """Score every row of a list (see `listing.rows`) into `out`, a JSON line each; yields Progress a batch.

    A prompt is painted first, with the model's default steps and guidance and its seed, and scored from the
    sampler's latents; its row keeps the picture, small, as a data URI (as every row of an `uploaded` list does). A row
    that cannot be read becomes {"id", "error"}. An `out` from an interrupted scan of the same list, model and
    calibration is continued: nothing is scored twice, no row is lost; `retry` first tries again what failed. `devices`:
    several, each with a process that loads `model` (name, folder or hub id), `loading` being more of `load`'s options;
    () for this process alone. `score` takes the place of `score_rows` on this backbone; an `uploaded` list may not name
    files of this machine, and its results name none. RudderError for another model's calibration, a list without rows,
    a second scan into `out`, or an `out` that belongs to something else, which another list is, and this one once it
    has changed.
    """
    calibration.check(backbone)
    out = Path(out)
    sources = [source] if isinstance(source, str | Path) else source
    notes: list[str] = []
    if any(str(one).startswith(HUB) for one in sources):  # a data set from the hub is not read twice
        total, told = 0, hashlib.sha256("\n".join(map(str, sources)).encode()).hexdigest()[:16]
    else:
        total, told, notes = survey(source, uploaded)
    head = {**heading(calibration, title(source)), "list": told} | ({"notes": notes} if notes else {})
    score = score or partial(score_rows, backbone, pictures=uploaded)
    opened = partial(load, model or backbone.name, **(loading or {}))
    with owned(out):
        try:
            scored_by = partial(_scored, score, calibration, batch=batch, devices=devices, opened=opened)
            if retry and out.is_file() and out.stat().st_size:
                yield from _retried(out, head, rows(source, uploaded), scored_by, uploaded, total)
            listed = rows(source, uploaded)
            done = resumed(out, head, listed)
            if done == 0:
                with writing(out):
                    out.write_bytes(encoded(head))
            for some, scored in scored_by(listed=listed):
                with writing(out), out.open("ab") as file:
                    file.write(b"".join(_written(row, line, uploaded) for row, line in zip(some, scored, strict=True)))
                done += len(scored)
                yield Progress(done, total, "scoring")
        finally:
            places.forget()


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
            continue
        try:
            opened.append((index, open_row(row)))
        except RudderError as error:
            told[index] = {"error": str(error)}

    def shown(batch: Sequence[tuple[int, Image.Image]]) -> Scored:
        verdicts = calibration.verdicts(calibration.score(backbone, [picture for _, picture in batch]))
        kept = [pictures or not _written_down(some[index].path) for index, _ in batch]
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
        return [_line(*each) for each in zip(asked, verdicts, made.images, strict=True)]

    told |= zip((index for index, _ in opened), _each(shown, opened), strict=True)
    told |= zip(prompts, _each(painted, prompts), strict=True)
    return [{"id": some[index].id, **told[index]} for index in range(len(some))]


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


def _retried(
    out: Path,
    head: dict[str, Any],
    listed: Iterator[Row],
    again: Callable[..., Iterator[tuple[Sequence[Row], Scored]]],
    uploaded: bool,
    total: int,
) -> Iterator[Progress]:
    """Score anew what failed, then put the results in the errors' places: all of them, or none if it is stopped."""
    done = 0
    with tempfile.TemporaryFile() as fresh:
        for some, scored in again(listed=(row for _, row in failures(out, head, listed) if row is not None)):
            fresh.writelines(_written(row, line, uploaded) for row, line in zip(some, scored, strict=True))
            done += len(some)
            yield Progress(done, total, "trying again what failed")
        fresh.seek(0)
        with replacing(out, KIND, OURS) as part, part.open("wb") as file:
            file.write(encoded(head))
            file.writelines(fresh.readline() if "error" in line else encoded(line) for line in results(out))


def _scored(
    score: Callable[[Calibration, Sequence[Row]], Scored],
    calibration: Calibration,
    listed: Iterator[Row],
    batch: int,
    devices: Sequence[str],
    opened: Callable[..., Backbone],
) -> Iterator[tuple[Sequence[Row], Scored]]:
    """Batches of rows and their results in the list's order, from this process or from one per device."""
    if not devices:
        while some := list(islice(listed, batch)):
            yield some, score(calibration, some)
        return
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    for device in devices:
        queue.put(device)
    waiting: deque[tuple[Sequence[Row], Future]] = deque()
    with ProcessPoolExecutor(
        len(devices), context, initializer=_start_worker, initargs=(opened, calibration, queue)
    ) as pool:
        while True:
            while len(waiting) < AHEAD * len(devices) and (some := list(islice(listed, batch))):
                waiting.append((some, pool.submit(_work, some)))
            if not waiting:
                return
            first, result = waiting.popleft()
            yield first, result.result()


_worker: Callable[[Sequence[Row]], Scored]


def _start_worker(opened: Callable[..., Backbone], calibration: Calibration, queue: Any) -> None:
    global _worker
    backbone = opened(device=queue.get())
    _worker = lambda some: score_rows(backbone, calibration, some)  # noqa: E731


def _work(some: Sequence[Row]) -> Scored:
    return _worker(some)
