"""Pages of further models: opened when somebody comes, given up when nobody is left."""

from __future__ import annotations

import gc
import json
import time
import weakref
from types import SimpleNamespace
from urllib.parse import unquote

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from steering.errors import RudderError
from steering.ui import hangar
from steering.ui.hangar import Hangar, addresses, key_of, menu, mounter
from steering.ui.serve import offered

KEYS = {"tiny-sd": "tiny-sd", "tiny-dit": "tiny-dit", "sd": "/models/sd/"}


def test_addresses_are_plain_and_unique():
    models = ["tiny-sd", "/a/My Model/", "owner/my-model", "???"]
    assert addresses(models) == dict(zip(["tiny-sd", "my-model", "my-model-2", "model"], models, strict=True))
    assert key_of("tiny-sd", {"tiny-sd": ""}) == "tiny-sd-2"


def test_the_menu_leads_everywhere_from_everywhere():
    assert [entry["href"] for entry in menu(KEYS, "tiny-sd")] == ["", "m/tiny-dit/", "m/sd/"]
    assert [entry["href"] for entry in menu(KEYS, "tiny-dit")] == ["../../", "", "../../m/sd/"]
    assert [entry["title"] for entry in menu(KEYS, "tiny-dit")] == ["tiny-sd", "tiny-dit", "sd"]
    assert menu({"tiny-sd": "tiny-sd"}, "tiny-sd") == []
    twins = addresses(["one/sd", "two/sd/"])
    assert [entry["title"] for entry in menu(twins, "one/sd")] == ["sd", "sd (2)"], "the Grid tells models by title"


def test_what_is_offered(monkeypatch):
    monkeypatch.delenv("RUDDER_MODELS", raising=False)
    monkeypatch.delenv("RUDDER_MODEL", raising=False)
    assert offered(["a", "b", "a"]) == ["a", "b"]
    assert offered(None)[0] == "tiny-sd"
    monkeypatch.setenv("RUDDER_MODELS", " x , owner/y,")
    assert offered(None) == ["x", "owner/y"]
    assert offered(["z"]) == ["z"]


class Model:
    """Stands for a studio: nothing but a model's card to link to, and something to be given up."""

    def __init__(self, name: str) -> None:
        self.outline = SimpleNamespace(folder=None, name=name)
        self.backbone = None


@pytest.fixture
def served(monkeypatch):
    """A client of an app with three models; what was built; and a switch that makes building fail."""
    monkeypatch.setattr(hangar, "GRACE", 3.0)
    monkeypatch.setattr(hangar, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(hangar, "measure_pace", lambda studio: None)
    built: list[weakref.ref[Model]] = []
    told = SimpleNamespace(built=built, wrong="")

    def build(model: str, say) -> tuple[gr.Blocks, Model, dict]:
        say("Reading")
        time.sleep(0.2)
        if told.wrong:
            raise RudderError(told.wrong)
        studio = Model(model)
        built.append(weakref.ref(studio))
        with gr.Blocks(analytics_enabled=False, title=f"page of {model}") as page:
            gr.Textbox(f"hello from {model}")
        return page, studio, {}

    app = FastAPI()
    app.router.routes.insert(0, Hangar(KEYS, build, mounter("1mb", {})))

    @app.get("/{rest:path}")
    def first(rest: str) -> str:
        return "the first page"

    with TestClient(app) as told.client:
        yield told


def opened(client: TestClient, path: str) -> str:
    """The page at a path, once the door has gone; "" after thirty seconds."""
    for _ in range(300):
        answer = client.get(path)
        if "x-rudder-door" not in answer.headers:
            return answer.text
        time.sleep(0.1)
    return ""


def test_a_page_is_opened_for_who_comes_and_given_up_afterwards(served):
    first = served.client.get("/m/tiny-dit/")
    assert json.loads(unquote(first.headers["x-rudder-door"]))["text"] in ("Starting", "Reading")
    assert served.client.get("/m/tiny-dit/config").status_code == 503, "its programs wait, too"
    assert "page of tiny-dit" in opened(served.client, "/m/tiny-dit/")
    assert served.client.get("/m/tiny-dit/config").json()["title"] == "page of tiny-dit"
    assert len(served.built) == 1, "however many came"
    assert served.client.get("/m/tiny-dit", follow_redirects=False).headers["location"] == "tiny-dit/"
    for _ in range(200):
        gc.collect()
        if served.built[0]() is None:
            break
        time.sleep(0.1)
    assert served.built[0]() is None, "nothing of the model is left in memory"
    assert "page of tiny-dit" in opened(served.client, "/m/tiny-dit/")
    assert len(served.built) == 2


def test_the_first_model_and_strange_addresses_are_not_its_own(served):
    for path in ("/", "/m/tiny-sd/", "/m/nothing/", "/m"):
        assert served.client.get(path).json() == "the first page"
    assert served.built == []


def test_a_model_that_cannot_be_had_says_why_and_may_be_tried_again(served):
    served.wrong = "The weights of <sd> are truncated: fetch them again."
    served.client.get("/m/sd/")
    for _ in range(50):
        answer = served.client.get("/m/sd/")
        if answer.status_code == 503:
            break
        time.sleep(0.1)
    assert "The weights of &lt;sd&gt; are truncated" in answer.text
    served.wrong = ""
    assert "page of /models/sd/" in opened(served.client, "/m/sd/")


def test_a_waiting_page_that_asks_by_head_is_sent_to_the_reason(served):
    """Its questions neither take the sentence away from it nor have the model read again."""
    served.wrong = "The weights are truncated."
    served.client.get("/m/sd/")
    asked = [{}]
    while "refused" not in asked[-1]:
        answer = served.client.head("/m/sd/")
        asked.append(json.loads(unquote(answer.headers["x-rudder-door"])))
        time.sleep(0.1)
        assert len(asked) < 100
    for _ in range(3):
        assert served.client.head("/m/sd/").status_code == 503
    assert "The weights are truncated." in served.client.get("/m/sd/").text
