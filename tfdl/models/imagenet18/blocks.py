"""Convolutions, batch normalisation and residual blocks (He et al. 2015).

Pictures are NHWC; padding is symmetric as in torch, which TensorFlow's "SAME" is not
where strides are 2.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdl.layers.batch_norm import BatchNorm
from tfdl.layers.pointwise import on_cpu, pointwise
from tfdl.models.imagenet18.network import BLUR_MIN_INPUTS, ResNetConfig

# The layers cast by hand (autocast=False): under mixed precision normalisation and
# the weights stay float32.


class Convolution(keras.layers.Layer):
    """A square convolution, padded by half its size on all sides.

    Args:
        filters: outputs.
        size: of the kernel, odd.
        stride: 1 or 2.
        use_bias: whether there is a bias.
        blur: whether a [1, 2, 1] x [1, 2, 1] / 16 filter comes first.
    """

    def __init__(
        self,
        filters: int,
        size: int,
        stride: int = 1,
        use_bias: bool = False,
        blur: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.filters, self.size, self.stride = filters, size, stride
        self.use_bias, self.blur = use_bias, blur

    def build(self, input_shape):
        """Makes kernel [size, size, in, filters] and the bias."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.size, self.size, input_shape[-1], self.filters),
            initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer="zeros"
            )

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', filters], H' = (H - 1) // stride + 1."""
        stride = self.stride
        kernel = tf.cast(self.kernel, x.dtype)
        if self.blur:
            # A 1x1 convolution looks at every second pixel only.
            ahead = stride if self.size == 1 else 1
            x, stride = blurred(x, ahead), stride // ahead
        if self.size == 1 and stride == 1 and training and on_cpu():
            x = pointwise(x, tf.reshape(kernel, kernel.shape[2:]))
        else:
            # TensorFlow's own "explicit" padding has slow gradients on a CPU.
            if self.size > 1 and stride > 1:
                x = tf.pad(x, EDGES[self.size])
            same = self.size == 1 or stride == 1
            x = tf.nn.conv2d(x, kernel, stride, "SAME" if same else "VALID")
        if self.bias is not None:
            x = tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))
        return x


EDGES = {size: [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]] for size in (3, 5, 7)}


def blurred(x: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns every channel of `x` under the binomial 3x3 filter, zeros around."""
    row = np.array([1.0, 2.0, 1.0], "float32")
    kernel = np.outer(row, row)[:, :, None, None] / 16.0
    kernel = np.tile(kernel, [1, 1, x.shape[-1], 1])
    edges = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return tf.nn.depthwise_conv2d(
        tf.pad(x, edges), tf.constant(kernel, x.dtype), [1, stride, stride, 1], "VALID"
    )


class ConvNorm(keras.layers.Layer):
    """A convolution, its normalisation and perhaps a ReLU.

    Args:
        config: the network's.
        filters: outputs.
        size: of the kernel.
        stride: 1 or 2.
        inputs: channels that come in.
        relu: whether a ReLU ends it.
        zero_gamma: the normalisation starts at 0.
        folded: no normalisation: it is part of the kernel and a bias.
    """

    def __init__(
        self,
        config: ResNetConfig,
        filters: int,
        size: int,
        stride: int,
        inputs: int,
        relu: bool = True,
        zero_gamma: bool = False,
        folded: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.relu = relu
        self.conv = Convolution(
            filters,
            size,
            stride,
            use_bias=config.conv_bias or folded,
            blur=config.blur and stride > 1 and inputs >= BLUR_MIN_INPUTS,
            name="conv",
        )
        self.norm = (
            None
            if folded
            else BatchNorm(
                config.epsilon,
                config.momentum,
                config.unbiased_moving_variance,
                config.synchronised,
                zero_gamma,
                name="norm",
            )
        )

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        self.conv.build(input_shape)
        if self.norm is not None:
            self.norm.build((*input_shape[:-1], self.conv.filters))

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', filters]."""
        x = self.conv(x, training=training)
        if self.norm is not None:
            x = self.norm(x, training=training)
        return tf.nn.relu(x) if self.relu else x


class Block(keras.layers.Layer):
    """A residual block: `relu(shortcut(x) + convolutions(x))`.

    Args:
        config: the network's.
        stage: which stage, from 0.
        index: which block of it, from 0.
        inputs: channels that come in.
        folded: see `ConvNorm`.
    """

    def __init__(
        self,
        config: ResNetConfig,
        stage: int,
        index: int,
        inputs: int,
        folded: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        stride = config.stage_stride(stage) if index == 0 else 1
        inner = config.widths[stage]
        outer = inner * config.expansion

        def unit(number, filters, size, stride, inputs, last=False):
            return ConvNorm(
                config,
                filters,
                size,
                stride,
                inputs,
                relu=not last,
                zero_gamma=last and config.zero_gamma,
                folded=folded,
                name=f"conv{number}",
            )

        if config.block == "basic":
            self.units = [
                unit(1, inner, 3, stride, inputs),
                unit(2, outer, 3, 1, inner, last=True),
            ]
        else:
            first, second = (stride, 1) if config.stride_in_1x1 else (1, stride)
            self.units = [
                unit(1, inner, 1, first, inputs),
                unit(2, inner, 3, second, inner),
                unit(3, outer, 1, 1, inner, last=True),
            ]
        self.projection = None
        self.average = config.avg_down and stride == 2
        if config.projects(stage, index):
            self.projection = ConvNorm(
                config,
                outer,
                1,
                1 if self.average else stride,
                inputs,
                relu=False,
                folded=folded,
                name="projection",
            )

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        before = input_shape[:-1]
        if self.projection is not None:
            self.projection.build(input_shape)
        for unit in self.units:
            unit.build(input_shape)
            input_shape = (*before, unit.conv.filters)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', out]."""
        shortcut = x
        if self.average:
            # "SAME" leaves what lies outside of the picture out of the average.
            shortcut = tf.nn.avg_pool2d(shortcut, 2, 2, "SAME")
        if self.projection is not None:
            shortcut = self.projection(shortcut, training=training)
        for unit in self.units:
            x = unit(x, training=training)
        return tf.nn.relu(x + shortcut)
