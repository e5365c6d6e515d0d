"""Words against vectors: the search for a matched change, and what groups of sites change."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from steering.against import ASKED, Rival, against
from steering.concepts import Progress
from steering.errors import Cancelled, RudderError
from steering.evaluation.groups import ASPECTS, changes, judged
from steering.inversion import distance, inverted
from steering.masks import mask_text
from steering.plan import Steering
from steering.recipe import Recipe, Window
from steering.sampling import finish, sample
from tests.tiny import pictures

RECIPE = Recipe(prompt="a red apple", seed=5, num_inference_steps=12, guidance_scale=30)
WHOLE = Steering(window=Window(0, 1))
WORDS = "a pencil sketch of a cat"


def both(backbone, recipe, steering, **options) -> tuple[Rival, Rival]:
    *_, last = against(backbone, recipe, steering, WORDS, **options)
    return last


def test_words_are_matched_to_the_steered_change(backbone):
    """Where the change wanted is one that words can make, both ways come near to it."""
    plain = finish(sample(backbone, RECIPE)).images[0]
    worded = finish(sample(backbone, replace(RECIPE, prompt=WORDS))).images[0]
    wanted = Image.blend(plain, worded, 0.6)
    items = list(against(backbone, RECIPE, WHOLE, WORDS, steered=wanted))
    assert all(isinstance(item, Progress) for item in items[:-1])
    assert all(a.done <= b.done <= b.total for a, b in zip(items, items[1:-1], strict=False))
    for one, way in zip(items[-1], ASKED, strict=True):
        assert one.way == way and one.change == distance(plain, one.image) and one.wanted == distance(plain, wanted)
    assert items[-1][1].matched and "as far from the unsteered" in items[-1][1].sentence


def test_all_of_the_words_is_their_own_picture(backbone):
    """From the first step on, another prompt's run is that prompt's picture; what cannot be reached says so."""
    worded = finish(sample(backbone, replace(RECIPE, prompt=WORDS))).images[0]
    far = Image.new("RGB", worded.size, "black")
    prompt, embedding = both(backbone, RECIPE, Steering(), steered=far)
    ours, theirs = (np.asarray(image, int) for image in (prompt.image, worded))
    if prompt.amount == 1:
        assert np.abs(ours - theirs).max() <= 1
    assert not prompt.matched and "where steering makes" in prompt.sentence
    assert not embedding.matched


def test_words_stay_within_the_mask_and_follow_ones_own_picture(backbone, vector):
    left = Image.new("L", (64, 64))
    left.paste(255, (0, 0, 32, 64))
    recipe = replace(RECIPE, mask=mask_text(left))
    begun = inverted(backbone, pictures(1, seed=4)[0], recipe, "edit_friendly")
    recipe = replace(recipe, picture=begun.mark)
    steering = Steering(((vector, 3.0),))
    plain = finish(sample(backbone, replace(recipe, mask=""), picture=begun)).images[0]
    for one in both(backbone, recipe, steering, picture=begun):
        a, b = np.asarray(one.image, int), np.asarray(plain, int)
        assert np.abs(a[:, 17:] - b[:, 17:]).max() <= 1 and (a[:, :10] != b[:, :10]).any()


def test_what_cannot_be_compared_says_why(backbone, vector):
    stop = threading.Event()
    stop.set()
    steering = Steering(((vector, 3.0),))
    with pytest.raises(Cancelled):
        both(backbone, RECIPE, steering, stop=stop)
    with pytest.raises(RudderError, match="the prompt itself"):
        list(against(backbone, RECIPE, steering, " a red apple"))
    with pytest.raises(RudderError, match="changes nothing"):
        both(backbone, RECIPE, Steering())
    with pytest.raises(RudderError, match="prompt to compare with"):
        list(against(backbone, RECIPE, steering, ""))


def test_changes_tell_layout_edges_colours_and_detail_apart():
    rng = np.random.default_rng(0)
    plain = Image.fromarray(np.kron(rng.integers(40, 200, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    rgb = np.asarray(plain, int)
    tinted = Image.fromarray((rgb + [30, 0, -30]).clip(0, 255).astype(np.uint8))
    noisy = Image.fromarray((rgb + rng.choice([-25, 25], (64, 64, 1))).clip(0, 255).astype(np.uint8))
    brighter = rgb.copy()
    brighter[:32] = (brighter[:32] + 40).clip(0, 255)
    moved = Image.fromarray(brighter.astype(np.uint8))
    blurred = plain.filter(ImageFilter.GaussianBlur(4))
    found = {name: changes(plain, image) for name, image in
             {"colours": tinted, "detail": noisy, "layout": moved, "edges": blurred}.items()}  # fmt: skip
    for aspect in ASPECTS.values():
        assert max(found, key=lambda name: found[name][aspect]) == aspect
    assert changes(plain, plain) == dict.fromkeys(ASPECTS.values(), 0.0)


def test_a_name_is_deserved_where_its_group_leads_surely():
    low = dict.fromkeys(ASPECTS.values(), 1.0)
    rng = np.random.default_rng(1)
    rows = [{"composition": low | {"layout": 2.0 + rng.random()}, "style": low | {"colours": 1 + 0.1 * rng.normal()}}
            for _ in range(20)]  # fmt: skip
    told = judged(rows, {"composition": ["a"], "style": ["b", "c"]})
    assert told["deserved"] == ["composition"] and told["by_group"]["style"]["sites"] == ["b", "c"]
    assert told["by_group"]["composition"]["sure"] == 1.0
