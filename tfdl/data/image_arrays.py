"""Pictures of one size from arrays in a file: NumPy's npz, CIFAR-10, MNIST's IDX."""

import gzip
import io
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfdl.data import image_sources
from tfdl.engine import errors, files

FORMS = ("npz", "cifar10", "idx")
MAX_BYTES = 32 << 30
_IMAGES, _LABELS = ("x", "images", "imgs"), ("y", "labels")
_SPLITS = {"train": ("train",), "validation": ("test", "val", "validation")}
_CIFAR_RECORD = 1 + 3 * 32 * 32
_IDX_PREFIX = {"train": "train", "validation": "t10k"}
_FASHION = (
    "T-shirt, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
)


class ArraySource(image_sources.ImageSource):
    """Pictures in memory.

    Args:
        images: uint8 [N, H, W, 1 or 3].
        labels: [N], from 0.
        names: the classes' names; numbers where None.
        where: the file, for messages.
        classes: the classes that the data have to keep to.

    Attributes:
        images: the pictures.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        names: Sequence[str] | None,
        where: str,
        classes: Sequence[str] | None = None,
    ):
        labels = np.asarray(labels)
        if not len(labels):
            raise errors.UserError(f"{where}: no pictures")
        if labels.min() < 0:
            raise errors.UserError(f"{where}: a label is {labels.min()}, below 0")
        count = int(labels.max()) + 1
        names = tuple(names or classes or (str(i) for i in range(max(count, 2))))
        if count > len(names):
            raise errors.UserError(
                f"{where}: a label is {count - 1}, but there are {len(names)} classes"
            )
        if classes is not None and tuple(classes) != names:
            raise errors.UserError(
                f"{where} has the classes {', '.join(names)[:60]}, not "
                f"{', '.join(classes)[:60]}"
            )
        super().__init__(names)
        self.images, self.labels = images, labels.astype(np.int32)
        self._where = where

    def name(self, index: int) -> str:
        """Returns the picture's number in its file."""
        return f"picture {index} of {self._where}"

    def pixels(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the pictures, uint8 [B, H, W, 3], black for negative indices."""
        with tf.device("CPU"):
            found = tf.gather(self._outside("images"), tf.maximum(indices, 0))
        found = tf.where((indices >= 0)[:, None, None, None], found, 0)
        return tf.repeat(found, 3, axis=3) if found.shape[3] == 1 else found

    def read_pixels(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (`pixels`, labels int32) of `indices` int64 [B], in a graph."""
        labels = tf.gather(self._outside("labels"), tf.maximum(indices, 0))
        return self.pixels(indices), tf.where(indices >= 0, labels, 0)

    def encoded(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns PNGs, made when they are asked for."""
        flat = tf.reshape(indices, [-1])
        found = tf.map_fn(
            tf.io.encode_png, self.pixels(flat), fn_output_signature=tf.string
        )
        return tf.reshape(tf.where(flat >= 0, found, ""), tf.shape(indices))

    def head(self, index: int, count: int | None = None) -> tuple[bytes, bool]:
        """Returns the beginning of a PNG."""
        pixels = self.images[index]
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
            buffer, "PNG"
        )
        data = buffer.getvalue()
        return data[:count], count is None or len(data) <= count

    def size(self, index: int) -> tuple[int, int]:
        """Returns the height and width that all share."""
        return self.images.shape[1], self.images.shape[2]

    def shapes(self, on_bad: str = "stop") -> np.ndarray:
        """Returns int32 [N, 2]."""
        image_sources.check_on_bad(on_bad)
        return np.tile(np.array(self.size(0), np.int32), (len(self), 1))


def open_arrays(
    form: str, path: str, split: str, classes: Sequence[str] | None = None
) -> ArraySource:
    """Opens `npz:FILE`, `cifar10:FOLDER or FILE` or `idx:FOLDER`.

    Args:
        form: one of `FORMS`.
        path: what follows it.
        split: `"train"` or `"validation"`. A file with one set serves both.
        classes: see `open_source`.

    Raises:
        UserError: files are missing, damaged or of another layout.
    """
    read = {"npz": _read_npz, "cifar10": _read_cifar, "idx": _read_idx}[form]
    images, labels, names, where = read(pathlib.Path(path).expanduser(), split)
    if len(images) != len(labels):
        raise errors.UserError(
            f"{where}: {len(images)} pictures, but {len(labels)} labels"
        )
    return ArraySource(images, labels, names, where, classes)


def _read_npz(path: pathlib.Path, split: str):
    files.require_file(path, MAX_BYTES)
    try:
        with np.load(path, allow_pickle=False) as data:
            names = {name.lower(): name for name in data.files}
            found = [_member(names, kinds, split, path) for kinds in (_IMAGES, _LABELS)]
            images, labels = (data[name] for name in found)
            classes = data[names["classes"]].tolist() if "classes" in names else None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise errors.UserError(f"{path} cannot be read: {reason}") from None
    except Exception as error:  # a damaged zip raises its own kinds
        if type(error).__name__ != "BadZipFile":
            raise
        raise errors.UserError(f"{path} is no npz file") from None
    labels = labels.reshape(len(labels), -1)
    if labels.shape[1] != 1 or labels.dtype.kind not in "iu":
        raise errors.UserError(f"{path}: {found[1]!r} has to be one integer a picture")
    return _layout(images, found[0], path), labels[:, 0], classes, str(path)


def _member(names, kinds, split: str, path) -> str:
    """Returns the array of a split: `x_train` or `x`."""
    for kind in kinds:
        for suffix in (*(f"_{word}" for word in _SPLITS[split]), ""):
            if kind + suffix in names:
                return names[kind + suffix]
    raise errors.UserError(
        f"{path} has {', '.join(names.values())[:80] or 'no arrays'}; wanted is "
        f"{' or '.join(kinds)}, with _train and _test behind it for two sets"
    )


def _layout(images: np.ndarray, name: str, path) -> np.ndarray:
    """Returns uint8 [N, H, W, C] of any usual layout."""
    if images.dtype == object or images.ndim not in (3, 4):
        raise errors.UserError(
            f"{path}: {name!r} has the shape {images.shape}; pictures of one size are "
            "needed, [N, H, W], [N, H, W, C] or [N, C, H, W]"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = np.transpose(images, (0, 2, 3, 1))
    if images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise errors.UserError(
            f"{path}: {name!r} is {images.dtype} {list(images.shape)}; uint8 with 1 or "
            "3 channels is needed"
        )
    return images


def _read_cifar(path: pathlib.Path, split: str):
    names = None
    parts = [path]
    if path.is_dir():
        if not any(path.glob("*.bin")) and (path / "cifar-10-batches-bin").is_dir():
            path = path / "cifar-10-batches-bin"
        pattern = "data_batch_*.bin" if split == "train" else "test_batch.bin"
        parts = sorted(path.glob(pattern))
        if not parts:
            raise errors.UserError(
                f"{path}: no {pattern} (the binary version of CIFAR-10 is read)"
            )
        meta = path / "batches.meta.txt"
        if meta.is_file():
            names = files.read_text(meta).split()
    data = []
    for part in parts:
        files.require_file(part, MAX_BYTES)
        raw = np.fromfile(part, np.uint8)
        if not len(raw) or len(raw) % _CIFAR_RECORD:
            raise errors.UserError(
                f"{part}: {len(raw):,} bytes are not whole records of {_CIFAR_RECORD}"
            )
        data.append(raw.reshape(-1, _CIFAR_RECORD))
    rows = np.concatenate(data)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    if rows[:, 0].max() > 9:
        raise errors.UserError(f"{path}: a label is {rows[:, 0].max()}, at most 9 is")
    names = names or [str(i) for i in range(10)]
    return np.ascontiguousarray(images), rows[:, 0], names, str(path)


def _read_idx(path: pathlib.Path, split: str):
    if not path.is_dir():
        raise errors.UserError(f"idx:{path}: no such folder")
    arrays = []
    for kind in ("images-idx3", "labels-idx1"):
        pattern = f"{_IDX_PREFIX[split]}*{kind}*"
        found = sorted(path.rglob(pattern))
        if not found:
            raise errors.UserError(f"{path}: no file {pattern}")
        arrays.append(_idx(found[0]))
    images, labels = arrays
    names = None
    if "fashion" in str(path.absolute()).lower():
        names = _FASHION.split(", ")
    return _layout(images, "images", path), labels, names, str(path)


def _idx(path: pathlib.Path) -> np.ndarray:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise errors.UserError(f"{path} cannot be read or is damaged") from None
    rank = data[3] if len(data) > 3 else 0
    shape = np.frombuffer(data[4 : 4 + 4 * rank], ">u4").tolist()
    size = int(np.prod(shape, dtype=np.uint64)) if len(shape) == rank else -1
    if data[:3] != b"\0\0\x08" or len(data) != 4 + 4 * rank + size:
        raise errors.UserError(f"{path} is no whole IDX file of bytes")
    return np.frombuffer(data[4 + 4 * rank :], np.uint8).reshape(shape)
