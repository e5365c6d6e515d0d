"""One small interface over every loaded diffusion model."""

from .base import Backbone, Schedule, Site
from .registry import ModelInfo, available, load

__all__ = ["Backbone", "ModelInfo", "Schedule", "Site", "available", "load"]
