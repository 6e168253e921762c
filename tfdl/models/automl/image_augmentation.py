"""Crops, mirrors and cutout of training batches; drawn with the data, done in the step.

What is drawn about a picture is a function of the seed and of its position in the
endless stream of pictures, and travels as columns of the batch.
"""

from collections.abc import Mapping

import tensorflow as tf

from tfdl.data import random_crops
from tfdl.engine import errors

PLACES = ("centre", "corner")
VALUES = ("black", "mean")
_DRAWS = 5
_SALT = 0x5C0


class Augmentation:
    """What is done to a batch.

    Args:
        load_size: side of the pictures that come in.
        size: side of those that come out; no larger than padded ones.
        padding: pixels on each side.
        padding_value: of `VALUES`: what is put there.
        flip: mirror half of them.
        cutout: side of the square that is zeroed (DeVries & Taylor 2017); 0 for none.
        cutout_place: of `PLACES`: the square's centre is anywhere in the picture
            (DARTS), or its top left corner is (ENAS).

    Raises:
        UserError: a value that makes no sense.
    """

    def __init__(
        self,
        load_size: int,
        size: int,
        padding: int = 0,
        padding_value: str = "black",
        flip: bool = False,
        cutout: int = 0,
        cutout_place: str = "centre",
    ):
        for name, value, allowed in (
            ("cutout_place", cutout_place, PLACES),
            ("padding_value", padding_value, VALUES),
        ):
            if value not in allowed:
                raise errors.unknown(name, value, allowed)
        if min(load_size, size) < 1 or min(padding, cutout) < 0:
            raise errors.UserError(
                "size and load_size have to be at least 1, padding and cutout 0"
            )
        if size > load_size + 2 * padding:
            raise errors.UserError(
                f"a crop of size={size} does not fit in pictures of {load_size} with "
                f"padding={padding}"
            )
        self.load_size, self.size, self.padding = load_size, size, padding
        self.black = padding_value == "black"
        self.flip, self.cutout = bool(flip), cutout
        self.centred = cutout_place == "centre"

    def draw(self, seed: int, positions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the columns of a batch: `crop` int32 [B, 3], `cutout` int32 [B, 4].

        Args:
            seed: of the run.
            positions: int64 [B].
        """
        drawn = random_crops.uniform(seed + _SALT, positions, _DRAWS)
        spare = self.load_size + 2 * self.padding - self.size + 1
        corner = tf.cast(drawn[:, :2] * spare, tf.int32)
        mirrored = tf.cast((drawn[:, 2:3] < 0.5) & self.flip, tf.int32)
        place = tf.cast(drawn[:, 3:] * self.size, tf.int32)
        if self.centred:
            place -= self.cutout // 2
        low = tf.clip_by_value(place, 0, self.size)
        high = tf.clip_by_value(place + self.cutout, 0, self.size)
        return {
            "crop": tf.concat([corner, mirrored], 1),
            "cutout": tf.concat([low, high], 1),
        }

    def crop(self, images: tf.Tensor, columns: Mapping[str, tf.Tensor], normalise):
        """Returns normalised crops [B, size, size, C] of bytes [B, H, W, C]."""
        if not self.black:
            images = normalise(images)
        edges = [[0, 0], [self.padding] * 2, [self.padding] * 2, [0, 0]]
        if self.padding:
            images = tf.pad(images, edges)
        if self.padding or self.size != self.load_size or self.flip:
            top, left, mirrored = tf.split(columns["crop"], 3, 1)
            rows = tf.range(self.size)[None] + top
            across = tf.range(self.size)[None]
            across = tf.where(mirrored > 0, self.size - 1 - across, across) + left
            images = tf.gather(images, rows, batch_dims=1)
            images = tf.gather(tf.transpose(images, [0, 2, 1, 3]), across, batch_dims=1)
            images = tf.transpose(images, [0, 2, 1, 3])
        return normalise(images) if self.black else images

    def cut(self, images: tf.Tensor, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Zeroes a square of every normalised picture."""
        if not self.cutout:
            return images
        top, left, bottom, right = tf.split(columns["cutout"], 4, 1)
        down, across = tf.range(images.shape[1])[None], tf.range(images.shape[2])[None]
        rows = (down >= top) & (down < bottom)
        columns = (across >= left) & (across < right)
        hidden = rows[:, :, None, None] & columns[:, None, :, None]
        return tf.where(hidden, tf.zeros([], images.dtype), images)
