"""Files of torch.save, in both layouts, without torch."""

import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.checkpoints import pickles
from tests.checkpoints.pickles import call, name, storage, tensor, value
from tests.helpers import golden
from tfdl.checkpoints import safetensors, torch_archive
from tfdl.engine.errors import UserError

DATA = {"0": np.arange(12, dtype="<f4"), "1": np.arange(4, dtype="<i8")}


def save(path, body, storages, legacy, **options):
    if legacy:
        path.write_bytes(pickles.stream(body, storages, **options))
    else:
        pickles.write_zip(path, body, storages, **options)
    return path


def one(legacy, shape=(3, 4), stride=(4, 1), offset=0, count=12, key="0", **options):
    """Returns the operations for a dict with one tensor."""
    view = (None,) if legacy else ()
    reference = storage(key, count, view=view)
    return value({"w": tensor(reference, shape, stride, offset, **options)})


def test_golden_stream_equals_safetensors():
    found = torch_archive.read(golden("bert", "hf", "pytorch_model_legacy.bin"))
    expected = safetensors.read(golden("bert", "hf", "model.safetensors"))
    assert len(found) == len(expected) + 1
    for key, array in expected.items():
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        np.testing.assert_array_equal(found[old], array)
        assert found[old].dtype == np.float32
    word = found["bert.embeddings.word_embeddings.weight"]
    assert np.shares_memory(found["cls.predictions.decoder.weight"], word)


@pytest.mark.parametrize("legacy", [True, False])
def test_nested_objects(legacy, tmp_path):
    view = (None,) if legacy else ()
    weights = tensor(storage("0", 12, place="cuda:0", view=view), (3, 4), (4, 1))
    ids = tensor(
        storage("1", 4, "Long", view=view, module="torch.cuda"), (4,), (1,), version=""
    )
    hooks = call("collections", "OrderedDict")
    body = {
        "epoch": 3,
        "rate": 0.5,
        "name": "resnet",
        "state": {
            "w": call("torch._utils", "_rebuild_parameter", weights, True, hooks)
        },
        "groups": [{"params": [1, 2], "betas": (0.9, 0.999)}, ids],
        "size": call("torch", "Size", (3, 4)),
        "none": None,
    }
    found = torch_archive.read(save(tmp_path / "a.pth", value(body), DATA, legacy))
    assert (found["epoch"], found["rate"], found["name"]) == (3, 0.5, "resnet")
    np.testing.assert_array_equal(found["state"]["w"], DATA["0"].reshape(3, 4))
    assert found["groups"][0] == {"params": [1, 2], "betas": (0.9, 0.999)}
    np.testing.assert_array_equal(found["groups"][1], DATA["1"])
    assert found["size"] == (3, 4) and found["none"] is None


@pytest.mark.parametrize("legacy", [True, False])
def test_strided_shared_and_empty_tensors(legacy, tmp_path):
    view = (None,) if legacy else ()
    reference = storage("0", 12, view=view)
    body = {
        "transposed": tensor(reference, (4, 3), (1, 4)),
        "column": tensor(reference, (3,), (4,), 1),
        "scalar": tensor(reference, (), (), 11),
        "expanded": tensor(reference, (2, 3), (0, 1)),
        "empty": tensor(reference, (0, 5), (5, 1)),
    }
    path = save(tmp_path / "a.pth", value(body), {"0": DATA["0"]}, legacy)
    found = torch_archive.read(path)
    full = DATA["0"].reshape(3, 4)
    np.testing.assert_array_equal(found["transposed"], full.T)
    np.testing.assert_array_equal(found["column"], full[:, 1])
    np.testing.assert_array_equal(found["scalar"], 11)
    np.testing.assert_array_equal(found["expanded"], [[0, 1, 2], [0, 1, 2]])
    assert found["empty"].shape == (0, 5)
    assert np.shares_memory(found["transposed"], found["column"])


def test_storage_views_of_old_streams(tmp_path):
    whole = storage("0", 12, view=(None,))
    part = storage("0", 12, view=(("v", 4, 3),))
    body = {"a": tensor(whole, (12,), (1,)), "b": tensor(part, (3,), (1,))}
    path = save(tmp_path / "a.pth", value(body), {"0": DATA["0"]}, True)
    np.testing.assert_array_equal(torch_archive.read(path)["b"], [4, 5, 6])
    outside = {"b": tensor(storage("0", 12, view=(("v", 10, 3),)), (3,), (1,))}
    path = save(tmp_path / "b.pth", value(outside), {"0": DATA["0"]}, True)
    with pytest.raises(UserError, match="a view of 10"):
        torch_archive.read(path)


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("Double", "f8"),
        ("Half", "f2"),
        ("BFloat16", ml_dtypes.bfloat16),
        ("Int", "i4"),
        ("Short", "i2"),
        ("Char", "i1"),
        ("Byte", "u1"),
        ("Bool", "?"),
    ],
)
@pytest.mark.parametrize("legacy", [True, False])
def test_dtypes(legacy, kind, dtype, tmp_path):
    array = np.array([0, 1, 1, 0]).astype(dtype)
    reference = storage("0", 4, kind, view=(None,) if legacy else ())
    body = value([tensor(reference, (2, 2), (2, 1))])
    found = torch_archive.read(save(tmp_path / "a.pth", body, {"0": array}, legacy))[0]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found.astype("f4"), [[0, 1], [1, 0]])


def test_big_endian_files(tmp_path):
    facts = {"protocol_version": 1001, "little_endian": False}
    storages = {"0": DATA["0"]}
    path = save(tmp_path / "a.pth", one(True), storages, True, facts=facts)
    np.testing.assert_array_equal(torch_archive.read(path)["w"].ravel(), DATA["0"])
    swapped = {"0": DATA["0"].byteswap()}
    extra = [("model/byteorder", "big")]
    path = save(tmp_path / "b.pth", one(False), swapped, False, extra=extra)
    np.testing.assert_array_equal(torch_archive.read(path)["w"].ravel(), DATA["0"])
    extra = [("model/byteorder", "middle")]
    path = save(tmp_path / "c.pth", one(False), swapped, False, extra=extra)
    with pytest.raises(UserError, match="byte order"):
        torch_archive.read(path)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"shape": (4, 4)}, "reaches element 15 of a storage of 12"),
        ({"offset": 1}, "reaches element 12"),
        ({"offset": -1}, "whole number"),
        ({"stride": (-4, 1)}, "whole number"),
        ({"stride": (1 << 61, 1)}, "whole number"),
        ({"shape": (3,)}, "size"),
        ({"shape": (1 << 30, 1 << 29), "stride": (0, 0)}, "larger than the file"),
        ({"count": 1 << 40}, "more data than its"),
        ({"count": 13}, "not 52|has 12 elements, not 13"),
        ({"key": "7"}, "data/7|list of storages"),
        ({"version": "_v9"}, "refused"),
    ],
)
def test_tensors_that_lie(legacy, options, message, tmp_path):
    body = one(legacy, **options)
    path = save(tmp_path / "a.pth", body, {"0": DATA["0"]}, legacy)
    with pytest.raises(UserError, match=message) as caught:
        torch_archive.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_is_refused_and_not_run(legacy, tmp_path):
    mark = tmp_path / "ran"
    for module, function in (("posix", "system"), ("os", "system"), ("nt", "system")):
        body = value({"w": call(module, function, f"touch {mark}")})
        path = save(tmp_path / "a.pth", body, {}, legacy)
        with pytest.raises(
            UserError, match=f"'{module}.system'.*nothing of it was run"
        ):
            torch_archive.read(path)
        assert not mark.exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_whole_models_are_refused_with_advice(legacy, tmp_path):
    body = name("torch.nn.modules.linear", "Linear") + b")\x81"
    path = save(tmp_path / "a.pth", body, {}, legacy)
    with pytest.raises(
        UserError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"
    ):
        torch_archive.read(path)
    if legacy:
        body = value(("module", name("torch", "Size"), "net.py", "class Net: pass"))
        path = save(path, body + b"Q", {}, legacy)
        with pytest.raises(UserError, match="whole pickled model.*state_dict"):
            torch_archive.read(path)


@pytest.mark.parametrize("legacy", [True, False])
def test_truncation_anywhere_is_told(legacy, tmp_path):
    path = save(tmp_path / "a.pth", one(legacy), {"0": DATA["0"]}, legacy)
    data = path.read_bytes()
    assert torch_archive.read(path)["w"].shape == (3, 4)
    for end in range(1, len(data), 11):
        path.write_bytes(data[:end])
        with pytest.raises(UserError) as caught:
            torch_archive.read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_zips(tmp_path):
    path = tmp_path / "a.pth"
    good = {"0": DATA["0"]}
    pickles.write_zip(path, one(False), good)
    data = bytearray(path.read_bytes())
    at = data.index(DATA["0"].tobytes())
    data[at + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="CRC"):
        torch_archive.read(path)
    pickles.write_zip(path, one(False), {})
    with pytest.raises(UserError, match="'model/data/0' is missing"):
        torch_archive.read(path)
    pickles.write_zip(path, one(False), {"0": DATA["0"][:5]})
    with pytest.raises(UserError, match="has 20 bytes, not 48"):
        torch_archive.read(path)
    pickles.write_zip(path, one(False), good, compress=True)
    with pytest.raises(UserError, match="is compressed"):
        torch_archive.read(path)
    pickles.write_zip(path, one(False), good, [("model/constants.pkl", "")])
    with pytest.raises(UserError, match="TorchScript"):
        torch_archive.read(path)
    with pytest.warns(UserWarning, match="Duplicate"):
        pickles.write_zip(path, one(False), good, [("model/data/0", b"x" * 48)])
    with pytest.raises(UserError, match="two members"):
        torch_archive.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"no data\.pkl"):
        torch_archive.read(path)


def test_encrypted_zips_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    pickles.write_zip(path, one(False), {"0": DATA["0"]})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"):
        torch_archive.read(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<!DOCTYPE html><html>", "HTML page: the download failed"),
        (b"version https://git-lfs.github.com/spec/v1", "was not downloaded"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "an HDF5 file"),
        (b"nonsense", "of no known format"),
        (b"\x80\x02K\x01.", "not one of torch.save"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_told_apart(content, message, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        torch_archive.read(path)


def test_versions_of_the_stream(tmp_path):
    data = pickles.stream(one(True), {"0": DATA["0"]})
    old = pickles.pickled(value(1001))
    assert data.count(old) == 1
    path = tmp_path / "a.pth"
    path.write_bytes(data.replace(old, pickles.pickled(value(1002))))
    with pytest.raises(UserError, match="version 1002"):
        torch_archive.read(path)
