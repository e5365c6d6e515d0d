"""The Concepts tab as a person uses it: pictures and prompts in, cards, sums, names, files; on a phone too."""

from __future__ import annotations

import re

import pytest

from steering.concepts import ConceptVector
from tests.browser.test_visitors import bring, learn, save, set_files, tab
from tests.tiny import pictures


def learned(visit, name: str) -> None:
    """Name what lies in the trays, and learn it."""
    visit.page.fill("#rd-own-name input, #rd-own-name textarea", name)
    visit.page.wait_for_timeout(150)
    visit.page.click("#rd-learn")
    visit.page.wait_for_selector(f".rd-concept[data-key='{name}'].is-open", timeout=180_000)


def test_bring_learn_combine_steer_download_and_open_again(visit, tmp_path):
    one = visit()
    one.page.click(".rd-own-link")
    one.page.wait_for_selector("#rd-own-pictures button")
    paths = bring(one, tmp_path, "tint", "pictures", 6, tint=(60, 0, 0))
    set_files(one, "#rd-own-pictures button", paths[:2])
    one.page.wait_for_selector("#rd-tray-concept :text('2 copies of others were left out')")
    bring(one, tmp_path, "tint", "baseline", 5)
    one.page.locator("#rd-tray-concept .rd-shot").first.click()
    assert "5 pictures, 1 left out" in one.page.inner_text("#rd-tray-concept .rd-tray-count")
    learned(one, "tint")
    card = one.page.inner_text(".rd-concept[data-key=tint]")
    assert "5 pictures against 5 without it" in card and "Told apart" in card and "% of the activations" in card
    assert "5 pictures say little" in card and "Which others it resembles" in card

    one.page.click("[data-key=tint] .rd-blend")
    one.page.wait_for_function("document.querySelector('#rd-sum-a input')?.value === 'tint'")
    first = one.page.get_attribute(".rd-concept:not([data-key=tint])", "data-key")
    title = one.page.inner_text(f".rd-concept[data-key={first}] h3")
    one.page.click("#rd-sum-b input")
    one.page.get_by_role("option", name=title).click()
    one.page.click("#rd-sum")
    name = f"tint + {title}"
    one.page.wait_for_selector(f".rd-concept[data-key='{name}'].is-open")
    assert f"“tint” plus “{title}”" in one.page.inner_text(f".rd-concept[data-key='{name}']")

    one.page.locator(f".rd-concept[data-key='{name}'] .rd-concept-tools input").fill("both")
    one.page.click(f".rd-concept[data-key='{name}'] .rd-rename")
    one.page.wait_for_selector(".rd-concept[data-key=both].is-open")
    assert one.page.locator("#rd-concept input[value=both]:checked").count() == 1, "still the chosen one"
    path = tmp_path / "both.safetensors"
    save(one, "[data-key=both] .rd-fetch", path)
    assert ConceptVector.load(path).name == "both"

    tab(one, "Steer")
    one.type("#rd-steps", "6")
    one.page.click("#rd-advanced button:has-text('Advanced')")
    tab(one, "Concepts")
    one.seen = one.run()
    one.page.click("[data-key=both] .rd-steer")
    one.wait("running")
    one.wait(timeout=180_000)
    assert one.page.is_visible(".rd-stage") and one.page.is_checked("#rd-concept input[value=both]")

    one.type("#rd-start", "0.11")
    tab(one, "Concepts")
    one.page.click("[data-key=both] .rd-remove")
    one.page.wait_for_selector(".rd-concept[data-key=both]", state="detached")
    assert one.page.locator("#rd-concept input[value=both]").count() == 0
    start = "+document.querySelector('#rd-start input[type=number]').value !== 0.11"
    one.page.wait_for_function(start), "and the concept that is chosen now has a window of its own"

    one.page.reload()
    one.page.wait_for_selector(".rd-stage[data-ready=yes]")
    tab(one, "Concepts")
    one.page.wait_for_selector(".rd-concept")
    assert one.page.locator(".rd-concept[data-key=tint]").count() == 0, "a session's own, and it is another one"
    one.page.wait_for_selector("#rd-sum", state="visible"), "what was open is open again"
    tab(one, "File")
    set_files(one, "#rd-open-vector", path)
    one.page.wait_for_selector(".rd-concept[data-key=both].is-open")


def test_a_concept_from_two_prompts_on_a_phone(visit):
    one = visit(viewport={"width": 390, "height": 844})
    tab(one, "Concepts")
    one.page.click("#rd-maker > button")
    tab(one, "Two prompts")
    one.page.click("#rd-two-paint")
    assert "Two prompts are needed" in one.notice()
    one.page.fill("#rd-two-a textarea", "a cat on a night background")
    one.page.fill("#rd-two-b textarea", "a cat on a grass background")
    one.type("#rd-two-count", "5")
    one.page.click("#rd-two-paint")
    one.page.wait_for_selector("#rd-learn-stop", state="visible")
    one.page.wait_for_selector("#rd-learning p:has-text('Painted')", timeout=240_000)
    for side in ("concept", "baseline"):
        assert one.page.locator(f"#rd-tray-{side} .rd-shot").count() == 5
    one.page.locator("#rd-tray-concept .rd-shot").first.click()
    one.page.fill("#rd-own-name input, #rd-own-name textarea", "dark")
    one.page.wait_for_timeout(150)
    one.page.click("#rd-learn")
    assert "4 pictures that show it: give 5 to 500" in one.notice()
    one.page.locator("#rd-tray-concept .rd-shot").first.click()
    learned(one, "dark")
    assert "painted from “a cat on a night background”" in one.page.inner_text(".rd-concept[data-key=dark]")
    wide = one.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "nothing reaches beyond the phone's width"
    small = one.page.evaluate(
        """() => [...document.querySelectorAll("#rd-concepts :is(button, input, textarea)")].filter((node) => {
          const { width, height } = node.getBoundingClientRect();
          return width && (height < 39.5 || width < 39.5) && !["range", "checkbox", "radio", "file"].includes(node.type)
            && getComputedStyle(node).visibility === "visible";
        }).map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert not small, small


def test_bad_sets_get_one_sentence_and_nothing_is_lost(visit, tmp_path):
    one = visit()
    one.page.click(".rd-own-link")
    one.page.wait_for_selector("#rd-own-pictures button")
    broken = tmp_path / "broken.png"
    pictures(1)[0].save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    set_files(one, "#rd-own-pictures button", broken)
    assert "broken.png" in one.notice()
    bring(one, tmp_path, "one", "pictures", 1)
    one.page.fill("#rd-own-name input, #rd-own-name textarea", "one")
    one.page.wait_for_timeout(150)
    one.page.click("#rd-learn")
    one.page.wait_for_function(
        "/There is one picture .* give 5 to 500/.test(document.querySelector('.rd-notice p').textContent)"
    )
    bring(one, tmp_path, "more", "pictures", 5, seed=6)
    bring(one, tmp_path, "same", "baseline", 1)
    one.page.wait_for_selector("#rd-tray-baseline :text('stands in both trays')")
    one.page.click("#rd-tray-baseline button:has-text('Clear')")
    one.page.wait_for_selector("#rd-tray-baseline .is-empty")
    many = pictures(200, seed=11)
    paths = [tmp_path / f"many-{place}.png" for place in range(200)]
    for path, picture in zip(paths, many, strict=True):
        picture.save(path)
    set_files(one, "#rd-own-baseline button", paths)
    one.page.wait_for_function(
        "document.querySelectorAll('#rd-tray-baseline .rd-shot').length === 200", timeout=120_000
    )
    assert re.match("6 pictures", one.page.inner_text("#rd-tray-concept .rd-tray-count"))
    one.page.click("#rd-tray-concept button:has-text('Swap')")
    one.page.wait_for_function("document.querySelectorAll('#rd-tray-concept .rd-shot').length === 200")


def test_what_was_deleted_or_cleared_comes_back(visit, tmp_path):
    one = visit()
    learn(one, tmp_path, "tint")
    tab(one, "Concepts")
    one.page.wait_for_selector("[data-key=tint].is-open")
    face = one.page.get_attribute("[data-key=tint] img.rd-concept-face", "src")
    one.page.click("[data-key=tint] .rd-remove")
    one.page.wait_for_selector("[data-key=tint]", state="detached")
    one.page.wait_for_selector(".rd-gone:has-text('tint')")
    assert one.page.locator("#rd-concept input[value=tint]").count() == 0 and not one.page.is_visible(".rd-go")
    one.page.wait_for_function("document.activeElement.matches('.rd-gone button')"), "the keyboard is led there"
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("[data-key=tint].is-open")
    assert one.page.get_attribute("[data-key=tint] img.rd-concept-face", "src") == face
    assert one.page.is_checked("#rd-concept input[value=tint]"), "it was the chosen one"
    assert not one.page.locator(".rd-gone").count() and one.page.is_visible(".rd-go")
    one.page.wait_for_function("document.activeElement.matches('[data-key=tint] .rd-concept-more')")

    one.page.locator("#rd-tray-concept .rd-shot").first.click()
    shots = [shot.get_attribute("title") for shot in one.page.locator("#rd-tray-concept .rd-shot").all()]
    one.page.click("#rd-tray-concept .rd-clear")
    one.page.wait_for_selector("#rd-tray-concept .is-empty")
    bring(one, tmp_path, "newer", "pictures", 2, seed=9)
    one.page.focus("#rd-tray-concept .rd-unclear")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#rd-tray-concept .rd-tray-count:has-text('4 pictures, 1 left out')")
    assert [shot.get_attribute("title") for shot in one.page.locator("#rd-tray-concept .rd-shot").all()] == shots
    assert "Bring 2 back" in one.page.inner_text("#rd-tray-concept .rd-unclear"), "nor is what came in between lost"
    one.page.locator("#rd-tray-concept .rd-shot").first.click()
    learned(one, "again")


def test_a_renamed_concept_is_steered_with_as_before(visit, tmp_path):
    one = visit()
    learn(one, tmp_path, "tint")
    one.generate(wait=False, steps=4)
    one.exact()
    one.wait()
    tab(one, "Grid")
    one.page.wait_for_selector(".rd-grid[data-ready=yes]")
    one.page.fill("#rd-grid-rows textarea", "tint")
    one.page.fill("#rd-grid-across textarea, #rd-grid-across input", "0, 1")
    one.page.wait_for_function("new URLSearchParams(location.hash.split('?')[1]).get('rows') === 'tint'")
    tab(one, "Concepts")
    one.page.locator(".rd-concept[data-key=tint] .rd-concept-tools input").fill("rouge")
    one.page.click(".rd-concept[data-key=tint] .rd-rename")
    one.page.wait_for_selector(".rd-concept[data-key=rouge].is-open")
    one.page.wait_for_selector("#rd-learning p:has-text('Learned “rouge”')")
    tab(one, "Steer")
    assert one.page.is_checked("#rd-concept input[value=rouge]") and one.page.is_disabled("#rd-panel .rd-redo")
    one.slide(0.37)
    one.wait("running")
    one.exact()
    assert not one.page.is_visible(".rd-notice.is-shown"), one.notice()
    assert one.strength() == pytest.approx(0.37, abs=0.02), "as near as the slider comes"
    one.page.click("#rd-concept label:has(input:not(:checked)) >> nth=0")
    one.page.click("#rd-concept label:has(input[value=rouge])")
    one.generate(wait=False, steps=4)
    one.exact()
    assert one.page.is_checked("#rd-concept input[value=rouge]") and not one.page.is_visible(".rd-notice.is-shown")
    tab(one, "Grid")
    assert one.page.input_value("#rd-grid-rows textarea") == "rouge"
    one.page.go_back()
    one.page.go_back()
    one.page.wait_for_function("location.hash.startsWith('#concepts')")
    one.page.go_back()
    one.page.wait_for_function("document.querySelector('#rd-grid-rows textarea')?.offsetParent")
    assert one.page.input_value("#rd-grid-rows textarea") == "rouge", "the history knows it by its new name"
