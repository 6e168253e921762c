"""MP4 files of pictures in a row."""

import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from tfdl.engine import errors, files


def write(
    path: files.PathLike, frames: Iterable[np.ndarray], rate: float = 30.0
) -> int:
    """Writes an MP4 (MPEG-4 part 2, what OpenCV's wheel can encode), whole or not.

    Pictures of an odd height or width get their last row or column once more, which
    the codec needs.

    Args:
        path: the file; its folder is made.
        frames: uint8 [H, W, 3] RGB, [H, W, 1] or [H, W], all of one size.
        rate: pictures per second.

    Returns:
        How many pictures were written.

    Raises:
        UserError: it cannot be written.
        ValueError: there is no picture, or one of another size.
    """
    import cv2

    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(".mp4", f".{path.name}.", path.parent)
        os.close(handle)
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from None
    scratch = pathlib.Path(scratch)
    writer, count, size = None, 0, None
    try:
        for frame in frames:
            pixels = _even(frame)
            if writer is None:
                size = pixels.shape
                code = cv2.VideoWriter_fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(scratch), code, rate, size[1::-1])
                if not writer.isOpened():
                    raise errors.UserError(f"cannot write {path}: no MP4 encoder")
            if pixels.shape != size:
                raise ValueError(f"a picture {pixels.shape} among those of {size}")
            writer.write(np.ascontiguousarray(pixels[..., ::-1]))
            count += 1
        if writer is None:
            raise ValueError("a video needs at least one picture")
        writer.release()
        # The encoder says nothing of a full disk: the file is looked at instead.
        if _length(scratch) != count:
            raise errors.UserError(f"cannot write {path}: the disk may be full")
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    finally:
        if writer is not None:
            writer.release()
        scratch.unlink(missing_ok=True)
    return count


def read(path: files.PathLike) -> Iterator[np.ndarray]:
    """Yields a video's pictures, uint8 [H, W, 3] RGB.

    Raises:
        UserError: it is missing or cannot be decoded.
    """
    import cv2

    reader = cv2.VideoCapture(str(files.require_file(path)))
    try:
        if not reader.isOpened():
            raise errors.UserError(f"{path} is not a video that can be read")
        while True:
            there, pixels = reader.read()
            if not there:
                return
            yield pixels[..., ::-1]
    finally:
        reader.release()


def _length(path: pathlib.Path) -> int:
    import cv2

    reader = cv2.VideoCapture(str(path))
    try:
        return int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        reader.release()


def _even(frame: np.ndarray) -> np.ndarray:
    pixels = np.asarray(frame)
    if pixels.dtype != np.uint8:
        raise ValueError(f"pictures have to be uint8, got {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, -1)
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
