"""Sources: what is found, in which order, under which label; and what is refused."""

import io
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data import pictures
from tests.helpers import GOLDENS, golden
from tfdl.data import image_files, image_records
from tfdl.data.evaluation_images import (
    EvaluationBatch,
    evaluation_images,
    square_plan,
)
from tfdl.data.image_sources import open_source
from tfdl.engine.errors import UserError

SLIM = str(GOLDENS / "imagenet18" / "train-*-of-00002")
TFDS = str(GOLDENS / "imagenet18" / "imagenet2012-train.tfrecord-*")


def test_digits_are_real_pictures_of_many_shapes():
    train, validation = (
        open_source("embedded:digits", split) for split in ("train", "validation")
    )
    assert len(train) + len(validation) == 1797
    assert set(train.labels) == set(validation.labels) == set(range(10))
    sizes = train.shapes()
    assert len({tuple(size) for size in sizes}) >= 5
    data = train.encoded(tf.constant([[3, -1]], tf.int64)).numpy()
    assert pictures.pixels(data[0, 0]).shape[:2] == tuple(sizes[3])
    assert data[0, 1] == b""


def test_folder_is_read_as_image_folder(tmp_path):
    root = pictures.folder(tmp_path, 3, ("b", "a"), ("train", "val"))
    deep = root / "train" / "a" / "deeper"
    deep.mkdir()
    (deep / "0.JPEG").write_bytes(pictures.encoded())
    (root / "train" / "a" / ".DS_Store").write_bytes(b"x")
    source = open_source(f"folder:{root}", "train")
    assert source.classes == ("a", "b")
    names = [source.name(i).split("train/")[1] for i in range(len(source))]
    assert names == [
        *("a/0.jpg", "a/1.jpg", "a/2.jpg", "a/deeper/0.JPEG"),
        *("b/0.jpg", "b/1.jpg", "b/2.jpg"),
    ]
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    found = source.encoded(tf.constant([6, 0], tf.int64)).numpy()
    assert found[0] == (root / "train" / "b" / "2.jpg").read_bytes()
    assert len(open_source(f"folder:{root}", "validation")) == 6
    # A folder of classes alone serves every split, in the order of given classes.
    alone = open_source(f"folder:{root}/val", "validation", classes=("x", "b", "a"))
    assert alone.labels.tolist() == [2, 2, 2, 1, 1, 1]


def test_sizes_are_kept_beside_the_data_until_it_changes(tmp_path):
    root = pictures.folder(tmp_path, 3)
    first = open_source(f"folder:{root}").shapes()
    kept = root / "train" / ".tfdl-shapes.npz"
    assert kept.exists()
    expected = [
        pictures.pixels(path.read_bytes()).shape[:2]
        for path in sorted(root.glob("*/*/*.jpg"))
    ]
    np.testing.assert_array_equal(first, expected)
    (root / "train" / "cat" / "0.jpg").write_bytes(pictures.encoded(77, 33))
    assert open_source(f"folder:{root}").shapes()[0].tolist() == [77, 33]
    kept.write_bytes(b"damaged")
    assert open_source(f"folder:{root}").shapes()[0].tolist() == [77, 33]


@pytest.mark.parametrize("pattern", [SLIM, TFDS])
def test_records_have_the_original_s_pixels_and_labels(pattern):
    expected = np.load(golden("imagenet18", "tfrecord_expected.npz"))
    source = open_source(f"tfrecord:{pattern}")
    order = [0, 2, 4, 6, 1, 3, 5, 7] if "00002" in pattern else list(range(8))
    assert source.labels.tolist() == expected["labels0"][order].tolist()
    assert len(source.classes) == 1000
    pixels = [expected[f"rgb_{k}"] for k in order]
    # A plan that neither resizes nor crops shows the decoded pixels.
    plan = [
        EvaluationBatch(np.array([i]), min(rgb.shape[:2]), *rgb.shape[:2])
        for i, rgb in enumerate(pixels)
    ]
    found = evaluation_images(source, plan).as_numpy_iterator()
    modes = set()
    for index, (batch, k) in enumerate(zip(found, order, strict=True)):
        modes.add((str(expected["mode"][k]), str(expected["format"][k])))
        assert source.size(index) == pixels[index].shape[:2]
        np.testing.assert_array_equal(batch["image"][0], pixels[index])
        assert batch["label"].tolist() == [expected["labels0"][k]]
    assert {("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "PNG")} <= modes


def test_a_tfds_folder_is_read_without_the_package(tmp_path):
    version = tmp_path / "imagenet2012" / "5.1.0"
    version.mkdir(parents=True)
    (tmp_path / "imagenet2012" / "5.0.0").mkdir()
    data = open(TFDS.replace("*", "00000-of-00001"), "rb").read()
    (version / "imagenet2012-test.tfrecord-00000-of-00001").write_bytes(data)
    features = {"featuresDict": {"features": {
        "label": {"classLabel": {"numClasses": "300"}}
    }}}  # fmt: skip
    (version / "features.json").write_text(json.dumps(features))
    source = open_source(f"tfds:{tmp_path}/imagenet2012", "validation")
    assert (len(source), len(source.classes)) == (8, 300)
    with pytest.raises(UserError, match="train.*allowed: test"):
        open_source(f"tfds:{tmp_path}/imagenet2012", "train")
    (version / "label.labels.txt").write_text("only\ntwo\n")
    few = open_source(f"tfds:{tmp_path}/imagenet2012:test", "train")
    with pytest.raises(tf.errors.OpError, match="label 5, outside 0 to 1 .2 classes"):
        list(evaluation_images(few, square_plan(8, 4, 8, 8)))


def test_sizes_from_headers():
    for kind, mode in (
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("PNG", "RGB"),
    ):
        data = pictures.encoded(31, 47, 0, kind, mode)
        assert image_files.size(data) == (31, 47)
        assert image_files.size(data[:700], whole=False) == (31, 47)
    progressive = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # says that it lies on its side; the reference does not turn it
    Image.new("RGB", (20, 10)).save(progressive, "JPEG", progressive=True, exif=exif)
    assert image_files.size(progressive.getvalue()) == (10, 20)
    with pytest.raises(image_files.HeadTooShort):
        image_files.size(progressive.getvalue()[:40], whole=False)


REFUSED = {
    "file:x": "none of folder:PATH",
    "folder:{0}/nowhere": "no such folder",
    "folder:{0}/empty": "no class folders; at least two",
    "folder:{0}/one": "1 class folder; at least two",
    "folder:{0}/hollow": "no pictures",
    "folder:{0}/half": "has val, but no train",
    "folder:{0}/odd": "notes.txt is no picture by its name",
    "tfrecord:{0}/none-*": "no such file",
    "tfrecord:{0}/text": "no TFRecord file",
    "tfrecord:{0}/other": "record 0 has x; either image/encoded",
    "tfds:{0}/nowhere": "no such folder",
    "tfds:{0}/empty": "no files named",
    "embedded:cats": "unknown embedded pictures 'cats'",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_refusals_name_what_is_wrong(tmp_path, spec):
    (tmp_path / "empty").mkdir()
    pictures.folder(tmp_path / "one", 1, ("a",))
    for name in ("a", "b"):
        (tmp_path / "hollow" / name).mkdir(parents=True)
    pictures.folder(tmp_path / "half", 1, splits=("val",))
    odd = pictures.folder(tmp_path / "odd", 1)
    (odd / "train" / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "text").write_text("hello, this is no record file at all")
    example = tf.train.Example()
    example.features.feature["x"].int64_list.value.append(1)
    with tf.io.TFRecordWriter(str(tmp_path / "other")) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(UserError, match=re.escape(REFUSED[spec])):
        open_source(spec.format(tmp_path))


def test_left_out_files_are_named(tmp_path):
    root = pictures.folder(tmp_path, 2)
    (root / "train" / "cat" / "notes.txt").write_text("hello")
    source = open_source(f"folder:{root}", on_bad="skip")
    assert len(source) == 4 and len(source.bad) == 1
    assert "notes.txt: is no picture by its name" in source.bad.lines()[0]
    with pytest.raises(UserError, match="'snake' is none of the 2 classes"):
        (root / "train" / "snake").mkdir()
        open_source(f"folder:{root}", classes=("cat", "dog"), on_bad="skip")


def test_a_name_needs_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=re.escape("pip install 'tfdl[tfds]'")):
        image_records.open_tfds("mnist", "train")
