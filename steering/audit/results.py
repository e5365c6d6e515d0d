"""A scan's file: a first line that says what was scanned and how, then a line a row; it belongs to one list alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..calibration import Calibration
from ..errors import RudderError, shorten
from ..files import check_target, writing
from .listing import Row

FORMAT = 1
KIND, OURS = "scan of Rudder's", re.compile(rb'\{"rudder_scan"')


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


def encoded(value: dict[str, Any]) -> bytes:
    """A line of the file: JSON in UTF-8, lone surrogates escaped. ValueError for a number that JSON has not."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def header(path: str | Path) -> dict[str, Any]:
    """What a scan's file says of itself: source, model, probe, threshold; RudderError for another file."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _checked_head(file.readline(2**20), path)
    except OSError as error:
        raise RudderError(f"{shorten(path)} cannot be read ({error.strerror}): check the file.") from error


def results(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a finished or interrupted scan, one by one; RudderError for a file that is none."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            _checked_head(file.readline(2**20), path)
            for line in file:
                if line.endswith(b"\n"):
                    yield _result(line, path)
    except OSError as error:
        raise RudderError(f"{shorten(path)} cannot be read ({error.strerror}): check the file.") from error


@contextlib.contextmanager
def owned(out: Path) -> Iterator[None]:
    """`out` for one scan at a time, and no file of another kind; RudderError for a second scan.

    A scan that is killed leaves nothing that has to be removed by hand.
    """
    check_target(out, KIND, OURS)
    if out.exists() and not out.is_file():
        raise RudderError(f"{shorten(out)} is a pipe or a device: results need a file that a scan can go on with.")
    lock = out.with_name(f"{out.name}.lock")
    with writing(lock):
        file = _locked(lock)
    if file is None:
        raise RudderError(f"Another scan is writing to {shorten(out)}: wait for it, or choose another --out.")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows does not remove an open file: it is empty and does no harm
            lock.unlink()
        file.close()


def resumed(out: Path, head: dict[str, Any], listed: Iterator[Row]) -> int:
    """How many rows are done, as many having been drawn from `listed`; a last line cut off by a kill is removed.

    RudderError where the file was made by another model or calibration, for another list, or where what was scored has
    changed since.
    """
    if not out.is_file() or out.stat().st_size == 0:
        return 0
    _same(out, header(out), head)
    with out.open("r+b") as file:
        file.readline()
        done, end = 0, file.tell()
        for line in file:
            if not line.endswith(b"\n"):
                break
            _still(out, _result(line, out), next(listed, None))
            done, end = done + 1, end + len(line)
        file.truncate(end)
    return done


def failures(out: Path, head: dict[str, Any], listed: Iterator[Row]) -> Iterator[tuple[dict[str, Any], Row | None]]:
    """(result, the row to score anew or None) of every row that is done: what failed before is tried again.

    A row that failed may have changed in the list, no other one. RudderError as `resumed`.
    """
    _same(out, header(out), {key: value for key, value in head.items() if key != "list"})
    for found in results(out):
        row = next(listed, None)
        _still(out, found, row)
        yield found, row if "error" in found else None


def _same(out: Path, former: dict[str, Any], head: dict[str, Any]) -> None:
    """RudderError unless a file's first line is of the same model, calibration and list as `head`."""
    for key, value in head.items():
        if key not in ("source", "list", "notes") and former.get(key) != value:
            raise RudderError(f"{out.name} was scanned with another {key}: choose another --out.")
    if "list" in head and former.get("list") != head["list"]:
        raise RudderError(
            f"{out.name} belongs to another list ({shorten(former.get('source'))}), or the list has changed since: "
            "choose another --out."
        )


def _still(out: Path, found: dict[str, Any], row: Row | None) -> None:
    """RudderError unless a result is that of the row at its place in the list."""
    if row is not None and found.get("id") == row.id and ("error" in found or found.get("mark") == row.mark()):
        return
    now = "nothing" if row is None else "another file or entry of that name"
    now = shorten(row.id) if row is not None and found.get("id") != row.id else now
    raise RudderError(
        f"{out.name} has {shorten(found.get('id'))!r} where the list now has {now}: the list has changed, choose "
        "another --out."
    )


def _checked_head(line: bytes, path: Path) -> dict[str, Any]:
    try:
        head = json.loads(line)
        if head["rudder_scan"] == FORMAT:
            return head
    except (ValueError, KeyError, TypeError):
        pass
    raise RudderError(f"{shorten(path.name)} is no scan Rudder wrote: choose another file.")


def _result(line: bytes, path: Path) -> dict[str, Any]:
    """A row of the file; RudderError for a line that is none, which something else has written."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise RudderError(f"{shorten(path)} holds a line that no scan wrote ({shorten(line, 40)}): scan to another --out.")


def _locked(path: Path) -> BinaryIO | None:
    """The file at `path`, locked until it is closed or its process ends; None where another one holds the lock."""
    while True:
        file = path.open("ab")
        try:
            _lock(file)
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            file.close()
            raise
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # its last owner removed it between the two calls
            pass
        file.close()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
