"""The momentum of SGD in the original's training checkpoints."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import safetensors
from tfdl.engine import files
from tfdl.engine import model_dir as directory
from tfdl.engine.errors import UserError
from tfdl.engine.optimizers import Optimizer
from tfdl.models.imagenet18 import torchvision_names
from tfdl.models.imagenet18.model import ResNet
from tfdl.models.imagenet18.names import normalisation_patterns, variable_names
from tfdl.models.imagenet18.network import ResNetConfig

ASSET = "momentum.safetensors"


def by_name(
    optimizer: Mapping[str, Any],
    names: Sequence[str],
    config: ResNetConfig,
    where: str,
) -> dict[str, np.ndarray]:
    """Returns the momentum buffers of a torch SGD by the weights' names.

    Buffers are numbered. With one group the numbers follow the weights' order; with
    two, the normalisations' weights come first (they are not decayed).

    Args:
        optimizer: the state dict of `torch.optim.SGD`.
        names: the trained weights' names, in the file's order.
        config: of the network.
        where: the file, for messages.

    Raises:
        UserError: the state does not fit the weights.
    """
    groups, state = optimizer.get("param_groups"), optimizer.get("state")
    if not isinstance(groups, list) or not isinstance(state, dict):
        raise UserError(f"{where}: its optimizer is not a state of torch's SGD")
    patterns = normalisation_patterns(config)
    norms = [n for n in names if any(re.search(p, n) for p in patterns)]
    rest = [name for name in names if name not in norms]
    keys = [key for group in groups for key in group.get("params", ())]
    sizes = [len(group.get("params", ())) for group in groups]
    if sizes == [len(norms), len(rest)]:
        order = norms + rest
    elif sizes == [len(names)]:
        order = list(names)
    else:
        raise UserError(
            f"{where}: its optimizer has groups of {sizes} weights; {len(names)}, or "
            f"{len(norms)} of normalisation and {len(rest)} others are expected"
        )
    result = {}
    for key, name in zip(keys, order, strict=True):
        slot = state.get(key, {})
        buffer = slot.get("momentum_buffer") if isinstance(slot, dict) else None
        if not isinstance(buffer, np.ndarray):
            raise UserError(f"{where}: its optimizer has no momentum of {name}")
        result[name] = buffer.astype(np.float32)
    return result


def save(path: pathlib.Path, buffers: Mapping[str, np.ndarray]) -> pathlib.Path:
    """Writes buffers (torchvision's names and layout) as an asset's content."""
    safetensors.write(path, dict(buffers), {"format": "pt"})
    return path


def restore(optimizer: Optimizer, model: ResNet, model_dir: files.PathLike) -> bool:
    """Puts a converted checkpoint's momentum into an optimizer.

    Args:
        optimizer: built on the model's weights; its slots hold gradients' units, as
            torch's do.
        model: the network that it trains.
        model_dir: where the network comes from.

    Returns:
        Whether the model directory has any.

    Raises:
        UserError: it does not fit the network.
    """
    path = pathlib.Path(model_dir) / directory.ASSETS / ASSET
    if not path.is_file():
        return False
    buffers = safetensors.read(path)
    for name, variable in variable_names(model).items():
        if name not in buffers:
            raise UserError(f"{path} lacks {name}")
        value = torchvision_names.ours(name, np.asarray(buffers[name]))
        if value.shape != tuple(variable.shape):
            raise UserError(
                f"{path}: {name} {list(value.shape)} instead of {list(variable.shape)}"
            )
        optimizer.slots(variable)["velocity"].assign(value)
    return True
