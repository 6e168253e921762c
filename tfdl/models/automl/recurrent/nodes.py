"""Running a cell of highway nodes (ENAS, section 2.1; DARTS) over a sequence.

As in `tree`, the input's products are made before the loop, derivatives of the nodes'
functions for all steps at once and the matrices' gradients after it.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfdl.models.automl.recurrent import loops
from tfdl.models.automl.recurrent.genotypes import NODE_FUNCTIONS, NodesCell

States = list[tf.Tensor]


class Plan:
    """How the nodes of a cell are connected, for the loops.

    Args:
        cell: the cell.
    """

    def __init__(self, cell: NodesCell):
        self.count = len(cell.nodes)
        self._previous = [0, *(previous for previous, _ in cell.nodes)]
        functions = [cell.first, *(function for _, function in cell.nodes)]
        self._functions = [loops.ACTIVATE[name] for name in functions]
        averaged = cell.averaged()
        self.shares = [
            1.0 / len(averaged) if i in averaged else 0.0 for i in range(self.count + 1)
        ]
        self._gate_first = cell.gate == "first"

    def read(self, states: States, node: int) -> tf.Tensor:
        """Returns the state that a node reads."""
        return states[self._previous[node]]

    def give(self, gradients: States, node: int, gradient: tf.Tensor) -> None:
        """Adds a gradient to that of the state which a node reads."""
        gradients[self._previous[node]] += gradient

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """Returns the node's function of x."""
        return self._functions[node](x)

    def make(self, node: int, z: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        """Returns a node's state, from a product [..., 2H] and the state read."""
        h, t = tf.split(z, 2, -1)
        if self._gate_first:
            h, t = t, h
        return before + tf.sigmoid(t) * (self.activate(node, h) - before)


class PlanOfArc(Plan):
    """The same, of an arc that only the running graph knows; enas_lm's functions.

    Args:
        arc: int32 [2 L], see `NodesCell.from_arc`.
    """

    def __init__(self, arc: tf.Tensor):
        count = arc.shape[0] // 2
        super().__init__(NodesCell(((0, "tanh"),) * count))
        self._arc = arc
        self._choices = [loops.ACTIVATE[name] for name in NODE_FUNCTIONS["enas_lm"]]

    def read(self, states: States, node: int) -> tf.Tensor:
        """Returns the state that a node reads; node 0 reads the only one given."""
        if node < 2:
            return states[0]
        return tf.gather(tf.stack(states[:node]), self._arc[2 * node - 2])

    def give(self, gradients: States, node: int, gradient: tf.Tensor) -> None:
        """Adds a gradient to that of the state which a node reads."""
        for i in range(node):
            is_read = self._arc[2 * node - 2] == i
            gradients[i] += tf.where(is_read, gradient, tf.zeros_like(gradient))

    def activate(self, node: int, x: tf.Tensor) -> tf.Tensor:
        """Returns the node's function of x: the one that is chosen of all."""
        if not node:
            return tf.tanh(x)
        token, found = self._arc[2 * node - 1], self._choices[0](x)
        for i, function in enumerate(self._choices[1:], 1):
            found = tf.where(token == i, function(x), found)
        return found


def run(
    plan: Plan,
    x: tf.Tensor,
    w_prev: tf.Tensor,
    layers: Sequence[tf.Tensor],
    s: tf.Tensor,
    training: bool = False,
    dropped: tf.Tensor | None = None,
    mask: tf.Tensor | None = None,
    keep: list | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a cell over a sequence.

    Args:
        plan: the cell.
        x: inputs, time first [T, B, in].
        w_prev: [in + H, 2H].
        layers: [H, 2H] of nodes 1, 2, ...
        s: the first state [B, H].
        training: keep what a gradient needs, see `tree.run`.
        dropped: what multiplies every state before its product [B, H].
        mask: bool [T, B], see `tree.run`.
        keep: all nodes' states [T, L + 1, B, H] are added to it.

    Returns:
        All outputs [T, B, H] and the last one.
    """
    width = x.shape[-1]
    zx, recurrent = loops.product(x, w_prev[:width]), w_prev[width:]
    if training and mask is None and keep is None:
        return _with_gradient(plan, dropped)(zx, recurrent, s, *layers)
    outs, s, rest = _forward(
        plan, zx, recurrent, layers, s, dropped, mask, keep is not None
    )
    if keep is not None:
        keep.append(rest[0])
    return outs, s


def _forward(plan, zx, recurrent, layers, s, dropped, mask=None, keep=False):
    """Returns outputs, the last one and, with `keep`, states and products."""
    steps = loops.num_steps(zx)
    s = tf.ensure_shape(s, [zx.shape[1], recurrent.shape[0]])
    nodes = plan.count + 1
    shapes = [s.shape]
    if keep:
        shapes += [[nodes, *s.shape], [nodes, s.shape[0], zx.shape[-1]]]

    def drop(state):
        return state if dropped is None else state * dropped

    def body(t, s, last, found):
        products = [zx[t] + tf.matmul(drop(s), recurrent)]
        states = [plan.make(0, products[0], s)]
        for i, layer in enumerate(layers, 1):
            before = plan.read(states, i)
            products.append(tf.matmul(drop(before), layer))
            states.append(plan.make(i, products[-1], before))
        now = _mean(plan.shares, states)
        if mask is not None:
            there = mask[t][:, None]
            last = tf.where(there, now, last)
            now = tf.where(there, now, s)
        else:
            last = now
        kept = (tf.stack(states), tf.stack(products)) if keep else ()
        return now, last, loops.write(found, t, last, *kept)

    found = loops.arrays(steps, *shapes)
    s, _, found = loops.loop(steps, body, s, tf.zeros_like(s), found)
    outs, *rest = (array.stack() for array in found)
    outs.set_shape([zx.shape[0], *s.shape])
    return outs, s, rest


def _mean(shares: Sequence[float], states: States) -> tf.Tensor:
    used = [(share, x) for share, x in zip(shares, states, strict=True) if share]
    return tf.add_n([x for _, x in used]) * used[0][0]


def _with_gradient(plan: Plan, dropped: tf.Tensor | None) -> Callable:
    @tf.custom_gradient
    def run(zx, recurrent, s, *layers):
        outs, s_last, (states, products) = _forward(
            plan, zx, recurrent, layers, s, dropped, keep=True
        )

        def gradient(d_outs, d_s):
            s_before = tf.concat([s[None], outs[:-1]], 0)
            now, z = tf.unstack(states, axis=1), tf.unstack(products, axis=1)
            read = [s_before, *(plan.read(now, i) for i in range(1, plan.count + 1))]
            by_z, by_state = [], []
            for i in range(plan.count + 1):
                make = _maker(plan, i)
                ((one, two),) = loops.partials(make, z[i], read[i])
                by_z.append(one)
                by_state.append(two)
            matrices = [recurrent, *layers]
            sweep = (plan, matrices, by_z, by_state, d_outs, d_s, dropped)
            d_s, d_z = _backward(*sweep)
            if dropped is not None:
                read = [state * dropped for state in read]
            d_matrices = [loops.outer(*pair) for pair in zip(read, d_z, strict=True)]
            return d_z[0], d_matrices[0], d_s, *d_matrices[1:]

        return (outs, s_last), gradient

    return run


def _maker(plan: Plan, node: int) -> Callable:
    return lambda z, before: (plan.make(node, z, before),)


def _backward(plan, matrices, by_z, by_state, d_outs, d_s, dropped):
    """Returns the first state's gradient and those of every node's products."""
    steps = loops.num_steps(d_outs)
    transposed = [tf.transpose(matrix) for matrix in matrices]

    def body(k, d_s, found):
        t = steps - 1 - k
        d_s += d_outs[t]
        gradients = [share * d_s for share in plan.shares]
        d_z = [None] * (plan.count + 1)
        for i in range(plan.count, -1, -1):
            d_z[i] = tf.tile(gradients[i], [1, 2]) * by_z[i][t]
            before = tf.matmul(d_z[i], transposed[i])
            if dropped is not None:
                before *= dropped
            before += gradients[i] * by_state[i][t]
            if i:
                plan.give(gradients, i, before)
        return before, loops.write(found, t, tf.stack(d_z))

    nodes = plan.count + 1
    shape = [nodes, d_s.shape[0], matrices[0].shape[-1]]
    d_s, (array,) = loops.loop(steps, body, d_s, loops.arrays(steps, shape))
    return d_s, tf.unstack(array.stack(), num=nodes, axis=1)
