"""The Audit tab: upload, watch, download, stop, and lists that are none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tests.browser.test_visitors import save, set_files

THUMBNAILS = Path(__file__).resolve().parents[2] / "models" / "tiny-sd" / "thumbnails"


def scan(visit, path: Path) -> None:
    visit.page.click("#rd-tabs [role=tablist] button:has-text('Audit')")
    set_files(visit, "#rd-audit-source button", path)
    visit.page.wait_for_selector(f"#rd-audit-source :text('{path.stem}')")
    visit.page.click("#rd-audit-start")


def said(visit, words: str) -> str:
    visit.page.wait_for_function(
        "(words) => document.querySelector('.rd-auditing p').textContent.includes(words)", arg=words
    )
    return visit.page.inner_text(".rd-auditing p")


def test_a_zip_is_scanned_watched_and_taken_away(visit, tmp_path):
    one = visit()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(THUMBNAILS.glob("*-0[0-4].png")):
            archive.write(path, path.name)
        archive.writestr("broken.png", b"no picture")
    scan(one, tmp_path / "set.zip")
    assert said(one, "could not be read") == "11 rows, 5 memorised, 1 could not be read."
    one.page.wait_for_selector(".rd-report:not([hidden])")
    save(one, "#rd-audit-rows", tmp_path / "rows.jsonl")
    head, *rows = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert head["rudder_scan"] == 1 and len(rows) == 11
    assert {r["id"] for r in rows if r.get("memorized")} == {f"memorized-0{i}.png" for i in range(5)}


def test_prompts_are_painted_and_a_list_cannot_read_this_machine(visit, tmp_path):
    one = visit()
    (tmp_path / "list.csv").write_text("id,prompt,path\n1,a cat on a sky background,\n2,,/etc/hostname\n")
    scan(one, tmp_path / "list.csv")
    assert said(one, "could not be read").startswith("2 rows") and "1 could not be read" in said(one, "rows")


def test_a_list_that_is_none_is_said(visit, tmp_path):
    one = visit()
    (tmp_path / "list.csv").write_text("colour\nred\n")
    scan(one, tmp_path / "list.csv")
    assert "no column path or prompt" in one.notice()
