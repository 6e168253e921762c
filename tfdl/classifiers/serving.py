"""A classifier of pictures as a SavedModel, and as TF Hub modules.

Normalisation travels inside: clients send bytes or pixels from 0 to 255, callers of a
hub module pictures in [0, 1].
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

import tfdl
from tfdl.classifiers import preprocessing, serving_graph
from tfdl.data import class_names as classes
from tfdl.engine import exports, model_dir

TOP = 5
UNIT_PICTURES = "float32 [B, H, W, 3], RGB in [0, 1]; any size, best at {size}"


class ServingModule(exports.Reusable):
    """The network's variables once, the classes' names, and the signatures.

    Args:
        directory: a model directory, whose network has `vectors(images, training)`
            and `body()`: the layers that these need.
        features: called, it gives feature vectors instead of logits.
    """

    def __init__(self, directory: str, features: bool = False):
        config = model_dir.read_config(directory)
        model = tfdl.load(directory)
        super().__init__(*(model.body() if features else [model]))
        # By closure: as an attribute the model would be stored a second time.
        self._run = lambda images, training: model(
            {"image": images}, training=training
        )["logits"]
        self._vectors = lambda images, training: model.vectors(images, training)
        self._values = preprocessing.check(config["preprocessing"])
        self._size, self._resize = config["test_size"], config["resize"]
        labels = labels_of(directory, config)
        self.names = tf.constant([label.name for label in labels])
        self.set_call(
            self.vectors if features else self.logits,
            tf.TensorSpec([None, None, None, 3], tf.float32),
        )

    # --- called as module(images) ----------------------------------------------

    def logits(self, images, training=False):
        """Maps pictures in [0, 1] to logits [B, C]."""
        x = serving_graph.from_unit(images, self._values)
        return self._run(x, training)

    def vectors(self, images, training=False):
        """Maps pictures in [0, 1] to feature vectors [B, F]."""
        x = serving_graph.from_unit(images, self._values)
        return self._vectors(x, training)

    # --- signatures ------------------------------------------------------------

    def classify_bytes(self, image_bytes):
        """Maps encoded pictures [B] to the likeliest classes."""
        return self._best(self._run(self._prepared(image_bytes), False))

    def classify_pixels(self, images):
        """Maps uint8 [B, H, W, 3] to the likeliest classes and all logits."""
        logits = self._run(preprocessing.normalise(images, self._values), False)
        return {**self._best(logits), "logits": logits}

    def features_of_bytes(self, image_bytes):
        """Maps encoded pictures [B] to feature vectors [B, F]."""
        return {"features": self._vectors(self._prepared(image_bytes), False)}

    def features_of_pixels(self, images):
        """Maps uint8 [B, H, W, 3] to feature vectors [B, F]."""
        x = preprocessing.normalise(images, self._values)
        return {"features": self._vectors(x, False)}

    def _prepared(self, image_bytes):
        pixels = serving_graph.prepared(
            image_bytes, self._size, self._resize, self._values["interpolation"]
        )
        return preprocessing.normalise(pixels, self._values)

    def _best(self, logits):
        count = min(TOP, self.names.shape[0])
        best = tf.math.top_k(tf.nn.softmax(logits), count)
        return {
            "classes": tf.gather(self.names, best.indices),
            "probabilities": best.values,
            "indices": best.indices,
        }

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by name."""
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")

        def trace(function, **spec):
            return tf.function(function).get_concrete_function(**spec)

        return {
            "serving_default": trace(self.classify_bytes, image_bytes=encoded),
            "pixels": trace(self.classify_pixels, images=pixels),
            "features": trace(self.features_of_bytes, image_bytes=encoded),
            "pixel_features": trace(self.features_of_pixels, images=pixels),
        }


def labels_of(directory: str, config: dict[str, Any]) -> tuple[classes.ClassName, ...]:
    """Returns the names of a model directory's classes, numbered ones without any."""
    if not config.get("classes"):
        return classes.numbered(config["network"]["num_classes"])
    return classes.named(classes.read(model_dir.asset(directory, config["classes"])))


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns requests for every signature: one picture, and a small batch."""
    size = model_dir.read_config(directory)["test_size"]
    random = np.random.default_rng(0)
    result = []
    for count in (1, 4):
        pixels = random.integers(0, 256, [count, size, size, 3], dtype=np.uint8)
        encoded = []
        for i, picture in enumerate(pixels):
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG" if i % 2 else "JPEG")
            encoded.append(file.getvalue())
        for name in ("serving_default", "features"):
            result.append(exports.WarmUp({"image_bytes": encoded}, name))
        for name in ("pixels", "pixel_features"):
            result.append(exports.WarmUp({"images": pixels}, name))
    return result


def hub_modules(
    directory: str, kind: str, width: int, architecture: str
) -> dict[str, exports.Module]:
    """Returns the classifier and the feature vectors, each a module.

    Args:
        directory: the model directory.
        kind: what the network is, e.g. "a ResNet".
        width: numbers in a feature vector.
        architecture: TF Hub's tag.
    """
    config = model_dir.read_config(directory)
    module = ServingModule(str(directory))
    vectors = ServingModule(str(directory), features=True)
    described = exports.Card(
        summary=f"Feature vectors of pictures, {width} numbers each, from {kind}.",
        task="image-feature-vector",
        inputs=_inputs(config),
        outputs={"": f"float32 [B, {width}], the mean over the last stage"},
        usage=_usage(config, "vectors", width),
        architecture=architecture,
        dataset=_dataset(config),
    )
    return {
        "": exports.Module(
            module, card(directory, kind, architecture), module.signatures()
        ),
        "feature-vector": exports.Module(vectors, described),
    }


def card(directory: str, kind: str, architecture: str) -> exports.Card:
    """Returns what the documentation of the classifier says, see `hub_modules`."""
    config = model_dir.read_config(directory)
    count = config["network"]["num_classes"]
    what = f"{kind[0].upper()}{kind[1:]}"
    return exports.Card(
        summary=f"{what} that tells {count} classes of pictures apart.",
        task="image-classification",
        inputs=_inputs(config),
        outputs={"": f"float32 [B, {count}], logits"},
        usage=_usage(config, "logits", count),
        architecture=architecture,
        dataset=_dataset(config),
    )


def _inputs(config: Mapping[str, Any]) -> dict[str, str]:
    size = config["test_size"]
    return {"": UNIT_PICTURES.format(size=f"{size}x{size}")}


def _dataset(config: Mapping[str, Any]) -> str:
    return "imagenet-2012" if config["network"]["num_classes"] == 1000 else ""


def _usage(config: Mapping[str, Any], what: str, width: int) -> str:
    size = config["test_size"]
    return f"""\
picture = tf.io.decode_image(tf.io.read_file("picture.jpg"), 3)
picture = tf.image.resize(picture / 255, [{size}, {size}], antialias=True)
{what} = module(picture[None])  # [1, {width}]"""
