"""The language model: AWD-LSTM and a decoder that shares the embedding."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfdl.layers.cross_entropy import tied_cross_entropy
from tfdl.models.ulmfit.awd_lstm import AwdLstm, State, locked, regularizers
from tfdl.models.ulmfit.config import EncoderConfig


class LossSums(NamedTuple):
    """Sums over a window, to be divided by the sums of their counts.

    Attributes:
        ce: weighted cross-entropy.
        tokens: the sum of the weights.
        correct: weighted hits of the likeliest token; 0 unless asked for.
        ar: squared dropped outputs.
        ar_count: how many.
        tar: squared differences of raw outputs in time.
        tar_count: how many.
        state: the state after the window.
    """

    ce: tf.Tensor
    tokens: tf.Tensor
    correct: tf.Tensor
    ar: tf.Tensor
    ar_count: tf.Tensor
    tar: tf.Tensor
    tar_count: tf.Tensor
    state: State


class LanguageModel(keras.Model):
    """Predicts the next token.

    `model({"token_ids": ids [B, T], "state": state})` returns `"logits"` [B, T, V],
    `"hidden"` [B, T, E], the last LSTM's outputs, and `"state"`, a list of (h, c) per
    LSTM, each [B, H]: the next window's input. Without a state it starts from zero.

    Args:
        config: sizes and dropout rates.
    """

    def __init__(self, config: EncoderConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.encoder = AwdLstm(config, name="encoder")
        self.decoder_bias = None

    def build(self, input_shape=None):
        """Makes every variable."""
        del input_shape
        self.encoder.build()
        if self.config.decoder_bias:
            self.decoder_bias = self.add_weight(
                name="decoder_bias",
                shape=(self.config.vocab_size,),
                initializer="zeros",
            )
        self.built = True

    def call(self, inputs, training=False, masks=None, all_layers=False):
        """Maps token_ids to logits, hidden and state; see the class.

        Args:
            inputs: `token_ids` and perhaps `state`.
            training: whether dropout is on; adds `"dropped"`, what is decoded.
            masks: dropout masks, see `AwdLstm`.
            all_layers: adds `"raw_outputs"`, [B, T, H] of every LSTM.
        """
        ids = tf.convert_to_tensor(inputs["token_ids"])
        found, dropped = self._encode(ids, inputs.get("state"), training, masks)
        raw = [tf.transpose(x, [1, 0, 2]) for x in found["raw"]]
        dropped = tf.transpose(dropped, [1, 0, 2])
        logits = self.decode(dropped)
        result = {"logits": logits, "hidden": raw[-1], "state": found["state"]}
        if training:
            result["dropped"] = dropped
        if all_layers:
            result["raw_outputs"] = raw
        return result

    def zero_state(self, batch) -> State:
        """Returns the state before any text."""
        return self.encoder.zero_state(batch)

    def decode(self, x):
        """Maps outputs [..., E] to logits [..., V]."""
        rows = tf.reshape(x, [-1, self.config.embedding_size])
        table = tf.convert_to_tensor(self.encoder.embedding)
        logits = tf.matmul(rows, table, transpose_b=True)
        if self.decoder_bias is not None:
            logits = tf.nn.bias_add(logits, tf.convert_to_tensor(self.decoder_bias))
        shape = [*tf.unstack(tf.shape(x)[:-1]), self.config.vocab_size]
        return tf.ensure_shape(
            tf.reshape(logits, shape), [*x.shape[:-1], self.config.vocab_size]
        )

    def loss_sums(
        self,
        token_ids,
        labels,
        state: State | None = None,
        training: bool = True,
        weights=None,
        masks=None,
        accuracy: bool = False,
    ) -> LossSums:
        """Returns what training and evaluation add up, without keeping logits.

        Args:
            token_ids: integers [B, T].
            labels: the tokens that follow [B, T].
            state: the state before the window.
            training: whether dropout is on.
            weights: of the labels [B, T]; 1 by default.
            masks: dropout masks, see `AwdLstm`.
            accuracy: count hits as well.
        """
        token_ids = tf.convert_to_tensor(token_ids)
        found, dropped = self._encode(token_ids, state, training, masks)
        raw = found["raw"][-1]
        flat = tf.reshape(tf.transpose(labels), [-1])
        if weights is None:
            weights = tf.ones_like(flat, tf.float32)
        else:
            weights = tf.reshape(tf.transpose(tf.cast(weights, tf.float32)), [-1])
        rows = tf.reshape(dropped, [-1, self.config.embedding_size])
        bias = self.decoder_bias
        ce, correct = tied_cross_entropy(
            rows,
            tf.convert_to_tensor(self.encoder.embedding),
            None if bias is None else tf.convert_to_tensor(bias),
            flat,
            weights,
            training=training,
            accuracy=accuracy,
        )
        batch_first = [tf.transpose(x, [1, 0, 2]) for x in (dropped, raw)]
        terms = regularizers(*batch_first)
        return LossSums(
            ce, tf.reduce_sum(weights), correct, *terms, state=found["state"]
        )

    def _encode(self, token_ids, state, training, masks):
        if masks is None:
            batch = tf.shape(token_ids)[0]
            masks = self.encoder.draw_masks(batch) if training else {}
        found = self.encoder(token_ids, state=state, training=training, masks=masks)
        return found, locked(found["raw"][-1], masks.get("output"))
