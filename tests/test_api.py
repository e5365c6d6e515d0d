"""The page's verbs by program, with the clients that people use: gradio_client, curl, and an MCP client."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from steering.arithmetic import combined
from steering.concepts import ConceptVector
from steering.errors import RudderError
from steering.inversion import distance
from steering.keeping import read_recipe, read_vectors
from steering.pace import Pace
from steering.plan import Steering
from steering.recipe import Recipe
from steering.sampling import finish, sample
from steering.ui import api, api_concepts, hangar, serve
from steering.ui.calls import Page, _local, file_of
from steering.ui.described import PARAMETERS, RETURNS
from tests.served import ENDPOINTS, Served, free_port
from tests.tiny import pictures

FILE = {"_type": "gradio.FileData"}
TRACE = re.compile(r"Traceback|File \"|/steering/|site-packages|/tmp/|Error:")


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(served.address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Five warm pictures, as gradio_client sends them."""
    folder = tmp_path_factory.mktemp("pictures")
    for place, picture in enumerate(pictures(5, seed=9, tint=(80, 0, 0))):
        picture.save(folder / f"{place}.png")
    return [handle_file(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def learned(client: Client, files: list[Any]) -> str:
    """The file of a vector that was learned by a call."""
    return client.predict("warm", files, caption="a red apple", seed=4, api_name="/learn")[0]


def inline(picture: Image.Image) -> str:
    """A picture as a data: address."""
    file = BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def called(served: Served, name: str, /, **values: Any) -> str:
    """What a call without a client library ends with: the last line of its events."""
    return _ended(served, name, httpx.post(f"{served.address}/gradio_api/call/v2/{name}", json=values))


def _ended(served: Served, name: str, answer: httpx.Response) -> str:
    if answer.status_code != 200:
        return answer.json()["error"]
    told = httpx.get(f"{served.address}/gradio_api/call/{name}/{answer.json()['event_id']}", timeout=60).text
    data = json.loads(told.strip().rpartition("\ndata: ")[2])
    return data["error"] if isinstance(data, dict) else data


def test_every_verb_is_an_endpoint_whose_words_and_types_are_told(client: Client):
    told = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {name.strip("/") for name in told} == ENDPOINTS == set(RETURNS)
    for name, endpoint in told.items():
        verb = getattr(api, name.strip("/"))
        asked = list(inspect.signature(verb).parameters)[1:]
        assert [one["parameter_name"] for one in endpoint["parameters"]] == asked and set(asked) <= set(PARAMETERS)
        assert all(one["type"] for one in endpoint["parameters"]), "every parameter has a type"
        assert endpoint["description"].startswith(verb.__doc__.splitlines()[0])
        assert ("seed" in asked) == (name not in ("/combine", "/score", "/scan", "/models", "/concepts"))


def test_a_seed_paints_what_the_package_paints(client: Client, served: Served):
    file, told = client.predict("a red apple", seed=3, steps=4, guidance=2.0, api_name="/generate")
    recipe = read_recipe(file)
    assert recipe == Recipe.from_json(told["recipe"]) and (recipe.seed, recipe.num_inference_steps) == (3, 4)
    plain = finish(sample(served.studio.backbone, recipe)).images[0]
    assert Image.open(file).convert("RGB").tobytes() == plain.tobytes()
    again, _ = client.predict("a red apple", seed=3, steps=4, guidance=2.0, api_name="/generate")
    assert Path(again).read_bytes() == Path(file).read_bytes()


def test_a_concept_is_steered_as_asked_and_as_it_advises(client: Client):
    whole = [{"name": "sketch", "strength": 0.5, "operator": "norm", "window": [0.2, 0.9]}]
    file, told = client.predict("a car", whole, seed=1, steps=4, halves="conditional", api_name="/steer")
    recipe = read_recipe(file)
    assert recipe.concepts == (("sketch", 0.5),) and recipe.halves == "conditional" and told["remarks"] == []
    assert (recipe.uses[0].operator, recipe.uses[0].window.start) == ("norm", 0.2)
    file, _ = client.predict("a zeppelin", ["sketch"], steps=4, sites=["up_blocks.1.resnets.0"], api_name="/steer")
    recipe = read_recipe(file)
    assert recipe.concepts == (("sketch", 1.0),) and recipe.sites == ("up_blocks.1.resnets.0",)


def test_what_one_caller_learned_is_a_file_that_another_sends_and_nobody_else_has(
    client: Client, served: Served, learned: str, tmp_path: Path
):
    other = Client(served.address, verbose=False, download_files=tmp_path)
    with pytest.raises(AppError, match="no concept named 'warm'"):
        other.predict("a car", ["warm"], steps=4, api_name="/steer")
    vector = ConceptVector.load(learned, served.studio.backbone)
    assert vector.provenance["prompt"] == "a red apple" and vector.provenance["seed"] == 4
    both = ["sketch", {"name": "warm", "strength": 0.25}]
    file, _ = other.predict("a car", both, vectors=[handle_file(learned)], steps=4, api_name="/steer")
    recipe = read_recipe(file)
    assert recipe.concepts == (("sketch", 1.0), ("warm", 0.25)) and len(recipe.uses) == 2
    assert set(read_vectors(file)) == {"warm"}, "what does not ship travels in the picture"
    with pytest.raises(AppError, match="no concept named 'warm'"):
        other.predict("a car", ["warm"], steps=4, api_name="/steer")


def test_a_strip_has_its_frames_and_their_distances(client: Client):
    sheet, frames, told = client.predict(
        "a car", ["sketch"], strengths=[0, 0.5, 20], steps=4, seed=2, api_name="/strip"
    )
    assert told["strengths"] == [0, 0.5, 20] and told["distances"][0] == 0 < told["distances"][1]
    assert [read_recipe(one).concepts[0][1] for one in frames] == [0, 0.5, 20]
    assert Image.open(sheet).width > 3 * 32


def test_a_picture_of_ones_own_is_steered_within_a_mask(client: Client, files: list[Any], tmp_path: Path):
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    mask.save(tmp_path / "mask.png")
    given = {"picture": files[0], "mask": handle_file(tmp_path / "mask.png"), "strengths": "0..30 [2]", "steps": 4}
    _, frames, told = client.predict("a car", ["sketch"], **given, api_name="/strip")
    recipe = read_recipe(frames[1])
    assert recipe.mask and recipe.picture.startswith("edit_friendly ") and told["remarks"], "its error is told"
    plain, steered = (Image.open(one).convert("RGB") for one in frames)
    assert plain.crop((16, 0, 32, 32)).tobytes() == steered.crop((16, 0, 32, 32)).tobytes()
    assert plain.crop((0, 0, 16, 32)).tobytes() != steered.crop((0, 0, 16, 32)).tobytes()


def test_a_grid_has_its_cells_scores_and_what_remakes_them(client: Client, served: Served):
    _, packed, told = client.predict(
        "a car", ["sketch"], strengths="0..1 [2]", down="seed", rows="1..3", steps=4, api_name="/grid"
    )
    assert told["across"] == [0, 1] and told["down"] == ["1", "2", "3"]
    assert [len(row) for row in told["spikiness"]] == [2, 2, 2] and all(row[0] == 0 for row in told["distances"])
    with zipfile.ZipFile(packed) as cells:
        assert len(cells.namelist()) == 7 and json.loads(cells.read("grid.json"))["axis"] == "seed"
    _, _, told = client.predict("a car", strengths=[1], down="concept", rows="sketch", steps=4, api_name="/grid")
    assert told["down"] == ["sketch"] and served.studio.concepts.keys() == {"sketch"}


def test_a_concept_from_two_prompts(client: Client, served: Served):
    file, sheet, told = client.predict("dog", ["a dog"], ["a cat"], count=2, seed=5, api_name="/learn_from_prompts")
    made = ConceptVector.load(file, served.studio.backbone).provenance
    assert made["references"]["concept"]["seeds"] == made["references"]["baseline"]["seeds"] == [5, 6]
    assert Image.open(sheet).size == (2 * api_concepts.THUMB, 2 * api_concepts.THUMB) and told["advice"]["why"]
    file, *_ = client.predict("dog", ["a dog"], ["a cat"], 2, 5, ["red, white"], api_name="/learn_from_prompts")
    sides = ConceptVector.load(file, served.studio.backbone).provenance["references"]
    assert sides["concept"]["prompts"] == ["a dog, red", "a dog, white"] and len(sides["baseline"]["prompts"]) == 2


def test_words_ask_for_as_much_as_steering_changes(client: Client, served: Served):
    asked = {"concepts": [{"name": "sketch", "strength": 20}], "steps": 4, "seed": 2}
    steered, prompt, embedding, told = client.predict("a car", "a blue car", **asked, api_name="/words")
    recipe = read_recipe(steered)
    assert recipe == Recipe.from_json(told["recipe"]) and recipe.concepts == (("sketch", 20.0),)
    backbone, vector = served.studio.backbone, served.studio.concepts["sketch"].vector
    (alone,) = finish(sample(backbone, recipe, Steering.from_recipe(recipe, {"sketch": vector}))).images
    assert Image.open(steered).convert("RGB").tobytes() == alone.tobytes()
    (plain,) = finish(sample(backbone, recipe)).images
    for way, file in (("prompt", prompt), ("embedding", embedding)):
        assert told[way]["wanted"] == pytest.approx(distance(plain, alone))
        assert told[way]["change"] == pytest.approx(distance(plain, Image.open(file).convert("RGB")))


def test_concepts_are_combined_as_the_package_combines(client: Client, served: Served, learned: str):
    given = {"vectors": [handle_file(learned)], "name": "warm sketch"}
    file, told = client.predict("warm", "sketch", "minus", **given, api_name="/combine")
    made = ConceptVector.load(file, served.studio.backbone)
    warm = ConceptVector.load(learned, served.studio.backbone)
    due = combined(warm, served.studio.concepts["sketch"].vector, "minus", "warm sketch")
    assert made.name == told["name"] == "warm sketch" and told["advice"]["strength"] == 1
    assert all(torch.equal(made.vectors[site], due.vectors[site]) for site in due.vectors)


def test_pictures_are_scored_one_by_one_and_many_at_once(client: Client, files: list[Any], tmp_path: Path):
    told = client.predict(files[0], api_name="/score")
    assert set(told) == set(api.TOLD) and told["verdict"] in ("memorised", "ordinary", "none")
    (tmp_path / "list.txt").write_text("a red apple\na car\n")
    rows, table, page, said = client.predict([*files[:1], handle_file(tmp_path / "list.txt")], api_name="/scan")
    assert len(Path(rows).read_text().splitlines()) == 4 and said["summary"].startswith("3 rows")
    assert Path(table).suffix == ".csv" and "<html" in Path(page).read_text()


def test_models_and_concepts_are_told(client: Client, served: Served):
    here, *others = client.predict(api_name="/models")
    assert here["name"] == served.studio.backbone.name and here["sites"] and not others
    (sketch,) = client.predict(api_name="/concepts")
    assert sketch["name"] == "sketch" and sketch["learned"] and sketch["advice"]["strength"] == 1.0


def test_without_a_calibration_a_score_says_how_to_make_one(client: Client, served: Served, files, monkeypatch):
    monkeypatch.setattr(served.studio, "calibration", None)
    with pytest.raises(AppError, match="rudder calibrate"):
        client.predict(files[0], api_name="/score")


def test_what_would_take_too_long_is_not_begun(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(served.studio, "pace", Pace(1.0, 1.0))
    given = {"prompt": "a", "concepts": ["sketch"], "down": "seed", "rows": "1..9", "strengths": "0..1 [9]"}
    assert "This would take about" in called(served, "grid", **given)
    assert "ask for fewer" in called(served, "words", prompt="a", words="b", concepts=["sketch"], steps=100)
    assert "ask for fewer" in called(served, "strip", prompt="a", concepts=["sketch"], strengths="0..1 [60]")
    asked = {"prompts": ["a dog"], "against": ["a cat"], "count": 100}
    assert "fewer pictures" in called(served, "learn_from_prompts", name="x", **asked)


BAD = {
    "a seed that is a word": ("generate", {"prompt": "a", "seed": "x"}, "The seed is x: give a whole number"),
    "a seed too large": ("generate", {"prompt": "a", "seed": 2**60}, "The seed is 11529"),
    "steps without end": ("generate", {"prompt": "a", "steps": 10**9}, "number of steps is 1000000000"),
    "a trait without alternative": (
        "learn_from_prompts",
        {"name": "x", "prompts": ["a"], "against": ["b"], "even": ["man"]},
        "has no alternative",
    ),
    "a prompt that is a list": ("generate", {"prompt": ["a"]}, "The prompt must be text, not list"),
    "an endless prompt": ("generate", {"prompt": "a" * 10**6}, "has 1,000,000 characters"),
    "a parameter that is not": ("generate", {"prompt": "a", "strenght": 1}, "`strenght` is not a valid"),
    "no prompt": ("generate", {}, "prompt"),
    "an endpoint that is not": ("paint", {"prompt": "a"}, "no endpoint 'paint'"),
    "no concept": ("steer", {"prompt": "a"}, "No concept is given"),
    "an unknown concept": ("steer", {"prompt": "a", "concepts": ["skech"]}, "did you mean 'sketch'"),
    "a concept in no form": ("steer", {"prompt": "a", "concepts": [{"sketch": 1}]}, "give its name, or"),
    "concepts that are a word": ("steer", {"prompt": "a", "concepts": "sketch"}, "concepts is 'sketch': give a list"),
    "concepts without end": ("steer", {"prompt": "a", "concepts": ["sketch"] * 10**5}, "100,000 entries"),
    "a concept twice": ("steer", {"prompt": "a", "concepts": ["sketch", "sketch"]}, "given twice"),
    "a strength that is none": ("steer", {"prompt": "a", "concepts": [{"name": "sketch", "strength": []}]}, "strength"),
    "a window that is one": ("steer", {"prompt": "a", "concepts": ["sketch"], "window": [1]}, "The window is [1]"),
    "an operator": ("steer", {"prompt": "a", "concepts": [{"name": "sketch", "operator": "mul"}]}, "no operator"),
    "an unknown site": ("steer", {"prompt": "a", "concepts": ["sketch"], "sites": ["x"]}, "x"),
    "a vector that is a picture": ("steer", {"prompt": "a", "vectors": ["PICTURE"]}, "is not a safetensors file"),
    "a mask that is text": ("steer", {"prompt": "a", "concepts": ["sketch"], "mask": "TEXT"}, "no mask that can be"),
    "strengths without end": ("strip", {"prompt": "a", "concepts": ["sketch"], "strengths": [1] * 10**5}, "at most 64"),
    "a range without end": (
        "grid",
        {"prompt": "a", "concepts": ["sketch"], "strengths": "0..1 [999]"},
        "The row of strengths",
    ),
    "an endless grid": ("grid", {"prompt": "a", "concepts": ["sketch"], "down": "seed", "rows": "1..900"}, "900"),
    "an axis": ("grid", {"prompt": "a", "concepts": ["sketch"], "down": "moon", "rows": "1"}, "no axis named 'moon'"),
    "words that are the prompt": ("words", {"prompt": "a", "words": "a", "concepts": ["sketch"]}, "the prompt itself"),
    "no words": ("words", {"prompt": "a", "words": "", "concepts": ["sketch"]}, "is empty"),
    "an unknown way": ("combine", {"first": "sketch", "second": "sketch", "way": "times"}, "way to combine"),
    "a concept from itself": ("combine", {"first": "sketch", "second": "sketch", "way": "minus"}, "Nothing is left"),
    "an unknown second": ("combine", {"first": "sketch", "second": "skech"}, "did you mean 'sketch'"),
    "no pictures": ("learn", {"name": "x", "pictures": []}, "no pictures to learn from"),
    "pictures that are numbers": ("learn", {"name": "x", "pictures": [1, 2]}, "File 1 of pictures is 1, which is no"),
    "pictures without end": ("learn", {"name": "x", "pictures": ["y"] * 10**4}, "10,000 entries"),
    "no name": ("learn", {"name": "", "pictures": ["PICTURE"]}, "name is empty"),
    "prompts without end": ("learn_from_prompts", {"name": "x", "prompts": ["a"] * 99, "against": []}, "99 entries"),
    "too many to paint": (
        "learn_from_prompts",
        {"name": "x", "prompts": ["a"], "against": ["b"], "count": 101},
        "1 to 100",
    ),
    "a file of this machine": ("score", {"picture": {"path": "/etc/hostname", "meta": FILE}}, "not here"),
    "the same as text": ("score", {"picture": "/etc/hostname"}, "not here"),
    "a way out of the folder": ("score", {"picture": "http://x/gradio_api/file=../../etc/hostname"}, "not here"),
    "an address elsewhere": ("score", {"picture": {"path": "http://x.org/y.png", "meta": FILE}}, "nothing is fetched"),
    "the same as words": ("score", {"picture": "https://x.org/y.png"}, "nothing is fetched from elsewhere"),
    "no base64": ("score", {"picture": "data:image/png;base64,%%%"}, "no data: address in base64"),
    "a picture that is text": ("score", {"picture": "TEXT"}, "not a picture"),
    "a picture with odd marks": ("score", {"picture": {"path": "x", "meta": 3}}, "cannot be read"),
    "nothing to scan": ("scan", {"files": []}, "nothing to scan"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_end_in_one_sentence(served: Served, name: str):
    verb, values, due = BAD[name]
    sent = {"PICTURE": inline(pictures(1)[0]), "TEXT": "data:image/png;base64," + base64.b64encode(b"none").decode()}
    filled = json.loads(re.sub('"(PICTURE|TEXT)"', lambda found: json.dumps(sent[found[1]]), json.dumps(values)))
    sentence = called(served, verb, **filled)
    assert isinstance(sentence, str) and due in sentence, sentence
    assert "\n" not in sentence and not TRACE.search(sentence) and len(sentence) < 600


def test_values_may_come_in_a_row_the_last_ones_left_out(served: Served):
    at = f"{served.address}/gradio_api/call"
    answer = httpx.post(f"{at}/generate", json={"data": ["a car", 7, 4]})
    assert _ended(served, "generate", answer)[1]["recipe"]["seed"] == 7
    for data, due in (([], "lacks prompt"), (["a"] * 9, "takes at most 5 values")):
        assert due in _ended(served, "generate", httpx.post(f"{at}/generate", json={"data": data}))
    assert "no endpoint" in httpx.post(f"{at}/nothing", json={"data": []}).json()["error"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_uploads_learns_and_steers(served: Served, files: list[Any]):
    at = f"{served.address}/gradio_api"

    def curl(*words: str) -> Any:
        return subprocess.run(["curl", "-sN", *words], capture_output=True, text=True, check=True).stdout

    def call(name: str, /, **values: Any) -> Any:
        event = json.loads(curl("-X", "POST", f"{at}/call/v2/{name}", "-H", "Content-Type: application/json", "-d",
                                json.dumps(values)))["event_id"]  # fmt: skip
        return json.loads(curl(f"{at}/call/{name}/{event}").strip().rpartition("\ndata: ")[2])

    sent = json.loads(curl(*[w for one in files for w in ("-F", f"files=@{one['path']}")], f"{at}/upload"))
    vector, told = call("learn", name="warm", pictures=[{"path": path, "meta": FILE} for path in sent])
    assert told["advice"]["why"]
    picture, _ = call("steer", prompt="a car", vectors=[vector["url"]], steps=4)
    data = subprocess.run(["curl", "-s", picture["url"]], capture_output=True, check=True).stdout
    assert read_recipe(BytesIO(data)).concepts[0][0] == "warm"


def test_a_caller_who_goes_stops_the_run(client: Client, served: Served, monkeypatch: pytest.MonkeyPatch):
    seen, denoise = [], served.studio.backbone.denoise

    def slow(*given: Any) -> Any:
        seen.append(time.sleep(0.05))
        return denoise(*given)

    monkeypatch.setattr(type(served.studio.backbone), "denoise", lambda self, *given: slow(*given))
    job = client.submit("a car", steps=100, api_name="/generate")
    while len(seen) < 15:
        time.sleep(0.05)
    job.cancel()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        count = len(seen)
        time.sleep(1.0)
        if len(seen) == count:
            break
    assert len(seen) < 100, "it went on to the end"


def test_only_files_that_were_sent_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "in"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.png").write_bytes(b"1")
    (tmp_path / "out.png").write_bytes(b"1")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out.png")
    assert _local("It", f"http://any:7/m/x/gradio_api/file={tmp_path}/in/a%20b.png?x") == str(
        tmp_path / "in" / "a b.png"
    )
    for bad in ("in/../out.png", "out.png", "in/link.png", "in"):
        with pytest.raises(RudderError, match="not here"):
            _local("It", str(tmp_path / bad))
    path = file_of("It", "data:image/" + "A" * 2**20 + ";base64,QQ==", tmp_path)
    assert len(Path(path).name) < 40, "the kind of a data: address is no name without end"


def test_frames_carry_own_vectors_while_they_fit(client: Client, learned: str, monkeypatch: pytest.MonkeyPatch):
    for most, kept in ((2**26, {"warm"}), (100, set())):
        monkeypatch.setattr(api, "CARRIED", most)
        _, frames, _ = client.predict(
            "a car", ["warm"], vectors=[handle_file(learned)], strengths=[0, 1], steps=3, api_name="/strip"
        )
        assert [set(read_vectors(one)) for one in frames] == [kept, kept]


def test_without_the_package_mcp_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as left:
        serve.serve(["--mcp"])
    assert left.value.code == 2 and "pip install 'rudder-steering[mcp]'" in capsys.readouterr().err


def test_an_mcp_client_learns_steers_and_is_told_what_is_wrong(served: Served):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> None:
        async with (
            streamable_http_client(f"{served.address}/gradio_api/mcp/") as (read, write, *_),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert set(tools) == ENDPOINTS
            asked = tools["steer"].inputSchema
            assert asked["required"] == ["prompt"] and asked["properties"]["seed"]["type"] == "integer"
            assert asked["properties"]["window"]["description"] == PARAMETERS["window"]
            assert tools["score"].description.startswith(api.score.__doc__)

            painted = (await session.call_tool("generate", {"prompt": "a car", "seed": 2, "steps": 4})).content
            image = Image.open(BytesIO(base64.b64decode(painted[0].data)))
            assert painted[0].type == "image" and image.size == (32, 32)
            assert json.loads(painted[-1].text)["recipe"]["seed"] == 2

            warm = [inline(picture) for picture in pictures(5, seed=9, tint=(80, 0, 0))]
            learnt = await session.call_tool("learn", {"name": "warm", "pictures": warm})
            address = learnt.content[0].text
            assert not learnt.isError and address.endswith("/warm.safetensors")
            steered = await session.call_tool("steer", {"prompt": "a car", "vectors": [address], "steps": 4})
            assert json.loads(steered.content[-1].text)["recipe"]["concepts"][0][0] == "warm"
            told = await session.call_tool("score", {"picture": painted[1].text.removeprefix("Image URL: ")})
            assert "memorised" in told.content[0].text, "an answer's address is a file of a later call"

            for name, values, due in (
                ("steer", {"prompt": "a", "concepts": ["nothing"]}, "no concept named 'nothing'"),
                ("generate", {"prompt": "a", "seed": "x"}, "is not of type 'integer'"),
                ("generate", {"prompt": "a", "steps": 10**9}, "whole number from 1 to 100"),
                ("score", {"picture": "https://x.org/y.png"}, "nothing is fetched from elsewhere"),
                ("learn", {"name": "x", "pictures": ["/etc/hostname"]}, "not here"),
                ("paint", {}, "paint"),
            ):
                wrong = await session.call_tool(name, values)
                assert wrong.isError and due in wrong.content[0].text, wrong
                assert not TRACE.search(wrong.content[0].text.replace("validation error:", ""))

    asyncio.run(talk())


@pytest.fixture
def further(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a second model's page, below the first one's."""
    monkeypatch.setattr(hangar, "measure_pace", lambda studio: None)

    def build(model: str, say: Any) -> tuple[gr.Blocks, Any, dict[str, Any]]:
        with Page(analytics_enabled=False) as page:
            api.wire(served.studio, [], 1)
        return page.queue(), served.studio, {}

    app = FastAPI()
    look = {"mcp_server": find_spec("mcp") is not None}
    app.router.routes.insert(0, hangar.Hangar({"one": "one", "two": "two"}, build, hangar.mounter("1mb", look)))
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", free_port(), log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.config.port}/m/two/"
    while not thread.is_alive() or not _open(address):
        time.sleep(0.1)
    yield address
    server.should_exit = True
    thread.join(20)


def _open(address: str) -> bool:
    try:
        return "X-Rudder-Door" not in httpx.get(address).headers
    except httpx.HTTPError:
        return False


def test_a_further_models_page_has_its_verbs_and_tools_too(further: str, tmp_path: Path):
    client = Client(further, verbose=False, download_files=tmp_path)
    file, _ = client.predict("a car", seed=6, steps=2, api_name="/generate")
    assert read_recipe(file).seed == 6
    answer = httpx.post(f"{further}gradio_api/call/v2/generate", json={"promt": "a"})
    assert answer.status_code == 422 and "`promt` is not" in answer.json()["error"]
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> Any:
        async with (
            streamable_http_client(f"{further}gradio_api/mcp/") as (read, write, *_),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            return (await session.call_tool("generate", {"prompt": "a car", "steps": 2})).content

    shown, address, _ = asyncio.run(talk())
    url = address.text.removeprefix("Image URL: ")
    assert shown.type == "image" and url.startswith(further) and httpx.get(url).status_code == 200
