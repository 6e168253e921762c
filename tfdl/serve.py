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
from tfdl.serving import server_flags

FLAGS = server_flags.FLAGS
FEW_CORES = 4


def serve(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    command.no_overrides(overrides)
    if not values.model_config_file:
        command.require(values, "model_base_path")
    if not (values.port or values.rest_api_port or values.grpc_socket_path):
        raise errors.UserError("--port and --rest_api_port are both 0")
    # oneDNN compiles a kernel for each new shape, and each thread keeps a thousand of
    # them: slower for texts of all lengths, and gigabytes of memory.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1" if values.onednn else "0")
    if values.enable_batching and (os.cpu_count() or 1) <= FEW_CORES:
        # Batches side by side keep the cores busy; to split their operations as well
        # costs an eighth more processor time.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
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
