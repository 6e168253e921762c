"""Arrays as picture sources, and square pictures of them and of files."""

import gzip

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdl.data import image_sources, square_images
from tfdl.engine import errors

RNG = np.random.default_rng(0)


def rows(*indices):
    index = np.array([indices], np.int64)
    return tf.data.Dataset.from_tensor_slices({"index": index, "position": index})


def batch(source, size, *indices, **options):
    (result,) = square_images.square_images(source, rows(*indices), size, **options)
    return {name: value.numpy() for name, value in result.items()}


def test_npz_of_two_sets_and_of_channels_first(tmp_path):
    x = RNG.integers(0, 256, (5, 3, 8, 8), np.uint8)
    y = np.array([[0], [1], [2], [1], [0]])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    source = image_sources.open_source(f"npz:{tmp_path}/a.npz", "train")
    assert source.classes == ("0", "1", "2") and len(source) == 5
    found = batch(source, 8, 3, -1)
    np.testing.assert_array_equal(found["image"][0], x[3].transpose(1, 2, 0))
    assert not found["image"][1].any()
    assert found["label"].tolist() == [1, 0] and found["weight"].tolist() == [1, 0]
    held = image_sources.open_source(f"npz:{tmp_path}/a.npz", "validation")
    assert len(held) == 2
    # Through PNG, as everything that decodes sees it.
    encoded = source.encoded(tf.constant([3, -1], tf.int64)).numpy()
    assert encoded[1] == b""
    for data in (encoded[0], source.data(3)):
        np.testing.assert_array_equal(tf.io.decode_png(data), x[3].transpose(1, 2, 0))


def test_cifar10_in_binary(tmp_path):
    records = RNG.integers(0, 10, (4, 3073), np.uint8)
    records[:, 0] = [3, 9, 0, 1]
    (tmp_path / "data_batch_1.bin").write_bytes(records[:2].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(records[2:].tobytes())
    source = image_sources.open_source(f"cifar10:{tmp_path}")
    assert source.labels.tolist() == [3, 9, 0, 1] and len(source.classes) == 10
    pixels = records[1, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(batch(source, 32, 1)["image"][0], pixels)
    (tmp_path / "data_batch_1.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(errors.UserError, match="data_batch_1.bin.*whole records"):
        image_sources.open_source(f"cifar10:{tmp_path}")


def test_idx(tmp_path):
    images = RNG.integers(0, 256, (3, 28, 28), np.uint8)
    head = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
    packed = gzip.compress(head + images.tobytes())
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(packed)
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 2])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    source = image_sources.open_source(f"idx:{tmp_path}")
    assert source.labels.tolist() == [7, 0, 2]
    found = batch(source, 32, 1)["image"][0]
    expected = Image.fromarray(images[1]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(found[..., 0].astype(int) - np.asarray(expected)).max() <= 1
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels[:-1])
    with pytest.raises(errors.UserError, match="whole IDX"):
        image_sources.open_source(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(2)}, "wanted is x or images"),
        ({"x": np.zeros([2, 4, 4, 3]), "y": np.zeros(2, int)}, "uint8"),
        ({"x": np.zeros([2, 4], np.uint8), "y": np.zeros(2, int)}, "of one size"),
        ({"x": np.zeros([2, 4, 4], np.uint8), "y": np.zeros(3, int)}, "3 labels"),
        ({"x": np.zeros([2, 4, 4], np.uint8), "y": np.array([0, -1])}, "below 0"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(errors.UserError, match=message):
        image_sources.open_source(f"npz:{tmp_path}/a.npz")


def test_no_archive(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(errors.UserError, match="a.npz"):
        image_sources.open_source(f"npz:{tmp_path}/a.npz")


@pytest.fixture
def folder(tmp_path):
    for name, size in (("a", (40, 21)), ("b", (21, 40)), ("b", (16, 16))):
        (tmp_path / name).mkdir(exist_ok=True)
        pixels = RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / f"{size[0]}x{size[1]}.png")
    return tmp_path


def test_the_centre_of_the_long_edge(folder):
    source = image_sources.open_source(f"folder:{folder}")
    found = batch(source, 16, 0, 1, 2)["image"]
    for image, path in zip(found, source.paths, strict=True):
        pixels = np.asarray(Image.open(path))
        side = min(pixels.shape[:2])
        top, left = (int(round((n - side) / 2)) for n in pixels.shape[:2])
        square = Image.fromarray(pixels[top : top + side, left : left + side])
        expected = np.asarray(square.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_augmentations_are_a_function_of_the_position(folder):
    source = image_sources.open_source(f"folder:{folder}")
    plain = batch(source, 16, 0, 1, 2)["image"]
    flipped = batch(source, 16, *[2] * 3, augment="flip", seed=5)["image"]
    assert all(
        np.array_equal(x, plain[2]) or np.array_equal(x, plain[2][:, ::-1])
        for x in flipped
    )
    for augment in ("crop", "pad"):
        first = batch(source, 16, 0, 1, 2, augment=augment)["image"]
        again = batch(source, 16, 2, 1, 0, augment=augment)["image"]
        np.testing.assert_array_equal(first, again[::-1])
        assert not np.array_equal(first, plain)


def test_mixed_sizes_are_refused_by_name_where_asked(folder):
    source = image_sources.open_source(f"folder:{folder}")
    with pytest.raises(errors.UserError, match=r"40x21.png has 21x40.*2 of 3"):
        square_images.check_sizes(source, 16)


def test_the_embedded_squares():
    source = image_sources.open_source("embedded:square-digits")
    assert source.images.shape == (1437, 32, 32, 1)
    assert batch(source, 32, 0)["image"].shape == (1, 32, 32, 3)
    with pytest.raises(errors.UserError, match="square-digits"):
        image_sources.open_source("embedded:squares")
