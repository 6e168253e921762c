"""Model directories: `config.json`, `model.weights.h5` and `assets/`."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tfdl
from tfdl.engine import errors, files, registry

if TYPE_CHECKING:
    import keras

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
ASSETS = "assets"


def save(
    directory: files.PathLike,
    config: Mapping[str, Any],
    model: "keras.Model | None",
    assets: Mapping[str, bytes | str | pathlib.Path] | None = None,
) -> pathlib.Path:
    """Writes a model directory, whole or not at all.

    Args:
        directory: the folder; one that is there already is replaced.
        config: what `from_config` of the model needs; must hold `"model"`.
        model: the built model whose weights are saved; None for a result without.
        assets: file name -> content, or the path of a file to copy.

    Raises:
        UserError: the folder cannot be written to.
    """
    registry.check(config["model"])
    full = {"format": FORMAT, "tfdl_version": tfdl.__version__, **config}
    with files.atomic_directory(directory) as scratch:
        text = json.dumps(full, indent=2, ensure_ascii=False)
        (scratch / CONFIG).write_text(text + "\n", encoding="utf-8")
        if model is not None:
            _save_weights(scratch / WEIGHTS, model)
        for name, content in (assets or {}).items():
            target = scratch / ASSETS / _asset_name(name)
            target.parent.mkdir(exist_ok=True)
            if isinstance(content, pathlib.Path):
                shutil.copyfile(content, target)
            else:
                data = content.encode("utf-8") if isinstance(content, str) else content
                target.write_bytes(data)
    return pathlib.Path(directory)


def read_config(directory: files.PathLike) -> dict[str, Any]:
    """Returns the configuration of a model directory.

    Raises:
        UserError: not a model directory, or one of another format.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise errors.UserError(f"{directory}: no such model directory")
    path = directory / CONFIG
    hint = ""
    if (directory / "model" / CONFIG).is_file():
        hint = f"; did you mean {directory / 'model'}?"
    if not path.is_file():
        raise errors.UserError(
            f"{directory} is not a model directory: it has no {CONFIG}{hint}"
        )
    try:
        config = json.loads(files.read_text(path, max_bytes=64 << 20))
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(config, dict) or "model" not in config or "format" not in config:
        hint = hint or (
            " (an original checkpoint has to go through `tfdl convert` first)"
        )
        raise errors.UserError(
            f"{path} is not a model directory's: it lacks 'model' and 'format'{hint}"
        )
    if config["format"] != FORMAT:
        raise errors.UserError(
            f"{path} has format {config['format']!r}, this version reads {FORMAT}"
        )
    registry.check(config["model"])
    return config


def asset(directory: files.PathLike, name: str) -> pathlib.Path:
    """Returns the path of an asset that must be there."""
    return files.require_file(pathlib.Path(directory) / ASSETS / _asset_name(name))


def load_weights(directory: files.PathLike, model: "keras.Model") -> None:
    """Loads the weights into a built model, strictly.

    Raises:
        UserError: the file is missing or damaged, or a variable is missing,
            unexpected or of another shape.
    """
    path = files.require_file(pathlib.Path(directory) / WEIGHTS)
    try:
        model.load_weights(str(path))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise errors.UserError(
            f"{path} cannot be loaded (damaged, or of another architecture): {reason}"
        ) from None


def _save_weights(path: pathlib.Path, model: "keras.Model") -> None:
    try:
        model.save_weights(str(path))
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.UserError(f"cannot write {path.name}: {reason}") from None


def _asset_name(name: str) -> str:
    if name != os.path.basename(name) or name in ("", ".", ".."):
        raise errors.UserError(f"{name!r} is not a plain file name for an asset")
    return name
