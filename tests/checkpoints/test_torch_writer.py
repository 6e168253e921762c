"""What is written is what is read, of every type."""

import numpy as np
import pytest

from tfdl.checkpoints import torch_archive, torch_writer
from tfdl.engine import errors


def test_round_trip(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "scalar": np.array(0.5, np.float32),
        "empty": np.zeros([0, 3], np.float32),
        "kernel": random.normal(size=[3, 2, 3, 3]).astype(np.float32),
        "transposed": random.normal(size=[4, 5]).astype(np.float32).T,
        "big-endian": np.arange(3, dtype=">f4").astype("<f4"),
        "half": np.arange(4, dtype=np.float16),
        "double": np.arange(4, dtype=np.float64),
        "counter": np.array(7, np.int64),
        "größe": np.arange(3, dtype=np.int32),
    }
    path = tmp_path / "m.pth"
    torch_writer.write(path, arrays)
    found = torch_archive.read(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    again = tmp_path / "again.pth"
    torch_writer.write(again, dict(found))
    assert again.read_bytes() == path.read_bytes()


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(errors.UserError, match="cannot write"):
        torch_writer.write(tmp_path, {"x": np.zeros(1, np.float32)})
