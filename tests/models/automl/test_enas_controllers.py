"""ENAS's controllers against recorded choices, losses and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.engine import errors, schedules
from tfdl.models.automl import rewards
from tfdl.models.automl.enas import controllers, reinforce
from tfdl.models.automl.networks.cell_network import drop_path_keep

SEED = tf.constant([3, 4], tf.int32)
NAMES = {"g": "g_emb"}  # of the recorded weights -> ours


@pytest.fixture(scope="module")
def recorded():
    with np.load(golden("automl", "io_controllers.npz")) as file:
        return {name: file[name] for name in file.files}


def load(controller, recorded, prefix):
    weights = {variable.name: variable for variable in controller.variables}
    for key in [key for key in recorded if key.startswith(prefix + "/")]:
        name = key.split("/")[1]
        weights.pop(NAMES.get(name, name)).assign(recorded[key])
    assert not weights


def micro(recorded):
    operations, size = recorded["micro/emb"].shape
    blocks = recorded["micro_s0_arc"].shape[1] // 4
    controller = controllers.MicroController(blocks, operations, hidden_size=size)
    load(controller, recorded, "micro")
    return controller


def recurrent(recorded):
    functions, size = recorded["lm/emb"].shape
    nodes = len(recorded["lm_s0_arc"]) // 2
    controller = controllers.RecurrentController(nodes, functions, hidden_size=size)
    load(controller, recorded, "lm")
    return controller


def check_steps(controller, recorded, prefix, reward, entropy_weight, decay):
    """Goes through the recorded steps; weights stay, the baseline moves."""
    baseline = tf.constant(0.0)
    for step in range(2):
        name = f"{prefix}_s{step}"
        arc = tf.constant(recorded[f"{name}_arc"].reshape(1, -1))
        with tf.GradientTape() as tape:
            samples = controller.forced(arc)
            judged = reinforce.judge(
                samples, reward(name), baseline, entropy_weight, decay
            )
            loss = judged.loss[0]
        baseline = judged.baseline
        logits = recorded[f"{name}_logits"]
        for row, found in zip(logits, samples.logits, strict=True):
            np.testing.assert_allclose(found[0], row[~np.isnan(row)], atol=2e-6)
        for value, key in (
            (samples.neg_log_probs[0], "sum_neg_logp"),
            (samples.entropies[0], "entropy"),
            (judged.reward[0], "reward"),
            (judged.baseline, "baseline_after"),
            (loss, "loss"),
        ):
            np.testing.assert_allclose(value, recorded[f"{name}_{key}"], rtol=1e-5)
        gradients = tape.gradient(loss, controller.trainable_variables)
        for variable, gradient in zip(
            controller.trainable_variables, gradients, strict=True
        ):
            key = {ours: theirs for theirs, ours in NAMES.items()}.get(variable.name)
            if f"{name}_grad/{key}" not in recorded:
                key = variable.name
            expected = recorded[f"{name}_grad/{key}"]
            scale = np.abs(expected).max()
            found = tf.convert_to_tensor(gradient)
            # Some are differences of numbers that are thousands of times larger.
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)


def test_micro_steps(recorded):
    def reward(name):
        return tf.constant([recorded[f"{name}_raw_reward"]])

    check_steps(micro(recorded), recorded, "micro", reward, 1e-4, 0.99)


def test_recurrent_steps(recorded):
    def reward(name):
        return tf.constant([80.0 / recorded[f"{name}_valid_ppl"]])

    check_steps(recurrent(recorded), recorded, "lm", reward, 1e-5, 0.999)


def test_a_batch_is_judged_in_order(recorded):
    arcs = np.stack([recorded[f"micro_s{i}_arc"].ravel() for i in range(2)])
    samples = micro(recorded).forced(tf.constant(arcs))
    raw = [recorded[f"micro_s{i}_raw_reward"] for i in range(2)]
    judged = reinforce.judge(samples, tf.constant(raw), tf.constant(0.0), 1e-4, 0.99)
    expected = [recorded[f"micro_s{i}_loss"] for i in range(2)]
    np.testing.assert_allclose(judged.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(
        judged.baseline, recorded["micro_s1_baseline_after"], rtol=1e-5
    )


def make(kind):
    tf.keras.utils.set_random_seed(1)
    controller = {
        "micro": lambda: controllers.MicroController(3, hidden_size=16),
        "macro": lambda: controllers.MacroController(4, hidden_size=16),
        "recurrent": lambda: controllers.RecurrentController(4, hidden_size=16),
    }[kind]()
    for variable in controller.trainable_variables:  # away from uniform choices
        variable.assign(4.0 * variable)
    return controller


@pytest.mark.parametrize("kind", ["micro", "macro", "recurrent"])
def test_drawn_equals_forced(kind):
    controller = make(kind)
    drawn = controller.sample(50, SEED)
    assert drawn.arcs.shape == (50, controller.length)
    assert len(np.unique(drawn.arcs, axis=0)) > 25
    np.testing.assert_array_equal(drawn.arcs, controller.sample(50, SEED).arcs)
    forced = controller.forced(drawn.arcs)
    for name in ("neg_log_probs", "entropies", "skip_penalties", "skip_rates"):
        np.testing.assert_allclose(
            getattr(drawn, name), getattr(forced, name), rtol=1e-5
        )


@pytest.mark.parametrize("kind", ["micro", "macro", "recurrent"])
def test_draws_are_as_frequent_as_they_are_probable(kind):
    controller = make(kind)
    drawn = controller.sample(2000, SEED)
    # The first decision that has more than one choice, by its place in the
    # architecture and in the order of decisions.
    place, turn = {"micro": (0, 0), "macro": (0, 0), "recurrent": (1, 1)}[kind]
    expected = tf.reduce_mean(tf.nn.softmax(drawn.logits[turn]), axis=0)
    found = np.bincount(drawn.arcs[:, place], minlength=len(expected)) / 2000
    np.testing.assert_allclose(found, expected, atol=0.05)


def by_hand_macro(controller, arc):
    """One architecture of the macro controller, with numpy, from the paper's text."""

    def value(x):
        return np.asarray(x, np.float64)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    weights = {v.name: value(v) for v in controller.variables}
    size = controller.hidden_size
    c = h = np.zeros(size)

    def step(x):
        nonlocal c, h
        i, f, o, g = np.split(np.concatenate([x, h]) @ weights["lstm"], 4)
        c = sigmoid(i) * np.tanh(g) + sigmoid(f) * c
        h = sigmoid(o) * np.tanh(c)

    cost = entropy = 0.0
    anchors, divergences, place = [], [], 0

    def choose(logits, chosen):
        nonlocal cost, entropy
        p = np.exp(logits)[chosen] / np.exp(logits).sum()
        cost -= np.log(p)
        entropy -= p * np.log(p)

    x = weights["g_emb"][0]
    for layer in range(controller.layer_count):
        step(x)
        choose(1.5 * np.tanh(h @ weights["soft_w"]), arc[place])
        step(weights["emb"][arc[place]])
        bits = arc[place + 1 : place + 1 + layer]
        total = 0.0
        for anchor, bit in zip(anchors, bits, strict=True):
            score = np.tanh(anchor @ weights["w_1"] + h @ weights["w_2"])
            score = (score @ weights["v"])[0]
            logits = 1.5 * np.tanh(np.array([-score, score]))
            choose(logits, bit)
            q = sigmoid(logits)
            total += (q * np.log(q / np.array([0.6, 0.4]))).sum()
        x = weights["g_emb"][0]
        if layer:
            divergences.append(total)
            chosen = [a for a, b in zip(anchors, bits, strict=True) if b]
            x = np.sum(chosen, axis=0) / (1 + len(chosen)) if chosen else 0 * x
        anchors.append(h)
        place += 1 + layer
    return cost, entropy, np.mean(divergences)


def test_macro_by_hand():
    controller = make("macro")
    samples = controller.sample(6, SEED)
    for i, arc in enumerate(samples.arcs.numpy()):
        cost, entropy, penalty = by_hand_macro(controller, arc)
        np.testing.assert_allclose(samples.neg_log_probs[i], cost, rtol=1e-5)
        np.testing.assert_allclose(samples.entropies[i], entropy, rtol=1e-5)
        np.testing.assert_allclose(samples.skip_penalties[i], penalty, rtol=1e-5)
        bits = np.delete(arc, [0, 1, 3, 6])
        np.testing.assert_allclose(samples.skip_rates[i], bits.mean(), rtol=1e-6)
    with tf.GradientTape() as tape:
        samples = controller.forced(samples.arcs)
        judged = reinforce.judge(
            samples, tf.zeros([6]), tf.constant(0.0), 0.0, 0.99, skip_weight=0.8
        )
    # Without reward only the penalty is left, and it has a gradient.
    np.testing.assert_allclose(judged.loss, 0.8 * samples.skip_penalties, rtol=1e-5)
    gradients = tape.gradient(judged.loss, [controller.v.value, controller.w_2.value])
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_rewarded_choices_become_likelier():
    controller = make("macro")
    arcs = controller.sample(2, SEED).arcs
    for _ in range(20):
        with tf.GradientTape() as tape:
            samples = controller.forced(arcs)
            judged = reinforce.judge(
                samples, tf.constant([0.0, 1.0]), tf.constant(0.5), 0.0, 0.9
            )
            loss = tf.reduce_sum(judged.loss)
        for v, g in zip(
            controller.trainable_variables,
            tape.gradient(loss, controller.trainable_variables),
            strict=True,
        ):
            v.assign_sub(0.02 * tf.convert_to_tensor(g))
    after = controller.forced(arcs).neg_log_probs
    first = make("macro").forced(arcs).neg_log_probs
    assert after[1] < first[1] - 0.1 and after[0] > first[0] + 0.1


@pytest.mark.parametrize(
    "make_it, said",
    [
        (lambda: controllers.MicroController(0), "blocks"),
        (lambda: controllers.MicroController(2.5), "blocks"),
        (lambda: controllers.MacroController(2, skip_target=1.0), "skip_target"),
        (lambda: controllers.RecurrentController(2, temperature=0), "temperature"),
    ],
)
def test_refusals(make_it, said):
    with pytest.raises(errors.UserError, match=said):
        make_it()


def test_cosine_restarts(recorded):
    table = recorded["enas_cosine_restarts_epoch_lr"]
    steps = 3
    schedule = schedules.create(
        {
            **{"name": "cosine_restarts", "rate": 0.05, "end": 0.0005},
            **{"first": 10, "factor": 2, "every": steps},
        },
        steps * len(table),
    )
    for epoch, rate in table:
        for step in range(steps):
            found = float(schedule(int(epoch) * steps + step))
            np.testing.assert_allclose(found, rate, rtol=1e-5)


def test_single_cosine(recorded):
    for step, total, rate, expected in recorded["cosine_single_step_total_lr0_result"]:
        found = float(schedules.cosine(rate, int(total))(int(step)))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_scheduled_drop_path(recorded):
    for row in recorded["drop_path_T_i_step_total_keep_result"]:
        cells, i, step, total, keep, expected = row
        found = drop_path_keep(keep, "v3", (i + 1) / cells, step / total)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rewards(recorded):
    accuracies = recorded["rewards_acc_history"].tolist()
    ppl = [float(recorded["rewards_ppl"])]
    found = [
        rewards.reward("cubed", accuracies),
        rewards.reward("inverse_square", ppl, c=80.0),
        rewards.reward("inverse", ppl, c=80.0),
    ]
    np.testing.assert_allclose(found, recorded["rewards_value"], rtol=1e-6)
