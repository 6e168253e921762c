"""Training crops: the reference's boxes and pixels, as a function of seed and place."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf

from tests.data import pictures
from tests.helpers import golden
from tfdl.data import random_crops, train_images
from tfdl.data.image_codec import decode
from tfdl.data.image_sources import open_source
from tfdl.engine.errors import UserError


def rows(*batches):
    """Returns a dataset of index batches whose positions count on."""
    size = len(batches[0])
    index = np.array(batches, np.int64)
    position = np.arange(len(batches) * size).reshape(index.shape)
    return tf.data.Dataset.from_tensor_slices({"index": index, "position": position})


def batches(source, dataset, size=16, **options):
    """Returns the batches as NumPy arrays."""
    options = {"seed": 5, "parallel": 2, **options}
    made = train_images.training_images(source, dataset, size, **options)
    return list(made.as_numpy_iterator())


def test_boxes_replay_the_reference_s_tries():
    cases = np.load(golden("imagenet18", "io_random_resized_crop.npz"))["cases"]
    pairs = cases[:, 9:].reshape(len(cases), 10, 2)
    sizes = cases[:, [1, 0]].astype(np.int32)
    accepted, want = cases[:, 4] == 1, cases[:, 5:9]
    # The golden's corners stand for draws of the corner within its range.
    low = [
        np.where(accepted, (c + 0.5) / (s - b + 1), 0)
        for c, s, b in zip(want[:, :2].T, sizes.T, want[:, 2:].T, strict=True)
    ]
    # An unused try, 0 and 0, is a box of no size and fails as it should.
    ratios = np.where(pairs[..., 1] == 0, 1.0, pairs[..., 1])
    found = random_crops.boxes(sizes, pairs[..., 0], ratios, *low).numpy()
    np.testing.assert_array_equal(found, want)
    assert 20 < accepted.sum() < len(cases)
    square = random_crops.boxes(sizes, pairs[..., 0], ratios, *low, fallback="square")
    missed = square.numpy()[~accepted]
    short = sizes.min(1)[~accepted]
    np.testing.assert_array_equal(missed[:, 2:], np.stack([short, short], 1))
    assert (missed[:, :2] == (sizes[~accepted] - short[:, None]) // 2).all()


def test_draws_are_uniform_and_depend_on_seed_and_position_alone():
    positions = tf.range(20_000, dtype=tf.int64)
    numbers = random_crops.uniform(3, positions, 5).numpy()
    part = random_crops.uniform(3, positions[7000:7010], 5).numpy()
    np.testing.assert_array_equal(numbers[7000:7010], part)
    assert (random_crops.uniform(4, positions[:9], 5).numpy() != numbers[:9]).all()
    assert 0 <= numbers.min() < 1e-4 and 1 - 1e-4 < numbers.max() < 1
    for column in numbers.T:
        counts = np.histogram(column, 50, (0, 1))[0]
        assert (((counts - 400) ** 2) / 400).sum() < 100  # chi squared, 49 degrees
    correlation = np.corrcoef(numbers, rowvar=False) - np.eye(5)
    assert np.abs(correlation).max() < 0.03
    assert np.abs(np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]) < 0.03
    # The generator is SplitMix64: a known state gives its published output.
    assert int(random_crops._mixed(np.array([0x9E3779B97F4A7C15], np.uint64))[0]) == (
        0xE220A8397B1DCDAF
    )


def test_crops_are_distributed_as_specified():
    count = 20_000
    random = random_crops.draws(
        1, tf.range(count, dtype=tf.int64), (0.2, 0.6), (0.5, 2)
    )
    areas, ratios = random["areas"].numpy(), random["ratios"].numpy()
    assert 0.2 <= areas.min() < 0.201 and 0.599 < areas.max() <= 0.6
    assert abs(areas.mean() - 0.4) < 0.002
    logs = np.log(ratios)
    assert abs(logs.mean()) < 0.01 and abs(logs.std() - math.log(4) / 12**0.5) < 0.01
    assert abs(random.pop("flip").numpy().mean() - 0.5) < 0.015
    sizes = np.full([count, 2], (300, 400), np.int32)
    top, left, height, width = random_crops.boxes(sizes, **random).numpy().T
    assert (top >= 0).all() and (top + height <= 300).all()
    assert (left >= 0).all() and (left + width <= 400).all()
    free = 300 - height
    assert (top == 0).any() and (top == free).any()
    assert abs((top[free > 40] / free[free > 40]).mean() - 0.5) < 0.01


def test_pixels_are_pillow_s():
    cases = np.load(golden("imagenet18", "io_train_pixels.npz"))
    for k in range(3):
        top, left, height, width = cases[f"box_ijhw_{k}"]
        part = cases[f"in_{k}"][top : top + height, left : left + width]
        want = cases[f"out_{k}"].astype(int)
        exact = train_images.resize(tf.constant(part), *want.shape[:2], True).numpy()
        assert np.abs(exact - want).max() <= 1
        plain = train_images.resize(tf.constant(part), *want.shape[:2], False).numpy()
        shrinks = height > want.shape[0] or width > want.shape[1]
        assert (np.abs(plain - want).max() > 1) == shrinks


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_decoded_crop_is_the_whole_picture_s(mode):
    random = np.random.default_rng(2)
    data = pictures.encoded(67, 93, 4, mode=mode)
    whole = decode(True, tf.constant(data)).numpy()
    np.testing.assert_array_equal(whole, pictures.pixels(data))
    for _ in range(40):
        height, width = random.integers(1, [68, 94])
        top, left = random.integers(0, [68 - height, 94 - width])
        box = tf.constant([top, left, height, width], tf.int32)
        part = train_images.crop(True, tf.constant(data), tf.constant([67, 93]), box)
        want = whole[top : top + height, left : left + width]
        np.testing.assert_array_equal(part, want)


def test_batches_are_a_function_of_seed_and_position(tmp_path):
    source = open_source(f"folder:{pictures.folder(tmp_path)}")
    all_rows = rows([0, 1, 2, 3], [4, 5, -1, 7], [7, 6, 5, 4])
    first = batches(source, all_rows)
    assert [batch["label"].tolist() for batch in first][1] == [1, 1, 0, 1]
    assert first[1]["weight"].tolist() == [1, 1, 0, 1]
    assert not first[1]["image"][2].any() and first[1]["image"][3].any()
    # Started later, and in other batches, as on two workers.
    later = batches(source, all_rows.skip(2).unbatch().batch(2))
    np.testing.assert_array_equal(later[0]["image"], first[2]["image"][:2])
    halves = all_rows.unbatch().batch(2)
    parts = np.concatenate([batch["image"] for batch in batches(source, halves)])
    np.testing.assert_array_equal(parts, np.concatenate([b["image"] for b in first]))
    other = batches(source, all_rows, seed=6)
    assert (other[0]["image"] != first[0]["image"]).any()


def test_flips_mirror_half(tmp_path):
    source = open_source(f"folder:{pictures.folder(tmp_path)}")
    same = rows(*[[3] * 32] * 4)
    options = {"min_scale": 1.0, "ratio": (0.01, 100.0), "fallback": "ratio"}
    kinds = collections.Counter()
    for batch, plain in zip(
        batches(source, same, **options),
        batches(source, same, flip=False, **options),
        strict=True,
    ):
        for image, straight in zip(batch["image"], plain["image"], strict=True):
            mirrored = np.array_equal(image, straight[:, ::-1])
            assert mirrored or np.array_equal(image, straight)
            kinds[mirrored] += 1
    assert 40 < kinds[True] < 88, kinds


def test_short_last_batches_keep_their_size(tmp_path):
    source = open_source(f"folder:{pictures.folder(tmp_path)}")
    dataset = rows([0, 1, 2, 3, 4]).unbatch().batch(2)
    made = batches(source, dataset)
    assert [len(batch["image"]) for batch in made] == [2, 2, 1]


def test_pngs_among_jpegs(tmp_path):
    root = pictures.folder(tmp_path)
    path = root / "train" / "cat" / "1.jpg"  # named as a JPEG, which one is in ImageNet
    source = open_source(f"folder:{root}")
    path.write_bytes(pictures.encoded(31, 44, 9, "PNG"))
    whole = {"min_scale": 1.0, "ratio": (0.01, 100.0), "flip": False, "seed": 1}
    mixed = batches(source, rows([0, 1, 2]), **whole)
    assert source.mixed()
    source.mixed = lambda: False  # a guess that was wrong is mended
    mended = batches(source, rows([0, 1, 2]), **whole)
    np.testing.assert_array_equal(mixed[0]["image"], mended[0]["image"])
    assert mixed[0]["weight"].tolist() == [1, 1, 1] and not len(source.bad)


@pytest.mark.parametrize("options, message", [
    ({"min_scale": 0.0}, "min_scale"), ({"min_scale": 0.9, "max_scale": 0.5}, "order"),
    ({"ratio": (2, 1)}, "ratio"), ({"fallback": "none"}, "fallback"),
    ({"on_bad": "ignore"}, "on_bad"),
])  # fmt: skip
def test_options_that_make_no_sense(options, message):
    source = open_source("embedded:digits")
    with pytest.raises(UserError, match=message):
        batches(source, rows([0]), **options)
