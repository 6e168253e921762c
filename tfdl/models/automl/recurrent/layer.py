"""A recurrent cell with its weights, as a Keras layer."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfdl.models.automl.recurrent import nodes, tree
from tfdl.models.automl.recurrent.genotypes import Cell, TreeCell

State = tuple[tf.Tensor, ...]


class CellLayer(keras.layers.Layer):
    """Runs a cell over sequences.

    A tree's variables and state are those of `tf.contrib.rnn.NASCell`: kernel [in, 8u],
    recurrent_kernel [out, 8u], bias [8u] and projection_weights [u, out] if wished,
    and (c, m). Highway nodes have w_prev [in + H, 2H], layer_0, ... [H, 2H] as in
    google-research's enas_lm, and (s,).

    Args:
        cell: what it computes.
        inputs: width of what comes in.
        units: width of the state.
        projection: width that a tree's output is projected to; 0 leaves it.
        bias: whether a tree has one.
        init_range: weights start uniform within it; 0 is Glorot's.

    Attributes:
        plain_gradient: leave gradients to automatic differentiation, which is slower
            but can be restored from a SavedModel.
    """

    def __init__(
        self,
        cell: Cell,
        inputs: int,
        units: int,
        projection: int = 0,
        bias: bool = False,
        init_range: float = 0.0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.cell, self.inputs, self.units = cell, inputs, units
        self.projection, self.bias, self.init_range = projection, bias, init_range
        self.plain_gradient = False
        self.is_tree = isinstance(cell, TreeCell)
        self._plan = None if self.is_tree else nodes.Plan(cell)

    @property
    def output_size(self) -> int:
        """The width of the outputs."""
        return self.projection or self.units

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of the state's tensors."""
        return (self.units, self.output_size) if self.is_tree else (self.units,)

    def build(self, input_shape=None):
        """Makes the weights; see the class."""

        def weight(name, *shape, initializer=None):
            if initializer is None and self.init_range:
                bound = self.init_range
                initializer = keras.initializers.RandomUniform(-bound, bound)
            initializer = initializer or keras.initializers.GlorotUniform()
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.matrices = []  # those that multiply states
        if self.is_tree:
            wide = self.cell.base * self.units
            self.kernel = weight("kernel", self.inputs, wide)
            self.matrices.append(weight("recurrent_kernel", self.output_size, wide))
            self.bias_vector = self.projection_weights = None
            if self.bias:
                self.bias_vector = weight("bias", wide, initializer="zeros")
            if self.projection:
                self.projection_weights = weight(
                    "projection_weights", self.units, self.projection
                )
            return
        wide = 2 * self.units
        self.matrices.append(weight("w_prev", self.inputs + self.units, wide))
        for i in range(len(self.cell.nodes)):
            self.matrices.append(weight(f"layer_{i}", self.units, wide))

    def zero_state(self, batch) -> State:
        """Returns the state before any input."""
        return tuple(tf.zeros([batch, width]) for width in self.state_sizes)

    def call(self, x, state, training=False, masks: Mapping = {}, mask=None):  # noqa: B006
        """Runs the cell.

        Args:
            x: [T, B, in].
            state: what an earlier call returned, or `zero_state`.
            training: whether gradients will be asked for.
            masks: of dropout, already divided by the share that is kept: "input"
                [B, in], "node" [B, H], "weight" of each of `matrices`.
            mask: bool [T, B], where there is an input.

        Returns:
            The outputs [T, B, out] and the state after them.
        """
        fast = training and not self.plain_gradient
        if "input" in masks:
            x *= masks["input"]
        matrices = [tf.convert_to_tensor(matrix) for matrix in self.matrices]
        if "weight" in masks:
            dropped = zip(matrices, masks["weight"], strict=True)
            matrices = [matrix * each for matrix, each in dropped]
        if self.is_tree:
            rest = (self.bias_vector, self.projection_weights)
            rest = [None if w is None else tf.convert_to_tensor(w) for w in rest]
            kernel = tf.convert_to_tensor(self.kernel)
            weights = tree.Weights(kernel, matrices[0], *rest)
            function = tree.function_of(self.cell)
            c, m = state
            outs, m, c = tree.run(function, x, weights, m, c, fast, mask)
            return outs, (c, m)
        outs, s = nodes.run(
            self._plan,
            *(x, matrices[0], matrices[1:], state[0]),
            training=fast,
            dropped=masks.get("node"),
            mask=mask,
        )
        return outs, (s,)
