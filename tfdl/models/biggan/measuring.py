"""Metrics of a generator's pictures, with everything that a figure depends on."""

import dataclasses
from typing import Any

import numpy as np

from tfdl.data import square_images
from tfdl.data.image_sources import ImageSource
from tfdl.engine import errors
from tfdl.metrics.generative import extractors, frechet, kernel_distance, neighbours
from tfdl.metrics.generative.inception_score import inception_score
from tfdl.models.biggan.sampling import Sampler

# Neighbours of precision, recall, density and coverage, and pictures they are of.
_K, _MOST_NEIGHBOURS = 5, 5000
_SPLITS = 10
# Pictures that are held for their features.
MOST_REAL = 50_000


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
        images, labels = real_pictures(source, size, options.real)
        if channels == 1:
            images = grey(images)
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
        return result


def real_pictures(
    source: ImageSource, size: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures uint8 [N, size, size, 3] and labels, spread over the source."""
    import tensorflow as tf

    count = min(len(source), most)
    chosen = np.linspace(0, len(source) - 1, count).astype(np.int64)
    batch = 256
    padded = np.concatenate([chosen, np.full(-count % batch, -1, np.int64)])
    table = padded.reshape(-1, batch)
    rows = tf.data.Dataset.from_tensor_slices({"index": table, "position": table})
    images, labels = [], []
    for made in square_images.square_images(source, rows, size):
        real = made["weight"].numpy() > 0
        images.append(made["image"].numpy()[real])
        labels.append(made["label"].numpy()[real])
    return np.concatenate(images), np.concatenate(labels)


def grey(images: np.ndarray) -> np.ndarray:
    """Returns RGB pictures as grey ones [N, H, W, 1], as Pillow does."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    return ((images @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]
