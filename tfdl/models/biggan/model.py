"""BigGAN (Brock, Donahue, Simonyan 2018): the networks of a model directory.

The generator, of averaged weights where there are any, is the model. What training
goes on with lies beside it: the discriminator, and the generator without averages.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.models.biggan.discriminator import Discriminator
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.plans import DiscriminatorConfig, GeneratorConfig

DISCRIMINATOR = "discriminator.weights.h5"
TRAINING_GENERATOR = "training_generator.weights.h5"


def build_generator(
    config: GeneratorConfig | Mapping[str, Any], empty: bool = False
) -> Generator:
    """Returns a built generator with random weights.

    Args:
        config: the architecture, or a dict of its fields (with a `preset`, if you
            like).
        empty: the weights are zeros instead.
    """
    if not isinstance(config, GeneratorConfig):
        config = GeneratorConfig.from_dict(config)
    network = Generator(config, empty)
    network.build()
    return network


def build_discriminator(
    config: DiscriminatorConfig | Mapping[str, Any], empty: bool = False
) -> Discriminator:
    """Returns a built discriminator with random weights; see `build_generator`."""
    if not isinstance(config, DiscriminatorConfig):
        config = DiscriminatorConfig.from_dict(config)
    network = Discriminator(config, empty)
    network.build()
    return network


def from_config(
    config: Mapping[str, Any], model_dir: str | pathlib.Path
) -> Generator | Discriminator:
    """Returns the network of a model directory, before its weights are loaded.

    It is a discriminator where one was converted by itself. A generator's
    `load_discriminator()` gives the one beside it, or None.

    Raises:
        UserError: the configuration makes no sense, or asks for far more than the
            weights file holds: found before memory is asked for.
    """
    weights = pathlib.Path(model_dir) / directory.WEIGHTS
    if not isinstance(config.get("generator"), Mapping):
        if not isinstance(config.get("discriminator"), Mapping):
            raise errors.UserError(
                f"{model_dir}: {directory.CONFIG} has no 'generator'"
            )
        wanted = DiscriminatorConfig.from_dict(config["discriminator"])
        _check_room(weights, wanted)
        return build_discriminator(wanted, empty=True)
    wanted = GeneratorConfig.from_dict(config["generator"])
    _check_room(weights, wanted)
    network = build_generator(wanted, empty=True)
    network.set_companion(lambda: load_discriminator(model_dir))
    return network


def load_discriminator(model_dir: str | pathlib.Path) -> Discriminator | None:
    """Loads the discriminator beside a generator; None if there is none."""
    found = _beside(model_dir, DISCRIMINATOR, "discriminator", DiscriminatorConfig)
    return found and _loaded(build_discriminator, *found)


def load_training_generator(model_dir: str | pathlib.Path) -> Generator | None:
    """Loads the generator without averaged weights; None if there is none."""
    found = _beside(model_dir, TRAINING_GENERATOR, "generator", GeneratorConfig)
    return found and _loaded(build_generator, *found)


def _beside(model_dir, name: str, field: str, kind):
    """Returns a file among the assets and its network's configuration, or None."""
    config = directory.read_config(model_dir)
    path = pathlib.Path(model_dir) / directory.ASSETS / name
    if not isinstance(config.get(field), Mapping) or not path.is_file():
        return None
    return path, kind.from_dict(config[field])


def _loaded(build, path: pathlib.Path, wanted):
    _check_room(path, wanted)
    network = build(wanted, empty=True)
    _load(path, network)
    return network


def _check_room(
    weights: pathlib.Path, wanted: GeneratorConfig | DiscriminatorConfig
) -> None:
    held = files.require_file(weights).stat().st_size
    count = wanted.num_parameters()
    if 4 * count > held:
        raise errors.UserError(
            f"{weights} has {held:,} bytes, too few for the {count:,} weights that "
            f"{directory.CONFIG} asks for"
        )


def _load(path: pathlib.Path, network: Generator | Discriminator) -> None:
    try:
        network.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise errors.UserError(
            f"{path} cannot be loaded (damaged, or of another architecture): {reason}"
        ) from None
