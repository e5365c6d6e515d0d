"""The measured response: what moves, where to, how evenly, and the one sentence for it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from PIL import Image

from steering.backbones import Backbone
from steering.concepts import ConceptVector
from steering.editability import (
    ANSWERS,
    DEAF,
    EVENNESS,
    INERT,
    JUMP,
    MOVEMENTS,
    VERDICTS,
    busiest,
    coordinates,
    describe,
    expected,
    joined,
    lesson,
    response,
)
from steering.errors import RudderError
from tests.tiny import pictures

CASES = list(product(VERDICTS, MOVEMENTS, EVENNESS))


def greys(*levels: float) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), (round(255 * level),) * 3) for level in levels]


@pytest.mark.parametrize(
    ("levels", "evenness"),
    [
        ((0.2, 0.3, 0.4, 0.5, 0.6), "evenly"),
        ((0.2, 0.2, 0.2, 0.9, 0.9), "in a jump"),
        ((0.2, 0.2, 0.6, 0.9, 0.9), "evenly"),
    ],
)
def test_the_words_follow_the_path(backbone: Backbone, vector: ConceptVector, levels: tuple, evenness: str):
    told = response(backbone, vector, (0, 1, 2, 3, 4), greys(*levels))
    assert told.evenness == evenness
    assert (told.movement, told.evenness) == describe(told.moved[-1], told.gained, told.fastest)
    assert told.path == pytest.approx(np.abs(np.diff(levels)).sum(), abs=0.01)
    assert told.moved == pytest.approx(np.abs(np.array(levels) - levels[0]), abs=0.01)
    assert told.gained == pytest.approx((told.coordinate[-1] - told.coordinate[0]) / 4)


@pytest.mark.parametrize(
    ("moved", "gained", "movement"),
    [
        (0.5, 1.0, "towards"),
        (0.5, -0.21, "away"),
        (0.5, 0.9 * DEAF, "aside"),
        (0.5, -0.9 * DEAF, "aside"),
        (0.9 * INERT, -0.21, "hardly"),
    ],
)
def test_the_sign_along_the_concept_is_kept(moved: float, gained: float, movement: str):
    assert describe(moved, gained, 0.3) == (movement, "evenly")
    assert describe(moved, gained, JUMP + 0.01) == (movement, "in a jump")


def test_towards_means_towards_what_was_asked(backbone: Backbone, vector: ConceptVector):
    """Frames that follow the vector gain; the same frames under its negative lose; negative strengths turn it round."""
    shown = pictures(3, seed=11)
    one = response(backbone, vector, (0, 1, 2), shown)
    assert response(backbone, -vector, (0, 1, 2), shown).gained == pytest.approx(-one.gained, rel=1e-4)
    assert response(backbone, vector, (0, -1, -2), shown).gained == pytest.approx(-one.gained, rel=1e-4)


def test_evenness_does_not_depend_on_the_number_of_frames():
    """A path that rises as an S has the same busiest stretch at 5, 9, 17 and unevenly spaced frames."""
    rise = lambda s: 1 / (1 + np.exp(-8 * (s - 0.5)))  # noqa: E731
    found = []
    for places in (np.linspace(0, 1, 17), np.linspace(0, 1, 9), np.sort(np.r_[0, 1, np.linspace(0.2, 0.8, 9)])):
        found.append(busiest(places, np.diff(rise(places))))
    assert max(found) - min(found) < 0.05 and found[0] == pytest.approx(rise(0.625) - rise(0.375), abs=0.05)
    assert busiest(np.linspace(0, 1, 9), np.ones(8)) == pytest.approx(0.25)
    assert busiest(np.linspace(0, 1, 9), np.eye(8)[3]) == pytest.approx(1)


@pytest.mark.parametrize(("verdict", "movement", "evenness"), CASES)
def test_every_case_has_one_sentence_that_does_not_contradict_itself(verdict: str, movement: str, evenness: str):
    said = joined(verdict, movement, evenness)
    assert said.endswith(".") and said.count(".") == 1, "one sentence"
    assert said.startswith({"ordinary": "Not memorised", "memorised": "Memorised", "none": "No verdict"}[verdict])
    for word, belongs in (
        ("takes", (movement, evenness) == ("towards", "evenly")),
        ("jumps", evenness == "in a jump" and movement != "hardly"),
        ("step by step", evenness == "evenly" and movement != "hardly"),
        ("away from the concept", movement == "away"),
        ("not along the concept", movement == "aside"),
        ("hardly", movement == "hardly"),
    ):
        assert (word in said) == belongs, (word, said)
    surprising = "and yet" in said
    if verdict == "ordinary":
        assert surprising == ((movement, evenness) != ("towards", "evenly"))
    if verdict == "memorised":
        assert surprising == ((movement, evenness) == ("towards", "evenly"))
    if verdict == "none":
        assert not surprising and "it shows" not in said
        assert expected(verdict, movement, evenness) is None


@pytest.mark.parametrize(("verdict", "movement", "evenness"), CASES)
def test_the_link_to_the_laboratory_follows_the_case(verdict: str, movement: str, evenness: str):
    told = lesson(verdict, movement, evenness)
    if verdict == "none":
        assert told is None
        return
    text, side = told
    assert side == ("gen" if verdict == "ordinary" else "mem")
    assert ("usually" in text) == (not expected(verdict, movement, evenness)), (
        "a case that disagrees is not called usual"
    )
    assert "usually" in lesson(verdict)[0], "of a picture that was not steered only the usual is known"


def test_all_cases_differ_and_unknown_ones_are_refused():
    said = {joined(*case) for case in CASES if case[1] != "hardly"}
    assert len(said) == 3 * 6 and set(ANSWERS) == set(product(MOVEMENTS, EVENNESS))
    with pytest.raises(RudderError, match="sideways"):
        joined("ordinary", "sideways", "evenly")


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


@pytest.mark.parametrize(
    ("strengths", "count"),
    [((0, 1), 2), ((0, 2, 1), 3), ((0, 1, 2, 3), 3), ((1, 2, 3), 3), ((0, -2, -1), 3), ((-1, 0, 1), 3)],
)
def test_strips_that_say_nothing(backbone: Backbone, vector: ConceptVector, strengths: tuple, count: int):
    with pytest.raises(RudderError, match="at least three frames"):
        response(backbone, vector, strengths, greys(*[0.1] * count))
