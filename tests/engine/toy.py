"""A small regression task, made-up data, to test the engine with."""

import json
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.engine import distribution, errors, runs
from tfdl.engine.phases import Phase
from tfdl.engine.task import Task
from tfdl.engine.trainer import Preempted
from tfdl.layers.dropout import Dropout


class Toy(keras.Model):
    """Two dense layers with dropout between them."""

    def __init__(self, rate):
        super().__init__()
        self.blocks = [keras.layers.Dense(16, "tanh"), Dropout(rate)]
        self.out = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        x = inputs
        for block in self.blocks:
            x = block(x, training=training) if isinstance(block, Dropout) else block(x)
        return keras.ops.cast(self.out(x), "float32")


class ToyTask(Task):
    """Learns y = sin(sum(x)) on 512 points, in two phases."""

    def prepare(self):
        random = np.random.default_rng(0)
        self.x = random.normal(size=[512, 4]).astype("float32")
        self.y = np.sin(self.x.sum(1, keepdims=True)).astype("float32")
        if self.config.poison:
            self.y[300:] = np.nan

    def build_model(self):
        model = Toy(self.config.dropout)
        model(np.zeros([1, 4], "float32"))
        return model

    def phases(self):
        rate = self.config.rate
        return [
            Phase("first", 30, 16, lambda step: tf.constant(rate)),
            Phase(
                "second",
                30,
                32,
                lambda step: rate / (1.0 + tf.cast(step, tf.float32)),
                trainable=lambda name: "dense_1" in name or "out" in name,
            )
            if self.config.freeze
            else Phase("second", 30, 32, lambda step: tf.constant(rate / 2)),
        ]

    def train_data(self, phase, start_step, shard):
        part, n = shard.part(phase.batch_size), len(self.x)
        x, y = tf.constant(self.x), tf.constant(self.y)

        def batch(step):
            first = step * phase.batch_size + shard.index * part
            rows = (first + tf.range(part, dtype=tf.int64)) * 7 % n
            return {"x": tf.gather(x, rows), "y": tf.gather(y, rows)}

        return tf.data.Dataset.range(start_step, 10**9).map(batch)

    def loss(self, model, batch, denominators, training=True):
        error = tf.square(model(batch["x"], training=training) - batch["y"])
        total = tf.reduce_sum(error)
        return total / denominators["examples"], {
            "squared_error": (total, tf.cast(tf.size(error), tf.float32))
        }

    def evaluate(self, learner):
        data = tf.data.Dataset.from_tensor_slices({"x": self.x, "y": self.y}).batch(64)
        results = distribution.map_batches(
            learner.strategy,
            lambda batch: tf.square(learner.model(batch["x"]) - batch["y"]),
            data,
        )
        return {"loss": float(np.mean(np.concatenate(list(results))))}

    def model_config(self):
        time.sleep(self.config.save_delay)  # only the chief saves
        return {"model": "bert"}


def toy_config(**fields) -> ConfigDict:
    """Returns a configuration of the toy, with other `fields`."""
    config = config_lib.base_config()
    config.model, config.task = "bert", "toy"
    config.dropout, config.rate, config.poison, config.freeze = 0.1, 0.05, False, False
    config.save_delay = 0.0
    config.optimizer = ConfigDict({"name": "sgd", "momentum": 0.9})
    config.log_every = config.checkpoint_every = config.steps_per_loop = 10
    for name, value in fields.items():
        config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def main() -> None:
    """`toy.py WORKDIR JSON`: trains and prints the metrics and the weights' digest."""
    workdir, options = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
    strategy_name = options.pop("strategy", "one_device")
    devices = options.pop("devices", 0)
    stages = options.pop("stages", ())
    config = toy_config(**options)
    if stages:
        config.stages = tuple(toy_config(**options, name=name) for name in stages)
    runs.create_task = ToyTask
    try:
        strategy = distribution.create(strategy_name, devices)
        runs.freeze(workdir, config, "refuse", distribution.is_chief(strategy))
        record = runs.train(config, workdir, strategy)
    except errors.UserError as error:
        print("error:", error)
        sys.exit(1)
    except Preempted as stopped:
        print(stopped)
        sys.exit(143)
    print(json.dumps(record["metrics"]))


if __name__ == "__main__":
    main()
