"""The ops of cells as Keras layers, in TF-slim's order: ReLU, convolution, BN.

Pictures are NHWC. Layers cast by hand (autocast=False): under mixed precision the
weights and the normalisation stay float32. Every layer tells its variables by the
names of TF-slim's and the TPU repository's checkpoints.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine.randomness import SeedGenerator
from tfdl.layers.batch_norm import BatchNorm
from tfdl.layers.pointwise import on_cpu, pointwise
from tfdl.layers.spread import spread

Named = Iterator[tuple[str, keras.Variable]]


@dataclasses.dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        epsilon: of batch normalisation.
        momentum: part of the moving statistics that stays in each step.
        unbiased: see `BatchNorm`; true in TF-slim, false in keras.applications.
        synchronised: batch statistics are those of the global batch.
        initializer: "fan_out" (TF-slim) or "keras" (keras.applications: He for
            convolutions, Glorot for separable ones).
        zero_padded_pools: a pool with stride 2 sees zeros around the picture, as in
            keras.applications; otherwise nothing.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    unbiased: bool = True
    synchronised: bool = False
    initializer: str = "fan_out"
    zero_padded_pools: bool = False

    def norm(self, scope: str) -> "Norm":
        """Returns a new batch normalisation."""
        return Norm(
            self.epsilon, self.momentum, self.unbiased, self.synchronised, name=scope
        )

    def kernel(
        self, shape: Sequence[int], separable: bool = False
    ) -> keras.initializers.Initializer:
        """Returns how a kernel [h, w, in, out] starts."""
        if self.initializer == "keras":
            return keras.initializers.get(
                "glorot_uniform" if separable or len(shape) == 2 else "he_normal"
            )
        # TF-slim scales for the part of a normal that truncation cuts off by 1.3.
        fan_out = math.prod((*shape[:-2], shape[-1]))
        return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.6 / fan_out))


class Norm(BatchNorm):
    """Batch normalisation that knows its variables' names."""

    def compute_output_shape(self, input_shape):
        """Returns the input's."""
        return input_shape

    def named(self) -> Named:
        """Yields (name, variable)."""
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            yield name, getattr(self, name)


class Conv(keras.layers.Layer):
    """A convolution without bias.

    Args:
        style: see `Style`.
        filters: outputs.
        size: of the kernel: one side, or height and width.
        stride: of both axes, or (rows, columns).
        rate: distance of the kernel's taps.
        padding: "SAME" or "VALID".
    """

    def __init__(
        self,
        style: Style,
        filters: int,
        size: int | tuple[int, int] = 1,
        stride: int | tuple[int, int] = 1,
        rate: int = 1,
        padding: str = "SAME",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.style, self.filters = style, filters
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.stride = (stride, stride) if isinstance(stride, int) else tuple(stride)
        self.rate, self.padding = rate, padding

    def build(self, input_shape):
        """Makes the kernel [h, w, in, filters]."""
        shape = (*self.size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.style.kernel(shape)
        )

    def compute_output_shape(self, input_shape):
        """Returns [B, None, None, filters]."""
        return (input_shape[0], None, None, self.filters)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', filters]."""
        kernel = tf.cast(self.kernel, x.dtype)
        if self.size == (1, 1):
            if self.stride != (1, 1):
                x = x[:, :: self.stride[0], :: self.stride[1]]
            if training and on_cpu():
                return pointwise(x, tf.reshape(kernel, kernel.shape[2:]))
            return tf.nn.conv2d(x, kernel, 1, "SAME")
        return tf.nn.conv2d(x, kernel, self.stride, self.padding, dilations=self.rate)

    def named(self) -> Named:
        """Yields (name, variable)."""
        yield "weights", self.kernel


class Separable(keras.layers.Layer):
    """A depthwise convolution and a 1x1 convolution, nothing in between.

    Args:
        style: see `Style`.
        filters: outputs.
        size: the depthwise kernel's side.
        stride: of the depthwise convolution.
        rate: distance of its taps.
    """

    def __init__(
        self,
        style: Style,
        filters: int,
        size: int,
        stride: int = 1,
        rate: int = 1,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.style, self.filters = style, filters
        self.size, self.stride, self.rate = size, stride, rate

    def build(self, input_shape):
        """Makes the kernels [k, k, in, 1] and [1, 1, in, filters]."""
        channels = input_shape[-1]
        for name, shape in (
            ("depthwise", (self.size, self.size, channels, 1)),
            ("pointwise", (1, 1, channels, self.filters)),
        ):
            start = self.style.kernel(shape, separable=True)
            weight = self.add_weight(name=name, shape=shape, initializer=start)
            setattr(self, name, weight)

    def compute_output_shape(self, input_shape):
        """Returns [B, None, None, filters]."""
        return (input_shape[0], None, None, self.filters)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', filters]."""
        strides = [1, self.stride, self.stride, 1]
        kernel = spread(tf.cast(self.depthwise, x.dtype), self.rate)
        x = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
        kernel = tf.cast(self.pointwise, x.dtype)
        if training and on_cpu():
            return pointwise(x, tf.reshape(kernel, kernel.shape[2:]))
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    def named(self) -> Named:
        """Yields (name, variable)."""
        yield "depthwise_weights", self.depthwise
        yield "pointwise_weights", self.pointwise


class Relu(keras.layers.Layer):
    """max(x, 0)."""

    def compute_output_shape(self, input_shape):
        """Returns the input's."""
        return input_shape

    def call(self, x, training=False):
        """Maps a tensor to one of its shape."""
        del training
        return tf.nn.relu(x)

    def named(self) -> Named:
        """Yields nothing."""
        return iter(())


class Pool(Relu):
    """The mean or the largest value of every window, "SAME": without what is outside.

    Args:
        kind: "avg" or "max".
        size: the window's side.
        stride: 1 or 2.
        zero_padded: see `Style.zero_padded_pools`.
    """

    def __init__(
        self, kind: str, size: int, stride: int, zero_padded: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.kind, self.size, self.stride = kind, size, stride
        self.zero_padded = zero_padded

    def call(self, x, training=False):
        """Maps [B, H, W, C] to [B, H', W', C]."""
        del training
        padding = "SAME"
        if self.zero_padded and self.stride > 1:
            shape, half = tf.shape(x), self.size // 2
            edges = [[half - (1 - shape[axis] % 2), half] for axis in (1, 2)]
            x = tf.pad(x, [[0, 0], *edges, [0, 0]])
            padding = "VALID"
        pool = tf.nn.avg_pool2d if self.kind == "avg" else tf.nn.max_pool2d
        return pool(x, self.size, self.stride, padding)


class Steps(keras.layers.Layer):
    """Layers one after the other.

    Args:
        layers: each of them has `named`; their names are the checkpoint's scopes.
    """

    def __init__(self, layers: Sequence[Any], **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.layers = list(layers)

    def build(self, input_shape):
        """Makes all weights for pictures [B, H, W, in]."""
        for layer in self.layers:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H', W', out]."""
        for layer in self.layers:
            x = layer(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        """Returns the last layer's output shape."""
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def named(self) -> Named:
        """Yields (name, variable)."""
        for layer in self.layers:
            for name, variable in layer.named():
                yield f"{layer.name}/{name}", variable


class FactorizedReduction(keras.layers.Layer):
    """Halves the resolution by two 1x1 convolutions, of the even and of the odd pixels.

    Args:
        style: see `Style`.
        filters: outputs, an even number.
        relu: whether a ReLU comes first.
    """

    def __init__(self, style: Style, filters: int, relu: bool, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.relu = relu
        self.path1 = Conv(style, filters // 2, name="path1_conv")
        self.path2 = Conv(style, filters // 2, name="path2_conv")
        self.norm = style.norm("final_path_bn")

    def build(self, input_shape):
        """Makes all weights for pictures [B, H, W, in]."""
        self.path1.build(input_shape)
        self.path2.build(input_shape)
        self.norm.build((None, None, None, 2 * self.path1.filters))

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, ceil(H / 2), ceil(W / 2), filters]."""
        if self.relu:
            x = tf.nn.relu(x)
        # Pixel (1, 1), (1, 3) ...; beyond the picture there are zeros.
        odd = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1::2, 1::2]
        paths = [
            self.path1(x[:, ::2, ::2], training=training),
            self.path2(odd, training=training),
        ]
        return self.norm(tf.concat(paths, -1), training=training)

    def named(self) -> Named:
        """Yields (name, variable)."""
        for layer in (self.path1, self.path2, self.norm):
            for name, variable in layer.named():
                yield f"{layer.name}/{name}", variable


class DropPath(keras.layers.Layer):
    """Zeroes the whole of a path for some examples, scales it for the others."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.random = SeedGenerator()
        self.built = True

    def call(self, x, keep):
        """Keeps each example of [B, H, W, C] with probability `keep`, a scalar."""
        keep = tf.cast(keep, tf.float32)
        noise = keras.random.uniform((tf.shape(x)[0], 1, 1, 1), seed=self.random)
        return x * tf.cast(tf.floor(keep + noise) / keep, x.dtype)


def project(style: Style, filters: int, stride: int = 1, **kwargs) -> Steps:
    """Returns ReLU, 1x1 convolution, normalisation: what changes channels."""
    return Steps(
        [
            Relu(name="relu"),
            Conv(style, filters, stride=stride, name="1x1"),
            style.norm("bn_1"),
        ],
        **kwargs,
    )


def create(
    name: str, style: Style, channels: int, filters: int, stride: int
) -> Steps | None:
    """Returns an op.

    Args:
        name: of `spaces.cells.OPS`.
        style: of the network.
        channels: that go in.
        filters: that come out.
        stride: 2 where a reduction cell's op reads one of the cell's inputs.

    Returns:
        The op, None for an identity that changes nothing.
    """
    if name == "identity":
        if stride == 1 and channels == filters:
            return None
        return project(style, filters, stride)
    if name == "conv_1x1":
        return project(style, filters, stride)
    kind = name.partition("_")[0]
    if kind in ("avg", "max"):
        pool = Pool(kind, int(name[-1]), stride, style.zero_padded_pools, name="pool")
        if channels == filters:
            return Steps([pool])
        return Steps([pool, Conv(style, filters, name="1x1"), style.norm("bn_1")])
    if "sep" in name:
        return _separable(name, style, filters, stride)
    return _bottleneck(name, style, filters, stride)


def _separable(name: str, style: Style, filters: int, stride: int) -> Steps:
    """sep_KxK twice; dil_sep_KxK (DARTS) once, every second pixel.

    dil2_sep_KxK is AmoebaNet-B's. Its authors' code builds it without dilation, like
    any op with "separable" in its name; so does this.
    """
    size = int(name[-1])
    once = name.startswith("dil_")
    layers = []
    for i in (1,) if once else (1, 2):
        scope = f"{size}x{size}_{i}"
        layers += [
            Relu(name=f"relu_{i}"),
            Separable(
                style,
                filters,
                size,
                stride if i == 1 else 1,
                2 if once else 1,
                name=f"separable_{scope}",
            ),
            style.norm(f"bn_sep_{scope}"),
        ]
    return Steps(layers)


def _bottleneck(name: str, style: Style, filters: int, stride: int) -> Steps:
    """conv_3x3, dil_3x3, conv_1x3_3x1, conv_1x7_7x1 between two 1x1 convolutions."""
    inner = 3 * filters // 8 if name == "conv_1x3_3x1" else filters // 4
    width = inner or filters
    if name == "conv_3x3":
        middle = [Conv(style, width, 3, stride, name="3x3")]
    elif name == "dil_3x3":
        middle = [Conv(style, width, 3, stride, rate=2, name="dilated_3x3")]
    else:
        size = int(name[-3])
        row, column = f"1x{size}", f"{size}x1"
        middle = [
            Conv(style, width, (1, size), (1, stride), name=row),
            style.norm(f"bn_{row}_{column}"),
            Relu(name="relu_between"),
            Conv(style, width, (size, 1), (stride, 1), name=column),
        ]
    first = [Relu(name="relu"), *middle, style.norm("bn")]
    if not inner:
        return Steps(first)
    return Steps(
        [
            Relu(name="relu_pre"),
            Conv(style, inner, name="pre_1x1"),
            style.norm("pre_bn"),
            *first,
            Relu(name="relu_post"),
            Conv(style, filters, name="post_1x1"),
            style.norm("post_bn"),
        ]
    )
