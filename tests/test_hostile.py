"""Hostile files: no exception but RudderError, none takes over 5 s, none over 300 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile import KINDS, files

REPOSITORY = Path(__file__).resolve().parents[1]


def test_there_are_over_600_and_the_core_has_every_kind():
    counts = [count for some in KINDS.values() for _, count in some.values()]
    assert sum(counts) >= 600 and min(counts) >= 5
    assert [file.data for file in files(3, 100)] == [file.data for file in files(3, 100)]


def test_the_core_of_them_does_no_harm():
    """In a process of its own, whose memory is measured from file to file."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.hostile", "--core"],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=600,
    )  # fmt: skip
    *wrong, told = done.stdout.splitlines() or [""]
    assert done.returncode == 0 and not wrong, (wrong, done.stderr[-2000:])
    told = json.loads(told)
    assert told["files"] >= 120 and told["taken"] and told["refused"] > told["taken"] and told["wrong"] == 0
