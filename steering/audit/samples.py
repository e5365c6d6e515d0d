"""Lists of pictures and prompts as samples to calibrate with: pictures are opened, prompts painted and kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from ..backbones.base import Backbone
from ..concepts import Progress
from ..errors import RudderError
from ..images import OnDisk
from ..references import paint_references
from ..samples import Sample
from ..sight import alike, features
from .listing import Row, open_row, rows


def samples(
    backbone: Backbone,
    sources: Sequence[str | Path],
    memorized: bool,
    folder: Path,
    stop: threading.Event | None = None,
    notes: list[str] | None = None,
    wrong: list[str] | None = None,
) -> Iterator[Progress | list[Sample]]:
    """The samples of lists (see `listing.rows`): Progress while prompts are painted into `folder`, then the samples.

    A prompt is painted at the row's seed, with the model's own steps and guidance; rows of one prompt are one original,
    and so are copies of one picture.
    `notes` gets what was left out or guessed, `wrong` a sentence for each row that cannot be used (None: the first of
    them is raised). RudderError for a folder of another model's.
    """
    found: list[tuple[Row, Image.Image | None]] = []
    for row in rows([str(path) for path in sources], notes=notes):
        try:
            prompted = not row.error and row.path is None and row.data is None
            found.append((row, None if prompted else open_row(row)))
        except RudderError as error:
            if wrong is None:
                raise
            wrong.append(str(error))
    asked = [(row.prompt or "", row.seed) for row, picture in found if picture is None]
    painted: Sequence[Image.Image] = ()
    for item in paint_references(backbone, asked, folder, stop=stop) if asked else ():
        if isinstance(item, OnDisk):
            painted = item
        else:
            yield item
    pictures, made = iter(painted), []
    given = [(row, picture) for row, picture in found if picture is not None]
    owners = iter(alike(features([picture for _, picture in given])).tolist() if given else ())
    for row, picture in found:
        if picture is None:
            text = row.prompt or ""
            made.append(Sample(next(pictures), memorized, "picture", "generated", text, text, row.seed))
        else:
            first, _ = given[next(owners)]
            place = "/".join(part for part in (first.path, first.member) if part) or first.id
            made.append(Sample(picture, memorized, "picture", "given", place))
    yield made
