"""`rudder evaluate` on models that are told classes: what cannot be asked of them is absent, not an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from steering import evaluation
from steering.backbones.registry import load
from steering.calibration import calibrate
from steering.concepts import learn
from steering.errors import RudderError
from steering.evaluation import asking, common, judge
from steering.evaluation.detection import fresh_drawings, samples
from steering.evaluation.record import PARTS, parts_of
from steering.evaluation.rivals import RIVALS, fit_for
from steering.files import home
from tests.tiny import make_tiny_dit, pictures
from tests.tiny_edm import make_tiny_edm, small

MEMORIES = {f"memory {i}": int(i >= 4) for i in range(16)}  # captions and their levels


def _dit(folder: Path, names: list[str]) -> None:
    make_tiny_dit(folder, num_embeds_ada_norm=len(names), num_layers=2)
    told = {"name": folder.name, "family": "dit", "classes": names, "resolution": 64, "num_inference_steps": 3}
    (folder / "rudder.json").write_text(json.dumps(told | {"guidance_scale": 2.0, "description": ""}))


def _edm(folder: Path, names: list[str], null_class: bool = True) -> None:
    make_tiny_edm(folder, small(label_dim=len(names)), classes=names, null_class=null_class, num_inference_steps=3)


@pytest.fixture(params=["dit", "edm"])
def told_classes(request, tmp_path: Path, monkeypatch):
    """A random model whose classes are the judge's kinds and memories, with vectors and a calibration, at home in
    a folder of its own."""
    ours, names = home(), [*judge.load().config["kinds"], *MEMORIES]
    folder, concepts = tmp_path / "models" / f"random-{request.param}", tmp_path / "assets" / "concepts"
    {"dit": _dit, "edm": _edm}[request.param](folder, names)
    (tmp_path / "models" / "judge").symlink_to(ours / "models" / "judge")
    (tmp_path / "assets" / "calibrations").mkdir(parents=True)
    (tmp_path / "assets" / "calibrations" / "photographs").symlink_to(ours / "assets" / "calibrations" / "photographs")
    (folder / "thumbnails").mkdir()
    listed = []
    for index, (text, picture) in enumerate(zip(MEMORIES, pictures(16, size=16), strict=True)):
        picture.save(folder / "thumbnails" / f"{index}.png")
        row = {
            "prompt": text,
            "thumbnail": f"thumbnails/{index}.png",
            "level": MEMORIES[text],
            "recall": MEMORIES[text],
        }
        listed.append(row | {"kind": "photograph" if index % 2 else "drawing", "repeats": 10 ** (1 + MEMORIES[text])})
    (folder / "prompts.json").write_text(json.dumps({"ordinary": [{"prompt": "cat"}], "memorized": listed}))
    for name in (*common.STYLES, "glasses"):
        shutil.copytree(ours / "assets" / "concepts" / name, concepts / name, ignore=lambda *_: ["tiny-sd.safetensors"])
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    backbone = load(folder.name)
    *_, vector = learn(backbone, "sketch", pictures(2, size=16), pictures(2, seed=5, size=16), timesteps=(100, 500))
    for name in (*common.STYLES, "glasses"):
        vector.replace(name=name, recommended={"strength": 60.0}).save(concepts / name / f"{folder.name}.safetensors")
    return backbone


def test_every_part_is_measured(told_classes, tmp_path, monkeypatch):
    given_back = lambda images, *_: np.ones(len(images), bool)  # noqa: E731
    monkeypatch.setitem(samples.__globals__, "gives_back", given_back)  # as a trained model's are
    found = {}
    with torch.inference_mode():
        *_, made = calibrate(told_classes, samples(told_classes, limit=8), timesteps=(200,), draws=1)
        made.save(tmp_path / "assets" / "calibrations" / f"{told_classes.name}.json")
        for part in parts_of(told_classes):
            found |= getattr(evaluation, part)(told_classes, limit=8)
    assert set(found) == set(PARTS) - {"words"}
    assert 0 <= found["prompts"]["object"] <= 1
    assert [found["prompts"][name] for name in ("style", "background", "object_held_out")] == [None] * 3
    assert "plain_when_unnamed" not in found["prompts"]
    assert found["prompts"]["recall_by_level"].keys() == {"0", "1"}
    steered = found["steering"]
    assert steered["by_examples"] is None and steered["shape"]["asked_for_in_the_prompt"] is None
    assert steered["background_kept_ordinary"] is not None
    assert set(steered["by_style"]) == set(common.STYLES)
    assert set(found["detection"]["rivals"]) == set(RIVALS) - {"attention_entropy"}
    assert found["editability"]["n"] == 16
    json.dumps(found, allow_nan=False)


def test_words_are_refused_by_name(told_classes):
    with pytest.raises(RudderError, match="is told classes: words against vectors are for models with prompts"):
        evaluation.words(told_classes)


def test_a_class_is_all_that_can_be_said(told_classes):
    grammar = judge.load().config
    asks = asking.asking(told_classes, grammar)
    assert asks.text("cat", "night", "neon") == "cat"
    many = asks.spread((0, 17), 3 * len(grammar["kinds"]))
    assert all(many.count(kind) == 3 for kind in grammar["kinds"])
    assert {ground for _, ground in asks.cases(np.random.default_rng(0), 50)} == {None}


def test_only_what_the_model_paints_is_asked_of_it(tmp_path):
    _edm(tmp_path / "few", ["doughnut", "person", *MEMORIES])
    backbone = load(str(tmp_path / "few"))
    asks = asking.asking(backbone, judge.load().config)
    assert set(asks.spread((0, 17), 40)) == {"doughnut", "person"} == set(asks.kinds)
    assert {kind for kind, _ in asks.cases(np.random.default_rng(0), 50)} == {"doughnut", "person"}
    assert {path.stem.partition("-")[2] for path in fresh_drawings(backbone)} == {"doughnut", "person"}
    _edm(tmp_path / "strange", list(MEMORIES))
    with pytest.raises(RudderError, match="without classes that the judge knows"):
        asking.asking(load(str(tmp_path / "strange")), judge.load().config)


def test_words_name_everything_and_never_what_was_held_out(backbone):
    grammar = judge.load().config
    asks = asking.asking(backbone, grammar)
    assert asks.text("apple", "night", "neon") == "a neon sign of an apple on a night background"
    every = asks.spread((0, 17), 10**6)
    held = {
        asks.text(grammar["kinds"][k], grammar["backgrounds"][b], grammar["styles"][s])
        for k, s, b in grammar["held_out"]
    }
    assert len(set(every)) == len(every) and held and not held & set(every)
    assert not any("neon" in text for text in asks.spread((0, 17), 10**6, styles=False))
    cases = asks.cases(np.random.default_rng(0), 10**6)
    assert len(set(cases)) == len(cases) == len(grammar["kinds"]) * len(grammar["backgrounds"])


def test_a_model_without_an_empty_text_has_no_guidance_to_go_by(tmp_path, backbone):
    _edm(tmp_path / "by-class", list(MEMORIES), null_class=False)
    assert set(fit_for(load(str(tmp_path / "by-class")))) == {"nearest_neighbour"}
    assert fit_for(backbone) == RIVALS


def test_what_is_told_nothing_is_not_asked(tmp_path):
    make_tiny_edm(tmp_path / "silent", small(label_dim=0))
    with pytest.raises(RudderError, match="without words or classes"):
        asking.asking(load(str(tmp_path / "silent")), judge.load().config)
