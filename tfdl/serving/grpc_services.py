"""TF Serving's gRPC services."""

import concurrent.futures
import logging
import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tfdl.engine import errors
from tfdl.serving import protos, status
from tfdl.serving.apis import Apis
from tfdl.serving.status import Code

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_SERVICES = ("", "ModelService", "PredictionService")
log = logging.getLogger(__name__)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """tensorflow.serving.PredictionService."""

    def __init__(self, apis: Apis):
        self._apis = apis

    def Predict(self, request, context):  # noqa: N802
        """Runs any signature on named tensors."""
        return self._serve("Predict", self._apis.predict, request, context)

    def Classify(self, request, context):  # noqa: N802
        """Runs a signature on tf.Examples to classes with scores."""
        return self._serve("Classify", self._apis.classify, request, context)

    def Regress(self, request, context):  # noqa: N802
        """Runs a signature on tf.Examples to one number each."""
        return self._serve("Regress", self._apis.regress, request, context)

    def MultiInference(self, request, context):  # noqa: N802
        """Runs several classify and regress signatures on the same tf.Examples."""
        return self._serve(
            "MultiInference", self._apis.multi_inference, request, context
        )

    def GetModelMetadata(self, request, context):  # noqa: N802
        """Returns the signatures of a model."""
        return _answer(self._apis.metadata, request, context)

    def _serve(self, api: str, call: Callable, request, context):
        if api == "MultiInference":
            name = request.tasks[0].model_spec.name if request.tasks else ""
        else:
            name = request.model_spec.name
        # Names that strangers make up must not fill the memory.
        name = name if self._apis.manager.is_known(name) else ""
        counts = self._apis.metrics
        start = time.perf_counter()

        def count(code: Code) -> None:
            counts.requests.add(name, code.name)
            if code == Code.OK:
                seconds = time.perf_counter() - start
                counts.request_latency.record(name, api, "GRPC", seconds=seconds)

        return _answer(call, request, context, count)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """tensorflow.serving.ModelService."""

    def __init__(self, apis: Apis):
        self._apis = apis

    def GetModelStatus(self, request, context):  # noqa: N802
        """Returns the state of each version of a model."""
        return _answer(self._apis.model_status, request, context)

    def HandleReloadConfigRequest(self, request, context):  # noqa: N802
        """Changes the set of models."""
        return _answer(self._apis.reload_config, request, context)


def _answer(call: Callable, request, context, count: Callable = lambda code: None):
    """Calls, and turns an exception into a gRPC status."""
    remaining = context.time_remaining()
    if not context.is_active() or (remaining is not None and remaining <= 0):
        # The client does not wait any more.
        count(Code.CANCELLED)
        context.abort(grpc.StatusCode.CANCELLED, "The client gave up")
    try:
        response = call(request)
    except Exception as caught:
        found = status.from_exception(caught)
        if found.code == Code.INTERNAL:
            log.exception("a request failed")
        count(found.code)
        context.abort(_CODES[found.code], found.message)
    count(Code.OK)
    return response


class GrpcServer:
    """The gRPC side of the server.

    Args:
        apis: what is called.
        address: HOST:PORT, or unix:PATH; several are possible.
        threads: requests that are worked on at once.
        max_request_bytes: of a message.
        ssl: what `credentials` returns, or None.
    """

    def __init__(
        self, apis: Apis, addresses, threads: int, max_request_bytes: int, ssl
    ):
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads, "grpc"),
            options=[
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.max_send_message_length", -1),
                # A second server on the same port would get half of the requests.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(apis), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(apis), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for address in addresses:
            self._bind(address, ssl)

    def _bind(self, address: str, ssl) -> None:
        try:
            if ssl is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, ssl)
        except RuntimeError:
            reason = "in use?"
            if address.startswith("unix:"):
                reason = "no folder to write to, or a path of over 107 characters?"
            raise errors.UserError(
                f"cannot listen on {address} for gRPC: {reason}"
            ) from None

    def start(self) -> None:
        """Answers from now on."""
        self._server.start()

    def set_ready(self, ready: bool) -> None:
        """Tells health checks."""
        serving = health_pb2.HealthCheckResponse
        for service in _SERVICES:
            state = serving.SERVING if ready else serving.NOT_SERVING
            self._health.set(service, state)

    def stop(self, grace: float) -> None:
        """Takes no more requests; returns when those under way are answered."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()


def credentials(config: protos.SSLConfig) -> grpc.ServerCredentials:
    """Returns what a TLS server shows and asks for.

    Raises:
        UserError: the keys or certificates are not what they should be.
    """
    if config.client_verify and not config.custom_ca:
        raise errors.UserError("client_verify is set without custom_ca")
    made = grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
    try:
        # Keys are not looked at before a port is bound.
        probe = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        probe.add_secure_port("127.0.0.1:0", made)
        probe.stop(None)
    except RuntimeError:
        raise errors.UserError(
            "server_key, server_cert and custom_ca have to be PEM texts, and the key "
            "that of the certificate"
        ) from None
    return made
