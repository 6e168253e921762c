"""Recurrent cells against recorded outputs of their originals, and their gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.engine.errors import UserError
from tfdl.models.automl.recurrent import genotypes, nodes, tree
from tfdl.models.automl.recurrent.genotypes import NodesCell, TreeCell
from tfdl.models.automl.recurrent.tree import Weights

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def load(name):
    with np.load(golden("automl", name)) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def zoph():
    return load("io_zoph_rnn.npz")


@pytest.fixture(scope="module")
def nas():
    return load("io_nascell.npz")


@pytest.fixture(scope="module")
def enas():
    return load("io_enas_rnn.npz")


def time_first(x):
    return tf.constant(np.swapaxes(x, 0, 1))


def batch_first(x):
    return np.swapaxes(x.numpy(), 0, 1)


@pytest.mark.parametrize("name", ["s0", "s1", "s2", "paper2"])
def test_trees_of_any_base(zoph, name):
    tokens = zoph[f"{name}_tokens"]
    cell = TreeCell.from_tokens(tokens)
    assert cell.tokens() == tuple(tokens)
    assert genotypes.from_dict(cell.to_dict()) == cell
    weights = Weights(
        tf.constant(zoph[f"{name}_kernel"]), tf.constant(zoph[f"{name}_recurrent"])
    )
    x, zero = time_first(zoph["x"]), tf.zeros([3, 4])
    # What a graph is told when it runs is the same cell.
    for function in (
        tree.function_of(cell),
        tree.function_of_tokens(tf.constant(tokens)),
    ):
        for training in (False, True):
            h, last, c = tree.run(function, x, weights, zero, zero, training)
            np.testing.assert_allclose(batch_first(h), zoph[f"{name}_h"], **CLOSE)
            np.testing.assert_allclose(c, zoph[f"{name}_c"][:, -1], **CLOSE)
            np.testing.assert_array_equal(last, h[-1])


@pytest.mark.parametrize("name", ["s0", "s1", "s2"])
def test_every_node_of_a_tree(zoph, name):
    kept = []
    cell = TreeCell.from_tokens(zoph[f"{name}_tokens"])
    h, c = tf.fill([3, 4], 0.1), tf.fill([3, 4], -0.2)
    tree.function_of(cell, kept)(
        zoph["x"][:, 0] @ zoph[f"{name}_kernel"], h @ zoph[f"{name}_recurrent"], c
    )
    before, after = (np.stack(x, 1) for x in zip(*kept, strict=True))
    np.testing.assert_allclose(before, zoph[f"{name}_step_pre"], **CLOSE)
    np.testing.assert_allclose(after, zoph[f"{name}_step_out"], **CLOSE)


@pytest.mark.parametrize("variant", ["plain", "bias", "bias_proj"])
@pytest.mark.parametrize("start", ["zero", "init"])
def test_the_nas_cell(zoph, nas, variant, start):
    cell = genotypes.parse(" ".join(map(str, zoph["nas_tokens"])))
    names = ("kernel", "recurrent_kernel", "bias", "projection_weights")
    weights = Weights(*(nas.get(f"{variant}/{name}") for name in names))
    h0, c0 = nas[f"{variant}_h0"], nas[f"{variant}_c0"]
    if start == "zero":
        h0, c0 = h0 * 0, c0 * 0
    h, _, c = tree.run(tree.function_of(cell), time_first(nas["x"]), weights, h0, c0)
    np.testing.assert_allclose(batch_first(h), nas[f"{variant}_{start}_h"], **CLOSE)
    np.testing.assert_allclose(c, nas[f"{variant}_{start}_c"][:, -1], **CLOSE)


def test_masked_steps_repeat_output_and_state(zoph, nas):
    cell = TreeCell.from_tokens(zoph["nas_tokens"])
    weights = Weights(nas["plain/kernel"], nas["plain/recurrent_kernel"])
    zero, mask = tf.zeros([3, 4]), time_first(nas["mask"])
    x, function = time_first(nas["x"]), tree.function_of(cell)
    h, last, c = tree.run(function, x, weights, zero, zero, mask=mask)
    np.testing.assert_allclose(batch_first(h), nas["masked_seq"], **CLOSE)
    np.testing.assert_allclose(c, nas["masked_state0"], **CLOSE)
    np.testing.assert_allclose(last, nas["masked_state1"], **CLOSE)


def arcs(enas):
    for name in ("enas_published", "darts_published", "rand0"):
        yield name, NodesCell.from_arc(enas[f"{name}_arc"])
    for name in ("old_published", "old_rand"):
        yield name, NodesCell.from_arc(enas[f"{name}_arc"], "enas")


def matrices(enas, cell):
    # Of the old form node i has layer_i, of the other layer_(i - 1).
    first = int(cell.output == "loose_ends")
    names = [f"layer_{i + first}" for i in range(len(cell.nodes))]
    layers = [tf.constant(enas[name]) for name in names]
    return tf.constant(enas["w_prev"]), layers


def test_arcs_of_both_forms(enas):
    x, s0 = time_first(enas["x"]), tf.constant(enas["s0"])
    for name, cell in arcs(enas):
        kept = []
        plan, (w_prev, layers) = nodes.Plan(cell), matrices(enas, cell)
        out, _ = nodes.run(plan, x, w_prev, layers, s0, keep=kept)
        np.testing.assert_allclose(
            batch_first(out), enas[f"{name}_out"], err_msg=name, **CLOSE
        )
        if f"{name}_nodes" in enas:
            found = np.transpose(kept[0], [2, 0, 1, 3])
            np.testing.assert_allclose(found, enas[f"{name}_nodes"], **CLOSE)
        if cell.output == "all":
            arc = tf.constant(cell.arc())
            again, _ = nodes.run(nodes.PlanOfArc(arc), x, w_prev, layers, s0, True)
            np.testing.assert_allclose(again, out, **CLOSE)


def test_the_forms_number_functions_differently(enas):
    arc = enas["enas_published_arc"]
    assert [f for _, f in NodesCell.from_arc(arc).nodes[3:5]] == ["sigmoid", "tanh"]
    old = NodesCell.from_arc([0, *arc], "enas")
    assert [f for _, f in old.nodes[3:5]] == ["identity", "tanh"]
    assert old.averaged() == (7, 8)


def test_darts_puts_the_gate_first(enas):
    cell = NodesCell.from_arc(enas["darts_published_arc"])
    darts = NodesCell.from_darts([(f, p) for p, f in cell.nodes])
    assert darts.gate == "first"
    x, s0 = time_first(enas["x"]), tf.constant(enas["s0"])
    w_prev, layers = matrices(enas, cell)

    def swapped(w):
        return tf.concat(tf.split(w, 2, 1)[::-1], 1)

    out, _ = nodes.run(
        nodes.Plan(darts), x, swapped(w_prev), [swapped(w) for w in layers], s0
    )
    np.testing.assert_allclose(batch_first(out), enas["darts_published_out"], **CLOSE)


def gradients(call, inputs, sums):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        found = call(*inputs)
        loss = tf.add_n(
            [tf.reduce_sum(a * b) for a, b in zip(found, sums, strict=True)]
        )
    return tape.gradient(loss, inputs)


def agree(call, inputs, sums):
    """The fast gradient is that of the plain loop."""
    fast = gradients(lambda *x: call(True, *x), inputs, sums)
    plain = gradients(lambda *x: call(False, *x), inputs, sums)
    for one, two in zip(fast, plain, strict=True):
        scale = float(tf.reduce_max(tf.abs(two)))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=2e-6 * scale)
    assert float(tf.reduce_max(tf.abs(plain[0]))) > 0


def random(*shapes):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=s) * 0.5, tf.float32) for s in shapes]


@pytest.mark.parametrize("name", ["s0", "s1", "s2", "nas"])
@pytest.mark.parametrize("projected", [False, True])
def test_a_trees_gradient(zoph, name, projected):
    cell = TreeCell.from_tokens(zoph[f"{name}_tokens"])
    wide, out = 4 * cell.base, 3 if projected else 4
    shapes = [[6, 2, 5], [5, wide], [out, wide], [wide], [2, out], [2, 4]]
    shapes += [[4, 3]] * projected
    inputs, sums = random(*shapes), random([6, 2, out], [2, out], [2, 4])

    def call(training, x, kernel, recurrent, bias, h, c, projection=None):
        weights = Weights(kernel, recurrent, bias, projection)
        return tree.run(tree.function_of(cell), x, weights, h, c, training)

    agree(call, inputs, sums)


@pytest.mark.parametrize("dynamic", [False, True])
def test_an_arcs_gradient(enas, dynamic):
    cell = NodesCell.from_arc(enas["rand0_arc"])
    arc = tf.constant(cell.arc())
    shapes = [[6, 2, 5], [9, 8], [2, 4], *([4, 8] for _ in cell.nodes)]
    inputs, sums = random(*shapes), random([6, 2, 4], [2, 4])
    (dropped,) = random([2, 4])

    def call(training, x, w_prev, s, *layers):
        plan = nodes.PlanOfArc(arc) if dynamic and training else nodes.Plan(cell)
        return nodes.run(plan, x, w_prev, layers, s, training, dropped)

    agree(call, inputs, sums)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("0 1 2", "tree", "numbers, not 3"),
        ("0 1 1 3 1 2 0 3 1 x", "tree", "position 10 of the cell is 'x'"),
        ("0 1 1 7 1 2 0 3 1 0", "tree", "position 4 .*activation.* is 7"),
        ("3 1 1 3 1 2 0 3 1 0", "tree", "position 1 .*combination.* is 3"),
        ("0 1 1 3 1 2 0 3 3 0", "tree", "position 9 .*node.* is 3"),
        ("0 1 2 1", "enas_lm", r"position 3 .*previous node.* is 2; .* 0 to 1"),
        ("0 1 1 4", "enas_lm", "position 4 .*function.* is 4"),
        ("0 1 1", "enas_lm", "pairs .* not 3 numbers"),
        ("0 1", "enas", "one number and pairs"),
        ("0 1", "darts", "form of a recurrent cell"),
    ],
)
def test_what_is_wrong_with_a_text(text, form, said):
    with pytest.raises(UserError, match=said):
        genotypes.parse(text, form)


def test_a_dict_that_is_no_cell():
    for values in ({"kind": "lstm"}, {"kind": "tree", "nodes": 3}, {}):
        with pytest.raises(UserError):
            genotypes.from_dict(values)
