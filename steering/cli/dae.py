"""`rudder dae ...`: train the toy, verify what the paper proves about it, remake its snapshots and figures."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from ..errors import RudderError
from ..files import replacing
from .console import emit, say, table
from .options import Json

WEIGHTS, NOTHING = re.compile(rb""), re.compile(rb"(?!)")  # numbers alone: known by the name of their file

app = typer.Typer(
    help="The toy laboratory: a two-layer ReLU denoising autoencoder that stores pictures, or learns what they share.",
    epilog="Start with:  rudder dae train --n 5   and then   rudder dae train --n 10000",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command(epilog="Example:  rudder dae train --data faces --n 30 --sigma 0.5 --out mine.bin")
def train(
    data: Annotated[str, typer.Option("--data", help="fashion, faces, mixture or mixture-wide.")] = "fashion",
    n: Annotated[int, typer.Option("--n", "-n", help="Training pictures; few are stored, many are shared.")] = 5,
    p: Annotated[int, typer.Option("--p", "-p", help="Hidden units.")] = 100,
    sigma: Annotated[float, typer.Option(help="The noise's standard deviation (pixels lie in [-1, 1]).")] = 0.2,
    lam: Annotated[float, typer.Option("--lambda", help="Weight decay, as in the paper's loss.")] = 0.0025,
    duplicates: Annotated[
        int,
        typer.Option(help="How often the first two pictures appear; over 1, only pictures separated from them stay."),
    ] = 1,
    tied: Annotated[bool, typer.Option(help="One matrix for encoder and decoder.")] = True,
    optimizer: Annotated[
        str, typer.Option(help="rmsprop, adam, or auto: rmsprop when n <= p or pictures repeat.")
    ] = "auto",
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of the first weights and the noise.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the weights (raw float16).")] = None,
    json_: Json = False,
) -> None:
    """Train one toy and tell what it stored, how spiky it is, and how well it denoises."""
    from ..dae.data import load, training_set
    from ..dae.measures import class_representations, numbers, regime
    from ..dae.snapshots import write
    from ..dae.theory import theorem_condition
    from ..dae.training import Settings
    from ..dae.training import train as run

    settings = Settings(data, n, p, sigma, lam, duplicates, tied, optimizer, steps, 0.0, seed)
    pictures = load(data)
    x = training_set(pictures, n, duplicates)
    warning = theorem_condition(x.numpy(), settings)
    if warning:
        say(f"Note: {warning}")
    started = perf_counter()
    for step in run(x, settings):
        dae = step.dae
    dae = dae.ordered()
    told = numbers(dae, pictures, settings)
    if out is not None:
        with replacing(out, "toy's weights (.bin)", WEIGHTS if out.suffix == ".bin" else NOTHING) as part:
            write(dae, class_representations(dae, pictures), part)
    value = {"regime": regime(told, settings), **told, "seconds": round(perf_counter() - started, 2)}
    emit({**value, "warning": warning or None}, json_, _lines(value))


@app.command(epilog="Example:  rudder dae verify --json")
def verify(
    train_: Annotated[bool, typer.Option("--train", help="Train every weight anew first (some minutes).")] = False,
    json_: Json = False,
) -> None:
    """Hold the trained weights against the paper's closed forms; each number's meaning is printed beside it."""
    from ..dae.verify import HOW
    from ..dae.verify import verify as run

    told = run(train_)
    rows = [[group, key, f"{v:.4g}", HOW.get(key, "")] for group, line in told.items() for key, v in line.items()]
    emit(told, json_, table(["statement", "number", "value", "how"], rows))


@app.command(epilog="Example:  rudder dae snapshots fashion-n5 fashion-n10000")
def snapshots(
    names: Annotated[list[str] | None, typer.Argument(help="States to make; all of them when none is named.")] = None,
) -> None:
    """Train the shipped states anew into assets/dae/states and assets/dae/index.json."""
    from ..dae.snapshots import catalogue, make, title
    from ..errors import unknown

    known = {title(settings): settings for settings in catalogue()}
    for name in names or ():
        if name not in known:
            raise unknown("state of the toy", name, known)
    for name in make([known[name] for name in names] if names else None):
        say(name)


@app.command("list", epilog="Example:  rudder dae list --json")
def list_(json_: Json = False) -> None:
    """The states that ship with Rudder and the regime each is in."""
    from ..files import home, read_json

    found = read_json(home() / "assets" / "dae" / "index.json")["states"]
    values = [{"name": s["name"], "regime": s["regime"], **s["numbers"]} for s in found]
    rows = [[v[key] for key in ("name", "regime", "top1_train", "psnr_train", "psnr_test")] for v in values]
    emit(values, json_, table(["state", "regime", "top unit's share", "PSNR train", "PSNR test"], rows))


@app.command(epilog="Example:  rudder dae phase --json")
def phase(json_: Json = False) -> None:
    """Measure and predict when a sub-population is memorised, over n_k/p_k and separability (minutes)."""
    from ..dae.phase import diagram, save

    cells = []
    for cell in diagram():
        cells.append(cell)
        say(f"alpha {cell.alpha:g}, n_k/p_k {cell.ratio:.2f}: {cell.measured:.2f}, predicted {cell.predicted:.2f}")
    told = save(cells)
    rows = [[row["alpha"], row["measured"], row["predicted"], row["relative_error"]] for row in told["onsets"]]
    emit(told, json_, table(["alpha", "onset measured", "predicted", "relative error"], rows))


@app.command(epilog="Example:  rudder dae sample --json")
def sample(
    train_: Annotated[bool, typer.Option("--train", help="Train all six models anew first (minutes).")] = False,
    json_: Json = False,
) -> None:
    """Draw 200 samples of each multi-noise model and count copies of training pictures against novel ones."""
    from tempfile import TemporaryDirectory

    from ..dae.multinoise import experiment

    with TemporaryDirectory() as place:
        told = experiment(Path(place) if train_ else None)
    keys = ("copies", "samples", "cosine_median", "relative_distance_median", "length_over_pictures")
    models = told["models"] | {"fresh photographs": told["test_pictures"]}
    rows = [[name, *(f"{line[key]:g}" for key in keys)] for name, line in models.items()]
    emit(told, json_, table(["model", *(key.replace("_", " ") for key in keys)], rows))


@app.command(epilog="Example:  rudder dae depth --json")
def depth(
    train_: Annotated[bool, typer.Option("--train", help="Train all networks anew first (minutes).")] = False,
    json_: Json = False,
) -> None:
    """Tell how spiky each layer of networks of depth 2 to 4 is, with fixed noise and with a level for every sample."""
    from ..dae.deep import SIGMA, experiment, recorded, save

    found = []
    for line in experiment(train_):
        found.append(line)
        if train_:
            say(f"{line['kind']}, depth {line['depth']}, {line['noise']} noise, seed {line['seed']}")
    told = save(found) if train_ else recorded()
    rows = [
        [line["kind"], part, line["depth"], line["noise"], line["seed"], k + 1, h["std_over_mean"], h["top_share"]]
        for line in found
        for part in ("stored", "shared")
        for k, h in enumerate(line.get(part, {}).get(str(SIGMA), {"layers": []})["layers"])
    ]
    heads = ["set", "pictures", "depth", "noise", "seed", "layer", "std / mean", "top unit's share"]
    emit(told, json_, table(heads, rows))


@app.command(epilog="Example:  rudder dae figures")
def figures() -> None:
    """Draw every figure of the laboratory into assets/dae/figures and the numbers into assets/dae/verify.json."""
    try:
        from ..dae import figures as first
        from ..dae import figures_more as more
    except ImportError as error:
        raise RudderError(f"Figures need matplotlib ({error.name}): pip install -r requirements-dev.txt.") from error
    for path in chain(first.draw(), more.draw()):
        say(str(path))


def _lines(value: dict[str, Any]) -> str:
    keys = (
        "regime",
        "stored",
        "std_train",
        "top1_train",
        "psnr_noisy_train",
        "psnr_train",
        "psnr_test",
        "loss",
        "seconds",
    )
    return "\n".join(f"{key.replace('_', ' '):<20} {value[key]}" for key in keys)
