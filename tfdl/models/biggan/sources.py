"""Finding and reading BigGAN checkpoints of other projects."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import sniff, tf1, torch_archive
from tfdl.engine import files
from tfdl.engine.errors import UserError
from tfdl.models.biggan import ajb_names, hf_names, tfhub_names
from tfdl.models.biggan.generator import Generator
from tfdl.models.biggan.plans import DiscriminatorConfig, GeneratorConfig
from tfdl.models.biggan.slots import Slot

NAMES = {"biggan": "BigGAN", "deep": "BigGAN-deep"}
# BigGAN-PyTorch's files that hold no network.
_STATE = re.compile(r"(G_optim|D_optim|state_dict)(_.*)?\.pth")
_MAX_CONFIG = 16 << 20


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of a checkpoint.

    Attributes:
        config: its architecture.
        arrays: its weights, by the file's names.
        slots: where each of them goes in a built network.
        where: the file.
    """

    config: GeneratorConfig | DiscriminatorConfig
    arrays: Mapping[str, np.ndarray]
    slots: Callable[[Any], Mapping[str, Slot]]
    where: str


@dataclasses.dataclass
class Source:
    """What a checkpoint holds.

    Attributes:
        format: "ajb" (BigGAN-PyTorch), "hf" (pytorch-pretrained-biggan), "tfhub".
        generator: the one to sample from: of averaged weights if there are any.
        training_generator: the one without averages, if there is one besides.
        discriminator: if there is one.
        layout: what writing the format back has to know.
        skipped: files and names that are of no use here.
        notes: what a person should know.
    """

    format: str
    generator: Network | None = None
    training_generator: Network | None = None
    discriminator: Network | None = None
    layout: dict[str, Any] = dataclasses.field(default_factory=dict)
    skipped: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def read(
    path: files.PathLike,
    suffix: str = "",
    depth: int | None = None,
    attention: int | None = None,
    generator: Mapping[str, Any] | None = None,
) -> Source:
    """Reads a checkpoint; its format is recognised from the files.

    Args:
        path: a `.pth` or `.bin` file, a folder with such, a module's folder.
        suffix: of BigGAN-PyTorch's copies: "copy0", "best0".
        depth: see `ajb_names.generator_config`.
        attention: see `tfhub_names.generator_config`.
        generator: fields of the generator's architecture that no array shows.

    Raises:
        UserError: it is of no known format, damaged, or asks to be run.
    """
    path, changes = pathlib.Path(path), dict(generator or {})
    if not path.exists() and not pathlib.Path(f"{path}.index").is_file():
        raise UserError(f"{path}: no such file or folder")
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return _read_tfhub(path, prefix, attention, changes)
    if path.is_file():
        return _read_file(path, depth, changes)
    if any(path.glob("*pytorch_model.bin")):
        return _read_hf(_single(path, "*pytorch_model.bin"), changes)
    return _read_ajb_folder(path, suffix, depth, changes)


# --- BigGAN-PyTorch --------------------------------------------------------------


def _read_file(path: pathlib.Path, depth, changes) -> Source:
    if _STATE.fullmatch(path.name):
        raise UserError(
            f"{path} holds the state of a training run, no network; G.pth, G_ema.pth "
            "and D.pth do"
        )
    arrays = state_dict(path)
    if hf_names.is_hf(arrays):
        return _read_hf(path, changes)
    source = Source("ajb")
    network = _ajb_network(path, arrays, depth, changes, source)
    if isinstance(network.config, DiscriminatorConfig):
        source.discriminator = network
    else:
        source.generator = network
    return source


def _read_ajb_folder(folder: pathlib.Path, suffix, depth, changes) -> Source:
    end = f"_{suffix}.pth" if suffix else ".pth"
    found = {
        role: folder / f"{name}{end}"
        for role, name in (
            ("averaged", "G_ema"),
            ("generator", "G"),
            ("discriminator", "D"),
        )
        if (folder / f"{name}{end}").is_file()
    }
    if not found:
        pattern = re.compile(r"(?:G|G_ema|D)_(.+)\.pth")
        others = [
            m[1] for p in folder.glob("*.pth") if (m := pattern.fullmatch(p.name))
        ]
        others = sorted({o for o in others if o not in ("ema", "optim")})
        hint = (
            f"; give one of its copies as suffix: {', '.join(others)}" if others else ""
        )
        raise UserError(f"{folder} holds no G{end}, G_ema{end} or D{end}{hint}")
    source = Source("ajb")
    read = {}
    for role, path in found.items():
        arrays = state_dict(path)
        read[role] = _ajb_network(path, arrays, depth, changes, source)
        wrong = isinstance(read[role].config, DiscriminatorConfig)
        if wrong != (role == "discriminator"):
            is_what = "discriminator" if wrong else "generator"
            raise UserError(f"{path} holds a {is_what}, which its name does not say")
    kinds = {network.config.kind for network in read.values()}
    if len(kinds) > 1:
        told = ", ".join(
            f"{pathlib.Path(n.where).name} is a {NAMES[n.config.kind]}"
            for n in read.values()
        )
        raise UserError(f"{folder} mixes two variants: {told}")
    source.generator = read.get("averaged", read.get("generator"))
    if "averaged" in read and "generator" in read:
        source.training_generator = read["generator"]
        if read["generator"].config != read["averaged"].config:
            raise UserError(
                f"{folder}: G{end} and G_ema{end} are of different architectures"
            )
    source.discriminator = read.get("discriminator")
    used = {path.name for path in found.values()}
    source.skipped += sorted(p.name for p in folder.glob("*.pth") if p.name not in used)
    return source


def _ajb_network(path, arrays, depth, changes, source: Source) -> Network:
    where = str(path)
    if not ajb_names.is_ajb(arrays):
        raise UserError(f"{path} is no BigGAN checkpoint: {_described(arrays)}")
    ajb_names.check_finite(arrays, where)
    if ajb_names.is_discriminator(arrays):
        kept = {k: v for k, v in changes.items() if k.startswith("spectral_")}
        config = ajb_names.discriminator_config(arrays, where, **kept)
        return Network(config, arrays, ajb_names.slots, where)
    mybn = ajb_names.has_mybn(arrays)
    config = ajb_names.generator_config(arrays, where, depth, **changes)
    # Forks that also write the original's number of filters put z first.
    z_first = config.kind == "deep" and config.rgb_filters > 0
    source.layout = {"mybn": mybn, "z_first": z_first}
    if mybn:
        arrays = _counted(arrays, source)

    def slots(network: Generator) -> Mapping[str, Slot]:
        return ajb_names.slots(network, mybn, z_first)

    return Network(config, arrays, slots, where)


def _counted(arrays, source: Source) -> dict[str, np.ndarray]:
    """Divides statistics that were summed by how many there were."""
    result = {n: x for n, x in arrays.items() if not n.endswith(ajb_names.COUNTER)}
    for name, counter in arrays.items():
        if name.endswith(ajb_names.COUNTER) and float(counter.ravel()[0]) > 0:
            prefix = name.removesuffix(ajb_names.COUNTER)
            for part in ("stored_mean", "stored_var"):
                if f"{prefix}{part}" in result:
                    result[f"{prefix}{part}"] = result[f"{prefix}{part}"] / counter
            note = "standing statistics were summed in the file; their means are kept"
            if note not in source.notes:
                source.notes.append(note)
    return result


# --- pytorch-pretrained-biggan ---------------------------------------------------


def _read_hf(path: pathlib.Path, changes) -> Source:
    name = path.name.removesuffix("pytorch_model.bin")
    beside = path.with_name(f"{name}config.json")
    if not beside.is_file():
        beside = path.with_name("config.json")
    if not beside.is_file():
        raise UserError(f"{path} needs its config.json beside it: it lists the layers")
    try:
        config = json.loads(files.read_text(beside, _MAX_CONFIG))
    except json.JSONDecodeError as error:
        raise UserError(f"{beside}:{error.lineno}: {error.msg}") from None
    if not isinstance(config, dict):
        raise UserError(f"{beside} is no object of JSON")
    arrays = state_dict(path)
    if not hf_names.is_hf(arrays):
        raise UserError(f"{path} is no BigGAN-deep generator: {_described(arrays)}")
    ajb_names.check_finite(arrays, str(path))
    made = hf_names.generator_config(config, arrays, str(path), **changes)
    network = Network(made, arrays, hf_names.slots, str(path))
    return Source("hf", generator=network)


# --- TensorFlow Hub --------------------------------------------------------------


def _tensorflow_prefix(path: pathlib.Path) -> pathlib.Path | None:
    for folder in (path, path / "variables"):
        if folder.is_dir() and any(folder.glob("*.index")):
            return pathlib.Path(tf1.find(folder))
    if pathlib.Path(f"{path}.index").is_file() or path.suffix == ".index":
        return pathlib.Path(tf1.find(path))
    return None


def _read_tfhub(path, prefix: pathlib.Path, attention, changes) -> Source:
    every = tf1.read(prefix)
    if not tfhub_names.is_tfhub(every):
        raise UserError(f"{prefix} is no BigGAN module: {_described(every)}")
    plain, averaged = tfhub_names.chosen(every)
    where = str(prefix)
    source = Source("tfhub")
    if not averaged:
        source.notes.append("there are no averaged weights; the trained ones are used")
    arrays = tfhub_names.arranged(plain)
    config = tfhub_names.generator_config(arrays, where, attention, **changes)
    if config.kind == "deep":
        graph = _beside(path, prefix)
        tables = tfhub_names.statistics(graph)
        count = 4 * len(config.blocks) + 1
        tables = tfhub_names.trimmed(tables, count)
        rows = next((len(x) for x in tables.values() if x.ndim == 2), 51)
        config = dataclasses.replace(config, num_statistics=rows)
        arrays |= tables
    ajb_names.check_finite(arrays, where)
    source.skipped += sorted(set(every) - _taken(every))
    source.generator = Network(config, arrays, tfhub_names.slots, where)
    return source


def _beside(path: pathlib.Path, prefix: pathlib.Path) -> pathlib.Path:
    for folder in (path, prefix.parent, prefix.parent.parent):
        if (folder / "saved_model.pb").is_file():
            return folder / "saved_model.pb"
    raise UserError(
        f"{prefix} needs the module's saved_model.pb: BigGAN-deep's statistics are "
        "constants of its graph"
    )


def _taken(names) -> set[str]:
    """Returns the names whose arrays are used, or are averages' originals."""
    return {
        name
        for name in names
        if not name.endswith("/u1")
        and not any(f"{name}/{end}" in names for end in tfhub_names.AVERAGES)
    }


# --- all -------------------------------------------------------------------------


def state_dict(path: files.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict, without the prefix of parallel training.

    Raises:
        UserError: the file is damaged, holds anything but arrays by name, or asks
            for anything to be run.
    """
    found = torch_archive.read(path)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if isinstance(found, Mapping) and {"state", "param_groups"} <= found.keys():
        raise UserError(f"{path} holds an optimizer's state, no network")
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{path} holds no weights by name")
    for name, array in found.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise UserError(f"{path}: {sniff.shown(name)} is no array")
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): x for name, x in found.items()}
    return dict(found)


def _single(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise UserError(f"{folder} holds several models ({names}): give one's path")
    return found[0]


def _described(arrays: Mapping[str, Any]) -> str:
    names = [sniff.shown(name) for name in list(arrays)[:3]]
    return f"it holds {len(arrays)} arrays ({', '.join(names)} ...)"
