"""Pictures for growing networks: any size on the way from 4x4 to the full one.

Smaller pictures are repeated 2x2 means of the full ones, in float32 and rounded once at
the end, whether they come from multi-resolution TFRecords or are made here: what is
trained on does not depend on how it is stored.
"""

import concurrent.futures
import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfdl.data import image_files, prepared_images
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors
from tfdl.models.stylegan.growing import log2_of

SIZES = ("exact", "any", "pad")
FEWEST = 2


class Pictures:
    """Pictures of every size, by index.

    Attributes:
        resolution: of the largest.
        channels: 1 or 3.
        classes: the classes' names, if labels have names.
        labels: int [N] of classes, float32 [N, L], or None.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ):
        self.resolution, self.channels = resolution, channels
        self.labels, self.classes = labels, tuple(classes)

    def __len__(self) -> int:
        raise NotImplementedError

    def read(self, indices: np.ndarray, size: int) -> np.ndarray:
        """Returns uint8 [B, size, size, C]; size is a power of two from 4."""
        raise NotImplementedError

    def left_out(self) -> list[str]:
        """Returns a line for every picture that could not be used."""
        return []

    @property
    def label_size(self) -> int:
        """Numbers in a label; 0 without labels."""
        if self.labels is None:
            return 0
        return self.labels.shape[1] if self.labels.ndim == 2 else len(self.classes)

    def batch(self, indices: tf.Tensor, size: int) -> tf.Tensor:
        """Returns `read` in a graph: uint8 [B, size, size, C]."""
        images = tf.numpy_function(
            lambda rows: self.read(rows, size), [indices], tf.uint8, stateful=False
        )
        return tf.ensure_shape(images, [*indices.shape, size, size, self.channels])

    def label_rows(self, indices: np.ndarray) -> np.ndarray:
        """Returns labels float32 [B, L], one-hot where they are classes."""
        if self.labels is None:
            return np.zeros([len(indices), 0], np.float32)
        rows = self.labels[indices]
        if rows.ndim == 2:
            return rows.astype(np.float32)
        return np.eye(self.label_size, dtype=np.float32)[rows]

    def label_batch(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns `label_rows` in a graph: float32 [B, L]."""
        rows = tf.numpy_function(self.label_rows, [indices], tf.float32, stateful=False)
        return tf.ensure_shape(rows, [*indices.shape, self.label_size])


class SourcePictures(Pictures):
    """Pictures of a source of encoded ones, made square.

    Args:
        source: the pictures.
        resolution: of the largest; 0 is the first picture's.
        channels: 1 or 3.
        sizes: `"exact"`: another size is an error; `"any"`: the centre's square,
            resized; `"pad"`: black bars make it square.
        background: what shows through transparent pictures.
        on_bad: `"stop"` or `"skip"` pictures that cannot be read.
        hold_mb: kept in memory, all sizes, when the largest take at most so many MB.
        labelled: take the source's labels.

    Raises:
        UserError: sizes that do not fit, too few pictures, a bad one.
    """

    def __init__(
        self,
        source: ImageSource,
        resolution: int,
        channels: int = 3,
        sizes: str = "exact",
        background: str = "white",
        on_bad: str = "skip",
        hold_mb: int = 1024,
        labelled: bool = False,
    ):
        if sizes not in SIZES:
            raise errors.unknown("sizes", sizes, SIZES)
        if channels not in (1, 3):
            raise errors.UserError(f"channels has to be 1 or 3, got {channels}")
        self._source, self._sizes = source, sizes
        self._background, self._on_bad = background, on_bad
        shapes = source.shapes(on_bad)
        unreadable = np.flatnonzero((shapes == 1).all(axis=1))
        self._rows = np.setdiff1d(np.arange(len(shapes)), unreadable)
        if not len(self._rows):
            raise errors.UserError("no picture can be read: " + self.left_out()[0])
        resolution = resolution or int(shapes[self._rows[0]][0])
        log2_of(resolution)
        if sizes == "exact":
            self._check_sizes(shapes, resolution)
        if labelled and len(source.classes) < 2:
            raise errors.UserError("labels are asked for, the pictures have none")
        super().__init__(resolution, channels)
        self._held: dict[int, np.ndarray] = {}
        if len(self._rows) * resolution**2 * channels <= hold_mb << 20:
            self._hold()
        if labelled:
            self.labels, self.classes = source.labels[self._rows], source.classes
        check_count(len(self), "the data")

    def __len__(self) -> int:
        return len(self._rows)

    def left_out(self) -> list[str]:
        """Returns a line for every picture that could not be used."""
        return self._source.bad.lines()

    def read(self, indices, size):
        """Returns uint8 [B, size, size, C]."""
        if self._held:
            return self._held[size][indices]
        made = [self._next_good(int(i)) for i in indices]
        return np.stack([shrunk(image, size) for image in made])

    def _check_sizes(self, shapes: np.ndarray, resolution: int) -> None:
        used = shapes[self._rows]
        other = np.flatnonzero((used != resolution).any(axis=1))
        if len(other):
            height, width = used[other[0]]
            name = self._source.name(int(self._rows[other[0]]))
            raise errors.UserError(
                f"{name} has {width}x{height} pixels, {resolution}x{resolution} is "
                f"asked for ({len(other):,} of {len(used):,} pictures differ); "
                "--config.sizes=any crops and resizes, =pad adds black bars"
            )

    def _hold(self) -> None:
        def one(row):
            image = self._made(row)
            return None if image is None else all_sizes(image)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            made = list(pool.map(one, self._rows))
        good = [i for i, levels in enumerate(made) if levels is not None]
        if not good:
            raise errors.UserError("no picture can be read: " + self.left_out()[0])
        self._rows = self._rows[good]
        for size in made[good[0]]:
            self._held[size] = np.stack([made[i][size] for i in good])

    def _made(self, row: int) -> np.ndarray | None:
        """Returns a full picture, None for a bad one that may be left out."""
        row = int(row)
        try:
            return square(
                self._source.data(row),
                self.resolution,
                self.channels,
                self._sizes,
                self._background,
            )
        except image_files.Unreadable as error:
            name, reason = self._source.name(row), str(error)
        if self._on_bad == "stop":
            raise errors.UserError(f"{name} {reason}")
        self._source.bad.note(name, reason)
        return None

    def _next_good(self, index: int) -> np.ndarray:
        for step in range(len(self)):
            image = self._made(self._rows[(index + step) % len(self)])
            if image is not None:
                return image
        raise errors.UserError("no picture can be read: " + self.left_out()[0])


def check_count(count: int, where: str) -> None:
    """Raises `UserError` when there are too few pictures to learn from."""
    if count < FEWEST:
        raise errors.UserError(
            f"{where}: {count} picture{'' if count == 1 else 's'}; the discriminator "
            f"compares pictures of a batch, at least {FEWEST} are needed (thousands "
            "for pictures worth looking at)"
        )


def square(
    data: bytes, size: int, channels: int, sizes: str, background: str
) -> np.ndarray:
    """Returns an encoded picture as uint8 [size, size, C].

    Raises:
        image_files.Unreadable: it is damaged, cut off or no picture.
    """
    image_files.size(data)  # refuses what is no JPEG or PNG, and bombs
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:80]
        raise image_files.Unreadable(f"is damaged or cut off ({reason})") from None
    if picture.mode.startswith("I"):  # 16 bits of grey
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    picture = prepared_images.on_background(picture, background)
    picture = picture.convert("L" if channels == 1 else "RGB")
    width, height = picture.size
    if sizes == "any" and width != height:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    elif sizes == "pad" and width != height:
        side = max(width, height)
        canvas = Image.new(picture.mode, (side, side))
        canvas.paste(picture, ((side - width) // 2, (side - height) // 2))
        picture = canvas
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8).reshape(size, size, channels)


def all_sizes(image: np.ndarray) -> dict[int, np.ndarray]:
    """Returns a picture in all sizes down to 4x4: size -> uint8 [size, size, C]."""
    size, exact, found = image.shape[0], image.astype(np.float32), {}
    while True:
        found[size] = rounded(exact)
        if size == 4:
            return found
        exact, size = halved(exact), size // 2


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    """Returns a picture at a smaller size, uint8."""
    exact = image.astype(np.float32)
    while exact.shape[0] > size:
        exact = halved(exact)
    return rounded(exact)


def halved(image: np.ndarray) -> np.ndarray:
    """Returns 2x2 means, float32 [H/2, W/2, C]."""
    rows = image[0::2, 0::2] + image[0::2, 1::2] + image[1::2, 0::2] + image[1::2, 1::2]
    return rows * np.float32(0.25)


def rounded(image: np.ndarray) -> np.ndarray:
    """Returns uint8."""
    return np.rint(image).clip(0, 255).astype(np.uint8)
