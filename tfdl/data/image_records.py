"""Pictures in TFRecord files: TF-slim's layout and TFDS's."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.data import image_files, image_sources, records
from tfdl.engine import errors, files

# Layout -> the keys of picture and label, and the first class's label.
LAYOUTS = {
    "slim": ("image/encoded", "image/class/label", 1),
    "tfds": ("image", "label", 0),
}
_CLASSES = 1000
_NO_LABEL = -1
_MAX_NAMES = 64 << 20


class RecordSource(image_sources.ImageSource):
    """Pictures in tf.train.Examples, in one of two layouts, told apart by their keys.

    TF-slim's (also the Inception and Cloud TPU scripts'): `image/encoded` and
    `image/class/label`, from 1. TFDS's: `image` and `label`, from 0. The classes' names
    are the lines of `classes.txt` or `label.labels.txt` beside the files; without
    these there are 1000, named by their numbers.

    Args:
        pattern: comma-separated globs.
        classes: the classes, None to look beside the files.

    Raises:
        UserError: no such file, a damaged one, or another layout.
    """

    def __init__(self, pattern: str, classes: Sequence[str] | None = None):
        self.records = records.Records(pattern)
        self.layout = _layout(self.records.read([0])[0], self.records.paths[0])
        self._image, self._label, self._first = LAYOUTS[self.layout]
        if classes is None:
            classes = _names_beside(pathlib.Path(self.records.paths[0]).parent)
        if classes is None:
            classes = [str(i) for i in range(_CLASSES)]
        self._labels: np.ndarray | None = None
        super().__init__(classes)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]; reads all records once when it is first asked for."""
        if self._labels is None:
            self._labels = self._read_labels()
        return self._labels

    @labels.setter
    def labels(self, value: np.ndarray) -> None:
        del value  # what the base class starts with

    def name(self, index: int) -> str:
        """Returns the file and the record's number in it."""
        return self.records.name(index)

    def encoded(self, indices: tf.Tensor) -> tf.Tensor:
        """Reads and parses the records."""
        flat = self._parse(tf.reshape(indices, [-1]))[0]
        return tf.ensure_shape(tf.reshape(flat, tf.shape(indices)), indices.shape)

    def read(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns bytes and labels of the records; fails for a label out of range."""
        encoded, labels = self._parse(indices)
        inside = (labels >= 0) & (labels < len(self.classes))
        inside = tf.reduce_all(inside | (indices < 0))
        with tf.control_dependencies([tf.debugging.Assert(inside, ["label"])]):
            return encoded, tf.cast(labels, tf.int32)

    def head(self, index: int, count: int | None = None) -> tuple[bytes, bool]:
        """Returns the beginning of a record's picture."""
        data = self._example(index)[0]
        return data[:count], count is None or len(data) <= count

    def problem(self, index: int) -> str | None:
        """Returns what is wrong with a record, its label included."""
        try:
            label = self._example(index)[1]
        except image_files.Unreadable as error:
            return str(error)
        if not 0 <= label < len(self.classes):
            last = len(self.classes) - 1 + self._first
            return (
                f"has the label {label + self._first}, outside "
                f"{self._first} to {last} ({len(self.classes)} classes)"
            )
        return super().problem(index)

    def _parse(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.io.parse_example(
            self.records.gather(indices),
            {
                self._image: tf.io.FixedLenFeature([], tf.string, ""),
                self._label: tf.io.FixedLenFeature([], tf.int64, _NO_LABEL),
            },
        )
        return found[self._image], found[self._label] - self._first

    def _example(self, index: int) -> tuple[bytes, int]:
        features = _features(self.records.read([index])[0])
        image = features.get(self._image)
        label = features.get(self._label)
        if image is None or len(image.bytes_list.value) != 1:
            raise image_files.Unreadable(f"has no {self._image!r}")
        if label is None or len(label.int64_list.value) != 1:
            raise image_files.Unreadable(f"has no {self._label!r}")
        return image.bytes_list.value[0], label.int64_list.value[0] - self._first

    def _read_labels(self) -> np.ndarray:
        found = np.full([len(self)], -1, np.int32)
        for index in range(len(self)):
            try:
                label = self._example(index)[1]
            except image_files.Unreadable:
                continue  # named when its turn comes
            if 0 <= label < len(self.classes):
                found[index] = label
        return found

    def _shapes_file(self) -> pathlib.Path:
        first = pathlib.Path(self.records.paths[0])
        return first.with_name(f".{first.name}.shapes.npz")  # hidden from globs

    def _fingerprint(self) -> str:
        return image_sources.fingerprint_of(self.records.paths)


def open_tfds(
    rest: str, split: str, classes: Sequence[str] | None = None
) -> RecordSource:
    """Opens a data set of tensorflow-datasets: a folder, or by name.

    Args:
        rest: `PATH[:SPLIT]` or `NAME[:SPLIT]`. The package is needed for a name
            only; it downloads the data set where that is possible.
        split: which split to take when `rest` does not say; a data set without
            `validation` gives `test`.
        classes: the classes, None for the data set's own.

    Raises:
        UserError: no such folder or split, or the package is needed and not there.
    """
    where, _, wanted = rest.partition(":")
    folder = pathlib.Path(where).expanduser()
    if not folder.is_dir():
        if "/" in where and folder.is_absolute():
            raise errors.UserError(f"tfds:{where}: no such folder")
        folder = _prepared_by_name(where)
    folder = _version_folder(folder)
    wanted_splits = [wanted] if wanted else [split]
    if not wanted and split == "validation":
        wanted_splits.append("test")
    for name in wanted_splits:
        if any(folder.glob(f"*-{name}.*-of-*")):
            found = RecordSource(f"{folder}/*-{name}.*-of-*", classes)
            return found
    have = sorted({p.name.split(".")[0].split("-")[-1] for p in folder.glob("*-of-*")})
    raise errors.unknown(f"split of {folder}", wanted or split, have)


def _version_folder(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder with the files: this one, or its newest version's."""
    while not any(folder.glob("*-of-*")):
        inside = [p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."]
        if not inside:
            raise errors.UserError(f"tfds:{folder}: no files named *-SPLIT.*-of-*")
        folder = max(inside, key=_version)
    return folder


def _version(path: pathlib.Path):
    parts = path.name.split(".")
    numbers = tuple(int(p) for p in parts) if all(map(str.isdigit, parts)) else ()
    return bool(numbers), numbers, path.name


def _prepared_by_name(name: str) -> pathlib.Path:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise errors.UserError(
            f"tfds:{name}: no such folder, and to find it by name the extra 'tfds' is "
            "needed: pip install 'tfdl[tfds]'"
        ) from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"tfds:{name}: {reason}") from None
    return pathlib.Path(builder.data_dir)


def _names_beside(folder: pathlib.Path) -> list[str] | None:
    for name in ("classes.txt", "label.labels.txt"):
        if (folder / name).is_file():
            lines = files.read_text(folder / name, _MAX_NAMES).splitlines()
            return [line for line in lines if line]
    path = folder / "features.json"
    if path.is_file():
        return _classes_of_features(path)
    return None


def _classes_of_features(path: pathlib.Path) -> list[str] | None:
    """Returns as many numbers as TFDS's description of the features has classes."""
    try:
        features = json.loads(files.read_text(path, _MAX_NAMES))
        label = features["featuresDict"]["features"]["label"]
        count = int(label["classLabel"]["numClasses"])
    except (ValueError, KeyError, TypeError):
        return None
    return [str(i) for i in range(count)]


def _layout(record: bytes, path: str) -> str:
    try:
        features = _features(record)
    except image_files.Unreadable as error:
        raise errors.UserError(f"{path}: record 0 {error}") from None
    for name, (image, label, _) in LAYOUTS.items():
        if image in features and label in features:
            return name
    raise errors.UserError(
        f"{path}: record 0 has {', '.join(sorted(features))[:200] or 'no features'}; "
        "either image/encoded and image/class/label (TF-slim) or image and label "
        "(TFDS) are needed"
    )


def _features(record: bytes):
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception:  # protobuf's own DecodeError
        raise image_files.Unreadable("is no tf.train.Example") from None
