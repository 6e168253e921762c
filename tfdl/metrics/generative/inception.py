"""The Inception network of FID and Inception Score, from its converted weights.

The network is that of `classify_image_graph_def.pb` (2015-12-05). That file is read,
and the PyTorch files of pytorch-fid and torch-fidelity with the same weights
(`pt_inception-2015-12-05-6726825d.pth`). Torchvision's Inception has the same names and
other weights and pools: its files are refused by their number of classes.

Pictures are resized as that graph does, without averaging, so that numbers agree with
published ones (and show what pytorch-fid's other resizing hides or adds).
"""

import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfdl.checkpoints import torch_archive
from tfdl.engine import errors, files
from tfdl.metrics.generative import extractors, inception_graph

NAME = "inception-2015-12-05"
SIDE, CLASSES = 299, 1008
EPSILON = 1e-3


class Inception:
    """The network; widths are those of its arrays.

    Args:
        arrays: PyTorch name -> array, kernels OIHW.
        where: the file, for messages.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str = "arrays"):
        self._kernels: dict[str, tf.Tensor] = {}
        self._biases: dict[str, tf.Tensor] = {}
        names = [n.removesuffix(".conv.weight") for n in arrays if ".conv.weight" in n]
        missing = [name for name in LAYERS if name not in names]
        if missing:
            raise errors.UserError(
                f"{where} is not the Inception of FID: it lacks {missing[0]}"
                + (f" and {len(missing) - 1} more" if missing[1:] else "")
            )
        for name in LAYERS:
            self._fold(name, arrays, where)
        head = _array(arrays, "fc.weight", where)
        self.head = tf.constant(head.T, tf.float32)

    def _fold(self, name: str, arrays, where: str) -> None:
        """Puts a batch norm into its convolution."""
        kernel = _array(arrays, f"{name}.conv.weight", where).astype(np.float64)
        gain, bias, mean, variance = (
            _array(arrays, f"{name}.bn.{part}", where).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + EPSILON)
        folded = kernel.transpose(2, 3, 1, 0) * gain
        self._kernels[name] = tf.constant(folded, tf.float32)
        self._biases[name] = tf.constant(bias - mean * gain, tf.float32)

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Returns pool_3 [N, 2048] of pictures [N, H, W, 3] of 0 to 255."""
        if images.shape[-1] == 1:
            images = tf.repeat(images, 3, -1)
        # As TensorFlow 1 resized: corners of pixels, not their middles, are aligned.
        x = tf.raw_ops.ResizeBilinear(
            images=tf.cast(images, tf.float32),
            size=[SIDE, SIDE],
            align_corners=False,
            half_pixel_centers=False,
        )
        x = (x - 128) / 128
        conv = self._conv
        x = conv("Conv2d_1a_3x3", x, 2, "VALID")
        x = conv("Conv2d_2a_3x3", x, 1, "VALID")
        x = conv("Conv2d_2b_3x3", x)
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = conv("Conv2d_3b_1x1", x)
        x = conv("Conv2d_4a_3x3", x, 1, "VALID")
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self._mixed(name, x, _BRANCHES_35)
        x = self._reduced("Mixed_6a", x, _BRANCHES_6A)
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self._mixed(name, x, _BRANCHES_17)
        x = self._reduced("Mixed_7a", x, _BRANCHES_7A)
        x = self._last("Mixed_7b", x, tf.nn.avg_pool2d)
        # The graph's last block pools by maximum, unlike its twin before it.
        x = self._last("Mixed_7c", x, tf.nn.max_pool2d)
        return tf.reduce_mean(x, [1, 2])

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns features, and the probabilities that Inception Scores are made of.

        The original score leaves the logits' bias out.
        """
        features = self.features(images)
        return features, tf.nn.softmax(features @ self.head)

    def _conv(self, name, x, stride=1, padding="SAME"):
        x = tf.nn.conv2d(x, self._kernels[name], stride, padding) + self._biases[name]
        return tf.nn.relu(x)

    def _chain(self, name, x, parts, last_stride=1):
        for part in parts:
            end = part == parts[-1]
            halves = end and last_stride > 1
            stride, padding = (last_stride, "VALID") if halves else (1, "SAME")
            x = self._conv(f"{name}.{part}", x, stride, padding)
        return x

    def _mixed(self, name, x, branches):
        found = [self._chain(name, x, parts) for parts in branches]
        pooled = tf.nn.avg_pool2d(x, 3, 1, "SAME")
        return tf.concat([*found, self._conv(f"{name}.branch_pool", pooled)], -1)

    def _reduced(self, name, x, branches):
        found = [self._chain(name, x, parts, 2) for parts in branches]
        return tf.concat([*found, tf.nn.max_pool2d(x, 3, 2, "VALID")], -1)

    def _last(self, name, x, pool):
        straight = self._conv(f"{name}.branch1x1", x)
        found = [straight]
        for parts, ends in _BRANCHES_8:
            stem = self._chain(name, x, parts)
            found += [self._conv(f"{name}.{end}", stem) for end in ends]
        pooled = self._conv(f"{name}.branch_pool", pool(x, 3, 1, "SAME"))
        return tf.concat([*found, pooled], -1)


def open_inception(path: files.PathLike) -> extractors.Callable:
    """Returns the official extractor.

    Raises:
        UserError: the file is missing, or is not this network's.
    """
    path = files.require_file(path)
    if path.suffix == ".pb":
        arrays = inception_graph.read(path)
    else:
        arrays = torch_archive.read(path)
    if not isinstance(arrays, Mapping):
        raise errors.UserError(f"{path} holds no weights by name")
    classes = len(arrays["fc.weight"]) if "fc.weight" in arrays else CLASSES
    if classes != CLASSES:
        raise errors.UserError(
            f"{path} has {classes} classes, the Inception of FID has {CLASSES} "
            "(pt_inception-2015-12-05-6726825d.pth)"
        )
    network = Inception(arrays, str(path))
    digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    run = tf.function(network, reduce_retracing=True)

    def function(images):
        features, probabilities = run(tf.constant(images))
        return features.numpy(), probabilities.numpy()

    return extractors.Callable(NAME, function, digest, official=True)


def _array(arrays, name: str, where: str) -> np.ndarray:
    if name not in arrays:
        raise errors.UserError(f"{where} is not the Inception of FID: it lacks {name}")
    return np.asarray(arrays[name])


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}_{i}" for i in range(1, count + 1))


_BRANCHES_35 = (
    ("branch1x1",),
    _numbered("branch5x5", 2),
    _numbered("branch3x3dbl", 3),
)
_BRANCHES_6A = (("branch3x3",), _numbered("branch3x3dbl", 3))
_BRANCHES_17 = (
    ("branch1x1",),
    _numbered("branch7x7", 3),
    _numbered("branch7x7dbl", 5),
)
_BRANCHES_7A = (_numbered("branch3x3", 2), _numbered("branch7x7x3", 4))
_BRANCHES_8 = (
    (("branch3x3_1",), ("branch3x3_2a", "branch3x3_2b")),
    (_numbered("branch3x3dbl", 2), ("branch3x3dbl_3a", "branch3x3dbl_3b")),
)
_STEM = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
)


def _layers() -> tuple[str, ...]:
    names = list(_STEM)
    blocks = {
        **dict.fromkeys(("5b", "5c", "5d"), (*_BRANCHES_35, ("branch_pool",))),
        "6a": _BRANCHES_6A,
        **dict.fromkeys(("6b", "6c", "6d", "6e"), (*_BRANCHES_17, ("branch_pool",))),
        "7a": _BRANCHES_7A,
    }
    last = [("branch1x1",), ("branch_pool",), *(a + b for a, b in _BRANCHES_8)]
    blocks |= dict.fromkeys(("7b", "7c"), tuple(last))
    for block, branches in blocks.items():
        names += [f"Mixed_{block}.{part}" for parts in branches for part in parts]
    return tuple(names)


LAYERS = _layers()
