"""KerasTuner's random search, driven line by line by benchmarks/automl.py.

Runs in an environment of its own that has keras-tuner, keras and tensorflow. Reads a
JSON object per line (`{"do": NAME, ...}`) and answers with one. The networks are
written with Keras's own layers, as a user of KerasTuner would.
"""

import json
import sys
import tempfile
import time

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from keras import layers


def threads(count):
    """Sets the threads; returns versions."""
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
    return {"keras_tuner": keras_tuner.__version__, "keras": keras.__version__}


def norm(x):
    """Batch normalisation as NASNet's children have it."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def conv(x, filters, size=1, stride=1):
    """A convolution without bias."""
    return layers.Conv2D(filters, size, stride, "same", use_bias=False)(x)


def projected(x, filters, stride=1):
    """ReLU, 1x1 convolution, normalisation."""
    return norm(conv(layers.ReLU()(x), filters, 1, stride))


def halved(x, filters):
    """A factorised reduction."""
    moved = layers.Cropping2D(((1, 0), (1, 0)))(
        layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    )
    halves = [
        conv(layers.AveragePooling2D(1, 2)(part), filters // 2) for part in (x, moved)
    ]
    return norm(layers.Concatenate()(halves))


def operation(op, x, filters, stride):
    """One half of a block."""
    if op == "identity":
        same = stride == 1 and x.shape[-1] == filters
        return x if same else projected(x, filters, stride)
    if op in ("avg_3x3", "max_3x3"):
        kind = layers.AveragePooling2D if op[0] == "a" else layers.MaxPooling2D
        x = kind(3, stride, "same")(x)
        return x if x.shape[-1] == filters else norm(conv(x, filters))
    size = int(op[-1])
    for step in (stride, 1):
        x = layers.ReLU()(x)
        separable = layers.SeparableConv2D(filters, size, step, "same", use_bias=False)
        x = norm(separable(x))
    return x


def cell(current, previous, blocks, filters, stride):
    """One cell."""
    first = projected(current, filters)
    if previous is None:
        second = current
    elif previous.shape[1] != current.shape[1]:
        second = halved(layers.ReLU()(previous), filters)
    elif previous.shape[-1] != filters:
        second = projected(previous, filters)
    else:
        second = previous
    states = [first, second]
    read = set()
    for input1, op1, input2, op2 in blocks:
        read |= {input1, input2}
        ends = [
            operation(op, states[i], filters, stride if i < 2 else 1)
            for i, op in ((input1, op1), (input2, op2))
        ]
        states.append(layers.Add()(ends))
    loose = []
    for i, state in enumerate(states):
        if i in read:
            continue
        if i < 2 and stride == 2:
            state = halved(state, filters)
        elif state.shape[-1] != filters:
            state = norm(conv(state, filters))
        loose.append(state)
    return layers.Concatenate()(loose) if len(loose) > 1 else loose[0]


def network(normal, reduction, sizes):
    """The whole network."""
    inputs = keras.Input((sizes["size"], sizes["size"], 3))
    filters = sizes["filters"]
    x, before = norm(conv(inputs, sizes["stem_filters"], 3)), None
    reductions = [int(sizes["cells"] * k / 3) for k in (1, 2)]
    for i in range(sizes["cells"]):
        if i in reductions:
            filters *= 2
            x, before = cell(x, before, reduction, filters, 2), x
        x, before = cell(x, before, normal, filters, 1), x
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(sizes["classes"])(x))


class Children(keras_tuner.HyperModel):
    """Asks for a cell pair and builds its network."""

    def __init__(self, sizes, steps, jit):
        super().__init__()
        self.sizes, self.steps, self.jit = sizes, steps, jit
        self.built = []

    def build(self, hp):
        """Returns a compiled network."""
        cells = []
        for kind in ("normal", "reduction"):
            blocks = []
            for b in range(self.sizes["blocks"]):
                own = [
                    hp.Choice(f"{kind}_{b}_input1", list(range(b + 2))),
                    hp.Choice(f"{kind}_{b}_op1", self.sizes["ops"]),
                    hp.Choice(f"{kind}_{b}_input2", list(range(b + 2))),
                    hp.Choice(f"{kind}_{b}_op2", self.sizes["ops"]),
                ]
                blocks.append(own)
            cells.append(blocks)
        model = network(*cells, self.sizes)
        model.compile(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(self.sizes["rate"], self.steps),
                momentum=0.9,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=self.jit,
        )
        count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        self.built.append((cells, count, time.perf_counter()))
        return model


def search(data, sizes, trials, jit):
    """Searches; returns the children and how long all took."""
    keras.utils.set_random_seed(0)
    arrays = np.load(data)
    x, y = arrays["train"], arrays["train_labels"]
    steps = sizes["epochs"] * (len(x) // sizes["batch_size"])
    with tempfile.TemporaryDirectory() as folder:
        children = Children(sizes, steps, jit)
        tuner = keras_tuner.RandomSearch(
            children,
            objective="val_accuracy",
            max_trials=trials,
            seed=0,
            directory=folder,
            project_name="search",
        )
        children.built.clear()  # KerasTuner builds one to learn of the choices
        begin = time.perf_counter()
        tuner.search(
            x,
            y,
            batch_size=sizes["batch_size"],
            epochs=sizes["epochs"],
            validation_data=(arrays["valid"], arrays["valid_labels"]),
            verbose=0,
        )
        seconds = time.perf_counter() - begin
        best = tuner.oracle.get_best_trials(1)[0].score
    return {
        "seconds": seconds,
        "best": float(best),
        "cells": [cells for cells, _, _ in children.built],
        "parameters": [count for _, count, _ in children.built],
        "starts": [when - begin for _, _, when in children.built],
    }


class Sleeper(keras_tuner.RandomSearch):
    """Trials that sleep."""

    def run_trial(self, trial, seconds, **_):
        """Sleeps; the score is the mean of the choices."""
        values = [trial.hyperparameters.Choice(f"d{i}", [0, 1, 2, 3]) for i in range(8)]
        time.sleep(seconds)
        return sum(values) / len(values)


def sleep(trials, seconds):
    """Runs trials that sleep; returns how long all took."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = Sleeper(
            objective=keras_tuner.Objective("default_objective", "max"),
            max_trials=trials,
            seed=0,
            directory=folder,
            project_name="sleep",
        )
        begin = time.perf_counter()
        tuner.search(seconds=seconds, verbose=0)
        taken = time.perf_counter() - begin
        done = [t for t in tuner.oracle.trials.values() if t.status == "COMPLETED"]
        return {"seconds": taken, "trials": len(done)}


DO = {"threads": threads, "search": search, "sleep": sleep}


def main():
    """Answers until its input ends."""
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        answer = DO[request.pop("do")](**request)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
