"""The pictures and the slider: first paint, generate, drag, release, stop, phone."""

from __future__ import annotations

import pytest

PICTURES = ("a-unsteered", "a-steered", "b-unsteered", "b-steered")
BLANK = """(name) => {
  const canvas = document.querySelector(`[data-picture=${name}]`);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.every((value, place) => value === data[place % 4]);
}"""


MOVE = """(value) => {
  const range = document.querySelector("[data-helm=both] input[type=range]");
  range.value = value;
  range.dispatchEvent(new Event("input", { bubbles: true }));
}"""
# Every animation frame: prompt and both pictures of each column, where they changed.
WATCH = """() => {
  window.seen = [];
  const shot = () => Object.fromEntries(["a", "b"].map((id) => {
    const node = document.querySelector(`[data-column=${id}]`);
    return [id, [node.querySelector(".rd-prompt").textContent,
      ...[...node.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL())]];
  }));
  const look = () => {
    const now = shot();
    const last = window.seen.at(-1);
    if (!last || JSON.stringify(last) !== JSON.stringify(now)) window.seen.push(now);
    requestAnimationFrame(look);
  };
  look();
}"""
# Controls in the window whose middle belongs to something else.
COVERED = """() => {
  const all = [...document.querySelectorAll("#rd-room :is(button, input, textarea, select, summary)")];
  return all.filter((node) => {
    const box = node.getBoundingClientRect();
    const scroller = node.closest(".rd-thumbs")?.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    if (box.width < 2 || box.height < 2 || y < 0 || y >= innerHeight || !node.checkVisibility()) return false;
    if (scroller && (y < scroller.top || y > scroller.bottom)) return false;
    const bar = document.querySelector("#rd-actions").getBoundingClientRect();
    if (!node.closest("#rd-actions") && x < bar.right && y < bar.bottom && scrollY > 0) return false;  // scrolled away
    const top = document.elementFromPoint(x, y);
    return !(top === node || node.contains(top) || top?.contains(node) || top?.closest("label")?.contains(node));
  }).map((node) => node.outerHTML.slice(0, 120));
}"""
# What is painted over the bar that stays in view, sampled over its face.
OVER = """() => {
  const bar = document.querySelector("#rd-actions"), box = bar.getBoundingClientRect(), found = new Set();
  for (let x = box.x + 4; x < box.right; x += 8) for (let y = Math.max(1, box.y + 8); y < box.bottom - 8; y += 6) {
    const top = document.elementFromPoint(x, y);
    if (top && !bar.contains(top)) found.add(top.outerHTML.slice(0, 120));
  }
  return [...found];
}"""
# Controls of the stage's tab that are smaller than a fingertip.
SMALL = """() => [...document.querySelectorAll(
  "#rd-room :is(button, input, textarea, select, summary), .rd-theme, #rd-tabs [role=tab]")].filter((node) => {
  const target = node.matches("[type=checkbox], [type=radio]") ? node.closest("label") || node : node;
  const box = target.getBoundingClientRect();
  return node.checkVisibility() && box.width > 1 && (box.height < 39.5 || box.width < 39.5);
}).map((node) => node.outerHTML.slice(0, 120))"""


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
    assert one.page.locator(".rd-dots i").count() >= 2 * 2 * 17  # linked and own curves, two columns


def heads(visit) -> list[str]:
    """Titles and prompts of both columns as shown."""
    script = "[...document.querySelectorAll('.rd-col .rd-tag, .rd-col .rd-prompt')].map((node) => node.textContent)"
    return visit.page.evaluate(script)


def test_the_exact_pictures_come_first_and_the_slider_moves_meanwhile(visit):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "a panda on the grass")
    one.generate(wait=False, steps=30)
    one.exact()
    assert one.page.get_attribute(".rd-stage", "data-busy") == "fill", "the strip is still being painted"
    assert "a panda on the grass" in heads(one)
    assert not any(one.page.evaluate(BLANK, name) for name in PICTURES)
    frames = one.page.locator("[data-helm=both] .rd-dots i").count()
    low, high = one.ends()
    one.page.evaluate(MOVE, low + 0.6 * (high - low))
    assert one.strength() == pytest.approx(low + 0.6 * (high - low), abs=0.02 * (high - low))
    assert one.page.get_attribute(".rd-stage", "data-busy") == "fill", "dragging stops nothing"
    one.wait()
    assert one.page.locator("[data-helm=both] .rd-dots i").count() > frames


def test_stop_while_the_strip_is_filled_keeps_the_exact_pictures(visit):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "a rocket at night")
    one.generate(wait=False, steps=60)
    one.exact()
    one.page.click(".rd-stop")
    one.wait()
    assert "coarse" in one.page.inner_text(".rd-status p") and "a rocket at night" in heads(one)
    frames = one.page.locator("[data-helm=a] .rd-dots i").count()
    one.page.wait_for_timeout(1500)
    assert one.page.locator("[data-helm=a] .rd-dots i").count() == frames, "nothing more of it comes"


def test_a_release_while_the_strip_is_filled_comes_first_and_the_strip_is_finished(visit):
    one = visit()
    one.page.fill("#rd-prompt-a textarea", "a cactus on a sunset background")
    one.generate(wait=False, steps=30)
    one.exact()
    low, high = one.ends()
    one.slide(low + 0.6123 * (high - low))
    one.exact()
    assert one.page.get_attribute("[data-picture=a-steered]", "data-fade") == "no"
    one.wait()
    assert one.page.locator("[data-helm=a] .rd-dots i").count() >= 17
    assert "this edit" in one.page.inner_text(".rd-reading.is-a .rd-verdict"), "its answer is said in the end"


def test_title_prompt_and_pictures_of_a_column_belong_together_at_every_moment(visit):
    """Sampled while it runs: under the old words the old pictures, under the new words none of the old ones."""
    one = visit()
    before = {
        column: (
            one.page.inner_text(f"[data-column={column}] .rd-prompt"),
            one.picture(f"{column}-unsteered"),
            one.picture(f"{column}-steered"),
        )
        for column in "ab"
    }
    one.page.evaluate(WATCH)
    one.page.fill("#rd-prompt-a textarea", "a snail on a sea background")
    one.page.fill("#rd-prompt-b textarea", "a hamburger on blue waves")
    one.generate(steps=40)
    seen = one.page.evaluate("window.seen")
    assert len(seen) > 2 and len({moment["b"][0] for moment in seen}) == 2
    for moment in seen:
        for column, (prompt, *shown) in moment.items():
            old, *had = before[column]
            assert (prompt == old) == (shown[0] == had[0]) == (shown[1] == had[1]), (prompt, column)


def test_between_two_frames_a_drag_cross_fades_and_a_release_is_exact(visit):
    one = visit()
    drag(one, 0.4, 0.73, steps=30)
    assert one.page.get_attribute("[data-picture=a-steered]", "data-fade") == "yes"
    assert "cross-fade" in one.page.inner_text(".rd-status p")
    assert one.page.inner_text("[data-column=a] .rd-picture:nth-child(2) figcaption span") == "cross-faded"
    assert one.page.is_disabled("[data-column=a] .rd-download"), "a fade is no picture to keep"
    faded = one.picture("a-steered")
    one.page.mouse.up()
    one.wait("running")
    one.wait()
    assert one.page.get_attribute("[data-picture=a-steered]", "data-fade") == "no"
    assert one.picture("a-steered") != faded and one.page.is_enabled("[data-column=a] .rd-download")


def test_a_picture_is_shown_large_and_escape_closes_it(visit):
    one = visit()
    small = one.page.locator("[data-picture=b-steered]").bounding_box()["width"]
    one.page.focus("[data-column=b] .rd-picture:nth-child(2) button")
    one.page.keyboard.press("Enter")
    large = one.page.locator(".rd-large canvas")
    large.wait_for()
    assert large.bounding_box()["width"] >= 1.9 * small
    assert one.page.inner_text("[data-column=b] .rd-prompt") in one.page.inner_text(".rd-large figcaption")
    assert large.evaluate("(canvas) => canvas.toDataURL()") == one.picture("b-steered")
    one.page.keyboard.press("Escape")
    large.wait_for(state="hidden")
    assert one.page.evaluate("document.activeElement.matches('[data-column=b] .rd-frame')"), "focus goes back"


def test_nothing_is_painted_over_the_bar_that_stays_in_view(visit):
    one = visit()
    for down in range(0, 1000, 20):
        one.page.evaluate("(y) => scrollTo(0, y)", down)
        assert one.page.evaluate(OVER) == [], down


def test_no_control_lies_under_another(visit):
    one = visit()
    assert one.page.evaluate(COVERED) == []
    one.page.locator("#rd-seed").scroll_into_view_if_needed()
    one.page.wait_for_timeout(200)
    assert one.page.evaluate(COVERED) == []


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
    bridge = one.page.locator(".rd-bridge").bounding_box()
    slider = one.page.locator("[data-helm=both] input[type=range]").bounding_box()
    assert 0 <= slider["y"] <= 844 - slider["height"], "the slider is on the first screen"
    for name in PICTURES:
        box = one.page.locator(f"[data-picture={name}]").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= bridge["y"], f"{name} is on the first screen"


def test_phone_generate_scrolls_to_the_pictures_and_progress_is_in_view(visit):
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    one.page.locator(".rd-generate").scroll_into_view_if_needed()
    assert one.page.locator("[data-picture=a-steered]").bounding_box()["y"] < 0
    one.generate(wait=False, steps=40)
    one.page.wait_for_function("document.querySelector('.rd-cols').getBoundingClientRect().top >= -1")
    status = one.page.locator(".rd-status").bounding_box()
    assert status["y"] + status["height"] <= 844, "the progress is in view"
    for name in PICTURES:
        box = one.page.locator(f"[data-picture={name}]").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844
    one.wait()


def test_phone_targets_are_as_large_as_a_fingertip(visit):
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert one.page.evaluate(SMALL) == []
