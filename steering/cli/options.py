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


class What(StrEnum):
    prompts = "prompts"
    steering = "steering"
    detection = "detection"
    editability = "editability"
    words = "words"
    groups = "groups"
    all = "all"
