"""Mixup and CutMix: pictures and targets of two neighbours in a batch.

A picture's partner is its neighbour in the batch: rows 0 and 1, 2 and 3, ... Batches
are shuffled, so that neighbours are a random pair, and pairs stay together when a batch
is split over replicas: any number of replicas sees the same mixtures. What is drawn is
a function of seed and step, made with the data.
"""

import tensorflow as tf

from tfdl.engine.options import number

# Columns that `draw` adds to a batch, one value per row.
MIX, BOX = "mix", "box"


class Mixing:
    """Mixup (Zhang et al. 2017) and CutMix (Yun et al. 2019).

    Args:
        mixup: alpha of mixup's Beta(alpha, alpha); 0 is off.
        cutmix: alpha of CutMix's; 0 is off. With both, a fair coin decides per batch.

    Raises:
        UserError: a negative alpha.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0):
        self.mixup, self.cutmix = number("mixup", mixup), number("cutmix", cutmix)

    @property
    def active(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def draw(self, step: tf.Tensor, seed: int, rows: tf.Tensor, size: int) -> dict:
        """Returns what a batch is mixed by: columns to add to it.

        Args:
            step: int64, the place of the batch in the run.
            seed: of the run.
            rows: int32, pictures in the batch.
            size: side of the pictures, pixels.

        Returns:
            `mix` float32 [rows], lambda, the share of the picture itself; `box` int32
            [rows, 4], top, left, bottom, right of the partner's patch, empty in
            mixup.
        """
        key = tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)])
        coin = tf.random.stateless_uniform([], key + [0x51, 0])
        cut = coin < 0.5 if self.mixup and self.cutmix else tf.constant(self.cutmix > 0)
        alpha = tf.where(cut, self.cutmix or 1.0, self.mixup or 1.0)
        share = _beta(alpha, key + [0x52, 0])
        box = _box(share, key + [0x53, 0], size)
        box = tf.where(cut, box, tf.zeros([4], tf.int32))
        area = tf.cast((box[2] - box[0]) * (box[3] - box[1]), tf.float32)
        # A patch that the border cuts counts for what is left of it.
        share = tf.where(cut, 1.0 - area / float(size * size), share)
        return {
            MIX: tf.fill([rows], share),
            BOX: tf.tile(box[None], tf.stack([rows, 1])),
        }


def mix_images(images: tf.Tensor, batch: dict) -> tf.Tensor:
    """Mixes pictures [B, H, W, C] with their neighbours as the batch's columns say."""
    other = neighbours(images)
    share = tf.cast(batch[MIX], images.dtype)[:, None, None, None]
    box = batch[BOX][:, :, None]
    rows = tf.range(tf.shape(images)[1])[None]
    columns = tf.range(tf.shape(images)[2])[None]
    down = tf.logical_and(rows >= box[:, 0], rows < box[:, 2])
    across = tf.logical_and(columns >= box[:, 1], columns < box[:, 3])
    inside = tf.logical_and(down[:, :, None], across[:, None, :])[..., None]
    is_box = tf.reduce_any(inside, axis=[1, 2, 3], keepdims=True)
    pasted = tf.where(inside, other, images)
    return tf.where(is_box, pasted, other + share * (images - other))


def mix_targets(soft: tf.Tensor, batch: dict) -> tf.Tensor:
    """Mixes targets [B, classes]: `lambda t + (1 - lambda) t_partner`."""
    share = batch[MIX][:, None]
    return share * soft + (1.0 - share) * neighbours(soft)


def neighbours(rows: tf.Tensor) -> tf.Tensor:
    """Returns every row's partner; the last of an odd number is its own."""
    count = tf.shape(rows)[0]
    index = tf.range(count)
    return tf.gather(rows, tf.minimum(tf.bitwise.bitwise_xor(index, 1), count - 1))


def _beta(alpha: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(alpha, alpha)."""
    pair = tf.random.stateless_gamma([2], key, alpha)
    total = tf.reduce_sum(pair)
    # Both can underflow to 0 for a tiny alpha.
    return tf.where(total > 0, pair[0] / tf.where(total > 0, total, 1.0), 1.0)


def _box(share: tf.Tensor, key: tf.Tensor, size: int) -> tf.Tensor:
    """Draws CutMix's patch: sides `size * sqrt(1 - lambda)`, clipped at the border."""
    side = tf.cast(float(size) * tf.sqrt(1.0 - share), tf.int32)
    middle = tf.random.stateless_uniform([2], key, 0, size, tf.int32)
    start = tf.clip_by_value(middle - side // 2, 0, size)
    end = tf.clip_by_value(middle + side // 2, 0, size)
    return tf.concat([start, end], axis=0)
