"""Backpropagation through time for text classification (ULMFiT section 3.3).

A document is read `bptt` tokens at a time with its state carried on; gradients stop at
the borders, but every kept chunk gets its own through the pooling.
"""

import tensorflow as tf

from tfdl.models.ulmfit import documents
from tfdl.models.ulmfit.awd_lstm import AwdLstm, Words
from tfdl.models.ulmfit.config import ClassifierConfig

# A table of so many words is kept for a whole batch, else one for each chunk.
MOST_WORDS = 16_384


def encode(
    encoder: AwdLstm,
    config: ClassifierConfig,
    token_ids: tf.Tensor,
    training: bool = False,
) -> dict[str, tf.Tensor]:
    """Reads documents and pools what the last LSTM says.

    Args:
        encoder: the encoder.
        config: how documents are read.
        token_ids: [B, T], padded anywhere.
        training: whether dropout is on, with masks of its own for every chunk.

    Returns:
        `pooled` [B, 3E], `raw` [B, T', E], the kept outputs, and `mask` [B, T'], which
        of them count, float32.
    """
    layout = documents.arrange(token_ids, encoder.config.pad_id, config)
    outputs = _read(encoder, config, layout, training)
    pooled = documents.pool(outputs, layout, config.padding)
    counted = layout.counted
    if config.padding != "masked":
        counted = tf.ones_like(counted)
    back = tf.argsort(layout.order)
    return {
        "pooled": tf.gather(pooled, back),
        "raw": tf.gather(tf.transpose(outputs, [1, 0, 2]), back),
        "mask": tf.gather(tf.cast(counted, tf.float32), back),
    }


def _read(encoder, config, layout: documents.Layout, training: bool):
    """Returns the last LSTM's kept outputs, time first [T', B, E]."""
    chunks = tf.shape(layout.rows)[0]
    seed = encoder.random.next() if training else None
    # A SavedModel has no gradient of what a condition looks up in a loop.
    by_word = not training and not encoder.plain_gradient
    words = _words(encoder, layout.ids) if by_word else None

    def chunk_of(chunk, state):
        return _chunk(encoder, config, layout, chunk, state, seed, words)

    def skip(chunk, state):
        return chunk + 1, chunk_of(chunk, state)[1]

    _, state = tf.while_loop(
        lambda chunk, _: chunk < layout.first,
        skip,
        (tf.constant(0), encoder.zero_state(tf.shape(layout.ids)[0])),
        parallel_iterations=1,
        maximum_iterations=layout.first,
    )
    state = [tuple(map(tf.stop_gradient, pair)) for pair in state]
    outputs = tf.TensorArray(
        tf.float32,
        chunks - layout.first,
        infer_shape=False,
        element_shape=[None, None, encoder.config.embedding_size],
    )

    def keep(chunk, state, outputs):
        raw, state = chunk_of(chunk, state)
        return chunk + 1, state, outputs.write(chunk - layout.first, raw)

    _, _, outputs = tf.while_loop(
        lambda chunk, *_: chunk < chunks,
        keep,
        (layout.first, state, outputs),
        parallel_iterations=1,
        maximum_iterations=chunks - layout.first,
    )
    return outputs.concat()


def _words(encoder: AwdLstm, ids) -> Words:
    """Returns the words of all chunks, or none where there are too many."""
    few = tf.size(tf.unique(tf.reshape(ids, [-1])).y) <= MOST_WORDS
    return encoder.words(tf.cond(few, lambda: ids, lambda: ids[:, :0]))


def _chunk(encoder, config, layout, chunk, state, seed, words):
    """Reads one chunk; returns outputs [t, B, E] and the state of all rows."""
    rows, start = layout.rows[chunk], chunk * config.bptt
    ids = layout.ids[:rows, start : start + config.bptt]
    masks, training = {}, seed is not None
    if words:
        index = words.index[:rows, start : start + config.bptt]
        words = tf.cond(
            tf.size(words.index) > 0,
            lambda: Words(words.table, index),
            lambda: encoder.words(ids),
        )
    if training:
        own = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), chunk)
        masks = encoder.draw_masks(rows, own)
    before = [(h[:rows], c[:rows]) for h, c in state]
    found = encoder(ids, state=before, training=training, masks=masks, words=words)
    # Rows that have not begun start from zero when they do.
    after = [tuple(_rest(x, layout.ids) for x in pair) for pair in found["state"]]
    raw = _rest(tf.transpose(found["raw"][-1], [1, 0, 2]), layout.ids)
    return tf.transpose(raw, [1, 0, 2]), after


def _rest(x, ids):
    """Fills [rows, ...] up with zeros to as many rows as `ids` has."""
    missing = tf.shape(ids)[0] - tf.shape(x)[0]
    x = tf.pad(x, [[0, missing]] + [[0, 0]] * (x.shape.rank - 1))
    return tf.ensure_shape(x, [ids.shape[0], *x.shape[1:]])
