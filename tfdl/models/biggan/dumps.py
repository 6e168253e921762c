"""Many pictures in one npz file, made part by part, so that a dump can go on."""

import io
import json
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfdl.engine import errors, files

LAYOUTS = ("nhwc", "nchw")
_MANIFEST = "dump.json"


class Dump:
    """A file `x` uint8 [N, H, W, C], `y` int64 [N], in the making.

    Parts are kept in `FILE.parts` until all are there.

    Args:
        path: the npz file.
        description: everything that the pictures depend on; a part belongs to a dump
            of the same.

    Raises:
        UserError: the parts are those of another dump.
    """

    def __init__(self, path: files.PathLike, description: Mapping[str, Any]):
        self.path = pathlib.Path(path)
        self.parts = self.path.with_name(self.path.name + ".parts")
        manifest = self.parts / _MANIFEST
        wanted = json.loads(json.dumps(dict(description)))
        if manifest.is_file():
            found = json.loads(files.read_text(manifest))
            changed = [k for k in wanted if found.get(k) != wanted[k]]
            if changed:
                raise errors.UserError(
                    f"{self.parts} holds parts of another dump ({', '.join(changed)} "
                    "differ); delete it to begin again"
                )
        else:
            files.atomic_write(manifest, json.dumps(wanted, indent=2) + "\n")

    def next_batch(self) -> int:
        """Returns the first batch that is not there yet."""
        done = 0
        while self._part(done).is_file():
            done += 1
        return done

    def add(self, number: int, images: np.ndarray, labels: np.ndarray) -> None:
        """Writes a batch, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, x=images, y=labels)
        files.atomic_write(self._part(number), buffer.getvalue())

    def finish(self, batches: int, layout: str = "nhwc") -> int:
        """Joins the parts and removes them; returns how many pictures there are.

        Args:
            batches: how many parts there are.
            layout: `"nhwc"`, or `"nchw"` as BigGAN-PyTorch has it.
        """
        images, labels = [], []
        for number in range(batches):
            with np.load(self._part(number), allow_pickle=False) as part:
                images.append(part["x"])
                labels.append(part["y"].astype(np.int64))
        x = np.concatenate(images)
        if layout == "nchw":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        buffer = io.BytesIO()
        np.savez(buffer, x=x, y=np.concatenate(labels))
        files.atomic_write(self.path, buffer.getvalue())
        shutil.rmtree(self.parts)
        return len(x)

    def write(
        self,
        batches: Iterable[tuple[np.ndarray, np.ndarray]],
        first: int,
        total: int,
        layout: str,
    ) -> int:
        """Adds the batches from `first` on and finishes; returns the pictures."""
        for number, (images, labels) in enumerate(batches, first):
            self.add(number, images, labels)
        return self.finish(total, layout)

    def _part(self, number: int) -> pathlib.Path:
        return self.parts / f"part-{number:06d}.npz"
