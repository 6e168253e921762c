"""The classifier: the encoder over whole documents, pooled (ULMFiT section 3.3)."""

import keras
import tensorflow as tf

from tfdl.models.ulmfit import documents
from tfdl.models.ulmfit.awd_lstm import AwdLstm
from tfdl.models.ulmfit.config import ClassifierConfig, EncoderConfig
from tfdl.models.ulmfit.head import Head


class Classifier(keras.Model):
    """Classifies documents of any length.

    `model({"token_ids": ids [B, T]})` returns `"logits"` [B, C] and `"pooled"`
    [B, 3E], what the head reads: the last output, the maximum and the mean over time.
    Padding (`pad_id`) may stand anywhere: rows are laid out anew as the configured
    `padding` wants it, and come back in their order.

    In training gradients stop at the borders of chunks of `bptt` tokens, each with
    dropout masks of its own, and `"dropped"`, `"raw"` [B, T', E] and `"mask"` [B, T']
    are there for the regularizers of the outputs.

    Args:
        encoder: sizes and dropout rates of the encoder.
        config: the head, and how documents are read.
    """

    def __init__(self, encoder: EncoderConfig, config: ClassifierConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.encoder_config, self.config = encoder, config
        self.encoder = AwdLstm(encoder, name="encoder")
        self.head = Head(config, name="head")

    def build(self, input_shape=None):
        """Makes every variable."""
        del input_shape
        self.encoder.build()
        self.head.build((None, 3 * self.encoder_config.embedding_size))
        self.built = True

    def call(self, inputs, training=False):
        """Maps {"token_ids"} to {"logits", "pooled"}; see the class."""
        found = self.encode(inputs["token_ids"], training)
        found["logits"] = self.head(found["pooled"], training=training)
        if not training:
            return {"logits": found["logits"], "pooled": found["pooled"]}
        return {**found, "dropped": found["raw"]}

    def encode(self, token_ids, training=False):
        """Maps ids [B, T] to `"pooled"` [B, 3E], `"raw"` [B, T', E], `"mask"`."""
        layout = documents.arrange(token_ids, self.encoder_config.pad_id, self.config)
        outputs = self._read(layout, training)
        pooled = documents.pool(outputs, layout, self.config.padding)
        counted = layout.counted
        if self.config.padding != "masked":
            counted = tf.ones_like(counted)
        back = tf.argsort(layout.order)
        return {
            "pooled": tf.gather(pooled, back),
            "raw": tf.gather(tf.transpose(outputs, [1, 0, 2]), back),
            "mask": tf.gather(tf.cast(counted, tf.float32), back),
        }

    def _read(self, layout: documents.Layout, training: bool):
        """Returns the last LSTM's kept outputs, time first [T', B, E]."""
        batch = tf.shape(layout.ids)[0]
        chunks = tf.shape(layout.rows)[0]
        seed = self.encoder.random.next() if training else None
        state = self.encoder.zero_state(batch)

        def skip(chunk, state):
            _, state = self._chunk(layout, chunk, state, seed, training)
            return chunk + 1, state

        _, state = tf.while_loop(
            lambda chunk, _: chunk < layout.first,
            skip,
            (tf.constant(0), state),
            parallel_iterations=1,
            maximum_iterations=layout.first,
        )
        state = tf.nest.map_structure(tf.stop_gradient, state)
        outputs = tf.TensorArray(
            tf.float32,
            chunks - layout.first,
            infer_shape=False,
            element_shape=[None, None, self.encoder_config.embedding_size],
        )

        def keep(chunk, state, outputs):
            raw, state = self._chunk(layout, chunk, state, seed, training)
            return chunk + 1, state, outputs.write(chunk - layout.first, raw)

        _, _, outputs = tf.while_loop(
            lambda chunk, *_: chunk < chunks,
            keep,
            (layout.first, state, outputs),
            parallel_iterations=1,
            maximum_iterations=chunks - layout.first,
        )
        return outputs.concat()

    def _chunk(self, layout, chunk, state, seed, training):
        """Reads one chunk; returns outputs [t, B, E] and the state of all rows."""
        rows, start = layout.rows[chunk], chunk * self.config.bptt
        ids = layout.ids[:rows, start : start + self.config.bptt]
        masks = {}
        if training:
            own = tf.random.experimental.stateless_fold_in(
                tf.cast(seed, tf.int32), chunk
            )
            masks = self.encoder.draw_masks(rows, own)
        before = [(h[:rows], c[:rows]) for h, c in state]
        found = self.encoder(ids, state=before, training=training, masks=masks)
        # Rows that have not begun start from zero when they do.
        after = [tuple(_rest(x, layout.ids) for x in pair) for pair in found["state"]]
        raw = _rest(tf.transpose(found["raw"][-1], [1, 0, 2]), layout.ids)
        return tf.transpose(raw, [1, 0, 2]), after


def _rest(x, ids):
    """Fills [rows, ...] up with zeros to as many rows as `ids` has."""
    missing = tf.shape(ids)[0] - tf.shape(x)[0]
    x = tf.pad(x, [[0, missing]] + [[0, 0]] * (x.shape.rank - 1))
    return tf.ensure_shape(x, [ids.shape[0], *x.shape[1:]])
