"""Pictures of all sizes: folders, multi-resolution TFRecords, what is refused."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_configs.stylegan import prepare as recipe
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import multi_records, prepare, sources


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven pictures of 16x16 in two sub-folders, some grey, clear or 16 bits deep."""
    root = tmp_path_factory.mktemp("pictures") / "faces"
    random = np.random.RandomState(0)
    for i in range(11):
        place = root / ("cats" if i % 3 else "birds") / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, [16, 16, 4], np.uint8)
        picture = Image.fromarray(pixels[..., :3])
        if i == 2:
            picture = picture.convert("L")
        elif i == 3:
            picture = Image.fromarray(pixels, "RGBA")
        elif i == 4:
            deep = pixels[..., 0].astype(np.uint16) * 256 + 7
            picture = Image.fromarray(deep)
        picture.save(place)
    return root


def open_folder(root, **options):
    return sources.open_pictures(f"folder:{root}", **options)


def test_a_folder_in_all_sizes(folder):
    found = open_folder(folder, labels="full")
    assert len(found) == 11 and found.resolution == 16
    assert found.classes == ("birds", "cats")
    np.testing.assert_array_equal(found.labels, [0] * 4 + [1] * 7)
    with Image.open(folder / "cats" / "10.png") as picture:
        exact = np.asarray(picture, np.float64)
    full = found.read(np.array([10, 0]), 16)
    np.testing.assert_array_equal(full[0], exact)
    small = found.read(np.array([10]), 4)[0]
    # The mean of the full picture, rounded once.
    means = exact.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(small, np.rint(means))
    streamed = open_folder(folder, hold_mb=0)
    for size in (4, 8, 16):
        np.testing.assert_array_equal(
            streamed.read(np.arange(11), size), found.read(np.arange(11), size)
        )


def test_grey_clear_and_deep_pictures(folder):
    found = open_folder(folder, background="black")
    order = sorted(p.name for p in folder.rglob("*.png"))
    assert len(order) == 11
    paths = sorted(str(p) for p in folder.rglob("*.png"))
    at = {p.rsplit("/", 1)[1]: i for i, p in enumerate(paths)}
    grey = found.read(np.array([at["02.png"]]), 16)[0]
    assert (grey[..., 0] == grey[..., 2]).all()
    with Image.open(paths[at["03.png"]]) as picture:
        pixels = np.asarray(picture).astype(float)
    expected = pixels[..., :3] * pixels[..., 3:] / 255
    clear = found.read(np.array([at["03.png"]]), 16)[0]
    assert np.abs(clear - expected).max() <= 1
    with Image.open(paths[at["04.png"]]) as picture:
        deep = np.asarray(picture)
    np.testing.assert_array_equal(
        found.read(np.array([at["04.png"]]), 16)[0, ..., 1], deep // 256
    )
    assert open_folder(folder, channels=1).read(np.array([0]), 8).shape == (1, 8, 8, 1)


def test_multi_resolution_records_as_the_original_writes_them(folder, tmp_path):
    config = recipe.get_config()
    config.labels = "full"
    out = tmp_path / "faces-tf"
    told = prepare.prepare(config, str(folder), str(out))
    assert told["pictures"] == 11 and told["labels"] == 2
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"faces-tf-r{level:02d}.tfrecords" for level in (2, 3, 4)),
        "faces-tf-rxx.labels",
    ]
    source = open_folder(folder, labels="full")
    order = np.arange(11)
    np.random.RandomState(123).shuffle(order)
    for level in (2, 3, 4):
        path = out / f"faces-tf-r{level:02d}.tfrecords"
        raw = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        assert len(raw) == 11
        for record, index in zip(raw, order, strict=True):
            feature = tf.train.Example.FromString(record).features.feature
            assert set(feature) == {"shape", "data"}
            shape = list(feature["shape"].int64_list.value)
            assert shape == [3, 2**level, 2**level]
            pixels = np.frombuffer(feature["data"].bytes_list.value[0], np.uint8)
            np.testing.assert_array_equal(
                pixels.reshape(shape),
                source.read(np.array([index]), 2**level)[0].transpose(2, 0, 1),
            )
    found = sources.open_pictures(f"tfrecord:{out}", labels="full")
    np.testing.assert_array_equal(found.labels, source.label_rows(order))
    np.testing.assert_array_equal(found.read(np.arange(11), 8), source.read(order, 8))
    assert sources.open_pictures(f"tfrecord:{out}/*.tfrecords").label_size == 0
    first = sources.open_pictures(f"tfrecord:{out}", 8, labels="1")
    assert first.label_size == 1 and first.resolution == 8
    with pytest.raises(UserError, match="exists already"):
        prepare.prepare(config, str(folder), str(out))


def test_labels_of_a_json_file(folder, tmp_path):
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.png")]
    listing = folder / "dataset.json"
    try:
        listing.write_text(json.dumps({"labels": [[n, int(n[-5])] for n in names]}))
        found = open_folder(folder, labels="full")
        assert found.classes == tuple("0123456789")
        listing.write_text(json.dumps({"labels": [[names[0], 1]]}))
        with pytest.raises(UserError, match="no label of"):
            open_folder(folder, labels="full")
        listing.write_text("[1]")
        with pytest.raises(UserError, match="dataset.json has to be"):
            open_folder(folder, labels="full")
    finally:
        listing.unlink()


def test_sizes_that_differ(folder, tmp_path):
    for i in range(3):
        size = (20, 12) if i == 1 else (16, 16)
        Image.new("RGB", size, "red").save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"1\.png has 20x12 pixels, 16x16 is"):
        open_folder(tmp_path)
    cropped = open_folder(tmp_path, sizes="any").read(np.array([1]), 16)[0]
    assert (cropped == [255, 0, 0]).all()
    padded = open_folder(tmp_path, sizes="pad").read(np.array([1]), 16)[0]
    assert not padded[0].any() and (padded[8] == [255, 0, 0]).all()


def test_files_that_are_no_pictures(folder, tmp_path):
    for i in range(3):
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    noise = np.random.RandomState(0).randint(0, 256, [16, 16, 3], np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:400])
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    for hold in (0, 1024):
        found = open_folder(tmp_path, hold_mb=hold)
        assert (found.read(np.arange(len(found)), 8) == [255, 0, 0]).all()
        told = "\n".join(found.left_out())
        for name, reason in (
            ("notes.txt", "is no picture"),
            ("a.jpg", "is no image"),
            ("b.png", "is damaged"),
        ):
            assert f"{name}: {reason}" in told, told
    with pytest.raises(UserError, match="notes.txt is no picture"):
        open_folder(tmp_path, on_bad="stop")


@pytest.mark.parametrize(
    ("size", "count", "options", "said"),
    [
        (24, 3, {}, "power of two from 4"),
        (16, 1, {}, "1 picture; the discriminator compares"),
        (16, 0, {}, "no pictures"),
        (16, 3, {"labels": "full"}, "is in no sub-folder"),
        (16, 3, {"labels": "-1"}, "labels has to be"),
        (16, 3, {"sizes": "none"}, "unknown sizes"),
    ],
)
def test_bad_folders_are_told(tmp_path, size, count, options, said):
    for i in range(count):
        Image.new("RGB", (size, size), "red").save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=said):
        open_folder(tmp_path, **options)


def test_damaged_records_are_told(tmp_path):
    images = [np.zeros([8, 8, 3], np.uint8)] * 3
    written = multi_records.write(tmp_path, images, 8)
    written[4].unlink()
    found = multi_records.RecordPictures(str(tmp_path))
    with pytest.raises(UserError, match="no records of 4x4"):
        found.read(np.array([0]), 4)
    data = written[8].read_bytes()
    written[8].write_bytes(data[:-9])
    with pytest.raises(UserError, match="cut off"):
        multi_records.RecordPictures(str(tmp_path))
    other = tf.train.Example().SerializeToString()
    with tf.io.TFRecordWriter(str(written[8])) as writer:
        writer.write(other)
        writer.write(other)
    with pytest.raises(UserError, match="record 0 has no shape and data"):
        multi_records.RecordPictures(str(tmp_path))
