"""Where uploads and results lie while the page is up: a folder of this process alone, gone with it.

Gradio's own, <temp>/gradio, is shared by all that run Gradio on a machine and may belong to somebody else.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import RudderError

VARIABLE = "GRADIO_TEMP_DIR"  # which Gradio asks for wherever it writes
LIMIT = 4 * 2**30  # bytes of all visitors' files together
LOOKED_FOR = 5.0  # seconds for which that is taken to hold
AGE = 2 * 3600.0  # seconds after which what belongs to no visit is removed


def settle_folder() -> Path:
    """Make the folder, or take the one that the variable names; RudderError where nothing can be written there.

    To be called before Gradio is imported. What was made here is removed at the process's end.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser().absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise RudderError(
                f"{folder} cannot be written ({error.strerror}): let {VARIABLE} name a folder of your own, or unset it."
            ) from error
    else:
        try:
            folder = Path(tempfile.mkdtemp(prefix="rudder-")).resolve()
        except OSError as error:
            raise RudderError(
                f"There is no folder for temporary files ({error.strerror}): let TMPDIR name one that can be written."
            ) from error
        _made.append(folder)
    os.environ[VARIABLE] = str(folder)
    return folder


_made: list[Path] = []
_scratch: list[Path] = []


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for the files of one call, beside that from which Gradio serves; gone with the process at the latest."""
    if not _scratch or not _scratch[0].is_dir():
        _scratch[:] = [Path(tempfile.mkdtemp(prefix="rudder-"))]
        _made.append(_scratch[0])
    return tempfile.TemporaryDirectory(dir=_scratch[0], ignore_cleanup_errors=True)


@atexit.register
def remove_folder() -> None:
    """Remove what was made here."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)


def used() -> int:
    """Bytes of all files in the folder and in those of calls; 0 before there is one."""
    total, waiting = 0, [os.environ.get(VARIABLE, ""), *map(str, _scratch)]
    while waiting:
        place = waiting.pop()
        try:
            for entry in os.scandir(place) if place else ():
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # gone in between
            continue
    return total


def full() -> bool:
    """Whether visitors' files take all the room they may; looked at anew every few seconds."""
    global _looked
    when, over = _looked
    if time.monotonic() - when > LOOKED_FOR:
        over = used() > LIMIT
        _looked = (time.monotonic(), over)
    return over


_looked = (-math.inf, False)


def sweep(kept: Iterable[Path], since: float, age: float = AGE) -> int:
    """Remove what lies in a folder made here for over `age` seconds, was written after `since` (seconds of the clock),
    and is in no folder of `kept`: uploads that broke off, copies that nobody owns, empty folders. How many files went;
    a folder that somebody named is left alone."""
    gone, now = 0, time.time()
    spared = [os.path.realpath(folder) for folder in kept]
    for place, _, names in [found for root in _made for found in os.walk(root, topdown=False)]:
        real = os.path.realpath(place)
        if any(real == one or real.startswith(one + os.sep) for one in spared):
            continue
        for name in names:
            gone += _removed(os.path.join(place, name), os.unlink, since, now - age)
        if Path(place) not in _made:
            _removed(place, os.rmdir, since, now - age)
    return gone


def _removed(path: str, remove: Callable[[str], None], since: float, until: float) -> bool:
    """Whether it was written between the two times, and could be removed."""
    try:
        if since < os.lstat(path).st_mtime < until:
            remove(path)
            return True
    except OSError:  # gone in between, or a folder that is not empty
        pass
    return False
