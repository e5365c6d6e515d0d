"""Many visitors at once on one page: `python -m benchmarks.load` (200 for 10 minutes) writes benchmarks/load.json.

Each opens the page, keeps its connection as a tab does, and then does one thing after another, drawn by seed: paints,
scores a picture, learns a set, audits a list, or leaves and comes back as somebody new. Their words, seeds and names
are their own, so that whatever of one reaches another is seen; what they paint was painted before by one visitor alone,
so that a wrong picture is seen, too.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import datetime
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client.utils import apply_diff
from PIL import Image

from .page import _free_port, _peak_memory

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("load.json")
WORK = {"paint": 60, "score": 15, "leave": 10, "audit": 10, "learn": 5}  # shares of what visitors do
CASES, STEPS = 12, 6  # pictures that are asked for, and their steps
CLOSE = 1.0  # grey levels by which the same picture may differ, in a batch of other company
SET = 5  # pictures of a set, the least that is learned from
PAUSE = 2.0  # mean seconds between two things that a visitor does
GRACE = 5.0  # seconds after which the page forgets who has left
START = (
    "from steering.ui import visits; visits.GRACE = {grace}\nfrom steering.ui.serve import serve; serve({arguments})"
)
LIMIT = 900.0  # seconds that an answer may take


class Refused(Exception):
    """The page said that it is full."""


@dataclass
class Tally:
    """What came of it all."""

    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    wrong: int = 0
    crossed: int = 0


class Page:
    """The served page's functions by name, with the values that its controls have at first."""

    def __init__(self, client: httpx.AsyncClient, config: Mapping[str, Any]) -> None:
        self.client = client
        self.parts = {part["id"]: part for part in config["components"]}
        self.listeners = [one for one in config["dependencies"] if one["backend_fn"]]
        self.places = {part["props"].get("elem_id"): key for key, part in self.parts.items()}

    def listener(self, name: str) -> Mapping[str, Any]:
        """What answers a function of that name or, as "element.event", an event of a component."""
        element, _, event = name.partition(".")
        target = [self.places.get(element), event]
        return next(one for one in self.listeners if one["api_name"] == name or target in one["targets"])

    async def call(
        self, session: str, name: str, given: Mapping[str, Any], event: Any = None
    ) -> AsyncIterator[list[Any]]:
        """The outputs of one call as they come; Refused where the page is full, RuntimeError where it fails."""
        asked = self.listener(name)
        named = {self.places[key]: value for key, value in given.items()}
        data = [named.get(key, self.parts[key]["props"].get("value")) for key in asked["inputs"]]
        sent = {"data": data, "fn_index": asked["id"], "session_hash": session, "event_data": event,
                "trigger_id": asked["targets"][0][0]}  # fmt: skip
        joined = await self.client.post("/gradio_api/queue/join", json=sent)
        if joined.status_code == 503:
            raise Refused
        joined.raise_for_status()
        mine, kept = joined.json()["event_id"], None
        async with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as lines:
            async for line in lines.aiter_lines():
                told = json.loads(line[5:]) if line.startswith("data:") else {}
                if told.get("event_id") not in (None, mine):
                    continue
                kind, output = told.get("msg"), told.get("output") or {}
                if kind == "process_generating" and told.get("success"):
                    new = output["data"]
                    kept = new if kept is None else [apply_diff(a, b) for a, b in zip(kept, new, strict=True)]
                    yield kept
                elif kind == "process_completed":
                    if not told.get("success"):
                        text = str(output.get("error"))
                        raise Refused if "full" in text.lower() or "busy" in text.lower() else RuntimeError(text)
                    yield output["data"]
                    return
                elif kind in ("unexpected_error", "server_stopped"):
                    raise RuntimeError(str(told)[:200])

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """A file as a component gets it."""
        answer = await self.client.post("/gradio_api/upload", files={"files": (name, data)})
        if answer.status_code == 503:
            raise Refused
        answer.raise_for_status()
        return {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


async def paint(page: Page, session: str, number: int) -> Image.Image:
    """One case's steered picture; AssertionError where its recipe is another's."""
    prompt, seed = f"a {('red', 'blue', 'green')[number % 3]} house {number}", 1000 + number
    given = {"rd-prompt-a": prompt, "rd-seed": seed, "rd-steps": STEPS, "rd-compare": False}
    found = None
    async for output in page.call(session, "on_generate", given, {"ticket": int(1000 * time.time()), "strengths": {}}):
        column = (output[0] or {}).get("columns", {}).get("a", {}) if isinstance(output[0], dict) else {}
        notice = output[-1] if isinstance(output[-1], dict) else {}
        if notice.get("kind") == "error":
            raise RuntimeError(notice["text"])
        if column.get("frames") and column.get("recipe"):
            assert (column["recipe"]["prompt"], column["recipe"]["seed"]) == (prompt, seed), column["recipe"]
            value = column["strength"]
            frame = next((one for one in column["frames"] if one["strength"] == value), None)
            found = frame["src"] if frame else found
    if found is None:
        raise RuntimeError("no picture came")
    return Image.open(BytesIO(base64.b64decode(found.partition(",")[2]))).convert("RGB")


async def learn(page: Page, session: str, name: str) -> None:
    """A set under a name of one's own, brought into a tray and learned; AssertionError where the picker shows somebody
    else's."""
    tint = random.Random(name).randbytes(3)
    files = [await page.upload(f"{k}.png", _png(tuple((c + 40 * k) % 256 for c in tint))) for k in range(SET)]
    async for _ in page.call(session, "rd-own-pictures.upload", {"rd-own-pictures": files}):
        pass
    text = ""
    async for output in page.call(session, "rd-learn.click", {"rd-own-name": name}):
        text += json.dumps(output)
    names = set(re.findall(r"visit-[0-9a-f]{8}", text))
    assert names <= {name}, names
    if name not in names:
        raise RuntimeError(f"the set was not learned: {text[-200:]}")


async def audit(page: Page, session: str, name: str) -> None:
    """Two rows of one's own; AssertionError where the report has somebody else's."""
    file = await page.upload("list.csv", f"prompt,seed\na cat {name},1\na dog {name},2\n".encode())
    text = ""
    async for output in page.call(session, "on_start", {"rd-audit-source": [file]}):
        text += json.dumps(output)
    names = set(re.findall(r"visit-[0-9a-f]{8}", text))
    assert names <= {name}, names
    if name not in names:
        raise RuntimeError(f"no report came: {text[-200:]}")


async def score(page: Page, session: str, name: str) -> None:
    file = await page.upload(f"{name}.png", _png(tuple(random.Random(name).randbytes(3))))
    async for output in page.call(session, "on_score", {"rd-score": file}):
        if isinstance(output[0], dict) and output[0].get("reading"):
            return
    raise RuntimeError("no reading came")


async def visitor(address: str, number: int, until: float, due: Mapping[int, Image.Image], tally: Tally) -> None:
    """One after another until the time is over."""
    draw = random.Random(number)
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(base_url=address, timeout=LIMIT, limits=limits, trust_env=False) as client:
        await asyncio.sleep(draw.uniform(0, 10 * PAUSE))
        while time.monotonic() < until:
            session, name = secrets.token_hex(6), f"visit-{secrets.token_hex(4)}"
            (await client.get("/")).raise_for_status()
            page = Page(client, (await client.get("/config")).json())
            tab = asyncio.create_task(_tab(client, session))
            try:
                while time.monotonic() < until:
                    await asyncio.sleep(draw.expovariate(1 / PAUSE))
                    what = draw.choices(list(WORK), list(WORK.values()))[0]
                    if what == "leave":
                        break
                    await _do(page, session, name, what, draw.choice(list(due)), due, tally)
            finally:
                tab.cancel()


async def _do(
    page: Page, session: str, name: str, what: str, case: int, due: Mapping[int, Image.Image], tally: Tally
) -> None:
    started = time.monotonic()
    try:
        if what == "paint":
            found = await paint(page, session, case)
            tally.wrong += _distance(found, due[case]) > CLOSE
        else:
            await {"learn": learn, "audit": audit, "score": score}[what](page, session, name)
        tally.served[what] += 1
        tally.waits.append(time.monotonic() - started)
    except Refused:
        tally.refused[what] += 1
    except AssertionError as wrong:
        tally.crossed += 1
        tally.failed.append(f"{what}: {wrong}"[:200])
    except Exception as wrong:  # whatever a visitor would have seen
        tally.failed.append(f"{what}: {type(wrong).__name__} {wrong}"[:200])


async def _tab(client: httpx.AsyncClient, session: str) -> None:
    async with client.stream("GET", f"/gradio_api/heartbeat/{session}") as beats:
        async for _ in beats.aiter_lines():
            pass


def _png(colour: tuple[int, ...]) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64), colour[:3]).save(file, "PNG")
    return file.getvalue()


def _distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def resident(pid: int) -> float:
    """Megabytes that a process holds now (VmRSS of proc(5))."""
    (size,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(size) / 1024


@contextlib.contextmanager
def served(model: str, log: Path) -> Iterator[tuple[str, int]]:
    """(address, process id) of an app of its own."""
    port = _free_port()
    code = START.format(grace=GRACE, arguments=["--model", model, "--port", str(port), "--search-seconds", "2"])
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=out, stderr=out)
        try:
            address, started = f"http://127.0.0.1:{port}", time.monotonic()
            while time.monotonic() - started < LIMIT:
                with contextlib.suppress(httpx.HTTPError):
                    if "x-rudder-door" not in httpx.get(address, timeout=30, trust_env=False).headers:
                        break
                if process.poll() is not None:
                    raise SystemExit(f"The page did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.5)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(60)


async def measure(address: str, pid: int, visitors: int, seconds: float, cases: int = CASES) -> dict[str, Any]:
    """Figures of so many visitors in so much time, who ask for so many pictures."""
    due: dict[int, Image.Image] = {}
    async with httpx.AsyncClient(base_url=address, timeout=LIMIT, trust_env=False) as client:
        page = Page(client, (await client.get("/config")).json())
        for number in range(cases):
            due[number] = await paint(page, "alone", number)
    before, tally = resident(pid), Tally()
    until = time.monotonic() + seconds
    await asyncio.gather(*(visitor(address, number, until, due, tally) for number in range(visitors)))
    took = time.monotonic() - until + seconds
    peak = _peak_memory(pid)
    await asyncio.sleep(4 * GRACE)  # the page looks round every five seconds
    waits = sorted(tally.waits) or [0.0]
    return {
        "visitors": visitors, "seconds": round(took), "served": dict(tally.served), "refused": dict(tally.refused),
        "failed": len(tally.failed), "failures": [text for text, _ in Counter(tally.failed).most_common(5)],
        "wrong_answers": tally.wrong, "cross_talk": tally.crossed,
        "wait_seconds": {"median": round(statistics.median(waits), 1), "last": round(waits[-1], 1)},
        "memory_mb": {"start": round(before), "peak": round(peak), "after": round(resident(pid))},
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; 1 where something failed, or an answer was wrong or another's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cases", type=int, default=CASES, help="different pictures that are asked for")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    if not (1 <= asked.visitors <= 2000 and 0 < asked.minutes <= 60 and 1 <= asked.cases <= 1000):
        parser.error("--visitors goes from 1 to 2000, --minutes to 60, --cases to 1000")
    with tempfile.TemporaryDirectory() as folder, served(asked.model, Path(folder) / "log") as (address, pid):
        found = asyncio.run(measure(address, pid, asked.visitors, 60 * asked.minutes, asked.cases))
    found |= {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[2], 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.load", *(sys.argv[1:] if arguments is None else arguments)]),
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["failed"] or found["wrong_answers"] or found["cross_talk"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
