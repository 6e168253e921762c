"""A proposer's state as text and arrays, and back without loss."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_TUPLE, _ITEMS, _ARRAY = "__tuple__", "__items__", "__array__"


def pack(value: Any) -> tuple[str, list[np.ndarray]]:
    """Returns JSON text and the arrays that it points at.

    Args:
        value: None, numbers, texts, numpy arrays, and lists, tuples and dicts of
            them; the keys of dicts may be numbers or tuples.

    Raises:
        TypeError: there is something else in it.
    """
    arrays: list[np.ndarray] = []
    return json.dumps(_plain(value, arrays), separators=(",", ":")), arrays


def unpack(text: str, arrays: list[np.ndarray]) -> Any:
    """Returns what `pack` was given."""
    return _restored(json.loads(text), arrays)


def to_bytes(array: np.ndarray) -> bytes:
    """Returns an array with its type and shape."""
    head = json.dumps([array.dtype.str, list(array.shape)]).encode()
    return head + b"\n" + np.ascontiguousarray(array).tobytes()


def from_bytes(data: bytes) -> np.ndarray:
    """Returns the array that `to_bytes` wrote."""
    head, _, rest = data.partition(b"\n")
    dtype, shape = json.loads(head)
    return np.frombuffer(rest, dtype=np.dtype(dtype)).reshape(shape).copy()


def plain(value: Any) -> Any:
    """Returns results as JSON has them: numpy's numbers and arrays become Python's.

    For `default` of `json.dumps`.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no number, text, list or dict")


def _plain(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("a state holds no arrays of objects")
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, list):
        return [_plain(item, arrays) for item in value]
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("__") for k in value):
            return {key: _plain(item, arrays) for key, item in value.items()}
        pairs = [[_plain(k, arrays), _plain(v, arrays)] for k, v in value.items()]
        return {_ITEMS: pairs}
    raise TypeError(f"a state holds no {type(value).__name__}")


def _restored(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_restored(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return arrays[value[_ARRAY]].copy()
    if _TUPLE in value:
        return tuple(_restored(item, arrays) for item in value[_TUPLE])
    if _ITEMS in value:
        return {_restored(k, arrays): _restored(v, arrays) for k, v in value[_ITEMS]}
    return {key: _restored(item, arrays) for key, item in value.items()}
