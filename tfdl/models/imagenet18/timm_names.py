"""What timm's config.json says beside its weights; its names are torchvision's."""

import json
from collections.abc import Mapping
from typing import Any

from tfdl.models.imagenet18.network import ResNetConfig


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns preprocessing, test size and resize, as far as they are said."""
    given = config.get("pretrained_cfg")
    given = given if isinstance(given, dict) else config
    result: dict[str, Any] = {}
    preprocessing = {"mode": "torch"}
    for name in ("mean", "std"):
        if given.get(name):
            preprocessing[name] = given[name]
    if given.get("interpolation") in ("bilinear", "bicubic"):
        preprocessing["interpolation"] = given["interpolation"]
    result["preprocessing"] = preprocessing
    size = given.get("test_input_size") or given.get("input_size")
    if isinstance(size, list) and len(size) == 3 and isinstance(size[-1], int):
        share = given.get("test_crop_pct") or given.get("crop_pct") or 0.875
        if isinstance(share, int | float) and 0 < share <= 1:
            result["test_size"], result["resize"] = size[-1], int(size[-1] / share)
    names = given.get("label_names") or config.get("label_names")
    if isinstance(names, list):
        result["labels"] = [str(name) for name in names]
    return result


def config_json(
    network: ResNetConfig, model: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Returns a config.json that `timm.create_model` reads; None for other nets."""
    name = network.name()
    if name == "custom":
        return None
    preprocessing = model["preprocessing"]
    size = model["test_size"]
    pretrained = {
        "input_size": [3, size, size],
        "interpolation": preprocessing.get("interpolation", "bilinear"),
        "crop_pct": size / model["resize"],
    }
    for key in ("mean", "std"):
        if key in preprocessing:
            pretrained[key] = preprocessing[key]
    return {
        "architecture": name,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "pretrained_cfg": pretrained,
    }


def dumps(value: Mapping[str, Any]) -> str:
    """Returns JSON text for a file."""
    return json.dumps(value, indent=2) + "\n"
