"""Pictures of a BigGAN, by class.

    tfdl predict --model_dir=biggan-deep-256 --labels="golden retriever, 980" \\
        --truncation=0.4 --output=sheet.png
    tfdl predict --model_dir=biggan-deep-256 --option=figure=interpolation \\
        --labels=n02123045,n02099601 --output=walk.mp4
    tfdl predict --model_dir=biggan-deep-256 --num_samples=50000 --output=samples.npz
"""

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import errors, files, model_dir
from tfdl.engine.prediction import Request
from tfdl.gan import interpolation, sheets, video
from tfdl.models.biggan import dumps, fine_tuning, labels, latents, sampling
from tfdl.models.biggan.standing import Standing

WRITES_FILES = True
FIGURES = ("samples", "interpolation", "truncation")
# What is interpolated: latent and class, or one while the other is fixed.
WALKS = ("both", "z", "class")
STATISTICS = ("model", "standing")
OPTIONS = (
    "figure", "latents", "batch_size", "columns", "class_names", "layout",
    "midpoints", "rate", "rows", "statistics", "passes", "walk",
)  # fmt: skip
# Of pictures that are looked at; of dumps, which are measured, it is 1.
TRUNCATION = 0.5


class Predictor:
    """What a request asks for, opened and checked.

    Raises:
        UserError: an option, a class or a truncation that makes no sense.
    """

    def __init__(self, request: Request):
        request.check_options(*OPTIONS)
        config = request.config
        fine_tuning.require_generator(config, str(request.model_dir))
        self.request = request
        self.output = _output(request.output)
        self.figure = request.option("figure", "samples", FIGURES)
        self.mode = request.option(
            "latents", config.get("latents") or "scaled", latents.MODES
        )
        given = request.truncation
        if given is None:
            given = 1.0 if self.output.suffix == ".npz" else TRUNCATION
        self.truncation = latents.check(self.mode, given)
        self.names = labels.names(
            request.model_dir, config, request.options.get("class_names", "")
        )
        self.labels = labels.parse(request.labels, self.names)
        generator = tfdl.load(str(request.model_dir))
        measured = request.option("statistics", "model", STATISTICS) == "standing"
        passes = request.number("passes", 16) if measured else 0
        if measured and generator.config.statistics == "table":
            print(
                "the model has statistics for every truncation: none are measured",
                file=sys.stderr,
            )
        elif generator.config.statistics == "running" and self.truncation < 1.0:
            if not measured:
                print(
                    "the model's statistics are those of latents that are not "
                    "truncated; --option=statistics=standing measures fitting ones",
                    file=sys.stderr,
                )
        standing = Standing(passes=passes, mode=self.mode, seed=request.seed)
        self.sampler = sampling.Sampler(generator, standing)

    def batch_size(self) -> int:
        """Returns how many pictures are made at a time."""
        return self.request.number("batch_size", 32)

    def chosen(self, count: int) -> np.ndarray:
        """Returns `count` classes: those asked for in turn, or drawn ones."""
        if self.labels:
            return np.resize(np.array(self.labels, np.int32), count)
        state = latents.random_state(self.request.seed, 5)
        classes = len(self.names)
        order = state.permutation(classes)[:count]
        return (
            np.sort(order).astype(np.int32)
            if count <= classes
            else np.concatenate(
                [order, state.randint(0, classes, count - classes)]
            ).astype(np.int32)
        )

    def record(self, path: pathlib.Path, **more: Any) -> dict[str, Any]:
        """Returns what a file's line on standard output says."""
        return {
            "file": str(path),
            **more,
            "truncation": self.truncation,
            "latents": self.mode,
            "statistics": self.sampler.statistics(),
            "seed": self.request.seed,
        }

    def name(self, label: int) -> str:
        """Returns a class's name."""
        return self.names[label].name


def predict(request: Request) -> Iterator[dict[str, Any]]:
    """Makes pictures and yields a record per file; docs/biggan.md has the options.

    `--output` says what is made: FILE.png a sheet, FOLDER/ a PNG per picture, FILE.npz
    a dump (which goes on where it was interrupted), FILE.mp4 a video of the figure
    `interpolation`.

    Raises:
        UserError: see `Predictor`.
    """
    predictor = Predictor(request)
    if predictor.output.suffix == ".npz":
        yield _dump(predictor)
    elif predictor.figure == "interpolation":
        yield _interpolation(predictor)
    elif predictor.output.suffix == ".mp4":
        raise errors.UserError("a video needs --option=figure=interpolation")
    elif predictor.figure == "truncation":
        yield _truncation(predictor)
    elif predictor.output.suffix == ".png":
        yield _sheet(predictor)
    else:
        yield from _pictures(predictor)


def _output(text: str) -> pathlib.Path:
    if not text:
        raise errors.UserError("--output is needed: FILE.png, FILE.npz, FILE.mp4, DIR/")
    path = pathlib.Path(text)
    if path.suffix not in ("", ".png", ".npz", ".mp4"):
        raise errors.UserError(
            f"--output={text}: .png, .npz and .mp4 files and folders are written"
        )
    return path


def _images(predictor: Predictor, z, classes, truncation=None) -> np.ndarray:
    """Returns uint8 pictures of any number of latents."""
    truncation = predictor.truncation if truncation is None else truncation
    size = predictor.batch_size()
    return np.concatenate(
        [
            predictor.sampler.draw(z[i : i + size], classes[i : i + size], truncation)
            for i in range(0, len(z), size)
        ]
    )


def _sheet(predictor: Predictor) -> dict[str, Any]:
    """Writes a row per class where classes were named, else a sheet of drawn ones."""
    request, sampler = predictor.request, predictor.sampler
    count = request.num_samples
    if not predictor.labels:
        classes = predictor.chosen(count)
        z = sampler.latents(count, predictor.truncation, request.seed)
        columns = request.number("columns", int(np.ceil(np.sqrt(count))))
        pixels = sheets.tile(_images(predictor, z, classes), columns, gap=1)
    else:
        # `num_samples` of every class, of the same latents.
        columns = request.number("columns", min(count, 16))
        z = sampler.latents(count, predictor.truncation, request.seed)
        rows, words = [], []
        for label in predictor.labels:
            images = _images(predictor, z, np.full(count, label, np.int32))
            for i in range(0, count, columns):
                rows.append(images[i : i + columns])
                words.append(predictor.name(label)[:24] if i == 0 else "")
        classes = predictor.labels
        pixels = sheets.sheet(rows, row_labels=words, gap=1)
    files.atomic_write(predictor.output, sheets.png(pixels))
    return predictor.record(
        predictor.output, classes=sorted({predictor.name(c) for c in classes})
    )


def _truncation(predictor: Predictor) -> dict[str, Any]:
    """Writes a row per truncation."""
    count = min(predictor.request.num_samples, 16)
    chosen = predictor.chosen(count)
    pixels = sampling.truncation_sheet(
        predictor.sampler, chosen, seed=predictor.request.seed
    )
    files.atomic_write(predictor.output, sheets.png(pixels))
    return predictor.record(
        predictor.output, classes=[predictor.name(label) for label in chosen]
    )


def _pictures(predictor: Predictor) -> Iterator[dict[str, Any]]:
    """Writes a PNG per picture, named by number and class."""
    request, number = predictor.request, 0
    total = request.num_samples * max(1, len(predictor.labels))
    for images, classes in predictor.sampler.batches(
        total,
        predictor.truncation,
        request.seed,
        predictor.batch_size(),
        predictor.labels,
    ):
        for image, label in zip(images, classes, strict=True):
            path = predictor.output / f"{number:06d}-{label}.png"
            files.atomic_write(path, sheets.png(image))
            yield predictor.record(
                path, label=int(label), **{"class": predictor.name(label)}
            )
            number += 1


def _dump(predictor: Predictor) -> dict[str, Any]:
    """Writes an npz file of all pictures."""
    request, size = predictor.request, predictor.batch_size()
    layout = request.option("layout", "nhwc", dumps.LAYOUTS)
    total = request.num_samples * max(1, len(predictor.labels))
    weights = (request.model_dir / model_dir.WEIGHTS).stat()
    dump = dumps.Dump(
        predictor.output,
        {
            "model_dir": str(request.model_dir.absolute()),
            "weights": [weights.st_size, weights.st_mtime_ns],
            "images": total,
            "seed": request.seed,
            "truncation": predictor.truncation,
            "latents": predictor.mode,
            "labels": predictor.labels,
            "batch_size": size,
            "statistics": predictor.sampler.statistics(),
        },
    )
    first = dump.next_batch()
    if first:
        print(f"goes on at picture {first * size:,} of {total:,}", file=sys.stderr)
    found = predictor.sampler.batches(
        total, predictor.truncation, request.seed, size, predictor.labels, first
    )
    count = dump.write(found, first, -(-total // size), layout)
    return predictor.record(predictor.output, images=count, layout=layout)


def _interpolation(predictor: Predictor) -> dict[str, Any]:
    """Writes rows from one latent and class to another, or a video through them.

    Lines are straight, in z and in the space of class embeddings.
    """
    request, sampler = predictor.request, predictor.sampler
    walk = request.option("walk", "both", WALKS)
    as_video = predictor.output.suffix == ".mp4"
    rows = request.number("rows", max(2, len(predictor.labels)) if as_video else 8)
    points = rows if as_video else 2 * rows
    classes = predictor.chosen(points)
    z = sampler.latents(points, predictor.truncation, request.seed)
    if walk == "z":
        start = classes[:1] if as_video else classes[0::2]
        classes = np.repeat(start, points // len(start))
    elif walk == "class":
        start = z[:1] if as_video else z[0::2]
        z = np.repeat(start, points // len(start), axis=0)
    embedded = _embed(sampler, classes)
    midpoints = request.number("midpoints", 30 if as_video else 8)
    if as_video:
        rate = request.number("rate", 25)
        z, embedded = (interpolation.path(x, midpoints) for x in (z, embedded))
        frames = _images(predictor, z, embedded)
        count = video.write(predictor.output, frames, rate)
        more = {"frames": count, "rate": rate}
    else:
        z, embedded = (
            latents.interpolate(x[0::2], x[1::2], midpoints) for x in (z, embedded)
        )
        flat = [x.reshape(-1, x.shape[-1]) for x in (z, embedded)]
        images = _images(predictor, *flat).reshape(
            rows, midpoints + 2, *_shape(sampler)
        )
        files.atomic_write(predictor.output, sheets.png(sheets.sheet(images, gap=1)))
        more = {"rows": rows, "midpoints": midpoints}
    names = [predictor.name(label) for label in dict.fromkeys(classes.tolist())]
    return predictor.record(predictor.output, walk=walk, classes=names, **more)


def _embed(sampler: sampling.Sampler, classes: np.ndarray) -> np.ndarray:
    """Returns what stands for classes on straight lines: embeddings, or weights."""
    weights = tf.one_hot(classes, sampler.config.num_classes)
    return np.asarray(sampler.generator.embed(weights))


def _shape(sampler: sampling.Sampler) -> tuple[int, int, int]:
    config = sampler.config
    return config.resolution, config.resolution, config.image_channels
