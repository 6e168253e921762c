"""A language model of searched cells (Zoph & Le 2017, section 4.2; ENAS, 3.1)."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfdl.engine.randomness import SeedGenerator
from tfdl.layers.cross_entropy import tied_cross_entropy
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.layer import CellLayer

State = list[tuple[tf.Tensor, ...]]
EMBEDDING_RANGE = 0.1


class LossSums(NamedTuple):
    """Sums over a window, to be divided by the sums of their counts.

    Attributes:
        ce: weighted cross-entropy.
        tokens: the sum of the weights.
        correct: weighted hits of the likeliest token; 0 unless asked for.
        ar: squared outputs of the last cell, without dropout.
        ar_count: how many.
        tar: squared differences of those outputs in time.
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
    `"hidden"` [B, T, H], the last cell's outputs, and `"state"`, a tuple of tensors
    [B, H] per layer: the next window's input. Without a state it starts from zero.

    Dropout's masks are drawn once per call. They can be given instead, already divided
    by the share that is kept: `word` [V, 1], `embedding` [B, E], `output` [B, H] and
    of every layer i a dict `layer{i}`, see `CellLayer.call`.

    Args:
        config: sizes and dropout rates.
    """

    def __init__(self, config: LanguageConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.random = SeedGenerator()
        self.cells = [
            CellLayer(
                config.cell(),
                width,
                config.hidden_size,
                config.projection_size,
                config.cell_bias,
                config.init_range,
                name=f"cell{i}",
            )
            for i, width in enumerate(config.widths())
        ]

    def build(self, input_shape=None):
        """Makes every variable."""
        del input_shape
        config = self.config
        bound = config.init_range or EMBEDDING_RANGE
        uniform = keras.initializers.RandomUniform(-bound, bound)
        size = config.vocab_size
        shape = (size, config.embedding_size)
        self.embedding = self.add_weight(
            name="embedding", shape=shape, initializer=uniform
        )
        self.softmax, self.softmax_bias = self.embedding, None
        if not config.tied:
            shape = (size, config.output_size)
            self.softmax = self.add_weight(
                name="softmax", shape=shape, initializer=uniform
            )
        if config.softmax_bias:
            self.softmax_bias = self.add_weight(
                name="softmax_bias", shape=(size,), initializer="zeros"
            )
        for cell in self.cells:
            cell.build()
        self.built = True

    def call(self, inputs, training=False, masks=None):
        """Maps token_ids to logits, hidden and state; see the class."""
        ids = tf.convert_to_tensor(inputs["token_ids"])
        outs, state, dropped = self._encode(ids, inputs.get("state"), training, masks)
        logits = self.decode(tf.transpose(dropped, [1, 0, 2]))
        hidden = tf.transpose(outs, [1, 0, 2])
        return {"logits": logits, "hidden": hidden, "state": state}

    def decode(self, x):
        """Maps outputs [..., H] to logits [..., V]."""
        rows = tf.reshape(x, [-1, self.config.output_size])
        logits = tf.matmul(rows, tf.convert_to_tensor(self.softmax), transpose_b=True)
        if self.softmax_bias is not None:
            logits = tf.nn.bias_add(logits, tf.convert_to_tensor(self.softmax_bias))
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
            masks: dropout masks, see the class.
            accuracy: count hits as well.
        """
        token_ids = tf.convert_to_tensor(token_ids)
        outs, state, dropped = self._encode(token_ids, state, training, masks)
        flat = tf.reshape(tf.transpose(labels), [-1])
        if weights is None:
            weights = tf.ones_like(flat, tf.float32)
        else:
            weights = tf.reshape(tf.transpose(tf.cast(weights, tf.float32)), [-1])
        bias = self.softmax_bias
        ce, correct = tied_cross_entropy(
            tf.reshape(dropped, [-1, self.config.output_size]),
            tf.convert_to_tensor(self.softmax),
            None if bias is None else tf.convert_to_tensor(bias),
            *(flat, weights),
            training=training,
            accuracy=accuracy,
        )
        steps = outs[1:] - outs[:-1]
        terms = []
        for x in (outs, steps):
            terms += [tf.reduce_sum(x * x), tf.cast(tf.size(x), tf.float32)]
        return LossSums(ce, tf.reduce_sum(weights), correct, *terms, state=state)

    def zero_state(self, batch) -> State:
        """Returns the state before any text."""
        return [cell.zero_state(batch) for cell in self.cells]

    @property
    def state_sizes(self) -> list[tuple[int, ...]]:
        """The widths of every layer's state."""
        return [cell.state_sizes for cell in self.cells]

    def use_plain_gradient(self) -> None:
        """Leaves gradients to automatic differentiation, for a SavedModel."""
        for cell in self.cells:
            cell.plain_gradient = True

    def _encode(self, token_ids, state, training, masks):
        """Returns outputs [T, B, H], the state after them, outputs after dropout."""
        batch = tf.shape(token_ids)[0]
        if masks is None:
            masks = self.draw_masks(batch) if training else {}
        state = self.zero_state(batch) if state is None else state
        ids = tf.transpose(token_ids)
        x = tf.gather(tf.convert_to_tensor(self.embedding), ids)
        if "word" in masks:
            x *= tf.gather(masks["word"], ids)
        if "embedding" in masks:
            x *= masks["embedding"]
        after = []
        for i, (cell, before) in enumerate(zip(self.cells, state, strict=True)):
            given = masks.get(f"layer{i}", {})
            x, now = cell(x, before, training=training, masks=given)
            after.append(tuple(tf.stop_gradient(part) for part in now))
        return x, after, x * masks["output"] if "output" in masks else x

    # --- dropout ---------------------------------------------------------------

    def draw_masks(self, batch) -> dict:
        """Returns masks for a batch of that size."""
        config = self.config
        rates = {name: rate for name, rate in config.dropouts.items() if rate}
        if not rates:
            return {}
        draw = _Draws(tf.cast(self.random.next(), tf.int32), rates)
        masks = {
            "word": draw("word", config.vocab_size, 1),
            "embedding": draw("embedding", batch, config.embedding_size),
            "output": draw("output", batch, config.output_size),
        }
        for i, cell in enumerate(self.cells):
            masks[f"layer{i}"] = found = {"input": draw("input", batch, cell.inputs)}
            if not cell.is_tree:
                found["node"] = draw("node", batch, cell.units)
            if "weight" in rates:
                found["weight"] = [draw("weight", *m.shape) for m in cell.matrices]
                if not cell.is_tree:
                    # What the input is multiplied with stays whole.
                    first = found["weight"][0]
                    ones = tf.ones_like(first[: cell.inputs])
                    found["weight"][0] = tf.concat([ones, first[cell.inputs :]], 0)
            masks[f"layer{i}"] = {k: v for k, v in found.items() if v is not None}
        return {name: mask for name, mask in masks.items() if mask is not None}


class _Draws:
    """Masks one after the other, out of one seed."""

    def __init__(self, seed, rates):
        self._seed, self._rates, self._count = seed, rates, 0

    def __call__(self, name: str, *shape) -> tf.Tensor | None:
        if name not in self._rates:
            return None
        rate = self._rates[name]
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._count)
        self._count += 1
        kept = tf.random.stateless_uniform(shape, seed) >= rate
        return tf.cast(kept, tf.float32) * (1.0 / (1.0 - rate))
