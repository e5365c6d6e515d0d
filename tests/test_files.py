"""Files are told apart by what is in them."""

from __future__ import annotations

import json
import pickle
import zipfile
from io import BytesIO

import pytest

from steering.errors import RudderError
from steering.files import safetensors_header


@pytest.mark.parametrize("length", [640, 896, 1152, 648])
def test_a_header_whose_length_looks_like_a_pickle_is_read(length: int):
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length).encode()
    data = length.to_bytes(8, "little") + header + bytes(4)
    assert safetensors_header(BytesIO(data), len(data), "x", "mend it")["x"]["shape"] == [1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", [{"weights": [0.0] * 9}, list(range(99)), "a text"], ids=["dict", "list", "text"])
def test_a_pickle_is_called_one(protocol: int, value: object):
    data = pickle.dumps(value, protocol)
    with pytest.raises(RudderError, match="is a Python pickle or zip, which Rudder never opens"):
        safetensors_header(BytesIO(data), len(data), "x", "mend it")


def test_a_zip_is_called_one():
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"")
    size = file.tell()
    file.seek(0)
    with pytest.raises(RudderError, match="is a Python pickle or zip"):
        safetensors_header(file, size, "x", "mend it")
