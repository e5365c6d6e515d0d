"""References that the model paints itself: kept, resumed, learned from as pictures are; lists of prompts."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from steering.concepts import ConceptVector, Progress, learn
from steering.errors import Cancelled, RudderError
from steering.images import OnDisk, gathered
from steering.png import read_png
from steering.recipe import Recipe
from steering.references import HEAD, name_of, paint_references, rows_of
from steering.sampling import finish, sample
from tests.test_cli import home, rudder  # noqa: F401  (fixtures)

ROWS = rows_of(["a red apple", "a red car"], 4, seed=5)
FAST = {"steps": 2}


def painted(run) -> OnDisk:
    *_, last = run
    assert isinstance(last, OnDisk)
    return last


def test_rows_take_turns_and_count_seeds():
    assert ROWS == [("a red apple", 5), ("a red car", 6), ("a red apple", 7), ("a red car", 8)]
    for count in (0, 10_001):
        with pytest.raises(RudderError, match="number of references"):
            rows_of(["a"], count)
    with pytest.raises(RudderError, match="no prompt"):
        rows_of([], 3)


def test_references_are_the_models_own_pictures_with_their_recipes(backbone, tmp_path):
    found = painted(paint_references(backbone, ROWS, tmp_path / "kept", **FAST, batch_size=1))
    assert len(found) == 4 and [read_png(path).seed for path in found.paths] == [5, 6, 7, 8]
    recipe = read_png(found.paths[1])
    assert (recipe.prompt, recipe.num_inference_steps, recipe.guidance_scale) == ("a red car", 2, 4.0)
    alone = Recipe(prompt="a red car", seed=6, num_inference_steps=2, guidance_scale=4.0)
    assert found[1].tobytes() == finish(sample(backbone, alone)).images[0].tobytes()
    assert [image.tobytes() for image in found[1:3]] == [found[1].tobytes(), found[2].tobytes()]
    assert gathered(found) is found


def test_an_interrupted_run_goes_on_and_paints_nothing_twice(backbone, tmp_path):
    run = paint_references(backbone, ROWS, tmp_path, **FAST, batch_size=2)
    assert [next(run).done, next(run).done] == [0, 2]
    run.close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    assert len(before) == 2
    told = [item.done for item in paint_references(backbone, ROWS, tmp_path, **FAST) if isinstance(item, Progress)]
    assert told == [2, 4]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert {path.name for path in tmp_path.iterdir()} == {HEAD, *(name_of(*row) for row in ROWS)}


def test_a_stop_is_heard(backbone, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        painted(paint_references(backbone, ROWS, tmp_path, **FAST, stop=stop))


def test_a_folder_belongs_to_one_model_and_its_settings(backbone, sd14, tmp_path):
    painted(paint_references(backbone, ROWS[:1], tmp_path, **FAST))
    with pytest.raises(RudderError, match="another fingerprint"):
        painted(paint_references(sd14, ROWS, tmp_path, **FAST))
    with pytest.raises(RudderError, match="another num inference steps"):
        painted(paint_references(backbone, ROWS, tmp_path, steps=3))
    (tmp_path / name_of(*ROWS[1])).write_bytes((tmp_path / name_of(*ROWS[0])).read_bytes())
    with pytest.raises(RudderError, match="was not painted from 'a red car' at seed 6"):
        painted(paint_references(backbone, ROWS, tmp_path, **FAST))


def test_learning_from_disk_equals_learning_from_memory(backbone, tmp_path):
    found = painted(paint_references(backbone, ROWS, tmp_path, **FAST))
    one, other = (
        list(learn(backbone, "red", some, timesteps=(50,), batch_size=3))[-1] for some in (found, list(found))
    )
    assert one.provenance["images_sha256"] == other.provenance["images_sha256"]
    assert all(torch.equal(one.vectors[site], other.vectors[site]) for site in one.sites)
    found.paths[0].write_bytes(b"no picture")
    with pytest.raises(RudderError, match="delete it, so that it is made again"):
        found[0]


def test_a_concept_from_two_prompts(rudder):  # noqa: F811
    asked = ["concept", "learn", "old red", "--prompts", "a red apple", "--against", "a apple", "--count", "3",
             "--timestep", "50", "--seed", "7", "--no-search", "--json"]  # fmt: skip
    code, out, err = rudder(*asked)
    assert code == 0 and "painting references" in err
    told = json.loads(out)
    made = told["provenance"]["references"]
    assert made["concept"] == {"prompts": ["a red apple"], "count": 3, "seeds": [7, 9], "num_inference_steps": 40,
                               "guidance_scale": 4.0}  # fmt: skip
    assert made["baseline"]["seeds"] == [7, 9]  # the same noise: what differs is the prompt
    assert (told["provenance"]["prompt"], told["provenance"]["baseline_prompt"]) == ("a red apple", "a apple")
    kept = sorted(Path("old-red-references").glob("*.png"))
    assert len(kept) == 6
    vector = ConceptVector.load("old-red.safetensors")
    times = [path.stat().st_mtime_ns for path in kept]
    assert rudder(*asked)[0] == 0 and [path.stat().st_mtime_ns for path in kept] == times
    again = ConceptVector.load("old-red.safetensors")
    assert all(torch.equal(vector.vectors[site], again.vectors[site]) for site in vector.sites)
    groups = [[str(path) for path in kept if path.name == name_of(prompt, read_png(path).seed)]
              for prompt in ("a red apple", "a apple")]  # fmt: skip
    baseline = [part for path in groups[1] for part in ("--baseline", path)]
    options = ["--prompt", "a red apple", "--baseline-prompt", "a apple", "--timestep", "50", "--seed", "7"]
    shown = sorted(groups[0], key=lambda path: read_png(path).seed)
    assert rudder("concept", "learn", "by hand", *shown, *baseline, *options, "--no-search")[0] == 0
    by_hand = ConceptVector.load("by-hand.safetensors")
    for site in vector.sites:
        torch.testing.assert_close(by_hand.vectors[site], vector.vectors[site])


@pytest.mark.parametrize("arguments", [
    [], ["x.png", "--prompts", "a"], ["x.png", "--against", "a"], ["--prompts", "a", "--baseline", "x.png"],
])  # fmt: skip
def test_pictures_or_prompts(rudder, arguments: list[str]):  # noqa: F811
    code, _, err = rudder("concept", "learn", "red", *arguments)
    assert code == 2 and "give one or other" in err


def test_calibrating_on_lists_of_prompts(rudder, monkeypatch):  # noqa: F811
    monkeypatch.setattr("steering.calibration.ROUNDS", 20)
    captions = ["a red apple", "a red car", "a red cat", "a red dog"]
    lines = [json.dumps({"caption": text, "seed": place}) for place, text in enumerate(captions)]
    Path("known.jsonl").write_text("\n".join(lines))
    Path("fresh.txt").write_text("a house\na person\nneon glasses\na night sky\n")
    lists = ["--memorized", "known.jsonl", "--ordinary", "fresh.txt"]
    asked = ["calibrate", *lists, "--draws", "1", "--out", "c.json", "--json"]
    code, out, err = rudder(*asked)
    assert code == 0, err
    assert json.loads(out)["counts"] == {"memorized": 2, "ordinary": 2} and "painting references" in err
    kept = sorted(Path("c-pictures").glob("*.png"))
    recipes = [read_png(path) for path in kept]
    assert len(kept) == 8 and all((r.prompt, r.seed) in zip(captions, range(4), strict=True) for r in recipes if r.seed)
    times = [path.stat().st_mtime_ns for path in kept]
    assert rudder(*asked)[0] == 0 and [path.stat().st_mtime_ns for path in kept] == times
    Path("fresh.txt").write_text("")
    code, out, _ = rudder(*asked)
    assert code == 2 and "fresh.txt is empty" in out
    Path("fresh.txt").write_text("a house\n")
    Path("known.jsonl").write_text('{"caption": "a", "seed": "x"}\n')
    code, out, _ = rudder(*asked)
    assert code == 2 and "could be read" in out and "seed" in out
