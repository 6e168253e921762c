"""Resized copies: sizes, pixels, resumption, formats, bad files, and the verb."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data import pictures
from tests.helpers import GOLDENS, golden, run_python
from tf_configs.imagenet18 import prepare as recipe
from tfdl.data import resized_copies, resized_records
from tfdl.data.image_sources import open_source
from tfdl.data.resized_copies import Style, copy_size, resized
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import prepare


def test_sizes_are_floored_and_at_least_the_target():
    assert copy_size(500, 375, 160) == (213, 160)
    assert copy_size(375, 500, 160) == (160, 213)
    assert copy_size(159, 300, 160) == (159, 300)  # smaller already
    assert copy_size(160, 300, 160) == (160, 300)
    assert copy_size(500, 375, 0) == (500, 375)
    for short in range(161, 1500, 7):  # rounding must not go below the target
        assert min(copy_size(short, short + 50, 160)) == 160


def test_a_copy_is_pillow_s():
    data = pictures.encoded(90, 120, mode="CMYK")
    image = Image.open(io.BytesIO(data)).convert("RGB")
    expected = io.BytesIO()
    image.resize((66, 50), Image.Resampling.BILINEAR).save(expected, "JPEG")
    assert resized(data, Style(50)) == (expected.getvalue(), 50, 66)
    rgb = pictures.encoded(20, 30)
    assert resized(rgb, Style(0))[0] is rgb
    assert resized(pictures.encoded(20, 30, kind="PNG"), Style(0))[0][:2] == b"\xff\xd8"


def test_a_tree_is_copied_and_resumed(tmp_path):
    root = pictures.folder(tmp_path / "full", 3, splits=("train", "validation"))
    path = root / "train" / "cat" / "art.webp"
    path.write_bytes(pictures.encoded(40, 40, kind="WEBP"))
    small = tmp_path / "small"
    done = resized_copies.write_folder(root, small, Style(16), workers=2)
    assert (done["pictures"], done["written"], done["kept"]) == (13, 13, 0)
    source = open_source(f"folder:{small}")
    assert len(source) == 7 and source.name(3).endswith("cat/art.webp.jpg")
    assert (source.shapes().min(1) == 16).all()
    # Cut off in the middle: what is missing, empty or out of date is made again.
    (small / "train" / "cat" / "0.jpg").unlink()
    (small / "train" / "dog" / "0.jpg").write_bytes(b"")
    os.utime(root / "train" / "dog" / "1.jpg", (2e9, 2e9))
    again = resized_copies.write_folder(root, small, Style(16), workers=1)
    assert (again["pictures"], again["written"], again["kept"]) == (13, 3, 10)
    with pytest.raises(UserError, match="holds copies made otherwise"):
        resized_copies.write_folder(root, small, Style(24))
    with pytest.raises(UserError, match="lies in"):
        resized_copies.write_folder(root, root / "train" / "small", Style(16))


def test_bad_files_stop_or_are_named(tmp_path, capsys):
    root = pictures.folder(tmp_path / "full", 2)
    (root / "train" / "cat" / "1.jpg").write_bytes(pictures.encoded()[:300])
    (root / "train" / "dog" / "9.jpg").write_bytes(b"")
    (root / "train" / "dog" / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="notes.txt is no picture"):
        resized_copies.write_folder(root, tmp_path / "a", Style(16))
    (root / "train" / "dog" / "notes.txt").rename(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="1.jpg cannot be read: "):
        resized_copies.write_folder(root, tmp_path / "a", Style(16), workers=1)
    style = Style(16, on_bad="skip")
    done = resized_copies.write_folder(root, tmp_path / "a", style, workers=1)
    assert (done["pictures"], done["bad"]) == (3, 2)
    told = capsys.readouterr().err
    assert (
        "1.jpg: cannot be read" in told and "9.jpg: cannot be read: it is empty" in told
    )


def test_a_folder_becomes_records(tmp_path):
    root = pictures.folder(tmp_path / "full", 3, splits=("train", "val"))
    (root / "train" / "cat" / "0.jpg").write_bytes(pictures.encoded(kind="PNG"))
    done = resized_records.from_folder(root, tmp_path / "out", Style(16), 4, workers=1)
    assert done["pictures"] == 12
    shard = tmp_path / "out" / "train-00001-of-00004"
    shard.unlink()
    again = resized_records.from_folder(root, tmp_path / "out", Style(16), 4, workers=1)
    assert (again["written"], again["kept"]) == (2, 10)
    source = open_source(f"tfrecord:{tmp_path}/out/train-*")
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (source.shapes().min(1) == 16).all()
    example = tf.train.Example.FromString(source.records.read([0])[0])
    feature = example.features.feature
    assert feature["image/class/synset"].bytes_list.value[0] == b"cat"
    assert feature["image/class/label"].int64_list.value[0] == 1
    assert feature["image/height"].int64_list.value[0] == 16


@pytest.mark.parametrize("pattern", ["train-*-of-00002", "imagenet2012-train.*"])
def test_records_are_copied_one_by_one(tmp_path, pattern):
    pattern = str(GOLDENS / "imagenet18" / pattern)
    done = resized_records.from_records(pattern, tmp_path / "out", Style(20), workers=1)
    assert done["pictures"] == 8
    old = open_source(f"tfrecord:{pattern}")
    new = open_source(f"tfrecord:{tmp_path}/out/*-of-*")
    assert new.labels.tolist() == old.labels.tolist() and not new.mixed()
    assert (new.shapes().min(1) == 20).all()
    # The first record is the first picture in both layouts.
    expected = np.load(golden("imagenet18", "tfrecord_expected.npz"))
    rgb = Image.fromarray(expected["rgb_0"])
    want = np.asarray(rgb.resize(copy_size(*rgb.size, 20), Image.Resampling.BILINEAR))
    assert np.abs(pictures.pixels(new.data(0)).astype(int) - want).mean() < 16
    again = resized_records.from_records(pattern, tmp_path / "out", Style(20))
    assert (again["written"], again["kept"]) == (0, 8)


def test_the_verb(tmp_path):
    root = pictures.folder(tmp_path / "full", 2)
    done = run_python(
        *("-m", "tfdl.prepare", "--model=imagenet18", f"--input=folder:{root}"),
        *(f"--output={tmp_path}/out", "--config.size=16", "--config.workers=1"),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["pictures"] == 4
    assert (tmp_path / "out" / "train" / "dog" / "1.jpg").is_file()


@pytest.mark.parametrize("change, input, message", [
    ({"size": -1}, "x", "size has to be"), ({"quality": 0}, "x", "quality"),
    ({"format": "zip"}, "x", "unknown format 'zip'"), ({}, "zip:x", "form of --input"),
    ({"format": "folder"}, "tfrecord:x", "to TFRecord files only"),
    ({"on_bad": "no"}, "x", "on_bad"), ({}, "folder:/nowhere", "no such folder"),
    ({"format": "tfrecord", "shards": 0}, "x", "shards"),
])  # fmt: skip
def test_settings_that_make_no_sense(tmp_path, change, input, message):
    config = recipe.get_config()
    config.update(change)
    with pytest.raises(UserError, match=message):
        prepare.prepare(config, input, str(tmp_path))
    assert not any(tmp_path.iterdir())
