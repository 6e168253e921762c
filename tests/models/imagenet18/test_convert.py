"""Checkpoints of every format: exact outputs, exact round trips, clear refusals."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import golden
from tests.models.imagenet18.networks import (
    convert,
    difference,
    load,
    pictures,
    written,
)
from tfdl.checkpoints import safetensors, torch_archive
from tfdl.convert import main as convert_main
from tfdl.data import class_names as classes
from tfdl.engine import errors, optimizers
from tfdl.models.imagenet18 import momentum
from tfdl.models.imagenet18.convert import convert as checkpoint
from tfdl.models.imagenet18.convert import to_original
from tfdl.models.imagenet18.model import build_model
from tfdl.models.imagenet18.names import normalisation_patterns, variable_names
from tfdl.models.imagenet18.network import ResNetConfig


def state_dict(name: str) -> dict[str, np.ndarray]:
    """Returns a golden checkpoint's arrays."""
    found = torch_archive.read(golden("imagenet18", name))
    return dict(found.get("state_dict", found))


def write(path, arrays, metadata=None):
    """Writes safetensors; returns the path."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors.write(path, arrays, metadata)
    return path


def weights_of(model):
    """Returns all weights of a model by name."""
    return {n: v.numpy() for n, v in variable_names(model, True).items()}


def assert_equal(first, second):
    """Checks that two models hold the same weights, bit for bit."""
    first, second = weights_of(first), weights_of(second)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_transformers(tmp_path):
    model, config, summary = convert("transformers_resnet", tmp_path / "m")
    arrays = load("io_transformers_resnet.npz")
    found = model({"image": arrays["x"]})["logits"]
    assert difference(found, arrays["logits"]) < 1e-5
    assert summary["format"] == "transformers"
    assert config["classes"] is None


def test_transformers_files_beside_the_weights(tmp_path):
    source = tmp_path / "hf"
    shutil.copytree(golden("imagenet18", "transformers_resnet"), source)
    source.chmod(0o755)
    path = source / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {
        str(i): name for i, name in enumerate("ace bee cat dog elk".split())
    }
    config["downsample_in_bottleneck"] = True
    config["downsample_in_first_stage"] = True
    path.chmod(0o644)
    path.write_text(json.dumps(config))
    (source / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": 160},
                "crop_pct": 0.8,
                "image_mean": [0.1, 0.2, 0.3],
                "image_std": [0.5, 0.5, 0.5],
                "resample": 3,
            }
        )
    )
    checkpoint(source, tmp_path / "m")
    made = json.loads((tmp_path / "m" / "config.json").read_text())
    assert made["network"]["stride_in_1x1"]
    assert made["network"]["first_stage_stride"] == 2
    assert made["preprocessing"] == {
        "mode": "torch",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
    }
    assert (made["test_size"], made["resize"]) == (160, 200)
    names = classes.read(tmp_path / "m" / "assets" / "classes.txt")
    assert [label.name for label in names] == ["ace", "bee", "cat", "dog", "elk"]
    path.write_text(json.dumps({**config, "hidden_act": "gelu"}))
    with pytest.raises(errors.UserError, match="'gelu' is not supported"):
        checkpoint(source, tmp_path / "n")


@pytest.mark.parametrize("generation", ["new", "old", "whole model"])
def test_keras_applications(tmp_path, generation):
    source = golden("imagenet18", "keras_resnet_v1_legacy.h5")
    if generation == "old":
        source = _with_old_names(source, tmp_path / "old.h5")
    elif generation == "whole model":
        with h5py.File(tmp_path / "w.h5", "w") as new, h5py.File(source) as old:
            old.copy(old["/"], new, "model_weights")
        source = tmp_path / "w.h5"
    summary = checkpoint(source, tmp_path / "m")
    model = tfdl.load(str(tmp_path / "m"))
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert summary["format"] == "keras.applications"
    assert config["preprocessing"]["mode"] == "caffe"
    network = ResNetConfig.from_dict(config["network"])
    assert network.stride_in_1x1 and network.conv_bias
    assert network.epsilon == 1.001e-5
    arrays = load("io_keras_resnet_v1.npz")
    for k in ("0", "1"):
        out = model(pictures(arrays[f"u8_{k}"], config))
        assert difference(tf.nn.softmax(out["logits"]), arrays[f"probs_{k}"]) < 1e-5
        assert difference(out["features"], arrays[f"avg_pool_{k}"]) < 1e-5
    # Biases go into the moving means on the way back.
    summary = to_original(tmp_path / "m", tmp_path / "o")
    assert summary["differs"] == ["stride_in_1x1=True", "epsilon=1.001e-05"]
    checkpoint(tmp_path / "o", tmp_path / "again")
    again = tfdl.load(str(tmp_path / "again"))
    batch = pictures(arrays["u8_1"], config)
    assert difference(again(batch)["logits"], model(batch)["logits"].numpy()) < 1e-5


def _with_old_names(source, path):
    """Writes a Keras file with the layers' and weights' names of 2017."""
    ends = {"gamma": "gamma", "beta": "beta", "kernel": "W", "bias": "b"}
    ends |= {"moving_mean": "running_mean", "moving_variance": "running_std"}
    whole = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1", "predictions": "fc1000"}
    layers = []
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        for layer in old.attrs["layer_names"]:
            name = whole.get(layer, layer)
            match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
            if match:
                stage, block, number, kind = match.groups()
                branch = "1" if number == "0" else "2" + "abc"[int(number) - 1]
                start = "res" if kind == "conv" else "bn"
                name = f"{start}{stage}{'abcdef'[int(block) - 1]}_branch{branch}"
            layers.append(name)
            group = new.create_group(name)
            names = []
            for weight in old[layer].attrs["weight_names"]:
                last = weight.split("/")[-1].split(":")[0]
                names.append(f"{name}_{ends[last]}_1:0")
                group[names[-1]] = old[layer][weight][()]
            group.attrs["weight_names"] = [n.encode() for n in names]
        new.attrs["layer_names"] = [n.encode() for n in layers]
    return path


def test_blurpool(tmp_path):
    model, _, _ = convert("blurpool_net.pth", tmp_path / "m")
    arrays = load("io_blurpool_net.npz")
    found = model({"image": arrays["x"]})["logits"]
    assert difference(found, arrays["logits"]) < 1e-5
    to_original(tmp_path / "m", tmp_path / "o")
    written_back = safetensors.read(tmp_path / "o" / "model.safetensors")
    assert set(written_back) == set(arrays["keys"])
    source = state_dict("blurpool_net.pth")
    for name, array in source.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(array, written_back[name], err_msg=name)


@pytest.mark.parametrize("name", ["rn50_w2.pth", "rn18_w2_legacy.pth"])
def test_round_trip_and_disguises(tmp_path, name):
    model, config, summary = convert(name, tmp_path / "m")
    assert summary["random"] == summary["skipped"] == []
    assert to_original(tmp_path / "m", tmp_path / "o")["differs"] == []
    checkpoint(tmp_path / "o", tmp_path / "again")
    assert_equal(model, tfdl.load(str(tmp_path / "again")))
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again == config
    # Parallel training's prefix; files from before counters; float16.
    arrays = {f"module.{n}": x for n, x in state_dict(name).items()}
    for counter in [n for n in arrays if n.endswith("tracked")]:
        del arrays[counter]
    path = write(tmp_path / "prefixed.safetensors", arrays)
    checkpoint(path, tmp_path / "p")
    assert_equal(model, tfdl.load(str(tmp_path / "p")))


def test_float16_training_checkpoint(tmp_path):
    model, _, summary = convert("train_rn_w3_1111_fp16.pth.tar", tmp_path / "m")
    source = state_dict("train_rn_w3_1111_fp16.pth.tar")
    assert source["conv1.weight"].dtype == np.float16
    kernel = model.stem[0].conv.kernel.numpy()
    np.testing.assert_array_equal(
        kernel.transpose(3, 2, 0, 1), source["conv1.weight"].astype("float32")
    )
    assert summary["format"] == "imagenet18"
    assert "optimizer" in summary["skipped"]


def test_momentum_of_a_training_checkpoint(tmp_path):
    name = "train_rn_w3_1111_checkpoint.pth.tar"
    model, _, summary = convert(name, tmp_path / "m", optimizer=True)
    assert summary["skipped"] == ["epoch", "best_top5"]
    optimizer = optimizers.create(
        {
            "name": "sgd",
            "momentum": 0.9,
            "exclude_from_weight_decay": normalisation_patterns(model.config),
        }
    )
    named = variable_names(model)
    optimizer.build(list(named.values()), list(named))
    assert momentum.restore(optimizer, model, tmp_path / "m")
    # Independent of how we read groups: the buffers that reproduce the last update.
    state = torch_archive.read(golden("imagenet18", name))["optimizer"]["state"]
    found = optimizer.slots(model.fc.kernel)["velocity"].numpy()
    np.testing.assert_array_equal(found, state[51]["momentum_buffer"].T)
    norms = [n for n in named if re.search(r"bn|downsample\.1", n)]
    for key, norm in enumerate(norms):
        np.testing.assert_array_equal(
            optimizer.slots(named[norm])["velocity"].numpy(),
            state[key]["momentum_buffer"],
        )
    convert(name, tmp_path / "without")
    assert not momentum.restore(optimizer, model, tmp_path / "without")


def test_timm_with_a_deep_stem(tmp_path):
    config = ResNetConfig(
        blocks=(1, 2), widths=(4, 8), stem_width=8, stem="deep", deep_stem_width=4,
        avg_down=True, num_classes=3,
    )  # fmt: skip
    model = build_model(config)
    names = variable_names(model, True)
    for part in ("conv1.0", "conv1.3", "conv1.6", "layer2.0.downsample.1"):
        assert f"{part}.weight" in names
    random = np.random.default_rng(0)
    arrays = {}
    for name, variable in names.items():
        value = random.uniform(0.5, 1, variable.shape).astype("float32")
        variable.assign(value)
        arrays[name] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
    write(tmp_path / "model.safetensors", arrays)
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architecture": "resnetx",
                "pretrained_cfg": {
                    "input_size": [3, 176, 176],
                    "test_input_size": [3, 224, 224],
                    "crop_pct": 0.9,
                    "test_crop_pct": 0.95,
                    "interpolation": "bicubic",
                    "mean": [0.5, 0.5, 0.5],
                },
            }
        )
    )
    summary = checkpoint(tmp_path, tmp_path / "m", labels=["a", "b", "c"])
    assert summary["format"] == "timm"
    assert_equal(model, tfdl.load(str(tmp_path / "m")))
    made = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (made["test_size"], made["resize"]) == (224, 235)
    assert made["preprocessing"]["interpolation"] == "bicubic"
    assert made["preprocessing"]["mean"] == [0.5] * 3
    to_original(tmp_path / "m", tmp_path / "o")
    back = safetensors.read(tmp_path / "o" / "model.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_without_a_classifier(tmp_path):
    arrays = state_dict("rn18_w2_legacy.pth")
    del arrays["fc.weight"], arrays["fc.bias"]
    path = write(tmp_path / "m.safetensors", arrays)
    with pytest.raises(errors.UserError, match="--option=num_classes=N"):
        checkpoint(path, tmp_path / "m")
    summary = checkpoint(path, tmp_path / "m", num_classes=4)
    assert summary["random"] == ["fc.weight", "fc.bias"]
    assert tfdl.load(str(tmp_path / "m")).config.num_classes == 4


def test_imagenet_names_and_the_verb(tmp_path, capsys):
    model = build_model(ResNetConfig.preset("resnet18", width=2))
    arrays = {
        name: v.numpy().transpose(3, 2, 0, 1) if len(v.shape) == 4 else v.numpy().T
        for name, v in variable_names(model, True).items()
    }
    path = write(tmp_path / "resnet50-11ad3fa6.safetensors", arrays)
    code = convert_main(
        [
            "convert",
            "--model=imagenet18",
            f"--source={path}",
            f"--output={tmp_path / 'm'}",
            "--option=epsilon=0.001",
            "--option=stride_in_1x1=true",
            "--option=test_size=288",
        ]
    )
    assert code == 0
    assert written(capsys.readouterr().out)["classes"] == 1000
    made = json.loads((tmp_path / "m" / "config.json").read_text())
    assert made["network"]["epsilon"] == 0.001
    assert made["network"]["stride_in_1x1"] is True
    assert (made["test_size"], made["resize"]) == (288, round(232 * 288 / 224))
    names = classes.read(tmp_path / "m" / "assets" / "classes.txt")
    assert names[0] == ("tench", "n01440764")
    assert [x.wnid for x in names] == sorted(x.wnid for x in names)
    assert len({x.name for x in names}) == 1000
    bare = classes.parse(["n02123045", "bird"], "here")
    assert [x.name for x in classes.named(bare)] == ["tabby", "bird"]


def _remove(name):
    return lambda arrays: arrays.pop(name)


def _put(name, value):
    return lambda arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    "change, message",
    [
        (_remove("layer2.1.bn1.bias"), "1 missing .layer2.1.bn1.bias."),
        (_remove("conv1.weight"), "no ResNet checkpoint: it lacks 'conv1.weight'"),
        (_put("layer1.0.se.weight", np.zeros(3)), "unexpected .layer1.0.se.weight."),
        (_put("bn1.bias", np.zeros(9)), r"bn1.bias \[9\] instead of \[2\]"),
        (_put("fc.bias", np.full(7, np.nan)), "1 with NaN or Inf"),
        (_put("layer9.0.conv1.weight", np.zeros([1, 1, 1, 1])), "lacks layer5.0"),
        (_put("layer1.0.conv2.weight", np.zeros([2, 1, 3, 3])), "ResNeXt"),
        (_put("conv1.weight", np.zeros([2, 3, 3, 3])), r"not \[\*, 3, 7, 7\]"),
        (_put("conv1.blur_filter", np.zeros([1, 1, 3, 3])), "is not the .1, 2, 1."),
        (_put("fc.weight", np.zeros([60000, 16])), "fc.bias .7. instead"),
        (lambda arrays: (arrays.clear(), arrays.update(a=np.zeros(2))), "first names"),
    ],
)
def test_refusals(tmp_path, change, message):
    arrays = state_dict("rn18_w2_legacy.pth")
    change(arrays)
    path = write(tmp_path / "bad.safetensors", arrays)
    with pytest.raises(errors.UserError, match=message) as raised:
        checkpoint(path, tmp_path / "m")
    assert "bad.safetensors" in str(raised.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": 50}, "unknown option"),
        ({"labels": ["a", "b"]}, "2 names, the network 7"),
        ({"labels": ["a"] * 7}, "'a' is there twice"),
        ({"num_classes": 9}, "has 7 classes, not 9"),
        ({"epsilon": "small"}, "has to be a number"),
        ({"preprocessing": "pil"}, "unknown preprocessing mode"),
        ({"test_size": 0, "resize": 99999}, r"in \[1, 8192\]"),
        ({"averaged": True}, "averaged weights"),
        ({"optimizer": True}, "no optimizer with momentum"),
    ],
)
def test_bad_options(tmp_path, options, message):
    source = golden("imagenet18", "rn18_w2_legacy.pth")
    with pytest.raises(errors.UserError, match=message):
        checkpoint(source, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_bad_files(tmp_path):
    def refuse(source, message):
        with pytest.raises(errors.UserError, match=message):
            checkpoint(source, tmp_path / "m")

    refuse(tmp_path / "nothing.pth", "no such file")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds no weights")
    for name in ("a.pth", "b.pth"):
        (tmp_path / "empty" / name).write_bytes(b"x")
    refuse(tmp_path / "empty", "name one")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    refuse(tmp_path / "page.pth", "download failed")
    whole = golden("imagenet18", "rn50_w2.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path / "cut.pth", "cut.pth")
    with h5py.File(tmp_path / "three.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3)
    refuse(tmp_path / "three.h5", "Keras 3 file")
    with h5py.File(tmp_path / "v2.h5", "w") as file:
        file.attrs["layer_names"] = ["conv2_block1_preact_bn"]
    refuse(tmp_path / "v2.h5", "v2")
    convert("rn18_w2_legacy.pth", tmp_path / "m")
    with pytest.raises(errors.UserError, match="would replace the source"):
        to_original(tmp_path / "m", tmp_path / "m")
    with pytest.raises(errors.UserError, match="unknown format"):
        to_original(tmp_path / "m", tmp_path / "o", format="tf1")
