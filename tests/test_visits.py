"""Visits end: their vectors, files and whatever Gradio keeps of them go; a limit holds for all of them together."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import gc
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from fastapi import FastAPI
from gradio.queueing import EventQueue
from gradio.server_messages import EstimationMessage
from PIL import Image
from starlette.testclient import TestClient

from steering.audit import places
from steering.audit.listing import open_row, rows
from steering.concepts import ConceptVector
from steering.errors import Cancelled, RudderError
from steering.grid import Cell, Grid
from steering.images import open_images
from steering.recipe import Recipe
from steering.ui import audit, session, temporary, visits
from steering.ui.guard import Guard, open_tab
from steering.ui.hangar import mounter
from steering.ui.page import page_of
from steering.ui.session import Session
from steering.ui.studio import open_studio
from steering.ui.visits import look_round
from tests.files import saved
from tests.tiny import pictures

REPOSITORY = Path(__file__).resolve().parents[1]


def vector(megabytes: float = 1.0, name: str = "v") -> ConceptVector:
    sites = {"a": torch.ones(1, int(megabytes * 2**18))}
    return ConceptVector(name, sites, (1,), {"model": "m", "fingerprint": "f"})


@pytest.fixture(scope="module")
def page(tiny_folder: Path) -> gr.Blocks:
    studio = open_studio(str(tiny_folder), device="cpu")
    made = page_of(studio, {})
    mounter("1mb", {})(made, studio, "/m/x")
    return made


def visited(page: gr.Blocks, key: str) -> Session:
    """The session that a callback gets for a visit."""
    state = next(block for block in page.blocks.values() if isinstance(block, gr.State))
    return page.state_holder[key][state._id]


def resident() -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (size,) = re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(size) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_200_visits_come_and_go(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(temporary.VARIABLE, str(tmp_path))

    def come(count: int) -> None:
        for number in range(count):
            owner = visited(page, f"visit-{number}")
            owner.keep(vector(2.0), {"face": "x" * 10_000}, set())
            (owner.folder() / "scan.jsonl").write_bytes(bytes(1000))
            page._queue.pending_event_ids_session[f"visit-{number}"] = {f"event-{number}"}

    come(5)
    monkeypatch.setattr(visits, "GRACE", 0.0)
    look_round(page)
    before = resident()
    monkeypatch.setattr(visits, "GRACE", 60.0)
    come(200)
    assert look_round(page) == 0, "nobody has been away for long"
    most = resident()
    assert most > before + 350 and len(list(tmp_path.iterdir())) == 200
    monkeypatch.setattr(visits, "GRACE", 0.0)
    with open_tab("visit-7"):
        assert look_round(page) == 199
        assert visited(page, "visit-7").vectors, "whoever is still connected stays"
    assert look_round(page) == 1
    assert resident() < before + 0.1 * before
    assert not list(tmp_path.iterdir()) and not page.state_holder.session_data and not page.state_holder.time_last_used
    assert not page._queue.pending_event_ids_session


def test_a_visit_that_is_over_stops_what_it_runs(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch):
    owner = visited(page, "runs")
    with owner.run(1) as painting, owner.task("learn") as learning:
        monkeypatch.setattr(visits, "GRACE", 0.0)
        look_round(page)
        assert painting.is_set() and learning.is_set()
    with owner.run(2**52) as late:
        assert late.is_set(), "nothing begins after the end"


def test_what_runs_is_stopped_as_soon_as_nobody_is_there(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch):
    owner = visited(page, "left")
    owner.vectors["v"] = vector()
    page.state_holder.time_last_used["left"] -= datetime.timedelta(seconds=visits.GRACE + 60)  # it has run for long
    with contextlib.ExitStack() as running:
        kinds = [owner, owner.bench, owner.grids, owner.lab]
        stops = [running.enter_context(kind.run(1)) for kind in kinds]
        stops += [running.enter_context(owner.task(name)) for name in ("learn", "fill concept", "audit")]
        with open_tab("left"):
            monkeypatch.setattr(visits, "AWAY", 0.0)
            look_round(page)
            assert not any(stop.is_set() for stop in stops), "somebody is there"
        monkeypatch.setattr(visits, "AWAY", 60.0)
        assert look_round(page) == 0 and not any(stop.is_set() for stop in stops), "a network may be gone for a moment"
        monkeypatch.setattr(visits, "AWAY", 0.0)
        assert look_round(page) == 0 and all(stop.is_set() for stop in stops)
    assert owner.vectors, "what it has stays for a while"
    with open_tab("left"), owner.run(1) as again, owner.grids.run(1) as another:
        look_round(page)
        assert not again.is_set() and not another.is_set(), "it may come back"
    page.state_holder.session_data.pop("left")


def test_a_visit_is_young_again_with_each_request(page: gr.Blocks):
    visited(page, "old")
    page.state_holder.time_last_used["old"] -= datetime.timedelta(seconds=visits.GRACE + 1)
    visited(page, "young")
    assert look_round(page) == 1 and list(page.state_holder.session_data) == ["young"]
    page.state_holder.session_data.clear()


def test_the_page_itself_looks_round_and_takes_all_along_at_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(temporary.VARIABLE, str(tmp_path))
    monkeypatch.setattr(visits, "LOOK_EVERY", 0.05)
    with gr.Blocks(analytics_enabled=False) as page:
        state = gr.State(Session())
        gr.Button().click(lambda owner: str(owner.folder()), state, gr.Textbox(), api_name="folder", queue=False)
    app = FastAPI(lifespan=visits.ending(page))
    gr.mount_gradio_app(app, page, "/p")
    app.add_middleware(Guard)

    def folder(client: TestClient, key: str) -> Path:
        sent = {"data": [None], "session_hash": key}
        return Path(client.post("/p/gradio_api/run/folder", json=sent).json()["data"][0])

    with TestClient(app) as client:
        assert page.state_holder.capacity == visits.MOST
        first = folder(client, "one")
        assert first.is_dir() and folder(client, "one") == first != folder(client, "two")
        monkeypatch.setattr(visits, "GRACE", 0.0)
        for _ in range(100):
            if not first.exists():
                break
            Event().wait(0.05)
        assert not first.exists() and not page.state_holder.session_data
        monkeypatch.setattr(visits, "GRACE", 60.0)
        last = folder(client, "three")
    assert not last.exists()


def test_a_visit_that_never_listened_does_not_end_the_queue(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch):
    queue = page._queue
    lane = EventQueue("lane", 1)
    event = SimpleNamespace(session_hash="gone", _id="1", fn=None, concurrency_id="lane", alive=True)
    with TestClient(FastAPI(lifespan=visits.ending(page))):
        visited(page, "gone")
        queue.event_queue_per_concurrency_id["lane"] = lane
        lane.queue += [event, SimpleNamespace(session_hash="here", _id="2", fn=None, concurrency_id="lane")]
        queue.pending_messages_per_session["gone"] = asyncio.Queue()
        monkeypatch.setattr(visits, "GRACE", 0.0)
        page.state_holder.time_last_used["gone"] -= datetime.timedelta(seconds=1)
        look_round(page)
        assert [one.session_hash for one in lane.queue] == ["here"]
        lane.queue.append(event)  # as where too many sessions came after it
        queue.send_message(event, EstimationMessage(rank=0, queue_size=1))
        assert "gone" not in queue.pending_messages_per_session
    del queue.event_queue_per_concurrency_id["lane"]


def test_nothing_runs_past_the_queue(page: gr.Blocks):
    app = FastAPI()
    gr.mount_gradio_app(app, page, "/p")
    client = TestClient(app)
    for name in ("score", "generate"):
        assert client.post(f"/p/gradio_api/run/{name}", json={"data": ["x"], "session_hash": "s"}).status_code == 404


def test_all_lanes_of_painting_have_one_limit(page: gr.Blocks):
    limits = {fn.concurrency_limit for fn in page.fns.values() if fn.concurrency_id == "painting"}
    assert len(limits) == 1


def test_all_visitors_together_hold_no_more_than_a_limit(monkeypatch: pytest.MonkeyPatch):
    gc.collect()
    held = sum(one.held() for one in session._sessions)
    monkeypatch.setattr(session, "HELD_LIMIT", held + 3 * 2**20)
    owners = [Session() for _ in range(4)]
    for owner in owners[:3]:
        owner.keep(vector(), {}, set())
    with pytest.raises(RudderError, match="visitors hold .* MB together"):
        owners[3].keep(vector(), {}, set())
    large = Cell(Image.new("RGB", (1000, 700)), Recipe(), 0.0)
    with pytest.raises(RudderError, match="the grid is not kept"):
        owners[3].hold(Grid([[large]], (0.0,), "", ("",)))
    assert owners[3].grid is None and owners[3].held() == 0
    owners[0].end()
    assert owners[3].keep(vector(), {}, set()) == "v"


def test_nothing_is_fetched_from_the_web(page: gr.Blocks):
    from gradio import processing_utils

    kept = processing_utils.async_ssrf_protected_download, processing_utils.ssrf_protected_download
    try:
        visits.fetch_nothing()
        button = next(block for block in page.blocks.values() if isinstance(block, gr.UploadButton))
        with pytest.raises(RudderError, match="fetches nothing"):
            button.move_resource_to_block_cache("https://example.org/a.png")
    finally:
        processing_utils.async_ssrf_protected_download, processing_utils.ssrf_protected_download = kept


def test_a_stop_reaches_pictures_that_are_being_opened(tmp_path: Path):
    stop, opened = Event(), []
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for number, picture in enumerate(pictures(5)):
            file.writestr(f"{number}.png", saved(picture, "PNG"))

    class Counting(Event().__class__):
        def is_set(self) -> bool:
            opened.append(1)
            return len(opened) > 2

    with pytest.raises(Cancelled):
        open_images(packed, stop=Counting())
    assert len(opened) == 3 and len(open_images(packed, stop=stop)) == 5


def test_a_stop_reaches_a_scan_that_waits_for_its_turn_and_one_that_counts(tmp_path: Path):
    owner = Session()
    owner.await_task("audit")
    owner.halt_task("audit")
    with owner.task("audit") as stop:
        assert stop.is_set()
    owner.halt_task("audit")  # nothing was asked for: it is meant for nobody
    owner.await_task("audit")
    with owner.task("audit") as stop:
        assert not stop.is_set()
        listed = tmp_path / "list.txt"
        listed.write_text("a cat\na dog\n")
        stop.set()
        with pytest.raises(Cancelled):
            audit._counted([str(listed)], stop)


@pytest.mark.parametrize("what", ["files", "bytes", "rows", "list"])
def test_what_is_refused_is_not_read(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed = tmp_path / "list.csv"
    listed.write_text("prompt\n" + "a cat\n" * 50_000)
    sources = [str(listed)]
    if what == "files":
        sources *= audit.LIMITS.files + 1
    elif what == "bytes":
        os.truncate(listed, audit.LIMITS.total_bytes + 1)
    elif what == "list":
        os.truncate(listed, 21 * 2**20)
    if what != "rows":
        monkeypatch.setattr("steering.audit.tables.open_regular", lambda path: pytest.fail("it was opened"))
    taken = []
    monkeypatch.setattr(audit, "listed", lambda *a, **k: (taken.append(row) or row for row in rows(*a, **k)))
    with pytest.raises(RudderError):
        audit._counted(sources, Event())
    assert len(taken) <= audit.ROWS_LIMIT + 1


def test_a_zips_directory_is_read_once_not_once_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    packed, read = tmp_path / "a.zip", []
    with zipfile.ZipFile(packed, "w") as file:
        for number, picture in enumerate(pictures(20)):
            file.writestr(f"{number}.png", saved(picture, "PNG"))
    directory = zipfile.ZipFile._RealGetContents
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", lambda self: read.append(1) or directory(self))
    places.forget()
    assert [open_row(row).size for row in rows(packed, uploaded=True)] and len(read) == 1
    places.forget()


def test_a_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(temporary.VARIABLE, str(tmp_path / "own" / "place"))
    assert temporary.settle_folder() == tmp_path / "own" / "place"
    (tmp_path / "own" / "place" / "a").write_bytes(bytes(100))
    monkeypatch.setattr(temporary, "_looked", (-1e9, False))
    assert temporary.used() == 100 and not temporary.full()
    monkeypatch.setattr(temporary, "LIMIT", 99)
    assert not temporary.full(), "for some seconds what was seen holds"
    monkeypatch.setattr(temporary, "LOOKED_FOR", -1.0)
    assert temporary.full()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(temporary.VARIABLE, str(tmp_path / "file" / "in it"))
    with pytest.raises(RudderError, match=f"cannot be written .*{temporary.VARIABLE}"):
        temporary.settle_folder()
    monkeypatch.delenv(temporary.VARIABLE)
    monkeypatch.setattr(temporary.tempfile, "mkdtemp", lambda prefix: (_ for _ in ()).throw(FileNotFoundError(2, "no")))
    with pytest.raises(RudderError, match="TMPDIR"):
        temporary.settle_folder()


def test_what_belongs_to_no_visit_is_swept_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made, named = tmp_path / "made", tmp_path / "named"
    owner = Session()
    monkeypatch.setenv(temporary.VARIABLE, str(made))
    monkeypatch.setattr(temporary, "_made", [made])
    made.mkdir(), named.mkdir()
    own = owner.folder() / "vector.safetensors"
    files = {"broken off": made / "a" / "upload.png", "first": made / "static.css", "own": own, "named": named / "x",
             "young": made / "b" / "new.png"}  # fmt: skip
    ages = {"broken off": 7300, "first": 9000, "own": 7300, "named": 7300, "young": 60}
    now = time.time()
    for name, path in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (now - ages[name],) * 2)
    assert temporary.sweep(session.folders(), since=now - 8000) == 1
    assert {name for name, path in files.items() if path.exists()} == set(files) - {"broken off"}
    os.utime(made / "a", (now - 7300,) * 2)
    temporary.sweep(session.folders(), since=now - 8000)
    assert not (made / "a").exists() and (made / "b").exists()
    owner.end()


def test_the_folder_goes_with_the_process_and_is_nobody_elses(tmp_path: Path):
    (tmp_path / "gradio").mkdir(mode=0o500)  # as if another user's
    code = (
        "import signal, time; from steering.ui.serve import _terminated; from steering.ui.temporary import *\n"
        "signal.signal(signal.SIGTERM, _terminated); print(settle_folder(), flush=True); time.sleep(60)"
    )
    told = {**os.environ, "TMPDIR": str(tmp_path)}
    told.pop(temporary.VARIABLE, None)
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=told, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir() and folder.parent == tmp_path.resolve() and folder.stat().st_mode & 0o077 == 0
    process.terminate()
    assert process.wait(30) == 0 and not folder.exists()
