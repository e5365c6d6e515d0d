"""`rudder models`: the models that ship with Rudder; `rudder models convert`: NVlabs' EDM files in Rudder's layout."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .console import emit, table
from .options import Json

app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")


class Number(StrEnum):
    float16 = "float16"
    float32 = "float32"


@app.callback()
def models(context: typer.Context, json_: Json = False) -> None:
    """The models that ship with Rudder; `convert` makes a model of a published EDM file."""
    if context.invoked_subcommand is not None:
        return
    from ..backbones.registry import available

    found = available()
    rows = [(info.name, info.family, info.present, info.description) for info in found]
    values = [
        {
            "name": i.name,
            "family": i.family,
            "path": str(i.path),
            "description": i.description,
            "present": i.present,
        }
        for i in found
    ]
    emit(values, json_, table(["name", "family", "weights", "description"], rows))


@app.command(epilog="Example:  rudder models convert edm-cifar10-32x32-uncond-vp.pkl edm-cifar10")
def convert(
    file: Annotated[Path, typer.Argument(help="An EDM network file of NVlabs' (.pkl).")],
    folder: Annotated[Path, typer.Argument(help="The folder to write; it must be new or empty.")],
    dtype: Annotated[Number, typer.Option(help="The weights' number type.")] = Number.float16,
    classes: Annotated[
        str | None, typer.Option(help="The names of its classes, in order, with commas (else they have numbers).")
    ] = None,
    json_: Json = False,
) -> None:
    """Turn an EDM file of NVlabs' into a folder that --model takes. Nothing in the file is executed."""
    import torch

    from ..backbones.nvlabs import convert as converted

    names = [name.strip() for name in classes.split(",")] if classes else []
    config = converted(file, folder, getattr(torch, dtype.value), names)
    told = {"path": str(folder), "dtype": dtype.value, "config": config.told()}
    kind = f"{config.label_dim} classes" if config.label_dim else "unconditional"
    text = f" '{(names or ['0'])[0]}'" if config.label_dim else ""
    made = f"{folder}: {config.architecture}, {config.img_resolution}x{config.img_resolution}, {kind}"
    emit(told, json_, f"{made}\nTry: rudder generate{text} --model {folder}")
