"""Changing a picture in a place only, and a picture of one's own: masks and inversion."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from steering.errors import Cancelled, RudderError
from steering.inversion import WAYS, distance, invert, invert_all, inverted, told
from steering.masks import SIDE, mask_image, mask_text, weights
from steering.plan import Steering
from steering.recipe import Recipe
from steering.sampling import finish, sample, strip
from tests.tiny import pictures

RECIPE = Recipe(prompt="a red apple", seed=5, num_inference_steps=12)
LEFT = Image.new("L", (96, 96))
ImageDraw.Draw(LEFT).rectangle((0, 0, 47, 95), fill=255)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_outside_the_mask_nothing_changes(backbone, vector, guidance: float):
    recipe = replace(RECIPE, mask=mask_text(LEFT), guidance_scale=guidance)
    plain = finish(sample(backbone, replace(recipe, mask="")))
    masked = finish(sample(backbone, recipe, Steering(((vector, 6.0),))))
    free = finish(sample(backbone, replace(recipe, mask=""), Steering(((vector, 6.0),))))
    ours, theirs, other = (np.asarray(one.images[0], int) for one in (masked, plain, free))
    assert np.abs(ours[:, 16:] - theirs[:, 16:]).max() <= 1, "but for the rounding of a batch of another size"
    assert np.abs(ours[:, :12] - theirs[:, :12]).mean() > 0.5 * np.abs(other[:, :12] - theirs[:, :12]).mean() > 0
    torch.testing.assert_close(masked.latents[..., 2:], plain.latents[..., 2:], rtol=1e-4, atol=1e-4)


def test_a_masked_strip_equals_masked_single_runs(backbone, vector):
    recipe, steering = replace(RECIPE, mask=mask_text(LEFT)), Steering(((vector, 1.0),))
    rows = finish(strip(backbone, recipe, steering, [-2.0, 0.0, 3.0]))
    assert rows.latents.shape[0] == len(rows.images) == 3
    for row, factor in zip(rows.latents, [-2.0, 0.0, 3.0], strict=True):
        alone = finish(sample(backbone, recipe, steering.scaled(factor))).latents[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-4)
    again = finish(strip(backbone, recipe, steering, [3.0], prefix=rows.prefix))
    torch.testing.assert_close(again.latents[0], rows.latents[2], rtol=1e-4, atol=1e-4)


def test_a_mask_over_all_is_no_mask(backbone, vector):
    steering, full = Steering(((vector, 2.0),)), mask_text(Image.new("L", (8, 8), 255))
    masked = finish(sample(backbone, replace(RECIPE, mask=full), steering)).latents
    torch.testing.assert_close(masked, finish(sample(backbone, RECIPE, steering)).latents, rtol=1e-4, atol=1e-4)


def test_masks_travel_in_recipes_and_shrink_to_latents():
    recipe = Recipe.from_json(replace(RECIPE, mask=mask_text(LEFT)).to_json())
    small = LEFT.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    assert np.array_equal(mask_image(recipe.mask), small)
    assert weights(recipe.mask, (4, 4))[0, 0].tolist() == [[1, 1, 0, 0]] * 4
    see_through = Image.merge("LA", (Image.new("L", (96, 96)), LEFT))
    assert mask_text(see_through) == recipe.mask, "what was painted on a transparent canvas"
    for opaque in (LEFT.convert("RGBA"), LEFT.convert("LA"), LEFT.convert("P"), LEFT.convert("RGB"), LEFT.convert("1")):
        assert mask_text(opaque) == recipe.mask, "black and white, whatever the kind of file"
    wide = Image.new("L", (3 * LEFT.width, LEFT.height))
    wide.paste(LEFT, (LEFT.width, 0))
    assert mask_text(wide) == recipe.mask, "the middle, as of a picture that is not square"
    assert "mask" not in RECIPE.to_json()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mask_text(Image.new("L", (8, 8))), "covers nothing"),
        (lambda: Recipe(mask="no mask"), "cannot be read"),
        (lambda: Recipe(mask="AAAA"), "cannot be read"),
        (lambda: Recipe(mask="A" * 5000), "shorten it"),
        (lambda: Recipe(mask=3), "must be text"),
    ],
)
def test_bad_masks_get_one_sentence(make, words: str):
    with pytest.raises(RudderError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_an_inverted_picture_is_painted_again(backbone, way: str):
    """Its latents come back, whatever the run's seed; the error told is that of the pictures."""
    recipe = replace(RECIPE, guidance_scale=1.0)
    painted = finish(sample(backbone, recipe)).images[0]
    found, wanted = inverted(backbone, painted, recipe, way, rounds=8), backbone.encode([painted])
    again = finish(sample(backbone, replace(recipe, seed=9), picture=found))
    assert found.error == distance(painted, again.images[0])
    assert abs(found.error - found.floor) < 0.02
    assert (again.latents - wanted).norm() < 0.05 * wanted.norm()


def test_more_rounds_come_nearer(backbone):
    recipe = replace(RECIPE, guidance_scale=1.0)
    latents = finish(sample(backbone, recipe)).latents
    (picture,) = backbone.decode(latents)
    found = [inverted(backbone, picture, recipe, rounds=rounds) for rounds in (1, 6)]
    far, near = (
        (finish(sample(backbone, recipe, picture=one)).latents - backbone.encode([picture])).norm() for one in found
    )
    assert near < 0.5 * far


@pytest.mark.parametrize("way", WAYS)
def test_several_pictures_are_inverted_as_each_alone(backbone, way: str):
    few = pictures(3)
    *told, together = invert_all(backbone, few, RECIPE, way)
    assert len(told) == RECIPE.num_inference_steps and len(together) == 3
    for picture, found in zip(few, together, strict=True):
        alone = inverted(backbone, picture, RECIPE, way)
        assert found.mark == alone.mark and found.picture.tobytes() == alone.picture.tobytes()
        assert torch.allclose(found.latents, alone.latents, atol=1e-4)
        assert (found.error, found.floor) == pytest.approx((alone.error, alone.floor), abs=1e-3)
        again = finish(sample(backbone, RECIPE, picture=found)).images[0]
        assert distance(again, finish(sample(backbone, RECIPE, picture=alone)).images[0]) < 1e-2
    with pytest.raises(RudderError, match="1 to 64"):
        next(invert_all(backbone, [], RECIPE, way))


@pytest.mark.parametrize("way", WAYS)
def test_an_inverted_picture_is_steered(backbone, vector, way: str):
    found = inverted(backbone, pictures(1, seed=3)[0], RECIPE, way)
    steering = Steering(((vector, 1.0),))
    rows = finish(strip(backbone, RECIPE, steering, [0.0, 4.0], picture=found))
    plain = finish(sample(backbone, RECIPE, picture=found))
    torch.testing.assert_close(rows.latents[:1], plain.latents, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(rows.latents[1], rows.latents[0], atol=1e-2)
    tail = finish(sample(backbone, RECIPE, steering.scaled(4.0), prefix=plain.prefix, picture=found))
    torch.testing.assert_close(tail.latents[0], rows.latents[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(RudderError, match="another picture"):
        finish(sample(backbone, RECIPE, steering, prefix=plain.prefix))


def test_what_the_model_could_never_paint_says_so(backbone):
    found = inverted(backbone, pictures(1)[0], RECIPE)
    assert "could never paint it, or guidance is too strong" in told(replace(found, error=0.3, floor=0.05, way="ddim"))
    assert "could never paint this" in told(replace(found, error=0.3, floor=0.05, way="edit_friendly"))
    assert "cannot hold" in told(replace(found, error=0.3, floor=0.2))
    assert "0.012" in told(replace(found, error=0.0123, floor=0.01))


def test_inverting_stops_and_refuses(backbone):
    stop = threading.Event()
    run = invert(backbone, pictures(1)[0], RECIPE, stop=stop)
    next(run)
    stop.set()
    with pytest.raises(Cancelled):
        list(run)
    with pytest.raises(RudderError, match="way of inverting"):
        next(invert(backbone, pictures(1)[0], RECIPE, "magic"))
