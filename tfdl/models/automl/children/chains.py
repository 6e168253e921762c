"""Chains of layers on flat weights: what an op of a cell does, and its gradient.

A child's graph holds every op that a place may get, and runs the one that was chosen.
For that all of a place's ops take their weights from one vector, and gradients are made
by hand: automatic ones of `tf.switch_case` hand what every branch keeps to every other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdl.layers.pointwise import pointwise
from tfdl.layers.spread import spread


class Layer(NamedTuple):
    """One step of a chain.

    Attributes:
        kind: `relu`, `conv`, `depthwise`, `norm` (batch normalisation), `avg`, `max`,
            `halve` (the factorised reduction; with stride 1 a plain 1x1 conv),
            `select` (a 1x1 conv that isn't trained), `sum` (adds the two halves of
            the channels), `zeros`.
        kernel: height and width.
        filters: channels that come out of `conv`, `halve`, `select` and `zeros`.
        stride: of `depthwise`, `avg`, `max`, `halve` and `zeros`; of `conv` that of
            rows and that of columns.
        dilation: of `conv` and `depthwise`.
    """

    kind: str
    kernel: tuple[int, int] = (1, 1)
    filters: int = 0
    stride: int | tuple[int, int] = 1
    dilation: int = 1


Chain = tuple[Layer, ...]


class Piece(NamedTuple):
    """A tensor of a chain's weights.

    Attributes:
        layer: the number of its layer in the chain.
        name: `kernel`, `kernel2`, `gamma` or `beta`.
        shape: its shape.
    """

    layer: int
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape))


def output_channels(chain: Chain, channels: int) -> int:
    """Returns how many channels come out of a chain that `channels` go into."""
    return _walk(chain, channels)[1][-1]


def pieces(chain: Chain, channels: int) -> list[Piece]:
    """Returns the weights of a chain in the order in which its vector holds them."""
    return _walk(chain, channels)[0]


def norms(chain: Chain, channels: int) -> list[int]:
    """Returns the channels of a chain's batch normalisations.

    Their statistics are a vector as well: mean, then variance, of each.
    """
    return [p.shape[0] for p in pieces(chain, channels) if p.name == "gamma"]


def _walk(chain: Chain, channels: int) -> tuple[list[Piece], list[int]]:
    """Returns the weights, and the channels that go into every layer and come out."""
    found, through = [], [channels]
    for i, layer in enumerate(chain):
        if layer.kind in ("conv", "select"):
            shape = (*layer.kernel, channels, layer.filters)
            found.append(Piece(i, "kernel", shape))
        elif layer.kind == "depthwise":
            found.append(Piece(i, "kernel", (*layer.kernel, channels, 1)))
        elif layer.kind == "halve" and layer.stride == 1:
            found.append(Piece(i, "kernel", (1, 1, channels, layer.filters)))
        elif layer.kind == "halve":
            shape = (1, 1, channels, layer.filters // 2)
            found += [Piece(i, "kernel", shape), Piece(i, "kernel2", shape)]
        elif layer.kind == "norm":
            found += [Piece(i, name, (channels,)) for name in ("gamma", "beta")]
        if layer.kind == "sum":
            channels //= 2
        channels = layer.filters or channels
        through.append(channels)
    return found, through


class Program:
    """A chain's forward and backward pass on flat weights.

    Args:
        chain: the layers.
        channels: that go in.
        side: height and width of what goes in.
        epsilon: of the batch normalisations.
    """

    def __init__(self, chain: Chain, channels: int, side: int, epsilon: float):
        self.chain, self.epsilon = chain, epsilon
        self.pieces, through = _walk(chain, channels)
        self.shapes, height, width = [], side, side
        for layer, count in zip(chain, through, strict=False):
            self.shapes.append([None, height, width, count])
            stride = layer.stride
            down, across = (stride, stride) if isinstance(stride, int) else stride
            height, width = -(-height // down), -(-width // across)
        self.norms = norms(chain, channels)
        self.size = sum(piece.size for piece in self.pieces)
        self.statistics = 2 * sum(self.norms)
        self.kept = max(len(chain) + 2 * len(self.norms), 1)

    def weights(self, vector: tf.Tensor) -> list[list[tf.Tensor]]:
        """Returns the weights of every layer out of a vector that may be longer."""
        found: list[list[tf.Tensor]] = [[] for _ in self.chain]
        rest = vector.shape[0] - self.size
        sizes = [piece.size for piece in self.pieces] + [rest] * (rest > 0)
        if not self.pieces:
            return found
        parts = tf.split(vector, sizes)
        for piece, part in zip(self.pieces, parts, strict=False):
            found[piece.layer].append(tf.reshape(part, piece.shape))
        return found

    def train(
        self, x: tf.Tensor, vector: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Runs with batch statistics.

        Returns:
            What comes out; the statistics of the batch, flat, variances unbiased as
            fused kernels give them; what `gradient` needs.
        """
        kept, statistics = [], []
        for layer, weights in zip(self.chain, self.weights(vector), strict=True):
            kept.append(x)
            if layer.kind == "norm":
                x, mean, variance, *saved = tf.raw_ops.FusedBatchNormV3(
                    x=x,
                    scale=weights[0],
                    offset=weights[1],
                    mean=tf.constant([]),
                    variance=tf.constant([]),
                    epsilon=self.epsilon,
                    is_training=True,
                )
                statistics += [mean, variance]
                kept += saved[:2]
            else:
                x = _apply(layer, x, weights)
        flat = tf.concat(statistics, 0) if statistics else tf.zeros([0])
        return x, flat, kept

    def infer(
        self, x: tf.Tensor, vector: tf.Tensor, statistics: tf.Tensor
    ) -> tf.Tensor:
        """Runs with given statistics, flat and perhaps longer than needed."""
        start = 0
        for layer, weights in zip(self.chain, self.weights(vector), strict=True):
            if layer.kind == "norm":
                count = weights[0].shape[0]
                mean = statistics[start : start + count]
                variance = statistics[start + count : start + 2 * count]
                start += 2 * count
                x = tf.raw_ops.FusedBatchNormV3(
                    x=x,
                    scale=weights[0],
                    offset=weights[1],
                    mean=mean,
                    variance=variance,
                    epsilon=self.epsilon,
                    is_training=False,
                )[0]
            else:
                x = _apply(layer, x, weights)
        return x

    def gradient(
        self, vector: tf.Tensor, kept: Sequence[tf.Tensor], dy: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradients by what went in and by the vector of weights."""
        kept = list(kept)[: self.kept]
        layers = list(zip(self.chain, self.weights(vector), strict=True))
        found: list[list[tf.Tensor]] = []
        for i, (layer, weights) in reversed(list(enumerate(layers))):
            statistics = [kept.pop() for _ in range(2 * (layer.kind == "norm"))]
            x = tf.ensure_shape(kept.pop(), self.shapes[i])
            if layer.kind == "norm":
                variance, mean = statistics
                dy, *by_weight = tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=dy,
                    x=x,
                    scale=weights[0],
                    reserve_space_1=mean,
                    reserve_space_2=variance,
                    reserve_space_3=tf.constant([]),
                    epsilon=self.epsilon,
                    is_training=True,
                )[:3]
            else:
                dy, by_weight = _gradient(layer, x, weights, dy)
            found = [by_weight, *found]
        flat = [tf.reshape(d, [-1]) for by_weight in found for d in by_weight]
        flat.append(tf.zeros([vector.shape[0] - self.size]))
        return dy, tf.concat(flat, 0)


def _gradient(layer, x, weights, dy):
    """Returns a layer's gradients by its input and by its weights."""
    if layer.kind == "zeros":
        return tf.zeros_like(x), []
    if layer.kind == "sum":
        return tf.concat([dy, dy], -1), []
    # What the tape computes once more, and no gradient needs, is pruned.
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        y = _apply(layer, x, weights)
    dx, *by_weight = tape.gradient(
        y, [x, *weights], dy, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return dx, by_weight


def _apply(layer: Layer, x: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """Runs a layer other than a batch normalisation."""
    kind, stride = layer.kind, layer.stride
    if kind == "relu":
        return tf.nn.relu(x)
    if kind == "conv" and layer.kernel == (1, 1):
        if stride not in (1, (1, 1)):
            x, _ = _every_other(x)
        return _product(x, weights[0])
    if kind == "conv":
        kernel = spread(weights[0], layer.dilation)
        return tf.nn.conv2d(x, kernel, stride, "SAME")
    if kind == "select":
        return _product(x, tf.stop_gradient(weights[0]))
    if kind == "depthwise":
        kernel = spread(weights[0], layer.dilation)
        return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
    if kind == "avg":
        return tf.nn.avg_pool2d(x, layer.kernel, stride, "SAME")
    if kind == "max":
        return tf.nn.max_pool2d(x, layer.kernel, stride, "SAME")
    if kind == "sum":
        first, second = tf.split(x, 2, -1)
        return first + second
    if kind == "halve" and stride == 1:
        return _product(x, weights[0])
    if kind == "halve":
        even, odd = _every_other(x)
        paths = [_product(even, weights[0]), _product(odd, weights[1])]
        return tf.concat(paths, -1)
    if kind == "zeros":
        shape = tf.shape(x[:, ::stride, ::stride, :1])
        return tf.zeros(tf.concat([shape[:3], [layer.filters]], 0))
    raise ValueError(f"no layer of kind {kind!r}")


def _every_other(x):
    """Returns the pixels (0, 0), (0, 2) ... and (1, 1), (1, 3) ...; zeros beyond.

    The gradient of slices with a stride takes longer than a convolution.
    """
    odd = [[0, side % 2] for side in x.shape[1:3]]
    if any(pair[1] for pair in odd):
        x = tf.pad(x, [[0, 0], *odd, [0, 0]])
    blocks = tf.nn.space_to_depth(x, 2)
    channels = x.shape[3]
    return blocks[..., :channels], blocks[..., 3 * channels :]


def _product(x, kernel):
    return pointwise(x, tf.reshape(kernel, kernel.shape[2:]))
