"""Smaller copies of pictures: the largest speed-up that an image input has.

A picture is decoded once, resized, and kept as a JPEG; every epoch after that reads a
few kilobytes. The sizes and the filter are those of the DAWNBench entry's script.

Nothing here imports TensorFlow: the worker processes start at once.
"""

import concurrent.futures
import contextlib
import io
import json
import multiprocessing
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import tqdm
from PIL import Image

from tfdl.data import image_files
from tfdl.engine import errors, files

# Pillow's own, which the original's copies were saved with.
QUALITY = 75
_PER_JOB = 64
_MARKER = ".tfdl-resized.json"
ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".tif", ".tiff"),
)


class Style(NamedTuple):
    """How copies are made.

    Attributes:
        size: the short side; 0 keeps the pictures' own.
        quality: of the JPEGs.
        on_bad: `"stop"` or `"skip"`: what a file that is no picture does.
    """

    size: int
    quality: int = QUALITY
    on_bad: str = "stop"


class Done(NamedTuple):
    """What a job did.

    Attributes:
        written: how many pictures.
        bad: a line for each that cannot be read.
    """

    written: int
    bad: tuple[str, ...]


def copy_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Returns (width, height) of a copy whose short side is `size`.

    A picture that is smaller already keeps its size.
    """
    short = min(width, height)
    if not size or short < size:
        return width, height
    ratio = size / short
    return max(int(width * ratio), size), max(int(height * ratio), size)


def resized(data: bytes, style: Style) -> tuple[bytes, int, int]:
    """Returns a picture's copy, an RGB JPEG, with its height and width.

    With `style.size` 0 an RGB JPEG is returned as it is.

    Raises:
        image_files.Unreadable: Pillow cannot read it, or it has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width * height > image_files.MAX_PIXELS:
                raise image_files.Unreadable(
                    f"has {width}x{height} pixels, the limit is "
                    f"{image_files.MAX_PIXELS:,} pixels"
                )
            as_it_is = not style.size and (image.format, image.mode) == ("JPEG", "RGB")
            image.load()
            if as_it_is:
                return data, height, width
            image = image.convert("RGB")
    except image_files.Unreadable:
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        if not data:
            reason = "it is empty"
        elif isinstance(error, Image.UnidentifiedImageError):
            reason = f"it is {image_files.kind(data)}"
        raise image_files.Unreadable(f"cannot be read: {reason}") from None
    new = copy_size(width, height, style.size)
    if new != image.size:
        image = image.resize(new, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=style.quality)
    return buffer.getvalue(), new[1], new[0]


def write_folder(
    source: files.PathLike, output: files.PathLike, style: Style, workers: int = 0
) -> dict[str, Any]:
    """Copies a tree of pictures: same folders, same names, smaller.

    A name that does not end in .jpg or .jpeg gets .jpg behind it. Files appear whole;
    those that a call before this one finished are kept unless the original is newer.

    Args:
        source: the folder.
        output: the folder to write.
        style: how.
        workers: processes; 0 is one per core.

    Returns:
        `pictures`, `written`, `kept`, `bad`, `output`.

    Raises:
        UserError: no pictures, an unreadable one under `"stop"`, a folder that holds
            copies of another size, a full disk.
    """
    source, output = pathlib.Path(source).expanduser(), pathlib.Path(output)
    if not source.is_dir():
        raise errors.UserError(f"folder:{source}: no such folder")
    inside = output.resolve()
    if source.resolve() in (inside, *inside.parents):
        raise errors.UserError(f"{output} lies in {source}; write somewhere else")
    pairs, odd = _pairs(source, output)
    if odd and style.on_bad == "stop":
        raise errors.UserError(f"{odd[0]} is no picture by its name")
    if not pairs:
        raise errors.UserError(f"folder:{source}: no pictures")
    claim(output, {"size": style.size, "quality": style.quality})
    todo = [pair for pair in pairs if not _is_current(*pair)]
    jobs = [
        (tuple(todo[i : i + _PER_JOB]), style) for i in range(0, len(todo), _PER_JOB)
    ]
    kept = len(pairs) - len(todo)
    done = run(copy_files, jobs, workers, len(pairs), kept)
    odd = [f"{path}: is no picture by its name" for path in odd]
    return summary(output, done, kept, odd)


def summary(
    output: pathlib.Path, done: Done, kept: int, bad: Sequence[str]
) -> dict[str, Any]:
    """Reports the bad pictures, `bad` and what jobs found; returns the counts."""
    bad = [*bad, *done.bad]
    report(bad)
    return {
        "pictures": kept + done.written,
        "written": done.written,
        "kept": kept,
        "bad": len(bad),
        "output": str(output),
    }


def copy_files(pairs: Sequence[tuple[str, str]], style: Style) -> Done:
    """Copies some files (a job of `write_folder`)."""
    written, bad = 0, []
    for source, target in pairs:
        try:
            data = resized(pathlib.Path(source).read_bytes(), style)[0]
        except image_files.Unreadable as error:
            bad.append(refuse(source, error, style))
            continue
        files.atomic_write(target, data, durable=False)
        written += 1
    return Done(written, tuple(bad))


def refuse(name: str, error: Exception, style: Style) -> str:
    """Returns the line on a bad picture, or raises it as `UserError`."""
    if style.on_bad == "stop":
        raise errors.UserError(f"{name} {error}")
    return f"{name}: {error}"


def run(
    job: Callable[..., Done],
    jobs: Sequence[tuple],
    workers: int,
    total: int,
    kept: int = 0,
    starts: Callable[[], None] | None = None,
) -> Done:
    """Runs jobs on all cores with a progress bar; returns the sum of what they did.

    Args:
        job: called with each of `jobs`.
        jobs: arguments.
        workers: processes; 0 is one per core.
        total: pictures, for the progress bar.
        kept: pictures that are there already.
        starts: called in each process before its first job.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    written, bad = 0, []
    with tqdm.tqdm(
        total=total, initial=kept, unit="picture", file=sys.stderr, disable=None
    ) as bar:
        for done in _results(job, jobs, workers, starts):
            written += done.written
            bad.extend(done.bad)
            bar.update(done.written + len(done.bad))
    return Done(written, tuple(bad))


def claim(output: pathlib.Path, settings: dict[str, Any]) -> None:
    """Notes in a folder how its copies are made.

    Raises:
        UserError: it holds copies that were made otherwise.
    """
    path = output / _MARKER
    text = json.dumps(settings, sort_keys=True)
    if path.is_file():
        with contextlib.suppress(ValueError):
            if json.loads(files.read_text(path)) == settings:
                return
        raise errors.UserError(
            f"{output} holds copies made otherwise "
            f"({files.read_text(path).strip()[:100]}, not {text}); write somewhere else"
        )
    files.atomic_write(path, text + "\n")


def report(bad: Iterable[str], most: int = 20) -> None:
    """Names the pictures that were left out on stderr."""
    bad = sorted(bad)
    for line in bad[:most]:
        print(f"warning: left out {line}", file=sys.stderr)
    if len(bad) > most:
        print(f"warning: ... and {len(bad) - most} more", file=sys.stderr)


def _results(job, jobs, workers, starts) -> Iterator[Done]:
    if workers <= 1:
        for arguments in jobs:
            yield job(*arguments)
        return
    # TensorFlow, which the caller may have loaded, does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, starts) as pool:
        futures = [pool.submit(job, *arguments) for arguments in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pairs(
    source: pathlib.Path, output: pathlib.Path
) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns (original, copy) paths, and files that are no pictures by their name."""
    pairs, odd = [], []
    for folder, subfolders, names in os.walk(source, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
        target = output / os.path.relpath(folder, source)
        for name in sorted(name for name in names if name[0] != "."):
            path = os.path.join(folder, name)
            if not name.lower().endswith(ENDINGS):
                odd.append(path)
                continue
            jpeg = name.lower().endswith((".jpg", ".jpeg"))
            pairs.append((path, str(target / (name if jpeg else f"{name}.jpg"))))
    return pairs, odd


def _is_current(source: str, target: str) -> bool:
    try:
        old = os.stat(target)
    except OSError:
        return False
    return old.st_size > 0 and old.st_mtime >= os.stat(source).st_mtime
