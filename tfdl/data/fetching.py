"""Fetching the sets of `datasets.py` by the ordinary package clients, verified.

Nothing of a package is imported or run: its wanted files are unpacked into a cache
folder. The archive's checksum and that of a listing of all unpacked files are pinned;
every use checks the files against the listing.
"""

import fnmatch
import hashlib
import io
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from tfdl.data.datasets import Dataset, Package, find
from tfdl.engine import errors, files

LISTING = "SHA256SUMS"
TIMEOUT = 1800  # seconds of a client
MAX_FILES = 20_000
_BLOCK = 1 << 20


def cache_folder(cache: files.PathLike | None = None) -> pathlib.Path:
    """Returns where the sets are kept: `cache`, or ~/.cache/tfdl/datasets."""
    if cache:
        return pathlib.Path(cache)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(home) / "tfdl" / "datasets"


def fetch(
    name: str, cache: files.PathLike | None = None, offline: bool = False
) -> pathlib.Path:
    """Returns the folder of a set's files, verified; gets them first if need be.

    Args:
        name: of `datasets.DATASETS`.
        cache: the folder of all sets.
        offline: use what is there and ask no client.

    Raises:
        UserError: the set is unknown, not in the cache (offline), or damaged; a client
            is missing or fails; what it got is not what is pinned.
    """
    dataset = find(name)
    folder = cache_folder(cache) / dataset.name
    if folder.is_dir():
        verify(dataset, folder)
        return folder
    if offline:
        raise errors.UserError(
            f"{dataset.name} is not in {folder.parent}; without --offline it is fetched"
        )
    with tempfile.TemporaryDirectory() as scratch:
        archives = [download(package, scratch) for package in dataset.packages]
        with files.atomic_directory(folder, overwrite=False) as target:
            unpack(dataset, archives, target)
            files.atomic_write(target / LISTING, listing(target))
            verify(dataset, target)
    return folder


def verify(dataset: Dataset, folder: pathlib.Path) -> None:
    """Raises `UserError` unless the folder holds the set's very files."""
    mend = f"remove {folder} to fetch it anew"
    path = folder / LISTING
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if hashlib.sha256(text.encode()).hexdigest() != dataset.listing:
        raise errors.UserError(f"{path} is not the listing of {dataset.name}; {mend}")
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file() or _digest(file) != digest:
            raise errors.UserError(f"{file} is missing or damaged; {mend}")


def listing(folder: pathlib.Path) -> str:
    """Returns the checksum and name of every file, sorted, as sha256sum prints them."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LISTING
    )
    return "".join(f"{_digest(folder / path)}  {path}\n" for path in paths)


# --- getting packages ----------------------------------------------------------


def download(package: Package, scratch: files.PathLike) -> pathlib.Path:
    """Gets a package's archive with its client; returns the verified file.

    Raises:
        UserError: the client is missing or fails, or the archive is another one.
    """
    folder = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    {"pip": _pip, "npm": _npm, "apt": _apt}[package.client](package, folder)
    found = [path for path in folder.iterdir() if path.suffix in package.suffixes]
    if len(found) != 1:
        raise errors.UserError(f"{package.client} brought no archive of {package}")
    if _digest(found[0]) != package.sha256:
        raise errors.UserError(
            f"what {package.client} brought for {package} is not the file that is "
            f"pinned (sha256 {_digest(found[0])[:12]}..., wanted "
            f"{package.sha256[:12]}...)"
        )
    return found[0]


def _pip(package: Package, folder: pathlib.Path) -> None:
    # With its hash pip refuses another file before it looks into it.
    wanted = folder / "requirements.in"
    wanted.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
    )
    kind = "--only-binary=:all:" if package.is_wheel else "--no-binary=:all:"
    _run(
        package,
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", kind),
        *("--disable-pip-version-check", "--no-input", "--require-hashes"),
        *("-d", str(folder), "-r", str(wanted)),
    )


def _npm(package: Package, folder: pathlib.Path) -> None:
    _run(
        package,
        *("npm", "pack", "--silent", "--ignore-scripts"),
        *("--pack-destination", str(folder), f"{package.name}@{package.version}"),
    )


def _apt(package: Package, folder: pathlib.Path) -> None:
    hint = "; `apt-get update` gets the list of what there is"
    request = f"{package.name}={package.version}"
    _run(package, "apt-get", "download", "-qq", request, cwd=folder, hint=hint)


def _run(package: Package, *command: str, cwd=None, hint: str = "") -> None:
    if shutil.which(command[0]) is None:
        raise errors.UserError(f"{package} is fetched with {command[0]}, install that")
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise errors.UserError(
            f"{package}: {command[0]} did not end in {TIMEOUT} s"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        wrong = [line for line in lines if line.lower().startswith(("error", "e:"))]
        reason = (wrong or lines or ["no reason given"])[-1]
        raise errors.UserError(f"{package.client} cannot get {package}: {reason}{hint}")


# --- unpacking -----------------------------------------------------------------


def unpack(
    dataset: Dataset, archives: list[pathlib.Path], folder: pathlib.Path
) -> None:
    """Unpacks the wanted files of a set's archives into a folder.

    Raises:
        UserError: an archive is damaged, holds more than the set has, or a wanted file
            is a link or leads out of the folder.
    """
    left, count = dataset.size, 0
    for package, archive in zip(dataset.packages, archives, strict=True):
        for name, file in _members(archive, package):
            target = dataset.target(name)
            if target is None:
                continue
            count += 1
            if file is None:
                raise errors.UserError(f"{archive.name}: {name!r} is no plain file")
            if count > MAX_FILES or not _is_inside(target):
                raise errors.UserError(f"{archive.name}: {name!r} is refused")
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as sink:
                while block := file.read(min(_BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise errors.UserError(
                            f"{archive.name} unpacks to more than the {dataset.size:,} "
                            f"bytes that {dataset.name} has"
                        )
                    sink.write(block)


Member = tuple[str, BinaryIO | None]


def _members(path: pathlib.Path, package: Package) -> Iterator[Member]:
    """Yields the names and readers of an archive's files; None for links."""
    try:
        if path.suffix == ".whl":
            yield from _zip_members(path)
        elif path.suffix == ".deb":
            with open(path, "rb") as file:
                yield from _tar_members(_deb_data(file))
        else:
            with open(path, "rb") as file:
                for name, member in _tar_members(file):
                    if not package.inner:
                        yield name, member
                    elif fnmatch.fnmatchcase(name, package.inner):
                        yield from _tar_members(io.BytesIO(member.read()))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise errors.UserError(f"{path.name} is damaged: {error}") from None


def _zip_members(path: pathlib.Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                yield member.filename, None
                continue
            with archive.open(member) as file:
                yield member.filename, file


def _tar_members(file: BinaryIO) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if not member.isdir():
                name = member.name.removeprefix("./")
                yield name, archive.extractfile(member) if member.isreg() else None


def _deb_data(file: BinaryIO) -> BinaryIO:
    """Returns the data.tar of a Debian package, an `ar` archive."""
    if file.read(8) != b"!<arch>\n":
        raise ValueError("not a Debian package")
    while len(head := file.read(60)) == 60:
        name, size = head[:16].decode("ascii").strip(), int(head[48:58])
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, os.SEEK_CUR)
    raise ValueError("it has no data.tar")


def _is_inside(target: str) -> bool:
    parts = target.split("/")
    return not ("\\" in target or ".." in parts or "" in parts or target == LISTING)


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
