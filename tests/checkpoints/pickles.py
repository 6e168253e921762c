"""Pickles put together by hand: what torch writes, and what attackers write."""

import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {"<f4": "Float", "<f2": "Half", "<i8": "Long", "|b1": "Bool", "|u1": "Byte"}


def pickled(body: bytes) -> bytes:
    """Returns a whole pickle of protocol 2."""
    return b"\x80\x02" + body + b"."


def name(module: str, attribute: str) -> bytes:
    """Returns the operation that asks for a global."""
    return f"c{module}\n{attribute}\n".encode()


def value(item) -> bytes:
    """Returns the operations for strings, numbers, None, lists, tuples and dicts."""
    if item is None:
        return b"N"
    if isinstance(item, bytes):
        return item
    if isinstance(item, bool):
        return b"\x88" if item else b"\x89"
    if isinstance(item, int):
        data = item.to_bytes(16, "little", signed=True)
        return b"\x8a\x10" + data
    if isinstance(item, float):
        return b"G" + struct.pack(">d", item)
    if isinstance(item, str):
        data = item.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(item, tuple):
        return b"(" + b"".join(map(value, item)) + b"t"
    if isinstance(item, list):
        return b"](" + b"".join(map(value, item)) + b"e"
    pairs = b"".join(value(key) + value(item[key]) for key in item)
    return b"}(" + pairs + b"u"


def call(module: str, attribute: str, *args) -> bytes:
    """Returns the operations that call a global."""
    return name(module, attribute) + value(args) + b"R"


def storage(key: str, count: int, kind="Float", place="cpu", view=(), module="torch"):
    """Returns the operations for a storage reference."""
    kind = name(module, f"{kind}Storage")
    return value(("storage", kind, key, place, count, *view)) + b"Q"


def tensor(reference: bytes, shape, stride, offset=0, version="_v2") -> bytes:
    """Returns the operations for a tensor."""
    arguments = [reference, offset, tuple(shape), tuple(stride)]
    if version:
        arguments += [False, call("collections", "OrderedDict")]
    return call("torch._utils", f"_rebuild_tensor{version}", *arguments)


def strides(shape) -> tuple:
    """Returns the strides of a contiguous tensor, in elements."""
    return tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))


def state_dict(arrays, legacy: bool) -> bytes:
    """Returns the operations for a dict of tensors, a storage each."""
    items = b""
    for key, array in arrays.items():
        view = (None,) if legacy else ()
        reference = storage(key, array.size, KINDS[array.dtype.str], view=view)
        items += value(key) + tensor(reference, array.shape, strides(array.shape))
    return call("collections", "OrderedDict") + b"(" + items + b"u"


def stream(body: bytes, storages: dict, facts=None) -> bytes:
    """Returns a file in torch's older layout."""
    facts = facts or {"protocol_version": 1001, "little_endian": True}
    parts = [MAGIC, 1001, facts, body, sorted(storages)]
    data = b"".join(pickled(value(part)) for part in parts)
    order = "<" if facts["little_endian"] else ">"
    for key in sorted(storages):
        array = storages[key]
        data += struct.pack(f"{order}q", array.size)
        data += array.astype(array.dtype.newbyteorder(order)).tobytes()
    return data


def write_zip(path, body: bytes, storages: dict, extra=(), compress=False) -> None:
    """Writes a file in torch's newer layout."""
    how = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("model/data.pkl", pickled(body))
        archive.writestr("model/.format_version", "1")
        archive.writestr("model/.storage_alignment", "64")
        if not any(member == "model/byteorder" for member, _ in extra):
            archive.writestr("model/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"model/data/{key}", array.tobytes())
        archive.writestr("model/version", "3\n")
        for member, data in extra:
            archive.writestr(member, data)
