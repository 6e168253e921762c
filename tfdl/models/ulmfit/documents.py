"""How a batch of documents lies before the encoder reads it in chunks.

The classifier reads `bptt` tokens at a time and carries the state on. Where padding
goes decides what state meets the text; each generation of fastai chose otherwise.
"""

from typing import NamedTuple

import tensorflow as tf

from tfdl.models.ulmfit.config import ClassifierConfig


class Layout(NamedTuple):
    """Rows as they are read.

    Attributes:
        ids: [B, T], ordered by falling length where that matters.
        order: which row of the batch each of them is [B].
        rows: how many rows, from the first, take part in each chunk [chunks].
        first: the first chunk whose outputs are kept.
        counted: bool [B, T'], kept positions that are no padding (of the text itself).
        last: the kept position of every row that is taken as its last [B].
    """

    ids: tf.Tensor
    order: tf.Tensor
    rows: tf.Tensor
    first: tf.Tensor
    counted: tf.Tensor
    last: tf.Tensor


def arrange(ids: tf.Tensor, pad_id: int, config: ClassifierConfig) -> Layout:
    """Lays rows out; padding may be anywhere in `ids` [B, T].

    masked: whole chunks of padding in front, so that every document's chunks begin at
    its first token, the rest at the end and out of everything.
    fastai2: the same for the width of the batch as it is, with that version's rule for
    the last position.
    fastai07, fastai1: all padding in front, and read.
    """
    ids = tf.convert_to_tensor(ids)
    # A batch without a column still has one to read.
    extra = 1 - tf.minimum(tf.shape(ids)[1], 1)
    ids = tf.pad(ids, [[0, 0], [0, extra]], constant_values=pad_id)
    real = tf.not_equal(ids, tf.cast(pad_id, ids.dtype))
    lengths = tf.reduce_sum(tf.cast(real, tf.int32), 1)
    order = tf.range(tf.shape(ids)[0])
    chunked = config.padding in ("masked", "fastai2")
    if chunked:
        order = tf.argsort(-lengths, stable=True)
        ids, real = tf.gather(ids, order), tf.gather(real, order)
        lengths = tf.gather(lengths, order)
    width = tf.shape(ids)[1]
    if config.padding == "masked":
        width = _common_width(lengths, config.bptt)
    front = width - lengths
    if chunked:
        # The last chunk may be a short one: it is shared, so count from the end.
        chunks, own = _chunks(width, config.bptt), _chunks(lengths, config.bptt)
        whole = front // config.bptt if config.padding == "fastai2" else chunks - own
        front = whole * config.bptt
    ids = _placed(ids, real, lengths, front, width, pad_id)
    return _described(ids, order, lengths, front, width, pad_id, config)


def _described(ids, order, lengths, front, width, pad_id, config):
    chunks = _chunks(width, config.bptt)
    starts = tf.range(chunks) * config.bptt
    batch = tf.shape(ids)[0]
    rows = tf.fill([chunks], batch)
    if config.padding in ("masked", "fastai2"):
        heads = tf.gather(ids, starts, axis=1)
        is_text = tf.not_equal(heads, tf.cast(pad_id, ids.dtype))
        rows = tf.reduce_sum(tf.cast(is_text, tf.int32), 0)
    positions = tf.range(width)
    counted = tf.not_equal(ids, tf.cast(pad_id, ids.dtype))
    if config.padding == "masked":
        # By each document's own length, not by that of the longest.
        begins = (positions // config.bptt) * config.bptt - front[:, None]
        counted &= lengths[:, None] - begins <= config.max_len
        kept = tf.reduce_any(tf.gather(counted, starts, axis=1), 0)
    elif config.padding == "fastai2":
        kept = width - starts <= config.max_len
    else:
        kept = starts > width - config.max_len
    first = tf.argmax(tf.cast(kept, tf.int32), output_type=tf.int32)
    counted = counted[:, first * config.bptt :]
    length = tf.shape(counted)[1]
    if config.padding == "masked":
        last = front + lengths - 1 - first * config.bptt
    elif config.padding == "fastai2":
        missing = tf.logical_not(counted[:, -config.bptt :])
        last = length - 1 - tf.reduce_sum(tf.cast(missing, tf.int32), 1)
    else:
        last = tf.fill([batch], length - 1)
    last = tf.clip_by_value(last, 0, length - 1)
    return Layout(ids, order, rows, first, counted, last)


def pool(outputs: tf.Tensor, layout: Layout, padding: str) -> tf.Tensor:
    """Returns last output, maximum and mean over time, side by side [B, 3E].

    Args:
        outputs: kept outputs, time first [T', B, E].
        layout: where they are from.
        padding: whose way it is.
    """
    if padding == "fastai07":
        parts = outputs[-1], tf.reduce_max(outputs, 0), tf.reduce_mean(outputs, 0)
        return tf.concat(parts, -1)
    counted = tf.transpose(layout.counted)[:, :, None]
    number = tf.reduce_sum(tf.cast(layout.counted, outputs.dtype), 1)[:, None]
    zeros = tf.zeros_like(outputs)
    mean = tf.reduce_sum(tf.where(counted, outputs, zeros), 0) / tf.maximum(number, 1.0)
    lowest = tf.fill(tf.shape(outputs), tf.constant(outputs.dtype.min, outputs.dtype))
    largest = tf.reduce_max(tf.where(counted, outputs, lowest), 0)
    # A document without a token is all zeros.
    largest = tf.where(number > 0, largest, tf.zeros_like(largest))
    if padding == "fastai1":
        last = outputs[-1]
    else:
        batch = tf.range(tf.shape(outputs)[1])
        last = tf.gather_nd(outputs, tf.stack([layout.last, batch], 1))
    if padding == "masked":
        last = tf.where(number > 0, last, tf.zeros_like(last))
    return tf.concat([last, largest, mean], -1)


def _chunks(length, bptt: int):
    return (length + bptt - 1) // bptt


def _common_width(lengths, bptt: int):
    """Returns the least width in which all last chunks coincide."""
    chunks = tf.maximum(tf.reduce_max(_chunks(lengths, bptt)), 1)
    in_last = tf.reduce_max((tf.maximum(lengths, 1) - 1) % bptt + 1)
    return (chunks - 1) * bptt + in_last


def _placed(ids, real, lengths, front, width, pad_id):
    """Moves each row's text behind `front` columns of padding."""
    # Stable: the text stays in order, padding goes behind it.
    order = tf.argsort(tf.cast(tf.logical_not(real), tf.int32), stable=True)
    text = tf.gather(ids, order, batch_dims=1)
    source = tf.range(width)[None, :] - front[:, None]
    inside = (source >= 0) & (source < lengths[:, None])
    taken = tf.gather(text, tf.where(inside, source, 0), batch_dims=1)
    return tf.where(inside, taken, tf.cast(pad_id, ids.dtype))
