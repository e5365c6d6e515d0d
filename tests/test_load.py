"""benchmarks.load asks the page as it is: each thing that its visitors do is done once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from benchmarks import load
from tests.served import Served


@pytest.mark.parametrize("what", [what for what in load.WORK if what != "leave"])
def test_each_thing_that_a_visitor_does_is_answered(served: Served, what: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(served.studio.backbone.defaults, "num_inference_steps", 2)
    tally = load.Tally()

    async def visit() -> None:
        async with httpx.AsyncClient(base_url=served.address, timeout=60, trust_env=False) as client:
            page = load.Page(client, (await client.get("/config")).json())
            due: dict[int, Any] = {0: await load.paint(page, "alone", 0)} if what == "paint" else {}
            await load._do(page, "session", "visit-0123abcd", what, 0, due, tally)

    with ThreadPoolExecutor(1) as pool:  # playwright leaves an event loop running in its tests' thread
        pool.submit(lambda: asyncio.run(visit())).result()
    assert (tally.failed, tally.wrong, tally.crossed, dict(tally.served)) == ([], 0, 0, {what: 1})
