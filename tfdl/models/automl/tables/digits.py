"""The children of our table: two small cells that learn scikit-learn's digits.

The network is a 3x3 convolution to 8 channels, the cell, 2x2 max pooling, a 1x1
convolution to 16 channels, the cell again, the mean, a dense layer. A child is 4
epochs of 20 batches. Architectures that differ only in edges off every path are one
network, as all edges have their weights drawn, used or not.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.spaces.dag import DagSpace
from tfdl.models.automl.spaces.space import Architecture

TRAIN, VALID, TEST = 1000, 400, 397
EPOCHS, BATCH = 4, 50
STEPS = EPOCHS * TRAIN // BATCH
RATE, MOMENTUM = 0.1, 0.9
BN_DECAY, BN_EPSILON = 0.9, 1e-5
_SPLIT_SEED = 2018
_CHANNELS = (8, 16)
_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Correct:
    """How many digits a trained child names correctly.

    Attributes:
        train: of 1000.
        valid: of 400.
        test: of 397.
    """

    train: int
    valid: int
    test: int


@functools.lru_cache(maxsize=1)
def load() -> tuple[np.ndarray, np.ndarray]:
    """Returns digits [1797, 8, 8, 1], standardised, and labels: train, valid, test."""
    from sklearn import datasets

    digits = datasets.load_digits()
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(digits.target))
    images = (digits.images[order] / 16).astype(np.float32)
    mean, deviation = images[:TRAIN].mean(), images[:TRAIN].std()
    images = (images - mean) / deviation
    return images[..., None], digits.target[order].astype(np.int32)


def batches(seed: int) -> np.ndarray:
    """Returns which training digits every step learns from, [steps, batch]."""
    rng = np.random.RandomState(1000 + seed)
    order = np.concatenate([rng.permutation(TRAIN) for _ in range(EPOCHS)])
    return order.reshape(STEPS, BATCH).astype(np.int32)


def check(space: DagSpace) -> None:
    """Raises `UserError` for an operation that children cannot have."""
    for op in space.ops:
        if op not in OPS:
            raise errors.unknown("operation of the table's children", op, OPS)


class Trainer:
    """Trains children, all by one graph.

    Args:
        space: the cell's nodes and operations.
    """

    def __init__(self, space: DagSpace):
        check(space)
        self._space = space
        edges = len(space.edges)
        small, large = _CHANNELS
        self._kernels = (
            [(3, 3, 1, small)]
            + [(3, 3, small, small)] * edges
            + [(3, 3, large, large)] * edges
            + [(1, 1, small, large)]
        )
        self._shapes = [*self._kernels, (large, _CLASSES), (_CLASSES,)]
        self._norms = [shape[-1] for shape in self._kernels]
        images, labels = load()
        self._images, self._labels = tf.constant(images), tf.constant(labels)
        self._run = tf.function(self._train)

    def train(self, arch: Architecture, seed: int) -> Correct:
        """Trains a child from new weights; the same seed, the same result."""
        canonical = self._space.canonical(self._space.check(arch))
        counts = self._run(
            tf.constant(self.initial(seed)),
            tf.constant(canonical, tf.int32),
            tf.constant(batches(seed)),
        )
        return Correct(*map(int, counts.numpy()))

    def initial(self, seed: int) -> np.ndarray:
        """Returns the weights of a seed, flat: kernels, dense, gammas, betas."""
        rng = np.random.RandomState(seed)
        parts = []
        for shape in self._kernels:
            deviation = np.sqrt(2 / np.prod(shape[:-1]))
            parts.append(rng.randn(*shape) * deviation)
        parts.append(rng.randn(*self._shapes[-2]) * 0.1)
        total = sum(self._norms)
        parts += [np.zeros(_CLASSES), np.ones(total), np.zeros(total)]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def _train(self, weights, arch, order):
        total = sum(self._norms)
        velocity = tf.zeros_like(weights)
        moving = tf.stack([tf.zeros(total), tf.ones(total)])

        def step(i, weights, velocity, moving):
            images = tf.ensure_shape(
                tf.gather(self._images, order[i]), (BATCH, *self._images.shape[1:])
            )
            labels = tf.gather(self._labels, order[i])
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits, batch = self._logits(images, weights, moving, arch, True)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                )
            gradient = tape.gradient(loss, weights)
            share = tf.cast(i, tf.float32) / STEPS
            rate = RATE / 2 * (1 + tf.cos(np.float32(np.pi) * share))
            velocity = MOMENTUM * velocity + gradient
            weights -= rate * (gradient + MOMENTUM * velocity)
            moving = BN_DECAY * moving + (1 - BN_DECAY) * batch
            return i + 1, weights, velocity, moving

        _, weights, _, moving = tf.while_loop(
            lambda i, *_: i < STEPS, step, (0, weights, velocity, moving)
        )
        logits, _ = self._logits(self._images, weights, moving, arch, False)
        right = tf.equal(tf.argmax(logits, -1, tf.int32), self._labels)
        parts = tf.split(tf.cast(right, tf.int32), [TRAIN, VALID, TEST])
        return tf.stack([tf.reduce_sum(part) for part in parts])

    def _logits(self, images, weights, moving, arch, training):
        """Returns logits, and the statistics [2, channels] of all normalisations."""
        total = sum(self._norms)
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        *parts, gammas, betas = tf.split(weights, [*sizes, total, total])
        values = [tf.reshape(p, s) for p, s in zip(parts, self._shapes, strict=True)]
        affine = zip(
            values,
            tf.split(gammas, self._norms),
            tf.split(betas, self._norms),
            tf.split(moving[0], self._norms),
            tf.split(moving[1], self._norms),
            strict=False,
        )
        layers = [_Layer(*layer, training) for layer in affine]
        edges = len(self._space.edges)
        x, first = layers[0].apply(images)
        x, small = self._cell(x, layers[1 : 1 + edges], arch)
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x, widen = layers[-1].apply(tf.nn.relu(x))
        x, large = self._cell(x, layers[1 + edges : -1], arch)
        x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
        means, variances = zip(first, *small, *large, widen, strict=True)
        statistics = tf.stack([tf.concat(means, 0), tf.concat(variances, 0)])
        return x @ values[-2] + values[-1], statistics

    def _cell(self, x, layers, arch):
        nodes, statistics = [x], []
        for j in range(1, self._space.nodes):
            incoming = []
            for edge, (i, to) in enumerate(self._space.edges):
                if to == j:
                    branches = [
                        functools.partial(OPS[op], nodes[i], layers[edge])
                        for op in self._space.ops
                    ]
                    value, mean, variance = tf.switch_case(arch[edge], branches)
                    incoming.append(value)
                    statistics.append((mean, variance))
            nodes.append(tf.add_n(incoming))
        return nodes[-1], statistics


class _Layer:
    """A convolution and its batch normalisation."""

    def __init__(self, kernel, gamma, beta, mean, variance, training):
        self.kernel, self.gamma, self.beta = kernel, gamma, beta
        self.mean, self.variance, self.training = mean, variance, training

    def apply(self, x):
        """Returns the result and the batch's mean and variance."""
        x = tf.nn.conv2d(x, self.kernel, 1, "SAME")
        norm = functools.partial(
            tf.compat.v1.nn.fused_batch_norm,
            x,
            self.gamma,
            self.beta,
            epsilon=BN_EPSILON,
        )
        if not self.training:
            y, _, _ = norm(self.mean, self.variance, is_training=False)
            return y, (self.mean, self.variance)
        y, mean, variance = norm(is_training=True)
        count = np.prod(x.shape[:-1])
        # The operation returns the unbiased variance.
        return y, (mean, variance * np.float32((count - 1) / count))


def _zero(x, layer):
    return tf.zeros_like(x), layer.mean, layer.variance


def _identity(x, layer):
    return x, layer.mean, layer.variance


def _average(x, layer):
    return tf.nn.avg_pool2d(x, 3, 1, "SAME"), layer.mean, layer.variance


def _convolution(x, layer):
    y, (mean, variance) = layer.apply(tf.nn.relu(x))
    return y, mean, variance


OPS: dict[str, Callable] = {
    "zero": _zero,
    "identity": _identity,
    "conv_3x3": _convolution,
    "avg_3x3": _average,
}
