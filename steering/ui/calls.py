"""How a call by program becomes an answer: values and files in, progress, files out, one sentence for what is wrong.

Nothing is kept between calls: what one caller sent is known by the addresses of the files alone, and those are theirs.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import unquote

import gradio as gr
from gradio.data_classes import FileData
from gradio.processing_utils import add_root_url
from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, traverse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..concepts import Progress
from ..errors import RudderError, shorten
from .described import docstring

log = logging.getLogger("rudder.calls")

PAUSE = 0.5  # seconds between two signs of life, at which a caller who has gone is noticed
SENT_LIMIT = 20 * 2**20  # bytes of a file that comes within a call
ADDRESS = "/gradio_api/file="
BROKEN = "Something on our side went wrong and was written to the log: try again."
UNREADABLE = "The call cannot be read: compare it with this endpoint's entry under /gradio_api/info, and send it again."
SENDING = "upload it to /gradio_api/upload first, or send it as a data: address"
Answer = tuple[Any, ...]
Work = Iterator[Progress | Answer]


@dataclass(frozen=True)
class Verb:
    """Something to call: `work(room, ...)` yields Progress, then the answer, a tuple of what `answers` types.

    `queue` and `limit`: the runs it takes turns with, and how many of them there may be at once.
    """

    work: Callable[..., Work]
    answers: tuple[Any, ...]
    queue: str
    limit: int

    @property
    def name(self) -> str:
        return self.work.__name__


class Page(gr.Blocks):
    """Blocks whose named endpoints answer what they cannot read with a sentence, and fetch nothing from elsewhere."""

    async def preprocess_data(self, block_fn: Any, inputs: Any, state: Any, explicit_call: bool = False) -> Any:
        read = partial(super().preprocess_data, state=state, explicit_call=explicit_call)
        if not getattr(block_fn.fn, "by_program", False):
            return await read(block_fn, inputs)
        try:
            inputs = traverse(_whole(block_fn, inputs), _here, is_file_obj_with_meta)
            return await read(block_fn, inputs)
        except gr.Error:
            raise
        except RudderError as wrong:
            raise gr.Error(str(wrong), print_exception=False) from wrong
        except Exception as wrong:
            log.info("a call could not be read", exc_info=True)
            raise gr.Error(UNREADABLE, print_exception=False) from wrong

    @property
    def mcp_server_obj(self) -> Any:
        """What answers MCP clients; None where nobody asked for it."""
        return self._answering

    @mcp_server_obj.setter
    def mcp_server_obj(self, server: Any) -> None:
        if server is not None:
            server.postprocess_output_data = partial(_contents, server.postprocess_output_data)
        self._answering = server


def offer(verb: Verb, room: Any) -> None:
    """Add the verb to the Blocks around: its parameters, types and words (described.py) become the endpoint's."""
    signature = inspect.signature(verb.work)
    hints = get_type_hints(verb.work)
    parameters = [one.replace(annotation=hints[name]) for name, one in list(signature.parameters.items())[1:]]
    nothing = None if len(verb.answers) == 1 else (None,) * len(verb.answers)

    def call(*given: Any) -> Iterator[Any]:
        last = time.monotonic()
        try:
            for item in verb.work(room, *given):
                if isinstance(item, Progress):
                    gr.Progress()((item.done, item.total), desc=item.message)
                    if time.monotonic() - last > PAUSE:
                        last = time.monotonic()
                        yield nothing
                else:
                    yield item[0] if len(verb.answers) == 1 else item
        except RudderError as wrong:
            raise gr.Error(str(wrong), print_exception=False) from wrong
        except Exception as wrong:
            log.exception("%s failed", verb.name)
            raise gr.Error(BROKEN, print_exception=False) from wrong

    told: Any = call
    told.__name__ = told.__qualname__ = verb.name
    told.__doc__ = docstring(verb.name, verb.work.__doc__, [one.name for one in parameters])
    returned = verb.answers[0] if len(verb.answers) == 1 else tuple[verb.answers]  # type: ignore[name-defined]
    told.__signature__ = signature.replace(parameters=parameters, return_annotation=returned)
    told.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": returned}
    told.by_program = True
    gr.api(told, api_name=verb.name, concurrency_id=verb.queue, concurrency_limit=verb.limit)


def answers() -> dict[str, Any]:
    """What Gradio's FastAPI app is made with: calls that name no endpoint or no parameter get a sentence, too."""
    return {"exception_handlers": {kind: _told for kind in (TypeError, KeyError, FnIndexInferError)}}


def sent(path: Path) -> dict[str, Any]:
    """A file as an answer holds it; it is copied before the run that wrote it ends."""
    return FileData(path=str(path), orig_name=path.name).model_dump()


def files_of(title: str, given: Any, folder: Path, most: int) -> list[str]:
    """Paths of the files of a call: uploaded ones, addresses of this server's, or data: addresses, which are written to
    `folder`. RudderError for what is none of these, and for more than `most`."""
    several = list_of(title, given, most)
    return [file_of(f"File {place} of {title}", one, folder) for place, one in enumerate(several, 1)]


def file_of(title: str, given: Any, folder: Path) -> str:
    """The path of one file, as `files_of`."""
    if isinstance(given, dict) and isinstance(given.get("path"), str):
        given = given["path"]
    if not isinstance(given, str) or not given:
        raise RudderError(f"{title} is {shorten(given, 60)}, which is no file: {SENDING}.")
    if given.startswith("data:"):
        return str(_written(title, given, folder))
    return _local(title, given)


def list_of(title: str, given: Any, most: int) -> list[Any]:
    """A list of at most `most` things, [] for None; RudderError for anything else."""
    if given is None:
        return []
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise RudderError(f"{title} is {shorten(given, 60)!r}: give a list.")
    if len(given) > most:
        raise RudderError(f"{title} has {len(given):,} entries: give at most {most:,}.")
    return list(given)


def _contents(told: Callable[[list[Any], str], list[Any]], data: list[Any], root: str) -> list[Any]:
    """An MCP answer, one content a part: pictures as such, files by their addresses, and the rest as JSON, where Gradio
    would write several parts as the text of one tuple (6.31)."""
    several = list(data[0]) if len(data) == 1 and isinstance(data[0], tuple) else data
    shown = []
    for one in add_root_url(several, root, None):
        if isinstance(one, (dict, list)) and not is_file_obj_with_meta(one):
            one = json.dumps(traverse(one, lambda file: file["url"], is_file_obj_with_meta), ensure_ascii=False)
        shown.append(one)
    return told(shown, root)


def _whole(block_fn: Any, inputs: Any) -> list[Any]:
    """The values of a call, those left out at its end as their defaults; RudderError for too many or too few."""
    parameters = list(inspect.signature(block_fn.fn).parameters.values())
    if not isinstance(inputs, list) or len(inputs) > len(parameters):
        raise RudderError(
            f"{block_fn.api_name} takes at most {len(parameters)} values ({', '.join(p.name for p in parameters)}): "
            "send them in this order, or by name to /gradio_api/call/v2."
        )
    rest = parameters[len(inputs) :]
    missing = [one.name for one in rest if one.default is one.empty]
    if missing:
        raise RudderError(f"{block_fn.api_name} lacks {', '.join(missing)}: send what is missing, too.")
    return inputs + [one.default for one in rest]


def _here(given: dict[str, Any]) -> dict[str, Any]:
    """A file as Gradio takes it, by its path on this machine alone."""
    path = _local("A file", given["path"])
    return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}


def _local(title: str, given: str) -> str:
    """The path of a file that was uploaded here or is an answer of this server's; RudderError for any other."""
    where = (
        unquote(given.partition(ADDRESS)[2].partition("?")[0]) if given.startswith(("http://", "https://")) else given
    )
    if not where:
        raise RudderError(f"{title} is {shorten(given)!r}, and nothing is fetched from elsewhere: {SENDING}.")
    path = Path(where).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise RudderError(f"{title} is {shorten(given)!r}, which is not here (any more): {SENDING}.")
    return str(path)


def _written(title: str, given: str, folder: Path) -> Path:
    """A data: address as a file in `folder`."""
    head, comma, body = given.partition(",")
    if len(body) > SENT_LIMIT * 4 // 3 + 4:
        raise RudderError(f"{title} has over {SENT_LIMIT / 2**20:.0f} MB: make it smaller.")
    try:
        data = base64.b64decode(body, validate=True) if comma and head.endswith(";base64") else None
    except binascii.Error:
        data = None
    if not data:
        raise RudderError(f"{title} is no data: address in base64: {SENDING}.")
    kind = head.removeprefix("data:").partition(";")[0].rpartition("/")[2]
    ending = {"jpeg": ".jpg", "zip": ".zip", "csv": ".csv", "plain": ".txt", "json": ".json"}.get(kind, f".{kind[:8]}")
    path = folder / f"sent-{len(list(folder.iterdir())):03d}{ending if ending[1:].isalnum() else ''}"
    path.write_bytes(data)
    return path


async def _told(request: Request, wrong: Exception) -> Response:
    """An error of a call before its function is reached; what goes wrong anywhere else stays what it is."""
    if "/gradio_api/call/" not in request.url.path:
        raise wrong
    sentence = str(wrong).partition(" Please click")[0].rstrip(".") if isinstance(wrong, TypeError) else ""
    named = request.path_params.get("api_name", "")
    sentence = sentence or f"There is no endpoint {shorten(named, 40)!r}"
    return JSONResponse({"error": f"{sentence}: /gradio_api/info lists what can be called, and how."}, 422)
