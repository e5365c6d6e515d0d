"""The command line: `rudder ...`, the same as `python -m steering ...`.

Exit codes: 0 done, 1 unexpected, 2 bad input (one sentence on stderr, or {"error": ...} on stdout with
--json), 130 interrupted.
torch is imported by the commands that need it, so that --help answers at once.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Remark, RudderError, shorten
from ..threads import settle
from . import measuring
from .arguments import (
    backbone_for,
    concepts_asked,
    film,
    known_prompt,
    model_named,
    numbered,
    request,
    saved,
    settled,
    slug,
    strengths_of,
    terms,
    unnamed,
    vector_path,
    warned,
    writing,
)
from .console import emit, ended, say, table, watched
from .dae import app as dae_app
from .options import (
    Device,
    From,
    Guidance,
    Halves,
    Json,
    Model,
    Negative,
    Out,
    Pooling,
    Prompt,
    Seed,
    Steps,
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
concept_app = typer.Typer(
    help="Learn, list and look into concept vectors.", no_args_is_help=True, rich_markup_mode="rich"
)
app.add_typer(concept_app, name="concept")
app.add_typer(dae_app, name="dae")


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
    json_: Json = False,
) -> None:
    """Paint a picture, unsteered: the plain diffusers pipeline, bit for bit."""
    from ..checks import whole
    from ..keeping import kept_as

    count = whole("The number of pictures", count, 1, 1000)
    recipe = request(source, model, prompt, seed, steps, guidance, negative)
    recipe = replace(recipe, concepts=(), sites=None, halves="both", strip=None)
    out = kept_as(out) if out else None
    backbone = backbone_for(recipe.model, device)
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
    "Strengths of your own:  rudder steer 'a house' -c night --strengths -0.5:1.5:9\n\n"
    "Two at once, the second away:  rudder steer 'a house on a sunset background' -c oil -c sunset=-0.5\n\n"
    "Your own vector:  rudder steer 'a cat' -c ./mine.safetensors"
)
def steer(
    prompt: Prompt = None,
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", "-c", help="name=strength or file.safetensors=strength; repeat for several."),
    ] = None,
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
    window: Annotated[
        str | None,
        typer.Option(help="start:end as fractions of the schedule (the concept's own, else 0.5:0.95)."),
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Only this site of the vectors; repeat for several.")
    ] = None,
    halves: Annotated[
        Halves | None, typer.Option(help="Which half of guidance to steer (the concept's own, else both).")
    ] = None,
    out: Out = None,
    scale: Annotated[
        int | None, typer.Option(help="How many times a strip's frames are enlarged (2, or as --from has it).")
    ] = None,
    source: From = None,
    device: Device = "cpu",
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
    recipe = request(source, model, prompt, seed, steps, guidance, negative)
    again = recipe.strip
    factors = factors or (again.strengths if again else None)
    scale = whole("The enlargement", scale or (again.scale if again else 2), 1, SCALE_LIMIT)
    recipe = replace(recipe, strip=Strip(factors, scale) if factors else None)
    asked = concepts_asked(concept or [], recipe)
    if not asked:
        raise RudderError(
            "No concept is given: add --concept name=strength (`rudder concept list` shows the names), "
            "or use `rudder generate`."
        )
    carried = read_vectors(source) if source else {}
    meant = terms(asked, carried, model_named(recipe.model).name, recommended=not strengths)
    recipe = settled(recipe, meant, window, site, halves and halves.value, fresh=source is None)
    out = kept_as(out, [term for term in meant if term.own]) if out else None
    backbone = backbone_for(recipe.model, device)
    from ..sampling import Steering, sample, strip

    vectors = {term.name: term.vector(backbone) for term in meant}
    own = {term.name: vectors[term.name] for term in meant if term.own}
    steering = Steering.from_recipe(recipe, vectors)
    started = perf_counter()
    if factors is None:
        image = watched(sample(backbone, recipe, steering), "steering").images[0]
    else:
        frames = watched(strip(backbone, recipe, steering, factors), "painting the strip").images
        image = film(frames, factors, scale)
    path = out or unnamed(Path(f"{slug(recipe.prompt)}-{slug(meant[0].name)}-{recipe.seed}.png"))
    pictures: list[dict[str, Any]] = [{"path": str(saved(image, path, recipe, own)), "seed": recipe.seed}]
    if factors is not None:
        pictures[0]["strengths"] = list(factors)
    _painted(pictures, recipe, warned(backbone, recipe), started, json_)


@concept_app.command(
    "learn",
    epilog="Example:  rudder concept learn watercolour wet/*.png --baseline dry/*.png --baseline more.zip",
)
def concept_learn(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures that show it: files, folders or zips.")],
    baseline: Annotated[
        list[Path] | None,
        typer.Option("--baseline", "-b", help="Pictures without it: file, folder or zip; repeat for several."),
    ] = None,
    prompt: Annotated[str, typer.Option(help="A prompt the pictures are read under.")] = "",
    baseline_prompt: Annotated[str, typer.Option(help="The same for the baseline.")] = "",
    site: Annotated[
        list[str] | None,
        typer.Option("--site", help="Where to learn it; repeat for several (searched; without a search: the model's)."),
    ] = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(help="Mean or max over the plane, or the full map (searched; without a search: mean)."),
    ] = None,
    timestep: Annotated[
        list[int] | None, typer.Option(help="Noise the pictures to this timestep; repeat (25, 100, ... 925).")
    ] = None,
    draws: Annotated[int, typer.Option(help="Noise draws a picture and timestep.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    search: Annotated[
        bool, typer.Option(help="Afterwards search how it takes best, by painting with it: about a minute.")
    ] = True,
    model: Model = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The vector file (NAME.safetensors).")] = None,
    device: Device = "cpu",
    json_: Json = False,
) -> None:
    """Learn a concept vector from pictures, best against a baseline that differs in nothing else."""
    from ..concepts import TIMESTEPS, learn
    from ..images import gathered
    from .describing import described, example

    model_named(model)
    shown, without = gathered(images), gathered(baseline)
    backbone = backbone_for(model, device)
    options = {"prompt": prompt, "baseline_prompt": baseline_prompt, "sites": site or None,
               "timesteps": timestep or TIMESTEPS, "draws": draws, "seed": seed}  # fmt: skip
    if search:
        from ..tuning import tune

        run = tune(backbone, name, shown, without, pooling=pooling and pooling.value, **options)
    else:
        run = learn(backbone, name, shown, without, pooling=pooling.value if pooling else "mean", **options)
    vector = ended(run, f"learning {shorten(name, 30)}")
    path = out or unnamed(Path(f"{slug(name)}.safetensors"))
    with writing(path):
        vector.save(path)
    made = vector.provenance
    text = f"{path}: {name}, from {made['images']} pictures" + (f" less {made['baseline_images']}" if without else "")
    why = f"\n{vector.recommended['why']}" if search else ""
    tried = example(path, known_prompt(model, baseline_prompt))
    emit({"path": str(path), **described(vector)}, json_, f"{text}{why}\nTry: {tried}")


@concept_app.command("show", epilog="Example:  rudder concept show sketch")
def concept_show(
    name: Annotated[str, typer.Argument(help="A shipped concept's name or a vector file.")],
    model: Model = None,
    json_: Json = False,
) -> None:
    """What a vector was made from, where it acts, how long it is, and the strength measured to work."""
    from ..concepts import ConceptVector
    from .describing import described, in_words

    vector = ConceptVector.load(vector_path(name, model or "tiny-sd"))
    made_for = model or str(vector.provenance.get("model", "tiny-sd"))
    emit(described(vector), json_, in_words(vector, name, known_prompt(made_for)))


@concept_app.command("list")
def concept_list(model: Model = None, json_: Json = False) -> None:
    """The concepts that ship with Rudder, and whether a model has a vector for them."""
    from ..concepts import library

    found = library(model or "tiny-sd").values()
    keys = ("name", "description", "examples", "baseline", "vector")
    values = [(c.name, c.description, len(c.examples), len(c.baseline), c.vector_path is not None) for c in found]
    emit([dict(zip(keys, row, strict=True)) for row in values], json_, table(keys, values))


app.command(epilog=measuring.EVALUATE)(measuring.evaluate)
app.command(epilog=measuring.SCORE)(measuring.score)
app.command(epilog=measuring.SCAN)(measuring.scan)
app.command(epilog=measuring.CALIBRATE)(measuring.calibrate)


@app.command()
def models(json_: Json = False) -> None:
    """The models that ship with Rudder."""
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


@app.command("app", epilog="Example:  rudder app --port 8000")
def page(
    model: Model = None,
    port: Annotated[int, typer.Option("--port", "-p", help="The port to serve on.")] = 7860,
    host: Annotated[str | None, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Serve the page on this machine, at http://localhost:7860; Ctrl-C ends it."""
    from ..checks import whole

    options = ["--port", str(whole("The port", port, 1, 65535)), "--device", device]
    options += [*(("--model", model) if model else ()), *(("--host", host) if host else ())]
    from ..ui.serve import serve

    serve(options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    settle()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("default", Remark)
        warnings.showwarning = _shown
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


def _shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A Remark as a sentence; other warnings as Python words them."""
    if issubclass(category, Remark):
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
