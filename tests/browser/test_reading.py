"""The readings: verdicts on first paint, the profile, a picture from anywhere."""

from __future__ import annotations

import pytest

from steering.backbones.registry import outline
from steering.calibration import TIMESTEPS
from steering.ui.page import ONSET
from tests.browser.test_visitors import set_files
from tests.tiny import pictures

DROP = """([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const target = document.querySelector(".rd-reading.is-a");
  for (const kind of ["dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""


def verdict(visit, which: str) -> str:
    return visit.page.inner_text(f"{which} .rd-verdict")


def test_verdicts_on_first_paint_tell_the_two_apart(visit):
    one = visit()
    ordinary, memorized = (verdict(one, f".rd-reading.is-{column}") for column in "ab")
    assert ordinary.lower().startswith("not memorised") and memorized.lower().startswith("memorised")
    assert one.page.locator(".rd-reading.is-a .rd-bars rect").count() > 20
    assert one.joined == []


def test_the_profile_is_read_on_demand(visit):
    one = visit()
    one.page.click(".rd-reading.is-b .rd-profile summary")
    one.page.wait_for_selector(".rd-reading.is-b td")
    rows = one.page.locator(".rd-reading.is-b tbody tr")
    assert rows.count() >= 8 and rows.first.locator("td").count() == len(TIMESTEPS)


def test_a_new_picture_gets_a_new_reading(visit):
    one = visit()
    before = one.page.inner_text(".rd-reading.is-a figcaption >> nth=0")
    assert one.page.locator("#rd-picker-a input:checked").count() == 1
    one.page.fill("#rd-prompt-a textarea", "a neon sign of a guitar on a night background")
    one.generate()
    assert one.page.locator("#rd-picker-a input:checked").count() == 0, (
        "no example is chosen while the words are others"
    )
    assert one.page.inner_text(".rd-reading.is-a figcaption >> nth=0") != before
    assert "this edit" in verdict(one, ".rd-reading.is-a")
    assert "per unit of strength" not in one.page.inner_text(".rd-reading.is-a"), "plain words first"
    one.page.click(".rd-reading.is-a .rd-how summary")
    assert "per unit of strength" in one.page.inner_text(".rd-reading.is-a .rd-how div")


def test_the_link_to_the_laboratory_follows_the_case(visit):
    one = visit()
    for column, side in (("a", "balanced"), ("b", "memorised")):
        link = one.page.inner_text(f".rd-reading.is-{column} .rd-why")
        said = verdict(one, f".rd-reading.is-{column}")
        usual = "usually" in link
        assert usual == ("it shows" not in said), (link, said)
        if usual:
            assert side in link


def test_any_picture_can_be_scored_by_button_and_by_drop(visit, tmp_path, by_heart):
    one = visit()
    set_files(one, "#rd-score", by_heart[0])
    one.page.wait_for_selector("#rd-scored .rd-reading:not([hidden])")
    assert verdict(one, "#rd-scored").lower().startswith("memorised")
    noise = tmp_path / "noise.png"
    pictures(1, size=outline("tiny-sd").resolution)[0].save(noise)
    shown = one.page.get_attribute("#rd-scored .rd-own-picture img", "src")
    steered = one.picture("a-steered")
    one.page.evaluate(DROP, ["noise.png", list(noise.read_bytes())])
    one.page.wait_for_function(
        "(old) => document.querySelector('#rd-scored .rd-own-picture img').src !== old", arg=shown
    )
    assert verdict(one, "#rd-scored").startswith("No verdict"), "nothing it was calibrated on looks like that"
    assert one.picture("a-steered") == steered and not one.page.locator(".rd-notice.is-shown").count()


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_what_is_no_picture_is_said(visit, tmp_path, content):
    one = visit()
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    set_files(one, "#rd-score", path)
    assert "fake.png" in one.notice()


def test_curves_over_repetitions_are_those_that_were_measured(visit):
    """Drawn from a table of its own: heights are shares of the way from an ordinary picture to the most repeated."""
    told = {
        "curves": [
            {"repeats": 1000, "recall": 1.0, "spikiness": 3.0, "movement": 0.2},
            {"repeats": 10, "recall": 0.0, "spikiness": 1.5, "movement": 1.0},
            {"repeats": 100, "recall": 0.5, "spikiness": 2.0, "movement": 0.6},
        ],
        "ordinary": {"recall": 0.0, "spikiness": 1.0, "movement": 1.0},
        "onset": {"recall": 100.0, "spikiness": 100.0, "movement": None},
    }
    one = visit()
    one.page.evaluate(
        """([markup, told]) => {
          const host = document.createElement("div");
          host.id = "rd-onset-here";
          host.innerHTML = markup;
          document.querySelector("#rd-stage-column").append(host);
          host.querySelector("details").open = true;
          RudderOnset.mount({ element: host, props: { value: told } });
        }""",
        [ONSET, told],
    )
    heights = {
        key: one.page.eval_on_selector_all(
            f"#rd-onset-here circle.is-{key}", "dots => dots.map((dot) => Number(dot.getAttribute('cy')))"
        )
        for key in ("recall", "spikiness", "movement")
    }
    shares = {key: [(values[0] - y) for y in values] for key, values in heights.items()}
    assert [round(v / shares["recall"][-1], 2) for v in shares["recall"]] == [0, 0.5, 1]
    assert [round(v / shares["spikiness"][-1], 2) for v in shares["spikiness"]] == [0, 0.33, 1]
    assert [round(v / shares["movement"][-1], 2) for v in shares["movement"]] == [0, 0.5, 1], (
        "resistance: less movement"
    )
    said = one.page.inner_text("#rd-onset-here .rd-onset-said")
    assert "100 repetitions" in said and "resistance" not in said, "what has no onset is not given one"
