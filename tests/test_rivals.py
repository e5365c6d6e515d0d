"""The rivals: each measures what it says, on the very trajectory that made the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steering.activations import attention_over_tokens
from steering.backbones import Backbone
from steering.errors import RudderError
from steering.evaluation.rivals import RIVALS, anisotropy, score_difference, score_difference_mean, trajectory
from steering.recipe import Recipe
from steering.samples import Sample
from steering.sampling import finish, initial, sample
from tests.tiny import pictures


def _samples(prompts: list[str]) -> list[Sample]:
    return [
        Sample(p, False, "drawing", "generated", str(i), text, 7 + i)
        for i, (p, text) in enumerate(zip(pictures(len(prompts)), prompts, strict=True))
    ]


def test_the_trajectory_is_the_samplers(backbone: Backbone) -> None:
    x = initial(backbone, [7])
    for moment in trajectory(backbone, _samples(["a red apple"])):
        x = x + moment.update
    recipe = Recipe(model=backbone.name, prompt="a red apple", seed=7, guidance_scale=4.0)
    torch.testing.assert_close(x, finish(sample(backbone, recipe)).latents, rtol=1e-3, atol=1e-3)


def test_an_empty_prompt_has_no_score_difference(backbone: Backbone) -> None:
    with_words = score_difference(backbone, _samples(["a red apple", "a car"]))
    assert (with_words > 1e-4).all()
    np.testing.assert_allclose(score_difference(backbone, _samples([""])), 0, atol=1e-4)
    assert score_difference_mean(backbone, _samples([""])) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", [n for n, r in RIVALS.items() if r.needs_prompt])
def test_scores_do_not_depend_on_company(backbone: Backbone, name: str) -> None:
    rows = _samples(["a red apple", "the cat on the grass", "a blueprint"])
    together = RIVALS[name].score(backbone, rows)
    assert together.shape == (3,) and np.isfinite(together).all() and np.ptp(together) > 0
    np.testing.assert_allclose(RIVALS[name].score(backbone, rows[1:2]), together[1:2], rtol=1e-3, atol=1e-4)


def test_attention_rows_are_distributions(backbone: Backbone) -> None:
    x, condition = initial(backbone, [0, 1]), backbone.condition(["a red apple", "a car"])
    plain = backbone.denoise(x, 100, condition)
    with torch.no_grad(), attention_over_tokens(backbone) as weights:
        read = backbone.denoise(x, 100, condition)
    assert torch.equal(plain, read)
    layers = [m for n, m in backbone.network.named_modules() if n.endswith(".attn2")]
    assert len(weights) == len(layers) > 0
    for w in weights:
        assert w.shape == condition.shape[:2]
        torch.testing.assert_close(w.sum(-1), torch.ones(2))
    assert not any(m._forward_pre_hooks for m in layers)


def test_anisotropy_is_bounded_by_its_parts(backbone: Backbone) -> None:
    rows = _samples(["a red apple", "a car"])
    assert (np.abs(anisotropy(backbone, rows) - score_difference(backbone, rows)) <= 2.001).all()


def test_a_picture_from_elsewhere_is_refused(backbone: Backbone) -> None:
    stranger = Sample(pictures(1)[0], False, "drawing", "fresh", "0")
    with pytest.raises(RudderError, match="prompt and seed"):
        score_difference(backbone, [stranger])
