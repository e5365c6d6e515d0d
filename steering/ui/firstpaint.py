"""The page's first impression, painted beforehand by `python -m steering.ui.firstpaint`.

Each frame in assets/firstpaint/ is a PNG that carries its recipe; firstpaint.json says how they were made.
Without them the page of an embedded model paints the same strips once when it starts; that of another one opens with an
empty stage, since nobody knows how long its pictures take.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import RudderError, unknown
from ..files import home, read_json
from ..recipe import Recipe
from ..sampling import Steering, finish
from .pictures import data_uri
from .session import Session
from .steer import Panel, generate, keep, prefix_key
from .studio import Studio, open_studio, start_of

CONCEPT = "blueprint"
PROMPT = "a house on a grass background"  # where the model has it among its ordinary prompts
SEED = 7
FALLBACK = {"ordinary": "a red apple on a sky background", "memorized": "a photo of an astronaut"}


def folder() -> Path:
    """Where the first paint lies."""
    return home() / "assets" / "firstpaint"


def default_panel(studio: Studio, prompts: dict[str, str] | None = None, concept: str = "", seed: int = SEED) -> Panel:
    """The controls on first paint; what is left out is the usual prompts and concept, or the model's first."""
    keys = {kind: [entry["key"] for entry in entries] or [FALLBACK[kind]] for kind, entries in studio.prompts.items()}
    chosen = {kind: PROMPT if PROMPT in some else some[0] for kind, some in keys.items()} | (prompts or {})
    names = list(studio.concepts)
    if concept and concept not in names:
        raise unknown("concept", concept, names)
    name = concept or (CONCEPT if CONCEPT in names else names[0] if names else "")
    window, halves = start_of(studio.concepts[name].vector if name else None)
    defaults = studio.backbone.defaults
    return Panel(
        prompts={"a": chosen["ordinary"], "b": chosen["memorized"]},
        concept=name,
        seed=seed,
        steps=defaults["num_inference_steps"],
        guidance=defaults["guidance_scale"],
        negative="",
        window=(window[0], window[1]),
        sites=(),
        halves=halves,
    )


def render(studio: Studio, panel: Panel) -> dict[str, Any]:
    """The stage's message for a panel; RudderError as `generate` raises."""
    *_, message = generate(studio, Session(), panel, {"ticket": 0, "strengths": {}})
    return message


def save(studio: Studio, panel: Panel, target: Path) -> None:
    """Write every frame as a PNG with its recipe, and firstpaint.json with how they were made."""
    message = render(studio, panel)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.png"):
        old.unlink()
    for column, data in message["columns"].items():
        for place, one in enumerate(data["frames"]):
            one["file_here"] = f"{column}-{place:02d}.png"
            kind, _, body = one.pop("src").partition(";base64,")
            if kind != "data:image/png":
                raise RudderError("The first paint is kept as PNG: render it with a model of at most 128 pixels.")
            (target / one["file_here"]).write_bytes(base64.b64decode(body))
    made = {
        "command": "python -m steering.ui.firstpaint " + " ".join(sys.argv[1:]),
        "model": studio.backbone.name,
        "fingerprint": studio.backbone.fingerprint,
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps({"made": made, "message": message}, indent=1, ensure_ascii=False)
    (target / "firstpaint.json").write_text(text + "\n", encoding="utf-8")


def load(studio: Studio) -> dict[str, Any] | None:
    """The message kept in assets/firstpaint, or None when it is absent or another model's."""
    path = folder() / "firstpaint.json"
    if not path.is_file():
        return None
    kept = read_json(path)
    if kept["made"]["fingerprint"] != studio.backbone.fingerprint or kept["message"]["concept"] not in studio.concepts:
        return None
    message = kept["message"]
    for data in message["columns"].values():
        for one in data["frames"]:
            one["src"] = data_uri((path.parent / one.pop("file_here")).read_bytes())
    return message


def warm(studio: Studio, message: dict[str, Any]) -> None:
    """Paint the unsteered pictures of the first impression, so that the first release finds its latents."""
    for data in message.get("columns", {}).values():
        recipe = Recipe.from_json(data["recipe"])
        if studio.prefixes.get(prefix_key(studio, recipe)) is not None:
            continue
        result = finish(studio.paint(recipe, Steering(window=recipe.window), [0.0]))
        keep(studio, recipe, result.prefix, result.images[0])


def first_paint(studio: Studio) -> dict[str, Any]:
    """What the stage shows before anyone touches it; nothing for a model that does not ship."""
    message = load(studio)
    if message is None and studio.concepts and studio.outline.embedded:
        message = render(studio, default_panel(studio))
    return message or {}


def main(arguments: list[str] | None = None) -> int:
    """Render assets/firstpaint from the command line; 2 for a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m steering.ui.firstpaint", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny-sd")
    parser.add_argument("--ordinary", help="the ordinary column's prompt (default: the model's first)")
    parser.add_argument("--memorized", help="the memorised column's prompt (default: the model's first)")
    parser.add_argument("--concept", default="", help=f"the concept (default: {CONCEPT})")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args(arguments)
    prompts = {kind: value for kind in FALLBACK if (value := getattr(asked, kind)) is not None}
    try:
        studio = open_studio(asked.model, device="cpu")
        save(studio, default_panel(studio, prompts, asked.concept, asked.seed), folder())
    except RudderError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    print(f"wrote {folder()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
