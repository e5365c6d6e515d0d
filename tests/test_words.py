"""What is said of prompts and seeds on entry."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from steering.backbones import Backbone
from steering.words import cut_short, large_seeds, unread


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
