"""The laboratory: filled without training, dragged without a request, trained, stopped, shared and taken away."""

from __future__ import annotations

import pytest

from steering.dae.snapshots import index
from steering.ui import documents, lab
from tests.browser.conftest import go_to
from tests.browser.test_visitors import save
from tests.tiny import pictures

pytestmark = pytest.mark.skipif(not lab.ready(), reason="the toy's snapshots are not there: rudder dae snapshots")

DROP = """([name, type, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const target = document.querySelector(".rd-lab");
  for (const kind of ["dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""
SLIDE = """(value) => {
  const range = document.querySelector(".rd-lab .rd-track input");
  range.value = value;
  range.dispatchEvent(new Event("input", { bubbles: true }));
  range.dispatchEvent(new Event("change", { bubbles: true }));
}"""


@pytest.fixture
def entered(visit):
    """A visitor in the lab, its response curves drawn."""

    def enter(**options):
        one = visit(**options)
        go_to(one.page, "Why memories resist")
        drawn(one)
        return one

    return enter


def drawn(one) -> None:
    one.page.wait_for_selector(".rd-lab[data-ready=yes][data-curve=drawn]")


def shown(one, name: str) -> str:
    return one.page.evaluate("(name) => document.querySelector(`[data-lab=${name}]`).toDataURL()", name)


def moved(one, side: str) -> float:
    return float(one.page.get_attribute(f"[data-lab={side}-steered]", "data-moved"))


def said(one, side: str = "mem") -> str:
    return one.page.inner_text(f"[data-side={side}] .rd-lab-state p")


def type_knob(one, key: str, value: str, side: str = "mem") -> None:
    knob = one.page.locator(f"[data-side={side}] input[type=text][data-knob={key}]")
    knob.fill(value)
    knob.press("Tab")


def test_first_paint_shows_both_regimes_and_one_holds_then_jumps(entered):
    one = entered()
    words = [one.page.inner_text(f"[data-side={side}] .rd-tag") for side in ("mem", "gen")]
    assert words == ["Memorises", "Generalises"]
    assert [one.page.get_attribute(f"[data-side={s}]", "data-code") for s in ("mem", "gen")] == ["spiky", "balanced"]
    assert "holds" in one.page.inner_text(".rd-lab-answer .is-mem")
    assert "moves" in one.page.inner_text(".rd-lab-answer .is-gen")
    assert one.page.inner_text(".rd-lab-answer h3") == "Here the left network resists, the right one yields."
    assert one.page.locator("[data-side=mem] .rd-lab-columns canvas").count() == 7
    before = shown(one, "mem-steered")
    one.page.evaluate(SLIDE, 1)
    at_one = {side: moved(one, side) for side in ("mem", "gen")}
    one.page.evaluate(SLIDE, 3)
    at_three = {side: moved(one, side) for side in ("mem", "gen")}
    assert at_one["mem"] < 0.2 * at_three["mem"] and at_one["gen"] > 0.2 * at_three["gen"]
    assert shown(one, "mem-steered") != before
    assert one.joined == [], "nothing is asked of the server"


def test_pictures_are_clicked_drawn_dropped_and_undone(entered, tmp_path):
    one = entered()
    one.page.click("[data-kind=test] label >> nth=2")
    assert "neither network" in one.page.inner_text(".rd-lab-source")
    clicked = shown(one, "slate")
    one.page.click("[data-tool=clear]")
    box = one.page.locator("[data-lab=slate]").bounding_box()
    one.page.mouse.move(box["x"] + 20, box["y"] + 20)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + 90, box["y"] + 90, steps=3)
    one.page.mouse.up()
    assert one.page.inner_text(".rd-lab-source").startswith("Your drawing")
    for _ in range(2):
        one.page.click("[data-tool=undo]")
    assert shown(one, "slate") == clicked
    path = tmp_path / "tall.png"
    pictures(1, size=64)[0].resize((37, 90)).save(path)
    one.page.evaluate(DROP, ["tall.png", "image/png", list(path.read_bytes())])
    one.page.wait_for_function("document.querySelector('.rd-lab-source').textContent.startsWith('tall.png')")
    kept = shown(one, "slate")
    one.page.evaluate(DROP, ["words.txt", "text/plain", list(b"no picture")])
    assert "words.txt" in one.notice() and shown(one, "slate") == kept
    assert one.joined == []


def test_knobs_show_the_nearest_snapshot_and_refuse_nonsense(entered):
    one = entered()
    type_knob(one, "n", "7")
    one.page.wait_for_function(
        "/nearest snapshot/.test(document.querySelector('[data-side=mem] .rd-lab-state').textContent)"
    )
    for key, value, says in (("n", "20000", "10,000"), ("p", "0", "at least 1"), ("sigma", "much", "not a number")):
        type_knob(one, key, value)
        assert says in one.notice()
    type_knob(one, "lam", "99")
    one.page.wait_for_selector("[data-side=mem] .rd-lab-state.is-warning")
    assert "eigenvalue" in said(one)
    one.page.click("[data-side=mem] .rd-lab-undo")
    one.page.click("[data-side=mem] .rd-lab-undo")
    assert "exactly these" in said(one)
    assert one.joined == []


def test_train_live_stop_and_undo(entered):
    one = entered()
    before = shown(one, "gen-denoised")
    one.page.click("[data-side=gen] .rd-lab-train")
    one.page.wait_for_function("/^Step/.test(document.querySelector('[data-side=gen] .rd-lab-state p').textContent)")
    assert one.page.inner_text("[data-side=gen] .rd-lab-train") == "Stop"
    one.page.click("[data-side=gen] .rd-lab-train")
    assert said(one, "gen").startswith("Stopped at step")
    assert shown(one, "gen-denoised") != before
    one.page.wait_for_timeout(1200)
    assert said(one, "gen").startswith("Stopped at step"), "nothing of the stopped training arrives"
    one.page.click("[data-side=gen] .rd-lab-undo")
    assert "exactly these" in said(one, "gen") and shown(one, "gen-denoised") == before


def test_a_link_brings_everything_back_and_figures_are_saved(entered, visit, tmp_path):
    one = entered()
    one.page.click("[data-kind=train] label >> nth=1")
    one.page.evaluate(SLIDE, 2.25)
    type_knob(one, "n", "9")
    drawn(one)
    one.page.click("[data-do=link]")
    state = [shown(one, name) for name in ("slate", "mem-steered", "gen-steered")]
    other = visit()
    other.page.goto(one.page.url)
    other.page.reload()
    drawn(other)
    assert [shown(other, name) for name in ("slate", "mem-steered", "gen-steered")] == state
    for kind, head in (("svg", b"<svg"), ("png", b"\x89PNG")):
        save(one, f"[data-do={kind}]", tmp_path / f"figure.{kind}")
        content = (tmp_path / f"figure.{kind}").read_bytes()
        assert content.startswith(head) and len(content) > 20_000
    assert one.joined == [] and other.joined == []


def test_the_explanation_follows_the_case(entered):
    """A drawing, other data, one pass: what is said is what the page then shows of that case."""
    one = entered()
    seen = set()

    def told() -> None:
        drawn(one)
        for side in ("mem", "gen"):
            text, code = (
                one.page.inner_text(f".rd-lab-answer .is-{side}"),
                one.page.get_attribute(f"[data-side={side}]", "data-code"),
            )
            seen.add(text)
            first = text.split(" and is not")[0]
            assert {"spiky": "on one unit", "balanced": "spread over", "silent": "no unit"}[code] in first, (code, text)

    told()
    one.page.click("[data-tool=clear]")
    told()
    assert "Your drawing: neither network" in one.page.inner_text(".rd-lab-source")
    one.page.evaluate("""() => { const range = document.querySelector('.rd-lab-passes input');
      range.value = 1; range.dispatchEvent(new Event('input', { bubbles: true })); }""")
    told()
    assert "a pass leaves" not in one.page.inner_text(".rd-lab-answer")
    one.page.select_option(".rd-lab-set select", "mixture-wide")
    one.page.wait_for_selector(".rd-lab-concepts label:nth-child(4):last-child")
    told()
    assert len(seen) >= 5


def test_arrow_keys_go_to_the_next_value_that_shows_something_else(entered):
    one = entered()
    knob = one.page.locator("[data-side=mem] input[type=range][data-knob=n]")
    exact = "[data-side=mem] input[type=text][data-knob=n]"
    states = lab_states("fashion", "n")
    for key, way in (("ArrowRight", states[1:]), ("ArrowLeft", states[-2::-1])):
        for value in way:
            knob.press(key)
            one.page.wait_for_function(
                "([node, value]) => +document.querySelector(node).value.replaceAll(',', '') === value",
                arg=[exact, value],
            )
            one.page.wait_for_function(
                "/exactly these/.test(document.querySelector('[data-side=mem] .rd-lab-state p')?.textContent)"
            )
        knob.press(key)  # and stays at the end
        assert float(one.page.input_value(exact).replace(",", "")) == way[-1]
    helm = one.page.locator(".rd-lab .rd-track input")
    helm.press("ArrowRight")
    assert one.page.input_value(".rd-lab .rd-exact input") == "1.60"
    helm.press("ArrowLeft"), helm.press("ArrowLeft")
    assert one.page.input_value(".rd-lab .rd-exact input") == "1.40"
    assert one.joined == []


def lab_states(dataset: str, key: str) -> list[float]:
    """Values of a knob with a snapshot that has the other settings of the data set's first."""
    states = [s for s in index()["states"] if s["dataset"] == dataset and s["tied"]]
    rest = [k for k in ("p", "sigma", "lam", "duplicates") if k != key]
    return sorted(s[key] for s in states if all(s[k] == states[0][k] for k in rest))


def test_a_link_trains_again_what_was_trained_live(entered, visit):
    one = entered()
    type_knob(one, "n", "6")
    done = "/^Trained here/.test(document.querySelector('[data-side=mem] .rd-lab-state p')?.textContent)"
    one.page.click("[data-side=mem] .rd-lab-train")
    one.page.wait_for_function(done, timeout=150_000)
    one.page.click("[data-do=link]")
    one.page.wait_for_function(
        "/seed and settings/.test(document.querySelector('.rd-notice p').textContent)"
        " || /address bar/.test(document.querySelector('.rd-notice p').textContent)"
    )
    kept = shown(one, "mem-denoised")
    assert "t=mem%3A1" in one.page.url
    other = visit()
    other.page.goto(one.page.url)
    other.page.reload()
    other.page.wait_for_function(done, timeout=150_000)
    assert shown(other, "mem-denoised") == kept, "same seed, same settings, same machine: the same network"


def test_a_reading_leads_here_with_its_case(visit):
    one = visit()
    one.page.click(".rd-reading.is-b .rd-why")
    drawn(one)
    assert one.page.get_attribute(".rd-lab", "data-case") == "mem"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_sideways_scroll(entered, scheme):
    one = entered(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_only_the_toys_files_can_be_fetched(visit, app):
    one = visit()
    asked = [
        "dae/index.json",
        "dae/..%2Frudder.svg",
        "dae/ATTRIBUTION.md",
        f"gradio_api/file={documents.TOY / 'index.json'}",
    ]
    assert [one.page.request.get(f"{app}/{path}").status for path in asked] == [200, 404, 404, 403]
