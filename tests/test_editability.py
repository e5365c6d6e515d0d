"""The measured response: what moves, how evenly, and the word for it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from steering.backbones import Backbone
from steering.concepts import ConceptVector
from steering.editability import coordinates, describe, response
from steering.errors import RudderError
from tests.tiny import pictures


def greys(*levels: float) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), (round(255 * level),) * 3) for level in levels]


@pytest.mark.parametrize(
    ("levels", "word"),
    [
        ((0.2, 0.3, 0.4, 0.5, 0.6), "smooth"),
        ((0.2, 0.2, 0.2, 0.9, 0.9), "brittle"),
        ((0.5, 0.5, 0.5, 0.51, 0.51), "inert"),
    ],
)
def test_the_word_follows_the_path(backbone: Backbone, vector: ConceptVector, levels: tuple, word: str):
    told = response(backbone, vector, (0, 1, 2, 3, 4), greys(*levels))
    gained = (told.coordinate[-1] - told.coordinate[0]) / 4
    assert told.word == describe(told.moved, 4 * told.largest_step, gained)
    assert describe(told.moved, 4 * told.largest_step, 1.0) == word
    path = np.abs(np.diff(levels)).sum()
    assert told.per_unit == pytest.approx(path / 4, abs=0.01)
    assert told.moved == pytest.approx(np.abs(np.array(levels) - levels[0]), abs=0.01)
    assert told.largest_step == pytest.approx(np.abs(np.diff(levels)).max() / path, abs=0.1)


def test_movement_counts_from_strength_zero(backbone: Backbone, vector: ConceptVector):
    told = response(backbone, vector, (-1, 0, 1), greys(0.9, 0.4, 0.5))
    assert told.moved == pytest.approx([0.5, 0, 0.1], abs=0.01)


def test_coordinates_are_in_units_of_strength(backbone: Backbone, vector: ConceptVector):
    """A vector twice as long needs half the strength for the same push, and its negative the opposite one."""
    shown = pictures(3, seed=11)
    one = coordinates(backbone, vector, shown)
    np.testing.assert_allclose(coordinates(backbone, vector * 2, shown), one / 2, rtol=1e-4)
    np.testing.assert_allclose(coordinates(backbone, -vector, shown), -one, rtol=1e-4)


def test_latents_and_pictures_agree(backbone: Backbone, vector: ConceptVector):
    frames = pictures(3, seed=4)
    one = response(backbone, vector, (0, 1, 2), frames)
    other = response(backbone, vector, (0, 1, 2), backbone.encode(frames), frames)
    np.testing.assert_allclose(one.coordinate, other.coordinate, rtol=1e-4)


@pytest.mark.parametrize("strengths", [(0, 1), (0, 2, 1), (0, 1, 2, 3)])
def test_strips_that_say_nothing(backbone: Backbone, vector: ConceptVector, strengths: tuple):
    with pytest.raises(RudderError, match="at least three frames"):
        response(backbone, vector, strengths, greys(0.1, 0.2, 0.3)[: max(2, len(strengths) - 1)])


def test_a_wide_step_may_be_a_large_one(backbone: Backbone, vector: ConceptVector):
    """Evenness is of speed: frames need not lie at even strengths."""
    told = response(backbone, vector, (0, 1, 2, 10), greys(0.1, 0.15, 0.2, 0.6))
    assert told.largest_step * 3 > 2.3 and told.word != "brittle"


def test_words_at_the_borders():
    assert describe(np.array([0, 0.02]), 8, 1.0) == "inert"
    assert describe(np.array([0, 0.5]), 1, 1.0) == "smooth"
    assert describe(np.array([0, 0.5]), 7, -1.0) == "brittle"
    assert describe(np.array([0, 0.5]), 7, 0.01) == "inert", "it changes, but not towards the concept"
