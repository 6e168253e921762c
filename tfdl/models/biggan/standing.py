"""Standing statistics: batch normalisation measured anew before sampling.

Running averages were taken under weights that have moved since, and of latents that
were not truncated. So the averaged generator runs in training mode over some batches
of the latents that will be used, and the means of the batches' statistics are kept
(appendix B: 100 batches). Truncated latents have statistics of their own: a table holds
a row per truncation.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.biggan import latents
from tfdl.models.biggan.conditional_norm import accumulating
from tfdl.models.biggan.model import build_generator
from tfdl.models.biggan.names import named_variables, norm_layers, spectral_layers


@dataclasses.dataclass(frozen=True)
class Standing:
    """How statistics are measured.

    Attributes:
        passes: batches; 0 keeps the running averages.
        batch_size: latents in a batch.
        mode: how latents are truncated.
        seed: of latents and classes.
    """

    passes: int = 16
    batch_size: int = 64
    mode: str = "scaled"
    seed: int = 0

    def batches(
        self, dim: int, num_classes: int, truncation: float
    ) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Yields z [B, dim] and labels [B] of every pass."""
        for i in range(self.passes):
            z = latents.sample(
                self.batch_size, dim, truncation, self.mode, (self.seed, 1, i)
            )
            state = latents.random_state(self.seed, 2, i)
            yield z, state.randint(0, num_classes, self.batch_size).astype(np.int32)


class Meter:
    """Measures a generator's statistics; traced once, whatever the truncation.

    Args:
        generator: one with running statistics, which are overwritten. The vectors of
            its spectral normalisation move on, as in the reference.
    """

    def __init__(self, generator: keras.Model):
        if generator.config.statistics != "running":
            raise ValueError("a table of statistics is not measured")
        self.generator = generator

        @tf.function(reduce_retracing=True)
        def one(z, label, share):
            with accumulating(share):
                generator({"z": z, "label": label}, training=True)

        self._one = one

    def measure(self, batches: Iterable[tuple[Any, Any]]) -> int:
        """Sets the statistics to the mean of the batches'; returns how many."""
        count = 0
        for z, label in batches:
            count += 1
            self._one(
                tf.constant(z, tf.float32),
                tf.constant(label, tf.int32),
                tf.constant(1.0 / count, tf.float32),
            )
        return count


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies everything that has the same name and shape; all but tables does."""
    given = named_variables(source)
    for name, variable in named_variables(target).items():
        value = given[name]
        if value.shape == variable.shape:
            variable.assign(value.numpy())


def plain_copy(generator: keras.Model) -> keras.Model:
    """Returns the same generator on one device, with running statistics.

    Those of a table's last row, for no truncation, where the generator has a table.
    """
    config = dataclasses.replace(generator.config, statistics="running")
    result = build_generator(config, empty=True)
    refresh(generator, result)
    return result


def refresh(generator: keras.Model, copy: keras.Model) -> None:
    """Brings what `plain_copy` returned up to date."""
    copy_weights(generator, copy)
    if generator.config.statistics == "table":
        given = norm_layers(generator)
        for name, layer in norm_layers(copy).items():
            layer.moving_mean.assign(given[name].moving_mean.numpy()[-1])
            layer.moving_variance.assign(given[name].moving_variance.numpy()[-1])


def in_rows(generator: keras.Model, rows: int) -> keras.Model:
    """Returns a generator whose table has the running statistics in every row."""
    config = dataclasses.replace(
        generator.config, statistics="table", num_statistics=rows
    )
    result = build_generator(config, empty=True)
    copy_weights(generator, result)
    given = norm_layers(generator)
    for name, layer in norm_layers(result).items():
        for part in ("moving_mean", "moving_variance"):
            value = getattr(given[name], part).numpy()
            getattr(layer, part).assign(np.tile(value, (rows, 1)))
    return result


def truncations(count: int) -> np.ndarray:
    """Returns what a table's rows stand for; the first is used below the second."""
    return np.linspace(0.0, 1.0, count)


def with_table(
    generator: keras.Model, settings: Standing, rows: int, meter: Meter | None = None
) -> keras.Model:
    """Returns the generator with a row of standing statistics per truncation.

    Args:
        generator: one with running statistics, which are overwritten.
        settings: how each row is measured.
        rows: of the table, for truncations 0 to 1; 51 in TF-Hub's modules.
        meter: one of this generator, made already.
    """
    if settings.passes < 1:
        raise errors.UserError("a table of statistics needs standing.passes above 0")
    result = in_rows(generator, rows)
    tables = {
        name: [np.zeros(layer.moving_mean.shape, np.float32) for _ in range(2)]
        for name, layer in norm_layers(result).items()
    }
    meter = meter or Meter(generator)
    dim, classes = generator.config.dim_z, generator.config.num_classes
    # Spectral vectors settle first; every row, and the model, begins with these.
    meter.measure(settings.batches(dim, classes, 1.0))
    vectors = {layer: layer.u.numpy() for layer in spectral_layers(generator).values()}
    for row in range(rows - 1, 0, -1):
        truncation = float(truncations(rows)[row])
        meter.measure(settings.batches(dim, classes, truncation))
        for layer, u in vectors.items():
            layer.u.assign(u)
        _read_row(generator, tables, row)
        if row == 1:
            _read_row(generator, tables, 0)
    copy_weights(generator, result)
    for name, layer in norm_layers(result).items():
        layer.moving_mean.assign(tables[name][0])
        layer.moving_variance.assign(tables[name][1])
    return result


def _read_row(generator, tables: Mapping[str, list[np.ndarray]], row: int) -> None:
    for name, layer in norm_layers(generator).items():
        tables[name][0][row] = layer.moving_mean.numpy()
        tables[name][1][row] = layer.moving_variance.numpy()
