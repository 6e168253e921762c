"""3x3 convolutions with fewer multiplications (Winograd 1980; Lavin & Gray 2015).

For inference with wide layers, where multiplications cost more than the sums around
them. Outputs differ from a plain convolution's by float32 rounding alone, a few 1e-6 of
the largest value.
"""

import numpy as np
import tensorflow as tf

# F(2x2, 3x3): a 4x4 tile of the input gives 2x2 outputs with 16 multiplications
# instead of 36.
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def kernel(weight: np.ndarray) -> np.ndarray:
    """Returns what `convolve` takes, [16, in, out], of a kernel [3, 3, in, out]."""
    weight = weight.astype("float64")
    tiles = np.einsum("ai,bj,ijco->abco", _KERNEL, _KERNEL, weight)
    return tiles.reshape(16, *weight.shape[2:]).astype("float32")


def convolve(x: tf.Tensor, tiles: tf.Tensor) -> tf.Tensor:
    """Convolves with zeros outside, as "SAME" does; height and width are even."""
    height, width, channels = x.shape[1:]
    high, wide, outputs = height // 2, width // 2, tiles.shape[2]
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = tf.reshape(x, [-1, high + 1, 2, width + 2, channels])
    parts = []
    for row in _differences(x[:, :, 0], x[:, :, 1]):
        row = tf.reshape(row, [-1, wide + 1, 2, channels])
        parts += _differences(row[:, :, 0], row[:, :, 1])
    parts = tf.reshape(tf.stack(parts), [16, -1, channels])
    parts = tf.reshape(tf.matmul(parts, tiles), [4, 4, -1, wide, outputs])
    rows = []
    for row in _sums(*tf.unstack(parts)):
        row = tf.stack(_sums(*tf.unstack(row)), 2)
        rows.append(tf.reshape(row, [-1, high, width, outputs]))
    return tf.reshape(tf.stack(rows, 2), [-1, height, width, outputs])


def _differences(even: tf.Tensor, odd: tf.Tensor) -> list[tf.Tensor]:
    """The input's transform along axis 1, from its even and odd places."""
    a, b, c, d = even[:, :-1], odd[:, :-1], even[:, 1:], odd[:, 1:]
    return [a - c, b + c, c - b, b - d]


def _sums(a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) -> list[tf.Tensor]:
    """The output's transform: its even and its odd places."""
    return [a + b + c, b - c - d]


def up_kernel(weight: np.ndarray) -> list[np.ndarray]:
    """Returns what `up_convolve` takes, of a kernel [3, 3, in, out].

    In pictures enlarged by repeating pixels one of the four terms of every tile is 0
    in each direction: 9 multiplications are left for 2x2 outputs, where a transposed
    convolution has 16.
    """
    weight = weight.astype("float64")

    def terms(kernel):
        return kernel[0], kernel[0] + kernel[1] + kernel[2], kernel[2]

    above, middle, below = terms(weight)
    (left_up, up, right_up) = terms(above)
    (left, centre, right) = terms(middle)
    (left_down, down, right_down) = terms(below)
    groups = (
        [centre],
        [up, down],
        [left, right],
        [left_up, right_up, left_down, right_down],
    )
    return [np.concatenate(group, 1)[None, None].astype("float32") for group in groups]


def up_convolve(x: tf.Tensor, kernels: list[tf.Tensor]) -> tf.Tensor:
    """Convolves pictures enlarged twofold by repeating pixels."""
    height, width = x.shape[1:3]
    outputs = kernels[0].shape[-1]
    steps = _steps(x)
    centre, rows, columns, both = (
        tf.nn.conv2d(part, kernel, 1, "VALID")
        for part, kernel in zip(
            (x, steps, _steps(x, 2), _steps(steps, 2)), kernels, strict=True
        )
    )
    middle = [
        centre + rows[:, :-1, :, :outputs],
        centre - rows[:, 1:, :, outputs:],
    ]
    sides = [
        columns + both[:, :-1, :, : 2 * outputs],
        columns - both[:, 1:, :, 2 * outputs :],
    ]
    result = [
        tf.stack(
            [
                inner + side[:, :, :-1, :outputs],
                inner - side[:, :, 1:, outputs:],
            ],
            3,
        )
        for inner, side in zip(middle, sides, strict=True)
    ]
    return tf.reshape(tf.stack(result, 2), [-1, 2 * height, 2 * width, outputs])


def _steps(x: tf.Tensor, axis: int = 1) -> tf.Tensor:
    """Returns x[i - 1] - x[i] along an axis, zeros outside: one more than x."""
    padding = [[0, 0]] * 4
    padding[axis] = [1, 1]
    x = tf.pad(x, padding)
    return x[:, :-1] - x[:, 1:] if axis == 1 else x[:, :, :-1] - x[:, :, 1:]
