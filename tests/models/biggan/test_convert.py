"""Checkpoints of every format: exact pictures, exact round trips, clear refusals."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

import tfdl
from tests.checkpoints import pickles
from tests.helpers import golden
from tfdl.checkpoints import tf1, torch_archive, torch_writer
from tfdl.convert import main as convert_main
from tfdl.engine import errors, model_dir
from tfdl.models.biggan import model as biggan
from tfdl.models.biggan import sources
from tfdl.models.biggan.convert import convert, to_original
from tfdl.models.biggan.names import named_variables


def copied(tmp_path, *parts):
    """Returns a copy of a golden that may be changed."""
    source = golden("biggan", *parts)
    target = tmp_path / source.name
    copy = shutil.copytree if source.is_dir() else shutil.copyfile
    copy(source, target)
    return target


def weights(network):
    """Returns a network's state by name."""
    return {name: v.numpy() for name, v in named_variables(network).items()}


def assert_equal(first, second):
    """Checks that two networks or state dicts hold the same, bit for bit."""
    if not isinstance(first, dict):
        first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert np.shape(value) == np.shape(second[name]), name
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def close(model, arrays, i):
    """Returns how far hf_deep's picture i is off."""
    batch = {
        "z": arrays[f"z_{i}"],
        "label": arrays["class_ids"],
        "truncation": float(arrays["truncations"][i]),
    }
    expected = arrays[f"out_{i}"].transpose(0, 2, 3, 1)
    image = model(batch)["image"].numpy()
    step = image.shape[1] // expected.shape[1]
    return np.abs(image[:, ::step, ::step] - expected).max()


@pytest.mark.parametrize("source", ["hf_deep", "tfhub_deep"])
def test_deep_with_tables(tmp_path, source):
    summary = convert(golden("biggan", source), tmp_path / "m")
    model = tfdl.load(str(tmp_path / "m"))
    arrays = np.load(golden("biggan", "hf_deep", "io.npz"))
    # The other truncations are tested through the folded network.
    for i in (0, 2, 3, 4) if source == "hf_deep" else (1, 7):
        assert close(model, arrays, i) < 5e-5, arrays["truncations"][i]
    assert summary["format"] == source.partition("_")[0]
    assert summary["network"] == "BigGAN-deep" and summary["resolution"] == 32
    assert to_original(tmp_path / "m", tmp_path / "o")["format"] == "hf"
    written = torch_archive.read(tmp_path / "o" / "pytorch_model.bin")
    original = sources.state_dict(golden("biggan", "hf_deep", "pytorch_model.bin"))
    for name, value in original.items():
        np.testing.assert_allclose(written[name], value, atol=2e-7, err_msg=name)
    config = json.loads((tmp_path / "o" / "config.json").read_text())
    given = json.loads(golden("biggan", "hf_deep", "config.json").read_text())
    assert config == given
    if source == "hf_deep":
        assert_equal(dict(written), original)
        batch = {
            "z": arrays["z_0"],
            "label": arrays["class_ids"],
            "truncation": 0.5,
        }
        for name in ("train_mode_out_0_s", "train_mode_out_0_second_s"):
            found = model(batch, training=True)["image"].numpy()[:, ::8, ::8]
            expected = arrays[name].transpose(0, 2, 3, 1)
            assert np.abs(found - expected).max() < 1e-5


def test_module_of_512_pixels(tmp_path):
    summary = convert(golden("biggan", "tfhub_biggan512"), tmp_path / "m")
    model = tfdl.load(str(tmp_path / "m"))
    arrays = np.load(golden("biggan", "tfhub_biggan512", "io.npz"))
    found = model({"z": arrays["z"], "label": arrays["y"]})["image"].numpy()
    step = int(arrays["stride"])
    expected = arrays["out_strided"].transpose(0, 2, 3, 1)
    assert np.abs(found[:, ::step, ::step] - expected).max() < 3e-5
    expected = arrays["out_patch_first"].transpose(0, 2, 3, 1)
    assert np.abs(found[:1, :16, :16] - expected).max() < 3e-5
    assert summary["resolution"] == 512
    assert "Generator/conv_2d/u1" in summary["skipped"]
    assert summary["mapping"]["Generator.GBlock_6"]["tensors"] == 21
    # In BigGAN-PyTorch's format it is the same generator.
    to_original(tmp_path / "m", tmp_path / "o")
    options = {"batch_norm_epsilon": 1e-4, "spectral_epsilon": "1e-4"}
    convert(tmp_path / "o" / "G.pth", tmp_path / "again", **options)
    assert_equal(model, tfdl.load(str(tmp_path / "again")))


def test_deep_statistics_that_are_missing(tmp_path):
    source = copied(tmp_path, "tfhub_deep")
    path = source / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = message.meta_graphs[0].graph_def.node
    for node in nodes:
        # As after instantiation; one row of a packed table is gone.
        node.name = node.name.replace("c11_3", "gone")
    path.write_bytes(message.SerializeToString())
    with pytest.raises(errors.UserError, match=r"1 missing \(the graph's.* stack_11"):
        convert(source, tmp_path / "m")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(errors.UserError, match=r"saved_model\.pb is damaged"):
        convert(source, tmp_path / "m")
    path.unlink()
    with pytest.raises(errors.UserError, match=r"needs the module's saved_model\.pb"):
        convert(source, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_names_within_a_larger_graph(tmp_path):
    arrays = tf1.read(golden("biggan", "tfhub_biggan512", "variables"))
    for prefix, without in (("module/", ""), ("", "/ema_b999900")):
        given = {
            prefix + name: array
            for name, array in arrays.items()
            if not without or without not in name
        }
        if without:
            given = {name.replace(without, ""): array for name, array in arrays.items()}
        folder = tmp_path / f"v{len(prefix)}"
        folder.mkdir()
        tf1.write(folder / "variables", given)
        summary = convert(folder, tmp_path / "m")
        assert bool(summary["notes"]) == bool(without)


@pytest.mark.parametrize(
    "folder", ["ajb_cifar", "ajb_hier64", "ajb_deep", "ajb_mybn_standing"]
)
def test_biggan_pytorch_round_trip(tmp_path, folder):
    source = golden("biggan", folder)
    summary = convert(source, tmp_path / "m")
    assert summary["format"] == "ajb"
    to_original(tmp_path / "m", tmp_path / "o")
    for path in source.glob("*.pth"):
        given = dict(torch_archive.read(path))
        assert_equal(dict(torch_archive.read(tmp_path / "o" / path.name)), given)
    convert(tmp_path / "o", tmp_path / "again")
    first, second = (tfdl.load(str(tmp_path / name)) for name in ("m", "again"))
    assert_equal(first, second)
    if (source / "D.pth").exists():
        assert set(summary["parameters"]) == {"generator", "discriminator"}
        assert_equal(first.load_discriminator(), second.load_discriminator())
    else:
        assert first.load_discriminator() is None


def test_averages_copies_and_training_state(tmp_path):
    source = tmp_path / "run"
    source.mkdir()
    arrays = dict(torch_archive.read(golden("biggan", "ajb_cifar", "G.pth")))
    averaged = {name: 0.5 * array for name, array in arrays.items()}
    torch_writer.write(
        source / "G_copy0.pth", {f"module.{n}": arrays[n] for n in arrays}
    )
    torch_writer.write(source / "G_ema_copy0.pth", averaged)
    shutil.copyfile(golden("biggan", "ajb_cifar", "D.pth"), source / "D_copy0.pth")
    for name in ("G_optim_copy0.pth", "state_dict_copy0.pth"):
        (source / name).write_bytes(
            pickles.pickled(pickles.call("os", "system", "echo bad"))
        )
    with pytest.raises(errors.UserError, match="its copies as suffix: copy0"):
        convert(source, tmp_path / "m")
    summary = convert(source, tmp_path / "m", suffix="copy0")
    assert summary["skipped"] == ["G_optim_copy0.pth", "state_dict_copy0.pth"]
    model = tfdl.load(str(tmp_path / "m"))
    training = biggan.load_training_generator(tmp_path / "m")
    for name, value in weights(training).items():
        np.testing.assert_array_equal(weights(model)[name], 0.5 * value)
    to_original(tmp_path / "m", tmp_path / "o")
    assert_equal(dict(torch_archive.read(tmp_path / "o" / "G.pth")), arrays)
    assert_equal(dict(torch_archive.read(tmp_path / "o" / "G_ema.pth")), averaged)
    for name in ("G_optim_copy0.pth", "state_dict_copy0.pth"):
        with pytest.raises(errors.UserError, match="state of a training run"):
            convert(source / name, tmp_path / "n")


def test_discriminator_by_itself(tmp_path):
    source = golden("biggan", "ajb_deep", "D.pth")
    summary = convert(source, tmp_path / "m")
    assert set(summary["parameters"]) == {"discriminator"}
    network = tfdl.load(str(tmp_path / "m"))
    arrays = np.load(golden("biggan", "ajb_deep", "io.npz"))
    image = (arrays["x_u8"].astype("float32") / 127.5 - 1).transpose(0, 2, 3, 1)
    found = network({"image": image, "label": arrays["y"]})["logits"]
    np.testing.assert_allclose(found, arrays["D/eval/out"][:, 0], rtol=1e-5)
    to_original(tmp_path / "m", tmp_path / "o")
    given = dict(torch_archive.read(source))
    assert_equal(dict(torch_archive.read(tmp_path / "o" / "D.pth")), given)


def test_folded_model_directory(tmp_path):
    arrays = np.load(golden("biggan", "hf_deep", "io.npz"))
    convert(golden("biggan", "hf_deep"), tmp_path / "m", fold=True, truncation=0.5)
    model = tfdl.load(str(tmp_path / "m"))
    assert close(model, arrays, 0) < 1e-5
    assert not any(name.endswith((".u", ".v")) for name in weights(model))
    assert model.config.statistics == "running"
    with pytest.raises(errors.UserError, match="cannot be written as hf"):
        to_original(tmp_path / "m", tmp_path / "o", format="hf")


def test_zip_layout_and_the_verb(tmp_path, capsys):
    source = golden("biggan", "train_steps", "D_0.pth")
    assert zipfile.is_zipfile(source)
    flags = ["--model=biggan", f"--source={source}", f"--output={tmp_path / 'm'}"]
    assert convert_main(["convert", *flags]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["parameters"] == {"discriminator": 4457} and found["classes"] == 4
    assert model_dir.read_config(tmp_path / "m")["generator"] is None


def change(arrays, kind):
    """Spoils a state dict."""
    if kind == "missing":
        del arrays["blocks.1.0.conv2.bias"], arrays["blocks.0.0.bn1.stored_mean"]
    elif kind == "unexpected":
        arrays["blocks.0.0.extra"] = np.zeros(1, np.float32)
    elif kind == "misfitting":
        arrays["blocks.1.0.conv2.weight"] = np.zeros([12, 5, 3, 3], np.float32)
    elif kind == "nan":
        arrays["linear.bias"] = np.full(192, np.nan, np.float32)
    return arrays


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", r"2 missing \(.*bn1.stored_mean.*conv2.bias"),
        ("unexpected", r"1 unexpected \(blocks\.0\.0\.extra\)"),
        ("misfitting", r"conv2.weight \[12, 5, 3, 3\] instead of \[12, 12, 3, 3\]"),
        ("nan", r"1 with NaN or Inf \(linear\.bias\)"),
    ],
)
def test_what_does_not_fit(tmp_path, kind, told):
    arrays = change(
        dict(torch_archive.read(golden("biggan", "ajb_cifar", "G.pth"))), kind
    )
    torch_writer.write(tmp_path / "G.pth", arrays)
    with pytest.raises(errors.UserError, match=told):
        convert(tmp_path / "G.pth", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_other_variants_and_files(tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copyfile(golden("biggan", "ajb_deep", "G.pth"), mixed / "G.pth")
    shutil.copyfile(golden("biggan", "ajb_cifar", "D.pth"), mixed / "D.pth")
    with pytest.raises(
        errors.UserError, match="G.pth is a BigGAN-deep, D.pth is a Big"
    ):
        convert(mixed, tmp_path / "m")
    shutil.copyfile(mixed / "D.pth", mixed / "G_ema.pth")
    with pytest.raises(errors.UserError, match="G_ema.pth holds a discriminator"):
        convert(mixed, tmp_path / "m")
    path = tmp_path / "other.pth"
    torch_writer.write(path, {"fc.weight": np.zeros([2, 2], np.float32)})
    with pytest.raises(errors.UserError, match="is no BigGAN checkpoint: it holds 1"):
        convert(path, tmp_path / "m")
    path.write_bytes(pickles.pickled(pickles.call("os", "system", "echo bad")))
    with pytest.raises(errors.UserError):
        convert(path, tmp_path / "m")
    folder = copied(tmp_path, "hf_deep")
    (folder / "config.json").unlink()
    with pytest.raises(errors.UserError, match=r"needs its config\.json"):
        convert(folder, tmp_path / "m")
    with pytest.raises(errors.UserError, match="no such file or folder"):
        convert(tmp_path / "nowhere", tmp_path / "m")
    with pytest.raises(errors.UserError, match="would replace the source"):
        convert(folder, folder)
    with pytest.raises(
        errors.UserError, match="unknown option of biggan's convert 'ep"
    ):
        convert(folder, tmp_path / "m", epsilon=1)


def test_format_that_cannot_hold_it(tmp_path):
    convert(golden("biggan", "ajb_hier64", "G.pth"), tmp_path / "m")
    with pytest.raises(errors.UserError, match="it is no BigGAN-deep"):
        to_original(tmp_path / "m", tmp_path / "o", format="hf")
    convert(golden("biggan", "hf_deep"), tmp_path / "h")
    with pytest.raises(errors.UserError, match="a table by truncation"):
        to_original(tmp_path / "h", tmp_path / "o", format="ajb")
    assert not (tmp_path / "o").exists()


def test_labels(tmp_path):
    source = golden("biggan", "ajb_cifar", "G.pth")
    convert(source, tmp_path / "m", labels=["a", "b", "c", "d", "e"])
    assert (
        model_dir.asset(tmp_path / "m", "classes.txt").read_text() == "a\nb\nc\nd\ne\n"
    )
    with pytest.raises(errors.UserError, match="has 2 names, the network 5 classes"):
        convert(source, tmp_path / "m", labels=["a", "b"])
