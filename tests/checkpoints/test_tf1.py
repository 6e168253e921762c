"""TensorFlow checkpoints by name: exact both ways, damage told by file."""

import shutil

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.checkpoints import bundles
from tests.helpers import golden
from tfdl.checkpoints import tf1
from tfdl.engine.errors import UserError

PREFIX = "bert_model.ckpt"
SHARD = f"{PREFIX}.data-00000-of-00001"


@pytest.fixture
def copy(tmp_path):
    for name in (f"{PREFIX}.index", SHARD):
        shutil.copy(golden("bert", "tf1", name), tmp_path / name)
    return tmp_path


def test_reads_what_tensorflow_reads():
    prefix = str(golden("bert", "tf1")) + f"/{PREFIX}"
    arrays = tf1.read(prefix)
    expected = tf.train.list_variables(prefix)
    assert {name: list(array.shape) for name, array in arrays.items()} == dict(expected)
    assert arrays.keys() == set(tf1.list_names(prefix))
    some = tf1.read(prefix, lambda name: name.endswith("gamma"))
    assert some and all(name.endswith("gamma") for name in some)


def test_write_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "bert/kernel": rng.normal(size=(3, 5)).astype("f4"),
        "output_bias": np.array([np.nan, -0.0, 1e-45], "f4"),
        "global_step": np.int64(7),
        "half": np.arange(4).astype(ml_dtypes.bfloat16),
        "text": np.array([b"a", b"\xff\0b"], object),
        "empty": np.zeros((0, 3), "f4"),
    }
    prefix = tmp_path / "new" / "model.ckpt-7"
    tf1.write(prefix, arrays)
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        "model.ckpt-7.data-00000-of-00001",
        "model.ckpt-7.index",
    ]
    found = tf1.read(prefix)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes() or name == "text"
    assert found["text"].tolist() == arrays["text"].tolist()


def test_rewriting_the_golden_gives_the_same_bytes(tmp_path):
    arrays = tf1.read(golden("bert", "tf1"))
    tf1.write(tmp_path / PREFIX, arrays)
    original = golden("bert", "tf1", SHARD).read_bytes()
    assert (tmp_path / SHARD).read_bytes() == original


def test_failed_writes_leave_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        tf1.write(tmp_path / "file" / "model.ckpt", {"a": np.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_partitioned_variables_are_joined(tmp_path):
    full = np.arange(8, dtype="f4").reshape(4, 2)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=["w", "w"],
        shape_and_slices=["4 2 0,2:-", "4 2 2,2:-"],
        tensors=[full[:2], full[2:]],
    )
    np.testing.assert_array_equal(tf1.read(tmp_path / "m")["w"], full)


def test_many_variables_take_several_blocks(tmp_path):
    arrays = {f"{'scope' * 40}/{i:05d}": np.float32(i) for i in range(3000)}
    tf1.write(tmp_path / "m", arrays)
    assert tf1.read(tmp_path / "m") == arrays


def test_find(copy):
    for path in (copy, copy / PREFIX, copy / SHARD, copy / f"{PREFIX}.index"):
        assert tf1.find(path) == str(copy / PREFIX)
    for name in ("model.ckpt-1", "model.ckpt-2"):
        bundles.write(copy / name)
    with pytest.raises(UserError, match="holds 3 checkpoints"):
        tf1.find(copy)
    (copy / "checkpoint").write_text('model_checkpoint_path: "/old/model.ckpt-2"\n')
    assert tf1.find(copy) == str(copy / "model.ckpt-2")
    with pytest.raises(UserError, match="no such checkpoint"):
        tf1.find(copy / "model.ckpt-3")
    (copy / "sub").mkdir()
    with pytest.raises(UserError, match="holds no TensorFlow checkpoint"):
        tf1.find(copy / "sub")


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda path: (path / SHARD).unlink(), f"{SHARD}: no such file"),
        (lambda path: cut(path / SHARD, 100_000), f"of {SHARD}, which has 100,000"),
        (lambda path: cut(path / SHARD, 0), SHARD),
        (lambda path: flip(path / SHARD, 5000), "Checksum does not match"),
        (lambda path: cut(path / f"{PREFIX}.index", 1000), "index is truncated"),
        (lambda path: cut(path / f"{PREFIX}.index", 0), "index is empty"),
        (lambda path: flip(path / f"{PREFIX}.index", 60), "damaged"),
    ],
)
def test_damage_names_the_file(damage, told, copy):
    damage(copy)
    with pytest.raises(UserError, match=told) as caught:
        tf1.read(copy / PREFIX)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_any_flipped_bit_of_the_index_is_noticed_or_harmless(copy):
    expected = tf1.read(copy / PREFIX)
    path = copy / f"{PREFIX}.index"
    data = path.read_bytes()
    for at in range(0, len(data), 97):
        path.write_bytes(data)
        flip(path, at)
        try:
            found = tf1.read(copy / PREFIX)
        except UserError:
            continue
        assert found.keys() == expected.keys()


def shape(*sizes):
    def change(_, entry):
        del entry.shape.dim[:]
        for size in sizes:
            entry.shape.dim.add().size = size

    return change


def field(name, value):
    return lambda _, entry: setattr(entry, name, value)


def outside(_, entry):
    extent = entry.slices.add().extent.add()
    extent.start, extent.length = 90, 20


# With valid checksums; most of these make TensorFlow's own reader end the process.
HOSTILE = [
    (shape(-100), "has shape"),
    (shape(1 << 62, 1 << 10), "has shape"),
    (shape(*[1] * 300), "has shape"),
    (shape(1 << 40), "has 400 bytes"),
    (shape(99), "has 400 bytes"),
    (field("dtype", 77), "has dtype 77"),
    (field("dtype", 20), "has dtype 20"),
    (field("dtype", 21), "has dtype 21"),
    (field("shard_id", 5), "lies in data file 5 of 1"),
    (field("shard_id", -1), "lies in data file -1"),
    (field("offset", 1 << 50), "truncated"),
    (field("offset", -50), "negative place"),
    (field("size", 1 << 50), "truncated"),
    (outside, "slice outside of itself"),
    (lambda _, entry: entry.slices.add(), "slice of another rank"),
    (lambda header, _: setattr(header, "num_shards", 1 << 30), "data files"),
    (lambda header, _: setattr(header, "num_shards", 2), "no such file"),
    (lambda header, _: setattr(header, "endianness", 1), "big-endian"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_hostile_indexes(case, tmp_path):
    change, told = HOSTILE[case]
    bundles.write(tmp_path / "m", change)
    with pytest.raises(UserError, match=told):
        tf1.read(tmp_path / "m")


def test_hand_made_bundles_are_valid_otherwise(tmp_path):
    bundles.write(tmp_path / "m")
    expected = np.frombuffer(bundles.DATA, "f4")
    np.testing.assert_array_equal(tf1.read(tmp_path / "m")["w"], expected)
    records = [(b"", b""), (b"b", b""), (b"a", b"")]
    (tmp_path / "m.index").write_bytes(bundles.table(records, blocks=2))
    with pytest.raises(UserError, match="not in order"):
        tf1.read(tmp_path / "m")
