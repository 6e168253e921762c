"""The synthesis network g: w, noise -> picture (Karras et al. 2018, figure 1b)."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import errors, randomness
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import layers
from tfdl.models.stylegan import lod as detail
from tfdl.models.stylegan.config import GeneratorConfig

NOISE = ("stored", "random", "zero")


class StyledLayer(keras.layers.Layer):
    """One layer: convolution, noise, bias, activation, normalisation, style.

    Args:
        config: the architecture.
        index: which layer: 0 is the start, odd ones keep the resolution, the other
            even ones double it.
    """

    def __init__(self, config: GeneratorConfig, index: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config, self.index = config, index
        self.features = config.layer_features(index)
        self.size = config.layer_size(index)
        scaling = {"use_wscale": config.use_wscale}
        self.start = self.conv = self.style = None
        if index:
            up = index % 2 == 0
            self.conv = layers.Conv(
                self.features,
                resample="up" if up else "",
                mirrored=up and config.fuses(self.size),
                use_bias=False,
                name="conv",
                **scaling,
            )
        elif not config.const_input_layer:
            self.start = layers.Dense(
                16 * self.features,
                use_bias=False,
                gain=layers.SQRT2 / 4,
                name="start",
                **scaling,
            )
        if config.use_styles:
            self.style = layers.Dense(
                2 * self.features, gain=1.0, name="style", **scaling
            )

    def build(self, input_shape=None):
        """Makes all weights; `input_shape` is [B, H, W, C] of the layer below."""
        config = self.config
        if self.conv is not None:
            self.conv.build(input_shape)
        elif self.start is not None:
            self.start.build((None, config.dlatent_size))
        else:
            self.const = self.add_weight(
                name="const", shape=(1, 4, 4, self.features), initializer="ones"
            )
        if config.use_noise:
            self.noise_weight = self.add_weight(
                name="noise_weight", shape=(self.features,), initializer="zeros"
            )
        self.bias = self.add_weight(
            name="bias", shape=(self.features,), initializer="zeros"
        )
        if self.style is not None:
            self.style.build((None, config.dlatent_size))

    def call(self, x, w, noise=None):
        """Returns [B, H, W, C].

        Args:
            x: the layer below, None for layer 0.
            w: [B, dlatent], this layer's.
            noise: [B or 1, H, W, 1], or None.
        """
        config, dtype = self.config, self.compute_dtype
        if self.conv is not None:
            x = self.conv(x)
            x = layers.blur(x) if self.conv.resample else x
        elif self.start is not None:
            x = tf.reshape(self.start(w), [-1, 4, 4, self.features])
        else:
            x = tf.cast(self.const, dtype)
            if self.style is None:
                x = tf.tile(x, [tf.shape(w)[0], 1, 1, 1])
        if noise is not None:
            x += tf.cast(noise, dtype) * tf.cast(self.noise_weight, dtype)
        x = tf.nn.bias_add(x, tf.cast(self.bias, dtype))
        x = layers.activate(x, config.nonlinearity)
        if config.use_pixel_norm:
            x = layers.pixel_norm(x)
        scale = shift = None
        if self.style is not None:
            scale, shift = tf.split(tf.cast(self.style(w), tf.float32), 2, axis=1)
            scale += 1.0
        return layers.modulate(x, config.use_instance_norm, scale, shift)


class Synthesis(keras.layers.Layer):
    """Makes pictures from w.

    Args:
        config: the generator's architecture.
        seed: of the noise that is drawn for "random".
    """

    def __init__(self, config: GeneratorConfig, seed: int = 0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.layers = [
            StyledLayer(config, index, name=f"layer{index}")
            for index in range(config.num_layers)
        ]
        self.to_rgb = [
            layers.Conv(
                config.num_channels,
                kernel_size=1,
                gain=1.0,
                use_wscale=config.use_wscale,
                name=f"to_rgb{4 << i}",
            )
            for i in range(config.levels - 1)
        ]
        self.random = randomness.SeedGenerator(seed)
        self.noises: list[Any] = []

    def build(self, input_shape=None):
        """Makes all weights, and the noise that is stored with them."""
        del input_shape
        channels = None
        for layer in self.layers:
            layer.build((None, None, None, channels))
            channels = layer.features
        for i, conv in enumerate(self.to_rgb):
            conv.build((None, None, None, self.layers[2 * i + 1].features))
        if self.config.use_noise:
            self.noises = [
                self.add_weight(
                    name=f"noise{layer.index}",
                    shape=(1, layer.size, layer.size, 1),
                    initializer=keras.initializers.RandomNormal(
                        stddev=1.0, seed=layer.index
                    ),
                    trainable=False,
                )
                for layer in self.layers
            ]

    def call(self, w, noise="stored", lod=0.0, stage=None, upscale=True):
        """Maps w to pictures [B, H, W, C] in about [-1, 1], float32.

        Args:
            w: [B, layers, dlatent], or [B, dlatent] for the same one in every layer.
            noise: "stored" (with the weights, the same for every picture), "random",
                "zero", a seed (an integer or integers [2]; the same seed gives the
                same pictures), or a list of [B or 1, H, W, 1], one for every layer.
            lod: 0 for the full resolution, k for 1 / 2^k of it; between, the
                resolution above fades in. Only what is in use is computed.
            stage: floor(lod) as a Python number, where `lod` is a tensor.
            upscale: repeats pixels up to the full resolution.
        """
        stage, fade = detail.split(lod, stage, self.config.levels)
        found = dict(self._run(w, noise, stage))
        last = self.config.levels - 2 - stage
        image = self._rgb(last, found)
        if not (isinstance(fade, float) and fade == 0.0):
            image = layers.lerp(
                image, layers.upsample(self._rgb(last - 1, found)), fade
            )
        image = tf.cast(image, tf.float32)
        return layers.upsample(image, 1 << stage) if upscale else image

    def activations(self, w, noise="stored") -> dict[str, tf.Tensor]:
        """Returns every layer's output [B, H, W, C], by the original's names.

        Beside the layers there are `ToRGB_lod{d}`, the pictures of each resolution.
        """
        found = dict(self._run(w, noise, 0))
        named = {layer_name(index): found[index] for index in found}
        for i in range(len(self.to_rgb)):
            named[f"ToRGB_lod{self.config.levels - 2 - i}"] = self._rgb(i, found)
        return named

    def stored_noise(self) -> list[tf.Tensor]:
        """Returns the noise that is stored with the weights."""
        return [tf.convert_to_tensor(noise) for noise in self.noises]

    def draw_noise(
        self,
        batch: Any,
        seed: Any,
        stage: int = 0,
        part: tuple[Any, int] = (0, 1),
    ) -> list[tf.Tensor]:
        """Draws the noise of every layer in use from a seed.

        Args:
            batch: pictures.
            seed: an integer, or integers [2].
            stage: the largest resolutions that are out of use.
            part: (r, n): the r-th of the n equal parts of what is drawn for a batch
                n times as large, so that n replicas draw what one does.
        """
        seed = as_seed(seed)
        index, count = part
        drawn = []
        for layer in self.layers[: self.config.num_layers - 2 * stage]:
            own = tf.random.experimental.stateless_fold_in(seed, layer.index)
            shape = [batch * count, layer.size, layer.size, 1]
            noise = tf.random.stateless_normal(shape, own)
            # Of a static shape, which XLA needs, also where `index` is a tensor.
            begin = [index * batch, 0, 0, 0]
            drawn.append(tf.slice(noise, begin, [batch, *shape[1:]]))
        return drawn

    def _run(self, w, noise, stage: int) -> Iterator[tuple[int, tf.Tensor]]:
        w = self._per_layer(w)
        used = self.config.num_layers - 2 * stage
        noises = self._noises(noise, tf.shape(w)[0], stage)
        x = None
        for layer in self.layers[:used]:
            own = w[:, layer.index] if self.config.use_styles else w[:, 0]
            x = layer(x, own, noises[layer.index])
            yield layer.index, x

    def _rgb(self, i: int, found: dict[int, tf.Tensor]) -> tf.Tensor:
        return self.to_rgb[i](found[2 * i + 1])

    def _per_layer(self, w) -> tf.Tensor:
        config = self.config
        w = tf.cast(w, self.compute_dtype)
        if w.shape.rank == 2:
            w = tf.tile(w[:, None], [1, config.num_styles, 1])
        if w.shape.rank != 3 or tuple(w.shape[1:]) != (
            config.num_styles,
            config.dlatent_size,
        ):
            raise UserError(
                f"w has to be [batch, {config.dlatent_size}] or [batch, "
                f"{config.num_styles}, {config.dlatent_size}] (2 layers for every "
                f"resolution from 4 to {config.resolution}), got {list(w.shape)}"
            )
        return w

    def _noises(self, noise, batch, stage: int) -> Sequence[tf.Tensor | None]:
        used = self.config.num_layers - 2 * stage
        if not self.config.use_noise:
            return [None] * used
        if isinstance(noise, str):
            if noise not in NOISE:
                raise errors.unknown("noise", noise, (*NOISE, "SEED"))
            if noise == "zero":
                return [None] * used
            if noise == "stored":
                return self.stored_noise()
            return self.draw_noise(batch, self.random.next(), stage)
        if isinstance(noise, list | tuple):
            if len(noise) < used:
                raise UserError(f"noise for {len(noise)} layers, {used} are in use")
            return noise
        return self.draw_noise(batch, noise, stage)


def as_seed(seed: Any) -> tf.Tensor:
    """Returns a seed (an integer of up to 64 bits, or integers [2]) as int32 [2]."""
    if isinstance(seed, int | np.integer):
        low, high = int(seed) & 0xFFFFFFFF, (int(seed) >> 32) & 0xFFFFFFFF
        return tf.constant(np.array([low, high], "uint32").view("int32"))
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 0:
        return tf.bitcast(tf.cast(seed, tf.int64), tf.int32)
    return tf.cast(seed, tf.int32)


def layer_name(index: int) -> str:
    """Returns the original's name of a layer, such as `8x8/Conv0_up`."""
    if index < 2:
        return ("4x4/Const", "4x4/Conv")[index]
    size = 1 << (index // 2 + 2)
    return f"{size}x{size}/{'Conv1' if index % 2 else 'Conv0_up'}"
