"""Metrics of a generator's pictures, with everything that a figure depends on."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import square_images
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors
from tfdl.metrics.generative import extractors, frechet, kernel_distance, neighbours
from tfdl.metrics.generative.inception_score import inception_score
from tfdl.models.biggan.sampling import Sampler

# Neighbours of precision, recall, density and coverage, and pictures they are of.
_K, _MOST_NEIGHBOURS = 5, 5000
_SPLITS = 10
MOST_REAL = 50_000
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """How pictures are measured.

    Attributes:
        extractor: whose features, see `extractors.FORMS`.
        samples: pictures that are generated; few make FID larger than it is.
        truncation: of their latents.
        batch_size: generated at a time.
        seed: of the latents.
        real: real pictures that they are held against, at most.
    """

    extractor: str = "smallcnn"
    samples: int = 10_000
    truncation: float = 1.0
    batch_size: int = 100
    seed: int = 0
    real: int = MOST_REAL

    def __post_init__(self):
        if min(self.samples, self.real) < 2 or self.batch_size < 1:
            raise errors.UserError(
                "evaluation.samples and .real have to be at least 2, .batch_size 1"
            )


class Measure:
    """Holds the real pictures' features and measures generated ones.

    Args:
        options: how.
        source: the real pictures.
        size: their side.
        channels: of generated pictures.
    """

    def __init__(self, options: Options, source: ImageSource, size: int, channels: int):
        self.options = options
        self.channels = channels
        images = RealPictures(source, size, channels, options.real)
        labels = source.labels[images.chosen]
        self.extractor = extractors.open_extractor(options.extractor, images, labels)
        self.real = self.extractor.reference(images)

    @property
    def distance(self) -> str:
        """The name of the Frechet distance in the results."""
        return self.extractor.metric("fid")

    @property
    def score(self) -> str:
        """The name of the Inception Score, or what stands for it."""
        return self.extractor.metric("inception_score")

    def real_score(self) -> float | None:
        """Returns the score of the real pictures, shuffled; None without classes."""
        rows = self.real.probabilities
        if rows is None:
            return None
        order = np.random.RandomState(0).permutation(len(rows))
        return inception_score(rows[order], min(_SPLITS, len(rows)))[0]

    def __call__(
        self, sampler: Sampler, truncation: float | None = None
    ) -> dict[str, Any]:
        """Returns the metrics of the sampler's pictures."""
        options = self.options
        truncation = options.truncation if truncation is None else truncation
        fake = self.extractor.measure(
            images
            for images, _ in sampler.batches(
                options.samples, truncation, options.seed, options.batch_size
            )
        )
        found = frechet.distance(self.real.moments, fake.moments)
        result = {self.distance: found.value}
        if fake.probabilities is not None:
            splits = min(_SPLITS, fake.count)
            mean, spread = inception_score(fake.probabilities, splits)
            result[self.score], result[f"{self.score}_std"] = mean, spread
        mean, _ = kernel_distance.kernel_distance(
            self.real.vectors, fake.vectors, subsets=20
        )
        result[self.extractor.metric("kid")] = mean
        real, made = (x.vectors[:_MOST_NEIGHBOURS] for x in (self.real, fake))
        if min(len(real), len(made)) > _K:
            result |= neighbours.prdc(real, made, _K)
        result["images"], result["real_images"] = fake.count, self.real.count
        result["truncation"] = truncation
        # A distance of fewer pictures than features: far above what more would give.
        result["too_few_images"] = float(found.rank_deficient)
        return {
            **result,
            "latents": sampler.settings.mode,
            "statistics": sampler.statistics(),
            **self.extractor.describe(),
        }


class RealPictures:
    """Pictures of a source, spread over it, read when they are sliced.

    Args:
        source: where they are.
        size: their side.
        channels: 3, or 1 for grey ones.
        most: how many at most.

    Attributes:
        shape: [N, size, size, channels].
        chosen: which they are, int64 [N].
    """

    def __init__(self, source: ImageSource, size: int, channels: int, most: int):
        count = min(len(source), most)
        self.chosen = np.linspace(0, len(source) - 1, count).astype(np.int64)
        self.shape = (count, size, size, channels)
        self._source = source

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, which: slice) -> np.ndarray:
        """Returns uint8 [n, size, size, channels] of a slice."""
        chosen = self.chosen[which]
        if not len(chosen):
            return np.zeros([0, *self.shape[1:]], np.uint8)
        table = np.concatenate([chosen, np.full(-len(chosen) % _BATCH, -1, np.int64)])
        table = table.reshape(-1, _BATCH)
        rows = tf.data.Dataset.from_tensor_slices({"index": table, "position": table})
        made = square_images.square_images(self._source, rows, self.shape[1])
        images = np.concatenate([batch["image"].numpy() for batch in made])
        images = images[: len(chosen)]
        return grey(images) if self.shape[3] == 1 else images


def grey(images: np.ndarray) -> np.ndarray:
    """Returns RGB pictures as grey ones [N, H, W, 1], as Pillow does."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    return ((images @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]
