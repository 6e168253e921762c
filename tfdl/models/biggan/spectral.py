"""Spectral normalisation (Miyato et al. 2018) as BigGAN does it, and its layers.

Weights stay as they are; what a layer computes with is the weight over an estimate of
its largest singular value. `keras.layers.SpectralNormalization` overwrites the weight,
lets no gradient through the estimate and does nothing outside training.
"""

import dataclasses

import keras
import tensorflow as tf

from tfdl.models.biggan.plans import Spectral


@dataclasses.dataclass(frozen=True)
class Weights:
    """How a network's kernels and tables start and are normalised.

    Attributes:
        spectral: None: they are used as they are.
        initialisation: "ortho", "N02", "xavier"; "zeros" for a network whose weights
            are about to be loaded.
    """

    spectral: Spectral | None
    initialisation: str

    def initialiser(self) -> keras.initializers.Initializer:
        """Returns a fresh initialiser of kernels and tables."""
        makers = {
            "ortho": keras.initializers.Orthogonal,
            "N02": lambda: keras.initializers.RandomNormal(stddev=0.02),
            "xavier": keras.initializers.GlorotUniform,
            "zeros": keras.initializers.Zeros,
        }
        return makers[self.initialisation]()

    def bias(self, inputs: int) -> keras.initializers.Initializer:
        """Returns torch's initialiser of a bias: uniform in +-1 / sqrt(inputs)."""
        if self.initialisation == "zeros":
            return keras.initializers.Zeros()
        bound = inputs**-0.5
        return keras.initializers.RandomUniform(-bound, bound)

    def norm(self, table: bool = False) -> "SpectralNorm | None":
        """Returns the layer that normalises a weight, if there is to be one."""
        if self.spectral is None:
            return None
        return SpectralNorm(self.spectral, table, name="spectral")


class SpectralNorm(keras.layers.Layer):
    """Divides a weight by its largest singular value.

    With W the weight as a matrix (out, rest) and u stored: v = n(u W), u' = n(v W^T),
    sigma = v W^T u'^T, n(x) = x / max(|x|, epsilon). No gradient flows through u and v,
    sigma has one. In training u' is stored, by every replica for itself: their weights
    are equal, and so stay their vectors.

    Args:
        settings: what `Spectral` says.
        table: the weight's first axis is `out` (a table of classes), not its last.

    Attributes:
        u: [values, out], of each singular value followed.
        v: [rest], with the evaluation "stored" only.
        sv: [values], the singular values of the last step of training.
    """

    def __init__(self, settings: Spectral, table: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.settings, self.table = settings, table

    def build(self, input_shape):
        """Makes the vectors for a weight of this shape."""
        outputs = input_shape[0] if self.table else input_shape[-1]
        rest = 1
        for size in input_shape[1:] if self.table else input_shape[:-1]:
            rest *= size
        count = self.settings.values
        self.u = self._state(
            "u", (count, outputs), keras.initializers.RandomNormal(0, 1)
        )
        self.sv = self._state("sv", (count,), keras.initializers.Ones())
        self.v = None
        if self.settings.evaluation == "stored":
            normal = keras.initializers.RandomNormal(0, 1)
            self.v = self._state("v", (rest,), normal)

    def _state(self, name, shape, initialiser):
        return keras.Variable(
            initialiser, shape, "float32", trainable=False, name=name, autocast=False
        )

    def call(self, kernel, training=False):
        """Returns the weight over sigma, in float32."""
        kernel = tf.convert_to_tensor(kernel)
        # (rest, out), the transpose of W.
        matrix = (
            tf.transpose(kernel)
            if self.table
            else tf.reshape(kernel, [-1, kernel.shape[-1]])
        )
        if self.v is not None and not training:
            left, right = self.v[None], self.u[:1]
            return kernel / _sigma(left, matrix, right)
        # Outside training only the first value counts, and one iteration is enough:
        # all would start from the same vector.
        rows = tf.unstack(tf.convert_to_tensor(self.u))
        u = [row[None] for row in (rows if training else rows[:1])]
        for _ in range(self.settings.iterations if training else 1):
            v, u = self._iterate(tf.stop_gradient(matrix), u)
        sigmas = [_sigma(a, matrix, b) for a, b in zip(v, u, strict=True)]
        if training:
            self.u.assign(tf.concat(u, 0))
            self.sv.assign(tf.stop_gradient(tf.stack(sigmas)))
            if self.v is not None:
                self.v.assign(v[0][0])
        return kernel / sigmas[0]

    def _iterate(self, matrix, u):
        epsilon = self.settings.epsilon
        new_u, new_v = [], []
        for row in u:
            v = _apart(tf.matmul(row, matrix, transpose_b=True), new_v)
            new_v.append(_normalised(v, epsilon))
            after = _apart(tf.matmul(new_v[-1], matrix), new_u)
            new_u.append(_normalised(after, epsilon))
        return new_v, new_u


def _sigma(v, matrix, u):
    return tf.reduce_sum(tf.matmul(v, matrix) * tf.stop_gradient(u))


def _normalised(x, epsilon: float):
    # Not tf.norm: XLA and gradients of higher order treat this alike.
    return x / tf.maximum(tf.sqrt(tf.reduce_sum(tf.square(x))), epsilon)


def _apart(x, others):
    """Returns `x` without its parts along other vectors (Gram-Schmidt)."""
    for y in others:
        x -= tf.reduce_sum(x * y) * y / tf.reduce_sum(y * y)
    return x


class Convolution(keras.layers.Layer):
    """A square convolution of stride 1, zeros around the picture.

    Args:
        filters: outputs.
        size: of the kernel, odd.
        weights: start and normalisation of the kernel.
        use_bias: whether there is a bias.
    """

    def __init__(
        self, filters: int, size: int, weights: Weights, use_bias: bool = True, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        self.filters, self.size = filters, size
        self.use_bias, self.start = use_bias, weights
        self.norm = weights.norm()

    def build(self, input_shape):
        """Makes kernel [size, size, in, filters] and the bias."""
        inputs = input_shape[-1]
        shape = (self.size, self.size, inputs, self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.start.initialiser()
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.start.bias(inputs * self.size**2),
            )
        if self.norm is not None:
            self.norm.build(shape)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H, W, filters]."""
        kernel = used(self.kernel, self.norm, x.dtype, training)
        if self.size == 1 and training:
            x = _pointwise(x, tf.reshape(kernel, kernel.shape[2:]))
        else:
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
        if self.bias is None:
            return x
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))


class Linear(keras.layers.Layer):
    """A fully connected layer.

    Args:
        units: outputs.
        weights: start and normalisation of the kernel.
        use_bias: whether there is a bias.
    """

    def __init__(self, units: int, weights: Weights, use_bias: bool = True, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units, self.use_bias, self.start = units, use_bias, weights
        self.norm = weights.norm()

    def build(self, input_shape):
        """Makes kernel [in, units] and the bias."""
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.start.initialiser()
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.start.bias(input_shape[-1]),
            )
        if self.norm is not None:
            self.norm.build(shape)

    def call(self, x, training=False):
        """Maps [B, in] to [B, units]."""
        x = tf.matmul(x, used(self.kernel, self.norm, x.dtype, training))
        if self.bias is None:
            return x
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))


class Table(keras.layers.Layer):
    """A vector for each class.

    Args:
        classes: rows.
        width: of a row.
        weights: start and normalisation.
        normalised: whether it is spectrally normalised at all: the generator's tables
            never are.
    """

    def __init__(
        self,
        classes: int,
        width: int,
        weights: Weights,
        normalised: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.classes, self.width, self.start = classes, width, weights
        self.norm = weights.norm(table=True) if normalised else None

    def build(self, input_shape=None):
        """Makes table [classes, width]."""
        del input_shape
        shape = (self.classes, self.width)
        self.table = self.add_weight(
            name="table", shape=shape, initializer=self.start.initialiser()
        )
        if self.norm is not None:
            self.norm.build(shape)

    def call(self, labels, training=False):
        """Maps indices [B], or weights of the classes [B, classes], to [B, width]."""
        table = used(self.table, self.norm, tf.float32, training)
        if labels.dtype.is_integer:
            return tf.gather(table, labels)
        return tf.matmul(tf.cast(labels, table.dtype), table)


def used(weight, norm: SpectralNorm | None, dtype, training: bool) -> tf.Tensor:
    """Returns a weight as its layer multiplies with it."""
    if norm is not None:
        weight = norm(weight, training=training)
    return tf.cast(weight, dtype)


def _pointwise(x, kernel):
    # One product: on a CPU its gradients are faster than the convolution's.
    shape = tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], 0)
    y = tf.reshape(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), shape)
    y.set_shape([*x.shape[:-1], kernel.shape[-1]])
    return y
