"""Which layers learn when and how fast; the best model; the averages' beginning."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.engine.monitor import Monitor
from tfdl.models.ulmfit import recipes, sampled_softmax, steps

GROUPS = {f"{i}/w": i for i in range(5)}


def phases(specs, count=5, per_epoch=lambda epoch: 10):
    return steps.make(specs, GROUPS, count, 4, per_epoch)


def trained(phase):
    return [i for i in range(5) if phase.trainable(f"{i}/w")]


def test_gradual_unfreezing_of_the_paper():
    found = phases(recipes.gradual(0.01, 3))
    assert [trained(phase) for phase in found] == [
        [4],
        [3, 4],
        [2, 3, 4],
        [1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    ]
    assert [phase.steps for phase in found] == [10, 10, 10, 10, 30]
    assert [phase.options["epoch"] for phase in found] == [0, 1, 2, 3, 4]
    rates = np.array(found[-1].options["shares"]) * 0.01
    np.testing.assert_allclose(rates, 0.01 / 2.6 ** np.arange(4, -1, -1))


def test_unfreezing_of_the_scripts_and_the_notebook():
    found = phases(recipes.scripted(0.01, 2))
    assert [trained(phase) for phase in found] == [[4], [3, 4], [0, 1, 2, 3, 4]]
    # CircularLR(8, 3) over ten steps, (8, 8) over twenty.
    assert float(found[0].learning_rate(3)) == pytest.approx(0.01)
    assert float(found[0].learning_rate(0)) == pytest.approx(0.01 / 8)
    assert float(found[2].learning_rate(2)) == pytest.approx(0.01)
    found = phases(recipes.notebook(0.1))
    assert [len(trained(phase)) for phase in found] == [1, 2, 3, 5]
    momentum = [float(steps.momentum_at(found[0], tf.constant(i))) for i in (0, 3)]
    np.testing.assert_allclose(momentum, [0.8, 0.7])
    peaks = [max(float(p.learning_rate(i)) for i in range(p.steps)) for p in found]
    np.testing.assert_allclose(peaks, [0.1, 0.05, 0.025, 0.005])


def test_other_ways_of_fine_tuning():
    chain = phases(recipes.chain_thaw())
    assert [trained(phase) for phase in chain] == [
        [4], [0], [1], [2], [3], [0, 1, 2, 3, 4],
    ]  # fmt: skip
    assert float(chain[0].learning_rate(0)) == pytest.approx(1e-3)
    assert float(chain[1].learning_rate(0)) == pytest.approx(1e-4)
    (last,) = phases(recipes.last_only(0.01, 2))
    assert trained(last) == [4] and last.options["shares"] == (1.0,) * 5
    (everything,) = phases(recipes.full(0.01, 2))
    assert trained(everything) == [0, 1, 2, 3, 4]


def test_the_embedding_learns_in_the_last_group_of_a_language_model():
    (phase,) = phases([recipes.phase("all", 1, 4e-3, shares=recipes.LM_SHARES)], 4)
    assert phase.options["shares"] == (1 / 6, 1 / 3, 1.0, 0.5)


def test_epochs_of_different_lengths_share_a_schedule():
    spec = recipes.phase("all", 3, 1.0, schedule={"name": "one_cycle"})
    whole = phases([spec], per_epoch=lambda epoch: 10)[0]
    parts = phases([spec], per_epoch=lambda epoch: (10, 10, 10)[epoch])
    assert len(parts) == 1
    parts = phases([spec], per_epoch=lambda epoch: (8, 8, 14)[epoch])
    assert [phase.name for phase in parts] == ["all, epoch 1 to 2", "all, epoch 3"]
    assert [(p.steps, p.eval_every) for p in parts] == [(16, 8), (14, 14)]
    assert parts[1].options["epoch"] == 2
    for i in (0, 7):
        expected = float(whole.learning_rate(16 + i))
        assert float(parts[1].learning_rate(i)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"trained": "last:9"}, "allowed are all, last:1 to last:5 and only:0"),
        ({"trained": "first"}, "trained 'first'"),
        ({"shares": (1.0, 2.0)}, "2 shares for 5 groups"),
        ({"epochs": 0}, "epochs has to be at least 1"),
        ({"lr": 1.0}, "unknown field of a phase 'lr'"),
        ({"schedule": {"name": "stlr"}}, "unknown schedule 'stlr'"),
    ],
)
def test_phases_that_make_no_sense(spec, message):
    with pytest.raises(UserError, match=message):
        phases([{**recipes.phase("all", 1, 0.1), **spec}])


def monitor(**options):
    weight = tf.Variable([0.0])
    return weight, Monitor([weight], ("loss", "error"), **options)


def record(made, weight, losses, first=1):
    """Records a loss a step, with the weight set to the step; returns what it says."""
    said = []
    for step, loss in enumerate(losses, first):
        weight.assign([float(step)])
        said.append(made.record(step, {"loss": loss, "error": loss / 10}))
    return said


def test_averages_begin_when_the_loss_stops_falling():
    weight, made = monitor(keep_best=False, nonmono=5)
    # The least but for the last five: 1.0 at the seventh, 0.5 from the eighth on.
    said = record(made, weight, [1.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 2.0])
    assert said == [False] * 7 + [True, False]
    assert made.triggered


def test_the_best_weights_come_back():
    weight, made = monitor(keep_best=True, patience=3)
    record(made, weight, [0.9, 0.4, 0.5, 0.6])
    assert not made.stops
    record(made, weight, [0.45], first=5)
    assert made.stops
    made.restore()
    assert weight.numpy() == [2.0]
    assert made.best_metrics() == pytest.approx({"loss": 0.4, "error": 0.04})


def test_an_evaluation_is_noted_once():
    weight, made = monitor(keep_best=True, patience=1)
    record(made, weight, [0.9])
    made.record(1, {"loss": 2.0, "error": 0.0})
    assert not made.stops


def test_sampled_words_are_different_and_frequent_ones_more_often():
    frequencies = np.array([0.5, 0.3, 0.1, 0.05, 0.05], np.float32)
    counts = np.zeros(5)
    for seed in range(300):
        found = sampled_softmax.draw(
            tf.math.log(frequencies), 2, tf.constant([seed, 1])
        ).numpy()
        assert len(set(found)) == 2
        counts[found] += 1
    # Of two draws without replacement: sums of the pairs' probabilities.
    p = frequencies
    expected = [
        p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(5) if j != i)
        for i in range(5)
    ]
    np.testing.assert_allclose(counts / 300, expected, atol=0.09)


def test_sampled_loss_equals_its_formula():
    random = np.random.default_rng(0)
    rows, table, bias = (
        random.normal(size=s).astype(np.float32) for s in ((4, 3), (6, 3), (6,))
    )
    labels, negatives = np.array([0, 5, 2, 2]), np.array([1, 2, 4])
    logits = rows @ table.T + bias
    expected = [
        np.log(np.exp(x[y]) + 2 * np.exp(x[negatives]).sum()) - x[y]
        for x, y in zip(logits, labels, strict=True)
    ]
    found = sampled_softmax.losses(rows, table, bias, labels, negatives)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
