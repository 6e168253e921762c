"""The language model whose recurrent cells all share their weights: ENAS's third space.

Pham et al. 2018, section 2.1, as google-research's enas_lm has it.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors, options
from tfdl.layers.cross_entropy import tied_cross_entropy
from tfdl.models.automl.enas.controller import number_of
from tfdl.models.automl.recurrent import nodes as nodes_lib
from tfdl.models.automl.recurrent.genotypes import NODE_FUNCTIONS

# What is dropped: words (rows of the embedding), entries of the embedded tokens, of the
# cell's input, of the states that nodes read, and of the output. One mask a window.
DROPOUTS = ("word", "embedding", "input", "node", "output")


class SharedRecurrent(keras.Model):
    """All cells of ENAS's recurrent space at once, in a language model.

    Node i has a matrix for every function that it may apply and every node that it may
    read: [functions, i, H, 2H]. The embedding is the softmax as well.

    Args:
        vocab_size: V.
        nodes: of a cell, besides node 0.
        hidden_size: H, of the embedding as well.
        init_range: weights start uniformly in +- this.
        dropouts: rates by the names of `DROPOUTS`.

    Raises:
        UserError: a size or a rate that makes no sense.
    """

    def __init__(
        self,
        vocab_size: int,
        nodes: int = 8,
        hidden_size: int = 200,
        init_range: float = 0.05,
        dropouts: Mapping[str, float] | None = None,
    ):
        super().__init__(autocast=False, name="shared")
        self.vocab_size, self.nodes = vocab_size, nodes
        self.hidden_size = number_of("hidden_size", hidden_size, 1)
        bound = options.number("init_range", init_range)
        self.dropouts = dict(dropouts or {})
        for name, rate in self.dropouts.items():
            if name not in DROPOUTS:
                raise errors.unknown("network.dropouts", name, DROPOUTS)
            options.number(f"network.dropouts.{name}", rate, below=1.0)
        size = self.hidden_size
        shapes = {"embedding": [vocab_size, size], "w_prev": [2 * size, 2 * size]}
        functions = len(NODE_FUNCTIONS["enas_lm"])
        for i in range(1, nodes + 1):
            shapes[f"layer_{i}"] = [functions, i, size, 2 * size]
        start = keras.initializers.RandomUniform(-bound, bound)
        made = {
            name: self.add_weight(name=name, shape=shape, initializer=start)
            for name, shape in shapes.items()
        }
        self.embedding, self.w_prev, *self.layer_weights = made.values()
        self.built = True

    def matrices(self, arc: tf.Tensor) -> list[tf.Tensor]:
        """Returns the matrices that a cell uses: [2H, 2H], then [H, 2H] of each node.

        Args:
            arc: int32 [2 nodes], of every node the node that it reads and its function.
        """
        chosen = [
            tf.gather_nd(weight, [[arc[2 * i + 1], arc[2 * i]]])[0]
            for i, weight in enumerate(self.layer_weights)
        ]
        return [tf.convert_to_tensor(self.w_prev), *chosen]

    def call(
        self,
        inputs: Mapping[str, tf.Tensor],
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """Computes what the cell that `inputs["arc"]` describes makes of a window.

        Args:
            inputs: `"token_ids"` int32 [B, T], `"arc"`, and `"state"` [B, H], zeros
                without.
            training: keep what a gradient needs, and drop.
            seed: int32 [2], of the masks.

        Returns:
            `"hidden"` [T, B, H], `"dropped"`, the same for the softmax, `"state"`
            [B, H], and `"matrices"`, see there.
        """
        ids, arc = inputs["token_ids"], inputs["arc"]
        rows = tf.shape(ids)[0]
        state = inputs.get("state")
        if state is None:
            state = tf.zeros([rows, self.hidden_size])
        masks = self._masks(rows, seed) if training and seed is not None else {}
        time_first = tf.transpose(ids)
        x = tf.gather(tf.convert_to_tensor(self.embedding), time_first)
        if "word" in masks:
            x *= tf.gather(masks["word"], time_first)
        for name in ("embedding", "input"):
            x = x * masks[name] if name in masks else x
        w_prev, *layers = matrices = self.matrices(arc)
        plan = nodes_lib.PlanOfArc(tf.ensure_shape(arc, [2 * self.nodes]))
        outs, state = nodes_lib.run(
            *(plan, x, w_prev, layers, state, training),
            dropped=masks.get("node"),
        )
        dropped = outs * masks["output"] if "output" in masks else outs
        return {
            "hidden": outs,
            "dropped": dropped,
            "state": tf.stop_gradient(state),
            "matrices": matrices,
        }

    def cross_entropy(
        self, outputs: Mapping[str, tf.Tensor], labels: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Returns the mean cross-entropy of a window whose next tokens are `labels`."""
        flat = tf.reshape(tf.transpose(labels), [-1])
        rows = tf.reshape(outputs["dropped"], [-1, self.hidden_size])
        total, _ = tied_cross_entropy(
            *(rows, tf.convert_to_tensor(self.embedding), None, flat),
            tf.ones_like(flat, tf.float32),
            training=training,
        )
        return total / tf.cast(tf.size(labels), tf.float32)

    def auxiliary(self) -> list:
        """Returns the weights of an auxiliary head: there is none."""
        return []

    def _masks(self, rows: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        masks = {}
        for i, name in enumerate(DROPOUTS):
            rate = self.dropouts.get(name, 0.0)
            if rate:
                shape = [rows, self.hidden_size]
                shape = [self.vocab_size, 1] if name == "word" else shape
                key = tf.random.experimental.stateless_fold_in(seed, i)
                kept = tf.random.stateless_uniform(shape, key) >= rate
                masks[name] = tf.cast(kept, tf.float32) / (1.0 - rate)
        return masks
