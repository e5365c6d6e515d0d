"""Shared fixtures: one random model a session, one learned vector, and the plain pipeline to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from steering.backbones import Backbone, load
from steering.concepts import ConceptVector, learn
from tests.served import Served, serving
from tests.tiny import SD14, make_tiny_sd, pictures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: playwright leaves a running event loop behind, in which no `asyncio.run` begins."""
    items.sort(key=lambda item: "browser" in item.path.parts)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sd(tmp_path_factory.mktemp("models") / "tiny-random")


@pytest.fixture(scope="session")
def backbone(tiny_folder: Path) -> Backbone:
    return load(tiny_folder)


@pytest.fixture(scope="session")
def sd14_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_sd(tmp_path_factory.mktemp("models") / "narrow-sd14", SD14, dtype=torch.float32)


@pytest.fixture(scope="session")
def sd14(sd14_folder: Path) -> Backbone:
    return load(sd14_folder)


@pytest.fixture(scope="session")
def vector(backbone: Backbone) -> ConceptVector:
    """Red pictures minus others, at three timesteps."""
    images, others = pictures(3, seed=1, tint=(90, 0, 0)), pictures(2, seed=2)
    return list(learn(backbone, "red", images, others, prompt="a red apple", timesteps=(50, 300, 800)))[-1]


def pipeline(folder: Path) -> StableDiffusionPipeline:
    """diffusers' own pipeline over the same files, DDIM, float32."""
    pipe = StableDiffusionPipeline.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        low_cpu_mem_usage=False,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def plain(tiny_folder: Path) -> StableDiffusionPipeline:
    return pipeline(tiny_folder)


@pytest.fixture(scope="session")
def plain_sd14(sd14_folder: Path) -> StableDiffusionPipeline:
    return pipeline(sd14_folder)


@pytest.fixture(scope="session")
def served(tiny_folder: Path, vector: ConceptVector) -> Iterator[Served]:
    """The page for programs, one for all tests of calls."""
    with serving(tiny_folder, vector) as page:
        yield page


@pytest.fixture(scope="session")
def ray_session():
    """One small Ray for all tests that need it; they are skipped where it is not installed."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-dev.txt")
    from steering.clusters import connected

    ray = connected(cpus=4)
    yield ray
    ray.shutdown()
