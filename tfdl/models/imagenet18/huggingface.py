"""transformers' ResNets: names, and what their JSON files say."""

import re
from collections.abc import Mapping
from typing import Any

from tfdl.engine.errors import UserError

# PIL's numbers of resampling filters.
RESAMPLE = {2: "bilinear", 3: "bicubic"}
_LAYER = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\."
    r"(?:layer\.(\d+)|(shortcut))\.(convolution|normalization)\.(.+)"
)
_STEM = re.compile(
    r"(?:resnet\.)?embedder\.embedder\.(convolution|normalization)\.(.+)"
)


def is_huggingface(names) -> bool:
    """Tells whether names are transformers'."""
    return any(_STEM.match(name) for name in names)


def to_torchvision(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays by torchvision's names; unknown names stay as they are."""
    return {_name(name): array for name, array in arrays.items()}


def network(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns what config.json says about the network and tensors do not.

    Raises:
        UserError: an activation or layer that is not supported.
    """
    act = config.get("hidden_act", "relu")
    if act != "relu":
        raise UserError(f"{where}: hidden_act {act!r} is not supported, only 'relu'")
    return {
        "stride_in_1x1": bool(config.get("downsample_in_bottleneck", False)),
        "first_stage_stride": 2 if config.get("downsample_in_first_stage") else 1,
    }


def labels(config: Mapping[str, Any]) -> list[str] | None:
    """Returns the classes' names, None when they are only numbered."""
    table = config.get("id2label")
    if not isinstance(table, dict) or not table:
        return None
    try:
        names = [str(table[key]) for key in sorted(table, key=int)]
    except ValueError:
        return None
    return None if names[0] == "LABEL_0" else names


def preprocessing(processor: Mapping[str, Any]) -> dict[str, Any]:
    """Returns preprocessing and sizes that preprocessor_config.json asks for."""
    result: dict[str, Any] = {"mode": "torch"}
    if processor.get("do_normalize", True):
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            if processor.get(theirs):
                result[ours] = processor[theirs]
    else:
        result |= {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    result["interpolation"] = RESAMPLE.get(processor.get("resample"), "bilinear")
    return result


def sizes(processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """Returns (test size, short side of the resize), None when it is not said."""
    size = processor.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    if not isinstance(size, int) or size < 1:
        return None
    share = processor.get("crop_pct") or 0.875
    # From 384 on these networks' pictures are not cropped.
    return size, size if size >= 384 else int(size / share)


def _name(name: str) -> str:
    if match := _STEM.match(name):
        return f"{_part(match.group(1), '1')}.{match.group(2)}"
    if match := _LAYER.match(name):
        stage, block, number, shortcut, kind, rest = match.groups()
        prefix = f"layer{int(stage) + 1}.{block}"
        if shortcut:
            return f"{prefix}.downsample.{int(kind != 'convolution')}.{rest}"
        return f"{prefix}.{_part(kind, str(int(number) + 1))}.{rest}"
    return re.sub(r"^classifier\.1\.", "fc.", name)


def _part(kind: str, number: str) -> str:
    return ("conv" if kind == "convolution" else "bn") + number
