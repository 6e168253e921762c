"""Reading and writing safetensors files, and folders of them.

A file is eight bytes of header length, a JSON header that gives each tensor's dtype,
shape and place, and the tensors' bytes, one behind the other without a gap.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from tfdl.checkpoints import atomic, sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

MAX_HEADER = 100_000_000
MAX_INDEX = 100_000_000
MAX_DIMENSIONS = 32
_METADATA = "__metadata__"

_DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def read(path: files.PathLike) -> dict[str, np.ndarray]:
    """Reads a file.

    Returns:
        Name -> array, read-only views of the mapped file: nothing is loaded before
        it is used. bfloat16 and float8 arrays have ml_dtypes' dtypes, from which
        `astype("float32")` leads on.

    Raises:
        UserError: the file is damaged or truncated.
    """
    path = files.require_file(path)
    header, start = _read_header(path)
    header.pop(_METADATA, None)
    size = path.stat().st_size - start
    places = {name: _place(path, name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, _, first, last) in sorted(places.items(), key=lambda p: p[1][2:]):
        if first != end:
            raise UserError(
                f"{path} is damaged: tensor {sniff.shown(name)} begins at byte "
                f"{first:,} of the data, the one before it ends at {end:,}"
            )
        end = last
    if end != size:
        what = "truncated" if end > size else "damaged"
        raise UserError(
            f"{path} is {what}: its header describes {end:,} bytes of data, "
            f"it has {size:,}"
        )
    data = np.empty(0, np.uint8)
    if size:
        data = np.memmap(path, np.uint8, "r", offset=start).view(np.ndarray)
    return {
        name: data[first:last].view(dtype).reshape(shape)
        for name, (dtype, shape, first, last) in places.items()
    }


def read_metadata(path: files.PathLike) -> dict[str, str]:
    """Returns the free-form texts in a file's header."""
    path = files.require_file(path)
    metadata = _read_header(path)[0].get(_METADATA, {})
    texts = isinstance(metadata, dict) and all(
        isinstance(value, str) for value in metadata.values()
    )
    if not texts:
        raise UserError(f"{path} is damaged: its metadata are not all texts")
    return metadata


def read_sharded(index: files.PathLike) -> dict[str, np.ndarray]:
    """Reads the files that a `model.safetensors.index.json` lists.

    Raises:
        UserError: the index is damaged, names files outside of its folder, or does
            not agree with what the files hold.
    """
    index = files.require_file(index, MAX_INDEX)
    content = _json(index, files.read_text(index))
    listed = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise UserError(f"{index} has no weight_map")
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(set(map(str, listed.values()))):
        if name != os.path.basename(name) or name in ("", ".", ".."):
            raise UserError(
                f"{index}: {sniff.shown(name)} is not a plain file name: refused"
            )
        shard = index.parent / name
        found = read(shard)
        expected = {key for key, value in listed.items() if value == name}
        if set(found) != expected:
            odd = sorted(set(found) ^ expected)
            raise UserError(
                f"{shard} does not hold what {index.name} says: {sniff.shown(odd[0])} "
                f"and {len(odd) - 1} more are in only one of them"
            )
        tensors.update(found)
    return tensors


def write(
    path: files.PathLike,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: the file.
        tensors: name -> array.
        metadata: free-form texts; transformers wants `{"format": "pt"}`.

    Raises:
        UserError: a dtype that the format does not have, or writing fails.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, array in tensors.items():
        array = np.asarray(array)
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None or name == _METADATA:
            raise UserError(
                f"{sniff.shown(name)} ({array.dtype}) cannot be written to {path}"
            )
        place = [end, end + array.nbytes]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": place}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic.scratch_folder(path) as scratch:
        with open(scratch / "file", "wb") as file:
            file.write(len(text).to_bytes(8, "little"))
            file.write(text)
            for array in tensors.values():
                array = np.asarray(array)
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                file.write(np.ascontiguousarray(little).reshape(-1).view(np.uint8))
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch / "file", path)


def _read_header(path: pathlib.Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= MAX_HEADER:
            raise UserError(f"{path} is not a safetensors file: {sniff.instead(path)}")
        if length > size - 8:
            raise UserError(
                f"{path} is truncated: a header of {length:,} bytes in a file of "
                f"{size:,}"
            )
        data = file.read(length)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(
            f"{path} is not a safetensors file: its header is no text"
        ) from None
    header = _json(path, text)
    if not isinstance(header, dict):
        raise UserError(f"{path} is damaged: its header is no JSON object")
    return header, 8 + length


def _json(path: pathlib.Path, text: str) -> Any:
    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name is given twice")
        return result

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: its JSON cannot be read ({error})"
        ) from None


def _place(
    path: pathlib.Path, name: str, entry: Any
) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Returns dtype, shape, first and last byte of a tensor, which agree."""
    try:
        dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
        first, last = place
        whole = all(type(n) is int and 0 <= n < 1 << 60 for n in (*shape, first, last))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or len(shape) > MAX_DIMENSIONS:
        raise UserError(
            f"{path} is damaged: tensor {sniff.shown(name)} has no valid dtype, shape "
            "and offsets"
        )
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise UserError(
            f"{path}: tensor {sniff.shown(name)} has unknown dtype {sniff.shown(dtype)}"
        )
    if math.prod(shape) * _DTYPES[dtype].itemsize != last - first:
        raise UserError(
            f"{path} is damaged: tensor {sniff.shown(name)} {shape} of {dtype} in "
            f"{last - first:,} bytes"
        )
    return _DTYPES[dtype], tuple(shape), first, last
