"""What an iteration is fed: real pictures, latents, classes, and draws to augment by.

Everything is a function of the seed and the iteration, drawn row by row, so that any
number of replicas and workers sees the same global batch, and a run can start anywhere.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfdl.data import indexed, random_crops, square_images
from tfdl.data.image_sources import ImageSource
from tfdl.engine.distribution import Shard
from tfdl.gan import diffaugment
from tfdl.models.biggan.iteration import Steps

# Streams of random numbers, each with a seed of its own.
_Z, _LABEL, _DRAWS, _FAKE_DRAWS = range(4)
_GENERATOR = 4


def training_batches(
    source: ImageSource,
    steps: Steps,
    *,
    size: int,
    batch_size: int,
    generator_batch_size: int,
    dim_z: int,
    num_classes: int,
    seed: int,
    start: int,
    shard: Shard,
    augment: str = "none",
    on_bad: str = "stop",
) -> tf.data.Dataset:
    """Returns what `Iteration` takes, from iteration `start` on.

    The pictures of an epoch are a permutation of all. Rows are those of this worker.

    Args:
        source: real pictures.
        steps: what an iteration is made of.
        size: of the pictures.
        batch_size: pictures, and latents, of a batch of the discriminator.
        generator_batch_size: latents of a batch of the generator.
        dim_z: of latents.
        num_classes: classes to draw from, uniformly.
        seed: of everything random.
        start: the first iteration.
        shard: which rows are returned.
        augment: of real pictures, see `square_images`.
        on_bad: what a picture does that cannot be read.
    """
    count = steps.batches
    rows = indexed.epoch_batches(
        len(source), batch_size * count, seed, 0, start, Shard(), full=True
    )

    def own(row):
        # [count, batch] to this worker's rows of every batch, as one list.
        return {
            name: tf.reshape(_mine(tf.reshape(x, [count, batch_size]), shard), [-1])
            for name, x in row.items()
        }

    pictures = square_images.square_images(
        source, rows.map(own), size, seed=seed, augment=augment, on_bad=on_bad
    )
    numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)

    def whole(step, real):
        batch = {name: _rows_first(x, count) for name, x in real.items()}
        batch |= _latents(
            step, count, batch_size, 0, seed, dim_z, num_classes, steps, shard
        )
        return batch | {
            f"generator_{name.removeprefix('fake_')}": value
            for name, value in _latents(
                step,
                steps.generator_accumulation,
                generator_batch_size,
                _GENERATOR,
                seed,
                dim_z,
                num_classes,
                steps,
                shard,
            ).items()
            if name != "draws"
        }

    return tf.data.Dataset.zip(numbers, pictures).map(
        whole, num_parallel_calls=tf.data.AUTOTUNE
    )


def _latents(
    step, count, size, first, seed, dim_z, num_classes, steps, shard
) -> Mapping[str, tf.Tensor]:
    """Returns z [rows, count, dim], fake_label [rows, count], and draws."""
    places = step * count * size + tf.range(count * size, dtype=tf.int64)
    places = tf.reshape(_mine(tf.reshape(places, [count, size]), shard), [-1])

    def uniform(stream, width):
        found = random_crops.uniform(_seed(seed, first + stream), places, width)
        return _rows_first(found, count)

    # The uniform numbers are multiples of 2^-53, with 0 among them.
    z = tf.math.ndtri(uniform(_Z, dim_z) + 2.0**-54)
    label = uniform(_LABEL, 1)[..., 0] * num_classes
    result = {"z": tf.cast(z, tf.float32), "fake_label": tf.cast(label, tf.int32)}
    if steps.diffaugment:
        for name, stream in (("draws", _DRAWS), ("fake_draws", _FAKE_DRAWS)):
            found = uniform(stream, diffaugment.DRAWS)
            result[name] = tf.cast(found, tf.float32)
    return result


def _seed(seed: int, stream: int) -> int:
    return (seed % 2**31) * 16 + stream + 1


def _mine(table: tf.Tensor, shard: Shard) -> tf.Tensor:
    """Returns this worker's columns of [count, rows]."""
    part = shard.part(table.shape[1])
    return table[:, shard.index * part : (shard.index + 1) * part]


def _rows_first(flat: tf.Tensor, count: int) -> tf.Tensor:
    """Returns [count * rows, ...] as [rows, count, ...]."""
    rows = flat.shape[0] // count
    parts = tf.reshape(flat, [count, rows, *flat.shape[1:]])
    return tf.transpose(parts, [1, 0, *range(2, len(parts.shape))])
