"""The AWD-LSTM encoder (Merity et al. 2017; ULMFiT section 3)."""

from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdl.engine.randomness import SeedGenerator
from tfdl.layers.lstm import input_product, lstm, lstm_of_rows
from tfdl.models.ulmfit.config import EncoderConfig

State = list[tuple[tf.Tensor, tf.Tensor]]
Masks = Mapping[str, tf.Tensor]


class Words(NamedTuple):
    """What the words of a text add to the first LSTM's gates.

    Attributes:
        table: of every different word [U, 4H].
        index: each word's row, [B, T].
    """

    table: tf.Tensor
    index: tf.Tensor


class LstmLayer(keras.layers.Layer):
    """The weights of one LSTM, in torch's form with two biases.

    Both biases are trained, as torch trains them: with Adam their sum moves twice as
    fast as one bias would.

    Args:
        inputs: width of what comes in.
        units: width of the state.
    """

    def __init__(self, inputs: int, units: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.inputs, self.units = inputs, units

    def build(self, input_shape=None):
        """Makes kernel [in, 4H], recurrent [H, 4H], bias_ih and bias_hh [4H]."""
        bound = self.units**-0.5

        def weight(name, *shape):
            uniform = keras.initializers.RandomUniform(-bound, bound)
            return self.add_weight(name=name, shape=shape, initializer=uniform)

        self.kernel = weight("kernel", self.inputs, 4 * self.units)
        self.recurrent = weight("recurrent", self.units, 4 * self.units)
        self.bias_ih = weight("bias_ih", 4 * self.units)
        self.bias_hh = weight("bias_hh", 4 * self.units)

    def call(self, x, h, c, weight_mask=None, training=False):
        """Maps [T, B, in] and a state to outputs [T, B, H] and the next state."""
        recurrent = tf.convert_to_tensor(self.recurrent)
        if weight_mask is not None:
            recurrent *= weight_mask
        return lstm(x, self._kernel(), recurrent, self._bias(), h, c, training)

    def product(self, x):
        """Returns what inputs [U, in] add to the gates, [U, 4H]."""
        return input_product(x[None], self._kernel(), self._bias())[0]

    def read(self, words: Words, h, c):
        """Does as `call` with no mask for words whose `product` is there."""
        recurrent = tf.convert_to_tensor(self.recurrent)
        return lstm_of_rows(words.table, tf.transpose(words.index), recurrent, h, c)

    def _kernel(self):
        return tf.convert_to_tensor(self.kernel)

    def _bias(self):
        return tf.convert_to_tensor(self.bias_ih) + tf.convert_to_tensor(self.bias_hh)


class AwdLstm(keras.layers.Layer):
    """An embedding and LSTMs, with five kinds of dropout.

    Masks are drawn once per call. They can be given instead, already divided by the
    share that is kept: `embed` [V, 1], `input` [B, 1, E], `hidden0` ... [B, 1, H],
    `output` [B, 1, E] and, as the variables lie, `weight0` ... [H, 4H].

    Args:
        config: sizes and rates.

    Attributes:
        plain_gradient: leave gradients to automatic differentiation, which is slower
            but can be restored from a SavedModel.
    """

    def __init__(self, config: EncoderConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.random = SeedGenerator()
        self.plain_gradient = False
        self.rnns = [
            LstmLayer(*widths, name=f"rnn{i}")
            for i, widths in enumerate(config.widths())
        ]

    def build(self, input_shape=None):
        """Makes the embedding [V, E] and the LSTMs."""
        self.embedding = self.add_weight(
            name="embedding",
            shape=(self.config.vocab_size, self.config.embedding_size),
            initializer=keras.initializers.RandomUniform(-0.1, 0.1),
        )
        for rnn in self.rnns:
            rnn.build()

    def call(self, token_ids, state=None, training=False, masks=None, words=None):
        """Reads a window of text.

        Args:
            token_ids: integers [B, T].
            state: what an earlier call returned; None starts from zero.
            training: whether dropout is on and gradients will be asked for.
            masks: dropout masks, see the class; by default drawn in training.
            words: what `words` says of these ids, to read them faster; without masks.

        Returns:
            `raw`, the outputs of every LSTM, time first [T, B, H], and `state`,
            cut from the gradient.
        """
        if masks is None:
            masks = self.draw_masks(tf.shape(token_ids)[0]) if training else {}
        state = self.adapt_state(state, tf.shape(token_ids)[0])
        x = None if words else self.embed(token_ids, masks)
        raw, after = [], []
        for i, (rnn, (h, c)) in enumerate(zip(self.rnns, state, strict=True)):
            mask = masks.get(f"weight{i}")
            fast = training and not self.plain_gradient
            if x is None:
                x, h, c = rnn.read(words, h, c)
            else:
                x, h, c = rnn(x, h, c, mask, training=fast)
            raw.append(x)
            after.append((tf.stop_gradient(h), tf.stop_gradient(c)))
            x = locked(x, masks.get(f"hidden{i}"))
        return {"raw": raw, "state": after}

    def embed(self, token_ids, masks: Masks):
        """Maps ids [B, T] to vectors, time first [T, B, E]."""
        ids = tf.transpose(token_ids)
        x = tf.gather(tf.convert_to_tensor(self.embedding), ids)
        is_pad = tf.equal(ids, tf.cast(self.config.pad_id, ids.dtype))[:, :, None]
        x = tf.where(is_pad, tf.stop_gradient(x), x)
        if "embed" in masks:
            # A word's mask multiplies its row: rows that no one reads need none.
            x *= tf.gather(masks["embed"], ids)
        return locked(x, masks.get("input"))

    def words(self, token_ids) -> Words:
        """Works out what each word of ids [B, T] adds to the first LSTM's gates.

        Words come again and again: the product of each different one is enough.
        """
        different, index = tf.unique(tf.reshape(token_ids, [-1]))
        rows = tf.gather(tf.convert_to_tensor(self.embedding), different)
        index = tf.reshape(index, tf.shape(token_ids))
        return Words(self.rnns[0].product(rows), index)

    # --- dropout ---------------------------------------------------------------

    def draw_masks(self, batch, seed=None) -> dict[str, tf.Tensor]:
        """Returns masks for a batch of that size.

        Args:
            batch: B, a number or a scalar tensor.
            seed: two integers; by default the next of this layer's own.
        """
        config = self.config
        sizes: dict[str, tuple[float, list]] = {
            "embed": (config.embed_p, [config.vocab_size, 1]),
            "input": (config.input_p, [batch, 1, config.embedding_size]),
            "output": (config.output_p, [batch, 1, config.embedding_size]),
        }
        for i, (_, units) in enumerate(config.widths()):
            sizes[f"weight{i}"] = (config.weight_p, [units, 4 * units])
            if i + 1 < config.num_layers:
                sizes[f"hidden{i}"] = (config.hidden_p, [batch, 1, units])
        if not any(rate for rate, _ in sizes.values()):
            return {}
        seed = self.random.next() if seed is None else seed
        seed = tf.cast(seed, tf.int32)
        return {
            name: _mask(
                shape, rate, tf.random.experimental.stateless_fold_in(seed, number)
            )
            for number, (name, (rate, shape)) in enumerate(sizes.items())
            if rate
        }

    # --- state -----------------------------------------------------------------

    def zero_state(self, batch) -> State:
        """Returns the state before any text, (h, c) of every LSTM, each [B, H]."""
        widths = [rnn.units for rnn in self.rnns]
        return [(tf.zeros([batch, n]), tf.zeros([batch, n])) for n in widths]

    def adapt_state(self, state: State | None, batch) -> State:
        """Returns a state for `batch` rows; see `EncoderConfig.batch_change`."""
        if state is None:
            return self.zero_state(batch)
        reset = self.config.batch_change == "reset"
        return [
            tuple(tf.stop_gradient(_resized(part, batch, reset)) for part in pair)
            for pair in state
        ]


def locked(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Multiplies [T, B, H] by a mask [B, 1, H] that is the same at all times."""
    return x if mask is None else x * tf.transpose(mask, [1, 0, 2])


def regularizers(
    dropped: tf.Tensor, raw: tf.Tensor, mask: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns activation regularization and its temporal kind, as sums and counts.

    AR is the mean of the squared dropped outputs, TAR that of the squared differences
    of raw outputs from one time to the next (Merity et al. 2017, section 4.3).

    Args:
        dropped: [B, T, E], after dropout.
        raw: [B, T, E].
        mask: [B, T], 1 where outputs count; None counts all.

    Returns:
        (sum of AR, its elements, sum of TAR, its elements), scalars.
    """
    width = tf.cast(tf.shape(raw)[-1], tf.float32)
    steps = raw[:, 1:] - raw[:, :-1]
    if mask is None:
        ar, tar = tf.reduce_sum(dropped * dropped), tf.reduce_sum(steps * steps)
        size, pairs = tf.size(raw), tf.size(steps)
        return ar, tf.cast(size, tf.float32), tar, tf.cast(pairs, tf.float32)
    mask = tf.cast(mask, tf.float32)
    both = mask[:, 1:] * mask[:, :-1]
    ar = tf.reduce_sum(tf.reduce_sum(dropped * dropped, -1) * mask)
    tar = tf.reduce_sum(tf.reduce_sum(steps * steps, -1) * both)
    return ar, width * tf.reduce_sum(mask), tar, width * tf.reduce_sum(both)


def _mask(shape, rate: float, seed) -> tf.Tensor:
    kept = tf.random.stateless_uniform(shape, seed) >= rate
    return tf.cast(kept, tf.float32) * (1.0 / (1.0 - rate))


def _resized(x, batch, reset: bool):
    before = tf.shape(x)[0]
    missing = tf.maximum(batch - before, 0)
    x = tf.pad(x[:batch], [[0, missing], [0, 0]])
    # A product with 0 would keep a NaN.
    return tf.where(tf.equal(before, batch), x, tf.zeros_like(x)) if reset else x
