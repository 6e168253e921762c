"""A ResNet as a SavedModel that takes encoded pictures, and as TF Hub modules."""

from collections.abc import Mapping
from typing import Any

from tfdl.classifiers import serving
from tfdl.engine import exports, model_dir

warm_ups = serving.warm_ups


def serving_module(directory: str) -> tuple[serving.ServingModule, dict[str, Any]]:
    """Returns (module, signatures) of a model directory.

    `serving_default` takes encoded pictures of any size, `pixels` uint8 pictures of
    one size each call; `features` and `pixel_features` give feature vectors.
    """
    module = serving.ServingModule(str(directory))
    return module, module.signatures()


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the classifier says."""
    network = model_dir.read_config(directory)["network"]
    return serving.card(directory, "a ResNet", _architecture(network))


def hub_modules(directory: str) -> dict[str, exports.Module]:
    """Returns the classifier and the feature vectors, each a module."""
    network = model_dir.read_config(directory)["network"]
    width = network["widths"][-1] * network["expansion"]
    return serving.hub_modules(directory, "a ResNet", width, _architecture(network))


def _architecture(network: Mapping[str, Any]) -> str:
    return "resnet-v1" if network["stride_in_1x1"] else "resnet-v1-5"
