"""What is on pictures: the likeliest classes of files, and a contact sheet."""

import concurrent.futures
import io
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfdl.classifiers import contact_sheet, preprocessing, serving, serving_graph
from tfdl.data import class_names as classes
from tfdl.data import evaluation_images, image_codec, image_files
from tfdl.engine import errors, files
from tfdl.engine.prediction import Request

OPTIONS = ("top_k", "batch_size", "labels", "sheet", "test_size", "resize", "flip")
RECORDS, SHEET = "predictions.jsonl", "contact_sheet.png"
STDIN = "standard input"


class Picture(NamedTuple):
    """A file: what is wrong with it, or its crop uint8 [size, size, 3]."""

    name: str
    problem: str | None
    pixels: np.ndarray | None


class Predictor:
    """A model directory's network with how it wants its pictures."""

    def __init__(self, request: Request, model: keras.Model):
        config = request.config
        self.model = model
        self.values = preprocessing.check(config["preprocessing"])
        self.size = request.number("test_size", config["test_size"])
        share = config["resize"] / config["test_size"]
        self.resize = request.number("resize", round(self.size * share))
        self.flip = request.option("flip", "false", ("true", "false")) == "true"
        self.labels = serving.labels_of(str(request.model_dir), config)
        if "labels" in request.options:
            count, self.labels = (
                len(self.labels),
                classes.read(request.options["labels"]),
            )
            if len(self.labels) != count:
                raise errors.UserError(
                    f"{request.options['labels']} has {len(self.labels)} names, the "
                    f"network {count} classes"
                )
        self.top_k = min(request.number("top_k", 5), len(self.labels))
        self.run = tf.function(
            self._best,
            input_signature=[tf.TensorSpec([None, self.size, self.size, 3], tf.uint8)],
        )

    def _best(self, images):
        x = preprocessing.normalise(images, self.values)
        logits = self.model({"image": x})["logits"]
        if self.flip:
            mirrored = self.model({"image": tf.reverse(x, [2])})["logits"]
            logits = (logits + mirrored) / 2.0
        return tf.math.top_k(tf.nn.softmax(logits), self.top_k)

    def read(self, path: pathlib.Path | None) -> Picture:
        """Reads, resizes and crops a file, or standard input."""
        name = STDIN if path is None else str(path)
        try:
            data = sys.stdin.buffer.read() if path is None else path.read_bytes()
        except OSError as error:
            return Picture(name, f"cannot be read: {error.strerror}", None)
        pixels, problem = decode(data)
        if problem:
            return Picture(name, problem, None)
        kernel = serving_graph.KERNELS[self.values["interpolation"]]
        crop = evaluation_images.central(
            pixels, self.resize, self.size, self.size, kernel=kernel
        )
        return Picture(name, None, crop.numpy())

    def records(self, pictures: list[Picture]) -> Iterator[dict[str, Any]]:
        """Yields a record for each picture of a batch."""
        good = [picture.pixels for picture in pictures if picture.problem is None]
        results = iter(())
        if good:
            best = self.run(np.stack(good))
            results = zip(best.indices.numpy(), best.values.numpy(), strict=True)
        for picture in pictures:
            if picture.problem is not None:
                yield {"file": picture.name, "error": picture.problem}
                continue
            indices, chances = next(results)
            predictions = []
            for index, chance in zip(indices, chances, strict=True):
                label = self.labels[index]
                found = {"class": label.name, "probability": round(float(chance), 6)}
                if label.wnid:
                    found["wnid"] = label.wnid
                predictions.append({**found, "index": int(index)})
            yield {"file": picture.name, "predictions": predictions}


def decode(data: bytes) -> tuple[np.ndarray | None, str | None]:
    """Returns (RGB pixels, None), or (None, what is wrong).

    JPEG and PNG as everywhere in training and serving; what else Pillow reads is
    taken, too.
    """
    if not data or data.startswith((image_files.JPEG, image_files.PNG)):
        problem = image_codec.problem(data)
        if problem:
            return None, problem
        return image_codec.decode(data.startswith(image_files.JPEG), data), None
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > image_files.MAX_PIXELS:
                return None, f"has {width}x{height} pixels"
            return np.asarray(image.convert("RGB")), None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        kind = image_files.kind(data)
        return None, f"is {kind}" if kind == "no image" else f"is {kind}, damaged"


def predict(request: Request, model: keras.Model) -> Iterator[dict[str, Any]]:
    """Yields a record per picture, in order of the files' names.

    `model({"image": x})` has to return `"logits"`.

    `--input` is a file, a folder (read with the folders in it) or - for one picture
    on standard input. Options: `top_k`, `batch_size`, `labels` (a file of names),
    `sheet` (a PNG to write), `test_size` and `resize`, `flip` (true: averages with
    the mirrored picture). With `--output` nothing is yielded: records go into that
    file, or into that folder with a contact sheet.

    Raises:
        UserError: there is no picture that can be read.
    """
    request.check_options(*OPTIONS)
    paths = find(request.input)
    sheet, lines = _targets(request)
    predictor = Predictor(request, model)
    tiles, texts = [], []
    good = bad = 0
    for pictures in _batches(predictor, paths, request.number("batch_size", 32)):
        for picture, record in zip(pictures, predictor.records(pictures), strict=True):
            if "error" in record:
                bad += 1
                print(f"warning: {picture.name} {picture.problem}", file=sys.stderr)
            else:
                good += 1
            if sheet is not None and len(tiles) < contact_sheet.MOST:
                tiles.append(contact_sheet.tile(picture.pixels, record))
            if lines is None:
                yield record
            else:
                texts.append(json.dumps(record, ensure_ascii=False) + "\n")
    if bad:
        print(f"warning: {bad} of {good + bad} files skipped", file=sys.stderr)
    if not good:
        raise errors.UserError(f"{request.input}: no picture that can be read")
    if lines is not None:
        files.atomic_write(lines, "".join(texts))
    if sheet is not None:
        files.atomic_write(sheet, contact_sheet.png(tiles, good + bad))
        print(f"contact sheet: {sheet}", file=sys.stderr)


def find(name: str) -> list[pathlib.Path | None]:
    """Returns the files that `--input` means, sorted; None is standard input."""
    if not name:
        raise errors.UserError("--input is needed: a picture, a folder, or -")
    if name == "-":
        return [None]
    path = pathlib.Path(name)
    if not path.is_dir():
        return [files.require_file(path)]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise errors.UserError(f"{path}: no files")
    return found


def _targets(request: Request) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """Returns where sheet and records go, None for nowhere and standard output."""
    sheet = request.options.get("sheet")
    lines = None
    if request.output:
        output = pathlib.Path(request.output)
        if output.is_dir() or request.output.endswith(os.sep) or not output.suffix:
            lines, sheet = output / RECORDS, sheet or output / SHEET
        else:
            lines = output
    return pathlib.Path(sheet) if sheet else None, lines


def _batches(
    predictor: Predictor, paths: list[pathlib.Path | None], size: int
) -> Iterator[list[Picture]]:
    """Yields batches of pictures; the next is read while one is looked at."""
    rest = iter(paths)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:

        def start():
            chosen = list(itertools.islice(rest, size))
            return [pool.submit(predictor.read, path) for path in chosen]

        ahead = start()
        while ahead:
            current, ahead = ahead, start()
            yield [future.result() for future in current]
