"""scikit-learn's digits as pictures: real data that is always at hand."""

import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfdl.data import image_arrays, image_sources
from tfdl.engine import errors

SCALE = 8  # from 8x8 digits to pictures of about 48x64
_MARGIN = 1
_VALIDATION_EVERY = 5


class DigitSource(image_sources.ImageSource):
    """1797 handwritten digits, each cropped to its ink, enlarged, and made a JPEG.

    A one is narrow and a zero is wide, so the pictures' aspect ratios differ as
    photographs' do. Every fifth digit is a validation picture.

    Args:
        split: `"train"` or `"validation"`.
        classes: must be the ten digits where given.
    """

    def __init__(self, split: str, classes: Sequence[str] | None = None):
        super().__init__(_names("digits", classes))
        images, labels, self._which = _load(split)
        self.labels = labels.astype(np.int32)
        self._files = [*map(_picture, images), b""]

    def name(self, index: int) -> str:
        """Returns the digit's number in scikit-learn's data."""
        return f"digit {self._which[index]} of embedded:digits"

    def encoded(self, indices: tf.Tensor) -> tf.Tensor:
        """Returns JPEGs made when the source was opened."""
        places = tf.where(indices < 0, np.int64(len(self)), indices)
        return tf.gather(self._outside("_files"), places)

    def head(self, index: int, count: int | None = None) -> tuple[bytes, bool]:
        """Returns the beginning of a JPEG."""
        data = self._files[index]
        return data[:count], count is None or len(data) <= count


def square_digits(
    split: str, classes: Sequence[str] | None = None
) -> image_arrays.ArraySource:
    """Returns the digits as they are, each enlarged to 32x32, light on black."""
    images, labels, _ = _load(split)
    names = _names("square-digits", classes)
    squares = [_enlarged(np.round(digit * (255 / 16)), (32, 32)) for digit in images]
    pixels = np.stack([np.asarray(square) for square in squares])[..., None]
    return image_arrays.ArraySource(pixels, labels, names, "embedded:square-digits")


def _names(what: str, classes: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple("0123456789")
    if classes is not None and tuple(classes) != names:
        raise errors.UserError(
            f"embedded:{what} has the classes 0 to 9, not {', '.join(classes)[:80]}"
        )
    return names


def _load(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the digits [N, 8, 8] of a split, their classes, and which they are."""
    from sklearn import datasets

    digits = datasets.load_digits()
    held_out = np.arange(len(digits.target)) % _VALIDATION_EVERY == 0
    which = np.flatnonzero(held_out == (split == "validation"))
    return digits.images[which], digits.target[which], which


def _picture(digit: np.ndarray) -> bytes:
    """Returns a digit [8, 8] of 0 to 16 as a JPEG, dark on white."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    paper = np.pad(ink, _MARGIN)
    height, width = paper.shape
    gray = np.round(255 - paper * (255 / 16))
    image = _enlarged(gray, (width * SCALE, height * SCALE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _enlarged(gray: np.ndarray, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(gray.astype(np.uint8))
    return image.resize(size, Image.Resampling.BICUBIC)
