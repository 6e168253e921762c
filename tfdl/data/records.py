"""TFRecord files with random access, written whole or not at all."""

import glob
import os
import pathlib
import struct
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine import errors, files

_HEADER, _FOOTER = 12, 4  # length and its checksum; the data's checksum
MAX_RECORD_BYTES = 1 << 30


class Records:
    """All records of some TFRecord files, by index.

    Opening reads the records' lengths only. Access by index is what makes a batch
    a function of the step, without skipping through files after a restart.

    Args:
        pattern: comma-separated globs.

    Raises:
        UserError: no file matches, or a file is cut off or not a TFRecord file;
            the message names file and record.
    """

    def __init__(self, pattern: str):
        self.paths = expand(pattern)
        offsets, lengths, owners = [], [], []
        for owner, path in enumerate(self.paths):
            for offset, length in _scan(path):
                offsets.append(offset)
                lengths.append(length)
                owners.append(owner)
        if not offsets:
            raise errors.UserError(f"no records in {pattern}")
        self._offsets = np.array(offsets, np.int64)
        self._lengths = np.array(lengths, np.int64)
        self._owners = np.array(owners, np.int32)
        self._handles: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def name(self, index: int) -> str:
        """Returns what messages call a record: its file, and its number there."""
        owner = int(self._owners[index])
        number = index - int(np.searchsorted(self._owners, owner))
        return f"{self.paths[owner]}: record {number}"

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Returns the serialized records at `indices`."""
        return [self._read_one(int(i)) for i in indices]

    def gather(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the serialized records [B] at `indices` int64 [B], in a graph.

        A negative index gives an empty record.
        """

        def read(rows):
            data = [self._read_one(int(i)) if i >= 0 else b"" for i in rows]
            return np.array(data, dtype=object)

        data = tf.numpy_function(read, [indices], tf.string, stateful=False)
        return tf.ensure_shape(data, indices.shape)

    def _read_one(self, i: int) -> bytes:
        owner = int(self._owners[i])
        handle = self._handles.get(owner)
        if handle is None:
            handle = os.open(self.paths[owner], os.O_RDONLY)
            handle = self._handles.setdefault(owner, handle)
        return os.pread(handle, int(self._lengths[i]), int(self._offsets[i]))


def expand(pattern: str) -> list[str]:
    """Returns the files that comma-separated globs match, sorted.

    Raises:
        UserError: one of them matches nothing.
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in pattern.split(","))):
        matches = sorted(glob.glob(os.path.expanduser(part)))
        if not matches:
            raise errors.UserError(f"{part}: no such file")
        found.extend(path for path in matches if os.path.isfile(path))
    if not found:
        raise errors.UserError(f"{pattern!r} names no file")
    return found


def write(paths: Sequence[files.PathLike], records: Iterable[bytes]) -> int:
    """Writes records to files in turn; the files appear whole at the end.

    Returns:
        How many records were written.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    targets = [pathlib.Path(path) for path in paths]
    scratch = [path.with_name(f".{path.name}.part") for path in targets]
    count = 0
    try:
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
        writers = [tf.io.TFRecordWriter(str(path)) for path in scratch]
        for record in records:
            writers[count % len(writers)].write(record)
            count += 1
        for writer in writers:
            writer.close()
        for source, target in zip(scratch, targets, strict=True):
            os.replace(source, target)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise errors.UserError(
            f"cannot write {targets[0]}: {' '.join(reason.split())[:200]}"
        ) from None
    finally:
        for path in scratch:
            path.unlink(missing_ok=True)
    return count


def _scan(path: str) -> Iterable[tuple[int, int]]:
    size = os.path.getsize(path)
    position = number = 0
    with open(path, "rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(_HEADER)
            where = f"{path}: record {number} (byte {position})"
            if len(header) < _HEADER:
                raise errors.UserError(f"{where} is cut off")
            (length,) = struct.unpack("<Q", header[:8])
            if length > MAX_RECORD_BYTES or _masked_crc(header[:8]) != header[8:]:
                raise errors.UserError(
                    f"{where} is damaged, or this is no TFRecord file"
                )
            end = position + _HEADER + length + _FOOTER
            if end > size:
                raise errors.UserError(f"{where} is cut off")
            yield position + _HEADER, length
            position, number = end, number + 1


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _table()


def _masked_crc(data: bytes) -> bytes:
    """Returns TFRecord's checksum of a few bytes (CRC-32C, rotated and offset)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15) | (crc << 17)) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)
