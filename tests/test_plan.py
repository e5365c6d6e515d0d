"""What several concepts do together: operators, windows and sites of their own, halves of guidance."""

from __future__ import annotations

import pytest
import torch

from steering.activations import capture, change
from steering.concepts import learn
from steering.errors import RudderError
from steering.plan import Change, Steering, Term, plan
from steering.recipe import OPERATORS, Recipe, Use, Window
from steering.sampling import finish, sample, strip
from tests.tiny import pictures

RECIPE = Recipe(prompt="a red apple", seed=5, num_inference_steps=10)
SITE = "up_blocks.1.resnets.1"


@pytest.fixture(scope="module")
def other(backbone):
    """A second concept of the same sites."""
    *_, made = learn(backbone, "blue", pictures(3, seed=8, tint=(0, 0, 90)), timesteps=(100, 600))
    return made


def read(backbone, done: Change | None) -> torch.Tensor:
    """The site's activations [2, C, h, w] of one forward pass, changed or not."""
    x = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    actions = {backbone.sites()[SITE]: done} if done else {}
    with change(backbone, actions), capture(backbone, [SITE], "map") as store:
        backbone.denoise(x, 500, backbone.condition(["a cat", "a dog"]))
    return store[SITE]


def planned(backbone, *terms: Term, halves: str = "both", factors=(1.0,), count: int = 1) -> Change:
    """What the terms do at SITE in a step of timestep 501."""
    schedule = backbone.schedule(10)
    found = plan(backbone, Steering(terms, Window(0, 1), (SITE,), halves), schedule, 10, factors, count, True)
    return found[int((schedule.timesteps - 501).abs().argmin())][backbone.sites()[SITE]]


def test_norm_turns_and_does_not_lengthen(backbone, vector):
    before, after = read(backbone, None), read(backbone, planned(backbone, Term(vector, 3.0, "norm")))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), rtol=1e-4, atol=1e-4)
    v = vector.at(SITE, 501)
    along = torch.nn.functional.cosine_similarity
    assert (along(after, v[None, :, None, None]) > along(before, v[None, :, None, None])).all()


@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0])
def test_erase_leaves_its_share_along_the_vector_and_all_else(backbone, vector, strength: float):
    before, after = read(backbone, None), read(backbone, planned(backbone, Term(vector, strength, "erase")))
    unit = torch.nn.functional.normalize(vector.at(SITE, 501), dim=0)
    had, has = (torch.einsum("nchw,c->nhw", h, unit) for h in (before, after))
    torch.testing.assert_close(has, (1 - strength) * had, rtol=1e-4, atol=1e-4)
    rest = [h - x[:, None] * unit[None, :, None, None] for h, x in ((before, had), (after, has))]
    torch.testing.assert_close(*rest, rtol=1e-4, atol=1e-4)


def test_opposite_signs_subtract_from_the_unconditional_half(backbone, vector):
    before, after = read(backbone, None), read(backbone, planned(backbone, Term(vector, 2.0), halves="opposite"))
    moved = 2 * vector.at(SITE, 501)[:, None, None].expand_as(before[0])
    torch.testing.assert_close(after[0], before[0] - moved, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after[1], before[1] + moved, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("halves", ["both", "conditional", "opposite"])
def test_nothing_is_changed_at_strength_zero(backbone, vector, operator: str, halves: str):
    plain = finish(sample(backbone, RECIPE)).latents
    steering = Steering((Term(vector, 0.0, operator),), halves=halves)
    assert torch.equal(finish(sample(backbone, RECIPE, steering)).latents, plain)
    row = finish(strip(backbone, RECIPE, Steering((Term(vector, 1.0, operator),), halves=halves), [0.0])).latents
    assert torch.equal(row, plain)


@pytest.mark.parametrize("halves", ["both", "conditional", "opposite"])
def test_a_strip_of_all_operators_equals_single_runs(backbone, vector, other, halves: str):
    terms = (Term(vector, 1.0), Term(other, 0.5, "norm", Window(0.2, 0.6)), Term(other, 0.7, "erase", sites=(SITE,)))
    steering, strengths = Steering(terms, halves=halves), [-1.0, 0.0, 1.5]
    rows = finish(strip(backbone, RECIPE, steering, strengths)).latents
    for row, factor in zip(rows, strengths, strict=True):
        alone = finish(sample(backbone, RECIPE, steering.scaled(factor))).latents[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-4)


def test_every_term_has_its_own_window_and_sites(backbone, vector, other):
    terms = (Term(vector, 1.0, window=Window(0.2, 0.5)), Term(other, 1.0, window=Window(0.4, 0.9), sites=(SITE,)))
    steering, schedule = Steering(terms), backbone.schedule(10)
    found = plan(backbone, steering, schedule, 10, (1.0,), 1, True)
    assert (list(found), steering.steps(10)) == ([2, 3, 4, 5, 6, 7, 8], range(2, 9))
    assert [{site.name for site in done} for done in found.values()] == [
        {*vector.sites} if i < 5 else {SITE} for i in range(2, 9)
    ]
    both, first, second = (
        finish(sample(backbone, RECIPE, Steering(some))).latents for some in (terms, terms[:1], terms[1:])
    )
    assert not any(torch.allclose(both, one) for one in (first, second))
    prefix = finish(sample(backbone, RECIPE, steering)).prefix
    assert torch.equal(finish(sample(backbone, RECIPE, steering, prefix=prefix)).latents, both)


def test_a_recipe_carries_what_sets_its_concepts_apart(vector, other):
    uses = (Use(), Use("erase", Window(0.1, 0.4), (SITE,)))
    recipe = Recipe(concepts=(("a", 1.0), ("b", -0.5)), uses=uses)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    terms = Steering.from_recipe(again, {"a": vector, "b": other}).terms
    assert terms == (Term(vector, 1.0), Term(other, -0.5, "erase", Window(0.1, 0.4), (SITE,)))
    assert "uses" not in Recipe(concepts=(("a", 1.0),), uses=(Use(),)).to_json(), "as older Rudders read it"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: Term(v, 1.0, "multiply"), "no operator"),
        (lambda v: Term(v, 1000.0), "strength"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses=(Use(), Use())), "2 uses are given for 1 concepts"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses=({"operator": "swap"},)), "no operator"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses=({"colour": 1},)), "and nothing else"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses="add"), "as a list"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses=({"window": {"start": 0.9, "end": 0.1}},)), "must come before"),
        (lambda v: Recipe(concepts=(("a", 1.0),), uses=({"sites": []},)), "0 sites"),
    ],
)
def test_bad_terms_and_uses_get_one_sentence(vector, make, words: str):
    with pytest.raises(RudderError, match=words):
        make(vector)
