"""Pretraining text: a sentence per line, blank lines between documents.

Lines end at "\\n" alone, as in the original; other separators that Unicode knows stay
inside of them.
"""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tfdl.engine import errors, files

_BLOCK = 1 << 20


class Part(NamedTuple):
    """The bytes [start, stop) of a file; whole documents."""

    path: str
    start: int
    stop: int


def whole(path: files.PathLike) -> Part:
    """Returns all of a file.

    Raises:
        UserError: it is missing, a folder or empty.
    """
    return Part(str(path), 0, files.require_file(path).stat().st_size)


def lines(part: Part) -> Iterator[str]:
    """Yields the lines of a part, one at a time.

    Raises:
        UserError: a line is not UTF-8; file and line are named.
    """
    with open(part.path, "rb") as file:
        file.seek(part.start)
        left = part.stop - part.start
        while left > 0 and (raw := file.readline(left)):
            place = part.stop - left
            left -= len(raw)
            try:
                yield raw.decode("utf-8-sig" if place == 0 else "utf-8")
            except UnicodeDecodeError as error:
                number = _newlines(part.path, place) + 1
                raise errors.UserError(
                    f"{part.path}:{number}: not valid UTF-8 ({error.reason})"
                ) from None


def split(paths: Sequence[files.PathLike], count: int) -> list[tuple[Part, ...]]:
    """Divides files into `count` shares of about equal size.

    Up to one share per file, files stay whole and are dealt out in turn. Beyond, they
    are cut at blank lines, so that one file larger than the memory makes many shares.

    Raises:
        UserError: there are not enough documents.
    """
    parts = [whole(path) for path in paths]
    if count <= len(parts):
        return [tuple(parts[i::count]) for i in range(count)]
    total = sum(part.stop for part in parts)
    wanted = [total * i // count for i in range(1, count)]
    shares: list[list[Part]] = [[] for _ in range(count)]
    number = offset = 0
    for part in parts:
        start = 0
        while number < count - 1 and wanted[number] < offset + part.stop:
            cut = _after_blank_line(part.path, max(wanted[number] - offset, start))
            if cut > start:
                shares[number].append(Part(part.path, start, cut))
            start, number = cut, number + 1
        if start < part.stop:
            shares[number].append(Part(part.path, start, part.stop))
        offset += part.stop
    if not all(shares):
        raise errors.UserError(
            f"{count} shards need as many documents of about equal size, separated by "
            f"blank lines; {sum(map(bool, shares))} shards can be made of these files"
        )
    return [tuple(share) for share in shares]


def _after_blank_line(path: str, offset: int) -> int:
    """Returns where the first document from an offset on begins, or the end."""
    with open(path, "rb") as file:
        file.seek(max(offset - 3, 0))
        if not offset or file.read(3).endswith((b"\n\n", b"\n\r\n")):
            return offset
        # The rest of the line that the offset is in.
        file.seek(offset - 1)
        file.readline()
        while raw := file.readline():
            if not raw.strip():
                return file.tell()
        return file.tell()


def _newlines(path: str, stop: int) -> int:
    count = 0
    with open(path, "rb") as file:
        while stop > 0 and (block := file.read(min(_BLOCK, stop))):
            count += block.count(b"\n")
            stop -= len(block)
    return count


def state(part: Part) -> str:
    """Returns what tells whether a file has changed: path, size and time."""
    found = os.stat(part.path)
    place = f"{pathlib.Path(part.path)} {part.start} {part.stop}"
    return f"{place} {found.st_size} {found.st_mtime_ns}"
