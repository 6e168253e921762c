"""Image batches for a search with shared weights, and what measures it."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.enas.steps import Steps
from tfdl.models.automl.image_data import Images

# none; moved by up to four pixels (zeros come in); the same, and mirrored.
AUGMENTATIONS = ("none", "shift", "pad")
PADDING = 4
_TRAIN, _VALID = 0x7FD1, 0x7FD2  # of the permutations' seeds


class Batches:
    """Training and validation batches, as a function of the seed and the step.

    Args:
        images: what they are made of.
        mean: of each channel, for bytes as 0 to 1.
        std: of each channel.
        batch_size: of both kinds.
        augment: of training batches, one of `AUGMENTATIONS`.
        seed: of orders and augmentation.

    Raises:
        UserError: an unknown augmentation.
    """

    def __init__(self, images: Images, mean, std, batch_size: int, augment, seed: int):
        if augment not in AUGMENTATIONS:
            raise errors.unknown("augment", augment, AUGMENTATIONS)
        self.batch_size, self.augment, self.seed = batch_size, augment, seed
        self._mean, self._std = (np.asarray(x, np.float32) for x in (mean, std))
        with tf.device("CPU"):
            self._train = tf.constant(images.train), tf.constant(images.train_labels)
            self._valid = tf.constant(images.valid), tf.constant(images.valid_labels)

    def dataset(self, steps: Steps, start: int) -> tf.data.Dataset:
        """Returns the batches of all steps from one on, with the steps' own columns."""

        def batch(row):
            image, label = tf.cond(
                row["judges"],
                lambda: self.validation(row["number"]),
                lambda: self._training(row["number"]),
            )
            return {"image": image, "label": label, **row}

        return steps.dataset(start).map(batch, num_parallel_calls=2, deterministic=True)

    def validation(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the validation batch of a number; all images are seen as often."""
        images, labels = self._valid
        index = self._order(len(labels), number, _VALID)
        return self._normalised(tf.gather(images, index)), tf.gather(labels, index)

    def in_order(self, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns a validation batch from an image on, and which are no repetition.

        The last batch is filled up from the beginning, so that all have one size.
        """
        images, labels = self._valid
        place = start + tf.range(self.batch_size, dtype=tf.int64)
        index = place % len(labels)
        image = self._normalised(tf.gather(images, index))
        return image, tf.gather(labels, index), place < len(labels)

    @property
    def validation_images(self) -> int:
        """How many images judge."""
        return len(self._valid[1])

    def _training(self, number):
        images, labels = self._train
        index = self._order(len(labels), number, _TRAIN)
        image = self._normalised(tf.gather(images, index))
        if self.augment != "none":
            image = self._moved(image, number)
        return image, tf.gather(labels, index)

    def _order(self, count: int, number, salt: int):
        """Returns the batch of that number in an endless row of permutations."""
        size = self.batch_size
        position = number * size + tf.range(size, dtype=tf.int64)
        seeds = [
            tf.fill([size], tf.constant(self.seed % 2**32, tf.uint32)),
            tf.cast(position // count, tf.uint32),
            tf.fill([size], tf.constant(salt, tf.uint32)),
        ]
        return tf.raw_ops.RandomIndexShuffle(
            index=position % count,
            seed=tf.stack(seeds, axis=1),
            max_index=tf.fill([size], tf.constant(count - 1, tf.int64)),
        )

    def _normalised(self, image):
        return (tf.cast(image, tf.float32) / 255.0 - self._mean) / self._std

    def _moved(self, image, number):
        size, side = self.batch_size, image.shape[1]
        first = tf.constant([self.seed % 2**31, 0x30D], tf.int32)
        seed = tf.random.experimental.stateless_fold_in(first, number)
        draws = tf.random.stateless_uniform([3, size], seed)
        corner = tf.cast(draws[:2] * (2 * PADDING + 1), tf.int32)
        pads = [PADDING, PADDING]
        image = tf.pad(image, [[0, 0], pads, pads, [0, 0]])
        for axis in range(2):
            places = corner[axis][:, None] + tf.range(side)
            image = tf.gather(image, places, axis=axis + 1, batch_dims=1)
        if self.augment == "shift":
            return image
        mirrored = tf.reverse(image, [2])
        return tf.where(draws[2][:, None, None, None] < 0.5, mirrored, image)


def hits(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns which images are classified rightly, float32 [B]."""
    return tf.cast(tf.argmax(logits, 1, tf.int32) == labels, tf.float32)


def measures(
    network: Callable[..., dict[str, tf.Tensor]], batches: Batches
) -> tuple[Callable, Callable]:
    """Returns two compiled functions that measure an architecture.

    The first takes the architecture and the number of a validation batch and returns
    the share of hits; the second takes it and a first image and returns hits and
    images of the batch from there.
    """
    arc, number = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)

    @tf.function(input_signature=[arc, number])
    def on_batch(arc, number):
        image, labels = batches.validation(number)
        logits = network({"image": image, "arc": arc})["logits"]
        return tf.reduce_mean(hits(logits, labels))

    @tf.function(input_signature=[arc, number])
    def from_image(arc, start):
        image, labels, real = batches.in_order(start)
        logits = network({"image": image, "arc": arc})["logits"]
        real = tf.cast(real, tf.float32)
        return tf.reduce_sum(hits(logits, labels) * real), tf.reduce_sum(real)

    return on_batch, from_image
