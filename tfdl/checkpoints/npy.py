"""NumPy's own files, .npy and .npz, without pickled objects."""

import io
import math
import pathlib
import tokenize
from typing import BinaryIO

import numpy as np

from tfdl.checkpoints import archives, sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

# NumPy parses the header as Python.
_HEADER_DAMAGE = (
    EOFError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


def read(path: files.PathLike) -> np.ndarray:
    """Reads a .npy file.

    Raises:
        UserError: no .npy file, truncated, or an array of objects.
    """
    path = files.require_file(path)
    with open(path, "rb") as file:
        return _read(file, path.stat().st_size, str(path))


def read_npz(path: files.PathLike, max_bytes: int = 8 << 30) -> dict[str, np.ndarray]:
    """Reads a .npz file.

    Args:
        path: the file.
        max_bytes: how large all arrays together may be.

    Raises:
        UserError: no .npz file, damaged, too large, or with an array of objects.
    """
    arrays = {}
    with archives.open_zip(path, max_bytes) as archive:
        for name in archive.namelist():
            where = f"{path} ({sniff.shown(name)})"
            if not name.endswith(".npy"):
                raise UserError(f"{where}: not a NumPy array")
            data = archives.read_member(archive, name)
            arrays[name.removesuffix(".npy")] = _read(
                io.BytesIO(data), len(data), where
            )
    return arrays


def _read(file: BinaryIO, size: int, where: str) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except _HEADER_DAMAGE as error:
        found = f": {sniff.instead(where)}" if pathlib.Path(where).is_file() else ""
        raise UserError(f"{where} is not a NumPy array{found} ({error})") from None
    if dtype.hasobject:
        raise UserError(f"{where}: refused: an array of pickled objects")
    left = size - file.tell()
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != left:
        raise UserError(
            f"{where} is damaged or truncated: {left:,} bytes of data for "
            f"{list(shape)} of {dtype}"
        )
    data = np.frombuffer(file.read(left), dtype)
    return data.reshape(shape, order="F" if fortran else "C").copy(order="A")
