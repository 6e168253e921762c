"""The original's names of weights, and its layouts.

Ours are [B, H, W, C] throughout; the original's are [B, C, H, W], which shows where
pictures are flattened to vectors.
"""

import re

import keras
import numpy as np

from tfdl.models.stylegan.discriminator import Discriminator
from tfdl.models.stylegan.model import StyleGAN
from tfdl.models.stylegan.synthesis import layer_name


def variable_names(
    network: StyleGAN | Discriminator, buffers: bool = False
) -> dict[str, keras.Variable]:
    """Returns a network's weights by the original's local names.

    Args:
        network: a built generator or discriminator.
        buffers: what is not trained as well: stored noise and the average w.
    """
    if isinstance(network, Discriminator):
        return _discriminator(network)
    names = {}
    if network.mapping.embedding is not None:
        names["G_mapping/LabelConcat/weight"] = network.mapping.embedding
    for i, dense in enumerate(network.mapping.dense):
        names |= _pair(f"G_mapping/Dense{i}", dense)
    synthesis = network.synthesis
    for layer in synthesis.layers:
        prefix = f"G_synthesis/{layer_name(layer.index)}"
        if layer.conv is not None:
            names[f"{prefix}/weight"] = layer.conv.weight
        elif layer.start is not None:
            # Without a constant the layer is called after what it is.
            prefix = "G_synthesis/4x4/Dense"
            names[f"{prefix}/weight"] = layer.start.weight
        else:
            names[f"{prefix}/const"] = layer.const
        if layer.config.use_noise:
            names[f"{prefix}/Noise/weight"] = layer.noise_weight
        names[f"{prefix}/bias"] = layer.bias
        if layer.style is not None:
            names |= _pair(f"{prefix}/StyleMod", layer.style)
        if layer.index % 2:
            i = layer.index // 2
            lod = network.config.levels - 2 - i
            names |= _pair(f"G_synthesis/ToRGB_lod{lod}", synthesis.to_rgb[i])
    if buffers:
        for i, noise in enumerate(synthesis.noises):
            names[f"G_synthesis/noise{i}"] = noise
        names["dlatent_avg"] = network.dlatent_avg
    return names


def ours(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an original's array in our layout."""
    if re.search(r"(Const/const|synthesis/noise\d+)$", name) and array.ndim == 4:
        return np.transpose(array, (0, 2, 3, 1))
    if name.endswith("4x4/Dense0/weight") and array.ndim == 2:
        rows = array.reshape(-1, 4, 4, array.shape[1])
        return rows.transpose(1, 2, 0, 3).reshape(array.shape)
    if name.endswith("4x4/Dense/weight") and array.ndim == 2:
        columns = array.reshape(array.shape[0], -1, 4, 4)
        return columns.transpose(0, 2, 3, 1).reshape(array.shape)
    return array


def originals(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of ours in the original's layout: the inverse of `ours`."""
    if re.search(r"(Const/const|synthesis/noise\d+)$", name):
        return np.transpose(array, (0, 3, 1, 2))
    if name.endswith("4x4/Dense0/weight"):
        rows = array.reshape(4, 4, -1, array.shape[1])
        return rows.transpose(2, 0, 1, 3).reshape(array.shape)
    if name.endswith("4x4/Dense/weight"):
        columns = array.reshape(array.shape[0], 4, 4, -1)
        return columns.transpose(0, 3, 1, 2).reshape(array.shape)
    return array


def _discriminator(network: Discriminator) -> dict[str, keras.Variable]:
    names, levels = {}, network.config.levels
    for i in range(len(network.from_rgb) - 1, -1, -1):
        names |= _pair(f"FromRGB_lod{levels - 2 - i}", network.from_rgb[i])
        if i:
            block, size = network.blocks[i - 1], 4 << i
            names |= _pair(f"{size}x{size}/Conv0", block.conv0)
            names |= _pair(f"{size}x{size}/Conv1_down", block.conv1)
    names |= _pair("4x4/Conv", network.conv)
    names |= _pair("4x4/Dense0", network.dense0)
    return names | _pair("4x4/Dense1", network.dense1)


def _pair(prefix: str, layer) -> dict[str, keras.Variable]:
    return {f"{prefix}/weight": layer.weight, f"{prefix}/bias": layer.bias}
