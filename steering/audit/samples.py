"""Lists of pictures and prompts as samples to calibrate with: pictures are opened, prompts painted and kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..backbones.base import Backbone
from ..calibration import Sample
from ..concepts import Progress
from ..errors import RudderError, shorten
from ..images import OnDisk
from ..references import paint_references
from .listing import open_row, rows


def samples(
    backbone: Backbone, lists: Sequence[Path], memorized: bool, folder: Path, stop: threading.Event | None = None
) -> Iterator[Progress | list[Sample]]:
    """The samples of lists (see `listing.rows`): Progress while prompts are painted into `folder`, then the samples.

    A prompt is painted at the row's seed, with the model's own steps and guidance; rows of one prompt are one original.
    RudderError for a row that cannot be used, or a folder of another model's.
    """
    found = list(rows([str(path) for path in lists]))
    for row in found:
        if row.error:
            raise RudderError(f"{shorten(row.id)}: {row.error}.")
    asked = [(row.prompt, row.seed) for row in found if row.path is None and row.prompt is not None]
    painted: Sequence = ()
    for item in paint_references(backbone, asked, folder, stop=stop) if asked else ():
        if isinstance(item, OnDisk):
            painted = item
        else:
            yield item
    pictures = iter(painted)
    made = []
    for row in found:
        if row.path is None and row.prompt is not None:
            made.append(Sample(next(pictures), memorized, "picture", "generated", row.prompt, row.prompt, row.seed))
        else:
            made.append(Sample(open_row(row), memorized, "picture", "given", row.id))
    yield made
