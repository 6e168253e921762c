"""HDF5 files: exact, and nothing read from anywhere else."""

import h5py
import numpy as np
import pytest

from tfdl.checkpoints import hdf5
from tfdl.engine.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def test_arrays_and_attributes(path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 5)).astype("f4")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"dense", b"out"])
        file.attrs["backend"] = "tensorflow"
        group = file.create_group("dense/dense")
        group.attrs["count"] = 3
        group["kernel:0"] = weights
        group.create_dataset("packed", data=np.arange(100), compression="gzip")
        group.create_dataset(
            "quick", data=np.arange(9), compression="lzf", shuffle=True
        )
        file["scalar"] = 2.5
        file["flags"] = np.array([True, False])
        file["text"] = np.array(["a", "bé"], object)
        file["bytes"] = np.array([b"ab", b"c"])
        file["none"] = np.zeros((0, 3), "f4")
    found = hdf5.read(path)
    np.testing.assert_array_equal(found.arrays["dense/dense/kernel:0"], weights)
    np.testing.assert_array_equal(found.arrays["dense/dense/packed"], np.arange(100))
    np.testing.assert_array_equal(found.arrays["dense/dense/quick"], np.arange(9))
    assert found.arrays["scalar"] == 2.5 and found.arrays["scalar"].shape == ()
    assert found.arrays["flags"].tolist() == [True, False]
    assert found.arrays["text"].tolist() == ["a", "bé"]
    assert found.arrays["bytes"].tolist() == [b"ab", b"c"]
    assert found.arrays["none"].shape == (0, 3)
    assert found.attributes[""]["layer_names"].tolist() == [b"dense", b"out"]
    assert found.attributes[""]["backend"] == "tensorflow"
    assert found.attributes["dense/dense"]["count"] == 3


def soft(file, _):
    file["b"] = h5py.SoftLink("/a")


def external(file, folder):
    file["b"] = h5py.ExternalLink(str(folder / "other.h5"), "/a")


def hard_cycle(file, _):
    file.create_group("g")["again"] = file["/"]


def second_name(file, _):
    file["b"] = file["a"]


def external_storage(file, folder):
    (folder / "secret").write_bytes(b"1234" * 4)
    place = [(str(folder / "secret"), 0, 16)]
    file.create_dataset("b", (4,), "f4", external=place)


def virtual(file, folder):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "a", (2,))
    file.create_virtual_dataset("b", layout)


def bomb(file, _):
    file.create_dataset("b", (1 << 40,), "f4", chunks=(1 << 10,))


def compressed_bomb(file, _):
    zeros = np.zeros(64 << 20, "u1")
    file.create_dataset("b", data=zeros, compression="gzip", chunks=(64 << 20,))


def deep(file, _):
    file.create_group("/".join("g" * 100))


def compound(file, _):
    file["b"] = np.zeros(2, [("x", "f4"), ("y", "i4")])


def reference(file, _):
    file["b"] = np.array([file["a"].ref], h5py.ref_dtype)


def wide_attribute(file, _):
    file.attrs["b"] = h5py.Empty("f4")
    file.create_dataset("c", (3,), h5py.vlen_dtype("f4"))


@pytest.mark.parametrize(
    "make, told",
    [
        (soft, "'b' is a link elsewhere"),
        (external, "'b' is a link elsewhere"),
        (hard_cycle, "second name"),
        (second_name, "second name"),
        (external_storage, "lies in other files"),
        (virtual, "lies in other files"),
        (bomb, "would take 4,398,046,511,104 bytes from 0 stored"),
        (deep, "nested deeper"),
        (compound, "has dtype"),
        (reference, "has dtype"),
        (wide_attribute, "has dtype"),
    ],
)
def test_hostile_files(make, told, path, tmp_path):
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(2, "f4")
        make(file, tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        hdf5.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_total_size_is_limited(path):
    with h5py.File(path, "w") as file:
        compressed_bomb(file, None)
    with pytest.raises(UserError, match="'b'.*would take 67,108,864 bytes"):
        hdf5.read(path, max_bytes=1 << 20)
    assert hdf5.read(path).arrays["b"].sum() == 0


def test_other_and_truncated_files(path):
    path.write_bytes(b"\x80\x02K\x01.")
    with pytest.raises(UserError, match="not an HDF5 file: it is a pickle"):
        hdf5.read(path)
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(5000.0)
    data = path.read_bytes()
    for end in (20, 100, 2000, len(data) - 100):
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match="damaged"):
            hdf5.read(path)
