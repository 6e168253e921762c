"""Dropout whose masks differ between replicas."""

import keras

from tfdl.engine.randomness import SeedGenerator


class Dropout(keras.layers.Layer):
    """Inverted dropout (Srivastava et al. 2014): zeroes a share, scales the rest.

    Unlike `keras.layers.Dropout`, every replica draws its own mask.

    Args:
        rate: the share of entries to zero, in [0, 1).
        noise_shape: shape of the mask, broadcast to the input; None is the input's.
    """

    def __init__(self, rate: float, noise_shape=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.noise_shape = noise_shape
        self.random = SeedGenerator() if rate > 0 else None
        self.built = True

    def call(self, inputs, training=False):
        """Returns a tensor of the input's shape and dtype."""
        if not training or self.random is None:
            return inputs
        return keras.random.dropout(
            inputs, self.rate, noise_shape=self.noise_shape, seed=self.random
        )
