"""A cell with its weights: inputs made to fit, blocks, and the output's states."""

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.networks import ops
from tfdl.models.automl.networks.config import Place, State
from tfdl.models.automl.networks.ops import Named, Style
from tfdl.models.automl.spaces.cells import Block, Cell


class BlockLayer(keras.layers.Layer):
    """Two ops of two states, added, or concatenated and projected.

    Args:
        block: which ops, of which states.
        style: of the network.
        states: those that there are.
        filters: outputs.
        stride: of ops that read the cell's inputs.
    """

    def __init__(
        self,
        block: Block,
        style: Style,
        states: list[State],
        filters: int,
        stride: int,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.block, self.filters = block, filters
        self.halves = []
        self.channels = []
        for index, op in ((block.input1, block.op1), (block.input2, block.op2)):
            channels = states[index].channels
            strided = stride if index < 2 else 1
            self.channels.append(channels)
            self.halves.append(ops.create(op, style, channels, filters, strided))
        self.left, self.right = self.halves
        self.combine = None
        if block.combine == "concat":
            # Every state has the same depth, as the 1x1 convolutions "inserted as
            # necessary" of the paper allow.
            self.combine = ops.project(style, filters)
        self.drops = [
            None if op == "identity" else ops.DropPath()
            for op in (block.op1, block.op2)
        ]

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        for half, channels in zip(self.halves, self.channels, strict=True):
            if half is not None:
                half.build((None, None, None, channels))
        if self.combine is not None:
            self.combine.build((None, None, None, 2 * self.filters))
        self.built = True

    def call(self, states, training=False, keep=None):
        """Maps the list of states to the next one; see `CellLayer.call`."""
        results = []
        chosen = (self.block.input1, self.block.input2)
        for half, index, drop in zip(self.halves, chosen, self.drops, strict=True):
            x = states[index]
            if half is not None:
                x = half(x, training=training)
            if drop is not None and training and keep is not None:
                x = drop(x, keep=keep)
            results.append(x)
        if self.combine is None:
            return results[0] + results[1]
        return self.combine(tf.concat(results, -1), training=training)

    def named(self) -> Named:
        """Yields (name, variable)."""
        parts = {"left": self.left, "right": self.right, "combine": self.combine}
        for scope, part in parts.items():
            if part is not None:
                for name, variable in part.named():
                    yield f"{scope}/{name}", variable


class CellLayer(keras.layers.Layer):
    """A normal or reduction cell.

    Args:
        cell: the architecture.
        style: of the network.
        place: its inputs and its filters. In the first cell, without a previous
            input, the current one stands in for it as it is.
    """

    def __init__(self, cell: Cell, style: Style, place: Place, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.place = place
        filters, current, previous = place.filters, place.current, place.previous
        stride = 2 if place.kind == "reduction" else 1
        self.beginning = _beginning(style, filters, "1x1", "beginning_bn")
        self.match, depth = None, current.channels
        if previous is not None:
            self.match, depth = _matching(style, filters, current, previous)
        here, there = current.halvings, current.halvings + (stride > 1)
        states = [State(filters, here), State(depth, here)]
        self.blocks = []
        for i, block in enumerate(cell.blocks):
            layer = BlockLayer(
                block, style, states, filters, stride, name=f"comb_iter_{i}"
            )
            self.blocks.append(layer)
            states.append(State(filters, there))
        self.states = states
        self.fitted = {i: _fitting(style, states[i], states[-1]) for i in cell.used}
        # Keras does not look into the values of a dict for layers without a name.
        self.fitting = [layer for layer in self.fitted.values() if layer is not None]

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        current, previous = self.place.current, self.place.previous
        self.beginning.build((None, None, None, current.channels))
        if self.match is not None:
            self.match.build((None, None, None, previous.channels))
        for block in self.blocks:
            block.build()
        for index, layer in self.fitted.items():
            if layer is not None:
                layer.build((None, None, None, self.states[index].channels))
        self.built = True

    def call(self, current, previous=None, training=False, keep=None):
        """Maps two inputs to the cell's output [B, H', W', len(used) * filters].

        Args:
            current: [B, H, W, C].
            previous: [B, H, W, C'], or twice as high and wide, or None.
            training: whether batch statistics are used.
            keep: probability with which each op's result is kept for an example, a
                scalar; None keeps all.
        """
        if previous is None:
            previous = current
        elif self.match is not None:
            previous = self.match(previous, training=training)
        states = [self.beginning(current, training=training), previous]
        for block in self.blocks:
            states.append(block(states, training=training, keep=keep))
        results = []
        for index, layer in self.fitted.items():
            x = states[index]
            results.append(x if layer is None else layer(x, training=training))
        return tf.concat(results, -1) if len(results) > 1 else results[0]

    def named(self) -> Named:
        """Yields (name, variable)."""
        # These two have no scope of their own.
        for part in (self.beginning, self.match):
            if part is not None:
                yield from part.named()
        for block in self.blocks:
            for name, variable in block.named():
                yield f"{block.name}/{name}", variable
        for index, layer in self.fitted.items():
            if layer is not None:
                for name, variable in layer.named():
                    yield f"cell_output/reduction_{index}/{name}", variable


def _beginning(style: Style, filters: int, conv: str, norm: str) -> ops.Steps:
    return ops.Steps(
        [
            ops.Relu(name="relu"),
            ops.Conv(style, filters, name=conv),
            style.norm(norm),
        ]
    )


def _matching(
    style: Style, filters: int, current: State, previous: State
) -> tuple[keras.layers.Layer | None, int]:
    """Returns what makes the previous input fit, if anything, and its new depth."""
    if previous.halvings != current.halvings:
        _check_even(filters)
        return ops.FactorizedReduction(style, filters, relu=True), filters
    if previous.channels != filters:
        return _beginning(style, filters, "prev_1x1", "prev_bn"), filters
    return None, filters


def _fitting(style: Style, state: State, last: State) -> keras.layers.Layer | None:
    """Returns what makes a state fit the last block's for the output, if anything."""
    if state == last:
        return None
    if state.halvings != last.halvings:
        _check_even(last.channels)
        return ops.FactorizedReduction(style, last.channels, relu=False)
    layers = [
        ops.Conv(style, last.channels, name="path_conv"),
        style.norm("path_bn"),
    ]
    return ops.Steps(layers)


def _check_even(filters: int) -> None:
    if filters % 2:
        raise errors.UserError(
            f"a cell of {filters} filters halves one of its inputs in two equal "
            "parts: the number has to be even"
        )
