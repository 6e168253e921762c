"""BigGAN-PyTorch's state dicts: where each array goes, and the sizes in them."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping
from tfdl.engine.errors import UserError
from tfdl.models.biggan.conditional_norm import BatchNorm
from tfdl.models.biggan.discriminator import Discriminator
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.names import layers_by_name
from tfdl.models.biggan.plans import (
    DEPTH,
    MAX_BLOCKS,
    DiscriminatorConfig,
    GeneratorConfig,
)
from tfdl.models.biggan.slots import (
    Slot,
    rows_moved,
    same,
    to_hwio,
    to_oihw,
)
from tfdl.models.biggan.spectral import Convolution, Linear, Table

Arrays = Mapping[str, np.ndarray]
COUNTER = "accumulation_counter"


def slots(
    network: Generator | Discriminator, mybn: bool = False, z_first: bool = False
) -> dict[str, Slot]:
    """Returns where each array of a state dict goes.

    Args:
        network: built.
        mybn: normalisations hold their statistics as with `--mybn`; the counters of
            standing statistics are not among them.
        z_first: conditions are [z, class] (later forks of BigGAN-deep), not
            [class, z].
    """
    found: dict[str, Slot] = {}
    for name, layer in layers_by_name(network).items():
        if isinstance(layer, Convolution):
            found |= _normalised(name, layer, layer.kernel, to_oihw, to_hwio)
        elif isinstance(layer, Linear):
            found |= _linear(name, layer, network, z_first)
        elif isinstance(layer, Table):
            found |= _normalised(name, layer, layer.table, same, same)
        elif hasattr(layer, "gamma"):
            found[f"{name}.gamma"] = Slot(layer.gamma)
        if name == "output_layer.0":
            found[f"{name}.gain"] = Slot(layer.gain)
            found[f"{name}.bias"] = Slot(layer.bias)
        if isinstance(layer, BatchNorm):
            prefix = f"{name}.bn" if mybn else name
            found[f"{prefix}.stored_mean"] = Slot(layer.moving_mean)
            found[f"{prefix}.stored_var"] = Slot(layer.moving_variance)
    return found


def _normalised(name, layer, weight, theirs, ours, change=(same, same)):
    """Returns a weight, its bias, and the vectors beside it."""
    found = {f"{name}.weight": Slot(weight, theirs, ours)}
    if getattr(layer, "bias", None) is not None:
        found[f"{name}.bias"] = Slot(layer.bias, *change)
    if layer.norm is not None:
        for k in range(layer.norm.settings.values):
            found[f"{name}.u{k}"] = Slot(
                layer.norm.u,
                lambda u: change[0](u)[None],
                lambda u: change[1](u[0]),
                row=k,
            )
            found[f"{name}.sv{k}"] = Slot(
                layer.norm.sv, lambda x: x.reshape(1), lambda x: x.reshape(()), row=k
            )
    return found


def _linear(name, layer, network, z_first):
    config = network.config
    change = (same, same)
    if name == "linear" and isinstance(network, Generator):
        # The original views the outputs as (channels, 4, 4).
        channels, width = config.blocks[0][0], config.bottom_width
        change = (
            lambda a: a.reshape(width, width, channels).transpose(2, 0, 1).reshape(-1),
            lambda a: a.reshape(channels, width, width).transpose(1, 2, 0).reshape(-1),
        )
    order = (same, same)
    if z_first and isinstance(network, Generator):
        order = rows_moved(config.shared_dim)

    def theirs(kernel):
        return np.stack([change[0](row) for row in order[0](kernel)], 1)

    def ours(kernel):
        return order[1](np.stack([change[1](column) for column in kernel.T]))

    return _normalised(name, layer, layer.kernel, theirs, ours, change)


def is_discriminator(arrays: Arrays) -> bool:
    """Tells a discriminator's state dict from a generator's."""
    return "output_layer.2.weight" not in arrays


def is_ajb(arrays: Arrays) -> bool:
    """Tells whether a state dict has this project's names."""
    return "blocks.0.0.conv1.weight" in arrays and "linear.weight" in arrays


def has_mybn(arrays: Arrays) -> bool:
    """Tells whether statistics are held as with `--mybn`."""
    return any(name.endswith(".bn.stored_mean") for name in arrays)


def kind(arrays: Arrays) -> str:
    """Returns "biggan" or "deep"."""
    return "deep" if "blocks.0.0.conv4.weight" in arrays else "biggan"


def generator_config(
    arrays: Arrays, where: str, depth: int | None = None, **changes: Any
) -> GeneratorConfig:
    """Returns the architecture of a generator's state dict.

    Args:
        arrays: the state dict.
        where: the file, for messages.
        depth: blocks per resolution of a deep one, where it cannot be told.
        **changes: fields that no array shows, such as epsilons.

    Raises:
        UserError: arrays that tell a size are missing.
    """
    shapes = _Shapes(arrays, where)
    deep = kind(arrays) == "deep"
    widths = _blocks(arrays, shapes, deep)
    if deep:
        depth = depth or _depth(widths)
        ups = [i % depth == depth - 1 for i in range(len(widths))]
    else:
        ups = [True] * len(widths)
    blocks = [(a, b, up) for (a, b), up in zip(widths, ups, strict=True)]
    outputs, inputs = shapes("linear.weight", 2)
    filters = shapes("output_layer.2.weight", 4)[0]
    gain = shapes("blocks.0.0.bn1.gain.weight", 2)
    shared = "shared.weight" in arrays
    classes, shared_dim = shapes("shared.weight", 2) if shared else (gain[0], 0)
    extra = gain[1] - shared_dim if shared else 0
    fields: dict[str, Any] = {
        "kind": "deep" if deep else "biggan",
        "blocks": tuple(blocks),
        "attention": _attention(arrays, 1),
        "num_classes": classes,
        "shared_dim": shared_dim,
        "hierarchical": extra > 0,
        "bottom_width": math.isqrt(outputs // max(1, blocks[0][0])),
        "image_channels": 3 if deep and filters > 4 else filters,
        "rgb_filters": filters if deep and filters > 4 else 0,
        "running_variance": "biased" if has_mybn(arrays) else "unbiased",
        **_spectral(arrays),
    }
    fields["dim_z"] = inputs
    if deep:
        fields["dim_z"] = extra
    elif extra > 0:
        fields["dim_z"] = inputs * (len(blocks) + 1)
    return GeneratorConfig(**{**fields, **changes})


def discriminator_config(
    arrays: Arrays, where: str, **changes: Any
) -> DiscriminatorConfig:
    """Returns the architecture of a discriminator's state dict.

    Raises:
        UserError: arrays that tell a size are missing.
    """
    shapes = _Shapes(arrays, where)
    deep = kind(arrays) == "deep"
    depth = 1
    if deep:
        pattern = re.compile(r"blocks\.0\.(\d+)\.conv1\.weight")
        found = [int(m[1]) for name in arrays if (m := pattern.fullmatch(name))]
        depth = min(1 + max(found), MAX_BLOCKS)
    widths = _blocks(arrays, shapes, deep, depth)
    stages = len(widths) // depth
    blocks = []
    for i, (inputs, outputs) in enumerate(widths):
        name = f"blocks.{i // depth}.{i % depth}.conv_sc.weight"
        if deep:
            # The original's plan for 32 pixels is the one of a single width.
            flat = all(a == b for a, b in widths)
            down = i % depth == 0 and (i // depth < 2 or not flat)
        else:
            down = name in arrays and i < stages - 1
        blocks.append((inputs, outputs, down))
    stem = shapes("input_conv.weight", 4) if deep else (0, blocks[0][0])
    projects = "embed.weight" in arrays
    fields: dict[str, Any] = {
        "kind": "deep" if deep else "biggan",
        "blocks": tuple(blocks),
        "attention": tuple(
            (i + 1) * depth - 1 for i in _attention(arrays, depth) if i < stages
        ),
        "depth": depth,
        "num_classes": shapes("embed.weight", 2)[0] if projects else 1,
        "image_channels": stem[1],
        "projection": projects,
        "thin": not deep and _is_thin(shapes, widths),
        **_spectral(arrays),
    }
    return DiscriminatorConfig(**{**fields, **changes})


def check_finite(arrays: Arrays, where: str) -> None:
    """Raises `UserError` when a weight is no number."""
    bad = [n for n, x in arrays.items() if not np.isfinite(x.astype(np.float32)).all()]
    if bad:
        raise UserError(f"{where}: {mapping.listing('with NaN or Inf', bad)}")


class _Shapes:
    """The shapes of arrays that must be there."""

    def __init__(self, arrays: Arrays, where: str):
        self.arrays, self.where = arrays, where

    def __call__(self, name: str, rank: int) -> tuple[int, ...]:
        if name not in self.arrays:
            raise UserError(f"{self.where} is no BigGAN checkpoint: it lacks {name}")
        shape = self.arrays[name].shape
        if len(shape) != rank or 0 in shape:
            raise UserError(f"{self.where}: {name} has shape {list(shape)}")
        return shape


def _blocks(arrays, shapes, deep: bool, depth: int = 1) -> list[tuple[int, int]]:
    pattern = re.compile(r"blocks\.(\d+)\.0\.conv1\.weight")
    found = [int(m[1]) for name in arrays if (m := pattern.fullmatch(name))]
    count = 1 + max(found, default=0)
    if count > MAX_BLOCKS:
        raise UserError(f"{shapes.where} has {count} blocks, at most {MAX_BLOCKS}")
    widths = []
    for i in range(count):
        for j in range(depth):
            inputs = shapes(f"blocks.{i}.{j}.conv1.weight", 4)[1]
            last = f"blocks.{i}.{j}.conv{4 if deep else 2}.weight"
            widths.append((inputs, shapes(last, 4)[0]))
    return widths


def _depth(widths) -> int:
    """Tells from where the width changes how many blocks a resolution has."""
    ends = [i + 1 for i, (a, b) in enumerate(widths) if a != b] + [len(widths)]
    if all(end % DEPTH == 0 for end in ends):
        return DEPTH
    return math.gcd(*ends)


def _attention(arrays: Arrays, depth: int) -> tuple[int, ...]:
    pattern = re.compile(rf"blocks\.(\d+)\.{depth}\.theta\.weight")
    return tuple(sorted(int(m[1]) for name in arrays if (m := pattern.fullmatch(name))))


def _spectral(arrays: Arrays) -> dict[str, Any]:
    count = sum(bool(re.fullmatch(r"linear\.u\d+", name)) for name in arrays)
    return {"spectral_norm": count > 0, "singular_values": max(1, count)}


def _is_thin(shapes: _Shapes, widths) -> bool:
    hidden = [shapes(f"blocks.{i}.0.conv1.weight", 4)[0] for i in range(len(widths))]
    return any(
        inner == inputs != outputs
        for inner, (inputs, outputs) in zip(hidden, widths, strict=True)
    )
