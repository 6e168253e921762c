"""Square pictures for generative models: the centre of the long edge, resized.

As BigGAN-PyTorch makes them: crop to a square of the short side, resize bilinearly with
a filter (Pillow's), no flip unless asked for.
"""

import numpy as np
import tensorflow as tf

from tfdl.data import image_batches, image_codec, random_crops, train_images
from tfdl.data.image_arrays import ArraySource
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors

# none; mirrored; anywhere along the long edge, mirrored; moved by up to four pixels
# (black comes in), mirrored.
AUGMENTATIONS = ("none", "flip", "crop", "pad")
PADDING = 4
_DRAWS = 3


def square_images(
    source: ImageSource,
    rows: tf.data.Dataset,
    size: int,
    *,
    seed: int = 0,
    augment: str = "none",
    on_bad: str = "stop",
    parallel: int | None = None,
) -> tf.data.Dataset:
    """Returns batches of square pictures.

    Args:
        source: the pictures.
        rows: dicts of `index` int64 [B] (negative is padding) and `position` int64
            [B], by which what is random about a picture is drawn.
        size: the side of what comes out.
        seed: of what is random.
        augment: one of `AUGMENTATIONS`.
        on_bad: what a picture does that cannot be read: see `map_batches`.
        parallel: batches made at once, None to let tf.data choose.

    Returns:
        Dicts of `image` uint8 [B, size, size, 3], `label` int32 [B], `weight`
        float32 [B].
    """
    if augment not in AUGMENTATIONS:
        raise errors.unknown("augment", augment, AUGMENTATIONS)

    def draws(row):
        return random_crops.uniform(seed, row["position"], _DRAWS)

    if isinstance(source, ArraySource) and source.size(0) == (size, size):
        # Nothing to decode.
        def gathered(row):
            images, labels = source.read_pixels(row["index"])
            if augment != "none":
                images = tf.map_fn(
                    lambda pair: _augmented(pair[0], pair[1], augment),
                    (images, draws(row)),
                    fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
                )
            return {
                "image": tf.ensure_shape(images, [*row["index"].shape, size, size, 3]),
                "label": labels,
                "weight": tf.cast(row["index"] >= 0, tf.float32),
            }

        return rows.map(gathered, tf.data.AUTOTUNE if parallel is None else parallel)

    def picture(is_jpeg, data, arguments):
        image = image_codec.decode(is_jpeg, data)
        (drawn,) = arguments
        place = drawn[0] if augment == "crop" else None
        square = train_images.resize(_square(image, place), size, size, antialias=True)
        return _augmented(square, drawn, augment)

    def batch(row, mixed):
        encoded, labels = image_batches.read(source, row["index"])
        _, jpeg = image_batches.sizes(encoded, mixed)
        images = image_batches.map_pictures(
            picture,
            encoded,
            jpeg,
            (draws(row),),
            tf.TensorSpec([size, size, 3], tf.uint8),
            mixed,
        )
        return {"image": images, **labels}

    return image_batches.map_batches(
        rows, source, batch, (size, size), on_bad, parallel
    )


def check_sizes(source: ImageSource, size: int, on_bad: str = "stop") -> None:
    """Raises `UserError`, with its name, at a picture that is not size x size."""
    shapes = source.shapes(on_bad)
    other = np.flatnonzero((shapes != size).any(axis=1))
    if len(other):
        height, width = shapes[other[0]]
        raise errors.UserError(
            f"{source.name(int(other[0]))} has {height}x{width} pixels, {size}x{size} "
            f"is asked for ({len(other):,} of {len(source):,} pictures differ); "
            "--config.sizes=any crops and resizes"
        )


def _square(image: tf.Tensor, place: tf.Tensor | None) -> tf.Tensor:
    """Returns the square along the long edge, at `place` in [0, 1) or the centre."""
    shape = tf.shape(image)[:2]
    side = tf.reduce_min(shape)
    spare = shape - side
    if place is None:
        # As torchvision: halves are rounded to even.
        corner = tf.cast(tf.round(tf.cast(spare, tf.float64) / 2), tf.int32)
    else:
        corner = tf.cast(place * tf.cast(spare + 1, tf.float64), tf.int32)
        corner = tf.minimum(corner, spare)
    return tf.slice(image, [corner[0], corner[1], 0], tf.stack([side, side, 3]))


def _augmented(image: tf.Tensor, drawn: tf.Tensor, augment: str) -> tf.Tensor:
    if augment == "none":
        return image
    if augment == "pad":
        size = image.shape[0]
        widths = [[PADDING, PADDING], [PADDING, PADDING], [0, 0]]
        corner = tf.cast(drawn[:2] * (2 * PADDING + 1), tf.int32)
        image = tf.slice(
            tf.pad(image, widths), tf.concat([corner, [0]], 0), [size, size, 3]
        )
    return tf.where(drawn[2] < 0.5, image[:, ::-1], image)
