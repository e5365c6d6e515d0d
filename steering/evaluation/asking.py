"""How a model is asked for what the judge can name: in the words of a caption, or by the name of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..backbones.base import Backbone
from ..errors import RudderError
from .common import caption


@dataclass(frozen=True)
class Asking:
    """What can be asked of a model. `grammar`: the judge's kinds, styles and backgrounds. `words`: whether style and
    background can be named; a class says no more than what is shown. `kinds`: those that the model paints."""

    grammar: dict
    words: bool
    kinds: tuple[str, ...]

    def text(self, kind: str, background: str | None = None, style: str | None = None) -> str:
        """What is asked of the model for a picture of that kind; of a class, the kind is all that can be said."""
        return caption(self.grammar, kind, background, style) if self.words else kind

    def spread(self, seed: Sequence[int], count: int, styles: bool = True) -> list[str]:
        """`count` texts in random order that training may have seen, over kinds and, in words, backgrounds and styles
        (without `styles`: none is named)."""
        names = self.grammar["styles"] if styles and self.words else [None]
        grounds = self.grammar["backgrounds"] if self.words else [None]
        kinds = self.kinds
        held = {tuple(triple) for triple in self.grammar["held_out"]} if self.words else set()
        triples = [t for t in product(*(range(len(some)) for some in (kinds, names, grounds))) if t not in held]
        order = np.random.default_rng(seed).permutation(len(triples))
        order = order[:count] if self.words else np.resize(order, count)  # a class again is another picture
        return [self.text(kinds[k], grounds[g], names[s]) for k, s, g in (triples[i] for i in order)]

    def cases(self, rng: np.random.Generator, count: int) -> list[tuple[str, str | None]]:
        """`count` different pairs of kind and background in random order; kinds, again and again, where no background
        can be named."""
        pairs = list(product(self.kinds, self.grammar["backgrounds"] if self.words else [None]))
        order = rng.permutation(len(pairs))
        return [pairs[i] for i in (order[:count] if self.words else np.resize(order, count))]


def asking(backbone: Backbone, grammar: dict) -> Asking:
    """How this model is asked. RudderError for a model that is told nothing at all, or none of the judge's kinds."""
    if backbone.classes is None:
        return Asking(grammar, True, tuple(grammar["kinds"]))
    kinds = tuple(kind for kind in grammar["kinds"] if backbone.classes.has(kind))
    if not kinds:
        what = "classes that the judge knows" if backbone.classes.count else "words or classes"
        raise RudderError(f"{backbone.name} paints without {what}: nothing can be asked of it, nor measured.")
    return Asking(grammar, False, kinds)
