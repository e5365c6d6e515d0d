"""Where uploads and results lie while the page is up: a folder of this process alone, gone with it.

Gradio's own, <temp>/gradio, is shared by all that run Gradio on a machine and may belong to somebody else.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import RudderError

VARIABLE = "GRADIO_TEMP_DIR"  # which Gradio asks for wherever it writes
LIMIT = 4 * 2**30  # bytes of all visitors' files together


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


@atexit.register
def remove_folder() -> None:
    """Remove what was made here."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)


def used() -> int:
    """Bytes of all files in the folder; 0 before there is one."""
    total, waiting = 0, [os.environ.get(VARIABLE, "")]
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
    """Whether visitors' files take all the room they may."""
    return used() > LIMIT
