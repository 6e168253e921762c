"""Archives from anywhere: checked before anything is unpacked."""

import contextlib
import pathlib
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

from tfdl.checkpoints import sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

MAX_MEMBERS = 100_000
# Weights hardly compress; text does by 3 to 10. Deflate's own maximum is 1032.
MAX_RATIO = 100
SMALL = 1 << 20

# What reading a damaged archive or member raises.
DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def open_zip(
    path: files.PathLike, max_bytes: int, compressed: bool = True
) -> zipfile.ZipFile:
    """Opens a zip archive after a look at every member's entry.

    Args:
        path: the archive.
        max_bytes: how large all members together may be when unpacked.
        compressed: whether members may be compressed.

    Raises:
        UserError: no zip archive, truncated, encrypted, two members with one name,
            or members that unpack to more than they plausibly should.
    """
    path = files.require_file(path)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        what = "is truncated or damaged"
        if sniff.kind(path) != sniff.ZIP:
            what = f"is not a zip archive: {sniff.instead(path)}"
        raise UserError(f"{path} {what} ({error})") from None
    try:
        _check(path, archive.infolist(), max_bytes, compressed)
    except UserError:
        archive.close()
        raise
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a member's bytes, their checksum verified."""
    try:
        return archive.read(name)
    except (*DAMAGE, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{archive.filename}: {sniff.shown(name)} is damaged ({reason})"
        ) from None


def unpack(
    path: files.PathLike, directory: files.PathLike, max_bytes: int = 16 << 30
) -> list[pathlib.Path]:
    """Unpacks a zip archive into a folder that it cannot leave.

    Returns:
        The paths of the files written.

    Raises:
        UserError: what `open_zip` finds, or a member with a path that leads out of
            the folder, or a link.
    """
    directory = pathlib.Path(directory)
    written = []
    with open_zip(path, max_bytes) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        targets = [directory / _inside(path, member) for member in members]
        for member, target in zip(members, targets, strict=True):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "xb") as sink:
                    _copy(source, sink, member.file_size)
            except DAMAGE as error:
                reason = " ".join(str(error).split())[:200]
                name = sniff.shown(member.filename)
                raise UserError(
                    f"{path}: {name} cannot be unpacked ({reason})"
                ) from None
            written.append(target)
    return written


@contextlib.contextmanager
def unpacked_tar(
    path: files.PathLike,
    wanted: Callable[[str], bool],
    max_bytes: int = 8 << 30,
) -> Iterator[pathlib.Path]:
    """Gives a folder with the files of a .tar, .tar.gz or .tgz; others as they are.

    Only plain files are taken, by the last part of their names, without folders.

    Args:
        path: the archive; a path of another kind is given back.
        wanted: tells by a file's name whether to unpack it.
        max_bytes: how large all of them together may be.

    Raises:
        UserError: damaged, or too large.
    """
    path = pathlib.Path(path)
    if path.is_dir() or not path.name.endswith((".tgz", ".tar.gz", ".tar")):
        yield path
        return
    files.require_file(path)
    with tempfile.TemporaryDirectory() as scratch:
        left = max_bytes
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = pathlib.PurePosixPath(member.name).name
                    if not member.isfile() or not wanted(name):
                        continue
                    left -= member.size
                    if left < 0:
                        raise UserError(f"{path} unpacks to over {max_bytes:,} bytes")
                    source = archive.extractfile(member)
                    with open(pathlib.Path(scratch) / name, "wb") as sink:
                        _copy(source, sink, member.size)
        except (tarfile.TarError, *DAMAGE) as error:
            raise UserError(f"{path} cannot be unpacked: {error}") from None
        yield pathlib.Path(scratch)


def _check(
    path: files.PathLike,
    members: Sequence[zipfile.ZipInfo],
    max_bytes: int,
    compressed: bool,
) -> None:
    if len(members) > MAX_MEMBERS:
        raise UserError(f"{path} has {len(members):,} members, at most {MAX_MEMBERS:,}")
    names = set()
    for member in members:
        name = member.filename
        if name in names:
            raise UserError(f"{path} has two members called {sniff.shown(name)}")
        names.add(name)
        if member.flag_bits & 1:
            raise UserError(f"{path}: {sniff.shown(name)} is encrypted")
        if not compressed and member.compress_type != zipfile.ZIP_STORED:
            raise UserError(
                f"{path}: {sniff.shown(name)} is compressed, which is not expected"
            )
        large = member.file_size > SMALL
        if large and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise UserError(
                f"{path}: {sniff.shown(name)} would unpack from "
                f"{member.compress_size:,} to {member.file_size:,} bytes: refused as a "
                "decompression bomb"
            )
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if total > max_bytes:
        raise UserError(
            f"{path} unpacks to {total:,} bytes, the limit is {max_bytes:,}"
        )
    if packed > pathlib.Path(path).stat().st_size:
        raise UserError(f"{path} is damaged: its members overlap")


def _inside(path: files.PathLike, member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
    name = member.filename
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise UserError(f"{path}: {sniff.shown(name)} is a link or a device: refused")
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise UserError(f"{path}: {sniff.shown(name)} leads out of the folder: refused")
    return pathlib.PurePosixPath(*parts)


def _copy(source, sink, size: int) -> None:
    left = size
    while chunk := source.read(min(1 << 20, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise ValueError("is larger than the archive says")
        sink.write(chunk)
    if left:
        raise ValueError("is shorter than the archive says")
