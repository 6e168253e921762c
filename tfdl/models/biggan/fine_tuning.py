"""Going on from a trained model, with the same classes or with new ones."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfdl
from tfdl.data import class_names
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors, model_dir
from tfdl.engine.learner import Learner
from tfdl.models.biggan import measuring, standing
from tfdl.models.biggan import model as networks
from tfdl.models.biggan.iteration import to_float
from tfdl.models.biggan.names import named_variables

# How a new class starts: as the mean of the old ones, as the old one that the
# discriminator sees in its pictures, or at random.
STARTS = ("mean", "nearest", "random")
_PICTURES = 32  # of a class, that the discriminator looks at


def require_generator(saved: dict[str, Any], source: str) -> None:
    """Raises `UserError` unless a configuration is that of a BigGAN's generator."""
    if saved["model"] != "biggan":
        raise errors.UserError(f"{source} holds a {saved['model']}, no biggan")
    if not saved.get("generator"):
        raise errors.UserError(f"{source} holds a discriminator only, no generator")


def architecture(source: str) -> dict[str, Any]:
    """Returns the configurations of the networks in a model directory."""
    saved = model_dir.read_config(source)
    require_generator(saved, source)
    found = {"generator": dict(saved["generator"])}
    if saved.get("discriminator"):
        found["discriminator"] = dict(saved["discriminator"])
    return found


def is_table(name: str, variable: Any, classes: int) -> bool:
    """Tells whether a weight has a row per class."""
    part = name.rsplit(".", 2)[-2:]
    table = part[0] in ("shared", "embed", "gain", "bias") and part[1] == "weight"
    return table and len(variable.shape) == 2 and variable.shape[0] == classes


def initialise(
    learner: Learner, source: str, options: Any, data: ImageSource, size: int
) -> list[str]:
    """Fills both networks from a model directory; returns what stays random.

    Args:
        learner: with the networks.
        source: the model directory.
        options: `start`, one of `STARTS`; `like`: pairs "new=old" of class names,
            which come first.
        data: the new pictures.
        size: their side.
    """
    if options.start not in STARTS:
        raise errors.unknown("fine_tuning.start", options.start, STARTS)
    saved = model_dir.read_config(source)
    require_generator(saved, source)
    generator = networks.load_training_generator(source) or tfdl.load(source)
    generator = standing.plain_copy(generator)
    discriminator = networks.load_discriminator(source)
    old = _names(source, saved, generator.config.num_classes)
    rows = None
    if list(old) != list(data.classes) or (
        generator.config.num_classes != learner.networks["generator"].config.num_classes
    ):
        rows = _Rows(options, old, data, discriminator, size)
    fresh = _fill(generator, learner.networks["generator"], rows, source)
    if discriminator is None:
        fresh.append("the discriminator")
    else:
        fresh += _fill(discriminator, learner.networks["discriminator"], rows, source)
    return fresh


class _Rows:
    """Which old rows a new class's row is made of."""

    def __init__(self, options, old: Sequence[str], data, discriminator, size: int):
        self.start = options.start
        self.like = _pairs(options.like, old, data.classes)
        self.nearest: dict[int, int] = {}
        if self.start == "nearest":
            if discriminator is None or not discriminator.config.projection:
                raise errors.UserError(
                    "fine_tuning.start=nearest needs the model's discriminator; use "
                    "mean, or name old classes in fine_tuning.like"
                )
            self.nearest = _nearest(discriminator, data, size)

    def table(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Returns a table of the new classes; `new` holds its random start."""
        result = new.copy()
        for label in range(len(new)):
            row = self.like.get(label, self.nearest.get(label))
            if row is not None:
                result[label] = old[row]
            elif self.start != "random":
                result[label] = old.mean(axis=0)
        return result


def _fill(source, target, rows: _Rows | None, where: str) -> list[str]:
    given, fresh = named_variables(source), []
    classes = target.config.num_classes
    for name, variable in named_variables(target).items():
        value = given.get(name)
        table = rows is not None and is_table(name, variable, classes)
        if table and value is not None and value.shape[1] == variable.shape[1]:
            variable.assign(rows.table(value.numpy(), variable.numpy()))
        elif value is not None and value.shape == variable.shape:
            variable.assign(value.numpy())
        elif not variable.trainable and name.endswith((".u", ".sv", ".v")):
            # Of a table of other classes: the power iteration finds it again.
            fresh.append(name)
        else:
            raise errors.UserError(f"{where} has no {name} of shape {variable.shape}")
    return [name for name in fresh if not name.endswith(".sv")]


def _names(source: str, saved: dict[str, Any], classes: int) -> list[str]:
    name = saved.get("classes")
    if name:
        found = class_names.read(model_dir.asset(source, name))
        return [label.wnid or label.name for label in found]
    return [label.name for label in class_names.numbered(classes)]


def _pairs(pairs: Sequence[str], old: Sequence[str], new: Sequence[str]):
    found = {}
    for pair in pairs:
        left, equals, right = pair.partition("=")
        if not equals:
            raise errors.UserError(f"fine_tuning.like: {pair!r} is not NEW=OLD")
        if left not in new:
            raise errors.unknown("new class", left, new)
        if right not in old:
            raise errors.unknown("old class", right, old)
        found[list(new).index(left)] = list(old).index(right)
    return found


def _nearest(
    discriminator: keras.Model, data: ImageSource, size: int
) -> dict[int, int]:
    """Returns the old class that suits each new class's pictures best.

    Every old class is tried on some pictures: what the discriminator adds for a class
    is the product of its row and the pictures' features, so that the class of the
    largest sum is the one its row points to.
    """
    channels = discriminator.config.image_channels
    classes = discriminator.config.num_classes
    pictures = measuring.RealPictures(data, size, channels, len(data))

    @tf.function(reduce_retracing=True)
    def logits(image, label):
        return discriminator({"image": image, "label": label})["logits"]

    result = {}
    for new in np.unique(data.labels):
        own = np.flatnonzero(data.labels == new)[:_PICTURES]
        images = np.concatenate([pictures[i : i + 1] for i in own])
        batch = to_float(tf.constant(images), channels)
        sums = [
            float(tf.reduce_sum(logits(batch, tf.fill([len(batch)], old))))
            for old in range(classes)
        ]
        result[int(new)] = int(np.argmax(sums))
    return result
