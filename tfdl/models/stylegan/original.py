"""Networks of the original's files as ours."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping as names_mapping
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import names
from tfdl.models.stylegan.config import DiscriminatorConfig, GeneratorConfig
from tfdl.models.stylegan.discriminator import Discriminator
from tfdl.models.stylegan.model import (
    StyleGAN,
    build_discriminator,
    build_generator,
)
from tfdl.models.stylegan.pickled_network import PickledNetwork

# Arguments that change nothing here: precision, form of the graph, how it is run.
WITHOUT_EFFECT = frozenset(
    "dtype structure force_clean_graph is_template_graph is_training is_validation "
    "return_dlatents randomize_noise dlatent_broadcast func_name use_truncation "
    "mapping_func synthesis_func".split()
)
BLUR = [1, 2, 1]


def build(network: PickledNetwork, where: str) -> tuple[Any, float, list[str]]:
    """Returns (a built network with the file's weights, its lod, ignored arguments).

    Raises:
        UserError: a part of a generator alone; arguments or arrays that do not fit
            together.
    """
    if network.function == "D_basic":
        return _discriminator(network, where)
    if network.function != "G_style":
        raise UserError(
            f"{where} holds {network.function} alone, a part of a generator: the "
            "whole generator (Gs) is needed"
        )
    return _generator(network, where)


def build_from(
    fields: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    discriminator: bool,
    where: str,
) -> StyleGAN | Discriminator:
    """Returns a network with this configuration and these arrays of the original's."""
    kind = DiscriminatorConfig if discriminator else GeneratorConfig
    config = _checked(kind, fields, arrays, where)
    model = (build_discriminator if discriminator else build_generator)(config)
    _assign(model, arrays, where)
    return model


def arrays_of(network: StyleGAN | Discriminator) -> dict[str, np.ndarray]:
    """Returns a network's weights by the original's names, in its layouts."""
    return {
        name: names.originals(name, variable.numpy())
        for name, variable in names.variable_names(network, buffers=True).items()
    }


def _generator(network: PickledNetwork, where: str):
    arrays = dict(network.arrays)
    options = dict(network.options)
    for part, prefix in (("mapping", "G_mapping"), ("synthesis", "G_synthesis")):
        child = network.parts[part]
        if child.function != prefix:
            raise UserError(f"{where}: {part} is a {child.function}, not {prefix}")
        for key, value in child.options.items():
            if options.setdefault(key, value) != value:
                raise UserError(
                    f"{where}: {key} is {options[key]!r} and, for {prefix}, {value!r}"
                )
        arrays |= {f"{prefix}/{key}": value for key, value in child.arrays.items()}
    fields, ignored = _fields(options, GeneratorConfig, where)
    config = _checked(GeneratorConfig, fields, arrays, where)
    lod = _scalar(arrays, "lod", where)
    # The wrapper's level of detail is handed on to the synthesis.
    arrays.pop("G_synthesis/lod", None)
    model = build_generator(config, lod)
    _assign(model, arrays, where)
    return model, lod, ignored


def _discriminator(network: PickledNetwork, where: str):
    arrays = dict(network.arrays)
    fields, ignored = _fields(network.options, DiscriminatorConfig, where)
    config = _checked(DiscriminatorConfig, fields, arrays, where)
    lod = _scalar(arrays, "lod", where)
    model = build_discriminator(config)
    _assign(model, arrays, where)
    return model, lod, ignored


def _fields(
    options: Mapping[str, Any], kind: type, where: str
) -> tuple[dict[str, Any], list[str]]:
    """Returns what a configuration takes of the arguments, and what has no effect."""
    known = kind.__dataclass_fields__
    other = (GeneratorConfig, DiscriminatorConfig)
    fields = {key: value for key, value in options.items() if key in known}
    ignored = []
    for key, value in options.items():
        if key in known or any(key in each.__dataclass_fields__ for each in other):
            continue
        if key == "blur_filter":
            blur = [round(x / value[0], 6) for x in value] if value else value
            if blur != BLUR:
                raise UserError(f"{where}: blur_filter {value!r}, only {BLUR} is known")
        elif key not in WITHOUT_EFFECT:
            # The original's functions take and ignore arguments they do not know.
            ignored.append(key)
    # A file may hold 1.0 for a switch or 8192.0 for a count.
    for key, value in fields.items():
        wanted = type(known[key].default)
        if wanted in (int, bool) and not isinstance(value, bool):
            if isinstance(value, int | float) and value == wanted(value):
                fields[key] = wanted(value)
    for key in ("resolution", "num_channels"):
        if key not in fields:
            # What the original's functions take when they are not told.
            fields[key] = {"resolution": 1024, "num_channels": 3}[key]
    return fields, ignored


def _checked(
    kind: type, fields: Mapping[str, Any], arrays: Mapping[str, Any], where: str
) -> Any:
    try:
        config = kind.from_dict(fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except TypeError as error:
        raise UserError(f"{where}: an argument of a wrong type ({error})") from None
    held = sum(array.size for array in arrays.values())
    if config.num_parameters() > held:
        raise UserError(
            f"{where} has {held:,} weights, its arguments ask for "
            f"{config.num_parameters():,}: most of the network is missing"
        )
    return config


def _scalar(arrays: dict[str, np.ndarray], name: str, where: str) -> float:
    value = arrays.pop(name, np.float32(0.0))
    if np.size(value) != 1:
        raise UserError(f"{where}: {name} is no number")
    return float(np.reshape(value, ()))


def _assign(model: Any, arrays: Mapping[str, np.ndarray], where: str) -> None:
    if isinstance(model, StyleGAN) and not model.config.use_noise:
        arrays = {
            name: array
            for name, array in arrays.items()
            if not re.fullmatch(r"G_synthesis/noise\d+", name)
        }
    names_mapping.assign(
        names.variable_names(model, buffers=True),
        {name: names.ours(name, array) for name, array in arrays.items()},
        where,
    )
