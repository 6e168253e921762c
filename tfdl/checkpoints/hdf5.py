"""Reading HDF5 files that may come from anywhere.

Links, other files, sizes and filters are checked here. The bytes themselves are
parsed by the HDF5 library, which is known to hang on some damaged files.
"""

import dataclasses
import math
from typing import Any

import h5py
import numpy as np

from tfdl.checkpoints import sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MAX_ATTRIBUTE = 64 << 20
SMALL = 1 << 20
# Gzip's largest ratio; also what a dataset without stored chunks would exceed.
MAX_RATIO = 1032
# Filters that come with HDF5 and h5py: gzip, shuffle, fletcher32, szip, nbit, lzf.
_FILTERS = {1, 2, 3, 4, 5, 32000}


@dataclasses.dataclass
class Contents:
    """What an HDF5 file holds.

    Attributes:
        arrays: path without a leading slash -> array; texts of any length are
            `str` objects, those of a fixed length bytes.
        attributes: path (`""` is the root) -> name -> value, for groups and arrays
            that have any.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]


def read(path: files.PathLike, max_bytes: int = 16 << 30) -> Contents:
    """Reads a whole file.

    Args:
        path: the file.
        max_bytes: how large all arrays together may be.

    Raises:
        UserError: no HDF5 file, damaged, links out of itself, or arrays far larger
            than the file.
    """
    path = files.require_file(path)
    if sniff.kind(path) != sniff.HDF5:
        raise UserError(f"{path} is not an HDF5 file: {sniff.instead(path)}")
    try:
        with h5py.File(path, "r") as file:
            reader = _Reader(str(path), max_bytes)
            reader.group(file, "", 0)
    except UserError:
        raise
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        MemoryError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason})") from None
    return reader.contents


class _Reader:
    """Walks the groups of a file."""

    def __init__(self, path: str, max_bytes: int):
        self.path, self.left = path, max_bytes
        self.objects = 0
        self.seen: set[Any] = set()
        self.contents = Contents({}, {})

    def group(self, group: h5py.Group, name: str, depth: int) -> None:
        """Reads a group's attributes and what is in it."""
        self._once(group, name)
        if depth > MAX_DEPTH:
            raise UserError(f"{self.path}: groups nested deeper than {MAX_DEPTH}")
        self._attributes(group, name)
        for key in group:
            full = f"{name}/{key}" if name else key
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise UserError(
                    f"{self.path}: {sniff.shown(full)} is a link elsewhere: refused"
                )
            item = group[key]
            if isinstance(item, h5py.Group):
                self.group(item, full, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self.dataset(item, full)
            else:
                raise UserError(
                    f"{self.path}: {sniff.shown(full)} is neither group nor array"
                )

    def dataset(self, dataset: h5py.Dataset, name: str) -> None:
        """Reads an array, once its size is known to be plausible."""
        self._once(dataset, name)
        self._attributes(dataset, name)
        if dataset.is_virtual or dataset.external:
            raise UserError(
                f"{self.path}: {sniff.shown(name)} lies in other files: refused"
            )
        properties = dataset.id.get_create_plist()
        filters = {
            properties.get_filter(i)[0] for i in range(properties.get_nfilters())
        }
        if not filters <= _FILTERS:
            odd = sorted(filters - _FILTERS)
            raise UserError(
                f"{self.path}: {sniff.shown(name)} is packed by unknown filter {odd}"
            )
        if dataset.shape is None:
            raise UserError(f"{self.path}: {sniff.shown(name)} has no value")
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        self.left -= size
        if self.left < 0 or size > max(SMALL, MAX_RATIO * stored):
            raise UserError(
                f"{self.path}: {sniff.shown(name)} {list(dataset.shape)} would take "
                f"{size:,} bytes from {stored:,} stored: refused"
            )
        if dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype):
            self.contents.arrays[name] = np.asarray(dataset.asstr()[()])
        else:
            self._check_dtype(dataset.dtype, name)
            self.contents.arrays[name] = np.asarray(dataset[()])

    def _attributes(self, item: h5py.Group | h5py.Dataset, name: str) -> None:
        values = {}
        for key in item.attrs:
            attribute = item.attrs.get_id(key)
            size = math.prod(attribute.shape or ()) * attribute.dtype.itemsize
            if size > MAX_ATTRIBUTE:
                raise UserError(
                    f"{self.path}: attribute {sniff.shown(f'{name}@{key}')} takes "
                    f"{size:,} bytes: refused"
                )
            if not h5py.check_string_dtype(attribute.dtype):
                self._check_dtype(attribute.dtype, f"{name or '/'}@{key}")
            values[key] = item.attrs[key]
        if values:
            self.contents.attributes[name] = values

    def _check_dtype(self, dtype: np.dtype, name: str) -> None:
        base = dtype.subdtype[0] if dtype.subdtype else dtype
        if base.kind not in "biufcS":
            raise UserError(
                f"{self.path}: {sniff.shown(name)} has dtype {dtype}: refused"
            )

    def _once(self, item: h5py.Group | h5py.Dataset, name: str) -> None:
        # A group inside of itself would never end; one array under many names would
        # be read many times.
        self.objects += 1
        if self.objects > MAX_OBJECTS:
            raise UserError(f"{self.path} has more than {MAX_OBJECTS:,} objects")
        place = h5py.h5o.get_info(item.id).addr
        if place in self.seen:
            raise UserError(
                f"{self.path}: {sniff.shown(name)} is a second name of an object"
            )
        self.seen.add(place)
