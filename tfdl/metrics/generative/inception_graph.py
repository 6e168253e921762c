"""Reads the Inception of FID from its TensorFlow graph, without running the graph.

`classify_image_graph_def.pb` (in inception-2015-12-05.tgz) keeps weights as constants;
they are copied out and called as the PyTorch files call them.
"""

import math

import numpy as np
import tensorflow as tf
from google.protobuf import message

from tfdl.engine import errors, files

MAX_BYTES = 512 << 20
# Constants that are not stored value by value are small.
_MOST_REPEATED = 1 << 16
_FLOAT = tf.float32.as_datatype_enum


def read(path: files.PathLike) -> dict[str, np.ndarray]:
    """Returns the graph's weights by their PyTorch names, kernels OIHW.

    Raises:
        UserError: the file is no graph, or not this one.
    """
    data = files.require_file(path, MAX_BYTES).read_bytes()
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except message.DecodeError:
        raise errors.UserError(
            f"{path} is no TensorFlow graph, or is damaged"
        ) from None
    nodes = {node.name: node for node in graph.node}
    arrays = {}
    for original, name in _layers().items():
        kernel = _constant(nodes, f"{original}/conv2d_params", path)
        if kernel.ndim != 4:
            raise errors.UserError(f"{path}: {original} is no convolution")
        arrays[f"{name}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        norm = f"{original}/batchnorm"
        mean = _constant(nodes, f"{norm}/moving_mean", path)
        arrays[f"{name}.bn.running_mean"] = mean
        arrays[f"{name}.bn.running_var"] = _constant(
            nodes, f"{norm}/moving_variance", path
        )
        arrays[f"{name}.bn.bias"] = _constant(nodes, f"{norm}/beta", path)
        gain = np.ones_like(mean)
        if norm in nodes and nodes[norm].attr["scale_after_normalization"].b:
            gain = _constant(nodes, f"{norm}/gamma", path)
        arrays[f"{name}.bn.weight"] = gain
    arrays["fc.weight"] = _constant(nodes, "softmax/weights", path).T
    return arrays


def _constant(nodes, name: str, path: files.PathLike) -> np.ndarray:
    node = nodes.get(name)
    if node is None or node.op != "Const":
        raise errors.UserError(
            f"{path} is not the Inception of FID: it has no constant {name}"
        )
    tensor = node.attr["value"].tensor
    shape = [d.size for d in tensor.tensor_shape.dim]
    count = math.prod(shape)
    whole = len(tensor.tensor_content) == 4 * count
    if tensor.dtype != _FLOAT or min(shape, default=1) < 0:
        raise errors.UserError(f"{path}: {name} holds no float32 numbers")
    if not whole and (tensor.tensor_content or count > _MOST_REPEATED):
        raise errors.UserError(f"{path}: {name} is damaged: it does not fill {shape}")
    return tf.make_ndarray(tensor)


def _numbered(stem: str, count: int) -> list[str]:
    """Returns conv, conv_1, ... as TensorFlow numbers what has one name."""
    return [stem if i == 0 else f"{stem}_{i}" for i in range(count)]


def _towers(*chains: tuple[str, str, int]) -> dict[str, str]:
    found = {}
    for tower, name, count in chains:
        for i, conv in enumerate(_numbered(f"{tower}conv", count), 1):
            found[conv] = f"{name}_{i}" if count > 1 else name
    return found


def _layers() -> dict[str, str]:
    """Returns the graph's name of each convolution -> its PyTorch name."""
    pool = ("tower_2/", "branch_pool", 1)
    straight = ("", "branch1x1", 1)
    at_35 = _towers(
        straight, ("tower/", "branch5x5", 2), ("tower_1/", "branch3x3dbl", 3), pool
    )
    at_17 = _towers(
        straight, ("tower/", "branch7x7", 3), ("tower_1/", "branch7x7dbl", 5), pool
    )
    at_8 = _towers(straight, ("tower_1/", "branch3x3dbl", 2), pool)
    at_8["tower/conv"] = "branch3x3_1"
    for tower, name in (("tower", "branch3x3_2"), ("tower_1", "branch3x3dbl_3")):
        at_8[f"{tower}/mixed/conv"], at_8[f"{tower}/mixed/conv_1"] = (
            name + "a",
            name + "b",
        )
    blocks = {
        **dict.fromkeys(("5b", "5c", "5d"), at_35),
        "6a": _towers(("", "branch3x3", 1), ("tower/", "branch3x3dbl", 3)),
        **dict.fromkeys(("6b", "6c", "6d", "6e"), at_17),
        "7a": _towers(("tower/", "branch3x3", 2), ("tower_1/", "branch7x7x3", 4)),
        **dict.fromkeys(("7b", "7c"), at_8),
    }
    stem = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
    found = {
        conv: f"Conv2d_{name}"
        for conv, name in zip(_numbered("conv", 5), stem, strict=True)
    }
    for mixed, (block, layers) in zip(
        _numbered("mixed", len(blocks)), blocks.items(), strict=True
    ):
        for conv, name in layers.items():
            found[f"{mixed}/{conv}"] = f"Mixed_{block}.{name}"
    return found
