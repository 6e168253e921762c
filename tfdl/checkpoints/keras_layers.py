"""Weights by their layers in the HDF5 files that Keras 2 wrote.

Keras 3 still writes them as `.h5`. Its own `.weights.h5` and `.keras` files keep no
layers' names.
"""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from tfdl.checkpoints import hdf5, sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError


def read(path: files.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Returns layer -> weight -> array, layers without weights left out.

    A weight's name is what follows its last slash, without Keras's ":0".

    Raises:
        UserError: not such a file, or damaged.
    """
    contents = hdf5.read(path)
    attributes, prefix = contents.attributes, ""
    if "model_weights" in attributes:
        prefix = "model_weights/"
    layers = attributes.get(prefix.rstrip("/"), {}).get("layer_names")
    if layers is None:
        kind = (
            "a Keras 3 file, which keeps no layers' names"
            if any("/vars/" in name for name in contents.arrays)
            else "not a file of Keras weights"
        )
        raise UserError(f"{path} is {kind}; it needs the attribute 'layer_names'")
    result: dict[str, dict[str, np.ndarray]] = {}
    for layer in map(_text, layers):
        weights: dict[str, np.ndarray] = {}
        for name in map(
            _text, attributes.get(prefix + layer, {}).get("weight_names", ())
        ):
            full = f"{prefix}{layer}/{name}"
            if full not in contents.arrays:
                raise UserError(f"{path} is damaged: {sniff.shown(full)} is missing")
            last = name.rsplit("/", 1)[-1].removesuffix(":0")
            if last in weights:
                raise UserError(f"{path}: {sniff.shown(full)} is there twice")
            weights[last] = contents.arrays[full]
        if weights:
            result[layer] = weights
    return result


def write(path: files.PathLike, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Writes such a file; Keras loads it by the layers' names.

    Args:
        path: the file.
        layers: layer -> weight -> array, weights in the order of the layer's own.
    """
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            group = file.create_group(layer)
            names = [f"{layer}/{name}:0" for name in weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, weights.values(), strict=True):
                group.create_dataset(name, data=array)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
