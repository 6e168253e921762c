"""Writing state dicts as `torch.save` did before 2020, without torch.

Every version of torch reads this layout, with `weights_only` too; `torch_archive`
describes it.
"""

import math
import pickle
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from tfdl.checkpoints.torch_archive import MAGIC, STREAM_VERSION
from tfdl.engine import files

_STORAGES = {
    np.dtype("float32"): b"FloatStorage",
    np.dtype("float64"): b"DoubleStorage",
    np.dtype("float16"): b"HalfStorage",
    np.dtype("int64"): b"LongStorage",
    np.dtype("int32"): b"IntStorage",
}
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write(path: files.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as an ordered dict of tensors, whole or not at all.

    Args:
        path: the file.
        arrays: name -> array of float16, 32, 64 or int32, 64.

    Raises:
        UserError: the file cannot be written.
    """
    facts = {
        "protocol_version": STREAM_VERSION,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [pickle.dumps(value, 2) for value in (MAGIC, STREAM_VERSION, facts)]
    parts.append(_state_dict(arrays))
    keys = [str(i) for i in range(len(arrays))]
    parts.append(pickle.dumps(keys, 2))
    for array in arrays.values():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        parts += [struct.pack("<q", array.size), little.tobytes()]
    files.atomic_write(path, b"".join(parts))


def _state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
    # By hand: Python's pickler would import the names that it writes.
    body = [b"\x80\x02", _ORDERED_DICT, b"("]
    for i, (name, array) in enumerate(arrays.items()):
        body += [_text(name), *_tensor(str(i), array)]
    return b"".join([*body, b"u."])


def _tensor(key: str, array: np.ndarray) -> Iterator[bytes]:
    yield b"ctorch._utils\n_rebuild_tensor_v2\n("
    yield b"(" + _text("storage") + b"ctorch\n" + _STORAGES[array.dtype] + b"\n"
    yield _text(key) + _text("cpu") + _integer(array.size) + b"NtQ"
    strides = [math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
    yield _integer(0) + _tuple(array.shape) + _tuple(strides)
    yield b"\x89" + _ORDERED_DICT + b"tR"


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def _tuple(values) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
