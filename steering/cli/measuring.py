"""The commands that measure: `rudder evaluate` and `rudder calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import RudderError
from .arguments import backbone_for, flat, model_named, slug, unnamed, writing
from .console import emit, ended, progress, table
from .options import Attention, Device, Dtype, Json, Kernels, Model, What

if TYPE_CHECKING:
    from ..backbones.base import Backbone
    from ..calibration import Calibration

EVALUATE = "Example:  rudder evaluate --model tiny-sd --what all --json --out evaluation.json"
SCAN = (
    "[bold]Examples[/]\n\nA folder:  rudder scan pictures/ --out results.jsonl --html report.html --csv table.csv\n\n"
    "Several at once:  rudder scan one.png two.zip more/\n\n"
    "Prompts:  rudder scan prompts.txt   (or a .csv with columns id, prompt, seed, label)"
)
SCORE = "Example:  rudder score picture.png more/ --json"
CALIBRATE = (
    "[bold]Examples[/]\n\n"
    "An embedded model, on its own samples:  rudder calibrate --model tiny-sd\n\n"
    "Your model:  rudder calibrate -m ./my-sd --memorized known.zip --ordinary fresh/ --ordinary more.zip\n\n"
    "From prompts, which are painted and kept:  "
    "rudder calibrate -m CompVis/stable-diffusion-v1-4 --memorized memorized.jsonl --ordinary prompts.txt"
)


def evaluate(
    model: Model = None,
    what: Annotated[
        What,
        typer.Option(help="Prompt-following, steering, detection of memorised pictures, editability, or all."),
    ] = What.all,
    seed: Annotated[int, typer.Option(help="First seed of the pictures.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most this many captions (for a quick look).")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the JSON here.")] = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Measure a model: does it follow its prompts, does steering take, do memorised pictures resist?"""
    from ..checks import whole

    limit = None if limit is None else whole("The limit", limit, 1, 1_000_000)
    model_named(model)
    from .. import evaluation

    backbone, values = backbone_for(model, device, dtype, attention), {}
    measures = {
        "prompts": evaluation.prompts,
        "steering": evaluation.steering,
        "detection": evaluation.detection,
        "editability": evaluation.editability,
    }
    for name, measure in measures.items():
        if what.value in (name, "all"):
            with progress(f"measuring {name}") as report:
                values |= measure(backbone, seed=seed, limit=limit, progress=report)
    if out:
        with writing(out):
            out.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    rows = [(block, *pair) for block, measured in values.items() for pair in flat(measured)]
    emit(values, json_, table(["block", "measure", "value"], rows))


def score(
    images: Annotated[list[Path], typer.Argument(help="Pictures: files, folders or zips.")],
    model: Model = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A calibration file (the one that ships for the model).")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Also at every site and timestep.")] = False,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Is a picture memorised? Its spikiness under a calibration, and how many ordinary pictures it exceeds."""
    from ..images import files_of, open_images

    files = [file for path in images for file in files_of(path)]
    model_named(model)
    _there(calibration)
    backbone = backbone_for(model, device, dtype, attention)
    used = _calibrated(backbone, calibration)
    rows = []
    for path in files:
        for image in open_images(path):
            (told,) = used.verdicts(used.score(backbone, [image]))
            rows.append({"path": str(path), **vars(told)})
            if profile:
                rows[-1]["profile"] = used.profile(backbone, image)
    shown = [(row["path"], row["score"], row["spread"], row["sentence"]) for row in rows]
    value = {"pictures": rows, "threshold": used.threshold, "probe": vars(used.probe), "draws": used.draws}
    text = table(["picture", "spikiness", "+-", "verdict"], shown)
    for row in rows if profile else ():
        heads = ["site", *(f"t={t}" for t in row["profile"]["timesteps"])]
        cells = [[site, *v] for site, v in zip(row["profile"]["sites"], row["profile"]["values"], strict=True)]
        text += f"\n\n{row['path']} (0: median ordinary, 1: median memorised picture)\n" + table(heads, cells)
    emit(value, json_, text)


def scan(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, zips, pictures, .csv or .jsonl of paths or prompts, .txt of prompts, or hf:DATASET."
        ),
    ],
    model: Model = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where results go, a JSON line each.")] = Path("scan.jsonl"),
    html: Annotated[Path | None, typer.Option(help="Also write a report of one page here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the rows here, for spreadsheets.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A calibration file (the one that ships for the model).")
    ] = None,
    batch: Annotated[int, typer.Option(help="Pictures at once.")] = 16,
    workers: Annotated[int, typer.Option(help="Processes, each with the model on a device of its own.")] = 1,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Audit many pictures or prompts for memorisation. Started again with the same --out, it goes on."""
    from ..audit.listing import readable
    from ..checks import whole

    batch, workers = whole("The batch", batch, 1, 1024), whole("The number of workers", workers, 1, 64)
    for source in sources:
        readable(source)
    model_named(model)
    _there(calibration)
    from ..audit.report import write_report
    from ..audit.scan import results
    from ..audit.scan import scan as run
    from ..audit.sheet import write_csv

    backbone = backbone_for(model, device, dtype, attention)
    used = _calibrated(backbone, calibration)
    many = workers > 1
    devices = [f"cuda:{i}" if device == "cuda" else device for i in range(workers)] if many else ()
    with writing(out):
        loading = {"dtype": dtype and dtype.value, "attention": attention.value}
        found = run(
            backbone, used, sources, out, batch=batch, devices=devices, model=model or "tiny-sd", loading=loading
        )
        ended(found, "scanning")
    told = {"rows": 0, "memorized": 0, "no_verdict": 0, "errors": 0}
    for row in results(out):
        told["rows"] += 1
        told["errors"] += "error" in row
        told["memorized"] += bool(row.get("memorized"))
        told["no_verdict"] += "score" in row and row["memorized"] is None
    if html:
        with writing(html):
            write_report(out, html)
    if csv:
        with writing(csv):
            write_csv(out, csv)
    value = {"out": str(out), "html": str(html) if html else None, "csv": str(csv) if csv else None, **told}
    text = f"{out}: {told['rows']} rows, {told['memorized']} memorised, {told['no_verdict']} without a verdict (unlike "
    text += f"anything the calibration knew), {told['errors']} could not be read"
    emit(value, json_, "\n".join([text, *(str(path) for path in (html, csv) if path)]))


def calibrate(
    model: Model = None,
    memorized: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pictures known to be memorised: files, folders or zips; or a .txt, .csv or .jsonl of their prompts, "
            "which are painted; repeat for several."
        ),
    ] = None,
    ordinary: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures known not to be, of the same kinds; repeat for several."),
    ] = None,
    painted: Annotated[
        Path | None,
        typer.Option(help="Where pictures painted from prompts are kept (NAME-calibration-pictures), and found again."),
    ] = None,
    by_heart: Annotated[
        float, typer.Option(help="Recall from which a level of an embedded model's ladder counts as memorised.")
    ] = 0.9,
    draws: Annotated[int, typer.Option(help="Noise draws a picture.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the noise and of the halves.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file (NAME-calibration.json).")] = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Find where in a model memorised pictures are spikiest, on one half of the pictures; report on the other."""
    from ..audit.listing import is_list, readable
    from ..images import files_of

    if bool(memorized) != bool(ordinary):
        raise RudderError("Both groups are needed: give --memorized and --ordinary, or neither for tiny-sd.")
    files, lists = {}, {}
    for group, given in ((True, memorized or ()), (False, ordinary or ())):
        lists[group] = [path for path in given if is_list(path)]
        for path in lists[group]:
            readable(path)
        files[group] = [file for path in given if path not in lists[group] for file in files_of(path)]
    model_named(model)
    from ..audit.samples import samples as of_lists
    from ..calibration import calibrate as run
    from ..calibration import listed
    from ..evaluation.detection import samples

    backbone = backbone_for(model, device, dtype, attention)
    usual = Path(f"{slug(backbone.name)}-calibration.json")
    path, named = out or unnamed(usual), out or usual
    kept = painted or named.with_name(f"{named.stem}-pictures")
    if memorized:
        found = [sample for group in files for sample in listed(files[group], group)]
        for group in lists:
            if lists[group]:
                found += ended(of_lists(backbone, lists[group], group, kept), "painting samples")
    else:
        with progress("painting samples") as report:
            found = samples(backbone, seed=seed, progress=report, by_heart=by_heart)
    made = ended(run(backbone, found, draws=draws, seed=seed), "calibrating")
    with writing(path):
        made.save(path)
    value = {"path": str(path), "probe": vars(made.probe), "threshold": made.threshold, **made.report}
    emit(value, json_, f"{path}\n" + table(["measure", "value"], flat(value)))


def _there(calibration: Path | None) -> None:
    """RudderError unless a calibration that is named lies there."""
    if calibration is not None and not calibration.is_file():
        raise RudderError(f"{calibration} is not there: name a file that `rudder calibrate` wrote.")


def _calibrated(backbone: Backbone, path: Path | None) -> Calibration:
    """The calibration in a file, else the one that ships for the model; RudderError where there is none."""
    from ..calibration import Calibration, shipped

    used = Calibration.load(path, backbone) if path else shipped(backbone)
    if used is None:
        raise RudderError(f"{backbone.name} has no calibration: make one with `rudder calibrate`, then --calibration.")
    return used
