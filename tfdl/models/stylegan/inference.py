"""The generator for inference: the same function, computed with less work.

What weights are multiplied by is folded into them, kernels are prepared once for the
cheapest form of each convolution, and from 64 pixels on pictures are made one after the
other, so that what a layer works on stays in the processor's caches.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.models.stylegan import layers, winograd
from tfdl.models.stylegan import lod as detail
from tfdl.models.stylegan.model import StyleGAN
from tfdl.models.stylegan.synthesis import StyledLayer, as_seed

# Where the sums of Winograd's forms cost less than what they save.
WINOGRAD_FROM = 256
# The first size at which pictures are made one by one.
SINGLE_FROM = 64
STORED = -1


class FoldedLayer(keras.layers.Layer):
    """A layer of the synthesis with everything constant folded into its weights.

    Args:
        layer: the layer as trained.
        noise: [1, H, W, 1], its stored noise, or None.
    """

    def __init__(self, layer: StyledLayer, noise: Any = None):
        super().__init__(autocast=False, name=f"folded{layer.index}")
        self.config, self.index, self.size = layer.config, layer.index, layer.size
        self.features, self.noise = layer.features, None
        self.form, arrays = _form(layer)
        self.kernels = [self._keep(f"kernel{i}", a) for i, a in enumerate(arrays)]
        self.bias = self._keep("bias", layer.bias)
        if layer.config.use_noise:
            self.noise_weight = self._keep("noise_weight", layer.noise_weight)
            self.noise = self._keep("noise", noise)
        if layer.style is not None:
            shift = np.repeat([1.0, 0.0], layer.features)
            self.style = self._keep("style", layer.style.scaled())
            self.style_bias = self._keep("style_bias", layer.style.bias + shift)
        self.built = True

    def _keep(self, name: str, value: Any) -> keras.Variable:
        value = np.asarray(value, "float32")
        return self.add_weight(
            name=name,
            shape=value.shape,
            initializer=lambda *_, **__: value,
            trainable=False,
        )

    def styles(self, w: tf.Tensor) -> list[tf.Tensor]:
        """Maps this layer's w [B, dlatent] to scale and shift, [B, C] each."""
        if not self.config.use_styles:
            return []
        return tf.split(tf.matmul(w, self.style) + self.style_bias, 2, axis=1)

    def call(self, x, styles, w=None, noise=None):
        """Returns [B, H, W, C]; `noise` None stands for the stored one."""
        x = self._input(x, w)
        offset = tf.convert_to_tensor(self.bias)
        if self.noise is not None:
            noise = self.noise if noise is None else noise
            # Small things first: stored noise is one picture's, not a batch's.
            offset = noise * self.noise_weight + offset
        x = layers.activate(x + offset, self.config.nonlinearity)
        if self.config.use_pixel_norm:
            x = layers.pixel_norm(x)
        scale, shift = styles if styles else (None, None)
        if x.shape[0] == 1 and styles and self.config.use_instance_norm:
            return tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=tf.reshape(scale, [self.features]),
                offset=tf.reshape(shift, [self.features]),
                mean=[],
                variance=[],
                epsilon=layers.EPSILON,
                is_training=True,
            ).y
        return layers.modulate(x, self.config.use_instance_norm, scale, shift)

    def _input(self, x: tf.Tensor | None, w: tf.Tensor) -> tf.Tensor:
        kernels = [tf.convert_to_tensor(kernel) for kernel in self.kernels]
        if self.form == "const":
            # Repeated, for a batch of one has a form of its own.
            return tf.tile(kernels[0], [tf.shape(w)[0], 1, 1, 1])
        if self.form == "dense":
            return tf.reshape(tf.matmul(w, kernels[0]), [-1, 4, 4, self.features])
        if self.form == "winograd":
            return winograd.convolve(x, kernels[0])
        if self.form == "plain":
            return layers.convolve(x, kernels[0])
        if self.form == "winograd up":
            return layers.blur(winograd.up_convolve(x, kernels))
        return layers.blur(layers.convolve(x, kernels[0], "up"))


def _form(layer: StyledLayer) -> tuple[str, list[np.ndarray]]:
    """Returns how a layer's input is computed, and the arrays that this takes."""
    if layer.start is not None:
        return "dense", [layer.start.scaled().numpy()]
    if layer.conv is None:
        return "const", [layer.const.numpy()]
    weight = layer.conv.scaled().numpy()
    wide = min(weight.shape[2:]) >= WINOGRAD_FROM
    if layer.conv.resample:
        if weight.shape[2] < WINOGRAD_FROM:
            return "up", [layer.conv.kernel().numpy()]
        mirrored = weight[::-1, ::-1] if layer.conv.mirrored else weight
        return "winograd up", winograd.up_kernel(mirrored)
    return ("winograd", [winograd.kernel(weight)]) if wide else ("plain", [weight])


class FoldedGenerator(keras.layers.Layer):
    """A generator for inference.

    Args:
        model: the generator as trained; its values now are taken.
    """

    def __init__(self, model: StyleGAN):
        super().__init__(autocast=False, name="folded")
        self.config = model.config
        self.stage, self.fade = detail.split(model.lod, None, self.config.levels)
        used = self.config.num_layers - 2 * self.stage
        noises = model.synthesis.noises or [None] * used
        self.layers = [
            FoldedLayer(layer, noise)
            for layer, noise in zip(model.synthesis.layers[:used], noises, strict=False)
        ]
        self.mapping = model.mapping
        self.average = self.add_weight(
            name="dlatent_avg",
            shape=model.dlatent_avg.shape,
            initializer=lambda *_, **__: model.dlatent_avg.numpy(),
            trainable=False,
        )
        last = used // 2 - 1
        self.to_rgb = {last: model.synthesis.to_rgb[last]}
        if self.fade:
            self.to_rgb[last - 1] = model.synthesis.to_rgb[last - 1]
        self.single = next(
            (i for i, layer in enumerate(self.layers) if layer.size >= SINGLE_FROM),
            used,
        )
        self.built = True

    def every(self) -> list[keras.layers.Layer]:
        """Returns the layers whose variables an export has to hold."""
        return [self.mapping, *self.layers, *self.to_rgb.values()]

    def truncate(self, w, psi, cutoff) -> tf.Tensor:
        """Moves w [B, L, D] towards the average by psi [B] below layer cutoff [B]."""
        chosen = tf.range(self.config.num_styles) < cutoff[:, None]
        average = tf.convert_to_tensor(self.average)
        moved = average + (w - average) * psi[:, None, None]
        return tf.where(chosen[:, :, None], moved, w)

    def synthesize(self, w, seeds=None) -> tf.Tensor:
        """Makes pictures [B, H, W, C], float32.

        Args:
            w: [B, layers, dlatent].
            seeds: integers [B], the noise of every picture; below 0, or without
                seeds, it is the stored one.
        """
        per_layer = self.config.use_styles
        ws = [w[:, layer.index if per_layer else 0] for layer in self.layers]
        styles = [layer.styles(own) for layer, own in zip(self.layers, ws, strict=True)]
        noises = [None] * self.single if seeds is None else self._drawn(seeds)
        x, before = None, None
        for i, layer in enumerate(self.layers[: self.single]):
            # What the resolution below gave, for a fade.
            before = x if i % 2 == 0 else before
            x = layer(x, styles[i], ws[i], noises[i])
        if self.single == len(self.layers):
            return self._picture(x, before)
        return self._one_by_one(x, styles[self.single :], seeds)

    def _one_by_one(self, x, styles, seeds) -> tf.Tensor:
        rest = self.layers[self.single :]

        def one(elements):
            x, styles, *seed = elements
            x, before = x[None], None
            for i, layer in enumerate(rest):
                before = x if i % 2 == 0 else before
                noise = layer_noise(layer, seed[0]) if seed else None
                own = [style[None] for style in styles[i]]
                x = layer(x, own, None, noise)
            return self._picture(x, before)[0]

        side, channels = self.config.resolution, self.config.num_channels
        spec = tf.TensorSpec([side, side, channels], tf.float32)
        elements = [x, styles] if seeds is None else [x, styles, seeds]
        return tf.map_fn(one, elements, fn_output_signature=spec)

    def _picture(self, x, before) -> tf.Tensor:
        last = len(self.layers) // 2 - 1
        image = self.to_rgb[last](x)
        if self.fade:
            below = layers.upsample(self.to_rgb[last - 1](before))
            image = layers.lerp(image, below, self.fade)
        return layers.upsample(image, 1 << self.stage)

    def _drawn(self, seeds) -> list[tf.Tensor | None]:
        """Returns the noise of the layers that work on the whole batch."""
        first = self.layers[: self.single]
        if not self.config.use_noise:
            return [None] * len(first)
        return list(
            tf.map_fn(
                lambda seed: tuple(layer_noise(layer, seed)[0] for layer in first),
                seeds,
                fn_output_signature=tuple(
                    tf.TensorSpec([layer.size, layer.size, 1]) for layer in first
                ),
            )
        )


def layer_noise(layer: FoldedLayer, seed: tf.Tensor) -> tf.Tensor | None:
    """Returns a picture's noise [1, H, W, 1] as the trained network draws it."""
    if layer.noise is None:
        return None
    own = tf.random.experimental.stateless_fold_in(as_seed(seed), layer.index)
    shape = [1, layer.size, layer.size, 1]
    return tf.cond(
        seed < 0,
        lambda: tf.convert_to_tensor(layer.noise),
        lambda: tf.random.stateless_normal(shape, own),
    )
