"""The mapping network f: z -> w (Karras et al. 2018, section 2)."""

import keras
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.stylegan import layers
from tfdl.models.stylegan.config import GeneratorConfig


class Mapping(keras.layers.Layer):
    """Maps z and labels to one w for every layer of the synthesis.

    Args:
        config: the generator's architecture.
    """

    def __init__(self, config: GeneratorConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.dense = [
            layers.Dense(
                width,
                lrmul=config.mapping_lrmul,
                use_wscale=config.use_wscale,
                name=f"dense{i}",
            )
            for i, width in enumerate(config.mapping_widths)
        ]
        self.embedding = None

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        config = self.config
        if config.label_size:
            self.embedding = self.add_weight(
                name="label_embedding",
                shape=(config.label_size, config.latent_size),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
            )
        inputs = config.mapping_inputs
        for dense in self.dense:
            dense.build((None, inputs))
            inputs = dense.outputs

    def call(self, z, label=None):
        """Maps z [B, latent] to w [B, layers, dlatent], never truncated.

        Args:
            z: latents; their length does not matter.
            label: int [B] or one-hot [B, classes]; only of a conditional network.
        """
        w = self.vector(z, label)[:, None]
        return tf.tile(w, [1, self.config.num_styles, 1])

    def vector(self, z, label=None) -> tf.Tensor:
        """Maps z [B, latent] to the one w [B, dlatent] that all layers share."""
        return list(self.activations(z, label).values())[-1]

    def activations(self, z, label=None) -> dict[str, tf.Tensor]:
        """Returns what every step gives, by the original's names."""
        config = self.config
        x = tf.cast(z, self.compute_dtype)
        if x.shape.rank != 2 or x.shape[1] != config.latent_size:
            raise UserError(
                f"z has to be [batch, {config.latent_size}], got {list(x.shape)}"
            )
        found = {"latents": x}
        if config.label_size:
            label = one_hot(label, config.label_size, x.dtype)
            embedded = tf.matmul(label, tf.cast(self.embedding, x.dtype))
            x = found["LabelConcat"] = tf.concat([x, embedded], 1)
        if config.normalize_latents:
            x = found["PixelNorm"] = layers.pixel_norm(x)
        for i, dense in enumerate(self.dense):
            x = layers.activate(dense(x), config.mapping_nonlinearity)
            found[f"Dense{i}"] = x
        return found


def one_hot(label, classes: int, dtype: tf.DType) -> tf.Tensor:
    """Returns labels (int [B] or float [B, classes]) as float [B, classes].

    Raises:
        UserError: no labels, or of another number of classes.
    """
    if label is None:
        raise UserError(f"a network with {classes} classes needs labels")
    label = tf.convert_to_tensor(label)
    if label.shape.rank == 1:
        return tf.one_hot(tf.cast(label, tf.int32), classes, dtype=dtype)
    if label.shape.rank != 2 or label.shape[1] != classes:
        raise UserError(
            f"labels have to be [batch] or [batch, {classes}], got {list(label.shape)}"
        )
    return tf.cast(label, dtype)
