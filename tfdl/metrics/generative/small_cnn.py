"""A small network that learns its features from the very pictures that are measured.

It needs no download: what it says is good for comparing generators of one data set, and
comparable with nothing else. Classes are the data's own, or, without labels, by how
many quarter turns a picture was turned (Gidaris et al. 2018).
"""

import hashlib
import io
import os
import pathlib

import numpy as np
import tensorflow as tf

from tfdl.checkpoints import npy
from tfdl.data import fetching
from tfdl.engine import errors, files

WIDTH = 64
_CHANNELS = (16, 32, 64, WIDTH)
_VERSION = 1
_TURNS = 4
_SIDES = (16, 32, 64)
_CHUNK = 256
_BATCH, _EPOCHS, _RATE = 64, 15, 2e-3
_LEAST_STEPS, _MOST_STEPS = 200, 1500


class SmallCNN:
    """Four convolutions, the mean over space, one layer of classes.

    Args:
        weights: name -> array, as `train` returns them.
    """

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = {k: tf.constant(v, tf.float32) for k, v in weights.items()}
        self.side = int(weights["side"])
        digest = hashlib.sha256()
        for name in sorted(weights):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weights[name]).tobytes())
        self.sha256 = digest.hexdigest()

    def stages(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the feature maps of pictures [N, H, W, C] in [-1, 1]."""
        return _stages(self.weights, _fit(images, self.side))

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns features [N, 64] and class probabilities [N, classes]."""
        return _head(self.weights, self.stages(images)[-1])


def trained(
    images: np.ndarray, labels: np.ndarray | None = None, cache: bool = True
) -> SmallCNN:
    """Returns the network of a set of pictures; it is trained once and kept.

    Args:
        images: uint8 [N, H, W, C]; what is sliced like such an array will do.
        labels: [N]; None learns how far pictures are turned.
        cache: keep it in ~/.cache/tfdl/extractors, by the pictures' checksum.
    """
    images = _small(images)
    path = cache_folder() / f"smallcnn-{_checksum(images, labels)}.npz"
    if cache and path.is_file():
        try:
            return SmallCNN(npy.read_npz(path))
        except (errors.UserError, KeyError):
            path.unlink(missing_ok=True)  # damaged: it is made again
    weights = train(images, labels)
    if cache:
        buffer = io.BytesIO()
        np.savez(buffer, **weights)
        files.atomic_write(path, buffer.getvalue())
    return SmallCNN(weights)


def cache_folder() -> pathlib.Path:
    """Returns where trained networks and moments of data are kept."""
    return fetching.cache_folder().parent / "extractors"


def train(
    images: np.ndarray, labels: np.ndarray | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns the weights of a network trained with Adam on a set of pictures."""
    side = next((side for side in _SIDES if side >= images.shape[1]), _SIDES[-1])
    classes = _TURNS if labels is None else int(labels.max()) + 1
    draws = np.random.RandomState(seed)
    variables = {
        name: tf.Variable(value)
        for name, value in _initial(images.shape[-1], classes, draws).items()
    }
    names = list(variables)
    moments = [
        [tf.Variable(tf.zeros_like(v)) for v in variables.values()] for _ in range(2)
    ]
    count = len(images)
    steps = int(np.clip(count * _EPOCHS // _BATCH, _LEAST_STEPS, _MOST_STEPS))

    @tf.function
    def step(batch, classes_of, rate, number):
        x = _fit(tf.cast(batch, tf.float32) / 127.5 - 1, side)
        with tf.GradientTape() as tape:
            logits = _logits(variables, _stages(variables, x)[-1])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes_of, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [variables[name] for name in names])
        for name, g, m, v in zip(names, gradients, *moments, strict=True):
            m.assign(0.9 * m + 0.1 * g)
            v.assign(0.999 * v + 0.001 * g * g)
            mean = m / (1 - 0.9**number)
            spread = v / (1 - 0.999**number)
            variables[name].assign_sub(rate * mean / (tf.sqrt(spread) + 1e-8))
        return loss

    for i in range(steps):
        which = draws.choice(count, min(_BATCH, count), replace=False)
        batch = images[which]
        if labels is None:
            found = draws.randint(_TURNS, size=len(which))
            batch = np.stack(
                [np.rot90(x, k) for x, k in zip(batch, found, strict=True)]
            )
        else:
            found = labels[which]
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * i / steps))
        step(
            tf.constant(batch),
            tf.constant(found, tf.int32),
            tf.constant(rate, tf.float32),
            tf.constant(i + 1.0),
        )
    weights = {name: value.numpy() for name, value in variables.items()}
    return {**weights, "side": np.array(side)}


def untrained(channels: int, side: int = 32) -> dict[str, np.ndarray]:
    """Returns weights that are random, and always the same."""
    draws = np.random.RandomState(0)
    return {**_initial(channels, _TURNS, draws), "side": np.array(side)}


def _initial(channels: int, classes: int, draws) -> dict[str, np.ndarray]:
    arrays, last = {}, channels
    for i, width in enumerate(_CHANNELS):
        scale = np.sqrt(2 / (9 * last))
        kernel = draws.normal(size=[3, 3, last, width]) * scale
        arrays[f"kernel{i}"] = kernel.astype(np.float32)
        arrays[f"bias{i}"] = np.zeros([width], np.float32)
        last = width
    head = draws.normal(size=[last, classes]) / np.sqrt(last)
    arrays["head"] = head.astype(np.float32)
    arrays["head_bias"] = np.zeros([classes], np.float32)
    return arrays


def _stages(weights, x: tf.Tensor) -> list[tf.Tensor]:
    maps = []
    for i in range(len(_CHANNELS)):
        x = tf.nn.conv2d(x, weights[f"kernel{i}"], 1, "SAME") + weights[f"bias{i}"]
        x = tf.maximum(x, 0.1 * x)
        maps.append(x)
        if i + 1 < len(_CHANNELS):
            x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
    return maps


def _pooled(last: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(last, [1, 2])


def _logits(weights, last: tf.Tensor) -> tf.Tensor:
    return _pooled(last) @ weights["head"] + weights["head_bias"]


def _head(weights, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _pooled(last), tf.nn.softmax(_logits(weights, last))


def _fit(x: tf.Tensor, side: int) -> tf.Tensor:
    """Returns pictures of the network's size; smaller ones are averages of boxes."""
    height, width = x.shape[1:3]
    if (height, width) == (side, side):
        return x
    if height % side == 0 and height == width:
        return tf.nn.avg_pool2d(x, height // side, height // side, "VALID")
    return tf.image.resize(x, [side, side], antialias=True)


def _small(images: np.ndarray) -> np.ndarray:
    """Returns pictures of at most 64x64 as an array, whatever is sliced."""
    size, most = images.shape[1], _SIDES[-1]
    if size <= most:
        return images[:]
    parts = []
    for start in range(0, len(images), _CHUNK):
        part = tf.cast(images[start : start + _CHUNK], tf.float32)
        parts.append(tf.cast(tf.round(_fit(part, most)), tf.uint8).numpy())
    return np.concatenate(parts)


def _checksum(images: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.sha256(f"{_VERSION} {images.shape} {os.name}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    if labels is not None:
        digest.update(np.asarray(labels, np.int32).tobytes())
    return digest.hexdigest()[:32]
