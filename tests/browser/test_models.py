"""Several models behind one page: from one to another and back, each with what it has and nothing of the other's."""

from __future__ import annotations

from tests.browser.test_grid_tab import grid, paint
from tests.browser.test_visitors import learn, tab


def go(visit, model: str) -> None:
    """Choose a model from the menu and wait for its page."""
    visit.page.click(f".rd-models a:text-is('{model}')")
    visit.page.wait_for_function(
        "(model) => document.querySelector('.rd-models a[aria-current]')?.textContent === model", arg=model
    )
    visit.page.wait_for_selector("#rd-actions .rd-generate")
    visit.page.wait_for_selector(".rd-stage[data-ready=yes]")


def test_another_model_is_gone_to_steered_and_left(visit, tmp_path):
    one = visit()
    assert one.page.inner_text(".rd-models a[aria-current]") == "tiny-sd"
    assert one.page.locator("#rd-prompt-a textarea").count() == 1
    go(one, "random-edm")
    assert "/m/random-edm/" in one.page.url
    assert "16 × 16 pixels" in one.page.inner_text(".rd-model-facts")
    assert one.page.locator("#rd-prompt-a textarea").count() == 0, "it has classes, no prompts"
    one.page.click("#rd-prompt-a input")
    one.page.click("[role=option]:text-is('dog')")
    one.page.click("#rd-advanced button:has-text('Advanced')")
    assert one.page.locator("#rd-negative").count() == 0, "what the model lacks is absent"
    learn(one, tmp_path, "tint")
    one.generate(steps=4)
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "dog"
    assert one.picture("a-steered") != one.picture("a-unsteered")
    go(one, "tiny-sd")
    assert one.page.locator("#rd-concept input[value=tint]").count() == 0, "a vector belongs to its model"
    assert one.page.locator("#rd-prompt-a textarea").count() == 1


def test_what_runs_is_over_once_another_model_is_gone_to(visit):
    """A grid is painted at a time: the next visitor's begins when this one's, of a minute and more, has ended."""
    one, two = visit(), visit()
    one.type("#rd-steps", "100")
    tab(one, "Grid")
    one.page.wait_for_selector(".rd-grid[data-ready=yes]")
    one.page.click("#rd-grid-axis label:has-text('Windows')")
    one.page.wait_for_function("() => document.querySelector('#rd-grid-rows textarea').value.includes(':')")
    one.page.fill("#rd-grid-rows textarea", ", ".join(f"0.{n}:0.9" for n in range(1, 9)))
    one.page.fill("#rd-grid-across textarea, #rd-grid-across input", "0..1 [15]")
    one.page.wait_for_selector(".rd-grid-told:has-text('120 pictures')")
    paint(one, wait=False)
    one.page.wait_for_selector(".rd-grid[data-phase=running]")
    grid(two, rows="sketch", across="0, 1")
    go(one, "random-edm")
    paint(two)  # which waits for less than the other grid takes
    assert two.page.locator(".rd-grid td img").count() == 2
    cut = ("AbortError", "Connection errored out")  # what Gradio says of the answers that it was still waiting for
    one.trouble[:] = [said for said in one.trouble if not any(words in said for words in cut)]


def test_the_menu_on_a_phone(visit):
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    links = one.page.locator(".rd-models a")
    assert links.count() == 2
    assert all(link.bounding_box()["height"] >= 40 for link in links.all())
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
