"""The tables that `make tables` makes of an embedded model's evaluation.json: what was measured, beside its aim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Told = Mapping[str, Any]
Row = tuple[str, str, str, str]  # key, title, aim, "share" or "times"

PROMPTS: tuple[Row, ...] = (
    ("style", "style recognised", ">= 97%", "share"),
    ("background", "background recognised", ">= 97%", "share"),
    ("object", "object recognised", ">= 97%", "share"),
    ("object_held_out", "the same, on (object, style, background) triples never trained on", ">= 93%", "share"),
    ("plain_when_unnamed", "painted plain where no style is named", ">= 90%", "share"),
    ("glasses_on_request", "people with glasses where they are asked for", ">= 90%", "share"),
    ("two_on_request", "two of a kind where two are asked for", "", "share"),
    ("artefact_rate", "pictures that the judge calls damaged", "<= 3%", "share"),
    ("frechet_ratio", "Fréchet distance to fresh renderings, against that of other fresh ones", "<= 3", "times"),
    ("nearest_ratio", "distance to the nearest training picture, against that of fresh ones", "<= 1.15", "times"),
    ("ordinary_copy_rate", "ordinary captions that give a copy of a training picture", "", "share"),
    ("memorized_recall", "memorised captions that give back their picture, all levels", "", "share"),
)
STEERING: tuple[Row, ...] = (
    ("style_taken_ordinary", "ordinary pictures that take the style", ">= 95%", "share"),
    ("object_kept_ordinary", "ordinary pictures that keep their object", ">= 90%", "share"),
    ("background_kept_ordinary", "ordinary pictures that keep their background", ">= 85%", "share"),
    ("shape_kept", "ordinary pictures that keep their shape", "", "share"),
    ("artefact_rate", "steered pictures that the judge calls damaged", "<= 5%", "share"),
    ("glasses.taken", "people who take glasses", ">= 80%", "share"),
    ("style_taken_memorized", "the most repeated memories that take the style", "<= 10%", "share"),
    ("picture_kept_memorized", "the most repeated memories that stay themselves", "", "share"),
)
STEPS = ("style", "background", "object", "object_held_out", "memorized_recall", "artefact_rate", "nearest_ratio")
STEERED = {"style_taken": "steered: take the style", "object_kept": "steered: keep their object",
           "background_kept": "steered: keep their background", "artefact": "steered: called damaged"}  # fmt: skip
WAYS = {"steering": "the vector", "prompt": "words in the prompt", "embedding": "the prompt's embedding"}
WORDS = ("taken", "object_kept", "background_kept", "shape_kept", "change")
FAMILIES = {  # the paper's Table 1, its own score: family, model and pictures, AUROC, TPR at 1 % FPR, seconds a picture
    "tiny-sd": ("text, U-Net on latents", "Stable Diffusion 1.4, LAION, 500 + 500", 0.987, 0.961, 0.067),
    "tiny-dit": ("class, transformer on latents", "DiT-L/4, ImageNet, 500 + 500", 0.995, 0.912, 0.015),
    "tiny-edm": ("U-Net on pixels", "EDM, CIFAR-10, 100 + 100", 0.998, 0.984, 0.020),
}
PARTS = {"steps": "prompts", "ladder": "prompts", "styles": "steering", "examples": "steering", "onset": "editability"}
CURVES = ("success", "preservation", "uniformity", "artefacts")


def found(told: Told, key: str) -> Any:
    """A value by its keys, parted by dots; None where one of them is not there."""
    value: Any = told
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def shown(value: Any, kind: str = "share") -> str:
    """A share in percent or a ratio, and what was not measured as such."""
    if not isinstance(value, (int, float)):
        return "not measured"
    return f"{value:.1%}" if kind == "share" else f"{value:.2f} x"


def listed(told: Told, rows: Sequence[Row]) -> str:
    """A row for each measurement: what it is, its value, its aim."""
    return table(("measured", "result", "aim"), ((title, shown(found(told, key), kind), aim)
                                                 for key, title, aim, kind in rows))  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is words and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def steps(measured: Told) -> str:
    """Prompt-following, recall and steering against the number of steps, of the same captions."""
    told, titles = measured["prompts"], {key: title for key, title, _, _ in PROMPTS}
    kinds = {key: kind for key, _, _, kind in PROMPTS}
    by, usual = told["by_steps"], str(told["num_inference_steps"])
    rows = [[titles[key], *(shown(by[count][key], kinds[key]) for count in by)] for key in STEPS]
    steered = found(measured, "steering.by_steps")
    if steered:
        rows += [[title, *(shown(steered[count][key]) for count in by)] for key, title in STEERED.items()]
    return table(["steps", *(f"**{n}**" if n == usual else n for n in by)], rows)


def ladder(told: Told) -> str:
    """Memory in degrees: recall, spikiness and what steering does, by how often training showed a picture."""
    recall, spiky, steered = (found(told, key) or {} for key in (
        "prompts.recall_by_level", "detection.by_level", "steering.by_level"))  # fmt: skip
    rows = []
    for level, one in recall.items():
        score, moved = spiky.get(level, {}), steered.get(level, {})
        told_apart = score.get("auroc")
        rows.append([
            f"{one['repeats']:,}", shown(one["recall"]), "" if told_apart is None else f"{told_apart:.3f}",
            shown(score.get("flagged")), shown(moved.get("style_taken")), shown(moved.get("picture_kept")),
        ])  # fmt: skip
    head = ["times shown", "given back", "AUROC of spikiness", "called memorised", "take a style", "stay themselves"]
    return table(head, rows)


def styles(told: Told) -> str:
    """Each style's own figures at its recommended strength."""
    keys = ("ordinary", "object_kept", "shape_kept", "memorized")
    rows = [[name, *(shown(row.get(key)) for key in keys)] for name, row in told["by_style"].items()]
    return table(["style", "ordinary take it", "keep their object", "keep their shape", "top memories take it"], rows)


def words(told: Told) -> str:
    """Steering against words, at the same distance from the unsteered picture."""
    rows = []
    for way, title in WAYS.items():
        row = told["by_way"][way]
        rows.append([title, *(f"{row[key]:.3f}" if key == "change" else shown(row[key]) for key in WORDS)])
    head = ["asked for by", "take the style", "keep the object", "keep the background", "edges kept (F1)", "RMS change"]
    return table(head, rows) + f"\n\n{told['n']} ordinary pictures, the five styles in turn."


def groups(told: Told) -> str:
    """Which of the sites' group names hold: what each changes more than the mean of all, and how sure that is."""
    named = told["by_group"]
    aspects = list(next(iter(named.values()))["changes"])
    rows = [[f"{name} ({row['promises']})", *(f"{row['changes'][a]:.2f}" for a in aspects), shown(row["sure"]),
             "yes" if row["deserved"] else "no"] for name, row in named.items()]  # fmt: skip
    return table(["group (what it promises)", *aspects, "sure", "name deserved"], rows)


def examples(told: Told) -> str:
    """What steering does against the number of example pictures it was learned from."""
    rows = [[str(count), *(shown(told[name][place]) for name in CURVES)] for place, count in enumerate(told["counts"])]
    rows.append(["the shipped vector", *(shown(told["shipped"][name]) for name in CURVES)])
    head = ["example pictures a side", "take the style", "keep object and background", "evenness", "damaged"]
    return table(head, rows) + f"\n\nMeans over {' and '.join(told['styles'])}, {told['prompts']} prompts each."


def families(evaluations: Mapping[str, Told]) -> str:
    """Spikiness by family: the paper's Table 1, and the embedded models that were measured, on their own machine."""
    rows = []
    for name, (family, theirs, *numbers) in FAMILIES.items():
        told = found(evaluations.get(name, {}), "detection")
        rows.append([f"{family}: {theirs} (the paper)", *(f"{value:.3f}" for value in numbers)])
        if told:
            counts, keys = told["counts"], ("auroc", "tpr_at_1fpr", "seconds_per_image")
            ours = f"{family}: {name}, {counts['memorized']} + {counts['ordinary']}"
            rows.append([ours, *(f"**{told[key]:.3f}**" for key in keys)])
    return table(["family: model, memorised + other pictures", "AUROC", "TPR at 1 % FPR", "seconds a picture"], rows)


def own_sets(told: Told) -> str:
    """Made-up concepts, learned and tuned as the page does it: what they promised, and what they do elsewhere."""
    keys = ("promised", "along", "kept", "along_memorized")
    rows = [[row["concept"], row["state"], *(f"{row[key]:.2f}" for key in keys), "yes" if row["takes"] else "no"]
            for row in told["concepts"]]  # fmt: skip
    head = ["own concept", "said to be", "of the way, in the search", "on new prompts", "of the picture kept",
            "of the way, memories", "takes"]  # fmt: skip
    vain = ", ".join(told["promised_in_vain"]) or "none"
    return (
        table(head, rows) + f"\n\n{told['take']:.0%} take; promised in vain: {vain}. {told['machine']}, {told['date']}."
    )


def first_paint(told: Told) -> str:
    """The pairs that the search for the page's first pictures found best."""
    rows = [[pair["concept"], pair["ordinary"], pair["memorized"], f"{pair['factor']:g}", f"{pair['contrast']:.0f}",
             "yes" if pair["passes"] else "no"] for pair in told["best"][:6]]  # fmt: skip
    head = ["concept", "ordinary prompt", "memorised prompt", "of the recommended strength", "contrast", "all holds"]
    said = "Contrast: how much further the ordinary one moved, grey levels (RMS)."
    return table(head, rows) + f"\n\n{len(told['cells'])} cells were painted. {said}"


def onset(told: Told) -> str:
    """At how many repetitions each curve has gone half its way."""
    names = {"recall": "recall", "spikiness": "spikiness", "movement": "resistance to steering"}
    parts = [f"{title} {told['onset'][key]:,.0f}" for key, title in names.items() if told["onset"].get(key)]
    return f"Half of their way from ordinary to the most repeated: {', '.join(parts)} repetitions." if parts else ""


def made_of(measured: Told) -> dict[str, str]:
    """Every table that this evaluation has the numbers for, by name."""
    has = lambda key: found(measured, key) is not None  # noqa: E731
    tables = {
        "prompts": has("prompts") and listed(measured["prompts"], PROMPTS),
        "steering": has("steering") and listed(measured["steering"], STEERING),
        "steps": has("prompts.by_steps") and steps(measured),
        "ladder": has("prompts.recall_by_level") and ladder(measured),
        "styles": has("steering.by_style") and styles(measured["steering"]),
        "words": has("words") and words(measured["words"]),
        "groups": has("groups") and groups(measured["groups"]),
        "examples": has("steering.by_examples") and examples(measured["steering"]["by_examples"]),
        "onset": has("editability.onset") and onset(measured["editability"]),
    }
    return {name: f"{text}{quick(measured, PARTS.get(name, name))}" for name, text in tables.items() if text}


def quick(measured: Told, part: str) -> str:
    """A line that says so where a part was measured on fewer captions than it has."""
    most = found(measured, f"made.{part}.limit")
    return f"\n\n*A quick look: at most {most:,} captions a group.*" if most else ""
