"""From bytes' values to what a network was trained on; runs on the device."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdl.engine import errors, options

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)
MODES = ("torch", "caffe", "tf", "none")
INTERPOLATIONS = ("bilinear", "bicubic")
FIELDS = ("mode", "mean", "std", "interpolation")


def check(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's preprocessing with everything that it leaves out.

    Fields: `mode`: "torch" (RGB, (x / 255 - mean) / std), "caffe" (BGR, x - mean),
    "tf" (RGB, x / 127.5 - 1) or "none" (RGB, 0 to 255); `mean` and `std` of the first
    two, three numbers each; `interpolation` of the resize, "bilinear" or "bicubic".

    Raises:
        UserError: an unknown field or a value that makes no sense.
    """
    for key in preprocessing:
        if key not in FIELDS:
            raise errors.unknown("field of the preprocessing", key, FIELDS)
    mode = preprocessing.get("mode", "torch")
    if mode not in MODES:
        raise errors.unknown("preprocessing mode", mode, MODES)
    result = {"mode": mode}
    if mode in ("torch", "caffe"):
        default = IMAGENET_MEAN if mode == "torch" else CAFFE_MEAN
        result["mean"] = _three("mean", preprocessing.get("mean", default))
    if mode == "torch":
        result["std"] = _three("std", preprocessing.get("std", IMAGENET_STD))
        if min(result["std"]) <= 0:
            raise errors.UserError("preprocessing: std has to be above 0")
    kind = preprocessing.get("interpolation", "bilinear")
    if kind not in INTERPOLATIONS:
        raise errors.unknown("interpolation", kind, INTERPOLATIONS)
    return {**result, "interpolation": kind}


def normalise(
    images: tf.Tensor, preprocessing: Mapping[str, Any], dtype: Any = tf.float32
) -> tf.Tensor:
    """Returns pictures as the network takes them.

    Args:
        images: RGB [..., 3], 0 to 255, uint8 or float.
        preprocessing: see `check`.
        dtype: of the result; the arithmetic is float32.
    """
    values = check(preprocessing)
    x = tf.cast(images, tf.float32)
    if values["mode"] == "torch":
        mean = tf.constant([255.0 * m for m in values["mean"]])
        x = (x - mean) / tf.constant([255.0 * s for s in values["std"]])
    elif values["mode"] == "caffe":
        x = tf.reverse(x, [-1]) - tf.constant(values["mean"])
    elif values["mode"] == "tf":
        x = x / 127.5 - 1.0
    return tf.cast(x, dtype)


def _three(name: str, values: Any) -> list[float]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise errors.UserError(f"preprocessing: {name} has to be three numbers")
    low = float("-inf")
    return [options.number(f"preprocessing {name}", value, low) for value in values]
