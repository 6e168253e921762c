"""How different two pictures look: distances for path lengths and projection.

    open_distance("lpips:PATH")       VGG16 with LPIPS's weights (Zhang et al. 2018)
    open_distance("smallcnn", net)    the same sum over a small network's maps
    open_distance("pyramid")          differences of pixels, at several scales

All are differentiable functions of float pictures [N, H, W, C] in [-1, 1].
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfdl.checkpoints import torch_archive
from tfdl.engine import errors, files
from tfdl.metrics.generative import small_cnn

FORMS = ("smallcnn", "pyramid", "lpips:PATH")
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
# Convolutions by their place in VGG16; a stage ends before each pool, and at the end.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_TINY = 1e-10


class Distance:
    """A named distance of pictures.

    Args:
        name: goes into results.
        function: (a, b), float [N, H, W, C] in [-1, 1] -> [N].
        sha256: of its weights.
        official: it is the one that published path lengths are measured with.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        sha256: str = "",
        official: bool = False,
    ):
        self.name, self.sha256, self.official = name, sha256, official
        self._function = function

    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Returns the distances [N]."""
        return self._function(a, b)


def open_distance(spec: str, network: small_cnn.SmallCNN | None = None) -> Distance:
    """Returns a distance by its name.

    Args:
        spec: one of `FORMS`.
        network: what "smallcnn" looks with.

    Raises:
        UserError: an unknown name, or a file that is not what it should be.
    """
    kind, colon, path = spec.partition(":")
    if colon and kind == "lpips":
        return _open_lpips(path)
    if spec == "pyramid":
        return Distance("pyramid", pyramid)
    if spec == "smallcnn":
        if network is None:
            raise errors.UserError(
                "smallcnn needs pictures to learn from: --option=data"
            )
        return Distance("smallcnn", of_maps(network.stages), network.sha256)
    raise errors.unknown("perceptual distance", spec, FORMS)


def of_maps(
    stages: Callable[[tf.Tensor], list[tf.Tensor]],
    weights: list[tf.Tensor] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns LPIPS over feature maps: the squared differences of unit vectors.

    Args:
        stages: pictures -> maps [N, h, w, c] of several layers.
        weights: of each map's channels [c]; None is one c-th for all.
    """

    def distance(a, b):
        total = 0.0
        for i, (x, y) in enumerate(zip(stages(a), stages(b), strict=True)):
            squares = tf.square(_unit(x) - _unit(y))
            if weights is None:
                sums = tf.reduce_mean(squares, -1)
            else:
                sums = tf.linalg.matvec(squares, weights[i])
            total += tf.reduce_mean(sums, [1, 2])
        return total

    return distance


def pyramid(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared difference, summed over halved and halved pictures."""
    difference = a - b
    total = tf.reduce_mean(tf.square(difference), [1, 2, 3])
    while difference.shape[1] >= 8 and difference.shape[2] >= 8:
        difference = tf.nn.avg_pool2d(difference, 2, 2, "VALID")
        total += tf.reduce_mean(tf.square(difference), [1, 2, 3])
    return total


class VGG16:
    """VGG16's convolutions up to each of LPIPS's five layers.

    Args:
        arrays: the state of the `lpips` package's network ("net.slice1.0.weight",
            "lin0.model.1.weight").
        where: the file, for messages.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str = "arrays"):
        self._layers = [
            [
                (
                    tf.constant(
                        _found(arrays, f"net.slice{s}.{i}.weight", where).transpose(
                            2, 3, 1, 0
                        )
                    ),
                    tf.constant(_found(arrays, f"net.slice{s}.{i}.bias", where)),
                )
                for i in places
            ]
            for s, places in enumerate(_STAGES, 1)
        ]
        self.weights = []
        for s in range(len(_STAGES)):
            name = f"lin{s}.model.1.weight"
            if name not in arrays:
                name = f"lins.{s}.model.1.weight"
            self.weights.append(tf.constant(_found(arrays, name, where).reshape(-1)))

    def stages(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3."""
        if images.shape[-1] == 1:
            images = tf.repeat(images, 3, -1)
        x = (images - _SHIFT) / _SCALE
        maps = []
        for i, layers in enumerate(self._layers):
            if i:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            for kernel, bias in layers:
                x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
            maps.append(x)
        return maps


def _open_lpips(path: str) -> Distance:
    file = files.require_file(path)
    arrays = torch_archive.read(file)
    if not isinstance(arrays, Mapping):
        raise errors.UserError(f"{path} holds no weights by name")
    network = VGG16(arrays, path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    function = of_maps(network.stages, network.weights)
    return Distance("lpips-vgg16", function, digest, official=True)


def _unit(x: tf.Tensor) -> tf.Tensor:
    # A gradient at zero would be infinite: the sum of squares gets a floor.
    return x * tf.math.rsqrt(tf.reduce_sum(tf.square(x), -1, keepdims=True) + _TINY)


def _found(arrays, name: str, where: str) -> np.ndarray:
    if name not in arrays:
        raise errors.UserError(
            f"{where} is not LPIPS with VGG16: it lacks {name} (save the lpips "
            "package's whole network: torch.save(lpips.LPIPS(net='vgg').state_dict()))"
        )
    return np.asarray(arrays[name], np.float32)
