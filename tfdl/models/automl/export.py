"""Found networks as SavedModels that take encoded pictures or text, and as modules."""

from typing import Any

from tfdl.classifiers import serving
from tfdl.engine import errors, exports, model_dir
from tfdl.models.automl import language_export
from tfdl.models.automl.model import read

# TF Hub's tags of architectures, by the published networks' names.
TAGS = {"nasnet_mobile": "nasnet-mobile", "nasnet_large": "nasnet-large"}


def serving_module(directory: str) -> tuple[exports.Reusable, dict[str, Any]]:
    """Returns (module, signatures) of a model directory.

    `serving_default` takes encoded pictures of any size, `pixels` uint8 pictures of
    one size each call; `features` and `pixel_features` give feature vectors. Of a
    language model see `language_export.serving_module`.
    """
    if _is_language(directory):
        return language_export.serving_module(directory)
    module = serving.ServingModule(str(directory))
    return module, module.signatures()


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns requests for every signature."""
    module = language_export if _is_language(directory) else serving
    return module.warm_ups(directory)


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the model says."""
    if _is_language(directory):
        return language_export.card(directory)
    return serving.card(directory, *_kind(directory))


def hub_modules(directory: str) -> dict[str, exports.Module]:
    """Returns the classifier and the feature vectors, or a language model."""
    if _is_language(directory):
        module, signatures = serving_module(directory)
        return {"": exports.Module(module, card(directory), signatures)}
    network = read(model_dir.read_config(directory)["network"])
    what, tag = _kind(directory)
    return serving.hub_modules(directory, what, network.num_features, tag)


def _is_language(directory: str) -> bool:
    kind = (model_dir.read_config(directory).get("network") or {}).get("kind")
    if kind == "recurrent":
        raise errors.UserError(
            f"{directory} holds recurrent cells without words or pictures: nothing "
            "that a client could send; build them into a model with tfdl.load"
        )
    return kind == "language"


def _kind(directory: str) -> tuple[str, str]:
    """Returns what the network is called, and TF Hub's tag."""
    network = model_dir.read_config(directory)["network"]
    name = read(network).name()
    if name == "custom":
        return "a network of searched cells", "nasnet" * (network["kind"] == "cells")
    return f"a network like {name.replace('_', '-')}", TAGS.get(name, name)
