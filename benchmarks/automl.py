"""The search against KerasTuner on the same children; NASNet against Keras's own.

    python -m venv peer
    peer/bin/pip install tensorflow==2.21.0 keras==3.15.1 keras-tuner==1.4.8
    tfdl benchmark --model=automl --peer_python=peer/bin/python

Three measurements, a JSON line each:

    overhead  trials that only sleep, 20 ms each
    children  random search over cells on digits: KerasTuner builds a Keras model for
              each trial and fits it, with its defaults or without XLA; we train the
              same cells, in the same sizes, on the same pictures and for as many
              epochs, in a pool of one process per thread. Seconds are those of the
              whole searches, ours with the start of the pool's processes; "after the
              first" leaves out, on both sides, all until the first trial has ended
    networks  NASNet-A mobile at 224 pixels: prediction and a training step, against
              keras.applications.NASNetMobile

Above 1 a ratio is in our favour.
"""

import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.clock import Clock, in_turns
from benchmarks.peers import Peer

# Keras compiles with XLA by default, which costs many seconds for each network.
TRIALS = {False: 20, "auto": 4}
SLEEPS, SLEEP = 200, 0.02
OPS = ["identity", "sep_3x3", "sep_5x5", "avg_3x3", "max_3x3"]
SPACE = {"name": "amoeba", "blocks": 3, "ops": OPS}
CHILDREN = {
    "name": "image",
    "space": SPACE,
    "data": "embedded:square-digits",
    "size": 16,
    "valid_examples": 300,
    "cells": 3,
    "filters": 8,
    "stem_multiplier": 3,
    "epochs": 3,
    "batch_size": 50,
    "rate": 0.05,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "augment": "none",
}
BATCH = 8


def run(peer_python: str, repeats: int = 3, threads: int = 2) -> Iterator[dict]:
    """Yields a record per measurement.

    Args:
        peer_python: the Python that has keras-tuner.
        repeats: times each side of the networks is measured, in turns.
        threads: of both sides.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(peer_python, "automl_peer.py")
        try:
            versions = peer("threads", count=threads)
            yield {"versions": {**versions, "tensorflow": tf.__version__}}
            data = _data(pathlib.Path(folder))
            yield _overhead(peer, pathlib.Path(folder), threads)
            for jit in TRIALS:
                yield _children(peer, pathlib.Path(folder), data, threads, jit)
        finally:
            peer.close()
    yield from _networks(repeats)


def _data(folder: pathlib.Path) -> pathlib.Path:
    """Writes the pictures as our children see them."""
    from tfdl.classifiers.preprocessing import normalise
    from tfdl.models.automl import image_data

    images = image_data.load(
        CHILDREN["data"], CHILDREN["size"], CHILDREN["valid_examples"]
    )
    mean, std = image_data.normalisation(images.train)
    setup = {"mode": "torch", "mean": mean, "std": std}
    path = folder / "data.npz"
    np.savez(
        path,
        train=normalise(images.train, setup).numpy(),
        train_labels=images.train_labels,
        valid=normalise(images.valid, setup).numpy(),
        valid_labels=images.valid_labels,
    )
    return path


def _children(peer, folder, data, threads, jit) -> dict[str, Any]:
    sizes = {name: CHILDREN[name] for name in ("size", "cells", "filters", "rate")}
    sizes |= {name: CHILDREN[name] for name in ("epochs", "batch_size")}
    sizes |= {"stem_filters": CHILDREN["stem_multiplier"] * CHILDREN["filters"]}
    sizes |= {"blocks": SPACE["blocks"], "ops": OPS, "classes": 10}
    count = TRIALS[jit]
    theirs = peer("search", data=str(data), sizes=sizes, trials=count, jit=jit)
    archs = [_arch(cells) for cells in theirs["cells"]]
    history, seconds, first = _search(folder, archs, CHILDREN, SPACE, threads)
    taken = {"ours": round(seconds, 1), "keras_tuner": round(theirs["seconds"], 1)}
    found = [trial.metrics["parameters"] for trial in history]
    assert found == theirs["parameters"], (found, theirs["parameters"])
    later = theirs["seconds"] - theirs["starts"][1]
    steady = {
        "ours": round((count - 1) / (seconds - first), 3),
        "keras_tuner": round((count - 1) / later, 3),
    }
    return {
        "benchmark": f"{count} children, Keras with jit_compile={jit!r}",
        "seconds": taken,
        "ratio": round(theirs["seconds"] / seconds, 2),
        "trials_per_second_after_the_first": steady,
        "ratio_after_the_first": round(steady["ours"] / steady["keras_tuner"], 2),
        "best": {
            "ours": max(trial.reward for trial in history),
            "keras_tuner": theirs["best"],
        },
    }


def _arch(cells) -> tuple[int, ...]:
    """Returns KerasTuner's choices as our space's values."""
    values = []
    for blocks in cells:
        for input1, op1, input2, op2 in blocks:
            values += [input1, input2, OPS.index(op1), OPS.index(op2)]
    return tuple(values)


def _search(folder, archs, children, space, threads):
    """Runs our search; returns its trials, seconds, and seconds until the first end."""
    from tfdl.models.automl import spaces
    from tfdl.models.automl.proposers.proposer import Proposal, Proposer
    from tfdl.models.automl.search import loop, pool, trials

    class Given(Proposer):
        """Proposes a list, in its order."""

        name = "given"

        def __init__(self):
            super().__init__(spaces.create(space), 0)
            self.asked = 0

        def ask(self):
            self.asked += 1
            return Proposal(self.asked - 1, archs[self.asked - 1])

        def tell(self, proposal, reward):
            pass

        def state(self):
            return {"asked": self.asked}

        def restore(self, state):
            self.asked = state["asked"]

    proposer, ends = Given(), []
    begin = time.perf_counter()
    with pool.LocalPool(children, workers=threads, threads=1) as workers:
        name = f"{children['name']}-{time.monotonic_ns()}"
        file = trials.Trials(folder / name / "trials.sqlite", "search", {})
        search = loop.Search(
            proposer.space,
            proposer,
            workers,
            file,
            len(archs),
            on_trial=lambda _: ends.append(time.perf_counter() - begin),
        )
        history = search.run()
        file.close()
        seconds = time.perf_counter() - begin
    return sorted(history, key=lambda trial: trial.number), seconds, ends[0]


def _overhead(peer, folder, threads) -> dict[str, Any]:
    random = np.random.default_rng(0)
    archs = [tuple(map(int, random.integers(4, size=8))) for _ in range(SLEEPS)]
    space = {"name": "dag", "nodes": 5, "ops": ["a", "b", "c", "d"]}
    archs = [(*arch, 0, 0) for arch in archs]
    children = {"name": "sleep", "seconds": SLEEP}
    _, seconds, _ = _search(folder, archs, children, space, threads)
    answer = peer("sleep", trials=SLEEPS, seconds=SLEEP)
    assert answer["trials"] == SLEEPS, answer
    theirs = answer["seconds"]
    return {
        "benchmark": f"{SLEEPS} trials that sleep {SLEEP} s, {threads} workers of ours",
        "trials_per_second": {
            "ours": round(SLEEPS / seconds, 1),
            "keras_tuner": round(SLEEPS / theirs, 1),
        },
        "ratio": round(theirs / seconds, 2),
    }


def _networks(repeats) -> Iterator[dict]:
    import keras
    import tensorflow as tf

    from tfdl.models.automl import model

    preset = {"kind": "cells", "preset": "nasnet_mobile", "aux_head": False}
    ours = model.build_model({**preset, "dropout_keep": 1.0})
    theirs = keras.applications.NASNetMobile(weights=None, classifier_activation=None)
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=[BATCH, 224, 224, 3]), tf.float32)
    labels = tf.constant(random.integers(1000, size=[BATCH]))
    calls = {
        "ours": (ours, lambda x, training: ours({"image": x}, training=training)),
        "keras": (theirs, lambda x, training: theirs(x, training=training)),
    }
    counts = {
        side: sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        for side, (network, _) in calls.items()
    }
    assert counts["ours"] == counts["keras"], counts
    for kind in ("prediction", "training step"):
        sides = {
            side: _measured(kind, network, call, images, labels)
            for side, (network, call) in calls.items()
        }
        name = f"NASNet-A mobile, 224 pixels, {BATCH} pictures, {kind}"
        yield in_turns(name, repeats, sides)


def _measured(kind, network, call, images, labels):
    """Returns a function that does it once and returns what it took."""
    import tensorflow as tf

    variables = network.trainable_variables

    @tf.function
    def predict(x):
        return _logits(call(x, False))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = _logits(call(x, True))
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_mean(loss)
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(1e-3 * gradient)
        return loss

    def measure():
        clock = Clock()
        (predict(images) if kind == "prediction" else step(images, labels)).numpy()
        return clock.read()

    return measure


def _logits(output):
    return output["logits"] if isinstance(output, dict) else output
