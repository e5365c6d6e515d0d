"""The page without a browser: its callbacks on a random model, sessions apart, and what ships fits together."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from steering.backbones import layout
from steering.calibration import Calibration, calibrate
from steering.concepts import Progress, library
from steering.editability import joined, lesson
from steering.errors import Cancelled, RudderError
from steering.files import home, read_json
from steering.masks import mask_text
from steering.png import read_png
from steering.recipe import Recipe, Use
from steering.samples import Sample
from steering.ui import compose, firstpaint, grid, permalink, restore, trays
from steering.ui import door as doors
from steering.ui.asked import Panel, concept_of
from steering.ui.library import rename
from steering.ui.marks import mark_of, mark_of_shipped
from steering.ui.own_set import add_vector, learn_trays, told_of, vector_file
from steering.ui.panels import MOST_STEPS
from steering.ui.session import ContentCache, Session, ticket_of
from steering.ui.steer import generate, profiled, release
from steering.ui.studio import Concept, Studio, open_studio, positions, refinements, vector_for
from tests.tiny import make_tiny_sd, pictures


@pytest.fixture(scope="module")
def studio(tiny_folder: Path) -> Studio:
    return open_studio(str(tiny_folder), device="cpu")


@pytest.fixture
def owner(studio: Studio, vector) -> Session:
    session = Session()
    session.keep(vector.replace(recommended={"range": [-1, 2], "strength": 1.0}), {}, set(studio.concepts))
    return session


def panel(**changes) -> Panel:
    asked = {"prompts": {"a": "a red apple", "b": "a car"}, "concept": "red", "seed": 3, "steps": 6,
             "guidance": 2.0, "negative": "", "window": (0.5, 1.0), "sites": ()}  # fmt: skip
    return Panel(**{**asked, **changes})


def painted(studio: Studio, owner: Session, asked: Panel, ticket: int = 1) -> dict:
    *_, last = generate(studio, owner, asked, {"ticket": ticket, "strengths": {}, "concept": None})
    return last


def strengths(data: dict) -> list[float]:
    """The strengths of a column's frames, in the order they came."""
    return [one["strength"] for one in data["frames"]]


def test_generate_then_release_agree(studio: Studio, owner: Session):
    """The exact strength painted alone is the frame of the strip, up to rounding in the batch."""
    strip = painted(studio, owner, panel())
    assert strip["phase"] == "done" and set(strip["columns"]) == {"a", "b"}
    frames = {one["strength"]: one for one in strip["columns"]["a"]["frames"]}
    assert sorted(frames) == strip["strip"] and strip["range"] == [-1, 2]
    assert sum(0 < value <= 1.0 for value in frames) >= 16, "at least 17 from unsteered to the recommended strength"
    job = {"recipe": strip["columns"]["a"]["recipe"], "strength": 2.0}
    *_, exact = release(studio, owner, {"ticket": 2, "columns": {"a": job}})
    told = exact["columns"]["a"]["frame"]
    assert told["exact"] and told["strength"] == 2.0
    assert told["moved"] == pytest.approx(frames[2.0]["moved"], abs=0.5)


def test_what_was_asked_for_comes_first_then_the_strip_coarse_to_fine(studio: Studio, owner: Session):
    sent = {"ticket": 21, "strengths": {"a": 0.7, "b": 0.7}, "concept": "red"}
    messages = list(generate(studio, owner, panel(seed=21), sent))
    whole = [m for m in messages if all("frames" in data for data in m["columns"].values()) and m["columns"]]
    assert [strengths(whole[0]["columns"][c]) for c in "ab"] == [[0.0, 0.7]] * 2, "both columns' exact pictures"
    assert whole[0]["phase"] == "running" and whole[0]["columns"]["a"]["prompt"] == "a red apple"
    assert messages.index(whole[0]) < len(messages) / 2, "the rest is painted after it"
    grown = [strengths(m["columns"]["b"]) for m in whole]
    assert all(later[: len(earlier)] == earlier for earlier, later in zip(grown, grown[1:], strict=False))
    order = grown[-1][2:]
    assert set(order[:6]) == {-1, 0.25, 0.5, 0.75, 1, 2}, "coarse before fine"
    for message in messages:  # nobody sees a picture of one prompt under the words of another
        for data in message["columns"].values():
            assert {"title", "prompt"} <= set(data)


def test_a_release_before_the_strip_is_whole_goes_on_with_it(studio: Studio, owner: Session):
    sent = {"ticket": 31, "strengths": {}, "concept": None}
    run = generate(studio, owner, panel(seed=31), sent)
    first = next(m for m in run if "frames" in m["columns"].get("a", {}))
    jobs = {c: {"recipe": first["columns"][c]["recipe"], "strength": 0.33, "fill": True} for c in "ab"}
    told = list(release(studio, owner, {"ticket": 32, "columns": jobs}))
    with pytest.raises(Cancelled):
        list(run)
    exact = next(m for m in told if "frame" in m["columns"].get("a", {}))
    assert "frames" not in exact["columns"]["a"], "first what was asked for"
    for column in "ab":
        assert {*strengths(told[-1]["columns"][column]), 0.0} >= set(first["strip"]) - {0.33}
        assert told[-1]["columns"][column]["response"]["movement"]


def test_a_column_says_what_is_known_of_its_prompt(studio: Studio, owner: Session, monkeypatch: pytest.MonkeyPatch):
    known = {"ordinary": [{"key": "a red apple"}], "memorized": [{"key": "a car"}]}
    monkeypatch.setattr(studio, "prompts", known)
    titles = {c: data["title"] for c, data in painted(studio, owner, panel())["columns"].items()}
    assert titles == {"a": "Ordinary prompt", "b": "Memorised prompt"}
    swapped = painted(studio, owner, panel(prompts={"a": "a car", "b": "a zeppelin"}))["columns"]
    assert [swapped[c]["title"] for c in "ab"] == ["Memorised prompt", "Your prompt"]


def test_both_columns_are_released_as_one_batch(studio: Studio, owner: Session, monkeypatch: pytest.MonkeyPatch):
    strip = painted(studio, owner, panel(seed=11))["columns"]
    jobs = {column: {"recipe": strip[column]["recipe"], "strength": 1.6} for column in strip}
    runs, paint = [], studio.paint
    monkeypatch.setattr(studio, "paint", lambda *given, **told: runs.append(told["prompts"]) or paint(*given, **told))
    *steps, both = release(studio, owner, {"ticket": 2, "columns": jobs})
    assert runs == [["a red apple", "a car"]] and set(both["columns"]) == {"a", "b"}
    assert {key for step in steps for key in step["columns"]} == {"a", "b"}, "previews of both"
    for kept in ("prefixes", "unsteered"):  # as if evicted: both are painted whole, unsteered beside them
        monkeypatch.setattr(studio, kept, ContentCache())
    *_, anew = release(studio, owner, {"ticket": 3, "columns": jobs})
    assert len(runs[1]) == 4
    for column, job in jobs.items():
        *_, alone = release(studio, owner, {"ticket": 4, "columns": {column: job}})
        moved = alone["columns"][column]["frame"]["moved"]
        assert both["columns"][column]["frame"]["moved"] == pytest.approx(moved, abs=0.2)
        assert anew["columns"][column]["frame"]["moved"] == pytest.approx(moved, abs=0.2)
    jobs["b"]["recipe"]["num_inference_steps"] = 5  # no longer one batch
    *_, apart = release(studio, owner, {"ticket": 5, "columns": jobs})
    assert [len(run) for run in runs[-2:]] == [1, 2] and set(apart["columns"]) == {"a", "b"}


def test_a_seed_that_the_browser_has_rounded_is_refused(studio: Studio, owner: Session):
    with pytest.raises(RudderError, match="largest whole number that a browser keeps"):
        painted(studio, owner, panel(seed=float(2**53)))


def test_what_was_left_out_of_a_set_is_said(vector):
    told = told_of(vector.replace(provenance={**vector.provenance, "remarks": ["Left out (1 file).", 3, "x" * 900]}))
    assert told.startswith("Learned “red”. Left out (1 file). x") and len(told) < 500
    assert told_of(vector.replace(provenance={"remarks": "x"})) == "Learned “red”."


def test_a_newer_ticket_outdates_the_older_run(studio: Studio, owner: Session):
    run = generate(studio, owner, panel(), {"ticket": 1, "strengths": {}, "concept": None})
    next(run)
    owner.outdate(2)
    with pytest.raises(Cancelled):
        list(run)
    assert painted(studio, owner, panel(), ticket=3)["phase"] == "done"


def test_what_one_visitor_has_another_has_not(studio: Studio, owner: Session):
    with pytest.raises(RudderError, match="no concept named 'red'"):
        painted(studio, Session(), panel())
    together: list[dict] = []
    other = Session()
    other.keep(owner.vectors["red"] * -1, {}, set())
    name = next(iter(other.vectors))
    jobs = [(owner, "red"), (other, name)]
    threads = [
        threading.Thread(target=lambda o=o, n=n: together.append(painted(studio, o, panel(concept=n)))) for o, n in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {message["concept"] for message in together} == {"red", name}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"steps": 0}, "steps"),
        ({"guidance": float("nan")}, "guidance"),
        ({"window": (0.9, 0.1)}, "window"),
        ({"sites": ("attic",)}, "attic"),
        ({"concept": "joy"}, "joy"),
        ({"prompts": {"a": "x" * 10_000}}, "prompt"),
    ],
)
def test_bad_controls_get_one_sentence(studio: Studio, owner: Session, change: dict, says: str):
    with pytest.raises(RudderError, match=says):
        painted(studio, owner, panel(**change))
    assert painted(studio, owner, panel(prompts={"a": ""}), ticket=5)["phase"] == "done"


@pytest.mark.parametrize("sent", [{}, {"ticket": "1"}, {"ticket": True}, {"ticket": 1, "columns": 3}])
def test_hostile_events(studio: Studio, owner: Session, sent: dict):
    with pytest.raises(RudderError, match="reload"):
        list(release(studio, owner, sent))
    assert ticket_of(7) == 7


@pytest.fixture
def calibrated(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The same studio with a calibration for its random model."""
    monkeypatch.setattr("steering.calibration.ROUNDS", 20)
    flat = [p.resize((4, 4)).resize((32, 32)) for p in pictures(4, seed=1)]
    rows = [(p, m, f"{m}{i}") for m, some in ((True, flat), (False, pictures(4, seed=2))) for i, p in enumerate(some)]
    *_, made = calibrate(studio.backbone, [Sample(p, m, "drawing", "fresh", o) for p, m, o in rows], draws=2)
    monkeypatch.setattr(studio, "calibration", made)
    return studio


def test_a_painted_column_carries_its_reading_and_response(calibrated: Studio, owner: Session):
    told = painted(calibrated, owner, panel())["columns"]["a"]
    read, made = told["reading"], calibrated.calibration
    assert made.verdict(read["score"]).sentence in read["how"]
    assert read["verdict"] == ("memorised" if read["score"] > made.threshold else "ordinary")
    for name in ("ordinary", "memorized"):
        assert sum(read["histogram"][name]) == pytest.approx(1, abs=0.01)
    assert read["bars"] == sorted(read["bars"], reverse=True) and read["nearest"] is None
    case = (read["verdict"], told["response"]["movement"], told["response"]["evenness"])
    assert told["response"]["sentence"] == joined(*case) and told["response"]["lesson"] == lesson(*case)
    sent = {"ticket": 9, "column": "a", "recipe": told["recipe"]}
    found = profiled(calibrated, owner, sent)["columns"]["a"]["profile"]
    assert len(found["values"]) == len(found["sites"]) and len(found["values"][0]) == len(found["timesteps"])


def test_a_third_verdict_is_said_and_judges_nothing(calibrated: Studio, owner: Session, monkeypatch):
    verdict = Calibration.verdict
    unlike = lambda self, *given, **told: replace(verdict(self, *given, **told), memorized=None)  # noqa: E731
    monkeypatch.setattr(Calibration, "verdict", unlike)
    told = painted(calibrated, owner, panel(seed=5))["columns"]["a"]
    assert told["reading"]["verdict"] == "none" and told["reading"]["lesson"] is None
    assert told["response"]["sentence"].startswith("No verdict") and told["response"]["lesson"] is None


def test_without_a_calibration_no_verdict_is_invented(studio: Studio, owner: Session):
    told = painted(studio, owner, panel())["columns"]["a"]["reading"]
    assert set(told) == {"missing", "verdict", "lesson"} and "rudder calibrate" in told["missing"]
    assert told["verdict"] == "none" and told["lesson"] is None


def test_learned_from_files_measured_and_taken_along(studio: Studio, tmp_path: Path):
    session = Session()
    for side, tint in zip(trays.SIDES, ((90, 0, 0), (0, 0, 0)), strict=True):
        paths = [tmp_path / f"{side}{index}.png" for index in range(5)]
        for path, picture in zip(paths, pictures(5, seed=8, tint=tint), strict=True):
            picture.save(path)
        list(trays.fill(studio, session, side, [str(path) for path in paths]))
    *progress, name = learn_trays(studio, session, "ö" * 40, "")
    assert all(isinstance(p, Progress) for p in progress) and name == "ö" * 40
    advice = session.vectors[name].advice
    assert advice["range"][0] < 0 and 0 < advice["strength"] <= advice["range"][1]
    assert advice["why"] in told_of(session.vectors[name]), "what the search found is said"
    file = vector_file(session, name)
    assert add_vector(studio, Session(), file) == name
    with pytest.raises(RudderError, match="no pictures"):
        list(learn_trays(studio, Session(), "x", ""))


def test_session_limits(owner: Session, vector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("steering.ui.session.VECTOR_BYTES_LIMIT", 1000)
    with pytest.raises(RudderError, match="session's vectors"):
        owner.keep(vector.replace(name="another"), {}, set())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"uses": (Use("erase"),)}, "an operator or window"),
        ({"mask": mask_text(Image.new("L", (8, 8), 255))}, "a mask"),
        ({"picture": "ddim 0123"}, "a picture of somebody's own"),
    ],
)
def test_what_the_page_cannot_do_is_refused_and_never_painted_otherwise(studio: Studio, more: dict, words: str):
    name = "any"
    recipe = Recipe(model=studio.backbone.name, concepts=((name, 1.0),))
    assert concept_of(studio, recipe) == name
    with pytest.raises(RudderError, match=f"made with {words}.*open it under Compose"):
        concept_of(studio, replace(recipe, **more))


def test_a_picture_beyond_the_page_is_refused_with_the_remedy(studio: Studio, owner: Session, tmp_path: Path):
    from steering.png import write_png

    recipe = Recipe(model=studio.backbone.name, concepts=(("red", 1.0),), num_inference_steps=MOST_STEPS + 1)
    write_png(pictures(1)[0], tmp_path / "far.png", recipe)
    assert read_png(tmp_path / "far.png") == recipe
    with pytest.raises(RudderError, match="command line"):
        restore.read(studio, owner, str(tmp_path / "far.png"))


@pytest.mark.parametrize("ends", [(-1, 3, 1.2), (0, 2, 2), (-4, 0, -1), (-0.001, 9, 1), (-8, 16, None), (-1, 1, 2)])
def test_strip_positions_hold_zero_the_ends_and_an_even_way(ends: tuple):
    low, high, turn = ends
    found = positions(*ends)
    turn = high if turn is None else turn
    way = [value for value in found if 0 <= value / turn <= 1]
    assert found == sorted(set(found)) and (found[0], found[-1]) == (min(low, turn), max(high, turn))
    assert len(way) == 17 and np.ptp(np.diff(way)) < 1e-5 and len(found) <= 25


@pytest.mark.parametrize("ends", [(-1, 3, 1.2), (0, 2, 2), (-4, 0, -1)])
def test_a_strip_is_refined_without_repeating_itself(ends: tuple):
    strip = positions(*ends)
    stages = refinements(strip, [0.0, strip[-1]])
    assert sorted([*sum(stages, []), 0.0, strip[-1]]) == sorted({*strip}) + ([0.0] if strip[-1] == 0 else [])
    coarse = np.diff(sorted({*stages[0], 0.0, strip[-1]}))
    assert len(stages) == 3 and len(stages[0]) < len(stages[2]) and coarse.max() <= 4.1 * np.diff(strip).max()


@pytest.fixture
def linked_to(studio: Studio, owner: Session):
    """What Steer, Compose and Grid make of a link to a concept: (its name here or None, what is said)."""
    mine = owner.vectors["red"]

    def steer(marks: str) -> tuple[object, str]:
        values, said = permalink.steer_values(studio, owner, {"concept": "red", **({"marks": marks} if marks else {})})
        name = values[permalink.STEER.index("concept")]
        return (name if isinstance(name, str) else None), said

    def bench(marks: str) -> tuple[object, str]:
        recipe = Recipe(model=studio.backbone.name, concepts=(("red", 0.5),))
        told = {"bench": json.dumps({"recipe": json.loads(recipe.to_json())}), "marks": marks}
        message, said = compose.linked(studio, owner, told)
        return next((name for name, _ in message["state"]["recipe"]["concepts"]), None), said

    def rows(marks: str) -> tuple[object, str]:
        with gr.Blocks():
            part = grid.grid_part(studio, grid.grid_panel(studio, panel(), []), [])
        values, said = part.read(owner, {"axis": "concept", "rows": "red, red", "marks": marks})
        return values[1].split(", ")[0] or None, said

    return mine, (steer, bench, rows)


def test_a_link_means_the_very_concept_and_not_its_name(studio: Studio, owner: Session, linked_to):
    mine, tabs = linked_to
    line = f"{mark_of(mine)} red"
    assert [tab(line) for tab in tabs] == [("red", "")] * 3
    assert [tab("") for tab in tabs] == [("red", "")] * 3, "links of before marks"
    assert mark_of(mine.replace(name="x", recommended={})) == mark_of(mine), "a name or a measurement changes nothing"

    rename(studio, owner, "red", "rouge")
    assert [tab(line) for tab in tabs] == [("rouge", "")] * 3, "it is found by its new name"
    owner.keep((mine * -1).replace(name="red"), {}, set())
    assert [tab(line) for tab in tabs] == [("rouge", "")] * 3, "and another of its old name is not taken for it"
    del owner.vectors["rouge"]
    for tab in tabs:
        name, said = tab(line)
        assert name is None and "'red' of this link is not the one that has this name here" in said
    del owner.vectors["red"]
    for tab in tabs:
        name, said = tab(line)
        assert name is None and "uploads do not travel" in said
    with pytest.raises(RudderError, match="marks its concepts"):
        tabs[0]("red 12")


def test_a_shipped_set_is_marked_by_its_pictures_until_it_ships_a_vector(vector, tmp_path: Path):
    path = tmp_path / "a.png"
    pictures(1)[0].save(path)
    one = Concept("red", "Red", "", "", "", "", (path,))
    assert mark_of_shipped(one) == mark_of_shipped(replace(one, title="Rouge"))
    assert mark_of_shipped(one) != mark_of_shipped(replace(one, prompt="a red thing"))
    assert mark_of_shipped(replace(one, vector=vector)) == mark_of(vector)


def test_the_door_shows_what_these_weights_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = make_tiny_sd(tmp_path / "models" / "tiny-sd")
    kept = tmp_path / "assets" / "firstpaint" / "tiny-sd" / "firstpaint.json"
    kept.parent.mkdir(parents=True)
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    for fingerprint, there in ((layout.fingerprint(model, layout.STABLE_DIFFUSION), True), ("0" * 16, False)):
        made = {"model": "tiny-sd", "fingerprint": fingerprint}
        kept.write_text(json.dumps({"made": made, "message": {"columns": {}}}))
        assert (doors.kept_message("tiny-sd") is not None) == there


def test_cache_forgets_the_least_used():
    cache = ContentCache(size=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.get("b") is None and (cache.get("a"), cache.get("c")) == (1, 3)


def test_of_two_visitors_who_learn_a_concept_at_once_both_get_the_first_vector(studio: Studio, vector):
    def learn(name, *pictures, **options):
        yield Progress(0, 1, "learning")
        yield vector.replace(name=f"{name} {len(made)}")

    made: list[object] = []
    name = "red"
    here = replace(studio, concepts={name: Concept(name, "Red", "", "", "", "")}, learned={}, learn=learn)
    one, two = vector_for(here, Session(), name), vector_for(here, Session(), name)
    next(one), next(two)
    made.append(next(one))
    made.append(next(two))
    assert made[0] is made[1] is here.learned[name]


def test_what_ships_fits_together():
    """Vectors, first paint and calibration belong to the committed weights; no shipped prompt has unknown words."""
    from steering.calibration import shipped

    studio = open_studio("tiny-sd", device="cpu")
    message = firstpaint.load(studio)
    assert message is not None and len(message["columns"]) == 2
    assert len(studio.concepts) >= 10 and all(c.vector is not None for c in studio.concepts.values())
    assert all(info.examples and info.baseline for info in library("tiny-sd").values())
    assert shipped(studio.backbone) is not None
    prompts = [entry["key"] for entries in studio.prompts.values() for entry in entries]
    listed = read_json(home() / "models" / "tiny-sd" / "prompts.json")
    held = [row["prompt"] for row in listed["memorized"] if row["recall"] == 1]
    assert held and sorted(prompts) == sorted([*held, *(row["prompt"] for row in listed["ordinary"])])
    assert [p for p in prompts if studio.backbone.unknown_words(p)] == []
    told = read_json(home() / "models" / "tiny-sd" / "evaluation.json")["made"].values()
    marks = {row["fingerprint"] for row in told}
    marks.add(read_json(firstpaint.folder("tiny-sd") / "search.json")["made"]["fingerprint"])
    with (home() / "assets" / "audit" / "example.jsonl").open() as example:
        marks.add(json.loads(next(example))["fingerprint"])
    assert marks == {studio.backbone.fingerprint}, "all were made with these weights"
    folders = ("models/tiny-sd/thumbnails", "assets/concepts", "assets/calibrations", "assets/firstpaint/tiny-sd")
    sizes = {Image.open(path).size for name in folders for path in (home() / name).rglob("*.png")}
    assert sizes == {(studio.backbone.resolution, studio.backbone.resolution)}
