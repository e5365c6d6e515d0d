"""The DiT family: diffusers' pictures bit for bit, sites made of tokens, classes by name, folders that do not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline, DiTTransformer2DModel
from safetensors.torch import load_file, save_file

from steering.activations import add, attention_over_tokens, capture
from steering.backbones import Backbone, available, load
from steering.backbones.classes import Classes
from steering.backbones.dit import defaults, discover_sites
from steering.backbones.layout import sizes
from steering.backbones.registry import outline
from steering.concepts import ConceptVector, learn
from steering.errors import RudderError
from steering.recipe import Recipe, Window
from steering.sampling import Steering, finish, sample, strip
from steering.scoring import STATISTICS, Probe, read, spikiness
from steering.tuning import tune
from tests.test_backbones import DAMAGES, WEIGHTS, change
from tests.test_sampling import assert_clean
from tests.tiny import CLASSES, DIT_XL, make_tiny_dit, make_tiny_sd, pictures

RECIPE = Recipe(prompt="golden retriever", seed=7, num_inference_steps=6, guidance_scale=4.0)
KINDS = ("", ".attention", ".hidden")
CONFIG = "transformer/config.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dit(tmp_path_factory.mktemp("models") / "random-dit")


@pytest.fixture(scope="module")
def dit(folder: Path) -> Backbone:
    return load(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def vector(dit: Backbone) -> ConceptVector:
    """Red pictures minus others, at three timesteps."""
    images, others = pictures(3, seed=1, size=64, tint=(90, 0, 0)), pictures(2, seed=2, size=64)
    return list(learn(dit, "red", images, others, prompt="goldfish", timesteps=(50, 300, 800)))[-1]


def reference(folder: Path, classes: list[int], seeds: list[int], steps: int, guidance: float):
    """Latents and pictures of diffusers' own pipeline over the same files."""
    pipe = DiTPipeline.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.requires_grad_(False)  # torch adds up its attention in another order where weights could be trained
    decode, given = pipe.vae.decode, []
    pipe.vae.decode = lambda z: given.append(z * pipe.vae.config.scaling_factor) or decode(z)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    images = pipe(classes, guidance, generators, steps).images
    return given[0], np.stack([np.asarray(image) for image in images])


def inputs(dit: Backbone, batch: int = 2) -> tuple[torch.Tensor, int, torch.Tensor]:
    x = torch.randn(batch, *dit.latent_shape, generator=torch.Generator().manual_seed(0))
    return x, 200, dit.condition(["goldfish"]).expand(batch)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 1.5, 4.0])
def test_unsteered_equals_diffusers_bit_for_bit(dit, folder, guidance: float):
    result = finish(sample(dit, replace(RECIPE, guidance_scale=guidance)))
    latents, images = reference(folder, [207], [7], 6, guidance)
    assert torch.equal(result.latents, latents)  # the factor .5 of its autoencoder is exact both ways
    assert np.array_equal(np.asarray(result.images[0]), images[0])


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_batches_at_strength_zero_equal_diffusers(dit, folder, vector, count: int):
    names, seeds = (["goldfish", "207", "tench"] * 3)[:count], list(range(count))
    steering = Steering(((vector, 0.0), (-vector, 0.0)))
    result = finish(sample(dit, RECIPE, steering, seeds=seeds, prompts=names))
    latents, images = reference(folder, ([1, 207, 0] * 3)[:count], seeds, 6, 4.0)
    assert torch.equal(result.latents, latents)
    assert np.array_equal(np.stack([np.asarray(image) for image in result.images]), images)


def test_the_conditional_half_comes_first(dit, monkeypatch):
    """As in diffusers: the last bit of a sum may depend on a row's place, as was seen in batches of three."""
    given, denoise = [], dit.denoise
    monkeypatch.setattr(dit, "denoise", lambda x, level, c: given.append(c.tolist()) or denoise(x, level, c))
    finish(sample(dit, replace(RECIPE, num_inference_steps=1), seeds=[1, 2], prompts=["goldfish", "tench"]))
    assert given == [[1, 0, 1000, 1000]]


def test_any_number_of_steps_and_the_published_scaling_factor(copy):
    change("vae/config.json", scaling_factor=0.18215)(copy)
    dit = load(copy)
    for steps in (1, 3, 20):
        result = finish(sample(dit, replace(RECIPE, num_inference_steps=steps)))
        latents, images = reference(copy, [207], [7], steps, 4.0)
        torch.testing.assert_close(result.latents, latents, rtol=1e-6, atol=1e-6)
        assert np.array_equal(np.asarray(result.images[0]), images[0])


def test_without_a_learned_deviation(tmp_path):
    folder = make_tiny_dit(tmp_path / "plain", out_channels=4)
    latents, _ = reference(folder, [207], [7], 6, 4.0)
    assert torch.equal(finish(sample(load(folder), RECIPE)).latents, latents)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("window", [Window(), Window(0, 1), Window(0.3, 0.6)])
def test_prefix_reuse_equals_a_full_run(dit, vector, guidance: float, window: Window):
    recipe = replace(RECIPE, guidance_scale=guidance)
    unsteered = finish(sample(dit, recipe, Steering(window=window)))
    steering = Steering(((vector, 2.0),), window)
    full, reused = (list(sample(dit, recipe, steering, prefix=prefix)) for prefix in (None, unsteered.prefix))
    assert torch.equal(full[-1].latents, reused[-1].latents)
    assert not torch.equal(full[-1].latents, unsteered.latents)
    assert len(full) - len(reused) == window.steps(6).start


@pytest.mark.parametrize("halves", ["both", "conditional"])
def test_a_strip_equals_single_runs(dit, vector, halves: str):
    steering, strengths = Steering(((vector, 1.0),), halves=halves), [-2.0, 0.0, 1.5]
    result = finish(strip(dit, RECIPE, steering, strengths))
    for row, factor in zip(result.latents, strengths, strict=True):
        alone = finish(sample(dit, RECIPE, steering.scaled(factor))).latents[0]
        torch.testing.assert_close(row, alone, rtol=1e-4, atol=1e-4)
    assert torch.equal(finish(strip(dit, RECIPE, steering, strengths, prefix=result.prefix)).latents, result.latents)


def test_the_conditional_half_alone_is_steered(dit, vector):
    """By hand: what is added in a guided batch is seen by the first half, which holds the class."""
    pushed = vector.vectors["blocks.2"][0] * 3
    x, condition = inputs(dit)[0][:1], dit.condition(["goldfish", ""])
    with add(dit, {"blocks.2": pushed}, halves="conditional"):
        both = dit.denoise(torch.cat([x, x]), 200, condition)
    with add(dit, {"blocks.2": pushed}):
        steered = dit.denoise(x, 200, condition[:1])
    torch.testing.assert_close(both[:1], steered, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1:], dit.denoise(x, 200, condition[1:]), rtol=1e-4, atol=1e-5)
    window = Window(0, 1)
    run = {"seeds": [3], "prompts": ["goldfish"]}
    one, two = (
        finish(sample(dit, RECIPE, Steering(((vector, 3.0),), window, halves=halves), **run)).latents
        for halves in ("both", "conditional")
    )
    assert not torch.allclose(one, two)


def test_every_site_has_the_shape_it_states(dit):
    sites = dit.sites()
    with capture(dit, sites, "map") as store:
        dit.denoise(*inputs(dit))
    assert set(store) == set(sites) == {f"blocks.{i}{kind}" for i in range(4) for kind in KINDS} | {"estimate"}
    for name, site in sites.items():
        assert store[name].shape == (2, site.channels, *site.size), name
    assert sites["blocks.1"].size == (4, 4) and sites["estimate"].size == (8, 8)
    assert [sites[f"blocks.{i}"].label for i in range(4)] == ["composition", "shape", "style", "detail"]
    assert_clean(dit)


@pytest.mark.parametrize("site", ["blocks.1", "blocks.2.attention", "blocks.2.hidden"])
def test_reading_and_adding_equal_doing_so_by_hand_on_tokens(dit, site: str):
    module = dit.network.get_submodule(dit.sites()[site].path)
    channels = dit.sites()[site].channels
    vector = torch.randn(channels, 4, 4, generator=torch.Generator().manual_seed(3))
    seen: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda m, i, out: seen.append(out) or out + vector.flatten(1).T)
    by_hand = dit.denoise(*inputs(dit))
    handle.remove()
    stores = {}
    for pooling in ("mean", "max", "map"):
        with capture(dit, [site], pooling) as stores[pooling]:
            plain = dit.denoise(*inputs(dit))
    (tokens,) = seen
    assert tokens.shape == (2, 16, channels)
    torch.testing.assert_close(stores["mean"][site], tokens.mean(1))
    assert torch.equal(stores["max"][site], tokens.amax(1))
    assert torch.equal(stores["map"][site][:, :, 1, 2], tokens[:, 4 + 2])
    with add(dit, {site: vector[None]}):
        moved = dit.denoise(*inputs(dit))
    assert torch.equal(moved, by_hand)
    assert not torch.allclose(moved, plain)


def test_the_estimate_is_the_picture_that_is_expected(dit):
    x, t, condition = inputs(dit)
    alpha = float(dit.scheduler.alphas_cumprod[t])
    wanted = torch.randn(1, *dit.latent_shape, generator=torch.Generator().manual_seed(5))
    plain = dit.clean(x, t, dit.denoise(x, t, condition))
    with add(dit, {"estimate": -((alpha / (1 - alpha)) ** 0.5) * wanted}):
        moved = dit.clean(x, t, dit.denoise(x, t, condition))
    torch.testing.assert_close(moved, plain + wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "max", "map"])
def test_learning_is_the_difference_of_representations(dit, pooling: str):
    images, others = pictures(1, size=64), pictures(1, seed=4, size=64)
    sites = ("blocks.1", "blocks.3.hidden", "estimate")
    vector = list(learn(dit, "x", images, others, sites=sites, timesteps=(100,), pooling=pooling))[-1]
    for site in sites:
        expected = (dit.sites()[site].channels, *(dit.sites()[site].size if pooling == "map" else ()))
        assert vector.at(site, 100).shape == expected
    result = finish(sample(dit, RECIPE, Steering(((vector, 1.0),))))
    assert torch.isfinite(result.latents).all()
    assert not torch.equal(result.latents, finish(sample(dit, RECIPE)).latents)


def test_a_search_steers_at_the_models_own_sites(dit, monkeypatch):
    monkeypatch.setitem(dit.defaults, "num_inference_steps", 2)
    told = list(tune(dit, "red", pictures(3, size=64, tint=(90, 0, 0)), pictures(3, size=64), prompts=["goldfish"],
                     timesteps=(100,), budget=1.0))[-1]  # fmt: skip
    assert set(told.sites) == {"blocks.1", "blocks.2", "blocks.1.attention", "blocks.2.attention", "estimate"}
    assert set(told.recommended["sites"]) <= set(told.sites)


def test_default_sites(dit, copy):
    assert dit.defaults["sites"] == ("blocks.2",)
    assert len(dit.defaults["scored"]) == 12 and "estimate" not in dit.defaults["scored"]
    assert (dit.defaults["num_inference_steps"], dit.defaults["guidance_scale"]) == (50, 4.0)
    (copy / "rudder.json").write_text(json.dumps({"sites": ["blocks.3.hidden"], "num_inference_steps": 12}))
    other = load(copy)
    assert (other.family, other.defaults["sites"]) == ("dit", ("blocks.3.hidden",))
    assert other.defaults["num_inference_steps"] == 12


def test_massive_channels_do_not_break_scoring(copy):
    """A few channels of the residual stream are huge for every picture: 1e4 times the others here."""
    path = copy / "transformer" / WEIGHTS
    tensors = load_file(path)
    tensors["pos_embed.proj.bias"][3] = 1e4
    save_file(tensors, path, {"format": "pt"})
    dit = load(copy)
    images = pictures(3, size=64)
    (found,) = read(dit, images, dit.defaults["scored"], [10], at_once=None)
    for site in dit.defaults["scored"]:
        for statistic in STATISTICS:
            scores = found.scores(Probe(site, 10, "max", statistic))
            assert np.isfinite(scores).all(), (site, statistic)
    raw = spikiness(dit, images, Probe("blocks.1", 10, "max", "max_share"))
    hidden = spikiness(dit, images, Probe("blocks.1.hidden", 10, "max", "max_share"))
    assert raw.mean.min() > 0.99 > hidden.mean.max()


def test_classes_by_name_synonym_and_number(dit):
    asked = ["golden retriever", "Golden  Retriever", "Tinca tinca", "tench,Tinca tinca", "207", " 5 ", "", "  ",
             "maillot", "tank suit"]  # fmt: skip
    numbers = dit.condition(asked)
    assert numbers.dtype == torch.int64
    assert numbers.tolist() == [207, 207, 0, 0, 207, 5, 1000, 1000, 638, 639]
    assert dit.unknown_words("zork") == []


@pytest.mark.parametrize("text, says", [
    ("goldfsh", "named 'goldfsh': did you mean 'goldfish'.*number from 0 to 999"),
    ("crane", "'crane' is the name of the classes 134, 517: give the number"),
    ("1000", "no class 1000: give one from 0 to 999"),
    ("-1", "no class named '-1'"),
    ("²", "no class named"),
    ("9" * 2000, "no class named"),
    ("tench, goldfish", "no class named 'tench, goldfish'"),
])  # fmt: skip
def test_unknown_classes_get_one_sentence(dit, text: str, says: str):
    with pytest.raises(RudderError, match=says) as caught:
        finish(sample(dit, replace(RECIPE, prompt=text)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_negative_class_takes_the_place_of_none(dit):
    plain, other = (finish(sample(dit, replace(RECIPE, negative_prompt=text))).latents for text in ("", "tench"))
    assert not torch.allclose(plain, other)


def test_a_model_without_names_takes_numbers():
    classes = Classes(10, {})
    assert classes.number("7") == 7
    with pytest.raises(RudderError, match="the model names none, give a number from 0 to 9"):
        classes.number("cat")
    assert Classes(10, {4: "7"}).number("7") == 4


def test_prompts_are_absent(dit):
    with pytest.raises(RudderError, match="no cross-attention"), attention_over_tokens(dit):
        pass


def test_rudder_json_names_the_classes(tmp_path):
    folder = make_tiny_dit(tmp_path / "small", num_embeds_ada_norm=3)
    (folder / "rudder.json").write_text(json.dumps({"classes": ["cat, kitten", "dog", "mister whiskers the third"]}))
    dit = load(folder)
    assert dit.condition(["kitten", "Mister Whiskers the third", ""]).tolist() == [0, 2, 3]
    assert finish(sample(dit, replace(RECIPE, prompt="dog"))).latents.shape == (1, 4, 8, 8)


def test_folders_published_before_the_class_had_its_name(copy, dit):
    change(CONFIG, _class_name="Transformer2DModel", cross_attention_dim=None, num_vector_embeds=None,
           only_cross_attention=False, use_linear_projection=False)(copy)  # fmt: skip
    old = load(copy)
    assert torch.equal(old.denoise(*inputs(old)), dit.denoise(*inputs(dit)))


@pytest.mark.parametrize("part", [f"transformer/{WEIGHTS}", f"vae/{WEIGHTS}"])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_weights_get_one_sentence(copy, part: str, damage: str):
    action, words = DAMAGES[damage]
    action(copy / part)
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert part.split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def of_tiny_sd(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    shutil.move(make_tiny_sd(folder / "sd") / "vae", folder)


FOLDERS = {
    "no config": (lambda f: (f / CONFIG).unlink(), "config.json is missing"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler is missing"),
    "another norm": (change(CONFIG, norm_type="layer_norm"), "transformer could not be loaded"),
    "no classes": (change(CONFIG, num_embeds_ada_norm=None), "transformer could not be loaded"),
    "other widths": (change(CONFIG, attention_head_dim=16), "transformer"),
    "fewer layers than weights": (change(CONFIG, num_layers=5), "lacks transformer_blocks.4"),
    "odd patches": (change(CONFIG, sample_size=7), "latents of side 7 into patches of 2"),
    "another autoencoder": (of_tiny_sd, "paints 4 channels and its autoencoder has 16"),
    "list of classes": (change("model_index.json", id2label=["tench"]), "'id2label' should give each class number"),
    "classes by letter": (change("model_index.json", id2label={"a": "tench"}), "'id2label' should give each"),
    "too many classes": (change("model_index.json", id2label={"1000": "tench"}), "names class 1000"),
    "odd sites": (lambda f: (f / "rudder.json").write_text('{"sites": ["attic"]}'), "named 'attic'"),
    "odd classes": (lambda f: (f / "rudder.json").write_text('{"classes": "cat"}'), "list of texts"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(FOLDERS))
def test_broken_folders_get_one_sentence(copy, case: str):
    action, words = FOLDERS[case]
    action(copy)
    with pytest.raises(RudderError, match=words) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_a_prediction_of_other_channels_is_refused(tmp_path):
    with pytest.raises(RudderError, match="predicts 12 channels"):
        load(make_tiny_dit(tmp_path / "odd", out_channels=12))


@pytest.fixture
def lent(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded model without an autoencoder of its own, which borrows that of another."""
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))
    shutil.copytree(folder / "vae", tmp_path / "models" / "lender" / "vae")
    borrower = Path(shutil.copytree(folder, tmp_path / "models" / "borrower"))
    shutil.rmtree(borrower / "vae")
    (borrower / "rudder.json").write_text(json.dumps({"vae": "lender", "family": "dit"}))
    return borrower


def test_an_embedded_model_borrows_an_autoencoder(lent, dit):
    borrower = load("borrower")
    assert torch.equal(borrower.encode(pictures(1)), dit.encode(pictures(1)))
    assert borrower.fingerprint == dit.fingerprint, "it tells weights apart, not where they lie"
    known = outline("borrower")
    assert known.resolution == 64 and set(sizes(lent, known.family)) == {"transformer", "vae"}
    assert [info.present for info in available()] == [True]
    weights = lent.parent / "lender" / "vae" / WEIGHTS
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, weights, {"format": "pt"})
    assert load("borrower").fingerprint != dit.fingerprint
    weights.unlink()
    assert [info.present for info in available()] == [False]
    with pytest.raises(RudderError, match="lender/vae/.*is missing"):
        load("borrower")


def test_only_embedded_models_borrow(lent, tmp_path):
    elsewhere = shutil.copytree(lent, tmp_path / "elsewhere")
    with pytest.raises(RudderError, match="borrows that of lender, as only embedded models may"):
        load(elsewhere)
    for name in ("../lender", 7, ""):
        (lent / "rudder.json").write_text(json.dumps({"vae": name, "family": "dit"}))
        with pytest.raises(RudderError, match="rudder.json's 'vae' is"):
            load("borrower")


def test_the_preset_comes_from_its_revision(folder, tmp_path, monkeypatch):
    import huggingface_hub

    name, asked = "facebook/DiT-XL-2-256", []
    known = outline(name)
    assert known.folder is None and known.family.name == "dit"
    assert known.defaults == {"num_inference_steps": 50, "guidance_scale": 4.0}
    fetched = tmp_path / "snapshots" / ("32d0e35" + "0" * 33)

    def fetch(repo: str, revision: str | None, allow_patterns: list[str] | None, local_files_only: bool) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(fetched)

    files = [SimpleNamespace(rfilename=f"{part}/{WEIGHTS}") for part in ("transformer", "vae")]
    info = lambda self, repo, revision=None, timeout=None: SimpleNamespace(siblings=files)  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    shutil.copytree(folder, fetched)
    assert load(name).name == name
    repo, revision, patterns = asked[-1]
    assert (repo, revision) == (name, "refs/pr/1")
    assert f"transformer/{WEIGHTS}" in patterns and not any(pattern.endswith("*.safetensors") for pattern in patterns)
    fetched = shutil.move(fetched, tmp_path / "snapshots" / ("f" * 40))
    with pytest.raises(RudderError, match="not at 32d0e35 as it was read"):
        load(name)


@pytest.fixture(scope="module")
def xl() -> DiTTransformer2DModel:
    with torch.device("meta"):
        return DiTTransformer2DModel(**DIT_XL)


def test_the_true_architecture_has_the_presets_sites(xl):
    """675 M parameters (Peebles and Xie 2022, table 4), and 27 more copies of the embedders in diffusers."""
    total, one = (sum(p.numel() for p in m.parameters()) for m in (xl, xl.transformer_blocks[0].norm1.emb))
    assert total - 27 * one == pytest.approx(675e6, rel=2e-3)
    sites = discover_sites(xl)
    assert len(sites) == 3 * 28 + 1
    for i in range(28):
        found = [sites[f"blocks.{i}{kind}"] for kind in KINDS]
        assert [site.channels for site in found] == [1152, 1152, 4608]
        assert all(site.size == (16, 16) and site.tokens for site in found)
    assert (sites["estimate"].channels, sites["estimate"].size) == (4, (32, 32))
    chosen = defaults({}, sites)
    assert chosen["sites"] == tuple(f"blocks.{i}" for i in range(14, 21))
    assert set(chosen["more_sites"]) <= set(sites) and len(chosen["scored"]) == 84
    assert max(CLASSES) < DIT_XL["num_embeds_ada_norm"]
