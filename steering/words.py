"""What is said of words that a model was never taught."""

from __future__ import annotations

from collections.abc import Iterable

from .backbones.base import Backbone
from .errors import shorten

LISTED = 6  # words that are named


def untaught(backbone: Backbone, prompts: Iterable[str]) -> str:
    """A gentle sentence about words the model was never taught, and what it makes of them; "" when there are none."""
    unknown = {prompt: backbone.unknown_words(prompt) for prompt in prompts}
    words = list(dict.fromkeys(word for some in unknown.values() for word in some))
    if not words:
        return ""
    listed = ", ".join(f"\u201c{shorten(word, 24)}\u201d" for word in words[:LISTED])
    listed += " and others" if len(words) > LISTED else ""
    left = all(len(set(prompt.lower().split())) > len(some) for prompt, some in unknown.items() if some)
    makes = "it paints what it can from the other words" if left else "with no word that it knows it paints anything"
    return f"{backbone.name} was never taught {listed}: {makes}."
