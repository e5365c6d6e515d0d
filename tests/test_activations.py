"""Reading and adding at sites: what is read, what is added, and that nothing stays behind."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from steering.activations import add, capture
from steering.backbones import Backbone
from steering.errors import RudderError
from tests.test_sampling import assert_clean


def inputs(backbone: Backbone, batch: int = 2, seed: int = 0) -> tuple[Tensor, int, Tensor]:
    x = torch.randn(batch, *backbone.latent_shape, generator=torch.Generator().manual_seed(seed))
    return x, 200, backbone.condition(["a red apple"]).expand(batch, -1, -1)


@pytest.mark.parametrize("which", ["backbone", "sd14"])
def test_every_site_has_the_shape_it_states(which: str, request):
    backbone = request.getfixturevalue(which)
    sites = backbone.sites()
    with capture(backbone, sites, "map") as store:
        backbone.denoise(*inputs(backbone))
    assert set(store) == set(sites)
    for name, site in sites.items():
        assert store[name].shape == (2, site.channels, *site.size), name
        assert site.label in ("composition", "shape", "style", "detail")
    assert {"up_blocks.0.resnets.1", "up_blocks.1.resnets.0.nonlinearity", "mid_block"} <= set(sites)
    assert_clean(backbone)


def test_poolings_agree_with_the_map(backbone):
    stores = {}
    for pooling in ("mean", "max", "map"):
        with capture(backbone, backbone.defaults["sites"], pooling) as stores[pooling]:
            backbone.denoise(*inputs(backbone))
    for site, full in stores["map"].items():
        torch.testing.assert_close(stores["mean"][site], full.mean(dim=(2, 3)))
        assert torch.equal(stores["max"][site], full.amax(dim=(2, 3)))


def test_the_nonlinearity_is_its_last_call(backbone):
    resnet, calls = backbone.network.get_submodule("up_blocks.1.resnets.0"), []
    handle = resnet.nonlinearity.register_forward_hook(lambda m, i, output: calls.append(output.clone()))
    with capture(backbone, ["up_blocks.1.resnets.0.nonlinearity"], "map") as store:
        backbone.denoise(*inputs(backbone))
    handle.remove()
    assert len(calls) > 1
    assert torch.equal(store["up_blocks.1.resnets.0.nonlinearity"], calls[-1])


def test_the_estimate_is_the_picture_that_is_expected(backbone):
    """x_0 = (x_t - sqrt(1 - a) eps) / sqrt(a); moving the estimate by a picture moves x_0 by that picture."""
    x, t, condition = inputs(backbone)
    alpha = float(backbone.scheduler.alphas_cumprod[t])
    factor = -((alpha / (1 - alpha)) ** 0.5)
    with capture(backbone, ["estimate"], "map") as store:
        plain = backbone.denoise(x, t, condition)
    expected = (x - (1 - alpha) ** 0.5 * plain) / alpha**0.5
    torch.testing.assert_close(store["estimate"], factor * expected, rtol=1e-4, atol=1e-4)
    wanted = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(5))
    with add(backbone, {"estimate": factor * wanted}):
        moved = backbone.denoise(x, t, condition)
    torch.testing.assert_close((x - (1 - alpha) ** 0.5 * moved) / alpha**0.5, expected + wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("site", ["up_blocks.0.resnets.0", "mid_block", "up_blocks.1.attentions.1",
                                  "up_blocks.1.resnets.1.nonlinearity", "estimate"])  # fmt: skip
def test_what_is_added_is_what_is_read(backbone, site: str):
    channels = backbone.sites()[site].channels
    vector = torch.linspace(-1, 1, channels)
    with capture(backbone, [site], "map") as before:
        plain = backbone.denoise(*inputs(backbone))
    with add(backbone, {site: vector}), capture(backbone, [site], "map") as after:
        steered = backbone.denoise(*inputs(backbone))
    torch.testing.assert_close(after[site], before[site] + vector[None, :, None, None], rtol=1e-6, atol=1e-5)
    assert not torch.equal(steered, plain)
    assert torch.equal(backbone.denoise(*inputs(backbone)), plain)


@given(batch=st.integers(1, 3), guided=st.booleans(), full=st.booleans(), alone=st.booleans(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_accepted_shape(backbone, batch: int, guided: bool, full: bool, alone: bool, data):
    name = data.draw(st.sampled_from(["up_blocks.2.resnets.1", "up_blocks.1.resnets.0", "mid_block"]))
    halves = data.draw(st.sampled_from(["both", "conditional"])) if guided else "both"
    site, rows = backbone.sites()[name], 1 if alone else batch
    shape = (rows, site.channels, *(site.size if full else (1, 1)))
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(batch))
    x = inputs(backbone, batch * (2 if guided else 1))
    with capture(backbone, [name], "map") as before:
        backbone.denoise(*x)
    with add(backbone, {name: vector}, halves), capture(backbone, [name], "map") as after:
        backbone.denoise(*x)
    due = vector.expand(batch, *shape[1:])
    if guided:
        due = torch.cat([due if halves == "both" else torch.zeros_like(due), due])
    assert torch.equal(after[name], before[name] + due)


def test_zero_changes_nothing(backbone):
    sites = {name: torch.zeros(site.channels) for name, site in backbone.sites().items()}
    with add(backbone, sites):
        touched = backbone.denoise(*inputs(backbone))
    assert torch.equal(touched, backbone.denoise(*inputs(backbone)))


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_released_whatever_happens(backbone, error):
    with (
        pytest.raises(error),
        add(backbone, {"mid_block": torch.ones(16)}),
        capture(backbone, ["mid_block", "up_blocks.0.resnets.0.nonlinearity"]),
    ):
        raise error
    assert_clean(backbone)


def test_bad_tensors_and_names_get_one_sentence(backbone):
    cases = [
        ({"mid_blok": torch.ones(16)}, {}, "did you mean 'mid_block'"),
        ({"mid_block": torch.ones(7)}, {}, "does not fit site mid_block"),
        ({"mid_block": torch.ones(1, 16, 3, 3)}, {}, "does not fit"),
        ({"mid_block": torch.full((16,), float("nan"))}, {}, "not finite"),
        ({"mid_block": torch.ones(16)}, {"halves": "none"}, "guidance halves"),
    ]
    for vectors, options, words in cases:
        with pytest.raises(RudderError, match=words), add(backbone, vectors, **options):
            pass
    with pytest.raises(RudderError, match="pooling"), capture(backbone, ["mid_block"], "median"):
        pass
    with (
        pytest.raises(RudderError, match="cannot be added to a batch of 2"),
        add(backbone, {"mid_block": torch.ones(5, 16)}),
    ):
        backbone.denoise(*inputs(backbone))
    with (
        pytest.raises(RudderError, match="guidance halves"),
        add(backbone, {"mid_block": torch.ones(16)}, "conditional"),
    ):
        backbone.denoise(*inputs(backbone, 3))
    assert_clean(backbone)


def test_another_thread_neither_sees_nor_is_seen(backbone):
    plain, seen = backbone.denoise(*inputs(backbone)), {}

    def other() -> None:
        with capture(backbone, ["mid_block"]) as seen["store"]:
            seen["output"] = backbone.denoise(*inputs(backbone))

    with add(backbone, {"mid_block": torch.full((16,), 5.0)}), capture(backbone, ["mid_block"]) as mine:
        worker = threading.Thread(target=other)
        worker.start()
        worker.join()
        assert mine == {}
        steered = backbone.denoise(*inputs(backbone))
    assert torch.equal(seen["output"], plain)
    assert not torch.equal(steered, plain)
    torch.testing.assert_close(mine["mid_block"], seen["store"]["mid_block"] + 5.0)
    assert_clean(backbone)


def test_threads_that_come_and_go_under_load(backbone):
    """Hooks are set and released in many threads while others are inside forward passes."""
    plain = backbone.denoise(*inputs(backbone))
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(4):
            with add(backbone, {"mid_block": torch.full((16,), float(i))}):
                steered = backbone.denoise(*inputs(backbone))
            if torch.equal(steered, plain) != (i == 0) or not torch.equal(backbone.denoise(*inputs(backbone)), plain):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert_clean(backbone)
