"""The command line: `rudder ...`, the same as `python -m steering ...`."""

from .commands import app, main

__all__ = ["app", "main"]
