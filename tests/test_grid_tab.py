"""The Grid tab and permalinks without a browser: what is asked, painted and taken away; links, and links that lie."""

from __future__ import annotations

import threading
import zipfile
from dataclasses import replace

import gradio as gr
import pytest
from PIL import Image

from steering.backbones.base import LABELS
from steering.errors import Cancelled, RudderError
from steering.exports import films
from steering.grid import CELLS_LIMIT, Bench
from steering.pace import Pace
from steering.ui import errands, grid_asked
from steering.ui.asked import Panel
from steering.ui.errands import opener
from steering.ui.grid import _painter, painted, taken
from steering.ui.grid_asked import asked, estimate, first_axis, first_rows, kinds
from steering.ui.permalink import FIELDS, LIMIT, STEER, fields, steer_values
from steering.ui.session import Session
from steering.ui.studio import Studio, open_studio
from tests.tiny import make_tiny_sd

MODELS: dict[str, str] = {}


@pytest.fixture(scope="module")
def studio(tiny_folder) -> Studio:
    made = open_studio(str(tiny_folder), device="cpu")
    named = {label: [name for name, site in made.backbone.sites().items() if site.label == label] for label in LABELS}
    made.groups = {label: sites for label, sites in named.items() if label != "composition"}  # as if measured to hold
    return made


@pytest.fixture
def owner(studio: Studio, vector) -> Session:
    session = Session()
    for name in ("red", "more red"):
        session.keep(vector.replace(name=name, recommended={"strength": 2.0}), {}, set(studio.concepts))
    return session


def panel(**changes) -> Panel:
    given = {"prompts": {"a": "a red apple"}, "concept": "red", "seed": 3, "steps": 4, "guidance": 2.0, "negative": "",
             "window": (0.5, 1.0), "sites": ()}  # fmt: skip
    return Panel(**{**given, **changes})


def messages(studio: Studio, owner: Session, axis: str, rows: str, across: str = "0, 1", ticket: int = 1, **changes):
    paint = _painter(studio, MODELS)
    return painted(studio, owner, panel(**changes), {"ticket": ticket}, axis, rows, across, MODELS, paint)


@pytest.mark.parametrize(
    ("axis", "rows"),
    [("seed", "3..4"), ("prompt", "a car\na cat"), ("concept", "red, more red"), ("window", "0.2:0.6, 0.5:0.95")],
)
def test_cells_come_one_by_one_with_what_remakes_them(studio: Studio, owner: Session, axis: str, rows: str):
    told = list(messages(studio, owner, axis, rows))
    assert told[0]["cells"] == [] and told[0]["across"] == (0.0, 1.0) and len(told[0]["down"]) == 2
    assert told[-1]["phase"] == "done" and len(told[-1]["cells"]) == 4
    for earlier, later in zip(told, told[1:], strict=False):
        assert later["cells"][: len(earlier["cells"])] == earlier["cells"], "what is painted stays"
    by_place = {(cell["row"], cell["column"]): cell for cell in told[-1]["cells"]}
    assert by_place[0, 0]["distance"] == 0 < by_place[0, 1]["distance"]
    assert by_place[1, 1]["recipe"]["concepts"][0][1] == 2.0, "1 is the recommended strength"
    assert by_place[0, 0]["src"].startswith("data:image/webp")


def test_what_is_taken_away(studio: Studio, owner: Session):
    with pytest.raises(RudderError, match="paint a grid first"):
        taken(owner, "png")
    list(messages(studio, owner, "seed", "1..2"))
    assert Image.open(taken(owner, "png")).width > 2 * 128
    assert Image.open(taken(owner, "webp")).n_frames == Image.open(taken(owner, "gif")).n_frames == 2
    with zipfile.ZipFile(taken(owner, "zip")) as packed:
        assert len(packed.namelist()) == 6, "four cells, what remakes them, and the concept, which is one's own"
    with pytest.raises(RudderError, match="kind of file"):
        taken(owner, "exe")
    if films():
        assert taken(owner, "mp4").endswith(".mp4")


def test_a_stopped_grid_keeps_its_whole_rows_and_an_older_one_never_starts(studio: Studio, owner: Session):
    run = messages(studio, owner, "window", "0.2:0.6, 0.5:0.95, 0.6:0.9", steps=20)
    seen = next(message for message in run if len(message["cells"]) >= 2)
    owner.grids.outdate(2)
    with pytest.raises(Cancelled):
        list(run)
    assert owner.grid is not None and len(owner.grid.cells) == len(seen["cells"]) // 2
    assert owner.grid.down[0] == "0.2:0.6"
    with pytest.raises(Cancelled):
        list(messages(studio, owner, "seed", "1..2", ticket=1))
    with pytest.raises(RudderError):
        list(messages(studio, owner, "seed", "no seed", ticket=3))
    assert owner.grid is not None and owner.grid.down[0] == "0.2:0.6", "what is on show can still be taken"


@pytest.mark.parametrize(
    ("axis", "rows", "across", "words"),
    [("seed", "1..32", "0..1 [9]", "at most 120 cells"), ("seed", "1..99999", "0..1 [5]", "row of seeds"),
     ("seed", "one, two", "0..1 [5]", "row of seeds"), ("seed", "1..2", "much", "row of strengths"),
     ("seed", "1..2", "0..1e9 [3]", "strength"), ("concept", "rad", "0..1 [5]", "concept named 'rad'"),
     ("concept", "", "0..1 [5]", "0 rows"), ("window", "9:1", "0..1 [5]", "window"), ("sites", "hue", "0, 1", "group"),
     ("sites", "composition", "0, 1", "no group of sites named 'composition'"),
     ("model", "other", "0, 1", "kind of rows"), ("colour", "1", "0, 1", "kind of rows"),
     ("prompt", "x" * 9999, "0, 1", "characters"), ("prompt", "x\n" * 10**6, "0, 1", "characters")],
)  # fmt: skip
def test_endless_grids_and_ranges_that_are_none_get_one_sentence(studio, owner, axis, rows, across, words):
    with pytest.raises(RudderError, match=words) as caught:
        list(messages(studio, owner, axis, rows, across))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_estimate_comes_first_and_bounds_the_time(studio: Studio, owner: Session, monkeypatch):
    told = estimate(studio, owner, panel(), "seed", "1..4", "0..1 [5]", [])
    assert told["text"] == "20 pictures." and "a red apple" in told["base"] and "seed" not in told["base"].split(",")[0]
    monkeypatch.setattr(studio, "pace", Pace(0.5, 0.5))
    assert estimate(studio, owner, panel(), "seed", "1..4", "0..1 [5]", [])["text"] == "20 pictures, about 30 s here."
    monkeypatch.setattr(studio, "pace", Pace(90.0, 90.0))
    with pytest.raises(RudderError, match="would take about 84 min, and the page allows 15 min"):
        estimate(studio, owner, panel(), "seed", "1..4", "0..1 [5]", [])
    monkeypatch.setattr(grid_asked, "PIXELS", 10_000)
    with pytest.raises(RudderError, match="megapixels"):
        estimate(studio, owner, panel(), "seed", "1..4", "0..1 [5]", [])
    assert grid_asked.CELLS < CELLS_LIMIT


def test_the_tab_opens_with_something_worth_seeing(studio: Studio, owner: Session):
    axes = [name for _, name in kinds(studio, ["one"])]
    assert axes == ["seed", "prompt", "concept", "window", "sites"], "one model is no choice"
    assert "model" in [name for _, name in kinds(studio, ["one", "other"])]
    assert "composition" not in first_rows(studio, owner, "sites", panel(), [])
    assert "sites" not in [name for _, name in kinds(replace(studio, groups={}), ["one"])], "names that hold, or none"
    assert first_axis(studio) == "seed", "a model without concepts"
    for axis in axes:
        rows = first_rows(studio, owner, axis, panel(), [])
        vectors = dict(owner.vectors)
        assert len(asked(studio, panel(), axis, rows, "0..1 [5]", vectors, []).rows) >= 1, axis


def test_another_model_is_read_for_its_row_and_a_large_one_is_not(
    studio: Studio, owner: Session, tmp_path, monkeypatch
):
    models = {"here": studio.outline.asked, "there": studio.outline.asked}
    plan = asked(studio, panel(), "model", "here", "0, 1", owner.vectors, list(models))
    mine = Bench(studio.backbone, plan.vectors, studio.calibration)
    assert opener(mine, studio.outline.asked, models)("here") is mine
    theirs = str(make_tiny_sd(tmp_path / "other"))
    assert opener(mine, studio.outline.asked, {"there": theirs})("there").vectors == {}, "nothing was learned for it"
    monkeypatch.setattr(errands, "MODEL_BYTES", 10)
    with pytest.raises(RudderError, match="too large"):
        opener(mine, studio.outline.asked, {"there": theirs})("there")
    with pytest.raises(RudderError, match="model on this page"):
        asked(studio, panel(), "model", "/etc", "0, 1", owner.vectors, list(models))


def values(studio: Studio, owner: Session, query: str) -> dict:
    found, lost = steer_values(studio, owner, fields(query))
    return dict(zip(STEER, found, strict=True)) | {"lost": lost}


def test_a_link_restores_every_control_and_leaves_what_it_does_not_name(studio: Studio, owner: Session):
    site = next(iter(studio.backbone.sites()))
    told = values(studio, owner, "a=a+red+car&b=&compare=1&concept=red&seed=12&steps=7&guidance=2.5&negative=blue&"
                                 f"from=0.1&until=0.6&sites={site}&halves=opposite&keep=0&sa=1.5&sb=-1")  # fmt: skip
    assert told == {"a": "a red car", "b": "", "compare": True, "concept": "red", "seed": 12, "steps": 7,
                    "guidance": 2.5, "negative": "blue", "from": 0.1, "until": 0.6, "sites": [site],
                    "halves": "opposite", "keep": False, "lost": ""}  # fmt: skip
    nothing = values(studio, owner, "")
    assert all(nothing[key] == gr.skip() for key in STEER)
    own = values(studio, owner, "concept=mine&seed=4")
    assert own["concept"] == gr.skip() and own["seed"] == 4 and "uploads do not travel in a link" in own["lost"]


LIES = [
    "seed=abc", "seed=-1", "seed=1e300", "seed=1.5", "seed=nan", "seed=" + "9" * 400, "steps=0", "steps=99999",
    "guidance=inf", "guidance=%3Cscript%3E", "compare=yes", "keep=", "from=2", "from=0.9&until=0.1", "from=x",
    "sites=nowhere", "sites=a,b,c", "halves=all", "a=" + "x" * 5000, "negative=%00", "sa=1e9", "sb=strong",
    "a=%ff%fe", "&".join(f"k{n}=1" for n in range(FIELDS + 1)), "a=" + "x" * LIMIT, None, ["a"], 7,
]  # fmt: skip


@pytest.mark.parametrize("query", LIES, ids=range(len(LIES)))
def test_links_that_lie_get_one_sentence(studio: Studio, owner: Session, query):
    with pytest.raises(RudderError) as caught:
        values(studio, owner, query)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 400


def test_a_link_never_brings_markup(studio: Studio, owner: Session):
    told = values(studio, owner, "concept=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&a=%3Cscript%3Ealert(1)%3C/script%3E")
    assert told["a"] == "<script>alert(1)</script>", "a prompt is text: shown as such, and nothing else"
    assert told["concept"] == gr.skip()


def test_runs_of_the_stage_and_of_grids_do_not_outdate_each_other():
    session = Session()
    with session.run(5) as stage, session.grids.run(1) as first:
        assert not stage.is_set() and not first.is_set()
        session.grids.outdate(2)
        assert first.is_set() and not stage.is_set()
    assert isinstance(first, threading.Event)
