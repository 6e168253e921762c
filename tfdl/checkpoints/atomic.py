"""Writing one large file whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from tfdl.engine import files
from tfdl.engine.errors import UserError


@contextlib.contextmanager
def scratch_folder(path: files.PathLike) -> Iterator[pathlib.Path]:
    """Yields a scratch folder beside `path`, gone when the block ends.

    What is to stay has to be moved out of it, which is quick and atomic.

    Raises:
        UserError: writing fails.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}."
        ) as scratch:
            yield pathlib.Path(scratch)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def sync(path: files.PathLike) -> None:
    """Waits until a file's content has reached the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
