"""Doubling and halving the size of pictures."""

from collections.abc import Sequence

import tensorflow as tf

# From this height on one transposed convolution is faster on a CPU than four small
# ones.
LARGE = 16


def doubled(x: tf.Tensor) -> tf.Tensor:
    """Repeats every row and column: [B, H, W, C] to [B, 2H, 2W, C]."""
    return _interleaved([[x, x], [x, x]])


def halved(x: tf.Tensor) -> tf.Tensor:
    """Averages 2x2 places: [B, H, W, C] to [B, H/2, W/2, C]."""
    return tf.nn.avg_pool2d(x, 2, 2, "VALID")


def doubled_convolution(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the 3x3 convolution of `doubled(x)`, zeros around, without doubling.

    It takes 4/9 of the multiplications.

    Args:
        x: [B, H, W, in].
        kernel: [3, 3, in, out].

    Returns:
        [B, 2H, 2W, out].
    """
    return kernel_user(x.shape[1])(x, kernel_maker(x.shape[1])(kernel))


def kernel_maker(height: int | None):
    """Returns what makes the kernels for pictures of a height out of a 3x3 one."""
    return spread if height is not None and height >= LARGE else phases


def kernel_user(height: int | None):
    """Returns what convolves with the kernels that `kernel_maker` made."""
    return by_transpose if height is not None and height >= LARGE else by_phases


def phases(kernel: tf.Tensor) -> list[tf.Tensor]:
    """Returns the four 2x2 kernels that even and odd rows and columns see.

    Of the three rows that an output sees, two are the same row of the small map: an
    even one sees two rows with k0 and k1 + k2, an odd one with k0 + k1 and k2.
    Columns are alike.
    """
    found = []
    for part in (
        tf.stack([kernel[0], kernel[1] + kernel[2]]),
        tf.stack([kernel[0] + kernel[1], kernel[2]]),
    ):
        k0, k1, k2 = part[:, 0], part[:, 1], part[:, 2]
        found += [tf.stack([k0, k1 + k2], 1), tf.stack([k0 + k1, k2], 1)]
    return found


def by_phases(x: tf.Tensor, kernels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Makes even and odd rows and columns apart and interleaves them."""
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    height, width = tf.shape(x)[1] + 1, tf.shape(x)[2] + 1
    parts = [
        tf.nn.conv2d(padded[:, a : a + height, b : b + width], kernel, 1, "VALID")
        for (a, b), kernel in zip(
            ((0, 0), (0, 1), (1, 0), (1, 1)), kernels, strict=True
        )
    ]
    parts = [tf.ensure_shape(y, [*x.shape[:3], y.shape[3]]) for y in parts]
    return _interleaved([parts[:2], parts[2:]])


def spread(kernel: tf.Tensor) -> tf.Tensor:
    """Returns the 4x4 kernel that a transposed convolution of stride 2 takes.

    Every place of the small map stands for 2x2 equal ones, each of which gives the
    mirrored kernel: their sum. Of shape [4, 4, out, in].
    """
    mirrored = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    parts = [
        tf.pad(mirrored, [[a, 1 - a], [b, 1 - b], [0, 0], [0, 0]])
        for a in (0, 1)
        for b in (0, 1)
    ]
    return tf.add_n(parts)


def by_transpose(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the transposed convolution with a kernel of `spread`."""
    shape = tf.shape(x)
    size = [shape[0], 2 * shape[1], 2 * shape[2], kernel.shape[2]]
    y = tf.nn.conv2d_transpose(x, kernel, size, 2, "SAME")
    known = [None if n is None else 2 * n for n in x.shape[1:3]]
    return tf.ensure_shape(y, [x.shape[0], *known, kernel.shape[2]])


def _interleaved(grid) -> tf.Tensor:
    """Makes a picture of four, which hold its even and odd rows and columns."""
    rows = [tf.stack(columns, 3) for columns in grid]
    y = tf.stack(rows, 2)  # [B, H, 2, W, 2, C]
    x = grid[0][0]
    shape = tf.shape(x)
    y = tf.reshape(y, [shape[0], 2 * shape[1], 2 * shape[2], x.shape[-1]])
    known = [None if n is None else 2 * n for n in x.shape[1:3]]
    return tf.ensure_shape(y, [x.shape[0], *known, x.shape[-1]])
