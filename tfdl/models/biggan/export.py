"""A BigGAN generator as a SavedModel and as a TF Hub module.

The exported network is folded (`fold.py`); statistics that depend on the truncation
stay in the graph and follow the truncation of each request.
"""

from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import errors, exports, model_dir
from tfdl.models.biggan.fold import FoldedGenerator
from tfdl.models.biggan.generator import Generator

# Request sizes of the warm-up.
BATCHES = (1, 4)


class ServingModule(exports.Reusable):
    """The folded generator's constants once, and the signatures.

    Called with a dict, as the modules for TensorFlow 1 were: `z`, `truncation` (one
    number), and `label` (indices) or `y` (weights of the classes, one-hot say).
    """

    def __init__(self, directory: str):
        generator = tfdl.load(directory)
        if not isinstance(generator, Generator):
            raise errors.UserError(
                f"{directory} holds a discriminator: there is nothing to export"
            )
        folded = FoldedGenerator(generator)
        super().__init__(folded)
        self._fields = generator.config
        self._has_embedding = folded.shared is not None
        # By closure: as an attribute the network would be stored a second time.
        self._embed = lambda labels: folded.embed(labels)
        # One function for all signatures: the network is traced and stored once.
        self._run = tf.function(folded.synthesis, reduce_retracing=True)
        z, truncation = self._spec_z(), tf.TensorSpec([], tf.float32)
        labels = tf.TensorSpec([None], tf.int32)
        weights = tf.TensorSpec([None, self._fields.num_classes], tf.float32)
        self.set_call(
            self.images,
            {"z": z, "label": labels, "truncation": truncation},
            {"z": z, "y": weights, "truncation": truncation},
        )

    # --- called as module(inputs) ----------------------------------------------

    def images(self, inputs, training=False):
        """Maps {"z", "label" or "y", "truncation"} to float32 [B, H, W, C]."""
        del training
        labels = inputs["label"] if "label" in inputs else inputs["y"]
        return self._made(inputs["z"], labels, inputs["truncation"])

    # --- signatures ------------------------------------------------------------

    def by_label(self, z, label, truncation):
        """Maps class indices [B] to float pictures in [-1, 1]."""
        return {"image": self._made(z, label, truncation)}

    def by_weights(self, z, y, truncation):
        """Maps one-hot classes, or mixtures of classes, to float pictures."""
        return {"image": self._made(z, y, truncation)}

    def by_embedding(self, z, embedding, truncation):
        """Maps class embeddings, or what lies between them, to float pictures."""
        with tf.control_dependencies([_in_range(truncation)]):
            return {"image": self._images(z, embedding, truncation)}

    def embeddings(self, label):
        """Maps class indices to embeddings."""
        with tf.control_dependencies([self._known(label)]):
            return {"embedding": self._embed(label)}

    def encoded(self, z, label, truncation):
        """Maps class indices to PNG files."""
        return {"image_bytes": _png(pixels(self._made(z, label, truncation)))}

    def uint8(self, z, label, truncation):
        """Maps class indices to uint8 pictures."""
        return {"pixels": pixels(self._made(z, label, truncation))}

    def random(self, seed, label, truncation):
        """Draws z from each seed, and gives PNG files and what was drawn."""
        size = self._fields.dim_z

        def draw(number):
            both = tf.stack([number, tf.zeros_like(number)])
            return tf.random.stateless_truncated_normal([size], both)

        z = tf.map_fn(draw, seed, fn_output_signature=tf.TensorSpec([size], tf.float32))
        z *= truncation[:, None]
        made = self._made(z, label, truncation)
        return {"image_bytes": _png(pixels(made)), "z": z}

    def _made(self, z, labels, truncation):
        checks = [_in_range(truncation)]
        if labels.dtype.is_integer:
            checks.append(self._known(labels))
        with tf.control_dependencies(checks):
            embedding = self._embed(tf.identity(labels))
        return self._images(z, embedding, truncation)

    def _images(self, z, embedding, truncation):
        return self._run(z, embedding, tf.reshape(truncation, [-1]))

    def _known(self, labels):
        count = self._fields.num_classes
        inside = tf.reduce_all((labels >= 0) & (labels < count))
        message = f"label has to be a class: 0 to {count - 1}"
        return tf.debugging.assert_equal(inside, True, message)

    def _spec_z(self):
        return tf.TensorSpec([None, self._fields.dim_z], tf.float32, name="z")

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by name."""
        fields, z = self._fields, self._spec_z()
        label = tf.TensorSpec([None], tf.int32, name="label")
        weights = tf.TensorSpec([None, fields.num_classes], tf.float32, name="y")
        truncation = tf.TensorSpec([None], tf.float32, name="truncation")
        seed = tf.TensorSpec([None], tf.int64, name="seed")

        def trace(function, **spec):
            return tf.function(function).get_concrete_function(**spec)

        plain = {"z": z, "label": label, "truncation": truncation}
        found = {
            "serving_default": trace(self.by_label, **plain),
            "one_hot": trace(self.by_weights, z=z, y=weights, truncation=truncation),
            "uint8": trace(self.uint8, **plain),
            "png": trace(self.encoded, **plain),
            "random": trace(self.random, seed=seed, label=label, truncation=truncation),
        }
        if self._has_embedding:
            embedding = tf.TensorSpec(
                [None, fields.shared_dim], tf.float32, name="embedding"
            )
            found["embed"] = trace(self.embeddings, label=label)
            found["embedding"] = trace(
                self.by_embedding, z=z, embedding=embedding, truncation=truncation
            )
        return found


def pixels(images: tf.Tensor) -> tf.Tensor:
    """Maps pictures in [-1, 1] to uint8, 256 equal steps (as the public ports do)."""
    return tf.cast(tf.clip_by_value(images * 128.0 + 128.0, 0.0, 255.0), tf.uint8)


def serving_module(directory: str) -> tuple[ServingModule, dict[str, Any]]:
    """Returns (module, signatures) of a model directory.

    `serving_default` takes z, class indices and truncations, `one_hot` weights of the
    classes, `embedding` class embeddings (which `embed` gives); all of them give
    float pictures. `uint8` and `png` are the first with other outputs; `random` draws
    z itself.
    """
    module = ServingModule(str(directory))
    return module, module.signatures()


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns requests for every signature: one picture, and a small batch."""
    config = model_dir.read_config(directory)["generator"]
    classes, random = config["num_classes"], np.random.default_rng(0)
    result = []
    for count in BATCHES:
        z = random.normal(size=[count, config["dim_z"]]).astype(np.float32)
        label = random.integers(0, classes, count, dtype=np.int32)
        truncation = np.linspace(0.5, 1.0, count, dtype=np.float32)
        plain = {"z": 0.5 * z, "label": label, "truncation": truncation}
        asked = {
            "serving_default": plain,
            "uint8": plain,
            "png": plain,
            "one_hot": {
                "z": z,
                "y": np.eye(classes, dtype=np.float32)[label],
                "truncation": truncation,
            },
            "random": {
                "seed": np.arange(count, dtype=np.int64),
                "label": label,
                "truncation": truncation,
            },
        }
        if config["shared_dim"]:
            size = [count, config["shared_dim"]]
            asked["embed"] = {"label": label}
            asked["embedding"] = {
                "z": z,
                "embedding": random.normal(size=size).astype(np.float32),
                "truncation": truncation,
            }
        result += [exports.WarmUp(inputs, name) for name, inputs in asked.items()]
    return result


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the module says."""
    config = model_dir.read_config(directory)
    fields, size = config["generator"], config["resolution"]
    classes, deep = fields["num_classes"], fields["kind"] == "deep"
    statistics = (
        "normalisation's statistics follow it"
        if fields["statistics"] == "table"
        else "one set of statistics serves all of them"
    )
    return exports.Card(
        summary=f"{'BigGAN-deep' if deep else 'BigGAN'} that makes {size}x{size} "
        f"pictures of {classes} classes.",
        task="image-generator",
        inputs={
            "z": f"float32 [B, {fields['dim_z']}], the truncation times numbers from "
            "N(0, 1) within +-2",
            "label": "int32 [B], classes; or instead",
            "y": f"float32 [B, {classes}], one-hot classes or mixtures",
            "truncation": f"float32 [], in (0, 1]; {statistics}",
        },
        outputs={
            "": f"float32 [B, {size}, {size}, {fields['image_channels']}] in [-1, 1]"
        },
        usage=_USAGE.format(
            dim=fields["dim_z"], size=size, channels=fields["image_channels"]
        ),
        architecture="biggan-deep" if deep else "biggan",
        dataset="imagenet-2012" if classes == 1000 else "",
        fine_tunable=False,
    )


_USAGE = """\
truncation = 0.5
z = truncation * tf.random.truncated_normal([4, {dim}])
inputs = {{"z": z, "label": tf.constant([0, 1, 2, 3]), "truncation": truncation}}
images = module(inputs)  # [4, {size}, {size}, {channels}]
pixels = tf.cast(tf.clip_by_value(images * 128 + 128, 0, 255), tf.uint8)"""


def _png(images: tf.Tensor) -> tf.Tensor:
    spec = tf.TensorSpec([], tf.string)
    return tf.map_fn(tf.io.encode_png, images, fn_output_signature=spec)


def _in_range(truncation: tf.Tensor):
    inside = tf.reduce_all((truncation > 0) & (truncation <= 1))
    message = "truncation has to be above 0 and at most 1"
    return tf.debugging.assert_equal(inside, True, message)
