"""The Grid tab: make one, go on from a cell, take it away, stop one, and on a phone."""

from __future__ import annotations

import json
import zipfile

from PIL import Image


def grid(visit, **fields: str):
    """Go to the Grid tab, with few steps; fill in rows and strengths."""
    visit.type("#rd-steps", "4")
    visit.page.get_by_role("tab", name="Grid").click()
    visit.page.wait_for_selector(".rd-grid[data-ready=yes]")
    for name, value in fields.items():
        visit.page.fill(f"#rd-grid-{name} textarea, #rd-grid-{name} input", value)
    visit.page.wait_for_timeout(200)


def paint(visit, wait: bool = True) -> None:
    """Press the primary button; by default until all is there."""
    visit.page.click(".rd-grid-paint")
    if wait:
        visit.page.wait_for_selector(".rd-grid[data-run][data-phase=idle]", timeout=120_000)


def test_a_grid_is_painted_gone_on_from_and_taken_away(visit, tmp_path):
    one = visit()
    grid(one)
    names = one.page.input_value("#rd-grid-rows textarea").split(", ")
    assert len(names) > 1, "it opens with several concepts"
    one.page.wait_for_selector(".rd-grid-told:has-text('pictures')")
    one.page.fill("#rd-grid-rows textarea", ", ".join(names[:2]))
    one.page.fill("#rd-grid-across textarea, #rd-grid-across input", "-1..1 [3]")
    one.page.wait_for_selector(".rd-grid-told:has-text('6 pictures')")
    paint(one)
    assert "6 of 6" in one.page.inner_text(".rd-grid-status")
    assert one.page.locator(".rd-grid td img").count() == 6
    heads = [th.inner_text() for th in one.page.locator(".rd-grid thead th").all()]
    assert heads == ["strength", "\u22121", "0", "+1"]
    assert [th.inner_text() for th in one.page.locator(".rd-grid tbody th").all()] == names[:2]
    assert one.page.inner_text("[data-place='0,1'] b") == "0.000"
    for kind, name in (("png", "sheet"), ("zip", "cells"), ("gif", "sweep")):
        with one.page.expect_download() as download:
            one.page.click(f".rd-grid-take [data-kind={kind}]")
        download.value.save_as(tmp_path / f"{name}.{kind}")
        assert download.value.suggested_filename == f"rudder-{name}.{kind}"
    assert Image.open(tmp_path / "sheet.png").width > 3 * 32 and Image.open(tmp_path / "sweep.gif").n_frames == 4
    with zipfile.ZipFile(tmp_path / "cells.zip") as packed:
        told = json.loads(packed.read("grid.json"))
        cell = told["cells"][5]["recipe"]
    assert told["across"] == [-1, 0, 1] and told["down"] == names[:2]

    one.seen = one.run()
    one.page.click("[data-place='1,2'] button")
    one.wait("running")
    one.exact()
    assert one.page.get_by_role("tab", name="Steer").get_attribute("aria-selected") == "true"
    assert one.page.is_checked(f"#rd-concept input[value='{names[1]}']")
    assert abs(one.strength() - cell["concepts"][0][1]) < 1e-3
    assert one.page.input_value("#rd-prompt-a textarea") == cell["prompt"]
    one.page.go_back()
    one.page.wait_for_selector(".rd-grid-paint", state="visible")
    assert one.page.locator(".rd-grid td img").count() == 6, "the grid is still there"


def test_a_stopped_grid_and_one_that_cannot_be(visit):
    one = visit()
    grid(one, across="0..many")
    one.page.wait_for_selector(".rd-grid-told.is-wrong:has-text('write a range such as')")
    paint(one)
    assert "write a range such as" in one.notice()
    one.page.click("#rd-grid-axis label:has-text('Windows')")
    one.page.wait_for_function("() => document.querySelector('#rd-grid-rows textarea').value.includes(':')")
    rows = ", ".join(f"0.{n}:0.9" for n in range(1, 9))
    one.page.fill("#rd-grid-rows textarea", rows)
    one.page.fill("#rd-grid-across textarea, #rd-grid-across input", "0..1 [9]")
    one.page.wait_for_selector(".rd-grid-told:has-text('72 pictures')")
    paint(one, wait=False)
    one.page.wait_for_selector(".rd-grid td img")
    assert not one.page.is_visible(".rd-notice.is-shown"), "what was wrong is over"
    one.page.click(".rd-grid-stop")
    one.page.wait_for_selector(".rd-grid-status:has-text('Stopped')")
    left = one.page.locator(".rd-grid td img").count()
    assert 0 < left < 72
    one.page.fill("#rd-grid-rows textarea", "0.5:0.9")
    one.page.fill("#rd-grid-across textarea, #rd-grid-across input", "0, 1")
    one.page.wait_for_timeout(200)
    paint(one)
    assert one.page.locator(".rd-grid td img").count() == 2, "the stopped one never draws over the new one"


def test_the_grid_on_a_phone(visit):
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    grid(one, rows="sketch, night", across="0, 0.5, 1, 1.5, 2")
    paint(one)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390, "wide grids scroll by themselves"
    small = """() => [...document.querySelectorAll("#rd-grid button")].filter((one) => one.offsetParent)
      .filter((one) => Math.min(...["height", "width"].map((side) => one.getBoundingClientRect()[side])) < 40)
      .map((one) => one.outerHTML)"""
    assert one.page.evaluate(small) == []
