"""Writing files and folders whole or not at all, and checking what is read."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from tfdl.engine.errors import UserError

PathLike = str | os.PathLike


def require_file(path: PathLike, max_bytes: int | None = None) -> pathlib.Path:
    """Returns `path` if it is a readable, non-empty regular file.

    Raises:
        UserError: it is missing, a folder, empty, or over `max_bytes`.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, a file is needed")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty")
    if max_bytes is not None and size > max_bytes:
        raise UserError(f"{path} has {size:,} bytes, the limit is {max_bytes:,}")
    return path


def read_text(path: PathLike, max_bytes: int | None = None) -> str:
    """Reads a UTF-8 file (a byte order mark is dropped).

    Raises:
        UserError: the file is missing or empty, or its bytes are not UTF-8.
    """
    data = require_file(path, max_bytes).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not valid UTF-8 ({error.reason})") from None


def atomic_write(
    path: PathLike, data: bytes | str, durable: bool = True
) -> pathlib.Path:
    """Writes a file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder is made.
        data: its content, text as UTF-8.
        durable: wait until the disk has it; without, a power failure may lose it.

    Raises:
        UserError: the folder cannot be written to or the disk is full.
    """
    path = pathlib.Path(path)
    if isinstance(data, str):
        data = data.encode("utf-8")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            pathlib.Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return path


@contextlib.contextmanager
def atomic_directory(path: PathLike, overwrite: bool = True) -> Iterator[pathlib.Path]:
    """Yields a scratch folder that becomes `path` when the block ends well.

    Args:
        path: where the folder ends up.
        overwrite: replace a folder that is already there; otherwise it is an error.

    Raises:
        UserError: `path` exists and may not be replaced, or writing fails.
    """
    path = pathlib.Path(path)
    if path.exists() and not (overwrite and path.is_dir()):
        raise UserError(f"{path} exists already")
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(
            tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        )
        os.chmod(scratch, 0o777 & ~_umask())
        yield scratch
        if path.exists():
            old = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=".old."))
            os.replace(path, old / path.name)
            os.replace(scratch, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(scratch, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)


def check_apart(source: PathLike, output: PathLike) -> None:
    """Raises `UserError` when an output folder would replace what it is made from."""
    source, output = pathlib.Path(source).resolve(), pathlib.Path(output).resolve()
    if source == output or output in source.parents:
        raise UserError(f"the output {output} would replace the source {source}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
