"""predict and export on real pictures, good and bad ones."""

import json

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
import tensorflow_hub
from PIL import Image

import tfdl
from tests.models.imagenet18.networks import pictures
from tests.serving.loader import check_warm_ups, run_c_api
from tfdl import export as export_verb
from tfdl import predict as predict_verb
from tfdl.classifiers import contact_sheet, serving
from tfdl.data import class_names as classes
from tfdl.engine import model_dir
from tfdl.hub import interface
from tfdl.models.imagenet18 import export
from tfdl.models.imagenet18.model import build_model
from tfdl.models.imagenet18.network import ResNetConfig

NAMES = ("n02123045", "bird", "tiger\tcat", "dog", "elk", "fox", "gnu")
CONFIG = ResNetConfig(
    block="basic", blocks=(1, 1), widths=(16, 32), expansion=1, stem_width=16,
    num_classes=7, zero_gamma=False,
)  # fmt: skip
GOOD = ("cmyk.jpg", "first.gif", "gray.png", "named_png.JPEG", "one.png", "photo.jpg")
BAD = {
    "cut.jpg": "is a JPEG that is cut off",
    "empty.jpg": "is empty",
    "huge.png": "the limit is",
    "notes.txt": "is no image",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory with statistics that real pictures left."""
    folder = tmp_path_factory.mktemp("model") / "m"
    network = build_model(CONFIG)
    photos = np.stack(sklearn.datasets.load_sample_images().images)
    for _ in range(30):
        network(pictures(photos[:, 100:324, 100:324]), training=True)
    settings = {
        "model": "imagenet18",
        "network": CONFIG.to_dict(),
        "preprocessing": {"mode": "torch", "interpolation": "bicubic"},
        "classes": classes.ASSET,
        "test_size": 64,
        "resize": 73,
    }
    text = "\n".join(NAMES) + "\n"
    model_dir.save(folder, settings, network, {classes.ASSET: text})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of all kinds, and what is none."""
    path = tmp_path_factory.mktemp("pictures")
    photo = Image.fromarray(sklearn.datasets.load_sample_image("china.jpg"))
    photo = photo.resize((160, 107))
    photo.save(path / "photo.jpg")
    photo.convert("CMYK").save(path / "cmyk.jpg")
    photo.convert("L").save(path / "gray.png")
    (path / "named_png.JPEG").write_bytes((path / "gray.png").read_bytes())
    photo.resize((90, 20)).save(path / "first.gif")
    photo.resize((1, 1)).save(path / "one.png")
    (path / "cut.jpg").write_bytes((path / "photo.jpg").read_bytes()[:3000])
    (path / "empty.jpg").write_bytes(b"")
    (path / "notes.txt").write_text("no picture")
    # A bomb by its header alone: 20000 x 20000.
    png = bytearray((path / "gray.png").read_bytes())
    png[16:24] = np.array([20000, 20000], ">u4").tobytes()
    (path / "huge.png").write_bytes(png)
    (path / ".hidden.jpg").write_bytes((path / "photo.jpg").read_bytes())
    return path


def predict(model, name, *flags):
    """Runs the verb; returns its exit code."""
    arguments = [f"--model_dir={model}", f"--input={name}", *flags]
    return predict_verb.main(["predict", *arguments])


def test_a_folder(model, folder, tmp_path, capsys):
    flags = [f"--output={tmp_path / 'out'}", "--option=batch_size=3"]
    assert predict(model, folder, *flags) == 0
    err = capsys.readouterr().err
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    records = {r["file"].rsplit("/", 1)[1]: r for r in map(json.loads, lines)}
    assert list(records) == sorted([*GOOD, *BAD])
    for name, problem in BAD.items():
        assert problem in records[name]["error"]
        assert f"{name} {records[name]['error']}" in err
    assert "4 of 10 files skipped" in err
    for name in GOOD:
        found = records[name]["predictions"]
        chances = [p["probability"] for p in found]
        assert len(found) == 5 and chances == sorted(chances, reverse=True)
        for p in found:
            label = classes.named(classes.parse(list(NAMES), "names"))[p["index"]]
            assert (p["class"], p.get("wnid", "")) == label
    assert (
        records["gray.png"]["predictions"] == records["named_png.JPEG"]["predictions"]
    )
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * contact_sheet.SIDE
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 1000


def test_one_picture(model, folder, tmp_path, capsys):
    photo = folder / "photo.jpg"
    (tmp_path / "names.txt").write_text("".join(f"name {i}\n" for i in range(7)))
    flags = [
        "--option=top_k=7",
        "--option=flip=true",
        f"--option=labels={tmp_path / 'names.txt'}",
        f"--option=sheet={tmp_path / 'sheet.png'}",
    ]
    assert predict(model, photo, *flags) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    mirrored = tmp_path / "mirrored.png"
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    assert predict(model, mirrored, *flags, f"--output={tmp_path / 'o.jsonl'}") == 0
    other = json.loads((tmp_path / "o.jsonl").read_text())
    for first, second in zip(record["predictions"], other["predictions"], strict=True):
        assert first["class"] == f"name {first['index']}"
        np.testing.assert_allclose(
            first["probability"], second["probability"], atol=0.02
        )
    assert predict(model, photo, "--option=test_size=96") == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--option=topk=2"], "did you mean 'top_k'"),
        (["--option=top_k=0"], "a number above 0"),
        (["--option=flip=yes"], "unknown flip"),
        (["--option=labels=/nothing"], "no such file"),
    ],
)
def test_bad_flags(model, folder, capsys, flags, message):
    assert predict(model, folder / "photo.jpg", *flags) == 1
    assert message in capsys.readouterr().err


def test_no_pictures(model, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, message in (
        (tmp_path / "empty", "no files"),
        (tmp_path / "nothing", "no such file"),
        (folder / "notes.txt", "no picture that can be read"),
        ("", "--input is needed"),
    ):
        assert predict(model, name, f"--output={tmp_path / 'o.jsonl'}") == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()
    (tmp_path / "few.txt").write_text("one\n")
    flag = f"--option=labels={tmp_path / 'few.txt'}"
    assert predict(model, folder / "photo.jpg", flag) == 1
    assert "1 names, the network 7 classes" in capsys.readouterr().err


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The export of the model, by the verb."""
    base = tmp_path_factory.mktemp("export") / "net"
    arguments = [f"--model_dir={model}", f"--output={base}"]
    assert export_verb.main(["export", *arguments]) == 0
    return base / "1"


def test_export_and_predict_agree(model, folder, exported, tmp_path):
    assert predict(model, folder, f"--output={tmp_path / 'p.jsonl'}") == 0
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    records = [r for r in map(json.loads, lines) if "error" not in r]
    data = [(folder / name).read_bytes() for name in GOOD]
    found = run_c_api(exported, {"image_bytes": data})
    for i, record in enumerate(records):
        predictions = record["predictions"]
        assert found["classes"][i].tolist() == [p["class"] for p in predictions]
        assert found["indices"][i].tolist() == [p["index"] for p in predictions]
        np.testing.assert_allclose(
            found["probabilities"][i],
            [p["probability"] for p in predictions],
            atol=2e-6,
        )
    loaded = tf.saved_model.load(str(exported))
    for name in BAD:
        broken = tf.constant([(folder / name).read_bytes()])
        with pytest.raises(tf.errors.InvalidArgumentError):
            loaded.signatures["serving_default"](image_bytes=broken)


def test_every_signature_without_python(exported):
    names = {"serving_default", "pixels", "features", "pixel_features"}
    assert check_warm_ups(exported) == names
    size = sum(path.stat().st_size for path in (exported / "variables").iterdir())
    statistics = sum(2 * conv.outputs for conv in CONFIG.convolutions())
    assert size < 4 * (CONFIG.num_parameters() + statistics) + 20_000


def test_hub_modules(model, tmp_path):
    modules = export.hub_modules(str(model))
    assert set(modules) == {"", "feature-vector"}
    photo = sklearn.datasets.load_sample_image("flower.jpg")[:90, :120]
    images = tf.constant(photo[None] / np.float32(255))
    network = tfdl.load(str(model))
    expected = network(pictures(photo[None]))
    for suffix, output in (("", "logits"), ("feature-vector", "features")):
        module = modules[suffix]
        place = str(tmp_path / f"m{suffix}")
        tf.saved_model.save(module.root, place, signatures=dict(module.signatures))
        seen = interface.inspect(place)
        assert seen.trainable < seen.parameters
        loaded = tensorflow_hub.load(place)
        np.testing.assert_allclose(
            loaded(images), expected[output], rtol=1e-4, atol=1e-5
        )
        before = [v.numpy() for v in loaded.variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(loaded(images, training=True) ** 2)
        gradients = tape.gradient(loss, loaded.trainable_variables)
        assert all(g is not None for g in gradients)
        after = [v.numpy() for v in loaded.variables]
        assert any((a != b).any() for a, b in zip(after, before, strict=True))


def test_numbered_classes(model, tmp_path):
    config = {**model_dir.read_config(model), "classes": None}
    assert serving.labels_of(str(model), config)[6] == ("class 6", "")
