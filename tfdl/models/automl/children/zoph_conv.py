"""Children that classify pictures with convolutions: a network built for each.

Filters and connections differ from child to child, so that each has a graph of its
own, unlike cells (`children.image`).
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.classifiers.preprocessing import normalise
from tfdl.engine import errors, options
from tfdl.models.automl import image_data, rewards, spaces
from tfdl.models.automl.children import augmentation
from tfdl.models.automl.children.child import Children, Report
from tfdl.models.automl.networks.zoph_conv import ZophConvConfig, ZophConvNetwork
from tfdl.models.automl.spaces.space import Architecture
from tfdl.models.automl.spaces.zoph_conv import ZophConvSpace

# Zoph & Le 2017: 50 epochs on 45,000 pictures, Nesterov's momentum.
DEFAULTS: Mapping[str, Any] = {
    "name": "zoph_conv",
    "space": {"name": "zoph_conv"},
    "data": "cifar10:/data/cifar10",
    "size": 32,
    "valid_examples": 5000,
    "train_examples": 0,  # 0: all the others
    "split_seed": 0,
    "epochs": 50,
    "batch_size": 128,
    "rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,  # L2 of the kernels: weight_decay / 2 * |w|^2
    "augment": "pad-flip",
    "padding": 4,
    "reward": "cubed",
}
_EVALUATION_BATCH = 500


class ZophConvChildren(Children):
    """Scores networks of convolutions on pictures, see `DEFAULTS`.

    A result has `"valid_accuracy"` (the last epoch's), `"valid_accuracies"` and
    `"train_losses"` (every epoch's), `"parameters"` and `"seconds"`.
    """

    def __init__(self, config: Mapping[str, Any]):
        given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
        for key in given:
            if key not in DEFAULTS:
                raise errors.unknown("option of children 'zoph_conv'", key, DEFAULTS)
        super().__init__({**DEFAULTS, **given})
        config = self.config
        if config["reward"] not in ("accuracy", "cubed"):
            raise errors.unknown("reward", config["reward"], ("accuracy", "cubed"))
        for key in ("epochs", "batch_size"):
            if options.number(key, config[key], 1) != int(config[key]):
                raise errors.UserError(f"{key} of children has to be whole")
        self._augment = augmentation.Augmentation(
            config["augment"], int(config["padding"])
        )
        self.space = spaces.create(config["space"])
        if not isinstance(self.space, ZophConvSpace):
            raise errors.UserError(
                "children 'zoph_conv' are made of convolutions; space "
                f"{self.space.name!r} has other networks"
            )
        images = image_data.load(
            config["data"],
            int(config["size"]),
            int(config["valid_examples"]),
            int(config["train_examples"]),
            int(config["split_seed"]),
        )
        self._classes = len(images.classes)
        mean, std = image_data.normalisation(images.train)
        preprocessing = {"mode": "torch", "mean": mean, "std": std}
        with tf.device("CPU"):
            self._train = normalise(tf.constant(images.train), preprocessing)
            self._valid = normalise(tf.constant(images.valid), preprocessing)
            self._labels = tf.constant(images.train_labels)
        self._valid_labels = images.valid_labels
        self._batch = min(int(config["batch_size"]), len(images.train))
        self._steps = len(images.train) // self._batch

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Trains a child; see `Children`."""
        began, config = time.monotonic(), self.config
        keras.utils.set_random_seed(seed % 2**31)
        genotype = self.space.decode(arch)
        network = ZophConvNetwork(ZophConvConfig(genotype, self._classes))
        network.build()
        epoch_function, right_function = self._functions(network)
        random = np.random.default_rng([seed, 1])
        accuracies, losses = [], []
        diverged = False
        for epoch in range(int(config["epochs"])):
            order = random.permutation(len(self._labels))[: self._steps * self._batch]
            order = order.reshape(self._steps, self._batch).astype(np.int32)
            key = tf.constant([seed % 2**31, epoch], tf.int32)
            losses.append(float(epoch_function(tf.constant(order), key)))
            diverged = not math.isfinite(losses[-1])
            if diverged:
                break
            accuracies.append(right_function() / len(self._valid_labels))
            report({"epoch": epoch + 1, "loss": losses[-1], "accuracy": accuracies[-1]})
        result = {
            "reward": (
                rewards.LOWEST
                if diverged
                else rewards.reward(config["reward"], accuracies)
            ),
            "valid_accuracy": accuracies[-1] if accuracies else 0.0,
            "valid_accuracies": accuracies,
            "train_losses": [x for x in losses if math.isfinite(x)],
            "parameters": network.num_parameters(),
            "seconds": time.monotonic() - began,
        }
        # The graphs of hundreds of networks would fill the memory.
        keras.backend.clear_session()
        return {**result, "diverged": True} if diverged else result

    def _functions(self, network: ZophConvNetwork):
        """Returns what trains an epoch, and what counts right answers."""
        config = self.config
        trained = [v.value for v in network.trainable_variables]
        kernels = [v.value for v in network.kernels()]
        velocities = [tf.Variable(tf.zeros_like(v), trainable=False) for v in trained]
        rate, keep = float(config["rate"]), float(config["momentum"])
        decay = float(config["weight_decay"])

        def step(images, labels, key):
            images = self._augment(images, key)
            with tf.GradientTape() as tape:
                logits = network({"image": images}, training=True)["logits"]
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                )
                penalty = tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
                total = loss + decay * penalty
            gradients = tape.gradient(total, trained)
            for v, velocity, g in zip(trained, velocities, gradients, strict=True):
                velocity.assign(keep * velocity + g)
                v.assign_sub(rate * (g + keep * velocity))
            return loss

        @tf.function(autograph=False)
        def epoch(order, key):
            def body(i, total):
                rows = tf.ensure_shape(order[i], [self._batch])
                loss = step(
                    tf.gather(self._train, rows),
                    tf.gather(self._labels, rows),
                    tf.concat([key, [i]], 0),
                )
                return i + 1, total + loss

            start = (tf.constant(0), tf.constant(0.0))
            _, total = tf.while_loop(
                lambda i, _: i < self._steps, body, start, parallel_iterations=1
            )
            return total / self._steps

        answers = tf.function(
            lambda images: tf.argmax(network({"image": images})["logits"], 1),
            autograph=False,
            reduce_retracing=True,
        )

        def right() -> int:
            count = 0
            for start in range(0, len(self._valid_labels), _EVALUATION_BATCH):
                part = slice(start, start + _EVALUATION_BATCH)
                found = answers(self._valid[part]).numpy()
                count += int((found == self._valid_labels[part]).sum())
            return count

        return epoch, right


CHILDREN = ZophConvChildren
