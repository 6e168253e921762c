"""Serve SavedModels over TF Serving's gRPC and REST protocol.

    tfdl serve --model_name=bert --model_base_path=saved_models/bert
    curl -d '{"instances": ["a text"]}' localhost:8501/v1/models/bert:predict

The newest version under the model's folder is served. A newer one that appears is
loaded, warmed up, and takes over without a failed request. --model_config_file serves
several models. Flags are named as those of TF Serving's tensorflow_model_server, whose
configuration files are read as they are. SIGTERM ends it when all requests under way
are answered.

It is for one machine; past that, TF Serving itself runs the same folders.
"""

import logging
import os
import signal
import sys
import threading

from absl import flags

from tfdl.engine import command, errors

FLAGS = flags.FlagValues()


def _flag(define, name, default, text, **options):
    define(name, default, text, flag_values=FLAGS, **options)


_string, _boolean, _integer = (
    flags.DEFINE_string,
    flags.DEFINE_boolean,
    flags.DEFINE_integer,
)
_flag(_string, "model_base_path", None, "The model's folder, which holds 1, 2, ...")
_flag(_string, "model_name", "default", "The model's name in requests.")
_flag(
    _string,
    "model_config_file",
    None,
    "A text-format ModelServerConfig: several models, version policies, labels.",
)
_flag(
    _integer,
    "model_config_file_poll_wait_seconds",
    0,
    "Seconds between two looks at that file; 0 reads it once.",
    lower_bound=0,
)
_flag(_string, "host", "127.0.0.1", "Listen here; 0.0.0.0 for other machines as well.")
_flag(_integer, "port", 8500, "Port for gRPC; 0 turns it off.", lower_bound=0)
_flag(_integer, "rest_api_port", 8501, "Port for REST; 0 turns it off.", lower_bound=0)
_flag(_string, "grpc_socket_path", "", "A UNIX socket for gRPC as well.")
_flag(_string, "ssl_config_file", None, "A text-format SSLConfig: gRPC over TLS.")
_flag(
    _integer,
    "grpc_max_threads",
    0,
    "gRPC requests worked on at once; 0 chooses by cores and batching.",
    lower_bound=0,
)
_flag(
    _integer,
    "rest_api_num_threads",
    0,
    "REST requests worked on at once; 0 chooses by cores and batching.",
    lower_bound=0,
)
_flag(
    _integer,
    "rest_api_timeout_in_ms",
    30000,
    "Of a REST request; 0 is no limit.",
    lower_bound=0,
)
_flag(_boolean, "rest_api_enable_cors_support", False, "Let other sites' pages call.")
_flag(
    _integer,
    "max_request_bytes",
    64 << 20,
    "A request's body, and each tensor of it, at most.",
    lower_bound=1,
)
_flag(_boolean, "enable_batching", False, "Run requests of many clients together.")
_flag(
    _string,
    "batching_parameters_file",
    None,
    "A text-format BatchingParameters. The flags below go before it.",
)
_flag(_integer, "max_batch_size", None, "Rows of a batch at most [1000].")
_flag(
    _integer,
    "batch_timeout_micros",
    None,
    "How long a request waits for others [0]: with 0, for a free thread only.",
)
_flag(_integer, "num_batch_threads", None, "Batches run at once [the cores].")
_flag(
    _integer,
    "max_enqueued_batches",
    None,
    "Batches that may wait, beyond which requests get UNAVAILABLE [10].",
)
_flag(
    flags.DEFINE_list,
    "allowed_batch_sizes",
    None,
    "Fill batches up to one of these sizes; the last one is max_batch_size.",
)
_flag(
    _boolean,
    "pad_variable_length_inputs",
    None,
    "Pad inputs of unequal lengths with zeros, so that they share batches.",
)
_flag(
    _integer,
    "length_group_rows",
    None,
    "Rows of a batch of texts that run together, sorted by length; 0 runs the batch "
    "whole [8; 0 on an accelerator].",
)
_flag(
    flags.DEFINE_float,
    "file_system_poll_wait_seconds",
    1,
    "Seconds between two looks for new versions; 0 looks once.",
    lower_bound=0,
)
_flag(
    _integer,
    "max_num_load_retries",
    5,
    "Times a version that cannot be loaded is tried again.",
    lower_bound=0,
)
_flag(
    _integer,
    "load_retry_interval_micros",
    60_000_000,
    "Between two tries. A version whose files change is tried again at once.",
    lower_bound=0,
)
_flag(
    _boolean,
    "allow_version_labels_for_unavailable_models",
    False,
    "Labels may name versions that are not loaded yet, at the start for one.",
)
_flag(_string, "saved_model_tags", "serve", "Tags of the SavedModel's graph.")
_flag(_boolean, "enable_model_warmup", True, "Replay a SavedModel's warm-up requests.")
_flag(
    _integer,
    "num_request_iterations_for_warmup",
    1,
    "Times each is run.",
    lower_bound=1,
)
_flag(
    _boolean,
    "enable_serialization_as_tensor_content",
    False,
    "gRPC answers as packed bytes: faster, for clients that use make_ndarray.",
)
_flag(
    _string,
    "monitoring_config_file",
    None,
    "A text-format MonitoringConfig. Without one, Prometheus's metrics are under "
    "/monitoring/prometheus/metrics.",
)
_flag(
    _integer,
    "tensorflow_intra_op_parallelism",
    0,
    "Threads of one operation; 0 chooses.",
)
_flag(_integer, "tensorflow_inter_op_parallelism", 0, "Operations at once; 0 chooses.")
_flag(
    flags.DEFINE_float,
    "drain_seconds",
    30,
    "After SIGTERM, how long requests under way may take.",
    lower_bound=0,
)


def serve(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    command.no_overrides(overrides)
    if not values.model_config_file:
        command.require(values, "model_base_path")
    if not (values.port or values.rest_api_port or values.grpc_socket_path):
        raise errors.UserError("--port and --rest_api_port are both 0")
    command.start_tensorflow()
    import tensorflow as tf

    threading_ = tf.config.threading
    if values.tensorflow_intra_op_parallelism:
        count = values.tensorflow_intra_op_parallelism
        threading_.set_intra_op_parallelism_threads(count)
    if values.tensorflow_inter_op_parallelism:
        count = values.tensorflow_inter_op_parallelism
        threading_.set_inter_op_parallelism_threads(count)
    # Exports that read text need its operations.
    import tensorflow_text  # noqa: F401

    from tfdl.serving import configure
    from tfdl.serving.server import Server

    configs = configure.models(values)
    server = Server(configure.options(values))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start(configs)
    _tell(values, server)
    configure.watch(values, server.manager, stop)
    print("stopping: answering what is under way", file=sys.stderr, flush=True)
    server.stop(values.drain_seconds)
    # Threads of TensorFlow that still run something must not hold the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _tell(values: flags.FlagValues, server) -> None:
    for name in server.manager.names():
        ready = [v for v, state, _ in server.manager.states(name) if state == 30]
        told = ", ".join(map(str, sorted(ready))) or "none yet"
        print(f"model {name}: version {told}")
        if values.rest_api_port:
            address = f"http://{values.host}:{values.rest_api_port}"
            print(f"  REST  {address}/v1/models/{name}")
    if values.port:
        print(f"  gRPC  {values.host}:{values.port}")
    print("ready", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    return command.run("serve", __doc__, FLAGS, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
