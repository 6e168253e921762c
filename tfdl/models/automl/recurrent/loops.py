"""What the loops over time share."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Of a tree's functions, by `genotypes.COMBINES` and `ACTIVATIONS`.
COMBINE: dict[str, Callable[..., tf.Tensor]] = {
    "add": tf.add,
    "mult": tf.multiply,
    "max": tf.maximum,
}
ACTIVATE: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "identity": lambda x: x,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "relu": tf.nn.relu,
    "sin": tf.sin,
}


def rows(x: tf.Tensor) -> tf.Tensor:
    """Returns [..., n] as [N, n]."""
    return tf.reshape(x, [-1, x.shape[-1]])


def product(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Returns `x @ matrix` of all steps at once."""
    if x.shape.rank == 2:
        return tf.matmul(x, matrix)
    shape = tf.concat([tf.shape(x)[:-1], [matrix.shape[-1]]], 0)
    found = tf.reshape(tf.matmul(rows(x), matrix), shape)
    found.set_shape([*x.shape[:-1], matrix.shape[-1]])
    return found


def outer(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of a matrix: the sum of `x^T y` over steps and rows."""
    return tf.matmul(rows(x), rows(y), transpose_a=True)


def arrays(steps: tf.Tensor, *shapes: Sequence[int | None]) -> tuple:
    """Returns an array of one tensor a step for every shape."""
    return tuple(tf.TensorArray(tf.float32, steps, element_shape=s) for s in shapes)


def write(found: tuple, t: tf.Tensor, *values: tf.Tensor) -> tuple:
    """Writes a step's tensors into their arrays."""
    return tuple(a.write(t, v) for a, v in zip(found, values, strict=True))


def loop(steps: tf.Tensor, body: Callable, *state) -> tuple:
    """Runs `body(t, *state)`, which returns the next state, for every step."""
    return tf.while_loop(
        lambda t, *_: t < steps,
        lambda t, *state: (t + 1, *body(t, *state)),
        (tf.constant(0), *state),
        parallel_iterations=1,
        maximum_iterations=steps,
    )[1:]


def num_steps(x: tf.Tensor) -> int | tf.Tensor:
    """Returns how many steps there are, as a number where it is known."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def partials(function: Callable, *inputs: tf.Tensor) -> list[list[tf.Tensor]]:
    """Returns the derivatives of every output of a function by every input.

    The function works on every column alone: what an input has k times as many
    columns for is read k columns apart. So a column of an input reaches one column of
    an output, and the gradient of the output's sum is the derivative itself.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    return [
        tape.gradient(output, inputs, unconnected_gradients="zero")
        for output in outputs
    ]
