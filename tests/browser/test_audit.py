"""The Audit tab: its greeting, pictures and zips, what is taken away, a row that is steered, lists that are none."""

from __future__ import annotations

import csv
import json
import re
import tempfile
import zipfile
from pathlib import Path

from steering.backbones.registry import outline
from tests.browser.test_visitors import save, set_files
from tests.tiny import pictures

REPORT = "#rd-audit-report .rd-scan"
HERE = re.compile(rf"{re.escape(tempfile.gettempdir())}/|/gradio/|{re.escape(str(Path.home()))}/")  # where uploads lie


def audit(visit) -> None:
    visit.page.click("#rd-tabs [role=tablist] button:has-text('Audit')")
    visit.page.wait_for_selector("#rd-audit-start")


def scan(visit, *paths: Path) -> None:
    audit(visit)
    set_files(visit, "#rd-audit-source button", list(paths))
    visit.page.wait_for_selector(f"#rd-audit-source :text('{paths[-1].stem}')")
    visit.page.click("#rd-audit-start")


def said(visit, words: str) -> str:
    visit.page.wait_for_function(
        "(words) => document.querySelector('.rd-auditing p').textContent.includes(words)", arg=words
    )
    return visit.page.inner_text(".rd-auditing p")


def test_an_example_greets_and_says_that_it_is_one(visit):
    one = visit()
    audit(one)
    assert "Scored beforehand" in one.page.inner_text(".rd-scan-label")
    assert one.page.locator(f"{REPORT} figure").count() > 20
    tags = one.page.locator(f"{REPORT} .tag").all_inner_texts()
    assert {"memorised", "ordinary", "no verdict"} <= {tag.lower() for tag in tags}
    assert "false-positive rate" in one.page.inner_text(f"{REPORT} article") and "cut-off.png" in one.page.inner_text(
        f"{REPORT} article"
    )
    assert not one.page.locator("#rd-audit-rows").is_visible(), "there is nothing of one's own to take away yet"


def test_pictures_and_zips_are_scanned_watched_and_taken_away(visit, tmp_path, by_heart):
    one = visit()
    known = by_heart[:3]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in known[1:]:
            archive.write(path, path.name)
        archive.writestr("broken.png", b"no picture")
    noise = tmp_path / "noise.png"
    pictures(1, size=outline("tiny-sd").resolution)[0].save(noise)
    scan(one, known[0], noise, tmp_path / "set.zip")
    assert said(one, "could not be read") == "5 rows, 3 memorised, 1 unlike anything calibrated, 1 could not be read."
    assert "Scored beforehand" not in one.page.inner_text(".rd-scan-label")
    assert one.page.locator(f"{REPORT} figure").count() == 4 and "broken.png" in one.page.inner_text(
        f"{REPORT} article"
    )
    for name, selector in (("rows.jsonl", "rows"), ("table.csv", "sheet"), ("page.html", "page")):
        save(one, f"#rd-audit-{selector}", tmp_path / name)
        assert not HERE.search((tmp_path / name).read_text(encoding="utf-8")), "no folder of this machine"
    assert not HERE.search(one.page.inner_text("#rd-audit"))
    head, *rows = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert head["rudder_scan"] == 1 and len(rows) == 5
    flagged = {r["id"] for r in rows if r.get("memorized")}
    assert flagged == {known[0].name, *(f"set.zip/{path.name}" for path in known[1:])}
    table = list(csv.DictReader((tmp_path / "table.csv").open(encoding="utf-8-sig", newline="")))
    assert {r["id"] for r in table if r["verdict"] == "memorised"} == flagged
    assert "false-positive rate" in (tmp_path / "page.html").read_text()


def test_a_prompt_is_painted_and_steered_from_its_row_and_a_list_cannot_read_this_machine(visit, tmp_path):
    one = visit()
    (tmp_path / "list.csv").write_text("id,prompt,path,seed\n1,a cat on a sky background,,12\n2,,/etc/hostname,\n")
    scan(one, tmp_path / "list.csv")
    assert said(one, "could not be read").startswith("2 rows") and "1 could not be read" in said(one, "rows")
    assert one.page.locator(f"{REPORT} figure img").count() == 1, "the picture that was painted"
    one.page.click(f"{REPORT} button[data-prompt]")
    one.wait("running")
    one.wait()
    assert one.page.input_value("#rd-prompt-a textarea") == "a cat on a sky background"
    assert one.page.input_value("#rd-seed input") == "12"
    assert one.page.inner_text("[data-column=a] .rd-prompt") == "a cat on a sky background"


def test_a_list_that_is_none_is_said(visit, tmp_path, by_heart):
    one = visit()
    (tmp_path / "list.csv").write_text("colour\nred\n")
    scan(one, tmp_path / "list.csv")
    assert "no column path or prompt" in one.notice()
    one.page.click("#rd-audit-source button[aria-label*='Remove'], #rd-audit-source button[aria-label='Clear']")
    known = by_heart[0]
    set_files(one, "#rd-audit-source button", [known])
    one.page.wait_for_selector(f"#rd-audit-source :text('{known.stem}')")
    one.page.click("#rd-audit-start")
    said(one, "could not be read")
    one.page.wait_for_selector(".rd-notice:not(.is-shown)", state="attached")
