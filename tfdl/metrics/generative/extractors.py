"""What turns pictures into features, by name, with a checksum in every result.

open_extractor("smallcnn", images, labels)     trained on these pictures
open_extractor("pixels")                       8x8 averages
open_extractor("random")                       an untrained network, for smoke tests
open_extractor("inception:PATH")               the official one, from its weights
Callable("mine", function)                     any function of uint8 pictures
"""

import dataclasses
import hashlib
import io
from collections.abc import Callable as Function
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdl.checkpoints import npy
from tfdl.engine import errors, files
from tfdl.metrics.generative import small_cnn
from tfdl.metrics.generative.frechet import Moments

FORMS = ("smallcnn", "pixels", "random", "inception:PATH")
_SIDE = 8


class Features(NamedTuple):
    """Of pictures: vectors [N, D], and class probabilities [N, K] or None."""

    vectors: np.ndarray
    probabilities: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A whole set's features.

    Attributes:
        moments: mean and covariance.
        vectors: [N, D].
        probabilities: [N, K] or None.
    """

    moments: Moments
    vectors: np.ndarray
    probabilities: np.ndarray | None

    @property
    def count(self) -> int:
        """How many pictures there were."""
        return self.moments.count

    def joined(self, other: "Measured") -> "Measured":
        """Returns the features of both sets as one."""
        moments = Moments()
        for part in (*_batches(self.vectors, 1024), *_batches(other.vectors, 1024)):
            moments.update(part)
        rows = None
        if self.probabilities is not None and other.probabilities is not None:
            rows = np.concatenate([self.probabilities, other.probabilities])
        return Measured(moments, np.concatenate([self.vectors, other.vectors]), rows)


class Callable:
    """A function of uint8 pictures [N, H, W, C] as an extractor.

    Args:
        name: goes into results and the metrics' names.
        function: returns vectors [N, D], or them and class probabilities [N, K].
        sha256: of its weights.
        official: distances of its features may be called FID, KID, and IS.
    """

    def __init__(
        self,
        name: str,
        function: Function[[np.ndarray], Any],
        sha256: str = "",
        official: bool = False,
    ):
        self.name, self.sha256, self.official = name, sha256, official
        self._function = function

    def __call__(self, images: np.ndarray) -> Features:
        """Returns the features of a batch."""
        if images.dtype != np.uint8:
            raise ValueError(
                f"features are taken of uint8 pictures, not {images.dtype}"
            )
        found = self._function(images)
        if isinstance(found, tuple):
            return Features(np.asarray(found[0]), np.asarray(found[1]))
        return Features(np.asarray(found))

    def metric(self, name: str) -> str:
        """Returns what a metric is called with these features.

        "fid", "kid" and "inception_score" are names of the official features alone;
        with others it is "fcd_smallcnn": the Frechet distance of a classifier's own.
        """
        if self.official:
            return name
        plain = {
            "fid": "fcd",
            "kid": "kernel_distance",
            "inception_score": "class_score",
        }
        return f"{plain.get(name, name)}_{self.name}"

    def describe(self) -> dict[str, Any]:
        """Returns what results have to say of their extractor."""
        return {"extractor": self.name, "extractor_sha256": self.sha256}

    def measure(self, batches: Iterable[np.ndarray]) -> Measured:
        """Returns the features of all pictures of batches."""
        moments, vectors, probabilities = Moments(), [], []
        for batch in batches:
            found = self(batch)
            moments.update(found.vectors)
            vectors.append(found.vectors)
            if found.probabilities is not None:
                probabilities.append(found.probabilities)
        if not vectors:
            raise ValueError("no pictures to measure")
        rows = np.concatenate(probabilities) if probabilities else None
        return Measured(moments, np.concatenate(vectors), rows)

    def reference(self, images: np.ndarray, batch_size: int = 64) -> Measured:
        """Returns the features of a fixed set; kept in the cache by its checksum.

        Args:
            images: uint8 [N, H, W, C], or what is sliced like such an array: only a
                batch is looked at at a time.
            batch_size: pictures at a time.
        """
        if not self.sha256:  # nothing says that the function is the same next time
            return self.measure(_batches(images, batch_size))
        digest = hashlib.sha256(f"{self.name} {self.sha256} {images.shape}".encode())
        for batch in _batches(images, batch_size):
            digest.update(np.ascontiguousarray(batch).tobytes())
        name = f"features-{digest.hexdigest()[:32]}.npz"
        path = small_cnn.cache_folder() / name
        if path.is_file():
            try:
                arrays = npy.read_npz(path)
                rows = arrays["probabilities"]
                return Measured(
                    Moments.load(arrays), arrays["vectors"], rows if rows.size else None
                )
            except (errors.UserError, KeyError):
                path.unlink(missing_ok=True)  # damaged: it is made again
        found = self.measure(_batches(images, batch_size))
        rows = np.zeros([0]) if found.probabilities is None else found.probabilities
        buffer = io.BytesIO()
        np.savez(
            buffer, vectors=found.vectors, probabilities=rows, **found.moments.arrays()
        )
        files.atomic_write(path, buffer.getvalue())
        return found


def open_extractor(
    spec: str, images: np.ndarray | None = None, labels: np.ndarray | None = None
) -> Callable:
    """Returns an extractor by its name.

    Args:
        spec: one of `FORMS`.
        images: the real pictures, uint8 [N, H, W, C], which "smallcnn" learns from.
        labels: their classes [N], or None.

    Raises:
        UserError: an unknown name, or a file that is not what it should be.
    """
    kind, colon, path = spec.partition(":")
    if colon and kind == "inception":
        from tfdl.metrics.generative import inception

        return inception.open_inception(path)
    if spec == "pixels":
        return Callable("pixels", _pixels, _constant_sum("pixels 8x8"))
    if spec == "random":
        return Callable("random", _random(), _constant_sum("random 1"))
    if spec == "smallcnn":
        if images is None:
            raise errors.UserError(
                "smallcnn learns from real pictures: none were given"
            )
        return smallcnn(small_cnn.trained(images, labels))
    raise errors.unknown("extractor", spec, FORMS)


def smallcnn(network: small_cnn.SmallCNN) -> Callable:
    """Returns a trained small network as an extractor."""

    @tf.function(reduce_retracing=True)
    def run(images):
        return network(tf.cast(images, tf.float32) / 127.5 - 1)

    def function(images):
        vectors, probabilities = run(tf.constant(images))
        return vectors.numpy(), probabilities.numpy()

    return Callable("smallcnn", function, network.sha256)


def _pixels(images: np.ndarray) -> np.ndarray:
    count, height, width, channels = images.shape
    if height % _SIDE or width % _SIDE:
        raise ValueError(f"pictures of {height}x{width} cannot be cut into 8x8 boxes")
    boxes = images.reshape(
        count, _SIDE, height // _SIDE, _SIDE, width // _SIDE, channels
    )
    return boxes.mean((2, 4), dtype=np.float32).reshape(count, -1)


def _random() -> Function[[np.ndarray], np.ndarray]:
    networks: dict[int, Callable] = {}

    def function(images):
        channels = images.shape[-1]
        if channels not in networks:
            weights = small_cnn.untrained(channels)
            networks[channels] = smallcnn(small_cnn.SmallCNN(weights))
        return networks[channels](images).vectors

    return function


def _batches(images: np.ndarray, size: int) -> Iterable[np.ndarray]:
    return (images[i : i + size] for i in range(0, len(images), size))


def _constant_sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
