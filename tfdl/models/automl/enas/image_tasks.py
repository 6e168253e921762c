"""The tasks `enas_micro` and `enas_macro`: image networks with shared weights."""

from typing import Any

import tensorflow as tf

from tfdl.engine import errors, options
from tfdl.models.automl import image_data
from tfdl.models.automl.enas import images
from tfdl.models.automl.enas.controller import number_of as whole
from tfdl.models.automl.enas.controllers import MacroController, MicroController
from tfdl.models.automl.enas.shared_macro import SharedMacro
from tfdl.models.automl.enas.shared_micro import SharedMicro
from tfdl.models.automl.enas.steps import Steps
from tfdl.models.automl.enas.task import EnasTask
from tfdl.models.automl.search.task import plain

AUX_WEIGHT = 0.4
_FAVOURED = ("sep_3x3", "sep_5x5")


class EnasImageTask(EnasTask):
    """What both spaces of image networks have in common."""

    def prepare(self) -> None:
        """Reads the images; those that judge are held out of the training images."""
        super().prepare()
        config = self.config
        whole("batch_size", config.batch_size, 1)
        self.images = image_data.load(
            config.data, config.size, config.valid, config.train, config.split_seed
        )
        mean, std = image_data.normalisation(self.images.train)
        self.batches = images.Batches(
            self.images, mean, std, config.batch_size, config.augment, config.seed
        )

    def network_options(self) -> dict[str, Any]:
        """Returns the network's options, and the number of classes."""
        return {**plain(self.config.network), "classes": len(self.images.classes)}

    def create_steps(self) -> Steps:
        """Returns epochs of equal length."""
        config = self.config
        shared = -(-len(self.images.train) // config.batch_size)
        judged = config.controller_steps * config.aggregate
        return Steps.of([shared] * config.epochs, judged)

    def train_data(self, phase, start_step, shard):
        """Returns training and validation batches, as the steps need them."""
        del phase, shard
        return self.batches.dataset(self.steps, start_step)

    def networks(self):
        """Also compiles what measures an architecture."""
        networks = super().networks()
        self._on_batch, self._from_image = images.measures(self.network, self.batches)
        return networks

    def child_loss(self, batch, arc, seed):
        """Returns the cross-entropy, with the auxiliary head's, and the accuracy."""
        inputs = {"image": batch["image"], "arc": arc}
        outputs = self.network(inputs, training=True, seed=seed)
        loss = _cross_entropy(batch["label"], outputs["logits"])
        total = loss
        if "aux_logits" in outputs:
            total += AUX_WEIGHT * _cross_entropy(batch["label"], outputs["aux_logits"])
        accuracy = tf.reduce_mean(images.hits(outputs["logits"], batch["label"]))
        return total, loss, accuracy

    def reward(self, batch, arc):
        """Returns the accuracy on a validation batch."""
        logits = self.network({"image": batch["image"], "arc": arc})["logits"]
        accuracy = tf.reduce_mean(images.hits(logits, batch["label"]))
        loss = _cross_entropy(batch["label"], logits)
        # Where nothing is told apart, argmax means nothing.
        return tf.where(tf.math.is_finite(loss), accuracy, 0.0), loss

    def look(self, arcs, number):
        """Returns accuracies on validation batches."""
        first = number * 1000
        return [
            float(self._on_batch(arc, tf.constant(first + i, tf.int64)))
            for i, arc in enumerate(arcs)
        ]

    def full(self, arc):
        """Returns the accuracy on all validation images."""
        right = count = 0.0
        for start in range(0, self.batches.validation_images, self.config.batch_size):
            hits, images = self._from_image(arc, tf.constant(start, tf.int64))
            right, count = right + float(hits), count + float(images)
        return right / count


class EnasMicroTask(EnasImageTask):
    """Searches a pair of cells."""

    def create_network(self):
        """Returns the network of all pairs of cells."""
        config, given = self.config, self.network_options()
        if given.pop("aux_head", False):
            given["aux_size"] = config.size
        return options.construct(
            "network",
            {"enas_micro": SharedMicro},
            {"name": "enas_micro", **given},
            blocks=self.space.blocks,
            ops=self.space.ops,
        )

    def create_controller(self):
        """Returns the controller of pairs of cells."""
        ops = self.space.ops
        favoured = sum(op in _FAVOURED for op in ops)
        if set(ops[:favoured]) - set(_FAVOURED):
            raise errors.UserError(
                "space.ops: the separable convolutions have to come first, got "
                f"{', '.join(ops)}"
            )
        return options.construct(
            "controller",
            {"enas_micro": MicroController},
            {"name": "enas_micro", **plain(self.config.controller)},
            blocks=self.space.blocks,
            operations=len(ops),
            favoured=favoured,
        )


class EnasMacroTask(EnasImageTask):
    """Searches a whole network."""

    def create_network(self):
        """Returns the network of all networks."""
        return options.construct(
            "network",
            {"enas_macro": SharedMacro},
            {"name": "enas_macro", **self.network_options()},
            layers=self.space.layers,
            ops=self.space.ops,
        )

    def create_controller(self):
        """Returns the controller of networks."""
        return options.construct(
            "controller",
            {"enas_macro": MacroController},
            {"name": "enas_macro", **plain(self.config.controller)},
            layers=self.space.layers,
            operations=len(self.space.ops),
        )


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )
