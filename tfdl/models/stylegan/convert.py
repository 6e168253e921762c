"""Converts the original's pickles, and back.

Read: NVlabs/stylegan's `.pkl` (G, D and Gs, or one of them), and safetensors as
written here. Every size comes from the file. Written: safetensors with the original's
names and layouts.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.checkpoints import safetensors, sniff
from tfdl.data import class_names
from tfdl.engine import errors, files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import model as stylegan
from tfdl.models.stylegan import original, pickled_network
from tfdl.models.stylegan.discriminator import Discriminator

OPTIONS = ("labels",)
FORMATS = ("safetensors",)
PICKLE = "nvlabs-pickle"
SAFETENSORS = "safetensors"
REPORT = "conversion.json"
METADATA = "tfdl"
SUFFIXES = (".pkl", ".safetensors")
TORCH_SUFFIXES = (".model", ".pt", ".pth", ".bin")
# What is kept as the model, first to last.
ROLES = ("Gs", "G", "D")
Networks = dict[str, Any]


def convert(
    source: files.PathLike,
    output_dir: files.PathLike,
    *,
    labels: Sequence[str] | str = (),
    **unknown: Any,
) -> dict[str, Any]:
    """Converts a checkpoint into a model directory.

    The averaged generator is the model; the generator as trained and the
    discriminator, where the file has them, are kept for training on. Weights stay
    as they are stored; what they are multiplied by is part of the network.

    Args:
        source: a `.pkl`, safetensors, or a folder with one such file.
        output_dir: the model directory to write.
        labels: names of the classes of a conditional network, or a file of them.
        **unknown: refused by name.

    Returns:
        `format`, `networks` (name -> trained weights), `resolution`, `lod`,
        `classes`, `tensors`, `max_difference` (of the tensors as written from those
        in the file) and `ignored` (arguments in the file that have no effect).

    Raises:
        UserError: the file is no StyleGAN's, asks to run something, is damaged or
            does not fit together. Nothing is written then.
    """
    if unknown:
        raise errors.unknown(
            "option of stylegan's convert", next(iter(unknown)), OPTIONS
        )
    path = _file(source)
    files.check_apart(path, output_dir)
    kind, networks, details = _read(path)
    role = next(role for role in ROLES if role in networks)
    kept = networks[role]
    config = _settings(networks, role)
    config["source"] = {"format": kind, "file": path.name}
    config["lod"] = details.pop("lod")
    assets: dict[str, Any] = {}
    names = _class_names(labels, kept.config.label_size)
    if names:
        config["classes"] = class_names.ASSET
        assets[class_names.ASSET] = class_names.text(names)
    given = {name: original.arrays_of(network) for name, network in networks.items()}
    beside = {name: networks.get(name) for name in ("G", "D") if name != role}
    with stylegan.training_assets(beside.get("G"), beside.get("D")) as written:
        model_dir.save(output_dir, config, kept, {**assets, **written})
    report = _compare(given, role, output_dir)
    differences = [entry["max_difference"] for entry in report.values()]
    return {
        "format": kind,
        "networks": {
            name: network.config.num_parameters() for name, network in networks.items()
        },
        "resolution": kept.config.resolution,
        "lod": config["lod"],
        "classes": kept.config.label_size,
        "tensors": len(report),
        "max_difference": max(differences),
        **details,
    }


def to_original(
    source: files.PathLike, output_dir: files.PathLike, format: str = "safetensors"
) -> dict[str, Any]:
    """Writes a model directory as safetensors, with the original's names and layouts.

    Names are the original's behind the network's: `Gs/G_synthesis/4x4/Const/const`,
    `D/FromRGB_lod0/weight`. Pickles are not written: the original needs Python source
    of its own in them, which it runs. `convert` reads the result back, bit for bit.

    Args:
        source: a model directory.
        output_dir: the folder to write.
        format: "safetensors".

    Returns:
        `format`, `networks` and `tensors`.

    Raises:
        UserError: no model directory of this model, or the folder cannot be written.
    """
    if format not in FORMATS:
        raise errors.unknown("format", format, FORMATS)
    files.check_apart(source, output_dir)
    config = model_dir.read_config(source)
    if config["model"] != "stylegan":
        raise UserError(f"{source} is a {config['model']!r} model, not stylegan")
    networks = load_networks(source)
    arrays = {
        f"{role}/{name}": array
        for role, network in networks.items()
        for name, array in original.arrays_of(network).items()
    }
    kept = {
        "lod": config.get("lod", 0.0),
        "networks": {role: net.config.to_dict() for role, net in networks.items()},
    }
    with files.atomic_directory(output_dir) as scratch:
        target = scratch / "model.safetensors"
        safetensors.write(target, arrays, {METADATA: json.dumps(kept)})
        if config.get("classes"):
            text = files.read_text(model_dir.asset(source, config["classes"]))
            files.atomic_write(scratch / class_names.ASSET, text)
    return {"format": format, "networks": list(networks), "tensors": len(arrays)}


def load_networks(directory: files.PathLike) -> Networks:
    """Returns the networks of a model directory: "Gs" or "D", and what is beside."""
    import tfdl

    kept = tfdl.load(str(directory))
    networks = {"D" if isinstance(kept, Discriminator) else "Gs": kept}
    for role, load in (
        ("G", stylegan.load_training_generator),
        ("D", stylegan.load_discriminator),
    ):
        if role not in networks:
            network = load(directory)
            if network is not None:
                networks[role] = network
    return networks


def _file(source: files.PathLike) -> pathlib.Path:
    source = pathlib.Path(source)
    if not source.is_dir():
        return files.require_file(source)
    if (source / model_dir.CONFIG).is_file():
        raise UserError(f"{source} is a model directory already")
    found = sorted(p for p in source.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(
            f"{source}: one file of {', '.join(SUFFIXES)} is wanted, found: {names}"
        )
    return found[0]


def _read(path: pathlib.Path) -> tuple[str, Networks, dict[str, Any]]:
    kind = sniff.kind(path)
    if kind == sniff.SAFETENSORS:
        return _read_safetensors(path)
    if kind == sniff.PICKLE:
        networks, lod, ignored = {}, 0.0, set()
        for role, pickled in pickled_network.read(path).items():
            where = f"{path.name}: {role}"
            networks[role], lod, unused = original.build(pickled, where)
            ignored |= set(unused)
        # The last one is Gs: its level of detail is the model's.
        return PICKLE, networks, {"lod": lod, "ignored": sorted(ignored)}
    if kind == sniff.ZIP and path.suffix in TORCH_SUFFIXES:
        raise UserError(f"{path} was written by torch: {pickled_network.PORTS}")
    raise UserError(
        f"{path} is neither a pickled network nor safetensors: {sniff.instead(path)}"
    )


def _read_safetensors(path: pathlib.Path) -> tuple[str, Networks, dict[str, Any]]:
    text = safetensors.read_metadata(path).get(METADATA)
    if text is None:
        raise UserError(f"{path} was not written by tfdl: it lacks {METADATA!r}")
    try:
        kept = json.loads(text)
        sections, lod = kept["networks"], float(kept["lod"])
        wanted = {role: dict(fields) for role, fields in sections.items()}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: its {METADATA!r} is damaged") from None
    arrays = safetensors.read(path)
    networks = {}
    for role, fields in wanted.items():
        if role not in ROLES:
            raise errors.unknown("network", role, ROLES)
        prefix = f"{role}/"
        own = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        networks[role] = original.build_from(fields, own, role == "D", path.name)
    if not networks or len(arrays) != sum(
        len(original.arrays_of(network)) for network in networks.values()
    ):
        raise UserError(f"{path} holds tensors of no network")
    ordered = {role: networks[role] for role in ("G", "D", "Gs") if role in networks}
    return SAFETENSORS, ordered, {"lod": lod}


def _settings(networks: Networks, role: str) -> dict[str, Any]:
    discriminator = networks.get("D")
    return {
        "model": "stylegan",
        "generator": None if role == "D" else networks[role].config.to_dict(),
        "discriminator": discriminator and discriminator.config.to_dict(),
        "classes": None,
    }


def _class_names(
    given: Sequence[str] | str, count: int
) -> tuple[class_names.ClassName, ...]:
    given = [given] if isinstance(given, str) else list(given)
    if not given:
        return ()
    where = "labels"
    if len(given) == 1 and pathlib.Path(given[0]).is_file():
        where = given[0]
        names = class_names.read(where)
    else:
        names = class_names.parse(given, where)
    if len(names) != count:
        raise UserError(f"{where} has {len(names)} names, the network {count} classes")
    return names


def _compare(
    given: Mapping[str, Mapping[str, np.ndarray]],
    role: str,
    directory: files.PathLike,
) -> dict[str, dict[str, Any]]:
    """Reads the written networks back; keeps how far each tensor is from the file."""
    report = {}
    for name, network in load_networks(directory).items():
        # A lone generator is kept as the model, whatever the file calls it.
        source = given[role if name == "Gs" else name]
        for key, array in original.arrays_of(network).items():
            difference = float(np.abs(array - source[key]).max()) if array.size else 0.0
            report[f"{name}/{key}"] = {
                "shape": list(array.shape),
                "max_difference": difference,
            }
    path = pathlib.Path(directory) / model_dir.ASSETS / REPORT
    path.parent.mkdir(exist_ok=True)
    files.atomic_write(path, json.dumps(report, indent=1) + "\n")
    return report
