"""The network whose layers all share their weights: ENAS's macro space."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.enas import shared
from tfdl.models.automl.enas.controller import number_of
from tfdl.models.automl.spaces.enas import MACRO_OPS

_OUTER_EPSILON = 1e-3  # of what follows the larger convolutions, as the original's


class SharedMacro(shared.SharedNetwork):
    """All networks of ENAS's macro space at once (Pham et al. 2018, section 2.3).

    A layer applies one of six operations to the layer before and adds the outputs of
    chosen earlier ones. An operation is a 1x1 convolution, then the convolution or
    pooling proper. After a third and two thirds of the layers everything so far is
    reduced; the number of filters stays.

    Args:
        classes: of the images.
        layers: of the network.
        filters: of every layer.
        ops: the operations, a choice of the space's.
        keep: of the dropout before the last layer.

    Raises:
        UserError: a size that makes no network.
    """

    aux = None

    def __init__(
        self,
        classes: int,
        layers: int = 12,
        filters: int = 36,
        ops: Sequence[str] = MACRO_OPS,
        keep: float = 0.9,
    ):
        super().__init__(name="shared")
        for name in ops:
            if name not in MACRO_OPS:
                raise errors.unknown("op of the space enas_macro", name, MACRO_OPS)
        self.layer_count = number_of("layers", layers, 3)
        self.filters = shared.check_filters(filters)
        self.ops, self.keep = tuple(ops), keep
        third = layers // 3
        self.reductions = (third - 1, 2 * third - 1)
        self.stem = (
            self.weight("stem.w", [3, 3, 3, filters]),
            *self.norm("stem", [filters]),
        )
        self.branches, self.sums, self.pools = [], [], []
        for layer in range(layers):
            name = f"layer_{layer}"
            self.branches.append([self._branch(f"{name}.{op}", op) for op in ops])
            self.sums.append(self.norm(f"{name}.skip", [filters]) if layer else None)
            reduced = range(layer + 2) if layer in self.reductions else ()
            self.pools.append(
                [self.reduction(f"{name}.pool_{i}", filters, filters) for i in reduced]
            )
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
            inputs: `"image"` float32 [B, H, W, 3] and `"arc"` int32 [n], layer by
                layer an operation and a bit for every state before the last: the
                stem's output, then the earlier layers' outputs.
            training: whether there is dropout.
            seed: int32 [2], of the dropout.
        """
        arc, place = inputs["arc"], 0
        kernel, scale, offset = self.stem
        x = shared.batch_norm(shared.conv(inputs["image"], kernel), scale, offset)
        states = [x]
        for layer in range(self.layer_count):
            weights = [w for branch in self.branches[layer] for w in branch]
            weights = [tf.convert_to_tensor(w) for w in weights]
            x = self.node(states[-1], arc[place], *weights)
            if layer:
                bits = tf.unstack(arc[place + 1 : place + 1 + layer])
                x = tf.add_n([x, *map(_chosen, states[:-1], bits)])
                x = shared.batch_norm(x, *self.sums[layer])
            states.append(x)
            place += 1 + layer
            if self.pools[layer]:
                states = list(map(shared.reduce, states, self.pools[layer]))
        x = tf.reduce_mean(states[-1], axis=[1, 2])
        x = shared.dropout(x, self.keep, seed if training else None)
        return {"logits": tf.matmul(x, self.dense)}

    def auxiliary(self) -> list:
        """Returns the weights of an auxiliary head: there is none."""
        return []

    def _branch(self, name: str, op: str) -> tuple:
        """Returns the weights of one operation of one layer."""
        filters = self.filters
        weights = self.projection(f"{name}.inp", filters, filters)
        kind, side = op.split("_")
        side = int(side[0])
        if kind == "conv":
            kernels = (self.weight(f"{name}.w", [side, side, filters, filters]),)
        elif kind == "sep":
            kernels = (
                self.weight(f"{name}.depth", [side, side, filters, 1]),
                self.weight(f"{name}.point", [1, 1, filters, filters]),
            )
        else:
            return weights
        return (*weights, *kernels, *self.norm(name, [filters]))

    def _node(self, x, op, *weights):
        """Computes one operation; the weights of all of them are at hand."""
        rest = list(weights)
        branches = []
        for name in self.ops:
            count = {"conv": 6, "sep": 7}.get(name.split("_")[0], 3)
            branches.append(_operation(name, x, rest[:count]))
            rest = rest[count:]
        return tf.ensure_shape(tf.switch_case(op, branches), x.shape)


def _chosen(state: tf.Tensor, bit: tf.Tensor) -> tf.Tensor:
    """Returns the state where the bit is 1, else zeros."""
    return state * tf.cast(bit, state.dtype)


def _operation(name: str, x: tf.Tensor, weights: Sequence[tf.Tensor]):
    """Returns a function that computes one operation."""
    kind = name.split("_")[0]

    def run():
        kernel, scale, offset, *rest = weights
        y = tf.nn.relu(shared.batch_norm(shared.conv(x, kernel), scale, offset))
        if kind in ("avg", "max"):
            pool = tf.nn.avg_pool2d if kind == "avg" else tf.nn.max_pool2d
            return pool(y, 3, 1, "SAME")
        *kernels, scale, offset = rest
        y = (shared.conv if kind == "conv" else shared.separable)(y, *kernels)
        return tf.nn.relu(shared.batch_norm(y, scale, offset, _OUTER_EPSILON))

    return run
