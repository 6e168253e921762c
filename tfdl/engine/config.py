"""Recipes, their overrides, and the frozen `config.json` of a run."""

import importlib.util
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from tfdl.engine import errors, files, registry

RECIPES = pathlib.Path(__file__).resolve().parents[2] / "tf_configs"

# What may differ between a run and its continuation without changing the result.
VOLATILE = ("log_every", "checkpoint_every", "keep_checkpoints", "steps_per_loop")


def base_config() -> ConfigDict:
    """Returns the fields that every recipe has, with their defaults.

    A recipe starts from this, sets `model` and `task` and adds its own fields. A
    run of several stages sets `stages`: a tuple of (name, config) pairs, run one
    after the other, each initialised from the model before it.
    """
    config = ConfigDict()
    config.model = ""
    config.task = ""
    config.description = ""
    config.seed = 0
    config.precision = "float32"  # float32 | bfloat16 | float16
    config.xla = False  # compile forward and backward with XLA
    config.steps_per_loop = 20  # steps run on the device between two looks
    config.log_every = 20  # steps
    config.eval_every = 0  # steps; 0: only at the end of each phase
    config.checkpoint_every = 500  # steps
    config.keep_checkpoints = 3
    config.gradient_accumulation = 1  # micro-batches per step
    config.ema_decay = 0.0  # 0: no moving average of the weights
    config.ema_start = 0  # steps whose weights are copied before averaging starts
    config.init_from = ""  # a model directory
    config.restarts = 1  # runs with other seeds, the best of which is kept
    config.optimizer = ConfigDict({"name": "adam"})
    return config


def recipes(model: str) -> list[str]:
    """Returns the names of a model's recipes, sorted."""
    folder = RECIPES / registry.check(model)
    names = (path.stem for path in folder.glob("*.py"))
    return sorted(name for name in names if not name.startswith("_"))


def load_recipe(model: str, recipe: str) -> ConfigDict:
    """Returns the configuration of `tf_configs/<model>/<recipe>.py`.

    Raises:
        UserError: unknown model or recipe.
    """
    names = recipes(model)
    if recipe not in names:
        raise errors.unknown(f"recipe of model {model!r}", recipe, names)
    return load_file(RECIPES / model / f"{recipe}.py")


def load_file(path: files.PathLike) -> ConfigDict:
    """Returns the configuration of a recipe file (`.py`) or a frozen one (`.json`).

    Raises:
        UserError: the file is missing, does not run or has no `get_config()`.
    """
    path = files.require_file(path)
    if path.suffix == ".json":
        return from_json(files.read_text(path), path)
    if path.suffix != ".py":
        raise errors.UserError(f"{path}: a recipe is a .py or a .json file")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except AttributeError as error:
        if "get_config" not in str(error):
            raise
        raise errors.UserError(f"{path} does not define get_config()") from None
    except SyntaxError as error:
        raise errors.UserError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(config, ConfigDict):
        raise errors.UserError(f"{path}: get_config() has to return a ConfigDict")
    return config


def stage_config(config: ConfigDict, stage: ConfigDict) -> ConfigDict:
    """Returns a stage's configuration with what the whole run says for all."""
    merged = stage.copy_and_resolve_references()
    with merged.unlocked():
        merged.model = config.model
        for field in ("seed", "precision", "xla", *VOLATILE):
            merged[field] = config[field]
    return merged


def last_stage(config: ConfigDict) -> ConfigDict:
    """Returns the configuration of a run's last stage; the run's own without any."""
    if not config.get("stages"):
        return config
    return stage_config(config, config.stages[-1])


def apply_overrides(config: ConfigDict, overrides: Mapping[str, str]) -> None:
    """Sets fields by dotted paths, keeping each field's type.

    Args:
        config: changed in place.
        overrides: `"optimizer.learning_rate" -> "3e-5"`.

    Raises:
        UserError: a path that does not exist, or a value of another type.
    """
    for path, text in overrides.items():
        node: Any = config
        *parents, last = path.split(".")
        for i, name in enumerate(parents):
            node = _child(node, name, ".".join(parents[:i]))
        current = _child(node, last, ".".join(parents))
        if isinstance(current, ConfigDict):
            raise errors.UserError(
                f"--config.{path} is a group of fields: set one of "
                f"{', '.join(sorted(current.keys()))}"
            )
        value = _parse(f"--config.{path}", text, current)
        if isinstance(node, tuple | list):
            raise errors.UserError(f"--config.{path}: set the whole list instead")
        node[last] = value


def to_json(config: ConfigDict) -> str:
    """Returns the configuration as JSON text with sorted keys."""
    return json.dumps(_plain(config), indent=2, sort_keys=True) + "\n"


def from_json(text: str, path: files.PathLike = "config") -> ConfigDict:
    """Returns the configuration that `to_json` wrote."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise errors.UserError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(data, dict):
        raise errors.UserError(f"{path}: a configuration is a JSON object")
    return _config(data)


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Returns the fields whose values differ, as `path: old -> new` lines.

    Fields that do not change a run's result are left out.
    """
    before, after = dict(_flat(_plain(old))), dict(_flat(_plain(new)))
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path.split(".")[-1] in VOLATILE:
            continue
        if before.get(path) != after.get(path):
            lines.append(f"{path}: {before.get(path)!r} -> {after.get(path)!r}")
    return lines


def _child(node: Any, name: str, parent: str) -> Any:
    if isinstance(node, ConfigDict):
        if name in node:
            return node[name]
        where = f"field of --config.{parent}" if parent else "field of --config"
        raise errors.unknown(where, name, node.keys())
    if isinstance(node, tuple | list):
        for item in node:
            if isinstance(item, ConfigDict) and item.get("name") == name:
                return item
        names = [item.get("name") for item in node if isinstance(item, ConfigDict)]
        raise errors.unknown(f"item of --config.{parent}", name, names)
    raise errors.UserError(f"--config.{parent} is a value, it has no field {name!r}")


def _parse(flag: str, text: str, current: Any) -> Any:
    if isinstance(current, bool):
        if text.lower() in ("true", "1", "yes"):
            return True
        if text.lower() in ("false", "0", "no"):
            return False
        raise errors.UserError(f"{flag}={text}: true or false is needed")
    if isinstance(current, int | float):
        kind = type(current)
        try:
            return kind(text)
        except ValueError:
            word = "an integer" if kind is int else "a number"
            raise errors.UserError(f"{flag}={text}: {word} is needed") from None
    if isinstance(current, str):
        return text
    if isinstance(current, tuple | list):
        return _parse_list(flag, text, current)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _parse_list(flag: str, text: str, current: tuple | list) -> tuple:
    text = text.strip()
    if text[:1] in "[(" and text[-1:] in "])":
        text = text[1:-1]
    parts = [part.strip().strip("'\"") for part in text.split(",") if part.strip()]
    if not current:
        return tuple(parts)
    return tuple(_parse(flag, part, current[0]) for part in parts)


def _plain(value: Any) -> Any:
    if isinstance(value, ConfigDict):
        return {key: _plain(value[key]) for key in value.keys()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, pathlib.Path):
        return str(value)
    return value


def _config(value: Any) -> Any:
    if isinstance(value, dict):
        return ConfigDict({key: _config(item) for key, item in value.items()})
    if isinstance(value, list):
        return tuple(_config(item) for item in value)
    return value


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for i, item in enumerate(value):
            name = item.get("name", i) if isinstance(item, dict) else i
            yield from _flat(item, f"{prefix}.{name}")
    else:
        yield prefix, value
