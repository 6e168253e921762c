"""Finding and reading the files of original ResNet checkpoints."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import safetensors, sniff, torch_archive
from tfdl.engine import files
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import (
    huggingface,
    keras_applications,
    timm_names,
    torchvision_names,
)

MAX_JSON = 64 << 20
# Where our own export keeps what no tensor shows.
METADATA = "tfdl"
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".h5", ".hdf5", ".tar")
# torchvision's second weights (2021), by the hash in their files' names, were
# evaluated with another resize than the first.
_RESIZE_232 = ("11ad3fa6", "cd907fc2", "f82ba261")
# What a training checkpoint holds beside the weights: name -> averaged ones.
_WRAPPERS = {"state_dict": "state_dict_ema", "model": "model_ema"}


@dataclasses.dataclass
class Source:
    """What was read.

    Attributes:
        kind: "torchvision", "imagenet18" (the recipe's training checkpoint),
            "transformers", "timm" or "keras.applications".
        where: the file, for messages.
        arrays: torchvision's names and layout.
        blurred: names of convolutions behind a blur.
        network: what files say of the network beside the tensors.
        settings: preprocessing, test_size, resize, where they are said.
        labels: names of the classes, where they are said.
        optimizer: torch's optimizer state, if there is one.
        skipped: what the file holds besides.
    """

    kind: str
    where: str
    arrays: dict[str, np.ndarray]
    blurred: set[str] = dataclasses.field(default_factory=set)
    network: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: list[str] | None = None
    optimizer: dict[str, Any] | None = None
    skipped: list[str] = dataclasses.field(default_factory=list)


def read(path: files.PathLike, averaged: bool = False) -> Source:
    """Reads a checkpoint in any of the known layouts.

    Args:
        path: a file of weights or a folder with one.
        averaged: take the moving average of a training checkpoint's weights.

    Raises:
        UserError: nothing known is there, or a file is damaged.
    """
    weights = _weights_file(pathlib.Path(path))
    kind = sniff.kind(weights)
    if weights.name.endswith(".json") or kind == sniff.SAFETENSORS:
        found = _read_safetensors(weights)
    elif kind == sniff.HDF5:
        found = Source(
            "keras.applications",
            str(weights),
            keras_applications.read(weights),
            network=dict(keras_applications.NETWORK),
            settings={"preprocessing": {"mode": "caffe"}},
        )
    elif kind in (sniff.ZIP, sniff.PICKLE, sniff.TAR):
        found = _read_torch(weights, averaged)
    else:
        raise UserError(f"{weights} is no checkpoint: {sniff.instead(weights)}")
    if averaged and kind not in (sniff.ZIP, sniff.PICKLE):
        raise UserError(f"{weights} has no averaged weights beside the others")
    # A trained size that only the file's name tells.
    if any(part in weights.name for part in _RESIZE_232):
        found.settings.setdefault("resize", 232)
    _from_names(found, weights)
    return found


def _from_names(found: Source, weights: pathlib.Path) -> None:
    arrays = torchvision_names.unwrapped(found.arrays)
    if huggingface.is_huggingface(arrays):
        found.kind = "transformers"
        arrays = huggingface.to_torchvision(arrays)
        config = _optional_json(weights.parent / "config.json")
        found.network |= huggingface.network(config, found.where)
        found.labels = huggingface.labels(config)
        processor = _optional_json(weights.parent / "preprocessor_config.json")
        found.settings["preprocessing"] = huggingface.preprocessing(processor)
        if sizes := huggingface.sizes(processor):
            found.settings["test_size"], found.settings["resize"] = sizes
    found.arrays, found.blurred = torchvision_names.plain(arrays, found.where)


def _read_safetensors(path: pathlib.Path) -> Source:
    if path.name.endswith(".json"):
        return Source("transformers", str(path), safetensors.read_sharded(path))
    found = Source("timm", str(path), safetensors.read(path))
    own = safetensors.read_metadata(path).get(METADATA)
    if own:
        try:
            settings = json.loads(own)
            found.network, found.settings = settings["network"], settings["settings"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: its metadata {METADATA!r} are damaged") from None
        found.kind = "torchvision"
        names = path.with_name("classes.txt")
        if names.is_file():
            found.labels = files.read_text(names).splitlines()
    elif not huggingface.is_huggingface(found.arrays):
        settings = timm_names.settings(_optional_json(path.with_name("config.json")))
        found.labels = settings.pop("labels", None)
        found.settings = settings
    return found


def _read_torch(path: pathlib.Path, averaged: bool) -> Source:
    content = torch_archive.read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not weights by name")
    found = Source("torchvision", str(path), {})
    weights = content
    for wrapper, average in _WRAPPERS.items():
        if isinstance(content.get(wrapper), dict):
            taken = average if averaged else wrapper
            if not isinstance(content.get(taken), dict):
                raise UserError(f"{path} has no averaged weights ({average!r})")
            weights = content[taken]
            found.skipped = [str(name) for name in content if name != taken]
            if "best_top5" in content:
                found.kind = "imagenet18"
            break
    else:
        if averaged:
            raise UserError(f"{path} is no training checkpoint with averaged weights")
    state = content.get("optimizer") if weights is not content else None
    if isinstance(state, dict) and state.get("state"):
        found.optimizer = state
    # The average's own counter.
    weights = {k: v for k, v in weights.items() if k != "n_averaged"}
    odd = [name for name, x in weights.items() if not isinstance(x, np.ndarray)]
    if odd or not all(isinstance(name, str) for name in weights):
        shown = sniff.shown(odd[0]) if odd else "a name that is no text"
        raise UserError(f"{path} is no state dict: {shown} is no tensor")
    found.arrays = weights
    return found


def _weights_file(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return files.require_file(path)
    for name in _WEIGHTS:
        if (path / name).is_file():
            return files.require_file(path / name)
    found = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    if len(found) == 1:
        return files.require_file(found[0])
    if not found:
        raise UserError(f"{path} holds no weights ({', '.join(_SUFFIXES)})")
    raise UserError(
        f"{path} holds {len(found)} files of weights: name one, e.g. {found[0]}"
    )


def _optional_json(path: pathlib.Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(files.read_text(path, MAX_JSON))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is needed")
    return value
