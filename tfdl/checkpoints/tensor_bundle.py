"""The index of a TensorFlow checkpoint, read without TensorFlow's reader.

TensorFlow ends the process when an index holds an impossible shape, dtype or slice,
so that files from elsewhere are looked at here before it opens them. The index is a
table as in LevelDB: blocks of sorted keys with prefixes left out, a block that lists
them, and a footer (tensorflow/core/lib/io/format.cc); its values are
`BundleHeaderProto` and `BundleEntryProto`.
"""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator

from tfdl.checkpoints import sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER = 48
_TRAILER = 5
MAX_INDEX = 1 << 30
MAX_SHARDS = 100_000
MAX_DIMENSIONS = 32
# TensorFlow's DataType values that are numbers or booleans, and their sizes.
_SIZES = {
    **{1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4},
    **{14: 2, 15: 2, 16: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8},
}
_STRING = 7


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor in a checkpoint.

    Attributes:
        shape: its shape.
        size: its bytes.
        is_text: whether it holds byte strings.
    """

    shape: tuple[int, ...]
    size: int
    is_text: bool


def data_files(prefix: files.PathLike, shards: int) -> list[pathlib.Path]:
    """Returns the names of a checkpoint's data files."""
    return [
        pathlib.Path(f"{prefix}.data-{i:05d}-of-{shards:05d}") for i in range(shards)
    ]


def check(prefix: files.PathLike) -> dict[str, Entry]:
    """Checks a checkpoint's index against its data files.

    Args:
        prefix: the path without `.index`.

    Returns:
        Name -> entry.

    Raises:
        UserError: a file is missing, truncated or damaged; it is named.
    """
    path = files.require_file(f"{prefix}.index", MAX_INDEX)
    data = path.read_bytes()
    if len(data) < _FOOTER or not data.endswith(_MAGIC):
        raise UserError(f"{path} is truncated, or no index: {sniff.instead(path)}")
    try:
        records = list(_records(data))
    except (IndexError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})") from None
    if not records or records[0][0] != b"":
        raise UserError(f"{path} is damaged: it has no header")
    keys = [key for key, _ in records]
    if any(a >= b for a, b in itertools.pairwise(keys)):
        raise UserError(f"{path} is damaged: its names are not in order")
    sizes = _shard_sizes(path, prefix, records[0][1])
    entries = {}
    for key, value in records[1:]:
        name = key.decode("utf-8", "replace")
        problem, entry = _entry(value, sizes)
        if problem:
            raise UserError(f"{path}: {sniff.shown(name)} {problem}")
        # Keys of slices begin with a zero byte; they belong to a listed tensor.
        if not key.startswith(b"\0"):
            entries[name] = entry
    return entries


def _shard_sizes(path, prefix, header: bytes) -> list[tuple[pathlib.Path, int]]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    message = tensor_bundle_pb2.BundleHeaderProto()
    try:
        message.ParseFromString(header)
    except DecodeError:
        raise UserError(f"{path} is damaged: its header cannot be read") from None
    if message.endianness != message.LITTLE:
        raise UserError(f"{path} was written on a big-endian machine")
    if not 1 <= message.num_shards <= MAX_SHARDS:
        raise UserError(f"{path} is damaged: {message.num_shards} data files")
    shards = data_files(prefix, message.num_shards)
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(
            f"{path.parent / missing[0]}: no such file ({len(missing)} of "
            f"{len(shards)} data files of the checkpoint are missing)"
        )
    return [(shard, shard.stat().st_size) for shard in shards]


def _entry(value: bytes, shards) -> tuple[str, Entry | None]:
    """Returns what is wrong with an entry, or the entry."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    message = tensor_bundle_pb2.BundleEntryProto()
    try:
        message.ParseFromString(value)
    except DecodeError:
        return "cannot be read", None
    shape = tuple(dim.size for dim in message.shape.dim)
    count = math.prod(shape)
    if len(shape) > MAX_DIMENSIONS or message.shape.unknown_rank or count >= 1 << 60:
        return f"has shape {list(shape)}", None
    if any(not 0 <= n < 1 << 60 for n in shape):
        return f"has shape {list(shape)}", None
    if message.dtype not in _SIZES and message.dtype != _STRING:
        return f"has dtype {message.dtype}, which is no number or text", None
    itemsize = _SIZES.get(message.dtype, 1)
    if message.slices:
        return _sliced(message, shape, count * itemsize, shards)
    if not 0 <= message.shard_id < len(shards):
        return f"lies in data file {message.shard_id} of {len(shards)}", None
    path, size = shards[message.shard_id]
    if message.offset < 0 or message.size < 0:
        return "has a negative place", None
    if message.offset + message.size > size:
        return (
            f"reaches byte {message.offset + message.size:,} of {path.name}, which has "
            f"{size:,}: truncated",
            None,
        )
    exact = message.dtype != _STRING
    if message.size < count * itemsize or (exact and message.size != count * itemsize):
        return f"{list(shape)} has {message.size:,} bytes", None
    return "", Entry(shape, message.size, not exact)


def _sliced(message, shape, size: int, shards) -> tuple[str, Entry | None]:
    for part in message.slices:
        if len(part.extent) != len(shape):
            return "has a slice of another rank", None
        for extent, n in zip(part.extent, shape, strict=True):
            length = extent.length if extent.HasField("length") else n - extent.start
            if extent.start < 0 or length < 1 or extent.start + length > n:
                return "has a slice outside of itself", None
    if size > sum(size for _, size in shards):
        return f"{list(shape)} is larger than the data files", None
    return "", Entry(shape, size, message.dtype == _STRING)


def _records(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table."""
    at = len(table) - _FOOTER
    for _ in range(2):
        _, at = _varint(table, at)
    start, at = _varint(table, at)
    length, at = _varint(table, at)
    for _, handle in _block(table, start, length):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        yield from _block(table, start, length)


def _block(table: bytes, start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    if start + length + _TRAILER > len(table) or length < 4:
        raise ValueError("a block outside of the file")
    if table[start + length] != 0:
        raise ValueError("a compressed block")
    block = table[start : start + length]
    restarts = int.from_bytes(block[-4:], "little")
    end = length - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block without room for its restarts")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        added, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + added + size > end:
            raise ValueError("a record outside of its block")
        key = key[:shared] + block[at : at + added]
        yield key, block[at + added : at + added + size]
        at += added + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
