"""What an encoded image says of itself in its first bytes."""

import struct

# As Pillow's limit against decompression bombs: a picture larger than this is an error.
MAX_PIXELS = (1 << 30) // 12
# How much of a file `size` needs, as a rule: a camera's preview stands in front.
HEAD_BYTES = 1 << 16

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"P5": "a PGM",
    b"P6": "a PPM",
}
# Start-of-frame markers: all of 0xC0 to 0xCF but DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset(range(0xD0, 0xD9)) | {0x01}


class Unreadable(ValueError):
    """Bytes that are no image that can be read; the message is half a sentence."""


class HeadTooShort(Exception):
    """The size stands further back than the bytes that were given."""


def size(data: bytes, whole: bool = True) -> tuple[int, int]:
    """Returns (height, width) of a JPEG or PNG from its header.

    Args:
        data: the file, or its beginning.
        whole: `data` is the whole file.

    Raises:
        Unreadable: neither JPEG nor PNG, cut off, or over `MAX_PIXELS`.
        HeadTooShort: `data` is a beginning and more of it is needed.
    """
    if not data:
        raise Unreadable("is empty")
    if data.startswith(JPEG):
        height, width = _jpeg_size(data, whole)
    elif data.startswith(PNG):
        if len(data) < 24:
            raise Unreadable("is cut off in its header")
        width, height = struct.unpack(">II", data[16:24])
    else:
        raise Unreadable(f"is {kind(data)}, neither JPEG nor PNG")
    if height < 1 or width < 1:
        raise Unreadable(f"has an impossible size, {width}x{height}")
    if height * width > MAX_PIXELS:
        raise Unreadable(
            f"has {width}x{height} pixels, the limit is {MAX_PIXELS:,} pixels"
        )
    return height, width


def kind(data: bytes) -> str:
    """Returns what bytes seem to be, with an article."""
    if data.startswith(JPEG):
        return "a JPEG"
    if data.startswith(PNG):
        return "a PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP"
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return name
    return "no image"


def _jpeg_size(data: bytes, whole: bool) -> tuple[int, int]:
    position, end = 2, len(data)
    while position + 9 <= end:
        if data[position] != 0xFF:
            raise Unreadable("is a damaged JPEG: a marker is missing in its header")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _BARE:
            position += 2
        elif marker in _FRAMES:
            return struct.unpack(">HH", data[position + 5 : position + 9])
        else:
            (length,) = struct.unpack(">H", data[position + 2 : position + 4])
            if length < 2 or marker in (0xD9, 0xDA):
                raise Unreadable("is a damaged JPEG: its header holds no size")
            position += 2 + length
    if whole:
        raise Unreadable("is cut off in its header")
    raise HeadTooShort
