"""Own concepts without a browser: trays, learning from them, cards, names, sums, the library, and the second time."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from steering import tuning
from steering.concepts import Progress
from steering.errors import Cancelled, RudderError
from steering.pace import Pace
from steering.quality import quality_of
from steering.ui import cards, library, trays
from steering.ui.own_set import add_vector, learn_trays, vector_file
from steering.ui.session import Session
from steering.ui.studio import Studio, open_studio
from tests.tiny import pictures


@pytest.fixture(scope="module")
def studio(tiny_folder: Path) -> Iterator[Studio]:
    """A random model that searches in no time: two steps, one way to steer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "SETTINGS", tuning.SETTINGS[:1])
        studio = open_studio(str(tiny_folder), device="cpu", search_seconds=60)
        patch.setitem(studio.backbone.defaults, "num_inference_steps", 2)
        yield studio


def saved(folder: Path, count: int, prefix: str = "p", **options) -> list[str]:
    paths = [folder / f"{prefix}{place}.png" for place in range(count)]
    for path, picture in zip(paths, pictures(count, **options), strict=True):
        picture.save(path)
    return [str(path) for path in paths]


def filled(studio: Studio, session: Session, side: str, paths: list[str]) -> trays.Tray:
    steps = list(trays.fill(studio, session, side, paths))
    assert all(isinstance(step, Progress) for step in steps)
    return session.trays[side]


def test_both_trays_fill_side_by_side_and_stop_reaches_into_a_zip(studio: Studio, tmp_path: Path):
    session = Session()
    ways = [trays.fill(studio, session, side, saved(tmp_path, 3, side, seed=seed))
            for seed, side in enumerate(trays.SIDES)]  # fmt: skip
    for way in ways:
        next(way)
    for way in ways:
        list(way)
    assert [len(session.trays[side].shots) for side in trays.SIDES] == [3, 3]

    with zipfile.ZipFile(tmp_path / "z.zip", "w") as packed:
        for path in saved(tmp_path, 3, "z", seed=5):
            packed.write(path, Path(path).name)
    stopped = trays.fill(studio, session, "concept", [str(tmp_path / "z.zip")])
    next(stopped)
    with pytest.MonkeyPatch.context() as patch:
        opened = trays.named_images
        patch.setattr(trays, "named_images", lambda *a: session.stop_task("fill concept") or opened(*a))
        with pytest.raises(Cancelled, match="what was read stays"):
            list(stopped)
    assert len(session.trays["concept"].shots) == 3


def both(studio: Studio, tmp_path: Path, session: Session) -> Session:
    filled(studio, session, "concept", saved(tmp_path, 6, "a", seed=1, tint=(90, 0, 0)))
    filled(studio, session, "baseline", saved(tmp_path, 5, "b", seed=2))
    return session


def test_trays_take_files_and_zips_once_each_and_let_go(studio: Studio, tmp_path: Path):
    session, paths = Session(), saved(tmp_path, 6, seed=1)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as packed:
        for path in [*paths[:2], *saved(tmp_path, 3, "z", seed=3)]:
            packed.write(path, Path(path).name)
        packed.writestr("caption.txt", "a dog")
    tray = filled(studio, session, "concept", [*paths, str(tmp_path / "more.zip")])
    assert len(tray.shots) == 9 and "2 copies of others were left out" in " ".join(tray.remarks)
    assert len(tray.pictures()) == 9 and tray.pictures()[0].tobytes() == Image.open(paths[0]).tobytes()
    told = trays.told(session, "concept")
    key = told["shots"][0]["key"]
    trays.prune(session, "concept", key, True)
    trays.prune(session, "concept", "nothing", True)
    assert len(session.trays["concept"].pictures()) == 8 and trays.told(session, "concept")["out"] == [key]
    trays.prune(session, "concept", key, False)
    other = filled(studio, session, "baseline", paths[:1])
    assert "1 stands in both trays" in other.remarks[0]
    trays.swap(session)
    assert len(session.trays["concept"].shots) == 1 and len(session.trays["baseline"].shots) == 9
    trays.clear(session, "concept")
    assert not session.trays["concept"].shots and all(
        path.is_file() for path in session.trays["baseline"].pictures().paths
    )
    with pytest.raises(RudderError, match="no tray"):
        trays.told(session, "attic")


def test_what_was_cleared_comes_back_until_the_next_is_cleared(studio: Studio, tmp_path: Path):
    session, there = Session(), lambda: set(trays.tray_of(session, "concept").pictures().paths)
    filled(studio, session, "concept", saved(tmp_path, 3))
    first = there()
    trays.clear(session, "concept")
    trays.clear(session, "concept")
    assert not there() and trays.told(session, "concept")["cleared"] == 3, "clearing nothing loses nothing"
    filled(studio, session, "concept", saved(tmp_path, 2, "q", seed=9))
    second = there()
    trays.take_back(session, "concept")
    assert there() == first and all(path.is_file() for path in first | second)
    trays.take_back(session, "concept")
    assert there() == second, "and what came in between is not lost either"
    trays.clear(session, "concept")
    assert not any(path.is_file() for path in first) and all(path.is_file() for path in second)
    trays.swap(session)
    trays.take_back(session, "baseline")
    with pytest.raises(RudderError, match="No pictures were cleared"):
        trays.take_back(session, "concept")


def test_bad_uploads_are_said_and_what_is_good_stays(studio: Studio, tmp_path: Path, monkeypatch):
    session, paths = Session(), saved(tmp_path, 2)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    tray = filled(studio, session, "concept", [*paths, str(tmp_path / "bad.png")])
    assert len(tray.shots) == 2 and "1 of the files cannot be read" in tray.remarks[0]
    with pytest.raises(RudderError, match="bad.png"):
        filled(studio, session, "concept", [str(tmp_path / "bad.png")])
    with pytest.raises(RudderError, match="gone.png is no longer here: choose it again"):
        filled(studio, session, "concept", [str(tmp_path / "gone.png")])
    assert len(session.trays["concept"].shots) == 2
    monkeypatch.setattr(trays, "MOST", 3)
    with pytest.raises(RudderError, match="choose at most 3"):
        filled(studio, session, "concept", paths * 2)
    filled(studio, session, "concept", saved(tmp_path, 3, "q", seed=9))
    assert len(session.trays["concept"].shots) == 3, "no more than a tray takes"
    monkeypatch.setattr(trays, "LIMITS", replace(trays.LIMITS, total_bytes=10))
    with pytest.raises(RudderError, match="add them in parts"):
        filled(studio, session, "concept", paths)


def test_a_set_is_learned_measured_and_told_on_a_card(studio: Studio, tmp_path: Path):
    session = both(studio, tmp_path, Session())
    *steps, name = learn_trays(studio, session, " my  red ", "")
    assert name == "my red" and all(isinstance(step, Progress) for step in steps)
    assert quality_of(session.vectors[name]).images == 6
    (card,) = cards.cards(studio, session)
    assert card["own"] and card["title"] == "my red" and card["measured"] and card["face"].startswith("data:image")
    assert [figure[0] for figure in card["figures"]] == ["Strength", "Told apart", "Length"]
    assert "6 pictures against 5" in card["made"] and len(card["sites"]) == len(session.vectors[name].sites)
    assert json.loads(json.dumps(card)) == card
    *_, again = learn_trays(studio, session, "my red", "")
    assert again == "my red", "the very same vector stands there once"
    *rest, copied = learn_trays(studio, session, "another", "")
    assert not rest, "the second time it is not learned at all"
    one, other = session.vectors["my red"], session.vectors[copied]
    assert all(torch.equal(one.vectors[site], other.vectors[site]) for site in one.sites)
    trays.prune(session, "concept", next(iter(session.trays["concept"].shots)), True)
    *rest, _ = learn_trays(studio, session, "fewer", "")
    assert rest, "another set is"
    told = cards.judged("fewer", cards.vectors_of(studio, session), cards.titles_of(studio, session))
    assert {title for title, _ in told["alike"]} == {"my red", "another"}


@pytest.mark.parametrize(("shown", "others", "says"), [
    (0, 0, "no pictures yet"), (1, 0, "There is one picture that shows it: give 5 to 500"), (4, 5, "give 5 to 500"),
    (5, 2, "of the baseline: give 5 to 500, or none"),
])  # fmt: skip
def test_too_few_pictures_are_refused_with_the_remedy(
    studio: Studio, tmp_path: Path, shown: int, others: int, says: str
):
    session = Session()
    for side, count in (("concept", shown), ("baseline", others)):
        if count:
            filled(studio, session, side, saved(tmp_path, count, side, seed=len(side)))
    with pytest.raises(RudderError, match=says):
        list(learn_trays(studio, session, "x", ""))


def test_the_same_pictures_on_both_sides_and_no_name(studio: Studio, tmp_path: Path):
    session, paths = Session(), saved(tmp_path, 5)
    for side in trays.SIDES:
        filled(studio, session, side, paths)
    with pytest.raises(RudderError, match="are the same"):
        list(learn_trays(studio, session, "x", ""))
    with pytest.raises(RudderError, match="needs a name"):
        list(learn_trays(studio, session, "  ", ""))
    assert len(session.trays["concept"].shots) == 5, "nothing is lost"


def test_two_prompts_fill_the_trays_as_they_are_painted(studio: Studio):
    session = Session()
    grown = []
    for _ in trays.paint(studio, session, ("a red dog", "a dog"), 5, "night, grass"):
        grown.append(len(session.trays["concept"].shots))
    assert grown[0] == 0 and grown[-1] == 5 and len(session.trays["baseline"].shots) == 5
    tray = session.trays["concept"]
    assert tray.prompt == "a red dog" and tray.painted["prompts"] == ["a red dog, night", "a red dog, grass"]
    *_, name = learn_trays(studio, session, "red", "something else")
    made = session.vectors[name].provenance
    assert made["prompt"] == "a red dog" and made["baseline_prompt"] == "a dog"
    assert made["references"]["baseline"]["count"] == 5
    for bad, says in ((("", "a"), "Two prompts"), (("a", "a "), "are the same")):
        with pytest.raises(RudderError, match=says):
            list(trays.paint(studio, session, bad, 5, ""))
    with pytest.raises(RudderError, match="number of pictures"):
        list(trays.paint(studio, session, ("a", "b"), 9999, ""))
    assert len(session.trays["concept"].shots) == 5, "a refused wish changes nothing"
    run = trays.paint(studio, session, ("a red car", "a car"), 5, "")
    next(run)
    session.stop_task("learn")
    with pytest.raises(Cancelled):
        list(run)
    assert len(session.trays["concept"].shots) == 5, "nothing came of it, so what was there is there again"


def test_painting_replaces_no_uploaded_picture_and_takes_no_hours(studio: Studio, tmp_path: Path, monkeypatch):
    session = Session()
    filled(studio, session, "baseline", saved(tmp_path, 3))
    with pytest.raises(RudderError, match="pictures of yours here.*clear both sets first"):
        list(trays.paint(studio, session, ("a red car", "a car"), 5, ""))
    assert len(session.trays["baseline"].shots) == 3
    trays.clear(session, "baseline")
    monkeypatch.setattr(studio, "pace", Pace(900.0, 900.0))
    with pytest.raises(RudderError, match="Painting 10 pictures would take about .* and the page allows 60 min"):
        list(trays.paint(studio, session, ("a red car", "a car"), 5, ""))


def test_names_sums_and_farewells(studio: Studio, vector, tmp_path: Path):
    session = Session()
    vector.save(tmp_path / "v.safetensors")
    assert add_vector(studio, session, str(tmp_path / "v.safetensors")) == "red"
    assert add_vector(studio, session, str(tmp_path / "v.safetensors")) == "red" and len(session.vectors) == 1
    assert library.keep(studio, session, vector * -1) == "-1 * red"
    other = vector.replace(vectors={s: v.roll(1, 1) for s, v in vector.vectors.items()})
    assert library.keep(studio, session, other) == "red 2", "nothing is lost to a name that is taken"
    made = cards.combine(studio, session, "red", "plus", "red 2", "")
    assert made == "red + red 2" and cards.cards(studio, session)[0]["title"] == made
    with pytest.raises(RudderError, match="concept to combine"):
        cards.combine(studio, session, "red", "plus", None, "")
    with pytest.raises(RudderError, match="Nothing is left"):
        cards.combine(studio, session, "red", "minus", "red", "")
    assert library.rename(studio, session, made, "sum") == "sum" and session.vectors["sum"].name == "sum"
    for name, says in (("red", "already"), ("", "needs a name"), ("x" * 41, "needs a name"), (7, "needs a name")):
        with pytest.raises(RudderError, match=says):
            library.rename(studio, session, "sum", name)
    assert Path(vector_file(session, "sum")).is_file()
    gone = session.vectors["sum"]
    library.forget(session, "sum", chosen=True)
    assert "sum" not in session.vectors and session.held() > 0
    assert library.take_back(studio, session) == ("sum", True) and session.vectors["sum"] is gone
    library.forget(session, "sum")
    library.forget(session, "red 2")
    assert library.take_back(studio, session) == ("red 2", False)
    with pytest.raises(RudderError, match="No concept was deleted"):
        library.take_back(studio, session)
    with pytest.raises(RudderError, match="none of your concepts"):
        library.forget(session, "sum")
    with pytest.raises(RudderError, match="no pictures here"):
        list(cards.measure(studio, session, "red"))


def test_who_runs_it_at_home_finds_everything_again(studio: Studio, vector, tmp_path: Path):
    shelf = library.open_library(tmp_path, studio.backbone)
    first = Session(shelf)
    library.keep(studio, first, vector, sheet=Image.new("RGB", (128, 128), "red"))
    library.keep(studio, first, vector.replace(name="gone"))
    library.rename(studio, first, "red", "rouge")
    library.forget(first, "rouge")
    assert not list(tmp_path.glob("rouge*"))
    library.take_back(studio, first)
    library.forget(first, "gone")
    assert set(copy.deepcopy(first).vectors) == {"rouge"}, "another tab has it at once"
    again = Session(library.open_library(tmp_path, studio.backbone))
    assert set(again.vectors) == {"rouge"} and again.faces["rouge"]["baseline"].startswith("data:image")
    assert cards.cards(studio, again)[0]["own"]
    assert not copy.deepcopy(Session()).vectors, "without a library every session is its own"
