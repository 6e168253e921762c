"""What the tensors of a torchvision-named checkpoint say about its network."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18.model import ResNet
from tfdl.models.imagenet18.names import named_units
from tfdl.models.imagenet18.network import MAX_BLOCKS, ResNetConfig

_COUNTER = ".num_batches_tracked"
_BLOCK = re.compile(r"layer(\d)\.(\d{1,3})\.")
_PREFIXES = ("module.", "_orig_mod.", "model.")
BLUR = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]).astype("float32") / 16.0


def unwrapped(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays without the prefixes that wrappers put before every name."""
    result = dict(arrays)
    while True:
        for prefix in _PREFIXES:
            if result and all(name.startswith(prefix) for name in result):
                result = {name[len(prefix) :]: x for name, x in result.items()}
                break
        else:
            return result


def plain(arrays: Mapping[str, np.ndarray], where: str) -> tuple[dict, set[str]]:
    """Returns arrays without counters and blurs, and the names of blurred kernels.

    ffcv-imagenet wraps a blurred convolution: `X.conv.weight` and `X.blur_filter`.

    Raises:
        UserError: a blur is not the binomial one, or a counter of nothing.
    """
    result: dict[str, np.ndarray] = {}
    blurred = {
        name.removesuffix(".blur_filter")
        for name in arrays
        if name.endswith(".blur_filter")
    }
    for name, array in arrays.items():
        owner, _, last = name.rpartition(".")
        if name.endswith(_COUNTER) and f"{owner}.running_mean" in arrays:
            continue
        if last == "blur_filter":
            if np.shape(array)[-2:] != (3, 3) or not np.allclose(array, BLUR):
                raise UserError(f"{where}: {name} is not the [1, 2, 1] / 4 blur")
            continue
        inner = owner.removesuffix(".conv")
        if inner != owner and inner in blurred:
            name = f"{inner}.{last}"
        result[name] = array
    return result, blurred


def infer(
    arrays: Mapping[str, np.ndarray], blurred: Collection[str], where: str
) -> dict[str, Any]:
    """Returns the fields of a `ResNetConfig` that shapes and names tell.

    Args:
        arrays: by torchvision's names, kernels [out, in, h, w]; see `plain`.
        blurred: names of blurred convolutions.
        where: the file, for messages.

    Raises:
        UserError: it is no ResNet, or one that is not supported.
    """

    def shape(name: str, rank: int = 4) -> tuple[int, ...]:
        if name not in arrays:
            raise UserError(f"{where} is no ResNet checkpoint: it lacks {name!r}")
        found = np.shape(arrays[name])
        if len(found) != rank or 0 in found:
            raise UserError(f"{where}: {name!r} has shape {list(found)}")
        return found

    blocks = _blocks(arrays, where)
    block = "bottleneck" if "layer1.0.conv3.weight" in arrays else "basic"
    last = "conv3" if block == "bottleneck" else "conv2"
    widths, outer = [], []
    for stage in range(1, len(blocks) + 1):
        inner = shape(f"layer{stage}.0.conv1.weight")[0]
        if shape(f"layer{stage}.0.conv2.weight")[1] != inner:
            raise UserError(
                f"{where}: grouped convolutions (ResNeXt) are not supported"
            )
        widths.append(inner)
        outer.append(shape(f"layer{stage}.0.{last}.weight")[0])
    expansion = max(1, outer[0] // widths[0])
    if any(o != w * expansion for o, w in zip(outer, widths, strict=True)):
        raise UserError(
            f"{where}: stages of {outer} channels over blocks of {widths}: not one "
            "whole ratio"
        )
    fields: dict[str, Any] = {
        "block": block,
        "blocks": blocks,
        "widths": widths,
        "expansion": expansion,
        "blur": bool(blurred),
        "conv_bias": "conv1.bias" in arrays or "conv1.0.bias" in arrays,
    }
    if "conv1.0.weight" in arrays:
        fields["stem"] = "deep"
        fields["deep_stem_width"] = shape("conv1.0.weight")[0]
        fields["stem_width"] = shape("conv1.6.weight")[0]
    else:
        kernel = shape("conv1.weight")
        if kernel[1:] != (3, 7, 7):
            raise UserError(
                f"{where}: the first convolution is {list(kernel)}, not [*, 3, 7, 7]"
            )
        fields["stem_width"] = kernel[0]
    downs = [name for name in arrays if ".downsample." in name]
    fields["avg_down"] = any(".downsample.2." in name for name in downs)
    # A projection where a plain shortcut would do: keras.applications has them.
    down = f"layer1.0.downsample.{int(fields['avg_down'])}.weight"
    fields["always_project"] = down in arrays and outer[0] == fields["stem_width"]
    if "fc.weight" in arrays:
        fields["num_classes"] = shape("fc.weight", 2)[0]
    return fields


def check_blurred(model: ResNet, blurred: Collection[str], where: str) -> None:
    """Raises `UserError` unless the model blurs exactly what the file does."""
    expected = {conv for (conv, _), unit in named_units(model) if unit.conv.blur}
    if expected != set(blurred):
        odd = sorted(expected ^ set(blurred))
        raise UserError(
            f"{where}: {mapping.listing('blurred otherwise than here', odd)}"
        )


def ours(name: str, array: np.ndarray) -> np.ndarray:
    """Returns a torchvision array in our layout."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if name == "fc.weight" else array


def theirs(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of ours in torchvision's layout."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    return np.ascontiguousarray(array.T) if name == "fc.weight" else array


def to_original(model: ResNet) -> dict[str, np.ndarray]:
    """Returns a model's weights by torchvision's names, in its layout and order.

    Blurred convolutions are named as ffcv-imagenet's, a deep stem as timm's. Biases
    of convolutions, which torchvision's have not, go into the moving means.
    """
    result: dict[str, np.ndarray] = {}
    for (conv, norm), unit in named_units(model):
        kernel = theirs(conv, unit.conv.kernel.numpy())
        if unit.conv.blur:
            shape = (kernel.shape[1], 1, 3, 3)
            result[f"{conv}.blur_filter"] = np.broadcast_to(BLUR, shape).copy()
            conv += ".conv"
        result[f"{conv}.weight"] = kernel
        mean = unit.norm.moving_mean.numpy()
        if unit.conv.bias is not None:
            mean = mean - unit.conv.bias.numpy()
        result[f"{norm}.weight"] = unit.norm.gamma.numpy()
        result[f"{norm}.bias"] = unit.norm.beta.numpy()
        result[f"{norm}.running_mean"] = mean
        result[f"{norm}.running_var"] = unit.norm.moving_variance.numpy()
        result[norm + _COUNTER] = np.array(0, np.int64)
    result["fc.weight"] = theirs("fc.weight", model.fc.kernel.numpy())
    result["fc.bias"] = model.fc.bias.numpy()
    return result


def _blocks(arrays: Mapping[str, Any], where: str) -> list[int]:
    found: dict[int, set[int]] = {}
    for name in arrays:
        if match := _BLOCK.match(name):
            found.setdefault(int(match.group(1)), set()).add(int(match.group(2)))
    if not found:
        raise UserError(
            f"{where} is no ResNet checkpoint: it has no 'layer1.0.conv1.weight'; "
            f"its first names are {', '.join(list(map(str, arrays))[:3])}"
        )
    counts = []
    for stage in range(1, max(found) + 1):
        blocks = found.get(stage, set())
        gaps = sorted(set(range(max(blocks, default=0) + 1)) - blocks)
        if gaps or len(blocks) > MAX_BLOCKS:
            raise UserError(f"{where} lacks layer{stage}.{gaps[0] if gaps else 0}")
        counts.append(len(blocks))
    return counts


def config(fields: Mapping[str, Any], where: str) -> ResNetConfig:
    """Returns the configuration; errors name the file."""
    try:
        return ResNetConfig.from_dict(fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
