"""What to say about foreign files: their kind, and names in them."""

import pathlib

from tfdl.engine import files

HDF5 = "an HDF5 file"
HTML = "an HTML page"
LFS = "a Git LFS pointer"
NPY = "a NumPy array"
PICKLE = "a pickle"
SAFETENSORS = "a safetensors file"
TAR = "a tar archive"
ZIP = "a zip archive"
UNKNOWN = "of no known format"


def kind(path: files.PathLike) -> str:
    """Returns one of the kinds above, each of them readable in a sentence."""
    with open(path, "rb") as file:
        head = file.read(512)
    text = head.lstrip().lower()
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZIP
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return HDF5
    if head[:6] == b"\x93NUMPY":
        return NPY
    if head[257:262] == b"ustar":
        return TAR
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return HTML
    if text.startswith(b"version https://git-lfs"):
        return LFS
    if head[8:9] == b"{" and head[4:8] == b"\0\0\0\0":
        return SAFETENSORS
    if head[:1] == b"\x80" and b"\x02" <= head[1:2] <= b"\x05":
        return PICKLE
    return UNKNOWN


def shown(name: object) -> str:
    """Returns a name from a file as it fits into a line: quoted, not too long."""
    text = repr(name)
    return text if len(text) <= 120 else f"{text[:100]}...{text[-10:]}"


def instead(path: files.PathLike) -> str:
    """Returns the end of a sentence that says what a file is instead."""
    found = kind(path)
    if found == LFS:
        return f"it is {LFS}: the file itself was not downloaded"
    if found == HTML:
        return f"it is {HTML}: the download failed"
    return f"it is {found} ({pathlib.Path(path).stat().st_size:,} bytes)"
