"""Layers of StyleGAN's networks (Karras et al. 2017, 2018).

Pictures are [B, H, W, C]. Statistics, blur and interpolation are computed in float32
whatever the precision of the convolutions.
"""

import math

import keras
import numpy as np
import tensorflow as tf

SQRT2 = math.sqrt(2.0)
EPSILON = 1e-8
# Row: a place in a 4x4 kernel. Column: a place in a 3x3 one that is shifted there by 0
# or 1 in each direction.
_SHIFT = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]], "float64")
SHIFTS = np.kron(_SHIFT, _SHIFT)


class Scaled(keras.layers.Layer):
    """A layer whose weight is multiplied by a constant when it is used.

    With the equalised learning rate, weights start from N(0, 1 / lrmul^2) and are
    multiplied by `gain / sqrt(fan_in) * lrmul` (Karras et al. 2017, section 4.1).

    Args:
        gain: of the nonlinearity that follows.
        lrmul: the layer's share of the learning rate.
        use_wscale: the equalised learning rate; without, the constant is in the
            initial values.
    """

    def __init__(
        self, gain: float = SQRT2, lrmul: float = 1.0, use_wscale: bool = True, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        self.gain, self.lrmul, self.use_wscale = gain, lrmul, use_wscale
        self.factor = 1.0

    def add_scaled(self, shape: tuple[int, ...]) -> None:
        """Makes `self.weight`; the last dimension is the outputs."""
        std = self.gain / math.sqrt(math.prod(shape[:-1]))
        if self.use_wscale:
            self.factor, initial = std * self.lrmul, 1.0 / self.lrmul
        else:
            self.factor, initial = self.lrmul, std / self.lrmul
        self.weight = self.add_weight(
            name="weight",
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=initial),
        )

    def add_bias(self, count: int) -> None:
        """Makes `self.bias`, which starts at 0."""
        self.bias = self.add_weight(name="bias", shape=(count,), initializer="zeros")

    def scaled(self) -> tf.Tensor:
        """Returns the weight as it is used, in float32."""
        return tf.convert_to_tensor(self.weight) * self.factor

    def scaled_bias(self, dtype: tf.DType) -> tf.Tensor:
        """Returns the bias as it is used."""
        bias = tf.convert_to_tensor(self.bias)
        return tf.cast(bias if self.lrmul == 1.0 else bias * self.lrmul, dtype)


class Dense(Scaled):
    """x @ weight + bias.

    Args:
        outputs: features that come out.
        use_bias: whether there is a bias.
        **kwargs: see `Scaled`.
    """

    def __init__(self, outputs: int, use_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.outputs, self.use_bias = outputs, use_bias

    def build(self, input_shape):
        """Makes weight [in, out] and bias [out]."""
        self.add_scaled((input_shape[-1], self.outputs))
        if self.use_bias:
            self.add_bias(self.outputs)

    def call(self, x):
        """Maps [B, in] to [B, out]."""
        x = tf.matmul(x, tf.cast(self.scaled(), x.dtype))
        return x + self.scaled_bias(x.dtype) if self.use_bias else x


class Conv(Scaled):
    """A convolution with stride 1, or joined with a resampling by two.

    Args:
        filters: channels that come out.
        kernel_size: 1 or 3.
        resample: "up" (nearest, then convolution), "down" (convolution, then 2x2
            mean) or "". Both are one strided convolution with a 4x4 kernel: the
            same function at 16 multiplications per pair of channels, not 36.
        mirrored: an "up" kernel is used mirrored in both directions: what the
            original's transposed convolution does.
        use_bias: whether there is a bias.
        **kwargs: see `Scaled`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        resample: str = "",
        mirrored: bool = False,
        use_bias: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.resample, self.mirrored, self.use_bias = resample, mirrored, use_bias

    def build(self, input_shape):
        """Makes weight [k, k, in, out] and bias [out]."""
        size = self.kernel_size
        self.add_scaled((size, size, input_shape[-1], self.filters))
        if self.use_bias:
            self.add_bias(self.filters)

    def kernel(self) -> tf.Tensor:
        """Returns the kernel that the convolution uses, in float32."""
        if self.resample == "down":
            return four_shifts(self.weight, self.factor / 4)
        if self.resample == "up":
            return up_kernel(self.weight, self.mirrored, self.factor)
        return self.scaled()

    def call(self, x):
        """Maps [B, H, W, in] to [B, H', W', out]."""
        x = convolve(x, tf.cast(self.kernel(), x.dtype), self.resample)
        return tf.nn.bias_add(x, self.scaled_bias(x.dtype)) if self.use_bias else x


def convolve(x: tf.Tensor, kernel: tf.Tensor, resample: str = "") -> tf.Tensor:
    """Convolves pictures with a kernel that `Conv.kernel` made."""
    if resample == "up":
        shape = tf.shape(x)
        height, width = x.shape[1] or shape[1], x.shape[2] or shape[2]
        size = [x.shape[0] or shape[0], 2 * height, 2 * width, kernel.shape[2]]
        return tf.nn.conv2d_transpose(x, kernel, size, 2, "SAME")
    stride = 2 if resample == "down" else 1
    return tf.nn.conv2d(x, kernel, stride, "SAME")


def four_shifts(
    kernel: tf.Tensor, factor: float = 1.0, flip: bool = False
) -> tf.Tensor:
    """Returns the 4x4 kernel of a 3x3 one and a 2x2 sum (or doubling) of pixels.

    As a product with a 16x9 matrix: kernels of wide layers are larger than pictures,
    and sums of shifted copies, with their gradients, cost as much as a convolution.

    Args:
        kernel: [3, 3, in, out].
        factor: what it is multiplied by.
        flip: mirrors it in both directions first.
    """
    shifts = SHIFTS[:, ::-1] if flip else SHIFTS
    flat = tf.reshape(tf.convert_to_tensor(kernel), [9, -1])
    joined = tf.matmul(tf.constant(shifts * factor, flat.dtype), flat)
    return tf.reshape(joined, [4, 4, *kernel.shape[2:]])


def up_kernel(kernel: tf.Tensor, mirrored: bool, factor: float = 1.0) -> tf.Tensor:
    """Returns the transposed convolution's 4x4 kernel [4, 4, out, in].

    A transposed convolution mirrors what it is given: a kernel that is to be used
    as it stands has to be mirrored first.
    """
    return tf.transpose(four_shifts(kernel, factor, not mirrored), [0, 1, 3, 2])


def upsample(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Repeats every pixel `factor` times in both directions."""
    if factor == 1:
        return x
    shape = tf.shape(x)
    height, width = x.shape[1] or shape[1], x.shape[2] or shape[2]
    channels = x.shape[3]
    x = tf.reshape(x, [-1, height, 1, width, 1, channels])
    x = tf.broadcast_to(x, [tf.shape(x)[0], height, factor, width, factor, channels])
    return tf.reshape(x, [-1, height * factor, width * factor, channels])


def downsample(x: tf.Tensor, factor: int = 2) -> tf.Tensor:
    """Takes the mean of every `factor` x `factor` square."""
    return x if factor == 1 else tf.nn.avg_pool2d(x, factor, factor, "VALID")


def blur(x: tf.Tensor) -> tf.Tensor:
    """Convolves every channel with [1, 2, 1] x [1, 2, 1] / 16, zeros outside."""
    dtype, channels = x.dtype, x.shape[-1]
    line = np.array([1.0, 2.0, 1.0], "float32")
    kernel = np.tile((np.outer(line, line) / 16)[:, :, None, None], [1, 1, channels, 1])
    x = tf.cast(x, tf.float32)
    x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")
    return tf.cast(x, dtype)


def lerp(a: tf.Tensor, b: tf.Tensor, t: tf.Tensor | float) -> tf.Tensor:
    """Returns a + (b - a) * t."""
    return a + (b - a) * tf.cast(t, a.dtype)


def activate(x: tf.Tensor, nonlinearity: str) -> tf.Tensor:
    """Applies "lrelu" (0.2) or "relu"."""
    return tf.nn.relu(x) if nonlinearity == "relu" else tf.nn.leaky_relu(x, 0.2)


def pixel_norm(x: tf.Tensor) -> tf.Tensor:
    """Divides every feature vector (the last axis) by its root mean square."""
    wide = tf.cast(x, tf.float32)
    square = tf.reduce_mean(tf.square(wide), -1, keepdims=True)
    return tf.cast(wide * tf.math.rsqrt(square + EPSILON), x.dtype)


def modulate(
    x: tf.Tensor, normalise: bool, scale: tf.Tensor | None, shift: tf.Tensor | None
) -> tf.Tensor:
    """Adaptive instance normalisation (equation 1) as one multiplication and sum.

    Args:
        x: [B, H, W, C]; B may be 1 for the batch of the style.
        normalise: whether every channel's mean and variance are taken out.
        scale: [B, C], what channels are multiplied by; None for 1.
        shift: [B, C], what is added; None for 0.
    """
    wide = tf.cast(x, tf.float32)
    if scale is not None:
        scale, shift = scale[:, None, None, :], shift[:, None, None, :]
    if normalise:
        mean = tf.reduce_mean(wide, [1, 2], keepdims=True)
        variance = tf.reduce_mean(
            tf.math.squared_difference(wide, mean), [1, 2], keepdims=True
        )
        inverse = tf.math.rsqrt(variance + EPSILON)
        scale = inverse if scale is None else scale * inverse
        shift = -mean * scale if shift is None else shift - mean * scale
    if scale is None:
        return x
    return tf.cast(wide * scale + shift, x.dtype)


def minibatch_deviation(
    x: tf.Tensor, group_size: int, features: int, slices: int = 1
) -> tf.Tensor:
    """Appends the mean standard deviation within groups of pictures.

    Picture i of a slice of n belongs to group i mod (n / group_size). The original
    computes it on every device for itself: there a device's share of the batch is a
    slice. With slices, the result is the same wherever the slices are computed.

    Args:
        x: [B, H, W, C]; B has to be a multiple of `slices`, and a slice of the group
            size (or smaller than it).
        group_size: pictures of a group.
        features: channels are cut in so many parts, one new feature for each.
        slices: how many slices, one behind the other, the batch is.

    Returns:
        [B, H, W, C + features].
    """
    batch = x.shape[0] or tf.shape(x)[0]
    height, width, channels = x.shape[1:]
    if isinstance(batch, int):
        rest = batch % slices or (batch // slices) % min(group_size, batch // slices)
        if rest:
            raise ValueError(
                f"a batch of {batch} in {slices} slices has no groups of {group_size}"
            )
        group = min(group_size, batch // slices)
    else:
        group = tf.minimum(group_size, batch // slices)
    y = tf.cast(x, tf.float32)
    shape = [slices, group, -1, height, width, features, channels // features]
    y = tf.reshape(y, shape)
    y -= tf.reduce_mean(y, 1, keepdims=True)
    y = tf.sqrt(tf.reduce_mean(tf.square(y), 1) + EPSILON)
    y = tf.reduce_mean(y, [2, 3, 5])
    y = tf.tile(y[:, None], [1, group, 1, 1])
    y = tf.reshape(y, [batch, 1, 1, features])
    y = tf.broadcast_to(y, [batch, height, width, features])
    return tf.concat([x, tf.cast(y, x.dtype)], -1)
