"""TF Serving's REST interface, as an ASGI application."""

import asyncio
import concurrent.futures
import logging
import re
import time
import urllib.parse
import zlib
from collections.abc import Awaitable, Callable

from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from tfdl.serving import json_answers, json_tensor, metrics, status
from tfdl.serving.apis import SIGNATURE_DEF, Apis
from tfdl.serving.servable import DEFAULT_SIGNATURE
from tfdl.serving.status import Code

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(_MODEL + r":(classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(
    _MODEL.replace("/([^/:]+)", "(?:/([^/:]+))?", 1) + r"(?:/(metadata))?",
    re.IGNORECASE,
)
_JSON, _TEXT = b"application/json", b"text/plain; charset=utf-8"
_MAX_VERSION = (1 << 63) - 1
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
log = logging.getLogger(__name__)


class TooLarge(Exception):
    """The body of a request is over the limit."""


class RestApp:
    """Answers HTTP requests.

    Args:
        apis: what is called.
        threads: requests that are worked on at once.
        timeout: seconds that one may take; 0 is no limit.
        max_request_bytes: of a body, unpacked.
        cors: allow other sites' pages to call.
        prometheus_path: where the metrics are; "" turns them off.
    """

    def __init__(
        self,
        apis: Apis,
        threads: int,
        timeout: float,
        max_request_bytes: int,
        cors: bool = False,
        prometheus_path: str = metrics.PATH,
    ):
        self._apis, self._timeout, self._cors = apis, timeout, cors
        self._max_bytes, self._prometheus_path = max_request_bytes, prometheus_path
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "rest")

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        path = scope["raw_path"].decode("latin-1")
        kind, headers = _JSON, []
        try:
            if self._prometheus_path and path == self._prometheus_path:
                code, kind, body = 200, _TEXT, self._apis.metrics.page().encode()
            elif not path.lower().startswith("/v1/"):
                code, body = 404, json_answers.error(f"Not found: {path}")
            elif scope["method"] == "OPTIONS":
                code, body = _preflight(scope)
            else:
                content = await _read(scope, receive, self._max_bytes)
                code, body = await self._answer(scope["method"], path, content, receive)
        except TooLarge:
            code = 413
            body = json_answers.error(
                f"The request is larger than the limit of {self._max_bytes} bytes"
            )
            # What the client still sends is not read.
            headers.append((b"connection", b"close"))
        except ClientGone:
            return
        if self._cors and kind == _JSON:
            headers += _CORS
        await _send(send, code, kind, body, headers)

    async def _answer(self, method: str, path: str, content: bytes, receive):
        def work():
            return self._work(method, path, content)

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, work)
        gone = loop.create_task(_until_gone(receive))
        done, _ = await asyncio.wait(
            (future, gone),
            timeout=self._timeout or None,
            return_when=asyncio.FIRST_COMPLETED,
        )
        gone.cancel()
        if future in done:
            return future.result()
        # What waits for a thread is not begun any more.
        future.cancel()
        if gone in done:
            raise ClientGone
        return status.HTTP[Code.DEADLINE_EXCEEDED], json_answers.error(
            f"Timed out after {self._timeout:g} seconds"
        )

    def _work(self, method, path, content) -> tuple[int, bytes]:
        start = time.perf_counter()
        name, api = "", ""
        try:
            pattern = {"POST": _POST, "GET": _GET}.get(method)
            match = pattern.fullmatch(path) if pattern else None
            if match is None:
                raise status.invalid(f"Malformed request: {method} {path}")
            name, api = urllib.parse.unquote(match[1] or ""), (match[4] or "").lower()
            spec = _spec(name, match[2], match[3])
            body = self._call(method, api, spec, content)
            code = Code.OK
        except Exception as caught:
            found = status.from_exception(caught)
            if found.code == Code.INTERNAL:
                log.exception("%s %s failed", method, path)
            code, body = found.code, json_answers.error(found.message)
        self._count(name, api, code, time.perf_counter() - start)
        return status.HTTP[code], body

    def _call(self, method: str, api: str, spec: model_pb2.ModelSpec, content: bytes):
        if method == "GET":
            if not spec.name:
                raise status.invalid("Missing model name in request.")
            return self._metadata(spec) if api == "metadata" else self._status(spec)
        return getattr(self, f"_{api}")(spec, content)

    def _count(self, name: str, api: str, code: Code, seconds: float) -> None:
        counts = self._apis.metrics
        # Names that strangers make up must not fill the memory.
        name = name if self._apis.manager.is_known(name) else ""
        counts.requests.add(name, code.name)
        if code == Code.OK and api:
            counts.request_latency.record(name, api, "REST", seconds=seconds)

    def _predict(self, spec: model_pb2.ModelSpec, content: bytes) -> bytes:
        request = json_tensor.Request(content)
        with self._apis.manager.borrow(spec) as servable:
            signature = servable.signature(request.signature)
            if signature is None:
                name = request.signature or DEFAULT_SIGNATURE
                raise status.invalid(
                    f'Serving signature name: "{name}" not found in signature def'
                )
            if not signature.inputs:
                name = request.signature or "DEFAULT"
                raise status.invalid(f"Failed to get input map for signature: {name}")
            inputs, as_rows = request.tensors(signature.inputs)
            outputs = self._apis.inference.run(servable, "Predict", signature, inputs)
        if as_rows:
            return json_answers.rows_answer(outputs)
        return json_answers.columns_answer(outputs)

    def _classify(self, spec: model_pb2.ModelSpec, content: bytes) -> bytes:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        json_tensor.Request(content).fill_examples(request)
        return json_answers.classification(self._apis.classify(request).result)

    def _regress(self, spec: model_pb2.ModelSpec, content: bytes) -> bytes:
        request = regression_pb2.RegressionRequest(model_spec=spec)
        json_tensor.Request(content).fill_examples(request)
        return json_answers.regression(self._apis.regress(request).result)

    def _status(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _json(self._apis.model_status(request)).encode()

    def _metadata(self, spec: model_pb2.ModelSpec) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[SIGNATURE_DEF]
        )
        found = self._apis.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        found.metadata[SIGNATURE_DEF].Unpack(signatures)
        return (
            f'{{\n"model_spec":{_json(found.model_spec)},\n"metadata": '
            f'{{"signature_def": {_json(signatures)}}}\n}}\n'
        ).encode()

    def close(self) -> None:
        """Waits for what is being worked on."""
        self._pool.shutdown()


class ClientGone(Exception):
    """The client left before its answer."""


async def _until_gone(receive: Callable[[], Awaitable[dict]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(
    scope: dict, receive: Callable[[], Awaitable[dict]], limit: int
) -> bytes:
    """Reads a body, unpacking gzip."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise TooLarge
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise ClientGone
        part = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
        if not event.get("more_body"):
            break
    body = b"".join(parts)
    if headers.get(b"content-encoding", b"").lower() != b"gzip":
        return body
    try:
        unpacker = zlib.decompressobj(wbits=31)
        unpacked = unpacker.decompress(body, limit)
    except zlib.error:
        # What is no gzip is no JSON either, and is answered so.
        return body
    if unpacker.unconsumed_tail:
        raise TooLarge
    return unpacked


async def _send(send, code: int, kind: bytes, body: bytes, headers: list) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _preflight(scope: dict) -> tuple[int, bytes]:
    origin = dict(scope["headers"]).get(b"origin", b"")
    if origin.startswith((b"http://", b"https://")):
        return 200, b""
    return 400, json_answers.error("Origin header is missing in CORS preflight")


def _spec(name: str, version: str | None, label: str | None) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=name)
    if version is not None:
        if int(version[:20]) > _MAX_VERSION or len(version) > 20:
            raise status.invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label is not None:
        spec.version_label = urllib.parse.unquote(label)
    return spec


def _json(message) -> str:
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
