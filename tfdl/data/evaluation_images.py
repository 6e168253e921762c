"""Evaluation pictures: resized by the short side and cropped at the centre."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdl.data import image_batches, image_codec
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors


class EvaluationBatch(NamedTuple):
    """A batch of an evaluation.

    Attributes:
        indices: int64 [B], filled up with -1.
        resize: the short side that the pictures are resized to.
        height: of the crop.
        width: of the crop.
    """

    indices: np.ndarray
    resize: int
    height: int
    width: int


def square_plan(
    count: int, batch_size: int, size: int, resize: int
) -> list[EvaluationBatch]:
    """Returns batches that show every one of `count` pictures once, in order.

    The last one is filled up with -1, so that all have the same size.

    Args:
        count: pictures.
        batch_size: of the global batch.
        size: height and width of the crop.
        resize: short side before the crop.
    """
    if batch_size < 1:
        raise errors.UserError(f"batch size has to be at least 1, got {batch_size}")
    indices = np.arange(count, dtype=np.int64)
    indices = np.concatenate([indices, np.full(-count % batch_size, -1, np.int64)])
    return [
        EvaluationBatch(part, resize, size, size)
        for part in indices.reshape(-1, batch_size)
    ]


def evaluation_images(
    source: ImageSource,
    plan: Sequence[EvaluationBatch],
    *,
    antialias: bool = True,
    on_bad: str = "stop",
    parallel: int | None = None,
) -> tf.data.Dataset:
    """Returns the pictures of a plan, in its order, all of them.

    Args:
        source: the pictures.
        plan: batches of one size; their crops may differ.
        antialias: resize as Pillow does (within a level of its pixels); otherwise
            plain bilinear.
        on_bad: see `training_images`.
        parallel: batches made at once, None to let tf.data choose.

    Returns:
        Dicts of `image` uint8 [B, height, width, 3], black where the crop is larger
        than the picture, `label` int32 [B] and `weight` float32 [B], 0 for padding.
        Height and width are static when all batches share them.
    """
    if not plan:
        raise errors.UserError("there are no pictures to evaluate on")
    sizes = {len(row.indices) for row in plan}
    if len(sizes) > 1:
        raise ValueError(f"the plan's batches differ in size: {sorted(sizes)}")
    shapes = {(row.height, row.width) for row in plan}
    static = shapes.pop() if len(shapes) == 1 else (None, None)
    rows = tf.data.Dataset.from_tensor_slices(
        {
            "index": np.stack([row.indices for row in plan]).astype(np.int64),
            "crop": np.array([row[1:] for row in plan], np.int32),
        }
    )

    def batch(row, mixed):
        encoded, labels = image_batches.read(source, row["index"])
        _, jpeg = image_batches.sizes(encoded, mixed)
        resized, height, width = tf.unstack(row["crop"])
        images = image_batches.map_pictures(
            lambda is_jpeg, data, _: central(
                image_codec.decode(is_jpeg, data), resized, height, width, antialias
            ),
            encoded,
            jpeg,
            (),
            tf.TensorSpec([None, None, 3], tf.uint8),
            mixed,
        )
        return {"image": images, **labels}

    return image_batches.map_batches(rows, source, batch, static, on_bad, parallel)


def central(
    image: tf.Tensor,
    short_side: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    antialias: bool = True,
    kernel: str = "triangle",
) -> tf.Tensor:
    """Returns the centre of a resized picture, uint8 [height, width, 3].

    As torchvision's Resize and CenterCrop: the long side is rounded down, the crop's
    corner to even, and black surrounds a picture that is smaller than the crop. Only
    the pixels that are kept are computed.

    Args:
        image: uint8 [H, W, 3].
        short_side: int32 [], what min(H, W) becomes.
        height: int32 [], of the crop.
        width: int32 [], of the crop.
        antialias: see `evaluation_images`.
        kernel: of the resize, "triangle" (bilinear) or "keyscubic" (bicubic).
    """
    old = tf.shape(image)[:2]
    new = short_side * old // tf.reduce_min(old)
    crop = tf.stack([height, width])
    spare = new - crop
    inside = tf.cast(tf.round(tf.cast(spare, tf.float64) / 2), tf.int32)
    outside = -(-spare // 2)
    corner = tf.where(spare >= 0, inside, outside)
    scale = tf.cast(new, tf.float32) / tf.cast(old, tf.float32)
    result = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=crop,
        scale=scale,
        translation=tf.cast(-corner, tf.float32),
        kernel_type=kernel,
        antialias=antialias,
    )
    # A cubic kernel overshoots.
    return tf.cast(tf.clip_by_value(tf.round(result[0]), 0.0, 255.0), tf.uint8)
