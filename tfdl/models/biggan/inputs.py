"""What the networks are called with, checked and as tensors."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.biggan.plans import DiscriminatorConfig, GeneratorConfig


def of_generator(
    inputs: Mapping[str, Any], config: GeneratorConfig
) -> dict[str, tf.Tensor]:
    """Returns z, label or embedding, and truncation.

    Raises:
        UserError: one is missing, of another shape, or outside its range.
    """
    result = {"z": width(inputs, "z", config.dim_z)}
    if inputs.get("embedding") is not None:
        if config.shared_dim:
            result["embedding"] = width(inputs, "embedding", config.shared_dim)
        else:
            result["embedding"] = labels(inputs["embedding"], config.num_classes)
    else:
        result["label"] = labels(_given(inputs, "label"), config.num_classes)
    result["truncation"] = truncations(inputs.get("truncation"))
    return result


def of_discriminator(
    inputs: Mapping[str, Any], config: DiscriminatorConfig
) -> dict[str, tf.Tensor]:
    """Returns image and label.

    Raises:
        UserError: one is missing, of another shape, or outside its range.
    """
    image = _float(_given(inputs, "image"))
    channels = config.image_channels
    if image.shape.rank != 4 or image.shape[-1] != channels:
        raise errors.UserError(
            f"image has to be [B, H, W, {channels}], got {_shape(image)}"
        )
    result = {"image": image}
    if config.projection:
        result["label"] = labels(_given(inputs, "label"), config.num_classes)
    return result


def labels(given: Any, classes: int) -> tf.Tensor:
    """Returns classes as int32 [B], or as weights, float32 [B, classes].

    Raises:
        UserError: another shape, or (outside of graphs) a class that is not there.
    """
    tensor = tf.convert_to_tensor(given)
    if tensor.shape.rank == 2 and tensor.shape[-1] == classes:
        return tf.cast(tensor, tf.float32)
    if tensor.shape.rank != 1 or not tensor.dtype.is_integer:
        raise errors.UserError(
            f"label has to be whole numbers [B] or [B, {classes}], got "
            f"{tensor.dtype.name} {_shape(tensor)}"
        )
    tensor = tf.cast(tensor, tf.int32)
    if _known(tensor):
        for label in tensor.numpy():
            if not 0 <= label < classes:
                raise errors.UserError(
                    f"label {label} is not a class: they are 0 to {classes - 1}"
                )
    return tensor


def truncations(given: Any) -> tf.Tensor:
    """Returns a truncation, [] or [B]; Python's numbers as float64.

    Raises:
        UserError: another shape, or (outside of graphs) a value outside (0, 1].
    """
    if given is None:
        given = 1.0
    tensor = given
    if not tf.is_tensor(given):
        tensor = tf.convert_to_tensor(given, None if _is_array(given) else tf.float64)
    if not tensor.dtype.is_floating:
        tensor = tf.cast(tensor, tf.float32)
    if tensor.shape.rank not in (0, 1):
        raise errors.UserError(
            f"truncation has to be a number or [B], got {_shape(tensor)}"
        )
    if _known(tensor):
        for value in tensor.numpy().reshape(-1):
            if not 0.0 < value <= 1.0:
                raise errors.UserError(
                    f"truncation {value:g} is not in (0, 1]; 1 is no truncation"
                )
    return tensor


def width(inputs: Mapping[str, Any], name: str, size: int) -> tf.Tensor:
    """Returns an input that has to be float [B, size]."""
    tensor = _float(_given(inputs, name))
    if tensor.shape.rank != 2 or tensor.shape[-1] not in (None, size):
        raise errors.UserError(f"{name} has to be [B, {size}], got {_shape(tensor)}")
    return tf.ensure_shape(tensor, [None, size])


def _given(inputs: Mapping[str, Any], name: str) -> Any:
    if inputs.get(name) is None:
        raise errors.UserError(f"BigGAN is called without {name!r}")
    return inputs[name]


def _float(value: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(value), tf.float32)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype")


def _known(tensor: tf.Tensor) -> bool:
    return tf.executing_eagerly() and hasattr(tensor, "numpy")


def _shape(tensor: tf.Tensor) -> list[int | None]:
    return tensor.shape.as_list() if tensor.shape.rank is not None else [None]
