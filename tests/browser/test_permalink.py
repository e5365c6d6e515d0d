"""The page in its address: a link in a second browser, back and forward, undo and redo, links that lie."""

from __future__ import annotations

import pytest

SEED = "#rd-seed input"
SAID = "document.querySelector('.rd-notice p').textContent"


def seed(visit, value: str) -> None:
    """Type a seed, and wait until the address has it."""
    visit.page.fill(SEED, value)
    visit.page.press(SEED, "Tab")
    visit.page.wait_for_function("(value) => location.hash.includes(`seed=${value}&`)", arg=value)


def has_seed(visit, value: str) -> None:
    """Until the seed's field says so."""
    visit.page.wait_for_function("(value) => document.querySelector('#rd-seed input').value === value", arg=value)


def test_a_link_brings_everything_back_in_a_second_browser(visit, app):
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    one.page.fill("#rd-prompt-a textarea", "a red house & a car? #1")
    seed(one, "77")
    one.page.click("#rd-concept label:has(input:not(:checked)) >> nth=0")
    one.page.uncheck("#rd-compare input")
    one.generate(wait=False, steps=6)
    one.exact()
    one.page.locator("[data-helm=both] input[type=number]").fill("0.71")
    one.page.locator("[data-helm=both] input[type=number]").press("Enter")
    one.wait("running")
    one.exact()
    one.page.click("[data-column=a] .rd-copy")
    assert one.notice().startswith("Link copied.")
    link = one.page.evaluate("navigator.clipboard.readText()")
    assert link == one.page.url and link.startswith(f"{app}/#steer?model=tiny-sd&a=a+red+house")
    concept = one.page.input_value("#rd-concept input:checked")

    other = visit(color_scheme="dark")
    other.page.goto("about:blank")
    other.page.goto(link)
    other.page.wait_for_selector(".rd-stage[data-ready=yes]")
    has_seed(other, "77")
    other.seen = 0
    other.wait("running")
    other.exact()
    assert not other.page.is_checked("#rd-compare input")
    assert other.page.input_value("#rd-prompt-a textarea") == "a red house & a car? #1"
    assert other.page.input_value("#rd-concept input:checked") == concept
    assert other.page.input_value("#rd-steps input[type=number]") == "6"
    assert other.strength() == pytest.approx(0.71)
    assert other.picture("a-steered") == one.picture("a-steered")


def test_undo_redo_back_and_forward(visit):
    one = visit()
    undo, redo = (one.page.locator(f"#rd-panel .rd-{name}") for name in ("undo", "redo"))
    first = one.page.input_value(SEED)
    assert undo.is_disabled() and redo.is_disabled()
    one.page.click("#rd-concept label:has(input:not(:checked)) >> nth=0")
    chosen = one.page.input_value("#rd-concept input:checked")
    one.page.wait_for_function("(name) => location.hash.includes(`concept=${name}&`)", arg=chosen)
    seed(one, "21")
    seed(one, "22")
    undo.click()
    has_seed(one, "21")
    one.page.keyboard.press("Control+z")
    has_seed(one, first)
    assert one.page.input_value("#rd-concept input:checked") == chosen
    one.page.keyboard.press("Control+z")
    checked = "document.querySelector('#rd-concept input:checked').value"
    one.page.wait_for_function(f"(name) => {checked} !== name", arg=chosen)
    assert undo.is_disabled()
    assert not one.page.locator(".rd-actions.is-due").count(), "what is shown is what is asked for again"
    for _ in range(2):
        one.page.keyboard.press("Control+Shift+z")
    has_seed(one, "21")
    redo.click()
    has_seed(one, "22")
    one.page.focus("#rd-prompt-a textarea")
    one.page.keyboard.type("x")
    one.page.keyboard.press("Control+z")
    one.page.wait_for_timeout(600)
    assert one.page.input_value(SEED) == "22", "in a text field the browser's own undo works"

    one.generate(wait=False, steps=4)
    one.exact()
    one.page.wait_for_function("() => location.hash.includes('seed=22&') && history.state.rudder.painted")
    seed(one, "33")
    one.page.get_by_role("tab", name="Grid").click()
    one.page.wait_for_function("() => location.hash.startsWith('#grid')")
    one.page.go_back()
    one.page.wait_for_function("() => document.querySelector('#rd-seed input')?.offsetParent")
    has_seed(one, "33")
    one.page.go_back()
    has_seed(one, "22")
    one.page.go_forward()
    has_seed(one, "33")
    assert "seed=33&" in one.page.url


def test_a_stopped_generate_leaves_what_was_painted_before(visit):
    one = visit()
    seed(one, "91")
    one.generate(wait=False, steps=60)
    one.page.click(".rd-stop")
    one.page.wait_for_selector(".rd-stage[data-phase=idle]")
    one.page.wait_for_selector(".rd-actions.is-due"), "the pictures are of other settings"
    for _ in range(2):
        one.page.locator("#rd-panel .rd-undo").click()
    one.page.wait_for_selector(".rd-actions:not(.is-due)")


def test_a_link_says_also_what_is_not_there(visit):
    one = visit()
    seed(one, "31")
    link = one.page.url.partition("#")[2]
    assert "negative=&" in link and "sites=&" in link
    one.page.click("#rd-advanced button:has-text('Advanced')")
    one.page.click("#rd-negative textarea")  # waits until what unfolds has come to rest
    one.page.wait_for_timeout(1000)  # and until Gradio, which draws what was folded away only now, takes letters in
    one.page.fill("#rd-negative textarea", "blurry")
    one.page.wait_for_function("() => location.hash.includes('negative=blurry')")
    one.page.evaluate("(link) => { location.hash = link; }", link)
    one.page.wait_for_function("() => document.querySelector('#rd-negative textarea').value === ''")


def test_back_leads_into_the_laboratory_and_out_of_it(visit):
    one = visit()
    one.page.get_by_role("tab", name="Why memories resist").click()
    one.page.wait_for_selector(".rd-lab[data-ready=yes]")
    one.page.get_by_role("tab", name="Steer").click()
    one.page.wait_for_function("() => document.querySelector('#rd-seed input').offsetParent")
    one.page.go_back()
    one.page.wait_for_function("() => document.querySelector('.rd-lab').offsetParent")
    one.page.click(".rd-lab [data-do=link]")
    assert one.page.evaluate("location.hash").startswith("#lab?")
    one.page.go_forward()
    one.page.wait_for_function("() => document.querySelector('#rd-seed input').offsetParent")
    one.page.go_back()
    one.page.wait_for_function("() => document.querySelector('.rd-lab').offsetParent")
    assert one.page.evaluate("location.hash").startswith("#lab?")


def test_the_workbench_travels_in_a_link_and_undoes(visit, app):
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    one.page.get_by_role("tab", name="Compose").click()
    one.page.wait_for_selector(".rd-bench[data-ready=yes]")
    one.page.fill(".rd-bench-prompt", "a red house & a car? #1")
    one.page.wait_for_function("location.hash.startsWith('#compose?') && location.hash.includes('car')")
    one.page.click(".rd-term-add")
    one.page.wait_for_function("JSON.parse(new URLSearchParams(location.hash.split('?')[1]).get('bench'))"
                               ".recipe.concepts.length === 2")  # fmt: skip
    one.page.click(".rd-bench-settings summary")
    one.page.fill(".rd-bench-steps", "5")
    one.page.click(".rd-bench-paint")
    one.page.wait_for_selector(".rd-bench[data-run='1'][data-phase=idle]")
    one.page.click(".rd-bench .rd-copy")
    assert one.notice().startswith("Link copied. It brings all")
    link = one.page.evaluate("navigator.clipboard.readText()")
    assert link == one.page.url and link.startswith(f"{app}/#compose?model=tiny-sd&bench=")
    painted = one.page.get_attribute(".rd-bench-picture .is-after", "src")

    other = visit()
    other.page.goto("about:blank")
    other.page.goto(link)
    other.page.wait_for_selector(".rd-bench[data-run='1'][data-phase=idle]")
    assert other.page.input_value(".rd-bench-prompt") == "a red house & a car? #1"
    assert other.page.input_value(".rd-bench-steps") == "5" and other.page.locator(".rd-term").count() == 2
    assert other.page.get_attribute(".rd-bench-picture .is-after", "src") == painted

    undo, redo = (one.page.locator(f".rd-bench .rd-{name}") for name in ("undo", "redo"))
    undo.click()
    one.page.wait_for_function("document.querySelector('.rd-bench-steps').value !== '5'")
    undo.click()
    one.page.wait_for_function("document.querySelectorAll('.rd-term').length === 1")
    redo.click()
    one.page.wait_for_function("document.querySelectorAll('.rd-term').length === 2")
    assert one.page.input_value(".rd-bench-steps") != "5", "what was painted is one step further"
    one.page.go_back()
    one.page.wait_for_function("document.querySelector('.rd-bench-steps').value === '5'")


def test_the_concepts_tab_travels_in_a_link_and_goes_back(visit, app):
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    one.page.get_by_role("tab", name="Concepts").click()
    one.page.wait_for_function("location.hash.startsWith('#concepts?model=tiny-sd')")
    one.page.click("#rd-maker > button")
    one.page.wait_for_function("location.hash.includes('way=pictures')")
    one.page.get_by_role("tab", name="Two prompts").click()
    one.page.fill("#rd-two-a textarea", "a red house & a car? #1")
    one.page.fill("#rd-two-b textarea", "a house")
    one.page.fill("#rd-two-even textarea, #rd-two-even input", "night, grass")
    one.type("#rd-two-count", "9")
    one.page.fill("#rd-two-seed input", "77")
    one.page.press("#rd-two-seed input", "Tab")
    card = one.page.locator(".rd-concept").nth(2).get_attribute("data-key")
    one.page.click(f"[data-key='{card}'] .rd-concept-more")
    said = "new URLSearchParams(location.hash.split('?')[1])"
    one.page.wait_for_function(f"(card) => {said}.get('card') === card && {said}.get('seed') === '77'", arg=card)
    assert one.page.evaluate(f"{said}.get('way')") == "prompts"
    one.page.click(".rd-concepts-copy")
    assert one.notice() == "Link copied. It brings all of this back."
    link = one.page.evaluate("navigator.clipboard.readText()")
    assert link == one.page.url

    other = visit()
    other.page.goto("about:blank")
    other.page.goto(link)
    other.page.wait_for_selector("#rd-two-a textarea", state="visible")
    filled = "document.querySelector('#rd-two-a textarea').value === 'a red house & a car? #1'"
    other.page.wait_for_function(filled)
    assert other.page.input_value("#rd-two-b textarea") == "a house"
    assert other.page.input_value("#rd-two-even textarea, #rd-two-even input") == "night, grass"
    assert other.page.input_value("#rd-two-count input[type=number]") == "9"
    assert other.page.input_value("#rd-two-seed input") == "77"
    other.page.wait_for_selector(f"[data-key='{card}'].is-open")
    assert other.page.locator(".rd-concept.is-open").count() == 1
    other.page.wait_for_timeout(600)
    assert other.page.evaluate("location.hash") == one.page.evaluate("location.hash"), "and nothing is made of it"

    one.page.go_back()
    one.page.wait_for_selector("#rd-two-a textarea", state="hidden")
    assert not one.page.locator(".rd-concept.is-open").count()
    one.page.go_back()
    one.page.wait_for_function("document.querySelector('#rd-seed input')?.offsetParent")
    one.page.go_forward()
    one.page.wait_for_selector("#rd-maker", state="visible")
    one.page.wait_for_timeout(800)  # the tab comes to rest
    one.page.go_forward()
    one.page.wait_for_selector("#rd-two-a textarea", state="visible")
    one.page.wait_for_function(filled)
    one.page.wait_for_selector(f"[data-key='{card}'].is-open")
    one.page.goto(f"{app}/#concepts?way=magic")
    one.page.wait_for_function(f"() => {SAID}.includes('way to make a concept')")


def test_a_bare_address_opens_the_concepts(visit, app):
    one = visit()
    one.page.goto("about:blank")
    one.page.goto(f"{app}/#concepts")
    one.page.wait_for_selector(".rd-concept", state="visible")


def test_another_concept_of_that_name_is_not_painted(visit, app):
    one = visit()
    seed(one, "31")
    link = one.page.url
    assert "marks=" in link
    name = one.page.input_value("#rd-concept input:checked")
    run = one.run()
    one.page.goto(f"{link.partition('marks=')[0].replace('seed=31', 'seed=32')}marks={'0' * 12}+{name}")
    has_seed(one, "32")
    assert "not the one that has this name here" in one.notice()
    one.page.wait_for_timeout(500)
    assert one.run() == run, "and nothing is painted"


def test_links_that_lie_end_in_one_sentence(visit, app):
    one = visit()
    before = one.page.input_value(SEED)
    for query, words in {
        "seed=many": "The link's seed is many",
        "steps=1e99": "number of steps",
        "model=gone&seed=4": "This link is for the model 'gone'",
        "sites=nowhere": "no site in tiny-sd named 'nowhere'",
        "guidance=%3Cimg%20src=x%20onerror=alert(1)%3E": "guidance scale is <img src=x",
    }.items():
        one.page.goto(f"{app}/#steer?{query}")
        one.page.wait_for_function(f"(words) => {SAID}.includes(words)", arg=words)
        assert one.page.input_value(SEED) == before and not one.page.locator(".rd-notice img").count()
    one.page.goto(f"{app}/#grid?axis=colour&rows=1")
    one.page.wait_for_function(f"() => {SAID}.includes('kind of rows')")
    one.page.goto(f"{app}/#compose?bench=%7B%22recipe%22%3A7%7D")
    one.page.wait_for_function(f"() => {SAID}.includes('damaged') || {SAID}.includes('recipe')")
    one.page.goto(f"{app}/#steer?concept=mine&seed=4321")
    has_seed(one, "4321")
    assert "uploads do not travel in a link" in one.notice()
    one.generate(wait=False, steps=3)
    one.exact()


def test_a_link_for_another_model_leads_to_its_page(visit, app):
    one = visit()
    one.page.goto("about:blank")
    one.page.goto(f"{app}/#steer?model=random-edm&a=dog&compare=0&seed=5&steps=3")
    one.page.wait_for_url("**/m/random-edm/#steer?**")
    one.page.wait_for_selector("#rd-actions .rd-generate")
    has_seed(one, "5")
    assert one.page.input_value("#rd-prompt-a input") == "dog"
