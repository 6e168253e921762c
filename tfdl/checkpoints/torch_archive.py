"""Reading what `torch.save` wrote, without torch and without running it.

There are two layouts. The older one is a stream: pickles of a magic number, of a
protocol version, of facts about the machine, of the saved object with references to
storages, of the list of their keys; then each storage, its element count before it.
The newer one (torch 1.6, 2020) is a zip archive: `data.pkl` and `data/<key>`.
"""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from tfdl.checkpoints import archives, restricted_pickle, sniff
from tfdl.checkpoints.restricted_pickle import Global
from tfdl.engine import files
from tfdl.engine.errors import UserError

MAGIC = 0x1950A86A20F9469CFC6C
STREAM_VERSION = 1001
MAX_DIMENSIONS = 32

_DTYPES = {
    "Double": np.dtype("<f8"),
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
    "ComplexFloat": np.dtype("<c8"),
    "ComplexDouble": np.dtype("<c16"),
}
_STORAGES = {
    f"{module}.{name}Storage": dtype
    for module in ("torch", "torch.cuda")
    for name, dtype in _DTYPES.items()
}


def read(
    path: files.PathLike,
    allowed: Mapping[str, Callable[..., Any] | None] | None = None,
    inert: Sequence[str] = (),
) -> Any:
    """Reads a file of `torch.save`: `.pth`, `.pt`, `.bin`.

    Args:
        path: the file, in either layout.
        allowed: more names than tensors need, see `restricted_pickle.load`.
        inert: prefixes of names whose objects become `restricted_pickle.Inert`.

    Returns:
        The saved object; tensors are arrays (bfloat16 ones have ml_dtypes' dtype).
        Tensors that shared a storage share memory.

    Raises:
        UserError: the file is damaged, or asks for anything but data; nothing of it
            was run.
    """
    path = files.require_file(path)
    is_zip = sniff.kind(path) == sniff.ZIP
    try:
        return (_read_zip if is_zip else _read_stream)(path, allowed, inert)
    except restricted_pickle.Refused as error:
        if ".nn." in error.name or error.name.startswith(("__main__.", "models.")):
            raise UserError(
                f"{error}; a whole model was pickled: save its state_dict() instead"
            ) from None
        raise


class _Storage:
    """A flat array of numbers that tensors are views of."""

    def __init__(self, dtype: np.dtype, count: int, kind: str):
        self.kind = kind
        self.array = np.empty(count, dtype)

    def swap(self) -> None:
        self.array.byteswap(inplace=True)


class _Storages:
    """The storages that a pickle refers to, by key.

    Args:
        path: the file, for messages.
        room: bytes that all storages together can have in this file.
    """

    def __init__(self, path: pathlib.Path, room: int):
        self.path, self.room, self.left = path, room, room
        self.by_key: dict[str, _Storage] = {}
        self.views: dict[str, tuple] = {}

    def persistent(self, reference: Any) -> _Storage:
        """Returns the storage of a persistent id."""
        if not isinstance(reference, tuple) or not reference:
            raise TypeError("a reference that is no tuple")
        if reference[0] == "module":
            raise UserError(
                f"{self.path}: refused: it holds a whole pickled model with its source "
                "code; save its state_dict() instead"
            )
        if reference[0] != "storage" or len(reference) not in (5, 6):
            raise ValueError(f"a reference to {str(reference[0])[:40]!r}")
        kind, key, _, count = reference[1:5]
        if not isinstance(kind, Global) or kind.name not in _STORAGES:
            raise TypeError("a storage without a type")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise TypeError("a storage without key and size")
        storage = self.by_key.get(key)
        if storage is None:
            storage = self.by_key[key] = self.make(key, kind.name, count)
        if _STORAGES[storage.kind] != _STORAGES[kind.name]:
            raise ValueError(f"storage {sniff.shown(key)} has two types")
        view = reference[5] if len(reference) == 6 else None
        return storage if view is None else self.view(storage, view)

    def make(self, key: str, kind: str, count: int) -> _Storage:
        """Takes memory for a storage, if the file is long enough to fill it."""
        dtype = _STORAGES[kind]
        self.left -= count * dtype.itemsize
        if self.left < 0:
            raise ValueError(
                f"it claims more data than its {self.room:,} bytes can hold: truncated?"
            )
        return _Storage(dtype, count, kind)

    def view(self, storage: _Storage, view: Any) -> _Storage:
        """Returns a stretch of a storage (an old way to share one)."""
        _, offset, count = view
        size = len(storage.array)
        _check_ints((offset, count))
        if offset + count > size:
            raise ValueError(f"a view of {offset}+{count} elements in {size}")
        part = _Storage(storage.array.dtype, 0, storage.kind)
        part.array = storage.array[offset : offset + count]
        return part

    def tensor(
        self, storage, offset, size, stride, requires_grad=False, hooks=None, meta=None
    ) -> np.ndarray:
        """Returns a tensor as a view of its storage (`_rebuild_tensor_v2`)."""
        if not isinstance(storage, _Storage) or meta:
            raise TypeError("a tensor without a plain storage")
        if not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise TypeError("a tensor without size and stride")
        _check_ints((offset, *size, *stride))
        if len(size) != len(stride) or len(size) > MAX_DIMENSIONS:
            raise ValueError(f"a tensor of size {size} and stride {stride}")
        array = storage.array
        count = math.prod(size)
        if count == 0:
            return np.empty(size, array.dtype)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if last >= len(array):
            raise ValueError(
                f"a tensor {size} reaches element {last:,} of a storage of "
                f"{len(array):,}"
            )
        if count * array.itemsize > max(self.room, 1 << 20):
            raise ValueError(f"a tensor {size} is larger than the file")
        return np.lib.stride_tricks.as_strided(
            array[offset:], size, [s * array.itemsize for s in stride]
        )

    def allowed(self) -> dict[str, Callable[..., Any] | None]:
        """Returns the names that a pickle of tensors needs."""
        return {
            **dict.fromkeys(_STORAGES),
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            "torch.Size": _size,
            "torch.device": _device,
        }


def _read_zip(path, allowed, inert) -> Any:
    room = path.stat().st_size
    with archives.open_zip(path, max_bytes=room, compressed=False) as archive:
        names = set(archive.namelist())
        roots = [name[:-8] for name in names if name.endswith("data.pkl")]
        roots = [root for root in roots if root.count("/") <= 1]
        if len(roots) != 1:
            raise UserError(
                f"{path} is a zip archive, but not one of torch: no data.pkl"
            )
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise UserError(
                f"{path} is a TorchScript program; save its state_dict() instead"
            )
        order = b"little"
        if f"{root}byteorder" in names:
            order = archives.read_member(archive, f"{root}byteorder")
        if order not in (b"little", b"big"):
            raise UserError(f"{path}: unknown byte order {order[:20]!r}")
        storages = _Storages(path, room)
        data = archives.read_member(archive, f"{root}data.pkl")
        where = f"{path} (data.pkl)"
        names_allowed = {**storages.allowed(), **(allowed or {})}
        result = restricted_pickle.load(
            data, where, names_allowed, inert, storages.persistent
        )
        for key, storage in storages.by_key.items():
            _fill(path, archive, f"{root}data/{key}", storage)
            if order == b"big":
                storage.swap()
    return result


def _fill(path, archive, name: str, storage: _Storage) -> None:
    size = storage.array.nbytes
    try:
        found = archive.getinfo(name).file_size
    except KeyError:
        raise UserError(f"{path} is damaged: {sniff.shown(name)} is missing") from None
    if found != size:
        raise UserError(
            f"{path} is damaged: {sniff.shown(name)} has {found:,} bytes, not {size:,}"
        )
    if size:
        data = np.frombuffer(archives.read_member(archive, name), np.uint8)
        storage.array.view(np.uint8)[:] = data


def _read_stream(path, allowed, inert) -> Any:
    where = str(path)
    with open(path, "rb") as file:
        _check_head(path, file)
        facts = restricted_pickle.load(file, where)
        storages = _Storages(path, path.stat().st_size)
        names_allowed = {**storages.allowed(), **(allowed or {})}
        result = restricted_pickle.load(
            file, where, names_allowed, inert, storages.persistent
        )
        keys = restricted_pickle.load(file, where)
        if not isinstance(keys, list) or set(keys) != set(storages.by_key):
            raise UserError(f"{path} is damaged: its list of storages does not fit")
        swapped = isinstance(facts, dict) and facts.get("little_endian") is False
        for key in keys:
            _fill_from_stream(path, file, key, storages.by_key[key], swapped)
    return result


def _check_head(path: pathlib.Path, file: BinaryIO) -> None:
    if sniff.kind(path) != sniff.PICKLE:
        raise UserError(f"{path} is not a torch archive: {sniff.instead(path)}")
    limits = restricted_pickle.Limits(max_bytes=64)
    try:
        magic = restricted_pickle.load(file, str(path), limits=limits)
        version = restricted_pickle.load(file, str(path), limits=limits)
    except UserError:
        magic = version = None
    if magic != MAGIC:
        raise UserError(f"{path} is a pickle, but not one of torch.save")
    if version != STREAM_VERSION:
        raise UserError(f"{path} has version {version!r} of torch's stream format")


def _fill_from_stream(path, file, key, storage, swapped) -> None:
    order = "big" if swapped else "little"
    count = int.from_bytes(file.read(8), order, signed=True)
    if count != len(storage.array):
        raise UserError(
            f"{path} is damaged or truncated: storage {sniff.shown(key)} has {count:,} "
            f"elements, not {len(storage.array):,}"
        )
    if count:
        view = memoryview(storage.array.view(np.uint8))
        if file.readinto(view) != len(view):
            raise UserError(
                f"{path} is truncated: storage {sniff.shown(key)} is cut off"
            )
    if swapped:
        storage.swap()


def _check_ints(values: Sequence[Any]) -> None:
    if not all(type(value) is int and 0 <= value < 1 << 60 for value in values):
        raise ValueError("a size, stride or offset that is no whole number")


def _parameter(data: Any, *_: Any) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise TypeError("a parameter that is no tensor")
    return data


def _size(sizes: Any = ()) -> tuple[int, ...]:
    _check_ints(sizes)
    return tuple(sizes)


def _device(kind: Any, index: Any = None) -> str:
    return str(kind) if index is None else f"{kind}:{index}"
