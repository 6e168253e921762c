"""An LSTM whose training is fast on CPUs.

Automatic differentiation of a loop adds to every weight's gradient at each step. Here
the loops only hold what has to be done in order, one product with the recurrent matrix
each way; every weight's gradient is one product over all steps afterwards.
"""

import tensorflow as tf


def lstm(
    x: tf.Tensor,
    kernel: tf.Tensor,
    recurrent: tf.Tensor,
    bias: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
    training: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs an LSTM over a sequence.

    `z = x W + h U + b`; `c' = sigmoid(f) c + sigmoid(i) tanh(g)`;
    `h' = sigmoid(o) tanh(c')`, with z's blocks in the order i, f, g, o.

    Args:
        x: inputs, time first [T, B, in].
        kernel: W [in, 4H].
        recurrent: U [H, 4H].
        bias: b [4H].
        h: the first hidden state [B, H].
        c: the first cell state [B, H].
        training: keep what a gradient needs. Without it the gradient is still right,
            but slow: the loop's own.

    Returns:
        All hidden states [T, B, H], the last one and the last cell state.
    """
    inputs = [tf.convert_to_tensor(v) for v in (x, kernel, recurrent, bias, h, c)]
    if not training:
        zx = input_product(*inputs[:2], inputs[3])
        hs, h, c, _, _ = _forward(
            lambda t: zx[t], tf.shape(zx)[0], *inputs[2:3], *inputs[4:], False
        )
        hs.set_shape([x.shape[0], *hs.shape[1:]])
        return hs, h, c
    return _with_gradient(*inputs)


def lstm_of_rows(
    table: tf.Tensor,
    index: tf.Tensor,
    recurrent: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs an LSTM whose inputs are few different ones; not made for training.

    Args:
        table: `x W + b` of every different input x [U, 4H].
        index: the row of each step's inputs [T, B].
        recurrent: U [H, 4H].
        h: the first hidden state [B, H].
        c: the first cell state [B, H].

    Returns:
        All hidden states [T, B, H], the last one and the last cell state.
    """
    return _forward(
        lambda t: tf.gather(table, index[t]), tf.shape(index)[0], recurrent, h, c, False
    )[:3]


@tf.custom_gradient
def _with_gradient(x, kernel, recurrent, bias, h, c):
    zx = input_product(x, kernel, bias)
    hs, h_last, c_last, cs, gates = _forward(
        lambda t: zx[t], tf.shape(zx)[0], recurrent, h, c, True
    )
    hs.set_shape([x.shape[0], *hs.shape[1:]])

    def gradient(d_hs, d_h, d_c):
        h_before = tf.concat([h[None], hs[:-1]], 0)
        c_before = tf.concat([c[None], cs[:-1]], 0)
        dz, d_h0, d_c0 = _backward(recurrent, c_before, cs, gates, d_hs, d_h, d_c)
        rows = tf.reshape(dz, [-1, dz.shape[-1]])
        d_kernel = tf.matmul(_rows(x), rows, transpose_a=True)
        d_recurrent = tf.matmul(_rows(h_before), rows, transpose_a=True)
        d_x = tf.reshape(tf.matmul(rows, kernel, transpose_b=True), tf.shape(x))
        return d_x, d_kernel, d_recurrent, tf.reduce_sum(rows, 0), d_h0, d_c0

    return (hs, h_last, c_last), gradient


def _rows(x):
    return tf.reshape(x, [-1, x.shape[-1]])


def input_product(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns `x W + b` of inputs [T, B, in] for all steps, [T, B, 4H]."""
    shape = tf.shape(x)
    zx = tf.nn.bias_add(tf.matmul(_rows(x), kernel), bias)
    zx = tf.reshape(zx, [shape[0], shape[1], kernel.shape[-1]])
    zx.set_shape([x.shape[0], x.shape[1], kernel.shape[-1]])
    return zx


def _arrays(steps, like, count):
    return tuple(
        tf.TensorArray(like.dtype, steps, element_shape=like.shape)
        for _ in range(count)
    )


def _loop(steps, body, *state):
    return tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (tf.constant(0), *state),
        parallel_iterations=1,
        maximum_iterations=steps,
    )[1:]


def _forward(inputs, steps, recurrent, h, c, keep):
    """Returns all h, the last h and c, and with `keep` all c and the four gates.

    `inputs(t)` is what the inputs of a step add to its gates [B, 4H].
    """
    shape = [h.shape[0], recurrent.shape[0]]
    h, c = tf.ensure_shape(h, shape), tf.ensure_shape(c, shape)
    arrays = _arrays(steps, h, 6 if keep else 1)

    def body(t, h, c, arrays):
        z = inputs(t) + tf.matmul(h, recurrent)
        i, f, g, o = tf.split(z, 4, 1)
        i, f, o, g = tf.sigmoid(i), tf.sigmoid(f), tf.sigmoid(o), tf.tanh(g)
        c = f * c + i * g
        h = o * tf.tanh(c)
        values = (h, c, i, f, g, o) if keep else (h,)
        arrays = tuple(a.write(t, v) for a, v in zip(arrays, values, strict=True))
        return t + 1, h, c, arrays

    h, c, arrays = _loop(steps, body, h, c, arrays)
    hs, *rest = (array.stack() for array in arrays)
    return hs, h, c, rest[0] if keep else None, rest[1:]


def _backward(recurrent, c_before, cs, gates, d_hs, d_h, d_c):
    """Returns dz of all steps and the gradients of the first h and c."""
    i, f, g, o = gates
    # Everything that does not depend on later steps, for all steps at once.
    tanh_c = tf.tanh(cs)
    from_h = o * (1.0 - tanh_c * tanh_c)
    factor_o = tanh_c * o * (1.0 - o)
    factor_i = g * i * (1.0 - i)
    factor_f = c_before * f * (1.0 - f)
    factor_g = i * (1.0 - g * g)
    # Read once a step: rows next to each other are worth a copy.
    transposed = tf.transpose(recurrent)
    steps = tf.shape(cs)[0]
    like = tf.concat([d_h] * 4, 1)

    def body(k, d_h, d_c, array):
        t = steps - 1 - k
        d_h += d_hs[t]
        d_c += d_h * from_h[t]
        dz = tf.concat(
            [
                d_c * factor_i[t],
                d_c * factor_f[t],
                d_c * factor_g[t],
                d_h * factor_o[t],
            ],
            1,
        )
        (array,) = array
        return k + 1, tf.matmul(dz, transposed), d_c * f[t], (array.write(t, dz),)

    d_h, d_c, (array,) = _loop(steps, body, d_h, d_c, _arrays(steps, like, 1))
    return array.stack(), d_h, d_c
