"""DiffAugment against a NumPy version, one picture at a time."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import errors
from tfdl.gan import diffaugment

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (6, 9, 16, 3)).astype(np.float32)
DRAWS = RNG.random((6, diffaugment.DRAWS)).astype(np.float32)
DRAWS[0], DRAWS[1] = 0.0, 0.9999999


def color(x, u):
    x = x + (u[0] - 0.5)
    grey = x.mean(2, keepdims=True)
    x = (x - grey) * (2 * u[1]) + grey
    return (x - x.mean()) * (u[2] + 0.5) + x.mean()


def translation(x, u):
    result = np.zeros_like(x)
    height, width = x.shape[:2]
    shifts = []
    for size, draw in ((height, u[3]), (width, u[4])):
        most = int(size * 0.125 + 0.5)
        shifts.append(min(int(np.floor(np.float32(draw) * (2 * most + 1))), 2 * most))
        shifts[-1] -= most
    for i in range(height):
        for j in range(width):
            row, column = i + shifts[0], j + shifts[1]
            if 0 <= row < height and 0 <= column < width:
                result[i, j] = x[row, column]
    return result


def cutout(x, u):
    result = x.copy()
    height, width = x.shape[:2]
    rows, columns = [], []
    for size, draw, out in ((height, u[5], rows), (width, u[6], columns)):
        cut = int(size * 0.5 + 0.5)
        most = size - cut % 2
        centre = min(int(np.floor(np.float32(draw) * (most + 1))), most)
        for k in range(cut):
            out.append(int(np.clip(centre + k - cut // 2, 0, size - 1)))
    result[np.ix_(rows, columns)] = 0.0
    return result


@pytest.mark.parametrize("step", [color, translation, cutout])
def test_each_step(step):
    found = diffaugment.augment(IMAGES, DRAWS, step.__name__)
    expected = np.stack([step(x, u) for x, u in zip(IMAGES, DRAWS, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_steps_in_the_references_order():
    found = diffaugment.augment(IMAGES, DRAWS, "cutout, translation,color")
    expected = np.stack(
        [
            cutout(translation(color(x, u), u), u)
            for x, u in zip(IMAGES, DRAWS, strict=True)
        ]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    assert diffaugment.augment(IMAGES, DRAWS, "") is IMAGES


def test_gradients_flow_to_what_is_seen():
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        out = diffaugment.augment(images, DRAWS, "translation,cutout")
        total = tf.reduce_sum(out)
    gradient = tape.gradient(total, images).numpy()
    assert set(np.unique(gradient)) == {0.0, 1.0}
    np.testing.assert_allclose((gradient * IMAGES).sum(), total, rtol=1e-4)


def test_unknown_policy():
    with pytest.raises(errors.UserError, match="translation"):
        diffaugment.parse("color,rotation")
