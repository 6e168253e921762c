"""Pictures from a generator: truncated latents, statistics that fit them, uint8."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfdl.gan import sheets
from tfdl.models.biggan import latents, standing

# The rule of the public ports for pixels.
SCALE = 128.0


class Sampler:
    """Draws pictures.

    Args:
        generator: on one device. If its statistics are a table, they fit every
            truncation; running ones are measured anew for each, where asked.
        settings: how statistics are measured, and how latents are truncated; `passes`
            0 leaves running statistics as they are.
    """

    def __init__(self, generator: keras.Model, settings: standing.Standing):
        self.generator, self.settings = generator, settings
        self.meter = None
        if settings.passes and generator.config.statistics == "running":
            self.meter = standing.Meter(generator)
        self._measured: float | None = None

        @tf.function(reduce_retracing=True)
        def run(z, embedding, truncation):
            return generator.synthesis(z, embedding, truncation)

        self._run = run

    @property
    def config(self):
        """The generator's configuration."""
        return self.generator.config

    def weights_changed(self) -> None:
        """Says that statistics have to be measured again."""
        self._measured = None

    def statistics(self) -> str:
        """Returns which statistics are used, for results."""
        if self.meter is not None:
            return f"standing ({self.settings.passes} x {self.settings.batch_size})"
        return self.config.statistics

    def fit(self, truncation: float) -> None:
        """Makes the statistics fit a truncation."""
        latents.check(self.settings.mode, truncation)
        if self.meter is None or self._measured == truncation:
            return
        self.meter.measure(
            self.settings.batches(
                self.config.dim_z, self.config.num_classes, truncation
            )
        )
        self._measured = truncation

    def latents(
        self, count: int, truncation: float, seed: int | Sequence[int]
    ) -> np.ndarray:
        """Returns truncated z [count, dim]."""
        return latents.sample(
            count, self.config.dim_z, truncation, self.settings.mode, seed
        )

    def draw(self, z: np.ndarray, classes: np.ndarray, truncation: float) -> np.ndarray:
        """Returns uint8 pictures [B, H, W, C] of z and labels, or of embeddings.

        Args:
            z: [B, dim], truncated already.
            classes: labels int [B], or embeddings [B, E].
            truncation: which statistics to use.
        """
        self.fit(truncation)
        classes = np.asarray(classes)
        if classes.ndim == 1:
            classes = self.generator.embed(tf.constant(classes, tf.int32))
        image = self._run(
            tf.constant(z, tf.float32),
            tf.convert_to_tensor(classes),
            tf.constant(truncation, tf.float32),
        )
        return sheets.to_uint8(image.numpy(), SCALE)

    def batches(
        self,
        count: int,
        truncation: float,
        seed: int = 0,
        batch_size: int = 64,
        labels: Sequence[int] = (),
        first: int = 0,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields pictures and labels, batch by batch, `count` in all.

        A batch depends on the seed and its number alone, so that a dump can go on
        where it ended.

        Args:
            count: pictures.
            truncation: in (0, 1].
            seed: of latents and classes.
            batch_size: pictures at a time; the same pictures need the same.
            labels: taken in turn; empty draws classes uniformly.
            first: the batch to begin with.
        """
        for number in range(first, -(-count // batch_size)):
            rows = min(batch_size, count - number * batch_size)
            # All of them are drawn, however many are asked for in the end.
            z = self.latents(batch_size, truncation, (seed, 3, number))
            if len(labels):
                places = number * batch_size + np.arange(batch_size)
                chosen = np.asarray(labels, np.int32)[places % len(labels)]
            else:
                state = latents.random_state(seed, 4, number)
                chosen = state.randint(0, self.config.num_classes, batch_size)
            chosen = chosen.astype(np.int32)[:rows]
            yield self.draw(z[:rows], chosen, truncation), chosen


def class_sheet(
    sampler: Sampler,
    names: Sequence[str],
    *,
    columns: int = 8,
    most: int = 10,
    truncation: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Returns a row per class and a column per z, uint8 [H, W, 3]."""
    chosen = np.unique(
        np.linspace(0, len(names) - 1, min(most, len(names))).astype(int)
    )
    z = sampler.latents(columns, truncation, seed)
    rows = [
        sampler.draw(z, np.full(columns, label, np.int32), truncation)
        for label in chosen
    ]
    words = [names[label][:16] for label in chosen]
    return sheets.sheet(rows, row_labels=words, gap=1)


def truncation_sheet(
    sampler: Sampler,
    labels: Sequence[int],
    truncations: Sequence[float] = (0.04, 0.2, 0.4, 0.6, 0.8, 1.0),
    seed: int = 0,
) -> np.ndarray:
    """Returns a row per truncation, the same latents and classes in every row."""
    labels = np.asarray(labels, np.int32)
    rows = [
        sampler.draw(sampler.latents(len(labels), truncation, seed), labels, truncation)
        for truncation in truncations
    ]
    return sheets.sheet(rows, row_labels=[f"{t:g}" for t in truncations], gap=1)
