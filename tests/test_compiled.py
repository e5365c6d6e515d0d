"""Compiled blocks: the same predictions, hooks that are heard everywhere, and no new graph for a moving slider."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters

from steering.activations import add, attention_over_tokens, capture
from steering.backbones import Backbone, load
from steering.backbones.compiled import SWITCH, blocks, compile_blocks, wanted
from tests.tiny import make_tiny_dit, make_tiny_sd
from tests.tiny_edm import make_tiny_edm

FAMILIES = {
    "stable_diffusion": (make_tiny_sd, "a cat"),
    "dit": (make_tiny_dit, "goldfish"),
    "edm": (make_tiny_edm, "dog"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One model twice, as it is and compiled (dynamo's graphs run as they are: what matters is what they hold)."""
    make, text = FAMILIES[request.param]
    folder = make(tmp_path_factory.mktemp("compiled") / "model")
    plain, quick = load(folder, dtype="float32"), load(folder, dtype="float32")
    compile_blocks(quick, backend="eager")
    return SimpleNamespace(plain=plain, quick=quick, text=text)


def predicted(backbone: Backbone, text: str, batch: int = 2) -> torch.Tensor:
    latents = torch.randn((batch, *backbone.latent_shape), generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        return backbone.denoise(latents, 500, backbone.condition([text] * batch))


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_predictions_stay_and_every_site_is_heard(pair: SimpleNamespace):
    still = predicted(pair.plain, pair.text)
    before = graphs()
    assert torch.allclose(predicted(pair.quick, pair.text), still, atol=1e-5) and graphs() > before
    for name, site in pair.plain.sites().items():
        vector = {name: torch.full((site.channels,), 0.5)}
        with add(pair.plain, vector):
            wanted_one = predicted(pair.plain, pair.text)
        with add(pair.quick, vector):
            found = predicted(pair.quick, pair.text)
        assert torch.allclose(found, wanted_one, atol=1e-5), name
        with capture(pair.plain, [name], "map") as one, capture(pair.quick, [name], "map") as two:
            predicted(pair.plain, pair.text), predicted(pair.quick, pair.text)
        assert torch.allclose(one[name], two[name], atol=1e-4), name
    assert torch.allclose(predicted(pair.quick, pair.text), still, atol=1e-5)


def test_a_moving_slider_compiles_nothing(pair: SimpleNamespace):
    for batch in (2, 3):  # the second size makes the graph for any
        predicted(pair.quick, pair.text, batch)
    made, seen = graphs(), set()
    for batch, strength in ((2, 0.25), (5, -1.0), (7, 3.0)):
        for name, site in pair.quick.sites().items():
            with add(pair.quick, {name: strength * torch.randn(site.channels)}):
                seen.add(float(predicted(pair.quick, pair.text, batch).sum()))
    assert graphs() == made
    assert len(seen) > 3 * len(pair.quick.sites()) // 2, "the vectors were added"


def test_attention_is_read_inside_a_compiled_block(pair: SimpleNamespace):
    if pair.plain.family != "stable_diffusion":
        pytest.skip("without prompts")
    with attention_over_tokens(pair.plain) as one, attention_over_tokens(pair.quick) as two:
        predicted(pair.plain, pair.text), predicted(pair.quick, pair.text)
    assert len(one) == len(two) > 0 and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, two, strict=True))


def test_blocks_are_the_outermost_and_hold_every_site(pair: SimpleNamespace):
    paths = blocks(pair.plain.sites().values())
    assert not any(one != other and one.startswith(f"{other}.") for one in paths for other in paths)
    inner = [site.path for site in pair.plain.sites().values() if site.part != "estimate"]
    assert all(any(f"{path}.".startswith(f"{one}.") for one in paths) for path in inner)


def test_the_switch(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv(SWITCH, raising=False)
    assert [wanted(None), wanted(True), wanted(False)] == [False, True, False]
    for value, on in (("1", True), ("yes", True), ("0", False), ("", False)):
        monkeypatch.setenv(SWITCH, value)
        assert wanted(None) is on and wanted(False) is False
    monkeypatch.setenv(SWITCH, "1")
    asked: list[Backbone] = []
    monkeypatch.setattr("steering.backbones.compiled.compile_blocks", asked.append)
    assert [load(make_tiny_sd(tmp_path / "model"))] == asked
