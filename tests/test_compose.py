"""The workbench without a browser: what it paints, remakes and restores, and what it refuses."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from steering.errors import Cancelled, RudderError
from steering.inversion import WAYS, inverted
from steering.keeping import read_recipe, read_vectors
from steering.masks import mask_text
from steering.plan import Steering
from steering.recipe import Recipe, Use, Window
from steering.sampling import finish, sample
from steering.ui.compose import about, beyond_stage, compose_panel, listing, own_picture, restored
from steering.ui.compose_asked import OWN_LIMIT, job_of
from steering.ui.compose_run import paint
from steering.ui.session import Session
from steering.ui.studio import Studio, open_studio
from tests.tiny import pictures
from tests.tiny_edm import make_tiny_edm

LEFT = Image.new("L", (64, 64))
LEFT.paste(255, (0, 0, 32, 64))
TWO = Recipe(
    model="tiny-random", prompt="a red apple", seed=3, num_inference_steps=6, guidance_scale=2.0,
    concepts=(("red", 2.0), ("blue", 1.0)), uses=(Use("norm", Window(0.2, 0.8)), Use("erase", Window(0.0, 1.0))),
)  # fmt: skip


@pytest.fixture(scope="module")
def studio(tiny_folder: Path) -> Studio:
    return open_studio(str(tiny_folder), device="cpu")


@pytest.fixture
def owner(studio: Studio, vector) -> Session:
    session = Session()
    session.keep(vector, {}, set())
    session.keep((vector * -0.5).replace(name="blue"), {}, set())
    return session


def state(recipe: Recipe, **more) -> dict:
    import json

    return {"recipe": json.loads(recipe.to_json()), "own": "", "way": "edit_friendly", "words": "", **more}


def made(studio: Studio, owner: Session, asked: dict, ticket: int = 1) -> dict:
    *_, last = paint(studio, owner, {"ticket": ticket, "state": asked})
    assert last["phase"] == "done"
    return last


def kept(message: dict, path: Path) -> Path:
    """What Download saves, but for its enlargement."""
    path.write_bytes(base64.b64decode(message["after"]["src"].split(",")[1]))
    return path


def pixels(message: dict) -> bytes:
    return Image.open(BytesIO(base64.b64decode(message["after"]["src"].split(",")[1]))).tobytes()


def test_two_concepts_and_a_mask_are_what_the_package_paints(studio: Studio, owner: Session, tmp_path):
    recipe = replace(TWO, mask=mask_text(LEFT))
    messages = list(paint(studio, owner, {"ticket": 1, "state": state(recipe)}))
    assert [m["phase"] for m in messages].count("done") == 1 and any(
        "before" in m and "after" not in m for m in messages
    )
    file = kept(messages[-1], tmp_path / "a.png")
    found, vectors = read_recipe(file), read_vectors(file)
    assert set(vectors) == {"red", "blue"} and found.mask == recipe.mask and found.uses[1].operator == "erase"
    alone = finish(sample(studio.backbone, found, Steering.from_recipe(found, vectors))).images[0]
    assert alone.tobytes() == pixels(messages[-1]), "bit for bit, without the page"


def test_painting_again_gives_the_same_bytes(studio: Studio, owner: Session):
    first = made(studio, owner, state(TWO))
    for cache in (studio.prefixes, studio.unsteered):
        cache._kept.clear()
    assert made(studio, owner, state(TWO), 2)["after"]["src"] == first["after"]["src"]
    other = made(studio, owner, state(replace(TWO, concepts=(("red", -2.0), ("blue", 1.0)))), 3)
    assert pixels(other) != pixels(first) and other["before"]["src"] == first["before"]["src"]


def test_one_added_concept_is_a_recipe_that_steer_takes_back(studio: Studio, owner: Session, tmp_path):
    one = replace(TWO, concepts=(("red", 1.0),), uses=(Use("add", Window(0.3, 0.9)),))
    found = read_recipe(kept(made(studio, owner, state(one)), tmp_path / "a.png"))
    assert not beyond_stage(found) and found.window == Window(0.3, 0.9) and found.sites
    assert beyond_stage(TWO) and beyond_stage(replace(one, uses=(), mask=mask_text(LEFT)))


def test_a_picture_of_ones_own_is_inverted_painted_and_remade(studio: Studio, owner: Session, tmp_path):
    file = tmp_path / "own.png"
    pictures(1, seed=8, size=50)[0].convert("LA").resize((70, 41)).save(file)
    told = own_picture(studio, owner, str(file))
    assert told["own"] in owner.pictures and len(told["marks"]) == len(WAYS)
    recipe = replace(TWO, prompt="a cat")
    last = made(studio, owner, state(recipe, own=told["own"]))
    assert "error" in last["own"], "how well the model paints it is said"
    saved = kept(last, tmp_path / "a.png")
    found = read_recipe(saved)
    assert found.picture in told["marks"]
    begun = inverted(studio.backbone, owner.pictures[told["own"]], found, "edit_friendly")
    steering = Steering.from_recipe(found, read_vectors(saved))
    assert finish(sample(studio.backbone, found, steering, picture=begun)).images[0].tobytes() == pixels(last)
    message = restored(studio, owner, str(saved), found)
    assert "bring that very picture" in message["needs"] and message["state"]["own"] == ""
    with pytest.raises(RudderError, match="bring that very picture"):
        made(studio, owner, message["state"], 2)
    assert made(studio, owner, message["state"] | {"own": told["own"]}, 3)["after"]["src"] == last["after"]["src"]


def test_a_download_restores_everything_elsewhere(studio: Studio, owner: Session, tmp_path):
    last = made(studio, owner, state(replace(TWO, mask=mask_text(LEFT), halves="opposite")))
    file, stranger = kept(last, tmp_path / "a.png"), Session()
    message = restored(studio, stranger, str(file), read_recipe(file))
    assert set(stranger.vectors) == {"red", "blue"} and {one["name"] for one in message["concepts"]} >= {"red", "blue"}
    assert made(studio, stranger, message["state"])["after"]["src"] == last["after"]["src"]
    plain = replace(TWO, uses=(), sites=None)
    assert restored(studio, stranger, str(file), plain)["state"]["recipe"]["uses"][0]["sites"], "all of the vector's"


def test_words_come_as_a_third_and_fourth_picture(studio: Studio, owner: Session):
    last = made(
        studio, owner, state(replace(TWO, concepts=(("red", 9.0), ("blue", 0.0))), words="a pencil sketch of a cat")
    )
    assert [one["way"] for one in last["rivals"]] == ["prompt", "embedding"]
    assert all("grey levels" in one["sentence"] for one in last["rivals"])
    for one in last["rivals"]:
        assert one["file"] == f"rudder-words-{one['way']}-seed{TWO.seed}.png"
        assert one["src"].startswith("data:image/png")


def test_a_newer_run_and_stop_end_the_older_and_leave_the_stage_alone(studio: Studio, owner: Session):
    with owner.run(7) as stage:
        run = paint(studio, owner, {"ticket": 1, "state": state(replace(TWO, seed=99))})
        next(run)
        owner.bench.outdate(2)
        with pytest.raises(Cancelled):
            list(run)
        assert not stage.is_set()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "go to that model's page"),
        ({"concepts": [["nobody", 1]], "uses": []}, "no concept named"),
        ({"concepts": [["red", 1]] * 40, "uses": []}, "too many at once"),
        ({"uses": [{"operator": "add", "window": None, "sites": ["nowhere"]}, {}]}, "nowhere"),
        ({"mask": base64.b64encode(b"no").decode()}, "mask cannot be read"),
        ({"num_inference_steps": 400}, "goes up to"),
        ({"picture": "ddim 0123456789abcdef"}, "bring that very picture"),
    ],
)
def test_what_will_not_do_is_one_sentence(studio: Studio, owner: Session, change: dict, words: str):
    asked = state(TWO)
    asked["recipe"] |= change
    with pytest.raises(RudderError, match=words) as told:
        made(studio, owner, asked)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_a_mask_of_another_size_and_things_that_are_no_state(studio: Studio, owner: Session):
    file = BytesIO()
    Image.new("L", (32, 32), 255).save(file, "PNG")
    wide = state(TWO)
    wide["recipe"]["mask"] = base64.b64encode(file.getvalue()).decode()
    for bad in (
        wide,
        None,
        [],
        {"recipe": 3},
        state(TWO, own="not there"),
        state(TWO, way="magic"),
        state(TWO, words=3),
    ):
        with pytest.raises(RudderError):
            job_of(studio, owner, bad)


def test_a_session_keeps_a_few_pictures_and_nobody_elses(studio: Studio, tmp_path):
    session, names = Session(), []
    for seed in range(OWN_LIMIT + 1):
        pictures(1, seed=seed)[0].save(tmp_path / f"{seed}.png")
        names.append(own_picture(studio, session, str(tmp_path / f"{seed}.png"))["own"])
    assert list(session.pictures) == names[1:]
    with pytest.raises(RudderError, match="not here any more"):
        job_of(studio, Session(), state(TWO, own=names[-1]))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n but no")
    with pytest.raises(RudderError, match="bad.png"):
        own_picture(studio, session, str(tmp_path / "bad.png"))


def test_what_a_family_lacks_is_absent(tmp_path, studio: Studio):
    edm = open_studio(str(make_tiny_edm(tmp_path / "random-edm")), device="cpu")
    told = about(edm)
    assert told["reads"] in ("class", "nothing") and not told["inverts"]
    assert about(studio)["reads"] == "prompt" and about(studio)["inverts"] and about(studio)["groups"] == []
    with pytest.raises(RudderError, match="reads no prompts"):
        job_of(edm, Session(), state(Recipe(model=edm.backbone.name), words="a cat"))
    assert listing(edm, Session())["concepts"] == []
    import gradio as gr

    with gr.Blocks():
        assert compose_panel(edm, {}).bench.value["state"]["recipe"]["concepts"] == []
