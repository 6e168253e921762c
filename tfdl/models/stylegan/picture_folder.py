"""A folder of pictures, in sub-folders or not, with labels or not."""

import json
import os
import pathlib

import numpy as np

from tfdl.data import image_folders, image_sources
from tfdl.engine import errors, files

LABELS_FILE = "dataset.json"
_ENDINGS = (".jpg", ".jpeg", ".png")
_MAX_JSON = 1 << 30


class PictureFolder(image_folders.FolderSource):
    """All pictures below a folder, in sorted order.

    With labels, they are those of `dataset.json` in the folder (`{"labels": [[FILE,
    NUMBER], ...]}`, as later StyleGANs have it), else the first sub-folder's rank.

    Args:
        path: the folder.
        labelled: whether labels are wanted.
        on_bad: what a file that is no picture by its name does: `"stop"` or `"skip"`.

    Raises:
        UserError: no such folder, no pictures, or no labels although wanted.
    """

    def __init__(self, path: str, labelled: bool = False, on_bad: str = "skip"):
        root = pathlib.Path(path).expanduser()
        if not root.is_dir():
            raise errors.UserError(f"folder:{path}: no such folder")
        image_sources.ImageSource.__init__(self, ())
        self.folder = root
        self.paths = self._pictures(on_bad)
        if not self.paths:
            raise errors.UserError(f"{root}: no pictures ({', '.join(_ENDINGS)})")
        self._readable = [*self.paths, os.devnull]
        self.labels = np.full([len(self.paths)], -1, np.int32)
        if labelled:
            names = self._names()
            self.classes = tuple(sorted(set(names), key=_as_number))
            rank = {name: label for label, name in enumerate(self.classes)}
            self.labels = np.array([rank[name] for name in names], np.int32)

    def _pictures(self, on_bad: str) -> list[str]:
        found = []
        for root, folders, names in os.walk(self.folder, followlinks=True):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for name in names:
                path = os.path.join(root, name)
                if name.startswith(".") or name == LABELS_FILE:
                    continue
                if name.lower().endswith(_ENDINGS):
                    found.append(path)
                    continue
                reason = f"is no picture by its name ({', '.join(_ENDINGS)} are)"
                if on_bad == "stop":
                    raise errors.UserError(f"{path} {reason}")
                self.bad.note(path, reason)
        return sorted(found)

    def _names(self) -> list[str]:
        """Returns every picture's class."""
        relative = [os.path.relpath(path, self.folder) for path in self.paths]
        path = self.folder / LABELS_FILE
        if path.is_file():
            return self._listed(path, relative)
        loose = next((one for one in relative if os.sep not in one), None)
        if loose:
            raise errors.UserError(
                f"labels are asked for, but {self.folder} has no {LABELS_FILE} and "
                f"{loose} is in no sub-folder"
            )
        return [one.split(os.sep)[0] for one in relative]

    def _listed(self, path: pathlib.Path, relative: list[str]) -> list[str]:
        try:
            pairs = json.loads(files.read_text(path, _MAX_JSON))["labels"]
            given = {os.path.normpath(name): str(label) for name, label in pairs}
        except (ValueError, KeyError, TypeError):
            raise errors.UserError(
                f'{path} has to be {{"labels": [["FILE", NUMBER], ...]}}'
            ) from None
        missing = [one for one in relative if one not in given]
        if missing:
            raise errors.UserError(f"{path} has no label of {missing[0]}")
        return [given[one] for one in relative]


def _as_number(name: str):
    return (0, int(name), "") if name.isdigit() else (1, 0, name)
