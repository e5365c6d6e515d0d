"""The commands that measure: `rudder evaluate` and `rudder calibrate`."""

from __future__ import annotations

import re
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RudderError, shorten
from ..files import as_json, check_target, replacing
from .arguments import backbone_for, flat, model_named, slug, unnamed
from .console import emit, ended, progress, say, table
from .crews import crew
from .options import Address, Attention, Device, Dtype, Engine, Engines, Json, Kernels, Model, What, Workers

if TYPE_CHECKING:
    from ..audit.listing import Row
    from ..backbones.base import Backbone
    from ..calibration import Calibration

EVALUATE = "Example:  rudder evaluate --model tiny-sd --what all --json --out evaluation.json"
SCAN = (
    "[bold]Examples[/]\n\nA folder:  rudder scan pictures/ --out results.jsonl --html report.html --csv table.csv\n\n"
    "Several at once:  rudder scan one.png two.zip more/\n\n"
    "Prompts:  rudder scan prompts.txt   (or a .csv with columns id, prompt, seed, label)\n\n"
    "On every GPU that a cluster has:  rudder scan s3://bucket/list.csv --engine ray --address auto --device cuda\n\n"
    "What failed, once more:  rudder scan pictures/ --out results.jsonl --retry-errors\n\n"
    "A results file belongs to one list, model and calibration; another list needs another --out."
)
EVALUATION = re.compile(rb'\{\s*"(prompts|steering|detection|editability|words|groups|frechet)')
SAID = 5  # rows that could not be read and are named on stderr
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
        typer.Option(
            help="Prompt-following, steering, detection of memorised pictures, editability, words against vectors, "
            "whether groups of sites deserve their names, or all that the model can be asked."
        ),
    ] = What.all,
    seed: Annotated[int, typer.Option(help="First seed of the pictures.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most this many captions (for a quick look).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Also write the JSON here, each part once it is measured; others of these weights stay."
        ),
    ] = None,
    engine: Engine = Engines.processes,
    workers: Workers = None,
    address: Address = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Measure a model: does it follow its prompts, does steering take, do memorised pictures resist?"""
    from ..checks import whole

    limit = None if limit is None else whole("The limit", limit, 1, 1_000_000)
    if out:
        check_target(out, "evaluation", EVALUATION)
    model_named(model)
    from .. import evaluation

    backbone = backbone_for(model, device, dtype, attention)
    from ..engines import using
    from ..evaluation import record

    earlier = record.kept(out, backbone.fingerprint) if out else {"made": {}}
    values: dict[str, Any] = {"made": {}}
    with (
        crew(engine, workers, address, model, device, dtype and dtype.value, attention.value) as painters,
        using(painters),
    ):
        for name in record.parts_of(backbone) if what is What.all else (what.value,):
            began = perf_counter()
            with progress(f"measuring {name}") as report:
                found = getattr(evaluation, name)(backbone, seed=seed, limit=limit, progress=report)
            made = record.how(backbone.fingerprint, seed, limit, perf_counter() - began)
            values = record.joined(values, {**found, "made": {name: made}})
            if out:
                with replacing(out, "evaluation", EVALUATION) as part:
                    part.write_text(as_json(record.joined(earlier, values), indent=2) + "\n", encoding="utf-8")
    rows = [(part, *pair) for part, measured in values.items() for pair in flat(measured)]
    emit(values, json_, table(["part", "measure", "value"], rows))


def score(
    images: Annotated[list[str], typer.Argument(help="Pictures: files, folders, zips, or lists of paths.")],
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
    from ..audit.listing import open_row, readable
    from ..audit.listing import rows as listed

    readable(images)
    model_named(model)
    _there(calibration)
    backbone = backbone_for(model, device, dtype, attention)
    used = _calibrated(backbone, calibration)
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    notes: list[str] = []
    for given in listed(images, notes=notes):
        try:
            picture = open_row(_pictured(given, "rudder scan"))
            (told,) = used.verdicts(used.score(backbone, [picture]))
        except RudderError as error:
            failed.append({"path": _place(given), "error": str(error)})
            continue
        rows.append({"path": _place(given), **vars(told)})
        if profile:
            rows[-1]["profile"] = used.profile(backbone, picture)
    _warn(notes, [row["error"] for row in failed], len(failed))
    shown = [(row["path"], row["score"], row["spread"], row["sentence"]) for row in rows]
    value = {"pictures": rows, "errors": failed, "threshold": used.threshold, "probe": vars(used.probe)}
    value["draws"] = used.draws
    text = table(["picture", "spikiness", "+-", "verdict"], shown)
    for row in rows if profile else ():
        heads = ["site", *(f"t={t}" for t in row["profile"]["timesteps"])]
        cells = [[site, *v] for site, v in zip(row["profile"]["sites"], row["profile"]["values"], strict=True)]
        text += f"\n\n{row['path']} (0: median ordinary, 1: median memorised picture)\n" + table(heads, cells)
    emit(value, json_, text)
    _none_scored(len(rows), len(failed))


def scan(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, zips, pictures; .csv, .tsv, .jsonl, .json or .txt of paths or prompts; addresses of such in "
            "a store (s3://, gs://, az://, hf://); or hf:DATASET."
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
    engine: Engine = Engines.processes,
    workers: Workers = None,
    address: Address = None,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="First try again what failed before.")] = False,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Audit many pictures or prompts for memorisation. Started again with the same --out, it goes on.

    A list is read as spreadsheets, data set hubs and training tools write it: any delimiter, old encodings, columns
    such as prompt, caption, text, path or file_name in any case. A row that cannot be read says why in the results; if
    no row could be scored, the exit code is 2.
    """
    from ..audit.listing import readable
    from ..checks import whole

    batch = whole("The batch", batch, 1, 1024)
    readable(sources)
    model_named(model)
    _there(calibration)
    from ..audit import report, results, sheet
    from ..audit.scan import scan as run

    _apart([out, html, csv], sources)
    for path, kind, ours in (
        (out, results.KIND, results.OURS),
        (html, report.KIND, report.OURS),
        (csv, sheet.KIND, sheet.OURS),
    ):
        if path:
            check_target(path, kind, ours)
    number = dtype and dtype.value
    with crew(engine, workers, address, model, device, number, attention.value) as scorers:
        backbone = backbone_for(model, "cpu" if scorers else device, dtype, attention)
        used = _calibrated(backbone, calibration)
        ended(run(backbone, used, sources, out, batch=batch, engine=scorers, retry=retry_errors), "scanning")
    told, wrong = {"rows": 0, "memorized": 0, "no_verdict": 0, "errors": 0}, list[str]()
    for row in results.results(out):
        told["rows"] += 1
        told["errors"] += "error" in row
        told["memorized"] += bool(row.get("memorized"))
        told["no_verdict"] += "score" in row and row["memorized"] is None
        if "error" in row and len(wrong) < SAID:
            wrong.append(row["error"])
    notes = results.header(out).get("notes", [])
    _warn(notes, wrong, told["errors"])
    if html:
        report.write_report(out, html)
    if csv:
        sheet.write_csv(out, csv)
    value = {"out": str(out), "html": str(html) if html else None, "csv": str(csv) if csv else None, **told}
    value["notes"] = notes
    text = f"{out}: {told['rows']} rows, {told['memorized']} memorised, {told['no_verdict']} without a verdict (unlike "
    text += f"anything the calibration knew), {told['errors']} could not be read"
    emit(value, json_, "\n".join([text, *(str(path) for path in (html, csv) if path)]))
    _none_scored(told["rows"] - told["errors"], told["errors"])


def calibrate(
    model: Model = None,
    memorized: Annotated[
        list[str] | None,
        typer.Option(
            help="What is known to be memorised: pictures, folders, zips, lists, whose prompts are painted; repeat for "
            "several."
        ),
    ] = None,
    ordinary: Annotated[
        list[str] | None,
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
    seed: Annotated[int, typer.Option(help="Seed of the noise and of the two parts.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file (NAME-calibration.json).")] = None,
    engine: Engine = Engines.processes,
    workers: Workers = None,
    address: Address = None,
    device: Device = "cpu",
    dtype: Dtype = None,
    attention: Attention = Kernels.sdpa,
    json_: Json = False,
) -> None:
    """Find where in a model memorised pictures are spikiest, on one part of the pictures; report on the other."""
    from ..audit.listing import readable

    if bool(memorized) != bool(ordinary):
        raise RudderError("Both groups are needed: give --memorized and --ordinary, or neither for tiny-sd.")
    for some in (memorized, ordinary):
        readable(some or [])
    model_named(model)
    from ..audit.samples import samples as of_lists
    from ..calibration import OURS
    from ..calibration import calibrate as run
    from ..evaluation.detection import samples

    backbone = backbone_for(model, device, dtype, attention)
    usual = Path(f"{slug(backbone.name)}-calibration.json")
    path, named = out or unnamed(usual), out or usual
    check_target(path, "calibration", OURS)
    kept = painted or named.with_name(f"{named.stem}-pictures")
    from ..engines import using

    with (
        crew(engine, workers, address, model, device, dtype and dtype.value, attention.value) as painters,
        using(painters),
    ):
        if memorized and ordinary:
            found = []
            for some, flag in ((memorized, True), (ordinary, False)):
                notes, wrong = list[str](), list[str]()
                made = ended(of_lists(backbone, some, flag, kept, notes=notes, wrong=wrong), "painting samples")
                _warn(notes, wrong[:SAID], len(wrong))
                if not made:
                    raise RudderError(f"None of the {len(wrong):,} pictures given could be read: {wrong[0]}")
                found += made
        else:
            with progress("painting samples") as report:
                found = samples(backbone, seed=seed, progress=report, by_heart=by_heart)
    made = ended(run(backbone, found, draws=draws, seed=seed), "calibrating")
    made.save(path)
    value = {"path": str(path), "probe": vars(made.probe), "threshold": made.threshold, **made.report}
    emit(value, json_, f"{path}\n" + table(["measure", "value"], list(flat(value))))


def _pictured(row: Row, verb: str) -> Row:
    """The row; RudderError for a prompt, which shows nothing yet."""
    if not row.error and row.path is None and row.data is None:
        raise RudderError(f"{shorten(row.id)} is a prompt, no picture: paint and score prompts with `{verb}`.")
    return row


def _place(row: Row) -> str:
    """Where a row's picture lies: its path, that within a zip behind it."""
    return "/".join(part for part in (row.path, row.member) if part) or row.id


def _warn(notes: list[str], wrong: list[str], count: int) -> None:
    """Say what was left out or guessed, and the first of what could not be read."""
    for line in (*notes, *wrong[:SAID]):
        say(line)
    if count > SAID:
        say(f"and {count - SAID:,} more that could not be read")


def _none_scored(scored: int, failed: int) -> None:
    """Exit code 2 where there is no score at all, said on stderr: results are told all the same."""
    if not scored:
        say(f"rudder: None of the {failed:,} rows could be scored: the results say why, row by row.")
        raise typer.Exit(2)


def _apart(outputs: list[Path | None], sources: list[str]) -> None:
    """RudderError where two files of a run would be one."""
    places: dict[Path, str] = {Path(source).resolve(): "the list" for source in sources if not _elsewhere(source)}
    for path, name in zip(outputs, ("--out", "--html", "--csv"), strict=True):
        if path is None:
            continue
        if path.resolve() in places:
            raise RudderError(f"{name} and {places[path.resolve()]} are one file, {shorten(path)}: name another one.")
        places[path.resolve()] = name


def _elsewhere(source: str) -> bool:
    from ..audit.listing import from_hub
    from ..audit.remote import is_remote

    return from_hub(source) or is_remote(source)


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
