"""Image children: one graph for all cells equals every network built by itself."""

import random

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl import image_data, model, spaces
from tfdl.models.automl.children import cell_ops, create
from tfdl.models.automl.children.cell_graph import CellGraph, Network, Plan
from tfdl.models.automl.children.chains import Program
from tfdl.models.automl.networks import ops
from tfdl.models.automl.spaces import cells

FILTERS, CLASSES = 8, 5


def make(space, cells=3, size=8, stem=6):
    # A large epsilon: small ones make rounding errors of dead channels large.
    plan = Plan(
        tuple(space.ops),
        space.combine,
        space.blocks,
        cells,
        FILTERS,
        stem,
        size,
        CLASSES,
        epsilon=1e-2,
    )
    return CellGraph(plan)


def keras_network(graph, genotype):
    plan = graph.plan
    return model.build_model(
        {
            "kind": "cells",
            "genotype": genotype.to_dict(),
            "cells": plan.cells,
            "filters": plan.filters,
            "stem": "cifar",
            "stem_filters": plan.stem_filters,
            "num_classes": plan.num_classes,
            "aux_head": False,
            "epsilon": plan.epsilon,
            "momentum": 0.9,
            "dropout_keep": 1.0,
        }
    )


def parts(network):
    """Yields (place's name, layer) of a Keras network."""
    yield "stem", network.stem
    for i, cell in enumerate(network.cells):
        yield f"cell_{i}/begin", cell.beginning
        yield f"cell_{i}/adjust", cell.match
        for b, block in enumerate(cell.blocks):
            for half in ("left", "right", "combine"):
                yield f"cell_{i}/block_{b + 2}/{half}", getattr(block, half)
        for state, layer in cell.fitted.items():
            yield f"cell_{i}/reduction_{state}", layer


def variables(layer):
    """Returns a part's trained variables and its moving statistics in order."""
    if layer is None:
        return [], []
    steps = getattr(layer, "layers", None)
    if steps is None:
        steps = [layer.path1, layer.path2, layer.norm]
    trained, moving = [], []
    for step in steps:
        if isinstance(step, ops.Norm):
            trained += [step.gamma, step.beta]
            moving += [step.moving_mean, step.moving_variance]
        elif isinstance(step, ops.Separable):
            trained += [step.depthwise, step.pointwise]
        elif isinstance(step, ops.Conv):
            trained.append(step.kernel)
    return trained, moving


def named(network):
    found = {}
    for name, layer in parts(network):
        found[name], found[f"{name}/statistics"] = variables(layer)
    found["dense"] = [network.classifier.kernel, network.classifier.bias]
    return found


def close(got, wanted, what, tolerance):
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, what
    scale = max(np.abs(wanted).max(), 1e-3)
    np.testing.assert_allclose(
        got, wanted, rtol=0, atol=tolerance * scale, err_msg=what
    )


def compare(graph, genotype, seed, run):
    """Holds the graph with a genotype to its Keras network of the same weights."""
    network = Network(graph, genotype)
    rng = np.random.RandomState(seed)
    weights = network.first_weights(seed)
    trained = network.active * rng.randn(graph.size).astype(np.float32)
    weights = weights + 0.1 * trained
    statistics = network.first_statistics()
    statistics = statistics + 0.1 * rng.rand(len(statistics)).astype(np.float32)
    size = graph.plan.size
    keras_model = keras_network(graph, genotype)
    theirs = named(keras_model)
    ours = network.named(weights, statistics)
    count = sum(int(np.prod(v.shape)) for v in keras_model.trainable_variables)
    assert network.parameters == count

    for name, group in theirs.items():
        assert len(group) == len(ours.get(name, [])), name
    # A ReLU's input that is 0 but for rounding may go either way, which in so small
    # maps shows in all gradients: of three batches one has to agree.
    errors_of_gradients = []
    for attempt in range(3):
        rng = np.random.RandomState(10 * seed + attempt)
        images = rng.randn(16, size, size, 3).astype(np.float32)
        labels = rng.randint(0, CLASSES, 16)
        error = compare_passes(
            network, keras_model, theirs, run, (weights, statistics), images, labels
        )
        errors_of_gradients.append(error)
        if error < 1e-4:
            break
    assert min(errors_of_gradients) < 1e-4, (seed, errors_of_gradients)


def compare_passes(network, keras_model, theirs, run, vectors, images, labels):
    """Holds both passes to Keras's; returns the gradients' largest error."""
    ours = network.named(*vectors)
    for name, group in theirs.items():
        for variable, value in zip(group, ours.get(name, []), strict=True):
            variable.assign(value.reshape(variable.shape))
    evaluated, logits, gradient, batch = run(
        *vectors, images, labels, network.inputs, network.codes
    )
    close(evaluated, keras_model({"image": images})["logits"], "evaluation", 2e-5)
    with tf.GradientTape() as tape:
        wanted = keras_model({"image": images}, training=True)["logits"]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, wanted)
        )
    close(logits, wanted, "logits", 1e-4)
    got = network.named(gradient.numpy() * network.active, batch.numpy())
    # Keras moved its statistics by a tenth towards the batch's.
    for name, group in theirs.items():
        if name.endswith("/statistics"):
            triples = zip(group, got.get(name, []), ours.get(name, []), strict=True)
            for variable, value, first in triples:
                close(variable, 0.9 * first + 0.1 * value, name, 1e-4)
    trained = [v for name, g in theirs.items() if "statistics" not in name for v in g]
    wanted = tape.gradient(loss, [v.value for v in trained])
    flat = [v for name, g in got.items() if "statistics" not in name for v in g]
    largest = max(float(tf.reduce_max(tf.abs(g))) for g in wanted if g is not None)
    error = 0.0
    for a, b in zip(flat, wanted, strict=True):
        b = np.zeros_like(a) if b is None else np.asarray(b).reshape(a.shape)
        error = max(error, float(np.abs(a - b).max()) / largest)
    return error


def runner(graph):
    @tf.function(autograph=False)
    def run(weights, statistics, images, labels, inputs, codes):
        evaluated, _ = graph.run((weights, statistics), images, inputs, codes)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, batch = graph.run((weights, None), images, inputs, codes)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
        return evaluated, logits, tape.gradient(loss, weights), batch

    return lambda *inputs: run(*map(tf.constant, inputs))


def test_any_wiring_equals_the_network_built_for_it():
    # Sizes that are odd after a halving, sums and concatenations.
    names = ["identity", "sep_3x3", "max_3x3", "conv_1x7_7x1"]
    space = spaces.create({"name": "nasnet", "blocks": 2, "ops": names})
    graph = make(space, cells=3, size=10)
    run, rng = runner(graph), random.Random(7)
    for seed in range(5):
        compare(graph, space.decode(space.sample(rng)), seed, run)


@pytest.mark.parametrize("name", cells.OPS)
def test_every_op_equals_the_layers_of_networks(name):
    rng = np.random.RandomState(0)
    for channels, stride, side in ((8, 1, 6), (8, 2, 7), (12, 1, 6), (12, 2, 6)):
        layer = ops.create(name, ops.Style(epsilon=1e-3), channels, 8, stride)
        if layer is None:
            continue
        layer.build((None, None, None, channels))
        program = Program(cell_ops.op(name, channels, 8, stride), channels, side, 1e-3)
        trained, _ = variables(layer)
        values = [rng.randn(*v.shape).astype(np.float32) for v in trained]
        for variable, value in zip(trained, values, strict=True):
            variable.assign(value)
        vector = tf.constant(np.concatenate([v.ravel() for v in values] + [[1.0] * 3]))
        vector = tf.cast(vector, tf.float32)
        x = tf.constant(rng.randn(5, side, side, channels).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(x)
            wanted = layer(x, training=True)
        y, statistics, kept = program.train(x, vector)
        close(y, wanted, name, 1e-5)
        dy = tf.constant(rng.randn(*y.shape).astype(np.float32))
        dx, dw = program.gradient(vector, kept, dy)
        by_x, *by_weight = tape.gradient(wanted, [x, *(v.value for v in trained)], dy)
        close(dx, by_x, name, 1e-4)
        flat = np.concatenate([np.ravel(g) for g in by_weight] + [[0.0] * 3])
        close(dw, flat, name, 1e-4)
        # Given the batch's own statistics, both passes differ by n / (n - 1) alone.
        assert len(statistics) == program.statistics


def digits(**changes):
    config = {
        "name": "image",
        "space": {"name": "amoeba", "blocks": 1, "ops": ["identity", "sep_3x3"]},
        "data": "embedded:square-digits",
        "size": 8,
        "valid_examples": 200,
        "train_examples": 800,
        "cells": 2,
        "filters": 6,
        "epochs": 4,
        "batch_size": 50,
        "rate": 0.1,
        "augment": "pad-flip",
        "padding": 1,
    }
    return create({**config, **changes})


def test_a_child_learns_and_repeats_itself_and_others_do_not_change_it():
    children, arch, reports = digits(), (0, 1, 1, 1, 1, 0, 1, 1), []
    first = children.train(arch, 5, reports.append)
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    assert first["train_losses"][-1] < 0.7 * first["train_losses"][0]
    assert first["reward"] == first["valid_accuracies"][-1] > 0.2
    other = children.train((0, 0, 0, 0, 0, 0, 0, 0), 5, reports.append)
    again = children.train(arch, 5, reports.append)
    kept = ("reward", "valid_accuracies", "train_losses", "parameters")
    assert [first[k] for k in kept] == [again[k] for k in kept]
    assert (
        children.train(arch, 6, reports.append)["train_losses"]
        != (first["train_losses"])
    )
    assert other["parameters"] < first["parameters"]


def test_a_child_that_diverges_is_scored():
    result = digits(rate=1e20, clip_norm=0.0).train((0, 1, 1, 1) * 2, 0, lambda _: None)
    assert result["diverged"]
    assert result["reward"] == 0.0


def test_validation_images_are_held_out_whatever_is_learnt_from():
    few, valid = image_data.split(100, 20, 30)
    rest, same = image_data.split(100, 20)
    np.testing.assert_array_equal(valid, same)
    assert set(few) <= set(rest)
    assert sorted([*rest, *valid]) == list(range(100))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_examples": 5000}, "5,000 for validation"),
        ({"augment": "twist"}, "augment"),
        ({"space": {"name": "dag"}}, "made of cells"),
        ({"filters": 5}, "even"),
        ({"colour": 1}, "colour"),
        ({"reward": "inverse"}, "inverse"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_options_are_named(changes, message):
    with pytest.raises(errors.UserError, match=message):
        digits(**changes)
