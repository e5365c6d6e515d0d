"""What every endpoint says of its parameters and of what it returns, once for all verbs."""

from __future__ import annotations

from collections.abc import Iterable

RECIPE = '{"recipe", "remarks"}: what makes it again, and what there is to say about it'
VECTOR = "The vector, a safetensors file that steer, strip and grid take"
ADVICE = '{"name", "advice", "remarks"}: strength, range, window, halves and sites to steer with, and how well it takes'

PARAMETERS = {
    "prompt": 'What to paint, or a class of a model that has classes; "" for nothing in particular.',
    "concepts": 'Up to 16 names, or objects such as {"name": "sketch", "strength": 0.8, "operator": "norm", '
    '"window": [0.2, 0.9]}; without a strength the recommended one; left out: those of the vector files. Operators: '
    "add, norm (keeps the length), erase (projects out).",
    "vectors": "Vector files of concepts that do not ship, as learn returns them.",
    "strengths": 'Up to 64 numbers, or a range such as "-1..1 [9]"; each multiplies the strengths of all concepts.',
    "down": 'What changes from row to row; "" for a single row.',
    "rows": 'Up to 32 of them: seeds "1..4" or "3, 7"; prompts, one a line; concepts "sketch, neon"; windows '
    '"0.2:0.6, 0.5:0.95"; groups of sites "shape, style".',
    "seed": "Whole number from 0; the same call with the same seed gives the same answer.",
    "steps": "Denoising steps, at most 100; left out: the model's own.",
    "guidance": "Guidance scale from 0 to 20; left out: the model's own.",
    "negative_prompt": "What to keep away from.",
    "window": "Start and end of the steered steps as fractions, such as [0.5, 0.95]; left out: the concept's own.",
    "sites": "Where in the network to steer; left out: where the concept was found to take best.",
    "halves": "Which half of guidance is steered; left out: the concept's own.",
    "picture": "One picture file.",
    "invert": "How that picture is inverted.",
    "mask": "A square picture, white (or painted on a see-through one) where changes may be.",
    "words": 'A whole prompt that shows what the steered picture should, such as "a pencil sketch of a cat".',
    "first": "A concept that ships, or the name of one among the vector files.",
    "second": "Another.",
    "way": "plus: both at once, minus: the first and the opposite of the second, without: the first, less what lies "
    "along the second.",
    "name": "What to call the concept, up to 40 characters.",
    "pictures": "Pictures that show the concept, or zips of such.",
    "baseline": "The same without it, or zips of such; left out: the vector holds all that the pictures share.",
    "caption": "A prompt that fits every picture.",
    "prompts": 'Prompts that show the concept, such as "a portrait of an old man" and "a portrait of an old woman".',
    "against": 'The same without it, such as "a portrait of a young man" and "a portrait of a young woman".',
    "even": 'Traits to keep even on both sides, alternatives with commas between them, such as ["man, woman"].',
    "count": "Pictures to paint a side, at most 100; prompts take turns, and both sides get the same seeds.",
    "files": "Pictures, zips of pictures, or lists of prompts (.txt, .csv, .tsv, .jsonl, .json), which may have seeds.",
}  # fmt: skip

RETURNS = {
    "generate": ("The picture, a PNG that carries its recipe", RECIPE),
    "steer": ("The picture, a PNG that carries its recipe and the vectors that came as files", RECIPE),
    "strip": (
        "The row as one picture, strengths above, distances from the unsteered picture below",
        "Every frame, a PNG that carries its recipe",
        '{"strengths", "distances", "recipe", "remarks"}, distances as RMS of 0 to 1',
    ),
    "grid": (
        "The grid as one labelled picture",
        "A zip of every cell, with grid.json, which remakes them",
        '{"across", "down", "axis", "distances", "spikiness", "recipe", "remarks"}, the tables by row',
    ),
    "words": (
        "The steered picture, a PNG that carries its recipe",
        "The words' prompt taking over in the course of the same run",
        "The same run with the prompt's embedding moved towards the words'",
        '{"prompt", "embedding", "recipe", "remarks"}, for each way how much of it, its distance from the unsteered '
        "picture as RMS of 0 to 1, the steered one's, and whether they match",
    ),
    "learn": (VECTOR, ADVICE),
    "combine": (VECTOR, ADVICE),
    "learn_from_prompts": (VECTOR, "The first pictures of both sides as one picture, the concept's above", ADVICE),
    "score": (
        '{"score", "spread", "verdict", "sentence", "threshold", "how"}, the verdict memorised, ordinary or none, by '
        "the calibration's own seed",
    ),
    "scan": (
        "The results, a JSON object a line",
        "The same as a table (.csv)",
        "The report (.html)",
        '{"summary"}: how many rows there are, and how many of them are memorised',
    ),
    "models": (
        'A list of {"name", "address"}, addresses relative to this page\'s; this page\'s own model comes first, with '
        "its family, resolution, steps, guidance, sites and example prompts",
    ),
    "concepts": (
        'A list of {"name", "title", "description", "learned", "advice"}; one that is not learned for this model yet '
        "is learned by the first call that names it",
    ),
}


def docstring(name: str, said: str | None, parameters: Iterable[str]) -> str:
    """An endpoint's docstring as Gradio reads it: what the verb's own says, its parameters, what it returns."""
    arguments = [f"    {one}: {PARAMETERS[one]}" for one in parameters]
    returns = [f"    {one}." for one in RETURNS[name]]
    return "\n".join([*(said or "").splitlines(), "", "Args:", *arguments, "", "Returns:", *returns])
