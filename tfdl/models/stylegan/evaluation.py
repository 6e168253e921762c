"""The paper's metrics: FID, path lengths, separability, and precision and recall.

Names of results say what looked at the pictures: "fid50k"-like figures are those of the
official networks alone, which the user has to name; with the network that is trained on
the data's own pictures the same distance is called `fcd_smallcnn`.
"""

import dataclasses
import glob
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.gan import interpolation
from tfdl.metrics.generative import (
    extractors,
    frechet,
    kernel_distance,
    neighbours,
    path_length,
    perceptual,
    separability,
    small_cnn,
)
from tfdl.metrics.generative.inception_score import inception_score
from tfdl.models.stylegan.drawing import Drawer

METRICS = ("fid", "kid", "inception_score", "prdc", "ppl", "separability")
PATHS = ("zfull", "wfull", "zend", "wend")
_MOST_NEIGHBOURS = 10_000


@dataclasses.dataclass(frozen=True)
class Options:
    """How a generator is measured.

    Attributes:
        metrics: of `METRICS`.
        samples: pictures that are generated; the paper's FID has 50,000.
        extractor: whose features: see `extractors.FORMS`.
        perceptual: the path lengths' distance: see `perceptual.FORMS`.
        pairs: pairs of pictures of each path length; the paper's have 100,000.
        epsilon: how far the two of a pair are apart.
        crop: look at the middle of pictures only, where FFHQ's faces are; the
            original does so with all data.
        paths: of `PATHS`.
        classifiers: pattern of the original's pickled attribute classifiers; "" asks
            the extractor's classes instead.
        separability_samples: pictures that are classified; the paper's have 200,000.
        neighbours: k of precision and recall.
        splits: of the Inception Score.
        truncation_psi: of all but path lengths and separability; None for none, as
            the paper's FID.
        truncation_cutoff: layers that are truncated; None for all.
        mirror: hold generated pictures against mirrored real ones as well.
        batch_size: pictures at a time.
        seed: of everything that is drawn.
    """

    metrics: tuple[str, ...] = ("fid", "prdc")
    samples: int = 50_000
    extractor: str = "smallcnn"
    perceptual: str = "smallcnn"
    pairs: int = 100_000
    epsilon: float = path_length.EPSILON
    crop: bool = False
    paths: tuple[str, ...] = PATHS
    classifiers: str = ""
    separability_samples: int = 200_000
    neighbours: int = 3
    splits: int = 10
    truncation_psi: float | None = None
    truncation_cutoff: int | None = None
    mirror: bool = False
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self):
        for kind, given, allowed in (
            ("metric", self.metrics, METRICS),
            ("path", self.paths, PATHS),
        ):
            for name in given:
                if name not in allowed:
                    raise errors.unknown(kind, name, allowed)
        for name in ("samples", "pairs", "separability_samples"):
            if getattr(self, name) < 2:
                raise errors.UserError(
                    f"evaluation.{name} has to be at least 2, got {getattr(self, name)}"
                )
        if self.batch_size < 1 or not 0 < self.epsilon < 1:
            raise errors.UserError(
                "evaluation.batch_size has to be at least 1, .epsilon in (0, 1)"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Options":
        """Returns the options of a configuration.

        Raises:
            UserError: an unknown one, or a value that cannot be used.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise errors.unknown("option of evaluation", name, known)
        lists = {"metrics", "paths"}
        return cls(**{k: tuple(v) if k in lists else v for k, v in values.items()})


class RealPictures:
    """Pictures that are read when they are looked at, sliced like an array.

    Args:
        read: indices [B] -> uint8 [B, H, W, C].
        shape: (N, H, W, C).
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, int, int, int],
    ):
        self._read, self.shape = read, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice) -> np.ndarray:
        return self._read(np.arange(len(self))[which])

    @classmethod
    def mirrored(cls, images: "np.ndarray | RealPictures") -> "RealPictures":
        """Returns pictures turned from left to right."""
        return cls(lambda which: images[which][:, :, ::-1], images.shape)


def evaluate(
    model: keras.Model,
    images: np.ndarray | RealPictures,
    labels: np.ndarray | None,
    options: Mapping[str, Any] | Options,
) -> dict[str, float | str]:
    """Returns the metrics of a generator, and what they were measured with.

    Args:
        model: the averaged generator.
        images: real pictures, uint8 [N, H, W, C], of the model's size; all that do not
            fit into memory as `RealPictures`.
        labels: their classes, int [N] or one-hot [N, classes]; None without.
        options: see `Options`.
    """
    if not isinstance(options, Options):
        options = Options.of(options)
    evaluation = _Evaluation(model, images, labels, options)
    result: dict[str, float | str] = {}
    if set(options.metrics) & {"fid", "kid", "inception_score", "prdc"}:
        result |= evaluation.distances()
    if "ppl" in options.metrics:
        result |= evaluation.path_lengths()
    if "separability" in options.metrics:
        result |= evaluation.separability()
    return result


class _Evaluation:
    def __init__(self, model, images, labels, options: Options):
        self.options = options
        self.images = images
        self.rows = labels
        if labels is not None and labels.ndim == 1:
            size = model.config.label_size or int(labels.max()) + 1
            self.rows = np.eye(size, dtype=np.float32)[labels]
        self.drawer = Drawer(model, min(options.batch_size, options.samples))
        self._extractor = None

    @property
    def classes(self) -> np.ndarray | None:
        """Of the real pictures, [N]."""
        return None if self.rows is None else self.rows.argmax(1)

    @property
    def extractor(self) -> extractors.Callable:
        if self._extractor is None:
            spec = self.options.extractor
            self._extractor = extractors.open_extractor(spec, self.images, self.classes)
        return self._extractor

    def draw_labels(self) -> Callable | None:
        """Returns what draws labels as often as the data have them, or None."""
        if not self.drawer.config.label_size:
            return None
        if self.rows is None:
            raise errors.UserError(
                "a model with classes is measured on data with classes: data.labels"
            )
        return lambda draws, n: self.rows[draws.randint(len(self.rows), size=n)]

    # --- distances -------------------------------------------------------------

    def distances(self) -> dict[str, float | str]:
        options, extractor = self.options, self.extractor
        real = extractor.reference(self.images)
        if options.mirror:
            real = real.joined(extractor.reference(RealPictures.mirrored(self.images)))
        cutoff = options.truncation_cutoff
        if cutoff is None and options.truncation_psi is not None:
            cutoff = self.drawer.config.num_layers
        samples = self.drawer.samples(
            options.samples,
            options.seed,
            self.draw_labels(),
            options.truncation_psi,
            cutoff,
        )
        fake = extractor.measure(pictures for pictures, _, _ in samples)
        result = self._distances(real, fake)
        result |= {"samples": fake.count, "real_images": real.count}
        if options.truncation_psi is not None:
            result["truncation_psi"] = options.truncation_psi
        return result | extractor.describe()

    def _distances(self, real, fake) -> dict[str, float | str]:
        options, name = self.options, self.extractor.metric
        result: dict[str, float | str] = {}
        if "fid" in options.metrics:
            found = frechet.distance(real.moments, fake.moments)
            result[name("fid")] = found.value
            if found.rank_deficient:
                # Fewer pictures than features: far above what more would give.
                result["too_few_images"] = 1.0
        if "kid" in options.metrics:
            mean, spread = kernel_distance.kernel_distance(real.vectors, fake.vectors)
            result[name("kid")], result[name("kid") + "_std"] = mean, spread
        if "inception_score" in options.metrics and fake.probabilities is not None:
            splits = min(options.splits, fake.count)
            mean, spread = inception_score(fake.probabilities, splits)
            key = name("inception_score")
            result[key], result[f"{key}_std"] = mean, spread
        if "prdc" in options.metrics:
            sets = (x.vectors[:_MOST_NEIGHBOURS] for x in (real, fake))
            result |= neighbours.prdc(*sets, options.neighbours)
        return result

    # --- path lengths ----------------------------------------------------------

    def path_lengths(self) -> dict[str, float | str]:
        options = self.options
        network = None
        if options.perceptual == "smallcnn":
            network = small_cnn.trained(self.images, self.classes)
        distance = perceptual.open_distance(options.perceptual, network)
        result: dict[str, float | str] = {}
        for path in options.paths:
            name = f"ppl_{path}" + ("" if distance.official else f"_{distance.name}")
            result[name] = self._path_length(path, distance)
        result |= {"ppl_pairs": options.pairs, "ppl_distance": distance.name}
        return result | {"ppl_distance_sha256": distance.sha256}

    def _path_length(self, path: str, distance: perceptual.Distance) -> float:
        options, drawer = self.options, self.drawer
        draws = np.random.RandomState(options.seed)
        labels_of = self.draw_labels()
        shapes = drawer.noise_shapes()
        compare = tf.function(distance)
        found = []
        size = min(drawer.batch_size, options.pairs)
        for start in range(0, options.pairs, size):
            z = draws.randn(2, size, drawer.config.latent_size).astype(np.float32)
            labels = labels_of(draws, size) if labels_of else None
            t = path_length.places(draws, size, path[1:])
            # One noise for both ends, and for the whole batch.
            noise = [draws.randn(1, *s, 1).astype(np.float32) for s in shapes]
            noise = [np.repeat(layer, size, 0) for layer in noise]
            pair = []
            for w in self._ends(path[0], z, t, labels):
                pictures = drawer.images(w, noise)
                if options.crop:
                    pictures = path_length.crop_faces(pictures)
                pair.append(tf.constant(path_length.shrink(pictures)))
            found.append(compare(*pair).numpy()[: options.pairs - start])
        values = np.concatenate(found) / options.epsilon**2
        return path_length.filtered_mean(values)

    def _ends(self, space: str, z, t, labels) -> list[np.ndarray]:
        epsilon = np.float32(self.options.epsilon)
        if space == "z":
            ends = (interpolation.slerp(*z, t), interpolation.slerp(*z, t + epsilon))
            return [self.drawer.styles(end.astype(np.float32), labels) for end in ends]
        a, b = (self.drawer.styles(one, labels) for one in z)
        t = t[..., None]
        return [interpolation.lerp(a, b, t), interpolation.lerp(a, b, t + epsilon)]

    # --- separability ----------------------------------------------------------

    def separability(self) -> dict[str, float | str]:
        options = self.options
        classify, name = self._classifier()
        z_all, w_all, found = [], [], []
        for pictures, z, w in self.drawer.samples(
            options.separability_samples, options.seed + 1, self.draw_labels()
        ):
            found.append(classify(pictures))
            z_all.append(z)
            w_all.append(w[:, -1])
        probabilities = np.concatenate(found)
        result: dict[str, float | str] = {}
        for space, rows in (("z", z_all), ("w", w_all)):
            measured = separability.separability(np.concatenate(rows), probabilities)
            result[f"separability_{space}{name}"] = measured["score"]
            result[f"separability_{space}{name}_accuracy"] = float(
                np.mean(measured["accuracies"])
            )
        return result | {
            "separability_samples": len(probabilities),
            "separability_attributes": probabilities.shape[1],
        }

    def _classifier(self) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
        """Returns (uint8 pictures -> probabilities of attributes, name's suffix)."""
        if self.options.classifiers:
            return _pickled_classifiers(self.options.classifiers), ""
        if self.classes is None:
            raise errors.UserError(
                "separability needs attributes: evaluation.classifiers (the original's "
                "pickled ones), or data with classes"
            )
        network = extractors.smallcnn(small_cnn.trained(self.images, self.classes))
        return lambda pictures: network(pictures).probabilities, "_smallcnn"


def _pickled_classifiers(pattern: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the original's attribute classifiers: discriminators at 256x256."""
    from tfdl.models.stylegan import original, pickled_network

    paths = sorted(glob.glob(pattern))
    if not paths:
        raise errors.UserError(f"evaluation.classifiers={pattern}: no such file")
    networks = []
    for path in paths:
        found = pickled_network.read(path)
        if "D" not in found:
            raise errors.UserError(f"{path} holds no classifier (a discriminator)")
        networks.append(original.build(found["D"], path)[0])

    @tf.function(reduce_retracing=True)
    def run(pictures):
        columns = []
        for network in networks:
            side = network.config.resolution
            x = tf.cast(pictures, tf.float32) / 127.5 - 1
            if x.shape[1] > side:
                factor = x.shape[1] // side
                x = tf.nn.avg_pool2d(x, factor, factor, "VALID")
            elif x.shape[1] < side:
                x = tf.repeat(
                    tf.repeat(x, side // x.shape[1], 1), side // x.shape[2], 2
                )
            logits = network(x)[:, 0]
            columns.append(tf.sigmoid(2 * logits))  # softmax of (l, -l)
        return tf.stack(columns, 1)

    return lambda pictures: run(tf.constant(pictures)).numpy()
