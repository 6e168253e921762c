"""What is done to a batch of training pictures in the graph: moved, mirrored."""

import tensorflow as tf

from tfdl.engine import errors

KINDS = ("none", "flip", "pad", "pad-flip")


class Augmentation:
    """Moves pictures by up to `padding` pixels (zeros come in), mirrors half of them.

    Args:
        kind: of `KINDS`.
        padding: pixels on each side.
    """

    def __init__(self, kind: str, padding: int = 4):
        if kind not in KINDS:
            raise errors.unknown("augment", kind, KINDS)
        self.padding = padding if "pad" in kind else 0
        self.flip = "flip" in kind

    def __call__(self, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Returns pictures [B, H, W, C], as `key` int32 [3] decides."""
        if not self.padding and not self.flip:
            return images
        seed = tf.stack([key[0], key[1] * 1000003 + key[2]])
        count, height, width = images.shape[0], images.shape[1], images.shape[2]
        most = 2 * self.padding + 1
        drawn = tf.random.stateless_uniform([count, 3], seed)
        corner = tf.cast(drawn[:, :2] * most, tf.int32)
        edges = [[0, 0], [self.padding] * 2, [self.padding] * 2, [0, 0]]
        rows = tf.range(height)[None] + corner[:, :1]
        columns = tf.range(width)[None] + corner[:, 1:]
        if self.flip:
            mirrored = drawn[:, 2:] < 0.5
            columns = tf.where(mirrored, tf.reverse(columns, [1]), columns)
        images = tf.gather(tf.pad(images, edges), rows, batch_dims=1)
        images = tf.gather(tf.transpose(images, [0, 2, 1, 3]), columns, batch_dims=1)
        return tf.transpose(images, [0, 2, 1, 3])
