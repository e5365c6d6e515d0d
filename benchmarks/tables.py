"""`make tables`: rewrite the marked tables of docs/measured.md, README and model card from committed measurements.

A block lies between `<!-- table: NAME -->` and `<!-- end -->`; nothing else is touched, and no number is
typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from . import evaluated

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/measured.md", "models/tiny-sd/README.md")
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MISSING = "*Not measured yet in this checkout.*"

SPEED = (
    ("steered_over_plain", "steered run against the plain diffusers pipeline", "<= 1.03", "{:.3f} x"),
    ("released_over_full", "moved slider against a full run", "<= 0.55", "{:.3f} x"),
    ("strip9_over_nine_runs", "strip of nine against nine full runs", "<= 0.35", "{:.3f} x"),
    ("both_columns_over_two_releases", "both columns moved as one batch against one by one", "", "{:.3f} x"),
    ("full_run_seconds", "full run", "2 s", "{:.2f} s"),
    ("released_seconds", "moved slider", "1 s", "{:.2f} s"),
    ("first_exact_seconds", "Generate to the exact pictures of both columns", "<= 3", "{:.2f} s"),
    ("strips_seconds", "Generate to both whole strips", "<= 6", "{:.2f} s"),
    ("moved_seconds", "released slider to the exact pictures of both columns", "<= 0.7", "{:.2f} s"),
    ("first_exact_over_strips", "the exact pictures against waiting for the strips", "", "{:.2f} x"),
    ("busy_over_idle", "full run with one core kept busy against an idle machine", "", "{:.2f} x"),
    ("first_paint_seconds", "page, process start to first paint", "<= 5", "{:.1f} s"),
    ("first_paint_over_model_first", "the same against loading the model first", "", "{:.2f} x"),
    ("generate_ready_seconds", "page, process start until it takes a Generate", "<= 15", "{:.1f} s"),
    ("peak_memory_mb", "page, peak memory", "", "{:,.0f} MB"),
)  # fmt: skip
HEADLINES = (
    ("prompts", ("object", "pictures whose object is recognised", ">= 97%", "{:.1%}")),
    ("steering", ("style_taken_ordinary", "ordinary pictures that take a style", ">= 95%", "{:.1%}")),
    ("steering", ("style_taken_memorized", "the most repeated memories that take it", "<= 10%", "{:.1%}")),
    ("steering", ("by_examples.success.1", "a style learned from 10 pictures a side: take it", "", "{:.1%}")),
    ("words", ("by_way.steering.taken", "at equal change, asked for by a vector: take the style", "", "{:.1%}")),
    ("words", ("by_way.prompt.taken", "at equal change, asked for by words: take the style", "", "{:.1%}")),
    ("own", ("take", "made-up concepts of one's own that take", ">= 80%", "{:.1%}")),
    ("detection", ("auroc", "memorised pictures told by spikiness, AUROC", ">= .995", "{:.3f}")),
    ("detection", ("tpr_at_1fpr", "the same, TPR at 1 % FPR", ">= .95", "{:.3f}")),
    ("domain", ("verdict", "foreign pictures that get a verdict all the same", "<= 2%", "{:.1%}")),
    ("editability", ("spearman", "spikiness against movement per strength, Spearman", "<= -.8", "{:+.2f}")),
    ("speed", ("steered_over_plain", "steered run against the plain pipeline", "<= 1.03", "{:.3f} x")),
    ("speed", ("released_over_full", "moved slider against a full run", "<= 0.55", "{:.3f} x")),
    ("scan", ("faster", "audit against one picture and one hook at a time", ">= 2 times", "{:.1f} times")),
    ("dae", ("memorization.min_column_cosine", "toy: stored columns, least cosine with a picture", ">= .99", "{:.4g}")),
)  # fmt: skip


def speed(result: dict[str, Any]) -> str:
    """The benchmark table: median, smallest and largest, aim; then what it was measured on."""
    lines = ["| measured | median | smallest to largest | aim |", "| --- | ---: | ---: | ---: |"]
    for key, title, aim, form in SPEED:
        if key not in result:  # of a newer benchmark than these results
            continue
        value, spread = result.get(key), result.get("spread", {}).get(key)
        median = "not measured" if value is None else form.format(value)
        width = f"{form.format(spread['min'])} to {form.format(spread['max'])}" if spread else ""
        lines.append(f"| {title} | {median} | {width} | {aim} |")
    told, versions = result["machine"], result["versions"]
    pairs = result["spread"]["steered_over_plain"]["repeats"]
    lines += [
        "",
        f"{result['model']}, {result['steps']} steps of which {result['steered_steps']} are steered, "
        f"batch 1; medians of {pairs} pairs taken in turn; {told['accelerator'] or told['cpu']}, "
        f"{told['threads']} threads on {told['cores']} cores, load before {told['load_before']:g}; "
        f"torch {versions['torch']}, diffusers {versions['diffusers']}; {result['date'][:10]}.",
    ]
    return "\n".join(lines)


def _three(value: float | None) -> str:
    """Three digits, of what was measured."""
    return "not measured" if value is None else f"{value:.3f}"


def detection(measured: dict[str, Any], whole: dict[str, Any]) -> str:
    """Spikiness and its rivals on the same held-out pictures; `whole`: the calibration's report, on all of them."""
    lines = [
        "| method | AUROC | TPR at 1 % FPR | seconds a picture | needs prompt | needs training data |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        f"| **spikiness** (Zhang 2026) | {measured['auroc']:.3f} | {measured['tpr_at_1fpr']:.3f} | "
        f"{measured['seconds_per_image']:.3f} | no | no |",
    ]
    for rival in measured["rivals"].values():
        needs = [("yes" if rival[key] else "no") for key in ("needs_prompt", "needs_training_data")]
        lines.append(
            f"| {rival['title']} ({rival['source']}) | {rival['auroc']:.3f} | {rival['tpr_at_1fpr']:.3f} | "
            f"{rival['seconds']:.3f} | {needs[0]} | {needs[1]} |"
        )
    probe, counts, painted = measured["probe"], measured["counts"], measured["on_generated"]
    given = measured["on_generated_with_prompt"]
    lines += [
        "",
        f"Held out: {counts['memorized']} memorised, {counts['ordinary']} ordinary pictures. Spikiness is the "
        f"{probe['statistic']} of the spatial {probe['pooling']} at `{probe['site']}`, t = {probe['timestep']}, "
        f"{measured['draws']} noise draws; among drawings alone its AUROC is {_three(measured['auroc_in_kind'])}, "
        f"among photographs alone {_three(measured['auroc_photographs'])}, on the generated pictures that the rivals "
        f"with a prompt are measured on {painted['auroc']:.3f} (TPR {painted['tpr_at_1fpr']:.3f}), "
        f"with the picture's own prompt in place of the empty one {given['auroc']:.3f} (TPR "
        f"{given['tpr_at_1fpr']:.3f}).",
    ]
    low, high = whole["auroc_ci95"]
    few, many = whole["tpr_at_1fpr_ci95"]
    one = whole["one_draw"]
    lines += [
        "",
        f"95 % intervals, by original: AUROC {low:.3f} to {high:.3f}, TPR {few:.3f} to {many:.3f}. With one noise "
        f"draw, one extra forward pass: AUROC **{one['auroc']:.3f}**, TPR at 1 % FPR **{one['tpr_at_1fpr']:.3f}**.",
    ]
    return "\n".join(lines)


def domain(told: dict[str, Any]) -> str:
    """Foreign pictures that get a verdict, by kind, and known ones that lose theirs."""
    lines = [
        "| foreign pictures | called memorised by the score alone | get a verdict | get one where their kind is new |",
        "| --- | ---: | ---: | ---: |",
    ]
    keys = ("memorised_without_domain", "verdict", "verdict_kind_unseen")
    for kind, row in told["foreign"].items():
        lines.append(f"| {kind} | {' | '.join(evaluated.shown(row[key]) for key in keys)} |")
    whole = [sum(row[key] for row in told["foreign"].values()) / len(told["foreign"]) for key in keys]
    lines.append(f"| **all** (aim: 2%) | {' | '.join(evaluated.shown(value) for value in whole)} |")
    lost, counts = told["lost"], told["counts"]
    lines += [
        "",
        f"{counts['foreign']} foreign pictures. Of {counts['memorised']} held-out memorised pictures "
        f"{evaluated.shown(lost['memorised'])} lose their verdict, of {counts['ordinary']} ordinary ones "
        f"{evaluated.shown(lost['ordinary'])} (aim: 1%).",
    ]
    return "\n".join(lines)


def editability(measured: dict[str, Any]) -> str:
    """One sentence: the rank correlation and what lies behind it."""
    low, high = measured["ci95"]
    return (
        f"Spearman's rank correlation of a picture's spikiness with how far it moves per strength: "
        f"**{measured['spearman']:+.2f}** (95 % interval {low:+.2f} to {high:+.2f}, {measured['n']} prompts); among "
        f"ordinary prompts alone {measured['spearman_ordinary']:+.2f}, along the ladder of memories alone "
        f"{measured['spearman_memorized']:+.2f}. Median movement up to the recommended strength: ordinary "
        f"{measured['slope_median']['ordinary']:.3f}, the most repeated memories "
        f"{measured['slope_median']['memorized']:.3f} (RMS, pixels in 0..1)."
    )


def scanning(result: dict[str, Any]) -> str:
    """One sentence: pictures a second, and memory against length."""
    rate, memory = result["pictures_per_second"], result["peak_memory_mb"]
    peaks = ", ".join(f"{int(count):,} pictures {megabytes:,} MB" for count, megabytes in memory.items())
    return (
        f"{result['pictures']:,} pictures at {len(result['sites'])} sites: **{result['faster']:.1f} times** as fast "
        f"as one picture and one hook at a time ({rate['together']:.0f} against {rate['one_by_one']:.0f} pictures a "
        f"second; aim: 2 times). Peak memory: {peaks}. {result['threads']} threads on {result['cores']} cores, torch "
        f"{result['torch']}."
    )


def dae(told: dict[str, Any], raced: dict[str, Any] | None) -> str:
    """The toy's statements as measured on its committed weights; then its training's speed."""
    memory, general, hybrid = told["memorization"], told["generalization"], told["hybrid"]
    rank = told["jacobian"]
    rows = [
        (
            "n = 5: the five longest columns, least cosine with a training picture",
            memory["min_column_cosine"],
            ">= .99",
        ),
        ("their norms against Corollary 3.2, largest error", memory["max_column_norm_error"], "<= .02"),
        ("energy on the strongest unit, memorising", memory["top1_energy_share"], ""),
        ("energy on the strongest unit, generalising", general["top1_energy_share"], ""),
        ("n = 10,000: a column's largest cosine with any training picture", general["max_column_cosine"], ""),
        ("the same, angle to the subspace of Corollary 3.3, degrees", general["subspace_angle_deg"], ""),
        ("std of the representation, memorising", memory["mean_std"], ""),
        ("std of the representation, generalising", general["mean_std"], ""),
        ("effective rank of the Jacobian, memorising", rank["effective_rank_memorized"], ""),
        ("effective rank of the Jacobian, generalising", rank["effective_rank_generalized"], ""),
        ("hybrid: a repeated picture's column, least cosine with it", hybrid["stored_min_cosine"], ""),
        ("hybrid: the other columns, largest cosine with any picture", hybrid["rest_max_cosine"], ""),
        ("onset of memorisation, median relative error of the theory", told["onset"]["median_relative_error"], ""),
    ]
    lines = ["| statement | measured | aim |", "| --- | ---: | ---: |"]
    lines += [f"| {title} | {value:.4g} | {aim} |" for title, value, aim in rows]
    if raced:
        lines += [
            "",
            f"Training five pictures to the loss that the notebook's 50,000 steps reach: **{raced['times_faster']:.0f} "
            f"times** as fast ({raced['seconds']:.2f} s against {raced['recipe_seconds']:.1f} s on one thread; aim: 20 "
            "times; `python -m benchmarks.dae`).",
        ]
    return "\n".join(lines)


def made(record: dict[str, Any]) -> str:
    """How long the committed weights were trained, from training.json."""
    vae, unet = record["autoencoder"], record["diffusion"]
    runs = [*unet.get("before", ()), unet]
    minutes = sum(run["seconds"] for run in runs) / 60
    steps = " + ".join(f"{run['steps']:,}" for run in runs)
    decoder, tuned = vae.get("decoder", vae), vae.get("decoder", {})
    parts = (vae, vae.get("before") or {}, *tuned.get("before", ()), tuned)
    whole = sum(part.get("seconds", 0) for part in parts) / 60
    return (
        f"U-Net and text encoder: {minutes:.0f} minutes, {steps} steps of {unet['batch']}; autoencoder: "
        f"{whole:.0f} minutes, "
        f"{decoder['psnr_fresh_db']:.1f} dB on fresh pictures, {decoder['psnr_memorized_db']:.1f} dB on memorised "
        f"ones; {unet['pictures']:,} pictures; {unet['machine']}."
    )


def headline(told: dict[str, Any]) -> str:
    """One row of each table; `told`: the measurements by name, those that there are."""
    lines = ["| measured | result | aim |", "| --- | ---: | ---: |"]
    for measurement, (key, title, aim, form) in HEADLINES:
        value: Any = told.get(measurement)
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else value[int(part)] if value else None
        if value is not None:
            lines.append(f"| {title} | {form.format(value)} | {aim} |")
    return "\n".join(lines)


def tables(root: Path) -> dict[str, str]:
    """Every table whose measurements are committed, by name."""

    def read(place: str) -> dict[str, Any]:
        return json.loads((root / place).read_text()) if (root / place).is_file() else {}

    found = {}
    bench, toy, race = read("benchmarks/results.json"), read("assets/dae/verify.json"), read("benchmarks/dae.json")
    scanned, reach = read("benchmarks/scan.json"), read("benchmarks/domain.json")
    measured, training = read("models/tiny-sd/evaluation.json"), read("models/tiny-sd/training.json")
    calibration = read("assets/calibrations/tiny-sd.json")
    if bench:
        found["speed"] = speed(bench)
    if toy:
        found["dae"] = dae(toy, race.get("dae"))
    if scanned:
        found["scan"] = scanning(scanned)
    if reach:
        found["domain"] = domain(reach)
    if training:
        found["training"] = made(training)
    if "detection" in measured and calibration:
        told = detection(measured["detection"], calibration["report"])
        found["detection"] = told + evaluated.quick(measured, "detection")
    if "editability" in measured:
        found["editability"] = editability(measured["editability"]) + evaluated.quick(measured, "editability")
    found |= evaluated.made_of(measured)
    every = {name: read(f"models/{name}/evaluation.json") for name in evaluated.FAMILIES}
    if any("detection" in one for one in every.values()):
        found["families"] = evaluated.families(every)
    own, first = read("docs/own_concepts.json"), read("assets/firstpaint/tiny-sd/search.json")
    if own and own["model"] == calibration.get("fingerprint"):
        found["own"] = evaluated.own_sets(own)
    if first and first["made"]["fingerprint"] == calibration.get("fingerprint"):
        found["firstpaint"] = evaluated.first_paint(first)
    rows = [row for row in reach.get("foreign", {}).values()]
    kept = {"verdict": sum(row["verdict"] for row in rows) / len(rows)} if rows else {}
    shown = headline({**measured, "speed": bench, "dae": {**toy, **race}, "scan": scanned, "domain": kept,
                      "own": own if "own" in found else {}})  # fmt: skip
    found["headline"] = shown + evaluated.quick(measured, "prompts")
    return found


def rewrite(text: str, found: dict[str, str]) -> str:
    """`text` with every marked block replaced; a table without measurements says so."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{found.get(m[2], MISSING)}\n\n{m[3]}", text)


def main() -> None:
    """Rewrite every page that exists; with --check change nothing and exit with 1 if one is out of date."""
    found, stale = tables(REPOSITORY), []
    for name in PAGES:
        page = REPOSITORY / name
        if not page.is_file():
            continue
        old = page.read_text(encoding="utf-8")
        new = rewrite(old, found)
        if new != old:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                page.write_text(new, encoding="utf-8")
    print(f"{'out of date' if '--check' in sys.argv[1:] else 'rewritten'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if stale and "--check" in sys.argv[1:] else 0)


if __name__ == "__main__":
    main()
