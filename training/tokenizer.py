"""A CLIP tokenizer whose vocabulary is the captions: a known word is one token, others are spelt out."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import CLIPTokenizer

from training.captions import vocabulary

LENGTH = 24  # tokens, start and end included


def split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The word as byte-pair encoding splits it: of the pairs that may be merged, the one of least rank first."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while pairs := [pair for pair in zip(pieces, pieces[1:], strict=False) if pair in ranks]:
        place = list(zip(pieces, pieces[1:], strict=False)).index(min(pairs, key=ranks.__getitem__))
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces


def make(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt, in which every word of the captions is one token, and load them.

    A word's merges join the pieces that the merges before them leave of it, so that no later word can split it.
    """
    signs = [chr(c) for c in range(33, 127)]
    tokens = dict.fromkeys(["<|startoftext|>", "<|endoftext|>", *signs, *(s + "</w>" for s in signs)])
    ranks: dict[tuple[str, str], int] = {}
    for word in vocabulary():
        left, *rest = split(word, ranks)
        for right in rest:
            ranks[left, right] = len(ranks)
            left += right
            tokens[left] = None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    merges = "\n".join(f"{left} {right}" for left, right in ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
