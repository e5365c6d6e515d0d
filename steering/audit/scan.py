"""Audit many pictures or prompts: one JSON line each, in order, resumable, in flat memory."""

from __future__ import annotations

import base64
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from ..errors import RudderError, shorten
from ..recipe import Recipe
from ..sampling import Result, finish, sample
from .listing import HUB, Row, Source, open_row, rows, title

FORMAT = 1
BATCH = 16
SIDE = 96  # px, of the pictures that results and reports keep
AHEAD = 2  # batches kept waiting per worker


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
    score: Callable[[Calibration, Sequence[Row]], list[dict[str, Any]]] | None = None,
    uploaded: bool = False,
) -> Iterator[Progress]:
    """Score every row of a list (see `listing.rows`) into `out`, a JSON line each; yields Progress a batch.

    A prompt is painted first, with the model's default steps and guidance and its seed, and scored from the
    sampler's latents; its row keeps the picture, small, as a data URI (as every row of an `uploaded` list does). A row
    that cannot be read becomes {"id", "error"}. An `out` from an interrupted scan of the same list, model and
    calibration is continued: nothing is scored twice, no row is lost. `devices`: several, each with a process that
    loads `model` (name, folder or hub id), `loading` being more of `load`'s options; () for this process alone. `score`
    takes the place of `score_rows` on this backbone; an `uploaded` list may not name files of this machine, and its
    results name none. RudderError for another model's calibration, or an `out` that belongs to something else.
    """
    calibration.check(backbone)
    out = Path(out)
    head = heading(calibration, title(source))
    done = _resume(out, head)
    listed = rows(source, uploaded)
    for past, row in zip(_ids(out, done), listed, strict=False):
        if past != row.id:
            raise RudderError(
                f"{out.name} has {shorten(past)!r} where the list now has {shorten(row.id)!r}: the list has changed, "
                "choose another --out."
            )
    sources = [source] if isinstance(source, str | Path) else source
    hub = any(str(one).startswith(HUB) for one in sources)
    total = 0 if hub else count(source)  # a data set from the hub is not read twice
    with out.open("a", encoding="utf-8") as file:
        if done == 0 and file.tell() == 0:
            file.write(json.dumps(head) + "\n")
        for scored in _scored(
            score or partial(score_rows, backbone, pictures=uploaded),
            calibration,
            listed,
            batch,
            devices,
            partial(load, model or backbone.name, **(loading or {})),
        ):
            for row in scored:
                if uploaded:
                    row.pop("path", None)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            done += len(scored)
            yield Progress(done, total, "scoring")


def count(source: Source) -> int:
    """How many rows a list has: one pass without opening a picture."""
    return sum(1 for _ in rows(source))


def header(path: str | Path) -> dict[str, Any]:
    """What a scan's file says of itself: source, model, probe, threshold; RudderError for another file."""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        return _checked_head(file.readline(), Path(path))


def results(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a finished or interrupted scan, one by one; RudderError for a file that is none."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            _checked_head(file.readline(), path)
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
    except (OSError, ValueError) as error:
        if isinstance(error, RudderError):
            raise
        raise RudderError(f"{shorten(path)} is no scan Rudder wrote ({shorten(error)}): scan again.") from error


def score_rows(
    backbone: Backbone, calibration: Calibration, some: Sequence[Row], pictures: bool = False
) -> list[dict[str, Any]]:
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
            told[index] = {"id": row.id, "error": str(error)}
    if opened:
        verdicts = calibration.verdicts(calibration.score(backbone, [picture for _, picture in opened]))
        for (index, picture), verdict in zip(opened, verdicts, strict=True):
            told[index] = _line(some[index], verdict) | ({"picture": small(picture)} if pictures else {})
    if prompts:
        made = _painted(backbone, [some[i] for i in prompts])
        verdicts = calibration.verdicts(calibration.score(backbone, made.latents))
        for index, verdict, image in zip(prompts, verdicts, made.images, strict=True):
            told[index] = _line(some[index], verdict) | {"picture": small(image)}
    return [told[index] for index in range(len(some))]


def small(image: Image.Image) -> str:
    """A picture at most SIDE pixels wide as a data URI (WebP, of a kilobyte or two)."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, format="WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _line(row: Row, verdict: Verdict) -> dict[str, Any]:
    line = {
        "id": row.id,
        "verdict": verdict.label,
        "score": round(verdict.score, 6),
        "spread": round(verdict.spread, 6),
        "above": round(verdict.above, 4),
        "memorized": verdict.memorized,
    }
    if row.prompt is not None and row.path is None:
        line |= {"prompt": row.prompt, "seed": row.seed}
    extra = {"path": row.path, "member": row.member, "label": row.label}
    return line | {key: value for key, value in extra.items() if value is not None}


def _painted(backbone: Backbone, some: Sequence[Row]) -> Result:
    """The rows' prompts as the model paints them."""
    steps, guidance = (backbone.defaults[key] for key in ("num_inference_steps", "guidance_scale"))
    recipe = Recipe(model=backbone.name, num_inference_steps=steps, guidance_scale=guidance)
    return finish(sample(backbone, recipe, prompts=[r.prompt for r in some], seeds=[r.seed for r in some]))


def _scored(
    score: Callable[[Calibration, Sequence[Row]], list[dict[str, Any]]],
    calibration: Calibration,
    listed: Iterator[Row],
    batch: int,
    devices: Sequence[str],
    opened: Callable[..., Backbone],
) -> Iterator[list[dict[str, Any]]]:
    """Batches of results in the list's order, from this process or from one per device."""
    if not devices:
        while some := list(islice(listed, batch)):
            yield score(calibration, some)
        return
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    for device in devices:
        queue.put(device)
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(
        len(devices), context, initializer=_start_worker, initargs=(opened, calibration, queue)
    ) as pool:
        while True:
            while len(waiting) < AHEAD * len(devices) and (some := list(islice(listed, batch))):
                waiting.append(pool.submit(_work, some))
            if not waiting:
                return
            yield waiting.popleft().result()


_worker: Callable[[Sequence[Row]], list[dict[str, Any]]]


def _start_worker(opened: Callable[..., Backbone], calibration: Calibration, queue: Any) -> None:
    global _worker
    backbone = opened(device=queue.get())
    _worker = lambda some: score_rows(backbone, calibration, some)  # noqa: E731


def _work(some: Sequence[Row]) -> list[dict[str, Any]]:
    return _worker(some)


def heading(calibration: Calibration, source: str) -> dict[str, Any]:
    """The first line of a scan: what was scored, by which model and probe, and what its threshold means."""
    return {
        "rudder_scan": FORMAT,
        "source": source,
        "model": calibration.model,
        "fingerprint": calibration.fingerprint,
        "probe": vars(calibration.probe),
        "draws": calibration.draws,
        "seed": calibration.seed,
        "threshold": calibration.threshold,
        "false_positives": round(calibration.false_positives, 5),
        "ordinary": len(calibration.ordinary),
        "domain": calibration.domain is not None,
    }


def _checked_head(line: str, path: Path) -> dict[str, Any]:
    try:
        head = json.loads(line)
        if head["rudder_scan"] == FORMAT:
            return head
    except (ValueError, KeyError, TypeError):
        pass
    raise RudderError(f"{shorten(path.name)} is no scan Rudder wrote: choose another file.")


def _resume(out: Path, head: dict[str, Any]) -> int:
    """How many rows are done; a last line cut off by a kill is removed."""
    if not out.is_file() or out.stat().st_size == 0:
        return 0
    with out.open("r+b") as file:
        former = _checked_head(file.readline().decode("utf-8", "replace"), out)
        for key, value in head.items():
            if key != "source" and former.get(key) != value:
                raise RudderError(f"{out.name} was scanned with another {key}: choose another --out.")
        done, end = 0, file.tell()
        for line in file:
            if not line.endswith(b"\n"):
                break
            done, end = done + 1, end + len(line)
        file.truncate(end)
    return done


def _ids(out: Path, done: int) -> Iterator[str]:
    if done:
        yield from (str(row["id"]) for row in results(out))
