"""The tab Compose: two concepts, a mask, a picture of one's own, words, download and restore, a phone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from steering.concepts import ConceptVector
from steering.keeping import read_recipe
from steering.masks import mask_image
from tests.browser.test_visitors import save, set_files, tab
from tests.tiny import pictures

SRC = "(which) => document.querySelector(`.rd-bench-picture img.is-${which}`).src"
SMALL = """() => [...document.querySelectorAll(
  ".rd-bench :is(button, input, select, textarea, summary)")].filter((node) => {
  const target = node.matches("[type=checkbox]") ? node.closest("label") : node, box = target.getBoundingClientRect();
  return node.checkVisibility() && box.width > 1 && (box.height < 39.5 || box.width < 39.5);
}).map((node) => node.outerHTML.slice(0, 120))"""


def enter(visit, steps: int = 6, **options):
    """A visitor on the tab, with few steps asked for."""
    one = visit(**options)
    one.page.get_by_role("tab", name="Compose").click()
    one.page.wait_for_selector(".rd-bench[data-ready=yes]")
    one.page.wait_for_timeout(400)  # the list of concepts comes
    one.page.click(".rd-bench-settings summary")
    one.page.fill(".rd-bench-steps", str(steps))
    return one


def paint(one, button: str = ".rd-bench-paint") -> None:
    seen = one.page.get_attribute(".rd-bench", "data-run") or "0"
    one.page.click(button)
    rest(one, seen)


def rest(one, seen: str) -> None:
    """Until a run newer than `seen` is over."""
    there = """(seen) => { const { run = 0, phase } = document.querySelector(".rd-bench").dataset;
      return +run > +seen && phase === "idle"; }"""
    one.page.wait_for_function(there, arg=seen, timeout=180_000)


def source(one, which: str) -> str:
    return one.page.evaluate(SRC, which)


def brush(one, across: tuple[float, float], down: float) -> None:
    """A stroke on the mask between two shares of its width."""
    box = one.page.locator(".rd-mask").bounding_box()
    y = box["y"] + down * box["height"]
    one.page.mouse.move(box["x"] + across[0] * box["width"], y)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + across[1] * box["width"], y, steps=6)
    one.page.mouse.up()


def bring_vector(one, home, path) -> None:
    """Open a vector of this model's on the Concepts tab, called tint."""
    shipped = sorted((home / "assets" / "concepts").glob("*/tiny-sd.safetensors"))
    if not shipped:
        pytest.skip("no vector ships for this model")
    ConceptVector.load(shipped[0]).replace(name="tint").save(path)
    tab(one, "Concepts")
    one.page.get_by_role("button", name="Make a concept").click()
    tab(one, "File")
    set_files(one, "#rd-open-vector", path)
    one.page.wait_for_selector("#rd-concept input[value='tint']:checked", state="attached")


def test_two_concepts_a_mask_words_and_back_from_the_download(visit, tmp_path):
    one = enter(visit)
    assert source(one, "after") != source(one, "before"), "something is there at once"
    one.page.click(".rd-term-add")
    one.page.select_option(".rd-term:nth-child(2) .rd-term-operator select", "erase")
    assert "taken away" in one.page.inner_text(".rd-term:nth-child(2) .rd-term-said")
    one.page.fill(".rd-term:nth-child(2) .rd-term-number input", "0.5")
    one.page.press(".rd-term:nth-child(2) .rd-term-number input", "Tab")
    one.page.click(".rd-mask-on")
    brush(one, (0.1, 0.4), 0.3)
    one.page.click(".rd-mask-on")
    paint(one)
    painted = source(one, "after")
    save(one, ".rd-bench-download", tmp_path / "two.png")
    found = read_recipe(tmp_path / "two.png")
    assert [use.operator for use in found.uses] == ["add", "erase"] and found.concepts[1][1] == 0.5
    assert 0 < np.asarray(mask_image(found.mask)).mean() < 128 and found.num_inference_steps == 6
    before, after = (np.asarray(_picture(one, which), int) for which in ("before", "after"))
    assert np.abs(before - after)[-8:].max() <= 6, "below the stroke nothing changes"
    one.page.click(".rd-bench-words summary")
    one.page.fill(".rd-bench-asked", "")
    one.page.wait_for_timeout(1000)  # on a busy machine the word that painting went well comes after its picture
    one.page.click(".rd-bench-compare")
    assert "no words yet" in one.notice()
    one.page.fill(".rd-bench-asked", "a pencil sketch of a cat")
    paint(one, ".rd-bench-compare")
    assert one.page.locator(".rd-bench-rivals figure").count() == 2
    assert "grey levels" in one.page.inner_text(".rd-bench-rivals")
    save(one, ".rd-bench-rivals [data-way=prompt] .rd-rival-save", tmp_path / "words.png")
    with Image.open(tmp_path / "words.png") as picture:
        assert picture.format == "PNG" and min(picture.size) >= 512
    assert source(one, "after") == painted, "painted again, it is the same file"

    other = visit()
    set_files(other, "#rd-open", tmp_path / "two.png")  # on the Steer tab, which lacks all that
    other.page.wait_for_selector(".rd-bench[data-ready=yes]", timeout=120_000)
    rest(other, "0")
    assert source(other, "after") == painted
    assert other.page.locator(".rd-term").count() == 2
    assert other.page.input_value(".rd-term:nth-child(2) .rd-term-operator select") == "erase"
    assert other.page.inner_text(".rd-mask-on") == "Edit the mask"


def test_a_picture_of_ones_own_and_what_must_be_brought_again(visit, tmp_path):
    picture = pictures(1, seed=4, size=70)[0].resize((90, 70)).convert("LA")
    picture.save(tmp_path / "own.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    one = enter(visit)
    set_files(one, ".rd-bench-bring", tmp_path / "bad.png")
    assert "bad.png" in one.notice()
    seen = one.page.get_attribute(".rd-bench", "data-run") or "0"
    set_files(one, ".rd-bench-bring", tmp_path / "own.png")
    rest(one, seen)
    assert "error" in one.page.inner_text(".rd-bench-error")
    assert not one.page.is_visible(".rd-bench-seed"), "the picture begins, no seed"
    painted = source(one, "after")
    save(one, ".rd-bench-download", tmp_path / "mine.png")
    pictures(1, seed=5, size=70)[0].save(tmp_path / "another.png")
    thumbnail = one.page.get_attribute(".rd-bench-brought img", "src")
    seen = one.page.get_attribute(".rd-bench", "data-run")
    set_files(one, ".rd-bench-bring", tmp_path / "another.png")
    rest(one, seen)
    assert one.page.get_attribute(".rd-bench-brought img", "src") != thumbnail
    one.page.click(".rd-bench .rd-undo")
    one.page.wait_for_function(
        "(shown) => document.querySelector('.rd-bench-brought img').src === shown", arg=thumbnail
    )
    other = enter(visit)
    set_files(other, ".rd-bench-open", tmp_path / "mine.png")
    other.page.wait_for_selector(".rd-bench-needs:visible")
    assert "bring that very picture" in other.page.inner_text(".rd-bench-needs")
    set_files(other, ".rd-bench-bring", tmp_path / "own.png")
    rest(other, "0")
    assert source(other, "after") == painted and not other.page.is_visible(".rd-bench-needs")


def test_stop_sliders_and_an_own_vector(visit, home, tmp_path):
    one = visit()
    bring_vector(one, home, tmp_path / "tint.safetensors")
    one.page.get_by_role("tab", name="Compose").click()
    one.page.wait_for_selector(".rd-term-concept option[value=tint]", state="attached")
    before = source(one, "after")
    one.page.click(".rd-bench-settings summary")
    one.page.fill(".rd-bench-steps", "90")
    one.page.select_option(".rd-term-concept select", "tint")
    one.page.focus(".rd-dial input")
    one.page.keyboard.press("Home")
    one.page.wait_for_function("(() => { const told = new URLSearchParams(location.hash.split('?')[1]).get('bench');"
                               " return told && JSON.parse(told).recipe.concepts[0][1] < 0; })()")  # fmt: skip
    one.page.click(".rd-bench-paint")
    one.page.wait_for_function("document.querySelector('.rd-bench-actions p').textContent.includes('of') || "
                               "document.querySelector('.rd-bench-actions .rd-bar i').style.width > '0%'")  # fmt: skip
    one.page.click(".rd-bench-stop")
    one.page.wait_for_selector(".rd-bench[data-phase=idle]")
    assert "Stopped" in one.page.inner_text(".rd-bench-actions p") and source(one, "after") == before
    one.page.fill(".rd-bench-steps", "4")
    paint(one)
    assert source(one, "after") != before
    one.page.focus(".rd-cut")
    one.page.keyboard.press("Home")
    assert (
        one.page.evaluate("getComputedStyle(document.querySelector('.rd-bench-picture')).getPropertyValue('--cut')")
        == "0%"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_all_fits_and_can_be_touched(visit, scheme):
    one = enter(visit, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    one.page.click(".rd-term-more summary")
    one.page.click(".rd-mask-on")
    assert one.page.evaluate(SMALL) == []
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    top = one.page.locator(".rd-bench-picture").bounding_box()["y"]
    assert (
        top
        < one.page.locator(".rd-term").bounding_box()["y"]
        < one.page.locator(".rd-bench-prompt").bounding_box()["y"]
    )


def _picture(one, which: str) -> Image.Image:
    """What an image of the page shows, 64 px."""
    import base64
    from io import BytesIO

    shown = one.page.evaluate("""(which) => {
      const image = document.querySelector(`.rd-bench-picture img.is-${which}`);
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
      canvas.getContext("2d").drawImage(image, 0, 0, 64, 64);
      return canvas.toDataURL();
    }""", which)  # fmt: skip
    return Image.open(BytesIO(base64.b64decode(shown.split(",")[1]))).convert("RGB")
