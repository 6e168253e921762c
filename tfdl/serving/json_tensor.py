"""TF Serving's JSON: requests to arrays.

Numbers go between JSON and NumPy whole; only what does not fit is looked at value by
value, to say where it is wrong.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping

import numpy as np
import orjson
import tensorflow as tf

from tfdl.serving import status
from tfdl.serving.servable import Arrays, describe

_MAX_TOLD = 256
# Texts, and the numbers that JSON does not have but TF Serving reads.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Inf(?:inity)?)\b')
_NO_JSON = re.compile(rb"NaN|Inf")


class Request:
    """The parsed body of a request.

    Args:
        body: UTF-8 JSON.

    Raises:
        StatusError: it is not JSON, or not an object.
    """

    def __init__(self, body: bytes):
        if not body:
            raise status.invalid("JSON Parse error: The document is empty")
        self.document = _parse(body)
        if not isinstance(self.document, dict):
            raise status.invalid(f"JSON Value: {_told(self.document)} Is not object")
        self.signature = self.document.get("signature_name", "")
        if not isinstance(self.signature, str):
            raise status.invalid(
                f"JSON Value: {_told(self.document)} not formatted correctly. "
                "'signature_name' key must be a string value."
            )
        # NumPy takes booleans among numbers for numbers; TF Serving does not.
        self._booleans = b"true" in body or b"false" in body

    def tensors(self, specs: Mapping[str, tf.TensorSpec]) -> tuple[Arrays, bool]:
        """Returns the inputs of a signature, and whether they came as rows.

        Args:
            specs: the signature's inputs.

        Raises:
            StatusError: what is sent does not fit.
        """
        rows, columns = "instances" in self.document, "inputs" in self.document
        told = f"JSON Value: {_told(self.document)}"
        if rows and columns:
            raise status.invalid(
                f"{told} Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            )
        if rows:
            instances = self.document["instances"]
            if not isinstance(instances, list):
                raise status.invalid(
                    f"{told} Expecting 'instances' to be an list/array"
                )
            if not instances:
                raise status.invalid(f"{told} No values in 'instances' array")
            return self._from_rows(instances, specs), True
        if columns:
            return self._from_columns(self.document["inputs"], specs), False
        raise status.invalid("Missing 'inputs' or 'instances' key")

    def fill_examples(self, request) -> None:
        """Fills a ClassificationRequest or RegressionRequest.

        Raises:
            StatusError: there are no examples, or something else than examples.
        """
        told = f"JSON Value: {_told(self.document)}"
        request.model_spec.signature_name = self.signature
        if "examples" not in self.document:
            raise status.invalid(
                f"{told} When method is classify, key 'examples' is expected and was "
                "not found"
            )
        examples = self.document["examples"]
        if not isinstance(examples, list):
            raise status.invalid(
                f"{told} Expecting 'examples' value to be an list/array"
            )
        if not examples:
            raise status.invalid(f"{told} 'examples' value is an empty array")
        held = request.input.example_list
        if "context" in self.document:
            held = request.input.example_list_with_context
            features(self.document["context"], held.context)
        for example in examples:
            features(example, held.examples.add())

    def _from_rows(self, instances: list, specs) -> Arrays:
        if not isinstance(instances[0], dict) and len(specs) > 1:
            raise status.invalid(
                "instances is a plain list, but expecting list of objects as multiple "
                "input tensors required as per tensorinfo_map"
            )
        if not _is_object(instances[0]):
            for i, instance in enumerate(instances):
                if _is_object(instance):
                    raise status.invalid(
                        f"Expecting value/list but got object at item {i} of input list"
                    )
            (name, spec), *_ = specs.items()
            return {name: self._column(instances, spec.dtype, "")}
        for i, instance in enumerate(instances):
            if not _is_object(instance):
                raise status.invalid(
                    f"Expecting object but got list at item {i} of input list"
                )
            if instance.keys() != specs.keys():
                names = ",".join(sorted(specs))
                raise status.invalid(
                    f"Failed to process element: {i} of 'instances' list. JSON object: "
                    f"{_told(instance)} keys must be equal to: {names}"
                )
        return {
            name: self._column(
                [i[name] for i in instances], spec.dtype, f" key: {name}"
            )
            for name, spec in specs.items()
        }

    def _column(self, values: list, dtype: tf.DType, key: str) -> np.ndarray:
        """Returns the values of one input in all rows, all of one shape."""
        fast = self._fast(values, dtype)
        if fast is not None:
            return fast
        flat: list = []
        shape = _shape(values[0])
        for i, value in enumerate(values):
            try:
                if _shape(value) != shape:
                    raise status.invalid(
                        f"Expecting shape {_brackets(shape)} but got: "
                        f"{_brackets(_shape(value))}"
                    )
                _fill(value, 0, shape, dtype, flat)
            except status.StatusError as error:
                raise status.invalid(
                    f"Failed to process element: {i}{key} of 'instances' list. Error: "
                    f"INVALID_ARGUMENT: {error.message}"
                ) from None
        return _array(flat, (len(values), *shape), dtype)

    def _from_columns(self, value, specs) -> Arrays:
        if not _is_object(value):
            if len(specs) > 1:
                raise status.invalid(
                    "inputs is a plain value/list, but expecting an object as multiple "
                    "input tensors required as per tensorinfo_map"
                )
            (name, spec), *_ = specs.items()
            return {name: self._tensor(value, spec.dtype)}
        for name in specs:
            if name not in value:
                raise status.invalid(f"Missing named input: {name} in 'inputs' object.")
        return {
            name: self._tensor(value[name], spec.dtype) for name, spec in specs.items()
        }

    def _tensor(self, value, dtype: tf.DType) -> np.ndarray:
        fast = self._fast(value, dtype)
        if fast is not None:
            return fast
        flat: list = []
        shape = _shape(value)
        _fill(value, 0, shape, dtype, flat)
        return _array(flat, shape, dtype)

    def _fast(self, value, dtype: tf.DType) -> np.ndarray | None:
        """Returns a list as an array where NumPy alone can tell that it fits."""
        if dtype == tf.string or not isinstance(value, list) or not value:
            return None
        if self._booleans != dtype.is_bool:
            return None
        try:
            array = np.array(value)
        except (ValueError, TypeError, OverflowError):
            return None
        if dtype.is_bool:
            return array if array.dtype.kind == "b" else None
        if dtype.is_floating and array.dtype.kind in "iuf":
            return _float(array, dtype)
        if dtype.is_integer and array.dtype.kind in "iu" and array.size:
            low, high = dtype.limits
            if low <= array.min() and array.max() <= high:
                return array.astype(dtype.as_numpy_dtype)
        return None


def _parse(body: bytes):
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as caught:
        error = caught
    if _NO_JSON.search(body):
        try:
            return json.loads(_TOKENS.sub(_python_number, body))
        except (ValueError, RecursionError):
            pass
    raise status.invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}")


def _python_number(match: re.Match) -> bytes:
    token = match[0]
    return token + b"inity" if token.endswith(b"Inf") else token


def _is_object(value) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _shape(value) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _fill(
    value, level: int, shape: tuple[int, ...], dtype: tf.DType, flat: list
) -> None:
    """Appends the values of nested lists to `flat`, checking each."""
    if not isinstance(value, list):
        if level != len(shape):
            raise status.invalid(
                f"JSON Value: {_told(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(_value(value, dtype))
        return
    if level >= len(shape):
        raise status.invalid(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise status.invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for one in value:
        _fill(one, level + 1, shape, dtype, flat)


def _value(value, dtype: tf.DType):
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict):
            return _decode_base64(value)
    elif dtype.is_bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if dtype.is_floating:
            return float(value)
        if dtype.is_integer and isinstance(value, int):
            # `dtype.limits` starts at 0, whatever the type.
            if dtype.min <= value <= dtype.max:
                return value
    raise status.invalid(
        f"JSON Value: {_told(value)} Type: {_kind(value)} is not of expected type: "
        f"{describe(dtype, tf.TensorShape(None))}"
    )


def _decode_base64(value: dict) -> bytes:
    if not _is_base64(value):
        raise status.invalid(
            f"JSON Value: {_told(value)} not formatted correctly for base64 data"
        )
    text = value["b64"]
    try:
        # Padding is optional.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise status.invalid("Unable to base64 decode") from None


def _array(flat: list, shape: tuple[int, ...], dtype: tf.DType) -> np.ndarray:
    if dtype == tf.string:
        array = np.empty(len(flat), object)
        array[:] = flat
    elif dtype.is_floating:
        array = _float(np.array(flat, np.float64), dtype)
    else:
        array = np.array(flat, dtype.as_numpy_dtype)
    return array.reshape(shape)


def _float(array: np.ndarray, dtype: tf.DType) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(dtype.as_numpy_dtype)


def _told(value) -> str:
    try:
        text = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        text = str(value).encode()
    return text[:_MAX_TOLD].decode("utf-8", "ignore")


def _kind(value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _brackets(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def features(value, into) -> None:
    """Fills a tf.Example from a JSON object of features.

    Raises:
        StatusError: the object is none, or a feature mixes kinds.
    """
    if not isinstance(value, dict):
        raise status.invalid(f"Example must be JSON object but got JSON {_kind(value)}")
    for name, content in value.items():
        feature = into.features.feature[name]
        for one in content if isinstance(content, list) else [content]:
            _add_to_feature(name, one, feature)


def _add_to_feature(name: str, value, feature) -> None:
    if isinstance(value, str):
        kind, value = "bytes_list", value.encode()
    elif isinstance(value, dict) and _is_base64(value):
        kind, value = "bytes_list", _decode_base64(value)
    elif isinstance(value, bool | int):
        kind, value = "int64_list", int(value)
        if not -(1 << 63) <= value < 1 << 63:
            raise status.invalid(
                f"Feature: {name} has uint64_t element. Only int64_t is supported."
            )
    elif isinstance(value, float):
        kind = "float_list"
    else:
        raise status.invalid(
            f"Feature: {name} has element with unexpected JSON type: {_kind(value)}"
        )
    held = feature.WhichOneof("kind")
    if held not in (None, kind):
        raise status.invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{held.removesuffix('_list')}"
        )
    getattr(feature, kind).value.append(value)
