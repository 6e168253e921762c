"""The original's multi-resolution TFRecords: a file per size, 4x4 to the full one.

NAME-rRR.tfrecords, RR the power of two, holds `shape` (C, H, W) and `data` (raw bytes)
of every picture; NAME-rxx.labels is a NumPy file of float32 [N, L].
"""

import io
import pathlib
import re
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tfdl.checkpoints import npy
from tfdl.data import records
from tfdl.engine import errors, files
from tfdl.models.stylegan import pictures
from tfdl.models.stylegan.growing import log2_of

_FILE = re.compile(r"^(.*)-r(\d\d)\.tfrecords$")
SHUFFLE_SEED = 123
_MAX_LABEL_BYTES = 8 << 30


def found_at(path: str) -> dict[int, pathlib.Path]:
    """Returns size -> file of a folder or glob in this layout; empty for others."""
    where = pathlib.Path(path).expanduser()
    if where.is_dir():
        candidates = sorted(where.glob("*-r??.tfrecords"))
    else:
        candidates = [pathlib.Path(one) for one in records.expand(path)]
    matches = [(one, _FILE.match(one.name)) for one in candidates]
    if not matches or not all(match for _, match in matches):
        return {}
    names = {match[1] for _, match in matches}
    if len(names) > 1:
        raise errors.UserError(
            f"{path} holds several data sets: {', '.join(sorted(names))}"
        )
    return {2 ** int(match[2]): one for one, match in matches}


class RecordPictures(pictures.Pictures):
    """Pictures of multi-resolution TFRecords.

    Args:
        path: the folder, or a glob of its files.
        resolution: of the largest; 0 is what there is.
        labels: `"none"`, `"full"`, or how many of a label's first numbers.

    Raises:
        UserError: files are missing, damaged or do not fit together.
    """

    def __init__(self, path: str, resolution: int = 0, labels: str = "none"):
        self._files = found_at(path)
        if not self._files:
            raise errors.UserError(f"{path}: no files NAME-rRR.tfrecords")
        resolution = resolution or max(self._files)
        log2_of(resolution)
        self._open: dict[int, records.Records] = {}
        count = len(self._records(resolution))
        self._count = count
        channels = self._pixels(resolution, 0).shape[0]
        super().__init__(resolution, channels)
        if labels != "none":
            self.labels = self._read_labels(labels)
        pictures.check_count(count, str(self._files[resolution]))

    def __len__(self) -> int:
        return self._count

    def read(self, indices, size):
        """Returns uint8 [B, size, size, C]."""
        rows = [self._pixels(size, int(i)) for i in indices]
        return np.stack(rows).transpose(0, 2, 3, 1)

    def _records(self, size: int) -> records.Records:
        if size not in self._open:
            if size not in self._files:
                have = ", ".join(f"{one}x{one}" for one in sorted(self._files))
                raise errors.UserError(
                    f"no records of {size}x{size} pictures beside "
                    f"{next(iter(self._files.values()))} (there are {have})"
                )
            found = records.Records(str(self._files[size]))
            first = next(iter(self._open.values()), found)
            if len(found) != len(first):
                raise errors.UserError(
                    f"{self._files[size]} has {len(found):,} pictures, "
                    f"{first.paths[0]} has {len(first):,}"
                )
            self._open[size] = found
        return self._open[size]

    def _pixels(self, size: int, index: int) -> np.ndarray:
        found = self._records(size)
        try:
            feature = tf.train.Example.FromString(found.read([index])[0])
            feature = feature.features.feature
            shape = tuple(feature["shape"].int64_list.value)
            (data,) = feature["data"].bytes_list.value
        except Exception:  # protobuf's own DecodeError, or a missing value
            raise errors.UserError(
                f"{found.name(index)} has no shape and data"
            ) from None
        if len(shape) != 3 or shape[0] not in (1, 3) or shape[1:] != (size, size):
            raise errors.UserError(
                f"{found.name(index)} has the shape {list(shape)}, [1 or 3, {size}, "
                f"{size}] is needed"
            )
        if len(data) != np.prod(shape):
            raise errors.UserError(
                f"{found.name(index)} has {len(data)} bytes for the shape {list(shape)}"
            )
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _read_labels(self, wanted: str) -> np.ndarray:
        folder = self._files[self.resolution].parent
        paths = sorted(folder.glob("*.labels"))
        if len(paths) != 1:
            raise errors.UserError(
                f"{folder}: labels are asked for, there {'is' if not paths else 'are'} "
                f"{'no' if not paths else len(paths)} *.labels file"
            )
        files.require_file(paths[0], _MAX_LABEL_BYTES)
        labels = npy.read(paths[0])
        if labels.ndim != 2 or len(labels) != len(self):
            raise errors.UserError(
                f"{paths[0]} has the shape {list(labels.shape)}, [{len(self)}, labels] "
                "is needed"
            )
        if wanted != "full":
            labels = labels[:, : int(wanted)]
        return np.asarray(labels, np.float32)


def shuffled_order(count: int) -> np.ndarray:
    """Returns the original's order of writing."""
    order = np.arange(count)
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def write(
    folder: files.PathLike,
    images: Iterable[np.ndarray],
    resolution: int,
    labels: np.ndarray | None = None,
    named: files.PathLike = "",
) -> dict[int, pathlib.Path]:
    """Writes pictures in all sizes.

    Args:
        folder: where to.
        images: uint8 [H, W, C] in the order of writing.
        resolution: their size.
        labels: float32 [N, L] in the same order.
        named: the folder that the files are named after, if it is another.

    Returns:
        size -> file.
    """
    folder = pathlib.Path(folder)
    prefix = folder / pathlib.Path(named or folder).resolve().name
    sizes = [2**level for level in range(log2_of(resolution), 1, -1)]
    paths = [
        prefix.with_name(f"{prefix.name}-r{log2_of(size):02d}.tfrecords")
        for size in sizes
    ]
    records.write(paths, _examples(images, sizes))
    if labels is not None:
        path = prefix.with_name(f"{prefix.name}-rxx.labels")
        files.atomic_write(path, _npy(labels))
    return dict(zip(sizes, paths, strict=True))


def _examples(images: Iterable[np.ndarray], sizes: list[int]) -> Iterator[bytes]:
    for image in images:
        made = pictures.all_sizes(image)
        for size in sizes:
            pixels = made[size].transpose(2, 0, 1)
            shape = tf.train.Feature(int64_list=tf.train.Int64List(value=pixels.shape))
            data = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[pixels.tobytes()])
            )
            features = tf.train.Features(feature={"shape": shape, "data": data})
            yield tf.train.Example(features=features).SerializeToString()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array.astype(np.float32), allow_pickle=False)
    return buffer.getvalue()
