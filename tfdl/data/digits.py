"""scikit-learn's digits as pictures: real data that is always at hand."""

import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from tfdl.data import image_sources
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
        from sklearn import datasets

        names = tuple("0123456789")
        if classes is not None and tuple(classes) != names:
            raise errors.UserError(
                f"embedded:digits has the classes 0 to 9, not {', '.join(classes)[:80]}"
            )
        super().__init__(names)
        digits = datasets.load_digits()
        held_out = np.arange(len(digits.target)) % _VALIDATION_EVERY == 0
        self._which = np.flatnonzero(held_out == (split == "validation"))
        self.labels = digits.target[self._which].astype(np.int32)
        self._files = [*(_picture(digits.images[i]) for i in self._which), b""]

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


def _picture(digit: np.ndarray) -> bytes:
    """Returns a digit [8, 8] of 0 to 16 as a JPEG, dark on white."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    paper = np.pad(ink, _MARGIN)
    gray = np.round(255 - paper * (255 / 16)).astype(np.uint8)
    height, width = paper.shape
    image = Image.fromarray(gray).resize(
        (width * SCALE, height * SCALE), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
