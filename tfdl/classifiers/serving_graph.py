"""Encoded pictures to the network's input, within a graph."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdl.classifiers import preprocessing
from tfdl.data import evaluation_images, image_codec, image_files

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


def decoded(data: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of a JPEG, PNG, GIF (first frame) or BMP, uint8 [H, W, 3].

    A picture whose header asks for more pixels than `image_files.MAX_PIXELS` is an
    error before any memory is asked for.
    """
    is_jpeg = tf.strings.substr(data, 0, 2) == image_files.JPEG
    is_png = tf.strings.substr(data, 0, 8) == image_files.PNG

    def jpeg():
        with tf.control_dependencies([_limited(tf.io.extract_jpeg_shape(data))]):
            return image_codec.decode(True, data)

    def png():
        with tf.control_dependencies([_limited(_png_shape(data))]):
            return image_codec.decode(False, data)

    def other():
        with tf.control_dependencies([_limited(_other_shape(data))]):
            return tf.io.decode_image(data, 3, expand_animations=False)

    pixels = tf.case([(is_jpeg, jpeg), (is_png, png)], other, exclusive=True)
    return tf.ensure_shape(pixels, [None, None, 3])


def prepared(
    data: tf.Tensor, size: int, resize: int, interpolation: str = "bilinear"
) -> tf.Tensor:
    """Maps encoded pictures [B] to uint8 [B, size, size, 3].

    The short side becomes `resize`, the centre is kept.
    """

    def one(encoded):
        return evaluation_images.central(
            decoded(encoded),
            tf.constant(resize),
            tf.constant(size),
            tf.constant(size),
            kernel=KERNELS[interpolation],
        )

    spec = tf.TensorSpec([size, size, 3], tf.uint8)
    return tf.map_fn(one, data, fn_output_signature=spec)


def from_unit(images: tf.Tensor, values: Mapping[str, Any]) -> tf.Tensor:
    """Returns pictures in [0, 1], TF Hub's convention, as the network takes them."""
    return preprocessing.normalise(images * 255.0, values)


def _limited(shape: tf.Tensor) -> tf.Operation:
    pixels = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    return tf.debugging.assert_less_equal(
        pixels,
        tf.constant(image_files.MAX_PIXELS, tf.int64),
        message=f"the picture is over {image_files.MAX_PIXELS:,} pixels",
    )


def _png_shape(data: tf.Tensor) -> tf.Tensor:
    """Returns [height, width] from the header; a cut one is left to the decoder."""
    head = tf.io.decode_raw(tf.strings.substr(_padded(data), 16, 8), tf.uint8)
    weights = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    return tf.reduce_sum(tf.cast(tf.reshape(head, [2, 4]), tf.int64) * weights, 1)[::-1]


def _other_shape(data: tf.Tensor) -> tf.Tensor:
    """Returns [height, width] of a GIF or BMP, little-endian both."""
    gif = tf.io.decode_raw(tf.strings.substr(_padded(data), 6, 4), tf.uint16)
    bmp = tf.io.decode_raw(tf.strings.substr(_padded(data), 18, 8), tf.int32)
    is_bmp = tf.strings.substr(data, 0, 2) == b"BM"
    return tf.where(is_bmp, tf.abs(tf.cast(bmp, tf.int64)), tf.cast(gif, tf.int64))


def _padded(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([data, b"\0" * 32])
