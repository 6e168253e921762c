import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdl.models.automl import proposers, spaces
from tfdl.models.automl.proposers.controller import LstmPolicy
from tfdl.models.automl.proposers.policies import FactorisedPolicy


def oracle(space, policy, flat, actions):
    """Returns log probabilities and entropies [N, D] as TensorFlow computes them."""
    weights, start = {}, 0
    for name, shape in policy.parameters.shapes.items():
        size = int(np.prod(shape))
        weights[name] = tf.reshape(flat[start : start + size], shape)
        start += size
    n, units = len(actions), policy.units
    state = [(tf.zeros([n, units], flat.dtype),) * 2 for _ in range(policy.layers)]
    inputs = tf.tile(weights["start"][None], [n, 1])
    logs, entropies, outputs, d = [], [], [], 0
    anchors = list(space.anchors)
    while d < len(space.decisions) or anchors:
        x = inputs
        for layer, (h, c) in enumerate(state):
            gates = tf.concat([x, h], 1) @ weights[f"lstm_{layer}/kernel"]
            i, f, o, g = tf.split(gates + weights[f"lstm_{layer}/bias"], 4, 1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            state[layer], x = (h, c), h
        if anchors and anchors[0] == d:
            anchors.pop(0)
            inputs = tf.zeros([n, units], flat.dtype)
            for j, earlier in enumerate(outputs):
                both = earlier @ weights["anchor/previous"]
                both += x @ weights["anchor/current"]
                p = tf.sigmoid(tf.linalg.matvec(tf.tanh(both), weights["anchor/v"]))
                bit = actions[:, d + j]
                logs.append(tf.math.log(tf.where(bit == 1, p, 1 - p)))
                entropies.append(-p * tf.math.log(p) - (1 - p) * tf.math.log(1 - p))
                inputs += tf.cast(bit, flat.dtype)[:, None] * earlier
            read = actions[:, d : d + len(outputs)].sum(1)[:, None]
            inputs /= np.maximum(read, 1)
            d += len(outputs)
            outputs.append(x)
            continue
        decision = space.decisions[d]
        key = decision.kind if policy.shared == "kind" else str(d)
        logits = x @ weights[f"softmax/{key}/kernel"] + weights[f"softmax/{key}/bias"]
        p = tf.nn.softmax(logits[:, : len(decision.choices)])
        logs.append(tf.math.log(tf.gather(p, actions[:, d], batch_dims=1)))
        entropies.append(-tf.reduce_sum(p * tf.math.log(p), 1))
        inputs = tf.gather(weights[f"embedding/{key}"], actions[:, d])
        d += 1
    return tf.stack(logs, 1), tf.stack(entropies, 1)


SPACES = [
    {"name": "amoeba", "blocks": 2, "ops": ["identity", "sep_3x3", "max_3x3"]},
    {"name": "zoph_conv", "layers": 4, "heights": [1, 3]},
    {"name": "enas_macro", "layers": 3},
]


@pytest.mark.parametrize("layers, shared", [(1, "position"), (2, "kind")])
@pytest.mark.parametrize("config", SPACES, ids=lambda config: config["name"])
def test_lstm_equals_tensorflow(config, layers, shared):
    space = spaces.create(config)
    rng = np.random.default_rng(0)
    policy = LstmPolicy(space, layers, 5, 0.9, shared, rng)
    drawn = policy.run(space, count=6, rng=rng)
    rated = policy.run(space, drawn.actions)
    np.testing.assert_array_equal(rated.log_probs, drawn.log_probs)
    upstream = rng.normal(size=(2, *drawn.actions.shape))
    flat = tf.constant(policy.parameters.flat)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        logs, entropies = oracle(space, policy, flat, drawn.actions)
        loss = tf.reduce_sum(upstream[0] * logs + upstream[1] * entropies)
    np.testing.assert_allclose(rated.log_probs, logs, rtol=1e-10)
    np.testing.assert_allclose(rated.entropies, entropies, rtol=1e-10)
    ours = policy.gradient(rated, upstream[0], upstream[1])
    theirs = tape.gradient(loss, flat).numpy()
    assert np.count_nonzero(theirs) > 0.7 * len(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_factorised_equals_tensorflow():
    space = spaces.create({"name": "enas_rnn", "nodes": 3})
    rng = np.random.default_rng(0)
    policy = FactorisedPolicy(space)
    policy.parameters.flat[:] = rng.normal(size=policy.parameters.flat.shape)
    drawn = policy.run(space, count=7, rng=rng)
    upstream = rng.normal(size=(2, *drawn.actions.shape))
    flat = tf.constant(policy.parameters.flat)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        start, loss = 0, 0.0
        for d, decision in enumerate(space.decisions):
            size = len(decision.choices)
            logs = tf.nn.log_softmax(flat[start : start + size])
            start += size
            chosen = tf.gather(logs, drawn.actions[:, d])
            np.testing.assert_allclose(drawn.log_probs[:, d], chosen, rtol=1e-10)
            entropy = -tf.reduce_sum(tf.exp(logs) * logs)
            np.testing.assert_allclose(drawn.entropies[:, d], entropy, rtol=1e-10)
            loss += tf.reduce_sum(upstream[0][:, d] * chosen)
            loss += tf.reduce_sum(upstream[1][:, d]) * entropy
    ours = policy.gradient(drawn, upstream[0], upstream[1])
    np.testing.assert_allclose(ours, tape.gradient(loss, flat), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "config",
    [
        {"name": "dag", "nodes": 3},
        {"name": "enas_macro", "layers": 3, "ops": ["sep_3x3", "max_3x3"]},
    ],
    ids=lambda config: config["name"],
)
def test_probabilities_are_those_of_what_is_drawn(config):
    space = spaces.create(config)
    rng = np.random.default_rng(1)
    policy = LstmPolicy(space, 2, 6, 1.5, "kind", rng)
    choices = [range(len(d.choices)) for d in space.decisions]
    everything = np.array(list(itertools.product(*choices)))
    probs = np.exp(policy.run(space, everything).log_probs.sum(1))
    assert probs.sum() == pytest.approx(1.0, rel=1e-9)
    count = 20000
    drawn = policy.run(space, count=count, rng=rng).actions
    places = np.ravel_multi_index(drawn.T, [len(c) for c in choices])
    seen = np.bincount(places, minlength=len(everything)) / count
    assert np.abs(seen - probs).sum() / 2 < 0.05
    assert seen.max() > 3 / len(everything)  # far from uniform


def lstm_update(config, rewards):
    """Tells rewards; returns the proposer, what it was, and what was proposed."""
    space = spaces.create({"name": "dag"})
    proposer = proposers.create(config, space, 3)
    before = proposer.policy.parameters.flat.copy()
    out = [proposer.ask() for _ in rewards]
    old = {p.number: proposer._out[p.number].log_probs for p in out}
    for proposal, reward in zip(out, rewards, strict=True):
        proposer.tell(proposal, reward)
    return space, proposer, before, out, old


def adam(before, gradient, steps, rate):
    """Makes steps of Keras's Adam; `gradient` is of the parameters' function."""
    variable = keras.Variable(before, dtype="float64")
    optimizer = keras.optimizers.Adam(rate, epsilon=1e-8)
    for _ in range(steps):
        optimizer.apply([gradient(tf.constant(variable.numpy()))], [variable])
    return variable.numpy()


def test_reinforce_step():
    rewards = [0.2, 0.9, 0.4, 0.1]
    config = {
        "name": "reinforce",
        "units": 4,
        "batch": 4,
        "learning_rate": 0.01,
        "baseline_start": "zero",
        "baseline_decay": 0.8,
        "entropy_weight": 0.1,
    }
    space, proposer, before, out, _ = lstm_update(config, rewards)
    actions = np.array([proposal.arch for proposal in out])

    def gradient(flat):
        with tf.GradientTape() as tape:
            tape.watch(flat)
            logs, entropies = oracle(space, proposer.policy, flat, actions)
            # The baseline was 0 before these rewards.
            loss = -tf.reduce_mean(rewards * tf.reduce_sum(logs, 1))
            loss -= 0.1 * tf.reduce_mean(tf.reduce_sum(entropies, 1))
        return tape.gradient(loss, flat)

    expected = adam(before, gradient, 1, 0.01)
    np.testing.assert_allclose(proposer.policy.parameters.flat, expected, atol=1e-7)
    baseline = 0.0
    for reward in rewards:
        baseline = 0.8 * baseline + 0.2 * reward
    assert proposer.scalars()["controller/baseline"] == pytest.approx(baseline)


def test_ppo_steps():
    rewards = [0.2, 0.9, 0.4, 0.1, 0.6]
    config = {
        "name": "ppo",
        "units": 4,
        "batch": 5,
        "learning_rate": 0.3,  # so that ratios are clipped
        "entropy_weight": 0.01,
        "scale": 0.5,
    }
    space, proposer, before, out, old = lstm_update(config, rewards)
    actions = np.array([proposal.arch for proposal in out])
    old = np.array([old[proposal.number] for proposal in out])
    advantage = (np.array(rewards) - np.mean(rewards))[:, None]
    clipped = []

    def gradient(flat):
        with tf.GradientTape() as tape:
            tape.watch(flat)
            logs, entropies = oracle(space, proposer.policy, flat, actions)
            ratio = tf.exp(logs - old)
            near = tf.clip_by_value(ratio, 0.8, 1.2)
            gain = tf.minimum(ratio * advantage, near * advantage)
            loss = -(tf.reduce_sum(gain) + 0.01 * tf.reduce_sum(entropies)) / 5
        clipped.append(np.count_nonzero(near != ratio))
        return tape.gradient(loss, flat)

    expected = adam(before, gradient, 4, 0.3)
    assert sum(clipped) > 10
    # Keras computes the bias corrections in float32; steps are about 0.3.
    np.testing.assert_allclose(proposer.policy.parameters.flat, expected, atol=2e-4)


def test_rewards_are_scaled():
    config = {"name": "reinforce", "batch": 4, "units": 4, "scale_rewards": True}
    space = spaces.create({"name": "dag"})
    one, two = (proposers.create(config, space, 3) for _ in range(2))
    plain = proposers.create({**config, "scale_rewards": False}, space, 3)
    rng = np.random.default_rng(0)
    for reward in rng.random(12):
        proposals = [p.ask() for p in (one, two, plain)]
        one.tell(proposals[0], reward)
        two.tell(proposals[1], 5.0 + 0.01 * reward)
        plain.tell(proposals[2], reward)
    ours, other = one.policy.parameters.flat, two.policy.parameters.flat
    np.testing.assert_allclose(ours, other, atol=1e-6)
    assert np.abs(ours - plain.policy.parameters.flat).max() > 1e-4


def test_equal_rewards_teach_nothing():
    config = {"name": "ppo", "batch": 4, "units": 4, "scale_rewards": True}
    config["entropy_weight"] = 0.0
    proposer = proposers.create(config, spaces.create({"name": "dag"}), 0)
    before = proposer.policy.parameters.flat.copy()
    for _ in range(20):
        proposer.tell(proposer.ask(), 0.7)
    np.testing.assert_allclose(proposer.policy.parameters.flat, before, atol=1e-9)
