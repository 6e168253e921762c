"""Running a tree cell (Zoph & Le 2017, section 3.4) over a sequence.

All steps' products with the input are one product before the loop. Training leaves
only what has to be done in order to the loops, one product with the recurrent matrix
each way: the functions of a cell work on every unit alone, so their derivatives are
found for all steps at once, and every matrix's gradient is one product afterwards.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdl.models.automl.recurrent import loops
from tfdl.models.automl.recurrent.genotypes import ACTIVATIONS, TreeCell

# (x W [..., n u], h U [..., n u], c [..., u]) -> (output, next c), each [..., u].
Function = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# tanh and sigmoid, numbers 1 and 2 of a cell's text, are one `scale tanh(slope v) +
# shift` where a graph does not know the cell: of two functions both would be computed.
_SLOPE, _SCALE, _SHIFT = ((1.0, 1.0, 0.5, 1, 1),) * 2 + ((0, 0, 0.5, 0, 0),)


class Weights(NamedTuple):
    """A cell's weights; leaf k has columns [k u, (k + 1) u) of the first three.

    Attributes:
        kernel: [in, n u].
        recurrent: [out, n u].
        bias: [n u], added to the recurrent product; or None.
        projection: [u, out], or None where the output is as wide as the state.
    """

    kernel: tf.Tensor
    recurrent: tf.Tensor
    bias: tf.Tensor | None = None
    projection: tf.Tensor | None = None


def function_of(cell: TreeCell, keep: list | None = None) -> Function:
    """Returns what a cell computes of its products, without projection.

    Args:
        cell: the cell.
        keep: every node's value before and after its activation is added to it.
    """
    base = cell.base

    def function(zx, zh, c):
        leaves = zip(tf.split(zx, base, -1), tf.split(zh, base, -1), strict=True)
        pairs, values = list(leaves), []
        for i, (combine, activation) in enumerate(cell.nodes):
            k = 2 * (i - base)
            left, right = pairs[i] if i < base else values[k : k + 2]
            before = loops.COMBINE[combine](left, right)
            value = loops.ACTIVATE[activation](before)
            if i == cell.inject_at:
                combine, activation = cell.inject
                value = loops.ACTIVATE[activation](loops.COMBINE[combine](value, c))
            if i == cell.cell:
                next_c = before
            if keep is not None:
                keep.append((before, value))
            values.append(value)
        return values[-1], next_c

    return function


def function_of_tokens(tokens: tf.Tensor, extra: bool = False) -> Function:
    """Returns what a cell computes that only the running graph knows.

    Args:
        tokens: the cell's numbers int32 [4n + 2], see `TreeCell.from_tokens`.
        extra: whether there may be "max" and "sin" among them.
    """
    base = (tokens.shape[0] - 2) // 4
    nodes = 2 * base - 1

    def act(token, x):
        slope, scale, shift = (tf.gather(t, token) for t in (_SLOPE, _SCALE, _SHIFT))
        curve = scale * tf.tanh(slope * x) + shift
        straight = tf.where(token == ACTIVATIONS.index("relu"), tf.nn.relu(x), x)
        found = tf.where((token == 1) | (token == 2), curve, straight)
        return tf.where(token == 4, tf.sin(x), found) if extra else found

    def combine(token, x, y):
        found = tf.where(token == 0, x + y, x * y)
        return tf.where(token == 2, tf.maximum(x, y), found) if extra else found

    def function(zx, zh, c):
        leaves = zip(tf.split(zx, base, -1), tf.split(zh, base, -1), strict=True)
        pairs, values = list(leaves), []
        next_c = tf.zeros_like(c)
        for i in range(nodes):
            k = 2 * (i - base)
            left, right = pairs[i] if i < base else values[k : k + 2]
            before = combine(tokens[2 * i], left, right)
            value = act(tokens[2 * i + 1], before)
            injected = combine(tokens[2 * nodes], value, c)
            injected = act(tokens[2 * nodes + 1], injected)
            value = tf.where(tokens[-1] == i, injected, value)
            next_c = tf.where(tokens[-2] == i, before, next_c)
            values.append(value)
        return values[-1], next_c

    return function


def run(
    function: Function,
    x: tf.Tensor,
    weights: Weights,
    h: tf.Tensor,
    c: tf.Tensor,
    training: bool = False,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs a cell over a sequence.

    Args:
        function: the cell.
        x: inputs, time first [T, B, in].
        weights: the cell's.
        h: the first output [B, out].
        c: the first cell state [B, u].
        training: keep what a gradient needs. Without it, or with a mask, gradients
            are still right, but slow: the loop's own.
        mask: bool [T, B]; a step where it is False repeats the last output (zeros at
            the beginning) and leaves the state as it is.

    Returns:
        All outputs [T, B, out], the last output and the last cell state.
    """
    zx = loops.product(x, weights.kernel)
    bias = weights.bias
    if bias is None:
        bias = tf.zeros([weights.recurrent.shape[-1]])
    if not training or mask is not None:
        given = (zx, weights.recurrent, bias, weights.projection)
        return _forward(function, *given, h, c, mask)[:3]
    rest = () if weights.projection is None else (weights.projection,)
    return _with_gradient(function)(zx, weights.recurrent, bias, h, c, *rest)


def _forward(function, zx, recurrent, bias, projection, h, c, mask=None, keep=False):
    steps = loops.num_steps(zx)
    wide = [zx.shape[1], recurrent.shape[-1]]
    h = tf.ensure_shape(h, [zx.shape[1], recurrent.shape[0]])
    c = tf.ensure_shape(c, [zx.shape[1], c.shape[-1]])
    shapes = (h.shape, c.shape, wide) if keep else (h.shape,)

    def body(t, h, c, last, found):
        zh = tf.nn.bias_add(tf.matmul(h, recurrent), bias)
        now, next_c = function(zx[t], zh, c)
        if projection is not None:
            now = tf.matmul(now, projection)
        if mask is not None:
            there = mask[t][:, None]
            last = tf.where(there, now, last)
            now, next_c = tf.where(there, now, h), tf.where(there, next_c, c)
        else:
            last = now
        found = loops.write(found, t, *((last, next_c, zh) if keep else (last,)))
        return now, next_c, last, found

    found = loops.arrays(steps, *shapes)
    h, c, _, found = loops.loop(steps, body, h, c, tf.zeros_like(h), found)
    hs, *rest = (array.stack() for array in found)
    hs.set_shape([zx.shape[0], *h.shape])
    return hs, h, c, rest


def _with_gradient(function: Function):
    @tf.custom_gradient
    def run(zx, recurrent, bias, h, c, *rest):
        projection = rest[0] if rest else None
        given = (zx, recurrent, bias, projection, h, c)
        hs, h_last, c_last, (cs, zh) = _forward(function, *given, keep=True)

        def gradient(d_hs, d_h, d_c):
            h_before = tf.concat([h[None], hs[:-1]], 0)
            c_before = tf.concat([c[None], cs[:-1]], 0)
            by_h, by_c = loops.partials(function, zx, zh, c_before)
            sweep = (recurrent, projection, by_h, by_c, d_hs, d_h, d_c)
            d_h, d_c, d_outs, d_ms, d_cs, d_zh = _backward(*sweep)
            count = zx.shape[-1] // c.shape[-1]
            tile = [1, 1, count]
            d_zx = tf.tile(d_ms, tile) * by_h[0] + tf.tile(d_cs, tile) * by_c[0]
            d_recurrent = loops.outer(h_before, d_zh)
            found = d_zx, d_recurrent, tf.reduce_sum(loops.rows(d_zh), 0), d_h, d_c
            if projection is None:
                return found
            narrow = function(zx, zh, c_before)[0]
            return (*found, loops.outer(narrow, d_outs))

        return (hs, h_last, c_last), gradient

    return run


def _backward(recurrent, projection, by_h, by_c, d_hs, d_h, d_c):
    """Returns gradients: of the first h and c, then of all steps'.

    Those are of the outputs, what is projected, cell states and recurrent products.
    """
    steps = loops.num_steps(d_hs)
    transposed = tf.transpose(recurrent)
    up = None if projection is None else tf.transpose(projection)
    count = recurrent.shape[-1] // d_c.shape[-1]

    def body(k, d_h, d_c, found):
        t = steps - 1 - k
        d_h += d_hs[t]
        d_m = d_h if up is None else tf.matmul(d_h, up)
        wide_m, wide_c = tf.tile(d_m, [1, count]), tf.tile(d_c, [1, count])
        d_zh = wide_m * by_h[1][t] + wide_c * by_c[1][t]
        found = loops.write(found, t, d_h, d_m, d_c, d_zh)
        before = tf.matmul(d_zh, transposed)
        return before, d_m * by_h[2][t] + d_c * by_c[2][t], found

    wide = [d_c.shape[0], recurrent.shape[-1]]
    found = loops.arrays(steps, d_h.shape, d_c.shape, d_c.shape, wide)
    d_h, d_c, found = loops.loop(steps, body, d_h, d_c, found)
    return d_h, d_c, *(array.stack() for array in found)
