"""Image networks as SavedModels that take encoded pictures, and as TF Hub modules."""

from typing import Any

from tfdl.classifiers import serving
from tfdl.engine import exports, model_dir
from tfdl.models.automl.model import read

# TF Hub's tags of architectures, by the published networks' names.
TAGS = {"nasnet_mobile": "nasnet-mobile", "nasnet_large": "nasnet-large"}

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
    return serving.card(directory, *_kind(directory))


def hub_modules(directory: str) -> dict[str, exports.Module]:
    """Returns the classifier and the feature vectors, each a module."""
    network = read(model_dir.read_config(directory)["network"])
    what, tag = _kind(directory)
    return serving.hub_modules(directory, what, network.num_features, tag)


def _kind(directory: str) -> tuple[str, str]:
    """Returns what the network is called, and TF Hub's tag."""
    network = model_dir.read_config(directory)["network"]
    name = read(network).name()
    if name == "custom":
        return "a network of searched cells", "nasnet" * (network["kind"] == "cells")
    return f"a network like {name.replace('_', '-')}", TAGS.get(name, name)
