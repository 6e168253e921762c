"""ResNet checkpoints of other projects into model directories, and back.

Read: torchvision's .pth (both layouts, float16 too), training checkpoints of the
original recipe (.pth.tar) and of torchvision's, ffcv-imagenet's with BlurPool,
transformers' and timm's safetensors (ResNet-D too), keras.applications' HDF5. Every
size comes from the tensors. Written: safetensors with torchvision's names.
"""

import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping, safetensors
from tfdl.classifiers import settings
from tfdl.classifiers.preprocessing import check as check_preprocessing
from tfdl.data import class_names as classes
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.imagenet18 import (
    momentum,
    sources,
    timm_names,
    torchvision_names,
)
from tfdl.models.imagenet18.model import ResNet, build_model
from tfdl.models.imagenet18.names import variable_names
from tfdl.models.imagenet18.network import ResNetConfig

OPTIONS = (
    "stride_in_1x1",
    "epsilon",
    "num_classes",
    "labels",
    "preprocessing",
    "test_size",
    "resize",
    "averaged",
    "optimizer",
)
FORMATS = ("safetensors",)
TEST_SIZE = 224
# Short side before the crop: of the recipe, and what most published weights use.
RESIZE = {"imagenet18": 255}
OTHER_RESIZE = 256


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    stride_in_1x1: bool | None = None,
    epsilon: float | str | None = None,
    num_classes: int | None = None,
    labels: Sequence[str] | str = (),
    preprocessing: str | None = None,
    test_size: int | None = None,
    resize: int | None = None,
    averaged: bool = False,
    optimizer: bool = False,
    **unknown: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    Args:
        source: a file of weights, or a folder with one.
        output_dir: the model directory to write.
        stride_in_1x1: a v1 network (MSRA's weights under torchvision's names, which
            do not show it). keras.applications' are known to be.
        epsilon: of batch normalisation, where it is not the format's usual one.
        num_classes: gives weights without a classifier a random one.
        labels: names of the classes, or one file with a name per line; ImageNet's
            by default when there are 1000.
        preprocessing: mode, see `preprocessing.check`.
        test_size: pictures' size for predictions.
        resize: their short side before the crop to that size.
        averaged: takes a training checkpoint's averaged weights.
        optimizer: keeps the momentum of a training checkpoint for training on.
        **unknown: refused by name.

    Returns:
        `format`, `network` (preset's name or "custom"), `parameters`, `classes`,
        `random` (what starts at random), `skipped`.

    Raises:
        UserError: the file is not a ResNet's, is damaged or does not fit together.
            Nothing is written then.
    """
    if unknown:
        raise errors.unknown(
            "option of imagenet18's convert", next(iter(unknown)), OPTIONS
        )
    files.check_apart(source, output_dir)
    read = sources.read(source, averaged)
    network = _network(read, stride_in_1x1, epsilon, num_classes)
    model = build_model(network)
    random = _assign(model, read)
    count = network.num_classes
    names = settings.labels(labels, count, _known_labels(read, count))
    described = _settings(read, network, names, preprocessing, test_size, resize)
    with tempfile.TemporaryDirectory() as scratch:
        assets: dict[str, Any] = {}
        if names:
            assets[classes.ASSET] = classes.text(names)
        if optimizer:
            assets[momentum.ASSET] = momentum.save(
                pathlib.Path(scratch) / momentum.ASSET, _momentum(read, network)
            )
        model_dir.save(output_dir, described, model, assets)
    skipped = [name for name in read.skipped if not (optimizer and name == "optimizer")]
    return {
        "format": read.kind,
        "network": network.name(),
        "parameters": network.num_parameters(),
        "classes": network.num_classes,
        "preprocessing": described["preprocessing"]["mode"],
        "random": random,
        "skipped": skipped,
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str = "safetensors"
) -> dict[str, Any]:
    """Writes a model directory as safetensors with torchvision's names, bit for bit.

    A deep stem and ResNet-D shortcuts have timm's names, blurred convolutions
    ffcv-imagenet's. Beside it: config.json as timm reads it for the published
    shapes, and the classes. Biases of convolutions go into the moving means.

    Args:
        source: a model directory.
        output_dir: the folder to write.
        format: "safetensors".

    Returns:
        `format`, `network`, `tensors`, and in `differs` what torchvision's own class
        computes otherwise.

    Raises:
        UserError: no model directory of this model, or the folder cannot be written.
    """
    import tfdl

    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "imagenet18":
        raise UserError(f"{source} is a {config['model']!r} model, not imagenet18")
    model = tfdl.load(source)
    arrays = torchvision_names.to_original(model)
    kept = {"network": {**model.config.to_dict(), "conv_bias": False}}
    kept["settings"] = {
        key: config[key] for key in ("preprocessing", "test_size", "resize")
    }
    with files.atomic_directory(output_dir) as scratch:
        safetensors.write(
            scratch / "model.safetensors",
            arrays,
            {"format": "pt", sources.METADATA: json.dumps(kept)},
        )
        if config.get("classes"):
            text = files.read_text(model_dir.asset(source, config["classes"]))
            files.atomic_write(scratch / classes.ASSET, text)
        described = timm_names.config_json(model.config, config)
        if described:
            files.atomic_write(scratch / "config.json", timm_names.dumps(described))
    differs = [
        f"{field}={getattr(model.config, field)}"
        for field, usual in (
            ("stride_in_1x1", False),
            ("epsilon", 1e-5),
            ("always_project", False),
            ("first_stage_stride", 1),
        )
        if getattr(model.config, field) != usual
    ]
    return {
        "format": format,
        "network": model.config.name(),
        "tensors": len(arrays),
        "differs": differs,
    }


def _network(
    read: sources.Source,
    stride_in_1x1: bool | None,
    epsilon: float | str | None,
    num_classes: int | None,
) -> ResNetConfig:
    fields = torchvision_names.infer(read.arrays, read.blurred, read.where)
    for key, value in read.network.items():
        # Sizes come from the tensors.
        fields.setdefault(key, value)
    if stride_in_1x1 is not None:
        fields["stride_in_1x1"] = stride_in_1x1
    if epsilon is not None:
        try:
            fields["epsilon"] = float(epsilon)
        except (TypeError, ValueError):
            raise UserError(f"epsilon has to be a number, got {epsilon!r}") from None
    if "fc.weight" not in read.arrays:
        if num_classes is None:
            raise UserError(
                f"{read.where} has no classifier; give one a size with "
                "--option=num_classes=N, and it starts at random"
            )
        fields["num_classes"] = num_classes
    elif num_classes not in (None, fields["num_classes"]):
        raise UserError(
            f"{read.where} has {fields['num_classes']} classes, not {num_classes}"
        )
    network = torchvision_names.config(fields, read.where)
    # Sizes from a few tensors must not ask for a model far larger than the file.
    given = sum(array.size for array in read.arrays.values())
    wanted = network.num_parameters()
    if "fc.weight" not in read.arrays:
        wanted -= (network.num_features + 1) * network.num_classes
    if wanted > 2 * given:
        raise UserError(
            f"{read.where} has {given:,} weights, its sizes ask for {wanted:,}: most "
            "of the network is missing"
        )
    return network


def _assign(model: ResNet, read: sources.Source) -> list[str]:
    torchvision_names.check_blurred(model, read.blurred, read.where)
    arrays = {
        name: torchvision_names.ours(name, np.asarray(array))
        for name, array in read.arrays.items()
    }
    bad = [n for n, x in arrays.items() if not np.isfinite(x.astype("float32")).all()]
    if bad:
        raise UserError(f"{read.where}: {mapping.listing('with NaN or Inf', bad)}")
    headless = not any(name.startswith("fc.") for name in arrays)
    optional = ("fc.weight", "fc.bias") if headless else ()
    return mapping.assign(variable_names(model, True), arrays, read.where, optional)


def _known_labels(read: sources.Source, count: int) -> tuple[classes.ClassName, ...]:
    if count == 1000 and "fc.weight" in read.arrays:
        return classes.imagenet()
    if read.labels and len(read.labels) == count:
        return classes.parse(read.labels, read.where)
    return ()


def _settings(
    read: sources.Source,
    network: ResNetConfig,
    names: Sequence[classes.ClassName],
    mode: str | None,
    test_size: int | None,
    resize: int | None,
) -> dict[str, Any]:
    given = dict(read.settings.get("preprocessing") or {"mode": "torch"})
    if mode is not None:
        given = {"mode": mode, "interpolation": given.get("interpolation", "bilinear")}
    usual = (
        read.settings.get("test_size", TEST_SIZE),
        read.settings.get("resize", RESIZE.get(read.kind, OTHER_RESIZE)),
    )
    size, side = settings.sizes(test_size or None, resize or None, usual)
    return {
        "model": "imagenet18",
        "network": network.to_dict(),
        "preprocessing": check_preprocessing(given),
        "classes": classes.ASSET if names else None,
        "test_size": size,
        "resize": side,
    }


def _momentum(read: sources.Source, network: ResNetConfig) -> Mapping[str, np.ndarray]:
    if read.optimizer is None:
        raise UserError(f"{read.where} holds no optimizer with momentum")
    trained = [name for name in read.arrays if not name.endswith(("_mean", "_var"))]
    return momentum.by_name(read.optimizer, trained, network, read.where)
