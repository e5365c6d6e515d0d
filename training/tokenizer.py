"""A CLIP tokenizer whose vocabulary is the captions': a known word is one token, others are spelt out."""

from __future__ import annotations

import json
import re
from pathlib import Path

from transformers import CLIPTokenizer

from training.pictures import BACKGROUNDS, DRAWING_CAPTIONS, KINDS, PHOTOGRAPH_CAPTIONS, STYLE_WORDS

LENGTH = 24  # tokens, start and end included


def words() -> list[str]:
    """Every word that occurs in a caption, sorted."""
    text = " ".join((*KINDS, *BACKGROUNDS, *STYLE_WORDS.values(), *DRAWING_CAPTIONS, *PHOTOGRAPH_CAPTIONS))
    return sorted({*re.findall(r"[a-z]+", text), "a", "an", "on", "with", "glasses", "background", "'s"})


def make(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt, in which each word is merged letter by letter, and load them."""
    signs = [chr(c) for c in range(33, 127)]
    vocabulary = dict.fromkeys(["<|startoftext|>", "<|endoftext|>", *signs, *(s + "</w>" for s in signs)])
    merges = {}
    for word in words():
        left = word[0]
        for place, letter in enumerate(word[1:], start=1):
            right = letter + ("</w>" if place == len(word) - 1 else "")
            merges[f"{left} {right}"] = None
            left += right
            vocabulary[left] = None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
