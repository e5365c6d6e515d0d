"""The README keeps its word: its Python runs, its tables and those of docs/measured.md are the committed numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.bench import summary
from benchmarks.evaluated import FAMILIES, STEPS, families, first_paint, ladder, made_of, onset, own_sets
from benchmarks.tables import BLOCK, MISSING, headline, rewrite, tables
from benchmarks.tables import made as trained_in

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MEASURED = (REPOSITORY / "docs" / "measured.md").read_text(encoding="utf-8")
MODEL = REPOSITORY / "models" / "tiny-sd" / "unet" / "diffusion_pytorch_model.safetensors"
SKETCH = REPOSITORY / "assets" / "concepts" / "sketch" / "tiny-sd.safetensors"
trained = pytest.mark.skipif(not (MODEL.is_file() and SKETCH.is_file()), reason="the embedded model is not here")


@trained
def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    assert len(list(tmp_path.glob("cat *.png"))) == 5


def test_the_tables_are_those_of_the_committed_measurements():
    assert {name for _, name, _ in BLOCK.findall(MEASURED)} == {
        "prompts", "steps", "ladder", "steering", "styles", "examples", "words", "groups", "detection", "families",
        "domain", "firstpaint", "own",
        "onset", "editability", "speed", "scan", "dae", "training",
    }  # fmt: skip
    assert {name for _, name, _ in BLOCK.findall(README)} == {"headline"}
    found = tables(REPOSITORY)
    for page in (README, MEASURED):
        assert rewrite(page, found) == page, "run `make tables`"


def test_headlines_are_rows_of_what_is_measured_and_of_nothing_else():
    told = headline({"prompts": {"object": 0.5}, "dae": {"memorization": {"min_column_cosine": 1.0}}, "speed": {}})
    assert [line.split(" | ")[1] for line in told.splitlines()[2:]] == ["50.0%", "1"]


@pytest.mark.parametrize(
    ("more", "minutes"),
    [({}, 2), ({"before": None}, 2), ({"before": {"seconds": 60}}, 3), ({"decoder": {"seconds": 60}}, 3),
     ({"before": {"seconds": 60}, "decoder": {"seconds": 60, "before": [{"seconds": 120}]}}, 6)],
)  # fmt: skip
def test_all_minutes_of_training_are_told(more: dict, minutes: int):
    quality = {"psnr_fresh_db": 29.0, "psnr_memorized_db": 28.0}
    vae = {"seconds": 120, **quality, **more}
    if "decoder" in more:
        vae["decoder"] = {**more["decoder"], **quality}
    unet = {"seconds": 600, "steps": 1000, "batch": 64, "pictures": 5, "machine": "here", "before": []}
    assert f"autoencoder: {minutes} minutes" in trained_in({"autoencoder": vae, "diffusion": unet})


def test_an_evaluation_becomes_its_tables_and_no_others():
    few = {"style": 0.5, "by_steps": {"8": dict.fromkeys(STEPS, 0.25)}, "num_inference_steps": 8}
    made = made_of({"prompts": few})
    assert set(made) == {"prompts", "steps"}
    assert "| style recognised | 50.0% | >= 97% |" in made["prompts"] and "not measured" in made["prompts"]
    assert made["steps"].startswith("| steps | **8** |") and "0.25 x" in made["steps"]
    quick = made_of({"prompts": few, "made": {"prompts": {"limit": 24}}})
    assert all(text.endswith("*A quick look: at most 24 captions a group.*") for text in quick.values())
    assert made_of({"prompts": few, "made": {"prompts": {"limit": None}}}) == made
    rising = {"prompts": {"recall_by_level": {"3": {"repeats": 1000, "recall": 1.0}}},
              "detection": {"by_level": {"3": {"auroc": 0.9, "flagged": None}}}}  # fmt: skip
    assert "| 1,000 | 100.0% | 0.900 | not measured | not measured | not measured |" in ladder(rising)
    seen = {
        "detection": {
            "auroc": 0.9,
            "tpr_at_1fpr": 0.5,
            "seconds_per_image": 2.0,
            "counts": {"memorized": 7, "ordinary": 8},
        }
    }
    assert "tiny-edm, 7 + 8 | **0.900** | **0.500** | **2.000** |" in families({"tiny-edm": seen})
    assert len(families({}).splitlines()) == 2 + len(FAMILIES)
    row = {"concept": "wet", "state": "takes", "promised": 0.9, "along": 0.6, "kept": 0.7, "along_memorized": 0.1}
    sets = {
        "concepts": [row | {"takes": True}],
        "take": 1.0,
        "promised_in_vain": [],
        "machine": "here",
        "date": "today",
    }
    assert "| wet | takes | 0.90 | 0.60 | 0.70 | 0.10 | yes |" in own_sets(sets) and "100% take" in own_sets(sets)
    pair = {
        "concept": "pink",
        "ordinary": "a car",
        "memorized": "harold",
        "factor": 0.75,
        "contrast": 61.4,
        "passes": False,
    }
    assert "| pink | a car | harold | 0.75 | 61 | no |" in first_paint({"best": [pair], "cells": [1, 2]})
    told = {"onset": {"recall": 300.0, "spikiness": None, "movement": 41.2}}
    assert onset(told).endswith("recall 300, resistance to steering 41 repetitions.")


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 160


def test_space_front_matter_matches_the_pins():
    front = dict(line.split(": ", 1) for line in README.split("---")[1].strip().splitlines())
    assert f"gradio=={front['sdk_version']}" in (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert (front["sdk"], front["app_file"], front["python_version"]) == ("gradio", "app.py", '"3.11"')
    assert len(front["short_description"]) <= 60


def test_tables_say_what_is_missing_and_keep_the_rest():
    page = "a\n<!-- table: speed -->\nold\n<!-- end -->\nb"
    assert rewrite(page, {}) == f"a\n<!-- table: speed -->\n\n{MISSING}\n\n<!-- end -->\nb"
    filled = rewrite(page, {"speed": "| x |"})
    assert "| x |" in filled and rewrite(filled, {"speed": "| x |"}) == filled


def test_a_figure_is_the_median_with_its_spread():
    told = summary({"released_seconds": [3.0, 1.0, 2.0], "cold_start_seconds": []})
    assert told["released_seconds"] == 2.0 and told["cold_start_seconds"] is None
    assert told["spread"] == {"released_seconds": {"min": 1.0, "max": 3.0, "repeats": 3}}
