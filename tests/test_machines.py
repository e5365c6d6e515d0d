"""Models and machines as they are found: what stands in a folder in the weights' place, numbers that are none,
environments, and files of the page that are gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from steering.audit.results import encoded
from steering.backbones import layout, load
from steering.backbones.registry import outline
from steering.calibration import calibrate
from steering.cli import main
from steering.cli.console import emit
from steering.errors import RudderError
from steering.files import as_json
from steering.samples import Sample
from steering.ui import documents, firstpaint, lab, page, serve, shell, temporary
from steering.ui import door as doors
from steering.ui.studio import open_studio
from tests.tiny import make_tiny_sd, pictures

REPOSITORY = Path(__file__).resolve().parents[1]
FULL = "diffusion_pytorch_model"
NONE = (float("nan"), float("inf"), float("-inf"))


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ((), "restore it"),
        ((f"{FULL}.bin",), f"{FULL}.bin is a pickle, which Rudder never opens: take the model's .safetensors"),
        ((f"{FULL}.fp16.bin",), "is a pickle"),
        (("model.ckpt",), "is a pickle"),
        (("flax_model.msgpack",), "is a pickle"),
        ((f"{FULL}.safetensors.index.json", f"{FULL}-00001-of-00002.safetensors"), "in pieces"),
        ((f"{FULL}-00001-of-00002.safetensors", f"{FULL}.bin"), "in pieces"),
        ((f"{FULL}.non_ema.safetensors",), "non_ema.safetensors is no file that Rudder looks for"),
        (("notes.txt", "README.md"), "restore it"),
    ],
)
def test_what_stands_in_the_weights_place_is_named(copy: Path, there: tuple[str, ...], says: str):
    (copy / "unet" / f"{FULL}.safetensors").unlink()
    for name in there:
        (copy / "unet" / name).write_bytes(b"\x80\x04")
    for look in (load, outline):
        with pytest.raises(RudderError, match=f"unet.*{FULL}.safetensors is missing") as caught:
            look(str(copy))
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_half_precision_beside_pickles_is_read(copy: Path, backbone):
    place = copy / "unet" / f"{FULL}.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(place).items()}, layout.half_of(str(place)))
    place.rename(place.with_suffix(".bin"))
    assert load(copy).resolution == backbone.resolution


@pytest.mark.parametrize("named", [None, 10**30, 8, 77])
def test_a_tokenizer_without_a_length_reads_as_far_as_there_are_positions(copy: Path, backbone, named: int | None):
    path = copy / "tokenizer" / "tokenizer_config.json"
    told = json.loads(path.read_text())
    told.pop("model_max_length", None)
    path.write_text(json.dumps(told if named is None else told | {"model_max_length": named}))
    there = load(copy)
    length = min(named or 10**30, there.text_encoder.config.max_position_embeddings)
    assert there.condition(["a red apple " * 50]).shape[1] == there.tokenizer.model_max_length == length
    if length == backbone.tokenizer.model_max_length:
        assert torch.equal(there.condition(["a cat"]), backbone.condition(["a cat"]))


@pytest.mark.parametrize(
    "arguments",
    [["generate", "a cat"], ["steer", "a cat", "-c", "red.safetensors"], ["score", "p.png"], ["scan", "p.png"],
     ["concept", "learn", "x", "p.png"], ["calibrate", "--memorized", "p.png", "--ordinary", "p.png"],
     ["evaluate", "--limit", "2"], ["grid", "a cat", "-c", "red.safetensors"]],
    ids=lambda some: some[0],
)  # fmt: skip
def test_no_command_goes_on_with_weights_that_are_not_finite(
    copy: Path, vector, tmp_path: Path, monkeypatch, capfd, arguments
):  # fmt: skip
    place = copy / "unet" / f"{FULL}.safetensors"
    tensors = load_file(place)
    tensors["conv_out.bias"][0] = torch.nan
    save_file(tensors, place, {"format": "pt"})
    monkeypatch.chdir(tmp_path)
    pictures(1)[0].save("p.png")
    vector.save("red.safetensors")
    before = set(os.listdir())
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--model", str(copy)])
    told = capfd.readouterr()
    assert ended.value.code == 2 and not told.out
    first = {"scan": "calibration", "score": "calibration", "evaluate": "concept"}  # what is missing before a model is
    assert "conv_out.bias" in told.err or first.get(arguments[0], "conv_out") in told.err, told.err
    assert set(os.listdir()) == before, "no black picture, no verdict"
    with pytest.raises(RudderError, match="not finite, the first in conv_out.bias"):
        open_studio(str(copy), device="cpu")


@pytest.mark.parametrize("score", NONE)
def test_a_score_that_is_no_number_gets_no_verdict(backbone, score: float):
    samples = [
        Sample(picture, flag, "drawing", "fresh", f"{flag}{k}")
        for flag in (True, False)
        for k, picture in enumerate(pictures(6, seed=1 + flag))
    ]
    *_, made = calibrate(backbone, samples, sites=["mid_block"], timesteps=(100,), draws=1)
    with pytest.raises(RudderError, match="no number"):
        made.verdict(score)


def test_every_line_of_json_is_json(capsys: pytest.CaptureFixture[str]):
    value = {"a": [*NONE, 1.5], "b": {"c": (NONE[0],)}, "d": "NaN", "e": None, "f": 10**30}
    due = {"a": [None, None, None, 1.5], "b": {"c": [None]}, "d": "NaN", "e": None, "f": 10**30}
    emit(value, True)

    def strict(text: str):
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert strict(capsys.readouterr().out) == strict(as_json(value)) == due
    with pytest.raises(ValueError, match="JSON"):
        encoded(value)  # results files are checked before


@pytest.fixture
def assets(tmp_path: Path, monkeypatch) -> Path:
    """A copy of what a page cannot do without, in the place of the shipped one."""
    place = tmp_path / "assets"
    for name in ("css", "js", "fonts"):
        shutil.copytree(shell.ASSETS / name, place / name)
    shutil.copy(shell.ASSETS / shell.ICON, place)
    monkeypatch.setattr(shell, "ASSETS", place)
    monkeypatch.setattr(doors, "ASSETS", place)
    return place


NEEDED = [*(f"css/{name}" for name in shell.STYLES), *(f"js/{name}" for name in shell.SCRIPTS), shell.FONT, shell.ICON]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_of_the_page_is_named_and_is_no_port_in_use(assets: Path, monkeypatch, capsys, name: str):
    shell.check_assets()
    (assets / name).unlink()
    monkeypatch.setattr(serve, "settle", lambda: None)
    with pytest.raises(SystemExit) as ended:
        serve.serve(["--port", "1"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and f"assets/{name} cannot be read" in told and "git checkout assets" in told
    assert "ort 1" not in told


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_no_port_in_use(host: str):
    with pytest.raises(RudderError, match=f"{host} is no address of this machine: choose another with --host"):
        doors.Door(host, 0, "none")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_the_door_stands_at_an_ipv6_address_too():
    with socket.socket(socket.AF_INET6) as found:
        try:
            found.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 address of its own")
        port = found.getsockname()[1]
    door = doors.Door("::1", port, "none")
    try:
        assert "X-Rudder-Door" in httpx.get(f"http://[::1]:{port}/").headers
    finally:
        door.close()


def test_the_files_of_a_call_go_with_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(temporary, "_made", [])
    monkeypatch.setattr(temporary, "_scratch", [])
    call = temporary.scratch()
    (Path(call.name) / "picture.png").write_bytes(bytes(100))
    assert temporary.used() >= 100
    temporary.remove_folder()
    assert not Path(call.name).parent.exists()
    call.cleanup()
    with temporary.scratch() as place:
        assert Path(place).is_dir()
    temporary.remove_folder()


def test_a_page_without_what_it_can_do_without_starts(tiny_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RUDDER_HOME", str(tmp_path))  # no first paint, concepts, calibrations, example
    monkeypatch.setattr(lab, "TOY", tmp_path / "dae")
    studio = open_studio(str(tiny_folder), device="cpu")
    painted = firstpaint.first_paint(studio)
    made = page.page_of(studio, painted)
    labels = [getattr(block, "label", "") for block in made.blocks.values()]
    assert "Audit" in labels and "Why memories resist" not in labels
    assert doors.kept_message("tiny-sd") is None


def test_the_toys_files_are_served_and_nothing_beside_them(tmp_path: Path, monkeypatch):
    place = tmp_path / "a #1 50% b" / "dae"
    (place / "states").mkdir(parents=True)
    for name in ("index.json", "states/a.bin", "ATTRIBUTION.md", "../secret.json"):
        (place / name).write_text("{}")
    (place / "link.json").symlink_to(place.parent / "secret.json")
    monkeypatch.setattr(documents, "TOY", place)
    assert documents.toy_file("index.json") and documents.toy_file("states/a.bin")
    for name in ("", ".", "states", "gone.json", "ATTRIBUTION.md", "../secret.json", "link.json", "a\0", "/etc/passwd"):
        assert documents.toy_file(name) is None, name


SETTLE = "from steering.ui.serve import _settle_gradio as s; s('127.0.0.1'); import httpx, os; httpx.Client(); \
print(os.environ['NO_PROXY'])"


@pytest.mark.parametrize(
    ("environment", "due"),
    [
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, "127.0.0.1,::1,localhost"),
        ({"http_proxy": "127.0.0.1:9", "https_proxy": "http://user:word@proxy.example:3128"}, "localhost"),
        ({"ALL_PROXY": "http://proxy.example", "NO_PROXY": "a.example,.b.example"}, "a.example,.b.example,127.0.0.1"),
        ({"NO_PROXY": "*"}, "*,127.0.0.1"),
        ({"HTTP_PROXY": ""}, "localhost"),
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, None),
        ({"HTTP_PROXY": "gopher://x"}, None),
        ({"NO_PROXY": "[::1],a.example"}, "::1,a.example"),
    ],
)  # fmt: skip
def test_a_proxy_in_the_environment(environment: dict[str, str], due: str | None):
    clean = {name: value for name, value in os.environ.items() if name.upper() not in serve.PROXIES}
    done = subprocess.run([sys.executable, "-c", SETTLE], cwd=REPOSITORY, env=clean | environment, capture_output=True,
                          text=True)  # fmt: skip
    if due is None:
        assert f"The proxy that {next(iter(environment))} name cannot be used" in done.stderr.splitlines()[-1]
    else:
        assert due in done.stdout, done.stderr


NAMELESS = "import pwd\ndef gone(uid): raise KeyError(f'no user {uid}')\npwd.getpwuid = gone\n"


def test_the_page_starts_on_a_machine_as_it_is_found(tmp_path: Path):
    """A checkout with signs in its path, a proxy that is not there, a user without name or home, a Gradio folder of
    somebody else's; then what it answers holds no path, and a SIGTERM leaves nothing."""
    root = tmp_path / "a #1 50% b"
    for name in ("css", "js", "fonts", "dae"):
        shutil.copytree(shell.ASSETS / name, root / "assets" / name, ignore=shutil.ignore_patterns("*.bin", "fig*"))
    shutil.copy(shell.ASSETS / shell.ICON, root / "assets")
    shutil.copytree(REPOSITORY / "steering", root / "steering", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "app.py", root)
    make_tiny_sd(root / "models" / "tiny-sd")
    (root / "tmp" / "gradio").mkdir(0o500, parents=True)
    (root / "site").mkdir()
    (root / "site" / "sitecustomize.py").write_text(NAMELESS)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    told = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY")}
    told |= {"TMPDIR": str(root / "tmp"), "PYTHONPATH": str(root / "site")}
    gone = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", temporary.VARIABLE, "RUDDER_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in gone} | told
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port), "--model", "tiny-sd"], cwd=root, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        _use(f"http://127.0.0.1:{port}", process, root)
    finally:
        process.terminate()
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "Traceback" not in said, said
    left = [str(path.relative_to(root / "tmp")) for path in (root / "tmp").rglob("*")]
    assert [name for name in left if not name.startswith("torchinductor")] == ["gradio"]


def _use(address: str, process: subprocess.Popen, root: Path) -> None:
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        for _ in range(600):
            assert process.poll() is None, process.communicate()[0]
            with contextlib.suppress(httpx.HTTPError):
                if "x-rudder-door" not in client.get("/").headers:
                    break
            time.sleep(0.5)
        sent = client.post("/gradio_api/upload", files={"files": ("a.png", b"x")})
        assert sent.status_code == 200 and sent.json()[0].startswith(str(root / "tmp" / "rudder-"))
        assert client.get(f"/gradio_api/file={quote(sent.json()[0])}").content == b"x"
        answers = {path: client.get(path) for path in ("/", "/config", "/gradio_api/info", "/dae/index.json")}
        assert {answer.status_code for answer in answers.values()} == {200}
        for path, answer in answers.items():
            assert str(root) not in answer.text and "site-packages" not in answer.text, path
        refused = {"/monitoring": 404, "/monitoring/summary": 404, f"/gradio_api/file={quote(str(root))}/app.py": 403}
        assert {path: client.get(path).status_code for path in refused} == refused
        evil = {"origin": "http://evil.example"}
        assert client.post("/gradio_api/upload", files={"files": ("a", b"x")}, headers=evil).status_code == 403
