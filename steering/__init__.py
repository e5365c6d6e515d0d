"""Rudder: representation steering of diffusion models (Zhang et al., ICLR 2026, arXiv 2512.20963)."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "RudderError": "errors", "Cancelled": "errors",
    "load": "backbones.registry", "available": "backbones.registry", "ModelInfo": "backbones.registry",
    "Backbone": "backbones.base", "Site": "backbones.base",
    "capture": "activations", "add": "activations",
    "ConceptVector": "vectors", "ConceptInfo": "concepts", "Progress": "concepts", "learn": "concepts",
    "library": "concepts", "tune": "tuning",
    "spikiness": "scoring", "Probe": "scoring", "Spikiness": "scoring",
    "Calibration": "calibration", "Sample": "calibration", "Verdict": "calibration", "calibrate": "calibration",
    "Response": "editability", "response": "editability",
    "Recipe": "recipe", "Window": "recipe", "Use": "recipe",
    "write_png": "png", "read_png": "png", "read_png_vectors": "png", "Strip": "recipe",
    "write_picture": "keeping", "read_recipe": "keeping", "read_vectors": "keeping",
    "Steering": "plan", "Term": "plan", "Step": "sampling", "Result": "sampling", "Prefix": "sampling",
    "sample": "sampling", "strip": "sampling", "finish": "sampling",
    "Inverted": "inversion", "invert": "inversion", "invert_all": "inversion", "mask_text": "masks",
    "Limits": "images", "open_images": "images",
}  # fmt: skip

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `import steering` does not wait for torch."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
