"""Checkpoints of other projects into model directories, and back.

Read: keras.applications' NASNet in HDF5 (Keras 2's layout), TF-slim's NASNet and the
TPU repository's AmoebaNet as TensorFlow checkpoints (a prefix, a folder, or the
published .tar.gz). Every size comes from the tensors. Written: TensorFlow checkpoints
with TF-slim's names, or keras.applications' HDF5.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import archives, keras_layers, mapping, sniff, tf1
from tfdl.classifiers import settings
from tfdl.classifiers.preprocessing import check as check_preprocessing
from tfdl.data import class_names as classes
from tfdl.engine import errors, files, model_dir
from tfdl.engine import options as engine_options
from tfdl.engine.errors import UserError
from tfdl.models.automl import keras_names, slim
from tfdl.models.automl.model import build_model, read
from tfdl.models.automl.networks.config import CellsConfig
from tfdl.models.automl.recurrent import checkpoints

OPTIONS = (
    "genotype",
    "skip_reduction",
    "epsilon",
    "num_classes",
    "labels",
    "preprocessing",
    "test_size",
    "resize",
    "averaged",
)
FORMATS = ("tf1", "keras")
RECURRENT = "recurrent"
# The central 87.5 % of a picture are looked at (TF-slim).
CROP = 0.875
# What the builder of keras.applications sets that no tensor shows.
KERAS = {
    "initializer": "keras",
    "zero_padded_pools": True,
    "unbiased_moving_variance": False,
    "dropout_keep": 1.0,
}


def convert(
    source: files.PathLike, output_dir: files.PathLike, **options: Any
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    Args:
        source: a file of weights, a checkpoint's prefix, a folder or an archive.
        output_dir: the model directory to write.
        **options: see `convert_images`.

    Returns:
        A summary, see there.

    Raises:
        UserError: unknown, damaged, or it does not fit together. Nothing is written
            then.
    """
    for name in options:
        if name not in (*OPTIONS, *checkpoints.OPTIONS):
            allowed = dict.fromkeys((*OPTIONS, *checkpoints.OPTIONS))
            raise errors.unknown("option of automl's convert", name, allowed)
    files.check_apart(source, output_dir)
    kind, where, arrays = _read(source)
    is_recurrent = kind == RECURRENT
    for name in options:
        if name not in (checkpoints.OPTIONS if is_recurrent else OPTIONS):
            what = "a recurrent cell" if is_recurrent else "an image network"
            raise UserError(f"--option={name} does not go with {what} ({where})")
    if is_recurrent:
        return checkpoints.convert(where, arrays, output_dir, **options)
    return convert_images(kind, where, arrays, output_dir, **options)


def convert_images(
    kind: str,
    where: str,
    arrays: Mapping[str, np.ndarray],
    output_dir: files.PathLike,
    *,
    genotype: str = "nasnet_a",
    skip_reduction: bool | None = None,
    epsilon: float | str | None = None,
    num_classes: int | None = None,
    labels: Sequence[str] | str = (),
    preprocessing: str = "tf",
    test_size: int | None = None,
    resize: int | None = None,
    averaged: bool = True,
) -> dict[str, Any]:
    """Converts a network of cells.

    Args:
        kind: "keras.applications" or "tf1".
        where: the file, for messages.
        arrays: by TF-slim's names.
        output_dir: the model directory to write.
        genotype: the published cells that the network is made of.
        skip_reduction: see `CellsConfig`; only where shapes do not tell.
        epsilon: of batch normalisation, where it is not the usual one.
        num_classes: gives weights without a classifier a random one.
        labels: names of the classes, or one file with a name per line; ImageNet's
            by default when there are 1000, or 1001 with a background.
        preprocessing: mode, see `preprocessing.check`.
        test_size: pictures' size for predictions.
        resize: their short side before the crop to that size.
        averaged: takes a checkpoint's averaged weights where it has them.

    Returns:
        `format`, `network` (preset's name or "custom"), `parameters` without the
        auxiliary head, `classes`, `skip_reduction`, `random` (what starts at random),
        `skipped`.
    """
    arrays, skipped = slim.weights(arrays, averaged)
    fields = slim.infer(arrays, where, genotype, skip_reduction, num_classes, test_size)
    fields |= KERAS if kind == "keras.applications" else {}
    if epsilon is not None:
        fields["epsilon"] = engine_options.number("epsilon", epsilon)
    config = CellsConfig.from_dict(fields)
    _check_size(config, arrays, where)
    bad = [n for n, x in arrays.items() if not np.isfinite(x.astype("float32")).all()]
    if bad:
        raise UserError(f"{where}: {mapping.listing('with NaN or Inf', bad)}")
    headless = slim.FEATURES not in arrays
    count = config.num_classes
    names = settings.labels(labels, count, _known(count, headless))
    usual = _usual_size(config)
    size, side = settings.sizes(test_size, resize, (usual, round(usual / CROP)))
    described = {
        "model": "automl",
        "network": config.to_dict(),
        "preprocessing": check_preprocessing({"mode": preprocessing}),
        "classes": classes.ASSET if names else None,
        "test_size": size,
        "resize": side,
    }
    model = build_model(config.to_dict())
    optional = ("final_layer/FC/biases", slim.FEATURES) if headless else ()
    random = mapping.assign(model.by_name(), arrays, where, optional)
    assets = {classes.ASSET: classes.text(names)} if names else {}
    model_dir.save(output_dir, described, model, assets)
    return {
        "format": kind,
        "network": config.name(),
        "parameters": model.num_parameters(),
        "classes": config.num_classes,
        "skip_reduction": config.skip_reduction,
        "random": random,
        "skipped": skipped,
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str = "tf1"
) -> dict[str, Any]:
    """Writes a model directory's weights in an original format, bit for bit.

    Args:
        source: a model directory with a network of cells.
        output_dir: the folder to write.
        format: "tf1": `model.ckpt` with TF-slim's names; "keras": `model.h5` that
            keras.applications' NASNet loads with `by_name=True`.

    Returns:
        `format`, `network`, `tensors`, and in `differs` what the original's own
        builder computes otherwise.

    Raises:
        UserError: no model directory of such a network, or the folder cannot be
            written.
    """
    import tfdl

    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "automl":
        raise UserError(f"{source} is a {config['model']!r} model, not automl")
    network = config.get("network") or {}
    if network.get("kind") in ("language", "recurrent"):
        if format != "tf1":
            raise UserError(f"a recurrent cell is written as tf1, not as {format}")
        return checkpoints.to_original(source, output_dir)
    if network.get("kind") != "cells":
        raise UserError(
            f"{source} holds no network of cells: only these have an original's names"
        )
    network = read(network)
    model = tfdl.load(source)
    arrays = {name: variable.numpy() for name, variable in model.named()}
    if format == "keras":
        arrays = _for_keras(network, arrays, source)
    with files.atomic_directory(output_dir) as scratch:
        if format == "keras":
            keras_layers.write(scratch / "model.h5", arrays)
        else:
            tf1.write(scratch / "model.ckpt", arrays)
        if config.get("classes"):
            text = files.read_text(model_dir.asset(source, config["classes"]))
            files.atomic_write(scratch / classes.ASSET, text)
    padded = format == "keras"
    return {
        "format": format,
        "network": network.name(),
        "tensors": len(arrays),
        "differs": ["pools"] if network.zero_padded_pools != padded else [],
    }


def _read(source: files.PathLike) -> tuple[str, str, dict[str, np.ndarray]]:
    """Returns (format, file, arrays by TF-slim's names)."""
    path = pathlib.Path(source)
    if path.is_file() and sniff.kind(path) == sniff.HDF5:
        arrays = keras_names.to_slim(keras_layers.read(path), str(path))
        return "keras.applications", str(path), arrays
    if path.is_file() and path.suffix in (".h5", ".hdf5", ".keras"):
        raise UserError(f"{path} is not an HDF5 file: {sniff.instead(path)}")
    with archives.unpacked_tar(path, lambda name: ".ckpt" in name) as place:
        arrays = tf1.read(place)
    if checkpoints.recognises(arrays):
        return RECURRENT, str(path), arrays
    if not slim.recognises(arrays):
        raise UserError(
            f"{path} is no network of cells: it has no weights of a cell_0 (names: "
            f"{', '.join(list(arrays)[:3])}, ...)"
        )
    return "tf1", str(path), arrays


def _check_size(config: CellsConfig, arrays, where: str) -> None:
    """Sizes from a few tensors must not ask for a model far larger than the file."""
    given = sum(array.size for array in arrays.values())
    wanted = config.fewest_parameters()
    if slim.FEATURES not in arrays:
        wanted -= config.num_features * config.num_classes
    if wanted > 2 * given:
        raise UserError(
            f"{where} has {given:,} weights, its sizes ask for over {wanted:,}: most "
            "of the network is missing"
        )


def _known(count: int, headless: bool) -> tuple[classes.ClassName, ...]:
    if headless or count not in (1000, 1001):
        return ()
    background = (classes.ClassName("background"),) if count == 1001 else ()
    return background + classes.imagenet()


def _usual_size(config: CellsConfig) -> int:
    """Returns the size of the pictures that a network was trained on, or a guess."""
    if config.aux_head or config.stem == "cifar":
        return config.image_size
    return 331 if config.filters >= 168 else 224


def _for_keras(
    network: CellsConfig, arrays: Mapping[str, np.ndarray], source: files.PathLike
) -> dict[str, dict[str, np.ndarray]]:
    """Returns layer -> weight -> array, in the order of the network."""
    plain = CellsConfig.from_dict({"preset": "nasnet_mobile"})
    same = (
        network.genotype == plain.genotype,
        network.stem == "imagenet",
        network.reductions == 2,
        network.cells % 3 == 0,
    )
    if not all(same):
        raise UserError(
            f"{source} is no network that keras.applications builds: NASNet-A's cells "
            "after ImageNet's stem, in three groups of equal length"
        )
    arrays = {n: x for n, x in arrays.items() if not n.startswith("aux")}
    result: dict[str, dict[str, np.ndarray]] = {}
    for name, (layer, weight) in keras_names.to_keras(arrays, network.cells).items():
        result.setdefault(layer, {})[weight] = arrays[name]
    order = list(keras_names.WEIGHTS)
    return {
        layer: dict(sorted(weights.items(), key=lambda item: order.index(item[0])))
        for layer, weights in result.items()
    }
