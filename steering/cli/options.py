"""The options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Number(StrEnum):
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Kernels(StrEnum):
    sdpa = "sdpa"
    xformers = "xformers"


Prompt = Annotated[str | None, typer.Argument(help="What to paint; leave it out for no prompt at all.")]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Embedded model, diffusers folder, single file or hub id (tiny-sd)."),
]
Seed = Annotated[int | None, typer.Option("--seed", "-s", help="Seed of the noise (0).")]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps (the model's own).")]
Guidance = Annotated[float | None, typer.Option("--guidance", "-g", help="Guidance scale (the model's own).")]
Negative = Annotated[str | None, typer.Option("--negative", help="What to keep away from.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Where to save, as .png or .jpg; by default a name from prompt and seed, here."),
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="A picture that Rudder made: its recipe is used, options given here override it."),
]
FromGrid = Annotated[
    Path | None,
    typer.Option(
        "--from", help="A grid that Rudder made, its grid.json, zip or sheet: painted again but for what is given here."
    ),
]
Concept = Annotated[
    list[str] | None,
    typer.Option(
        "--concept",
        "-c",
        help="name=strength or file.safetensors=strength, then ,norm or ,erase and ,start:end; repeat.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option("--window", help="start:end as fractions of the schedule (the concept's own, else 0.5:0.95)."),
]
Sites = Annotated[list[str] | None, typer.Option("--site", help="Only this site of the vectors; repeat for several.")]
Picture = Annotated[
    Path | None, typer.Option("--image", help="Begin with a picture of yours, inverted, in place of the seed.")
]
Mask = Annotated[
    Path | None, typer.Option("--mask", help="Change the picture within the white, or painted, part of this one.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")]
Dtype = Annotated[
    Number | None,
    typer.Option("--dtype", help="Number type of the weights (float32 on a CPU, float16 on CUDA)."),
]
Attention = Annotated[
    Kernels, typer.Option("--attention", help="Attention by torch itself (sdpa) or by xformers, where installed.")
]
Workers = Annotated[
    int | None, typer.Option(help="How many, each with the model on a device of its own (1; of Ray on CUDA: all GPUs).")
]
Address = Annotated[
    str | None, typer.Option(help="Ray's cluster, as host:port or auto; without it Ray is started on this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines; errors as {'error': ...}.")]


class Engines(StrEnum):
    processes = "processes"
    ray = "ray"


Engine = Annotated[
    Engines, typer.Option("--engine", help="Who works: processes of this machine, or Ray (docs/many-machines.md).")
]


class Pooling(StrEnum):
    mean = "mean"
    max = "max"
    map = "map"


class Halves(StrEnum):
    both = "both"
    conditional = "conditional"
    opposite = "opposite"


Half = Annotated[
    Halves | None, typer.Option("--halves", help="Which half of guidance to steer (the concept's own, else both).")
]


class Down(StrEnum):
    seed = "seed"
    prompt = "prompt"
    concept = "concept"
    window = "window"
    sites = "sites"
    model = "model"


class Invert(StrEnum):
    ddim = "ddim"
    edit_friendly = "edit_friendly"


Inversion = Annotated[
    Invert | None, typer.Option("--invert", help="How it is inverted (edit_friendly, or as --from has it).")
]


class What(StrEnum):
    prompts = "prompts"
    steering = "steering"
    detection = "detection"
    editability = "editability"
    words = "words"
    groups = "groups"
    all = "all"
