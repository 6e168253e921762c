"""Searching a recurrent cell with shared weights."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import training_runs
from tests.models.automl import language
from tfdl.engine import config as config_lib
from tfdl.engine.errors import UserError
from tfdl.models.automl.enas import recipes
from tfdl.models.automl.enas.shared_recurrent import SharedRecurrent
from tfdl.models.automl.enas.text_task import EnasTextTask
from tfdl.models.automl.recurrent import genotypes, nodes
from tfdl.models.automl.search import result

NODES, HIDDEN = 3, 4
ARC = (0, 2, 1, 3, 0, 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return language.penn(tmp_path_factory.mktemp("penn"))


def configuration(source, **fields):
    config = recipes.text(
        source,
        space={"name": "enas_rnn", "nodes": NODES},
        network={"hidden_size": HIDDEN, "dropouts": {"node": 0.2, "word": 0.1}},
        controller={"hidden_size": 8},
        batch_size=4,
        bptt=6,
        epochs=2,
        controller_steps=2,
        aggregate=2,
        samples=4,
        rescore=2,
    )
    config.model = "automl"
    config.steps_per_loop = config.checkpoint_every = config.log_every = 1
    for name, value in fields.items():
        config[name] = value
    return config


@pytest.fixture(scope="module")
def network():
    network = SharedRecurrent(9, NODES, HIDDEN, init_range=0.5)
    ids = tf.constant(np.random.default_rng(0).integers(0, 9, [2, 6]), tf.int32)
    return network, ids


def single(network, ids, labels):
    """Returns the loss of the cell alone, from its own matrices."""
    plan = nodes.Plan(genotypes.NodesCell.from_arc(ARC))
    layers = [
        tf.convert_to_tensor(weight)[ARC[2 * i + 1], ARC[2 * i]]
        for i, weight in enumerate(network.layer_weights)
    ]
    embedding = tf.convert_to_tensor(network.embedding)
    x = tf.gather(embedding, tf.transpose(ids))
    w_prev = tf.convert_to_tensor(network.w_prev)
    outs, state = nodes.run(plan, x, w_prev, layers, tf.zeros([2, HIDDEN]))
    logits = tf.einsum("tbh,vh->btv", outs, embedding)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses), state


@pytest.mark.parametrize("training", [False, True])
def test_a_path_is_the_cell_alone(network, training):
    network, ids = network
    inputs, labels = ids[:, :-1], ids[:, 1:]
    variables = network.trainable_variables

    @tf.function
    def shared(arc):
        with tf.GradientTape() as tape:
            outputs = network({"token_ids": inputs, "arc": arc}, training=training)
            loss = network.cross_entropy(outputs, labels, training)
        found = tape.gradient(loss, variables)
        return loss, outputs["state"], [tf.convert_to_tensor(g) for g in found]

    loss, state, gradients = shared(tf.constant(ARC))
    with tf.GradientTape() as tape:
        expected, last = single(network, inputs, labels)
    exact = [tf.convert_to_tensor(g) for g in tape.gradient(expected, variables)]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-6)
    for variable, one, two in zip(variables, gradients, exact, strict=True):
        size = np.abs(two).max()
        np.testing.assert_allclose(one, two, atol=1e-5 * size, err_msg=variable.name)
    # What the cell does not use learns nothing from it.
    for i, gradient in enumerate(gradients[2:]):
        used = np.abs(gradient.numpy()).sum((2, 3)) > 0
        assert np.argwhere(used).tolist() == [[ARC[2 * i + 1], ARC[2 * i]]]


def make(source, tmp_path, **fields):
    task = EnasTextTask(configuration(source, **fields), tmp_path)
    task.prepare()
    return task


def test_the_loss_and_what_it_is_made_of(source, tmp_path):
    weights = {"alpha": 0.5, "beta": 2.0, "weight_decay": 3.0}
    task = make(source, tmp_path, network={"hidden_size": HIDDEN}, **weights)
    task.networks()
    task.steps = task.create_steps()
    batch = next(iter(task.train_data(None, 0, None)))
    assert batch["token_ids"].shape[0] == 4 and batch["reset"].numpy().all()
    arc, seed = tf.constant(ARC), tf.constant([1, 2])
    total, loss, reward = task.child_loss(batch, arc, seed)
    outputs = task.network({"token_ids": batch["token_ids"], "arc": arc})
    hidden = outputs["hidden"].numpy()
    expected = float(loss) + 0.5 * np.mean(hidden**2)
    expected += 2.0 * np.mean(np.diff(hidden, axis=0) ** 2)
    used = [w.numpy() for w in task.network.matrices(arc)]
    expected += 3.0 * 0.5 * sum((w**4).sum() for w in used)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(reward) == pytest.approx(80.0 / np.exp(float(loss)), rel=1e-5)
    np.testing.assert_allclose(task.carry.variables[0], outputs["state"], rtol=1e-5)
    # The first power of the perplexity, from no state.
    again, other = task.reward(batch, arc)
    assert float(again) == pytest.approx(80.0 / np.exp(float(other)), rel=1e-5)
    assert float(other) == pytest.approx(float(loss), rel=1e-5)


def test_windows_that_judge_are_held_out(source, tmp_path):
    task = make(source, tmp_path)
    steps = task.steps = task.create_steps()
    first = int(np.flatnonzero(steps.judges)[0])
    batches = list(task.train_data(None, first - 1, None).take(2))
    assert [bool(batch["judges"]) for batch in batches] == [False, True]
    row = batches[1]["token_ids"].numpy()[0].tolist()
    valid = task.text.valid.flat.tolist()
    assert valid[: len(row)] == row
    labels = batches[1]["labels"].numpy()[0].tolist()
    assert valid[1 : 1 + len(labels)] == labels
    # Gone on with in the middle of an epoch: the same windows.
    whole = list(task.train_data(None, 0, None).take(first + 1))
    np.testing.assert_array_equal(whole[-1]["labels"], batches[1]["labels"])
    np.testing.assert_array_equal(whole[-2]["labels"], batches[0]["labels"])


def test_killed_ends_like_uninterrupted_and_the_winner_is_trained(source, tmp_path):
    search = configuration(source, epochs=3)
    final = language.recipe(source, start="architecture", epochs=1)
    search.name, final.name = "search", "final"
    config = config_lib.base_config()
    config.model, config.stages = "automl", (search, final)
    config.steps_per_loop = config.checkpoint_every = config.log_every = 1
    path = tmp_path / "recipe.json"
    path.write_text(config_lib.to_json(config))
    metrics, said = training_runs.finish(training_runs.start(path, tmp_path / "whole"))
    killed = training_runs.start(path, tmp_path / "run")
    training_runs.kill_at(killed, tmp_path / "run" / "search", 14)
    again, _ = training_runs.finish(training_runs.start(path, tmp_path / "run"))
    del metrics["model_dir"], again["model_dir"]
    assert again == metrics and "winner: " in said
    found = result.read(tmp_path / "whole" / "search" / "model")
    trained = json.loads((tmp_path / "whole" / "model" / "config.json").read_text())
    assert trained["network"]["genotype"] == found.genotype
    assert found.winners[0]["mean"] > 0.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_size": 60}, "too few for 60 rows"),
        ({"beta": -1.0}, "beta has to be at least 0"),
        ({"space": {"name": "enas_rnn", "functions": ("tanh",)}}, "in this order"),
    ],
)
def test_bad_recipes(source, tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        make(source, tmp_path, **fields)


def test_bad_networks(source, tmp_path):
    for network, said in (
        ({"dropouts": {"words": 0.1}}, "words"),
        ({"dropouts": {"word": 1.0}}, "below 1"),
        ({"hidden_size": 0}, "hidden_size"),
    ):
        task = make(source, tmp_path, network=network)
        with pytest.raises(UserError, match=said):
            task.create_network()
