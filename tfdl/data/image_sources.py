"""Labelled pictures by one string, read by index.

    source = open_source("folder:/data/imagenet", "train")
    encoded = source.encoded(tf.constant([3, 141], tf.int64))     # JPEG or PNG bytes

Access by index is what makes a batch a function of seed and step: nothing has to be
read through to reach an example, and any number of workers shares any number of files.
"""

import concurrent.futures
import hashlib
import io
import os
import pathlib
import threading
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.data import image_codec, image_files
from tfdl.engine import errors, files

SPLITS = ("train", "validation")
ON_BAD = ("stop", "skip")
_FEW = 64  # pictures that are looked at to guess the others' kind
_FORMS = (
    "folder:PATH, tfrecord:GLOB, tfds:PATH, tfds:NAME[:SPLIT], npz:FILE, "
    "cifar10:FOLDER, idx:FOLDER, prepared:NAME, embedded:digits, "
    "embedded:square-digits"
)


class BadImages:
    """The pictures that were left out, with the reason."""

    def __init__(self):
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._reasons)

    def note(self, name: str, reason: str) -> bool:
        """Notes a picture; returns False when it was known already."""
        with self._lock:
            known = name in self._reasons
            self._reasons[name] = reason
        return not known

    def lines(self, most: int = 20) -> list[str]:
        """Returns a line per picture, `"PATH: is cut off"`, and a count of the rest."""
        found = sorted(self._reasons.items())
        shown = [f"{name}: {reason}" for name, reason in found[:most]]
        if len(found) > most:
            shown.append(f"... and {len(found) - most} more")
        return shown


class ImageSource:
    """Pictures with labels, by index.

    Attributes:
        classes: the classes' names; labels are indices into them.
        labels: int32 [N], -1 where a picture has none.
        bad: what was left out so far.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.labels = np.zeros([0], np.int32)
        self.bad = BadImages()
        self._tensors: dict[str, tf.Tensor] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Returns what messages call a picture: its file, or its record."""
        raise NotImplementedError

    def encoded(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns the pictures' bytes, a string of the shape of int64 `indices`.

        In a graph; a negative index gives an empty string.
        """
        raise NotImplementedError

    def read(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (`encoded`, labels int32) of `indices` int64 [B], in a graph."""
        labels = tf.gather(self._outside("labels"), tf.maximum(indices, 0))
        return self.encoded(indices), labels

    def mixed(self) -> bool:
        """Returns whether some pictures seem to be PNGs, by a few of them.

        A wrong answer costs time: a picture of the unexpected kind makes its batch
        fail, and that is mended.
        """
        few = np.unique(np.linspace(0, len(self) - 1, _FEW).astype(int))
        for index in few:
            try:
                if self.head(int(index), 8)[0] == image_files.PNG:
                    return True
            except image_files.Unreadable:
                pass
        return False

    def _outside(self, name: str) -> tf.Tensor:
        """Returns a tensor of the attribute `name`, made once, outside any graph.

        A dataset's function captures it, where a constant would be copied into the
        graph: a million paths are 100 MB.
        """
        if name not in self._tensors:
            with tf.init_scope():
                self._tensors[name] = tf.constant(getattr(self, name))
        return self._tensors[name]

    def head(self, index: int, count: int | None = None) -> tuple[bytes, bool]:
        """Returns a picture's first `count` bytes (all by default), and whether all.

        Raises:
            image_files.Unreadable: it cannot be read at all.
        """
        raise NotImplementedError

    def data(self, index: int) -> bytes:
        """Returns a picture's bytes, outside a graph; raises as `head` does."""
        return self.head(index)[0]

    def problem(self, index: int) -> str | None:
        """Returns why a picture cannot be used, None when it can."""
        try:
            return image_codec.problem(self.data(index))
        except image_files.Unreadable as error:
            return str(error)

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) from a picture's header; raises as `head` does."""
        data, whole = self.head(index, image_files.HEAD_BYTES)
        try:
            return image_files.size(data, whole)
        except image_files.HeadTooShort:
            return image_files.size(self.data(index))

    def shapes(self, on_bad: str = "stop") -> np.ndarray:
        """Returns int32 [N, 2], height and width, from the headers alone.

        Kept beside the data for the next time where that can be written to.

        Args:
            on_bad: what a picture without a readable header does: `"stop"`, or
                `"skip"`: it is noted in `bad` and counts as 1x1.

        Raises:
            UserError: such a picture, under `"stop"`.
        """
        check_on_bad(on_bad)
        path = self._shapes_file()
        key = self._fingerprint() if path else ""
        kept = _read_shapes(path, key, len(self)) if path else None
        if kept is not None:
            return kept

        def one(index):
            try:
                return self.size(index)
            except image_files.Unreadable as error:
                if on_bad == "stop":
                    raise errors.UserError(f"{self.name(index)} {error}") from None
                self.bad.note(self.name(index), str(error))
                return 1, 1

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            rows = list(pool.map(one, range(len(self))))
        found = np.array(rows, np.int32).reshape(-1, 2)
        if path and not len(self.bad):
            _write_shapes(path, key, found)
        return found

    def _shapes_file(self) -> pathlib.Path | None:
        """Returns where the sizes may be kept, None where nowhere."""
        return None

    def _fingerprint(self) -> str:
        """Returns a hash that changes when the files do."""
        raise NotImplementedError


def open_source(
    spec: str,
    split: str = "train",
    *,
    classes: Sequence[str] | None = None,
    on_bad: str = "stop",
) -> ImageSource:
    """Opens labelled pictures.

    Args:
        spec: one of
            `folder:PATH`: PATH/{train,validation or val}/CLASS/*, or PATH/CLASS/*
            (which serves every split);
            `tfrecord:GLOB`: TF-slim's or TFDS's layout, told apart by their keys;
            `tfds:PATH` or `tfds:NAME`, `:SPLIT` behind it: a data set of
            tensorflow-datasets; a folder is read without that package;
            `npz:FILE`: arrays x and y, or x_train, y_train, x_test, y_test;
            `cifar10:FOLDER`: the binary version; `idx:FOLDER`: MNIST's format;
            `prepared:NAME`: a set that `tfdl prepare --dataset` fetches: emoji-64,
            fashion-mnist, mnist-5k;
            `embedded:digits`: scikit-learn's digits, as small JPEGs;
            `embedded:square-digits`: the same, all 32x32, light on black.
        split: `"train"` or `"validation"`.
        classes: the classes' names in the labels' order, where the data must keep
            to those of a model or of the training data.
        on_bad: what files that are no pictures do in a folder: `"stop"` or `"skip"`.

    Raises:
        UserError: nothing there, an unknown form, or data that fits no layout.
    """
    if split not in SPLITS:
        raise errors.unknown("split", split, SPLITS)
    check_on_bad(on_bad)
    form, colon, rest = str(spec).partition(":")
    # The readers import this module's classes.
    from tfdl.data import (
        digits,
        image_arrays,
        image_folders,
        image_records,
        prepared_images,
    )

    known = ("folder", "tfrecord", "tfds", "embedded", "prepared")
    known += image_arrays.FORMS
    if not colon or form not in known or not rest:
        raise errors.UserError(f"data {str(spec)!r} is none of {_FORMS}")
    if form in image_arrays.FORMS:
        return image_arrays.open_arrays(form, rest, split, classes)
    if form == "folder":
        return image_folders.FolderSource(rest, split, classes, on_bad)
    if form == "tfrecord":
        return image_records.RecordSource(rest, classes)
    if form == "tfds":
        return image_records.open_tfds(rest, split, classes)
    if form == "prepared":
        return prepared_images.open_prepared(rest, split, classes)
    if rest == "square-digits":
        return digits.square_digits(split, classes)
    if rest != "digits":
        raise errors.unknown("embedded pictures", rest, ("digits", "square-digits"))
    return digits.DigitSource(split, classes)


def check_on_bad(on_bad: str) -> str:
    """Returns a value of `on_bad`, or raises `UserError`."""
    if on_bad not in ON_BAD:
        raise errors.unknown("on_bad", on_bad, ON_BAD)
    return on_bad


def fingerprint_of(paths: Sequence[str]) -> str:
    """Returns a hash of files' names, sizes and times."""
    digest = hashlib.sha256()
    for path in paths:
        state = os.stat(path)
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read_shapes(path: pathlib.Path, key: str, count: int) -> np.ndarray | None:
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data["key"]) == key and data["shapes"].shape == (count, 2):
                return data["shapes"].astype(np.int32)
    except (OSError, ValueError, KeyError, EOFError):
        pass
    except Exception as error:  # a damaged zip raises its own kinds
        if type(error).__name__ != "BadZipFile":
            raise
    return None


def _write_shapes(path: pathlib.Path, key: str, shapes: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(key), shapes=shapes)
    try:
        files.atomic_write(path, buffer.getvalue())
    except errors.UserError:
        pass  # a read-only data set: measured again the next time
