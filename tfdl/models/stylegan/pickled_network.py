"""Reads the original's pickled networks without running anything in them.

A file is one pickle of `(G, D, Gs)`, or of one network alone. A network is a few plain
values, arrays by name, and Python source of its own, which stays unread.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import numpy_pickle, restricted_pickle, sniff
from tfdl.engine import files
from tfdl.engine.errors import UserError

NETWORK = "dnnlib.tflib.network.Network"
EASY_DICT = "dnnlib.util.EasyDict"
# What builds a network, and the parts it has.
FUNCTIONS = {
    "G_style": ("mapping", "synthesis"),
    "G_mapping": (),
    "G_synthesis": (),
    "D_basic": (),
}
VERSIONS = (2, 3)
ROLES = ("G", "D", "Gs")
# How files of torch began before they were zip archives.
TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
PORTS = (
    "a PyTorch port's weights mean another function (biases before the blur, another "
    "epsilon) and cannot be converted; the original's are in .pkl files"
)
MAX_VARIABLES = 4096
PLAIN = (str, int, float, bool, type(None))
LIMITS = restricted_pickle.Limits(
    max_bytes=4 << 30, max_operations=1_000_000, max_depth=32, max_growth=4
)


@dataclasses.dataclass(frozen=True)
class PickledNetwork:
    """One network of a file.

    Attributes:
        name: what the file calls it.
        function: what builds it, a key of `FUNCTIONS`.
        options: the arguments it was made with.
        parts: the networks that it is made of, by name.
        arrays: its own variables, without those of its parts.
    """

    name: str
    function: str
    options: Mapping[str, Any]
    parts: Mapping[str, "PickledNetwork"]
    arrays: Mapping[str, np.ndarray]


def read(path: files.PathLike) -> dict[str, PickledNetwork]:
    """Returns a file's networks: "G", "D" and "Gs", or the one that it holds.

    A lone generator is called "Gs", a lone discriminator "D", a part of a generator
    by its function.

    Raises:
        UserError: the file is damaged, no StyleGAN of the first version, or asks for
            something that data has no need of. Nothing in it is run.
    """
    path = files.require_file(pathlib.Path(path))
    with open(path, "rb") as stream:
        start = stream.read(512)
        if TORCH in start[:32]:
            raise UserError(f"{path} was written by torch: {PORTS}")
        if not start.startswith(b"\x80"):
            raise UserError(f"{path} is no pickled network: {sniff.instead(path)}")
        stream.seek(0)
        content = restricted_pickle.load(
            stream,
            str(path),
            allowed={
                **numpy_pickle.ALLOWED,
                NETWORK: _inert(NETWORK),
                EASY_DICT: _inert(EASY_DICT),
            },
            limits=LIMITS,
        )
    if isinstance(content, tuple | list):
        if len(content) != len(ROLES):
            raise UserError(
                f"{path} holds {len(content)} networks; StyleGAN's files hold (G, D, "
                "Gs) or one"
            )
        read = {
            role: _network(item, f"{path}: {role}")
            for role, item in zip(ROLES, content, strict=True)
        }
        for role, network in read.items():
            wanted = "D_basic" if role == "D" else "G_style"
            if network.function != wanted:
                raise UserError(
                    f"{path}: {role} is a {network.function}, not a {wanted}"
                )
        return read
    network = _network(content, str(path))
    role = {"G_style": "Gs", "D_basic": "D"}.get(network.function, network.function)
    return {role: network}


def _inert(name: str) -> Any:
    def make() -> restricted_pickle.Inert:
        return restricted_pickle.Inert(name)

    return make


def _network(value: Any, where: str, depth: int = 0) -> PickledNetwork:
    if not isinstance(value, restricted_pickle.Inert) or value.class_name != NETWORK:
        raise UserError(f"{where}: {type(value).__name__} in the place of a network")
    state = _dict(value.state, f"{where}: its state")
    version = state.get("version")
    if type(version) is not int or version not in VERSIONS:
        hint = {
            4: " (StyleGAN2's or StyleGAN2-ADA's, which is another network)",
            1: " (older than StyleGAN)",
        }.get(version if type(version) is int else None, "")
        raise UserError(
            f"{where}: format version {version!r}{hint}; StyleGAN's are 2 and 3"
        )
    function = state.get("build_func_name")
    if function not in FUNCTIONS:
        raise UserError(
            f"{where}: custom network {sniff.shown(str(function))}: not supported "
            f"(known: {', '.join(FUNCTIONS)})"
        )
    name = state.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where}: a network without a name")
    parts = _dict(state.get("components") or {}, f"{where}: components")
    missing = [part for part in FUNCTIONS[function] if part not in parts]
    if missing:
        raise UserError(f"{where}: {function} without its {' and '.join(missing)}")
    if set(parts) - set(FUNCTIONS[function]) or depth > 1:
        raise UserError(f"{where}: unknown parts: {', '.join(map(str, parts))}")
    return PickledNetwork(
        name,
        function,
        _options(state.get("static_kwargs"), f"{where}: static_kwargs"),
        {
            part: _network(item, f"{where}: {part}", depth + 1)
            for part, item in parts.items()
        },
        _variables(state.get("variables"), f"{where}: {name}"),
    )


def _dict(value: Any, where: str) -> dict:
    if isinstance(value, restricted_pickle.Inert) and value.class_name == EASY_DICT:
        value = value.mapping
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{where}: {type(value).__name__} in the place of a dict")
    return value


def _options(value: Any, where: str) -> dict[str, Any]:
    options = {}
    for key, item in _dict(value, where).items():
        if isinstance(item, list | tuple) and all(
            isinstance(one, int | float) for one in item
        ):
            item = list(item)
        elif isinstance(item, np.generic) and item.dtype.kind in "biuf":
            item = item.item()
        elif not isinstance(item, PLAIN):
            raise UserError(f"{where}: {key} is a {type(item).__name__}")
        options[key] = item
    return options


def _variables(value: Any, where: str) -> dict[str, np.ndarray]:
    if not isinstance(value, list | tuple) or len(value) > MAX_VARIABLES:
        raise UserError(f"{where}: no list of variables")
    arrays: dict[str, np.ndarray] = {}
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"{where}: a variable that is no (name, value)")
        name, array = pair
        if not isinstance(name, str) or name in arrays:
            raise UserError(
                f"{where}: variable {sniff.shown(str(name))} twice, or no name"
            )
        if isinstance(array, int | float | np.generic):
            array = np.asarray(array)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise UserError(f"{where}: {name} is no array of floats")
        if not np.isfinite(array).all():
            raise UserError(f"{where}: NaN or Inf in {name}")
        arrays[name] = array.astype("float32", copy=False)
    return arrays
