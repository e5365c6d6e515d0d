"""Steered sampling: exactness against diffusers, prefix reuse, strips, cancelling."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from steering.backbones import Backbone
from steering.backbones.ddim import PREDICTIONS, carried, clean, ddim
from steering.backbones.stable_diffusion import StableDiffusion
from steering.concepts import ConceptVector, learn
from steering.errors import Cancelled, RudderError
from steering.plan import Steering, Term, plan
from steering.recipe import Recipe, Window
from steering.sampling import Prefix, Result, Step, finish, sample, strip
from tests.tiny import pictures

RECIPE = Recipe(prompt="a red apple on a night background", seed=7, num_inference_steps=10)


def reference(pipe: StableDiffusionPipeline, recipe: Recipe, seeds: list[int] | None = None, **options):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds or [recipe.seed]]
    run = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "num_inference_steps": recipe.num_inference_steps,
        "guidance_scale": recipe.guidance_scale,
        "num_images_per_prompt": len(generators),
        "generator": generators,
        **options,
    }
    return pipe(**run).images


@pytest.mark.parametrize("guidance", [0.0, 1.0, 4.0, 7.5])
@pytest.mark.parametrize("negative", ["", "a dog"])
def test_unsteered_equals_diffusers_bit_for_bit(backbone, plain, guidance: float, negative: str):
    recipe = Recipe(
        prompt=RECIPE.prompt,
        seed=3,
        num_inference_steps=10,
        guidance_scale=guidance,
        negative_prompt=negative,
    )
    result = finish(sample(backbone, recipe))
    assert torch.equal(result.latents, reference(plain, recipe, output_type="latent"))
    assert np.array_equal(result.images[0], reference(plain, recipe)[0])


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_any_number_of_steps_equals_diffusers(backbone, plain, steps: int):
    recipe = Recipe(prompt="a cat", num_inference_steps=steps)
    assert torch.equal(finish(sample(backbone, recipe)).latents, reference(plain, recipe, output_type="latent"))


def test_zero_strength_equals_diffusers_on_the_sd14_architecture(sd14, plain_sd14):
    images = pictures(2)
    *_, vector = learn(sd14, "x", images, timesteps=(100,))
    recipe = Recipe(prompt="a red car", seed=1, num_inference_steps=4, guidance_scale=7.5)
    result = finish(sample(sd14, recipe, Steering(((vector, 0.0),))))
    assert torch.equal(result.latents, reference(plain_sd14, recipe, output_type="latent"))
    steered = finish(sample(sd14, recipe, Steering(((vector, 1.0),))))
    assert not torch.equal(steered.latents, result.latents)


def test_zero_strength_and_batches_equal_diffusers(backbone, plain, vector):
    seeds = [5, 6, 7]
    steering = Steering(((vector, 0.0), (-vector, 0.0)))
    result = finish(sample(backbone, RECIPE, steering, seeds=seeds))
    assert torch.equal(result.latents, reference(plain, RECIPE, seeds, output_type="latent"))
    pixels = np.stack([np.asarray(image) for image in result.images])
    assert np.array_equal(pixels, np.stack([np.asarray(i) for i in reference(plain, RECIPE, seeds)]))


def test_a_batch_does_not_change_a_samples_noise(backbone):
    alone = finish(sample(backbone, RECIPE, seeds=[6])).latents
    together = finish(sample(backbone, RECIPE, seeds=[5, 6])).latents
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


def test_prompts_of_a_batch_are_its_own(backbone):
    prompts = ["a red car", "a dog"]
    both = finish(sample(backbone, RECIPE, prompts=prompts, seeds=[1, 1])).latents
    for row, prompt in zip(both, prompts, strict=True):
        alone = finish(sample(backbone, RECIPE, prompts=[prompt], seeds=[1])).latents[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_one_step_equals_the_scheduler(backbone, clip: bool, prediction: str):
    scheduler = DDIMScheduler.from_config(backbone.scheduler.config, clip_sample=clip, prediction_type=prediction)
    schedule = ddim(scheduler, 9)
    scheduler.set_timesteps(9)
    assert torch.equal(schedule.timesteps, scheduler.timesteps)
    x, made = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for i, t in enumerate(scheduler.timesteps):
        ours, clean = schedule.step(i, x, lambda *_: made)
        theirs = scheduler.step(made, t, x)
        assert torch.equal(ours, theirs.prev_sample)
        assert torch.equal(clean, theirs.pred_original_sample)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_a_prediction_means(backbone, prediction: str):
    """The picture in it as diffusers has it; what the noisy latents carry leaves a multiple of that picture."""
    scheduler = DDIMScheduler.from_config(backbone.scheduler.config, prediction_type=prediction)
    scheduler.set_timesteps(1000)
    x, made = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for t in (20, 300, 900):
        picture = clean(scheduler, x, t, made)
        torch.testing.assert_close(picture, scheduler.step(made, t, x).pred_original_sample, rtol=1e-5, atol=1e-5)
        rest = made - carried(scheduler, x, t)
        factor = (rest * picture).sum() / picture.square().sum()
        torch.testing.assert_close(rest, factor * picture, rtol=1e-4, atol=1e-4)


def test_a_velocity_model_equals_diffusers(backbone, plain):
    """Stable Diffusion 2.1 predicts velocities."""
    scheduler = DDIMScheduler.from_config(backbone.scheduler.config, prediction_type="v_prediction")
    other = StableDiffusion(
        "v", backbone.network, backbone.vae, backbone.text_encoder, backbone.tokenizer, scheduler, "0" * 16
    )
    pipe = StableDiffusionPipeline(**(plain.components | {"scheduler": scheduler}), requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    result = finish(sample(other, RECIPE))
    assert torch.equal(result.latents, reference(pipe, RECIPE, output_type="latent"))
    assert not torch.equal(result.latents, finish(sample(backbone, RECIPE)).latents)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("window", [Window(), Window(0, 1), Window(0.3, 0.6)])
def test_prefix_reuse_equals_a_full_run(backbone, vector, guidance: float, window: Window):
    recipe = Recipe(prompt="a dog", num_inference_steps=10, guidance_scale=guidance)
    unsteered = finish(sample(backbone, recipe, Steering(window=window)))
    steering = Steering(((vector, 2.0),), window)
    full = list(sample(backbone, recipe, steering))
    reused = list(sample(backbone, recipe, steering, prefix=unsteered.prefix))
    assert torch.equal(full[-1].latents, reused[-1].latents)
    assert not torch.equal(full[-1].latents, unsteered.latents)
    assert len(full) == 11
    assert len(reused) == 11 - window.steps(10).start
    assert torch.equal(full[-1].prefix.latents, unsteered.prefix.latents)
    assert not full[-1].latents.is_inference()
    assert not full[-1].prefix.latents.is_inference()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a cat"},
        {"negative_prompt": "a cat"},
        {"seed": 8},
        {"num_inference_steps": 12},
        {"guidance_scale": 2.0},
        {"window": Window(0.4, 0.95)},
    ],
)
def test_a_prefix_of_another_run_is_refused(backbone, change: dict):
    prefix = finish(sample(backbone, RECIPE)).prefix
    other = Recipe(**{**RECIPE.__dict__, **change})
    with pytest.raises(RudderError, match="prefix was made with another"):
        finish(sample(backbone, other, prefix=prefix))


def test_a_prefix_of_another_model_is_refused(backbone, sd14):
    prefix = finish(sample(backbone, RECIPE)).prefix
    with pytest.raises(RudderError, match="another model"):
        finish(sample(sd14, RECIPE, prefix=prefix))
    with pytest.raises(RudderError, match="another window start"):
        finish(sample(backbone, RECIPE, prefix=Prefix(prefix.latents, prefix.key[:-1] + (("window start", 1),))))


@pytest.mark.parametrize("halves", ["both", "conditional"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_strip_equals_single_runs(backbone, vector, halves: str, guidance: float):
    recipe = Recipe(prompt="a house", num_inference_steps=8, guidance_scale=guidance)
    steering = Steering(((vector, 1.0), (vector / 2, 0.5)), halves=halves)
    strengths = [-2.0, 0.0, 1.5]
    run = list(strip(backbone, recipe, steering, strengths))
    result = run[-1]
    assert [step.index for step in run[:-1]] == list(range(1, 9))
    assert len(result.images) == 3
    for row, factor in zip(result.latents, strengths, strict=True):
        alone = finish(sample(backbone, recipe, steering.scaled(factor))).latents[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-4)
    tail = list(strip(backbone, recipe, steering, strengths, prefix=result.prefix))
    assert torch.equal(tail[-1].latents, result.latents)
    assert len(tail) == 5
    exact = finish(sample(backbone, recipe, steering.scaled(1.5), prefix=result.prefix))
    assert torch.equal(exact.latents, finish(sample(backbone, recipe, steering.scaled(1.5))).latents)


@pytest.mark.parametrize("halves", ["both", "conditional"])
def test_a_steered_batch_of_prompts_equals_single_runs(backbone, vector, halves: str):
    steering, prompts = Steering(((vector, 1.5),), halves=halves), ["a red apple", "a cat", "a dog"]
    together = finish(sample(backbone, RECIPE, steering, seeds=[1, 2, 3], prompts=prompts)).latents
    for i, prompt in enumerate(prompts):
        alone = finish(sample(backbone, RECIPE, steering, seeds=[i + 1], prompts=[prompt])).latents
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("halves", ["both", "conditional"])
def test_a_batch_with_a_strength_each_resumes_from_joined_prefixes(backbone, vector, halves: str):
    steering, factors = Steering(((vector, 1.0),), halves=halves), [2.0, 0.0, -1.0]
    prompts, seeds = ["a cat", "a cat", "a dog"], [5, 5, 6]
    alone = [
        finish(sample(backbone, RECIPE, steering.scaled(f), prompts=[p], seeds=[s]))
        for f, p, s in zip(factors, prompts, seeds, strict=True)
    ]
    joined = Prefix.join([one.prefix for one in alone])
    batch = {"prompts": prompts, "seeds": seeds, "factors": factors}
    run = list(sample(backbone, RECIPE, steering, prefix=joined, preview_every=2, **batch))
    assert len(run) - 1 == 10 - Window().steps(10).start and len(run[1].previews) == 3
    for place, one in enumerate(alone):
        torch.testing.assert_close(run[-1].latents[place : place + 1], one.latents, atol=1e-4, rtol=1e-4)
        again = finish(sample(backbone, RECIPE, steering, prefix=run[-1].prefix.of(place), prompts=prompts[place:][:1],
                              seeds=seeds[place:][:1], factors=factors[place:][:1]))  # fmt: skip
        assert torch.equal(again.latents, one.latents)
    with pytest.raises(RudderError, match="2 factors are given for 3 samples"):
        finish(sample(backbone, RECIPE, steering, prompts=prompts, seeds=seeds, factors=[1.0, 2.0]))
    other = finish(sample(backbone, replace(RECIPE, guidance_scale=2.0))).prefix
    with pytest.raises(RudderError, match="another guidance"):
        Prefix.join([alone[0].prefix, other])


def test_the_halves_of_guidance_differ(backbone, vector):
    both = finish(sample(backbone, RECIPE, Steering(((vector, 2.0),)))).latents
    conditional = finish(sample(backbone, RECIPE, Steering(((vector, 2.0),), halves="conditional"))).latents
    assert not torch.allclose(both, conditional)


def test_samples_of_one_prompt_and_seed_share_the_steps_before_the_window(backbone, vector, monkeypatch):
    rows, denoise = [], backbone.denoise
    monkeypatch.setattr(backbone, "denoise", lambda x, *rest: rows.append(len(x)) or denoise(x, *rest))
    steering = Steering(((vector, 1.0),), RECIPE.window)
    asked = {"prompts": ["a cat", "a dog", "a cat", "a dog"], "seeds": [1, 1, 1, 1], "factors": [2.0, 1.0, 0.0, 0.0]}
    *steps, together = sample(backbone, RECIPE, steering, preview_every=1, **asked)
    assert set(rows[:5]) == {4} and set(rows[5:]) == {8}, "two halves of guidance: two prompts, then four samples"
    assert {len(step.previews) for step in steps if step.previews} == {4}
    for row, (prompt, factor) in enumerate(zip(asked["prompts"], asked["factors"], strict=True)):
        alone = finish(sample(backbone, replace(RECIPE, prompt=prompt, seed=1), steering.scaled(factor)))
        torch.testing.assert_close(together.latents[row : row + 1], alone.latents, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(together.prefix.of(row).latents, alone.prefix.latents, atol=1e-5, rtol=1e-4)


def test_outside_the_window_nothing_is_added(backbone, vector, monkeypatch):
    from steering import sampling

    pushed = []
    change = sampling.change
    monkeypatch.setattr(sampling, "change", lambda *args: pushed.append(args) or change(*args))
    steps = [s for s in sample(backbone, RECIPE, Steering(((vector, 1.0),))) if isinstance(s, Step)]
    assert len(pushed) == len(Window().steps(10)) == 5
    assert len(steps) == 10


def test_each_step_uses_the_nearest_timestep(backbone, vector):
    window, schedule = Window(0.0, 1.0), backbone.schedule(10)
    changes = plan(backbone, Steering(((vector, 2.0),), window), schedule, 10, (1.0,), 1, guided=True)
    for i, t in enumerate(schedule.timesteps):
        row = min(range(3), key=lambda k, t=t: abs(vector.timesteps[k] - int(t)))
        for site, done in changes[i].items():
            assert done.kept is None and done.erased == ()
            assert torch.equal(done.added[0, :, 0, 0], 2.0 * vector.vectors[site.name][row])


def test_chosen_sites_only(backbone, vector):
    one = vector.sites[0]
    some = finish(sample(backbone, RECIPE, Steering(((vector, 2.0),), sites=(one,)))).latents
    only = vector.replace(vectors={one: vector.vectors[one]})
    assert torch.equal(some, finish(sample(backbone, RECIPE, Steering(((only, 2.0),)))).latents)
    with pytest.raises(RudderError, match="no site in"):
        finish(sample(backbone, RECIPE, Steering(((vector, 1.0),), sites=("nowhere",))))
    with pytest.raises(RudderError, match="no site in the vector"):
        finish(sample(backbone, RECIPE, Steering(((vector, 1.0),), sites=("mid_block",))))


def test_sums_of_terms_and_of_vectors_agree(backbone, vector):
    apart = finish(sample(backbone, RECIPE, Steering(((vector, 1.0), (vector, 0.5))))).latents
    summed = finish(sample(backbone, RECIPE, Steering(((vector + vector / 2, 1.0),)))).latents
    torch.testing.assert_close(apart, summed, rtol=1e-4, atol=1e-4)


def test_previews_and_progress(backbone):
    run = list(sample(backbone, RECIPE, preview_every=4))
    assert [step.index for step in run[:-1] if step.previews] == [4, 8]
    assert run[3].previews[0].size == (32, 32)
    assert all(step.total == 10 for step in run[:-1])
    assert isinstance(run[-1], Result)


def test_stop_cancels_and_leaves_the_session_usable(backbone, vector):
    stop = threading.Event()
    run = sample(backbone, RECIPE, Steering(((vector, 3.0),)), stop=stop)
    for _ in range(7):
        next(run)
    stop.set()
    with pytest.raises(Cancelled, match="Stopped after 7 of 10"):
        next(run)
    assert_clean(backbone)
    with pytest.raises(Cancelled):
        finish(strip(backbone, RECIPE, Steering(((vector, 1.0),)), [0, 1], stop=stop))
    finish(sample(backbone, RECIPE))


def test_closing_early_releases_everything(backbone, vector):
    run = sample(backbone, RECIPE, Steering(((vector, 3.0),)))
    for _ in range(6):
        next(run)
        assert not torch.is_inference_mode_enabled()
        assert_clean(backbone)
    run.close()
    assert_clean(backbone)


def test_a_failing_network_releases_everything(backbone, vector, monkeypatch):
    calls = iter(range(100))
    forward = backbone.network.conv_out.forward
    broken = lambda x: forward(x) if next(calls) < 6 else 1 / 0  # noqa: E731
    monkeypatch.setattr(backbone.network.conv_out, "forward", broken)
    with pytest.raises(ZeroDivisionError):
        finish(sample(backbone, RECIPE, Steering(((vector, 3.0),))))
    assert_clean(backbone)


def test_steps_may_come_from_different_threads(backbone, vector):
    """Gradio takes each item of a generator in whichever worker is free."""
    expected = finish(sample(backbone, RECIPE, Steering(((vector, 2.0),)))).latents
    run, items = sample(backbone, RECIPE, Steering(((vector, 2.0),))), []
    while not items or not isinstance(items[-1], Result):
        worker = threading.Thread(target=lambda: items.append(next(run)))
        worker.start()
        worker.join()
    assert torch.equal(items[-1].latents, expected)


def test_two_threads_never_see_each_others_vectors(backbone, vector):
    steering = Steering(((vector, 4.0),))
    jobs = [None, steering, steering.scaled(-1.0), None]
    expected = [finish(sample(backbone, RECIPE, job)).latents for job in jobs]
    results: dict[int, list] = {i: [] for i in range(len(jobs))}
    start = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        start.wait()
        for _ in range(3):
            results[i].append(finish(sample(backbone, RECIPE, jobs[i])).latents)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i, latents in results.items():
        assert len(latents) == 3
        assert all(torch.equal(one, expected[i]) for one in latents)
    assert_clean(backbone)


def test_a_plain_pipeline_in_another_thread_is_untouched(backbone, vector, plain):
    """Even one that shares the network and so does not take the lock."""
    shared = StableDiffusionPipeline(**{**plain.components, "unet": backbone.network}, requires_safety_checker=False)
    shared.set_progress_bar_config(disable=True)
    expected = reference(plain, RECIPE, output_type="latent")
    seen = []
    other = threading.Thread(target=lambda: seen.append(reference(shared, RECIPE, output_type="latent")))
    run = sample(backbone, RECIPE, Steering(((vector, 4.0),)))
    for _ in range(5):
        next(run)
    other.start()
    list(run)
    other.join()
    assert torch.equal(seen[0], expected)


def test_bad_requests_get_one_sentence(backbone, sd14, vector):
    steering = Steering(((vector, 1.0),))
    foreign = vector.replace(provenance={**vector.provenance, "model": "other", "fingerprint": "beef"})
    cases = [
        (lambda: Steering(((vector, float("nan")),)), "strength of 'red' is nan"),
        (lambda: Steering(((vector, 1e9),)), "strength of 'red'"),
        (lambda: Steering(((vector, 1.0),), halves="left"), "guidance halves"),
        (lambda: finish(sample(backbone, RECIPE, Steering(((foreign, 1.0),)))), "made for other"),
        (lambda: finish(sample(backbone, RECIPE, Steering(((foreign, 0.0),)))), "made for other"),
        (lambda: finish(sample(sd14, RECIPE, Steering(((vector, 1.0),)))), "learn the concept again"),
        (lambda: finish(sample(backbone, RECIPE, seeds=[1], prompts=["a", "b"])), "equally many"),
        (lambda: finish(sample(backbone, RECIPE, seeds=[])), "equally many"),
        (lambda: finish(sample(backbone, RECIPE, seeds=[-1])), "seed is -1"),
        (lambda: finish(strip(backbone, RECIPE, Steering(((vector, 1.0),)), [])), "between 1 and 64"),
        (lambda: finish(strip(backbone, RECIPE, Steering(((vector, 1.0),)), [float("inf")])), "strip"),
        (
            lambda: Steering.from_recipe(Recipe(concepts=(("rad", 1.0),)), {"red": vector}),
            "did you mean 'red'",
        ),
        (
            lambda: finish(sample(backbone, Recipe(num_inference_steps=1), steering)),
            "holds none of the 1 steps",
        ),
        (lambda: finish(iter(())), "without a picture"),
    ]
    for action, words in cases:
        with pytest.raises(RudderError, match=words) as caught:
            action()
        assert str(caught.value).count("\n") == 0
    assert_clean(backbone)


def test_steering_from_a_recipe(vector: ConceptVector):
    recipe = Recipe(concepts=(("red", 0.5),), window=Window(0.2, 0.8), sites=("mid_block",), halves="conditional")
    steering = Steering.from_recipe(recipe, {"red": vector})
    assert steering.terms == (Term(vector, 0.5),)
    assert (steering.window, steering.sites) == (recipe.window, recipe.sites)
    assert steering.halves == "conditional"
    assert Steering.from_recipe(recipe, {"red": vector}, halves="both").halves == "both"


def assert_clean(backbone: Backbone) -> None:
    for module in backbone.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
