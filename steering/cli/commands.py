"""The command line: `rudder ...`, the same as `python -m steering ...`.

Exit codes: 0 done, 1 unexpected, 2 bad input (one sentence on stderr, or {"error": ...} on stdout with
--json) or no row that could be scored, 130 interrupted.
torch is imported by the commands that need it, so that --help answers at once.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Remark, RudderError, shorten
from ..threads import settle
from . import grids, measuring
from .arguments import (
    backbone_for,
    beside,
    concepts_asked,
    film,
    inverted,
    masked,
    model_named,
    numbered,
    own_picture,
    request,
    saved,
    settled,
    slug,
    strengths_of,
    terms,
    unnamed,
    warned,
    way_of,
)
from .concept import app as concept_app
from .console import emit, say, watched
from .dae import app as dae_app
from .models import app as models_app
from .options import (
    Address,
    Attention,
    Concept,
    Device,
    Dtype,
    From,
    Guidance,
    Half,
    Inversion,
    Json,
    Kernels,
    Mask,
    Model,
    Negative,
    Out,
    Picture,
    Prompt,
    Seed,
    Sites,
    Steps,
    Window,
)

if TYPE_CHECKING:
    from ..recipe import Recipe

app = typer.Typer(
    help="Steer what a diffusion model paints: learn a concept from pictures, then slide its strength.",
    epilog="Start with:  rudder steer 'a cat on a white background' -c sketch --strip 7 --out strip.png",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(concept_app, name="concept")
app.add_typer(dae_app, name="dae")
app.add_typer(models_app, name="models")
app.command("grid", epilog=grids.EPILOG)(grids.grid)


@app.command(epilog="Example:  rudder generate 'a pencil sketch of a cat' --seed 3 --out cat.png")
def generate(
    prompt: Prompt = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many pictures, at consecutive seeds.")] = 1,
    out: Out = None,
    source: From = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Paint a picture, unsteered: the plain diffusers pipeline, bit for bit."""
    from ..checks import whole
    from ..keeping import kept_as

    count = whole("The number of pictures", count, 1, 1000)
    recipe = request(source, model, prompt, seed, steps, guidance, negative)
    recipe = replace(recipe, concepts=(), sites=None, halves="both", uses=(), mask="", strip=None)
    out = kept_as(out, recipe=recipe) if out else None
    backbone = backbone_for(recipe.model, device, dtype, attention)
    from ..sampling import sample

    pictures, started = [], perf_counter()
    for index in range(count):
        one = replace(recipe, seed=recipe.seed + index)
        result = watched(sample(backbone, one), f"painting seed {one.seed}")
        path = unnamed(Path(f"{slug(one.prompt)}-{one.seed}.png"))
        path = numbered(out, index if count > 1 else None) if out else path
        pictures.append({"path": str(saved(result.images[0], path, one)), "seed": one.seed})
    _painted(pictures, recipe, warned(backbone, recipe), started, json_)


@app.command(
    epilog="[bold]Examples[/]\n\n"
    "One picture:  rudder steer 'a cat on a white background' -c sketch --out cat.png\n\n"
    "A strip up to the recommended strength:  rudder steer 'a house' -c night --strip 7 --out strip.png\n\n"
    "Strengths of your own:  rudder steer 'a house' -c night --strengths -0.5:0.9:8\n\n"
    "Two at once, the second away:  rudder steer 'a house on a sunset background' -c oil -c sunset=-0.5\n\n"
    "Erase one, in the first half:  rudder steer 'a house on a night background' -c night=1,erase,0:0.5\n\n"
    "Your own vector:  rudder steer 'a cat' -c ./mine.safetensors\n\n"
    "Your own picture, changed within a mask:  rudder steer -c sketch --image cat.jpg --mask painted.png\n\n"
    "The same by words, as far:  rudder steer 'a cat' -c sketch --against-words 'a pencil sketch of a cat' -o cat.png"
)
def steer(
    prompt: Prompt = None,
    concept: Concept = None,
    strengths: Annotated[
        str | None,
        typer.Option(
            help="A strip: first:last:count, or a list with commas; each multiplies every concept's strength."
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--strip", help="A strip of so many frames, from 0 to every concept's (recommended) strength."),
    ] = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    negative: Negative = None,
    window: Window = None,
    site: Sites = None,
    halves: Half = None,
    picture: Picture = None,
    invert: Inversion = None,
    mask: Mask = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--against-words",
            help="A whole prompt that asks for the same change: painted beside, in the prompt and as an embedding, as "
            "far from the unsteered picture.",
        ),
    ] = None,
    out: Out = None,
    scale: Annotated[
        int | None, typer.Option(help="How many times a strip's frames are enlarged (2, or as --from has it).")
    ] = None,
    source: From = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Paint a picture, or a strip of them, with concepts added while it is painted.

    Strength 1 is the distance between the concept's pictures and their baseline; a concept without a
    strength takes the one measured to work best (with --strengths: 1). Saved pictures carry their recipe: a PNG
    whole, a .jpg in its EXIF, without vectors of your own.
    """
    from ..checks import whole
    from ..keeping import kept_as, read_vectors
    from ..recipe import SCALE_LIMIT, Strip

    if frames is not None and strengths:
        raise RudderError("--strip and --strengths both say which strengths to paint: give one of them.")
    factors = strengths_of(strengths) if strengths else strengths_of(f"0:1:{frames}") if frames is not None else None
    if words is not None and (frames is not None or strengths):
        raise RudderError("Words are compared with one picture, not with a strip: leave out --strip and --strengths.")
    recipe = request(source, model, prompt, seed, steps, guidance, negative)
    again = recipe.strip if words is None else None
    factors = factors or (again.strengths if again else None)
    scale = (again.scale if again else 2) if scale is None else scale
    scale = whole("The enlargement", scale, 1, SCALE_LIMIT)
    recipe = replace(recipe, strip=Strip(factors, scale) if factors else None)
    given = own_picture(picture) if picture else None
    recipe = replace(recipe, mask=masked(mask, given)) if mask else recipe
    asked = concepts_asked(concept or [], recipe, window, site)
    if not asked:
        raise RudderError(
            "No concept is given: add --concept name=strength (`rudder concept list` shows the names), "
            "or use `rudder generate`."
        )
    carried = read_vectors(source) if source else {}
    meant = terms(asked, carried, model_named(recipe.model).name, recommended=not strengths)
    recipe = settled(recipe, meant, window, site, halves and halves.value, fresh=source is None)
    out = kept_as(out, [term for term in meant if term.own], recipe) if out else None
    backbone = backbone_for(recipe.model, device, dtype, attention)
    from ..against import against
    from ..plan import Steering
    from ..sampling import sample, strip

    vectors = {term.name: term.vector(backbone) for term in meant}
    own = {term.name: vectors[term.name] for term in meant if term.own}
    steering = Steering.from_recipe(recipe, vectors)
    begun = inverted(backbone, given, recipe, way_of(invert, recipe)) if given else None
    recipe = replace(recipe, picture=begun.mark) if begun else recipe
    started = perf_counter()
    if factors is None:
        image = watched(sample(backbone, recipe, steering, picture=begun), "steering").images[0]
    else:
        run = strip(backbone, recipe, steering, factors, picture=begun)
        painted = watched(run, "painting the strip").images
        image = film(painted, factors, scale)
    path = out or unnamed(Path(f"{slug(recipe.prompt)}-{slug(meant[0].name)}-{recipe.seed}.png"))
    pictures: list[dict[str, Any]] = [{"path": str(saved(image, path, recipe, own)), "seed": recipe.seed}]
    if factors is not None:
        pictures[0]["strengths"] = list(factors)
    elif words is not None:
        pictures += beside(against(backbone, recipe, steering, words, steered=image, picture=begun), path)
    _painted(pictures, recipe, warned(backbone, recipe), started, json_)


app.command(epilog=measuring.EVALUATE)(measuring.evaluate)
app.command(epilog=measuring.SCORE)(measuring.score)
app.command(epilog=measuring.SCAN)(measuring.scan)
app.command(epilog=measuring.CALIBRATE)(measuring.calibrate)


@app.command("app", epilog="Example:  rudder app --port 8000")
def page(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Embedded model, folder, single file or hub id; repeat it to offer several."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="The port to serve on (7860).")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A name that the page is served under, if no other is to be answered.")
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(help="A folder in which concepts made on the page are kept, and found again (none: they go)."),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="A file of `rudder calibrate` for one of the models; repeat it for several."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda or auto (auto).")] = None,
    dtype: Dtype = None,
    attention: Annotated[Kernels | None, typer.Option("--attention", help="sdpa or xformers (sdpa).")] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Run the network by torch.compile (RUDDER_COMPILE=1 for every command).")
    ] = False,
    replicas: Annotated[
        str | None, typer.Option(help="The model so many times (1), or auto for one a GPU (needs Ray).")
    ] = None,
    address: Address = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Offer the page's verbs as tools for MCP clients, too.")] = False,
) -> None:
    """Serve the page on this machine, at http://localhost:7860; Ctrl-C ends it. What is not given is taken from the
    environment, as `python app.py` does."""
    from ..checks import whole

    given = {
        "--port": None if port is None else str(whole("The port", port, 1, 65535)), "--host": host,
        "--device": device, "--dtype": dtype, "--attention": attention, "--replicas": replicas, "--address": address,
        "--library": None if library is None else str(library),
    }  # fmt: skip
    options = [part for key, value in given.items() if value is not None for part in (key, str(value))]
    several: dict[str, Sequence[Any] | None] = {"--model": model, "--name": name, "--calibration": calibration}
    options += [part for key, some in several.items() for one in some or () for part in (key, str(one))]
    options += [*(["--mcp"] if mcp else []), *(["--compile"] if compile else [])]
    from ..ui.serve import serve

    serve(options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    settle()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("default", Remark)
        warnings.showwarning = partial(_shown, set())
        _run(arguments)


def _run(arguments: Sequence[str] | None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    try:
        code = app(arguments, prog_name="rudder", standalone_mode=False) or 0
    except (RudderError, typer.TyperException) as error:
        code = _failed(error, as_json)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if as_json:
            emit({"error": f"Unexpected {type(error).__name__}: {shorten(error, 300)}"}, True)
        raise
    if code == 130:
        say("Interrupted.")
    sys.exit(code)


def _shown(said: set[str], message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A Remark as a sentence, said once however many steps make it; other warnings as Python words them."""
    if issubclass(category, Remark):
        if str(message) not in said:
            said.add(str(message))
            say(str(message))
    else:
        say(warnings.formatwarning(message, category, *where[:2]).rstrip())


def _failed(error: Exception, as_json: bool) -> int:
    """Say what is wrong in one sentence; 2."""
    sentence = str(error) if isinstance(error, RudderError) else error.format_message()  # type: ignore[attr-defined]
    if not sentence:  # a group without a command: typer has shown its help
        return 2
    if as_json:
        emit({"error": sentence}, True)
    else:
        usage = "" if isinstance(error, RudderError) else " (`rudder --help` shows how)"
        say(f"rudder: {sentence}{usage}")
    return 2


def _painted(
    pictures: list[dict[str, Any]], recipe: Recipe, words: dict[str, list[str]], started: float, as_json: bool
) -> None:
    """The closing report of generate and steer."""
    value = {
        "images": pictures,
        "recipe": json.loads(recipe.to_json()),
        **words,
        "seconds": round(perf_counter() - started, 3),
    }
    emit(value, as_json, "\n".join(picture["path"] for picture in pictures))
