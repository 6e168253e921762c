"""Packing ragged token ids into BERT's input, in the graph."""

import tensorflow as tf


class Packer(tf.Module):
    """Adds [CLS] and [SEP] and pads.

    Args:
        vocab: tokens in the order of their ids.
    """

    def __init__(self, vocab):
        super().__init__()
        self._cls, self._sep = vocab.index("[CLS]"), vocab.index("[SEP]")

    def __call__(self, a: tf.RaggedTensor, b: tf.RaggedTensor | None = None):
        """Packs ids [B, (T)] as [CLS] a [SEP], or [CLS] a [SEP] b [SEP].

        Returns:
            token_ids, segment_ids and padding_mask, int32 [B, longest].
        """
        batch = a.nrows(out_type=tf.int64)
        parts = [_column(batch, self._cls), a, _column(batch, self._sep)]
        first = tf.concat(parts, axis=1)
        tokens, segments = first, tf.zeros_like(first)
        if b is not None:
            second = tf.concat([b, _column(batch, self._sep)], axis=1)
            tokens = tf.concat([first, second], axis=1)
            segments = tf.concat([segments, tf.ones_like(second)], axis=1)
        return {
            "token_ids": tokens.to_tensor(),
            "segment_ids": segments.to_tensor(),
            "padding_mask": tf.ones_like(tokens).to_tensor(),
        }


def _column(batch, value: int) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_tensor(
        tf.fill([batch, tf.constant(1, tf.int64)], tf.constant(value, tf.int32))
    )
