"""pytorch-pretrained-biggan's BigGAN-deep generators: names, sizes, layouts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.engine.errors import UserError
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.plans import MAX_BLOCKS, GeneratorConfig
from tfdl.models.biggan.slots import (
    Slot,
    rows_moved,
    same,
    to_hwio,
    to_oihw,
    transposed,
)
from tfdl.models.biggan.spectral import Convolution, Linear

_ATTENTION = {"theta": "theta", "phi": "phi", "g": "g", "o": "o_conv"}


def is_hf(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tells whether a state dict has this project's names."""
    return "embeddings.weight" in arrays and "generator.gen_z.weight_orig" in arrays


def generator_config(
    config: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    where: str,
    **changes: Any,
) -> GeneratorConfig:
    """Returns the architecture that config.json and the arrays describe.

    Args:
        config: the content of config.json.
        arrays: the state dict, which all sizes come from.
        where: the files, for messages.
        **changes: fields to set otherwise.

    Raises:
        UserError: an array or an entry that says a size is missing.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = np.shape(arrays.get(name, 0.0))
        if len(found) != rank:
            raise UserError(f"{where}: {name} is missing or of another rank")
        return found

    layers, place = config.get("layers"), config.get("attention_layer_position", 8)
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_BLOCKS:
        raise UserError(f"{where}: config.json lists no 'layers'")
    blocks = []
    for i, layer in enumerate(layers):
        if not isinstance(layer, list) or len(layer) != 3:
            raise UserError(f"{where}: config.json: layer {i} is {str(layer)[:60]}")
        prefix = f"generator.layers.{_index(i, place)}"
        inputs = shape(f"{prefix}.conv_0.weight_orig", 4)[1]
        outputs = shape(f"{prefix}.conv_3.weight_orig", 4)[0]
        blocks.append((inputs, outputs, bool(layer[0])))
    shared_dim, classes = shape("embeddings.weight", 2)
    outputs, condition = shape("generator.gen_z.weight_orig", 2)
    filters = shape("generator.conv_to_rgb.weight_orig", 4)[0]
    epsilon = config.get("eps", 1e-4)
    fields = {
        "kind": "deep",
        "blocks": tuple(blocks),
        "attention": (place - 1,) if 0 <= place < len(blocks) else (),
        "num_classes": classes,
        "shared_dim": shared_dim,
        "dim_z": condition - shared_dim,
        "bottom_width": round((outputs / blocks[0][0]) ** 0.5),
        "image_channels": min(3, filters),
        "rgb_filters": filters,
        "statistics": "table",
        "num_statistics": shape("generator.bn.running_means", 2)[0],
        "interpolation": "hf",
        "batch_norm_epsilon": epsilon,
        "output_norm_epsilon": epsilon,
        "spectral_epsilon": epsilon,
        "spectral_evaluation": "stored",
    }
    return GeneratorConfig(**{**fields, **changes})


def config_json(config: GeneratorConfig) -> dict[str, Any]:
    """Returns the config.json that describes a generator.

    Raises:
        UserError: the format has no way to say what this generator is.
    """
    reason = None
    if config.kind != "deep":
        reason = "it is no BigGAN-deep"
    elif config.statistics != "table":
        reason = "it has running statistics, the format a table by truncation"
    elif len(config.attention) > 1:
        reason = "it has attention at several places"
    elif config.shared_dim != config.dim_z:
        reason = f"its shared_dim {config.shared_dim} is not its dim_z {config.dim_z}"
    elif not config.spectral_norm:
        reason = "it has no spectral normalisation"
    elif config.last_filters != config.blocks[-1][1]:
        reason = "its last convolution has other filters than inputs"
    elif config.batch_norm_epsilon != config.output_norm_epsilon:
        reason = "its normalisations have two epsilons"
    elif config.bottom_width != 4:
        reason = f"its first map has width {config.bottom_width}, not 4"
    if reason:
        raise UserError(f"this generator cannot be written as hf: {reason}")
    width = config.blocks[-1][1]
    if any(a % width or b % width for a, b, _ in config.blocks):
        raise UserError(
            "this generator cannot be written as hf: its widths are no multiples of "
            "the last"
        )
    return {
        "output_dim": config.resolution,
        "z_dim": config.dim_z,
        "class_embed_dim": config.shared_dim,
        "channel_width": width,
        "num_classes": config.num_classes,
        "layers": [[up, a // width, b // width] for a, b, up in config.blocks],
        "attention_layer_position": (config.attention or (len(config.blocks),))[0] + 1,
        "eps": config.batch_norm_epsilon,
        "n_stats": config.num_statistics,
    }


def slots(network: Generator) -> dict[str, Slot]:
    """Returns where each array of a state dict goes."""
    config = network.config
    place = config.attention[0] + 1 if config.attention else len(config.blocks)
    order = rows_moved(config.shared_dim)
    found = {"embeddings.weight": Slot(network.shared.table, transposed, transposed)}
    found |= _linear("generator.gen_z", network.linear, order)
    for i, block in enumerate(network.blocks):
        prefix = f"generator.layers.{_index(i, place)}"
        for j in range(4):
            norm = getattr(block, f"bn{j + 1}")
            found |= _statistics(f"{prefix}.bn_{j}", norm)
            found |= _linear(f"{prefix}.bn_{j}.scale", norm.gain, order)
            found |= _linear(f"{prefix}.bn_{j}.offset", norm.bias, order)
            convolution = getattr(block, f"conv{j + 1}")
            found |= _convolution(f"{prefix}.conv_{j}", convolution)
    if config.attention:
        prefix = f"generator.layers.{place}"
        (layer,) = network.attention
        found[f"{prefix}.gamma"] = Slot(layer.gamma, _vector, _scalar)
        for ours, theirs in _ATTENTION.items():
            part = getattr(layer, ours)
            found |= _convolution(f"{prefix}.snconv1x1_{theirs}", part)
    norm = network.output_norm
    found["generator.bn.weight"] = Slot(norm.gain)
    found["generator.bn.bias"] = Slot(norm.bias)
    found |= _statistics("generator.bn", norm)
    return found | _convolution("generator.conv_to_rgb", network.to_rgb)


def _index(block: int, attention: int) -> int:
    return block + (block >= attention)


def _statistics(name, norm):
    return {
        f"{name}.running_means": Slot(norm.moving_mean),
        f"{name}.running_vars": Slot(norm.moving_variance),
    }


def _linear(name: str, layer: Linear, order):
    moved, back = order
    kernel = Slot(layer.kernel, lambda a: moved(a).T, lambda a: back(a.T))
    return _normalised(name, layer, kernel, moved, back)


def _convolution(name: str, layer: Convolution):
    size, inputs = layer.size, layer.kernel.shape[2]

    def theirs(v):
        return v.reshape(size, size, inputs).transpose(2, 0, 1).reshape(-1)

    def ours(v):
        return v.reshape(inputs, size, size).transpose(1, 2, 0).reshape(-1)

    kernel = Slot(layer.kernel, to_oihw, to_hwio)
    return _normalised(name, layer, kernel, theirs, ours)


def _normalised(name, layer, kernel, theirs, ours):
    found = {f"{name}.weight_orig": kernel}
    if layer.bias is not None:
        found[f"{name}.bias"] = Slot(layer.bias, same, same)
    found[f"{name}.weight_u"] = Slot(layer.norm.u, same, same, row=0)
    if layer.norm.v is not None:
        found[f"{name}.weight_v"] = Slot(layer.norm.v, theirs, ours)
    return found


def _vector(array):
    return array.reshape(1)


def _scalar(array):
    return array.reshape(())
