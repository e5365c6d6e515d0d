"""The start with a model that does not ship: up before it is loaded, and nothing offered that is not this model's."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from steering.backbones.registry import outline
from steering.files import read_json
from tests.browser.conftest import ROOT, Visit
from tests.browser.test_visitors import learn
from tests.tiny import SD14, make_tiny_sd

SLOW = """
import sys, time
from steering.backbones import layout
told = layout.fingerprint
def slow(*given):
    time.sleep(float(sys.argv[2]))
    return told(*given)
layout.fingerprint = slow  # asked for when all weights are read; nothing that needs torch is imported yet
from steering.ui.serve import serve
serve(["--model", sys.argv[1]])
"""
SECONDS = 12  # that loading takes longer than it would


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an app that has just been started on a folder as people have them."""
    folder = make_tiny_sd(tmp_path_factory.mktemp("models") / "my-finetune", SD14)
    for name in ("rudder.json", "prompts.json"):  # nobody's fine-tune has them
        (folder / name).unlink()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("app") / "log"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "NO_PROXY": "127.0.0.1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(folder), str(SECONDS)], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(address, timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_a_folder_opens_at_once_and_offers_only_what_is_its_own(browser: object, started: str, tmp_path: Path):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(90_000)
    one = Visit(context.new_page())
    one.page.on("console", lambda said: one.trouble.append(said.text) if said.type == "error" else None)
    one.page.on("pageerror", lambda error: one.trouble.append(str(error)))
    one.page.goto(started)
    assert one.page.locator(".rd-door").count() == 1, "the door is there before the model"
    assert one.page.locator("canvas").count() == 0, "no picture of another model"
    one.page.wait_for_function(
        "() => /my-finetune: reading its U-Net, 1 MB/.test(document.querySelector('.rd-door-text').textContent)"
    )

    one.page.wait_for_selector(".rd-stage[data-ready=yes]")  # the browser changes over by itself
    assert one.page.inner_text(".rd-model-line b") == "my-finetune"
    assert f"{8 * SD14['latents'][1]} × " in one.page.inner_text(".rd-model-facts")
    assert "Nothing is painted yet" in one.page.inner_text(".rd-status p")
    assert one.page.locator("#rd-concept input").count() == 0, "no concept that was learned for another model"
    assert "my-finetune has no concepts yet" in one.page.inner_text("#rd-bare")
    assert one.page.locator("#rd-picker-a, #rd-picker-b").count() == 0, "no example it was not trained on"
    assert [one.page.input_value(f"#rd-prompt-{column} textarea") for column in "ab"] == ["", ""]
    said = one.page.inner_text("#rd-steer, body")
    assert "memorised prompt" not in said.lower() and "ordinary prompt" not in said.lower()
    assert not one.page.is_checked("#rd-compare input")
    assert one.page.input_value("#rd-steps input[type=number]") == "40"

    one.page.click(".rd-generate")
    assert "No concept is chosen" in one.notice()
    one.wait()
    one.page.fill("#rd-prompt-a textarea", "a red car")
    one.page.wait_for_function("document.querySelector('#rd-known-a .rd-known').dataset.kind === 'free'")
    learn(one, tmp_path, "my tint")
    assert one.page.is_hidden("#rd-bare")
    one.page.wait_for_function("/^Takes (about|under)/.test(document.querySelector('.rd-estimate').textContent)")
    one.generate()
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a red car"
    context.close()
    assert not one.trouble, one.trouble


def test_the_page_names_its_model_and_what_it_knows(visit):
    one = visit()
    shipped = outline("tiny-sd")
    assert one.page.inner_text(".rd-models a[aria-current]") == shipped.name
    links = {link.inner_text(): link.get_attribute("href") for link in one.page.locator(".rd-model-links a").all()}
    assert {"Paper", "README", "Code", "Licence", "Credits", "Model card"} == set(links)
    for title, place in links.items():
        if title != "Paper":
            answer = one.page.request.get(f"{one.page.url.rstrip('/')}/{place}")
            assert answer.ok and len(answer.text()) > 500, title
    one.page.click(".rd-model-more summary")
    words = one.page.locator(".rd-chips button").all_inner_texts()
    assert set(shipped.words) <= set(words)
    one.page.fill("#rd-prompt-a textarea", "a")
    word = next(word for word in shipped.words if len(word) > 3)
    one.page.locator(".rd-chips button", has_text=re.compile(f"^{word}$")).click()
    assert one.page.input_value("#rd-prompt-a textarea") == f"a {word}"
    assert "is-due" in one.page.get_attribute(".rd-actions", "class")


def test_a_prompt_is_called_memorised_only_where_it_is_known_to_be(visit):
    one = visit()
    known = read_json(outline("tiny-sd").folder / "prompts.json")
    held = next(row["prompt"] for row in known["memorized"] if row["recall"] == 1)
    rare = min(known["memorized"], key=lambda row: (row["recall"], row["repeats"]))
    assert rare["recall"] < 1
    prompts = [
        ("ordinary", known["ordinary"][-1]["prompt"]), ("memorised", held), ("free", held + " x"),
        ("free", rare["prompt"]), ("none", ""),
    ]  # fmt: skip
    for column in "ab":
        for kind, prompt in prompts:
            one.page.fill(f"#rd-prompt-{column} textarea", prompt)
            line = f"#rd-known-{column} .rd-known"
            one.page.wait_for_function(
                "([line, kind]) => document.querySelector(line).dataset.kind === kind", arg=[line, kind]
            )
            assert one.page.inner_text(line).startswith(("Ordinary", "Memorised")) == (
                kind in ("ordinary", "memorised")
            )


def test_what_generate_takes_is_said_before_it_is_pressed(visit):
    one = visit()
    said = "document.querySelector('.rd-estimate').textContent"
    one.page.wait_for_function(f"/^Takes .* here/.test({said})")

    def pictures() -> int:
        return int(re.search(r"(\d+) pictures", one.page.evaluate(said))[1])

    both = pictures()
    one.page.uncheck("#rd-compare input")
    one.page.wait_for_function(f"!{said}.includes('{both} pictures')")
    assert pictures() == both / 2
    one.type("#rd-steps", "100")
    one.page.wait_for_function(f"{said}.includes('100 steps')")
