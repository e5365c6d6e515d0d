"""A batch that memory does not hold becomes a smaller one, with a sentence, and gives the same pictures."""

from __future__ import annotations

import pytest
import torch

from steering.backbones import load
from steering.concepts import learn
from steering.errors import Remark, RudderError
from steering.plan import Steering, Term
from steering.recipe import Recipe, Window
from steering.sampling import Result, Step, finish, sample, strip
from steering.scoring import Probe, spikiness
from tests.tiny import pictures

RECIPE = Recipe(prompt="a red apple", seed=3, num_inference_steps=6, guidance_scale=3.0, window=Window(0.3, 0.9))
STRENGTHS = (0.0, 0.5, 1.0, -1.0, 2.0)


class Cramped:
    """A model's `denoise` on a device that holds so many rows of one forward pass, and what it was asked for."""

    def __init__(self, backbone, rows: int) -> None:
        self.denoise, self.rows, self.asked = backbone.denoise, rows, []

    def __call__(self, latents, level, condition):
        self.asked.append(len(latents))
        if len(latents) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.denoise(latents, level, condition)


@pytest.fixture
def fresh(tiny_folder):
    """A model of its own: what fits is remembered for each."""
    return load(tiny_folder)


def cramp(backbone, monkeypatch, rows: int) -> Cramped:
    made = Cramped(backbone, rows)
    monkeypatch.setattr(backbone, "denoise", made)
    return made


def close(some: torch.Tensor, others: torch.Tensor) -> bool:
    """The last bits of a sum may depend on the size of the batch."""
    return torch.allclose(some, others, atol=1e-4)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("rows", [2, 4, 6, 8])
def test_a_strip_is_painted_in_parts(fresh, vector, monkeypatch, rows):
    steering = Steering((Term(vector, 0.4),), RECIPE.window)
    whole = finish(strip(fresh, RECIPE, steering, STRENGTHS))
    cramped = cramp(fresh, monkeypatch, rows)  # guidance takes two a picture
    with pytest.warns(Remark, match="does not hold 5 pictures of tiny-random at once: it goes on with 2"):
        items = list(strip(fresh, RECIPE, steering, STRENGTHS))
    made = items[-1]
    assert isinstance(made, Result) and len(made.images) == len(STRENGTHS)
    assert close(made.latents, whole.latents)
    assert made.prefix.key == whole.prefix.key and close(made.prefix.latents, whole.prefix.latents)
    steps = [item for item in items if isinstance(item, Step)]
    after = steps[
        max(place for place, step in enumerate(steps) if step.index == 1) :
    ]  # the last part that was begun anew
    assert [step.index for step in after] == [*range(1, len(after) + 1)] and after[-1].total == len(after)
    before = len(cramped.asked)
    finish(strip(fresh, RECIPE, steering, STRENGTHS, prefix=made.prefix))
    assert max(cramped.asked[before:]) <= cramped.rows, "what does not fit is not tried again"


@pytest.mark.filterwarnings("default")
def test_a_batch_is_painted_in_parts_and_its_prefix_holds_all(fresh, vector, monkeypatch):
    steering = Steering((Term(vector, 0.4),), RECIPE.window)
    several = {"seeds": [1, 2, 2, 5], "prompts": ["a cat", "a dog", "a dog", "a red car"]}
    whole = finish(sample(fresh, RECIPE, steering, factors=(1, 1, 0, -1), **several))
    cramp(fresh, monkeypatch, 4)
    with pytest.warns(Remark, match="goes on with 2"):
        made = finish(sample(fresh, RECIPE, steering, factors=(1, 1, 0, -1), **several))
    assert close(made.latents, whole.latents) and made.prefix.key == whole.prefix.key
    again = finish(sample(fresh, RECIPE, steering, factors=(1, 1, 0, -1), prefix=whole.prefix, **several))
    assert close(again.latents, whole.latents)


@pytest.mark.filterwarnings("default")
def test_learning_and_scoring_take_fewer_at_once(fresh, monkeypatch):
    def learned():
        return list(learn(fresh, "red", pictures(5, tint=(90, 0, 0)), pictures(3, seed=2), timesteps=(50, 300)))[-1]

    probe = Probe(fresh.defaults["scored"][0], 50)
    shown = pictures(5, seed=8)
    vector, scores = learned(), spikiness(fresh, shown, probe, draws=3).mean
    cramp(fresh, monkeypatch, 2)
    with pytest.warns(Remark, match="does not hold"):
        again = learned()
    assert again.provenance["images"] == 5
    for site, rows in vector.vectors.items():
        assert torch.allclose(again.vectors[site], rows, atol=1e-5)
    assert spikiness(fresh, shown, probe, draws=3).mean == pytest.approx(scores, abs=1e-5)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("rows", [1, 3])
def test_one_picture_is_scored_noise_by_noise(tiny_folder, monkeypatch, rows):
    """A picture's draws and timesteps are rows of one pass: they are what has to be fewer."""
    shown, known, fresh = pictures(1), load(tiny_folder), load(tiny_folder)
    probe = Probe(known.defaults["scored"][0], 50)
    cramp(fresh, monkeypatch, rows)
    made = spikiness(fresh, shown, probe, draws=4)
    assert made.mean == pytest.approx(spikiness(known, shown, probe, draws=4).mean, abs=1e-5)
    several = spikiness(fresh, pictures(3), probe, draws=4).mean
    assert several == pytest.approx(spikiness(known, pictures(3), probe, draws=4).mean, abs=1e-5)


@pytest.mark.filterwarnings("default")
def test_one_picture_that_does_not_fit_is_said(fresh, vector, monkeypatch):
    cramp(fresh, monkeypatch, 1)
    with pytest.raises(RudderError, match="does not hold a single picture of tiny-random: use --dtype float16"):
        finish(sample(fresh, RECIPE))
