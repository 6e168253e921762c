"""The server's options and models, from flags and TF Serving's configuration files."""

import logging
import os
import pathlib
import threading

import tensorflow as tf
from absl import flags
from tensorflow_serving.config import model_server_config_pb2

from tfdl.engine import errors
from tfdl.serving import (
    batching,
    grpc_services,
    manager,
    metrics,
    protos,
    status,
    versions,
)
from tfdl.serving.server import Options

# As many threads as cores would leave the cores idle while requests are read and
# written; TF Serving takes four times as many.
_THREADS_PER_CORE = 4
_MAX_BATCH_THREADS = 128
_BATCHING = (
    "max_batch_size",
    "batch_timeout_micros",
    "num_batch_threads",
    "max_enqueued_batches",
)
log = logging.getLogger(__name__)


def options(values: flags.FlagValues) -> Options:
    """Returns the server's options.

    Raises:
        UserError: a configuration file or a flag is wrong.
    """
    same = (
        "host port rest_api_port grpc_socket_path rest_api_timeout_in_ms "
        "rest_api_enable_cors_support max_request_bytes enable_model_warmup "
        "num_request_iterations_for_warmup enable_serialization_as_tensor_content"
    ).split()
    made = Options(**{name: values[name].value for name in same})
    made.saved_model_tags = tuple(filter(None, values.saved_model_tags.split(",")))
    made.batching = _batching(values)
    made.grpc_max_threads = values.grpc_max_threads or _threads(made.batching)
    made.rest_api_num_threads = values.rest_api_num_threads or _threads(made.batching)
    made.models = manager.Options(
        values.file_system_poll_wait_seconds,
        values.max_num_load_retries,
        values.load_retry_interval_micros,
        values.allow_version_labels_for_unavailable_models,
    )
    if values.monitoring_config_file:
        config = protos.read_text(
            values.monitoring_config_file, protos.MonitoringConfig()
        ).prometheus_config
        made.prometheus_path = (config.path or metrics.PATH) if config.enable else ""
    if values.ssl_config_file:
        config = protos.read_text(values.ssl_config_file, protos.SSLConfig())
        try:
            made.ssl = grpc_services.credentials(config)
        except errors.UserError as error:
            raise errors.UserError(f"{values.ssl_config_file}: {error}") from None
    return made


def models(values: flags.FlagValues) -> list[versions.ModelConfig]:
    """Returns the models to serve.

    Raises:
        UserError: a configuration file or a flag is wrong.
    """
    if values.model_config_file:
        configs = _config_file(values.model_config_file)
    else:
        config = versions.ModelConfig(
            name=values.model_name,
            base_path=os.path.abspath(values.model_base_path),
            model_platform=versions.PLATFORM,
        )
        configs = [config]
    for config in configs:
        if not os.path.isdir(config.base_path):
            raise errors.UserError(
                f"model {config.name}: there is no folder {config.base_path}"
            )
        if not versions.on_disk(config.base_path):
            log.warning(
                "model %s: no version under %s yet (folders named 1, 2, ...)",
                config.name,
                config.base_path,
            )
    return configs


def _config_file(path: str) -> list[versions.ModelConfig]:
    config = protos.read_text(path, model_server_config_pb2.ModelServerConfig())
    if config.WhichOneof("config") != "model_config_list":
        raise errors.UserError(f"{path} has no model_config_list")
    configs = list(config.model_config_list.config)
    folder = pathlib.Path(path).resolve().parent
    for one in configs:
        # An absolute path stays as it is.
        one.base_path = os.path.normpath(folder / one.base_path)
    try:
        versions.check_configs(configs)
    except status.StatusError as error:
        raise errors.UserError(f"{path}: {error.message}") from None
    return configs


def watch(
    values: flags.FlagValues, models_: manager.Manager, stop: threading.Event
) -> None:
    """Returns when `stop` is set; reads the models' configuration again until then."""
    seconds = values.model_config_file_poll_wait_seconds
    if not (seconds and values.model_config_file):
        stop.wait()
        return
    while not stop.wait(seconds):
        try:
            models_.reload(_config_file(values.model_config_file))
        except (errors.UserError, status.StatusError) as error:
            log.warning("%s: %s", values.model_config_file, error)


def _batching(values: flags.FlagValues) -> batching.Batching | None:
    given = {name: values[name].value for name in _BATCHING}
    given["pad_variable_length_inputs"] = values.pad_variable_length_inputs
    if values.allowed_batch_sizes:
        try:
            given["allowed_batch_sizes"] = tuple(map(int, values.allowed_batch_sizes))
        except ValueError:
            raise errors.UserError(
                "--allowed_batch_sizes has to be whole numbers with commas, got "
                f"{','.join(values.allowed_batch_sizes)!r}"
            ) from None
    given["group_rows"] = values.length_group_rows
    flagged = {name: value for name, value in given.items() if value is not None}
    if not values.enable_batching:
        for name in flagged:
            flag = "length_group_rows" if name == "group_rows" else name
            raise errors.UserError(f"--{flag} is set without --enable_batching")
        if values.batching_parameters_file:
            raise errors.UserError(
                "--batching_parameters_file is set without --enable_batching"
            )
        return None
    filed = _batching_file(values.batching_parameters_file)
    if "group_rows" not in flagged and len(tf.config.list_physical_devices()) > 1:
        # An accelerator runs a large batch at once.
        flagged["group_rows"] = 0
    return batching.Batching(**{**filed, **flagged})


def _batching_file(path: str | None) -> dict:
    if not path:
        return {}
    given = protos.read_text(path, protos.BatchingParameters())
    found = {
        name: getattr(given, name).value for name in _BATCHING if given.HasField(name)
    }
    if given.allowed_batch_sizes:
        found["allowed_batch_sizes"] = tuple(given.allowed_batch_sizes)
    found["pad_variable_length_inputs"] = given.pad_variable_length_inputs
    return found


def _threads(options_: batching.Batching | None) -> int:
    """Returns how many requests to work on at once: two batches' worth."""
    threads = _THREADS_PER_CORE * (os.cpu_count() or 1)
    if options_ is not None:
        wanted = min(2 * options_.max_batch_size, _MAX_BATCH_THREADS)
        threads = max(threads, wanted)
    return threads
