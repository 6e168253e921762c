"""A generator for inference: the same pictures, with all that is constant computed.

Exact algebra, done in float64:

* weights are divided by their singular values once;
* what a normalisation does to a channel is one factor and one summand. All of them
  are linear in z and the class: one product makes them for the whole network, running
  statistics included. Statistics by truncation stay an input;
* biases of convolutions go into the means of the normalisation behind them, those of
  a block travel on as a constant per channel;
* a 3x3 convolution of a doubled map becomes one of the small map;
* attention's three projections are one product, gamma is part of the fourth;
* filters of the last convolution that nobody sees are dropped.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.models.biggan import inputs as network_inputs
from tfdl.models.biggan import resampling
from tfdl.models.biggan.conditional_norm import BatchNorm, Rows
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.names import norm_layers
from tfdl.models.biggan.simplify import without_spectral_norm


@dataclasses.dataclass
class _Norm:
    """One normalisation: `inputs` of the condition to gain and bias, statistics."""

    gain: np.ndarray  # [in, C]
    bias: np.ndarray
    mean: np.ndarray  # [C] or [rows, C]; less what was added before
    variance: np.ndarray  # with epsilon


class FoldedGenerator(keras.layers.Layer):
    """What `Generator` computes outside training, in fewer operations.

    Args:
        generator: the network; later changes of it are not seen.
    """

    def __init__(self, generator: Generator, **kwargs):
        super().__init__(autocast=False, trainable=False, dtype="float32", **kwargs)
        plain = generator
        if generator.config.spectral_norm:
            plain = without_spectral_norm(generator)
        self.config = plain.config
        self._count = 0
        self.shared = None
        if plain.shared is not None:
            self.shared = self._constant(plain.shared.table)
        norms = [_Norm(*_projections(x)) for x in norm_layers(plain).values()]
        self._fold_start(plain)
        self._fold_blocks(plain, norms)
        self._fold_affine(norms)
        self.built = True

    def __call__(self, inputs, training=False, **kwargs):
        """As `Generator.__call__`."""
        inputs = network_inputs.of_generator(inputs, self.config)
        return super().__call__(inputs, training=training, **kwargs)

    def call(self, inputs, training=False):
        """As `Generator.call`; there is nothing to train."""
        del training
        embedding = inputs.get("embedding")
        if embedding is None:
            embedding = self.embed(inputs["label"])
        return {"image": self.synthesis(inputs["z"], embedding, inputs["truncation"])}

    def embed(self, labels) -> tf.Tensor:
        """Maps classes, int [B] or weights [B, classes], to what `synthesis` takes."""
        labels = network_inputs.labels(labels, self.config.num_classes)
        return labels if self.shared is None else _looked_up(self.shared, labels)

    def synthesis(self, z, embedding, truncation: Any = 1.0) -> tf.Tensor:
        """Maps z [B, dim_z] and embedded classes to pictures in [-1, 1]."""
        affine = iter(self._affine(z, embedding, truncation))
        x = self._first(z, embedding)
        x = self._attended(x, -1)
        for i, block in enumerate(self._blocks):
            up = self.config.blocks[i][2]
            x = (self._deep if self.config.kind == "deep" else self._plain)(
                x, block, affine, up
            )
            x = self._attended(x, i)
        x = tf.nn.conv2d(_activated(x, next(affine)), self._rgb, 1, "SAME")
        return tf.tanh(x + self._rgb_bias)

    # --- running ---------------------------------------------------------------

    def _plain(self, x, block, affine, up: bool):
        y = _activated(x, next(affine))
        if up:
            user = resampling.kernel_user(x.shape[1])
            y = user(y, block["conv1"])
        else:
            y = tf.nn.conv2d(y, block["conv1"], 1, "SAME")
        y = tf.nn.conv2d(_activated(y, next(affine)), block["conv2"], 1, "SAME")
        x = tf.nn.conv2d(x, block["conv_sc"], 1, "SAME")
        return y + (resampling.doubled(x) if up else x)

    def _deep(self, x, block, affine, up: bool):
        y = tf.nn.conv2d(_activated(x, next(affine)), block["conv1"], 1, "SAME")
        y = _activated(y, next(affine))
        if up:
            user = resampling.kernel_user(x.shape[1])
            y = user(y, block["conv2"])
        else:
            y = tf.nn.conv2d(y, block["conv2"], 1, "SAME")
        for name in ("conv3", "conv4"):
            y = tf.nn.conv2d(_activated(y, next(affine)), block[name], 1, "SAME")
        x = x[..., : y.shape[-1]]
        return y + (resampling.doubled(x) if up else x)

    def _attended(self, x, index: int):
        if index not in self._attention:
            return x
        part = self._attention[index]
        narrow, wide = part["sizes"]
        every = tf.nn.bias_add(tf.nn.conv2d(x, part["in"], 1, "SAME"), part["bias"])
        queries = _places(every[..., :narrow])
        others = _places(tf.nn.max_pool2d(every[..., narrow:], 2, 2, "VALID"))
        scores = tf.matmul(queries, others[..., :narrow], transpose_b=True)
        found = tf.matmul(tf.nn.softmax(scores), others[..., narrow:])
        shape = tf.concat([tf.shape(x)[:3], [wide]], 0)
        found = tf.ensure_shape(tf.reshape(found, shape), [*x.shape[:3], wide])
        return x + tf.nn.conv2d(found, part["out"], 1, "SAME")

    def _first(self, z, embedding):
        config = self.config
        if config.kind == "deep":
            z = tf.concat([embedding, z], 1)
        x = tf.matmul(z[:, : config.first_inputs], self._linear)
        x = tf.nn.bias_add(x, self._linear_bias)
        size = config.bottom_width
        return tf.reshape(x, [-1, size, size, config.blocks[0][0]])

    def _affine(self, z, embedding, truncation):
        """Returns each normalisation's factor and summand, [B, C]."""
        if self.shared is None:
            both = _looked_up(self._projection, embedding)
        else:
            condition = embedding
            if self.config.hierarchical:
                condition = tf.concat([embedding, z], 1)
            both = tf.matmul(condition, self._projection)
        scale, shift = tf.split(both + self._offset, 2, 1)
        if self.config.statistics == "table":
            config = self.config
            rows = Rows(truncation, config.num_statistics, config.interpolation)
            mean, variance = rows.of(self._mean), rows.of(self._variance)
            scale *= tf.math.rsqrt(variance)
            shift -= mean * scale
        scales, shifts = (tf.split(x, self._sizes, 1) for x in (scale, shift))
        return list(zip(scales, shifts, strict=True))

    # --- making ----------------------------------------------------------------

    def _constant(self, value) -> keras.Variable:
        value = np.asarray(value, np.float32)
        self._count += 1
        return self.add_weight(
            name=f"constant_{self._count}",
            shape=value.shape,
            initializer=lambda shape, dtype: tf.constant(value, dtype),
            trainable=False,
        )

    def _fold_start(self, plain: Generator) -> None:
        # Every place of the first map has a bias of its own.
        kernel, bias = _numbers(plain.linear.kernel), _numbers(plain.linear.bias)
        self._linear = self._constant(kernel)
        self._linear_bias = self._constant(bias)

    def _fold_blocks(self, plain: Generator, norms: list[_Norm]) -> None:
        todo = iter(norms)
        layers = dict(zip(plain.config.attention, plain.attention, strict=True))
        constant = np.zeros(plain.config.blocks[0][0])
        self._attention: dict[int, Any] = {}
        self._blocks = []
        height = plain.config.bottom_width
        if -1 in layers:
            self._attention[-1] = self._fold_attention(layers[-1], constant)
        fold = self._fold_deep if plain.config.kind == "deep" else self._fold_plain
        for i, block in enumerate(plain.blocks):
            folded, constant = fold(block, todo, constant, height)
            self._blocks.append(folded)
            height *= 2 if plain.config.blocks[i][2] else 1
            if i in layers:
                self._attention[i] = self._fold_attention(layers[i], constant)
        next(todo).mean -= constant
        shown = plain.config.image_channels
        self._rgb = self._constant(_numbers(plain.to_rgb.kernel)[..., :shown])
        self._rgb_bias = self._constant(_numbers(plain.to_rgb.bias)[:shown])

    def _fold_plain(self, block, norms, constant, height):
        next(norms).mean -= constant
        next(norms).mean -= _numbers(block.conv1.bias)
        shortcut = _numbers(block.conv_sc.kernel)
        after = _numbers(block.conv2.bias) + _numbers(block.conv_sc.bias)
        folded = {
            "conv1": self._kernel(block.conv1, block.up, height),
            "conv2": self._constant(block.conv2.kernel),
            "conv_sc": self._constant(shortcut),
        }
        return folded, after + constant @ shortcut[0, 0]

    def _fold_deep(self, block, norms, constant, height):
        next(norms).mean -= constant
        for layer in (block.conv1, block.conv2, block.conv3):
            next(norms).mean -= _numbers(layer.bias)
        folded = {
            name: self._constant(getattr(block, name).kernel)
            for name in ("conv1", "conv3", "conv4")
        }
        folded["conv2"] = self._kernel(block.conv2, block.up, height)
        return folded, constant[: block.outputs] + _numbers(block.conv4.bias)

    def _kernel(self, layer, up: bool, height: int):
        if not up:
            return self._constant(layer.kernel)
        made = resampling.kernel_maker(height)(tf.constant(_numbers(layer.kernel)))
        if isinstance(made, list):
            return [self._constant(kernel) for kernel in made]
        return self._constant(made)

    def _fold_attention(self, layer, constant):
        parts = [
            _numbers(getattr(layer, n).kernel)[0, 0] for n in ("theta", "phi", "g")
        ]
        kernel = np.concatenate(parts, 1)
        out = _numbers(layer.o.kernel) * _numbers(layer.gamma)
        return {
            "in": self._constant(kernel[None, None]),
            "bias": self._constant(constant @ kernel),
            "out": self._constant(out),
            "sizes": (parts[0].shape[1], parts[2].shape[1]),
        }

    def _fold_affine(self, norms: list[_Norm]) -> None:
        config = self.config
        self._sizes = [norm.gain.shape[1] for norm in norms]
        rows = config.num_classes
        if self.shared is not None:
            rows = config.shared_dim + (config.dim_z if config.hierarchical else 0)
        total = sum(self._sizes)
        kernel, offset = np.zeros([rows, 2 * total]), np.zeros([2 * total])
        per_block = 4 if config.kind == "deep" else 2
        at = 0
        for n, norm in enumerate(norms):
            block = None if n == len(norms) - 1 else n // per_block
            gain = _placed(norm.gain, config, rows, block)
            bias = _placed(norm.bias, config, rows, block)
            base = np.ones(norm.gain.shape[1])
            shift = np.zeros_like(base)
            if block is None:
                base, gain = norm.gain[0], np.zeros_like(gain)
                shift, bias = norm.bias[0], np.zeros_like(bias)
            if config.statistics != "table":
                inverse = 1 / np.sqrt(norm.variance)
                gain, base = gain * inverse, base * inverse
                bias, shift = bias - gain * norm.mean, shift - base * norm.mean
            here = slice(at, at + len(base))
            there = slice(total + at, total + at + len(base))
            kernel[:, here], kernel[:, there] = gain, bias
            offset[here], offset[there] = base, shift
            at += len(base)
        self._projection, self._offset = self._constant(kernel), self._constant(offset)
        self._mean = self._variance = None
        if config.statistics == "table":
            self._mean = self._constant(np.concatenate([n.mean for n in norms], 1))
            every = np.concatenate([n.variance for n in norms], 1)
            self._variance = self._constant(every)


def _placed(weight: np.ndarray, config, rows: int, block: int | None) -> np.ndarray:
    """Returns a projection of a block's condition as one of [class, z]."""
    if block is None:
        return np.zeros([rows, weight.shape[1]])
    if len(weight) == rows:
        return weight
    result = np.zeros([rows, weight.shape[1]])
    shared, chunk = config.shared_dim, config.chunk
    result[:shared] = weight[:shared]
    start = shared + (block + 1) * chunk
    result[start : start + chunk] = weight[shared:]
    return result


def _projections(norm: BatchNorm):
    if hasattr(norm, "start"):
        gain, bias = (
            getattr(layer, "kernel", None) if hasattr(layer, "kernel") else layer.table
            for layer in (norm.gain, norm.bias)
        )
        gain, bias = _numbers(gain), _numbers(bias)
    else:
        gain, bias = _numbers(norm.gain)[None], _numbers(norm.bias)[None]
    variance = _numbers(norm.moving_variance) + norm.epsilon
    return gain, bias, _numbers(norm.moving_mean), variance


def _numbers(variable) -> np.ndarray:
    return np.asarray(variable, np.float64)


def _activated(x, affine):
    scale, shift = affine
    return tf.nn.relu(x * scale[:, None, None] + shift[:, None, None])


def _looked_up(table, labels):
    if labels.dtype.is_integer:
        return tf.gather(tf.convert_to_tensor(table), labels)
    return tf.matmul(labels, tf.convert_to_tensor(table))


def _places(x):
    return tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
