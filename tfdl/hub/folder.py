"""A registry of modules in a folder, which any web server serves.

`hub.load("http://HOST/publisher/name/1")` asks for that path with a query, which static
servers ignore: the archive itself has the path's name.

    publisher/name/1          the archive, as hub.load asks for it
    publisher/name/1.tar.gz   the same, for people
    publisher/name/1.md       the documentation
"""

import os
import pathlib
import shutil
from collections.abc import Iterator

from tfdl.engine import errors, files
from tfdl.hub import archives, handles
from tfdl.hub.handles import Handle


def paths(root: files.PathLike, handle: Handle) -> dict[str, pathlib.Path]:
    """Returns the paths of "archive", "download" and "page" of a module."""
    base = pathlib.Path(root, handle.publisher, *handle.name.split("/"))
    return {
        "archive": base / str(handle.version),
        "download": base / f"{handle.version}.tar.gz",
        "page": base / f"{handle.version}.md",
    }


def check_free(
    root: files.PathLike, handle: Handle, archive: pathlib.Path | None = None
) -> None:
    """Raises `UserError` when a handle is published already, with another archive."""
    there = paths(root, handle)["archive"]
    if not there.exists():
        return
    if archive is not None and archives.sha256(there) == archives.sha256(archive):
        return
    latest = max(versions(root, handle), default=handle.version)
    raise errors.UserError(
        f"{handle} is published in {root} already, and what is published never "
        f"changes (users keep it in caches); the next version is {latest + 1}"
    )


def add(
    root: files.PathLike, handle: Handle, archive: pathlib.Path, page: str
) -> dict[str, str]:
    """Publishes an archive; a page may be published again, an archive not.

    Args:
        root: the registry's folder.
        handle: the module.
        archive: a file on the same file system, which stays.
        page: the documentation.

    Returns:
        What is where, as strings.

    Raises:
        UserError: there is another archive of this handle, or writing fails.
    """
    where = paths(root, handle)
    try:
        where["archive"].parent.mkdir(parents=True, exist_ok=True)
        check_free(root, handle, archive)
        files.atomic_write(where["page"], page)
        where["download"].unlink(missing_ok=True)
        _link(archive, where["download"])
        # Last: hub.load sees a module once all of it is there.
        if not where["archive"].exists():
            _link(archive, where["archive"])
    except OSError as error:
        raise errors.UserError(
            f"cannot publish in {root}: {error.strerror or error}"
        ) from None
    return {name: str(path) for name, path in where.items()}


def versions(root: files.PathLike, handle: Handle) -> list[int]:
    """Returns the published versions of a handle's name, sorted."""
    parent = paths(root, handle)["archive"].parent
    names = (path.name for path in parent.iterdir()) if parent.is_dir() else ()
    return sorted(
        int(name) for name in names if name.isascii() and name.isdigit() and int(name)
    )


def modules(root: files.PathLike) -> Iterator[Handle]:
    """Yields every published module, sorted by path."""
    root = pathlib.Path(root)
    for path in sorted(root.rglob("*.tar.gz")):
        try:
            handle = handles.parse(
                path.relative_to(root).as_posix().removesuffix(".tar.gz")
            )
        except errors.UserError:
            continue  # some other archive
        if paths(root, handle)["archive"].is_file():
            yield handle


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target` at once, without a second copy where the file system can."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        copy = target.with_name(f".{target.name}.copy")
        shutil.copyfile(source, copy)
        os.replace(copy, target)
