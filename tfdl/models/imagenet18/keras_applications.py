"""keras.applications' ResNets (v1) in HDF5, names of either generation.

Since 2019 layers are called conv2_block1_1_conv and _bn; before, res2a_branch2a and
bn2a_branch2a, with a block's letter (or b1, b2, ... after a in deep networks), branch1
for the shortcut and branch2a to c for the convolutions.
"""

import re

import numpy as np

from tfdl.checkpoints import keras_layers, sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

# What the builder sets that no tensor shows.
NETWORK = {"stride_in_1x1": True, "epsilon": 1.001e-5}
_NEW = re.compile(r"conv(\d)_block(\d{1,3})_([0-3])_(conv|bn)")
_OLD = re.compile(r"(res|bn)(\d)([a-z])(\d{0,3})_branch(1|2[abc])")
_WHOLE = {
    "conv1_conv": "conv1",
    "conv1_bn": "bn1",
    "conv1": "conv1",
    "bn_conv1": "bn1",
    "predictions": "fc",
    "probs": "fc",
    "fc1000": "fc",
}
_ROLES = (
    ("weight", r"(gamma|kernel|_W)"),
    ("running_mean", r"(moving|running)_mean"),
    # The oldest files say "std" and hold variances.
    ("running_var", r"(moving_variance|running_(std|var))"),
    ("bias", r"(beta|bias|_b(_\d+)?$)"),
)


def read(path: files.PathLike) -> dict[str, np.ndarray]:
    """Returns the weights by torchvision's names, in torch's layout.

    Raises:
        UserError: no legacy Keras file, damaged, or not this family.
    """
    layers = keras_layers.read(path)
    if any("preact" in layer for layer in layers):
        raise UserError(f"{path} is a ResNet v2 (pre-activation): not supported")
    result: dict[str, np.ndarray] = {}
    for layer, weights in layers.items():
        target = _target(layer)
        if target is None:
            raise UserError(
                f"{path}: layer {sniff.shown(layer)} is none of a keras.applications "
                "ResNet"
            )
        for name, array in weights.items():
            key = f"{target}.{_role(name, path)}"
            if key in result:
                raise UserError(f"{path}: {key} is there twice")
            result[key] = _theirs(array)
    return result


def _theirs(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array


def _role(name: str, path: files.PathLike) -> str:
    for role, pattern in _ROLES:
        if re.search(pattern, name):
            return role
    raise UserError(f"{path}: what is {sniff.shown(name)}?")


def _target(layer: str) -> str | None:
    if layer in _WHOLE:
        return _WHOLE[layer]
    if match := _NEW.fullmatch(layer):
        stage, block, number, kind = match.groups()
        return _inner(int(stage) - 1, int(block) - 1, int(number), kind == "bn")
    if match := _OLD.fullmatch(layer):
        kind, stage, letter, count, branch = match.groups()
        block = int(count) if count else ord(letter) - ord("a")
        number = 0 if branch == "1" else ord(branch[1]) - ord("a") + 1
        return _inner(int(stage) - 1, block, number, kind == "bn")
    return None


def _inner(stage: int, block: int, number: int, is_norm: bool) -> str:
    prefix = f"layer{stage}.{block}"
    if number == 0:
        return f"{prefix}.downsample.{int(is_norm)}"
    return f"{prefix}.{'bn' if is_norm else 'conv'}{number}"
