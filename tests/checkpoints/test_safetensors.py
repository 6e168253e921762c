"""safetensors files: exact both ways, and headers that lie."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy as reference

from tests.helpers import golden
from tfdl.checkpoints import safetensors
from tfdl.engine.errors import UserError

GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def craft(path, header, data=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    path.write_bytes(size + text + data)
    return path


def test_golden_equals_the_library():
    path = golden("bert", "hf", "model.safetensors")
    expected = reference.load_file(path)
    found = safetensors.read(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert safetensors.read_metadata(path) == {"format": "pt"}


def test_write_is_exact_and_the_library_agrees(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "f4": rng.normal(size=(3, 5)).astype("f4"),
        "transposed": rng.normal(size=(3, 5)).astype("f4").T,
        "nan": np.array([np.nan, -0.0, np.inf], "f8"),
        "scalar": np.array(3, "i8"),
        "empty": np.zeros((0, 4), "f4"),
        "bool": np.array([True, False, True]),
        "big": np.arange(3, dtype=">u2"),
        "half": np.arange(3, dtype="f2"),
    }
    path = tmp_path / "new" / "a.safetensors"
    safetensors.write(path, arrays, {"format": "pt"})
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]
    for found in (safetensors.read(path), reference.load_file(path)):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype.newbyteorder("<")
    half = {"b": np.arange(5).astype(ml_dtypes.bfloat16)}
    safetensors.write(path, half)
    found = safetensors.read(path)["b"]
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found.astype("f4"), np.arange(5))
    assert safetensors.read_metadata(path) == {}
    with pytest.raises(UserError, match="cannot be written"):
        safetensors.write(path, {"o": np.array(["text"])})
    assert safetensors.read(path).keys() == {"b"}


@pytest.mark.parametrize(
    "header, told",
    [
        ({"a": {**GOOD, "data_offsets": [0, 12]}}, "in 12 bytes"),
        ({"a": {**GOOD, "shape": [1 << 40, 1 << 40]}}, "in 16 bytes"),
        ({"a": {**GOOD, "shape": [-2, -2]}}, "no valid dtype"),
        ({"a": {**GOOD, "shape": [2.0, 2]}}, "no valid dtype"),
        ({"a": {**GOOD, "shape": [True, 4]}}, "no valid dtype"),
        ({"a": {**GOOD, "shape": [1] * 100}}, "no valid dtype"),
        ({"a": {**GOOD, "shape": 4}}, "no valid dtype"),
        ({"a": {**GOOD, "data_offsets": [16, 0]}}, "in -16 bytes"),
        ({"a": {**GOOD, "data_offsets": [0]}}, "no valid dtype"),
        ({"a": {**GOOD, "dtype": "F33"}}, "unknown dtype"),
        ({"a": {**GOOD, "dtype": ["F32"]}}, "unknown dtype"),
        ({"a": [1]}, "no valid dtype"),
        ({"a": GOOD, "b": GOOD}, "'b' begins at byte 0"),
        ({"a": {**GOOD, "data_offsets": [4, 20]}}, "'a' begins at byte 4"),
        ({"a": {**GOOD, "shape": [2, 4], "data_offsets": [0, 32]}}, "truncated"),
        ({"a": {**GOOD, "shape": [2], "data_offsets": [0, 8]}}, "it has 16"),
        ([1, 2], "no JSON object"),
        (b"{" * 100_000, "JSON"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b'{"a": \xff}', "header is no text"),
    ],
)
def test_headers_that_lie(header, told, tmp_path):
    path = craft(tmp_path / "a.safetensors", header)
    with pytest.raises(UserError, match=told) as caught:
        safetensors.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_lengths_that_lie(tmp_path):
    path = tmp_path / "a.safetensors"
    for length, told in (
        (1 << 62, "not a safetensors file"),
        (0, "not a safetensors file"),
        (5000, "truncated"),
    ):
        craft(path, {"a": GOOD}, length=length)
        with pytest.raises(UserError, match=told):
            safetensors.read(path)
    for content in (b"", b"abc", b"<!DOCTYPE html>" + b" " * 50):
        path.write_bytes(content)
        with pytest.raises(UserError, match="empty|not a safetensors file"):
            safetensors.read(path)


def test_truncation_anywhere_is_told(tmp_path):
    data = golden("bert", "hf", "model.safetensors").read_bytes()
    path = tmp_path / "a.safetensors"
    for end in range(1, len(data), 9973):
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match="truncated|not a safetensors"):
            safetensors.read(path)


def shards(folder):
    safetensors.write(folder / "one.safetensors", {"a": np.zeros(2, "f4")})
    safetensors.write(folder / "two.safetensors", {"b": np.ones(3, "f4")})
    return {"a": "one.safetensors", "b": "two.safetensors"}


def test_sharded_folders(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    places = shards(tmp_path)
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    found = safetensors.read_sharded(index)
    np.testing.assert_array_equal(found["b"], [1, 1, 1])
    assert found.keys() == {"a", "b"}
    for changed, told in (
        ({**places, "b": "../two.safetensors"}, "not a plain file name"),
        ({**places, "b": "/etc/passwd"}, "not a plain file name"),
        ({**places, "b": "three.safetensors"}, "no such file"),
        ({**places, "c": "two.safetensors"}, "'c' and 0 more"),
        ({"a": "one.safetensors", "c": "two.safetensors"}, "'b' and 1 more"),
        ({}, "no weight_map"),
        ("x", "no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(UserError, match=told):
            safetensors.read_sharded(index)
