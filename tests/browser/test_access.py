"""Everyone can use the page: axe-core finds nothing in any room, light or dark, and keys reach what a mouse reaches."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest

from tests.browser.conftest import go_to

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ROOMS = ("Steer", "Compose", "Concepts", "Grid", "Audit", "Why memories resist")


def complaints(page) -> list[str]:
    """What axe-core objects to on the page as it stands, a line for each kind with its first place."""
    page.evaluate(AXE)
    found = page.evaluate("(rules) => axe.run(document, { runOnly: rules })", RULES)["violations"]
    return [f"{v['id']} ({v['impact']}), {len(v['nodes'])} times: {v['nodes'][0]['html'][:160]}" for v in found]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_in_any_room(visit, colours):
    one = visit()
    if colours == "dark":
        one.page.click(".rd-theme")
        assert one.page.get_attribute(".rd-theme", "aria-pressed") == "true"
    told = {}
    for room in ROOMS:
        go_to(one.page, room)
        one.page.wait_for_timeout(600)  # colours fade
        told[room] = complaints(one.page)
    assert told == {room: [] for room in ROOMS}


def test_axe_sees_a_fault(visit):
    """The test above can fail: a control without a name and pale text are found."""
    one = visit()
    one.page.evaluate(
        """() => document.querySelector('.rd-lede').insertAdjacentHTML('beforeend',
        '<button></button><p style="color:#ccc;background:#fff">pale</p>')"""
    )
    assert {line.split(" ")[0] for line in complaints(one.page)} >= {"button-name", "color-contrast"}


def test_keys_reach_generate_and_the_strength(visit):
    """With Tab alone one gets from the prompt to Generate and to the slider, in the order of the page."""
    one = visit()
    one.page.focus("#rd-prompt-a textarea")
    reached = []
    for _ in range(160):
        one.page.keyboard.press("Tab")
        reached.append(
            one.page.evaluate(
                """() => { const e = document.activeElement;
                return e.matches('.rd-generate') ? 'generate' : e.closest('[data-helm]') ? 'strength'
                     : e.closest('#rd-concept') ? 'concept' : ''; }"""
            )
        )
        if reached[-1] == "strength":
            break
    order = [name for place, name in enumerate(reached) if name and name not in reached[:place]]
    assert order == ["concept", "generate", "strength"]
