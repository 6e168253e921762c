"""The server: models, gRPC and REST put together, started and drained."""

import dataclasses
import gc
import pathlib
import socket
import threading
from collections.abc import Sequence

import grpc
import uvicorn

from tfdl.engine import errors
from tfdl.serving import manager, metrics, versions
from tfdl.serving.apis import Apis
from tfdl.serving.batching import Batching
from tfdl.serving.grpc_services import GrpcServer
from tfdl.serving.inference import Inference
from tfdl.serving.replay import replay
from tfdl.serving.rest import RestApp
from tfdl.serving.servable import Servable
from tfdl.serving.status import StatusError

# An idle connection that the server closes may cross a request on its way.
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


@dataclasses.dataclass
class Options:
    """What the server is made of; names as TF Serving's flags.

    Attributes:
        host: the address to listen on.
        port: for gRPC; 0 turns it off.
        rest_api_port: for HTTP; 0 turns it off.
        grpc_socket_path: a UNIX socket for gRPC as well.
        grpc_max_threads: gRPC requests worked on at once.
        rest_api_num_threads: HTTP requests worked on at once.
        rest_api_timeout_in_ms: of an HTTP request; 0 is no limit.
        rest_api_enable_cors_support: let other sites' pages call.
        max_request_bytes: of a request's body, and of each of its tensors.
        batching: how to batch; None does not.
        saved_model_tags: which graph of a SavedModel.
        enable_model_warmup: replay the requests in a SavedModel before it serves.
        num_request_iterations_for_warmup: times each is replayed.
        enable_serialization_as_tensor_content: packed answers over gRPC.
        prometheus_path: of the metrics; "" turns them off.
        ssl: for gRPC over TLS.
        models: how versions are found and loaded.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    rest_api_port: int = 8501
    grpc_socket_path: str = ""
    grpc_max_threads: int = 16
    rest_api_num_threads: int = 16
    rest_api_timeout_in_ms: int = 30000
    rest_api_enable_cors_support: bool = False
    max_request_bytes: int = 64 << 20
    batching: Batching | None = None
    saved_model_tags: tuple[str, ...] = ("serve",)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1
    enable_serialization_as_tensor_content: bool = False
    prometheus_path: str = metrics.PATH
    ssl: grpc.ServerCredentials | None = None
    models: manager.Options = dataclasses.field(default_factory=manager.Options)


class Server:
    """A server for one machine.

    Args:
        options: see `Options`.

    Raises:
        UserError: a port is taken.
    """

    def __init__(self, options: Options):
        self._options = options
        self._metrics = metrics.Metrics()
        self._inference = Inference(
            self._metrics,
            options.max_request_bytes,
            options.enable_serialization_as_tensor_content,
        )
        self.manager = manager.Manager(
            self._load,
            options.models,
            self._metrics,
            lambda ready: self._grpc.set_ready(ready),
        )
        self._apis = Apis(self.manager, self._inference, self._metrics)
        self._socket = _listen(options.host, options.rest_api_port)
        addresses = [f"{options.host}:{options.port}"] if options.port else []
        if options.grpc_socket_path:
            addresses.append(f"unix:{options.grpc_socket_path}")
        self._grpc = GrpcServer(
            self._apis,
            addresses,
            options.grpc_max_threads,
            options.max_request_bytes,
            options.ssl,
        )
        self._rest = self._rest_thread = None

    def _load(self, name: str, version: int, path: pathlib.Path) -> Servable:
        servable = Servable(
            name, version, path, self._options.batching, self._options.saved_model_tags
        )
        if self._options.enable_model_warmup:
            times = self._options.num_request_iterations_for_warmup
            replay(servable, self._inference, self._metrics, max(times, 1))
        return servable

    def start(self, configs: Sequence[versions.ModelConfig]) -> None:
        """Loads the models, then answers.

        Raises:
            UserError: a model cannot be loaded, or the configuration is wrong.
        """
        try:
            self.manager.start(configs)
        except StatusError as error:
            self.stop(0)
            raise errors.UserError(error.message) from None
        # A full collection over a loaded graph takes long; it does not change.
        gc.collect()
        gc.freeze()
        self._grpc.start()
        if self._socket is not None:
            self._start_rest()

    def _start_rest(self) -> None:
        options = self._options
        app = RestApp(
            self._apis,
            options.rest_api_num_threads,
            options.rest_api_timeout_in_ms / 1000,
            options.max_request_bytes,
            options.rest_api_enable_cors_support,
            options.prometheus_path,
        )
        # Who connects from now on waits for the thread below.
        self._socket.listen(_BACKLOG)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            backlog=_BACKLOG,
        )
        self._rest = uvicorn.Server(config)
        self._rest_thread = threading.Thread(
            target=self._rest.run, args=([self._socket],), name="http", daemon=True
        )
        self._rest_thread.start()

    def stop(self, grace: float) -> None:
        """Answers what is under way, for `grace` seconds at most, then ends."""
        self._grpc.set_ready(False)
        if self._rest is not None:
            self._rest.should_exit = True
        self._grpc.stop(grace)
        if self._rest_thread is not None:
            self._rest_thread.join(grace)
        if self._socket is not None:
            self._socket.close()
        self.manager.stop()


def _listen(host: str, port: int) -> socket.socket | None:
    """Returns a listening socket, so that a taken port is an error at once."""
    if not port:
        return None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        raise errors.UserError(
            f"cannot listen on {host}:{port} for REST: {error.strerror or error}"
        ) from None
    return made
