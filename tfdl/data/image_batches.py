"""Batches of encoded pictures: read and measured in the graph, the bad ones found."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdl.data import image_files
from tfdl.data.guarded_map import Row, guarded_map
from tfdl.data.image_sources import ImageSource, check_on_bad
from tfdl.engine import errors

# A black JPEG of one pixel stands for a row of padding: it decodes to zeros at any
# size, and needs no branch.
BLACK = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c"
    "140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c20242e2720222c231c1c2837292c30313434341f27"
    "393d38323c2e333432ffc0000b080001000101011100ffc400140001000000000000000000000000"
    "00000008ffc40014100100000000000000000000000000000000ffda0008010100003f003fbfffd9"
)
# What is done to one picture: (is it a JPEG, its bytes, its arguments) -> a tensor.
Picture = Callable[[bool, tf.Tensor, tuple], tf.Tensor]


def map_batches(
    rows: tf.data.Dataset,
    source: ImageSource,
    batch: Callable[[Row, bool], Row],
    image: tuple[int | None, int | None],
    on_bad: str,
    parallel: int | None,
) -> tf.data.Dataset:
    """Maps rows of indices to batches; finds the picture that makes one fail.

    Nothing is checked while all is well. When a batch fails, its pictures are looked
    at one by one: the bad ones are named, and either end the run or become padding.

    Args:
        rows: dicts with `index` int64 [B], -1 for padding.
        source: the pictures.
        batch: makes the batch of a row; the second argument says whether some
            pictures may be PNGs.
        image: height and width of the batch's pictures, None where they differ.
        on_bad: `"stop"` or `"skip"`.
        parallel: batches made at once, None to let tf.data choose.
    """
    check_on_bad(on_bad)
    mixed = source.mixed()

    def repair(row):
        indices = _without_bad(source, row["index"].numpy(), on_bad)
        return batch({**row, "index": tf.constant(indices)}, True)

    shape = rows.element_spec["index"].shape
    outputs = {
        "image": tf.TensorSpec([*shape, *image, 3], tf.uint8),
        "label": tf.TensorSpec(shape, tf.int32),
        "weight": tf.TensorSpec(shape, tf.float32),
    }

    def fast(row):
        made = batch(row, mixed)
        return {n: tf.ensure_shape(made[n], spec.shape) for n, spec in outputs.items()}

    return guarded_map(rows, fast, repair, outputs, parallel)


def read(source: ImageSource, indices: tf.Tensor) -> tuple[tf.Tensor, Row]:
    """Returns the bytes [B] of `indices`, and their `label` and `weight` [B].

    Negative indices give a black picture, label 0 and weight 0.
    """
    real = indices >= 0
    encoded, labels = source.read(indices)
    encoded = tf.where(real, encoded, BLACK)
    labels = tf.where(real, labels, 0)
    return encoded, {"label": labels, "weight": tf.cast(real, tf.float32)}


def sizes(encoded: tf.Tensor, mixed: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns int32 [B, 2] heights and widths, and which are JPEGs, bool [B].

    Fails when one is of another kind or has too many pixels.
    """
    if mixed:
        jpeg = tf.strings.substr(encoded, 0, 2) == image_files.JPEG
    else:
        jpeg = tf.ones(tf.shape(encoded), tf.bool)

    def size(is_jpeg, data, _):
        return _jpeg_size(data) if is_jpeg else _png_size(data)

    found = map_pictures(size, encoded, jpeg, (), tf.TensorSpec([2], tf.int32), mixed)
    pixels = tf.reduce_prod(tf.cast(found, tf.int64), axis=1)
    fits = tf.reduce_all((pixels > 0) & (pixels <= image_files.MAX_PIXELS))
    with tf.control_dependencies([tf.debugging.Assert(fits, ["too many pixels"])]):
        return tf.identity(found), jpeg


def map_pictures(
    picture: Picture,
    encoded: tf.Tensor,
    jpeg: tf.Tensor,
    arguments: tuple,
    spec: tf.TensorSpec,
    mixed: bool,
) -> tf.Tensor:
    """Returns what `picture` makes of every one, stacked.

    Args:
        picture: see `Picture`.
        encoded: strings [B].
        jpeg: bool [B], which are JPEGs.
        arguments: tensors [B, ...], a row of which each picture gets.
        spec: of one result.
        mixed: whether some may be PNGs; without, the graph does not ask.
    """

    def as_jpeg(row):
        return picture(True, row[0], row[2:])

    def as_any(row):
        return tf.cond(
            row[1], lambda: as_jpeg(row), lambda: picture(False, row[0], row[2:])
        )

    # Batches are made side by side; within one, threads only get in each other's way.
    return tf.map_fn(
        as_any if mixed else as_jpeg,
        (encoded, jpeg, *arguments),
        fn_output_signature=spec,
        parallel_iterations=None if tf.executing_eagerly() else 1,
    )


def _jpeg_size(data: tf.Tensor) -> tf.Tensor:
    return tf.image.extract_jpeg_shape(data)[:2]


def _png_size(data: tf.Tensor) -> tf.Tensor:
    png = tf.strings.substr(data, 0, 8) == image_files.PNG
    with tf.control_dependencies([tf.debugging.Assert(png, ["neither JPEG nor PNG"])]):
        header = tf.strings.substr(data, 16, 8)
    return tf.io.decode_raw(header, tf.int32, little_endian=False)[::-1]


def _without_bad(source: ImageSource, indices: np.ndarray, on_bad: str) -> np.ndarray:
    """Returns indices with -1 in the place of bad pictures, which are noted."""
    kept = indices.copy()
    for place, index in enumerate(indices):
        reason = source.problem(int(index)) if index >= 0 else None
        if reason is None:
            continue
        name = source.name(int(index))
        if on_bad == "stop":
            raise errors.UserError(f"{name} {reason}")
        source.bad.note(name, reason)
        kept[place] = -1
    return kept
