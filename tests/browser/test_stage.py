"""The pictures and the slider: first paint, generate, drag, release, stop, phone."""

from __future__ import annotations

import pytest

PICTURES = ("a-unsteered", "a-steered", "b-unsteered", "b-steered")
BLANK = """(name) => {
  const canvas = document.querySelector(`[data-picture=${name}]`);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.every((value, place) => value === data[place % 4]);
}"""


def drag(visit, start: float, end: float, steps: int = 12) -> list[float]:
    """Drag the linked thumb between two shares of its track, button still down; the strengths shown."""
    box = visit.page.locator("[data-helm=both] input[type=range]").bounding_box()
    across = lambda share: box["x"] + 13 + share * (box["width"] - 26)  # noqa: E731
    mouse, middle, shown = visit.page.mouse, box["y"] + box["height"] / 2, []
    mouse.move(across(start), middle)
    mouse.down()
    for step in range(1, steps + 1):
        mouse.move(across(start + (end - start) * step / steps), middle)
        shown.append(visit.strength())
    return shown


def test_first_paint_is_filled_without_a_request(visit):
    one = visit()
    one.page.wait_for_timeout(300)
    assert not any(one.page.evaluate(BLANK, name) for name in PICTURES)
    assert one.joined == []
    assert one.page.inner_text("[data-column=a] .rd-prompt") and one.page.inner_text("[data-column=b] .rd-prompt")
    assert one.page.locator(".rd-dots i").count() >= 2 * 2 * 9  # linked and own curves, two columns


def test_generate_paints_the_new_prompt_in_both_columns(visit):
    one = visit()
    before = one.picture("a-unsteered")
    one.page.fill("#rd-prompt-a textarea", "a dog on a white background")
    assert "is-due" in one.page.get_attribute(".rd-actions", "class")
    one.generate()
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a dog on a white background"
    assert one.picture("a-unsteered") != before
    assert not any(one.page.evaluate(BLANK, name) for name in PICTURES)
    assert "is-due" not in one.page.get_attribute(".rd-actions", "class")


def test_empty_prompt_is_allowed_and_unknown_words_are_said(visit):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "")
    one.page.fill("#rd-prompt-b textarea", "a zeppelin qwertz")
    one.generate()
    assert "qwertz" in one.notice()
    assert "no prompt" in one.page.inner_text("[data-column=a] .rd-prompt")


def test_dragging_asks_nothing_and_releasing_computes_exactly(visit):
    one = visit()
    low, high = (float(one.page.get_attribute("[data-helm=both] input[type=range]", end)) for end in ("min", "max"))
    at = (one.strength() - low) / (high - low)
    shown = drag(one, at, 0.93)
    assert len(set(shown)) >= 3, "the frames follow the thumb"
    assert one.joined == [], "no request while dragging"
    one.page.mouse.up()
    one.wait("running")
    one.wait()
    exact = float(one.page.input_value("[data-helm=both] input[type=range]"))
    assert one.joined and one.strength("a") == pytest.approx(exact, abs=1e-6)
    assert one.strength("b") == pytest.approx(exact, abs=1e-6)


def test_keyboard_moves_the_slider(visit):
    one = visit()
    one.generate()
    one.page.focus("[data-helm=both] input[type=range]")
    before = float(one.page.input_value("[data-helm=both] input[type=range]"))
    for _ in range(3):
        one.page.keyboard.press("ArrowLeft")
    one.wait("running")
    one.wait()
    after = float(one.page.input_value("[data-helm=both] input[type=range]"))
    assert after < before and one.strength() == pytest.approx(after, abs=1e-6)


def test_a_newer_move_outdates_the_older_one(visit):
    one = visit()
    one.generate(steps=12)
    low, high = (float(one.page.get_attribute("[data-helm=both] input[type=range]", end)) for end in ("min", "max"))
    last = 0.0
    for share in (0.31, 0.87, 0.43, 0.66):
        last = low + share * (high - low)
        one.slide(last)
        one.page.wait_for_timeout(60)
    one.wait()
    exact = float(one.page.input_value("[data-helm=both] input[type=range]"))
    assert one.strength() == pytest.approx(exact, abs=1e-6) and exact == pytest.approx(last, abs=0.05 * (high - low))
    settled = one.picture("a-steered")
    one.page.wait_for_timeout(1500)
    assert one.picture("a-steered") == settled and one.strength() == pytest.approx(exact, abs=1e-6)


def test_unlinked_sliders_move_one_column_each(visit):
    one = visit()
    one.generate()
    one.page.uncheck(".rd-link input")
    before = one.strength("b")
    one.page.locator("[data-helm=a] input[type=number]").fill("0.37")
    one.page.locator("[data-helm=a] input[type=number]").press("Enter")
    one.wait("running")
    one.wait()
    assert one.strength("a") == pytest.approx(0.37) and one.strength("b") == before


def test_stop_works_at_once_and_leaves_the_session_usable(visit):
    one = visit()
    before = [one.picture(name) for name in PICTURES]
    one.page.fill("#rd-prompt-a textarea", "a cat")
    one.generate(wait=False, steps=100)
    one.page.wait_for_function("/step \\d+ of/.test(document.querySelector('.rd-status p').textContent)")
    phase = one.page.evaluate(
        """() => {
          document.querySelector(".rd-stop").click();
          return document.querySelector(".rd-stage").dataset.phase;
        }"""
    )
    assert phase == "idle", "at once: no answer of the server is waited for"
    one.page.wait_for_timeout(1200)
    assert [one.picture(name) for name in PICTURES] == before, "nothing of the stopped run is shown"
    one.generate()
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a cat"


def test_the_slider_reaches_zero_and_every_frame(visit):
    one = visit()
    thumb = "[data-helm=both] input[type=range]"
    for text in one.page.locator("[data-helm=both] .rd-ticks span").all_inner_texts():
        one.slide(float(text.replace("\u2212", "-")))
        assert one.strength() == pytest.approx(float(text.replace("\u2212", "-")), abs=0.06)
    one.slide(0)
    assert float(one.page.input_value(thumb)) == pytest.approx(0, abs=1e-9)
    assert one.picture("a-steered") == one.picture("a-unsteered")


def test_a_move_while_painting_is_answered_by_the_new_strip(visit):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "a frog")
    one.generate(wait=False, steps=24)
    low, high = (float(one.page.get_attribute("[data-helm=both] input[type=range]", end)) for end in ("min", "max"))
    one.slide(low + 0.9 * (high - low))
    one.page.wait_for_function("document.querySelector('[data-column=a] .rd-prompt').textContent === 'a frog'")
    one.wait()
    assert one.strength() == pytest.approx(low + 0.9 * (high - low), abs=0.02 * (high - low))


def test_one_column_when_nothing_is_compared(visit):
    one = visit()
    one.page.uncheck("#rd-compare input")
    one.generate()
    assert one.page.is_hidden("[data-column=b]")
    one.page.check("#rd-compare input")
    one.generate()
    assert one.page.is_visible("[data-column=b]")


def test_an_unlocked_seed_is_rolled_on_generate(visit):
    one = visit()
    seed = one.page.input_value("#rd-seed input")
    one.generate()
    assert one.page.input_value("#rd-seed input") == seed
    one.page.uncheck("#rd-lock input")
    one.generate()
    assert one.page.input_value("#rd-seed input") != seed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_sideways_scroll(visit, scheme):
    one = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert one.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    slider = one.page.locator("[data-helm=both] input[type=range]").bounding_box()
    assert 0 <= slider["y"] <= 844 - slider["height"], "the slider is on the first screen"
