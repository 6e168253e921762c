"""BigGAN checkpoints of other projects into model directories, and back.

Read: BigGAN-PyTorch's folders and files (G, G_ema, D; both layouts of torch),
pytorch-pretrained-biggan's folders, DeepMind's TF Hub modules for TensorFlow 1. Every
size comes from the arrays. Written: the first two formats.
"""

import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import mapping, torch_writer
from tfdl.data import class_names
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.biggan import ajb_names, hf_names, simplify, slots, sources
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.model import (
    DISCRIMINATOR,
    TRAINING_GENERATOR,
    build_discriminator,
    build_generator,
    load_discriminator,
    load_training_generator,
)
from tfdl.models.biggan.plans import GeneratorConfig

FORMATS = ("ajb", "hf")
FIELDS = (
    "batch_norm_epsilon",
    "output_norm_epsilon",
    "spectral_epsilon",
    "spectral_evaluation",
    "interpolation",
)
OPTIONS = (*FIELDS, "suffix", "depth", "attention", "labels", "fold", "truncation")


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    suffix: str = "",
    depth: int | None = None,
    attention: int | None = None,
    labels: Sequence[str] | str = (),
    fold: bool = False,
    truncation: float | str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    The generator of averaged weights becomes the model. The one without averages and
    the discriminator are kept beside it, for training on; a discriminator by itself
    becomes the model.

    Args:
        source: a file, a folder, or a TF Hub module's folder.
        output_dir: the model directory to write.
        suffix: of BigGAN-PyTorch's copies: "copy0", "best0".
        depth: blocks per resolution of a BigGAN-deep, where files do not show it.
        attention: block that attention follows in a TF Hub module of unusual sizes.
        labels: names of the classes, or one file with a name per line; ImageNet's by
            default when there are 1000.
        fold: weights are divided by their singular values once and for all.
        truncation: keeps the statistics of this truncation only.
        **fields: of the architecture that no array shows: the epsilons,
            `spectral_evaluation`, `interpolation`.

    Returns:
        `format`, `network`, `resolution`, `classes`; `parameters` and `tensors` by
        network; `mapping`, the same by module of the generator; `skipped`, `notes`.

    Raises:
        UserError: the checkpoint is damaged, of another network, or does not fit
            together. Nothing is written then.
    """
    for name in fields:
        if name not in FIELDS:
            raise errors.unknown("option of biggan's convert", name, OPTIONS)
    files.check_apart(source, output_dir)
    read = sources.read(source, suffix, depth, attention, fields)
    networks = {}
    for role in ("generator", "training_generator", "discriminator"):
        found = getattr(read, role)
        if found is not None:
            networks[role] = _loaded(found)
    kept = networks.get("generator", networks.get("discriminator"))
    if (fold or truncation is not None) and not isinstance(kept, Generator):
        raise UserError(f"{source} holds no generator to fold")
    if truncation is not None:
        kept = simplify.at_truncation(kept, truncation)
    if fold:
        kept = simplify.without_spectral_norm(kept)
    if kept is not networks.get("generator", kept):
        networks = {"generator": kept}
    names = _labels(labels, kept.config.num_classes)
    _save(output_dir, read, networks, names)
    return {
        "format": read.format,
        "network": sources.NAMES[kept.config.kind],
        "resolution": getattr(kept.config, "resolution", None),
        "classes": kept.config.num_classes,
        "parameters": {n: x.config.num_parameters() for n, x in networks.items()},
        "tensors": {
            role: len(found.arrays)
            for role in networks
            if (found := getattr(read, role)) is not None
        },
        "mapping": _modules(read, kept),
        "skipped": read.skipped,
        "notes": read.notes,
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str | None = None
) -> dict[str, Any]:
    """Writes a model directory in another project's format, bit for bit.

    Args:
        source: a model directory.
        output_dir: the folder to write.
        format: "ajb": G.pth, and G_ema.pth and D.pth where there are such networks;
            "hf": config.json and pytorch_model.bin, for a BigGAN-deep generator with
            a table of statistics. By default what the model came from, or else ajb.

    Returns:
        `format`, `files` (name -> tensors).

    Raises:
        UserError: no model directory of this model, one that the format cannot hold,
            or the folder cannot be written.
    """
    import tfdl

    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "biggan":
        raise UserError(f"{source} is a {config['model']!r} model, not biggan")
    model = tfdl.load(source)
    table = getattr(model.config, "statistics", "") == "table"
    if format is None:
        format = "hf" if table else "ajb"
    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    layout = config.get("source", {}).get("layout", {})
    writers = {"ajb": _ajb_files, "hf": _hf_files}
    written = writers[format](source, model, layout)
    with files.atomic_directory(output_dir) as scratch:
        for name, content in written.items():
            if isinstance(content, str):
                files.atomic_write(scratch / name, content)
            else:
                torch_writer.write(scratch / name, content)
    counts = {n: len(x) for n, x in written.items() if not isinstance(x, str)}
    return {"format": format, "files": counts}


# --- reading ---------------------------------------------------------------------


def _loaded(found: sources.Network):
    wanted = found.config.num_parameters()
    given = sum(array.size for array in found.arrays.values())
    if wanted > 2 * given:
        raise UserError(
            f"{found.where} has {given:,} weights, its sizes ask for {wanted:,}: most "
            "of the network is missing"
        )
    is_generator = isinstance(found.config, GeneratorConfig)
    build = build_generator if is_generator else build_discriminator
    network = build(found.config, empty=True)
    mapping.assign(found.slots(network), found.arrays, found.where)
    return network


def _labels(given: Sequence[str] | str, count: int):
    given = [given] if isinstance(given, str) else list(given)
    where = "labels"
    if len(given) == 1 and pathlib.Path(given[0]).is_file():
        where = given[0]
        names = class_names.read(where)
    elif given:
        names = class_names.parse(given, where)
    else:
        return class_names.imagenet() if count == 1000 else ()
    if len(names) != count:
        raise UserError(f"{where} has {len(names)} names, the network {count} classes")
    return names


def _save(output_dir, read: sources.Source, networks, names) -> None:
    generator = networks.get("generator")
    discriminator = networks.get("discriminator")
    config = {
        "model": "biggan",
        "generator": generator.config.to_dict() if generator else None,
        "discriminator": discriminator.config.to_dict() if discriminator else None,
        "resolution": generator.config.resolution if generator else None,
        "classes": class_names.ASSET if names else None,
        "source": {"format": read.format, "layout": read.layout},
    }
    with tempfile.TemporaryDirectory() as scratch:
        assets: dict[str, Any] = {}
        if names:
            assets[class_names.ASSET] = class_names.text(names)
        beside = {TRAINING_GENERATOR: networks.get("training_generator")}
        if generator is not None:
            beside[DISCRIMINATOR] = discriminator
        for name, network in beside.items():
            if network is not None:
                assets[name] = pathlib.Path(scratch) / name
                network.save_weights(str(assets[name]))
        model_dir.save(output_dir, config, generator or discriminator, assets)


def _modules(read: sources.Source, network) -> dict[str, dict[str, int]]:
    """Counts tensors and numbers of each part of the file."""
    found = read.generator or read.discriminator
    result: dict[str, dict[str, int]] = {}
    for name, array in found.arrays.items():
        parts = name.replace("/", ".").split(".")
        deep = 3 if parts[0] in ("generator",) else 2
        key = ".".join(parts[: min(deep, len(parts) - 1) or 1])
        counts = result.setdefault(key, {"tensors": 0, "numbers": 0})
        counts["tensors"] += 1
        counts["numbers"] += int(np.size(array))
    return result


# --- writing ---------------------------------------------------------------------


def _ajb_files(source, model, layout: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(model, Generator):
        return {"D.pth": slots.arrays(ajb_names.slots(model))}
    if model.config.statistics == "table":
        raise UserError(
            f"{source} cannot be written as ajb: its statistics are a table by "
            "truncation, the format has one of each"
        )
    if model.config.image_channels not in (model.config.last_filters, 3):
        raise UserError(f"{source} cannot be written as ajb: filters without a use")
    training = load_training_generator(source)
    discriminator = load_discriminator(source)
    written = {"G.pth": _ajb_generator(training or model, layout)}
    if training is not None:
        written["G_ema.pth"] = _ajb_generator(model, layout)
    if discriminator is not None:
        written["D.pth"] = slots.arrays(ajb_names.slots(discriminator))
    return written


def _ajb_generator(network: Generator, layout) -> dict[str, np.ndarray]:
    biased = network.config.running_variance == "biased"
    mybn = bool(layout.get("mybn", biased))
    table = ajb_names.slots(network, mybn, bool(layout.get("z_first")))
    arrays = {}
    for name, slot in table.items():
        arrays[name] = slot.value()
        if mybn and name.endswith(".stored_var"):
            counter = name.removesuffix("stored_var") + ajb_names.COUNTER
            arrays[counter] = np.zeros(1, np.float32)
    return arrays


def _hf_files(source, model, layout: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(model, Generator):
        raise UserError(f"{source} cannot be written as hf: it is a discriminator")
    described = hf_names.config_json(model.config)
    if model.config.spectral_evaluation != "stored":
        model = simplify.with_stored_vectors(model)
    return {
        "config.json": json.dumps(described, indent=2) + "\n",
        "pytorch_model.bin": slots.arrays(hf_names.slots(model)),
    }
