"""Blocks computed a second time for the gradient, where memory is short."""

from typing import Any

import keras

from tfdl.layers.recompute import recompute


def run(layer: keras.layers.Layer, *inputs: Any, remat: bool, **options: Any):
    """Returns `layer(*inputs, **options)`; with `remat` it keeps only the inputs."""
    if remat:
        return recompute(layer, *inputs, **options)
    return layer(*inputs, **options)
