"""Gradient checkpointing that stays exact with dropout (Chen et al. 2016)."""

from typing import Any

import keras
import tensorflow as tf


def recompute(
    layer: keras.layers.Layer, *inputs: tf.Tensor, **options: Any
) -> tf.Tensor:
    """Returns `layer(*inputs, **options)`, keeping only the inputs for the gradient.

    What the layer computes on the way is thrown away and computed a second time when
    the gradient needs it. The second time starts from the random state of the first,
    so that dropout draws the same masks; the state itself advances once, as without
    recomputing.

    Args:
        layer: a built layer that returns one tensor.
        *inputs: its inputs; gradients reach them and the layer's weights.
        **options: further arguments of the call; no gradient reaches them.
    """
    state = layer.non_trainable_variables
    before = [tf.identity(variable.value) for variable in state]
    is_first = True

    @tf.recompute_grad
    def run(*inputs):
        nonlocal is_first
        with keras.StatelessScope(zip(state, before, strict=True)) as scope:
            result = layer(*inputs, **options)
        if is_first:
            for variable in state:
                variable.assign(scope.get_current_value(variable))
        is_first = False
        return result

    return run(*inputs)
