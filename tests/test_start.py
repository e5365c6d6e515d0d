"""What waits for nothing it does not need: modules, threads, what is told of a model, estimates, documents."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steering import pace
from steering.backbones.registry import load, outline
from steering.concepts import ConceptVector, library
from steering.errors import RudderError
from steering.threads import POLICY
from steering.ui import documents
from steering.ui.steer import _message
from steering.vectors import told
from tests.test_cli import BAD

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "diffusers", "transformers", "gradio", "sklearn", "scipy")
QUICK = [
    ["models"],
    ["models", "--json"],
    ["--help"],
    ["steer", "--help"],
    ["concept", "list"],
    ["dae", "list"],
    ["dae", "--help"],
    ["app", "--help"],
]
WRONG = [
    ["app", "--model", "nowhere"],
    ["score", "gone.png"],
    ["score", "--calibration", "gone.json", "."],
    ["scan", "gone"],
    ["calibrate", "--memorized", "gone", "--ordinary", "gone"],
    ["concept", "learn", "x", ".", "--model", "nowhere"],
    ["evaluate", "--model", "nowhere"],
    *([part.replace("red", "sketch") if part.startswith("red") else part for part in some] for some, _ in BAD),
]
RUN = """
import json, sys
from steering.cli import main
code = 0
try:
    main(sys.argv[1:])
except SystemExit as done:
    code = done.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "due"),
    [*((some, 0) for some in QUICK), *((some, 2) for some in WRONG)],
    ids=lambda some: " ".join(some)[:40] if isinstance(some, list) else "",
)
def test_no_command_imports_what_it_does_not_need(arguments: list[str], due: int, tmp_path: Path):
    """Time is not measured: what takes it is importing these."""
    (tmp_path / "pickled.safetensors").write_bytes(b"\x80\x04\x95" + b"\0" * 64)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RUDDER_HOME": str(REPOSITORY)}
    done = run(RUN, *arguments, cwd=tmp_path, env=environment)
    code, modules = json.loads(done.stderr.strip().splitlines()[-1])
    assert code == due, done.stderr
    assert [name for name in HEAVY if name in modules] == [], done.stderr


def run(
    code: str, *arguments: str, cwd: Path = REPOSITORY, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """A fresh Python."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("entry", ["import app", "import steering.ui.serve", "import steering, steering.concepts"])
def test_the_door_opens_before_anything_heavy_is_imported(entry: str):
    done = run(f"import json, sys; {entry}; print(json.dumps(sorted(sys.modules)))")
    assert [name for name in HEAVY if name in json.loads(done.stdout)] == []


def test_threads_are_settled_before_torch_and_the_user_goes_first():
    code = (
        "import json, os, sys\n"
        "from steering.cli import main\n"
        "try: main(['models'])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(dict(os.environ)), file=sys.stderr)"
    )
    own = {name: "7" for name in list(POLICY)[:1]}
    environment = {name: value for name, value in os.environ.items() if name not in POLICY}
    for given in ({}, own):
        done = run(code, env=environment | given)
        found = json.loads(done.stderr.strip().splitlines()[-1])
        assert {name: found.get(name) for name in POLICY} == POLICY | given


def test_an_outline_says_what_the_loaded_model_says(tiny_folder: Path, backbone):
    known = outline(str(tiny_folder))
    assert (known.name, known.resolution) == (backbone.name, backbone.resolution)
    assert {key: backbone.defaults[key] for key in known.defaults} == known.defaults
    assert not known.embedded and set(known.words) >= {"apple", "sketch"}
    assert outline("someone/something").folder is None


def test_an_outline_refuses_what_load_refuses(tiny_folder: Path, tmp_path: Path):
    broken = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    weights = next((broken / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    for asked in (str(broken), "nowhere", str(tmp_path)):
        with pytest.raises(RudderError) as early:
            outline(asked)
        with pytest.raises(RudderError) as late:
            load(asked)
        assert str(early.value) == str(late.value)


def test_a_vector_file_tells_of_itself_what_the_loaded_vector_does(vector, tmp_path: Path):
    for one in (vector, vector.replace(recommended={"strength": 2.5, "window": [0.2, 0.9], "halves": "conditional"})):
        one.save(tmp_path / "v.safetensors")
        head, loaded = told(tmp_path / "v.safetensors"), ConceptVector.load(tmp_path / "v.safetensors")
        assert head["advice"] == loaded.advice and head["fingerprint"] == loaded.fingerprint
        assert set(head["sites"]) == set(loaded.sites) and head["name"] == loaded.name


def test_parts_are_announced_with_the_time_the_rest_takes(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 2.0, 4.0])
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    reading = pace.reader("big", {"text_encoder": 250_000_000, "vae": 250_000_000, "unet": 3_400_000_000}, said.append)
    for part in ("text_encoder", "vae", "unet"):
        reading(part)
    assert said[0] == "Loading big: reading its text encoder, 250 MB"
    assert said[2] == "Loading big: reading its U-Net, 3.4 GB; about 30 s to go"  # 3.4 GB at .5 GB in 4 s
    clock = iter([0.0, 9.0])
    reading = pace.reader("lopsided", {"text_encoder": 1_000_000, "unet": 35_000_000}, said.append)
    reading("text_encoder")
    reading("unet")
    assert said[-1] == "Loading lopsided: reading its U-Net, 35 MB"  # a megabyte tells nothing


def test_long_runs_say_how_long_they_still_take_and_short_ones_do_not(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])

    def painting(seconds: float):
        for step in range(1, 5):
            now[0] += seconds
            yield _message(1, "strip", {}, f"step {step} of 4", step / 4)
        yield {"phase": "done", "text": "", "columns": {}}

    assert [m["text"] for m in pace.timed(painting(60))][0] == "step 1 of 4, about 3 min to go"
    assert [m["text"] for m in pace.timed(painting(0.5))] == [
        "step 1 of 4",
        "step 2 of 4",
        "step 3 of 4",
        "step 4 of 4",
        "",
    ]


def test_the_pace_is_measured(backbone):
    found = pace.measure(backbone)
    assert 0 < found.together <= found.alone < 60


READABLE = [
    "README.md",
    "LICENSE",
    "steering",
    "steering/sampling.py",
    "models/ATTRIBUTION.md",
    "models/tiny-sd/README.md",
]
SECRET = [
    "../etc/passwd",
    "/etc/passwd",
    ".git/config",
    ".venv",
    ".",
    "",
    "steering/../.git/config",
    "a\0b",
    "nothing.md",
]
SECRET += ["models/tiny-sd/unet/diffusion_pytorch_model.safetensors", "assets/concepts", "steering/__pycache__"]


@pytest.mark.parametrize("place", READABLE)
def test_documents_that_are_meant_to_be_read_are(place: str):
    assert documents.allowed(place) == documents.ROOT / place


@pytest.mark.parametrize("place", SECRET)
def test_nothing_else_is(place: str):
    assert documents.allowed(place) is None


def test_links_lead_to_what_is_there(tmp_path: Path):
    titles = [link["title"] for link in documents.links(tmp_path)]
    assert titles == ["Paper", "README", "Code", "Licence", "Credits"]
    assert "Model card" in [link["title"] for link in documents.links(outline("tiny-sd").folder)]


def test_the_library_is_told_without_loading_a_vector():
    assert all(told(info.vector_path)["name"] for info in library("tiny-sd").values() if info.vector_path)
