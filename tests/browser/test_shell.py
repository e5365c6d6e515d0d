"""What frames the rooms: a header that keeps its place, errors that leave in time, hints of a first visit."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import QUIET, find_chromium
from tests.browser.conftest import go_to
from tests.browser.test_access import ROOMS, complaints
from tests.browser.test_visitors import set_files
from tests.tiny import pictures

PLACES = """() => ["#rd-top .rd-brand", "#rd-top .rd-theme", "#rd-tabs [role=tablist]"].map((node) => {
  const { x, y, width, height } = document.querySelector(node).getBoundingClientRect();
  return [x, y, width, height].map((value) => Math.round(10 * value) / 10);
})"""
FAIL = "() => Rudder.notify({ text: 'Something went wrong: try again.', kind: 'error' })"
SHOWN = ".rd-notice.is-shown"
TIPS = ["choose", "compare", "drag"]


@pytest.mark.parametrize("size", [(1440, 900), (1920, 1080), (390, 844)])
def test_the_header_stays_where_it_is_between_tabs(browser, app, size):
    """With scroll bars that take room, as people have them, unscrolled and scrolled."""
    plain = browser.browser_type.launch(
        executable_path=find_chromium(), args=list(QUIET), ignore_default_args=["--hide-scrollbars"]
    )
    page = plain.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(60_000)
    page.goto(app)
    page.wait_for_selector(".rd-stage[data-ready=yes]")
    page.wait_for_timeout(800)
    for scroll in (0, 40):
        told = {}
        page.evaluate("(y) => window.scrollTo(0, y)", scroll)
        for room in (*ROOMS, ROOMS[0]):
            go_to(page, room)
            page.wait_for_timeout(300)
            told.setdefault(str(page.evaluate(PLACES)), []).append(room)
        assert len(told) == 1, (scroll, told)
    plain.close()


def score(one, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    pictures(1, size=64)[0].save(path)
    set_files(one, "#rd-score", path)


def train(one, _: Path) -> None:
    go_to(one.page, ROOMS[-1])
    one.page.wait_for_selector(".rd-lab[data-ready=yes]")
    one.page.evaluate(FAIL)
    one.page.click("[data-side=mem] .rd-lab-train")


def draw(one, _: Path) -> None:
    go_to(one.page, ROOMS[-1])
    one.page.wait_for_selector(".rd-lab[data-ready=yes]")
    one.page.evaluate(FAIL)
    one.page.click(".rd-lab [data-tool=clear]")


def restore(one, tmp_path: Path) -> None:
    with one.page.expect_download() as download:
        one.page.click("[data-column=a] .rd-download")
    download.value.save_as(tmp_path / "kept.png")
    one.page.evaluate(FAIL)
    set_files(one, "#rd-open", tmp_path / "kept.png")


ACTIONS = {
    "generate": lambda one, _: one.generate(wait=False),
    "score": score,
    "restore": restore,
    "choose a concept": lambda one, _: one.page.locator("#rd-concept input:not(:checked)").first.check(force=True),
    "train live": train,
    "draw": draw,
}


@pytest.mark.parametrize("action", list(ACTIONS))
def test_an_error_leaves_when_the_next_action_succeeds(visit, tmp_path, action):
    one = visit()
    one.page.evaluate(FAIL)
    one.page.wait_for_selector(SHOWN)
    ACTIONS[action](one, tmp_path)
    one.page.wait_for_function("() => !document.querySelector('.rd-notice.is-shown.is-error')", timeout=150_000)


def test_an_error_that_came_after_an_action_began_stays_when_that_ends(visit):
    one = visit()
    one.generate(wait=False, steps=40)
    one.page.wait_for_function("/step \\d+ of/.test(document.querySelector('.rd-status p').textContent)")
    one.page.evaluate(FAIL)
    one.wait()
    one.page.wait_for_timeout(800)
    assert one.page.is_visible(SHOWN)


def tips(one) -> list[str]:
    return sorted(one.page.evaluate("[...document.querySelectorAll('.rd-tip')].map((tip) => tip.dataset.tip)"))


def again(one) -> None:
    one.page.reload()
    one.page.wait_for_selector(".rd-stage[data-ready=yes]")
    one.page.wait_for_timeout(1500)


def test_hints_leave_for_good_when_the_thing_is_done_or_dismissed(visit):
    one = visit()
    one.page.wait_for_selector("[data-tip=choose]")
    assert tips(one) == TIPS
    one.page.wait_for_function(
        "[...document.querySelectorAll('.rd-tip [role=status]')].every((tip) => tip.textContent)"
    )
    assert complaints(one.page) == []
    one.page.focus("[data-helm=both] input[type=range]")
    one.page.keyboard.press("ArrowLeft")
    assert tips(one) == ["choose", "compare"]
    one.wait()
    one.page.click("[data-tip=compare] button")
    assert tips(one) == ["choose"]
    again(one)
    assert tips(one) == ["choose"]
    one.page.locator("#rd-concept input:not(:checked)").first.check(force=True)
    assert tips(one) == []
    again(one)
    assert tips(one) == []


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768), (390, 844)])
def test_hints_cover_no_control_and_stay_on_the_page(visit, size):
    one = visit(viewport={"width": size[0], "height": size[1]})
    one.page.wait_for_selector("[data-tip=choose]")
    over = one.page.evaluate(
        """() => { const boxes = [...document.querySelectorAll(".rd-tip")].filter((tip) => tip.checkVisibility());
        const controls = [...document.querySelectorAll(
          "#rd-room :is(button, input, textarea, select, summary), .rd-lede h2, .rd-lede p")]
          .filter((node) => node.checkVisibility() && !node.closest(".rd-tip"))
          .map((node) => node.closest(".rd-thumbs") || node);  // a list's hidden rows lie under nothing
        return boxes.flatMap((tip) => { const a = tip.getBoundingClientRect();
          const off = a.left < 0 || a.right > innerWidth || !a.width;
          return [...(off ? ["off"] : []), ...controls.filter((node) => {
            const words = document.createRange();
            words.selectNodeContents(node);
            const b = (node.matches("h2, p") ? words : node).getBoundingClientRect();
            const beside = a.left > b.right - 1 || b.left > a.right - 1;
            const apart = a.top > b.bottom - 1 || b.top > a.bottom - 1;
            return b.width > 1 && !beside && !apart;
          }).map((node) => node.outerHTML.slice(0, 90))]; }); }"""
    )
    assert over == []
    assert len(tips(one)) == 3
