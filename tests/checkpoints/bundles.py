"""TensorFlow checkpoints put together by hand, checksums included."""

import struct

DATA = b"\1" * 400


def _crc_table() -> list[int]:
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """Returns CRC-32C as LevelDB stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(number: int) -> bytes:
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def _block(records) -> bytes:
    data, restarts = b"", []
    for key, value in records:
        restarts.append(len(data))
        data += _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
    data += b"".join(struct.pack("<I", at) for at in restarts)
    return data + struct.pack("<I", len(restarts))


def table(records, blocks: int = 1) -> bytes:
    """Returns an index file with the given records."""
    data = b""

    def add(block):
        nonlocal data
        handle = _varint(len(data)) + _varint(len(block))
        data += block + b"\0" + struct.pack("<I", masked_crc(block + b"\0"))
        return handle

    size = -(-len(records) // blocks)
    parts = [records[i : i + size] for i in range(0, len(records), size)]
    handles = [(part[-1][0], add(_block(part))) for part in parts]
    footer = add(_block([])) + add(_block(handles))
    return data + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def write(prefix, change=lambda header, entry: None, key: bytes = b"w") -> None:
    """Writes a checkpoint with one float tensor [100], after `change`."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1)
    header.version.producer = 1
    entry = tensor_bundle_pb2.BundleEntryProto(dtype=1, size=400)
    entry.crc32c = masked_crc(DATA)
    entry.shape.dim.add().size = 100
    change(header, entry)
    records = [(b"", header.SerializeToString()), (key, entry.SerializeToString())]
    with open(f"{prefix}.index", "wb") as file:
        file.write(table(records))
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
        file.write(DATA)
