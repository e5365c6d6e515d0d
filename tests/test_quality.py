"""Is a vector any good: told apart, length, resemblance, doubts in words; sums of concepts as they work; the shelf."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from steering.arithmetic import combined
from steering.backbones import Backbone
from steering.concepts import ConceptVector, Progress, learn
from steering.errors import Cancelled, RudderError
from steering.quality import AtSite, Quality, assess, cosine, doubts, made_of, quality_of, resembled, searched
from steering.references import evened
from steering.shelf import open_shelf
from tests.test_cli import home, rudder  # noqa: F401  (fixtures)
from tests.tiny import pictures


def washed(seed: int, colour: str, count: int = 12) -> list[Image.Image]:
    """Pictures that have a colour in common."""
    return [Image.blend(one, Image.new("RGB", one.size, colour), 0.8) for one in pictures(count, seed=seed)]


def learned(backbone: Backbone, name: str, shown, others=None, **options) -> ConceptVector:
    return list(learn(backbone, name, shown, others, timesteps=(100, 300, 600), **options))[-1]


def assessed(backbone: Backbone, vector: ConceptVector, shown, others=None) -> ConceptVector:
    *steps, found = assess(backbone, vector, shown, others)
    assert all(isinstance(step, Progress) for step in steps) and steps[-1].done == steps[-1].total
    return found


@pytest.fixture(scope="module")
def red(backbone: Backbone) -> ConceptVector:
    shown, others = washed(1, "red"), washed(2, "blue")
    return assessed(backbone, learned(backbone, "red", shown, others), shown, others)


def test_sets_that_differ_are_told_apart_and_sets_that_do_not_are_not(backbone: Backbone, red: ConceptVector):
    told = quality_of(red)
    site, at = told.best()
    assert (told.images, told.baseline) == (12, 12) and at.auroc > 0.9 and at.steady > 0.3, at
    assert set(told.sites) == set(red.sites) and site in red.sites
    shown, others = pictures(12, seed=3), pictures(12, seed=4)
    alike = quality_of(assessed(backbone, learned(backbone, "nothing", shown, others), shown, others))
    assert np.mean([one.auroc for one in alike.sites.values()]) < 0.75
    assert red.provenance["quality"] == json.loads(json.dumps(red.provenance["quality"]))


@pytest.mark.parametrize("pooling", ["mean", "max", "map"])
def test_a_length_is_a_share_of_the_activations(backbone: Backbone, pooling: str):
    """Without a baseline the vector is the mean of the activations themselves, about as long as they are."""
    shown = pictures(6, seed=1)
    vector = assessed(backbone, learned(backbone, "all", shown, pooling=pooling), shown)
    told = quality_of(vector)
    assert 0.7 < told.share() < 1.3 and told.best() is None
    assert quality_of(assessed(backbone, vector * 2, shown)).share() == pytest.approx(2 * told.share(), rel=1e-3)


def test_measuring_stops(backbone: Backbone, red: ConceptVector):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        list(assess(backbone, red, pictures(2), stop=stop))


@pytest.mark.parametrize("told", [
    3, {}, {"images": 3, "baseline": 2, "sites": 4}, {"images": "x", "baseline": 1, "sites": {}},
    {"images": 1, "baseline": 1, "sites": {"SITE": {"auroc": 7, "steady": 0, "share": 1}}},
    {"images": 1, "baseline": 1, "sites": {"SITE": {"auroc": float("nan"), "steady": 0, "share": 1}}},
    {"images": 1, "baseline": 1, "sites": {"SITE": {"auroc": "<b>", "steady": 0, "share": 1}}},
])  # fmt: skip
def test_what_a_hostile_file_claims_was_not_measured(red: ConceptVector, told):
    text = json.loads(json.dumps(told).replace("SITE", red.sites[0]))
    assert quality_of(red.replace(provenance={**red.provenance, "quality": text})) is None


def test_resemblance_is_a_cosine_whatever_the_pooling(backbone: Backbone, red: ConceptVector):
    assert cosine(red, red) == pytest.approx(1) and cosine(red, red * -3) == pytest.approx(-1)
    flat = red.replace(vectors={s: v[..., None, None].expand(-1, -1, *backbone.sites()[s].size).clone()
                                for s, v in red.vectors.items()})  # fmt: skip
    assert cosine(red, flat) == pytest.approx(1, abs=1e-5)
    other = red.replace(provenance={**red.provenance, "fingerprint": "x"})
    assert cosine(red, other) is None
    rows = resembled(red, {"same": red * 2, "swapped": red * -1, "other": other, "red": red})
    assert [name for name, _ in rows] == ["same", "swapped"]


def test_doubts_name_the_remedy(red: ConceptVector):
    assert doubts(red) == []
    said = doubts(red.replace(provenance={**red.provenance, "images": 1, "baseline": False}))
    assert "One picture says little" in said[0] and "Without a baseline" in said[1]
    near, away = doubts(red, [("Night", 0.71), ("Sea", -0.8)])
    assert "resembles “Night” (cosine 0.71)" in near and "concept and baseline are swapped" in away
    low = Quality(12, 12, {red.sites[0]: AtSite(0.6, 0.5, 0.1)})
    weak = red.replace(provenance={**red.provenance, "quality": {"images": 12, "baseline": 12,
                       "sites": {s: vars(at) for s, at in low.sites.items()}}})  # fmt: skip
    assert "60 % of the time" in doubts(weak.replace(recommended={}))[0]
    (said,) = doubts(weak.replace(recommended={"strength": 1.0}))
    assert "60 % right" in said and "yet it was measured to take" in said, "its card says that it works"
    assert low.best()[0] == red.sites[0]


def test_what_a_search_gained_is_said(red: ConceptVector):
    assert searched(red) == ""
    for gained, tried, words in ((0.12, 9, "gains 12 points"), (0, 9, "none did better"), (0, 1, "default alone")):
        assert words in searched(red.replace(recommended={"gained": gained, "settings_tried": tried}))


def test_what_a_vector_is_made_of_is_told_also_of_sums(red: ConceptVector):
    blue = red.replace(name="blue")
    assert made_of(red).startswith("12 pictures against 12 without it, on 2")
    assert made_of(red + blue) == "“red” plus “blue”." and made_of(red * 2) == "2 times “red”."
    assert made_of(red.without(blue * 1)) == "“red” without what lies along “1 * blue”."
    deep = red
    for _ in range(12):
        deep = deep + deep
    assert len(deep.to_bytes()) < 100_000, "a sum of sums keeps its header small"
    assert made_of(red.replace(provenance={"operation": "+", "of": [3, []], "names": 7})) == "other vectors."
    assert "does not say" in made_of(red.replace(provenance={}))


def test_means_and_maps_add_up(backbone: Backbone, red: ConceptVector):
    placed = learned(backbone, "map", pictures(3, seed=5), pooling="map")
    for made in (red + placed, placed + red):
        for site, v in made.vectors.items():
            torch.testing.assert_close(v, placed.vectors[site] + red.vectors[site][..., None, None])
        assert ConceptVector.from_bytes(made.to_bytes(), backbone).provenance["pooling"] == "map"
    rest = placed.without(red)
    for site, v in rest.vectors.items():
        along = red.vectors[site][..., None, None]
        assert ((v * along).sum(1).abs() < 1e-3 * along.norm() * v.norm()).all()


def test_concepts_are_combined_as_they_work(backbone: Backbone, red: ConceptVector):
    first, second = red.sites[:2]
    a = red.replace(recommended={"strength": 2, "sites": [first], "window": [0.2, 0.6], "halves": "conditional"})
    b = learned(backbone, "blue", pictures(3, seed=9)).replace(
        recommended={"strength": 0.5, "sites": [second], "window": [0.1, 0.5], "halves": "both"}
    )
    made = combined(a, b, "plus", "both")
    torch.testing.assert_close(made.vectors[first], 2 * a.vectors[first])
    torch.testing.assert_close(made.vectors[second], 0.5 * b.vectors[second])
    assert made.advice["window"] == [0.1, 0.6] and made.advice["strength"] == 1
    assert set(made.advice["sites"]) == {first, second} and made_of(made) == "“red” plus “blue”."
    torch.testing.assert_close(combined(a, b, "minus").vectors[second], -0.5 * b.vectors[second])
    assert combined(a, b, "without").advice["sites"] == [first]
    rest = [v.replace(vectors={site: v.vectors[site]}, recommended={}) for v, site in ((a, first), (b, second))]
    coarse = b.replace(timesteps=b.timesteps[:1], vectors={site: v[:1] for site, v in b.vectors.items()})
    both = combined(coarse, a, "plus")
    assert both.timesteps == a.timesteps and torch.equal(both.vectors[second][-1], both.vectors[second][0])
    apart = combined(*rest, "plus")
    assert set(apart.sites) == {first, second}, "each stays where it was learned"
    torch.testing.assert_close(apart.vectors[second], rest[1].advice["strength"] * rest[1].vectors[second])
    assert combined(*rest, "without").sites == (first,)
    for way in ("minus", "without"):
        with pytest.raises(RudderError, match="Nothing is left"):
            combined(a, a, way)
    with pytest.raises(RudderError, match="way to combine"):
        combined(a, b, "times")


def test_traits_are_even_on_both_sides():
    assert evened("a dog", []) == ["a dog"] == evened("a dog ", [" , "])
    assert evened("a dog", ["old, young", "red,blue"]) == [
        "a dog, old, red", "a dog, old, blue", "a dog, young, red", "a dog, young, blue"
    ]  # fmt: skip
    with pytest.raises(RudderError, match="no alternative"):
        evened("a dog", ["old"])
    with pytest.raises(RudderError, match="over 32 combinations"):
        evened("a dog", [",".join("abcdefg")] * 2)


def test_a_shelf_keeps_renames_and_deletes(backbone: Backbone, red: ConceptVector, tmp_path):
    shelf = open_shelf(tmp_path / "new" / "shelf", backbone)
    shelf.put(red, Image.new("RGB", (64, 64), "red"))
    shelf.put(red.replace(name="a/b: c"))
    assert {p.name for p in shelf.folder.iterdir()} == {"red.safetensors", "red.webp", "a-b- c.safetensors"}
    shelf.rename("red", red.replace(name="rouge"))
    shelf.remove("a/b: c")
    again = open_shelf(shelf.folder, backbone)
    assert set(again.vectors) == {"rouge"} == set(again.sheets) and again.left == []
    assert again.sheets["rouge"].size == (64, 64)
    assert quality_of(again.vectors["rouge"]) == quality_of(red)
    again.put(again.vectors["rouge"] * 2)
    again.put(red.replace(name="rouge"))
    assert len(list(shelf.folder.glob("*.safetensors"))) == 2, "a vector of the same name takes its own file's place"


def test_hostile_files_on_a_shelf_are_passed_over_with_a_word(backbone: Backbone, red: ConceptVector, tmp_path):
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04" + b"x" * 100)
    (tmp_path / "short.safetensors").write_bytes(red.to_bytes()[:-9])
    (tmp_path / "folder.safetensors").mkdir()
    red.replace(provenance={"fingerprint": "another"}).save(tmp_path / "stranger.safetensors")
    red.save(tmp_path / "good.safetensors")
    red.save(tmp_path / "twice.safetensors")
    (tmp_path / "good.webp").write_bytes(b"no picture")
    shelf = open_shelf(tmp_path, backbone)
    assert set(shelf.vectors) == {"red"} and shelf.sheets == {}
    said = " ".join(shelf.left)
    for words in ("pickle", "short.safetensors", "folder.safetensors is no file", "made for another model",
                  "twice.safetensors is called red", "good.webp"):  # fmt: skip
        assert words in said, (words, said)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RudderError, match="is no folder"):
        open_shelf(tmp_path / "file", backbone)


def test_a_full_shelf_refuses_and_loses_nothing(backbone: Backbone, red: ConceptVector, tmp_path, monkeypatch):
    monkeypatch.setattr("steering.shelf.KEPT_LIMIT", 1)
    shelf = open_shelf(tmp_path, backbone)
    shelf.put(red)
    with pytest.raises(RudderError, match="delete one"):
        shelf.put(red.replace(name="more"))
    assert set(shelf.vectors) == {"red"}


def test_the_command_line_tells_how_good_a_vector_is(rudder, home):  # noqa: F811
    code, out, err = rudder("concept", "show", "red", "--measure", "--json")
    told = json.loads(out)
    assert code == 0 and told["quality"]["images"] == 2, out
    assert any("2 pictures say little" in sentence for sentence in told["doubts"])
    code, out, _ = rudder("concept", "show", "red")
    assert code == 0 and "told apart" in out and "Mind" in out, "a search has measured it when it was learned"
    asked = ["concept", "learn", "even", "--prompts", "a dog", "--against", "a cat", "--count", "2", "--even",
             "red, plain", "--timestep", "50", "--no-search", "--json"]  # fmt: skip
    code, out, err = rudder(*asked)
    made = json.loads(out)["provenance"]
    assert code == 0 and made["references"]["baseline"]["prompts"] == ["a cat, red", "a cat, plain"], err
    assert made["quality"]["baseline"] == 2 and made["prompt"] == "a dog"
    code, out, _ = rudder("concept", "show", "even.safetensors", "--measure", "--json")
    assert code == 2 and "--images" in out


def test_quality_survives_odd_numbers(red: ConceptVector):
    zero = red.replace(vectors={site: 0 * v for site, v in red.vectors.items()})
    assert cosine(zero, red) is None
    assert replace(red, provenance={**red.provenance, "quality": None}).provenance["quality"] is None
