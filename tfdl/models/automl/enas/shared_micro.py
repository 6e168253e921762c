"""The network whose cells all share their weights: ENAS's micro space."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.enas import shared
from tfdl.models.automl.enas.controller import number_of
from tfdl.models.automl.spaces.enas import MICRO_OPS

_SIDES = {"sep_3x3": 3, "sep_5x5": 5}
_HALVES = 2  # a separable convolution is applied twice


class SharedMicro(shared.SharedNetwork):
    """All networks of ENAS's micro space at once (Pham et al. 2018, section 2.4).

    Differs from the final networks as the original's does: a reduction layer is a
    factorised reduction followed by a cell of stride 1; inputs go through ReLU, 1x1
    convolution and normalisation only where channels or sizes differ; loose ends are
    brought to `filters` by a 1x1 convolution of which each possible one has a slice.
    Each block's operation has weights for every input that it may read.

    Args:
        classes: of the images.
        blocks: of a cell.
        layers: normal cells; two reduction layers come on top of them.
        filters: of the first cells; they double at each reduction.
        ops: the operations, a choice of the space's.
        keep: of the dropout before the last layer.
        aux_size: height and width of the images if there shall be an auxiliary head
            behind the second reduction; 0 leaves it out.

    Raises:
        UserError: a size that makes no network.
    """

    def __init__(
        self,
        classes: int,
        blocks: int = 5,
        layers: int = 6,
        filters: int = 20,
        ops: Sequence[str] = MICRO_OPS,
        keep: float = 0.9,
        aux_size: int = 0,
    ):
        super().__init__(name="shared")
        for name in ops:
            if name not in MICRO_OPS:
                raise errors.unknown("op of the space enas_micro", name, MICRO_OPS)
        self.blocks, self.ops, self.keep = number_of("blocks", blocks, 1), ops, keep
        layers = number_of("layers", layers, 1)
        shared.check_filters(filters)
        self.slots = sum(2 * (2 + block) for block in range(blocks))
        self.reductions = (layers // 3, 2 * (layers // 3) + 1)
        stem = 3 * filters
        self.stem = (self.weight("stem.w", [3, 3, 3, stem]), *self.norm("stem", [stem]))
        self.cells = []
        channels = (stem, stem)
        for layer in range(layers + 2):
            reduces = layer in self.reductions
            cell = _Cell(self, f"layer_{layer}", channels, filters, reduces)
            filters, channels = cell.filters, (cell.passes, cell.filters)
            self.cells.append(cell)
        self.aux = None
        if aux_size:
            self.aux_layer = self.reductions[1] + 1
            side = (aux_size + 3) // 4  # two reductions that round up
            filters_there = self.cells[self.aux_layer].filters
            self.aux = shared.AuxHead(self, filters_there, side, classes)
        self.dense = self.weight("fc.w", [filters, classes])
        self.built = True
        self.node = shared.unit(self._node)

    def call(
        self,
        inputs: Mapping[str, tf.Tensor],
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Computes the network that `inputs["arc"]` describes.

        Args:
            inputs: `"image"` float32 [B, H, W, 3] and `"arc"` int32 [8 * blocks].
            training: whether there are dropout and auxiliary logits.
            seed: int32 [2], of the dropout.
        """
        arc = tf.reshape(inputs["arc"], [2, 4 * self.blocks])
        kernel, scale, offset = self.stem
        x = shared.batch_norm(shared.conv(inputs["image"], kernel), scale, offset)
        pair, outputs = (x, x), {}
        for i, cell in enumerate(self.cells):
            pair = cell.run(self, pair, arc[int(cell.reduces)])
            if training and self.aux is not None and i == self.aux_layer:
                outputs["aux_logits"] = self.aux.run(pair[1])
        x = tf.reduce_mean(tf.nn.relu(pair[1]), axis=[1, 2])
        x = shared.dropout(x, self.keep, seed if training else None)
        return {"logits": tf.matmul(x, self.dense), **outputs}

    def auxiliary(self) -> list:
        """Returns the auxiliary head's weights."""
        return [v for v in self.trainable_variables if "aux_head" in v.path]

    def _node(self, x, op, *weights):
        """Computes one operation; the weights of all convolutions are at hand."""

        def separable(side, depth, point, scale, offset):
            def run():
                y = x
                for half in range(_HALVES):
                    y = shared.separable(tf.nn.relu(y), depth[half], point[half])
                    y = shared.batch_norm(y, scale[half], offset[half])
                return y

            return run

        branches, rest = [], list(weights)
        for name in self.ops:
            if name in _SIDES:
                branches.append(separable(_SIDES[name], *rest[:4]))
                rest = rest[4:]
            elif name == "identity":
                branches.append(lambda: tf.identity(x))
            else:
                pool = tf.nn.avg_pool2d if name == "avg_3x3" else tf.nn.max_pool2d
                branches.append(lambda pool=pool: pool(x, 3, 1, "SAME"))
        return tf.ensure_shape(tf.switch_case(op, branches), x.shape)


class _Cell:
    """A layer: its weights, and what it does with them.

    Attributes:
        filters: that come out.
        passes: channels of what is the next layer's input before the last.
        reduces: whether the resolution is halved.
    """

    def __init__(self, net, name, channels, filters, reduces):
        before, last = channels
        self.reduces = reduces
        self.halve = None
        if reduces:
            filters *= 2
            self.halve = net.reduction(f"{name}.halve", last, filters)
            # The input before the last is the last one's unreduced form.
            self.match_before = net.reduction(f"{name}.pool_x", last, filters)
            self.match_last = None
        else:
            self.match_before = self.match_last = None
            if before != filters:
                self.match_before = net.projection(f"{name}.pool_x", before, filters)
            if last != filters:
                self.match_last = net.projection(f"{name}.pool_y", last, filters)
        self.filters = filters
        self.passes = filters if reduces else last
        self.convolutions = []
        for op in net.ops:
            if op in _SIDES:
                self.convolutions += _convolution(net, f"{name}.{op}", op, filters)
        states = net.blocks + 2
        self.combine = net.weight(
            f"{name}.final.w", [states, filters, filters], fan_in=2 * filters
        )
        self.combine_norm = net.norm(f"{name}.final", [filters])

    def run(self, net, pair, arc):
        """Returns the next pair: what stands for the last input, and the output."""
        before, last = pair
        if self.reduces:
            before, last = last, shared.reduce(last, self.halve)
            states = [shared.reduce(tf.nn.relu(before), self.match_before), last]
        else:
            states = [before, last]
            for i, match in enumerate((self.match_before, self.match_last)):
                if match is not None:
                    states[i] = shared.project(states[i], match)
        slot = 0
        for block in range(net.blocks):
            stacked = tf.stack(states)
            results = []
            for side in range(2):
                which, op = arc[4 * block + 2 * side], arc[4 * block + 2 * side + 1]
                weights = [tf.gather(w, slot + which) for w in self.convolutions]
                results.append(net.node(stacked[which], op, *weights))
                slot += 2 + block
            states.append(results[0] + results[1])
        return last, self._loose_ends(net, states, arc)

    def _loose_ends(self, net, states, arc):
        """Combines the states that no block reads."""
        read = tf.one_hot(arc[0::2], net.blocks + 2)
        loose = tf.cast(tf.reduce_sum(read, axis=0) == 0, self.combine.dtype)
        kernel = self.combine * loose[:, None, None]
        kernel = tf.reshape(kernel, [1, 1, -1, self.filters])
        x = shared.conv(tf.nn.relu(tf.concat(states, axis=3)), kernel)
        return shared.batch_norm(x, *self.combine_norm)


def _convolution(net, name, op, filters) -> list:
    """Returns the weights of an operation for every place and input it may have.

    Their fans are those of a single network, where the original takes the number of
    inputs for it: what follows is normalised, so that larger weights learn slower and
    nothing else.
    """
    side, shape = _SIDES[op], [net.slots, _HALVES]
    depth = [*shape, side, side, filters, 1]
    depth = net.weight(f"{name}.depth", depth, side * side)
    point = net.weight(f"{name}.point", [*shape, 1, 1, filters, filters], filters)
    return [depth, point, *net.norm(name, [*shape, filters])]
