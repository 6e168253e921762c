"""Decoding JPEG and PNG with Pillow's pixels."""

import tensorflow as tf

from tfdl.data import image_files

# Pillow's pixels; TensorFlow's default is up to five levels off, and no faster.
DCT = "INTEGER_ACCURATE"


def decode(is_jpeg: bool, data: tf.Tensor) -> tf.Tensor:
    """Returns a whole picture, uint8 [H, W, 3]."""
    if is_jpeg:
        return tf.io.decode_jpeg(data, channels=3, dct_method=DCT)
    return tf.io.decode_png(data, channels=3)


def problem(data: bytes) -> str | None:
    """Returns why a picture cannot be used, None when it can."""
    try:
        image_files.size(data)
    except image_files.Unreadable as error:
        return str(error)
    jpeg = data.startswith(image_files.JPEG)
    try:
        decode(jpeg, tf.constant(data))
    except tf.errors.OpError:
        name = "JPEG" if jpeg else "PNG"
        if (b"\xff\xd9" if jpeg else b"IEND") not in data[-64:]:
            return f"is a {name} that is cut off"
        return f"is a damaged {name}"
    return None
