"""Archives of modules: .tar.gz with the SavedModel at the root."""

import gzip
import hashlib
import os
import pathlib
import re
import tarfile
import zlib

from tfdl.engine import errors, files

# TF Hub wants every name to start with a letter, a digit or '_'.
_NAME = re.compile(r"\w[^\\:\x00-\x1f]*")
MAX_MEMBERS = 10_000
MAX_BYTES = 64 << 30
_CHUNK = 1 << 20


def pack(folder: files.PathLike, target: files.PathLike) -> None:
    """Packs a folder; equal folders give equal archives.

    Args:
        folder: the SavedModel.
        target: the archive to write.

    Raises:
        UserError: a link, a device or a name that TF Hub does not take.
    """
    folder = pathlib.Path(folder)
    # Weights hardly compress: more effort than 1 costs minutes and gains nothing.
    with (
        open(target, "wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(folder.rglob("*")):
            archive_name = path.relative_to(folder).as_posix()
            _check_name(folder, archive_name)
            member = tarfile.TarInfo(archive_name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise errors.UserError(f"{path} is a link or a device: not published")
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            member.size, member.mode = path.stat().st_size, 0o644
            with open(path, "rb") as source:
                archive.addfile(member, source)


def unpack(
    path: files.PathLike, folder: files.PathLike, max_bytes: int = MAX_BYTES
) -> None:
    """Unpacks an archive into a folder that it cannot leave.

    Args:
        path: a .tar.gz.
        folder: where to; it exists and is empty.
        max_bytes: the most that all files together may have.

    Raises:
        UserError: damaged, too large, or with members that are links, devices, twice
            there, or lead out of the folder.
    """
    path, folder = files.require_file(path), pathlib.Path(folder)
    seen: set[str] = set()
    left = max_bytes
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./").rstrip("/")
                if name in ("", "."):
                    continue
                _check_name(path, name)
                if name in seen or len(seen) >= MAX_MEMBERS:
                    raise errors.UserError(
                        f"{path} has {_shown(name)} twice, or over {MAX_MEMBERS} files"
                    )
                seen.add(name)
                left -= max(member.size, 0)
                if left < 0:
                    raise errors.UserError(
                        f"{path} unpacks to more than {max_bytes:,} bytes"
                    )
                _unpack_member(path, archive, member, folder / name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise errors.UserError(f"{path} is no whole .tar.gz ({error})") from None


def sha256(path: files.PathLike) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _unpack_member(path, archive, member, target: pathlib.Path) -> None:
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        raise errors.UserError(
            f"{path}: {_shown(member.name)} is a link or a device: refused"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as sink:
            source = archive.extractfile(member)
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except (FileExistsError, NotADirectoryError):
        raise errors.UserError(
            f"{path}: {_shown(member.name)} is there twice"
        ) from None


def _check_name(where: os.PathLike, name: str) -> None:
    if not all(_NAME.fullmatch(part) for part in name.split("/")):
        raise errors.UserError(
            f"{where}: {_shown(name)} is no name for a module's file (each part starts "
            "with a letter, a digit or '_')"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:100]}...")
