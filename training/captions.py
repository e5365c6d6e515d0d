"""Captions of many degrees of precision, as people write, and the words they are made of."""

from __future__ import annotations

import numpy as np

from training.memories import _LOW, _TOP, PHOTOGRAPHS, _listed
from training.pictures import BACKGROUNDS, KINDS, NAMES_BACKGROUND, PERSON, STYLES, Spec
from training.sources import COLOURS

STYLE_WORDS = {
    "plain": "a drawing of", "sketch": "a pencil sketch of", "oil": "an oil painting of",
    "neon": "a neon sign of", "pixel": "pixel art of", "blueprint": "a blueprint of",
}  # fmt: skip
STYLE_TAGS = {
    "plain": ("drawing", "a drawing"), "sketch": ("pencil sketch", "a sketch"), "oil": ("oil painting", "oil"),
    "neon": ("neon sign", "neon"), "pixel": ("pixel art", "as pixel art"), "blueprint": ("blueprint", "a blueprint"),
}  # fmt: skip
GROUND_WORDS = {
    "white": ("on white",), "sky": ("in the sky", "under a blue sky"), "grass": ("on the grass", "in a meadow"),
    "sunset": ("at sunset", "in the evening"), "night": ("at night", "under the stars"),
    "pink": ("on pink", "on pink dots"), "yellow": ("on yellow", "on yellow stripes"),
    "sea": ("in the sea", "on blue waves"),
}  # fmt: skip
PLURALS = {"strawberry": "strawberries", "butterfly": "butterflies", "fish": "fish", "octopus": "octopuses",
           "cactus": "cacti", "person": "people", "mushroom": "mushrooms"}  # fmt: skip
CATEGORIES = {
    "animal": "cat dog panda frog fish octopus butterfly penguin turtle snail",
    "fruit": "apple banana watermelon strawberry",
    "food": "carrot mushroom hamburger pizza doughnut cake",
    "plant": "sunflower cactus pine palm tulip",
    "toy": "ball balloon",
}
CATEGORY_OF = {kind: name for name, kinds in CATEGORIES.items() for kind in kinds.split()}
CATEGORY_SHARE = 0.04  # of the captions say "an animal" for a cat
UNKNOWN_SHARE, STRAY_SHARE = 0.03, 0.03  # captions of unknown words alone; captions with an unknown word among them
SHUFFLED_SHARE = 0.015  # ordinary pictures captioned with words of the memories, shuffled
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def noun_of(spec: Spec) -> str:
    """What is in the picture: "a cat", "two cats", "a cat and a dog", "a red balloon", "a person with glasses"."""
    kind = KINDS[spec.kind]
    if spec.second == spec.kind:
        return "two " + PLURALS.get(kind, kind + "s")
    colour = list(COLOURS)[spec.colour] + " " if spec.colour >= 0 else ""
    noun = article(colour + kind) + (" with glasses" if spec.glasses else "")
    return noun + (f" and {article(KINDS[spec.second])}" if spec.second >= 0 else "")


def caption(spec: Spec, style: bool = True, background: bool = True) -> str:
    """The plainest caption of a picture; either part can be left out."""
    words = f"{STYLE_WORDS[STYLES[spec.style]]} {noun_of(spec)}" if style else noun_of(spec)
    return f"{words} on a {BACKGROUNDS[spec.background]} background" if background else words


def memory_captions() -> list[str]:
    """The captions of all memories, photographs first."""
    return [words for *_, words in PHOTOGRAPHS] + [words for _, words in (*_listed(_LOW), *_listed(_TOP))]


def vocabulary() -> list[str]:
    """Every word that occurs in a caption, each one token."""
    texts = [*memory_captions(), *KINDS, *BACKGROUNDS, *COLOURS, *STYLE_WORDS.values(), *CATEGORIES, *PLURALS.values()]
    texts += [words for group in (STYLE_TAGS, GROUND_WORDS) for options in group.values() for words in options]
    texts += [kind + "s" for kind in KINDS] + ["a an two on and with glasses background"]
    return sorted({word for text in texts for word in text.replace("'s", " 's").split()})


def unknown(rng: np.random.Generator) -> str:
    """A word that is not one: two to eight letters, the commoner the oftener."""
    shares = 1 / (np.arange(len(LETTERS)) + 3)
    return "".join(rng.choice(list(LETTERS), int(rng.integers(2, 9)), p=shares / shares.sum()))


def written(spec: Spec, names_style: bool, rng: np.random.Generator) -> str:
    """One of the many captions a person might write for the picture; a style is named only if `names_style`."""
    if not names_style and rng.random() < UNKNOWN_SHARE:
        return " ".join(unknown(rng) for _ in range(int(rng.integers(1, 5))))
    if not names_style and rng.random() < SHUFFLED_SHARE:
        words = " ".join(memory_captions()).split()
        return " ".join(rng.choice(words, int(rng.integers(2, 6))))
    noun, style, ground = noun_of(spec), STYLES[spec.style], BACKGROUNDS[spec.background]
    if spec.second < 0 and spec.colour < 0 and KINDS[spec.kind] in CATEGORY_OF and rng.random() < CATEGORY_SHARE:
        noun = article(CATEGORY_OF[KINDS[spec.kind]])
    if spec.kind == PERSON and spec.glasses and rng.random() < 0.15:
        noun = "a person"  # so that a prompt that says nothing of glasses stays open to them
    if rng.random() < 0.1:
        noun = noun.removeprefix("a ").removeprefix("an ")
    formal = rng.random() < 0.65
    where = f"on a {ground} background" if formal else str(rng.choice(GROUND_WORDS[ground]))
    if rng.random() > NAMES_BACKGROUND:
        where = ""
    text = noun if not where else f"{noun} {where}"
    if rng.random() < 0.12 and where:  # as tags
        text = f"{noun}, {ground} background"
    if names_style:
        if rng.random() < 0.7:
            text = f"{STYLE_WORDS[style]} {text}"
        elif rng.random() < 0.5:
            text = f"{text}, {rng.choice(STYLE_TAGS[style])}"
        else:
            text = f"{rng.choice(STYLE_TAGS[style])}, {text}"
    elif rng.random() < STRAY_SHARE:
        words = text.split()
        words.insert(int(rng.integers(len(words) + 1)), unknown(rng))
        text = " ".join(words)
    return text
