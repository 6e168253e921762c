"""NumPy arrays, dtypes and scalars inside pickles, for `restricted_pickle`."""

import math
import re
from typing import Any

import numpy as np

# Numbers, booleans and strings of a fixed length; never objects.
_DTYPE = re.compile(
    r"[<>=|]?(?:b1|\?|[iufc]\d{1,2}|[SU]\d{1,6})|bool|u?int\d+|float\d+"
)
MAX_DIMENSIONS = 32


class DType:
    """A NumPy dtype on its way out of a pickle, where its byte order comes later."""

    def __init__(self, name: str):
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise ValueError(f"dtype {name!r} is not allowed")
        self.value = np.dtype(name)

    def set_state(self, state: tuple) -> None:
        """Sets the byte order; fields and metadata are not allowed."""
        order, subdtype, names, fields = state[1:5]
        if (subdtype, names, fields) != (None, None, None) or len(state) > 8:
            raise ValueError("a structured dtype is not allowed")
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"byte order {order!r}")
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


def set_array_state(array: np.ndarray, state: tuple) -> None:
    """Gives an empty array its shape, dtype and data, once they agree."""
    shape, dtype, fortran, data = state[-4:]
    if not isinstance(dtype, DType):
        raise TypeError("an array without a dtype")
    data = _bytes(data)
    _check_shape(shape, dtype.value, len(data))
    array.__setstate__((1, shape, dtype.value, bool(fortran), data))


def _reconstruct(cls: Any, shape: Any = None, code: Any = None) -> np.ndarray:
    if getattr(cls, "name", None) != "numpy.ndarray":
        raise TypeError("only plain arrays are allowed")
    return np.empty((0,), np.uint8)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    data = _bytes(data)
    if not isinstance(dtype, DType) or order not in ("C", "F"):
        raise TypeError("an array without dtype and order")
    _check_shape(shape, dtype.value, len(data))
    return np.frombuffer(data, dtype.value).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> np.generic:
    data = _bytes(data)
    if not isinstance(dtype, DType) or len(data) != dtype.value.itemsize:
        raise ValueError("a scalar that does not fit its dtype")
    return np.frombuffer(data, dtype.value)[0]


def _dtype(name: Any, align: Any = False, copy: Any = False) -> DType:
    return DType(name)


def _bytes(data: Any) -> bytes:
    # Python 2 wrote its byte strings as what Python 3 reads as Latin-1 text.
    if isinstance(data, str):
        return data.encode("latin-1")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    raise TypeError("array data that are no bytes (an array of objects?)")


def _check_shape(shape: Any, dtype: np.dtype, size: int) -> None:
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise TypeError("an array without a shape")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"array shape {shape}")
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"an array {shape} of {dtype} with {size:,} bytes of data")


# What a pickle with arrays names; pass it as `allowed`.
ALLOWED = {
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
}
