"""The same generator with less to compute, or with its state in another form."""

import dataclasses

import keras

from tfdl.engine.options import number
from tfdl.models.biggan.conditional_norm import Rows
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.model import build_generator
from tfdl.models.biggan.names import (
    layers_by_name,
    named_variables,
    norm_layers,
    spectral_layers,
)


def without_spectral_norm(generator: Generator) -> Generator:
    """Returns a generator whose weights are divided by their singular values."""
    config = dataclasses.replace(generator.config, spectral_norm=False)
    result = build_generator(config, empty=True)
    _copy(generator, result)
    old, new = layers_by_name(generator), layers_by_name(result)
    for name, norm in spectral_layers(generator).items():
        new[name].kernel.assign(norm(old[name].kernel, training=False))
    return result


def at_truncation(generator: Generator, truncation: float | str) -> Generator:
    """Returns a generator that has one truncation's statistics instead of a table."""
    value = number("truncation", truncation, 1e-6, 1.0 + 1e-9)
    if generator.config.statistics != "table":
        return generator
    config = generator.config
    rows = Rows(value, config.num_statistics, config.interpolation)
    result = build_generator(
        dataclasses.replace(config, statistics="running"), empty=True
    )
    _copy(generator, result)
    old = norm_layers(generator)
    for name, layer in norm_layers(result).items():
        layer.moving_mean.assign(rows.of(old[name].moving_mean))
        layer.moving_variance.assign(rows.of(old[name].moving_variance))
    return result


def with_stored_vectors(generator: Generator) -> Generator:
    """Returns a generator that keeps both vectors of each singular value."""
    config = dataclasses.replace(generator.config, spectral_evaluation="stored")
    result = build_generator(config, empty=True)
    _copy(generator, result)
    layers = layers_by_name(result)
    for name, norm in spectral_layers(result).items():
        # One iteration, which training stores.
        norm(layers[name].kernel, training=True)
    return result


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights that both have with the same shape."""
    new = named_variables(target)
    for name, variable in named_variables(source).items():
        if name in new and new[name].shape == variable.shape:
            new[name].assign(variable)
