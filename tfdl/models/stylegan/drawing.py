"""From seeds to pictures: latents, styles, noise and classes of a loaded model.

Everything is a function of seeds alone: a picture does not change with how many others
are made beside it, nor from run to run.
"""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfdl.data import class_names
from tfdl.engine import errors, model_dir
from tfdl.engine.files import PathLike
from tfdl.gan import sheets

# fresh: each picture's own; fixed: one for all; stored: the file's; zero: none.
NOISES = ("fresh", "fixed", "stored", "zero")
_NOISE_STREAM = 1
_STYLES = 1024  # mapped at a time


class Drawer:
    """Makes pictures with a loaded StyleGAN, in batches of one shape.

    Args:
        model: what `tfdl.load` returned, or a generator in training.
        batch_size: pictures at a time.
    """

    def __init__(self, model: keras.Model, batch_size: int = 8):
        self.model = model
        self.batch_size = batch_size
        self.config = model.config
        self._functions: dict[tuple, Callable] = {}

    # --- what pictures are made of -------------------------------------------------

    def latents(self, seeds: Sequence[int]) -> np.ndarray:
        """Returns the latents [N, Z] of seeds, as the original draws them."""
        width = self.config.latent_size
        rows = [np.random.RandomState(seed).randn(width) for seed in seeds]
        return np.stack(rows).astype(np.float32)

    def styles(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Returns w [N, L, D] of latents; never truncated.

        Args:
            z: [N, Z].
            labels: one-hot [N, classes] of a conditional model.
        """
        config = self.config
        labels = self.labels_or_zeros(labels, len(z))

        def make(z, labels):
            return self.model.mapping(z, labels if config.label_size else None)

        if "styles" not in self._functions:
            # Nothing but matrix products: any number of them at a time.
            widths = (config.latent_size, config.label_size)
            specs = [tf.TensorSpec([None, width], tf.float32) for width in widths]
            self._functions["styles"] = tf.function(make, input_signature=specs)
        run = self._functions["styles"]
        parts = [slice(i, i + _STYLES) for i in range(0, len(z), _STYLES)]
        return np.concatenate([run(z[p], labels[p]).numpy() for p in parts])

    def labels_or_zeros(self, labels: np.ndarray | None, count: int) -> np.ndarray:
        """Returns one-hot labels [N, classes]; zeros, as the original, for None."""
        if labels is None:
            return np.zeros([count, self.config.label_size], np.float32)
        return labels

    def truncate(
        self, w: np.ndarray, psi: float | None, cutoff: int | None
    ) -> np.ndarray:
        """Returns w [N, L, D] with its first `cutoff` layers drawn to the average."""
        if psi is None or cutoff is None:
            return w
        return self.model.truncate(tf.constant(w), psi, cutoff).numpy()

    def noise_shapes(self) -> list[tuple[int, int]]:
        """Returns height and width of every layer's noise."""
        return [tuple(x.shape[1:3]) for x in self.model.synthesis.stored_noise()]

    def noise(self, kind: str, seeds: Sequence[int]) -> list[np.ndarray] | str:
        """Returns every layer's noise [N, h, w, 1], or what `images` takes for it.

        Args:
            kind: one of `NOISES`.
            seeds: of the pictures; "fixed" draws with the first for all.
        """
        if kind in ("stored", "zero"):
            return kind
        if kind not in NOISES:
            raise errors.unknown("noise", kind, NOISES)
        shapes = self.noise_shapes()
        one = [_noise(seed, shapes) for seed in seeds[: 1 if kind == "fixed" else None]]
        layers = [np.stack(layer) for layer in zip(*one, strict=True)]
        if kind == "fixed":
            layers = [np.repeat(layer, len(seeds), 0) for layer in layers]
        return layers

    # --- pictures ------------------------------------------------------------------

    def images(
        self,
        w: np.ndarray,
        noise: list[np.ndarray] | str = "stored",
        lod: float | None = None,
        native: bool = False,
    ) -> np.ndarray:
        """Returns the pictures of styles as floats [N, H, W, C], not cut off.

        Args:
            w: [N, L, D] or [N, D].
            noise: of `noise`.
            lod: the level of detail; 1.0 is half the resolution; None is the model's.
            native: do not enlarge to the full resolution.
        """
        named = noise if isinstance(noise, str) else None
        lod = self.model.lod if lod is None else lod

        def make(w, *layers):
            return self.model.synthesis(
                w, noise=named or list(layers), lod=lod, upscale=not native
            )

        arrays = () if named else noise
        return self._batched(("images", named, lod, native), make, w, *arrays)

    def pictures(self, *arguments, **options) -> np.ndarray:
        """Returns `images` as uint8."""
        return sheets.to_uint8(self.images(*arguments, **options))

    def samples(
        self,
        count: int,
        seed: int,
        labels: Callable[[np.random.RandomState, int], np.ndarray] | None = None,
        psi: float | None = None,
        cutoff: int | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (pictures uint8, z, w) of many random latents, batch by batch.

        Args:
            count: how many pictures in all.
            seed: of latents, labels and noise.
            labels: draws one-hot labels [N, classes] of a conditional model.
            psi: truncation, None for none.
            cutoff: how many layers are truncated; None for none.
        """
        draws = np.random.RandomState(seed)
        shapes = self.noise_shapes()
        for start in range(0, count, self.batch_size):
            size = min(self.batch_size, count - start)
            z = draws.randn(size, self.config.latent_size).astype(np.float32)
            found = labels(draws, size) if labels else None
            w = self.truncate(self.styles(z, found), psi, cutoff)
            noise = [draws.randn(size, *s, 1).astype(np.float32) for s in shapes]
            yield self.pictures(w, noise), z, w

    def _batched(self, key, make, *arrays) -> np.ndarray:
        """Calls a function on arrays [N, ...] in batches of one static size."""
        if key not in self._functions:
            self._functions[key] = tf.function(make)
        run = self._functions[key]
        results = []
        count = len(arrays[0])
        size = min(self.batch_size, count)
        for start in range(0, count, size):
            parts = [a[start : start + size] for a in arrays]
            short = size - len(parts[0])
            if short:
                parts = [
                    np.concatenate([p, np.repeat(p[-1:], short, 0)]) for p in parts
                ]
            found = run(*(tf.constant(p, tf.float32) for p in parts)).numpy()
            results.append(found[: size - short])
        return np.concatenate(results)


def one_hot(config, directory: PathLike, text: str, count: int) -> np.ndarray | None:
    """Returns the labels [count, classes] that a user named, None of no classes.

    Args:
        config: of the model directory.
        directory: the model directory.
        text: numbers or names of classes, separated by commas: one for all pictures,
            or one for each; "" draws none.
        count: pictures.

    Raises:
        UserError: an unknown class, a wrong count, or a model without classes.
    """
    classes = int(config["generator"]["label_size"])
    if not classes:
        if text:
            raise errors.UserError(f"--labels={text}: this model has no classes")
        return None
    if not text:
        raise errors.UserError(
            f"--labels is needed: this model has {classes} classes ("
            + ", ".join(label_names(config, directory)[:8])
            + ("...)" if classes > 8 else ")")
        )
    names = label_names(config, directory)
    found = []
    for part in (x.strip() for x in text.split(",")):
        if part in names:
            found.append(names.index(part))
        elif part.isdigit() and int(part) < classes:
            found.append(int(part))
        elif part.lstrip("-").isdigit():
            raise errors.UserError(f"--labels: class {part} is not in 0..{classes - 1}")
        else:
            raise errors.unknown("class", part, names)
    if len(found) not in (1, count):
        raise errors.UserError(
            f"--labels names {len(found)} classes for {count} pictures: one is needed, "
            "or one for each"
        )
    rows = np.eye(classes, dtype=np.float32)[found]
    return np.repeat(rows, count, 0) if len(found) == 1 else rows


def label_names(config, directory: PathLike) -> list[str]:
    """Returns what a model's classes are called; numbers when nothing is known."""
    asset = config.get("classes")
    if not asset:
        return [str(i) for i in range(int(config["generator"]["label_size"]))]
    return [x.name for x in class_names.read(model_dir.asset(directory, asset))]


def _noise(seed: int, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    draws = np.random.RandomState([seed, _NOISE_STREAM])
    return [draws.randn(*shape, 1).astype(np.float32) for shape in shapes]
