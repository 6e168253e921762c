"""Cases for several replicas, each run in a process of its own.

`python -m tests.engine.replicas CASE` prints one JSON object.
"""

import json
import sys

import numpy as np
import tensorflow as tf

from tests.engine import rules
from tfdl.engine import distribution, ema, optimizers, precision


def strategy_of(case):
    """Returns two logical CPUs, or the workers that TF_CONFIG names."""
    if case == "workers":
        return distribution.create("multi_worker")
    return distribution.create("mirrored", 2)


def copies(strategy, variable):
    """Returns a variable's value on every replica of this process."""
    return [v.numpy() for v in strategy.experimental_local_results(variable)]


def shares(gradient, step):
    """Returns two parts, far from equal, that add up to a gradient exactly."""
    random = np.random.default_rng(step)
    first = gradient * random.choice([-1.0, 0.5, 2.0], gradient.shape).astype("float32")
    return np.stack([first, gradient - first])


def trajectory(strategy, options):
    """Runs a rule with each replica's gradients its share; returns the errors."""
    with strategy.scope():
        optimizer, variables = rules.build(options)

    def replica(parts, rate):
        context = tf.distribute.get_replica_context()
        mine = [part[context.replica_id_in_sync_group] for part in parts]
        return optimizer.apply(mine, list(variables.values()), rate)

    @tf.function
    def update(parts, rate):
        return strategy.run(replica, args=(parts, rate))

    spread, states = 0.0, []
    for step in range(rules.STEPS):
        given = rules.gradients(step)
        parts = [tf.constant(shares(given[n], step)) for n in variables]
        update(parts, tf.constant(rules.RATES[step]))
        states.append({n: copies(strategy, v)[0] for n, v in variables.items()})
        for variable in [*variables.values(), *optimizer.state()]:
            values = copies(strategy, variable)
            spread = max(spread, *(np.abs(v - values[0]).max() for v in values))
    return float(spread), states


def all_rules(strategy):
    """Every optimizer against float64, with clipping of the global gradient."""
    result = {}
    for name, (options, rule) in rules.CASES.items():
        expected = rules.trajectory(rule, options)
        spread, states = trajectory(strategy, options)
        error = max(
            np.abs(state[n] - exact[n]).max() / np.abs(exact[n]).max()
            for state, exact in zip(states, expected, strict=True)
            for n in exact
            if np.abs(exact[n]).max() > 0
        )
        result[name] = [float(error), spread]
    return result


def some_rules(strategy):
    """A few of them, for workers that start slowly."""
    kept = {name: rules.CASES[name] for name in ("bert_adam", "lamb", "sgd_nesterov")}
    rules.CASES.clear()
    rules.CASES.update(kept)
    return all_rules(strategy)


def sparse(strategy):
    """Rows that both replicas look up are added before norm and clipping."""
    with strategy.scope():
        table = tf.Variable(np.zeros([4, 2], "float32"))
        optimizer = optimizers.create({"name": "sgd", "global_clip_norm": 1.0})
        optimizer.build([table], ["table"])

    def replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        # Replica 0 looks at rows 0, 0, 1; replica 1 at 1, 1, 1.
        rows = tf.where(tf.equal(index, 0), [0, 0, 1], [1, 1, 1])
        slices = tf.IndexedSlices(tf.ones([3, 2]), rows, [4, 2])
        return optimizer.apply([slices], [table], 1.0)["grad_norm"]

    norms = tf.function(lambda: strategy.run(replica))()
    return {
        "norms": [float(x) for x in strategy.experimental_local_results(norms)],
        "tables": [value.tolist() for value in copies(strategy, table)],
    }


def not_finite(strategy):
    """One replica's NaN; without a loss scale, then with a dynamic one."""
    result = {}
    for scaled in (False, True):
        with strategy.scope():
            weight = tf.Variable([1.0, 2.0])
            optimizer = optimizers.create({"name": "adamw", "weight_decay": 0.1})
            optimizer.build([weight], ["weight"])
            scale = precision.LossScale(1024.0, dynamic=True, growth_interval=2)
        before = [v.numpy() for v in optimizer.state()]

        def replica(poison, scale, optimizer=optimizer, weight=weight):
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(weight * [3.0, 4.0]) / 2.0
                if scale is not None:
                    loss = scale.scale(loss)
            gradient = tape.gradient(loss, weight)
            bad = tf.logical_and(poison, tf.equal(index, 1))
            gradient = tf.where([bad, False], np.nan, gradient)
            return optimizer.apply([gradient], [weight], 0.1, scale=scale)

        @tf.function
        def update(poison, used=scale if scaled else None, replica=replica):
            return strategy.run(replica, args=(poison, used))

        rows = []
        for poison in (True, False, False, False):
            report = update(tf.constant(poison))
            rows.append(
                {
                    "finite": _booleans(strategy, report["finite"]),
                    "stop": _booleans(strategy, report["stop"]),
                    "norm": float(copies(strategy, report["grad_norm"])[0]),
                    "weights": [v.tolist() for v in copies(strategy, weight)],
                    "scale": float(scale.value()),
                    "scales": [float(v) for v in copies(strategy, scale.variables[0])],
                }
            )
            if poison:
                rows[-1]["state_kept"] = all(
                    np.array_equal(copy, value)
                    for v, value in zip(optimizer.state(), before, strict=True)
                    for copy in copies(strategy, v)
                )
        result["dynamic" if scaled else "none"] = rows
    return result


def _booleans(strategy, value):
    return [bool(v) for v in strategy.experimental_local_results(value)]


def averages(strategy):
    """Averages of weights that an optimizer moves, looped on the device."""
    with strategy.scope():
        weight = tf.Variable([1.0, -2.0])
        optimizer = optimizers.create({"name": "sgd"})
        optimizer.build([weight], ["weight"])
        average = ema.ExponentialMovingAverage(0.9, [weight])

    @tf.function
    def train(steps):
        for _ in tf.range(steps):
            strategy.run(lambda: optimizer.apply([tf.ones([2])], [weight], 0.25))
            average.update()

    train(tf.constant(4))
    result = {
        "weights": [v.tolist() for v in copies(strategy, weight)],
        "averages": [v.tolist() for v in copies(strategy, average.averages[0])],
    }
    with average.swapped():
        result["inside"] = [v.tolist() for v in copies(strategy, weight)]
    result["after"] = [v.tolist() for v in copies(strategy, weight)]
    average.begin()
    result["begun"] = [v.tolist() for v in copies(strategy, average.averages[0])]
    return result


CASES = {
    "rules": all_rules,
    "workers": some_rules,
    "sparse": sparse,
    "not_finite": not_finite,
    "averages": averages,
}


if __name__ == "__main__":
    case = sys.argv[1]
    print(json.dumps(CASES[case](strategy_of(case))))
