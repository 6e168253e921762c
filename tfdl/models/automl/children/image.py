"""Children that classify pictures: cells trained for a few epochs.

All children of a process share one graph (`cell_graph`), and their pictures are in its
memory. What is random about a child is a function of its seed.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.classifiers.preprocessing import normalise
from tfdl.engine import errors, options
from tfdl.models.automl import image_data, rewards, spaces
from tfdl.models.automl.children import augmentation
from tfdl.models.automl.children.cell_graph import CellGraph, Network, Plan
from tfdl.models.automl.children.child import Children, Report
from tfdl.models.automl.spaces.cells import CellGenotype
from tfdl.models.automl.spaces.space import Architecture

# What a configuration may say, and what it says by default: NASNet's children
# (Zoph et al. 2018: 20 epochs on 45,000 pictures, N = 2, F = 32).
DEFAULTS: Mapping[str, Any] = {
    "name": "image",
    "space": {"name": "nasnet"},
    "data": "cifar10:/data/cifar10",
    "size": 32,
    "valid_examples": 5000,
    "train_examples": 0,  # 0: all the others
    "split_seed": 0,
    "cells": 6,  # normal ones; two reduction cells come on top
    "filters": 32,
    "stem_multiplier": 3,  # filters of the first convolution / filters
    "epochs": 20,
    "batch_size": 32,
    "rate": 0.025,  # falls to 0 by half a cosine, a step at a time
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,  # L2 of the kernels: weight_decay / 2 * |w|^2
    "clip_norm": 5.0,  # of the whole gradient; 0 is off
    "label_smoothing": 0.0,
    "augment": "pad-flip",
    "padding": 4,
    "norm_epsilon": 1e-5,
    "norm_momentum": 0.9,
    "reward": "accuracy",
}
_EVALUATION_BATCH = 200


class ImageChildren(Children):
    """Scores cells on pictures, see `DEFAULTS`.

    A result has `"valid_accuracy"` (the last epoch's), `"valid_accuracies"` and
    `"train_losses"` (every epoch's), `"parameters"` and `"seconds"`.
    """

    def __init__(self, config: Mapping[str, Any]):
        given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
        for key in given:
            if key not in DEFAULTS:
                raise errors.unknown("option of children 'image'", key, DEFAULTS)
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
        ops = getattr(self.space, "cell_ops", getattr(self.space, "ops", None))
        if not ops or not hasattr(self.space, "blocks"):
            raise errors.UserError(
                f"children 'image' are made of cells; space {self.space.name!r} has "
                "none"
            )
        images = image_data.load(
            config["data"],
            int(config["size"]),
            int(config["valid_examples"]),
            int(config["train_examples"]),
            int(config["split_seed"]),
        )
        self.graph = CellGraph(
            Plan(
                ops=tuple(ops),
                combine=bool(getattr(self.space, "combine", False)),
                blocks=self.space.blocks,
                cells=int(config["cells"]),
                filters=int(config["filters"]),
                stem_filters=int(config["stem_multiplier"] * config["filters"]),
                size=int(config["size"]),
                num_classes=len(images.classes),
                epsilon=float(config["norm_epsilon"]),
            )
        )
        self._load(images)
        self._epoch_function = tf.function(self._train_epoch, autograph=False)
        self._right_function = tf.function(self._count_right, autograph=False)

    def _load(self, images: image_data.Images) -> None:
        mean, std = image_data.normalisation(images.train)
        preprocessing = {"mode": "torch", "mean": mean, "std": std}
        with tf.device("CPU"):
            self._train = normalise(tf.constant(images.train), preprocessing)
            self._valid = normalise(tf.constant(images.valid), preprocessing)
            self._labels = tf.constant(images.train_labels)
            self._valid_labels = tf.constant(images.valid_labels)
        self._batch = min(int(self.config["batch_size"]), len(images.train))
        self._steps = len(images.train) // self._batch

    def train(self, arch: Architecture, seed: int, report: Report) -> dict[str, Any]:
        """Trains a child; see `Children`."""
        return self.train_genotype(self.space.decode(arch), seed, report)

    def train_genotype(
        self, genotype: CellGenotype, seed: int, report: Report
    ) -> dict[str, Any]:
        """Trains the network of two cells; see `train`."""
        began, config = time.monotonic(), self.config
        network = Network(self.graph, genotype)
        state = [
            tf.constant(network.first_weights(seed)),
            tf.zeros([self.graph.size]),
            tf.constant(network.first_statistics()),
        ]
        fixed = [
            tf.constant(network.active),
            tf.constant(network.decayed),
            tf.constant(network.inputs),
            tf.constant(network.codes),
        ]
        random = np.random.default_rng([seed, 1])
        accuracies, losses = [], []
        diverged = False
        for epoch in range(int(config["epochs"])):
            order = random.permutation(len(self._labels))[: self._steps * self._batch]
            order = order.reshape(self._steps, self._batch).astype(np.int32)
            key = tf.constant([seed % 2**31, epoch], tf.int32)
            *state, loss = self._epoch_function(
                state, fixed, tf.constant(order), tf.constant(epoch), key
            )
            losses.append(float(loss))
            diverged = not math.isfinite(losses[-1])
            if diverged:
                break
            right = self._right_function(state[0], state[2], *fixed[2:])
            accuracies.append(int(right) / len(self._valid_labels))
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
            "parameters": network.parameters,
            "seconds": time.monotonic() - began,
        }
        self.last = (network, state[0], state[2])
        return {**result, "diverged": True} if diverged else result

    def _train_epoch(self, state, fixed, order, epoch, key):
        """Makes an epoch's updates; returns the state and the mean loss."""
        config = self.config
        total = int(config["epochs"]) * self._steps
        active, decayed, inputs, codes = fixed
        keep, epsilon = float(config["norm_momentum"]), 1e-12

        def step(i, weights, velocity, statistics, losses):
            rows = order[i]
            images = tf.gather(self._train, rows)
            images = self._augment(images, tf.concat([key, [i]], 0))
            labels = tf.gather(self._labels, rows)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits, found = self.graph.run((weights, None), images, inputs, codes)
                loss = self._loss(logits, labels)
            gradient = tape.gradient(loss, weights) * active
            decay = float(config["weight_decay"])
            if decay:
                gradient += decay * decayed * weights
            if config["clip_norm"]:
                norm = tf.norm(gradient)
                most = float(config["clip_norm"])
                gradient *= most / tf.maximum(tf.maximum(norm, most), epsilon)
            done = tf.cast(epoch * self._steps + i, tf.float32) / float(total)
            rate = float(config["rate"]) * 0.5 * (1.0 + tf.cos(math.pi * done))
            velocity = float(config["momentum"]) * velocity + gradient
            push = velocity
            if config["nesterov"]:
                push = float(config["momentum"]) * velocity + gradient
            statistics = keep * statistics + (1.0 - keep) * found
            return i + 1, weights - rate * push, velocity, statistics, losses + loss

        _, *state, losses = tf.while_loop(
            lambda i, *_: i < self._steps,
            step,
            (tf.constant(0), *state, tf.constant(0.0)),
            parallel_iterations=1,
        )
        return *state, losses / self._steps

    def _loss(self, logits, labels):
        smoothing = float(self.config["label_smoothing"])
        if not smoothing:
            return tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
        classes = logits.shape[1]
        soft = tf.one_hot(labels, classes, 1.0 - smoothing) + smoothing / classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, logits))

    def _count_right(self, weights, statistics, inputs, codes):
        """Returns how many validation pictures are classified rightly."""
        count = self._valid.shape[0]
        batch = min(_EVALUATION_BATCH, count)
        starts = [min(start, count - batch) for start in range(0, count, batch)]
        firsts = [start for start in range(0, count, batch)]

        def one(i, right):
            start = tf.gather(tf.constant(starts), i)
            images = self._valid[start : start + batch]
            labels = self._valid_labels[start : start + batch]
            images = tf.ensure_shape(images, [batch, *self._valid.shape[1:]])
            logits, _ = self.graph.run((weights, statistics), images, inputs, codes)
            hits = tf.argmax(logits, 1, tf.int32) == labels
            # The last batch reaches back over what the one before it has counted.
            new = tf.range(batch) + start >= tf.gather(tf.constant(firsts), i)
            hits = tf.logical_and(hits, new)
            return i + 1, right + tf.reduce_sum(tf.cast(hits, tf.int32))

        return tf.while_loop(
            lambda i, _: i < len(starts),
            one,
            (tf.constant(0), tf.constant(0)),
            parallel_iterations=1,
        )[1]


CHILDREN = ImageChildren
