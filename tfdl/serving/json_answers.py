"""TF Serving's JSON: arrays to answers."""

import base64
import json

import numpy as np
import orjson

from tfdl.serving import status
from tfdl.serving.servable import Arrays

_BYTES = "_bytes"


def rows_answer(outputs: Arrays) -> bytes:
    """Returns the answer in row format: one value or object for each row."""
    sizes = {}
    for name, array in outputs.items():
        if array.ndim == 0:
            raise status.invalid(f"Tensor name: {name} has no shape information ")
        sizes[name] = len(array)
        expected = next(iter(sizes.values()))
        if len(array) != expected:
            raise status.invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {expected}"
            )
    if not outputs:
        raise status.invalid("Cannot convert empty tensor map to JSON")
    plain = {name: _plain(name, array) for name, array in outputs.items()}
    if len(plain) == 1:
        return _dump({"predictions": next(iter(plain.values()))}, outputs)
    count = next(iter(sizes.values()))
    rows = [{name: values[i] for name, values in plain.items()} for i in range(count)]
    return _dump({"predictions": rows}, outputs)


def columns_answer(outputs: Arrays) -> bytes:
    """Returns the answer in column format: whole tensors."""
    if not outputs:
        raise status.invalid("Cannot convert empty tensor map to JSON")
    plain = {name: _plain(name, array) for name, array in outputs.items()}
    if len(plain) == 1:
        return _dump({"outputs": next(iter(plain.values()))}, outputs)
    return _dump({"outputs": plain}, outputs)


def error(message: str) -> bytes:
    """Returns the body of an error."""
    return orjson.dumps({"error": message}) + b"\n"


def classification(result) -> bytes:
    """Returns a ClassificationResult as JSON."""
    rows = [
        [[one.label, np.float32(one.score)] for one in row.classes]
        for row in result.classifications
    ]
    return _dump({"results": rows}, {"": np.array([s for r in rows for _, s in r])})


def regression(result) -> bytes:
    """Returns a RegressionResult as JSON."""
    values = np.array([one.value for one in result.regressions], np.float32)
    return _dump({"results": values}, {"": values})


def _plain(name: str, array: np.ndarray):
    """Returns an array as what the encoder takes, contiguous or nested lists."""
    if array.dtype.kind == "O":
        as_bytes = name.endswith(_BYTES)
        return _map(array.tolist(), lambda value: _text(value, as_bytes))
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # The encoder writes null for NaN. Through the shortest text, since a float32
        # as a float64 has digits that mean nothing.
        return _map(array.tolist(), lambda value: float(str(array.dtype.type(value))))
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _map(value, function):
    if isinstance(value, list):
        return [_map(one, function) for one in value]
    return function(value)


def _text(value: bytes, as_bytes: bool):
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}


def _dump(value, outputs: Arrays) -> bytes:
    finite = all(a.dtype.kind != "f" or np.isfinite(a).all() for a in outputs.values())
    if not finite:
        return json.dumps(value, default=_listed).encode() + b"\n"
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def _listed(value):
    """Turns what `json` does not know into lists and numbers."""
    if value.dtype.kind == "f":
        return _map(value.tolist(), lambda one: float(str(value.dtype.type(one))))
    return value.tolist()
