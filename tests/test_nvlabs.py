"""NVlabs' pickles: files built here in their layout come in whole; hostile ones are refused and nothing is executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from steering import cli
from steering.backbones import load, nvlabs
from steering.backbones.edm_network import VARIANTS, Config
from steering.backbones.nvlabs import convert, read
from steering.errors import RudderError
from steering.recipe import Recipe
from steering.sampling import finish, sample
from tests.tiny_edm import random_network, small

SOURCE = "raise SystemExit('the source of a module was executed')"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the original's function is called by nobody but the original")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class EasyDict(dict):
    """As NVlabs' dnnlib has it."""


EasyDict.__module__ = "dnnlib.util"


class Persistent:
    """Pickles as a class of NVlabs' decorated by persistent_class does."""

    def __init__(self, class_name: str, state: dict) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name, "state": self.state}
        return _reconstruct_persistent_obj, (meta,), None


@pytest.fixture(autouse=True)
def originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that pickling looks the names up in; reading must not need them."""
    for path, thing in (("torch_utils.persistence", _reconstruct_persistent_obj), ("dnnlib.util", EasyDict)):
        package, _, _ = path.partition(".")
        module = types.ModuleType(path)
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        monkeypatch.setitem(sys.modules, path, module)


def persistent(module: nn.Module, class_name: str = "", **more) -> Persistent:
    """One of our modules as the original's: parts are of its own classes, but the containers torch's."""
    state = dict(module.__dict__) | {"_init_args": (), "_init_kwargs": EasyDict(), **more}
    state.pop("config", None)
    state["_modules"] = OrderedDict((name, _part(part)) for name, part in module._modules.items())
    return Persistent(class_name or type(module).__name__, state)


def _part(part: nn.Module | None) -> object:
    if not isinstance(part, nn.ModuleDict):
        return None if part is None else persistent(part)
    mirror = nn.ModuleDict()
    mirror.__dict__["_modules"] = OrderedDict((name, persistent(one)) for name, one in part._modules.items())
    return mirror


def arguments(config: Config, **more) -> EasyDict:
    """What SongUNet is made with: names and values as NVlabs' training gives them."""
    variant = VARIANTS[config.architecture]
    return EasyDict(
        img_resolution=config.img_resolution, in_channels=3, out_channels=3, label_dim=config.label_dim,
        embedding_type="fourier" if variant.fourier else "positional",
        encoder_type="residual" if variant.residual else "standard", decoder_type="standard",
        channel_mult_noise=variant.noise_width, resample_filter=list(variant.resample_filter),
        model_channels=config.model_channels, channel_mult=list(config.channel_mult), num_blocks=config.num_blocks,
        attn_resolutions=list(config.attn_resolutions), augment_dim=config.augment_dim, dropout=config.dropout, **more,
    )  # fmt: skip


def published(config: Config, root: str = "EDMPrecond", inner: str = "SongUNet", **more) -> tuple[dict, dict]:
    """{"ema": network, ...} as in a file, and the weights in it."""
    network = random_network(config)
    network.requires_grad_(True)
    model = persistent(network.model, inner, _init_kwargs=arguments(config, **more))
    whole = persistent(network, root, sigma_min=0, sigma_max=float("inf"), sigma_data=np.float64(0.5), use_fp16=False)
    whole.state["_modules"]["model"] = model
    loss = Persistent("EDMLoss", {"P_mean": np.float32(-1.2), "sigma_data": 0.5})
    held = {"ema": whole, "loss_fn": loss, "dataset_kwargs": {"path": "cifar10.zip", "use_labels": True}}
    return held, network.state_dict()


def dumped(value: object, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("config", [
    small(augment_dim=9, dropout=0.13), small("ncsnpp", label_dim=0, augment_dim=9),
    small("ncsnpp", channel_mult=(1, 2, 2)),
], ids=["ddpmpp", "ncsnpp", "deeper"])  # fmt: skip
def test_a_file_becomes_a_model_with_the_same_weights(config: Config, protocol: int, tmp_path):
    held, weights = published(config)
    source = dumped(held, tmp_path / "edm.pkl", protocol)
    for name in ("torch_utils.persistence", "dnnlib.util"):
        del sys.modules[name]
    understood, tensors, null_class = read(source)
    assert understood == config and not null_class
    assert set(tensors) == set(weights) and all(torch.equal(weights[name], tensors[name]) for name in weights)
    classes = ["cat", "dog", "fish"] if config.label_dim else []
    assert convert(source, tmp_path / "full", torch.float32, classes) == config
    backbone = load(tmp_path / "full")
    assert (backbone.name, backbone.family) == ("full", "edm")
    assert tuple(backbone.classes.labels.values()) == tuple(classes)
    recipe = Recipe(prompt=classes[1] if classes else "", num_inference_steps=3, guidance_scale=1.0)
    ours = finish(sample(backbone, recipe)).latents
    network = random_network(config)
    x = torch.randn(1, 3, 16, 16)
    condition = backbone.condition([recipe.prompt])
    expected = network(x, torch.tensor(0.7), condition if config.label_dim else None)
    assert torch.equal(backbone.denoise(x, torch.tensor(0.7), condition), expected) and ours.isfinite().all()


def test_weights_are_halved_but_for_random_frequencies(tmp_path):
    held, weights = published(small("ncsnpp"))
    convert(dumped(held, tmp_path / "edm.pkl"), tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model" / "model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in stored.items()}
    assert kinds.pop("model.map_noise.freqs") == torch.float32 and set(kinds.values()) == {torch.float16}
    assert torch.equal(stored["model.map_noise.freqs"], weights["model.map_noise.freqs"])
    told = json.loads((tmp_path / "half" / "rudder.json").read_text())
    assert (told["num_inference_steps"], told["null_class"], told["classes"]) == (18, False, [])
    assert str(tmp_path) not in json.dumps(told)


def test_strides_halves_and_a_trained_null_class(tmp_path):
    """Tensors of other layouts and number types, and label dropout."""
    held, weights = published(small(), label_dropout=0.1)
    conv = held["ema"].state["_modules"]["model"].state["_modules"]["enc"]._modules["16x16_conv"].state["_parameters"]
    conv["weight"] = nn.Parameter(conv["weight"].detach().to(memory_format=torch.channels_last))
    conv["bias"] = torch.cat([torch.zeros(3), weights["model.enc.16x16_conv.bias"]])[3:].double()
    _, tensors, null_class = read(dumped(held, tmp_path / "edm.pkl"))
    assert null_class
    assert all(torch.equal(weights[name], tensors[name]) for name in weights)


def test_networks_that_rudder_does_not_have(tmp_path):
    cases = [
        (published(small(), "VPPrecond")[0], "named 'VPPrecond'"),
        (published(small(), inner="DhariwalUNet")[0], r"holds ADM's network \(DhariwalUNet\)"),
        (published(small(), inner="Other")[0], "holds Other, which Rudder does not have"),
        (published(small(), model_type="x")[0], "no entry in .*'model_type'"),
        ({"G_ema": 1}, "no network under 'ema'"),
        ([1, 2], "no network under 'ema'"),
    ]
    for change, words in [
        ({"decoder_type": "skip"}, "neither DDPM.. nor NCSN.. .*decoder_type skip"),
        ({"out_channels": 6}, "turns 3 channels into 6"),
        ({"num_blocks": 2}, "lacks model.enc.16x16_block1"),
        ({"model_channels": 32}, "has the shape"),
        ({"label_dropout": "often"}, "describes no network"),
    ]:
        held, _ = published(small())
        held["ema"].state["_modules"]["model"].state["_init_kwargs"].update(change)
        cases.append((held, words))
    for held, words in cases:
        with pytest.raises(RudderError, match=words) as caught:
            read(dumped(held, tmp_path / "other.pkl"))
        assert "\n" not in str(caught.value)


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *values, state=None) -> None:
        self.made = (function, values) if state is None else (function, values, state)

    def __reduce__(self):
        return self.made


def _hostile(tmp_path: Path) -> dict[str, tuple[object, str]]:
    mark = f"touch {tmp_path / 'executed'}"
    inner = io.BytesIO()
    torch.save(Calls(os.system, mark), inner, _use_new_zipfile_serialization=False)
    from torch.storage import _load_from_bytes

    code = f"open({str(tmp_path / 'executed')!r}, 'w')"
    return {
        "system": (Calls(os.system, mark), f"asks for {os.system.__module__}.system"),
        "eval": (Calls(eval, code), "asks for builtins.eval"),
        "exec in a network": ({"ema": Persistent("EDMPrecond", {"x": Calls(exec, code)})}, "asks for builtins.exec"),
        "getattr": (Calls(getattr, "a", "join"), "asks for builtins.getattr"),
        "popen": (Calls(__import__("subprocess").Popen, ["true"]), "asks for subprocess.Popen"),
        "torch.load": (Calls(torch.load, "x"), r"asks for torch\.serialization\.load"),
        "a whole module": (nn.Linear(1, 1), "asks for torch.nn.modules.linear.Linear"),
        "pickle in a pickle": (Calls(pickle.loads, pickle.dumps(Calls(eval, code))), "asks for _pickle.loads"),
        "nested": (Calls(_load_from_bytes, inner.getvalue()), f"asks for {os.system.__module__}.system"),
        "nested pickle": (Calls(_load_from_bytes, pickle.dumps(1)), "is not a whole pickle"),
        "state of a record": (Calls(OrderedDict, state={"a": 1}), "sets the state of _Dict"),
    }  # fmt: skip


HOSTILE = ["system", "eval", "exec in a network", "getattr", "popen", "torch.load", "a whole module",
           "pickle in a pickle", "nested", "nested pickle", "state of a record"]  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("protocol", [3, 4])
def test_what_asks_for_more_is_refused_by_name(case: str, protocol: int, tmp_path):
    value, words = _hostile(tmp_path)[case]
    with pytest.raises(RudderError, match=words) as caught:
        read(dumped(value, tmp_path / "bad.pkl", protocol))
    assert not (tmp_path / "executed").exists()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def op(*parts: bytes | str) -> bytes:
    return b"".join(part.encode() if isinstance(part, str) else part for part in parts)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


ODICT = b"ccollections\nOrderedDict\n"
STREAMS = {
    "empty": (b"", "not a whole pickle"),
    "no pickle": (b"hello", "not a whole pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "an archive of torch.save"),
    "posix": (b"cposix\nsystem\n(X\x04\x00\x00\x00truetR.", "asks for posix.system"),
    "dotted": (b"\x80\x04" + b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"),
    "inst": (b"(X\x04\x00\x00\x00trueios\nsystem\n.", "asks for os.system"),
    "old names": (b"c__builtin__\neval\n.", "asks for __builtin__.eval"),
    "persistent": (b"X\x01\x00\x00\x00aQ.", "not a whole pickle"),
    "memo": (b"]r\xff\xff\xff\x7f.", "larger pickle than a network needs"),
    "old memo": (b"]p2000000000\n.", "larger pickle than a network needs"),
    "bytes": (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "not a whole pickle"),
    "frame": (b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"].", "not a whole pickle"),
    "text": (b"X\xff\xff\xff\x7fx.", "not a whole pickle"),
    "number": (b"I" + b"9" * 10_000 + b"\n.", "not a whole pickle"),
    "deep key": (b"}" + b")" + b"\x85" * 200_000 + b"Ns.", "larger pickle than a network needs"),
    "as deep as allowed": (b"}" + b")" + b"\x85" * 19_000 + b"Ns.", "no network under 'ema'"),
    "many": (b"]" * 1_000_001 + b".", "larger pickle than a network needs"),
    "a class's state": (op(ODICT, "(N}", text("__new__"), "Nstb."), "__setstate__"),
    "an attribute": (op(ODICT, ")R", "(N}", text("__class__"), ODICT, "stb."), "sets the state"),
    "unfinished": (op(b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n", "(}tR."), "class name"),
    "made without": (op(b"\x80\x02", b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n", ")\x81."), "not a wh"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(STREAMS))
def test_streams_by_hand(case: str, tmp_path):
    data, words = STREAMS[case]
    (tmp_path / "bad.pkl").write_bytes(data)
    with pytest.raises(RudderError, match=words) as caught:
        read(tmp_path / "bad.pkl")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert nvlabs._Dict.__new__ is dict.__new__


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = pickle.dumps(published(small(label_dim=0, channel_mult=(1,), attn_resolutions=()))[0], 4)
    for share in range(0, 20):
        (tmp_path / "cut.pkl").write_bytes(whole[: len(whole) * share // 20])
        with pytest.raises(RudderError, match="not a whole pickle|not in the format"):
            read(tmp_path / "cut.pkl")


def storage(count: int = 4, claimed: int | None = None, held: int | None = None) -> bytes:
    """A tensor's stream of `count` numbers that claims others."""
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(range(count), dtype=torch.float32, _internal=True)
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    at = len(data) - 4 * count - 8
    assert int.from_bytes(data[at : at + 8], "little") == count
    head = data[:at].replace(b"K" + bytes([count]) + b"N", b"J" + (claimed or count).to_bytes(4, "little") + b"N")
    return head + (held or count).to_bytes(8, "little") + data[at + 8 :]


TENSORS = {
    "count": (storage(claimed=2**30), (0, (2,), (1,)), "claims 1073741824 numbers and holds 16 bytes"),
    "count in the data": (storage(held=2**40), (0, (2,), (1,)), "claims 4 numbers"),
    "both counts": (storage(claimed=2**30, held=2**30), (0, (2,), (1,)), "holds 16 bytes"),
    "past the end": (storage(), (0, (5,), (1,)), "claims more than its 4"),
    "offset": (storage(), (3, (2,), (1,)), "claims more than its 4"),
    "negative": (storage(), (-1, (2,), (1,)), "has the shape"),
    "negative side": (storage(), (0, (-2, -2), (1, 1)), "has the shape"),
    "expanded": (storage(), (0, (2**40, 2**40), (0, 0)), "claims more than its 4"),
    "overlapping": (storage(), (0, (4, 4), (1, 0)), "claims more than its 4"),
    "no strides": (storage(), (0, (2, 2), (1,)), "not a whole pickle"),
    "no numbers": (storage(), (0, ("a",), (1,)), "side is str"),
    "text": ("text", (0, (2,), (1,)), "bytes is str"),
}


@pytest.mark.parametrize("case", list(TENSORS))
def test_claims_of_tensors(case: str, tmp_path):
    from torch._utils import _rebuild_tensor_v2
    from torch.storage import _load_from_bytes

    data, shape, words = TENSORS[case]
    tensor = Calls(_rebuild_tensor_v2, Calls(_load_from_bytes, data), *shape, False, OrderedDict())
    with pytest.raises(RudderError, match=words):
        read(dumped({"ema": tensor}, tmp_path / "bad.pkl"))


def test_a_network_that_contains_itself_many_times(tmp_path):
    part = Persistent("EDMPrecond", {"_modules": {}})
    for _ in range(60):
        part = Persistent("EDMPrecond", {"_modules": {"a": part, "b": part}})
    held, _ = published(small())
    held["ema"].state["_modules"]["more"] = part
    with pytest.raises(RudderError, match="more than 20,000 modules"):
        read(dumped(held, tmp_path / "many.pkl"))


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "large.pkl"
    with path.open("wb") as file:
        file.truncate(nvlabs.FILE_LIMIT + 1)
    with pytest.raises(RudderError, match="at most 2,147,483,648"):
        read(path)
    with pytest.raises(RudderError, match="cannot be read"):
        read(tmp_path / "nothing.pkl")


def test_what_cannot_be_written(tmp_path):
    source = dumped(published(small())[0], tmp_path / "edm.pkl")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RudderError, match="is not empty"):
        convert(source, tmp_path / "full")
    with pytest.raises(RudderError, match="cannot be written"):
        convert(source, source)
    with pytest.raises(RudderError, match="2 class names are given for 3 classes"):
        convert(source, tmp_path / "new", classes=["a", "b"])
    held, _ = published(small())
    conv = held["ema"].state["_modules"]["model"].state["_modules"]["enc"]._modules["16x16_conv"].state["_parameters"]
    conv["bias"] = conv["bias"].detach() + 1e6
    with pytest.raises(RudderError, match="as float16 has values that are not finite .*: use float32"):
        convert(dumped(held, tmp_path / "loud.pkl"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dumped(published(small())[0], tmp_path / "edm.pkl")

    def rudder(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            cli.main(arguments)
        said = capsys.readouterr()
        return done.value.code, said.out, said.err

    code, out, _ = rudder("models", "convert", "edm.pkl", "ours", "--classes", "cat, dog, owl", "--json")
    told = json.loads(out)
    assert code == 0 and told["path"] == "ours" and told["config"]["architecture"] == "ddpmpp"
    assert tuple(load("ours").classes.labels.values()) == ("cat", "dog", "owl")
    assert "Try: rudder generate 'cat' --model plain" in rudder(
        "models", "convert", "edm.pkl", "plain", "--dtype", "float32", "--classes", "cat,dog,owl"
    )[1]  # fmt: skip
    code, out, _ = rudder("generate", "cat", "--model", "plain", "--steps", "2", "--out", "cat.png")
    assert code == 0 and (tmp_path / "cat.png").is_file()
    dumped(Calls(eval, "1"), tmp_path / "bad.pkl")
    code, out, err = rudder("models", "convert", "bad.pkl", "bad")
    assert code == 2 and "asks for builtins.eval" in err and not (tmp_path / "bad").exists()
    code, out, _ = rudder("models", "--json")
    assert code == 0 and isinstance(json.loads(out), list)
