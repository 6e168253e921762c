"""ENAS's controllers: of micro cells, of whole networks, of recurrent cells."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdl.engine.options import number
from tfdl.models.automl.enas.controller import (
    Choices,
    Controller,
    Samples,
    gathered,
    number_of,
)


class MicroController(Controller):
    """Chooses a normal and a reduction cell (Pham et al. 2018, section 2.4).

    An architecture is `input operation input operation` for every block, the normal
    cell first; input 0 is the output before the previous one. A block's decisions
    are made in the order input, input, operation, operation. The second cell goes
    on from the first one's LSTM state.

    Args:
        blocks: of a cell.
        operations: how many there are.
        favoured: how many of them, the first ones, are likelier at the start: the
            original's convolutions. Their trained bias begins at 10, and in the
            normal cell they have .25 more than nothing, the others .25 less.
        hidden_size: of the LSTM.
        tanh_constant: C.
        op_tanh_reduce: operations' logits are bounded by C over this.
        temperature: T.
        init_range: weights start uniformly in +- this.
    """

    full_entropy = True

    def __init__(
        self,
        blocks: int = 5,
        operations: int = 5,
        favoured: int = 2,
        hidden_size: int = 64,
        tanh_constant: float = 1.10,
        op_tanh_reduce: float = 2.5,
        temperature: float = 1.0,
        init_range: float = 0.1,
    ):
        super().__init__(
            hidden_size, init_range, tanh_constant, temperature, "controller"
        )
        self.blocks = number_of("blocks", blocks, 1)
        self.op_tanh_reduce = number("op_tanh_reduce", op_tanh_reduce, 1e-6)
        size = self.hidden_size
        self.embedding = self.weight("emb", [operations, size])
        self.softmax = self.weight("soft_w", [size, operations])
        others = operations - favoured
        bias = [[10.0] * favoured + [0.0] * others]
        self.bias = self.add_weight(
            shape=[1, operations],
            initializer=keras.initializers.Constant(bias),
            name="soft_b",
        )
        self.fixed_bias = [[0.25] * favoured + [-0.25] * others]

    @property
    def length(self) -> int:
        """Four decisions a block, two cells."""
        return 8 * self.blocks

    def decide(self, choices: Choices) -> Samples:
        """Makes all decisions of both cells."""
        state = (self.zeros(choices), self.zeros(choices))
        state = self._cell(choices, state, 0)
        self._cell(choices, state, 4 * self.blocks)
        return choices.samples()

    def _cell(self, choices: Choices, state, first: int):
        """Decides one cell, which begins at position `first`; returns the state."""
        start = self.first_input(choices)
        anchors, keys = [], []
        for _ in range(2):
            state = self.step(start, state)
            anchors.append(self.zeros(choices))
            keys.append(tf.matmul(state[1], self.w_1))
        for block in range(self.blocks):
            position, inputs = first + 4 * block, start
            for i in range(2):
                state = self.step(inputs, state)
                logits = self.bounded(self.attention(keys, state[1]))
                chosen = choices.choose(position + 2 * i, logits)
                inputs = gathered(anchors, chosen)
            for i in range(2):
                state = self.step(inputs, state)
                logits = tf.matmul(state[1], self.softmax) + self.bias
                logits = self.bounded(logits, self.op_tanh_reduce)
                if first == 0:
                    logits += tf.constant(self.fixed_bias, logits.dtype)
                chosen = choices.choose(position + 2 * i + 1, logits)
                inputs = tf.gather(self.embedding, chosen)
            state = self.step(inputs, state)
            anchors.append(state[1])
            keys.append(tf.matmul(state[1], self.w_1))
        return state


class MacroController(Controller):
    """Chooses a whole network (Pham et al. 2018, section 2.3).

    An architecture is, layer by layer, an operation and one bit for every layer
    before, in order: whether its output is added.

    Args:
        layers: of the network.
        operations: how many there are.
        skip_target: the share of skip connections that is wished.
        hidden_size: of the LSTM.
        tanh_constant: C.
        temperature: T.
        init_range: weights start uniformly in +- this.
    """

    def __init__(
        self,
        layers: int = 12,
        operations: int = 6,
        skip_target: float = 0.4,
        hidden_size: int = 64,
        tanh_constant: float = 1.5,
        temperature: float = 1.0,
        init_range: float = 0.1,
    ):
        super().__init__(
            hidden_size, init_range, tanh_constant, temperature, "controller"
        )
        self.layer_count = number_of("layers", layers, 1)
        self.skip_target = number("skip_target", skip_target, 1e-6, 1.0)
        self.embedding = self.weight("emb", [operations, self.hidden_size])
        self.softmax = self.weight("soft_w", [self.hidden_size, operations])

    @property
    def length(self) -> int:
        """A decision a layer, and one for every pair of layers."""
        return self.layer_count * (self.layer_count + 1) // 2

    def decide(self, choices: Choices) -> Samples:
        """Makes all decisions of all layers."""
        state = (self.zeros(choices), self.zeros(choices))
        inputs = self.first_input(choices)
        anchors, keys, penalties, skips = [], [], [], []
        position = 0
        for layer in range(self.layer_count):
            state = self.step(inputs, state)
            logits = self.bounded(tf.matmul(state[1], self.softmax))
            chosen = choices.choose(position, logits)
            state = self.step(tf.gather(self.embedding, chosen), state)
            inputs = self.first_input(choices)
            if layer:
                found, penalty = self._skips(choices, position + 1, keys, state[1])
                skips += found
                penalties.append(penalty)
                bits = tf.stack(found, axis=1)
                inputs = tf.einsum("mk,mkh->mh", bits, tf.stack(anchors, axis=1))
                inputs /= 1.0 + tf.reduce_sum(bits, axis=1, keepdims=True)
            anchors.append(state[1])
            keys.append(tf.matmul(state[1], self.w_1))
            position += 1 + layer
        return choices.samples(penalties, skips)

    def _skips(
        self, choices: Choices, position: int, keys: Sequence[tf.Tensor], h: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Decides a layer's skip connections; returns them and the penalty [m]."""
        score = self.attention(keys, h)
        logits = self.bounded(tf.stack([-score, score], axis=2))
        bits = [
            tf.cast(choices.choose(position + i, logits[:, i]), logits.dtype)
            for i in range(len(keys))
        ]
        target = tf.constant([1.0 - self.skip_target, self.skip_target], logits.dtype)
        # The original's: sigmoids of both logits, which do not add up to 1.
        probability = tf.sigmoid(logits)
        divergence = probability * tf.math.log(probability / target)
        return bits, tf.reduce_sum(divergence, axis=[1, 2])


class RecurrentController(Controller):
    """Chooses a recurrent cell, as google-research's enas_lm does.

    An architecture is `node function` for the nodes 1 to L: which node before is its
    input (0 is the cell's first state), and what it applies. Near nodes are likelier:
    the logit of node j for node i is lowered by (i - j)^2 / 6.

    Args:
        nodes: L.
        functions: how many there are.
        hidden_size: of the LSTM.
        tanh_constant: C.
        temperature: T.
        init_range: weights start uniformly in +- this.
    """

    def __init__(
        self,
        nodes: int = 9,
        functions: int = 4,
        hidden_size: int = 64,
        tanh_constant: float = 2.25,
        temperature: float = 5.0,
        init_range: float = 0.01,
    ):
        super().__init__(
            hidden_size, init_range, tanh_constant, temperature, "controller"
        )
        self.nodes = number_of("nodes", nodes, 1)
        self.embedding = self.weight("emb", [functions, self.hidden_size])

    @property
    def length(self) -> int:
        """Two decisions a node."""
        return 2 * self.nodes

    def decide(self, choices: Choices) -> Samples:
        """Makes all decisions of all nodes."""
        state = (self.zeros(choices), self.zeros(choices))
        inputs = self.first_input(choices)
        anchors, keys = [self.zeros(choices)], [self.zeros(choices)]
        for node in range(1, self.nodes + 1):
            state = self.step(inputs, state)
            distance = float(node) - tf.range(node, dtype=state[1].dtype)
            logits = self.bounded(self.attention(keys, state[1]))
            logits -= tf.square(distance) / 6.0
            chosen = choices.choose(2 * node - 2, logits)
            far = tf.cast(node - chosen, logits.dtype)[:, None]
            inputs = gathered(anchors, chosen) / (0.1 + far)
            anchors.append(state[1])
            keys.append(tf.matmul(state[1], self.w_1))
            state = self.step(inputs, state)
            logits = self.bounded(tf.matmul(state[1], self.embedding, transpose_b=True))
            chosen = choices.choose(2 * node - 1, logits)
            inputs = tf.gather(self.embedding, chosen)
        return choices.samples()
