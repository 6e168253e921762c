"""Learning from pictures without labels: by how much is a picture turned?

RotNet (Gidaris, Singh, Komodakis 2018, arXiv 1803.07728): every picture is shown in its
four rotations, and the network tells which is which. What it has learned is measured by
a linear classifier on its frozen features.
"""

import tensorflow as tf

from tfdl.classifiers import losses
from tfdl.classifiers.preprocessing import normalise
from tfdl.engine import errors
from tfdl.models.imagenet18.task import ImagenetTask

ROTATIONS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")


class RotationTask(ImagenetTask):
    """Tells the four rotations of a picture apart; its label is not looked at."""

    def num_classes(self) -> int:
        """Returns four."""
        return len(ROTATIONS)

    def saved_classes(self, saved):
        """Returns nothing: the pictures may be of any classes."""
        return ()

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean loss over pictures and rotations."""
        logits, labels, weight = self._turned(model, batch, training)
        soft = losses.targets(labels, len(ROTATIONS), self.config.label_smoothing)
        each = losses.softmax(logits, soft) * weight
        right = tf.reduce_sum(losses.correct(logits, labels, 1) * weight)
        share = tf.reduce_sum(each) / (len(ROTATIONS) * denominators["examples"])
        return share, {"accuracy": (right, tf.reduce_sum(weight))}

    def _rows(self, model, batch):
        logits, labels, weight = self._turned(model, batch, False)
        soft = losses.targets(labels, len(ROTATIONS))
        ones = tf.ones_like(weight)
        columns = (
            losses.correct(logits, labels, 1),
            ones,
            losses.softmax(logits, soft),
        )
        rows = tf.stack([*columns, ones], axis=1) * weight[:, None]
        # A picture counts once, with the mean of its rotations.
        return tf.reduce_mean(tf.reshape(rows, [-1, len(ROTATIONS), 4]), axis=1)

    def _turned(self, model, batch, training):
        """Returns logits [4B, 4], labels and weights [4B]; rotations side by side."""
        images = normalise(batch["image"], self.preprocessing)
        turned = tf.stack([tf.image.rot90(images, k) for k in range(4)], axis=1)
        shape = tf.shape(images)
        turned = tf.reshape(turned, [-1, shape[1], shape[2], 3])
        logits = model({"image": turned}, training=training)["logits"]
        labels = tf.tile(tf.range(len(ROTATIONS)), shape[:1])
        return logits, labels, tf.repeat(batch["weight"], len(ROTATIONS))

    def _check_choices(self) -> None:
        super()._check_choices()
        if self.mixing.active:
            raise errors.UserError("mixup and cutmix do not go with rotations")

    def measure(self, learner):
        """Returns the rotations told right, in percent, and the loss."""
        metrics = super().measure(learner)
        return {
            "rotation_accuracy": metrics["top1"],
            "loss": metrics["loss"],
            "images": metrics["images"],
        }

    def rows(self, before=float("inf")):
        """Returns nothing: DAWNBench has no rows about rotations."""
        return []

    def samples(self, learner, step):
        """Returns nothing: a label is no rotation."""
        return {}

    def _log(self, learner, metrics) -> None:
        pass

    def finished(self, metrics) -> bool:
        """Returns False: the target is one of classification."""
        return False

    def score(self, metrics) -> float:
        """Returns the rotations told right."""
        return metrics["rotation_accuracy"]

    def model_config(self):
        """Returns `config.json` of the model directory."""
        return {**super().model_config(), "task": "rotation"}

    def assets(self):
        """Returns the rotations as the classes' names."""
        return {"classes.txt": "\n".join(ROTATIONS) + "\n"}


class LinearProbeTask(ImagenetTask):
    """A linear classifier on the frozen features of a network."""

    def trainable(self, name: str) -> bool:
        """Trains the classifier alone."""
        return name.startswith("fc.")

    def loss(self, model, batch, denominators, training=True):
        """Returns the loss of the frozen network, moving statistics included."""
        return super().loss(model, batch, denominators, training=False)
