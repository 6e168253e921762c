"""TensorProto to and from NumPy, for data that a stranger sent."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfdl.serving import status

# The list in which TensorFlow keeps the values of a type.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int16: "int_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
}


def from_proto(name: str, proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    """Returns a tensor's values; strings as an array of bytes objects.

    Args:
        name: of the input, for messages.
        proto: what was sent.
        max_bytes: of the array. A message may state a shape far larger than itself.

    Raises:
        StatusError: the message is not a tensor, or one too large.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise status.invalid(f"tensor parsing error: {name}")
    try:
        dtype = tf.as_dtype(proto.dtype)
        bytes_each = max(dtype.size or 8, 1)
    except (TypeError, ValueError, KeyError):
        raise status.invalid(f"tensor parsing error: {name}") from None
    if math.prod(shape) * bytes_each > max_bytes:
        raise status.invalid(
            f"tensor {name} of shape {shape} needs more than {max_bytes} bytes"
        )
    try:
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, KeyError, IndexError):
        raise status.invalid(f"tensor parsing error: {name}") from None


def to_proto(
    array: np.ndarray, proto: tensor_pb2.TensorProto, as_content: bool = False
) -> None:
    """Writes an array into a message.

    Args:
        array: the values.
        proto: is filled.
        as_content: packed bytes, which are faster, instead of the typed lists that
            clients may read by name.
    """
    dtype = tf.string if array.dtype.kind == "O" else tf.as_dtype(array.dtype)
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == tf.string:
        proto.string_val.extend(array.reshape(-1).tolist())
    elif dtype in _FIELDS and not as_content:
        getattr(proto, _FIELDS[dtype]).extend(array.reshape(-1).tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
