"""The command line: each verb once, errors as one sentence, exit codes, and recipes inside what it saves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from steering import cli, evaluation
from steering.cli.arguments import concepts_asked, film, numbered, slug, strengths_of, window_of
from steering.cli.console import table
from steering.errors import RudderError
from steering.evaluation import record
from steering.png import read_png, read_png_vectors
from steering.recipe import Recipe, Strip, Window
from tests.tiny import make_tiny_sd, pictures

REPOSITORY = Path(__file__).resolve().parents[1]
FAST = ["--steps", "4"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUDDER_HOME with one random model under the default name and one concept with a vector for it."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny_sd(folder / "models" / "tiny-sd")
    concept = folder / "assets" / "concepts" / "red"
    for name, tint, seed in (("examples", (90, 0, 0), 1), ("baseline", (0, 0, 0), 2)):
        (concept / name).mkdir(parents=True)
        for k, image in enumerate(pictures(2, seed=seed, tint=tint)):
            image.save(concept / name / f"{k}.png")
    described = {
        "name": "red",
        "title": "Red",
        "description": "more red",
        "prompt": "",
        "baseline_prompt": "",
    }
    (concept / "concept.json").write_text(json.dumps(described))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as done:
        patch.setenv("RUDDER_HOME", str(folder))
        examples, out = [str(concept / "examples")], ["--out", str(concept / "tiny-sd.safetensors")]
        cli.main(["concept", "learn", "red", *examples, "--baseline", str(concept / "baseline"), *out])
    assert done.value.code == 0
    return folder


@pytest.fixture
def rudder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """rudder(*arguments) -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.setenv("RUDDER_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main(arguments)
        said = capsys.readouterr()
        return done.value.code, said.out, said.err

    return run


def test_generate_saves_a_picture_that_carries_its_recipe(rudder):
    code, out, _ = rudder("generate", "a red apple", "--seed", "3", *FAST)
    assert code == 0
    recipe = read_png(out.strip())
    assert (recipe.prompt, recipe.seed, recipe.num_inference_steps) == ("a red apple", 3, 4)
    assert recipe.guidance_scale == 4.0 and recipe.concepts == ()


def test_generate_json_names_files_recipe_and_unknown_words(rudder):
    code, out, err = rudder("generate", "a zebra", "--count", "2", "--out", "z.png", "--json", *FAST)
    told = json.loads(out)
    assert code == 0 and told["unknown_words"] == ["zebra"] and "zebra" in err
    assert [image["path"] for image in told["images"]] == ["z-000.png", "z-001.png"]
    assert [read_png(image["path"]).seed for image in told["images"]] == [0, 1]
    assert told["recipe"]["prompt"] == "a zebra" and told["seconds"] > 0


def test_an_empty_prompt_paints_unconditionally(rudder):
    assert rudder("generate", "", "--out", "none.png", *FAST)[0] == 0
    assert read_png("none.png").prompt == ""


def test_steer_changes_the_picture_and_zero_does_not(rudder):
    for name, value in (("zero", "0"), ("more", "2"), ("less", "-2")):
        code, _, err = rudder("steer", "a red apple", "-c", f"red={value}", "--out", f"{name}.png", *FAST)
        assert code == 0, err
    rudder("generate", "a red apple", "--out", "plain.png", *FAST)
    plain, zero, more, less = (Image.open(f"{n}.png").tobytes() for n in ("plain", "zero", "more", "less"))
    assert plain == zero and len({plain, more, less}) == 3
    assert read_png("more.png").concepts == (("red", 2.0),)


def test_a_strip_has_one_frame_a_strength(rudder):
    arguments = ["--strengths", "-1:2:4", "--scale", "1", "--out", "strip.png", "--json", *FAST]
    code, out, _ = rudder("steer", "a red apple", "--concept", "red", *arguments)
    told = json.loads(out)["images"][0]
    assert code == 0 and told["strengths"] == [-1.0, 0.0, 1.0, 2.0]
    strip = Image.open(told["path"])
    rudder("generate", "a red apple", "--out", "plain.png", *FAST)
    plain = Image.open("plain.png")
    assert strip.width == 4 * plain.width + 3 * 2
    left = plain.width + 2
    frame = strip.crop((left, 0, left + plain.width, plain.height))
    kept = read_png(told["path"])
    assert (kept.concepts, kept.strip) == ((("red", 1.0),), Strip((-1.0, 0.0, 1.0, 2.0), 1))
    assert rudder("steer", "--from", "strip.png", "--out", "again.png")[0] == 0
    assert Path("again.png").read_bytes() == Path("strip.png").read_bytes()
    assert rudder("steer", "--from", "strip.png", "--strip", "2", "--out", "other.png")[0] == 0
    assert read_png("other.png").strip == Strip((0.0, 1.0), 1)
    assert rudder("generate", "--from", "strip.png", "--out", "one.png")[0] == 0
    assert read_png("one.png").strip is None and Image.open("one.png").size == plain.size
    assert _distance(frame, plain) <= 1  # strength 0, but in a batch of four: equal up to rounding


def test_a_jpeg_carries_its_recipe_and_other_endings_are_refused_before_painting(rudder, monkeypatch):
    assert rudder("steer", "a red apple", "-c", "red=2", "--seed", "5", "--out", "a.jpg", *FAST)[0] == 0
    assert Image.open("a.jpg").format == "JPEG"
    assert rudder("steer", "--from", "a.jpg", "--out", "a.png")[0] == 0
    assert (read_png("a.png").seed, read_png("a.png").concepts) == (5, (("red", 2.0),))
    monkeypatch.setattr("steering.cli.commands.backbone_for", lambda *given: pytest.fail("it loads"))
    for verb in (["generate", "x"], ["steer", "x", "-c", "red"]):
        code, _, err = rudder(*verb, "--out", "a.webp", *FAST)
        assert code == 2 and "let its name end in .png or .jpg" in err


def test_files_without_a_name_never_overwrite_each_other(rudder):
    prompts = ["красная кошка", "赤い猫", "🐈", "🐕", "a cat", "a cat", "हिन्दी", "x" * 500]
    paths = [rudder("generate", prompt, "--steps", "1")[1].strip() for prompt in prompts]
    assert len(set(paths)) == len(paths) == len(list(Path().glob("*.png")))
    assert paths[0] == "красная-кошка-0.png" and paths[5] == "a-cat-0-2.png" and paths[6] == "हिन्दी-0.png"
    assert all(read_png(path).prompt == prompt for path, prompt in zip(paths, prompts, strict=True))


def test_what_cannot_be_kept_or_read_is_said_on_entry(rudder, home: Path):
    long = "a red apple on the grass " * 4 + "and a zebra"
    code, out, err = rudder("generate", long, "--seed", str(2**60), "--json", "--out", "a.png", "--steps", "1")
    assert code == 0 and json.loads(out)["unread_words"][-1] == "zebra"
    assert "reads the first 14 tokens of a prompt, and so not “the”, “grass”" in err
    assert f"The seed {2**60} is over 9,007,199,254,740,991" in err and "UserWarning" not in err
    assert rudder("generate", "a cat", "--out", "b.png", "--steps", "1")[2].count("tokens") == 0


def test_a_set_with_captions_is_learned_from_its_pictures_and_says_what_it_left(rudder, home: Path):
    shutil.copytree(home / "assets" / "concepts" / "red" / "examples", "set")
    Path("set", "0.txt").write_text("a red thing")
    Path("set", "Thumbs.db").write_bytes(b"x")
    shutil.copy("set/0.png", "set/copy.png")
    code, out, err = rudder("concept", "learn", "it", "set", "--no-search", "--timestep", "100")
    assert code == 0 and out.startswith("it.safetensors: it, from 2 pictures")
    assert "Left out (2 files that are no pictures: 0.txt, Thumbs.db)." in err
    assert "1 of the concept's 3 pictures is a copy of others" in err
    code, _, err = rudder("concept", "learn", "it", "set", "--baseline", "set", "--no-search")
    assert code == 2 and "are the same" in err


def test_words_of_a_caption_that_are_not_read_are_named_once(rudder, home: Path):
    """Whether pictures are given or painted from it, which says the same."""
    words = " ".join(["cat"] * 14 + ["dog"])
    examples = str(home / "assets" / "concepts" / "red" / "examples")
    painted = ["--prompts", words, "--count", "2"]
    for given in ([examples, "--prompt", words], painted):
        code, _, err = rudder("concept", "learn", "it", *given, "--no-search", "--timestep", "100")
        assert code == 0 and err.count("reads the first 14 tokens of a prompt, and so not “dog”") == 1, err


def test_learn_show_steer_and_restore_with_a_vector_of_ones_own(rudder, home: Path):
    examples = str(home / "assets" / "concepts" / "red" / "examples")
    code, out, err = rudder("concept", "learn", "my own", examples, "--json")
    told = json.loads(out)
    assert code == 0 and told["path"] == "my-own.safetensors"
    assert "learning my own" in err and "ways to steer with it" in err
    assert 0 < told["recommended"]["strength"] <= told["recommended"]["range"][1]
    assert told["provenance"]["baseline"] is False and told["provenance"]["images"] == 2
    shown = rudder("concept", "show", "my-own.safetensors")[1]
    assert told["recommended"]["why"] in shown and "-c my-own.safetensors --strip" in shown and "2 pictures" in shown
    assert rudder("steer", "a cat", "-c", "my-own.safetensors=0.5", "--out", "own.png", *FAST)[0] == 0
    assert set(read_png_vectors("own.png")) == {"my own"}
    Path("my-own.safetensors").unlink()
    assert rudder("steer", "--from", "own.png", "--out", "again.png")[0] == 0
    assert Image.open("own.png").tobytes() == Image.open("again.png").tobytes()
    assert rudder("steer", "--from", "own.png", "--seed", "9", "--out", "other.png")[0] == 0
    assert read_png("other.png").seed == 9 and read_png("other.png").num_inference_steps == 4


@pytest.mark.parametrize("command", [
    ["generate", "a cat"], ["steer", "a cat", "-c", "red"], ["concept", "learn", "x", "x.png"], ["evaluate"],
    ["score", "x.png"], ["scan", "x.png"], ["calibrate"],
])  # fmt: skip
def test_number_type_and_attention_reach_every_model(rudder, command: list[str], monkeypatch):
    pictures(1)[0].save("x.png")
    asked: list[dict] = []

    def load(name: str, **options):
        asked.append(options)
        raise RudderError("seen")

    monkeypatch.setattr("steering.backbones.registry.load", load)
    assert rudder(*command, "--dtype", "bfloat16", "--attention", "xformers")[0] == 2
    assert rudder(*command)[0] == 2
    assert asked == [
        {"device": "cpu", "dtype": "bfloat16", "attention": "xformers"},
        {"device": "cpu", "dtype": None, "attention": "sdpa"},
    ]
    assert rudder(*command, "--dtype", "int8")[0] == 2 and len(asked) == 2


def test_number_type_and_attention_reach_the_page(monkeypatch):
    from steering.ui import serve

    asked: list[list[str]] = []
    monkeypatch.setattr(serve, "serve", asked.append)
    for options in (["--dtype", "float16", "--attention", "xformers"], ["-m", "one", "-m", "two", "--mcp"], []):
        with pytest.raises(SystemExit):
            cli.main(["app", *options])
    assert asked[0] == ["--dtype", "float16", "--attention", "xformers"]
    assert asked[1] == ["--model", "one", "--model", "two", "--mcp"]
    assert asked[2] == [], "what is not given is left to the environment"


def test_a_number_type_paints(rudder):
    assert rudder("generate", "a cat", "--dtype", "bfloat16", "--out", "b.png", *FAST)[0] == 0
    assert rudder("generate", "a cat", "--out", "f.png", *FAST)[0] == 0
    assert 0 < _distance(Image.open("b.png"), Image.open("f.png")) < 60


def test_lists(rudder):
    code, out, _ = rudder("models", "--json")
    assert code == 0 and [(m["name"], m["present"]) for m in json.loads(out)] == [("tiny-sd", True)]
    assert "tiny-sd" in rudder("models")[1]
    code, out, _ = rudder("concept", "list", "--json")
    assert code == 0 and json.loads(out)[0]["vector"] is True and json.loads(out)[0]["examples"] == 2
    assert json.loads(rudder("concept", "show", "red", "--json")[1])["provenance"]["baseline_images"] == 2


BAD = [
    (["generate", "x", "--model", "nowhere"], "nowhere"),
    (["generate", "x" * 10_000], "10,000 characters"),
    (["generate", "x", "--steps", "-4"], "steps"),
    (["generate", "x", "--guidance", "nan"], "guidance"),
    (["generate", "x", "--count", "0"], "number of pictures"),
    (["generate", "x", "--from", "missing.png"], "missing.png"),
    (["generate", "x", "--seed", "three"], "--seed"),
    (["generate", "--colour"], "--colour"),
    (["steer", "x"], "--concept"),
    (["steer", "x", "-c", "sketchy=1"], "sketchy"),
    (["steer", "x", "-c", "red=nan"], "strength of 'red'"),
    (["steer", "x", "-c", "red=1e9"], "strength of 'red'"),
    (["steer", "x", "-c", "red=much"], "much"),
    (["steer", "x", "-c", "red=1", "-c", "red=2"], "twice"),
    (["steer", "x", "-c", "red=1", "--site", "attic"], "attic"),
    (["steer", "x", "-c", "red=1", "--window", "0.9:0.1"], "window"),
    (["steer", "x", "-c", "red=1", "--window", "late"], "late"),
    (["steer", "x", "-c", "red", "--strengths", "0:1:999"], "999"),
    (["steer", "x", "-c", "red", "--strengths", "low:high:3"], "low:high:3"),
    (["steer", "x", "-c", "pickled.safetensors=1"], "pickle"),
    (["steer", "x", "-c", "gone.safetensors=1"], "gone.safetensors"),
    (["concept", "learn", "n", "pickled.safetensors"], "pickled.safetensors"),
    (["concept", "learn", "n", "gone"], "gone"),
    (["concept", "show", "nothing"], "nothing"),
    (["evaluate", "--limit", "0"], "limit"),
    (["evaluate", "--what", "everything"], "--what"),
    (["app", "--port", "0"], "port"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD, ids=lambda v: " ".join(v)[:48] if isinstance(v, list) else "")
def test_bad_input_is_one_sentence_and_exit_2(rudder, arguments, named):
    Path("pickled.safetensors").write_bytes(b"\x80\x04\x95" + b"\0" * 64)
    code, out, err = rudder(*arguments)
    assert (code, out) == (2, "") and named in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1 and err.startswith("rudder: ")
    if arguments[0] != "app":
        code, out, _ = rudder(*arguments, "--json")
        assert code == 2 and named in json.loads(out)["error"]


def test_an_unwritable_place_is_bad_input(rudder, tmp_path: Path):
    (tmp_path / "file").write_text("")
    code, _, err = rudder("generate", "x", "--out", "file/picture.png", *FAST)
    assert code == 2 and "cannot be written" in err


def test_truncated_weights_are_bad_input(rudder, home: Path, tmp_path: Path):
    model = make_tiny_sd(tmp_path / "cut")
    weights = next((model / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    code, _, err = rudder("generate", "x", "--model", str(model), *FAST)
    assert code == 2 and "truncated" in err


def test_interruption_exits_130(rudder, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object):
        raise KeyboardInterrupt

    monkeypatch.setattr("steering.cli.commands.request", interrupted)
    code, _, err = rudder("generate", "x")
    assert code == 130 and "Interrupted" in err


def test_the_unexpected_is_json_too(rudder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def broken(*_: object, **__: object):
        raise RuntimeError("a bug")

    monkeypatch.setattr("steering.cli.commands.request", broken)
    with pytest.raises(RuntimeError):
        cli.main(["generate", "x", "--json"])
    assert json.loads(capsys.readouterr().out) == {"error": "Unexpected RuntimeError: a bug"}


def test_evaluate_calls_the_measures_it_is_asked_for(rudder, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def measure(name: str):
        def run(backbone, *, seed, limit, progress):
            progress(1, 2, name)
            asked.append((name, backbone.name, seed, limit))
            return {name: {"object": 0.5, "curve": [[0.0, 1.0]]}}

        return run

    every = ("prompts", "steering", "detection", "editability", "words", "groups")
    for name in every:
        monkeypatch.setattr(evaluation, name, measure(name))
    code, out, _ = rudder("evaluate", "--what", "all", "--limit", "3", "--seed", "7", "--json", "--out", "e.json")
    assert code == 0 and json.loads(out) == json.loads(Path("e.json").read_text())
    assert asked == [(name, "tiny-sd", 7, 3) for name in every]
    made = json.loads(out)["made"]
    assert list(json.loads(out)) == [*every, "made"] and {(one["seed"], one["limit"]) for one in made.values()} == {
        (7, 3)
    }
    assert "0.500" in rudder("evaluate", "--what", "prompts")[1]


def test_an_evaluation_keeps_other_parts_of_the_same_weights_and_none_of_others(rudder, monkeypatch):
    for name, value in (("prompts", 1), ("steering", 2)):
        monkeypatch.setattr(evaluation, name, lambda *_, v=value, n=name, **__: {n: {"value": v}})
    for name in ("steering", "prompts"):
        assert rudder("evaluate", "--what", name, "--out", "e.json")[0] == 0
    told = json.loads(Path("e.json").read_text())
    assert list(told) == ["prompts", "steering", "made"] and told["steering"] == {"value": 2}
    for strange in ({"fingerprint": "other"}, {}):
        Path("e.json").write_text(json.dumps(told | {"made": told["made"] | {"steering": strange}}))
        assert rudder("evaluate", "--what", "prompts", "--out", "e.json")[0] == 0
        assert set(json.loads(Path("e.json").read_text())) == {"prompts", "made"}

    def broken(*_, **__):
        raise RudderError("no")

    monkeypatch.setattr(evaluation, "steering", broken)
    monkeypatch.setattr(record, "PARTS", ("prompts", "steering"))
    Path("e.json").unlink()
    assert rudder("evaluate", "--what", "all", "--out", "e.json")[0] == 2
    assert set(json.loads(Path("e.json").read_text())) == {"prompts", "made"}, "what was measured is not lost"


def test_help_teaches_without_waiting_for_torch():
    environment = {**os.environ, "COLUMNS": "100"}
    for arguments in ([], ["steer"], ["concept", "learn"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "steering", *arguments, "--help"],
            capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=True, timeout=300,
        )  # fmt: skip
        assert "xample" in done.stdout or "Start with" in done.stdout
        assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_no_command_shows_the_help(rudder):
    code, out, _ = rudder()
    assert code == 2 and "Usage" in out


def test_small_readers():
    assert strengths_of("-1:2:4") == (-1.0, 0.0, 1.0, 2.0) and strengths_of("0, .5") == (0.0, 0.5)
    assert window_of("0.2:0.8") == Window(0.2, 0.8)
    assert [one.name for one in concepts_asked(["a=b=1", "c"], Recipe())] == ["a=b", "c"]
    assert slug("A red apple!") == "a-red-apple" and slug("…") == "untitled"
    assert numbered(Path("x"), 2) == Path("x-002.png")
    assert film(pictures(2), (0.0, 1.5), 3).width == 2 * 96 + 3
    assert table(["a", "b"], [["x", 1.0]]).splitlines()[-1] == "x  1.000"
    with pytest.raises(RudderError):
        strengths_of(",".join(["0"] * 100))


def _distance(one: Image.Image, two: Image.Image) -> int:
    """The largest difference of two pictures, in grey levels."""
    pairs = zip(one.convert("RGB").tobytes(), two.convert("RGB").tobytes(), strict=True)
    return max(abs(a - b) for a, b in pairs)
