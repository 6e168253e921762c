"""Networks by the kind that a configuration names."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.models.automl.networks.cell_network import CellNetwork
from tfdl.models.automl.networks.config import CellsConfig
from tfdl.models.automl.networks.enas_macro import MacroConfig, MacroNetwork
from tfdl.models.automl.networks.zoph_conv import ZophConvConfig, ZophConvNetwork
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.language_model import LanguageModel
from tfdl.models.automl.recurrent.network import RecurrentConfig, RecurrentNetwork

# Kind -> (reads a network's configuration, which tells a number of weights that the
# network has more than in `fewest_parameters`; makes the network of one, not built).
KINDS: Mapping[str, tuple[Callable[[Mapping[str, Any]], Any], Callable[..., Any]]] = {
    "cells": (CellsConfig.from_dict, CellNetwork),
    "enas_macro": (MacroConfig.from_dict, MacroNetwork),
    "language": (LanguageConfig.from_dict, LanguageModel),
    "recurrent": (RecurrentConfig.from_dict, RecurrentNetwork),
    "zoph_conv": (ZophConvConfig.from_dict, ZophConvNetwork),
}


def read(network: Mapping[str, Any]) -> Any:
    """Returns a network's configuration, checked.

    Raises:
        UserError: an unknown kind or field, or a value that makes no sense.
    """
    kind = network.get("kind", "cells")
    if kind not in KINDS:
        raise errors.unknown("kind of network", kind, KINDS)
    return KINDS[kind][0](network)


def build_model(network: Mapping[str, Any]) -> keras.Model:
    """Returns a built network with random weights.

    Args:
        network: `"kind"` and what that kind takes; `to_dict` of a configuration.
    """
    config = read(network)
    model = KINDS[network.get("kind", "cells")][1](config)
    model.build()
    return model


def from_config(config: Mapping[str, Any], model_dir: str | pathlib.Path) -> Any:
    """Returns the built model of a model directory; its weights are still random.

    Raises:
        UserError: a search's result, which has no weights; or the configuration asks
            for far more than the weights file holds: found before memory is.
    """
    network = config.get("network")
    if config.get("kind") == "search":
        raise errors.UserError(
            f"{model_dir} is the result of a search: an architecture without weights; "
            "train it (--init_from), or look at it with tfdl predict"
        )
    if not isinstance(network, Mapping):
        raise errors.UserError(f"{model_dir}: {directory.CONFIG} has no 'network'")
    weights = files.require_file(pathlib.Path(model_dir) / directory.WEIGHTS)
    wanted, held = read(network).fewest_parameters(), weights.stat().st_size
    if 4 * wanted > held:
        raise errors.UserError(
            f"{weights} has {held:,} bytes, too few for the over {wanted:,} weights "
            f"that {directory.CONFIG} asks for"
        )
    return build_model(network)
