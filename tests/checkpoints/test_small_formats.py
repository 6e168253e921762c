"""NumPy files, zip archives, and putting arrays into variables."""

import io
import os
import stat
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tfdl.checkpoints import archives, mapping, npy, sniff
from tfdl.engine.errors import UserError

# --- NumPy's own files -----------------------------------------------------------


def test_npy_and_npz_are_exact(tmp_path):
    arrays = {
        "c": np.arange(6, dtype="f4").reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "scalar": np.array(4),
        "text": np.array(["a", "bc"]),
        "empty": np.zeros((0, 2)),
    }
    for name, array in arrays.items():
        np.save(tmp_path / "a.npy", array)
        found = npy.read(tmp_path / "a.npy")
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype, name
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = npy.read_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def npy_bytes(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content, told",
    [
        (npy_bytes("{'descr':'<f4','fortran_order':False,'shape':(1<<40,)}"), "not a"),
        (
            npy_bytes("{'descr':'<f4','fortran_order':False,'shape':(999999999999,)}"),
            "0 bytes of data for .999999999999",
        ),
        (npy_bytes("{'descr':'<f4','fortran_order':False,'shape':(-1,)}"), "bytes of"),
        (npy_bytes("{'descr':'O','fortran_order':False,'shape':(1,)}"), "objects"),
        (npy_bytes("{'descr':'<f4','fort"), "not a NumPy array"),
        (npy_bytes("__import__('os').system('true')"), "not a NumPy array"),
        (b"\x93NUMPY\x09\x00", "not a NumPy array"),
        (b"<html>", "it is an HTML page"),
    ],
)
def test_hostile_npy(content, told, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        npy.read(path)
    assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(UserError, match=r"a\.npz \('x\.npy'\)"):
        npy.read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(UserError, match="pickled objects"):
        npy.read(tmp_path / "a.npy")


def test_truncated_npy(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100))
    data = (tmp_path / "a.npy").read_bytes()
    for end in range(1, len(data), 37):
        (tmp_path / "a.npy").write_bytes(data[:end])
        with pytest.raises(UserError):
            npy.read(tmp_path / "a.npy")


# --- zip archives ----------------------------------------------------------------


def craft(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def test_unpack(tmp_path):
    path = craft(
        tmp_path / "a.zip", ("m/", ""), ("m/a.txt", "one"), ("b.bin", b"\0" * 9)
    )
    written = archives.unpack(path, tmp_path / "out")
    assert sorted(file.name for file in written) == ["a.txt", "b.bin"]
    assert (tmp_path / "out" / "m" / "a.txt").read_text() == "one"


def link():
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    "name, told",
    [
        ("../evil", "leads out"),
        ("m/../../evil", "leads out"),
        ("/tmp/evil", "leads out"),
        ("..\\evil", "leads out"),
        ("C:\\evil", "leads out"),
        (link(), "link or a device"),
    ],
)
def test_members_that_lead_out(name, told, tmp_path):
    path = craft(tmp_path / "a.zip", ("good", "1"), (name, "/etc/passwd"))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=told):
        archives.unpack(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]
    assert os.listdir(tmp_path / "out") == []


def test_bombs(tmp_path):
    path = craft(tmp_path / "a.zip", ("zeros", b"\0" * (64 << 20)))
    with pytest.raises(UserError, match="decompression bomb"):
        archives.unpack(path, tmp_path / "out")
    path = craft(tmp_path / "b.zip", *((f"{i}", os.urandom(1000)) for i in range(9)))
    with pytest.raises(UserError, match="unpacks to 9,000 bytes, the limit is 5,000"):
        archives.unpack(path, tmp_path / "out", max_bytes=5000)
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_it_says(tmp_path):
    path = craft(tmp_path / "a.zip", ("x", b"\0" * 5000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "x").stat().st_size <= 10


def test_overlapping_members(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("0", os.urandom(5000))
        first = archive.infolist()[0]
        for i in range(1, 5):
            again = zipfile.ZipInfo(f"{i}")
            for field in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="overlap"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_truncated_zips(tmp_path):
    data = craft(tmp_path / "a.zip", ("x", os.urandom(500))).read_bytes()
    for end in range(1, len(data), 50):
        (tmp_path / "a.zip").write_bytes(data[:end])
        with pytest.raises(UserError, match="truncated or damaged|not a zip"):
            archives.unpack(tmp_path / "a.zip", tmp_path / "out")


# --- putting arrays into variables -------------------------------------------------


class Variable:
    """What `assign` needs of a Keras variable."""

    def __init__(self, *shape):
        self.shape, self.value = shape, None

    def assign(self, value):
        self.value = value


def test_assign_converts_and_returns_what_was_absent():
    variables = {"a": Variable(2), "b": Variable(3), "c": Variable()}
    arrays = {"a": np.arange(2).astype(ml_dtypes.bfloat16), "b": np.arange(3.0)}
    assert mapping.assign(variables, arrays, "file", optional=["c", "b"]) == ["c"]
    assert variables["a"].value.dtype == variables["b"].value.dtype == np.float32
    np.testing.assert_array_equal(variables["b"].value, [0, 1, 2])
    assert variables["c"].value is None


def test_all_problems_are_told_at_once_and_nothing_is_assigned():
    variables = {f"v{i}": Variable(2) for i in range(9)} | {"text": Variable(1)}
    arrays = {"v0": np.zeros(2), "v1": np.zeros((1, 2)), "text": np.array(["x"])}
    arrays |= {"odd\n": np.zeros(1), "long" * 100: np.zeros(1)}
    with pytest.raises(UserError) as caught:
        mapping.assign(variables, arrays, "model.bin", optional=["v8"])
    message = str(caught.value)
    assert message.startswith("model.bin does not fit the model: ")
    assert "6 missing (v2, v3, v4, v5, v6, and 1 more)" in message
    assert "2 unexpected ('odd\\n'" in message
    assert "2 misfitting (text of dtype <U1, v1 [1, 2] instead of [2])" in message
    assert "\n" not in message and len(message) < 500
    assert all(variable.value is None for variable in variables.values())


def test_kinds_of_files(tmp_path):
    path = tmp_path / "file"
    for content, kind in (
        (b"PK\x03\x04", sniff.ZIP),
        (b"\n <html>", sniff.HTML),
        (b"\x08\0\0\0\0\0\0\0{}", sniff.SAFETENSORS),
        (b"\0" * 257 + b"ustar", sniff.TAR),
        (b"\x80", sniff.UNKNOWN),
    ):
        path.write_bytes(content)
        assert sniff.kind(path) == kind
