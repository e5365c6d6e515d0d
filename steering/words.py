"""What is said of a prompt and a seed on entry: words never taught, words not read, numbers that others cannot keep."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from .backbones.base import Backbone
from .errors import shorten
from .recipe import SEED_KEPT

LISTED = 6  # words that are named


def untaught(backbone: Backbone, prompts: Iterable[str]) -> str:
    """A gentle sentence about words the model was never taught, and what it makes of them; "" when there are none."""
    unknown = {prompt: backbone.unknown_words(prompt) for prompt in prompts}
    words = list(dict.fromkeys(word for some in unknown.values() for word in some))
    if not words:
        return ""
    listed = _listed(words)
    left = all(len(set(prompt.lower().split())) > len(some) for prompt, some in unknown.items() if some)
    makes = "it paints what it can from the other words" if left else "with no word that it knows it paints anything"
    return f"{backbone.name} was never taught {listed}: {makes}."


def unread(backbone: Backbone, prompt: str) -> list[str]:
    """The words at the end of a prompt, in order, that lie wholly or in part beyond what the model's tokenizer takes;
    [] for a model without one."""
    tokenizer = getattr(backbone, "tokenizer", None)
    if tokenizer is None or not prompt.strip():
        return []
    with getattr(backbone, "_text_lock", None) or nullcontext():  # a fast tokenizer must not be entered twice
        room = _room(tokenizer)
        if _tokens(tokenizer, prompt) <= room:
            return []
        words, used = prompt.split(), 0
        for place, word in enumerate(words):
            used += _tokens(tokenizer, word)
            if used > room:
                return words[place:]
    return []


def cut_short(backbone: Backbone, prompts: Iterable[str]) -> str:
    """A sentence about words that the model does not read because a prompt is too long; "" when it reads them all."""
    words = list(dict.fromkeys(word for prompt in prompts for word in unread(backbone, prompt)))
    if not words:
        return ""
    room = _room(backbone.tokenizer)  # type: ignore[attr-defined]
    return f"{backbone.name} reads the first {room} tokens of a prompt, and so not {_listed(words)}: make it shorter."


def heard(backbone: Backbone, prompts: Iterable[str], negatives: Iterable[str] = ()) -> list[str]:
    """Sentences about words that were never taught, of `prompts`, or are not read, of `negatives` too; [] for none."""
    prompts = list(prompts)
    return [said for said in (untaught(backbone, prompts), cut_short(backbone, [*prompts, *negatives])) if said]


def large_seeds(seeds: Iterable[int]) -> str:
    """A sentence about seeds that browsers, spreadsheets and most JSON would round; "" when there are none."""
    large = max(seeds, default=0)
    if large <= SEED_KEPT:
        return ""
    return (
        f"The seed {large} is over {SEED_KEPT:,}, the largest whole number that a browser keeps: the page cannot paint "
        "this again, the command line can."
    )


def _room(tokenizer: Any) -> int:
    """Tokens of a prompt that are read, beside those that mark its start and end."""
    return int(tokenizer.model_max_length) - tokenizer.num_special_tokens_to_add()


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)


def _listed(words: list[str]) -> str:
    listed = ", ".join(f"\u201c{shorten(word, 24)}\u201d" for word in words[:LISTED])
    return listed + (" and others" if len(words) > LISTED else "")
