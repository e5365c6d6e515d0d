"""What is said of prompts and seeds on entry."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from steering import tuning
from steering.against import against
from steering.backbones import Backbone
from steering.concepts import ConceptVector, learn
from steering.errors import Remark
from steering.plan import Steering, Term
from steering.recipe import Recipe, Window
from steering.scoring import Probe, spikiness
from steering.words import cut_short, large_seeds, unread
from tests.tiny import pictures


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [
        ("", []),
        ("a red apple", []),
        (" ".join(["cat"] * 14), []),
        (" ".join(["cat"] * 14 + ["dog"]), ["dog"]),
        (" ".join(["cat"] * 13 + ["zzz", "dog"]), ["zzz", "dog"]),  # a word in part
        ("z" * 40, ["z" * 40]),
        ("猫" * 40, ["猫" * 40]),
    ],
)
def test_the_words_that_a_prompt_is_cut_by_are_named(backbone: Backbone, prompt: str, cut: list[str]):
    """What is named changes nothing of what the model is given; what is not named does."""
    assert unread(backbone, prompt) == cut
    assert bool(cut_short(backbone, [prompt, "a cat"])) is bool(cut)
    assert unread(SimpleNamespace(name="classes"), prompt) == []


@pytest.mark.parametrize(
    ("seeds", "says"), [([], ""), ([2**53 - 1], ""), ([1, 2**53], "is over 9,007,199,254,740,991")]
)
def test_seeds_that_a_browser_rounds_are_said(seeds: list[int], says: str):
    assert says in large_seeds(seeds) and bool(large_seeds(seeds)) is bool(says)


LONG = " ".join(["cat"] * 14 + ["dog", "car"])
SITES = ("up_blocks.0.resnets.0",)


def told(run: Callable[[], object]) -> list[str]:
    """The Remarks of a run."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(one.message) for one in caught if issubclass(one.category, Remark)]


def learned(backbone: Backbone, **prompts: str) -> ConceptVector:
    *_, vector = learn(backbone, "it", pictures(2), pictures(2, seed=5), timesteps=(100,), sites=SITES, **prompts)
    return vector


def compared(backbone: Backbone, words: str) -> None:
    steering = Steering((Term(learned(backbone), 1.0),), Window(0.0, 1.0))
    list(against(backbone, Recipe(prompt="a cat", num_inference_steps=2), steering, words))


WAYS: dict[str, Callable[[Backbone, str], object]] = {
    "a set's caption": lambda backbone, words: learned(backbone, prompt=words),
    "its baseline's": lambda backbone, words: learned(backbone, baseline_prompt=words),
    "both": lambda backbone, words: learned(backbone, prompt=words, baseline_prompt=words),
    "a picture's": lambda backbone, words: spikiness(backbone, pictures(2), Probe(SITES[0], 100), prompts=words),
    "what is compared with": compared,
}


@pytest.mark.parametrize("way", list(WAYS))
def test_words_that_are_not_read_are_named_once(backbone: Backbone, way: str):
    (sentence,) = told(lambda: WAYS[way](backbone, LONG))
    assert "reads the first 14 tokens of a prompt, and so not “dog”, “car”" in sentence
    assert not told(lambda: WAYS[way](backbone, "a red apple"))


def test_what_was_not_read_stays_with_the_vector(backbone: Backbone):
    with pytest.warns(Remark, match="and so not “dog”, “car”"):
        vector = learned(backbone, prompt=LONG)
    assert "“dog”, “car”" in vector.provenance["remarks"][0]


def test_a_search_says_it_once(backbone: Backbone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuning, "PATIENCE", -1)  # nothing is painted
    sets = pictures(2), pictures(2, seed=5)
    run = lambda: list(tuning.tune(backbone, "it", *sets, prompt=LONG, timesteps=(100,), prompts=["a cat"]))  # noqa: E731
    assert len(told(run)) == 1
