"""Which versions of a model the file system offers, and which of them are wanted."""

import logging
import os
import pathlib

from tensorflow_serving.config import model_server_config_pb2

from tfdl.serving import status

PLATFORM = "tensorflow"
_MAX_VERSION = (1 << 63) - 1

ModelConfig = model_server_config_pb2.ModelConfig


def on_disk(base: str) -> dict[int, pathlib.Path]:
    """Returns version -> folder under a model's folder; other names are passed over.

    Raises:
        OSError: the folder cannot be read.
    """
    found: dict[int, pathlib.Path] = {}
    with os.scandir(base) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
            if not (entry.name.isascii() and entry.name.isdigit() and entry.is_dir()):
                continue
            version = int(entry.name)
            if version <= _MAX_VERSION and version not in found:
                found[version] = pathlib.Path(entry.path)
    return found


def wanted(config: ModelConfig, found: dict[int, pathlib.Path]) -> set[int]:
    """Returns the versions that the model's policy asks for, of those found."""
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return set(found)
    if choice == "specific":
        asked = set(policy.specific.versions)
        for version in sorted(asked - set(found)):
            logging.getLogger(__name__).warning(
                "version %d of model %s, which its policy asks for, is not in %s",
                version,
                config.name,
                config.base_path,
            )
        return asked & set(found)
    count = max(policy.latest.num_versions, 1)
    return set(sorted(found, reverse=True)[:count])


def fingerprint(folder: pathlib.Path) -> tuple:
    """Returns what changes when a folder's files do: names, sizes, times."""
    seen = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.stat(os.path.join(parent, name))
            except OSError:
                continue
            seen.append((parent, name, found.st_size, found.st_mtime_ns))
    return tuple(sorted(seen))


def check_configs(configs: list[ModelConfig]) -> None:
    """Checks a list of models as TF Serving does.

    Raises:
        StatusError: a name twice, another platform, a relative path.
    """
    names = set()
    for config in configs:
        if config.name in names:
            raise status.invalid(
                f"Illegal to list model {config.name} multiple times in config list"
            )
        names.add(config.name)
        if not config.name or not config.base_path:
            raise status.invalid(
                "Every model in the config list needs a name and a base_path"
            )
        if not config.base_path.startswith("/"):
            raise status.invalid(
                f"Expected model {config.name} to have an absolute path or URI; got "
                f"base_path()={config.base_path}"
            )
        # model_type 1 is the older way to say "tensorflow".
        if config.model_platform != PLATFORM and not (
            not config.model_platform and config.model_type == 1
        ):
            raise status.StatusError(
                status.Code.FAILED_PRECONDITION,
                f"model {config.name}: the platform has to be {PLATFORM!r}, got "
                f"{config.model_platform!r}",
            )
