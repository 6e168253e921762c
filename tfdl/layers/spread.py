"""Dilated kernels as ordinary ones."""

import numpy as np
import tensorflow as tf


def spread(kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """Returns a kernel [h, w, in, out] with zeros between its taps.

    TensorFlow has no gradients of dilated convolutions on CPUs where oneDNN does not
    take them over, as within a branch, and no dilated depthwise ones with strides.
    """
    if dilation == 1:
        return kernel
    row, column = (
        # A one and zeros behind it for every tap but the last.
        np.eye(n * dilation, dtype=np.float32)[::dilation, : 1 + (n - 1) * dilation]
        for n in kernel.shape[:2]
    )
    row, column = tf.cast(row, kernel.dtype), tf.cast(column, kernel.dtype)
    return tf.einsum("hwio,hr,wc->rcio", kernel, row, column)
