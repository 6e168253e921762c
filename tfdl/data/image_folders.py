"""Pictures in a folder per class, as torchvision's ImageFolder reads them."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.data import image_files, image_sources
from tfdl.engine import errors

FOLDERS = {"train": ("train",), "validation": ("validation", "val")}
_ENDINGS = (".jpg", ".jpeg", ".png")


class FolderSource(image_sources.ImageSource):
    """PATH/{train,validation or val}/CLASS/*, or PATH/CLASS/*.

    Labels are ranks in the sorted list of class folders, pictures are in sorted
    order; folders within a class folder are read as well, hidden files are not. The
    validation pictures' labels are those of the training folder beside them.

    Args:
        path: the folder.
        split: `"train"` or `"validation"`.
        classes: the classes, None for those that the folder has.
        on_bad: what a file that is no picture by its name does.

    Raises:
        UserError: no such folder, no pictures, a class too few, an unknown class, or
            a file that is no picture, under `"stop"`.
    """

    def __init__(
        self,
        path: str,
        split: str,
        classes: Sequence[str] | None = None,
        on_bad: str = "stop",
    ):
        root = pathlib.Path(path).expanduser()
        if not root.is_dir():
            raise errors.UserError(f"folder:{path}: no such folder")
        self.folder = _split_folder(root, split)
        if classes is None:
            classes = _subfolders(_split_folder(root, "train", self.folder))
            if len(classes) < 2:
                raise errors.UserError(
                    f"{self.folder} has {len(classes) or 'no'} class "
                    f"folder{'' if len(classes) == 1 else 's'}; at least two are "
                    "needed: FOLDER/CLASS/picture.jpg"
                )
        super().__init__(classes)
        self.paths, labels = self._list(on_bad)
        self.labels = np.array(labels, np.int32)
        self._readable = [*self.paths, os.devnull]
        if not self.paths:
            raise errors.UserError(
                f"{self.folder}: no pictures (CLASS/*{', CLASS/*'.join(_ENDINGS)})"
            )

    def name(self, index: int) -> str:
        """Returns the file's path."""
        return self.paths[index]

    def encoded(self, indices: tf.Tensor) -> tf.Tensor:
        """Reads the files."""
        # Padding reads the null device, which is behind the last picture.
        places = tf.where(indices < 0, np.int64(len(self)), indices)
        names = tf.gather(self._outside("_readable"), places)
        flat = tf.map_fn(
            tf.io.read_file,
            tf.reshape(names, [-1]),
            fn_output_signature=tf.string,
        )
        flat = tf.reshape(flat, tf.shape(indices))
        return tf.ensure_shape(flat, indices.shape)

    def head(self, index: int, count: int | None = None) -> tuple[bytes, bool]:
        """Returns the beginning of a file."""
        try:
            with open(self.paths[index], "rb") as file:
                data = file.read(count)
                return data, count is None or not file.read(1)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise image_files.Unreadable(reason) from None

    def _list(self, on_bad: str) -> tuple[list[str], list[int]]:
        known = {name: label for label, name in enumerate(self.classes)}
        paths, labels = [], []
        for name in _subfolders(self.folder):
            if name not in known:
                raise errors.UserError(
                    f"{self.folder / name}: {name!r} is none of the "
                    f"{len(known)} classes ({', '.join(list(known)[:3])}, ...)"
                )
            for path in _files(self.folder / name):
                if path.lower().endswith(_ENDINGS):
                    paths.append(path)
                    labels.append(known[name])
                    continue
                reason = f"is no picture by its name ({', '.join(_ENDINGS)} are)"
                if on_bad == "stop":
                    raise errors.UserError(f"{path} {reason}")
                self.bad.note(path, reason)
        return paths, labels

    def _shapes_file(self) -> pathlib.Path:
        return self.folder / ".tfdl-shapes.npz"

    def _fingerprint(self) -> str:
        return image_sources.fingerprint_of(self.paths)


def _split_folder(
    root: pathlib.Path, split: str, otherwise: pathlib.Path | None = None
) -> pathlib.Path:
    """Returns the folder of a split; the root itself where it has none at all."""
    for name in FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    if otherwise is not None:
        return otherwise
    others = [n for names in FOLDERS.values() for n in names if (root / n).is_dir()]
    if others:
        raise errors.UserError(
            f"{root} has {', '.join(others)}, but no {' or '.join(FOLDERS[split])}"
        )
    return root


def _subfolders(folder: pathlib.Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _files(folder: pathlib.Path):
    """Yields a class's files in ImageFolder's order."""
    for root, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(root, name)
