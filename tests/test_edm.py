"""EDM: the networks against plain arithmetic, the sampler against a plain loop, and the interface over them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from steering.activations import capture
from steering.backbones import Backbone, load
from steering.backbones.base import read_as
from steering.backbones.edm import discover_sites
from steering.backbones.edm_network import Block, Config, Conv, Denoiser, Fourier, Positional, norm
from steering.backbones.registry import outline
from steering.concepts import ConceptVector, learn
from steering.domain import traits
from steering.errors import RudderError
from steering.recipe import Recipe, Window
from steering.sampling import Steering, finish, sample, strip
from steering.scoring import Probe, spikiness
from steering.tuning import tune
from tests.tiny import pictures
from tests.tiny_edm import make_tiny_edm, random_network, small

CIFAR = {"img_resolution": 32, "augment_dim": 9, "dropout": 0.13}  # the published networks; the rest is Config's own
RECIPE = Recipe(prompt="dog", seed=7, num_inference_steps=6, guidance_scale=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_edm(tmp_path_factory.mktemp("edm") / "random-edm")


@pytest.fixture(scope="module")
def edm(folder: Path) -> Backbone:
    return load(folder)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """An unconditional NCSN++."""
    return load(make_tiny_edm(tmp_path_factory.mktemp("edm") / "free", small("ncsnpp", label_dim=0)))


@pytest.fixture(scope="module")
def red(edm: Backbone) -> ConceptVector:
    images, others = pictures(3, seed=1, tint=(90, 0, 0)), pictures(2, seed=2)
    return list(learn(edm, "red", images, others, prompt="red apple", timesteps=(50, 400, 800)))[-1]


@pytest.mark.parametrize(
    ("architecture", "label_dim", "count"),
    [("ddpmpp", 0, 55_733_891), ("ddpmpp", 10, 55_735_299), ("ncsnpp", 0, 56_397_827), ("ncsnpp", 10, 56_400_643)],
)
def test_the_published_networks_have_their_size_and_names(architecture: str, label_dim: int, count: int):
    with torch.device("meta"):
        network = Denoiser(Config(architecture, label_dim=label_dim, **CIFAR))
        state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == count
    wide = 128 if architecture == "ddpmpp" else 256
    assert state["model.map_augment.weight"].shape == (wide, 9) and "model.map_augment.bias" not in state
    assert state["model.map_layer0.weight"].shape == (512, wide)
    assert ("model.map_label.weight" in state) == (label_dim > 0)
    assert ("model.map_noise.freqs" in state) == (architecture == "ncsnpp")
    assert ("model.enc.16x16_aux_residual.weight" in state) == (architecture == "ncsnpp")
    assert state["model.enc.16x16_down.skip.resample_filter"].shape[-1] == (2 if architecture == "ddpmpp" else 4)
    assert state["model.enc.16x16_block0.qkv.weight"].shape == (768, 256, 1, 1)
    assert state["model.dec.8x8_in0.qkv.weight"].shape == (768, 256, 1, 1)
    assert state["model.dec.16x16_block4.proj.bias"].shape == (256,)
    assert "model.dec.16x16_block3.proj.bias" not in state and "model.dec.8x8_block4.proj.bias" not in state
    assert state["model.dec.32x32_block4.conv0.weight"].shape == (256, 384, 3, 3)
    assert state["model.dec.32x32_aux_conv.weight"].shape == (3, 256, 3, 3)
    assert {"model.enc.32x32_conv.weight", "model.dec.32x32_up.affine.weight", "model.dec.32x32_aux_norm.bias"} <= set(
        state
    )
    blocks = [name for name in discover_sites(network) if name.startswith("dec.") and name.endswith("nonlinearity")]
    assert len(blocks) == 15 + 4


@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp"])
def test_preconditioning(architecture: str):
    """D = c_skip x + c_out F(c_in x, ln(sigma) / 4): nothing is left of F at no noise, nothing of x at infinite."""
    network = random_network(small(architecture))
    x, labels = torch.randn(2, 3, 16, 16), torch.eye(3)[:2]
    sigma, sd = torch.tensor([0.3, 7.0]), 0.5
    seen = []
    hook = network.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    made = network(x, sigma, labels)
    hook.remove()
    s = sigma[:, None, None, None]
    inner = network.model(x / (s**2 + sd**2) ** 0.5, sigma.log() / 4, labels)
    expected = sd**2 / (s**2 + sd**2) * x + s * sd / (s**2 + sd**2) ** 0.5 * inner
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(seen[0][0].square().mean(), ((x**2) / (s**2 + sd**2)).mean())
    torch.testing.assert_close(network(x, torch.tensor(1e-6), labels), x, atol=1e-4, rtol=0)
    assert torch.allclose(network(x, torch.tensor(1e9), labels), network(2 * x, torch.tensor(1e9), labels), atol=1e-3)
    for one in range(2):
        alone = network(x[one : one + 1], sigma[one], labels[one : one + 1])
        torch.testing.assert_close(alone, made[one : one + 1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(made, network(x, sigma, labels.flip(0)))
    assert not torch.allclose(made, network(x, sigma.flip(0), labels))


def test_resampling_keeps_a_constant_and_halves_by_the_filter():
    x = torch.randn(2, 4, 8, 8)
    for f in ((1, 1), (1, 3, 3, 1)):
        down, up = (Conv(4, 4, 1, resample_filter=f, **{way: True}) for way in ("down", "up"))
        fused = Conv(4, 4, 3, resample_filter=f, down=True, fused=True)
        with torch.no_grad():
            for conv in (down, up):
                conv.weight.copy_(torch.eye(4)[:, :, None, None]), conv.bias.zero_()
            fused.weight.zero_(), fused.bias.zero_()
            fused.weight[:, :, 1, 1] = torch.eye(4)
        taps = torch.tensor(f, dtype=torch.float32) / sum(f)
        plane = torch.outer(taps, taps).expand(4, 1, -1, -1)
        pad = len(f) // 2 - 1
        halved = F.conv2d(F.pad(x, [pad] * 4), plane, stride=2, groups=4)
        torch.testing.assert_close(down(x), halved)
        torch.testing.assert_close(fused(x), halved)
        assert torch.allclose(up(torch.ones(1, 4, 8, 8))[..., 2:-2, 2:-2], torch.ones(1, 4, 12, 12))
    torch.testing.assert_close(Conv(4, 4, 1, up=True)(x).shape, torch.Size([2, 4, 16, 16]))


def test_a_block_by_plain_arithmetic():
    """Every sum is of variance-preserving halves; attention has one head, its channels interleaved as (C, 3)."""
    from steering.backbones.edm_network import VARIANTS

    torch.manual_seed(0)
    block = Block(8, 16, 12, VARIANTS["ddpmpp"], attention=True).eval()
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
        x, e = torch.randn(2, 8, 4, 4), torch.randn(2, 12)
        h = block.conv0(F.silu(block.norm0(x))) + block.affine(e)[:, :, None, None]
        y = (block.conv1(F.silu(block.norm1(h))) + block.skip(x)) * 0.5**0.5
        qkv = block.qkv(block.norm2(y)).reshape(2, 16, 3, 16)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        weights = (torch.einsum("bcq,bck->bqk", q, k) / 4).softmax(-1)
        seen = torch.einsum("bqk,bck->bcq", weights, v).reshape(2, 16, 4, 4)
        torch.testing.assert_close(block(x, e), (block.proj(seen) + y) * 0.5**0.5)


def test_embeddings_of_the_noise_level():
    level = torch.tensor([0.0, -0.7])
    cosines, sines = Positional(8)(level).chunk(2, 1)
    rates = 10000.0 ** -(torch.arange(4) / 3)
    torch.testing.assert_close(cosines[1], (-0.7 * rates).cos())
    torch.testing.assert_close(sines[1], (-0.7 * rates).sin())
    fourier = Fourier(512)
    assert 12 < float(fourier.freqs.std()) < 20
    torch.testing.assert_close(fourier(level)[1, :256], (-1.4 * np.pi * fourier.freqs).cos(), atol=1e-4, rtol=0)


def test_sines_come_first(edm):
    """map_layer0 is given sines, then cosines: at sigma = 1, where ln is 0, noughts and then ones."""
    seen = []
    hook = edm.network.model.map_layer0.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    edm.network(torch.randn(1, 3, 16, 16), torch.tensor(1.0))
    hook.remove()
    assert torch.equal(seen[0][0], torch.cat([torch.zeros(8), torch.ones(8)]))


def test_every_site_is_there_with_the_channels_it_claims(edm, free):
    for backbone in (edm, free):
        sites = backbone.sites()
        text = "dog" if backbone is edm else ""
        x = backbone.noise(backbone.encode(pictures(2)), 300, torch.Generator().manual_seed(0))
        with capture(backbone, sites, "map") as store:
            made = backbone.denoise(x, 300, backbone.condition([text] * 2))
        for name, site in sites.items():
            assert store[name].shape == (2, site.channels, *site.size), name
        torch.testing.assert_close(store["estimate"], made)
    block = edm.network.model.dec["16x16_block1"]
    seen = []
    hook = block.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with capture(edm, ["dec.16x16_block1.nonlinearity"], "map") as store:
        edm.denoise(x, 300, edm.condition(["dog"] * 2))
    hook.remove()
    assert torch.equal(store["dec.16x16_block1.nonlinearity"], seen[0]) and float(seen[0].min()) >= -0.28
    assert [edm.sites()[name].label for name in ("enc.16x16_block0", "dec.8x8_in0", "dec.16x16_up")] == [
        "detail", "composition", "detail"]  # fmt: skip
    assert edm.defaults["sites"] == ("dec.8x8_block0", "dec.8x8_block1", "dec.16x16_block0", "dec.16x16_block1")
    assert "dec.8x8_in0.attention" in edm.defaults["more_sites"]
    assert set(edm.defaults["scored"]) > {"dec.8x8_in0", "dec.16x16_block1.nonlinearity"}


def plain_heun(network: Denoiser, noise: torch.Tensor, labels: torch.Tensor | None, steps: int, guidance: float = 1.0):
    """Algorithm 1 of the paper without churn, as it is written there: steps in float64, the network in float32."""
    low, high, rho = 0.002, 80.0, 7
    i = torch.arange(steps, dtype=torch.float64)
    t = (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    t = torch.cat([t, torch.zeros(1, dtype=torch.float64)])

    def denoised(x, sigma):
        if guidance == 1:
            return network(x.float(), sigma, labels).double()
        both = torch.cat([torch.zeros_like(labels), labels])
        without, given = network(torch.cat([x, x]).float(), sigma, both).chunk(2)
        return (without + guidance * (given - without)).double()

    x = noise.double() * t[0]
    for k in range(steps):
        d = (x - denoised(x, t[k])) / t[k]
        after = x + (t[k + 1] - t[k]) * d
        if k < steps - 1:
            then = (after - denoised(after, t[k + 1])) / t[k + 1]
            after = x + (t[k + 1] - t[k]) * (0.5 * d + 0.5 * then)
        x = after
    return x


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 6, 18])
def test_zero_strength_equals_a_plain_heun_loop_bit_for_bit(edm, red, steps: int, guidance: float):
    noise = torch.cat([torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])
    labels = torch.eye(3)[[1]].expand(2, 3)
    expected = plain_heun(edm.network, noise, labels, steps, guidance)
    recipe = Recipe(prompt="dog", num_inference_steps=steps, guidance_scale=guidance)
    result = finish(sample(edm, recipe, Steering(((red, 0.0),)), seeds=[3, 4]))
    assert result.latents.dtype == torch.float64
    assert torch.equal(result.latents, expected)
    assert not torch.equal(result.latents[0], result.latents[1])
    bytes_ = (expected.float() * 127.5 + 128).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.asarray(result.images[1]), bytes_[1])


def test_an_unconditional_run_equals_the_plain_loop(free):
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    result = finish(sample(free, Recipe(seed=5, num_inference_steps=4, guidance_scale=4.0)))
    assert torch.equal(result.latents, plain_heun(free.network, noise, None, 4))


def test_a_run_of_one_step_is_eulers(edm):
    last = finish(sample(edm, Recipe(prompt="cat", num_inference_steps=1, guidance_scale=1.0)))
    x = edm.start(torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    clean = edm.denoise(x, 999, edm.condition(["cat"])).double()
    torch.testing.assert_close(last.latents, clean, atol=1e-6, rtol=1e-6)


def test_timesteps_are_positions_on_the_papers_schedule(edm):
    assert edm.sigma(999) == pytest.approx(80) and edm.sigma(0) == pytest.approx(0.002)
    middle = ((0.002 ** (1 / 7) + 80 ** (1 / 7)) / 2) ** 7
    assert edm.sigma(499) < middle < edm.sigma(500)
    schedule = edm.schedule(18)
    assert schedule.timesteps.tolist()[:3] == [999, 940, 881] and schedule.timesteps[-1] == 0
    assert len(schedule.sigmas) == 19 and schedule.sigmas[-1] == 0
    for t, sigma in zip(schedule.timesteps, schedule.sigmas, strict=False):
        assert edm.sigma(int(t)) == pytest.approx(float(sigma), rel=0.02)
    x, condition = torch.randn(2, 3, 16, 16), edm.condition(["cat", "dog"])
    at = edm.denoise(x, 300, condition)
    assert torch.equal(at, edm.denoise(x, torch.tensor([300, 300]), condition))
    assert torch.equal(at, edm.denoise(x, torch.tensor(edm.sigma(300), dtype=torch.float64), condition))
    for level in (1000, -1, torch.tensor([3, 1000])):
        with pytest.raises(RudderError, match="does not exist: give one from 0 to 999"):
            edm.denoise(x, level, condition)
    for count in (0, 1001):
        with pytest.raises(RudderError, match="from 1 to 1000"):
            edm.timesteps(count)
    assert torch.equal(edm.clean(x, 300, at), at) and not edm.carried(x, 300).any()


def test_noise_is_seeded_per_sample_and_as_strong_as_it_says(edm):
    x = edm.encode(pictures(2))
    two = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    noised = edm.noise(x, 600, two)
    eps = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(noised[1:], x[1:] + edm.sigma(600) * eps)
    with pytest.raises(RudderError, match="Timestep 1000"):
        edm.noise(x, 1000, torch.Generator())


def test_pictures_to_pixels_and_back_keep_every_byte(edm):
    every = np.arange(768, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    latents = edm.encode([Image.fromarray(every), Image.new("L", (50, 20), 7), Image.new("RGBA", (7, 90))])
    assert latents.shape == (3, 3, 16, 16) and float(latents.abs().max()) == 1
    assert np.array_equal(np.asarray(edm.decode(latents)[0]), every)
    assert np.array_equal(np.asarray(edm.decode(latents.half())[0]), every)
    checks = np.indices((32, 32)).sum(0) % 2 * 200
    averaged = edm.encode([Image.fromarray(np.repeat(checks[..., None], 3, 2).astype(np.uint8))])
    assert set(np.asarray(edm.decode(averaged)[0]).ravel()) == {100}


def test_what_is_no_number_is_never_painted_black(edm):
    with pytest.raises(RudderError, match="values that are no numbers"):
        edm.decode(torch.full((1, 3, 16, 16), torch.nan))


def test_a_model_without_an_empty_text_is_read_under_the_mean_of_its_classes(tmp_path):
    """Its pace, its vectors and its scores; what is painted has to name a class all the same."""
    by_class = load(make_tiny_edm(tmp_path / "by-class", null_class=False))
    assert torch.allclose(read_as(by_class), torch.full((1, 3), 1 / 3))
    assert torch.equal(read_as(by_class, "dog"), by_class.condition(["dog"]))
    *_, made = tune(by_class, "red", pictures(3, tint=(90, 0, 0)), pictures(2, seed=2), timesteps=(400,), budget=2.0)
    assert made.recommended["state"] in ("takes", "weak", "cannot")
    assert traits(by_class, pictures(2)).shape[0] == 2
    with pytest.raises(RudderError, match="by class only"):
        by_class.condition([""])


def test_pixels_lose_nothing_whatever_size_they_come_in(edm):
    """A picture of another size than the model's is averaged down, which is no error of an autoencoder."""
    large = Image.fromarray(np.kron(np.asarray(pictures(1, size=16)[0]), np.ones((4, 4, 1))).astype(np.uint8))
    small = pictures(1, size=16)[0]
    np.testing.assert_allclose(*(traits(edm, [picture])[0] for picture in (large, small)), rtol=1e-6)


def test_steering_acts_in_both_evaluations_of_a_step(edm, red, monkeypatch):
    calls = []
    forward = edm.network.model.dec["8x8_block0"].forward

    def counted(x, e):
        out = forward(x, e)
        calls.append(out)
        return out

    monkeypatch.setattr(edm.network.model.dec["8x8_block0"], "forward", counted)
    seen = []
    hook = edm.network.model.dec["8x8_block1"].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0][:, :32])
    )
    steering = Steering(((red, 3.0),), Window(0.5, 1.0), sites=("dec.8x8_block0",))
    finish(sample(edm, RECIPE, steering))
    hook.remove()
    moved = [not torch.equal(out, into) for out, into in zip(calls, seen, strict=True)]
    assert moved == [False] * 6 + [True] * 5, "two evaluations a step, one in the last; three steps of six steered"


def test_a_steered_tail_equals_a_full_run_and_a_strip(edm, red):
    steering = Steering(((red, 1.0),), Window(0.5, 0.95))
    full = finish(sample(edm, RECIPE, steering.scaled(2.0)))
    plain = finish(sample(edm, RECIPE))
    assert not torch.allclose(full.latents, plain.latents, atol=1e-3)
    start = finish(sample(edm, RECIPE, steering.scaled(0.0))).prefix
    tail = list(sample(edm, RECIPE, steering.scaled(2.0), prefix=start))
    assert torch.equal(tail[-1].latents, full.latents) and len(tail) == 4
    frames = finish(strip(edm, RECIPE, steering, [0.0, 2.0], prefix=start)).latents
    torch.testing.assert_close(frames, torch.cat([plain.latents, full.latents]), atol=1e-4, rtol=1e-4)
    guided = Recipe(prompt="dog", seed=1, num_inference_steps=6, guidance_scale=3.0)
    halves = [finish(sample(edm, guided, Steering(((red, 2.0),), halves=h))).latents for h in ("both", "conditional")]
    assert not torch.allclose(*halves)


def test_the_estimate_can_be_steered(edm):
    """A push at the estimate moves the clean prediction by itself."""
    from steering.activations import add

    x, condition = torch.randn(1, 3, 16, 16), edm.condition(["cat"])
    plain = edm.denoise(x, 400, condition)
    with add(edm, {"estimate": torch.tensor([0.1, 0.0, -0.2])}):
        moved = edm.denoise(x, 400, condition)
    torch.testing.assert_close(moved - plain, torch.tensor([0.1, 0.0, -0.2])[None, :, None, None].expand_as(plain))


def test_learning_and_scoring(edm, free, red):
    assert red.timesteps == (50, 400, 800)
    assert {site: v.shape for site, v in red.vectors.items()}["dec.16x16_block0"] == (3, 16)
    for backbone, prompts in ((edm, ""), (edm, ["cat", "dog"]), (free, "")):
        probe = Probe("dec.16x16_block0.nonlinearity", 250)
        scores = spikiness(backbone, pictures(2), probe, draws=2, prompts=prompts)
        again = spikiness(backbone, pictures(2), probe, draws=2, prompts=prompts)
        assert scores.mean.shape == (2,) and np.array_equal(scores.mean, again.mean) and (scores.mean > 0).all()
    with pytest.raises(RudderError, match="paints without words"):
        spikiness(free, pictures(1), probe, prompts="a cat")


def test_conditions(edm, free, folder, tmp_path):
    assert torch.equal(edm.condition(["dog", "", " Red  APPLE", "2", "0"]), torch.eye(4)[[1, 3, 2, 2, 0], :3])
    assert edm.guides and edm.unknown_words("a spaceship") == []
    with pytest.raises(RudderError, match="no class named 'dig': did you mean 'dog'"):
        edm.condition(["dig"])
    for text in ("3", "-1", "1.5", "²"):
        with pytest.raises(RudderError, match="no class (3|named)"):
            edm.condition([text])
    assert free.condition(["", ""]).shape == (2, 0) and not free.guides
    with pytest.raises(RudderError, match="paints without words or classes: leave 'a cat' out"):
        free.condition(["a cat"])
    by_number = load(make_tiny_edm(tmp_path / "numbered", classes=[], null_class=False))
    assert not by_number.guides
    assert torch.equal(by_number.condition(["1"]), torch.eye(3)[[1]])
    with pytest.raises(RudderError, match="by class only: name a number from 0 to 2"):
        by_number.condition([""])
    with pytest.raises(RudderError, match="no class named 'dog'.*number from 0 to 2"):
        by_number.condition(["dog"])
    unguided = load(make_tiny_edm(tmp_path / "unguided", null_class=False))
    with pytest.raises(RudderError, match="by class only: name one of cat, dog, red apple"):
        finish(sample(unguided, Recipe(num_inference_steps=2)))
    ours = finish(sample(unguided, Recipe(prompt="cat", num_inference_steps=3, guidance_scale=4.0))).latents
    assert torch.equal(ours, finish(sample(edm, Recipe(prompt="cat", num_inference_steps=3, guidance_scale=1))).latents)


def test_what_is_told_before_the_weights_are_read(edm, folder):
    told = outline(str(folder))
    assert (told.family.name, told.resolution, told.words) == ("edm", 16, ())
    assert told.defaults == {"num_inference_steps": 18, "guidance_scale": 1.0}
    assert (edm.name, edm.family, edm.resolution, edm.latent_shape) == ("random-edm", "edm", 16, (3, 16, 16))


def test_weights_come_back_as_they_were_and_in_half_precision(edm, folder):
    stored = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in edm.network.state_dict().items())
    half = load(folder, dtype="bfloat16")
    x, condition = torch.randn(1, 3, 16, 16), half.condition(["cat"])
    made = half.denoise(x, 500, condition)
    assert half.dtype == torch.bfloat16 and made.dtype == torch.float32
    torch.testing.assert_close(made, edm.denoise(x, 500, edm.condition(["cat"])), atol=0.05, rtol=0.05)


def test_random_frequencies_stay_float32(tmp_path):
    folder = make_tiny_edm(tmp_path / "ncsnpp", small("ncsnpp"))
    freqs = load_file(folder / "model" / "model.safetensors")["model.map_noise.freqs"]
    assert torch.equal(load(folder, dtype="float16").network.model.map_noise.freqs, freqs)


def test_the_fingerprint_follows_the_weights(edm, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert load(copy).fingerprint == edm.fingerprint
    _changed(copy, lambda tensors: tensors["model.enc.16x16_conv.bias"].add_(1))
    assert load(copy).fingerprint != edm.fingerprint


def _changed(folder: Path, change) -> None:
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def _config(**values):
    def act(folder: Path) -> None:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | values).items() if v is not None}))

    return act


def _info(**values):
    def act(folder: Path) -> None:
        path = folder / "rudder.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return act


BIAS = "model.enc.16x16_conv.bias"
BROKEN = {
    "missing": (lambda f: (f / "model" / "model.safetensors").unlink(), "model.safetensors is missing"),
    "lacks": (lambda f: _changed(f, lambda t: t.pop(BIAS)), f"lacks {BIAS}"),
    "more": (lambda f: _changed(f, lambda t: t.update(stray=torch.ones(1))), "does not know, stray"),
    "shape": (lambda f: _changed(f, lambda t: t.update({BIAS: torch.ones(3)})), "has the shape"),
    "nan": (lambda f: _changed(f, lambda t: t[BIAS].fill_(torch.nan)), f"not finite at {BIAS}"),
    "architecture": (_config(architecture="adm"), "no EDM architecture named 'adm'"),
    "unsaid": (_config(architecture=None), "does not say its architecture"),
    "stray": (_config(widths=3), "no entry in .*named 'widths'"),
    "side": (_config(img_resolution="big"), "img_resolution is big"),
    "odd side": (_config(img_resolution=17), "cannot be halved"),
    "levels": (_config(channel_mult=3), "channel_mult is 3: give a list"),
    "width": (_config(model_channels=2050), "model_channels is 2050"),
    "groups": (_config(model_channels=150), "channels cannot be normalised"),
    "sigma": (_config(sigma_max=0.0001), "sigma_max is 0.0001"),
    "classes": (_info(classes=["cat"]), "names 1 classes .* where the network has 3"),
    "twice": (_info(classes=["cat", "Cat", "dog"]), "2 of them different"),
    "null": (_info(null_class="yes"), "null_class. should be true or false"),
    "sites": (_info(sites=["attic"]), "named 'attic'"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_broken_folders_get_one_sentence(folder, tmp_path, case: str):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    action, words = BROKEN[case]
    action(copy)
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_attention_is_torchs_own(folder):
    with pytest.raises(RudderError, match="no attention named 'xformers' for EDM"):
        load(folder, attention="xformers")


def test_widths_that_groups_do_not_divide():
    assert [norm(channels).num_groups for channels in (16, 24, 128, 160, 384)] == [4, 6, 32, 32, 32]
    with pytest.raises(RudderError, match="2 channels cannot"):
        norm(2)
