"""Clients that misbehave get an answer, and nobody else notices."""

import http.client
import socket
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving import servers

LIMIT = 1 << 20
PREDICT = "/v1/models/m:predict"
FULL = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("m")
    servers.export(base, 1)
    with servers.running(
        servers.config("m", base),
        max_request_bytes=LIMIT,
        rest_api_timeout_in_ms=3000,
        rest_api_num_threads=4,
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def goes_on(client):
    """After each test the server answers as before."""
    yield
    assert client.post(":predict", {"instances": [2]}) == (200, {"predictions": [1.0]})
    assert client.predict({"x": [2.0]})["y"].tolist() == [1.0]


def connect(client):
    return socket.create_connection(("127.0.0.1", client.rest_api_port), 10)


def head(length):
    return f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"


class TestTooLarge:
    def test_stated(self, client):
        """A body of 100 MB is refused by its head, before it is sent."""
        with connect(client) as made:
            made.sendall(head(100 << 20).encode())
            answer = made.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b'{"error":"The request is larger than the limit of' in answer

    def test_sent_all_the_same(self, client):
        connection = http.client.HTTPConnection("127.0.0.1", client.rest_api_port)
        body = b'{"instances": [' + b"1," * (50 << 20) + b"1]}"
        try:
            connection.request("POST", PREDICT, body)
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # It was hung up on.
        finally:
            connection.close()

    def test_without_a_length(self, client):
        with connect(client) as made:
            made.sendall(
                f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode()
            )
            part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            try:
                for _ in range(64):
                    made.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = made.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413")

    def test_grpc(self, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.predict({"x": np.zeros(LIMIT, np.float32)})
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class TestGarbage:
    def test_protobuf(self, client):
        call = client.channel.unary_unary(
            FULL, lambda data: data, predict_pb2.PredictResponse.FromString
        )
        for data in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f"):
            with pytest.raises(grpc.RpcError) as caught:
                call(data, timeout=10)
            assert caught.value.code() is grpc.StatusCode.INTERNAL

    @pytest.mark.parametrize(
        "data",
        [
            b"\x00\x01\x02\x03\r\n\r\n",
            b"GET\r\n\r\n",
            b"POST " + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ],
    )
    def test_http(self, client, data):
        with connect(client) as made:
            try:
                made.sendall(data)
                answer = made.recv(4096)
            except ConnectionResetError:
                answer = b""
        assert not answer or answer.startswith(b"HTTP/1.1 4")

    def test_json_of_every_sort(self, client):
        random = np.random.default_rng(0)
        good = b'{"signature_name": "two", "instances": [{"a": 1.5, "b": -2e3}]}'
        for _ in range(300):
            data = bytearray(good)
            for at in random.integers(0, len(good), random.integers(1, 4)):
                data[at] = random.integers(0, 256)
            code, _ = client.http("POST", PREDICT, bytes(data))
            assert code in (200, 400), bytes(data)


class TestGone:
    def test_before_the_body(self, client):
        for _ in range(20):
            with connect(client) as made:
                made.sendall(head(1000).encode() + b'{"inst')

    def test_before_the_answer(self, client):
        """What nobody waits for any more is not begun."""
        body = b'{"signature_name": "slow", "instances": [200]}'
        for _ in range(100):
            with connect(client) as made:
                made.sendall(head(len(body)).encode() + body)
                time.sleep(0.005)

    def test_grpc_cancelled(self, client):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "m", "slow"
        request.inputs["turns"].CopyFrom(tf.make_tensor_proto(np.int32([200])))
        for _ in range(8):
            future = client.prediction.Predict.future(request, timeout=20)
            time.sleep(0.01)
            future.cancel()

    def test_connections_that_say_nothing(self, client):
        held = [connect(client) for _ in range(50)]
        assert client.post(":predict", {"instances": [2]})[0] == 200
        for one in held:
            one.close()


def test_timeout(client):
    """An answer that takes too long is given up with the documented code."""
    body = {"signature_name": "slow", "instances": [1]}
    assert client.post(":predict", body)[0] == 200
    start = time.monotonic()
    body["instances"] = [1_000_000]
    client.server._rest.config.app._timeout = 0.3
    try:
        code, found = client.post(":predict", {**body, "instances": [3000]})
    finally:
        client.server._rest.config.app._timeout = 3.0
    assert code == 504 and found == {"error": "Timed out after 0.3 seconds"}
    assert time.monotonic() - start < 3


def test_threads_do_not_pile_up(client):
    before = threading.active_count()
    for _ in range(30):
        client.post(":predict", {"instances": ["a"]})
        client.http("GET", "/nothing")
    assert threading.active_count() <= before + 20
