"""How visits end. Gradio forgets a closed tab's State only where a callback has returned one, and nothing else of it.

So the page looks round itself: who has no connection any more, and has asked for nothing in a while, is forgotten.
What runs for somebody is stopped as soon as the tab is closed, reloaded or on another model's page: Gradio closes a run
at its next message alone, which may be long in coming.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import LRUCache

from ..errors import RudderError
from .guard import LEFT, OPEN
from .session import Session, folders
from .temporary import sweep

log = logging.getLogger("rudder.visits")

AWAY = 2.0  # seconds without a connection after which nobody is there to see what runs: its results are lost already
GRACE = 300.0  # and after which a visit is over: a network may be gone for a moment
LOOK_EVERY = 1.0
SWEEP_EVERY = 600.0
MOST = 1000  # visits remembered at once; of more, the one that asked for something longest ago is forgotten


class Messages(LRUCache[str, Any]):
    """What Gradio has to tell each session. One that is gone is told nothing: of a missing key Gradio's queue (6.31)
    makes an error that ends it, for everybody."""

    def __missing__(self, key: str) -> asyncio.Queue[Any]:
        return asyncio.Queue()


def look_round(page: gr.Blocks) -> int:
    """Stop what runs for who is away, and end the visits that are over; how many. Those whose runs have yet to stop end
    the next time."""
    holder, queue, ended = page.state_holder, page._queue, 0
    now, moment = datetime.datetime.now(), time.monotonic()
    for key, state in list(holder.session_data.items()):
        idle = (now - holder.time_last_used.get(key, now)).total_seconds()
        away = min(idle, moment - LEFT.get(key, float("-inf")))
        if OPEN[key] or away < min(AWAY, GRACE):
            continue
        for value in list(state.state_data.values()):
            if isinstance(value, Session):
                value.halt() if away < GRACE else value.end()
        if away < GRACE:
            continue
        pending = queue.pending_event_ids_session.get(key, ())
        if any(key == job.session_hash for some in queue.active_jobs for job in some or ()):
            continue
        with holder.lock:
            holder.session_data.pop(key, None)
            holder.time_last_used.pop(key, None)
        for event in list(pending):
            queue.event_ids_to_events.pop(event, None)
        for lane in queue.event_queue_per_concurrency_id.values():  # what it asked for and nobody waits for any more
            lane.queue[:] = [event for event in lane.queue if event.session_hash != key]
        queue.pending_event_ids_session.pop(key, None)
        queue.pending_messages_per_session.pop(key, None)
        ended += 1
    for key, left in list(LEFT.items()):
        if moment - left > GRACE:
            LEFT.pop(key, None)
    return ended


def ending(page: gr.Blocks) -> Callable[[Any], contextlib.AbstractAsyncContextManager[None]]:
    """The lifespan of an app with this page: it looks round every few seconds, and ends every visit when it closes."""

    began = time.time()

    async def watch() -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                look_round(page)
                if time.monotonic() - swept > SWEEP_EVERY:
                    swept = time.monotonic()
                    await asyncio.to_thread(sweep, folders(), began)
            except Exception:  # whatever Gradio's insides have become, the page goes on
                log.exception("visits could not be looked through")

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        page.state_holder.capacity = MOST
        kept = Messages(page._queue.pending_messages_per_session.max_size)
        kept.update(page._queue.pending_messages_per_session)
        page._queue.pending_messages_per_session = kept
        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            end_all(page)

    return lifespan


def end_all(page: gr.Blocks) -> None:
    """End every visit of a page, whoever is still there."""
    holder = getattr(page, "state_holder", None)
    for state in list(holder.session_data.values()) if holder else ():
        for value in list(state.state_data.values()):
            if isinstance(value, Session):
                value.end()


def fetch_nothing() -> None:
    """Take from Gradio what it does with a file's address on the web, sent in an upload's place: it would fetch it."""

    async def refused(*_: Any, **__: Any) -> str:
        raise RudderError("Rudder fetches nothing from the web: upload the file itself.")

    def refused_too(*_: Any, **__: Any) -> str:
        raise RudderError("Rudder fetches nothing from the web: upload the file itself.")

    processing_utils.async_ssrf_protected_download = refused
    processing_utils.ssrf_protected_download = refused_too
