"""Batches of encoded pictures in the graph: read, measured, and the bad ones found."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdl.data import image_files
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
Row = dict[str, tf.Tensor]


def guarded(
    rows: tf.data.Dataset,
    source: ImageSource,
    batch: Callable[[Row], Row],
    on_bad: str,
    parallel: int | None,
    deterministic: bool,
) -> tf.data.Dataset:
    """Maps rows of indices to batches; finds the picture that makes one fail.

    Nothing is checked while all is well. When a batch fails, its pictures are looked
    at one by one: the bad ones are named, and either end the run or become padding.

    Args:
        rows: dicts with `index` int64 [B], -1 for padding.
        source: the pictures.
        batch: makes the batch of a row.
        on_bad: `"stop"` or `"skip"`.
        parallel: batches made at once, None to let tf.data choose.
        deterministic: keep the batches' order.
    """
    check_on_bad(on_bad)

    def check(indices):
        return _without_bad(source, indices, on_bad)

    def again(row):
        indices = tf.numpy_function(check, [row["index"]], tf.int64)
        return batch({**row, "index": tf.ensure_shape(indices, row["index"].shape)})

    def one(row):
        row = tf.data.Dataset.from_tensors(row)
        tried = row.map(batch).ignore_errors()
        return tried.concatenate(row.map(again)).take(1).get_single_element()

    return rows.map(
        one,
        num_parallel_calls=tf.data.AUTOTUNE if parallel is None else parallel,
        deterministic=deterministic,
    )


def read(source: ImageSource, indices: tf.Tensor) -> tuple[tf.Tensor, Row]:
    """Returns the bytes [B] of `indices`, and their `label` and `weight` [B].

    Negative indices give a black picture, label 0 and weight 0.
    """
    real = indices >= 0

    def all_real():
        return source.read(indices)

    def some():
        where = tf.where(real)
        encoded, labels = source.read(tf.boolean_mask(indices, real))
        blank = tf.fill(tf.shape(indices), BLACK)
        return (
            tf.tensor_scatter_nd_update(blank, where, encoded),
            tf.tensor_scatter_nd_update(
                tf.zeros(tf.shape(indices), tf.int32), where, labels
            ),
        )

    encoded, labels = tf.cond(tf.reduce_all(real), all_real, some)
    encoded = tf.ensure_shape(encoded, indices.shape)
    labels = tf.ensure_shape(labels, indices.shape)
    return encoded, {"label": labels, "weight": tf.cast(real, tf.float32)}


def sizes(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns int32 [B, 2] heights and widths, and which are JPEGs, bool [B].

    Fails when one is neither JPEG nor PNG or has too many pixels.
    """
    jpeg = tf.strings.substr(encoded, 0, 2) == image_files.JPEG

    def of_jpeg(data):
        return tf.image.extract_jpeg_shape(data)[:2]

    def of_png(data):
        signature = tf.strings.substr(data, 0, 8)
        with tf.control_dependencies([tf.debugging.Assert(
            signature == image_files.PNG, ["neither JPEG nor PNG"]
        )]):  # fmt: skip
            header = tf.strings.substr(data, 16, 8)
        return tf.io.decode_raw(header, tf.int32, little_endian=False)[::-1]

    def of_any(row):
        return tf.cond(row[1], lambda: of_jpeg(row[0]), lambda: of_png(row[0]))

    spec = tf.TensorSpec([2], tf.int32)
    found = tf.cond(
        tf.reduce_all(jpeg),
        lambda: tf.map_fn(of_jpeg, encoded, fn_output_signature=spec),
        lambda: tf.map_fn(of_any, (encoded, jpeg), fn_output_signature=spec),
    )
    pixels = tf.reduce_prod(tf.cast(found, tf.int64), axis=1)
    fits = tf.reduce_all((pixels > 0) & (pixels <= image_files.MAX_PIXELS))
    with tf.control_dependencies([tf.debugging.Assert(fits, ["too many pixels"])]):
        return tf.identity(found), jpeg


def map_pictures(jpeg, picture, encoded, arguments, spec) -> tf.Tensor:
    """Maps `picture(decode_kind, bytes, arguments)` over a batch.

    The graph branches on JPEG or PNG for each picture only where both are there.

    Args:
        jpeg: bool [B].
        picture: called with `is_jpeg` (a Python bool), bytes and a row of arguments.
        encoded: strings [B].
        arguments: a tuple of tensors [B, ...].
        spec: the output's TensorSpec.
    """

    def as_jpeg(row):
        return picture(True, row[0], row[1:])

    def as_any(row):
        return tf.cond(
            row[1],
            lambda: picture(True, row[0], row[2:]),
            lambda: picture(False, row[0], row[2:]),
        )

    return tf.cond(
        tf.reduce_all(jpeg),
        lambda: tf.map_fn(as_jpeg, (encoded, *arguments), fn_output_signature=spec),
        lambda: tf.map_fn(
            as_any, (encoded, jpeg, *arguments), fn_output_signature=spec
        ),
    )


def _without_bad(source: ImageSource, indices, on_bad: str) -> np.ndarray:
    """Returns indices with -1 in the place of bad pictures, which are noted."""
    kept = np.array(indices, np.int64)
    for place, index in enumerate(kept):
        if index < 0:
            continue
        reason = source.problem(int(index))
        if reason is None:
            continue
        name = source.name(int(index))
        if on_bad == "stop":
            raise errors.UserError(f"{name} {reason}")
        source.bad.note(name, reason)
        kept[place] = -1
    return kept
