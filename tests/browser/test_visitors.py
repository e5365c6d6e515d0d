"""What visitors bring and take: downloads that restore, own sets, bad input, two people at once."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from PIL import Image

import steering
from steering.concepts import ConceptVector
from steering.images import open_images
from steering.png import read_png
from tests.tiny import pictures


def set_files(visit, selector: str, files) -> None:
    """Choose files as a person does, through the button's file chooser."""
    with visit.page.expect_file_chooser() as chooser:
        visit.page.click(selector)
    chooser.value.set_files(files)


def save(visit, selector: str, path) -> None:
    """Click a download and keep it."""
    with visit.page.expect_download() as download:
        visit.page.click(selector)
    download.value.save_as(path)


def tab(visit, name: str) -> None:
    """Go to one of the page's tabs, or of the maker's ways."""
    visit.page.get_by_role("tab", name=name, exact=True).click()


def bring(visit, folder, name: str, kind: str, count: int = 5, **options) -> list:
    """Put small pictures into one of the maker's trays, through its file chooser."""
    paths = [folder / f"{name}-{kind}-{place}.png" for place in range(count)]
    for path, picture in zip(paths, pictures(count, **{"seed": 5, **options}), strict=True):
        picture.save(path)
    side = "concept" if kind == "pictures" else "baseline"
    had = visit.page.locator(f"#rd-tray-{side} .rd-shot").count()
    set_files(visit, f"#rd-own-{kind} button", paths)
    visit.page.wait_for_function(
        "([side, count]) => document.querySelectorAll(`#rd-tray-${side} .rd-shot`).length === count",
        arg=[side, had + count],
    )
    return paths


def learn(visit, tmp_path, name: str) -> None:
    """Learn a small set with a baseline, and go back to steer with it."""
    visit.page.click(".rd-own-link")
    visit.page.wait_for_selector("#rd-own-pictures button")
    bring(visit, tmp_path, name, "pictures", tint=(50, 0, 0))
    bring(visit, tmp_path, name, "baseline")
    visit.page.fill("#rd-own-name input, #rd-own-name textarea", name)
    visit.page.wait_for_timeout(150)
    visit.page.click("#rd-learn")
    visit.page.wait_for_selector(".rd-go:visible", timeout=120_000)
    said = visit.page.inner_text("#rd-learning p")
    assert f"Learned “{name}”." in said, said
    assert re.search("takes: at strength|Weak: |cannot paint it|not measured", said), said
    tab(visit, "Steer")
    visit.page.wait_for_selector(f"#rd-concept input[value='{name}']:checked", state="attached")


def test_download_carries_the_recipe_and_restores_everything(visit, tmp_path):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "a red car on a sunset background")
    one.page.fill("#rd-seed input", "4321")
    one.page.click("#rd-advanced button:has-text('Advanced')")
    one.type("#rd-start", "0.4")
    one.generate(steps=12)
    one.page.locator("[data-helm=both] input[type=number]").fill("0.71")
    one.page.locator("[data-helm=both] input[type=number]").press("Enter")
    one.wait("running")
    one.wait()
    path = tmp_path / "kept.png"
    save(one, "[data-column=a] .rd-download", path)
    recipe = read_png(path)
    assert recipe.prompt == "a red car on a sunset background" and recipe.seed == 4321
    assert (
        recipe.num_inference_steps == 12 and recipe.window.start == 0.4 and recipe.concepts[0][1] == pytest.approx(0.71)
    )
    assert Image.open(path).size[0] > 8
    kept = one.picture("a-steered")

    other = visit()
    set_files(other, "#rd-open", path)
    other.page.wait_for_function("document.querySelector('#rd-seed input').value === '4321'")
    other.wait("running")
    other.wait()
    assert other.page.input_value("#rd-prompt-a textarea") == recipe.prompt
    assert other.page.input_value("#rd-steps input[type=number]") == "12"
    other.page.click("#rd-advanced button:has-text('Advanced')")
    assert float(other.page.input_value("#rd-start input[type=number]")) == recipe.window.start
    assert other.page.is_checked(f"#rd-concept input[value='{recipe.concepts[0][0]}']")
    assert other.strength("a") == pytest.approx(0.71)
    assert close(other, kept) < 2.0, "the restored picture is the downloaded one"


def close(visit, kept: str) -> float:
    """Mean difference in grey levels of the steered picture and another one."""
    return visit.page.evaluate(
        """async (kept) => {
          const canvas = document.querySelector("[data-picture=a-steered]");
          const image = new Image();
          image.src = kept;
          await image.decode();
          const copy = document.createElement("canvas");
          [copy.width, copy.height] = [canvas.width, canvas.height];
          copy.getContext("2d").drawImage(image, 0, 0);
          const bytes = (c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          const [one, two] = [bytes(canvas), bytes(copy)];
          return one.reduce((sum, value, place) => sum + Math.abs(value - two[place]), 0) / one.length;
        }""",
        kept,
    )


def test_a_download_is_enlarged_crisply_and_its_recipe_remakes_the_original(visit, tmp_path):
    one = visit()
    path = tmp_path / "large.png"
    save(one, "[data-column=b] .rd-download", path)
    large, recipe = Image.open(path).convert("RGB"), read_png(path)
    backbone = steering.load(recipe.model)
    side = backbone.resolution
    times = large.width // side
    assert min(large.size) >= 512 and large.size == (times * side, times * side)
    small = large.resize((side, side), Image.Resampling.NEAREST)
    assert small.resize(large.size, Image.Resampling.NEAREST).tobytes() == large.tobytes(), "whole pixels"
    name = recipe.concepts[0][0]
    vector = steering.ConceptVector.load(steering.library(recipe.model)[name].vector_path, backbone)
    run = steering.sample(backbone, recipe, steering.Steering.from_recipe(recipe, {name: vector}))
    again = np.asarray(steering.finish(run).images[0], float)
    assert np.abs(again - np.asarray(small, float)).mean() < 1.0
    (read,) = open_images(path)
    assert read.tobytes() == small.tobytes(), "scored and learned from as it was painted"


def test_own_set_is_learned_downloaded_and_opened_again(visit, tmp_path):
    one = visit()
    learn(one, tmp_path, "my tint")
    one.generate()
    path = tmp_path / "my tint.safetensors"
    tab(one, "Concepts")  # its card is unfolded there
    save(one, "[data-key='my tint'] .rd-fetch", path)
    tab(one, "Steer")
    vector = ConceptVector.load(path)
    assert vector.provenance["images"] == 5 and vector.provenance["baseline_images"] == 5
    picture = tmp_path / "own.png"
    save(one, "[data-column=a] .rd-download", picture)

    other = visit()
    assert other.page.locator("#rd-concept input[value='my tint']").count() == 0, "sessions are apart"
    other.page.click(".rd-own-link")
    tab(other, "File")
    set_files(other, "#rd-open-vector", path)
    other.page.wait_for_selector("#rd-concept input[value='my tint']:checked", state="attached")
    tab(other, "Steer")
    other.generate()

    third = visit()
    set_files(third, "#rd-open", picture)
    third.page.wait_for_selector("#rd-concept input[value='my tint']:checked", state="attached")
    third.wait("running")
    third.wait()
    tab(third, "Concepts")
    third.page.wait_for_selector("[data-key='my tint']"), "its card is there as well"


def test_bad_input_gets_one_sentence_and_the_page_stays_usable(visit, tmp_path):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "x" * 10_000)
    one.page.wait_for_timeout(150)
    one.page.click(".rd-generate")
    assert re.search(r"prompt.*10,?000|prompt.*characters", one.notice(), re.I)
    one.wait()
    one.page.fill("#rd-prompt-a textarea", "a dog")
    one.page.fill("#rd-seed input", "-5")
    one.page.wait_for_timeout(150)
    one.page.click(".rd-generate")
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('seed')")
    one.wait()
    one.page.fill("#rd-seed input", "5")
    exact = one.page.locator("[data-helm=both] input[type=number]")
    exact.fill("1000000000")
    exact.press("Enter")
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('strength')")
    one.wait()

    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 8)).save(plain)
    set_files(one, "#rd-open", plain)
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('recipe')")
    broken = tmp_path / "broken.png"
    broken.write_bytes(plain.read_bytes()[:40])
    set_files(one, "#rd-open", broken)
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('broken')")

    one.page.click(".rd-own-link")
    one.page.wait_for_selector("#rd-own-pictures button")
    hostile = tmp_path / "hostile.safetensors"
    hostile.write_bytes(pickle.dumps({"a": 1}))
    tab(one, "File")
    set_files(one, "#rd-open-vector", hostile)
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('pickle')")
    tab(one, "Pictures")
    one.page.click("#rd-learn")
    one.page.wait_for_function("document.querySelector('.rd-notice p').textContent.includes('no pictures')")
    tab(one, "Steer")

    exact.fill("0.5")
    exact.press("Enter")
    one.wait()
    one.generate()
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a dog"


def test_two_people_are_both_served_and_stay_apart(visit):
    one, two = visit(), visit()
    one.page.fill("#rd-prompt-a textarea", "a cat on a night background")
    two.page.fill("#rd-prompt-a textarea", "a house on a grass background")
    one.generate(wait=False)
    two.generate(wait=False)
    one.wait()
    two.wait()
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a cat on a night background"
    assert two.page.inner_text("[data-column=a] .rd-prompt") == "a house on a grass background"
    assert one.picture("a-unsteered") != two.picture("a-unsteered")
