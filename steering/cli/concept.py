"""`rudder concept`: learn vectors, from pictures or from prompts, list and look into them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RudderError, shorten
from .arguments import backbone_for, known_prompt, model_named, slug, unnamed, vector_path
from .console import emit, ended, table
from .options import Attention, Device, Dtype, Json, Kernels, Model, Pooling

app = typer.Typer(help="Learn, list and look into concept vectors.", no_args_is_help=True, rich_markup_mode="rich")


@app.command(
    "learn",
    epilog="[bold]Examples[/]\n\n"
    "Pictures:  rudder concept learn watercolour wet/*.png --baseline dry/*.png --baseline more.zip\n\n"
    "Prompts:  rudder concept learn old --prompts 'a photo of an old person' --against 'a photo of a young person'",
)
def concept_learn(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures that show it: files, folders or zips; or use --prompts.")
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option("--baseline", "-b", help="Pictures without it: file, folder or zip; repeat for several."),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompts", help="In place of pictures: paint them from this prompt; repeat for several, in turn."
        ),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", help="The same for the baseline, painted at the same seeds.")
    ] = None,
    even: Annotated[
        list[str] | None,
        typer.Option(
            "--even",
            help="With --prompts: alternatives that both sides get equally often, so that they do not leak in: "
            "'man, woman'; repeat for several.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="With --prompts: how many pictures of each.")] = 50,
    references: Annotated[
        Path | None,
        typer.Option(help="With --prompts: where the pictures are kept (NAME-references, beside the vector)."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A prompt the pictures are read under (none; with --prompts: that one).")
    ] = None,
    baseline_prompt: Annotated[str | None, typer.Option(help="The same for the baseline.")] = None,
    site: Annotated[
        list[str] | None,
        typer.Option("--site", help="Where to learn it; repeat for several (searched; without a search: the model's)."),
    ] = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(help="Mean or max over the plane, or the full map (searched; without a search: mean)."),
    ] = None,
    timestep: Annotated[
        list[int] | None,
        typer.Option(help="Noise the pictures to this timestep; repeat (the preset's, else 25, 100, ... 925)."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Noise draws a picture and timestep.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the noise, and the first of the pictures painted.")] = 0,
    search: Annotated[
        bool, typer.Option(help="Afterwards search how it takes best, by painting with it: about a minute.")
    ] = True,
    model: Model = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The vector file (NAME.safetensors).")] = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Learn a concept vector from pictures, best against a baseline that differs in nothing else.

    Pictures are given, or painted by the model itself from two prompts that differ in the concept alone.
    """
    from ..concepts import learn
    from ..images import OnDisk, gathered
    from ..quality import assess
    from ..references import evened, paint_references, provenance, rows_of
    from .describing import described, example

    if bool(images) == bool(prompts) or ((against or even) and not prompts) or (baseline and prompts):
        raise RudderError(
            "A concept is learned from pictures, with --baseline, or from --prompts, with --against: give one or other."
        )
    usual = Path(f"{slug(name)}.safetensors")
    path, named = out or unnamed(usual), out or usual
    asked = [[text for one in some or () for text in evened(one, even or ())] for some in (prompts, against)]
    rows = [rows_of(some, count, seed) if some else [] for some in asked]
    model_named(model)
    shown, without = gathered(images or None), gathered(baseline)
    backbone = backbone_for(model, device, dtype, attention)
    if prompts:
        kept = references or named.with_name(f"{named.stem}-references")
        both = ended(paint_references(backbone, rows[0] + rows[1], kept), "painting references")
        shown, without = OnDisk(both.paths[:count]), OnDisk(both.paths[count:])
    options: dict[str, Any] = {
        "prompt": _read_under(prompt, prompts),
        "baseline_prompt": _read_under(baseline_prompt, against),
        "sites": site or None,
        "timesteps": timestep or None,
        "draws": draws,
        "seed": seed,
    }
    if search:
        from ..tuning import tune

        run = tune(backbone, name, shown, without, pooling=pooling and pooling.value, **options)
    else:
        run = learn(backbone, name, shown, without, pooling=pooling.value if pooling else "mean", **options)
    vector = ended(run, f"learning {shorten(name, 30)}")
    if not search:
        vector = ended(assess(backbone, vector, shown, without, seed=seed), "measuring how good it is")
    if prompts:
        told = [provenance(some, backbone) if some else None for some in rows]
        vector = vector.replace(
            provenance={**vector.provenance, "references": dict(zip(("concept", "baseline"), told, strict=True))}
        )
    vector.save(path)
    made = vector.provenance
    text = f"{path}: {name}, from {made['images']} pictures" + (f" less {made['baseline_images']}" if without else "")
    why = f"\n{vector.recommended['why']}" if search else ""
    tried = example(path, known_prompt(model, options["baseline_prompt"]))
    emit({"path": str(path), **described(vector)}, json_, f"{text}{why}\nTry: {tried}")


@app.command("combine", epilog="Example:  rudder concept combine dusk night sunset=0.5 --without neon")
def concept_combine(
    name: Annotated[str, typer.Argument(help="What to call the result.")],
    terms: Annotated[
        list[str], typer.Argument(help="Concepts or vector files, each times a number: night, sunset=0.5, sea=-1.")
    ],
    without: Annotated[
        list[str] | None, typer.Option(help="Take away what lies along this one; repeat for several.")
    ] = None,
    model: Model = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The vector file (NAME.safetensors).")] = None,
    json_: Json = False,
) -> None:
    """Add concepts as they work alone, each times a number, and take away what lies along others.

    Strength 1 of the result is the sum of each one's recommended strength times its number.
    """
    from ..arithmetic import combined, times
    from ..concepts import ConceptVector
    from ..recipe import Recipe
    from .arguments import concepts_asked
    from .describing import described

    read = lambda one: ConceptVector.load(vector_path(one, model or "tiny-sd"))  # noqa: E731
    parts = [
        vector if one.strength is None else times(vector, one.strength)
        for one in concepts_asked(terms, Recipe())
        for vector in [read(one.name)]
    ]
    made = parts[0]
    for part in parts[1:]:
        made = combined(made, part, "plus")
    for one in without or ():
        made = combined(made, read(one), "without")
    made = made.replace(name=name)
    path = out or unnamed(Path(f"{slug(name)}.safetensors"))
    made.save(path)
    emit({"path": str(path), **described(made)}, json_, f"{path}: {made.name}, of {len(parts)} concepts")


@app.command("show", epilog="Example:  rudder concept show sketch --measure")
def concept_show(
    name: Annotated[str, typer.Argument(help="A shipped concept's name or a vector file.")],
    model: Model = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure anew how good it is: on --images, else on a shipped concept's sets."),
    ] = False,
    images: Annotated[list[Path] | None, typer.Option(help="With --measure: pictures that show it.")] = None,
    baseline: Annotated[list[Path] | None, typer.Option("--baseline", "-b", help="And without it.")] = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    json_: Json = False,
) -> None:
    """What a vector was made from, where it acts, how long it is, whether it is any good, and the strength to use."""
    from ..concepts import ConceptVector, library
    from ..images import gathered
    from ..quality import assess, resembled
    from .describing import described, in_words, judged

    vector = ConceptVector.load(vector_path(name, model or "tiny-sd"))
    made_for = model or str(vector.provenance.get("model", "tiny-sd"))
    shipped = library(made_for)
    if measure:
        own = shipped.get(name)
        if not images and own is None:
            raise RudderError(f"{shorten(name, 40)} does not ship: give the pictures to measure it on with --images.")
        sets: tuple[Sequence[Path] | None, ...] = (images, baseline)
        if own is not None and not images:
            sets = (own.examples, own.baseline)
        shown, without = (gathered(list(some) if some else None) for some in sets)
        backbone = backbone_for(made_for, device, dtype)
        vector.check(backbone)
        vector = ended(assess(backbone, vector, shown, without), "measuring how good it is")
    others = {
        info.title: ConceptVector.load(info.vector_path)
        for info in shipped.values()
        if info.vector_path and info.name != name
    }
    alike = resembled(vector, others)
    value = {**described(vector), **judged(vector, alike)}
    emit(value, json_, in_words(vector, name, known_prompt(made_for), alike))


@app.command("list")
def concept_list(model: Model = None, json_: Json = False) -> None:
    """The concepts that ship with Rudder, and whether a model has a vector for them."""
    from ..concepts import library

    found = library(model or "tiny-sd").values()
    keys = ("name", "description", "examples", "baseline", "vector")
    values = [(c.name, c.description, len(c.examples), len(c.baseline), c.vector_path is not None) for c in found]
    emit([dict(zip(keys, row, strict=True)) for row in values], json_, table(keys, values))


def _read_under(prompt: str | None, painted: list[str] | None) -> str:
    """The prompt that pictures are read under: the one given, else the one that they were painted from."""
    return prompt if prompt is not None else painted[0] if painted and len(painted) == 1 else ""
